//! A run in a process of its own: a crash of it ends no daemon, and its memory is given back.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::signals::STOPPING;

/// Time that a run has to stop by itself; container platforms give 30 seconds to all of us.
const GRACE: Duration = Duration::from_secs(25);
/// Longest wait for an event: a clock that is set or a machine that slept is noticed after it.
pub(crate) const TICK: Duration = Duration::from_secs(20);

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// Its exit code; 128 and the signal's number if one ended it.
    pub(crate) code: i32,
    /// Whether it was stopped because we were.
    pub(crate) is_last: bool,
}

/// Runs `command` to its end, or stops it at the deadline or when a signal asks us to stop. `signals` brings those that
/// ask, and SIGCHLD.
pub(crate) fn run(
    command: &mut Command,
    deadline: Option<Duration>,
    signals: &Receiver<i32>,
    tick: impl Fn(),
) -> anyhow::Result<Ended> {
    // A group of its own: Ctrl-C in a terminal reaches it through us, once.
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn().context("could not start the run")?;
    let mut limits = Limits { deadline: deadline.map(|deadline| Instant::now() + deadline), kill_at: None };
    let mut is_last = false;
    let status = loop {
        tick();
        if let Some(status) = child.try_wait().context("could not wait for the run")? {
            break status;
        }
        let now = Instant::now();
        let wait = match limits.due(now) {
            Due::Nothing(wait) => wait,
            Due::Terminate => {
                tracing::warn!("the run is stopped: it is at its deadline");
                terminate(&child);
                limits.kill_at = Some(now + GRACE);
                continue;
            }
            Due::Kill => {
                tracing::warn!("the run is killed: it does not stop");
                child.kill().context("could not kill the run")?;
                break child.wait().context("could not wait for the run")?;
            }
        };
        match signals.recv_timeout(wait.min(TICK)) {
            Ok(signal) if STOPPING.contains(&signal) => {
                is_last = true;
                terminate(&child);
                limits.kill_at.get_or_insert(now + GRACE);
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("nobody listens for signals any more"),
        }
    };
    Ok(Ended { code: code(status), is_last })
}

fn terminate(child: &Child) {
    // It is not waited for yet: its id is still its own. If it has ended, there is nothing to do.
    if let Some(id) = Pid::from_raw(child.id() as i32) {
        let _ = kill_process(id, Signal::TERM);
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(128)
}

/// When a run must stop.
#[derive(Debug, Clone, Copy)]
struct Limits {
    deadline: Option<Instant>,
    /// Set when it was asked to.
    kill_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing(Duration),
    Terminate,
    Kill,
}

impl Limits {
    fn due(self, now: Instant) -> Due {
        match (self.kill_at, self.deadline) {
            (Some(at), _) if at <= now => Due::Kill,
            (None, Some(at)) if at <= now => Due::Terminate,
            (Some(at), _) | (None, Some(at)) => Due::Nothing(at - now),
            (None, None) => Due::Nothing(Duration::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_asked_first_and_killed_later() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let check = |deadline: Option<u64>, kill_at: Option<u64>, now: u64, expect: Due| {
            let limits = Limits { deadline: deadline.map(at), kill_at: kill_at.map(at) };
            assert_eq!(limits.due(at(now)), expect, "{deadline:?} {kill_at:?} {now}");
        };
        let wait = |seconds| Due::Nothing(Duration::from_secs(seconds));
        check(None, None, 1_000_000, Due::Nothing(Duration::MAX));
        check(Some(10), None, 9, wait(1));
        check(Some(10), None, 10, Due::Terminate);
        check(Some(10), None, 1_000, Due::Terminate);
        check(Some(10), Some(35), 10, wait(25));
        check(Some(10), Some(35), 34, wait(1));
        check(Some(10), Some(35), 35, Due::Kill);
        check(None, Some(35), 36, Due::Kill);
        check(Some(10), Some(28), 3, wait(25));
    }
}
