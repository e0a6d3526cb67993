//! The configuration of a run: everything that changes its output, and nothing that must not.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::preset::Preset;
use crate::size::ByteSize;
use crate::tier::TierConfig;
use crate::time_span::TimeSpan;

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
            output,
            tiers: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }
}

/// What is read, and what its columns mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// Files, folders, globs, object-store URLs, or `-` for standard input. Their order does not matter.
    pub paths: Vec<String>,
    /// The column that holds the text, or a template of several: `"{title}\n\n{body}"`.
    #[serde(default = "default_text")]
    pub text: String,
    /// The column that holds a unique id. Default: `id` if there is one, else rows are named `<file>#<row>`. Empty: always `<file>#<row>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The column that says which source a row is from, for `deduplicate.scope` and `guards`. Default: its source is its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Format of all inputs; found out for each file by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<InputFormat>,
    /// What a document is in a plain text file.
    #[serde(default)]
    pub text_documents: TextDocuments,
    /// The type of every column, for instance `{ id = "int64", text = "utf8" }`: a file with another column is refused, a row
    /// that does not fit is rejected. Default: inferred over the whole input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<BTreeMap<String, String>>,
    /// A longer row is rejected.
    #[serde(default = "default_max_row")]
    pub max_row: ByteSize,
    /// The run stops if a larger share of the rows is rejected, 0 to 1.
    #[serde(default = "one")]
    pub max_reject_ratio: f64,
    /// What a run that is added to others (`output.mode = "append"`) does with a file that has changed since one of them read it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub changed: Changed,
}

/// What becomes of a file that has changed since an earlier run has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Changed {
    /// What earlier runs made of it leaves the output, and what it holds now takes its place. Rows of other files that were
    /// dropped for its rows are decided again.
    #[default]
    Replace,
    /// The run stops.
    Refuse,
    /// It is read again, whole: rows that earlier runs kept are dropped as their duplicates, what is new is added. Rows that are
    /// no longer in it stay. For files that grow. Needs `deduplicate`.
    Read,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_text() -> String {
    "text".into()
}

fn default_max_row() -> ByteSize {
    ByteSize(64 << 20)
}

fn one() -> f64 {
    1.0
}

impl InputConfig {
    /// The defaults over `paths`.
    pub fn new(paths: Vec<String>) -> Self {
        Self {
            paths,
            text: default_text(),
            id: None,
            source: None,
            format: None,
            text_documents: TextDocuments::default(),
            schema: None,
            max_row: default_max_row(),
            max_reject_ratio: one(),
            changed: Changed::default(),
        }
    }
}

/// Formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InputFormat {
    /// A JSON object per line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
    /// Plain text.
    Text,
}

/// What a document is in a plain text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextDocuments {
    /// Every line that is not blank.
    #[default]
    Line,
    /// The whole file.
    File,
}

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

fn default_device() -> String {
    "auto".into()
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
    /// `ngram`, `dsir` and `gguf:FILE`, which need no labels: see `quality`.
    pub scorer: String,
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
    /// Seed of the training.
    pub seed: u64,
}

impl Default for ScoreConfig {
    fn default() -> Self {
        Self {
            scorer: "builtin".into(),
            reference: Vec::new(),
            head: None,
            labels: Vec::new(),
            label_column: default_label(),
            label_id_column: None,
            task: Task::Auto,
            device: default_device(),
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
    /// At most `stratum_max_ratio` of the batch for each value of this column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stratum_column: Option<String>,
    /// See `stratum_column`, above 0 to 1.
    #[serde(default = "one")]
    pub stratum_max_ratio: f64,
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
            stratum_column: None,
            stratum_max_ratio: one(),
            seed: 0,
        }
    }
}

fn default_random_ratio() -> f64 {
    0.1
}

fn default_label() -> String {
    "label".into()
}

