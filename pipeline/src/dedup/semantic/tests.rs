//! The search against all pairs, in double precision and one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float16Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::context::{Cancel, Resources};
use crate::dedup::LENGTH;
use crate::dedup::settings::Direction;

const DIMENSIONS: usize = 20;

/// Rows around some centers, every seventh position left out, as after other rules.
struct Rows {
    positions: Vec<u64>,
    vectors: Vec<Vec<f16>>,
    /// Of length 1, but for those that have none.
    directions: Vec<Vec<f64>>,
    scores: Vec<f64>,
}

impl Rows {
    fn new(n: usize, n_centers: usize, noise: f32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(n as u64);
        let mut vector =
            |scale: f32| -> Vec<f32> { (0..DIMENSIONS).map(|_| scale * random.random_range(-1.0..1.0f32)).collect() };
        let centers: Vec<Vec<f32>> = (0..n_centers).map(|_| vector(1.0)).collect();
        let near = |(index, noise): (usize, Vec<f32>)| {
            let sum: Vec<f32> = centers[index % n_centers].iter().zip(noise).map(|(x, y)| x + y).collect();
            let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
            sum.iter().map(|x| f16::from_f32(x / length)).collect()
        };
        let vectors: Vec<Vec<f16>> = (0..n).map(|index| (index, vector(noise))).map(near).collect();
        let scores = (0..n as u64).map(|index| (index * 7919 % 101) as f64).collect();
        let directions = vectors.iter().map(|vector| direction(vector)).collect();
        Self { positions: (0..).filter(|row| row % 7 != 3).take(n).collect(), vectors, directions, scores }
    }

    fn set(&mut self, index: usize, vector: Vec<f16>) {
        self.directions[index] = direction(&vector);
        self.vectors[index] = vector;
    }

    fn batch(&self, from: usize, to: usize) -> RecordBatch {
        let values = Float16Array::from_iter_values(self.vectors[from..to].iter().flatten().copied());
        let field = Arc::new(Field::new_list_field(DataType::Float16, false));
        let vectors = FixedSizeListArray::try_new(field, DIMENSIONS as i32, Arc::new(values), None).unwrap();
        RecordBatch::try_from_iter([
            (ROW, Arc::new(UInt64Array::from(self.positions[from..to].to_vec())) as ArrayRef),
            (LENGTH, Arc::new(UInt64Array::from_iter_values(self.scores[from..to].iter().map(|&score| score as u64)))),
            ("score", Arc::new(Float64Array::from(self.scores[from..to].to_vec()))),
            (EMBEDDING, Arc::new(vectors)),
        ])
        .unwrap()
    }

    fn cosine(&self, a: usize, b: usize) -> f64 {
        self.directions[a].iter().zip(&self.directions[b]).map(|(x, y)| x * y).sum()
    }

    /// Dropped row, kept row, cosine: of all rows that `meet`, in an order.
    fn all_pairs(
        &self,
        threshold: f64,
        order: &[usize],
        stays: &[u64],
        meet: impl Fn(usize, usize) -> bool,
    ) -> BTreeMap<u64, (u64, f64)> {
        let (mut kept, mut dropped) = (Vec::new(), BTreeMap::new());
        for &index in order {
            let mut best: Option<(usize, f64)> = None;
            for &other in kept.iter().filter(|&&other| meet(index, other)) {
                let cosine = self.cosine(index, other);
                if threshold <= cosine && best.is_none_or(|(_, best)| best < cosine) {
                    best = Some((other, cosine));
                }
            }
            match best.filter(|_| !stays.contains(&self.positions[index])) {
                Some((other, cosine)) => _ = dropped.insert(self.positions[index], (self.positions[other], cosine)),
                None => kept.push(index),
            }
        }
        dropped
    }
}

fn direction(vector: &[f16]) -> Vec<f64> {
    let length = vector.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>().sqrt();
    vector.iter().map(|x| if length > 0.0 { x.to_f64() / length } else { 0.0 }).collect()
}

