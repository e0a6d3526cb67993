//! What the user typed.

mod finished;
mod index;
mod schedule;
mod tiers;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;
use tamis_pipeline::run::IfLocked;
use tamis_schemas::config::{
    EmbeddingPrecision, EmbeddingType, Head, InputFormat, Linkage, Measure, Scope, Strategy, Task, TextDocuments, Unit,
    UnitAction,
};
use tamis_schemas::preset::Preset;
use tamis_schemas::size::ByteSize;
use tamis_schemas::time_span::{ParseTimeSpanError, TimeSpan};

pub(crate) use finished::{ClusterOrder, Export, FinishedOutput, Gc, Inspect, Reach, Restore, RestoreTier, Thaw, When};
pub(crate) use index::{IndexCommand, IndexExpire, IndexUrl};
pub(crate) use schedule::{ScheduleCommand, SchedulePrint, ScheduleRun, Target};
pub(crate) use tiers::{TiersCommand, TiersLifecycle};

use crate::exit;
use crate::log::{self, LogFormat};

/// Sieves a dataset down to what is worth training on and worth labelling.
#[derive(Debug, Parser)]
#[command(name = "tamis", version, propagate_version = true, max_term_width = 100, after_help = exit::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What must not change the output.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Worker threads [default: the processors granted to this process]
    #[arg(long, global = true, env = "TAMIS_THREADS", value_name = "N", help_heading = "Resources")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Memory to use at most, 64MiB or more, e.g. 512MiB [default: half of what is granted]
    #[arg(long, global = true, env = "TAMIS_MEMORY_LIMIT", value_name = "BYTES", help_heading = "Resources")]
    pub(crate) memory_limit: Option<ByteSize>,
    /// Folder for temporary files [default: the system's]
    #[arg(long, global = true, env = "TAMIS_TEMP_DIR", value_name = "DIR", help_heading = "Resources")]
    pub(crate) temp_dir: Option<PathBuf>,
    /// Rows that travel together between stages
    #[arg(
        long,
        global = true,
        env = "TAMIS_BATCH_ROWS",
        value_name = "N",
        default_value_t = Global::BATCH_ROWS,
        hide_short_help = true,
        help_heading = "Resources"
    )]
    pub(crate) batch_rows: NonZeroUsize,
    /// How the summary is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    pub(crate) format: Format,
    /// Log to stderr; twice for more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
    /// How stderr is written: errors, warnings, the log
    ///
    /// json: every line is an object with `timestamp`, `level`, `run_id`, `message` and more. The run id is new for each run, or
    /// what `TAMIS_RUN_ID` says.
    #[arg(long, global = true, env = log::LOG_FORMAT, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, help_heading = "Output")]
    pub(crate) log_format: LogFormat,
    /// No progress bar
    #[arg(long, global = true, env = "TAMIS_NO_PROGRESS", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    pub(crate) no_progress: bool,
}

impl Global {
    /// Rows that travel together if nobody says otherwise.
    pub(crate) const BATCH_ROWS: NonZeroUsize = NonZeroUsize::new(8192).expect("it is not 0");
}

/// How the summary is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For machines
    Json,
    /// A page for a browser: tamis inspect only
    Html,
    /// For the AWS command line: tamis tiers lifecycle only, as all below
    #[value(hide = true)]
    Aws,
    /// For gcloud
    #[value(hide = true)]
    Gcs,
    /// For the Azure command line
    #[value(hide = true)]
    Azure,
    /// For Terraform
    #[value(hide = true)]
    Terraform,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run what a config file describes
    Run(Run),
    /// Remove near-duplicates, with proof
    Dedup(Dedup),
    /// Show what near-duplicate removal would do at other thresholds
    Tune(Tune),
    /// Compute the embedding of every row with an encoder
    Embed(Embed),
    /// Choose the rows to label next
    Select(Select),
    /// Score rows: what a model learned from labels thinks of each, and how sure it is
    Score(Score),
    /// Learn a scorer from judged rows once, and keep it for all others
    Distill(Distill),
    /// Read any input and write it as Parquet
    Convert(Convert),
    /// Bring back the rows of an earlier run as they were read
    Restore(Restore),
    /// List the runs that were added to an output
    Runs(FinishedOutput),
    /// Name the files of an output's tables, for readers of plain Parquet
    Export(Export),
    /// Check that an output is what its runs say, byte by byte
    Verify(FinishedOutput),
    /// Remove what killed runs left in an output: files, and uploads to S3
    Gc(Gc),
    /// Write neighbouring small files of an output that runs are added to into larger ones
    Compact(FinishedOutput),
    /// Show what a run dropped, for which rows, and how the texts differ
    Inspect(Inspect),
    /// Write a config file for given inputs
    Init(Init),
    /// Show, check or describe config files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after an index of earlier runs
    #[command(subcommand)]
    Index(IndexCommand),
    /// Check storage tiers, or print the rules that their buckets need
    #[command(subcommand)]
    Tiers(TiersCommand),
    /// Run a config file again and again, or print what does
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Print shell completions
    Completions(Completions),
}

