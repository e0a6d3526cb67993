//! A finished run, looked at: what went, for which row, on what proof, and how the two texts differ.
//!
//! ```text
//! FinishedRun::open -> overview            counts, clusters, sources: one pass over the evidence
//!                   -> clusters, dropped   the evidence of some ids -> their rows -> their texts
//! diff              -> words of two texts, equal or not
//! ```
//!
//! Nothing is held that grows with the run: evidence is streamed, clusters are sorted within the memory budget, and texts
//! are read only of the rows asked for, in two steps: ids first, then the rows that have them.

mod clusters;
mod diff;
pub(crate) mod evidence;
mod overview;
mod pairs;
mod sources;
#[cfg(test)]
mod tests;
mod unknown;

pub use clusters::{ClusterSort, ClusterSummary};
pub use diff::{Change, Gap, Word, diff, words};
pub use evidence::Proof;
pub use overview::{Overview, OverviewSettings, SimilarityBin, SizeBin, overview};
pub use pairs::{Cluster, Pair, Text, clusters, dropped};
pub use sources::{SourceSummary, Sources};
