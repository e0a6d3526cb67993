//! The rows that contain a held-out item, and the evidence for each.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Builder, Int32Array, Int64Builder, PrimitiveArray, RecordBatch, StringArray,
    StringBuilder, UInt64Array,
};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, UInt32Type, UInt64Type};
use tamis_schemas::columns::ROW;
use tamis_schemas::tables::evidence_schema;

use super::REASON;
use super::held_out::Names;
use super::stage::{Decontaminate, ITEM, SHARE, SPAN_END, SPAN_START};
use crate::budget::Reservation;
use crate::context::Context;
use crate::dedup::Method;
use crate::spill::{ExternalSorter, Sorted};
use crate::{Error, Result, RowSet};

const STAGE: &str = "decontamination: evidence";

/// Row, item, bits of the share, first byte, end.
pub(crate) type Hit = (u64, u32, u64, u64, u64);

/// The rows that contain a held-out item.
#[derive(Debug)]
pub struct Contaminated {
    names: Names,
    hits: ExternalSorter<Hit>,
    rows: Arc<RowSet>,
    /// Rows dropped for each item.
    n_rows: Vec<u64>,
    ids: ExternalSorter<(u64, Vec<u8>)>,
    reservation: Reservation,
}

impl Contaminated {
    /// The rows that `stage` found, in `hits`: rows of its output in which [`ITEM`] is not null.
    pub fn new(stage: Decontaminate, hits: Hits, context: &Context) -> Self {
        let Hits { sorter, rows, n_rows, reservation } = hits;
        let ids = ExternalSorter::new(STAGE, &context.budget);
        Self { names: stage.into_names(), hits: sorter, rows: Arc::new(rows), n_rows, ids, reservation }
    }

    /// These rows.
    pub fn rows(&self) -> &Arc<RowSet> {
        &self.rows
    }

    /// Number of items for which a row is dropped.
    pub fn n_found_items(&self) -> u64 {
        self.n_rows.iter().filter(|&&n| n > 0).count() as u64
    }

    /// Sees the ids of rows; of the whole input, in any order, each row once.
    pub fn observe_ids(&mut self, rows: &UInt64Array, ids: &StringArray, context: &Context) -> Result<()> {
        for (&row, id) in rows.values().iter().zip(ids) {
            if self.rows.contains(row) {
                self.ids.push((row, id.unwrap_or_default().as_bytes().to_vec()), context)?;
            }
        }
        Ok(())
    }

    /// Joins ids and findings. The batches come in order of the dropped row.
    pub fn evidence(self, context: &Context) -> Result<ContaminationEvidence> {
        Ok(ContaminationEvidence {
            names: self.names,
            n_rows: self.n_rows,
            hits: self.hits.finish(context)?,
            ids: self.ids.finish(context)?,
            batch_rows: context.batch_rows,
            reservation: self.reservation,
        })
    }
}

/// Collects the rows that contain an item while the input is read.
#[derive(Debug)]
pub struct Hits {
    sorter: ExternalSorter<Hit>,
    rows: RowSet,
    /// Of each item.
    n_rows: Vec<u64>,
    reservation: Reservation,
}

impl Hits {
    /// No row yet that contains one of `n_items` items.
    pub fn new(n_items: usize, context: &Context) -> Result<Self> {
        let mut reservation = context.budget.reserve(STAGE);
        reservation.grow(n_items * size_of::<u64>())?;
        Ok(Self {
            sorter: ExternalSorter::new(STAGE, &context.budget),
            rows: RowSet::new(),
            n_rows: vec![0; n_items],
            reservation,
        })
    }

    /// Adds rows of the output of [`Decontaminate`] in which [`ITEM`] is not null.
    pub fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        hits_of(batch)?.into_iter().try_for_each(|hit| self.push(hit, context))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// `Error::Invariant` if there is no such item.
    pub(crate) fn push(&mut self, hit: Hit, context: &Context) -> Result<()> {
        let (row, item, ..) = hit;
        let n_rows = self.n_rows.get_mut(item as usize);
        *n_rows.ok_or_else(|| Error::Invariant(format!("there is no held-out item {item}")))? += 1;
        self.rows.insert(row);
        self.sorter.push(hit, context)
    }
}

/// What rows of the output of [`Decontaminate`] contain, in which [`ITEM`] is not null.
pub(crate) fn hits_of(batch: &RecordBatch) -> Result<Vec<Hit>> {
    let rows = column::<UInt64Type>(batch, ROW)?;
    let items = column::<UInt32Type>(batch, ITEM)?;
    let shares = column::<Float64Type>(batch, SHARE)?;
    let starts = column::<UInt64Type>(batch, SPAN_START)?;
    let ends = column::<UInt64Type>(batch, SPAN_END)?;
    let hit = |index: usize| {
        let share = shares.value(index).to_bits();
        (rows.value(index), items.value(index), share, starts.value(index), ends.value(index))
    };
    Ok((0..batch.num_rows()).map(hit).collect())
}

fn column<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<T>> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt());
    column.ok_or_else(|| Error::Invariant(format!("column `{name}` is missing between two stages")))
}

/// Evidence of contamination in batches of [`evidence_schema`].
#[derive(Debug)]
pub struct ContaminationEvidence {
    names: Names,
    n_rows: Vec<u64>,
    hits: Sorted<Hit>,
    ids: Sorted<(u64, Vec<u8>)>,
    batch_rows: usize,
    #[expect(dead_code, reason = "gives the memory back when dropped")]
    reservation: Reservation,
}

impl ContaminationEvidence {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let (mut dropped_ids, mut item_ids) = (StringBuilder::new(), StringBuilder::new());
        let (mut shares, mut cluster_sizes) = (Float64Builder::new(), Int64Builder::new());
        let (mut starts, mut ends) = (Int64Builder::new(), Int64Builder::new());
        let mut n_rows = 0;
        while n_rows < self.batch_rows {
            let Some(hit) = self.hits.next() else { break };
            let (row, item, share, start, end) = hit?;
            let id = self.ids.next().transpose()?.filter(|(id_row, _)| *id_row == row);
            let (_, id) = id.ok_or_else(|| {
                Error::Invariant(format!("row {row} was seen in one pass over the input and not in another"))
            })?;
            dropped_ids.append_value(String::from_utf8_lossy(&id));
            item_ids.append_value(self.names.get(item as usize));
            shares.append_value(f64::from_bits(share));
            cluster_sizes.append_value(self.n_rows[item as usize].cast_signed());
            starts.append_value(start.cast_signed());
            ends.append_value(end.cast_signed());
            n_rows += 1;
        }
        if n_rows == 0 {
            return Ok(None);
        }
        let item_ids: ArrayRef = Arc::new(item_ids.finish());
        let all =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, n_rows))) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(dropped_ids.finish()),
            Arc::clone(&item_ids),
            Arc::new(shares.finish()),
            all(Method::Exact.name()),
            all(REASON),
            Arc::new(Int32Array::from_value(0, n_rows)),
            item_ids,
            Arc::new(cluster_sizes.finish()),
            Arc::new(starts.finish()),
            Arc::new(ends.finish()),
        ];
        Ok(Some(RecordBatch::try_new(evidence_schema(), columns)?))
    }
}

impl Iterator for ContaminationEvidence {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
