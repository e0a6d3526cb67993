//! Names of the columns that tamis adds. Every one starts with `tamis_`; an input column of such a name is replaced.

/// Prefix of every column that tamis adds.
pub const PREFIX: &str = "tamis_";
/// Id of a document: the id column as text, else `<source>#<row>`. Utf8, never null.
pub const ID: &str = "tamis_id";
/// Position of a row in the whole input, rejected rows counted too. UInt64; inside a run only, never written.
pub const ROW: &str = "tamis_row";
/// The text that is compared and scored. Utf8; inside a run only, never written.
pub const TEXT: &str = "tamis_text";
/// Why a row was dropped or chosen. Utf8.
pub const REASON: &str = "tamis_reason";
/// Rank of a row in a labelling batch, 1 is labelled first. UInt32.
pub const RANK: &str = "tamis_rank";
/// Acquisition score of a row, higher is sooner. Float64.
pub const SCORE: &str = "tamis_score";