/// `tamis run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Config file; `tamis init` writes one
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
    #[command(flatten)]
    pub(crate) added: Added,
    #[command(flatten)]
    pub(crate) metrics: Metrics,
}

/// For runs that are added to others.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Added {
    /// While another run adds to the output: fail, skip or wait:TIME [default: fail]
    ///
    /// For output.mode = "append". fail: exit code 75, with who it is. skip: exit code 0. wait:10m: wait so long, then 75. A run that
    /// was killed is taken over when it has shown no sign of life for the time of output.lease (1m), so that telling takes up to
    /// that long. If nothing is new, nobody waits.
    #[arg(long, value_name = "ACTION", value_parser = if_locked)]
    pub(crate) if_locked: Option<IfLocked>,
    /// Exit code if nothing was new, for whoever has to tell [default: 0]
    ///
    /// For output.mode = "append".
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u8).range(3..64))]
    pub(crate) exit_empty: Option<u8>,
}

/// Whether an earlier run may be replaced.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Overwrite {
    /// Replace an earlier run in the output folder
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Numbers of the run for monitoring.
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// Replace this file by the run's numbers, for Prometheus
    ///
    /// In the text format that the textfile collector of Prometheus' node exporter reads. A run that fails writes its exit code and keeps the
    /// time of the last success.
    #[arg(long, env = "TAMIS_METRICS_FILE", value_name = "FILE", help_heading = "Output")]
    pub(crate) metrics_file: Option<PathBuf>,
}

/// What is read and where the result goes.
#[derive(Debug, Args)]
pub(crate) struct Data {
    /// Files, folders, globs, URLs (s3://, gs://, az://), or - for standard input
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// Folder or URL for the result
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: String,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
    #[command(flatten)]
    pub(crate) metrics: Metrics,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

/// How inputs are read.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// Column with the text, or a template: "{title} {body}"
    #[arg(long, value_name = "COLUMN", default_value = "text", help_heading = "Input")]
    pub(crate) text_column: String,
    /// Column with unique ids; "" numbers the rows [default: id, if there]
    #[arg(long, value_name = "COLUMN", help_heading = "Input")]
    pub(crate) id_column: Option<String>,
    /// Format of all inputs [default: found out for each file]
    #[arg(long, value_name = "FORMAT", value_parser = input_format(), help_heading = "Input")]
    pub(crate) input_format: Option<InputFormat>,
    /// What a document is in plain text
    #[arg(long, value_name = "UNIT", value_parser = text_documents(), default_value = "line", help_heading = "Input")]
    pub(crate) text_documents: TextDocuments,
}

