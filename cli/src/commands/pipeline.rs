//! `tamis run`, `dedup`, `select` and `convert`: one pipeline, other stages.

use std::time::{Instant, SystemTime};

use tamis_schemas::config::Config;
use tamis_schemas::manifest::Manifest;

use crate::args::{Global, Metrics, Overwrite};
use crate::exit::Exit;
use crate::metrics::{MetricsFile, Outcome};
use crate::progress::Display;
use crate::report::{self, Finished};
use crate::{diagnostic, machine, settings};

pub(crate) fn run(
    command: &'static str,
    config: impl FnOnce() -> anyhow::Result<Config>,
    overwrite: Overwrite,
    metrics: &Metrics,
    global: &Global,
) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let metrics = metrics.metrics_file.as_deref().map(MetricsFile::open).transpose()?;
    let result = config().and_then(|config| Ok((execute(&config, overwrite, global)?, config)));
    let elapsed = started.elapsed();
    let exit = match &result {
        Ok((manifest, _)) if manifest.rows.rejected > 0 => Exit::Rejects,
        Ok(_) => Exit::Clean,
        Err(error) => Exit::of(error),
    };
    if let Some(metrics) = metrics {
        let outcome = Outcome {
            exit,
            elapsed,
            ended: SystemTime::now(),
            peak_memory_bytes: machine::peak_memory_bytes(),
            manifest: result.as_ref().ok().map(|(manifest, _)| manifest),
        };
        if let Err(error) = metrics.finish(&outcome) {
            // The run is over, whether anyone counts it or not.
            diagnostic::warn(&format!("{error:#}"), "monitoring sees the numbers of an earlier run");
        }
    }
    let (manifest, config) = result?;
    let finished = Finished {
        command,
        manifest: &manifest,
        output: &config.output.path,
        elapsed,
        n_threads: settings::n_threads(global),
    };
    report::print(&finished, global.format)?;
    Ok(exit)
}

fn execute(config: &Config, overwrite: Overwrite, global: &Global) -> anyhow::Result<Manifest> {
    let context = settings::context(global)?;
    let display = Display::start(global);
    let existing = settings::existing(overwrite);
    let (stamp, stores) = (settings::stamp(), settings::stores());
    Ok(tamis_pipeline::run::run(config, existing, &stamp, &stores, &context, display.progress())?)
}
