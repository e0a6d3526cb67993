//! Rows of a unit, on their way to tables.

use arrow::array::RecordBatch;
use tamis_schemas::config::Table;

use super::record::{Kind, Record};
use super::scored::{N_TABLES, table_code};
use crate::Result;
use crate::source::batch_to_bytes;

/// Bytes of rows in a record, about.
const PIECE_BYTES: usize = 1 << 20;

/// Parts of a batch that are records of their own.
pub(super) fn slices(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let row_bytes = rows.get_array_memory_size() / rows.num_rows().max(1);
    let most = (PIECE_BYTES / row_bytes.max(1)).max(1);
    (0..rows.num_rows()).step_by(most).map(move |start| rows.slice(start, most.min(rows.num_rows() - start)))
}

/// See the module.
pub(super) struct Pieces<F> {
    unit: u64,
    /// By table, how many there were.
    counts: [u64; N_TABLES],
    to: F,
}

impl<F: FnMut(Record) -> Result<()>> Pieces<F> {
    pub(super) fn new(unit: u64, to: F) -> Self {
        Self { unit, counts: [0; N_TABLES], to }
    }

    /// Hands on a record of another kind.
    pub(super) fn pass_on(&mut self, record: Record) -> Result<()> {
        (self.to)(record)
    }

    pub(super) fn push(&mut self, table: Table, rows: &RecordBatch) -> Result<()> {
        let code = table_code(table)?;
        for some in slices(rows) {
            let number = &mut self.counts[code as usize];
            (self.to)(Record {
                unit: Some(self.unit),
                a: *number,
                b: code,
                c: some.num_rows() as u64,
                payload: batch_to_bytes(&some)?,
                ..Record::new(Kind::TableRows)
            })?;
            *number += 1;
        }
        Ok(())
    }
}