fn context(limit_bytes: usize, n_threads: usize) -> Context {
    let resources = Resources { memory_limit_bytes: limit_bytes, n_threads, ..Resources::default() };
    Context::new(&resources, Cancel::default()).unwrap()
}

fn settings(threshold: f64, n_clusters: usize, keep: KeepOrder) -> SemanticSettings {
    SemanticSettings { threshold, n_clusters: Some(n_clusters), keep, seed: 5 }
}

/// Runs the search; the evidence by dropped row, and what was counted.
fn search(
    rows: &Rows,
    settings: &SemanticSettings,
    stays: &[u64],
    batch_rows: usize,
    context: &Context,
) -> (BTreeMap<u64, (u64, f64)>, SemanticReport, NearDuplicateResult) {
    let mut barrier = SemanticDuplicates::new(settings.clone(), DIMENSIONS, context);
    for from in (0..rows.positions.len()).step_by(batch_rows) {
        let batch = rows.batch(from, (from + batch_rows).min(rows.positions.len()));
        barrier.observe(&batch, context).unwrap();
    }
    let none = NearDuplicateResult::none(Some(2), context).unwrap();
    let (mut result, report) = barrier.finish(none, |row| stays.contains(&row), context).unwrap();
    let positions = UInt64Array::from(rows.positions.clone());
    let ids = StringArray::from_iter_values(rows.positions.iter().map(u64::to_string));
    result.evidence.observe_ids(&positions, &ids, context).unwrap();
    let evidence = std::mem::replace(&mut result.evidence, crate::dedup::Evidence::none(context).unwrap());
    let mut found = BTreeMap::new();
    for batch in evidence.finish(context).unwrap() {
        let batch = batch.unwrap();
        let text = |name: &str, index: usize| -> u64 {
            column::<StringArray>(&batch, name).unwrap().value(index).parse().unwrap()
        };
        let similarities: &Float64Array = column(&batch, "similarity").unwrap();
        for index in 0..batch.num_rows() {
            found.insert(text("dropped_id", index), (text("kept_id", index), similarities.value(index)));
        }
        let sizes: &Int64Array = column(&batch, "cluster_size").unwrap();
        assert!(sizes.iter().flatten().all(|size| size >= 2));
    }
    (found, report, result)
}

#[track_caller]
fn assert_equal(found: &BTreeMap<u64, (u64, f64)>, expect: &BTreeMap<u64, (u64, f64)>) {
    assert!(found.keys().eq(expect.keys()), "{} rows dropped, not {}", found.len(), expect.len());
    for ((row, (kept, cosine)), (expect_kept, expect_cosine)) in found.iter().zip(expect.values()) {
        assert!(kept == expect_kept && (cosine - expect_cosine).abs() < 1e-12, "{row}: {kept} {cosine}");
    }
}

#[test]
fn one_cluster_is_all_pairs_in_keep_order() {
    let rows = Rows::new(1700, 200, 0.35);
    let first: Vec<usize> = (0..1700).collect();
    let mut longest = first.clone();
    longest.sort_by_key(|&index| (std::cmp::Reverse(rows.scores[index] as u64), index));
    let mut lowest = first.clone();
    lowest.sort_by_key(|&index| (rows.scores[index] as u64, index));
    let by_score = KeepOrder::Columns(vec![("score".to_owned(), Direction::Ascending)]);
    for (order, keep) in [(&first, KeepOrder::First), (&longest, KeepOrder::Longest), (&lowest, by_score)] {
        for threshold in [0.85, 0.95] {
            let expect = rows.all_pairs(threshold, order, &[], |_, _| true);
            assert!((100..1600).contains(&expect.len()), "{} rows dropped of 1,700", expect.len());
            let settings = settings(threshold, 1, keep.clone());
            let (found, report, result) = search(&rows, &settings, &[], 777, &context(64 << 20, 2));
            assert_equal(&found, &expect);
            assert_eq!((report.n_dropped, report.n_untested_pairs), (expect.len() as u64, 0));
            assert_eq!((report.n_clusters, report.largest_cluster_rows), (1, 1700));
            assert_eq!(result.verdict.n_dropped(), report.n_dropped);
            assert!(found.keys().all(|&row| result.verdict.reason(row).unwrap().name() == "semantic"));
            let counts = result.duplicates.unwrap().count();
            let stood_for: u64 = rows.positions.iter().map(|&row| counts.dropped_for(row).unwrap()).sum();
            assert_eq!(stood_for, report.n_dropped);
            assert!(result.largest.n_too_large > 0 && result.largest.clusters[0].n_rows > 2);
        }
    }
}

