//! When a run begins, and where its tables are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::size::ByteSize;
use crate::time_span::TimeSpan;

/// When a run begins, and how long it may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Minute, hour, day of month, month, day of week: `"30 3 * * mon-fri"`; or `@hourly`, `@daily`, `@weekly`, `@monthly`,
    /// `@yearly`.
    pub cron: String,
    /// The IANA time zone that `cron` is in: `Europe/Berlin`.
    #[serde(default = "default_timezone")]
    pub timezone: String,
    /// Longest random delay of a start, so that many machines do not start at once: `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<TimeSpan>,
    /// Longest time that one run may take: `2h`. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<TimeSpan>,
    /// A run may wait for a cleaner grid, by `forecast`, if it ends within this time after its start is due: `8h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<TimeSpan>,
    /// File with the grid's intensity in the next hours; somebody else keeps it fresh. For `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<String>,
}

fn default_timezone() -> String {
    "UTC".into()
}

/// Where tables are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// Folder or object-store URL of the manifest, and of every tier that names no URL of its own.
    pub path: String,
    /// Tables to write; all that the stages make by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<Table>>,
    /// Whether the output is that of one run, or runs are added to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: OutputMode,
    /// Of an output that runs are added to: a run reads at most so many files, commits what it makes of them, and goes on with
    /// the next ones. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_files: Option<u64>,
    /// The same in stored bytes, e.g. `10GiB`; a larger file is alone in its commit. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_bytes: Option<ByteSize>,
    /// Of an output that runs are added to: for how long a run that works on it may show no sign of life before another takes
    /// over. `0s`: runs do not wait for each other. Default: `1m`. Changes nothing that a run writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<TimeSpan>,
    /// How it is made sure that of runs that are added at the same time one is first. Changes nothing that a run writes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub commit: CommitMode,
}

impl OutputConfig {
    /// All tables of one run, at `path`.
    pub fn new(path: String) -> Self {
        Self {
            path,
            tables: None,
            mode: OutputMode::default(),
            commit_files: None,
            commit_bytes: None,
            lease: None,
            commit: CommitMode::default(),
        }
    }
}

/// What a run does with what is at the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// The output is that of one run: what is there is refused, or replaced if the user says so.
    #[default]
    New,
    /// Each run reads the files that no earlier one has read, and adds what it makes of them. Rows are compared with those that
    /// earlier runs kept.
    Append,
}

/// Who makes sure that of runs that are added at the same time one is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommitMode {
    /// The store, by the conditions of puts: one that does not heed them is refused.
    #[default]
    Conditional,
    /// The user: no two runs write to the output or its index at once. If two do, what one of them added is lost.
    UnsafeSingleWriter,
}

/// Tables that a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Rows that stay.
    Kept,
    /// Rows that were removed.
    Dropped,
    /// The labelling batch.
    Batch,
    /// What the scorer said of every kept row.
    Scores,
    /// Of every row that was judged by its quality, the score.
    Quality,
    /// As many rows as quality keeps, drawn at random from those it judged.
    Control,
    /// The embedding of every kept row.
    Embeddings,
    /// Why each dropped row was dropped.
    Evidence,
    /// What was cut out of kept rows.
    Spans,
    /// Rows that could not be read.
    Rejected,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 10] = [
        Self::Kept,
        Self::Dropped,
        Self::Batch,
        Self::Scores,
        Self::Quality,
        Self::Control,
        Self::Embeddings,
        Self::Evidence,
        Self::Spans,
        Self::Rejected,
    ];

    /// Folder of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Dropped => "dropped",
            Self::Batch => "batch",
            Self::Scores => "scores",
            Self::Quality => "quality",
            Self::Control => "control",
            Self::Embeddings => "embeddings",
            Self::Evidence => "evidence",
            Self::Spans => "spans",
            Self::Rejected => "rejected",
        }
    }
}
