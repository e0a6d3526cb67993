//! What the user typed.

mod active;
mod dedup;
mod finished;
mod footprint;
mod index;
mod kernel;
mod schedule;
mod score;
mod simulate;
mod tiers;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;
use tamis_pipeline::run::IfLocked;
use tamis_schemas::config::{InputFormat, TextDocuments};
use tamis_schemas::size::ByteSize;
use tamis_schemas::time_span::{ParseTimeSpanError, TimeSpan};

pub(crate) use active::{ActiveCommand, ActiveExport, ActiveImport, ActiveInit, ActiveLedger, ActiveSelect};
pub(crate) use dedup::{Dedup, Guards, HeldOut, Ignoring, Tune};
pub(crate) use finished::{ClusterOrder, Export, FinishedOutput, Gc, Inspect, Reach, Restore, RestoreTier, Thaw, When};
pub(crate) use footprint::{
    Accounting, FootprintAudit, FootprintAvoid, FootprintCommand, FootprintCompare, FootprintGate, FootprintLedger,
    FootprintPlan, FootprintReport, FootprintWhatIf, Switch, TrainingBound,
};
pub(crate) use index::{IndexCommand, IndexExpire, IndexUrl};
pub(crate) use kernel::{Cluster, Engine, KernelCommand, KernelSession};
pub(crate) use schedule::{ScheduleCommand, SchedulePrint, ScheduleRun, Target};
pub(crate) use score::{Distill, Embed, Learning, Score, Select};
pub(crate) use simulate::Simulate;
pub(crate) use tiers::{TiersCommand, TiersLifecycle};

use crate::exit;
use crate::log::{self, LogFormat};

/// Sieves a dataset down to what is worth training on and worth labelling.
#[derive(Debug, Parser)]
#[command(name = "tamis", version, propagate_version = true, max_term_width = 100, after_help = exit::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What must not change the output.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Worker threads [default: the processors granted to this process]
    #[arg(long, global = true, env = "TAMIS_THREADS", value_name = "N", help_heading = "Resources")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Memory to use at most, 64MiB or more, e.g. 512MiB [default: half of what is granted]
    #[arg(long, global = true, env = "TAMIS_MEMORY_LIMIT", value_name = "BYTES", help_heading = "Resources")]
    pub(crate) memory_limit: Option<ByteSize>,
    /// Folder for temporary files [default: the system's]
    #[arg(long, global = true, env = "TAMIS_TEMP_DIR", value_name = "DIR", help_heading = "Resources")]
    pub(crate) temp_dir: Option<PathBuf>,
    /// Rows that travel together between stages
    #[arg(
        long,
        global = true,
        env = "TAMIS_BATCH_ROWS",
        value_name = "N",
        default_value_t = Global::BATCH_ROWS,
        hide_short_help = true,
        help_heading = "Resources"
    )]
    pub(crate) batch_rows: NonZeroUsize,
    /// How the summary is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    pub(crate) format: Format,
    /// Log to stderr; twice for more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
    /// How stderr is written: errors, warnings, the log
    ///
    /// json: every line is an object with `timestamp`, `level`, `run_id`, `message` and more. The run id is new for each run, or
    /// what `TAMIS_RUN_ID` says.
    #[arg(long, global = true, env = log::LOG_FORMAT, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, help_heading = "Output")]
    pub(crate) log_format: LogFormat,
    /// No progress bar
    #[arg(long, global = true, env = "TAMIS_NO_PROGRESS", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    pub(crate) no_progress: bool,
}

impl Global {
    /// Rows that travel together if nobody says otherwise.
    pub(crate) const BATCH_ROWS: NonZeroUsize = NonZeroUsize::new(8192).expect("it is not 0");
}

