//! What a run is doing right now, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Span;
use tracing::field::Empty;

/// Shared counters; written by the executor, read by a progress bar at its own pace.
#[derive(Debug, Default)]
pub struct Progress {
    step: Mutex<Step>,
    rows: AtomicU64,
    watcher: Option<Watcher>,
}

/// Is told the name of each step when it begins.
pub struct Watcher(Box<dyn Fn(&'static str) + Send + Sync>);

impl std::fmt::Debug for Watcher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Watcher")
    }
}

#[derive(Debug, Clone, Default)]
struct Step {
    number: u32,
    name: &'static str,
    bytes_total: Option<u64>,
    bytes_read: Arc<AtomicU64>,
    span: Option<Span>,
}

/// A look at [`Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Ordinal of the step, from 1; 0 before the first.
    pub step: u32,
    /// What is being done.
    pub name: &'static str,
    /// Rows that went through in this step.
    pub rows: u64,
    /// Stored bytes read in this step.
    pub bytes_read: u64,
    /// Stored bytes to read in this step, if known.
    pub bytes_total: Option<u64>,
}

impl Progress {
    /// Progress that tells `watcher` of each step.
    pub fn watched(watcher: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        let mut progress = Self::default();
        progress.watcher = Some(Watcher(Box::new(watcher)));
        progress
    }

    /// Begins a step, and ends the one before. Each is a span below the one that the caller is in.
    pub fn begin(&self, name: &'static str) {
        if let Some(Watcher(watcher)) = &self.watcher {
            watcher(name);
        }
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        step.end(self.rows.swap(0, Ordering::Relaxed));
        let span = tracing::info_span!("step", otel.name = name, tamis.rows = Empty, tamis.bytes_read = Empty);
        *step = Step { number: step.number + 1, name, span: Some(span), ..Step::default() };
    }

    /// Tells what the step reads: so many stored bytes, counted in `bytes_read`.
    pub fn watch(&self, bytes_total: u64, bytes_read: Arc<AtomicU64>) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        step.bytes_total = Some(bytes_total);
        step.bytes_read = bytes_read;
    }

    /// Counts rows.
    pub fn add_rows(&self, n_rows: u64) {
        self.rows.fetch_add(n_rows, Ordering::Relaxed);
    }

    /// What is going on.
    pub fn snapshot(&self) -> Snapshot {
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot {
            step: step.number,
            name: step.name,
            rows: self.rows.load(Ordering::Relaxed),
            bytes_read: step.bytes_read.load(Ordering::Relaxed),
            bytes_total: step.bytes_total,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let step = self.step.get_mut().unwrap_or_else(PoisonError::into_inner);
        step.end(*self.rows.get_mut());
    }
}

impl Step {
    fn end(&mut self, rows: u64) {
        if let Some(span) = self.span.take() {
            span.record("tamis.rows", rows).record("tamis.bytes_read", self.bytes_read.load(Ordering::Relaxed));
        }
    }
}