/// `tamis dedup`.
#[derive(Debug, Args)]
pub(crate) struct Dedup {
    #[command(flatten)]
    pub(crate) data: Data,
    /// jaccard, or containment: share of the smaller row, the one dropped
    ///
    /// jaccard: shared shingles among those of either row. containment: shared shingles among those of the row with fewer;
    /// the row with more stays, and --keep decides among rows with equally many.
    #[arg(long, value_name = "MEASURE", value_parser = measure(), default_value = "jaccard", help_heading = "Near-duplicates")]
    pub(crate) measure: Measure,
    /// Settings that belong together; what is given beside it wins
    ///
    /// web: threshold 0.8, 5 tokens, 20 bands of 12 slots, which find 76 % of the pairs at the threshold. standard: threshold
    /// 0.8, 5 tokens, 16 bands of 8, 95 %. loose, for labelling sets and short texts: threshold 0.5, 2 tokens, 50 bands of 4,
    /// 96 %. --recall beside a preset chooses other bands. By containment there are no bands: the threshold and the number of
    /// tokens count.
    #[arg(long, value_name = "NAME", value_parser = preset(), help_heading = "Near-duplicates")]
    pub(crate) preset: Option<Preset>,
    /// Similarity of near-duplicates, 0 to 1 [default: 0.8]
    #[arg(long, value_name = "RATIO", help_heading = "Near-duplicates")]
    pub(crate) threshold: Option<f64>,
    /// Share of the pairs there to find; 1 finds all [default: 0.99]
    #[arg(long, value_name = "RATIO", help_heading = "Near-duplicates")]
    pub(crate) recall: Option<f64>,
    /// Tokens per shingle [default: 5]
    #[arg(long, value_name = "N", help_heading = "Near-duplicates")]
    pub(crate) ngram: Option<usize>,
    /// Who stays: first, longest, or COL:asc|desc[,...]
    #[arg(long, value_name = "ORDER", default_value = "first", help_heading = "Near-duplicates")]
    pub(crate) keep: String,
    /// star: a dropped row has a proven edge to a kept one; connected: a path
    #[arg(long, value_name = "LINKAGE", value_parser = linkage(), default_value = "star", help_heading = "Near-duplicates")]
    pub(crate) linkage: Linkage,
    /// Index of earlier runs (folder or URL): their kept rows come first, and what stays is added
    ///
    /// The first run makes it. What a run added leaves the index again when --overwrite replaces its output: give every run
    /// that is to count an output of its own.
    #[arg(long, value_name = "URL", help_heading = "Near-duplicates")]
    pub(crate) index: Option<String>,
    /// Which rows are compared: any two, those of one source, of two, or each with the index only
    #[arg(long, value_name = "SCOPE", value_parser = scope(), default_value = "all", help_heading = "Near-duplicates")]
    pub(crate) scope: Scope,
    /// Compare only rows with equal values of this column
    #[arg(long, value_name = "COLUMN", help_heading = "Near-duplicates")]
    pub(crate) by: Option<String>,
    /// Rows of a cluster that stay, in the order of --keep
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Near-duplicates")]
    pub(crate) cap_cluster: u64,
    #[command(flatten)]
    pub(crate) ignoring: Ignoring,
    /// Also compare parts of rows: paragraph or line [default: none]
    #[arg(long, value_name = "UNIT", value_parser = unit(), help_heading = "Paragraphs and lines")]
    pub(crate) grain: Option<Unit>,
    /// drop: rows that are mostly such parts of earlier rows; cut: the parts
    ///
    /// A part counts if an earlier row that stays has it too, with equal normalised text and 5 tokens or more. `drop` drops
    /// a row of which more than 0.8 of the characters lie in such parts. `cut` takes the parts out of the text column and
    /// records them in the table `spans`, from which `tamis restore` puts them back.
    #[arg(long, value_name = "ACTION", value_parser = unit_action(), requires = "grain", default_value = "drop", help_heading = "Paragraphs and lines")]
    pub(crate) grain_action: UnitAction,
    /// Rows that repeat themselves: drop them, or cut repeats [default: neither]
    ///
    /// `drop` drops rows of 50 tokens or more with too large a share in repeated lines or paragraphs (0.2), in one pair of
    /// words (0.2) or in repeated 10-grams (0.1). `cut` takes out paragraphs (lines with `--grain line`) of 5 tokens or more
    /// that occur earlier in the same text. A config file has all limits: see `tamis config schema`.
    #[arg(long, value_name = "ACTION", value_parser = unit_action(), help_heading = "Paragraphs and lines")]
    pub(crate) repetition: Option<UnitAction>,
    /// Also drop rows that say the same in other words, by this encoder
    ///
    /// A folder or URL of a model of the BERT family, or ORG/NAME of the hub, as `tamis embed --model`. Rows that stay so far are
    /// embedded, and one of two with a large cosine is dropped; --keep says which. A config file has all
    /// settings, in its section `semantic`.
    #[arg(long, value_name = "MODEL", help_heading = "Semantic duplicates")]
    pub(crate) semantic: Option<String>,
    /// Cosine of such rows, 0 to 1 [default: 0.95]
    #[arg(long, value_name = "RATIO", requires = "semantic", help_heading = "Semantic duplicates")]
    pub(crate) semantic_threshold: Option<f64>,
    /// Seed of the sketch
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Near-duplicates")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) against: HeldOut,
    #[command(flatten)]
    pub(crate) guards: Guards,
}

