//! The ledger of a labelling loop: settings that are written once, and a record of each round.
//!
//! `loop.json` holds [`LoopSettings`]; `rounds/<number, 6 digits>/round.json` holds a [`RoundRecord`], is written after all other
//! files of its round, and only if it is not there: a round is visible whole or not at all. No file is ever written again.

use serde::{Deserialize, Serialize};

use crate::config::{Head, InputConfig, Strategy};
use crate::manifest::{FileRecord, InputRecord, RowCounts, ScorerRecord, SelectionRecord};

/// Version of the ledger's layout.
pub const LEDGER_VERSION: u32 = 1;

/// What all rounds of a loop have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopSettings {
    /// [`LEDGER_VERSION`].
    pub ledger_version: u32,
    /// The pool, and how it is read. Folders and globs may hold more in later rounds.
    pub pool: InputConfig,
    /// What scores, as in `score.scorer`.
    pub scorer: String,
    /// What learns from an encoder's embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Embeddings of earlier rounds, if the scorer is an encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Acquisition function.
    pub strategy: Strategy,
    /// Rows of a round.
    pub budget: u64,
    /// Share of a round that is chosen at random.
    pub random_ratio: f64,
    /// Jaccard similarity from which only one of two rows is chosen.
    pub threshold: f64,
    /// At most `stratum_max_ratio` of a round for each value of this column, as in `select`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stratum_column: Option<String>,
    /// See `stratum_column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stratum_max_ratio: Option<f64>,
    /// Most cosine of a row's embedding and that of a labelled or chosen one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_similarity: Option<f64>,
    /// What speaks for a row is divided by its cost to this power. The cost of a text is what answers so far say of the time that one
    /// of its length takes, or else its length.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cost_exponent: f64,
    /// Classes that labels are expected to be of; none: whatever is labelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Labelled rows that there is money for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_labels: Option<u64>,
    /// Rows whose predictions are compared from round to round.
    pub stop_set_rows: u64,
    /// Seed of the training; those of the rounds are made of it.
    pub seed: u64,
}

/// One round: what was known, what was chosen, and of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// [`LEDGER_VERSION`].
    pub ledger_version: u32,
    /// Version of tamis that chose.
    pub tamis_version: String,
    /// Its number, from 1.
    pub round: u32,
    /// When it was chosen, in seconds since 1970.
    pub selected_at: u64,
    /// Seed of the random slice and of ties.
    pub seed: u64,
    /// The pool at the time.
    pub pool: PoolRecord,
    /// Files of labels that the scorer learned from, below the ledger.
    pub labels: Vec<String>,
    /// What scored the pool.
    pub model: ModelRecord,
    /// How the batch was chosen.
    pub selection: SelectionRecord,
    /// What changed since the round before.
    pub stability: Stability,
    /// The batch, below the ledger.
    pub batch: FileRecord,
    /// Predictions for the stop set, below the ledger.
    pub stop_set: FileRecord,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Rows; near-duplicates are dropped.
    pub rows: RowCounts,
    /// The files.
    pub inputs: Vec<InputRecord>,
}

/// What scored the pool of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Of all that the model follows from: scorer, settings, labels and version of tamis.
    pub sha256: String,
    /// The scorer.
    pub scorer: ScorerRecord,
}

/// Predictions for the stop set, by themselves and against those of the round before.
///
/// All but the number of rows is missing while the scorer has learned nothing, and where it predicts numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    /// Rows of the stop set.
    pub rows: u64,
    /// Mean of the normalised entropies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_entropy: Option<f64>,
    /// Cohen's kappa with the predictions of the round before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kappa: Option<f64>,
    /// Share of the rows whose prediction is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ratio: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}
