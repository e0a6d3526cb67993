//! What a cluster does not do yet.

use tamis_schemas::config::Config;

use crate::run::plan::Plan;
use crate::{Error, Result};

/// # Errors
/// `Error::Config` naming the first section that only one machine runs.
pub(super) fn check(config: &Config, plan: &Plan) -> Result<()> {
    let refuse = |what: String| {
        let hint = Some("leave it out, or run on one machine: without --engine spark".into());
        Err(Error::Config { message: format!("{what} does not work on a cluster yet"), hint })
    };
    let held_out = config.decontaminate.iter().flat_map(|held_out| &held_out.paths);
    if config.input.paths.iter().chain(held_out).any(|path| path == "-") {
        return refuse("standard input".into());
    }
    if config.output.commit_files.is_some() || config.output.commit_bytes.is_some() {
        return refuse("a run in several commits (output.commit_files, commit_bytes)".into());
    }
    plan.deduplicate.as_ref().map_or(Ok(()), crate::dedup::Settings::check_for_handover)
}
