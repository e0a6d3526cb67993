//! `tamis schedule print|run`.

use std::io::Write;
use std::process::Command;

use anyhow::Context as _;
use chrono::Utc;
use tamis_pipeline::Error;
use tamis_schemas::config::OutputMode;
use uuid::Uuid;

use crate::args::{Accounting, Global, Run, ScheduleCommand, SchedulePrint, ScheduleRun};
use crate::exit::Exit;
use crate::footprint::check_flags;
use crate::schedule::daemon::Daemon;
use crate::schedule::print::{Job, print};
use crate::schedule::{Schedule, command, state};
use crate::settings;

pub(crate) fn run(args: &ScheduleCommand, global: &Global) -> anyhow::Result<Exit> {
    match args {
        ScheduleCommand::Print(args) => print_target(args, global),
        ScheduleCommand::Run(args) => keep(args, global),
    }
}

fn print_target(args: &SchedulePrint, global: &Global) -> anyhow::Result<Exit> {
    let Loaded { schedule, mode, text, accounting } = load(&args.run)?;
    let program = std::env::current_exe().context("could not find out where tamis lies")?;
    let folder = std::env::current_dir().context("could not find out the working folder")?;
    let job = Job {
        schedule: &schedule,
        program: &program,
        folder: &folder,
        config: &args.run.config,
        config_text: &text,
        arguments: &|config| command::arguments(config, mode, &args.run, &accounting, global),
        files: &command::files(&accounting),
    };
    std::io::stdout().write_all(print(&job, args.target)?.as_bytes())?;
    Ok(Exit::Clean)
}

fn keep(args: &ScheduleRun, global: &Global) -> anyhow::Result<Exit> {
    let Loaded { mut schedule, mode, accounting, .. } = load(&args.run)?;
    if let Some(deadline) = args.deadline {
        anyhow::ensure!(deadline.seconds > 0, "--deadline 0s would stop every run at once");
        schedule.deadline = Some(deadline.duration());
    }
    // Where nobody names a file, the numbers of a run live as long as the daemon.
    let folder = tempfile::tempdir().context("could not make a temporary folder")?;
    let metrics_file = args.run.metrics.metrics_file.clone().unwrap_or_else(|| folder.path().join("run.prom"));
    let mut command = Command::new(std::env::current_exe().context("could not find out where tamis lies")?);
    command
        .args(command::arguments(&args.run.config, mode, &args.run, &accounting, global))
        .env("TAMIS_METRICS_FILE", &metrics_file);
    let daemon = Daemon {
        schedule,
        state: args.state.clone().unwrap_or_else(|| state::State::default_path(&args.run.config)),
        listen: args.listen,
        command,
        metrics_file,
        seed: Uuid::now_v7().as_u64_pair().1,
    };
    daemon.run(Utc::now)
}

/// A config that works as a whole.
struct Loaded {
    schedule: Schedule,
    /// What it does with its output.
    mode: OutputMode,
    text: String,
    /// Flags, and the window that its runs may wait in.
    accounting: Accounting,
}

fn load(args: &Run) -> anyhow::Result<Loaded> {
    let (config, text) = settings::load(&args.config)?;
    tamis_pipeline::run::check(&config)?;
    if args.added.exit_empty.is_some() {
        anyhow::bail!("--exit-empty does not go with a schedule: whoever keeps it takes any code but 0 for a failure");
    }
    let schedule = config.schedule.as_ref().ok_or_else(|| Error::Config {
        message: format!("`{}` has no schedule", args.config.display()),
        hint: Some("add a section: [schedule], and below it for instance cron = \"@daily\"".into()),
    })?;
    let mut accounting = args.accounting.clone();
    if accounting.start_within.is_none() {
        accounting.start_within = schedule.window;
        accounting.forecast = accounting.forecast.or_else(|| schedule.forecast.clone());
    }
    check_flags(&accounting)?;
    Ok(Loaded { schedule: Schedule::new(schedule)?, mode: config.output.mode, text, accounting })
}
