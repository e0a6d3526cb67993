//! Decontamination: rows that contain an item of a held-out set are dropped before anything else is made of them.
//!
//! ```text
//! held-out rows -> ItemReader -> HeldOut (texts, n-gram index)
//! rows -> Decontaminate, a map stage -> Contaminated (verdicts) -> evidence
//! ```
//!
//! A row contains an item if the two share a run of `n_tokens` consecutive tokens; an item with fewer tokens must occur
//! whole. Tokens and their normalization are those of [`dedup`](crate::dedup). Hashes only say where to look: a match is
//! decided by comparing the tokens themselves.
//!
//! Of several items the one with the longest run is named, the first one if they tie. An n-gram that stands in
//! more than 64 places of the items is followed into the first 64: of a run that has no rarer n-gram, which item is named
//! may depend on that. The verdict does not.

mod contaminated;
mod find;
mod held_out;
mod index;
mod span;
mod stage;
#[cfg(test)]
mod tests;
mod tokens;

pub use contaminated::{Contaminated, ContaminationEvidence, Hits};
pub(crate) use contaminated::{Hit, hits_of};
pub use find::{Finder, Found};
pub use held_out::{HeldOut, HeldOutBuilder, ItemReader, Items};
pub use stage::{Decontaminate, ITEM};

use crate::dedup::Normalize;

/// Value of `tamis_reason`, and the rule in evidence.
pub const REASON: &str = "contaminated";

/// What counts as contamination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Consecutive tokens that a row must share with an item, at least 1.
    pub n_tokens: usize,
    /// Items with fewer tokens are not looked for.
    pub min_tokens: usize,
    /// What is evened out before texts are compared. Punctuation is no part of a token, whatever is said of it here.
    pub normalize: Normalize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { n_tokens: 13, min_tokens: 4, normalize: Normalize::default() }
    }
}
