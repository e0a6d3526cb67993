//! What the daemon says of itself to whoever asks over HTTP.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::child::TICK;
use crate::prometheus::Exposition;

/// Without a sign of life for so long, the daemon is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(6 * TICK.as_secs());

/// What the daemon does, seen from another thread.
#[derive(Debug)]
pub(crate) struct Status {
    now: Mutex<Now>,
    /// Numbers of the last run.
    metrics_file: PathBuf,
}

#[derive(Debug)]
struct Now {
    alive: Instant,
    next_start: Option<DateTime<Utc>>,
    is_running: bool,
    runs: BTreeMap<i32, u64>,
}

impl Status {
    pub(crate) fn new(metrics_file: PathBuf) -> Self {
        let now = Now { alive: Instant::now(), next_start: None, is_running: false, runs: BTreeMap::new() };
        Self { now: Mutex::new(now), metrics_file }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sign of life.
    pub(crate) fn tick(&self) {
        self.now().alive = Instant::now();
    }

    pub(crate) fn waits_for(&self, start: DateTime<Utc>) {
        let mut now = self.now();
        (now.next_start, now.is_running) = (Some(start), false);
    }

    pub(crate) fn runs(&self) {
        let mut now = self.now();
        (now.next_start, now.is_running) = (None, true);
    }

    pub(crate) fn ended(&self, code: i32) {
        let mut now = self.now();
        now.is_running = false;
        *now.runs.entry(code).or_default() += 1;
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.now().alive.elapsed() < STUCK_AFTER
    }

    /// The page of numbers: the daemon's, then those of the last run.
    pub(crate) fn page(&self) -> String {
        let mut page = Exposition::default();
        {
            let now = self.now();
            let next = now.next_start.map(|at| (None, at.timestamp_millis() as f64 / 1000.0));
            page.gauge("tamis_schedule_next_start_timestamp_seconds", "When the next run starts, if none runs.", next);
            page.gauge("tamis_schedule_running", "Whether a run is going on.", [(None, u8::from(now.is_running))]);
            let runs = now.runs.iter().map(|(code, n)| (Some(("exit_code", code.to_string())), *n));
            page.counter("tamis_schedule_runs_total", "Runs that ended, by exit code; 128 and more: a signal.", runs);
        }
        page.into_text() + &std::fs::read_to_string(&self.metrics_file).unwrap_or_default()
    }
}
