//! The manifest: what a run read, decided and wrote. Written last; without it there is no run.
//!
//! It holds nothing that differs between two runs of the same version over the same inputs with the same config, except the
//! number of requests to object stores and that of embeddings that a cache had, if there are any.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Measure, Table};

/// Version of the manifest's own layout.
pub const MANIFEST_VERSION: u32 = 1;

/// Record of one finished run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// Version of tamis.
    pub tamis_version: String,
    /// SHA-256 of the config as JSON, locations excepted.
    pub config_sha256: String,
    /// The config, locations excepted.
    pub config: serde_json::Value,
    /// What was read, in order.
    pub inputs: Vec<InputRecord>,
    /// Files that were passed over because their format is unknown.
    pub skipped_files: Vec<String>,
    /// Where each row went: `rows_in == kept + dropped + rejected`.
    pub rows: RowCounts,
    /// Dropped rows by reason.
    pub dropped_by_reason: BTreeMap<String, u64>,
    /// What was looked for of held-out sets, and found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decontamination: Option<DecontaminationRecord>,
    /// What near-duplicate removal did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near_duplicates: Option<NearDuplicateRecord>,
    /// What lost more than the loss guards allow; only where `guards.allow_loss` let it pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub losses: Option<LossRecord>,
    /// What the index over runs had to say, and what was added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexRecord>,
    /// What was found in paragraphs or lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grain: Option<GrainRecord>,
    /// What was found by embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticRecord>,
    /// What quality decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityRecord>,
    /// What made embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingRecord>,
    /// What scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scorer: Option<ScorerRecord>,
    /// How the batch was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<SelectionRecord>,
    /// What was written.
    pub tables: BTreeMap<Table, TableRecord>,
    /// Requests to object stores by what they ask for, up to the manifest itself; none if there was none. Retries count, and so
    /// does whatever the memory limit made read again: only this may differ between equal runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, u64>,
}

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Its name, as in `<name>#<row>`.
    pub name: String,
    /// Format and compression, e.g. `jsonl.gz`.
    pub format: String,
    /// Stored bytes.
    pub size_bytes: u64,
    /// Entity tag or version of the object; local files have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Rows, rejected ones counted too.
    pub rows: u64,
}

/// Where each row went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows read.
    pub rows_in: u64,
    /// Rows that stay.
    pub kept: u64,
    /// Rows removed.
    pub dropped: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// Bytes of text in the rows read, where text was needed.
    pub text_bytes: u64,
}

/// What was looked for of held-out sets, and found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecontaminationRecord {
    /// The held-out files, in order; their rows are items.
    pub files: Vec<InputRecord>,
    /// Files that were passed over because their format is unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_files: Vec<String>,
    /// Consecutive tokens that a row must share with an item.
    pub ngram: u64,
    /// Items that were looked for.
    pub items: u64,
    /// Items without any token: nothing to look for.
    pub items_without_tokens: u64,
    /// Items with fewer tokens than `min_tokens`, which were not looked for.
    pub items_too_short: u64,
    /// Items for which a row was dropped.
    pub found_items: u64,
    /// Rows dropped because they contain an item.
    pub contaminated_rows: u64,
}

/// What near-duplicate removal did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearDuplicateRecord {
    /// What the similarity of two rows is.
    pub measure: Measure,
    /// Bands of the sketch; 0 if there is none: every pair that shares a shingle could be compared (recall 1), or the measure
    /// is containment.
    pub bands: u32,
    /// Slots per band.
    pub rows_per_band: u32,
    /// What was sampled of each row, if the measure is containment and recall below 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleRecord>,
    /// Probability of becoming a candidate, by similarity.
    pub s_curve: Vec<SCurvePoint>,
    /// That probability at the threshold.
    pub recall_at_threshold: f64,
    /// Rows without any token: equal text is their only rule.
    pub rows_without_tokens: u64,
    /// Rows dropped for equal text.
    pub identical_rows: u64,
    /// Rows dropped with an exact similarity.
    pub exact_rows: u64,
    /// Rows dropped with a similarity estimated beyond doubt.
    pub estimated_rows: u64,
    /// Rows dropped without a direct proven edge (linkage `connected` only).
    pub indirect_rows: u64,
    /// Rows that stay beside the first one of their cluster (`cap_cluster` above 1).
    #[serde(default)]
    pub spared_rows: u64,
    /// Kept rows that stand for others.
    pub clusters: u64,
    /// Rows of the largest cluster.
    pub largest_cluster_rows: u64,
    /// Pairs that shared a band, or enough sampled shingles.
    pub candidate_pairs: u64,
    /// Pairs proven to reach the threshold, as many as the verdicts needed.
    pub proven_pairs: u64,
    /// Buckets too large for all pairs; by containment, rows that stay and had too many candidates.
    pub hot_buckets: u64,
    /// Pairs of those that were not compared; with `scope = "across-sources"` pairs of one source are among them.
    pub untested_pairs: u64,
    /// How many of the dropped rows would go at higher thresholds, in steps of 0.05 up to 1.
    pub what_if: Vec<WhatIfPoint>,
}

