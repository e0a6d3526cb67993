//! The order in which candidates come up, for each strategy.
//!
//! ```text
//! candidates -> Pool -> uncertain                  the order of the funnel itself
//!                    -> clusters                   cluster-margin, typiclust, k-means: clusters take turns
//!                    -> farthest, cover            k-center, probcover: what nothing chosen is near to
//!                    -> facility, herding          what stands for the most rows, or the most that the model is unsure of
//!                    -> badge                      gradients that are large and unlike each other
//! ```
//!
//! A strategy proposes rows one by one; what does not let one in (a quota, a near-duplicate that is in already) has it propose another.

mod badge;
mod clusters;
mod cover;
mod facility;
mod farthest;
mod herding;
mod lazy;
mod neighbors;
#[cfg(test)]
mod tests;
mod uncertain;

use super::Strategy;
use super::candidates::Candidate;
use crate::Result;
use crate::context::Context;
use crate::points::Points;

/// A candidate as the strategy proposes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proposal {
    /// Index of the candidate.
    pub(super) index: usize,
    /// How much speaks for it, in the strategy's own measure.
    pub(super) score: f64,
    /// Number of its cluster in the order in which they take turns, from 1, and candidates in it, for strategies that have some.
    pub(super) cluster: Option<(usize, usize)>,
}

/// What strategies look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pool<'a> {
    /// The candidates.
    pub(super) rows: &'a [Candidate],
    /// Their embeddings.
    pub(super) points: Points<'a>,
    /// Their probabilities, row by row, for strategies that need them.
    pub(super) probabilities: &'a [f32],
    /// Embeddings of labelled rows, a sample of them if there are many.
    pub(super) labelled: Points<'a>,
    /// What a row counts of which the model is sure, if one that it is unsure of counts 1; for herding.
    pub(super) least_weight: f32,
}

/// Proposes up to `n` rows that `admit` lets in, best first.
///
/// # Determinism
/// A function of the set of candidates and labelled rows and of the seed, on one instruction set.
///
/// # Errors
/// `Error::Interrupted`, `Error::OverBudget`.
pub(super) fn acquire(
    strategy: Strategy,
    pool: Pool<'_>,
    n: usize,
    seed: u64,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    if pool.rows.is_empty() || n == 0 {
        return Ok(Vec::new());
    }
    match strategy {
        Strategy::ClusterMargin => clusters::cluster_margin(pool, n, seed, admit, context),
        Strategy::Typiclust => clusters::typiclust(pool, n, seed, admit, context),
        Strategy::KMeans => clusters::central(pool, n, seed, admit, context),
        Strategy::KCenter => farthest::k_center(pool, n, admit, context),
        Strategy::Probcover => cover::prob_cover(pool, n, seed, admit, context),
        Strategy::FacilityLocation => facility::facility_location(pool, n, None, admit, context),
        Strategy::StochasticFacilityLocation => facility::facility_location(pool, n, Some(seed), admit, context),
        Strategy::Uherding => herding::herding(pool, n, admit, context),
        Strategy::Badge => badge::badge(pool, n, seed, admit, context),
        Strategy::Auto
        | Strategy::Random
        | Strategy::LeastConfidence
        | Strategy::Margin
        | Strategy::Entropy
        | Strategy::Bald
        | Strategy::VoteEntropy
        | Strategy::MinMargin
        | Strategy::Anchor
        | Strategy::Activelab => Ok(uncertain::first(pool, n, admit)),
    }
}
