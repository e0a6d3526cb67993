//! Clusters of embeddings, by seeded k-means.

#![expect(clippy::inline_always, reason = "a function for some processors is compiled for them with all that it calls")]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Result;
use crate::context::Context;
use crate::processor::for_this_processor;

/// Training stops here if clusters still change.
const MAX_ITERATIONS: usize = 20;
/// Points for each cluster that centroids are trained on; the others are only assigned.
const TRAINING_POINTS_PER_CLUSTER: usize = 64;
/// Points that a thread takes at once.
const BLOCK_POINTS: usize = 256;

/// Vectors of one length, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Points<'a> {
    values: &'a [f32],
    dimensions: usize,
}

impl<'a> Points<'a> {
    /// # Shape
    /// `values`: whole vectors of `dimensions`, which is not 0.
    pub(crate) fn new(values: &'a [f32], dimensions: usize) -> Self {
        Self { values, dimensions }
    }

    /// Number of vectors.
    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// A vector.
    pub(crate) fn get(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.dimensions..][..self.dimensions]
    }

    /// Components of a vector.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All components.
    pub(crate) fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The first `n` vectors.
    pub(crate) fn first(&self, n: usize) -> Self {
        Self { values: &self.values[..n * self.dimensions], ..*self }
    }
}

/// Centroids, and the nearest one of each point.
#[derive(Debug)]
pub(crate) struct Clusters {
    centroids: Vec<f32>,
    dimensions: usize,
    /// Number of the cluster of each point.
    pub(crate) assignment: Vec<u32>,
}

impl Clusters {
    /// Number of clusters; some may be empty.
    pub(crate) fn len(&self) -> usize {
        self.centroids.len() / self.dimensions
    }

    /// Middle of a cluster.
    pub(crate) fn centroid(&self, number: usize) -> &[f32] {
        Points::new(&self.centroids, self.dimensions).get(number)
    }

    /// The nearest cluster of each point.
    pub(crate) fn assign(&self, points: Points, context: &Context) -> Vec<u32> {
        nearest(points, Points::new(&self.centroids, self.dimensions), context)
    }
}

/// Finds at most `k` clusters: fewer if there are fewer distinct points.
///
/// The points' order must say nothing about them (the order of a hash): the first 64 for each cluster are those that
/// centroids are trained on.
///
/// # Cost
/// `20 * 64 * k^2 * dimensions` operations for training, `n * k * dimensions` for the assignment.
///
/// # Determinism
/// A function of points, their order and the seed, on every platform: sums are taken in the order of the points.
///
/// # Source
/// Arthur, Vassilvitskii: k-means++, SODA 2007 (the first centroids); Lloyd 1982.
pub(crate) fn k_means(points: Points, k: usize, seed: u64, context: &Context) -> Result<Clusters> {
    let dimensions = points.dimensions;
    let training = points.first(points.len().min(k.saturating_mul(TRAINING_POINTS_PER_CLUSTER)));
    let mut centroids = first_centroids(training, k, seed, context)?;
    let mut assignment = Vec::new();
    for _ in 0..MAX_ITERATIONS {
        context.cancel.check()?;
        let next = nearest(training, Points::new(&centroids, dimensions), context);
        if next == assignment {
            break;
        }
        assignment = next;
        move_to_means(&mut centroids, training, &assignment);
    }
    let assignment = nearest(points, Points::new(&centroids, dimensions), context);
    Ok(Clusters { centroids, dimensions, assignment })
}

/// Points drawn with a probability in proportion to the squared distance to the nearest one drawn before.
fn first_centroids(points: Points, k: usize, seed: u64, context: &Context) -> Result<Vec<f32>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut centroids = Vec::new();
    let mut distances = vec![f32::INFINITY; points.len()];
    let mut next = (0 < points.len()).then(|| random.random_range(0..points.len()));
    while let Some(index) = next {
        context.cancel.check()?;
        let centroid = points.get(index);
        centroids.extend_from_slice(centroid);
        context.pool.install(|| {
            distances.par_iter_mut().with_min_len(BLOCK_POINTS).enumerate().for_each(|(index, distance)| {
                *distance = distance.min(squared_distance(points.get(index), centroid));
            });
        });
        let sum: f64 = distances.iter().map(|&distance| f64::from(distance)).sum();
        if centroids.len() == k * points.dimensions || sum <= 0.0 {
            break;
        }
        let mut rest = random.random_range(0.0..sum);
        next = distances.iter().position(|&distance| {
            rest -= f64::from(distance);
            rest < 0.0
        });
    }
    Ok(centroids)
}

