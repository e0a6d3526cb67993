//! Strategies whose clusters take turns.

use rayon::prelude::*;

use super::{Pool, Proposal};
use crate::Result;
use crate::context::Context;
use crate::kmeans::{Clusters, k_means};
use crate::points::{Points, squared_distance, squares};
use crate::products::{nearest, rounding};

/// Clusters that a pool is parted into, at most.
const MAX_CLUSTERS: usize = 500;
/// Nearest neighbors that typicality is the mean distance to.
const MAX_NEIGHBORS: usize = 20;
/// Members of a cluster among which a row's neighbors are sought: the first ones by hash.
const NEIGHBOR_SAMPLE: usize = 2048;

/// Clusters in the order of their turns, and the rows of each, best first, with their scores.
type Turns = Vec<Vec<(usize, f64)>>;

/// Candidates that the model is unsure of, parted by what they are about; small clusters come first.
///
/// # Source
/// Citovsky et al.: Batch Active Learning at Scale (Cluster-Margin), `NeurIPS` 2021; k-means in place of their
/// hierarchical clustering, and over the candidates only.
pub(super) fn cluster_margin(
    pool: Pool<'_>,
    n: usize,
    seed: u64,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    // The paper's 1.25 rows of the batch for each cluster.
    let k = (n * 4).div_ceil(5).clamp(1, MAX_CLUSTERS);
    let parted = Parted::new(pool, k, seed, context)?;
    let order = |index: usize| (pool.rows[index].order, pool.rows[index].key, pool.rows[index].row);
    let mut turns: Turns = Vec::with_capacity(parted.members.len());
    for mut rows in parted.members {
        rows.sort_unstable_by(|&a, &b| {
            let ((a, a_key, a_row), (b, b_key, b_row)) = (order(a), order(b));
            a.total_cmp(&b).then((a_key, a_row).cmp(&(b_key, b_row)))
        });
        turns.push(rows.into_iter().map(|index| (index, -f64::from(pool.rows[index].order))).collect());
    }
    turns.sort_by_cached_key(|rows| (rows.len(), first_key(pool, rows)));
    Ok(round_robin(turns, n, admit))
}

/// The whole pool (or a sample of it), parted by what its rows are about; the clusters with the fewest labelled rows come
/// first, of those the largest, and in each the most typical row.
///
/// # Source
/// Hacohen, Dekel, Weinshall: Active Learning on a Budget (`TypiClust`), ICML 2022, and their code: 500 clusters at most,
/// 20 neighbors. Where we differ: no least size of a cluster; typicality is computed once.
pub(super) fn typiclust(
    pool: Pool<'_>,
    n: usize,
    seed: u64,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let k = (n + pool.labelled.len()).clamp(1, MAX_CLUSTERS);
    let parted = Parted::new(pool, k, seed, context)?;
    let mut n_labelled = vec![0usize; parted.members.len()];
    for number in parted.clusters.assign(pool.labelled, context)? {
        n_labelled[number as usize] += 1;
    }
    let rank = |(rows, n_labelled): (Vec<usize>, usize)| {
        context.cancel.check()?;
        let values: Vec<f32> = rows.iter().flat_map(|&index| pool.points.get(index)).copied().collect();
        let typicalities = typicalities(Points::new(&values, pool.points.dimensions()), context)?;
        let first_key = pool.rows[rows[0]].key;
        let mut rows: Vec<(usize, f64)> = rows.into_iter().zip(typicalities).collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(((n_labelled, usize::MAX - rows.len(), first_key), rows))
    };
    let clusters = parted.members.into_par_iter().zip(n_labelled).filter(|(rows, _)| !rows.is_empty());
    let mut ranked = context.pool.install(|| clusters.map(rank).collect::<Result<Vec<_>>>())?;
    ranked.sort_by_key(|(place, _)| *place);
    Ok(round_robin(ranked.into_iter().map(|(_, rows)| rows).collect(), n, admit))
}

