//! Exit codes.

use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Finished, nothing rejected.
    Clean = 0,
    /// Finished, some rows were rejected.
    Rejects = 1,
    /// Could not run, or stopped before anything was written.
    Failed = 2,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl Exit {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let is_interrupted =
            error.chain().any(|cause| matches!(cause.downcast_ref(), Some(tamis_pipeline::Error::Interrupted)));
        if is_interrupted { Self::Interrupted } else { Self::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
