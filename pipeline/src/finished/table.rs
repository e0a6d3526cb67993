//! The rows of a table of finished runs.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use tamis_schemas::columns;
use tamis_schemas::config::Table;

use super::FinishedRun;
use crate::run::{ids_of, rows_of};
use crate::source::{Columns, IdSource, InputSchema, Inputs, Request};
use crate::{Error, Result, RowSet};

/// A request for some columns and nothing else.
pub(crate) fn request(columns: &[&str]) -> Request {
    let columns = columns.iter().map(|&name| name.to_owned()).collect();
    Request { columns: Columns::Named(columns), text: None, id: None, rows: None }
}

/// A table of a finished run.
#[derive(Debug)]
pub(crate) struct TableReader<'a> {
    pub(super) run: &'a FinishedRun<'a>,
    pub(super) table: Table,
    pub(crate) inputs: Inputs,
    /// What a scan of `inputs` needs.
    pub(crate) columns: InputSchema,
}

impl TableReader<'_> {
    /// Its columns, those of tamis left out that a request adds by itself.
    pub(crate) fn schema(&self) -> &Schema {
        self.columns.schema()
    }

    /// Calls `visit` on every batch in order, until it breaks.
    pub(crate) fn scan(
        &self,
        step: &'static str,
        request: &Request,
        mut visit: impl FnMut(&RecordBatch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let progress = self.run.progress;
        progress.begin(step);
        let mut scan = self.inputs.scan(&self.columns, request)?;
        progress.watch(self.inputs.total_bytes(), scan.bytes_read());
        while let Some(block) = scan.next_block()? {
            for batch in &block.decode()?.batches {
                progress.add_rows(batch.num_rows() as u64);
                if visit(batch)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A request for `columns` with the id of each row.
    pub(crate) fn request_with_ids(columns: &[&str]) -> Request {
        Request { id: Some(IdSource::Column(columns::ID.to_owned())), ..request(columns) }
    }

    /// Positions of the rows that have these ids, as far as they are in this table.
    pub(crate) fn rows_of_ids<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> Result<RowSet> {
        let mut wanted: HashSet<&str> = ids.into_iter().collect();
        let mut rows = RowSet::new();
        if wanted.is_empty() {
            return Ok(rows);
        }
        let step = match self.table {
            Table::Dropped => "finding dropped rows",
            _ => "finding kept rows",
        };
        self.scan(step, &Self::request_with_ids(&[]), |batch| {
            let positions = rows_of(batch)?;
            for (&row, id) in positions.values().iter().zip(ids_of(batch)?) {
                if wanted.remove(id.unwrap_or_default()) {
                    rows.insert(row);
                }
            }
            Ok(if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(rows)
    }

    /// The texts of the rows that have these ids, each passed through `shorten`.
    pub(crate) fn texts<'i, T>(
        &self,
        ids: impl IntoIterator<Item = &'i str>,
        mut shorten: impl FnMut(&str, &str) -> Result<T>,
    ) -> Result<HashMap<String, T>> {
        let rows = self.rows_of_ids(ids)?;
        let mut texts = HashMap::new();
        if rows.is_empty() {
            return Ok(texts);
        }
        let request =
            Request { text: Some(self.run.text.clone()), rows: Some(Arc::new(rows)), ..Self::request_with_ids(&[]) };
        self.scan("reading texts", &request, |batch| {
            let of_batch = batch
                .column_by_name(columns::TEXT)
                .and_then(|texts| arrow::array::AsArray::as_string_opt::<i32>(texts))
                .ok_or_else(|| Error::Invariant("a scan for texts has none".into()))?;
            for (id, text) in ids_of(batch)?.iter().flatten().zip(of_batch.iter().flatten()) {
                texts.insert(id.to_owned(), shorten(id, text)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(texts)
    }
}
