//! Signals that ask us to stop.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// The signals that ask us to stop.
pub(crate) const STOPPING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// The first of them that came.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Calls `handle` on a thread of its own for every one of `signals`, instead of what the system would do.
pub(crate) fn listen(signals: &[i32], handle: impl Fn(i32) + Send + 'static) -> anyhow::Result<()> {
    let context = "could not listen for signals";
    let mut signals = Signals::new(signals).context(context)?;
    let take = move || {
        for signal in signals.forever() {
            if STOPPING.contains(&signal) {
                let _ = RECEIVED.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
            }
            handle(signal);
        }
    };
    std::thread::Builder::new().name("tamis-signals".into()).spawn(take).context(context)?;
    Ok(())
}

/// How we end for the first signal that asked us to stop; `None` if there was none.
pub(crate) fn received() -> Option<Exit> {
    match RECEIVED.load(Ordering::Relaxed) {
        SIGHUP => Some(Exit::HungUp),
        SIGINT => Some(Exit::Interrupted),
        SIGTERM => Some(Exit::Terminated),
        _ => None,
    }
}
