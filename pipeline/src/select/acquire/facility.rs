//! Facility location: rows that together are as similar as can be to all rows.

use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::lazy::{Coverage, lazy_greedy};
use super::neighbors::most_similar;
use super::{Pool, Proposal};
use crate::Result;
use crate::context::Context;
use crate::products::products;
use crate::select::candidates::Candidate;

/// Rows that a row may stand for: its most similar ones.
const MAX_NEIGHBORS: usize = 64;
/// How far a stochastic choice may be from the best one.
const EPSILON: f64 = 0.05;

/// Greedy maximization of the sum, over all rows, of the similarity to the most similar row that is labelled or chosen. Similarity is the inner
/// product where it is above 0, and counts for the 64 most similar rows. With a seed, each choice is the best of a sample.
///
/// # Cost
/// `rows^2 * dimensions` operations for the similarities, memory for 64 of each row.
///
/// # Source
/// Nemhauser, Wolsey, Fisher 1978 (greedy); Mirzasoleiman et al.: Lazier Than Lazy Greedy, AAAI 2015 (the sample).
pub(super) fn facility_location(
    pool: Pool<'_>,
    n: usize,
    seed: Option<u64>,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let n_rows = pool.rows.len();
    let mut reservation = context.budget.reserve("selection");
    reservation.grow(n_rows * MAX_NEIGHBORS * 2 * size_of::<(u32, f32)>())?;
    let similar = most_similar(pool.points, MAX_NEIGHBORS.min(n_rows), context)?;
    let mut stands_for = vec![Vec::new(); n_rows];
    for (row, neighbors) in similar.into_iter().enumerate() {
        for (column, similarity) in neighbors.into_iter().filter(|(_, similarity)| 0.0 < *similarity) {
            stands_for[column as usize].push((row as u32, similarity));
        }
    }
    let covered = products(pool.points, pool.labelled, context, |rows, each| {
        let mut covered = vec![0.0f32; rows.len()];
        each(&mut |_, products| {
            for (covered, products) in covered.iter_mut().zip(products.chunks_exact(products.len() / rows.len())) {
                *covered = products.iter().copied().fold(*covered, f32::max);
            }
        });
        covered
    })?;
    let mut coverage = Facilities { stands_for, covered: covered.into_iter().flatten().collect() };
    match seed {
        None => {
            let gains: Vec<f64> = (0..n_rows).map(|index| coverage.gain(index)).collect();
            lazy_greedy(&mut coverage, &gains, pool.rows, n, admit, context)
        }
        Some(seed) => stochastic_greedy(&mut coverage, pool.rows, n, seed, admit, context),
    }
}

/// Each choice is the best of `rows / n * ln(1 / EPSILON)` rows drawn at random.
fn stochastic_greedy(
    coverage: &mut Facilities,
    rows: &[Candidate],
    n: usize,
    seed: u64,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // In the order of the hash: what is drawn is then the same, whatever the order of the rows.
    let key = |index: usize| (rows[index].key, rows[index].row);
    let mut left: Vec<usize> = (0..rows.len()).collect();
    left.sort_unstable_by_key(|&index| key(index));
    let wanted = (rows.len() as f64 / n as f64 * (1.0 / EPSILON).ln()).ceil() as usize;
    let mut chosen: Vec<Proposal> = Vec::new();
    while chosen.len() < n && !left.is_empty() {
        context.cancel.check()?;
        let drawn = sample(&mut random, left.len(), wanted.clamp(1, left.len()));
        let mut weighed = |index: usize| coverage.gain(index) * f64::from(rows[index].weight);
        let mut gain_of = |place: usize| (weighed(left[place]), std::cmp::Reverse(key(left[place])));
        let best = drawn.iter().map(|place| (gain_of(place), place));
        let best = best.max_by(|((a, a_key), _), ((b, b_key), _)| a.total_cmp(b).then_with(|| a_key.cmp(b_key)));
        let Some(((score, _), place)) = best else { break };
        let index = left.remove(place);
        if admit(index) {
            coverage.choose(index);
            chosen.push(Proposal { index, score, cluster: None });
        }
    }
    Ok(chosen)
}

#[derive(Debug)]
struct Facilities {
    /// For each row those that have it among their most similar ones, and how similar it is.
    stands_for: Vec<Vec<(u32, f32)>>,
    /// For each row the similarity to the most similar row that is labelled or chosen.
    covered: Vec<f32>,
}

impl Coverage for Facilities {
    fn gain(&mut self, index: usize) -> f64 {
        let more = |&(row, similarity): &(u32, f32)| f64::from((similarity - self.covered[row as usize]).max(0.0));
        self.stands_for[index].iter().map(more).sum()
    }

    fn choose(&mut self, index: usize) {
        for &(row, similarity) in &self.stands_for[index] {
            let covered = &mut self.covered[row as usize];
            *covered = covered.max(similarity);
        }
    }
}