/// As many clusters as rows are wanted, and of each the row nearest to its middle; the largest come first. A proposal's score is the
/// inverse of its distance.
///
/// # Source
/// Yuan, Lin, Boyd-Graber: Cold-start Active Learning through Self-supervised Language Modeling, EMNLP 2020, section 4 (k-means over
/// embeddings).
pub(super) fn central(
    pool: Pool<'_>,
    n: usize,
    seed: u64,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let parted = Parted::new(pool, n.min(pool.rows.len()), seed, context)?;
    let mut turns: Turns = Vec::with_capacity(parted.members.len());
    for (number, rows) in parted.members.into_iter().enumerate() {
        let center = parted.clusters.centroid(number);
        let closeness =
            |index: usize| 1.0 / (1e-5 + f64::from(squared_distance(pool.points.get(index), center)).sqrt());
        let mut rows: Vec<(usize, f64)> = rows.into_iter().map(|index| (index, closeness(index))).collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        turns.push(rows);
    }
    turns.sort_by_cached_key(|rows| (usize::MAX - rows.len(), first_key(pool, rows)));
    Ok(round_robin(turns, n, admit))
}

/// Takes one row from each cluster in turn, the first that `admit` lets in, until there are `n` or none is left.
fn round_robin(turns: Turns, n: usize, admit: &mut dyn FnMut(usize) -> bool) -> Vec<Proposal> {
    let mut chosen = Vec::new();
    let turns = turns.into_iter().filter(|rows| !rows.is_empty()).zip(1..);
    let mut queues: Vec<_> = turns.map(|(rows, number)| ((number, rows.len()), rows.into_iter())).collect();
    while chosen.len() < n && !queues.is_empty() {
        queues.retain_mut(|(cluster, rows)| {
            if chosen.len() == n {
                return false;
            }
            let next = rows.find(|&(index, _)| admit(index));
            chosen.extend(next.map(|(index, score)| Proposal { index, score, cluster: Some(*cluster) }));
            next.is_some()
        });
    }
    chosen
}

fn first_key(pool: Pool<'_>, rows: &[(usize, f64)]) -> Option<u64> {
    rows.iter().map(|&(index, _)| pool.rows[index].key).min()
}

/// Candidates by cluster, those of a cluster in the order of their keys.
struct Parted {
    clusters: Clusters,
    members: Vec<Vec<usize>>,
}

impl Parted {
    fn new(pool: Pool<'_>, k: usize, seed: u64, context: &Context) -> Result<Self> {
        let mut order: Vec<usize> = (0..pool.rows.len()).collect();
        order.sort_unstable_by_key(|&index| (pool.rows[index].key, pool.rows[index].row));
        let mut reservation = context.budget.reserve("selection");
        reservation.grow(size_of_val(pool.points.values()))?;
        let values: Vec<f32> = order.iter().flat_map(|&index| pool.points.get(index)).copied().collect();
        let clusters = k_means(Points::new(&values, pool.points.dimensions()), k, seed, context)?;
        let mut members = vec![Vec::new(); clusters.len()];
        for (&index, &number) in order.iter().zip(&clusters.assignment) {
            members[number as usize].push(index);
        }
        Ok(Self { clusters, members })
    }
}

/// For each point the inverse of its mean distance to its nearest neighbors: 20, or half of the cluster if that is less.
/// 0 for a point alone.
pub(super) fn typicalities(points: Points, context: &Context) -> Result<Vec<f64>> {
    let n_neighbors = (points.len() / 2).clamp(1, MAX_NEIGHBORS);
    let others = points.first(points.len().min(NEIGHBOR_SAMPLE));
    let (point_squares, dimensions) = (squares(points), points.dimensions());
    let largest = point_squares.iter().copied().fold(0.0, f32::max);
    let of = |index: usize, near: Vec<(u32, f32)>| {
        let near = near.into_iter().map(|(other, _)| other as usize).filter(|&other| other != index);
        let mut distances: Vec<f32> =
            near.map(|other| squared_distance(points.get(index), others.get(other))).collect();
        if distances.is_empty() {
            return 0.0;
        }
        distances.sort_unstable_by(f32::total_cmp);
        distances.truncate(n_neighbors);
        let sum: f64 = distances.iter().map(|&distance| f64::from(distance).sqrt()).sum();
        1.0 / (sum / distances.len() as f64 + 1e-5)
    };
    // One more: the point itself may be among them.
    let (k, tolerance) = (n_neighbors + 1, |row: usize| rounding(dimensions, point_squares[row] + largest));
    let half_squares: Vec<f32> = point_squares.iter().map(|square| square / 2.0).collect();
    nearest(points, (others, &half_squares), (k, tolerance), of, context)
}
