//! Removing what runs that were killed left, and what is no longer part of the output.

use super::verify::{orphans, place_of};
use super::{FinishedRun, uploads};
use crate::Result;
use crate::place::Place;

/// What is no longer needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Files in the folders of tables that no commit names, or that one has taken out of the output.
    pub files: Vec<String>,
    /// Files whose upload to S3 never ended: of each, parts may lie in the bucket.
    pub uploads: Vec<String>,
}

/// Removes the files of runs in the folders of tables that no commit names, and aborts uploads to S3 that never ended, if they
/// are of before `before` (seconds since 1970): a run that is still going has younger ones. Removes files that a commit before
/// that moment took out of the output, too: readers that began earlier may still need the others. Gives what was removed; with
/// `is_trial`, what would be.
pub fn gc(run: &FinishedRun<'_>, before: u64, is_trial: bool) -> Result<Garbage> {
    let mut garbage = Garbage::default();
    for (place, name) in files(run, before)? {
        run.context.cancel.check()?;
        if !is_trial {
            place.delete([name.as_str()])?;
        }
        garbage.files.push(place.display(&name));
    }
    for place in uploads::places(run)? {
        for upload in uploads::of_runs(run, &place)? {
            run.context.cancel.check()?;
            if before <= upload.begun {
                continue;
            }
            if !is_trial {
                uploads::abort(run, &place, &upload)?;
            }
            garbage.uploads.push(place.display(&upload.name));
        }
    }
    Ok(garbage)
}

/// Files that no commit names, or that one has taken out of the output, each with its folder.
fn files(run: &FinishedRun<'_>, before: u64) -> Result<Vec<(Place, String)>> {
    let orphans = orphans(run)?.into_iter().filter(|orphan| orphan.modified < before);
    let mut found: Vec<(Place, String)> = orphans.map(|orphan| (orphan.place, orphan.name)).collect();
    for (url, removed_at) in run.removed_files() {
        let (place, name) = place_of(run, &url)?;
        if removed_at < before && place.is_there(name)? {
            found.push((place, name.to_owned()));
        }
    }
    Ok(found)
}
