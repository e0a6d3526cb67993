//! Near-duplicate removal: which rows say the same as a row that stays, with proof for each.
//!
//! ```text
//! text -> normalize -> token -> shingle -> sketch -> band      Fingerprint, a map stage
//!      -> identical -> candidates -> prune -> proof -> assign  NearDuplicates, a barrier
//!      -> verdict, evidence, report
//! text -> grain                                            paragraphs and lines: what is finer than a row
//! embedding -> semantic                                    rows that say the same in other words
//! ```
//!
//! A text is a set of shingles: hashes of a few consecutive tokens. Two texts are near-duplicates if the Jaccard
//! similarity of their sets reaches the threshold. Sketches find the pairs and decide the clear ones; the exact sets
//! decide the others. No row is dropped without a proven pair, and under star linkage that pair is with the row that stays.
//! If the [`Measure`] is containment, samples of the sets find the pairs instead, and all of them are decided exactly.
//!
//! Read in this order: [`Settings`], [`Fingerprint`], [`NearDuplicates`], [`NearDuplicateResult`]. The kernels (from
//! [`Normalizer`] to [`Bands`], and [`jaccard`]) know nothing of stages or files.

mod assign;
mod band;
mod bucket_stream;
mod buckets;
mod candidates;
mod columns;
mod compare;
mod containment;
mod duplicates;
mod earlier;
mod edge;
mod evidence;
mod fingerprint;
mod forest;
pub mod grain;
mod handover;
mod identical;
pub mod index;
mod keep;
mod largest;
mod lists;
mod measure;
mod near_duplicates;
mod normalize;
mod proof;
mod prune;
mod report;
mod scope;
pub mod semantic;
mod settings;
mod shingle;
mod shingle_cache;
mod sketch;
mod sketch_table;
mod tape;
#[cfg(test)]
mod tests;
mod token;
#[cfg(target_arch = "x86_64")]
mod token_x86;
pub(crate) mod unicode;
mod verdict;
mod what_if;
mod widest;
mod wire;

pub use assign::Rule;
pub use band::Bands;
pub(crate) use bucket_stream::BucketStream;
pub use columns::{BAND_KEYS, EXACT_KEY, GROUP, LENGTH, N_SHINGLES, SAMPLE, SET_SIZE, SHINGLES, SKETCH, SOURCE};
pub use containment::Sampling;
pub use duplicates::{DuplicateCounts, Duplicates, Weighing};
pub(crate) use edge::Grouped;
pub use edge::Method;
pub(crate) use evidence::RowClusters;
pub use evidence::{Evidence, EvidenceBatches};
pub use fingerprint::{Fingerprint, Reader};
pub(crate) use fingerprint::{ShingleSets, sets_of};
pub(crate) use handover::{Assignment, Decisions, Handed, HandedDrop, HandedEdge, Links, Part, Pruning, SearchCounts};
pub use largest::{Cluster, LargestClusters};
pub use measure::Measure;
pub use near_duplicates::NearDuplicates;
pub use normalize::{Normalize, Normalizer};
pub use report::{MoreDrops, NearDuplicateReport, NearDuplicateResult, ResultHandle};
pub use scope::{Scope, Sources};
pub use settings::{Direction, Gate, KeepOrder, Linkage, Search, Settings};
pub use shingle::{Shingler, jaccard, jaccard_reaching, to_set};
pub use sketch::{N_SLOTS, Sketch, estimate, sketch};
pub use token::tokenize;
pub(crate) use unicode::Class;
pub use verdict::{DropReason, Verdict};
pub(crate) use wire::{FingerprintsOnWire, glance_of_bytes};
