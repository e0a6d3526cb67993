//! `tamis run`, `dedup`, `embed`, `select`, `score` and `convert`: one pipeline, other stages.

use std::time::{Duration, Instant, SystemTime};

use tamis_pipeline::Error;
use tamis_pipeline::context::Context;
use tamis_pipeline::footprint::report::Report;
use tamis_pipeline::progress::Progress;
use tamis_pipeline::run::Outcome;
use tamis_schemas::config::{Config, OutputMode};
use tamis_schemas::manifest::Manifest;

use crate::args::{Accounting, Added, Global, Metrics, Overwrite};
use crate::exit::Exit;
use crate::footprint::{self, Account, Done};
use crate::metrics::{self, MetricsFile};
use crate::report::{self, Finished};
use crate::{diagnostic, machine, settings, telemetry};

pub(crate) fn run(
    command: &'static str,
    config: impl FnOnce() -> anyhow::Result<Config>,
    overwrite: Overwrite,
    added: Added,
    (Metrics { metrics_file }, accounting): (&Metrics, &Accounting),
    global: &Global,
) -> anyhow::Result<Exit> {
    if accounting.print_start {
        let config = config()?;
        let (context, stores) = (settings::context(global)?, settings::stores().with_tiers(&config)?);
        let account = Account::open(command, (&config, ""), accounting, &stores, &context)?;
        return footprint::print_start(account.as_ref(), accounting, (&stores, &context), global.format);
    }
    let started = Instant::now();
    let metrics_file = metrics_file.as_deref().map(MetricsFile::open).transpose()?;
    let execute = |config| Ok((execute(command, &config, overwrite, added, accounting, global)?, config));
    let result = config().and_then(execute);
    let elapsed = started.elapsed();
    // What a run wrote that found nothing new.
    let nothing = Manifest::default();
    let manifest = result.as_ref().ok().map(|((outcome, _), _)| match outcome {
        Outcome::Written { manifest, .. } => manifest,
        Outcome::NothingNew { .. } | Outcome::Skipped { .. } => &nothing,
    });
    manifest.into_iter().for_each(telemetry::record);
    let exit = match (&result, manifest) {
        (_, Some(manifest)) if manifest.rows.rejected > 0 => Exit::Rejects,
        (Ok(((Outcome::NothingNew { .. }, _), _)), _) => added.exit_empty.map_or(Exit::Clean, Exit::NothingNew),
        (Ok(_), _) => Exit::Clean,
        (Err(error), _) => Exit::of(error),
    };
    if let Some(file) = metrics_file {
        write_metrics(file, exit, elapsed, manifest);
    }
    let ((outcome, footprint), config) = result?;
    let (manifest, n_parts, n_withdrawn) = match outcome {
        Outcome::Written { manifest, n_parts, n_withdrawn } => (manifest, n_parts, n_withdrawn),
        Outcome::NothingNew { n_inputs } => {
            report::print_nothing_new(command, &config.output.path, n_inputs, global.format)?;
            return Ok(exit);
        }
        Outcome::Skipped { holder } => {
            report::print_skipped(command, &config.output.path, &holder, global.format)?;
            return Ok(exit);
        }
    };
    let finished = Finished {
        command,
        manifest: &manifest,
        n_parts,
        n_withdrawn,
        output: &config.output.path,
        elapsed,
        n_threads: settings::n_threads(global),
        footprint: footprint.as_ref(),
    };
    report::print(&finished, global.format)?;
    Ok(exit)
}

/// # Errors
/// `Error::Config` for flags of runs that are added to others, where this one is not.
pub(super) fn check_added(config: &Config, Added { if_locked, exit_empty }: Added) -> anyhow::Result<()> {
    let flag = if_locked.map(|_| "--if-locked").or(exit_empty.map(|_| "--exit-empty"));
    match flag.filter(|_| config.output.mode != OutputMode::Append) {
        None => Ok(()),
        Some(flag) => Err(Error::Config {
            message: format!("{flag} is for runs that are added to others, and this one is not"),
            hint: Some("set output.mode to \"append\", or leave it out".into()),
        }
        .into()),
    }
}

/// Writes the numbers of a run for monitoring.
pub(super) fn write_metrics(file: MetricsFile, exit: Exit, elapsed: Duration, manifest: Option<&Manifest>) {
    let peak_memory_bytes = machine::peak_memory_bytes();
    let outcome = metrics::Outcome { exit, elapsed, ended: SystemTime::now(), peak_memory_bytes, manifest };
    if let Err(error) = file.finish(&outcome) {
        // The run is over, whether anyone counts it or not.
        diagnostic::warn(&format!("{error:#}"), "monitoring sees the numbers of an earlier run");
    }
}

fn execute(
    command: &str,
    config: &Config,
    overwrite: Overwrite,
    Added { if_locked, exit_empty }: Added,
    accounting: &Accounting,
    global: &Global,
) -> anyhow::Result<(Outcome, Option<Report>)> {
    check_added(config, Added { if_locked, exit_empty })?;
    let mut context = settings::context(global)?;
    let existing = settings::existing(overwrite);
    let (stamp, stores) = (settings::stamp(), settings::stores().with_tiers(config)?);
    tamis_pipeline::run::check(config)?;
    let account = Account::open(command, (config, ""), accounting, &stores, &context)?;
    if let Some(account) = &account {
        let check_output = || tamis_pipeline::run::check_output(config, existing, &stores, &context);
        account.ready(accounting, (&stores, &context), check_output)?;
    }
    let sharing = settings::sharing(if_locked, &stamp);
    let work = |context: &Context, progress: &Progress| {
        tamis_pipeline::run::run(config, existing, &stamp, &sharing, &stores, context, progress)
    };
    let done = |outcome: &Outcome| match outcome {
        Outcome::Written { manifest, .. } => Some(Done::of_manifest(manifest)),
        Outcome::NothingNew { .. } | Outcome::Skipped { .. } => None,
    };
    footprint::run(account, &mut context, global, work, done)
}
