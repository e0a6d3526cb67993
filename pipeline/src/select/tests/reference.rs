//! Selection and its parts against references that hold everything and compare everything.

use std::collections::{HashMap, HashSet};

use half::f16;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::candidates::{Candidate, Candidates};
use super::super::{Quota, SelectSettings, Strategy};
use super::{DIMENSIONS, PoolRow, chosen, context, pool, select};
use crate::budget::Budget;
use crate::kmeans::k_means;
use crate::points::Points;

/// The salt of the random slice, on purpose not taken from the code under test.
const RANDOM_SALT: u64 = 0x5261_6e64_6f6d;

fn key(row: &PoolRow, seed: u64) -> u64 {
    xxh3_64_with_seed(row.id.as_bytes(), seed)
}

/// Rows that were taken so far, against the two limits.
struct Taken<'a> {
    rows: Vec<&'a PoolRow>,
    settings: &'a SelectSettings,
}

impl<'a> Taken<'a> {
    fn take(&mut self, row: &'a PoolRow) -> bool {
        let most = self.settings.quota.as_ref().map_or(usize::MAX, |quota| {
            ((self.settings.budget as f64 * quota.max_ratio + 1e-9).floor() as usize).max(1)
        });
        let of_source = self.rows.iter().filter(|one| one.source == row.source).count();
        let has_quota = self.settings.quota.is_none() || of_source < most;
        let by_cluster = self.settings.cluster_column.is_some() && row.cluster.is_some();
        let is_new = self.rows.iter().all(|one| one.id != row.id && !(by_cluster && one.cluster == row.cluster));
        if has_quota && is_new {
            self.rows.push(row);
        }
        has_quota && is_new
    }
}

/// Clusters of rows in the order of their keys.
fn clusters_of<'a>(rows: &[&'a PoolRow], k: usize, seed: u64) -> Vec<Vec<&'a PoolRow>> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| key(row, seed));
    let values: Vec<f32> = rows.iter().flat_map(|row| row.embedding.map(f16::to_f32)).collect();
    let clusters = k_means(Points::new(&values, DIMENSIONS), k, seed, &context(1)).unwrap();
    let mut members = vec![Vec::new(); clusters.len()];
    for (row, number) in rows.into_iter().zip(clusters.assignment) {
        members[number as usize].push(row);
    }
    members.retain(|rows: &Vec<&PoolRow>| !rows.is_empty());
    members
}

fn distance(a: &PoolRow, b: &PoolRow) -> f64 {
    let squares = a.embedding.iter().zip(b.embedding).map(|(x, y)| (x.to_f64() - y.to_f64()).powi(2));
    squares.sum::<f64>().sqrt()
}

fn typicality(row: &PoolRow, cluster: &[&PoolRow]) -> f64 {
    let mut distances: Vec<f64> =
        cluster.iter().filter(|other| other.id != row.id).map(|other| distance(row, other)).collect();
    distances.sort_by(f64::total_cmp);
    distances.truncate((cluster.len() / 2).clamp(1, 20));
    if distances.is_empty() { 0.0 } else { 1.0 / (distances.iter().sum::<f64>() / distances.len() as f64 + 1e-5) }
}

/// Ids of the random slice and of the strategy's rows, each in order.
fn reference(rows: &[PoolRow], settings: &SelectSettings, is_cold: bool) -> (Vec<String>, Vec<String>) {
    let seed = settings.seed;
    let mut taken = Taken { rows: Vec::new(), settings };
    let mut by_hash: Vec<&PoolRow> = rows.iter().collect();
    by_hash.sort_by_key(|row| key(row, seed ^ RANDOM_SALT));
    let n_random = (settings.budget as f64 * settings.random_ratio).ceil() as usize;
    for row in by_hash {
        if taken.rows.len() < n_random {
            taken.take(row);
        }
    }
    let n_wanted = settings.budget - taken.rows.len();

    let order = |row: &PoolRow| if is_cold { 0.0 } else { row.margin };
    let mut best: Vec<&PoolRow> = rows.iter().collect();
    best.sort_by(|a, b| order(a).total_cmp(&order(b)).then(key(a, seed).cmp(&key(b, seed))));
    let mut seen = HashSet::new();
    best.retain(|row| match (&row.cluster, &settings.cluster_column) {
        (Some(cluster), Some(_)) => seen.insert((settings.quota.is_some().then_some(&row.source), cluster)),
        _ => true,
    });
    let capacity = if is_cold { 35_000 } else { settings.budget * 10 };
    if let Some(quota) = &settings.quota {
        let most = (capacity as f64 * quota.max_ratio).ceil() as usize;
        let mut counts: HashMap<&Option<String>, usize> = HashMap::new();
        best.retain(|row| {
            let count = counts.entry(&row.source).or_default();
            *count += 1;
            *count <= most
        });
    }
    best.truncate(capacity);
    let mut turns = if n_wanted == 0 {
        Vec::new()
    } else if is_cold {
        let mut turns = clusters_of(&best, n_wanted.min(500), seed);
        turns.sort_by_key(|rows| (usize::MAX - rows.len(), key(rows[0], seed)));
        for rows in &mut turns {
            let cluster = rows.clone();
            rows.sort_by(|a, b| typicality(b, &cluster).total_cmp(&typicality(a, &cluster)));
        }
        turns
    } else {
        let mut turns = clusters_of(&best, (n_wanted * 4).div_ceil(5).min(500), seed);
        turns.sort_by_key(|rows| (rows.len(), key(rows[0], seed)));
        for rows in &mut turns {
            rows.sort_by(|a, b| a.margin.total_cmp(&b.margin).then(key(a, seed).cmp(&key(b, seed))));
        }
        turns
    };
    while taken.rows.len() < settings.budget && turns.iter().any(|rows| !rows.is_empty()) {
        for rows in &mut turns {
            while taken.rows.len() < settings.budget && !rows.is_empty() {
                if taken.take(rows.remove(0)) {
                    break;
                }
            }
        }
    }
    let ids = |rows: &[&PoolRow]| rows.iter().map(|row| row.id.clone()).collect();
    let n_drawn = settings.budget - n_wanted;
    (ids(&taken.rows[..n_drawn]), ids(&taken.rows[n_drawn..]))
}

