//! Which rows of a file are meant.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{FilePart, FileRecord};

use crate::finished::{FinishedRun, request};
use crate::run::{pass, rows_of};
use crate::source::Decoded;
use crate::{Result, RowSet};

/// A row of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// Its number in the file, from 0.
    pub(super) number: u64,
    at: usize,
    columns: &'a [Option<StringArray>],
}

impl<'a> Row<'a> {
    /// Its value in one of the columns that were asked for; `None` if it is null, or the file has no such column.
    pub(super) fn text(&self, column: usize) -> Option<&'a str> {
        let column = self.columns[column].as_ref()?;
        column.is_valid(self.at).then(|| column.value(self.at))
    }
}

/// What `choose` makes of the rows of a file, with these columns as text.
pub(super) fn select<T: Send>(
    run: &FinishedRun<'_>,
    table: Table,
    (url, record): &(String, FileRecord),
    wanted: &[&str],
    choose: impl Fn(Row<'_>) -> Option<T> + Sync,
) -> Result<Vec<(u64, T)>> {
    let stored = run.stored_files(table, &[(url, record)])?;
    let is_there = |name: &&str| stored.schema().field_with_name(name).is_ok();
    let there: Vec<&str> = wanted.iter().copied().filter(is_there).collect();
    let scan = stored.inputs.scan(&stored.columns, &request(&there))?;
    let work = |decoded: Decoded| {
        let mut chosen = Vec::new();
        for batch in &decoded.batches {
            let columns: Vec<_> = wanted.iter().map(|name| text_column(batch, name)).collect::<Result<_>>()?;
            for (at, &number) in rows_of(batch)?.values().iter().enumerate() {
                chosen.extend(choose(Row { number, at, columns: &columns }).map(|value| (number, value)));
            }
        }
        Ok(chosen)
    };
    let mut found = Vec::new();
    pass::for_each(scan, run.context, work, |chosen: Vec<(u64, T)>| {
        found.extend(chosen);
        Ok(())
    })?;
    Ok(found)
}

/// A column as text, if it is there.
pub(super) fn text_column(batch: &RecordBatch, name: &str) -> Result<Option<StringArray>> {
    let Some(column) = batch.column_by_name(name) else { return Ok(None) };
    Ok(Some(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()))
}

/// Rows of a file that are of these inputs.
pub(super) fn rows_of_parts(parts: &[FilePart], urls: &HashSet<&str>) -> RowSet {
    let mut rows = RowSet::new();
    let mut first = 0;
    for part in parts {
        if urls.contains(part.input.as_str()) {
            for row in first..first + part.rows {
                rows.insert(row);
            }
        }
        first += part.rows;
    }
    rows
}
