//! `tamis simulate`.

use clap::Args;
use tamis_schemas::config::{Head, Strategy};

use super::score::{head, strategy};
use super::{Accounting, Overwrite, Reading};

/// `tamis simulate`.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Rows that have labels: files, folders, globs or URLs
    #[arg(required = true, value_name = "DATA")]
    pub(crate) inputs: Vec<String>,
    /// Folder or URL for curves.parquet, curves.svg and summary.json
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: String,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
    #[command(flatten)]
    pub(crate) accounting: Accounting,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Column with the label
    #[arg(long, value_name = "COLUMN", default_value = "label", help_heading = "Simulation")]
    pub(crate) label_column: String,
    /// Column that tells test rows from others [default: a fifth of the rows is for testing]
    #[arg(long, value_name = "COLUMN", requires = "test_split_value", help_heading = "Simulation")]
    pub(crate) test_split_column: Option<String>,
    /// What test rows have there
    #[arg(long, value_name = "VALUE", requires = "test_split_column", help_heading = "Simulation")]
    pub(crate) test_split_value: Option<String>,
    /// What learns: builtin, an encoder's folder or URL, or column:NAME (of embeddings)
    #[arg(long, value_name = "SCORER", default_value = "builtin", help_heading = "Simulation")]
    pub(crate) scorer: String,
    /// What learns from an encoder's embeddings: linear or mlp [default: linear]
    #[arg(long, value_name = "HEAD", value_parser = head(), help_heading = "Simulation")]
    pub(crate) head: Option<Head>,
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Simulation")]
    pub(crate) device: String,
    /// Acquisition function, beside random; may be repeated [default: auto and margin]
    ///
    /// auto is all that `tamis select` does by default: near-duplicates count once, a tenth of each batch is random. The others are what their
    /// names say and nothing else.
    #[arg(long, value_name = "NAME", value_parser = strategy(), value_delimiter = ',', help_heading = "Simulation")]
    pub(crate) strategy: Vec<Strategy>,
    /// Labels before the first round, drawn at random
    #[arg(long, value_name = "N", default_value_t = 25, help_heading = "Simulation")]
    pub(crate) init: usize,
    /// Labels of a round
    #[arg(long, value_name = "N", default_value_t = 25, help_heading = "Simulation")]
    pub(crate) batch: usize,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Simulation")]
    pub(crate) rounds: usize,
    /// Replays of each strategy, each with other first labels
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Simulation")]
    pub(crate) seeds: u64,
    /// Have each row of the pool so many times
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Harder pools")]
    pub(crate) duplicate: usize,
    /// Leave out rows until the largest class has so many times as many as the smallest
    #[arg(long, value_name = "RATIO", default_value_t = 1.0, help_heading = "Harder pools")]
    pub(crate) imbalance: f64,
    /// Share of the labels that are wrong, 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.0, help_heading = "Harder pools")]
    pub(crate) noise: f64,
}
