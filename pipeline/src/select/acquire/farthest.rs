//! k-center: always the row that is farthest from all that is labelled or chosen.

use super::lazy::{Coverage, lazy_greedy};
use super::neighbors::nearest_distances;
use super::{Pool, Proposal};
use crate::Result;
use crate::context::Context;
use crate::points::{Points, squared_distance, squares};
use crate::products::rounding;
use crate::select::candidates::Candidate;

/// Greedy k-center; the first row by hash, if nothing is labelled. A proposal's score is its distance.
///
/// # Cost
/// `labelled * rows * dimensions` operations in blocks, and `(labelled + n) * dimensions` for each row that may be the farthest.
///
/// # Source
/// Gonzalez: Clustering to minimize the maximum intercluster distance, 1985; Sener, Savarese: Active Learning for Convolutional
/// Neural Networks: A Core-Set Approach, ICLR 2018. That distances only fall, so that few are looked at again, is used as in lazy greedy
/// maximization.
pub(super) fn k_center(
    pool: Pool<'_>,
    n: usize,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let bounds = bounds(pool, context)?;
    let mut centers = Centers {
        points: pool.points,
        labelled: pool.labelled,
        chosen: Vec::new(),
        nearest: vec![(f32::INFINITY, 0); pool.rows.len()],
    };
    let mut chosen = lazy_greedy(&mut centers, &bounds, pool.rows, n, admit, context)?;
    for proposal in &mut chosen {
        proposal.score = if proposal.score.is_finite() { proposal.score.sqrt() } else { 0.0 };
    }
    Ok(chosen)
}

/// For each row what its squared distance to the nearest labelled row is not above, as [`squared_distance`] computes it.
fn bounds(pool: Pool<'_>, context: &Context) -> Result<Vec<f64>> {
    let distances = nearest_distances(pool.points, pool.labelled, context)?;
    let largest = squares(pool.labelled).into_iter().fold(0.0, f32::max);
    let bound = |(distance, square): (f32, f32)| {
        let bound = f64::from(distance) + f64::from(rounding(pool.points.dimensions(), square + largest));
        if bound.is_nan() { f64::INFINITY } else { bound }
    };
    Ok(distances.into_iter().zip(squares(pool.points)).map(bound).collect())
}

/// What is labelled or chosen, and how far rows are from it.
#[derive(Debug)]
struct Centers<'a> {
    points: Points<'a>,
    labelled: Points<'a>,
    chosen: Vec<usize>,
    /// For each row its squared distance to the nearest one of the first centers, and how many these are.
    nearest: Vec<(f32, usize)>,
}

impl Coverage for Centers<'_> {
    /// The squared distance to the nearest center.
    fn gain(&mut self, index: usize) -> f64 {
        let (distance, n_seen) = &mut self.nearest[index];
        let point = self.points.get(index);
        let labelled = (*n_seen..self.labelled.len()).map(|center| self.labelled.get(center));
        let chosen = self.chosen.iter().skip(n_seen.saturating_sub(self.labelled.len()));
        let centers = labelled.chain(chosen.map(|&center| self.points.get(center)));
        *distance = centers.map(|center| squared_distance(point, center)).fold(*distance, f32::min);
        *n_seen = self.labelled.len() + self.chosen.len();
        f64::from(*distance)
    }

    fn choose(&mut self, index: usize) {
        self.chosen.push(index);
    }

    /// Costs do not count.
    fn weight(&self, _: &Candidate) -> f64 {
        1.0
    }
}
