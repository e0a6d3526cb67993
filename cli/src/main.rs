//! `tamis` sieves a dataset down to what is worth training on and worth labelling.

mod answer;
mod args;
mod atomic;
mod commands;
mod diagnostic;
mod exit;
mod expanded;
mod footprint;
mod inspect;
mod log;
mod machine;
mod metrics;
mod number;
mod progress;
mod prometheus;
mod report;
mod schedule;
mod settings;
mod shell;
mod signals;
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, Command, ScheduleCommand};
use crate::exit::Exit;

fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches().and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            log::choose(log::format_of(std::env::args_os()));
            return diagnostic::print_usage(&error).into();
        }
    };
    log::choose(cli.global.log_format);
    let _exporter = log::start(level(&cli));
    let work = || expanded::check(&matches).map_err(Into::into).and_then(|()| commands::run(&cli));
    match telemetry::in_span(matches.subcommand_name(), work) {
        Ok(exit) => exit.into(),
        Err(error) if diagnostic::is_broken_pipe(&error) => Exit::Clean.into(),
        Err(error) => {
            diagnostic::print(&error);
            Exit::of(&error).into()
        }
    }
}

fn level(cli: &Cli) -> &'static str {
    // A daemon has no summary to show: it logs what it does.
    let is_daemon = matches!(cli.command, Command::Schedule(ScheduleCommand::Run(_)));
    match cli.global.verbose + u8::from(is_daemon) {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    }
}
