//! The pool and the test rows of a simulation.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, UInt64Type};
use tamis_schemas::columns;
use xxhash_rust::xxh3::xxh3_64;

use super::{Judged, SimulateSettings};
use crate::budget::Reservation;
use crate::context::Context;
use crate::dedup::{Fingerprint, NearDuplicates, Settings};
use crate::score::append::required_column;
use crate::stage::{BarrierStage, MapStage, Next};
use crate::{Error, Result, RowSet};

/// Rows that are scored at once.
pub(super) const BATCH_ROWS: usize = 1024;
/// One row in so many is a test row where no column says so.
const TEST_SHARE: u64 = 5;

/// A row, and the number of its class.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) label: u32,
    /// Its place among the judged rows.
    pub(super) place: usize,
}

/// What is replayed.
#[derive(Debug)]
pub(super) struct World {
    pub(super) pool: Vec<Row>,
    pub(super) test: Vec<Row>,
    /// Embeddings of the judged rows, and their length, if they have some.
    pub(super) embeddings: Option<(Vec<f32>, usize)>,
    /// Names of the classes, sorted.
    pub(super) classes: Vec<String>,
    /// `tamis_row`, `tamis_id` and `tamis_text` of the pool.
    pub(super) pool_batches: Vec<RecordBatch>,
    /// The same of the test rows.
    pub(super) test_batches: Vec<RecordBatch>,
    /// Rows of the pool that say the same as earlier ones.
    pub(super) near_duplicates: RowSet,
    pub(super) n_rejected: u64,
    pub(super) n_unlabelled: u64,
    _reservation: Option<Reservation>,
}

impl World {
    pub(super) fn new(judged: Judged, settings: &SimulateSettings, context: &Context) -> Result<Self> {
        let mut classes: Vec<String> = judged.labels.clone();
        classes.sort_unstable();
        classes.dedup();
        if classes.len() < 2 {
            return Err(Error::Config {
                message: format!(
                    "all {} labels are `{}`: there is nothing to tell apart",
                    judged.labels.len(),
                    classes[0]
                ),
                hint: Some("name the column of the labels with --label-column".into()),
            });
        }
        let mut ids: Vec<&String> = judged.ids.iter().collect();
        ids.sort_unstable();
        if let Some([id, _]) = ids.array_windows().find(|[a, b]| a == b) {
            return Err(Error::Config {
                message: format!("the id `{id}` is there twice"),
                hint: Some(
                    "name a column of unique ids with --id-column, or number the rows with --id-column \"\"".into(),
                ),
            });
        }
        let (mut pool, mut test) = (Vec::new(), Vec::new());
        let rows = judged.ids.into_iter().zip(judged.texts).zip(judged.labels).zip(judged.splits);
        for (place, (((id, text), label), split)) in rows.enumerate() {
            let label = classes.partition_point(|class| *class < label) as u32;
            let is_test = match &settings.test_split {
                Some(value) => split.as_ref() == Some(value),
                None => xxh3_64(id.as_bytes()).is_multiple_of(TEST_SHARE),
            };
            if is_test { &mut test } else { &mut pool }.push(Row { id, text, label, place });
        }
        if test.is_empty() || pool.is_empty() {
            let of_split =
                settings.test_split.as_ref().map_or_else(String::new, |value| format!(" of the split `{value}`"));
            return Err(Error::Config {
                message: format!("there are {} rows to choose from and {} test rows{of_split}", pool.len(), test.len()),
                hint: Some(match settings.test_split {
                    Some(_) => "check --test-split-column and --test-split-value".into(),
                    None => "a fifth is for testing: give more rows, or say which with --test-split-column".into(),
                }),
            });
        }
        let pool = settings.injection.apply(pool, classes.len());
        if pool.len() <= settings.n_init {
            return Err(Error::Config {
                message: format!(
                    "the pool has {} rows and --init takes {}: none is left to choose",
                    pool.len(),
                    settings.n_init
                ),
                hint: Some("use a smaller --init, or give more rows".into()),
            });
        }
        let (pool_batches, test_batches) = (batches(&pool)?, batches(&test)?);
        let near_duplicates = near_duplicates(&pool_batches, context)?;
        Ok(Self {
            pool,
            test,
            embeddings: judged.embeddings,
            classes,
            pool_batches,
            test_batches,
            near_duplicates,
            n_rejected: judged.n_rejected,
            n_unlabelled: judged.n_unlabelled,
            _reservation: judged.reservation,
        })
    }
}

fn batches(rows: &[Row]) -> Result<Vec<RecordBatch>> {
    let batch = |(index, rows): (usize, &[Row])| {
        let first = (index * BATCH_ROWS) as u64;
        let positions: ArrayRef = Arc::new(UInt64Array::from_iter_values(first..first + rows.len() as u64));
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.text)));
        Ok(RecordBatch::try_from_iter([(columns::ROW, positions), (columns::ID, ids), (columns::TEXT, texts)])?)
    };
    rows.chunks(BATCH_ROWS).enumerate().map(batch).collect()
}

/// Rows that near-duplicate removal drops, by its defaults.
fn near_duplicates(batches: &[RecordBatch], context: &Context) -> Result<RowSet> {
    let settings = Settings::default();
    let (barrier, handle) = NearDuplicates::new(&settings, context)?;
    let mut map: Box<dyn MapStage> = Box::new(Fingerprint::new(&settings)?.before(&barrier));
    let mut barrier: Box<dyn BarrierStage> = Box::new(barrier);
    let mut wanted: Option<RowSet> = None;
    loop {
        for batch in batches {
            context.cancel.check()?;
            let batch = match &wanted {
                Some(wanted) => only(batch, wanted)?,
                None => batch.clone(),
            };
            barrier.observe(&map.apply(batch)?, context)?;
        }
        match barrier.end_of_pass(context)? {
            Next::Again { rows, map: next_map, barrier: next_barrier } => {
                (wanted, map, barrier) = (Some(rows), next_map, next_barrier);
            }
            Next::Done(_) => break,
        }
    }
    let found = handle.take()?;
    let n_rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64;
    Ok((0..n_rows).filter(|&row| !found.verdict.keeps(row)).collect())
}

fn only(batch: &RecordBatch, wanted: &RowSet) -> Result<RecordBatch> {
    let rows = required_column(batch, columns::ROW, &DataType::UInt64)?.as_primitive::<UInt64Type>();
    let is_wanted: BooleanArray = rows.values().iter().map(|&row| Some(wanted.contains(row))).collect();
    Ok(filter_record_batch(batch, &is_wanted)?)
}
