//! `tamis restore`.

use std::time::Instant;

use tamis_pipeline::run::{Restored, restore};

use crate::args::{Global, Restore};
use crate::exit::Exit;
use crate::progress::Display;
use crate::report::{self, Finished};
use crate::settings;

pub(crate) fn run(args: &Restore, global: &Global) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let context = settings::context(global)?;
    let display = Display::start(global);
    let restored = if args.kept_only { Restored::KeptOnly } else { Restored::All };
    let existing = settings::existing(args.overwrite);
    let stores = settings::stores_by(&args.reach)?;
    let result = restore(&args.run, &args.output, restored, existing, &stores, &context, display.progress());
    drop(display);
    let manifest = result?;
    let finished = Finished {
        command: "tamis restore",
        manifest: &manifest,
        n_parts: 1,
        output: &args.output,
        elapsed: started.elapsed(),
        n_threads: settings::n_threads(global),
    };
    report::print(&finished, global.format)?;
    Ok(Exit::Clean)
}