/// How the summary is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For machines
    Json,
    /// A page for a browser: tamis inspect only
    Html,
    /// For the AWS command line: tamis tiers lifecycle only, as all below
    #[value(hide = true)]
    Aws,
    /// For gcloud
    #[value(hide = true)]
    Gcs,
    /// For the Azure command line
    #[value(hide = true)]
    Azure,
    /// For Terraform
    #[value(hide = true)]
    Terraform,
    /// As CodeCarbon's emissions.csv: tamis footprint report only, as all below
    #[value(hide = true)]
    Csv,
    /// As CodeCarbon's file of tasks
    #[value(hide = true)]
    CodecarbonTasks,
    /// For a pull request
    #[value(hide = true)]
    Md,
    /// In Boavizta's schema for computing tasks
    #[value(hide = true)]
    Boamps,
    /// For Prometheus
    #[value(hide = true)]
    Prometheus,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run what a config file describes
    Run(Run),
    /// Remove near-duplicates, with proof
    Dedup(Dedup),
    /// Show what near-duplicate removal would do at other thresholds
    Tune(Tune),
    /// Compute the embedding of every row with an encoder
    Embed(Embed),
    /// Choose the rows to label next
    Select(Select),
    /// Replay the labelling of rows that have labels: does choosing them pay?
    Simulate(Simulate),
    /// Label in rounds: choose rows, export them, import labels, know when to stop
    #[command(subcommand)]
    Al(ActiveCommand),
    /// Score rows: what a model learned from labels thinks of each, and how sure it is
    Score(Score),
    /// Learn a scorer from judged rows once, and keep it for all others
    Distill(Distill),
    /// Read any input and write it as Parquet
    Convert(Convert),
    /// Bring back the rows of an earlier run as they were read
    Restore(Restore),
    /// List the runs that were added to an output
    Runs(FinishedOutput),
    /// Name the files of an output's tables, for readers of plain Parquet
    Export(Export),
    /// Check that an output is what its runs say, byte by byte
    Verify(FinishedOutput),
    /// Remove what killed runs left in an output: files, and uploads to S3
    Gc(Gc),
    /// Write neighbouring small files of an output that runs are added to into larger ones
    Compact(FinishedOutput),
    /// Show what a run dropped, for which rows, and how the texts differ
    Inspect(Inspect),
    /// Write a config file for given inputs
    Init(Init),
    /// Show, check or describe config files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after an index of earlier runs
    #[command(subcommand)]
    Index(IndexCommand),
    /// Check storage tiers, or print the rules that their buckets need
    #[command(subcommand)]
    Tiers(TiersCommand),
    /// What runs used: energy and emissions, with bounds; budgets, trends, scenarios
    #[command(subcommand)]
    Footprint(FootprintCommand),
    /// Run a config file again and again, or print what does
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Do one task of a run on a cluster: for drivers, see docs/kernel-protocol.md
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Print shell completions
    Completions(Completions),
}

/// `tamis run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Config file; `tamis init` writes one
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
    #[command(flatten)]
    pub(crate) added: Added,
    #[command(flatten)]
    pub(crate) metrics: Metrics,
    #[command(flatten)]
    pub(crate) accounting: Accounting,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// For runs that are added to others.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Added {
    /// While another run adds to the output: fail, skip or wait:TIME [default: fail]
    ///
    /// For output.mode = "append". fail: exit code 75, with who it is. skip: exit code 0. wait:10m: wait so long, then 75. A run that
    /// was killed is taken over when it has shown no sign of life for the time of output.lease (1m), so that telling takes up to
    /// that long. If nothing is new, nobody waits.
    #[arg(long, value_name = "ACTION", value_parser = if_locked)]
    pub(crate) if_locked: Option<IfLocked>,
    /// Exit code if nothing was new, for whoever has to tell [default: 0]
    ///
    /// For output.mode = "append".
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u8).range(3..64))]
    pub(crate) exit_empty: Option<u8>,
}

/// Whether an earlier run may be replaced.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Overwrite {
    /// Replace an earlier run in the output folder
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Numbers of the run for monitoring.
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// Replace this file by the run's numbers, for Prometheus
    ///
    /// In the text format that the textfile collector of Prometheus' node exporter reads. A run that fails writes its exit code and keeps the
    /// time of the last success.
    #[arg(long, env = "TAMIS_METRICS_FILE", value_name = "FILE", help_heading = "Output")]
    pub(crate) metrics_file: Option<PathBuf>,
}

