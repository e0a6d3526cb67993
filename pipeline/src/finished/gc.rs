//! Removing what runs that were killed left.

use super::verify::orphans;
use super::{FinishedRun, uploads};
use crate::Result;

/// What runs that were killed left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Files in the folders of tables that no commit names.
    pub files: Vec<String>,
    /// Files whose upload to S3 never ended: of each, parts may lie in the bucket.
    pub uploads: Vec<String>,
}

/// Removes the files of runs in the folders of tables that no commit names, and aborts uploads to S3 that never ended, if they
/// are of before `before` (seconds since 1970): a run that is still going has younger ones. Gives what was removed; with
/// `is_trial`, what would be.
pub fn gc(run: &FinishedRun<'_>, before: u64, is_trial: bool) -> Result<Garbage> {
    let mut garbage = Garbage::default();
    for orphan in orphans(run)? {
        run.context.cancel.check()?;
        if before <= orphan.modified {
            continue;
        }
        if !is_trial {
            orphan.place.delete([orphan.name.as_str()])?;
        }
        garbage.files.push(orphan.place.display(&orphan.name));
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
