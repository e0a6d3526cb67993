//! `tamis dedup` and `tamis tune`: near-duplicates and all that goes with them.

use clap::Args;
use clap::builder::TypedValueParser;
use tamis_schemas::config::{Linkage, Measure, Scope, Unit, UnitAction};
use tamis_schemas::preset::Preset;

use super::{Data, Reading, one_of};

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

fn measure() -> impl TypedValueParser<Value = Measure> {
    one_of(["jaccard", "containment"])
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    one_of(["web", "standard", "loose"])
}

fn linkage() -> impl TypedValueParser<Value = Linkage> {
    one_of(["star", "connected"])
}

fn scope() -> impl TypedValueParser<Value = Scope> {
    one_of(["all", "within-source", "across-sources", "index"])
}

fn unit() -> impl TypedValueParser<Value = Unit> {
    one_of(["paragraph", "line"])
}

fn unit_action() -> impl TypedValueParser<Value = UnitAction> {
    one_of(["drop", "cut"])
}