/// Held-out items that no row may contain.
#[derive(Debug, Args)]
pub(crate) struct HeldOut {
    /// Drop rows that contain an item of this held-out file, folder, glob or URL
    ///
    /// Takes one value: repeat it for several, and quote a glob, so that no shell makes inputs of its second file. Inputs are
    /// best named before it.
    #[arg(long, value_name = "FILES", help_heading = "Held-out items")]
    pub(crate) against: Vec<String>,
    /// Column or template of an item's text [default: as --text-column]
    #[arg(long, value_name = "COLUMN", requires = "against", help_heading = "Held-out items")]
    pub(crate) against_text_column: Option<String>,
    /// Column of an item's id; "" numbers the items [default: id, if there]
    #[arg(long, value_name = "COLUMN", requires = "against", help_heading = "Held-out items")]
    pub(crate) against_id_column: Option<String>,
    /// Consecutive tokens shared with an item; shorter items whole
    #[arg(long, value_name = "N", requires = "against", default_value_t = 13, help_heading = "Held-out items")]
    pub(crate) against_ngram: usize,
    /// Items of fewer tokens are not looked for, only counted
    #[arg(long, value_name = "N", requires = "against", default_value_t = 4, help_heading = "Held-out items")]
    pub(crate) against_min_tokens: usize,
}

/// What texts are compared without.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Ignoring {
    /// Compare without diacritics
    #[arg(long, help_heading = "Near-duplicates")]
    pub(crate) ignore_diacritics: bool,
    /// Compare with every digit as 0
    #[arg(long, help_heading = "Near-duplicates")]
    pub(crate) ignore_digits: bool,
    /// Compare without punctuation
    #[arg(long, help_heading = "Near-duplicates")]
    pub(crate) ignore_punctuation: bool,
}

/// What stops a run that loses too much, and where rows are from.
#[derive(Debug, Args)]
pub(crate) struct Guards {
    /// Column with the source of a row [default: its file]
    ///
    /// For --scope and --max-dropped-ratio. Rows without a value are a source of their own.
    #[arg(long, value_name = "COLUMN", help_heading = "Loss guards")]
    pub(crate) source_column: Option<String>,
    /// Stop if a larger share of rows is dropped, 0 to 1
    ///
    /// Of all rows, and of the rows of each source that has 20 or more. Nothing is written then; the exit code is 2.
    #[arg(long, value_name = "RATIO", default_value_t = 1.0, help_heading = "Loss guards")]
    pub(crate) max_dropped_ratio: f64,
    /// Stop if rows of a larger cluster are dropped
    #[arg(long, value_name = "N", help_heading = "Loss guards")]
    pub(crate) max_cluster_rows: Option<u64>,
    /// Go on whatever is lost; the summary and the manifest tell
    #[arg(long, help_heading = "Loss guards")]
    pub(crate) allow_loss: bool,
}

/// `tamis tune`.
#[derive(Debug, Args)]
pub(crate) struct Tune {
    /// Files, folders, globs, URLs (s3://, gs://, az://), or - for standard input
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Rows drawn at random, 2 to 20000; as many neighbours may join them
    #[arg(long, value_name = "N", default_value_t = 2000, help_heading = "Sample")]
    pub(crate) sample: usize,
    /// Seed of the draw and of the sketch
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Sample")]
    pub(crate) seed: u64,
    /// Share of the pairs at a threshold to find; 1 is exhaustive
    #[arg(long, value_name = "RATIO", default_value_t = 0.99, help_heading = "Near-duplicates")]
    pub(crate) recall: f64,
    /// Tokens per shingle
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Near-duplicates")]
    pub(crate) ngram: usize,
    #[command(flatten)]
    pub(crate) ignoring: Ignoring,
}

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
    /// Acquisition function
    #[arg(long, value_name = "NAME", value_parser = strategy(), default_value = "auto", help_heading = "Selection")]
    pub(crate) strategy: Strategy,
    /// Share of the batch chosen at random, 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.1, help_heading = "Selection")]
    pub(crate) random_ratio: f64,
    /// Spread the batch over the values of this column
    #[arg(long, value_name = "COLUMN", requires = "stratum_max_ratio", help_heading = "Selection")]
    pub(crate) stratum_column: Option<String>,
    /// Share of the batch that one such value may take, 0 to 1
    #[arg(long, value_name = "RATIO", requires = "stratum_column", help_heading = "Selection")]
    pub(crate) stratum_max_ratio: Option<f64>,
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
    /// What learns from an encoder's embeddings: linear or mlp [default: linear]
    #[arg(long, value_name = "HEAD", value_parser = head(), help_heading = "Scoring")]
    pub(crate) head: Option<Head>,
    /// What the judgements are
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

