//! Tests of selection: against references without bounds or cleverness, and of what must not change a result.

mod crowd;
mod handover;
mod labels;
mod reference;
mod rounds;
mod selection;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float16Array, Float32Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use half::f16;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tamis_schemas::columns;

use super::{Crowd, LabelledPool, Outcome, SelectSettings, Selection};
use crate::context::{Cancel, Context, Resources};
use crate::stage::BarrierStage;
use crate::{Result, RowSet};

const DIMENSIONS: usize = 8;
const CLASSES: [&str; 3] = ["a", "b", "c"];

/// A row of a made-up pool.
#[derive(Debug, Clone)]
struct PoolRow {
    id: String,
    probabilities: [f32; 3],
    margin: f32,
    entropy: f32,
    embedding: [f16; DIMENSIONS],
    source: Option<String>,
    cluster: Option<String>,
}

/// Rows around ten centers; sources of different sizes; two of three rows share a near-duplicate cluster with others.
fn pool(n: usize, seed: u64) -> Vec<PoolRow> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let centers: Vec<[f32; DIMENSIONS]> =
        (0..10).map(|_| std::array::from_fn(|_| random.random_range(-1.0..1.0))).collect();
    (0..n)
        .map(|index| {
            let weights: [f32; 3] = std::array::from_fn(|_| random.random_range(0.01f32..1.0).powi(2));
            // Few distinct values, so that there are ties.
            let sum: f32 = weights.iter().sum();
            let mut probabilities = weights.map(|weight| (weight / sum * 50.0).round() / 50.0);
            probabilities[0] = 1.0 - probabilities[1] - probabilities[2];
            let mut sorted = probabilities;
            sorted.sort_by(|a, b| b.total_cmp(a));
            let center = centers[random.random_range(0..10usize).min(random.random_range(0..10))];
            let raw: [f32; DIMENSIONS] = std::array::from_fn(|d| center[d] + random.random_range(-0.2..0.2));
            let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
            let source = random.random_range(0..8u32);
            let cluster = random.random_range(0..n as u32 / 2);
            PoolRow {
                id: format!("row-{index}"),
                probabilities,
                margin: sorted[0] - sorted[1],
                entropy: 1.0 - sorted[0],
                embedding: raw.map(|x| f16::from_f32(x / length)),
                source: (0 < source).then(|| format!("source-{}", source.ilog2())),
                cluster: (index % 3 != 0).then(|| format!("{cluster}")),
            }
        })
        .collect()
}

fn lists<T: Copy>(
    rows: &[PoolRow],
    of: impl Fn(&PoolRow) -> Vec<T>,
    to_array: impl Fn(Vec<T>) -> ArrayRef,
    n: usize,
) -> ArrayRef {
    let values = to_array(rows.iter().flat_map(of).collect());
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), false));
    Arc::new(FixedSizeListArray::new(item, n as i32, values, None))
}

/// A batch as the scorer leaves it; without labels if `is_cold`.
fn batch(rows: &[PoolRow], first_row: u64, is_cold: bool) -> RecordBatch {
    let text = |of: fn(&PoolRow) -> Option<&str>| Arc::new(rows.iter().map(of).collect::<StringArray>()) as ArrayRef;
    let float = |of: fn(&PoolRow) -> f32| {
        Arc::new(rows.iter().map(|row| (!is_cold).then(|| of(row))).collect::<Float32Array>()) as ArrayRef
    };
    let positions = UInt64Array::from_iter_values(first_row..first_row + rows.len() as u64);
    let probabilities = lists(rows, |row| row.probabilities.to_vec(), |values| Arc::new(Float32Array::from(values)), 3);
    let embeddings =
        lists(rows, |row| row.embedding.to_vec(), |values| Arc::new(Float16Array::from(values)), DIMENSIONS);
    let mut arrays: Vec<(&str, ArrayRef)> = vec![
        (columns::ROW, Arc::new(positions)),
        (columns::ID, text(|row| Some(&row.id))),
        ("source", text(|row| row.source.as_deref())),
        ("cluster", text(|row| row.cluster.as_deref())),
        (columns::MARGIN, float(|row| row.margin)),
        (columns::ENTROPY, float(|row| row.entropy)),
        (columns::BALD, float(|row| row.entropy / 3.0)),
        (columns::VOTE_ENTROPY, float(|row| row.entropy / 2.0)),
        (columns::MIN_MARGIN, float(|row| row.margin / 2.0)),
        (columns::EMBEDDING, embeddings),
    ];
    if !is_cold {
        arrays.push((columns::PROBABILITIES, probabilities));
    }
    let field = |(name, array): &(&str, ArrayRef)| {
        let field = Field::new(*name, array.data_type().clone(), true);
        let classes = serde_json::Value::from(CLASSES.to_vec()).to_string();
        match *name {
            columns::PROBABILITIES => field.with_metadata(HashMap::from([(columns::CLASSES_KEY.to_owned(), classes)])),
            _ => field,
        }
    };
    let schema = Schema::new(arrays.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), arrays.into_iter().map(|(_, array)| array).collect()).unwrap()
}

/// How a pool comes in: none of it may matter.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    batch_rows: usize,
    n_threads: usize,
}

const ONE_BATCH: Delivery = Delivery { batch_rows: 8192, n_threads: 2 };

fn context(n_threads: usize) -> Context {
    Context::new(&Resources { n_threads, ..Resources::default() }, Cancel::default()).unwrap()
}

fn select(rows: &[PoolRow], is_cold: bool, settings: &SelectSettings) -> Result<Outcome> {
    select_from(rows, is_cold, settings, &LabelledPool::default(), RowSet::new(), ONE_BATCH)
}

fn select_from(
    rows: &[PoolRow],
    is_cold: bool,
    settings: &SelectSettings,
    labelled: &LabelledPool,
    excluded: RowSet,
    delivery: Delivery,
) -> Result<Outcome> {
    observed(rows, is_cold, Selection::new(settings.clone(), labelled, excluded)?, delivery)
}

fn select_with(
    rows: &[PoolRow],
    settings: &SelectSettings,
    labelled: &LabelledPool,
    crowd: Crowd,
    delivery: Delivery,
) -> Result<Outcome> {
    observed(rows, false, Selection::new(settings.clone(), labelled, RowSet::new())?.with_crowd(crowd), delivery)
}

fn observed(rows: &[PoolRow], is_cold: bool, mut selection: Selection, delivery: Delivery) -> Result<Outcome> {
    let context = context(delivery.n_threads);
    for (index, slice) in rows.chunks(delivery.batch_rows).enumerate() {
        selection.observe(&batch(slice, (index * delivery.batch_rows) as u64, is_cold), &context)?;
    }
    selection.finish(&context)
}

/// Ids, scores and reasons of a batch, in the order of ranks.
fn chosen(rows: &[PoolRow], outcome: &Outcome) -> Vec<(String, Option<f64>, String)> {
    let ranked = outcome.batch.chosen();
    assert!(ranked.iter().zip(1..).all(|(one, rank)| one.rank == rank));
    ranked.iter().map(|one| (rows[one.row as usize].id.clone(), one.score, one.reason.clone())).collect()
}

fn shuffled(rows: &[PoolRow], seed: u64) -> Vec<PoolRow> {
    let mut rows = rows.to_vec();
    rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    rows
}

/// The type of a column of a batch of this pool.
fn type_of(name: &str) -> DataType {
    batch(&pool(4, 0), 0, false).column_by_name(name).unwrap().data_type().clone()
}
