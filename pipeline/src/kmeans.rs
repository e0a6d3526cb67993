//! Clusters of embeddings, by seeded k-means.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Result;
use crate::context::Context;
use crate::points::{Points, dot, squared_distance, squares};
use crate::products::{self, rounding};

/// Training stops here if clusters still change.
const MAX_ITERATIONS: usize = 20;
/// Points for each cluster that centroids are trained on; the others are only assigned.
const TRAINING_POINTS_PER_CLUSTER: usize = 64;
/// Points that a thread takes at once.
const BLOCK_POINTS: usize = 256;

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
    pub(crate) fn assign(&self, points: Points, context: &Context) -> Result<Vec<u32>> {
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
    let dimensions = points.dimensions();
    let training = points.first(points.len().min(k.saturating_mul(TRAINING_POINTS_PER_CLUSTER)));
    let mut centroids = first_centroids(training, k, seed, context)?;
    let mut assignment = Vec::new();
    for _ in 0..MAX_ITERATIONS {
        context.cancel.check()?;
        let next = nearest(training, Points::new(&centroids, dimensions), context)?;
        if next == assignment {
            break;
        }
        assignment = next;
        move_to_means(&mut centroids, training, &assignment);
    }
    let assignment = nearest(points, Points::new(&centroids, dimensions), context)?;
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
        if centroids.len() == k * points.dimensions() || sum <= 0.0 {
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

/// The nearest centroid of each point, of equals the first.
fn nearest(points: Points, centroids: Points, context: &Context) -> Result<Vec<u32>> {
    let half_squares: Vec<f32> =
        (0..centroids.len()).map(|number| dot(centroids.get(number), centroids.get(number)) / 2.0).collect();
    let largest = 2.0 * half_squares.iter().copied().fold(0.0, f32::max);
    let (point_squares, dimensions) = (squares(points), points.dimensions());
    let exact = |row: usize, near: Vec<(u32, f32)>| {
        let mut best = (f32::INFINITY, 0);
        for (number, _) in near {
            let distance = half_squares[number as usize] - dot(points.get(row), centroids.get(number as usize));
            if distance < best.0 {
                best = (distance, number);
            }
        }
        best.1
    };
    // Halves of squared distances: both bounds of the error together are one of the whole.
    let tolerance = |row: usize| rounding(dimensions, point_squares[row] + largest);
    products::nearest(points, (centroids, &half_squares), (1, tolerance), exact, context)
}

/// Moves each centroid to the mean of its points; one without points stays.
fn move_to_means(centroids: &mut [f32], points: Points, assignment: &[u32]) {
    let mut sums = vec![0.0f64; centroids.len()];
    let mut counts = vec![0u32; centroids.len() / points.dimensions()];
    for (index, &number) in assignment.iter().enumerate() {
        counts[number as usize] += 1;
        let sum = &mut sums[number as usize * points.dimensions()..][..points.dimensions()];
        for (sum, &x) in sum.iter_mut().zip(points.get(index)) {
            *sum += f64::from(x);
        }
    }
    let means = centroids.chunks_exact_mut(points.dimensions()).zip(sums.chunks_exact(points.dimensions())).zip(counts);
    for ((centroid, sum), count) in means.filter(|(_, count)| 0 < *count) {
        for (x, sum) in centroid.iter_mut().zip(sum) {
            *x = (sum / f64::from(count)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Cancel, Resources};

    /// To the bit what a look at all centroids finds, with many that are equally far, and far from the origin, where products say little.
    #[test]
    fn the_nearest_is_the_nearest_to_the_bit() {
        let context = Context::new(&Resources { n_threads: 2, ..Resources::default() }, Cancel::default()).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut n_close = 0;
        for (dimensions, k, origin, step) in [
            (384, 37, 0.0f32, 0.1f32),
            (384, 1, 0.0, 0.1),
            (3, 1030, 0.0, 1.0),
            (5, 200, 1000.0, 0.25),
            (64, 40, 300.0, 1e-3),
            (9, 20, 0.0, 1e19),
            (9, 20, 0.0, 1e-22),
        ] {
            let mut vectors = |n: usize| -> Vec<f32> {
                (0..n * dimensions).map(|_| origin + step * f32::from(random.random_range(-3i8..4))).collect()
            };
            let (values, centroids) = (vectors(300), vectors(k));
            let (points, centroids) = (Points::new(&values, dimensions), Points::new(&centroids, dimensions));
            let distance = |point: usize, number: usize| {
                let centroid = centroids.get(number);
                dot(centroid, centroid) / 2.0 - dot(points.get(point), centroid)
            };
            let found = nearest(points, centroids, &context).unwrap();
            for (point, found) in found.iter().enumerate() {
                let mut best = (f32::INFINITY, 0);
                for number in 0..k {
                    if distance(point, number) < best.0 {
                        best = (distance(point, number), number);
                    }
                }
                assert_eq!(*found as usize, best.1, "{point} of {dimensions} {k} {origin} {step}");
                n_close += (0..k).filter(|&number| number != best.1 && distance(point, number) <= best.0).count();
            }
        }
        assert!(n_close > 1000, "{n_close}");
    }
}
