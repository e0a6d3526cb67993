//! The commit log of an output that runs are added to: what each run read and wrote.
//!
//! One file per run, `_tamis/commits/<version, 20 digits>.json`, created only if it is not there and never changed: a run
//! whose file is there is part of the output, any other is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{Table, is_default};
use crate::index::SegmentRecord;
use crate::manifest::{FileRecord, Manifest, RowCounts};

/// Version of the layout of a commit. Versions before 2 know of no files that are replaced, those before 3 of one segment at most,
/// which they call `segment`.
pub const COMMIT_VERSION: u32 = 3;

/// One run that was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// [`COMMIT_VERSION`].
    pub commit_version: u32,
    /// Ordinal of the run, from 0. Its file is named so.
    pub version: u64,
    /// Name of the run, its own: the names of its files begin with it.
    pub run: String,
    /// The run id in its logs, if that is not what its name begins with: `TAMIS_RUN_ID` has named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: CommitKind,
    /// When it ended, in seconds since 1970.
    pub committed_at: u64,
    /// The lease that it was added under, 0 if there was none: see [`LeaseRecord`](crate::lease::LeaseRecord).
    #[serde(default, skip_serializing_if = "is_default")]
    pub epoch: u64,
    /// The files that it read: no later run reads them again.
    pub inputs: Vec<CommittedInput>,
    /// Where its tables lie, and their columns with those of all runs before it.
    pub tables: BTreeMap<Table, CommittedTable>,
    /// What it added to the index over runs, in the order of the rows.
    #[serde(default, alias = "segment", deserialize_with = "one_or_several", skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentRecord>,
    /// Files of earlier commits that are no longer part of the output, and what takes their place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced: BTreeMap<Table, Vec<Replacement>>,
    /// Rows of earlier commits that are no longer part of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawn>,
    /// What it decided and wrote; paths of files are relative to the output, or URLs. Of upkeep, which reads no input, the
    /// settings of the last run alone.
    pub manifest: Manifest,
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SegmentRecord>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Segments {
        One(Box<SegmentRecord>),
        Several(Vec<SegmentRecord>),
    }
    Ok(match Segments::deserialize(deserializer)? {
        Segments::One(segment) => vec![*segment],
        Segments::Several(segments) => segments,
    })
}

/// What a commit is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitKind {
    /// Rows that a run has read.
    #[default]
    Run,
    /// The same rows in fewer files.
    Compact,
    /// Rows whose time is over, left out.
    Expire,
}

/// Neighbouring files of a table, and those that have taken their place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Paths of the files that are gone.
    pub removed: Vec<String>,
    /// Files in their place; none if no row is left.
    pub added: Vec<FileRecord>,
}

/// Rows that an earlier commit added and that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// How many.
    pub rows: RowCounts,
    /// Of the dropped ones, how many by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped_by_reason: BTreeMap<String, u64>,
    /// URLs of the inputs that have changed.
    pub inputs: Vec<String>,
    /// Ids of the kept ones, which leave the index over runs: an Arrow IPC file with the column `tamis_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<FileRecord>,
}

/// A file that was read, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedInput {
    /// Where it is, whatever the working folder.
    pub url: String,
    /// Version or entity tag, if the store has one: of a local file, made of inode, size and time of change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Stored bytes.
    pub size_bytes: u64,
}

/// A table of the output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommittedTable {
    /// Folder or URL of the table, if it does not lie beneath the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its columns, as the schema of a Delta Lake table.
    pub schema: serde_json::Value,
}