/// What is left of the dropped rows at a higher threshold.
///
/// Counts rows whose proven similarity to the row kept for them reaches it. A run with that threshold drops each of them
/// whose kept row it keeps too. It may drop others as well, for rows that are dropped now; and it may keep some whose kept row
/// it drops, for a row that is dropped now: an approximation that is from below wherever no row kept now would be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WhatIfPoint {
    /// Threshold.
    pub threshold: f64,
    /// Rows.
    pub dropped_rows: u64,
}

/// The sample of a row: a row that has enough of it is a candidate to contain the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// Shingles sampled; a row with no more of them is its own sample, and needs no luck.
    pub shingles: u32,
    /// Of these, a candidate has so many.
    pub least_shared: u32,
}

/// What lost more than the loss guards allow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LossRecord {
    /// Sources that lost too much.
    pub sources: u64,
    /// Clusters that are too large.
    pub clusters: u64,
    /// The run, the clusters, the sources; of clusters and of sources the five that lost the most rows.
    pub breaches: Vec<LossBreach>,
}

/// One loss above a limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossBreach {
    /// What lost.
    pub of: LossOf,
    /// The source, null if it is the rows without one; the id of the row that stays for the cluster.
    pub name: Option<String>,
    /// Rows it had.
    pub rows: u64,
    /// Of these, rows dropped.
    pub dropped: u64,
    /// The setting in its way: a ratio, or rows of a cluster.
    pub limit: f64,
    /// Some of the rows dropped, at most five.
    pub examples: Vec<LossExample>,
}

/// What can lose too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossOf {
    /// All rows.
    Run,
    /// The rows of a source.
    Source,
    /// The rows of a cluster.
    Cluster,
}

/// A dropped row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossExample {
    /// Its id.
    pub dropped_id: String,
    /// The id of the row that stays for it.
    pub kept_id: String,
    /// Their similarity.
    pub similarity: f64,
}

impl fmt::Display for LossBreach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, dropped, limit, .. } = self;
        let name = self.name.as_deref().map_or_else(|| "without a name".to_owned(), |name| format!("`{name}`"));
        let percent = 100.0 * *dropped as f64 / *rows as f64;
        match self.of {
            LossOf::Run => write!(out, "the run loses {dropped} of {rows} rows ({percent:.1} %)")?,
            LossOf::Source => write!(out, "the source {name} loses {dropped} of {rows} rows ({percent:.1} %)")?,
            LossOf::Cluster => {
                return write!(out, "the cluster of {name} has {rows} rows, more than max_cluster_rows = {limit}");
            }
        }
        write!(out, ", more than max_dropped_ratio = {limit}")
    }
}

impl fmt::Display for LossExample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} -> {} ({:.3})", self.dropped_id, self.kept_id, self.similarity)
    }
}

/// What the index over runs had to say, and what was added to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// Name of this run in the index, made of what it added; none if it added nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Rows added.
    pub added_rows: u64,
    /// Rows of earlier runs in the index.
    pub indexed_rows: u64,
    /// Of these, rows that share a key with a row of this run.
    pub matched_rows: u64,
    /// Rows dropped for a row of an earlier run.
    pub dropped_rows: u64,
}

/// What was found in paragraphs or lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrainRecord {
    /// Units of rows that near-duplicate removal kept, those with too few tokens aside. 0 if rows were not compared.
    pub units: u64,
    /// Of these, units that an earlier row holds.
    pub duplicate_units: u64,
    /// Rows that stay whole although they were to be dropped, because others were dropped for them.
    pub spared_rows: u64,
    /// Kept rows that something was cut out of.
    pub cut_rows: u64,
    /// Spans cut out of them.
    pub cut_spans: u64,
    /// Bytes of those.
    pub cut_bytes: u64,
}

/// A point of the S-curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SCurvePoint {
    /// Similarity.
    pub similarity: f64,
    /// Probability that such a pair is compared.
    pub probability: f64,
}

/// What was found by embeddings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SemanticRecord {
    /// What made the embeddings of the rows that had come so far, those without text aside.
    pub embedding: EmbeddingRecord,
    /// Cosine from which a row is dropped.
    pub threshold: f64,
    /// Clusters with a row.
    pub clusters: u64,
    /// Rows of the largest of them.
    pub largest_cluster_rows: u64,
    /// Rows dropped.
    pub dropped_rows: u64,
    /// Rows that stay although one that says the same does, because others were dropped for them, or cut.
    pub spared_rows: u64,
    /// Rows without a word that the encoder knows, which are compared with none.
    pub rows_without_text: u64,
    /// Pairs of a row and one that stays, compared.
    pub compared_pairs: u64,
    /// Pairs of rows in different clusters: not compared.
    pub untested_pairs: u64,
}

