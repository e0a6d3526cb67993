//! BADGE: rows whose label would change the model much, and each in a way of its own.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{Pool, Proposal};
use crate::Result;
use crate::context::Context;
use crate::points::dot;
use crate::score::top_two;

/// Rows that a thread takes at once.
const BLOCK_ROWS: usize = 256;

/// k-means++ over the gradients that the loss of the last layer would have if each row had its most probable class. A proposal's score is its
/// squared distance to the nearest one before.
///
/// The gradient of a row is the outer product of `a = p - e(most probable class)` and its embedding `h`, and is never made:
/// `|g - g'|^2 = |a|^2 |h|^2 + |a'|^2 |h'|^2 - 2 (a.a') (h.h')`.
///
/// # Cost
/// `n * rows * (classes + dimensions)` operations; memory for two numbers a row.
///
/// # Source
/// Ash et al.: Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020; as in their code, the longest gradient is first.
pub(super) fn badge(
    pool: Pool<'_>,
    n: usize,
    seed: u64,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    // In the order of the hash: a draw is then the same, whatever the order of the rows.
    let mut order: Vec<usize> = (0..pool.rows.len()).collect();
    order.sort_unstable_by_key(|&index| (pool.rows[index].key, pool.rows[index].row));
    let gradients = Gradients::new(pool);
    let mut distances: Vec<f32> = order.iter().map(|&index| gradients.squares[index]).collect();
    let weights: Vec<f32> = order.iter().map(|&index| pool.rows[index].weight).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen: Vec<Proposal> = Vec::new();
    let mut is_out = vec![false; order.len()];
    while chosen.len() < n {
        context.cancel.check()?;
        let Some(place) = next(&distances, &weights, &is_out, chosen.is_empty(), &mut random) else { break };
        is_out[place] = true;
        let index = order[place];
        if !admit(index) {
            continue;
        }
        let score = f64::from(distances[place]);
        if chosen.is_empty() {
            // So far they were lengths, by which the first one is chosen.
            distances.fill(f32::INFINITY);
        }
        chosen.push(Proposal { index, score, cluster: None });
        context.pool.install(|| {
            distances.par_iter_mut().zip(&order).with_min_len(BLOCK_ROWS).for_each(|(distance, &other)| {
                *distance = distance.min(gradients.squared_distance(other, index));
            });
        });
    }
    Ok(chosen)
}

/// The longest first, then in proportion to the squared distance for the cost; where all distances are 0, the first that is left, and where some
/// are too large for a sum, the most distant.
fn next(distances: &[f32], weights: &[f32], is_out: &[bool], is_first: bool, random: &mut ChaCha8Rng) -> Option<usize> {
    let weighed = |place: usize| f64::from(distances[place]) * f64::from(weights[place]);
    let left = || (0..distances.len()).filter(|&place| !is_out[place]);
    let sum: f64 = left().map(weighed).sum();
    if is_first || !sum.is_finite() {
        return left().max_by(|&a, &b| weighed(a).total_cmp(&weighed(b)).then(b.cmp(&a)));
    }
    let drawn = (0.0 < sum).then(|| {
        let mut rest = random.random_range(0.0..sum);
        left().find(|&place| {
            rest -= weighed(place);
            rest < 0.0
        })
    });
    drawn.flatten().or_else(|| left().next())
}

#[derive(Debug)]
struct Gradients<'a> {
    pool: Pool<'a>,
    n_classes: usize,
    /// Most probable class of each row.
    classes: Vec<u32>,
    /// Squared lengths.
    squares: Vec<f32>,
}

impl<'a> Gradients<'a> {
    fn new(pool: Pool<'a>) -> Self {
        let n_classes = pool.probabilities.len() / pool.rows.len();
        let rows = pool.probabilities.chunks_exact(n_classes.max(1));
        let classes: Vec<u32> = rows.map(|row| top_two(row)[0] as u32).collect();
        let mut gradients = Self { pool, n_classes, classes, squares: Vec::new() };
        gradients.squares = (0..pool.rows.len())
            .map(|index| {
                let embedding = pool.points.get(index);
                gradients.class_product(index, index) * dot(embedding, embedding)
            })
            .collect();
        gradients
    }

    fn probabilities(&self, index: usize) -> &[f32] {
        &self.pool.probabilities[index * self.n_classes..][..self.n_classes]
    }

    /// Inner product of two rows' `p - e(most probable class)`.
    fn class_product(&self, one: usize, other: usize) -> f32 {
        let (p, q) = (self.probabilities(one), self.probabilities(other));
        let (of_p, of_q) = (self.classes[one], self.classes[other]);
        dot(p, q) - p[of_q as usize] - q[of_p as usize] + f32::from(u8::from(of_p == of_q))
    }

    fn squared_distance(&self, one: usize, other: usize) -> f32 {
        let embeddings = dot(self.pool.points.get(one), self.pool.points.get(other));
        let product = self.class_product(one, other) * embeddings;
        (self.squares[one] + self.squares[other] - 2.0 * product).max(0.0)
    }
}
