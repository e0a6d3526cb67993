//! What the user typed about an index over runs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tamis_schemas::age::Age;

use super::Reach;

/// `tamis index`.
#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Print parameters, segments and runs
    Show(IndexUrl),
    /// Let rows expire by age or id: later runs are not compared with them
    Expire(IndexExpire),
    /// Remove the rows of a run, or the whole index
    Delete(IndexDelete),
    /// Merge small segments and leave out what has expired
    Compact(IndexCompact),
    /// Read every byte and check it
    Verify(IndexUrl),
}

/// Which index.
#[derive(Debug, Args)]
pub(crate) struct IndexUrl {
    /// Folder or URL of the index
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `tamis index expire`.
#[derive(Debug, Args)]
pub(crate) struct IndexExpire {
    #[command(flatten)]
    pub(crate) index: IndexUrl,
    #[command(flatten)]
    pub(crate) rows: ExpireRows,
}

/// Which rows expire.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ExpireRows {
    /// Rows added longer ago, e.g. 90d, 12w or 36h
    #[arg(long, value_name = "AGE", conflicts_with_all = ["id", "ids"])]
    pub(crate) older_than: Option<Age>,
    /// Rows with this id; may be repeated
    #[arg(long, value_name = "ID")]
    pub(crate) id: Vec<String>,
    /// Rows with the ids in this file, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) ids: Option<PathBuf>,
}

/// `tamis index delete`.
#[derive(Debug, Args)]
pub(crate) struct IndexDelete {
    #[command(flatten)]
    pub(crate) index: IndexUrl,
    /// Only the rows that this run added; `tamis index show` lists the runs
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Do it: without --run the whole index is gone
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `tamis index compact`.
#[derive(Debug, Args)]
pub(crate) struct IndexCompact {
    #[command(flatten)]
    pub(crate) index: IndexUrl,
    /// Age from which files of runs that ended early are removed; longer than any run takes
    #[arg(long, value_name = "AGE", default_value = "1d")]
    pub(crate) orphans: Age,
}
