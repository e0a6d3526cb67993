//! `tamis embed`, `score`, `distill` and `select`: what models do.

use clap::Args;
use clap::builder::TypedValueParser;
use tamis_schemas::config::{EmbeddingPrecision, EmbeddingType, Head, Strategy, Task};

use super::{Accounting, Data, Overwrite, Reading, one_of};

/// `tamis embed`.
#[derive(Debug, Args)]
pub(crate) struct Embed {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Folder or URL of a model of the BERT family, or ORG/NAME of the hub
    ///
    /// MiniLM, E5, BGE, GTE: model.safetensors, tokenizer.json and config.json. ORG/NAME is looked for in the Hugging Face hub's
    /// cache on this machine (`HF_HUB_CACHE`, `HF_HOME`); nothing is downloaded. Models that want a word before the text get it from a
    /// template: --text-column "passage: {text}".
    #[arg(long, value_name = "MODEL", help_heading = "Embeddings")]
    pub(crate) model: String,
    /// Type of the components
    #[arg(long, value_name = "TYPE", value_parser = embedding_type(), default_value = "f16", help_heading = "Embeddings")]
    pub(crate) embedding_type: EmbeddingType,
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Embeddings")]
    pub(crate) device: String,
    /// What a CUDA device computes in
    #[arg(long, value_name = "TYPE", value_parser = embedding_precision(), default_value = "f32", help_heading = "Embeddings")]
    pub(crate) precision: EmbeddingPrecision,
    /// Tokens of a text at most [default: what the model says]
    #[arg(long, value_name = "N", help_heading = "Embeddings")]
    pub(crate) max_tokens: Option<usize>,
    /// Embeddings of earlier runs (folder or URL): only new texts are computed
    ///
    /// Texts are known by their hash, models by that of their files and settings. The first run makes it, each run adds to it.
    #[arg(long, value_name = "URL", help_heading = "Embeddings")]
    pub(crate) cache: Option<String>,
}

/// `tamis select`.
#[derive(Debug, Args)]
pub(crate) struct Select {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Rows to choose
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(crate) budget: u64,
    /// Files with the labels so far: the id column and the label column
    #[arg(long, value_name = "FILE", help_heading = "Selection")]
    pub(crate) labels: Vec<String>,
    /// Column with the label, in the label files
    #[arg(long, value_name = "COLUMN", default_value = "label", help_heading = "Selection")]
    pub(crate) label_column: String,
    /// Column with the annotator, in the label files: an id may then have several labels
    ///
    /// The label that most annotators gave counts. Rows that they are split about are neither learned from nor chosen, but by activelab.
    #[arg(long, value_name = "COLUMN", requires = "labels", help_heading = "Selection")]
    pub(crate) annotator_column: Option<String>,
    /// With an encoder: embeddings of earlier runs (folder or URL), only new texts are computed
    #[arg(long, value_name = "URL", help_heading = "Selection")]
    pub(crate) cache: Option<String>,
    #[command(flatten)]
    pub(crate) right_size: RightSize,
    /// Acquisition function
    ///
    /// auto: typiclust without labels, uherding with them, cluster-margin for a batch of more than 1,000 rows. By what the model is unsure of:
    /// least-confidence, margin, entropy; bald, vote-entropy, min-margin (of a committee); cluster-margin and uherding (spread out), badge, anchor
    /// (near labelled rows of each class). By coverage, without labels too: typiclust, probcover, k-center, k-means, facility-location,
    /// stochastic-facility-location. activelab asks for labels again, too, that look wrong. See docs/selection.md.
    #[arg(long, value_name = "NAME", value_parser = strategy(), default_value = "auto", help_heading = "Selection")]
    pub(crate) strategy: Strategy,
    /// Share of the batch chosen at random, 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.1, help_heading = "Selection")]
    pub(crate) random_ratio: f64,
    /// Spread the batch over the values of this column; `tamis_length`: over short and long texts
    ///
    /// `tamis_length` puts a text with those that have as many bytes, by powers of two.
    #[arg(long, value_name = "COLUMN", requires = "stratum_max_ratio", help_heading = "Selection")]
    pub(crate) stratum_column: Option<String>,
    /// Share of the batch that one such value may take, 0 to 1
    #[arg(long, value_name = "RATIO", requires = "stratum_column", help_heading = "Selection")]
    pub(crate) stratum_max_ratio: Option<f64>,
    /// Rows that are compared with each other: the best ones, or a sample [default: 10 for each row of the budget, or 35000]
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(crate) candidates: Option<u64>,
    /// Most cosine of a row's embedding and a labelled or chosen one's; the random slice heeds no limit
    #[arg(long, value_name = "COSINE", help_heading = "Selection")]
    pub(crate) max_similarity: Option<f64>,
    /// Weigh rows by their cost to this power: 1 asks what a row gives for what it costs
    ///
    /// The cost is the length of the text in bytes, and --cost-base.
    #[arg(long, value_name = "POWER", default_value_t = 0.0, help_heading = "Selection")]
    pub(crate) cost_exponent: f64,
    /// What the shortest text costs, as bytes of text
    #[arg(long, value_name = "BYTES", default_value_t = 0.0, help_heading = "Selection")]
    pub(crate) cost_base: f64,
    /// builtin, an encoder's folder or URL, column:NAME (of embeddings), or one from `tamis distill`
    #[arg(long, value_name = "SCORER", default_value = "builtin", help_heading = "Selection")]
    pub(crate) scorer: String,
    /// Jaccard similarity from which only one of two rows is chosen
    #[arg(long, value_name = "RATIO", default_value_t = 0.8, help_heading = "Selection")]
    pub(crate) threshold: f64,
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Selection")]
    pub(crate) device: String,
    /// Seed of the scorer and of random choices
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Selection")]
    pub(crate) seed: u64,
}