/// `tamis convert`.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) data: Data,
}

/// `tamis init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Files, folders, globs or URLs
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// File to write; - prints it
    #[arg(short, long, value_name = "FILE", default_value = "tamis.toml")]
    pub(crate) output: PathBuf,
    /// Replace the file
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `tamis config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the config with every default, and where each value comes from
    Show(ConfigFile),
    /// Check a config file without running it
    Check(ConfigFile),
    /// Print the JSON Schema of config files
    Schema,
}

/// A config file.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// Config file
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: PathBuf,
}

/// `tamis completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

fn if_locked(text: &str) -> Result<IfLocked, String> {
    match (text, text.strip_prefix("wait:")) {
        ("fail", _) => Ok(IfLocked::Fail),
        ("skip", _) => Ok(IfLocked::Skip),
        (_, Some(time)) => {
            let time: TimeSpan = time.parse().map_err(|error: ParseTimeSpanError| error.to_string())?;
            Ok(IfLocked::Wait(time.duration()))
        }
        _ => Err("write fail, skip, or wait: and a time, for instance wait:10m".into()),
    }
}

fn input_format() -> impl TypedValueParser<Value = InputFormat> {
    one_of(&["jsonl", "csv", "tsv", "parquet", "arrow", "text"])
}

fn text_documents() -> impl TypedValueParser<Value = TextDocuments> {
    one_of(&["line", "file"])
}

fn measure() -> impl TypedValueParser<Value = Measure> {
    one_of(&["jaccard", "containment"])
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    one_of(&["web", "standard", "loose"])
}

fn linkage() -> impl TypedValueParser<Value = Linkage> {
    one_of(&["star", "connected"])
}

fn scope() -> impl TypedValueParser<Value = Scope> {
    one_of(&["all", "within-source", "across-sources", "index"])
}

fn unit() -> impl TypedValueParser<Value = Unit> {
    one_of(&["paragraph", "line"])
}

fn unit_action() -> impl TypedValueParser<Value = UnitAction> {
    one_of(&["drop", "cut"])
}

fn embedding_type() -> impl TypedValueParser<Value = EmbeddingType> {
    one_of(&["f16", "f32"])
}

fn embedding_precision() -> impl TypedValueParser<Value = EmbeddingPrecision> {
    one_of(&["f32", "bf16"])
}

fn strategy() -> impl TypedValueParser<Value = Strategy> {
    one_of(&["auto", "random", "least-confidence", "margin", "entropy", "typiclust"])
}

fn head() -> impl TypedValueParser<Value = Head> {
    one_of(&["linear", "mlp"])
}

fn task() -> impl TypedValueParser<Value = Task> {
    one_of(&["auto", "classes", "multi-label", "regression"])
}

/// A parser of names as config files write them. The config types know nothing of clap, so that their names are listed
/// here; a test parses every one.
fn one_of<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names)
        .map(|name| serde_json::from_value(name.into()).expect("the names listed are those of the config"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_listed_name_is_one_of_the_config() {
        let base = [
            ("dedup", ["--grain", "line"]),
            ("embed", ["--model", "m"]),
            ("select", ["--budget", "1"]),
            ("score", ["--seed", "0"]),
        ];
        let mut n_names = 0;
        for (name, required) in base {
            let command = Cli::command();
            let command = command.find_subcommand(name).unwrap();
            for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
                let flag = format!("--{}", argument.get_long().unwrap());
                for value in argument.get_possible_values() {
                    if argument.get_action().takes_values() {
                        let typed = ["tamis", name, "in", "-o", "out", &flag, value.get_name()];
                        let needed = required.iter().filter(|_| required[0] != flag);
                        Cli::try_parse_from(typed.iter().chain(needed)).unwrap();
                        n_names += 1;
                    }
                }
            }
        }
        assert!(n_names >= 30, "{n_names} names");
    }
}
