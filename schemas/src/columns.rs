//! Names of the columns that tamis adds. Every one starts with `tamis_`.
//!
//! An input column that is named like one of [`WRITTEN`] is replaced where a table has that, so that what one run wrote
//! another reads; other names that start so are refused.

/// Prefix of every column that tamis adds.
pub const PREFIX: &str = "tamis_";
/// Columns that are written to tables.
pub const WRITTEN: [&str; 18] = [
    ID,
    DUPLICATES,
    REASON,
    SOURCE,
    RANK,
    SCORE,
    LABEL,
    PROBABILITIES,
    PROBABILITY,
    MARGIN,
    ENTROPY,
    BALD,
    VOTE_ENTROPY,
    MIN_MARGIN,
    QUALITY,
    EMBEDDING,
    BITS_PER_BYTE,
    LOG_IMPORTANCE,
];
/// Id of a document: the id column as text, else `<source>#<row>`. Utf8, never null.
pub const ID: &str = "tamis_id";
/// Position of a row in the whole input, rejected rows counted too. `UInt64`; inside a run only, never written.
pub const ROW: &str = "tamis_row";
/// Ordinal of a row's file among the input files in their order. `UInt64`; inside a run only, never written.
pub const FILE: &str = "tamis_file";
/// How long a text is, as a power of two of bytes: "512 to 1023 bytes". For quotas; in no table.
pub const LENGTH: &str = "tamis_length";
/// The text that is compared and scored. Utf8; inside a run only, never written.
pub const TEXT: &str = "tamis_text";
/// Rows that a kept row stands for: itself and those dropped for it, where an input has counts from an earlier run their sum.
/// `Int64`, never null.
pub const DUPLICATES: &str = "tamis_duplicates";
/// Why a row was dropped or chosen. Utf8.
pub const REASON: &str = "tamis_reason";
/// Name of the input file of a dropped row, in outputs that runs are added to. Utf8, never null.
pub const SOURCE: &str = "tamis_source";
/// Rank of a row in a labelling batch, 1 is labelled first. `Int32`.
pub const RANK: &str = "tamis_rank";
/// Acquisition score of a row, higher is sooner. Float64.
pub const SCORE: &str = "tamis_score";
/// Label that the scorer predicts; where a row may have several, those with a probability of 0.5 or more with `;` between them.
/// Utf8; null while there are no labels to learn from.
pub const LABEL: &str = "tamis_label";
/// Probability of each class. `FixedSizeList<Float32>`, the classes' names under [`CLASSES_KEY`]; absent without labels.
pub const PROBABILITIES: &str = "tamis_probabilities";
/// Probability of the class that quality goes by.
pub const PROBABILITY: &str = "tamis_probability";
/// Key in the metadata of [`PROBABILITIES`]: names of the classes, in order, as a JSON list.
pub const CLASSES_KEY: &str = "tamis.classes";
/// Highest probability less the second highest, 0..=1: small is uncertain. Float32; null without labels.
pub const MARGIN: &str = "tamis_margin";
/// Entropy of the probabilities over that of the uniform distribution, 0..=1: large is uncertain. Float32; null without labels.
pub const ENTROPY: &str = "tamis_entropy";
/// What a committee disagrees on: entropy of its mean probabilities less the mean entropy of its members, in nats. Float32; null
/// without labels.
pub const BALD: &str = "tamis_bald";
/// Entropy of the votes of a committee over that of the uniform distribution, 0..=1. Float32; null without labels.
pub const VOTE_ENTROPY: &str = "tamis_vote_entropy";
/// The smallest margin that a member of a committee has, 0..=1. Float32; null without labels.
pub const MIN_MARGIN: &str = "tamis_min_margin";
/// The number that the scorer predicts, between the least and the most of the labels. Float32.
pub const QUALITY: &str = "tamis_quality";
/// Direction of the text in the scorer's space, length 1 (0 if nothing is known of it). `FixedSizeList<Float16>`.
pub const EMBEDDING: &str = "tamis_embedding";
/// Bits that a byte of the text takes under a model of a reference. Float32; null for an empty text.
pub const BITS_PER_BYTE: &str = "tamis_bits_per_byte";
/// Natural logarithm of how much likelier the text is in a target set than in the pool. Float32.
pub const LOG_IMPORTANCE: &str = "tamis_log_importance";
