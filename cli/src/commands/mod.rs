//! One file per subcommand.

mod active;
mod completions;
mod config;
mod dataset;
mod distill;
mod footprint;
mod index;
mod init;
mod inspect;
mod kernel;
mod pipeline;
mod restore;
mod schedule;
mod simulate;
mod spark;
mod tiers;
mod tune;

use tamis_schemas::config::Config;

use crate::args::{Added, Cli, Command, Data, Engine, FootprintCommand, Format, Global, TiersCommand};
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
        Format::Csv | Format::CodecarbonTasks | Format::Md | Format::Boamps | Format::Prometheus
            if !matches!(cli.command, Command::Footprint(FootprintCommand::Report(_))) =>
        {
            anyhow::bail!("this format is for tamis footprint report; this command prints text or json");
        }
        _ => {}
    }
    match &cli.command {
        Command::Run(args) if args.cluster.engine == Engine::Spark => spark::run(args, global),
        Command::Run(args) => {
            args.cluster.check_unused()?;
            let config = || Ok(settings::load(&args.config)?.0);
            pipeline::run("tamis run", config, args.overwrite, args.added, (&args.metrics, &args.accounting), global)
        }
        Command::Dedup(args) => stages("tamis dedup", settings::dedup(args), &args.data, global),
        Command::Tune(args) => tune::run(args, global),
        Command::Embed(args) => stages("tamis embed", settings::embed(args), &args.data, global),
        Command::Select(args) => stages("tamis select", settings::select(args), &args.data, global),
        Command::Al(args) => active::run(args, global),
        Command::Score(args) => stages("tamis score", settings::score(args), &args.data, global),
        Command::Simulate(args) => simulate::run(args, global),
        Command::Distill(args) => distill::run(args, global),
        Command::Convert(args) => stages("tamis convert", settings::convert(args), &args.data, global),
        Command::Restore(args) => restore::run(args, global),
        Command::Runs(args) => dataset::runs(args, global),
        Command::Export(args) => dataset::export(args, global),
        Command::Verify(args) => dataset::verify(args, global),
        Command::Gc(args) => dataset::gc(args, global),
        Command::Compact(args) => dataset::compact(args, global),
        Command::Inspect(args) => inspect::run(args, global),
        Command::Init(args) => init::run(args, global),
        Command::Config(args) => config::run(args),
        Command::Index(args) => index::run(args, global),
        Command::Tiers(args) => tiers::run(args, global),
        Command::Footprint(args) => footprint::run(args, global),
        Command::Schedule(args) => schedule::run(args, global),
        Command::Kernel(command) => kernel::run(command, global),
        Command::Completions(args) => completions::run(args),
    }
}

fn stages(command: &'static str, config: Config, data: &Data, global: &Global) -> anyhow::Result<Exit> {
    pipeline::run(command, || Ok(config), data.overwrite, Added::default(), (&data.metrics, &data.accounting), global)
}
