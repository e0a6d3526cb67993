//! What the user typed about footprints.

#![expect(clippy::doc_markdown, reason = "these are help texts: names and units stand as elsewhere")]

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use tamis_pipeline::footprint::tables::Tables;
use tamis_schemas::footprint::{BoundConfig, Label, MethodConfig, ViewConfig};
use tamis_schemas::time_span::TimeSpan;

use super::{Format, one_of};

/// How energy and emissions of a run are accounted for.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Footprint")]
pub(crate) struct Accounting {
    /// Account for energy and emissions, in OUT.footprint beside the output: on or off [default: on]
    #[arg(long, env = "TAMIS_FOOTPRINT", value_name = "SWITCH", value_enum)]
    pub(crate) footprint: Option<Switch>,
    /// Where the machine stands: FRA, gcp:europe-west9, aws:eu-west-3, azure:francecentral
    #[arg(long, env = "TAMIS_REGION", value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Grams of CO2e per kWh, in place of what the tables say of the region
    #[arg(long, value_name = "G_PER_KWH")]
    pub(crate) intensity: Option<f64>,
    /// File with what the grid's intensity was, in any of the shapes of forecasts
    ///
    /// It must say what came to pass: a forecast is refused.
    #[arg(long, value_name = "FILE")]
    pub(crate) actuals: Option<String>,
    /// Power usage effectiveness of the site, 1 or more
    #[arg(long, value_name = "RATIO")]
    pub(crate) pue: Option<f64>,
    /// Readings of a power meter: CSV of timestamp,watts or timestamp,joules
    #[arg(long, value_name = "FILE")]
    pub(crate) power_file: Option<String>,
    /// Rule for the energy of the processor [default: the best that works]
    #[arg(long, value_name = "METHOD", value_parser = one_of::<MethodConfig>([
        "power-file", "powercap", "spec-family", "tdp", "generic", "codecarbon-compat",
    ]))]
    pub(crate) method: Option<MethodConfig>,
    /// Do not begin, or stop between two stages, if the run costs more grams of CO2e: exit code 3
    #[arg(long, value_name = "G")]
    pub(crate) max_g: Option<f64>,
    /// Start when the grid is cleanest, so that the run ends within this time, e.g. 8h
    ///
    /// By --forecast, and by how long earlier runs to this output took. Whatever speaks against waiting (no forecast, an old one, a gain
    /// of less than 5 %, a run of unknown length): now.
    #[arg(long, value_name = "TIME")]
    pub(crate) start_within: Option<TimeSpan>,
    /// File with the grid's intensity in the next hours, for --start-within
    ///
    /// tamis.forecast/1, or as the UK's carbon intensity API, WattTime, Electricity Maps or the Carbon Aware SDK give it.
    #[arg(long, value_name = "FILE")]
    pub(crate) forecast: Option<String>,
    /// Print when to start, for another scheduler, and do not run
    #[arg(long, requires = "start_within")]
    pub(crate) print_start: bool,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// On
    On,
    /// Off
    Off,
}

/// `tamis footprint`.
#[derive(Debug, Subcommand)]
pub(crate) enum FootprintCommand {
    /// Show what a run used: energy and emissions, by stage and for each unit of work
    Report(FootprintReport),
    /// Compare a run with another by the same measure
    Compare(FootprintCompare),
    /// Look for stages that use more from run to run: exit code 3 if one does, 4 if it cannot be seen
    Audit(FootprintAudit),
    /// Judge a run by a budget: exit code 3 above it, 4 if it cannot be seen
    Gate(FootprintGate),
    /// Show what a run may save later: training, storage, labels. Scenarios, never taken off
    Avoid(FootprintAvoid),
    /// Show a run as it would have been elsewhere, or on another processor
    WhatIf(FootprintWhatIf),
    /// Predict the next run by earlier ones
    Plan(FootprintPlan),
    /// Check that no row of a ledger was changed
    Verify(FootprintLedger),
    /// Show which power meters this machine has
    Doctor,
}

/// Which ledger.
#[derive(Debug, Args)]
pub(crate) struct FootprintLedger {
    /// An output that a run wrote, or the ledger itself (OUT.footprint, or a .jsonl)
    #[arg(value_name = "RUN")]
    pub(crate) ledger: String,
}

