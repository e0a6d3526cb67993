//! The configuration of a run: everything that changes its output, and nothing that must not.

mod duplicates;
mod grain;
mod input;
mod output;
mod score;
mod strategy;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use duplicates::{
    DecontaminateConfig, DeduplicateConfig, GuardsConfig, IndexConfig, Linkage, Measure, Scope, SemanticConfig,
};
pub use grain::{GrainConfig, RepetitionConfig, Unit, UnitAction};
pub use input::{Changed, InputConfig, InputFormat, TextDocuments};
pub use output::{CommitMode, OutputConfig, OutputMode, ScheduleConfig, Table};
pub use score::{
    BestScore, EmbedConfig, EmbeddingPrecision, EmbeddingType, Head, KeepRule, QualityConfig, ScoreConfig,
    SelectConfig, Task,
};
pub use strategy::Strategy;

use crate::footprint::FootprintConfig;
use crate::tier::TierConfig;

/// What a run does. A stage runs if its section is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is read.
    pub input: InputConfig,
    /// Removal of rows that contain held-out items, before all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decontaminate: Option<DecontaminateConfig>,
    /// Near-duplicate removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplicate: Option<DeduplicateConfig>,
    /// What stops a run that loses too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsConfig>,
    /// The index of what earlier runs kept: rows are compared with it, and what stays is added. Needs `deduplicate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexConfig>,
    /// Paragraphs or lines that occur in an earlier row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grain: Option<GrainConfig>,
    /// Repetition within a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<RepetitionConfig>,
    /// Rows that say what a row that stays says in other words, by embeddings. After all of the above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticConfig>,
    /// Rows that stay by a score of their quality, of those that near-duplicate removal keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityConfig>,
    /// Embeddings of the rows that stay, by an encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<EmbedConfig>,
    /// The scorer. Needed by `select`, which takes the defaults if this section is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<ScoreConfig>,
    /// The choice of the next labelling batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<SelectConfig>,
    /// When `tamis schedule` runs this. Changes nothing that a run writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleConfig>,
    /// How energy and emissions of the run are accounted for. Changes nothing that a run writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint: Option<FootprintConfig>,
    /// Where tables are written.
    pub output: OutputConfig,
    /// Storage tiers by name; `default` may be redefined.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<String, TierConfig>,
    /// Table to tier; a table that is not named goes to `default`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<Table, String>,
}

impl Config {
    /// Reads `input` and writes `output`, with no stage between.
    pub fn new(input: InputConfig, output: OutputConfig) -> Self {
        Self {
            input,
            decontaminate: None,
            deduplicate: None,
            guards: None,
            index: None,
            grain: None,
            repetition: None,
            semantic: None,
            quality: None,
            embed: None,
            score: None,
            select: None,
            schedule: None,
            footprint: None,
            output,
            tiers: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> f64 {
    1.0
}

fn default_device() -> String {
    "auto".into()
}

/// JSON Schema of [`Config`].
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}
