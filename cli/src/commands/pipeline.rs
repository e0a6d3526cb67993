//! `tamis run`, `dedup`, `select` and `convert`: one pipeline, other stages.

use std::time::Instant;

use tamis_pipeline::run::Outcome;
use tamis_schemas::config::Config;

use crate::args::{Global, Overwrite};
use crate::exit::Exit;
use crate::progress::Display;
use crate::report::{self, Finished};
use crate::settings;

pub(crate) fn run(
    command: &'static str,
    config: &Config,
    overwrite: Overwrite,
    global: &Global,
) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let context = settings::context(global)?;
    let display = Display::start(global);
    let existing = settings::existing(overwrite);
    let (stamp, stores) = (settings::stamp(), settings::stores().with_tiers(config)?);
    let result = tamis_pipeline::run::run(config, existing, &stamp, &stores, &context, display.progress());
    drop(display);
    let manifest = match result? {
        Outcome::Written(manifest) => manifest,
        Outcome::NothingNew { n_inputs } => {
            report::print_nothing_new(command, &config.output.path, n_inputs, global.format)?;
            return Ok(Exit::Clean);
        }
    };
    let finished = Finished {
        command,
        manifest: &manifest,
        output: &config.output.path,
        elapsed: started.elapsed(),
        n_threads: settings::n_threads(global),
    };
    report::print(&finished, global.format)?;
    Ok(if manifest.rows.rejected > 0 { Exit::Rejects } else { Exit::Clean })
}
