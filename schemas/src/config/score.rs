//! What models say of rows, which of them stay for it, and which are labelled next.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Strategy, default_device, one};

/// Which rows stay by a score of their quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityConfig {
    /// What scores. `ngram`: bits per byte under a byte n-gram model of the reference, or, without one, of the other rows. `dsir`: how much likelier a text is in the reference than among the rows. `gguf:FILE`: bits per byte under a small language
    /// model of the Llama family, such as `SmolLM2`. Else the folder or URL of a scorer that `tamis distill` made: the number that it
    /// predicts, or the probability of `class`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer: Option<String>,
    /// Of a scorer that knows classes or labels: the one whose probability is the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// In place of a scorer: a column of numbers that rows have already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Files, folders, globs or URLs of texts that are as they should be, in the text column of the input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference: Vec<String>,
    /// Which rows stay.
    pub keep: KeepRule,
    /// With `band`: the least score that stays. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// With `band`: the highest score that stays. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// With `top` and `gumbel`: the share of the rows that stays, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// With `top` and `gumbel`: which scores are best. Default: the lowest bits per byte, of all else the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestScore>,
    /// With `gumbel`: a row is drawn in proportion to `exp(score / temperature)`, above 0.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Seed of the draw, and of the rows in the table `control`.
    #[serde(default)]
    pub seed: u64,
}

/// How a score decides which rows stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeepRule {
    /// Those from `min` to `max`.
    Band,
    /// The best ones.
    Top,
    /// A draw that prefers good ones.
    Gumbel,
}

/// Which scores are best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BestScore {
    /// High ones.
    Highest,
    /// Low ones.
    Lowest,
}

/// Embeddings of texts by an encoder of the BERT family, written to the table `embeddings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbedConfig {
    /// Folder or URL with `model.safetensors`, `tokenizer.json` and `config.json`, or `ORG/NAME`, a model that the Hugging Face
    /// hub's cache on this machine has.
    pub model: String,
    /// `auto`, `cpu` or `cuda:N`.
    #[serde(default = "default_device")]
    pub device: String,
    /// Type of the components that are written.
    #[serde(default)]
    pub embedding_type: EmbeddingType,
    /// What a CUDA device computes in.
    #[serde(default)]
    pub precision: EmbeddingPrecision,
    /// Tokens of a text, those at its ends included; further ones are cut off. Default: what the model's files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Folder or URL of embeddings that earlier runs made: texts that it has are not computed again, others are added. Changes
    /// nothing that a run writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

impl EmbedConfig {
    /// The defaults with the model at `model`.
    pub fn new(model: String) -> Self {
        Self {
            model,
            device: default_device(),
            embedding_type: EmbeddingType::default(),
            precision: EmbeddingPrecision::default(),
            max_tokens: None,
            cache: None,
        }
    }
}

/// Types of an embedding's components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision.
    F32,
}

/// What a CUDA device computes embeddings in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingPrecision {
    /// Single precision.
    #[default]
    F32,
    /// Brain floating point: faster, and other in the third digit.
    Bf16,
}

/// What scores the rows that stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreConfig {
    /// `builtin`: hashed n-grams, learned from the labels in seconds. Else an encoder of the BERT family, of which a head learns from the
    /// labels: a folder or URL with `model.safetensors`, `tokenizer.json` and `config.json`, or `ORG/NAME` in the hub's cache.
    /// `column:NAME`: a head on embeddings that rows have in this column. `ngram`, `dsir` and `gguf:FILE`, which need no labels: see `quality`.
    pub scorer: String,
    /// A more costly scorer: on a sample of the rows `scorer` is held against it, and it scores if they agree on too few. Both learn from the
    /// same labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub larger: Option<String>,
    /// With `larger`: least share of the sample on which both say the same, 0 to 1.
    pub min_agreement: f64,
    /// For `ngram` and `dsir`: files, folders, globs or URLs of texts to learn from, in the text column of the input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reference: Vec<String>,
    /// What learns from an encoder's embeddings. Default: `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Files with the labels to learn from: an id column and a label column. None: those of `select`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The column of the label in `labels`.
    pub label_column: String,
    /// The column of the id in `labels`. Default: the one of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_id_column: Option<String>,
    /// What the labels are.
    pub task: Task,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// With an encoder: folder or URL of embeddings that earlier runs made, as `embed.cache`. It holds single precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Seed of the training.
    pub seed: u64,
}

impl Default for ScoreConfig {
    fn default() -> Self {
        Self {
            scorer: "builtin".into(),
            larger: None,
            min_agreement: 0.95,
            reference: Vec::new(),
            head: None,
            labels: Vec::new(),
            label_column: default_label(),
            label_id_column: None,
            task: Task::Auto,
            device: default_device(),
            cache: None,
            seed: 0,
        }
    }
}

/// What learns from embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// Weights.
    Linear,
    /// A hidden layer of 128 units.
    Mlp,
}

/// What labels are, and so what a scorer learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// By the column: lists are `multi-label`, numbers of which one has a fraction are `regression`, all else is `classes`.
    #[default]
    Auto,
    /// One class of several.
    Classes,
    /// Any number of labels: a list, or one text with `;` between them.
    MultiLabel,
    /// A number.
    Regression,
}

/// The choice of the next labelling batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectConfig {
    /// Rows to choose.
    pub budget: u64,
    /// Acquisition function.
    #[serde(default)]
    pub strategy: Strategy,
    /// Share of the batch that is chosen at random, 0 to 1.
    #[serde(default = "default_random_ratio")]
    pub random_ratio: f64,
    /// Files with the labels given so far: an id column and a label column. Their rows are not chosen, and the scorer learns from
    /// them unless `score.labels` names others. None: a cold start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The column of the label.
    #[serde(default = "default_label")]
    pub label_column: String,
    /// The column of the id in the label files. Default: the one of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_id_column: Option<String>,
    /// The column of the label files that says who labelled: an id may then have a label of each annotator, and what most of them say
    /// counts. Rows that they are split about are neither learnt from nor chosen, but by `activelab`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotator_column: Option<String>,
    /// At most `stratum_max_ratio` of the batch for each value of this column; `tamis_length` is how long the text is, by powers of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stratum_column: Option<String>,
    /// See `stratum_column`, above 0 to 1.
    #[serde(default = "one")]
    pub stratum_max_ratio: f64,
    /// Rows that the strategy compares with each other: the best ones by its measure, or a sample. Default: 10 for each row of the budget where rows
    /// have a measure of their own, else 35,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<u64>,
    /// A row is not chosen if the cosine of its embedding and that of a labelled or chosen row is larger, 0 to 1; the random
    /// slice heeds no such limit. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_similarity: Option<f64>,
    /// What speaks for a row is divided by its cost to this power; 0: costs do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cost_exponent: f64,
    /// The cost of a row is the length of its text in bytes and this: what the shortest takes, as bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cost_base: f64,
    /// Seed of the random slice and of ties.
    #[serde(default)]
    pub seed: u64,
}

impl SelectConfig {
    /// The defaults for a budget of `budget` rows.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            strategy: Strategy::Auto,
            random_ratio: default_random_ratio(),
            labels: Vec::new(),
            label_column: default_label(),
            label_id_column: None,
            annotator_column: None,
            stratum_column: None,
            stratum_max_ratio: one(),
            candidates: None,
            max_similarity: None,
            cost_exponent: 0.0,
            cost_base: 0.0,
            seed: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn default_random_ratio() -> f64 {
    0.1
}

fn default_label() -> String {
    "label".into()
}
