//! The order in which candidates come up, for each strategy.

use rayon::prelude::*;

use super::candidates::{Candidate, Finished};
use crate::Result;
use crate::context::Context;
use crate::kmeans::{Clusters, Points, k_means, squared_distance};

/// Clusters that a pool is parted into, at most.
const MAX_CLUSTERS: usize = 500;
/// Nearest neighbors that typicality is the mean distance to.
const MAX_NEIGHBORS: usize = 20;
/// Members of a cluster among which a row's neighbors are sought: the first ones by hash.
const NEIGHBOR_SAMPLE: usize = 2048;

/// A candidate as the strategy sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proposal {
    /// Index of the candidate.
    pub(super) index: usize,
    /// How typical it is of its cluster, for the strategy that asks.
    pub(super) typicality: f64,
    /// Number of its cluster in the order in which they take turns, from 1.
    pub(super) cluster: usize,
    /// Candidates in its cluster.
    pub(super) cluster_size: usize,
}

/// Proposals of clusters that take turns.
///
/// # Shape
/// Outer: clusters in the order of their turns; inner: the rows of each, best first.
pub(super) type Turns = Vec<Vec<Proposal>>;

/// Takes one row from each cluster in turn, the first that `admit` lets in, until there are `n` or none is left.
pub(super) fn round_robin(turns: &Turns, n: usize, mut admit: impl FnMut(usize) -> bool) -> Vec<Proposal> {
    let mut chosen = Vec::new();
    let mut queues: Vec<_> = turns.iter().map(|rows| rows.iter()).collect();
    while chosen.len() < n && !queues.is_empty() {
        queues.retain_mut(|rows| {
            if chosen.len() == n {
                return false;
            }
            let next = rows.find(|proposal| admit(proposal.index));
            chosen.extend(next);
            next.is_some()
        });
    }
    chosen
}

/// Candidates that the model is unsure of, parted by what they are about; small clusters come first.
///
/// # Source
/// Citovsky et al.: Batch Active Learning at Scale (Cluster-Margin), `NeurIPS` 2021; k-means in place of their
/// hierarchical clustering, and over the candidates only.
pub(super) fn cluster_margin(
    candidates: &Finished,
    dimensions: usize,
    n: usize,
    seed: u64,
    context: &Context,
) -> Result<Turns> {
    // The paper's 1.25 rows of the batch for each cluster.
    let k = (n * 4).div_ceil(5).clamp(1, MAX_CLUSTERS);
    let (order, clusters) = part(candidates, dimensions, k, seed, context)?;
    let mut members = members_of(&order, &clusters);
    for rows in &mut members {
        rows.sort_unstable();
    }
    let first_key = |rows: &Vec<usize>| rows.iter().map(|&index| candidates.rows[index].key).min();
    members.sort_by_cached_key(|rows| (rows.len(), first_key(rows)));
    Ok(number(members.into_iter().map(|rows| rows.into_iter().map(|index| (index, 0.0)).collect())))
}

/// The whole pool (or a sample of it), parted by what its rows are about; the clusters with the fewest labelled rows come
/// first, of those the largest, and in each the most typical row.
///
/// # Source
/// Hacohen, Dekel, Weinshall: Active Learning on a Budget (`TypiClust`), ICML 2022, and their code: 500 clusters at most,
/// 20 neighbors. Where we differ: no least size of a cluster; typicality is computed once.
pub(super) fn typiclust(
    candidates: &Finished,
    labelled: &Finished,
    dimensions: usize,
    n: usize,
    seed: u64,
    context: &Context,
) -> Result<Turns> {
    let k = (n + labelled.rows.len()).clamp(1, MAX_CLUSTERS);
    let (order, clusters) = part(candidates, dimensions, k, seed, context)?;
    let labelled_points = labelled.points(&(0..labelled.rows.len()).collect::<Vec<_>>());
    let mut n_labelled = vec![0usize; clusters.len()];
    for number in clusters.assign(Points::new(&labelled_points, dimensions), context) {
        n_labelled[number as usize] += 1;
    }
    let members = members_of(&order, &clusters);
    let mut ranked = Vec::with_capacity(members.len());
    for (rows, n_labelled) in members.into_iter().zip(n_labelled).filter(|(rows, _)| !rows.is_empty()) {
        context.cancel.check()?;
        let values = candidates.points(&rows);
        let typicalities = typicalities(Points::new(&values, dimensions), context);
        let first_key = candidates.rows[rows[0]].key;
        let mut rows: Vec<(usize, f64)> = rows.into_iter().zip(typicalities).collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.push(((n_labelled, usize::MAX - rows.len(), first_key), rows));
    }
    ranked.sort_by_key(|(place, _)| *place);
    Ok(number(ranked.into_iter().map(|(_, rows)| rows)))
}

fn number(clusters: impl Iterator<Item = Vec<(usize, f64)>>) -> Turns {
    let numbered = clusters.filter(|rows| !rows.is_empty()).zip(1..);
    let propose = |(rows, cluster): (Vec<(usize, f64)>, usize)| {
        let cluster_size = rows.len();
        rows.into_iter().map(|(index, typicality)| Proposal { index, typicality, cluster, cluster_size }).collect()
    };
    numbered.map(propose).collect()
}

/// Clusters of the candidates, and the candidates in the order of their keys, in which they were clustered.
fn part(
    candidates: &Finished,
    dimensions: usize,
    k: usize,
    seed: u64,
    context: &Context,
) -> Result<(Vec<usize>, Clusters)> {
    let mut order: Vec<usize> = (0..candidates.rows.len()).collect();
    let key = |row: &Candidate| (row.key, row.row);
    order.sort_unstable_by_key(|&index| key(&candidates.rows[index]));
    let mut reservation = context.budget.reserve("selection");
    reservation.grow(order.len() * dimensions * size_of::<f32>())?;
    let points = candidates.points(&order);
    let clusters = k_means(Points::new(&points, dimensions), k, seed, context)?;
    Ok((order, clusters))
}

/// Candidates of each cluster, in `order`.
fn members_of(order: &[usize], clusters: &Clusters) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); clusters.len()];
    for (&index, &number) in order.iter().zip(&clusters.assignment) {
        members[number as usize].push(index);
    }
    members
}

/// For each point the inverse of its mean distance to its nearest neighbors: 20, or half of the cluster if that is less.
/// 0 for a point alone.
fn typicalities(points: Points, context: &Context) -> Vec<f64> {
    let n_neighbors = (points.len() / 2).clamp(1, MAX_NEIGHBORS);
    let of = |index: usize| {
        let others = (0..points.len().min(NEIGHBOR_SAMPLE)).filter(|&other| other != index);
        let mut distances: Vec<f32> =
            others.map(|other| squared_distance(points.get(index), points.get(other))).collect();
        if distances.is_empty() {
            return 0.0;
        }
        if n_neighbors < distances.len() {
            distances.select_nth_unstable_by(n_neighbors, f32::total_cmp);
            distances.truncate(n_neighbors);
        }
        distances.sort_unstable_by(f32::total_cmp);
        let sum: f64 = distances.iter().map(|&distance| f64::from(distance).sqrt()).sum();
        1.0 / (sum / distances.len() as f64 + 1e-5)
    };
    context.pool.install(|| (0..points.len()).into_par_iter().map(of).collect())
}
