//! Exit codes.

use std::process::ExitCode;

use tamis_pipeline::ErrorKind;

use crate::signals;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Finished, nothing rejected.
    Clean = 0,
    /// Finished, some rows were rejected.
    Rejects = 1,
    /// Could not run, or stopped before anything was written.
    Failed = 2,
    /// A store did not answer, however often it was asked.
    Unavailable = 69,
    /// Another run is writing to the output, or archived files are on their way.
    Temporary = 75,
    /// A store wants credentials, or others.
    Credentials = 77,
    /// Stopped because the terminal is gone.
    HungUp = 129,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

/// What `tamis --help` says of them.
pub(crate) const HELP: &str = "Exit codes:
  0    finished, no row rejected
  1    finished, some rows rejected
  2    could not run (usage, config, input), or stopped by a loss guard
  69   an object store is unavailable, after retries: try again later
  75   another run is writing to the output, or files are on their way back
       from an archive: try again later
  77   an object store refuses the credentials, or there are none
  130  stopped by Ctrl-C (129: by SIGHUP, 143: by SIGTERM); nothing written, but for
       the parts of a run that were added before (output.commit_files)";

impl Exit {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let kind = error.chain().find_map(|cause| Some(cause.downcast_ref::<tamis_pipeline::Error>()?.kind()));
        match kind {
            Some(ErrorKind::Interrupted) => signals::received().unwrap_or(Self::Interrupted),
            Some(ErrorKind::Locked) => Self::Temporary,
            Some(ErrorKind::StoreUnavailable) => Self::Unavailable,
            Some(ErrorKind::Credentials) => Self::Credentials,
            _ => Self::Failed,
        }
    }

    /// The number that whoever started the process gets.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
