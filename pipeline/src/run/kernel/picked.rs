//! The batch, from what `choose` and `pick` have said.

use arrow::array::RecordBatch;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::SelectionRecord;

use super::choose;
use super::record::Record;
use super::scored::table_of_code;
use crate::budget::Reservation;
use crate::context::Context;
use crate::run::ids::rows_of;
use crate::run::plan::Plan;
use crate::run::select::{BatchRows, write_batch};
use crate::select::{Chosen, MarkBatch};
use crate::sink::Output;
use crate::source::{InputSchema, batch_of_bytes};
use crate::{Error, Result, RowSet};

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

    /// # Errors
    /// `Error::Invariant` if they are of another table, or not as many as they must be.
    pub(super) fn push_rows(&mut self, record: &Record) -> Result<()> {
        self.reservation.grow(record.payload.len())?;
        let rows = batch_of_bytes(&record.payload)?;
        if table_of_code(record.b)? != Table::Batch || rows.num_rows() as u64 != record.c {
            return Err(Error::Invariant(format!("{} rows came for the batch, not {}", rows.num_rows(), record.c)));
        }
        self.rows.push(rows);
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
        if !chosen.iter().map(|one| u64::from(one.rank)).eq(1..=record.batch_rows) {
            let message = format!("{} rows were to be chosen, and the ranks of {}", record.batch_rows, chosen.len());
            return Err(Error::Invariant(format!("{message} are there, or some twice")));
        }
        let batch = MarkBatch::new(chosen);
        let picked = rows.iter().map(|rows| Ok(rows_of(rows)?.values().to_vec())).collect::<Result<Vec<_>>>()?.concat();
        let wanted = if plan.writes(Table::Batch) { batch.rows() } else { RowSet::new() };
        let found: RowSet = picked.iter().copied().collect();
        if found != wanted || picked.len() as u64 != wanted.len() {
            let message = format!("{} rows of the batch were to be read, and {} are", wanted.len(), picked.len());
            return Err(Error::Invariant(format!("{message}, {} different ones", found.len())));
        }
        if plan.writes(Table::Batch) {
            // What holds them now does not reserve them once more.
            drop(reservation);
            let mut table = BatchRows::new(&batch, input.schema(), predicts, context);
            rows.into_iter().try_for_each(|rows| table.push(rows))?;
            write_batch(&table.finish()?, output)?;
        }
        Ok(Some(record))
    }
}