/// Which energy.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct View {
    /// provisioned: with a share of what the machine draws when idle; dynamic: beyond idle
    #[arg(long, value_name = "VIEW", default_value = "provisioned", value_parser = one_of::<ViewConfig>(["provisioned", "dynamic"]))]
    pub(crate) view: ViewConfig,
}

/// `tamis footprint report`.
#[derive(Debug, Args)]
pub(crate) struct FootprintReport {
    #[command(flatten)]
    pub(crate) ledger: FootprintLedger,
    /// Which run [default: the last one]
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    /// One unit of work only: mdoc, gb, survivor-mtoken or label [default: all that were counted]
    #[arg(long, value_name = "UNIT")]
    pub(crate) per: Option<String>,
    /// File with what the grid's intensity was: shows what a start chosen by --start-within saved
    #[arg(long, value_name = "FILE")]
    pub(crate) actuals: Option<String>,
    #[command(flatten)]
    pub(crate) view: View,
    // In place of the one of all commands, and with its name: help and errors list what this command writes.
    /// How it is written
    #[arg(long, value_name = "FORMAT", value_parser = report_format(), default_value = "text", help_heading = "Output")]
    pub(crate) format: Format,
    /// File to write it to; one that is there is refused, but for --append
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
    /// Add rows to the file, if it has the columns of --format: csv and codecarbon-tasks
    #[arg(long, requires = "output", help_heading = "Output")]
    pub(crate) append: bool,
}

fn report_format() -> impl TypedValueParser<Value = Format> {
    let forms = [
        (Format::Text, "For people"),
        (Format::Json, "For machines"),
        (Format::Md, "For a pull request"),
        (Format::Csv, "As CodeCarbon's emissions.csv: a row for the run"),
        (Format::CodecarbonTasks, "As CodeCarbon's file of tasks: a row for each stage"),
        (Format::Boamps, "In Boavizta's schema for computing tasks"),
        (Format::Prometheus, "Gauges for Prometheus"),
    ];
    let named =
        |(form, help): (Format, &'static str)| form.to_possible_value().map(|value| value.hide(false).help(help));
    let named: Vec<PossibleValue> = forms.into_iter().filter_map(named).collect();
    PossibleValuesParser::new(named)
        .map(|name| Format::from_str(&name, false).expect("the names listed are those of forms"))
}

/// `tamis footprint compare`.
#[derive(Debug, Args)]
pub(crate) struct FootprintCompare {
    #[command(flatten)]
    pub(crate) ledger: FootprintLedger,
    /// What it is compared with: another output or ledger; its last run of the same command counts
    #[arg(long, value_name = "RUN")]
    pub(crate) baseline: String,
    /// What energy is divided by: mdoc, gb, survivor-mtoken or label
    #[arg(long, value_name = "UNIT", default_value = "mdoc")]
    pub(crate) per: String,
    /// Compare although methods, boundaries or commands differ
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) view: View,
}

/// `tamis footprint audit`.
#[derive(Debug, Args)]
pub(crate) struct FootprintAudit {
    #[command(flatten)]
    pub(crate) ledger: FootprintLedger,
    /// Runs to look at, from the end
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) last: usize,
    /// What energy is divided by: mdoc, gb, survivor-mtoken or label
    #[arg(long, value_name = "UNIT", default_value = "mdoc")]
    pub(crate) per: String,
    /// Rise of the energy per unit, of the run or a stage, above which it is flagged: exit code 3
    #[arg(long, value_name = "RATIO", default_value_t = 0.15)]
    pub(crate) max_rise_ratio: f64,
    #[command(flatten)]
    pub(crate) view: View,
}

/// `tamis footprint gate`.
#[derive(Debug, Args)]
pub(crate) struct FootprintGate {
    #[command(flatten)]
    pub(crate) ledger: FootprintLedger,
    /// Most grams of CO2e
    #[arg(long, value_name = "G")]
    pub(crate) max_g: Option<f64>,
    /// Most kWh
    #[arg(long, value_name = "KWH")]
    pub(crate) max_kwh: Option<f64>,
    /// Most grams of CO2e for a million input documents
    #[arg(long, value_name = "G")]
    pub(crate) max_g_per_mdoc: Option<f64>,
    /// Which bound must be within: low, mid or high
    #[arg(long, value_name = "BOUND", default_value = "high", value_parser = one_of::<BoundConfig>(["low", "mid", "high"]))]
    pub(crate) bound: BoundConfig,
    /// The worst label that counts as metered: measured, estimated or assumed
    #[arg(long, value_name = "LABEL", value_parser = one_of::<Label>(["measured", "estimated", "assumed"]))]
    pub(crate) require: Option<Label>,
    #[command(flatten)]
    pub(crate) view: View,
}

