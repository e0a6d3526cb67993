//! Removing what runs that were killed left, and what is no longer part of the output.

use super::FinishedRun;
use super::verify::orphans;
use crate::Result;
use crate::place::Place;

/// Removes files of runs in the folders of tables that no commit names, if they were written before `before` (seconds since
/// 1970): a run that is still going has younger ones. Removes files that a commit before that moment took out of the output,
/// too: readers that began earlier may still need the others. Gives what was removed; with `is_trial`, what would be.
pub fn gc(run: &FinishedRun<'_>, before: u64, is_trial: bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for orphan in orphans(run)? {
        if orphan.modified < before {
            found.push((orphan.place, orphan.name));
        }
    }
    for (url, removed_at) in run.removed_files() {
        let (folder, name) = url.rsplit_once('/').unwrap_or((".", &url));
        let place = Place::new(folder, run.stores, run.context.runtime.handle())?;
        if removed_at < before && place.is_there(name)? {
            found.push((place, name.to_owned()));
        }
    }
    let mut removed = Vec::with_capacity(found.len());
    for (place, name) in found {
        run.context.cancel.check()?;
        if !is_trial {
            place.delete([name.as_str()])?;
        }
        removed.push(place.display(&name));
    }
    Ok(removed)
}
