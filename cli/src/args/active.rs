//! `tamis al`: rounds of labelling.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use tamis_pipeline::label_tools::LabelTool;
use tamis_schemas::config::{Head, Strategy};

use super::score::{head, strategy};
use super::{Accounting, Reading};

/// `tamis al`.
#[derive(Debug, Subcommand)]
pub(crate) enum ActiveCommand {
    /// Begin a loop over a pool
    Init(ActiveInit),
    /// Learn from all labels so far and choose the next rows to label
    Select(ActiveSelect),
    /// Write a round's rows as files that a label tool imports
    Export(ActiveExport),
    /// Take in what was labelled
    Import(ActiveImport),
    /// Show rounds, accuracy, stop rules, and whether to go on
    Status(ActiveLedger),
}

/// Which loop.
#[derive(Debug, Args)]
pub(crate) struct ActiveLedger {
    /// Folder or URL of the loop's ledger
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: String,
}

/// `tamis al init`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  tamis al init loop pool/ --budget 100 --classes positive,negative
  tamis al select loop
  tamis al export loop --tool label-studio -o tasks
  tamis al import loop export.json
  tamis al status loop")]
pub(crate) struct ActiveInit {
    #[command(flatten)]
    pub(crate) ledger: ActiveLedger,
    /// The pool: files, folders, globs or URLs; folders may hold more in later rounds
    ///
    /// Paths are kept as they are written: run later commands in the same folder, or write absolute paths.
    #[arg(required = true, value_name = "POOL")]
    pub(crate) inputs: Vec<String>,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Rows of a round
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Selection")]
    pub(crate) budget: u64,
    /// What learns from the labels: builtin, an encoder's folder or URL, or column:NAME
    ///
    /// column:NAME is a column of embeddings that rows of the pool have already.
    #[arg(long, value_name = "SCORER", default_value = "builtin", help_heading = "Selection")]
    pub(crate) scorer: String,
    /// What learns from an encoder's embeddings: linear or mlp [default: linear]
    #[arg(long, value_name = "HEAD", value_parser = head(), help_heading = "Selection")]
    pub(crate) head: Option<Head>,
    /// With an encoder: embeddings of earlier rounds (folder or URL), only new texts are computed
    #[arg(long, value_name = "URL", help_heading = "Selection")]
    pub(crate) cache: Option<String>,
    /// Acquisition function, see docs/selection.md
    ///
    /// While no two classes have a label, those that ask what the model is unsure of choose as auto does.
    #[arg(long, value_name = "NAME", value_parser = strategy(), default_value = "auto", help_heading = "Selection")]
    pub(crate) strategy: Strategy,
    /// Share of each round chosen at random, 0 to 1
    ///
    /// Accuracy is measured on these rows alone: the others are chosen because they are hard. At 0 it is not known.
    #[arg(long, value_name = "RATIO", default_value_t = 0.1, help_heading = "Selection")]
    pub(crate) random_ratio: f64,
    /// Spread rounds over the values of this column; `tamis_length`: over short and long texts
    #[arg(long, value_name = "COLUMN", requires = "stratum_max_ratio", help_heading = "Selection")]
    pub(crate) stratum_column: Option<String>,
    /// Share of a round that one such value may take, 0 to 1
    #[arg(long, value_name = "RATIO", requires = "stratum_column", help_heading = "Selection")]
    pub(crate) stratum_max_ratio: Option<f64>,
    /// Most cosine of a row's embedding and a labelled or chosen one's; the random slice heeds no limit
    #[arg(long, value_name = "COSINE", help_heading = "Selection")]
    pub(crate) max_similarity: Option<f64>,
    /// Weigh rows by their cost to this power: 1 asks what a row gives for what it costs
    ///
    /// The cost is the time that an answer to a text of its length takes, as far as the label tool has measured it (20 answers or
    /// more), and else the length of the text.
    #[arg(long, value_name = "POWER", default_value_t = 0.0, help_heading = "Selection")]
    pub(crate) cost_exponent: f64,
    /// Jaccard similarity from which only one of two rows is chosen
    #[arg(long, value_name = "RATIO", default_value_t = 0.8, help_heading = "Selection")]
    pub(crate) threshold: f64,
    /// Seed of the scorer and of random choices
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Selection")]
    pub(crate) seed: u64,
    /// Classes to choose from, with commas between them [default: whatever is labelled]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = "Labels")]
    pub(crate) classes: Vec<String>,
    /// Labels that there is money for: tamis al status says stop then
    #[arg(long, value_name = "N", help_heading = "Labels")]
    pub(crate) max_labels: Option<u64>,
    /// Random rows whose predictions are compared from round to round
    #[arg(long, value_name = "N", default_value_t = 2000, help_heading = "Labels")]
    pub(crate) stop_set_rows: u64,
}

/// `tamis al select`.
#[derive(Debug, Args)]
pub(crate) struct ActiveSelect {
    #[command(flatten)]
    pub(crate) ledger: ActiveLedger,
    /// Rows to choose [default: that of the loop]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Selection")]
    pub(crate) budget: Option<u64>,
    /// Choose although no row of an earlier round has an answer yet
    #[arg(long, help_heading = "Selection")]
    pub(crate) anyway: bool,
    #[command(flatten)]
    pub(crate) accounting: Accounting,
}

/// `tamis al export`.
#[derive(Debug, Args)]
pub(crate) struct ActiveExport {
    #[command(flatten)]
    pub(crate) ledger: ActiveLedger,
    /// For which tool
    #[arg(long, value_name = "TOOL", value_parser = label_tool())]
    pub(crate) tool: LabelTool,
    /// Which round [default: the last one]
    #[arg(long, value_name = "N")]
    pub(crate) round: Option<u32>,
    /// Folder or URL for the files
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: String,
    /// Replace files of the same name
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `tamis al import`.
#[derive(Debug, Args)]
pub(crate) struct ActiveImport {
    #[command(flatten)]
    pub(crate) ledger: ActiveLedger,
    /// Files or URLs with labels; the same ones again change nothing
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// Of which tool [default: found out for each file]
    #[arg(long, value_name = "TOOL", value_parser = label_tool())]
    pub(crate) tool: Option<LabelTool>,
    /// Column with the label, in csv, jsonl and parquet
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    pub(crate) label_column: String,
    /// Column with the id, in csv, jsonl and parquet; if it is not there: id
    #[arg(long, value_name = "COLUMN", default_value = "tamis_id")]
    pub(crate) id_column: String,
    /// Which question, if the tool asked several: Label Studio's `from_name`, Argilla's question
    #[arg(long, value_name = "NAME")]
    pub(crate) question: Option<String>,
    /// The file of doccano was exported with "Export only approved documents"
    ///
    /// Without it, a document without a label is taken for one that nobody has looked at, and a suggested label for a draft: doccano
    /// does not say who has looked at what.
    #[arg(long)]
    pub(crate) approved_only: bool,
    /// Take in labels of rows that no round handed out: labels from before the loop
    #[arg(long)]
    pub(crate) outside: bool,
}

fn label_tool() -> impl TypedValueParser<Value = LabelTool> {
    PossibleValuesParser::new(LabelTool::ALL.map(LabelTool::name)).try_map(|name| name.parse::<LabelTool>())
}
