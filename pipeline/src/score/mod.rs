//! Scores: what a model thinks of each text, and how sure it is.
//!
//! ```text
//! labels -> Targets (classes, lists of labels, numbers)
//! texts  -> n-grams ----\                                            /-> label, probabilities, margin, entropy
//!                        +-> members, out of fold -> temperature -> Answers
//!                       /                                            \-> quality
//! ```
//!
//! [`device`] finds where models compute; a scorer is fitted once, and then maps batches on any thread.

pub mod agreement;
mod answers;
pub(crate) mod append;
pub(crate) mod builtin;
pub(crate) mod cache;
mod causal;
mod choice;
mod class;
mod column;
mod committee;
pub mod device;
pub mod encoder;
mod head;
mod importance;
mod ngram;
mod out_of_fold;
mod saved;
mod targets;
mod task;

pub(crate) use answers::top_two;
pub use builtin::{BuiltinScorer, BuiltinSettings, LabelledText, Projection};
pub use cache::SharedEncoder;
pub use causal::CausalScorer;
pub(crate) use choice::GGUF;
pub use choice::{ScorerChoice, Unlabelled};
pub(crate) use class::ClassScorer;
pub use column::ColumnScorer;
pub(crate) use column::embeddings_of;
pub(crate) use encoder::product::{View, product};
pub(crate) use head::Head;
pub use head::{EncoderScorer, HeadKind, HeadSettings, Truncated};
pub use importance::ImportanceScorer;
pub use ngram::NgramScorer;
pub(crate) use saved::OpenedScorer;
pub use saved::{FILE as SCORER_FILE, SavedScorer};
pub use task::{LabelKind, Task};