fn check(rows: &[PoolRow], is_cold: bool, settings: &SelectSettings) {
    let outcome = select(rows, is_cold, settings).unwrap();
    let (drawn, ranked): (Vec<_>, Vec<_>) =
        chosen(rows, &outcome).into_iter().partition(|(_, _, reason)| reason == "random slice");
    let ids = |rows: Vec<(String, Option<f64>, String)>| rows.into_iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!((ids(drawn), ids(ranked)), reference(rows, settings, is_cold), "{settings:?}");
}

#[test]
fn equals_the_reference() {
    let rows = pool(700, 1);
    let quota = Quota { column: "source".into(), max_ratio: 0.3 };
    for (budget, quota, cluster_column, random_ratio) in [
        (1, None, None, 0.0),
        (10, None, None, 0.1),
        (40, None, Some("cluster".to_owned()), 0.1),
        (40, Some(quota.clone()), None, 0.25),
        (33, Some(quota.clone()), Some("cluster".to_owned()), 0.1),
        (100, Some(quota), Some("cluster".to_owned()), 0.05),
        (20, None, None, 1.0),
    ] {
        for seed in [0, 7] {
            let settings = SelectSettings {
                budget,
                random_ratio,
                seed,
                quota: quota.clone(),
                cluster_column: cluster_column.clone(),
                strategy: Strategy::ClusterMargin,
                ..SelectSettings::default()
            };
            check(&rows, false, &settings);
            check(&rows, true, &SelectSettings { strategy: Strategy::Auto, ..settings });
        }
    }
}

/// Pruning must not change which rows are first, in whatever order they come.
#[test]
fn bounded_candidates_are_those_of_an_unbounded_sort() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut rows: Vec<Candidate> = (0..30_000)
        .map(|row| Candidate {
            order: f32::from(random.random_range(0..2000u16)) / 2000.0,
            key: random.random_range(0..20_000),
            row,
            stratum: random.random_range(0..4u32).min(random.random_range(0..4)),
            cluster: random.random_range(0..15_000),
            value: 0.5,
            weight: 1.0,
            best_classes: [0, 1],
        })
        .collect();
    let (capacity, stratum_capacity) = (500, 200);
    let mut sorted = rows.clone();
    sorted.sort_by(|a, b| a.order.total_cmp(&b.order).then((a.key, a.row).cmp(&(b.key, b.row))));
    let (mut seen, mut counts) = (HashSet::new(), [0; 4]);
    sorted.retain(|row| {
        let is_first = seen.insert((row.stratum, row.cluster));
        let count = &mut counts[row.stratum as usize];
        *count += usize::from(is_first);
        is_first && *count <= stratum_capacity
    });
    sorted.truncate(capacity);
    for _ in 0..3 {
        rows.shuffle(&mut random);
        let mut candidates = Candidates::new(capacity, stratum_capacity, [1, 2], &Budget::new(1 << 20));
        for &row in &rows {
            candidates.push(row, &[f16::from_f32(row.order)], &[row.order, -row.order]).unwrap();
        }
        let mut found = candidates.finish().unwrap();
        assert_eq!(found.rows, sorted);
        let pairs: Vec<f32> = sorted.iter().flat_map(|row| [row.order, -row.order]).collect();
        assert_eq!(found.probabilities, pairs, "and probabilities");
        let orders: Vec<f32> = sorted.iter().map(|row| f16::from_f32(row.order).to_f32()).collect();
        assert_eq!(found.take_points().unwrap(), orders, "embeddings went with their rows");
    }
}

#[test]
fn k_means_finds_separate_groups_and_assigns_to_the_nearest() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let n_groups = 12;
    let groups: Vec<usize> = (0..900).map(|_| random.random_range(0..n_groups)).collect();
    let values: Vec<f32> = groups
        .iter()
        .flat_map(|&group| (0..20).map(move |d| if d == group { 5.0 } else { 0.0 }))
        .map(|x| x + random.random_range(-0.3f32..0.3))
        .collect();
    let points = Points::new(&values, 20);
    let clusters = k_means(points, n_groups, 5, &context(2)).unwrap();
    let pairs: HashSet<(usize, u32)> = groups.iter().copied().zip(clusters.assignment.iter().copied()).collect();
    assert_eq!(pairs.len(), n_groups, "each group is one cluster");
    assert_eq!(clusters.assign(points, &context(1)).unwrap(), clusters.assignment);

    let few = [0.0f32, 1.0, 0.0, 1.0, 0.0];
    assert_eq!(k_means(Points::new(&few, 1), 4, 0, &context(1)).unwrap().len(), 2, "there are two distinct points");
    assert_eq!(k_means(Points::new(&[], 3), 4, 0, &context(1)).unwrap().len(), 0);
}
