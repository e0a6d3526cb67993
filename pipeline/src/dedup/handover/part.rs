//! A search that is decided in one part or in several.

/// How much of all pairs who decides gets: those of some rows are all in one part, or there is no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All there are; what was counted must be among what is handed on.
    All,
    /// Some; what was counted is handed on to one part alone.
    Some,
}
