//! One file per subcommand.

mod completions;
mod config;
mod dataset;
mod index;
mod init;
mod inspect;
mod pipeline;
mod restore;
mod tiers;
mod tune;

use crate::args::{Cli, Command, Format, TiersCommand};
use crate::exit::Exit;
use crate::settings;

/// Does what was asked.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let global = &cli.global;
    let has_own_formats = matches!(cli.command, Command::Tiers(TiersCommand::Lifecycle(_)));
    match global.format {
        Format::Html if !matches!(cli.command, Command::Inspect(_)) => {
            anyhow::bail!("--format html is for tamis inspect; this command prints text or json");
        }
        Format::Aws | Format::Gcs | Format::Azure | Format::Terraform if !has_own_formats => {
            anyhow::bail!("this format is for tamis tiers lifecycle; this command prints text or json");
        }
        _ => {}
    }
    match &cli.command {
        Command::Run(args) => {
            let (config, _) = settings::load(&args.config)?;
            pipeline::run("tamis run", &config, args.overwrite, global)
        }
        Command::Dedup(args) => pipeline::run("tamis dedup", &settings::dedup(args), args.data.overwrite, global),
        Command::Tune(args) => tune::run(args, global),
        Command::Select(args) => pipeline::run("tamis select", &settings::select(args), args.data.overwrite, global),
        Command::Convert(args) => pipeline::run("tamis convert", &settings::convert(args), args.data.overwrite, global),
        Command::Restore(args) => restore::run(args, global),
        Command::Runs(args) => dataset::runs(args, global),
        Command::Export(args) => dataset::export(args, global),
        Command::Verify(args) => dataset::verify(args, global),
        Command::Gc(args) => dataset::gc(args, global),
        Command::Inspect(args) => inspect::run(args, global),
        Command::Init(args) => init::run(args, global),
        Command::Config(args) => config::run(args),
        Command::Index(args) => index::run(args, global),
        Command::Tiers(args) => tiers::run(args, global),
        Command::Completions(args) => completions::run(args),
    }
}
