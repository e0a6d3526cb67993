//! `tamis` sieves a dataset down to what is worth training on and worth labelling.

mod answer;
mod args;
mod commands;
mod diagnostic;
mod exit;
mod expanded;
mod inspect;
mod machine;
mod number;
mod progress;
mod report;
mod settings;
mod shell;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::Cli;
use crate::exit::Exit;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start_logging(cli.global.verbose);
    match expanded::check(&matches).map_err(Into::into).and_then(|()| commands::run(&cli)) {
        Ok(exit) => exit.into(),
        Err(error) if diagnostic::is_broken_pipe(&error) => Exit::Clean.into(),
        Err(error) => {
            diagnostic::print(&error);
            Exit::of(&error).into()
        }
    }
}

fn start_logging(verbosity: u8) {
    let level = match verbosity {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("TAMIS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("off,tamis={level},tamis_pipeline={level}")));
    let has_color = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(has_color).init();
}