/// What quality decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityRecord {
    /// The column of the score.
    pub column: String,
    /// Files that the scorer learnt from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference: Vec<InputRecord>,
    /// Device that the scorer ran on; none where rows bring their scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Rows that had come so far.
    pub judged_rows: u64,
    /// Of these, rows that stay.
    pub kept_rows: u64,
    /// Of these, rows without a score.
    pub rows_without_score: u64,
    /// Least score, those that 10, 50 and 90 % do not exceed, and the highest; none if no row has one.
    pub quantiles: Vec<f64>,
}

/// What made embeddings, and of how much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingRecord {
    /// Hash of the model's weights, tokenizer and settings.
    pub fingerprint: String,
    /// Components of an embedding.
    pub dimensions: u64,
    /// Device it ran on.
    pub device: String,
    /// Why not on another, if `auto` fell back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_note: Option<String>,
    /// Rows that have an embedding.
    pub rows: u64,
    /// Of these, rows whose text had more tokens than the model takes, so that its end does not count.
    pub truncated_rows: u64,
    /// Of the rows, those whose embedding was in the cache.
    pub cached_rows: u64,
}

/// What scored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScorerRecord {
    /// Name of the scorer.
    pub name: String,
    /// Device it ran on.
    pub device: String,
    /// Why not on another, if `auto` fell back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_note: Option<String>,
    /// What it learned: `classes`, `multi-label` or `regression`.
    #[serde(default)]
    pub task: String,
    /// Classes it knows; none in a cold start.
    pub classes: Vec<String>,
    /// Labelled rows it learned from.
    pub labelled_rows: u64,
    /// Texts that were longer than the scorer's encoder takes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub truncated_rows: u64,
    /// Texts of which the cache had the embedding.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_rows: u64,
    /// Files with texts that it learned from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference: Vec<InputRecord>,
    /// The comparison that it was chosen by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_size: Option<RightSizeRecord>,
}

/// A scorer held against a larger one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightSizeRecord {
    /// Name of the smaller one.
    pub smaller: String,
    /// Name of the larger one.
    pub larger: String,
    /// Rows that both scored.
    pub sample_rows: u64,
    /// Of these, rows of which both say the same.
    pub agreeing_rows: u64,
}

/// How the batch was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionRecord {
    /// Acquisition function that ran.
    pub strategy: String,
    /// Why that one.
    pub why: String,
    /// Why fewer rows were chosen than asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<String>,
    /// Unlabelled rows to choose from.
    pub pool_rows: u64,
    /// Rows chosen.
    pub batch_rows: u64,
    /// Of these, chosen at random.
    pub random_rows: u64,
    /// Of these, labelled already: another label is asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub relabelled_rows: u64,
    /// Pool rows that have a label already.
    pub labelled_rows: u64,
    /// Labels of ids that are not in the pool.
    pub unknown_labels: u64,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Tier it went to.
    pub tier: String,
    /// Storage class, in the provider's words; local files have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Rows of the table.
    pub rows: u64,
    /// Files of the table.
    pub files: Vec<FileRecord>,
}

/// One file of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path relative to the manifest, or URL if the tier lies elsewhere.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// In outputs that runs are added to, which input its rows are of, in their order; of tables that carry rows of the input and
    /// do not name it in a column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<FilePart>,
}

/// Consecutive rows of a file that are of one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePart {
    /// URL of the input, as the commit names it.
    pub input: String,
    /// Rows.
    pub rows: u64,
}

/// The config as it goes into the manifest: without the output location and the lists of inputs and held-out files, whose
/// order must not change the manifest (each file has a record of its own; a model has its fingerprint), and without the schedule, the footprint, the lease and `output.commit`.
pub fn config_for_manifest(config: &Config) -> serde_json::Value {
    let mut value = serde_json::to_value(config).expect("a config is plain data");
    for (section, key) in [
        ("output", "path"),
        ("output", "lease"),
        ("output", "commit"),
        ("input", "paths"),
        ("decontaminate", "paths"),
        ("quality", "reference"),
        ("score", "reference"),
        ("index", "url"),
        ("embed", "model"),
        ("embed", "cache"),
        ("score", "cache"),
        ("semantic", "model"),
        ("semantic", "cache"),
    ] {
        if let Some(fields) = value.get_mut(section).and_then(|section| section.as_object_mut()) {
            fields.remove(key);
        }
    }
    if let Some(sections) = value.as_object_mut() {
        sections.remove("schedule");
        sections.remove("footprint");
    }
    value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
