//! Parts of rows that go: paragraphs and lines that several have, or one repeats.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Paragraphs or lines that occur in an earlier row that stays, by equal normalised text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrainConfig {
    /// What texts are divided into.
    pub unit: Unit,
    /// What happens to such a unit, or to the row it is in.
    pub action: UnitAction,
    /// A unit of fewer tokens never counts as a duplicate, at least 1.
    pub min_tokens: usize,
    /// With the action `drop`: a row is dropped if a larger share of its characters lies in duplicates, 0 to 1.
    pub max_duplicate_ratio: f64,
}

impl Default for GrainConfig {
    fn default() -> Self {
        Self { unit: Unit::Paragraph, action: UnitAction::Drop, min_tokens: 5, max_duplicate_ratio: 0.8 }
    }
}

/// What texts are divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Lines up to a blank one.
    #[default]
    Paragraph,
    /// A line.
    Line,
}

/// What happens to duplicates that are finer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnitAction {
    /// A row that has too many is dropped.
    #[default]
    Drop,
    /// They are cut out of the text, and recorded in the table `spans`.
    Cut,
}

/// Repetition within a row. The limits are those of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RepetitionConfig {
    /// `drop`: the row, if a share is above its limit; `cut`: units that occur earlier in the same text.
    pub action: UnitAction,
    /// With the action `cut`: what is cut.
    pub unit: Unit,
    /// A line or paragraph of fewer tokens never counts as repeated, at least 1.
    pub min_tokens: usize,
    /// With the action `drop`: rows of fewer tokens stay.
    pub min_document_tokens: usize,
    /// With the action `drop`: share of the characters that may lie in lines that occur earlier in the text.
    pub max_line_ratio: f64,
    /// The same of paragraphs.
    pub max_paragraph_ratio: f64,
    /// Share of the tokens that one pair of tokens may make up.
    pub max_top_bigram_ratio: f64,
    /// Share of the tokens that may lie in 10-grams that occur earlier in the text.
    pub max_tengram_ratio: f64,
}

impl Default for RepetitionConfig {
    fn default() -> Self {
        Self {
            action: UnitAction::Drop,
            unit: Unit::Paragraph,
            min_tokens: 5,
            min_document_tokens: 50,
            max_line_ratio: 0.2,
            max_paragraph_ratio: 0.2,
            max_top_bigram_ratio: 0.2,
            max_tengram_ratio: 0.1,
        }
    }
}