/// What is read and where the result goes.
#[derive(Debug, Args)]
pub(crate) struct Data {
    /// Files, folders, globs, URLs (s3://, gs://, az://), or - for standard input
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// Folder or URL for the result
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: String,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
    #[command(flatten)]
    pub(crate) metrics: Metrics,
    #[command(flatten)]
    pub(crate) accounting: Accounting,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

/// How inputs are read.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// Column with the text, or a template: "{title} {body}"
    #[arg(long, value_name = "COLUMN", default_value = "text", help_heading = "Input")]
    pub(crate) text_column: String,
    /// Column with unique ids; "" numbers the rows [default: id, if there]
    #[arg(long, value_name = "COLUMN", help_heading = "Input")]
    pub(crate) id_column: Option<String>,
    /// Format of all inputs [default: found out for each file]
    #[arg(long, value_name = "FORMAT", value_parser = input_format(), help_heading = "Input")]
    pub(crate) input_format: Option<InputFormat>,
    /// What a document is in plain text
    #[arg(long, value_name = "UNIT", value_parser = text_documents(), default_value = "line", help_heading = "Input")]
    pub(crate) text_documents: TextDocuments,
}

/// `tamis convert`.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) data: Data,
}

/// `tamis init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Files, folders, globs or URLs
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// File to write; - prints it
    #[arg(short, long, value_name = "FILE", default_value = "tamis.toml")]
    pub(crate) output: PathBuf,
    /// Replace the file
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `tamis config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the config with every default, and where each value comes from
    Show(ConfigFile),
    /// Check a config file without running it
    Check(ConfigFile),
    /// Print the JSON Schema of config files
    Schema,
}

/// A config file.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// Config file
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: PathBuf,
}

/// `tamis completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

fn if_locked(text: &str) -> Result<IfLocked, String> {
    match (text, text.strip_prefix("wait:")) {
        ("fail", _) => Ok(IfLocked::Fail),
        ("skip", _) => Ok(IfLocked::Skip),
        (_, Some(time)) => {
            let time: TimeSpan = time.parse().map_err(|error: ParseTimeSpanError| error.to_string())?;
            Ok(IfLocked::Wait(time.duration()))
        }
        _ => Err("write fail, skip, or wait: and a time, for instance wait:10m".into()),
    }
}

fn input_format() -> impl TypedValueParser<Value = InputFormat> {
    one_of(["jsonl", "csv", "tsv", "parquet", "arrow", "text"])
}

fn text_documents() -> impl TypedValueParser<Value = TextDocuments> {
    one_of(["line", "file"])
}

/// A parser of names as config files write them. The config types know nothing of clap, so that their names are listed
/// here; a test parses every one.
fn one_of<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: impl IntoIterator<Item = &'static str>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names)
        .map(|name| serde_json::from_value(name.into()).expect("the names listed are those of the config"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_listed_name_is_one_of_the_config() {
        let base = [
            ("dedup", ["--grain", "line"]),
            ("embed", ["--model", "m"]),
            ("select", ["--budget", "1"]),
            ("score", ["--seed", "0"]),
        ];
        let mut n_names = 0;
        for (name, required) in base {
            let command = Cli::command();
            let command = command.find_subcommand(name).unwrap();
            for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
                let flag = format!("--{}", argument.get_long().unwrap());
                for value in argument.get_possible_values() {
                    if argument.get_action().takes_values() {
                        let typed = ["tamis", name, "in", "-o", "out", &flag, value.get_name()];
                        let needed = required.iter().filter(|_| required[0] != flag);
                        Cli::try_parse_from(typed.iter().chain(needed)).unwrap();
                        n_names += 1;
                    }
                }
            }
        }
        assert!(n_names >= 30, "{n_names} names");
    }
}
