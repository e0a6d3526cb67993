//! `ProbCover`: the row that the most rows, not yet covered, are close to.

use super::{Pool, Proposal};
use crate::Result;
use crate::context::Context;
use crate::kmeans::k_means;
use crate::points::{Points, squares};
use crate::products::products;

/// Clusters that stand for classes where the radius is sought, at most.
const MAX_CLASSES: usize = 50;
/// Rows, the first by hash, among which it is sought.
const MAX_MEASURED: usize = 4096;
/// Share of rows whose ball has rows of one cluster only.
const PURITY: f64 = 0.95;

/// Greedy maximum coverage by balls of one radius: the largest at which 95 % of balls hold rows of one cluster only, of `min(n, 50)`
/// clusters. A proposal's score is the number of rows that it covers first.
///
/// # Cost
/// `3 * rows^2 * dimensions` operations; memory for two numbers a row.
///
/// # Source
/// Yehuda, Dekel, Hacohen, Weinshall: Active Learning Through a Covering Lens, `NeurIPS` 2022, and their code: a row that is covered no longer counts for any
/// other.
pub(super) fn prob_cover(
    pool: Pool<'_>,
    n: usize,
    seed: u64,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let key = |index: usize| (pool.rows[index].key, pool.rows[index].row);
    let mut order: Vec<usize> = (0..pool.rows.len()).collect();
    order.sort_unstable_by_key(|&index| key(index));
    let mut reservation = context.budget.reserve("selection");
    reservation.grow(size_of_val(pool.points.values()))?;
    let mut values = Vec::with_capacity(pool.points.values().len());
    for &index in &order {
        values.extend_from_slice(pool.points.get(index));
    }
    let points = Points::new(&values, pool.points.dimensions());
    let radius = radius(points.first(MAX_MEASURED.min(points.len())), n.min(MAX_CLASSES), seed, context)?;
    let mut balls = Balls::new(points, radius, context)?;
    balls.cover_near(pool.labelled, context)?;
    let mut is_out = vec![false; order.len()];
    let mut chosen = Vec::new();
    while chosen.len() < n {
        context.cancel.check()?;
        let left = (0..order.len()).filter(|&place| !is_out[place]);
        let Some(place) = left.max_by(|&a, &b| balls.degrees[a].cmp(&balls.degrees[b]).then(b.cmp(&a))) else { break };
        is_out[place] = true;
        if !admit(order[place]) {
            continue;
        }
        chosen.push(Proposal { index: order[place], score: f64::from(balls.degrees[place]), cluster: None });
        balls.cover_near(Points::new(points.get(place), points.dimensions()), context)?;
    }
    Ok(chosen)
}

/// The squared radius.
fn radius(points: Points<'_>, n_clusters: usize, seed: u64, context: &Context) -> Result<f32> {
    let clusters = k_means(points, n_clusters, seed, context)?.assignment;
    let squares = squares(points);
    let nearest = products(points, points, context, |rows, each| {
        let mut nearest = vec![f32::INFINITY; rows.len()];
        each(&mut |start, products| {
            let n = products.len() / rows.len();
            for ((nearest, products), row) in nearest.iter_mut().zip(products.chunks_exact(n)).zip(rows.clone()) {
                for (column, product) in (start..).zip(products) {
                    if clusters[column] != clusters[row] {
                        *nearest = nearest.min(squares[row] + squares[column] - 2.0 * product);
                    }
                }
            }
        });
        nearest
    })?;
    let mut nearest: Vec<f32> = nearest.into_iter().flatten().collect();
    nearest.sort_unstable_by(f32::total_cmp);
    let place = ((1.0 - PURITY) * nearest.len() as f64) as usize;
    // One cluster: all that there is, is one ball.
    Ok(nearest.get(place).copied().unwrap_or(f32::INFINITY).max(0.0))
}

/// Who covers whom, without the pairs.
#[derive(Debug)]
struct Balls<'a> {
    points: Points<'a>,
    squares: Vec<f32>,
    /// The squared radius.
    radius: f32,
    is_covered: Vec<bool>,
    /// For each row the rows in its ball that nothing covers yet.
    degrees: Vec<u32>,
}

impl<'a> Balls<'a> {
    fn new(points: Points<'a>, radius: f32, context: &Context) -> Result<Self> {
        let mut balls = Self {
            points,
            squares: squares(points),
            radius,
            is_covered: vec![false; points.len()],
            degrees: Vec::new(),
        };
        balls.degrees = balls.count(points, context)?;
        Ok(balls)
    }

    /// For each row how many of `others` lie in its ball.
    fn count(&self, others: Points<'_>, context: &Context) -> Result<Vec<u32>> {
        let other_squares = squares(others);
        let counts = products(self.points, others, context, |rows, each| {
            let mut counts = vec![0u32; rows.len()];
            each(&mut |start, products| {
                let n = products.len() / rows.len();
                for ((count, products), row) in counts.iter_mut().zip(products.chunks_exact(n)).zip(rows.clone()) {
                    let near = products.iter().zip(&other_squares[start..]);
                    let near = near.filter(|(product, square)| self.is_near(self.squares[row] + **square, **product));
                    *count += near.count() as u32;
                }
            });
            counts
        })?;
        Ok(counts.into_iter().flatten().collect())
    }

    fn is_near(&self, squares: f32, product: f32) -> bool {
        squares - 2.0 * product <= self.radius
    }

    /// Rows near `centers` are covered from now on.
    fn cover_near(&mut self, centers: Points<'_>, context: &Context) -> Result<()> {
        let near = self.count(centers, context)?;
        let mut values = Vec::new();
        for (place, _) in near.iter().enumerate().filter(|(_, n)| 0 < **n) {
            if !std::mem::replace(&mut self.is_covered[place], true) {
                values.extend_from_slice(self.points.get(place));
            }
        }
        let gone = self.count(Points::new(&values, self.points.dimensions()), context)?;
        for (degree, gone) in self.degrees.iter_mut().zip(gone) {
            // Products of other shapes may round otherwise.
            *degree = degree.saturating_sub(gone);
        }
        Ok(())
    }
}
