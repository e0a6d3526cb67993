//! Writing files of a table again: fewer and larger ones, or without some of their rows.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{FilePart, FileRecord};

use crate::finished::FinishedRun;
use crate::run::{completed, pass, rows_of};
use crate::sink::{Output, TableWriter};
use crate::source::{Columns, Decoded, Request};
use crate::{Error, Result, RowSet};

/// A file that is to be written again.
#[derive(Debug)]
pub(crate) struct OldFile {
    pub(crate) url: String,
    pub(crate) record: FileRecord,
    /// Its rows, from 0, that are left out.
    pub(crate) left_out: RowSet,
}

/// Writes the rows of neighbouring files of a table into new ones, which take their place when the output is committed.
pub(crate) fn rewrite(run: &FinishedRun<'_>, table: Table, old: &[OldFile], output: &mut Output) -> Result<()> {
    let files: Vec<(&str, &FileRecord)> = old.iter().map(|file| (file.url.as_str(), &file.record)).collect();
    let schema = Arc::new(run.stored_files(table, &files)?.schema().clone());
    let mut writer = output.table(table, Arc::clone(&schema))?;
    for file in old {
        copy(run, table, file, &schema, &mut writer)?;
    }
    let removed = old.iter().map(|file| file.record.path.clone()).collect();
    output.finish_replacement(table, removed, writer)
}

fn copy(
    run: &FinishedRun<'_>,
    table: Table,
    file: &OldFile,
    schema: &SchemaRef,
    writer: &mut TableWriter,
) -> Result<()> {
    let stored = run.stored_files(table, &[(&file.url, &file.record)])?;
    let request = Request { columns: Columns::All, text: None, id: None, rows: None };
    let scan = stored.inputs.scan(&stored.columns, &request)?;
    run.progress.watch(stored.inputs.total_bytes(), scan.bytes_read());
    let mut parts = Origins::new(&file.record.parts);
    let rest =
        |decoded: Decoded| decoded.batches.iter().map(|batch| remaining(batch, &file.left_out, schema)).collect();
    pass::for_each(scan, run.context, rest, |batches: Vec<(BooleanArray, RecordBatch)>| {
        for (is_kept, batch) in batches {
            run.progress.add_rows(is_kept.len() as u64);
            let mut at = 0;
            for (input, n_rows) in parts.kept_rows(&is_kept) {
                match input {
                    Some(input) => writer.write_part(&batch.slice(at, n_rows), input)?,
                    None => writer.write(&batch.slice(at, n_rows))?,
                }
                at += n_rows;
            }
        }
        Ok(())
    })?;
    if parts.is_at_end() {
        return Ok(());
    }
    Err(Error::Corrupt {
        location: file.url.clone(),
        format: "what its commit says",
        message: "the inputs that the commit names for it have other rows".into(),
    })
}

/// Which rows stay, and these with the columns of `schema`.
fn remaining(batch: &RecordBatch, left_out: &RowSet, schema: &SchemaRef) -> Result<(BooleanArray, RecordBatch)> {
    let is_kept: BooleanArray = rows_of(batch)?.values().iter().map(|&row| Some(!left_out.contains(row))).collect();
    let batch = completed(&filter_record_batch(batch, &is_kept)?, schema)?;
    let indices: Vec<usize> =
        schema.fields().iter().map(|field| batch.schema_ref().index_of(field.name())).collect::<Result<_, _>>()?;
    let columns = indices.into_iter().map(|index| Arc::clone(batch.column(index))).collect();
    Ok((is_kept, RecordBatch::try_new(Arc::clone(schema), columns)?))
}

/// Of the rows of a file, one after the other, which input they are of.
#[derive(Debug)]
struct Origins<'a> {
    parts: &'a [FilePart],
    /// Rows of the first part that are past.
    past: u64,
    are_known: bool,
}

impl<'a> Origins<'a> {
    fn new(parts: &'a [FilePart]) -> Self {
        Self { parts, past: 0, are_known: !parts.is_empty() }
    }

    /// Inputs of the next rows, as far as they are kept, each with the number of its rows. No input where the table names none.
    fn kept_rows(&mut self, is_kept: &BooleanArray) -> Vec<(Option<&'a str>, usize)> {
        let mut counts: Vec<(Option<&str>, usize)> = Vec::new();
        for is_kept in is_kept.iter().flatten() {
            let input = self.next();
            match counts.last_mut() {
                Some((last, n_rows)) if *last == input => *n_rows += usize::from(is_kept),
                _ => counts.push((input, usize::from(is_kept))),
            }
        }
        counts
    }

    /// Input of the next row.
    fn next(&mut self) -> Option<&'a str> {
        while self.parts.first().is_some_and(|part| part.rows <= self.past) {
            (self.parts, self.past) = (&self.parts[1..], 0);
        }
        self.past += 1;
        self.parts.first().map(|part| part.input.as_str())
    }

    fn is_at_end(&self) -> bool {
        let rest: u64 = self.parts.iter().map(|part| part.rows).sum();
        !self.are_known || rest == self.past
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_by_their_inputs() {
        let part = |input: &str, rows| FilePart { input: input.into(), rows };
        let all = [part("a", 2), part("b", 1), part("c", 3)];
        let mut parts = Origins::new(&all);
        assert_eq!(
            parts.kept_rows(&vec![true, false, true, true].into()),
            [(Some("a"), 1), (Some("b"), 1), (Some("c"), 1)]
        );
        assert!(!parts.is_at_end());
        assert_eq!(parts.kept_rows(&vec![true, true].into()), [(Some("c"), 2)]);
        assert!(parts.is_at_end());
        parts.kept_rows(&vec![true].into());
        assert!(!parts.is_at_end(), "more rows than the parts say");
        let mut none = Origins::new(&[]);
        assert_eq!(none.kept_rows(&vec![true, false].into()), [(None, 1)]);
        assert!(none.is_at_end());
    }
}
