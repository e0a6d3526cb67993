//! The daemon: waits for the next start, runs the config in another process, and again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use signal_hook::consts::SIGCHLD;

use super::child::{self, TICK};
use super::next::{Start, next_start};
use super::state::State;
use super::status::Status;
use super::{Schedule, serve};
use crate::exit::Exit;
use crate::{log, signals};

/// What a daemon does.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) schedule: Schedule,
    pub(crate) state: PathBuf,
    pub(crate) listen: Option<SocketAddr>,
    /// The run, as a process.
    pub(crate) command: Command,
    /// Where the run leaves its numbers.
    pub(crate) metrics_file: PathBuf,
    /// Of the random delays.
    pub(crate) seed: u64,
}

impl Daemon {
    /// Keeps the schedule until a signal asks to stop. `clock` tells the time.
    pub(crate) fn run(mut self, clock: impl Fn() -> DateTime<Utc>) -> anyhow::Result<Exit> {
        let (sender, signals) = mpsc::channel();
        // SIGCHLD is no one's order; it ends the wait for the child.
        let listened = [&signals::STOPPING[..], &[SIGCHLD]].concat();
        signals::listen(&listened, move |signal| {
            // Nobody waits any more: we are about to end.
            let _ = sender.send(signal);
        })?;
        let mut state = State::open(self.state.clone(), clock())?;
        let status = Arc::new(Status::new(self.metrics_file.clone()));
        if let Some(address) = self.listen {
            let address = serve::start(address, Arc::clone(&status))?;
            tracing::info!(%address, "listening");
        }
        loop {
            let start =
                next_start(&self.schedule, state.done_until, self.seed).context("the schedule has no further start")?;
            if start.at > clock() {
                tracing::info!(at = %self.local(start.at), "waiting for the next start");
                status.waits_for(start.at);
                if wait_until(start.at, &clock, &signals, &status)? {
                    break;
                }
            }
            // A state that cannot be kept now may be kept next time: it is no reason to run nothing.
            if let Err(error) = state.advance(clock()) {
                tracing::error!("{error:#}");
            }
            if self.run_once(start, &signals, &status) {
                break;
            }
        }
        Ok(signals::received().unwrap_or(Exit::Interrupted))
    }

    /// Whether it was the last run.
    fn run_once(&mut self, start: Start, signals: &Receiver<i32>, status: &Status) -> bool {
        let run_id = log::new_run_id();
        tracing::info!(run_id, scheduled = %self.local(start.scheduled), "run started");
        status.runs();
        let started = Instant::now();
        let command = self.command.env(log::RUN_ID, &run_id);
        let ended = child::run(command, self.schedule.deadline, signals, || status.tick());
        let seconds = started.elapsed().as_secs_f64();
        match ended {
            Ok(ended) => {
                status.ended(ended.code);
                match ended.code {
                    0 | 1 => tracing::info!(run_id, exit_code = ended.code, seconds, "run finished"),
                    code => tracing::error!(run_id, exit_code = code, seconds, "run failed"),
                }
                ended.is_last
            }
            Err(error) => {
                status.ended(Exit::Failed.code().into());
                tracing::error!(run_id, "{error:#}");
                false
            }
        }
    }

    /// A time as people near the schedule read it.
    fn local(&self, time: DateTime<Utc>) -> String {
        time.with_timezone(&self.schedule.timezone).to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// Whether a signal asked us to stop before.
fn wait_until(
    time: DateTime<Utc>,
    clock: impl Fn() -> DateTime<Utc>,
    signals: &Receiver<i32>,
    status: &Status,
) -> anyhow::Result<bool> {
    loop {
        status.tick();
        let rest = (time - clock()).to_std().unwrap_or(Duration::ZERO);
        if rest.is_zero() {
            return Ok(false);
        }
        match signals.recv_timeout(rest.min(TICK)) {
            Ok(signal) if signals::STOPPING.contains(&signal) => return Ok(true),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("nobody listens for signals any more"),
        }
    }
}