/// `tamis footprint avoid`.
#[derive(Debug, Args)]
pub(crate) struct FootprintAvoid {
    #[command(flatten)]
    pub(crate) ledger: FootprintLedger,
    /// Parameters of the model that is trained on the output, e.g. 1.2e9
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(crate) params: Option<f64>,
    /// Passes over the data
    #[arg(long, value_name = "N", default_value_t = 1.0, help_heading = "Training")]
    pub(crate) epochs: f64,
    /// Times that it is trained
    #[arg(long, value_name = "N", default_value_t = 1.0, help_heading = "Training")]
    pub(crate) trainings: f64,
    /// What bounds the training
    ///
    /// epochs: less data is less work. tokens: other data takes the place of what was dropped, and nothing is saved.
    #[arg(long, value_enum, value_name = "BOUND", default_value = "unknown", help_heading = "Training")]
    pub(crate) bound_by: TrainingBound,
    /// Tokens that were dropped [default: what the run counted]
    #[arg(long, value_name = "N", requires = "params", help_heading = "Training")]
    pub(crate) tokens_removed: Option<f64>,
    /// Storage tier that dropped data would lie in
    #[arg(long, value_name = "TIER", value_parser = storage_tier(), help_heading = "Storage")]
    pub(crate) storage_tier: Option<String>,
    /// Years it would lie there
    #[arg(long, value_name = "YEARS", default_value_t = 1.0, help_heading = "Storage")]
    pub(crate) years: f64,
    /// The originals are deleted: if they are kept, nothing is saved
    #[arg(long, requires = "storage_tier", help_heading = "Storage")]
    pub(crate) originals_deleted: bool,
    /// Bytes that were dropped [default: what the run counted]
    #[arg(long, value_name = "BYTES", requires = "storage_tier", help_heading = "Storage")]
    pub(crate) bytes_removed: Option<f64>,
    /// Labels that need not be bought
    #[arg(long, value_name = "N", help_heading = "Labels")]
    pub(crate) labels_avoided: Option<f64>,
    /// Seconds of work for a label
    #[arg(long, value_name = "SECONDS", requires = "labels_avoided", help_heading = "Labels")]
    pub(crate) seconds_per_label: Option<f64>,
    /// Watts that a place of work draws
    #[arg(long, value_name = "WATTS", requires = "labels_avoided", help_heading = "Labels")]
    pub(crate) workplace_watts: Option<f64>,
}

fn storage_tier() -> PossibleValuesParser {
    PossibleValuesParser::new(Tables::shipped().storage.iter().map(|row| row.tier.as_str()))
}

/// What bounds a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrainingBound {
    /// A number of passes over the data
    Epochs,
    /// A number of tokens or hours
    Tokens,
    /// Not known: from nothing up to all of it
    Unknown,
}

/// `tamis footprint what-if`.
#[derive(Debug, Args)]
pub(crate) struct FootprintWhatIf {
    #[command(flatten)]
    pub(crate) ledger: FootprintLedger,
    /// Another region
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Another intensity, grams of CO2e per kWh
    #[arg(long, value_name = "G_PER_KWH")]
    pub(crate) intensity: Option<f64>,
    /// Another power usage effectiveness
    #[arg(long, value_name = "RATIO")]
    pub(crate) pue: Option<f64>,
    /// Another processor family, by its name in the tables, e.g. "EPYC 9xx5"
    #[arg(long, value_name = "FAMILY")]
    pub(crate) cpu: Option<String>,
    #[command(flatten)]
    pub(crate) view: View,
}

/// `tamis footprint plan`.
#[derive(Debug, Args)]
pub(crate) struct FootprintPlan {
    #[command(flatten)]
    pub(crate) ledger: FootprintLedger,
    /// Bytes of the input, as stored [default: those of the last run]
    #[arg(long, value_name = "BYTES")]
    pub(crate) input_bytes: Option<u64>,
    #[command(flatten)]
    pub(crate) view: View,
}
