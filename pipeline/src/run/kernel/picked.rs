//! The batch, from what `choose` and `pick` have said.

use arrow::array::RecordBatch;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::SelectionRecord;

use super::choose;
use super::record::Record;
use crate::budget::Reservation;
use crate::context::Context;
use crate::run::plan::Plan;
use crate::run::select::{BatchRows, write_batch};
use crate::select::{Chosen, MarkBatch};
use crate::sink::Output;
use crate::source::{InputSchema, batch_of_bytes};
use crate::{Error, Result};

/// Of all units.
#[derive(Debug)]
pub(super) struct PickedRun {
    chosen: Vec<Chosen>,
    record: Option<SelectionRecord>,
    rows: Vec<RecordBatch>,
    reservation: Reservation,
}

impl PickedRun {
    pub(super) fn new(context: &Context) -> Self {
        let reservation = context.budget.reserve("labelling batch");
        Self { chosen: Vec::new(), record: None, rows: Vec::new(), reservation }
    }

    pub(super) fn push_chosen(&mut self, record: Record) -> Result<()> {
        self.reservation.grow(size_of::<Chosen>() + record.payload.len())?;
        self.chosen.push(choose::of_record(record)?);
        Ok(())
    }

    pub(super) fn push_record(&mut self, record: SelectionRecord) -> Result<()> {
        let earlier = self.record.replace(record);
        earlier.map_or(Ok(()), |_| Err(Error::Invariant("a batch was chosen twice".into())))
    }

    pub(super) fn push_rows(&mut self, record: &Record) -> Result<()> {
        self.reservation.grow(record.payload.len())?;
        self.rows.push(batch_of_bytes(&record.payload)?);
        Ok(())
    }

    /// Writes the batch, and says what the manifest does. `predicts`: rows have what a scorer predicts.
    ///
    /// # Errors
    /// `Error::Invariant` if rows are missing, or were not chosen.
    pub(super) fn finish(
        self,
        plan: &Plan,
        input: &InputSchema,
        predicts: bool,
        context: &Context,
        output: &mut Output,
    ) -> Result<Option<SelectionRecord>> {
        let Self { mut chosen, record, rows, reservation } = self;
        let Some(record) = record else {
            return if chosen.is_empty() && rows.is_empty() {
                Ok(None)
            } else {
                Err(Error::Invariant("rows of a batch that nobody has chosen".into()))
            };
        };
        chosen.sort_by_key(|one| one.rank);
        let is_whole = chosen.iter().map(|one| u64::from(one.rank)).eq(1..=record.batch_rows);
        let batch = MarkBatch::new(chosen);
        let n_rows: usize = rows.iter().map(RecordBatch::num_rows).sum();
        let n_picked = if plan.writes(Table::Batch) { batch.chosen().len() } else { 0 };
        if !is_whole || n_rows != n_picked {
            let message = format!(
                "{} rows were to be chosen, {} are, and {n_rows} of them were read",
                record.batch_rows,
                batch.chosen().len()
            );
            return Err(Error::Invariant(message));
        }
        if plan.writes(Table::Batch) {
            let mut table = BatchRows::new(&batch, input.schema(), predicts, context);
            rows.into_iter().try_for_each(|rows| table.push(rows))?;
            drop(reservation);
            write_batch(&table.finish()?, output)?;
        }
        Ok(Some(record))
    }
}