/// Acquisition functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Typicality and coverage without labels, margin with them.
    #[default]
    Auto,
    /// Every row alike.
    Random,
    /// The smallest probability of the likeliest class first.
    LeastConfidence,
    /// The smallest distance between the two likeliest classes first, spread over clusters.
    Margin,
    /// The largest entropy first, spread over clusters.
    Entropy,
    /// The most typical rows of clusters.
    Typiclust,
}

/// When a run begins, and how long it may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Minute, hour, day of month, month, day of week: `"30 3 * * mon-fri"`; or `@hourly`, `@daily`, `@weekly`, `@monthly`,
    /// `@yearly`.
    pub cron: String,
    /// The IANA time zone that `cron` is in: `Europe/Berlin`.
    #[serde(default = "default_timezone")]
    pub timezone: String,
    /// Longest random delay of a start, so that many machines do not start at once: `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<TimeSpan>,
    /// Longest time that one run may take: `2h`. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<TimeSpan>,
}

fn default_timezone() -> String {
    "UTC".into()
}

/// Where tables are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// Folder or object-store URL of the manifest, and of every tier that names no URL of its own.
    pub path: String,
    /// Tables to write; all that the stages make by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<Table>>,
    /// Whether the output is that of one run, or runs are added to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: OutputMode,
    /// Of an output that runs are added to: a run reads at most so many files, commits what it makes of them, and goes on with
    /// the next ones. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_files: Option<u64>,
    /// The same in stored bytes, e.g. `10GiB`; a larger file is alone in its commit. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_bytes: Option<ByteSize>,
    /// Of an output that runs are added to: for how long a run that works on it may show no sign of life before another takes
    /// over. `0s`: runs do not wait for each other. Default: `1m`. Changes nothing that a run writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<TimeSpan>,
    /// How it is made sure that of runs that are added at the same time one is first. Changes nothing that a run writes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub commit: CommitMode,
}

impl OutputConfig {
    /// All tables of one run, at `path`.
    pub fn new(path: String) -> Self {
        Self {
            path,
            tables: None,
            mode: OutputMode::default(),
            commit_files: None,
            commit_bytes: None,
            lease: None,
            commit: CommitMode::default(),
        }
    }
}

/// What a run does with what is at the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// The output is that of one run: what is there is refused, or replaced if the user says so.
    #[default]
    New,
    /// Each run reads the files that no earlier one has read, and adds what it makes of them. Rows are compared with those that
    /// earlier runs kept.
    Append,
}

/// Who makes sure that of runs that are added at the same time one is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommitMode {
    /// The store, by the conditions of puts: one that does not heed them is refused.
    #[default]
    Conditional,
    /// The user: no two runs write to the output or its index at once. If two do, what one of them added is lost.
    UnsafeSingleWriter,
}

/// Tables that a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Rows that stay.
    Kept,
    /// Rows that were removed.
    Dropped,
    /// The labelling batch.
    Batch,
    /// What the scorer said of every kept row.
    Scores,
    /// Of every row that was judged by its quality, the score.
    Quality,
    /// As many rows as quality keeps, drawn at random from those it judged.
    Control,
    /// The embedding of every kept row.
    Embeddings,
    /// Why each dropped row was dropped.
    Evidence,
    /// What was cut out of kept rows.
    Spans,
    /// Rows that could not be read.
    Rejected,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 10] = [
        Self::Kept,
        Self::Dropped,
        Self::Batch,
        Self::Scores,
        Self::Quality,
        Self::Control,
        Self::Embeddings,
        Self::Evidence,
        Self::Spans,
        Self::Rejected,
    ];

    /// Folder of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Dropped => "dropped",
            Self::Batch => "batch",
            Self::Scores => "scores",
            Self::Quality => "quality",
            Self::Control => "control",
            Self::Embeddings => "embeddings",
            Self::Evidence => "evidence",
            Self::Spans => "spans",
            Self::Rejected => "rejected",
        }
    }
}

/// JSON Schema of [`Config`].
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}
