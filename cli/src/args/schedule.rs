//! What the user typed about schedules.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tamis_schemas::time_span::TimeSpan;

use super::Run;

/// `tamis schedule`.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Print units, manifests or lines that let another scheduler run it
    Print(SchedulePrint),
    /// Run it at its times, in the foreground, until a signal comes
    Run(ScheduleRun),
}

/// `tamis schedule print`.
#[derive(Debug, Args)]
pub(crate) struct SchedulePrint {
    #[command(flatten)]
    pub(crate) run: Run,
    /// What the text is for
    #[arg(long, value_enum, value_name = "TARGET")]
    pub(crate) target: Target,
}

/// Schedulers that we can print for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// A service and a timer
    Systemd,
    /// A Kubernetes `CronJob`
    K8s,
    /// A GitHub Actions workflow
    Github,
    /// An Airflow DAG
    Airflow,
    /// A line for crontab
    Crontab,
}

/// `tamis schedule run`.
#[derive(Debug, Args)]
pub(crate) struct ScheduleRun {
    #[command(flatten)]
    pub(crate) run: Run,
    /// File with the time up to which starts are done [default: CONFIG.schedule.json]
    ///
    /// Times that passed since, because a run took long or nobody ran this command, are made up for by one run.
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Stop a run after this time, e.g. 2h [default: schedule.deadline]
    ///
    /// The run gets SIGTERM, and SIGKILL 25 seconds later.
    #[arg(long, value_name = "TIME")]
    pub(crate) deadline: Option<TimeSpan>,
    /// Serve /healthz and /metrics at this address, e.g. 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
}
