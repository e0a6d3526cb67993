//! What the user typed about runs that have ended.

use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::{Args, ValueEnum};
use tamis_schemas::age::Age;
use tamis_schemas::config::Table;

use super::{Overwrite, one_of};

/// How buckets are reached that the usual variables do not lead to.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// Config whose tiers say how their buckets are reached
    ///
    /// For buckets with an endpoint, a region or credentials of their own. A manifest is not asked for them: whoever can
    /// write it would choose where our keys are used.
    #[arg(long, value_name = "CONFIG.toml")]
    pub(crate) tiers: Option<PathBuf>,
}

/// `tamis restore`.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_HELP)]
pub(crate) struct Restore {
    /// Folder or URL of a finished run
    #[arg(value_name = "OUT")]
    pub(crate) from: String,
    /// Folder or URL for the rows
    #[arg(short, long, value_name = "ROWS", required_unless_present = "ask_for")]
    pub(crate) output: Option<String>,
    /// Leave dropped rows out
    #[arg(long, conflicts_with_all = ["run", "id", "cluster"])]
    pub(crate) kept_only: bool,
    /// Only rows that this run dropped, by its name in `tamis runs`; may be given again
    ///
    /// Rows must match one of each kind that is given: runs, ids, clusters. Files of other runs are not read.
    #[arg(long, value_name = "NAME", help_heading = "Dropped rows alone")]
    pub(crate) run: Vec<String>,
    /// Only the dropped row of this id; may be given again
    #[arg(long, value_name = "ID", help_heading = "Dropped rows alone")]
    pub(crate) id: Vec<String>,
    /// Only rows dropped for the kept row of this id; may be given again
    #[arg(long, value_name = "ID", help_heading = "Dropped rows alone")]
    pub(crate) cluster: Vec<String>,
    #[command(flatten)]
    pub(crate) thaw: Thaw,
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
}

/// How files are asked for that lie in an archive.
#[derive(Debug, Args)]
#[command(next_help_heading = "Archived files")]
pub(crate) struct Thaw {
    /// Days for which archived files can be read when they are back
    ///
    /// Files in an archive (`GLACIER`, `DEEP_ARCHIVE`, Azure's `Archive`) are asked for, all that are needed at once; the command
    /// ends with exit code 75 and is run again when they are back. On Azure they stay until they are archived again.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) restore_days: u32,
    /// How soon archived files come back, and at what price
    #[arg(long, value_name = "TIER", value_enum, default_value_t = RestoreTier::Standard)]
    pub(crate) restore_tier: RestoreTier,
    /// Only ask for the archived files of this table; may be given again
    #[arg(long, value_name = "TABLE", value_parser = table(), conflicts_with_all = ["output", "kept_only", "run", "id", "cluster"])]
    pub(crate) ask_for: Vec<Table>,
}

/// How soon archived files come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestoreTier {
    /// In hours: 5 from `GLACIER`, 12 from `DEEP_ARCHIVE`, 15 from Azure
    Standard,
    /// Later, for less: 12 from `GLACIER`, 48 from `DEEP_ARCHIVE`
    Bulk,
    /// In minutes, for much more; not from `DEEP_ARCHIVE`
    Expedited,
}

const RESTORE_HELP: &str = "Examples:
  tamis restore out -o all
  tamis restore out -o back --run 01a2279f-4a5f-7333-b36b-24df300a0c00-0
  tamis restore out -o back --cluster 'web.jsonl#17' --cluster 'web.jsonl#31'
  tamis restore s3://acme-train/curated --ask-for evidence --restore-tier bulk";

/// An output, and how it is reached.
#[derive(Debug, Args)]
pub(crate) struct FinishedOutput {
    /// Folder or URL of the output
    #[arg(value_name = "OUT")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `tamis export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) output: FinishedOutput,
    /// Print the path or URL of each file, one a line
    #[arg(long, required = true)]
    pub(crate) files: bool,
    /// Table
    #[arg(long, value_name = "TABLE", value_parser = table(), default_value = "kept")]
    pub(crate) table: Table,
}

/// `tamis gc`.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) output: FinishedOutput,
    /// Age from which files that no run names are removed, and uploads to S3 that never ended aborted
    ///
    /// 36h, 1d, 2w; 0h spares none. Longer than any run takes: a run that is still going has such files and uploads too.
    #[arg(long, value_name = "AGE", default_value = "1d")]
    pub(crate) grace: Age,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `tamis inspect`.
#[derive(Debug, Args)]
#[command(after_help = INSPECT_HELP)]
pub(crate) struct Inspect {
    /// Folder or URL of a finished run
    #[arg(value_name = "OUT")]
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// A cluster: its kept row beside each row dropped for it
    #[arg(long, value_name = "ID", conflicts_with_all = ["dropped", "by", "sort", "top"], help_heading = "What is shown")]
    pub(crate) cluster: Option<String>,
    /// A dropped row beside the row that stands for it
    #[arg(long, value_name = "ID", conflicts_with_all = ["by", "sort", "top", "limit"], help_heading = "What is shown")]
    pub(crate) dropped: Option<String>,
    /// Which clusters come first
    #[arg(long, value_enum, default_value_t = ClusterOrder::Size, help_heading = "What is shown")]
    pub(crate) sort: ClusterOrder,
    /// Column whose values are the sources [default: input files]
    ///
    /// Input files are known if rows have no id column: ids are `<file>#<row>` then.
    #[arg(long, value_name = "COLUMN", help_heading = "What is shown")]
    pub(crate) by: Option<String>,
    /// Clusters and sources to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..), help_heading = "What is shown")]
    pub(crate) top: u16,
    /// Dropped rows to show of a cluster
    ///
    /// The least similar come first.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..), help_heading = "What is shown")]
    pub(crate) limit: u16,
    /// Show whole texts, not only where they differ
    #[arg(long, help_heading = "What is shown")]
    pub(crate) full: bool,
    /// Columns to fill [default: the terminal's]
    ///
    /// Below 80, the two texts are shown as one. Where there is no terminal, 100.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(20..), help_heading = "Output")]
    pub(crate) width: Option<u16>,
    /// Colors; auto: on a terminal, unless `NO_COLOR` is set
    #[arg(long, value_enum, default_value_t = When::Auto, value_name = "WHEN", help_heading = "Output")]
    pub(crate) color: When,
    /// File to write, instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file
    #[arg(long, requires = "output", help_heading = "Output")]
    pub(crate) overwrite: bool,
}

const INSPECT_HELP: &str = "Examples:
  tamis inspect out
  tamis inspect out --sort similarity --top 5
  tamis inspect out --dropped 'web.jsonl#17' --full
  tamis inspect out --format html -o page.html";

/// Order of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterOrder {
    /// The largest first
    Size,
    /// Those with the least similar row first
    Similarity,
    /// By source of the kept row, the largest of each first
    Source,
}

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

fn table() -> impl TypedValueParser<Value = Table> {
    one_of(["kept", "dropped", "batch", "scores", "evidence", "spans", "rejected"])
}
