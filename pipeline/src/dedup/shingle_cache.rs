//! The shingles of all rows, as long as the budget has room for them: rows in doubt need not be read again then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::Schema;
use rayon::prelude::*;
use tamis_schemas::columns::ROW;

use super::columns::{ALL_SHINGLES, SHINGLES, column};
use super::lists::{Lists, list_field, lists};
use super::shingle::to_set_with;
use super::tape::{SetTable, SetTableWriter};
use crate::context::Context;
use crate::stage::{BarrierStage, Next};
use crate::{Result, RowSet};

/// With less memory, what fits is read again as fast as it is kept.
const LEAST_LIMIT_BYTES: usize = 384 << 20;
/// A batch may have this share of the memory limit in text: some are on their way when room runs out.
const MOST_OF_BUDGET: usize = 64;
/// Rows whose sets are made together.
const TASK_ROWS: usize = 16;
/// Rows and shingles of which the sets are made before they are observed: few enough that the budget need not know.
const WAVE_ROWS: usize = 1024;
const WAVE_SHINGLES: u64 = 1 << 20;

/// Whether shingles are still taken, known to those who make them.
#[derive(Debug, Clone, Default)]
pub(super) struct Taking {
    most_batch_bytes: Arc<AtomicUsize>,
}

impl Taking {
    /// Whether the shingles of a batch of so many bytes of text are taken.
    pub(super) fn takes(&self, text_bytes: usize) -> bool {
        text_bytes < self.most_batch_bytes.load(Ordering::Relaxed)
    }
}

/// Appends `tamis_all_shingles` to a batch.
pub(super) fn with_shingles(batch: &RecordBatch, shingles: ArrayRef) -> Result<RecordBatch> {
    let mut fields = batch.schema_ref().fields().to_vec();
    fields.push(Arc::new(list_field(ALL_SHINGLES)));
    let columns = batch.columns().iter().cloned().chain([shingles]).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// See the module.
#[derive(Debug)]
pub(super) struct ShingleCache {
    /// Not yet sets: the shingles of each row in the order of its text.
    shingles: SetTableWriter,
    taking: Taking,
}

impl ShingleCache {
    /// An empty cache, which takes shingles from now on.
    pub(super) fn new(stage: &'static str, context: &Context) -> Self {
        let limit_bytes = context.budget.limit_bytes();
        let most_batch_bytes = if limit_bytes < LEAST_LIMIT_BYTES { 0 } else { limit_bytes / MOST_OF_BUDGET };
        let taking = Taking { most_batch_bytes: Arc::new(AtomicUsize::new(most_batch_bytes)) };
        Self { shingles: SetTableWriter::new(stage, context), taking }
    }

    /// What those who make the shingles ask.
    pub(super) fn taking(&self) -> Taking {
        self.taking.clone()
    }

    /// Adds a batch; `None` if it has no shingles, or there is no room for them: those of all rows are needed, or none.
    pub(super) fn push(mut self, batch: &RecordBatch, context: &Context) -> Result<Option<Self>> {
        let rows: &UInt64Array = column(batch, ROW)?;
        if batch.schema_ref().index_of(ALL_SHINGLES).is_err() {
            return Ok(self.give_up());
        }
        for (row, shingles) in lists(batch, ALL_SHINGLES, rows)? {
            if !self.shingles.try_reserve(shingles.len()) {
                return Ok(self.give_up());
            }
            self.shingles.push(row, shingles, context)?;
        }
        Ok(Some(self))
    }

    fn give_up(self) -> Option<Self> {
        self.taking.most_batch_bytes.store(0, Ordering::Relaxed);
        None
    }

    /// Lets a barrier observe the sets of some rows, and ends its pass.
    pub(super) fn replay(self, rows: &RowSet, mut barrier: Box<dyn BarrierStage>, context: &Context) -> Result<Next> {
        let shingles = self.shingles.finish(context)?;
        let mut rows = rows.iter().peekable();
        while rows.peek().is_some() {
            context.cancel.check()?;
            let (mut wave, mut n_shingles) = (Vec::new(), 0);
            while let Some(row) = rows.next_if(|_| n_shingles < WAVE_SHINGLES && wave.len() < WAVE_ROWS) {
                n_shingles += shingles.n_elements(row)?;
                wave.push(row);
            }
            let sets = wave.par_chunks(TASK_ROWS).with_max_len(1).map(|rows| sets(rows, &shingles));
            let sets: Result<Vec<RecordBatch>> = context.pool.install(|| sets.collect());
            sets?.iter().try_for_each(|batch| barrier.observe(batch, context))?;
        }
        drop(shingles);
        barrier.end_of_pass(context)
    }
}

/// The sets of some rows, as [`ShingleSets`](super::fingerprint::ShingleSets) makes them of their texts.
fn sets(rows: &[u64], shingles: &SetTable) -> Result<RecordBatch> {
    let (mut sets, mut set, mut sorted) = (Lists::default(), Vec::new(), Vec::new());
    for &row in rows {
        shingles.read(row, &mut set)?;
        to_set_with(&mut set, &mut sorted);
        sets.push(&set);
    }
    let rows: ArrayRef = Arc::new(UInt64Array::from(rows.to_vec()));
    Ok(RecordBatch::try_from_iter([(ROW, rows), (SHINGLES, sets.into_column()?)])?)
}
