//! Uncertainty herding: rows around which the model is unsure, and which nothing chosen stands for yet.

use rayon::prelude::*;

use super::lazy::{Coverage, lazy_greedy};
use super::neighbors::nearest_distances;
use super::{Pool, Proposal};
use crate::Result;
use crate::context::Context;
use crate::points::{Points, squared_distance, squares};
use crate::products::products;

/// Rows, the first by hash, whose uncertainty is to be covered.
const MAX_TARGETS: usize = 4096;
/// Labelled rows whose distances say how far a row stands for others.
const MAX_MEASURED: usize = 2000;
/// How far a row stands for others where labels do not say, over embeddings of length 1.
const DEFAULT_RADIUS: f32 = 1.0;
/// The least radius.
const LEAST_RADIUS: f32 = 1e-3;

/// Greedy maximization of `sum over rows x of u(x) * max over labelled or chosen s of exp(-|x - s|^2 / radius^2)`, with the
/// uncertainty `u(x) = 1 - margin`, or 1 where no model tells classes apart. `least_weight` lifts it: rows of which a model is sure, which has
/// few labels, want to be stood for, too.
///
/// # Cost
/// `rows * 4096 * dimensions` operations, and `4096 * dimensions` for each gain that is looked at again; memory for a number for each row.
///
/// # Source
/// Bae, Oliveira, Sutherland: Uncertainty Herding: One Active Learning Method for All Label Budgets, ICLR 2025. The radius is theirs: the least
/// distance of two labelled rows, of which equal ones do not count. Where we differ: the sum goes over a sample of the rows.
pub(super) fn herding(
    pool: Pool<'_>,
    n: usize,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let key = |index: usize| (pool.rows[index].key, pool.rows[index].row);
    let mut order: Vec<usize> = (0..pool.rows.len()).collect();
    order.sort_unstable_by_key(|&index| key(index));
    order.truncate(MAX_TARGETS);
    let mut targets = Vec::with_capacity(order.len() * pool.points.dimensions());
    for &index in &order {
        targets.extend_from_slice(pool.points.get(index));
    }
    let targets = Points::new(&targets, pool.points.dimensions());
    let weight = |unsure: f32| pool.least_weight + (1.0 - pool.least_weight) * unsure;
    let weights = order.iter().map(|&index| weight(1.0 - pool.rows[index].value)).collect();
    let radius = radius(pool.labelled, context);
    let mut coverage = Herd {
        points: pool.points,
        targets,
        point_squares: squares(pool.points),
        target_squares: squares(targets),
        weights,
        covered: vec![0.0; order.len()],
        scale: -1.0 / (radius * radius),
    };
    coverage.begin(pool.labelled, context)?;
    let gains = coverage.gains(context)?;
    lazy_greedy(&mut coverage, &gains, pool.rows, n, admit, context)
}

/// The least distance of two labelled rows that are not equal.
fn radius(labelled: Points<'_>, context: &Context) -> f32 {
    let n = labelled.len().min(MAX_MEASURED);
    let least_of = |index: usize| {
        let others = (0..index).map(|other| squared_distance(labelled.get(index), labelled.get(other)));
        others.filter(|&distance| LEAST_RADIUS * LEAST_RADIUS < distance).fold(f32::INFINITY, f32::min)
    };
    let least = context.pool.install(|| (0..n).into_par_iter().map(least_of).reduce(|| f32::INFINITY, f32::min));
    if least.is_finite() { least.sqrt() } else { DEFAULT_RADIUS }
}

#[derive(Debug)]
struct Herd<'a> {
    points: Points<'a>,
    targets: Points<'a>,
    point_squares: Vec<f32>,
    target_squares: Vec<f32>,
    /// Uncertainty of each target.
    weights: Vec<f32>,
    /// For each target how much what is labelled or chosen stands for it.
    covered: Vec<f32>,
    scale: f32,
}

impl Herd<'_> {
    fn kernel(&self, squared_distance: f32) -> f32 {
        (squared_distance.max(0.0) * self.scale).exp()
    }

    /// What labelled rows stand for.
    fn begin(&mut self, labelled: Points<'_>, context: &Context) -> Result<()> {
        let distances = nearest_distances(self.targets, labelled, context)?;
        self.covered = distances.into_iter().map(|squared| self.kernel(squared)).collect();
        Ok(())
    }

    /// Gains of all rows before anything is chosen.
    fn gains(&self, context: &Context) -> Result<Vec<f64>> {
        let gains = products(self.points, self.targets, context, |rows, each| {
            let mut gains = vec![0.0f64; rows.len()];
            each(&mut |start, products| {
                let n = products.len() / rows.len();
                for ((gain, products), row) in gains.iter_mut().zip(products.chunks_exact(n)).zip(rows.clone()) {
                    for (target, product) in (start..).zip(products) {
                        let squared = self.point_squares[row] + self.target_squares[target] - 2.0 * product;
                        *gain += self.more(target, squared);
                    }
                }
            });
            gains
        })?;
        Ok(gains.into_iter().flatten().collect())
    }

    fn more(&self, target: usize, squared_distance: f32) -> f64 {
        f64::from(self.weights[target] * (self.kernel(squared_distance) - self.covered[target]).max(0.0))
    }
}

impl Coverage for Herd<'_> {
    fn gain(&mut self, index: usize) -> f64 {
        let point = self.points.get(index);
        (0..self.targets.len()).map(|target| self.more(target, squared_distance(point, self.targets.get(target)))).sum()
    }

    fn choose(&mut self, index: usize) {
        let point = self.points.get(index);
        for target in 0..self.targets.len() {
            let kernel = self.kernel(squared_distance(point, self.targets.get(target)));
            self.covered[target] = self.covered[target].max(kernel);
        }
    }
}
