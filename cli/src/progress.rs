//! Progress bars on a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tamis_pipeline::progress::{Progress, Snapshot};

use crate::args::Global;
use crate::{log, number};

const TICK: Duration = Duration::from_millis(100);

/// Shows a [`Progress`] until dropped; nothing if stderr is not a terminal.
#[derive(Debug)]
pub(crate) struct Display {
    shared: Arc<Progress>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    pub(crate) fn start(global: &Global) -> Self {
        Self::of(Progress::default(), global)
    }

    /// Shows the progress of a run that others watch, too.
    pub(crate) fn of(progress: Progress, global: &Global) -> Self {
        let shared = Arc::new(progress);
        let stop = Arc::new(AtomicBool::new(false));
        let is_shown = !global.no_progress && global.verbose == 0 && !log::is_json() && std::io::stderr().is_terminal();
        let thread = is_shown.then(|| {
            let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
            std::thread::spawn(move || show(&shared, &stop))
        });
        Self { shared, stop, thread }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.shared
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A bar that fails to draw must not fail the run.
            let _ = thread.join();
        }
    }
}

fn show(progress: &Progress, stop: &AtomicBool) {
    let mut bar: Option<(u32, ProgressBar)> = None;
    while !stop.load(Ordering::Relaxed) {
        let now = progress.snapshot();
        if now.step > 0 {
            if bar.as_ref().is_none_or(|(step, _)| *step != now.step) {
                if let Some((_, old)) = bar.take() {
                    old.finish_and_clear();
                }
                bar = Some((now.step, new_bar(&now)));
            }
            if let Some((_, bar)) = &bar {
                bar.set_position(now.bytes_read);
                bar.set_message(format!("{} rows", number::count(now.rows)));
            }
        }
        std::thread::sleep(TICK);
    }
    if let Some((_, bar)) = bar {
        bar.finish_and_clear();
    }
}

fn new_bar(now: &Snapshot) -> ProgressBar {
    let (bar, template) = match now.bytes_total {
        Some(total) => (
            ProgressBar::new(total),
            "{prefix:>24} {bar:24} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {msg} ETA {eta}",
        ),
        None => (ProgressBar::new_spinner(), "{prefix:>24} {spinner} {bytes:>10} {bytes_per_sec:>12} {msg} {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).expect("the templates are valid");
    bar.with_style(style).with_prefix(format!("{}. {}", now.step, now.name))
}
