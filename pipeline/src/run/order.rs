//! The order of dropped rows in their tables: as they were read, or each cluster together.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tamis_schemas::config::Table;
use tamis_schemas::tier::RowOrder;

use super::Run;
use crate::Result;
use crate::batch_sort::{BatchSorter, Key};
use crate::context::Context;
use crate::dedup::RowClusters;
use crate::sink::{Output, TableWriter};

/// The cluster of rows that are dropped for no row: after all others.
const NO_CLUSTER: u64 = u64::MAX;

/// A table of dropped rows, written in the order that its tier asks for.
#[derive(Debug)]
pub(super) struct DroppedWriter {
    table: Table,
    writer: TableWriter,
    sorter: Option<BatchSorter>,
}

impl DroppedWriter {
    pub(super) fn open(run: Run<'_>, table: Table, schema: SchemaRef, output: &mut Output) -> Result<Self> {
        let sorter = match output.order(table) {
            RowOrder::Input => None,
            RowOrder::Cluster => Some(BatchSorter::new("order of dropped rows", schema.clone(), &run.context.budget)),
        };
        Ok(Self { table, writer: output.table(table, schema)?, sorter })
    }

    /// Whether [`write`](Self::write) needs to know clusters.
    pub(super) fn sorts(&self) -> bool {
        self.sorter.is_some()
    }

    /// Adds rows in the order of the input, with the place of each.
    pub(super) fn write(&mut self, batch: &RecordBatch, places: &[Key], context: &Context) -> Result<()> {
        match &mut self.sorter {
            Some(sorter) => sorter.push(batch, places, context),
            None => self.writer.write(batch),
        }
    }

    pub(super) fn finish(mut self, run: Run<'_>, output: &mut Output) -> Result<()> {
        if let Some(sorter) = self.sorter {
            run.begin(match self.table {
                Table::Evidence => "ordering evidence",
                _ => "ordering dropped rows",
            });
            sorter.finish(run.context, |batch| {
                run.progress.add_rows(batch.num_rows() as u64);
                self.writer.write(batch)
            })?;
        }
        output.finish_table(self.table, self.writer)
    }
}

/// The places of dropped rows in the order of clusters: by the position of the row that they are dropped for, then by their own.
/// Rows of earlier runs lie behind those of this one, and rows that contain a held-out item, for which no row stands, come last.
pub(super) fn places(rows: &[u64], clusters: Option<&mut RowClusters>) -> Result<Vec<Key>> {
    let Some(clusters) = clusters else { return Ok(unclustered(rows.iter().copied()).collect()) };
    rows.iter().map(|&row| Ok((clusters.of(row)?.unwrap_or(NO_CLUSTER), row))).collect()
}

/// The places of rows for which no row stands.
pub(super) fn unclustered(rows: impl Iterator<Item = u64>) -> impl Iterator<Item = Key> {
    rows.map(|row| (NO_CLUSTER, row))
}
