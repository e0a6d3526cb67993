//! Exit codes.

use std::process::ExitCode;

use tamis_pipeline::ErrorKind;
use tamis_pipeline::footprint::report::{Audit, Verdict};

use crate::footprint::Stopped;
use crate::signals;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Finished, nothing rejected.
    Clean,
    /// Nothing was new, and the user has a code for that.
    NothingNew(u8),
    /// Finished, some rows were rejected.
    Rejects,
    /// Could not run, or stopped before anything was written.
    Failed,
    /// More energy or emissions than the budget allows: nothing was written, or a gate says so; or an audit finds a rise above its limit.
    OverBudget,
    /// A gate or an audit cannot see what it is to judge.
    Unmetered,
    /// A store did not answer, however often it was asked.
    Unavailable,
    /// A driver on a cluster ended so, and has said why.
    OfDriver(u8),
    /// Who sent the input of a kernel has died.
    Torn,
    /// Another run is writing to the output, or archived files are on their way.
    Temporary,
    /// A store wants credentials, or others.
    Credentials,
    /// Stopped because the terminal is gone.
    HungUp,
    /// Stopped by Ctrl-C.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

/// What `tamis --help` says of them.
pub(crate) const HELP: &str = "Exit codes:
  0    finished, no row rejected; or nothing was new (run --exit-empty gives it
       a code of its own)
  1    finished, some rows rejected
  2    could not run (usage, config, input), or stopped by a loss guard
  3    more emissions than --max-g: stopped as by Ctrl-C; or tamis footprint gate
       says no, or tamis footprint audit finds a rise above its limit
  4    --max-g, tamis footprint gate or audit cannot see what it is to judge
  69   an object store is unavailable, after retries: try again later
  74   tamis kernel: its input ended in the middle, who sent it has died
  75   another run is writing to the output, or files are on their way back
       from an archive: try again later
  77   an object store refuses the credentials, or there are none
  130  stopped by Ctrl-C (129: by SIGHUP, 143: by SIGTERM); nothing written, but for
       the parts of a run that were added before (output.commit_files)";

impl Exit {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<Stopped>() {
            Some(Stopped::OverBudget(_)) => return Self::OverBudget,
            Some(Stopped::Unmetered(_)) => return Self::Unmetered,
            None => {}
        }
        let kind = error.chain().find_map(|cause| Some(cause.downcast_ref::<tamis_pipeline::Error>()?.kind()));
        match kind {
            Some(ErrorKind::Interrupted) => signals::received().unwrap_or(Self::Interrupted),
            Some(ErrorKind::Locked) => Self::Temporary,
            Some(ErrorKind::Torn) => Self::Torn,
            Some(ErrorKind::StoreUnavailable) => Self::Unavailable,
            Some(ErrorKind::Credentials) => Self::Credentials,
            _ => Self::Failed,
        }
    }

    /// What a gate says.
    pub(crate) fn of_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Within => Self::Clean,
            Verdict::OverBudget(_) => Self::OverBudget,
            Verdict::Unmetered(_) => Self::Unmetered,
        }
    }

    /// What an audit finds.
    pub(crate) fn of_audit(audit: &Audit) -> Self {
        if audit.is_flagged() {
            Self::OverBudget
        } else if audit.is_last_unmetered {
            Self::Unmetered
        } else {
            Self::Clean
        }
    }

    /// The number that whoever started the process gets.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::NothingNew(code) | Self::OfDriver(code) => code,
            Self::Rejects => 1,
            Self::Failed => 2,
            Self::OverBudget => 3,
            Self::Unmetered => 4,
            Self::Unavailable => 69,
            Self::Torn => 74,
            Self::Temporary => 75,
            Self::Credentials => 77,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