fn nearest(points: Points, centroids: Points, context: &Context) -> Vec<u32> {
    let half_squares: Vec<f32> =
        (0..centroids.len()).map(|index| dot(centroids.get(index), centroids.get(index)) / 2.0).collect();
    let of = |index: usize| {
        let point = points.get(index);
        let mut best = (f32::INFINITY, 0);
        let mut take = |number: usize, product: f32| {
            let distance = half_squares[number] - product;
            if distance < best.0 {
                best = (distance, number as u32);
            }
        };
        let fours = centroids.values.chunks_exact(4 * centroids.dimensions);
        let n_in_fours = 4 * fours.len();
        for (first, four) in (0..).step_by(4).zip(fours) {
            for (place, product) in dot_four(point, four).into_iter().enumerate() {
                take(first + place, product);
            }
        }
        for number in n_in_fours..centroids.len() {
            take(number, dot(point, centroids.get(number)));
        }
        best.1
    };
    context.pool.install(|| (0..points.len()).into_par_iter().with_min_len(BLOCK_POINTS).map(of).collect())
}

/// Moves each centroid to the mean of its points; one without points stays.
fn move_to_means(centroids: &mut [f32], points: Points, assignment: &[u32]) {
    let mut sums = vec![0.0f64; centroids.len()];
    let mut counts = vec![0u32; centroids.len() / points.dimensions];
    for (index, &number) in assignment.iter().enumerate() {
        counts[number as usize] += 1;
        let sum = &mut sums[number as usize * points.dimensions..][..points.dimensions];
        for (sum, &x) in sum.iter_mut().zip(points.get(index)) {
            *sum += f64::from(x);
        }
    }
    let means = centroids.chunks_exact_mut(points.dimensions).zip(sums.chunks_exact(points.dimensions)).zip(counts);
    for ((centroid, sum), count) in means.filter(|(_, count)| 0 < *count) {
        for (x, sum) in centroid.iter_mut().zip(sum) {
            *x = (sum / f64::from(count)) as f32;
        }
    }
}

/// Inner product.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |x, y| x * y)
}

for_this_processor! {
    /// Inner products with four vectors that lie one after the other, each to the bit that of [`dot`]. No sum waits for the addition
    /// before, which is most of what one takes.
    fn dot_four(a: &[f32], four: &[f32]) -> [f32; 4] = dot_four_body
}

#[inline(always)]
fn dot_four_body<const FUSED: bool>(a: &[f32], four: &[f32]) -> [f32; 4] {
    let (blocks, rest) = a.as_chunks::<8>();
    let of = |vector: usize| four[vector * a.len()..][..a.len()].as_chunks::<8>();
    let vectors = [of(0), of(1), of(2), of(3)];
    let mut lanes = [[0.0f32; 8]; 4];
    for (index, block) in blocks.iter().enumerate() {
        for (lanes, (others, _)) in lanes.iter_mut().zip(vectors) {
            for lane in 0..8 {
                lanes[lane] += block[lane] * others[index][lane];
            }
        }
    }
    std::array::from_fn(|vector| {
        let of_rest = rest.iter().zip(vectors[vector].1).map(|(&x, &y)| x * y).sum::<f32>();
        lanes[vector].iter().sum::<f32>() + of_rest
    })
}

/// Squared Euclidean distance.
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |x, y| (x - y) * (x - y))
}

/// Sums in eight lanes: it can be vectorized, and the order of the additions is fixed all the same.
fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0f32; 8];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&x, &y)| term(x, y)).sum::<f32>();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_products_are_those_of_one() {
        let value = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 7.0;
        for dimensions in [1, 7, 8, 9, 31, 128, 384] {
            let a: Vec<f32> = (0..dimensions).map(value).collect();
            let four: Vec<f32> = (0..4 * dimensions).map(|index| value(index + 5)).collect();
            let one = |vector: usize| dot(&a, &four[vector * dimensions..][..dimensions]).to_bits();
            assert_eq!(dot_four(&a, &four).map(f32::to_bits), [one(0), one(1), one(2), one(3)], "{dimensions}");
        }
    }
}