#[test]
fn rows_of_one_cluster_are_compared_and_no_others() {
    let rows = Rows::new(2100, 140, 0.4);
    let all: Vec<usize> = (0..2100).collect();
    let whole = rows.all_pairs(0.85, &all, &[], |_, _| true);
    let settings = settings(0.85, 6, KeepOrder::First);
    let (found, report, _) = search(&rows, &settings, &[], 2100, &context(64 << 20, 2));
    assert!((2..=6).contains(&report.n_clusters) && report.largest_cluster_rows < 2100, "{report:?}");
    assert!(0 < report.n_untested_pairs && report.n_untested_pairs < n_pairs(2100));
    assert!(report.n_compared_pairs + report.n_untested_pairs <= n_pairs(2100));
    let of_row = |row: u64| rows.positions.binary_search(&row).unwrap();
    for (&row, &(kept, cosine)) in &found {
        assert!(kept < row && 0.85 <= cosine && !found.contains_key(&kept), "{row}: {kept} {cosine}");
        assert!((rows.cosine(of_row(row), of_row(kept)) - cosine).abs() < 1e-12);
    }
    // What is alike is mostly near the same centroid.
    assert!(found.len() * 10 > whole.len() * 9, "{} of {}", found.len(), whole.len());
    for (limit_bytes, n_threads, batch_rows) in [(1 << 30, 1, 1), (1 << 21, 3, 250)] {
        let other = search(&rows, &settings, &[], batch_rows, &context(limit_bytes, n_threads));
        assert!((&other.0, other.1) == (&found, report), "{limit_bytes} bytes, {n_threads} threads");
    }
}

#[test]
fn rows_that_something_rests_on_stay_and_vectors_without_direction_too() {
    let mut rows = Rows::new(1500, 40, 0.3);
    for index in [0, 7, 1200] {
        rows.set(index, vec![f16::ZERO; DIMENSIONS]);
    }
    let all: Vec<usize> = (0..1500).collect();
    let stays: Vec<u64> = rows.positions.iter().copied().skip(40).step_by(3).collect();
    let expect = rows.all_pairs(0.8, &all, &stays, |_, _| true);
    let settings = settings(0.8, 1, KeepOrder::First);
    let (found, report, _) = search(&rows, &settings, &stays, 1500, &context(64 << 20, 2));
    assert_equal(&found, &expect);
    assert!(report.n_spared > 300 && [0, 7, 1200].iter().all(|&index| !found.contains_key(&rows.positions[index])));
}

#[test]
fn equal_vectors_reach_every_threshold() {
    let mut rows = Rows::new(90, 90, 0.0);
    for index in 0..30 {
        rows.set(60 + index, rows.vectors[index].clone());
    }
    let (found, ..) = search(&rows, &settings(1.0, 1, KeepOrder::First), &[], 90, &context(64 << 20, 2));
    let expect: BTreeMap<u64, (u64, f64)> =
        (0..30).map(|index| (rows.positions[60 + index], (rows.positions[index], 1.0))).collect();
    assert_eq!(found, expect);
    let nothing = Rows { positions: Vec::new(), vectors: Vec::new(), directions: Vec::new(), scores: Vec::new() };
    let (found, report, _) = search(&nothing, &settings(0.9, 4, KeepOrder::First), &[], 1, &context(64 << 20, 2));
    assert_eq!((found.len(), report), (0, SemanticReport::default()));
}