/// `tamis score`.
#[derive(Debug, Args)]
pub(crate) struct Score {
    #[command(flatten)]
    pub(crate) data: Data,
    /// builtin, an encoder's folder or URL, one from `tamis distill`, ngram, dsir or gguf:FILE
    ///
    /// builtin: hashed n-grams, learned from the labels in seconds. An encoder of the BERT family is a folder or URL with
    /// model.safetensors, tokenizer.json and config.json; a head learns from the labels what its embeddings say. Without labels: ngram
    /// (bits per byte under a model of the reference, or of the other rows), dsir (log importance for the reference), gguf:FILE (bits
    /// per byte under a small language model of the Llama family).
    #[arg(long, value_name = "SCORER", default_value = "builtin", help_heading = "Scoring")]
    pub(crate) scorer: String,
    /// Files with the labels to learn from: the id column and the label column
    ///
    /// May be the input itself: rows of which the label is null teach nothing.
    #[arg(long, value_name = "FILE", help_heading = "Scoring")]
    pub(crate) labels: Vec<String>,
    /// Column with the label, in the label files
    #[arg(long, value_name = "COLUMN", default_value = "label", help_heading = "Scoring")]
    pub(crate) label_column: String,
    /// Texts to learn from, for ngram and dsir: file, folder, glob or URL
    #[arg(long, value_name = "FILES", help_heading = "Scoring")]
    pub(crate) reference: Vec<String>,
    /// With an encoder: embeddings of earlier runs (folder or URL), only new texts are computed
    #[arg(long, value_name = "URL", help_heading = "Scoring")]
    pub(crate) cache: Option<String>,
    #[command(flatten)]
    pub(crate) right_size: RightSize,
    #[command(flatten)]
    pub(crate) learning: Learning,
}

/// Whether a small scorer is enough.
#[derive(Debug, Args)]
pub(crate) struct RightSize {
    /// A more costly scorer, which scores if --scorer agrees with it on too few rows of a sample
    ///
    /// Both learn from the same labels and say what about 1,000 rows without one are. The footprint's report says what the choice saved.
    #[arg(long, value_name = "SCORER", help_heading = "Scoring")]
    pub(crate) larger: Option<String>,
    /// With --larger: least share of the sample on which both say the same
    #[arg(long, value_name = "RATIO", default_value_t = 0.95, requires = "larger", help_heading = "Scoring")]
    pub(crate) min_agreement: f64,
}

/// What learns from labels, and how.
#[derive(Debug, Args)]
pub(crate) struct Learning {
    /// What learns from an encoder's embeddings: linear or mlp [default: linear]
    #[arg(long, value_name = "HEAD", value_parser = head(), help_heading = "Scoring")]
    pub(crate) head: Option<Head>,
    /// What the labels are
    ///
    /// classes: one of several. multi-label: lists, or texts with `;` between labels. regression: numbers, predicted as
    /// `tamis_quality`. auto: lists are multi-label, numbers of which one has a fraction are regression, all else is classes.
    #[arg(long, value_name = "TASK", value_parser = task(), default_value = "auto", help_heading = "Scoring")]
    pub(crate) task: Task,
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Scoring")]
    pub(crate) device: String,
    /// Seed of the training
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Scoring")]
    pub(crate) seed: u64,
}

/// `tamis distill`.
#[derive(Debug, Args)]
pub(crate) struct Distill {
    /// Rows that were judged: files, folders, globs or URLs
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// Folder or URL for the scorer
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: String,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
    #[command(flatten)]
    pub(crate) accounting: Accounting,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Files with the judgements: the id column and the label column [default: the input itself]
    ///
    /// May be the table `scores` of another scorer, which is the teacher then: --labels OUT/scores --label-column `tamis_quality`
    #[arg(long, value_name = "FILE", help_heading = "Scoring")]
    pub(crate) labels: Vec<String>,
    /// Column with the judgement: a class, labels or a number
    #[arg(long, value_name = "COLUMN", default_value = "label", help_heading = "Scoring")]
    pub(crate) label_column: String,
    /// What learns: builtin, or an encoder's folder or URL
    #[arg(long, value_name = "SCORER", default_value = "builtin", help_heading = "Scoring")]
    pub(crate) scorer: String,
    #[command(flatten)]
    pub(crate) learning: Learning,
}

fn embedding_type() -> impl TypedValueParser<Value = EmbeddingType> {
    one_of(["f16", "f32"])
}

fn embedding_precision() -> impl TypedValueParser<Value = EmbeddingPrecision> {
    one_of(["f32", "bf16"])
}

pub(super) fn strategy() -> impl TypedValueParser<Value = Strategy> {
    one_of(Strategy::ALL.map(Strategy::name))
}

pub(super) fn head() -> impl TypedValueParser<Value = Head> {
    one_of(["linear", "mlp"])
}

fn task() -> impl TypedValueParser<Value = Task> {
    one_of(["auto", "classes", "multi-label", "regression"])
}
