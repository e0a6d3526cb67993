//! Which rows go for others: held-out items, near-duplicates, semantic duplicates, and what must not go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EmbedConfig, default_device, one};
use crate::preset::Preset;

/// Removal of rows that contain an item of a held-out set: a run of its tokens, or a short item whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecontaminateConfig {
    /// The held-out items: files, folders, globs or URLs, of any format that can be read. Their order does not matter.
    pub paths: Vec<String>,
    /// The column of an item's text, or a template of several. Default: the one of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The column of an item's id. Default: `id` if there is one, else items are named `<file>#<row>`. Empty: always `<file>#<row>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Consecutive tokens that a row must share with an item, 1 to 256; of an item with fewer tokens, all of them.
    #[serde(default = "default_held_out_ngram")]
    pub ngram: usize,
    /// Items of fewer tokens are not looked for, only counted: phrases that everyone writes would drop half of the rows.
    #[serde(default = "default_min_tokens")]
    pub min_tokens: usize,
}

impl DecontaminateConfig {
    /// The defaults over `paths`.
    pub fn new(paths: Vec<String>) -> Self {
        Self { paths, text: None, id: None, ngram: default_held_out_ngram(), min_tokens: default_min_tokens() }
    }
}

fn default_held_out_ngram() -> usize {
    13
}

fn default_min_tokens() -> usize {
    4
}

/// Near-duplicate removal: no row is dropped without a proven edge to a kept one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeduplicateConfig {
    /// What the similarity of two rows is.
    pub measure: Measure,
    /// Threshold, ngram and bands that belong together; each of `threshold`, `ngram` and `recall` goes before it if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Similarity of shingle sets from which two rows are near-duplicates, above 0 to 1. Default: the preset's, else 0.8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Share of the pairs at the threshold that must become candidates, above 0 to 1; 1 compares exhaustively. Default: the
    /// preset's bands, whatever their recall, else 0.99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// Tokens per shingle. Default: the preset's, else 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ngram: Option<usize>,
    /// Who stays: `first`, `longest`, or columns: `score:desc,date:asc`. By containment a larger set of shingles always stays; this decides among sets of one size.
    pub keep: String,
    /// How edges become clusters.
    pub linkage: Linkage,
    /// Which rows are compared.
    pub scope: Scope,
    /// Only rows with equal values of this column are compared; rows without a value among themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Rows of a cluster that stay: its first one and the next ones in the order of `keep`.
    pub cap_cluster: u64,
    /// Seed of the sketch.
    pub seed: u64,
    /// Compare without diacritics.
    pub ignore_diacritics: bool,
    /// Compare with every digit replaced by 0.
    pub ignore_digits: bool,
    /// Compare without punctuation.
    pub ignore_punctuation: bool,
}

impl Default for DeduplicateConfig {
    fn default() -> Self {
        Self {
            measure: Measure::Jaccard,
            preset: None,
            threshold: None,
            recall: None,
            ngram: None,
            keep: "first".into(),
            linkage: Linkage::Star,
            scope: Scope::All,
            by: None,
            cap_cluster: 1,
            seed: 0,
            ignore_diacritics: false,
            ignore_digits: false,
            ignore_punctuation: false,
        }
    }
}

/// What the similarity of two rows is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Shared shingles among those of either row.
    #[default]
    Jaccard,
    /// Shared shingles among those of the smaller row, which is the one dropped: the other holds what it says.
    Containment,
}

/// How proven edges become clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Linkage {
    /// A dropped row has a proven edge to the kept one.
    #[default]
    Star,
    /// A dropped row is connected to the kept one through proven edges.
    Connected,
}

/// Which rows near-duplicate removal compares. A row's source is its file, or its value of `input.source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Any two.
    #[default]
    All,
    /// Rows of one source.
    WithinSource,
    /// Rows of different sources: what repeats inside one source stays.
    AcrossSources,
    /// Every row with those of the index only.
    Index,
}

/// Loss guards: a run that drops more stops before anything is visible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardsConfig {
    /// Largest share of the rows that may be dropped, 0 to 1: of the whole run, and of each source that has 20 rows or more. A
    /// row's source is its file, or its value of `input.source`.
    pub max_dropped_ratio: f64,
    /// Largest cluster of which rows may be dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cluster_rows: Option<u64>,
    /// Go on all the same; the manifest and the summary name what lost too much.
    pub allow_loss: bool,
}

impl Default for GuardsConfig {
    fn default() -> Self {
        Self { max_dropped_ratio: one(), max_cluster_rows: None, allow_loss: false }
    }
}

/// The index over runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IndexConfig {
    /// Folder or object-store URL of the index; made by the first run.
    pub url: String,
}

/// Rows whose embedding is close to that of a row that stays are dropped: what they say is said already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SemanticConfig {
    /// The encoder, as `embed.model`.
    pub model: String,
    /// `auto`, `cpu` or `cuda:N`.
    #[serde(default = "default_device")]
    pub device: String,
    /// Tokens of a text, those at its ends included; further ones are cut off. Default: what the model's files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// As `embed.cache`, and the same place serves both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Cosine of two embeddings from which one of the rows is dropped, above 0 to 1.
    #[serde(default = "default_semantic_threshold")]
    pub threshold: f64,
    /// Clusters that the embeddings are divided into, 1 to 1024: rows of one cluster are compared, others are not. Default: one
    /// for 20,000 rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// Who stays: `first`, `longest`, or columns: `score:desc,date:asc`. Default: as `deduplicate.keep`, else `first`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// Seed of the clusters.
    #[serde(default)]
    pub seed: u64,
}

impl SemanticConfig {
    /// The defaults with the model at `model`.
    pub fn new(model: String) -> Self {
        Self {
            model,
            device: default_device(),
            max_tokens: None,
            cache: None,
            threshold: default_semantic_threshold(),
            clusters: None,
            keep: None,
            seed: 0,
        }
    }

    /// How texts are embedded.
    pub fn embed(&self) -> EmbedConfig {
        EmbedConfig {
            device: self.device.clone(),
            max_tokens: self.max_tokens,
            cache: self.cache.clone(),
            ..EmbedConfig::new(self.model.clone())
        }
    }
}

fn default_semantic_threshold() -> f64 {
    0.95
}
