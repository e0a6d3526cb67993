//! Removing what runs that were killed left.

use super::FinishedRun;
use super::verify::orphans;
use crate::Result;

/// Removes the files of runs in the folders of tables that no commit names, if they were written before `before` (seconds
/// since 1970): a run that is still going has younger ones. Gives what was removed; with `is_trial`, what would be.
pub fn gc(run: &FinishedRun<'_>, before: u64, is_trial: bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for orphan in orphans(run)? {
        run.context.cancel.check()?;
        if before <= orphan.modified {
            continue;
        }
        if !is_trial {
            orphan.place.delete([orphan.name.as_str()])?;
        }
        removed.push(orphan.place.display(&orphan.name));
    }
    Ok(removed)
}
