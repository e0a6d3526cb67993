//! Parquet: row group by row group, only the columns and rows that are needed.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelectionPolicy,
};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::batch::{Body, needed_columns};
use super::fetch::StoredFile;
use super::plan::{FileFacts, PlaceInFile, Plan};
use super::windows::Windows;
use crate::{Error, Result};

/// Uncompressed bytes of a batch, about: long texts make batches of fewer rows.
const BATCH_BYTES: u64 = 4 << 20;

/// A Parquet file while it is read.
pub(super) struct ParquetFile {
    windows: Windows,
    metadata: ArrowReaderMetadata,
    location: String,
    projection: ProjectionMask,
    has_columns: bool,
    /// Row groups still to come.
    groups: Range<usize>,
    /// Ordinal of the first row of the next row group.
    next_row: u64,
    group: Option<Group>,
    /// Compressed bytes of the row groups that are done.
    position: u64,
}

struct Group {
    reader: ParquetRecordBatchReader,
    /// Ordinals of the rows that the reader gives, from `n_read` on still to come.
    rows: Vec<u64>,
    n_read: usize,
}

impl ParquetFile {
    /// Opens a file and reads its footer; leaves out the columns that the plan does not need.
    pub(super) fn open(file: &Arc<StoredFile>, plan: &Plan, from: &PlaceInFile) -> Result<Self> {
        let windows = Windows::new(file.clone());
        let location = file.location.clone();
        let metadata = ArrowReaderMetadata::load(&windows, ArrowReaderOptions::new())
            .map_err(|error| failure(&windows, &location, &error))?;
        let row_groups = metadata.metadata().row_groups();
        if row_groups.iter().flat_map(RowGroupMetaData::columns).any(has_negative) {
            return Err(failure(&windows, &location, &"its footer has a column chunk of a negative place or size"));
        }
        let groups = match &from.row_groups {
            None => 0..row_groups.len(),
            Some(bytes) => groups_beginning_in(bytes, &row_groups.iter().map(first_byte).collect::<Vec<_>>()),
        };
        let columns = needed_columns(plan, metadata.schema());
        Ok(Self {
            windows,
            has_columns: !columns.is_empty(),
            projection: ProjectionMask::roots(metadata.parquet_schema(), columns),
            metadata,
            location,
            groups,
            next_row: from.row,
            group: None,
            position: 0,
        })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Ordinal in the file of the first row that is not done.
    pub(super) fn n_rows(&self) -> u64 {
        self.next_row
    }

    /// Compressed bytes of the row groups that are done.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next rows; `None` at the end.
    pub(super) fn next(&mut self, plan: &Plan, facts: &FileFacts) -> Result<Option<Body>> {
        loop {
            if let Some(group) = &mut self.group {
                match group.reader.next() {
                    Some(Ok(batch)) => return group.body(batch, &self.location).map(Some),
                    Some(Err(error)) => return Err(failure(&self.windows, &self.location, &error)),
                    None => self.group = None,
                }
            }
            let Some(index) = self.groups.next() else { return Ok(None) };
            let group = self.metadata.metadata().row_group(index);
            let first_row = self.next_row;
            let n_rows = group.num_rows() as u64;
            self.position += group.compressed_size() as u64;
            self.next_row += n_rows;
            let first_position = facts.base_row + first_row;
            if !plan.wants_any(first_position, first_position + n_rows) {
                continue;
            }
            if !self.has_columns {
                return Ok(Some(Body::Rows(first_row..first_row + n_rows)));
            }
            self.group = Some(self.open_group(index, first_row, n_rows, plan, facts)?);
        }
    }

    fn open_group(&self, index: usize, first_row: u64, n_rows: u64, plan: &Plan, facts: &FileFacts) -> Result<Group> {
        let group = self.metadata.metadata().row_group(index);
        let chunks: Vec<_> = (0..group.num_columns()).filter(|&leaf| self.projection.leaf_included(leaf)).collect();
        let n_bytes: u64 = chunks.iter().map(|&leaf| group.column(leaf).uncompressed_size().max(0) as u64).sum();
        self.windows.set_chunks(chunks.iter().map(|&leaf| {
            let (start, length) = group.column(leaf).byte_range();
            start..start.saturating_add(length)
        }));
        let row_bytes = n_bytes / n_rows.max(1) + 1;
        let batch_rows = (BATCH_BYTES / row_bytes).clamp(1, plan.batch_rows as u64) as usize;
        let rows: Vec<u64> = (first_row..first_row + n_rows).filter(|row| plan.wants(facts.base_row + row)).collect();
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.windows.clone(), self.metadata.clone())
                .with_row_groups(vec![index])
                .with_projection(self.projection.clone())
                .with_batch_size(batch_rows);
        if (rows.len() as u64) < n_rows {
            let ranges = rows.chunk_by(|row, next| row + 1 == *next).map(|run| {
                let start = (run[0] - first_row) as usize;
                start..start + run.len()
            });
            // The other policy decodes what lies between the rows and drops it: with long texts, much memory.
            builder = builder.with_row_selection_policy(RowSelectionPolicy::Selectors);
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(ranges, n_rows as usize));
        }
        let reader = builder.build().map_err(|error| failure(&self.windows, &self.location, &error))?;
        Ok(Group { reader, rows, n_read: 0 })
    }
}

