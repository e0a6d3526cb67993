//! k-center: always the row that is farthest from all that is labelled or chosen.

use rayon::prelude::*;

use super::{Pool, Proposal};
use crate::Result;
use crate::context::Context;
use crate::kmeans::{Points, squared_distance};

/// Rows that a thread takes at once.
const BLOCK_ROWS: usize = 256;

/// Greedy k-center; the first row by hash, if nothing is labelled. A proposal's score is its distance.
///
/// # Cost
/// `(labelled + n) * rows * dimensions` operations.
///
/// # Source
/// Gonzalez: Clustering to minimize the maximum intercluster distance, 1985; Sener, Savarese: Active Learning for Convolutional
/// Neural Networks: A Core-Set Approach, ICLR 2018.
pub(super) fn k_center(
    pool: Pool<'_>,
    n: usize,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let mut distances = vec![f32::INFINITY; pool.rows.len()];
    for start in (0..pool.labelled.len()).step_by(BLOCK_ROWS) {
        context.cancel.check()?;
        let block: Vec<&[f32]> =
            (start..pool.labelled.len().min(start + BLOCK_ROWS)).map(|index| pool.labelled.get(index)).collect();
        approach(&mut distances, pool.points, &block, context);
    }
    let mut is_out = vec![false; pool.rows.len()];
    let mut chosen = Vec::new();
    while chosen.len() < n {
        context.cancel.check()?;
        let in_turn = (0..pool.rows.len()).filter(|&index| !is_out[index]);
        // Of equals the first by hash, whatever the order of the candidates.
        let key = |index: usize| (pool.rows[index].key, pool.rows[index].row);
        let Some(next) = in_turn.max_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(key(b).cmp(&key(a))))
        else {
            break;
        };
        is_out[next] = true;
        if !admit(next) {
            continue;
        }
        let distance = distances[next];
        let score = if distance.is_finite() { f64::from(distance).sqrt() } else { 0.0 };
        chosen.push(Proposal { index: next, score, cluster: None });
        approach(&mut distances, pool.points, &[pool.points.get(next)], context);
    }
    Ok(chosen)
}

/// Squared distances to what is chosen, once `to` is. A point is read once for all of these.
fn approach(distances: &mut [f32], points: Points<'_>, to: &[&[f32]], context: &Context) {
    context.pool.install(|| {
        distances.par_iter_mut().with_min_len(BLOCK_ROWS).enumerate().for_each(|(index, distance)| {
            let point = points.get(index);
            *distance = to.iter().map(|to| squared_distance(point, to)).fold(*distance, f32::min);
        });
    });
}
