//! The manifest of an index over runs: which segments it has, and under which parameters their rows were compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::FileRecord;

/// Version of the layout of an index.
pub const INDEX_VERSION: u32 = 1;

/// `index.json`. Replaced as a whole, only if nobody else has replaced it meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexManifest {
    /// [`INDEX_VERSION`].
    pub index_version: u32,
    /// What rows must agree in to be compared.
    pub parameters: IndexParameters,
    /// Segments, rows added first foremost.
    pub segments: Vec<SegmentRecord>,
    /// Of each output that runs are added to, by the name of its first run: the last run whose rows are here, or have been.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub followed: BTreeMap<String, u64>,
}

/// Everything that makes the rows of two runs comparable, and the decision between them the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexParameters {
    /// Version of the rules that turn a text into tokens and shingle hashes.
    pub text_version: u32,
    /// Version of the sketch.
    pub sketch_version: u32,
    /// What is compared: `jaccard`.
    pub measure: String,
    /// Least similarity of near-duplicates.
    pub threshold: f64,
    /// Share of the pairs at the threshold that become candidates.
    pub recall: f64,
    /// Tokens per shingle.
    pub ngram: usize,
    /// Seed of the shingle hashes.
    pub seed: u64,
    /// Compared without diacritics.
    pub ignore_diacritics: bool,
    /// Compared with every digit as 0.
    pub ignore_digits: bool,
    /// Compared without punctuation.
    pub ignore_punctuation: bool,
    /// Slots of a sketch; 0 if rows have none (recall 1).
    pub slots: usize,
    /// Bands of a sketch; 0 at recall 1.
    pub bands: usize,
    /// Slots of a band; 0 at recall 1.
    pub rows_per_band: usize,
}

/// Some rows, in files that never change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// Folder of the segment, relative to the index.
    pub path: String,
    /// Rows, expired ones counted too.
    pub rows: u64,
    /// `rows.parquet`: what is known of each row.
    pub rows_file: FileRecord,
    /// `keys.parquet`: the keys by which rows are found, sorted.
    pub keys_file: FileRecord,
    /// `checksums`: of every block of the two files.
    pub checksums_file: FileRecord,
    /// Where the rows come from: rows outside of these ranges have expired.
    pub runs: Vec<RunRecord>,
    /// Rows that have expired inside of the ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<FileRecord>,
}

/// The rows that one run added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Name of the run, made of what it added: its manifest has the same.
    pub run: String,
    /// When it was added, in seconds since 1970.
    pub added_at: u64,
    /// First row of the range.
    pub first_row: u64,
    /// Rows of the range.
    pub rows: u64,
}

impl SegmentRecord {
    /// Rows that have not expired.
    pub fn live_rows(&self) -> u64 {
        let in_ranges: u64 = self.runs.iter().map(|run| run.rows).sum();
        in_ranges - self.expired.as_ref().map_or(0, |expired| expired.rows).min(in_ranges)
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        let files = [&self.rows_file, &self.keys_file, &self.checksums_file];
        files.into_iter().chain(&self.expired).map(|file| file.bytes).sum()
    }

    /// Paths of its files, relative to the index.
    pub fn file_paths(&self) -> impl Iterator<Item = &str> {
        let files = [&self.rows_file, &self.keys_file, &self.checksums_file];
        files.into_iter().chain(&self.expired).map(|file| file.path.as_str())
    }
}