/// Whether a chunk lies before the file, or is of no possible size.
fn has_negative(chunk: &ColumnChunkMetaData) -> bool {
    let places = [Some(chunk.data_page_offset()), chunk.dictionary_page_offset(), Some(chunk.compressed_size())];
    places.into_iter().flatten().any(|place| place < 0)
}

/// Where a row group begins.
fn first_byte(group: &RowGroupMetaData) -> u64 {
    group.columns().iter().map(|column| column.byte_range().0).min().unwrap_or_default()
}

/// The bytes in which row groups begin that a part of a file reads: the last part has all that are left, wherever a damaged footer has
/// them.
pub(super) fn row_group_bytes(part: &Range<u64>, file_bytes: u64) -> Range<u64> {
    part.start..if part.end < file_bytes { part.end } else { u64::MAX }
}

/// The row groups that begin in a range of bytes. Each is in one of the ranges that a file is cut into, and they come in their order,
/// wherever a file has them: one that begins before an earlier one counts as beginning with it.
fn groups_beginning_in(bytes: &Range<u64>, first_bytes: &[u64]) -> Range<usize> {
    let begins: Vec<u64> = first_bytes
        .iter()
        .scan(0, |latest, &byte| {
            *latest = byte.max(*latest);
            Some(*latest)
        })
        .collect();
    begins.partition_point(|&begin| begin < bytes.start)..begins.partition_point(|&begin| begin < bytes.end)
}

impl Group {
    fn body(&mut self, batch: RecordBatch, location: &str) -> Result<Body> {
        let end = self.n_read + batch.num_rows();
        let rows = self.rows.get(self.n_read..end).ok_or_else(|| Error::Corrupt {
            location: location.to_owned(),
            format: "a Parquet file",
            message: "a row group has more rows than its footer says".into(),
        })?;
        self.n_read = end;
        Ok(Body::Batch { batch, rows: rows.to_vec() })
    }
}

fn failure(windows: &Windows, location: &str, error: &dyn std::fmt::Display) -> Error {
    windows.take_failure().unwrap_or_else(|| Error::Corrupt {
        location: location.to_owned(),
        format: "a Parquet file",
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_each_row_group_once_and_in_order() {
        const FILE_BYTES: u64 = 1001;
        for first_bytes in
            [&[][..], &[4], &[4, 90, 300, 301], &[4, 300, 90, 301, 5], &[0, 0, 0], &[1000, 4], &[4, 8191, 9]]
        {
            for step in [1, 7, 100, 299, 5000] {
                let mut found = Vec::new();
                for start in (0..FILE_BYTES).step_by(step) {
                    let end = start + step as u64;
                    let bytes = row_group_bytes(&(start..end.min(FILE_BYTES)), FILE_BYTES);
                    found.extend(groups_beginning_in(&bytes, first_bytes));
                }
                assert_eq!(found, (0..first_bytes.len()).collect::<Vec<_>>(), "{first_bytes:?} {step}");
            }
        }
    }
}
