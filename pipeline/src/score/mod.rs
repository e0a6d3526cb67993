//! Scores: what a model thinks of each text, and how sure it is.
//!
//! ```text
//! labelled texts -> n-grams -> vocabulary -> train (Candle) -> members --\
//! sample texts   -> n-grams -> frequencies -> projection ----------------+-> BuiltinScorer, a map stage:
//!                                                                           text -> label, probabilities, margin,
//!                                                                           entropy, embedding
//! ```
//!
//! [`device`] finds where training computes; [`BuiltinScorer`] is fitted once, and then maps batches on any thread.

pub(crate) mod append;
mod builtin;
pub(crate) mod cache;
pub mod device;
pub mod encoder;
mod ensemble;
mod features;
mod projection;
mod stage;
#[cfg(test)]
pub(crate) mod tests;
mod train;

pub use builtin::{BuiltinScorer, BuiltinSettings, LabelledText};
pub(crate) use stage::top_two;
