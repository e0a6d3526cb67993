//! A segment that is read: the rows behind keys, and what is stored of some rows.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{UInt32Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::statistics::Statistics;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tamis_schemas::index::SegmentRecord;
use tamis_schemas::manifest::FileRecord;

use super::blocks::{BlockFile, CHECKSUM_BYTES, damaged, n_blocks};
use super::keys::KeyTable;
use super::rows::stored_schema;
use crate::context::Context;
use crate::dedup::settings::Search;
use crate::place::Place;
use crate::sink::hex;
use crate::{Error, Result, RowSet};

/// Row groups read at once, for each thread.
const GROUPS_PER_THREAD: usize = 2;

/// One Parquet file of a segment.
#[derive(Debug)]
struct SegmentFile {
    file: BlockFile,
    metadata: ArrowReaderMetadata,
}

impl SegmentFile {
    fn open(place: &Place, record: &FileRecord, checksums: Bytes) -> Result<Self> {
        let file = BlockFile::open(place, record, checksums)?;
        let metadata =
            ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| failure(&file, error))?;
        let n_rows = metadata.metadata().file_metadata().num_rows();
        if n_rows as u64 != record.rows {
            return Err(damaged(file.location(), format!("it has {n_rows} rows, not {}", record.rows)));
        }
        Ok(Self { file, metadata })
    }

    fn n_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Rows of each row group.
    fn group_rows(&self) -> Vec<Range<u64>> {
        let mut end = 0;
        let groups = self.metadata.metadata().row_groups().iter().map(|group| {
            let start = end;
            end += group.num_rows() as u64;
            start..end
        });
        groups.collect()
    }

    /// A whole row group, the columns `names` of it, in one request.
    fn read_group(&self, group: usize, names: &[&str]) -> Result<RecordBatch> {
        let mask = ProjectionMask::columns(self.metadata.parquet_schema(), names.iter().copied());
        let metadata = self.metadata.metadata().row_group(group);
        let columns = (0..metadata.num_columns()).filter(|&leaf| mask.leaf_included(leaf));
        let ranges = columns.map(|leaf| metadata.column(leaf).byte_range());
        let (start, end) = ranges.fold((u64::MAX, 0), |(start, end), (offset, length)| {
            (start.min(offset), end.max(offset.saturating_add(length)))
        });
        let window = self.file.window(start.min(end)..end)?;
        let n_rows = metadata.num_rows() as usize;
        let read = || {
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(window, self.metadata.clone())
                .with_row_groups(vec![group])
                .with_projection(mask)
                .with_batch_size(n_rows)
                .build()?;
            let schema = arrow::array::RecordBatchReader::schema(&reader);
            let batches = reader.collect::<Result<Vec<_>, _>>()?;
            Ok::<_, ParquetError>(concat_batches(&schema, &batches)?)
        };
        read().map_err(|error| failure(&self.file, error))
    }
}

/// A segment of an index, open for reading.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) record: SegmentRecord,
    rows: SegmentFile,
    keys: SegmentFile,
    expired: RowSet,
}

impl Segment {
    /// Opens a segment and checks its files: small ones as a whole, others by their sizes, and block by block when read.
    ///
    /// # Errors
    /// `Error::Corrupt` naming the file that is not what it was when it was written.
    pub(super) fn open(place: &Place, record: &SegmentRecord, search: Search) -> Result<Self> {
        let checksums = checked(place, &record.checksums_file)?;
        let at = n_blocks(record.rows_file.bytes) * CHECKSUM_BYTES;
        if at > checksums.len() {
            return Err(damaged(&place.display(&record.checksums_file.path), "it is of other files"));
        }
        let rows = SegmentFile::open(place, &record.rows_file, checksums.slice(..at))?;
        let keys = SegmentFile::open(place, &record.keys_file, checksums.slice(at..))?;
        if rows.metadata.schema().fields() != stored_schema(search).fields() || record.rows_file.rows != record.rows {
            return Err(damaged(rows.file.location(), "its columns or rows are not those of this index"));
        }
        let expired = read_expired_of(place, record)?;
        Ok(Self { record: record.clone(), rows, keys, expired })
    }

    /// Whether a row has not expired.
    pub(super) fn is_live(&self, row: u64) -> bool {
        let runs = &self.record.runs;
        let before = runs.partition_point(|run| run.first_row <= row);
        let is_in_range = before.checked_sub(1).is_some_and(|last| row - runs[last].first_row < runs[last].rows);
        is_in_range && !self.expired.contains(row)
    }

    /// The rows that have expired inside of the ranges of the record.
    pub(super) fn expired(&self) -> &RowSet {
        &self.expired
    }

    /// Rows that have not expired and have a key of `wanted`.
    pub(super) fn rows_with(&self, wanted: &KeyTable, context: &Context) -> Result<RowSet> {
        let mut found = RowSet::new();
        let mut groups = Vec::new();
        for group in 0..self.keys.n_groups() {
            let (first, last) = self.key_range(group)?;
            if wanted.intersects(first, last)? {
                groups.push(group);
            }
        }
        for wave in groups.chunks(GROUPS_PER_THREAD * context.pool.current_num_threads()) {
            context.cancel.check()?;
            let rows: Result<Vec<Vec<u32>>> =
                context.pool.install(|| wave.par_iter().map(|&group| self.join_group(group, wanted)).collect());
            for row in rows?.into_iter().flatten().map(u64::from).filter(|&row| self.is_live(row)) {
                found.insert(row);
            }
        }
        Ok(found)
    }

    fn key_range(&self, group: usize) -> Result<(u64, u64)> {
        match self.keys.metadata.metadata().row_group(group).column(0).statistics() {
            Some(Statistics::Int64(values)) => values.min_opt().zip(values.max_opt()),
            _ => None,
        }
        .map(|(&first, &last)| (first as u64, last as u64))
        .ok_or_else(|| damaged(self.keys.file.location(), "a row group says nothing about its keys"))
    }

    fn join_group(&self, group: usize, wanted: &KeyTable) -> Result<Vec<u32>> {
        let (keys, rows) = self.key_group(group)?;
        let mut found = Vec::new();
        let mut cursor = wanted.cursor();
        let mut at = 0;
        while let Some(&key) = keys.get(at) {
            match cursor.seek(key)? {
                None => break,
                Some(next) if next == key => {
                    found.push(rows[at]);
                    at += 1;
                }
                Some(next) => at += keys[at..].partition_point(|&key| key < next),
            }
        }
        Ok(found)
    }

    /// Number of row groups of keys.
    pub(super) fn n_key_groups(&self) -> usize {
        self.keys.n_groups()
    }

    /// Keys and rows of a row group.
    pub(super) fn key_group(&self, group: usize) -> Result<(Vec<u64>, Vec<u32>)> {
        let batch = self.keys.read_group(group, &["key", "row"])?;
        let keys = batch.column(0).as_primitive_opt::<UInt64Type>();
        let rows = batch.column(1).as_primitive_opt::<UInt32Type>();
        match keys.zip(rows) {
            Some((keys, rows)) => Ok((keys.values().to_vec(), rows.values().to_vec())),
            None => Err(damaged(self.keys.file.location(), "its columns are not those of this index")),
        }
    }

    /// The columns `names` of the rows that `wants`, in order, through `work` on all threads.
    pub(super) fn scan<T: Send>(
        &self,
        wants: impl Fn(u64) -> bool + Sync,
        names: &[&str],
        context: &Context,
        work: impl Fn(UInt64Array, RecordBatch) -> Result<T> + Sync,
        mut consume: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let mut groups: Vec<(usize, Range<u64>)> = self.rows.group_rows().into_iter().enumerate().collect();
        groups.retain(|(_, rows)| rows.clone().any(&wants));
        for wave in groups.chunks(GROUPS_PER_THREAD * context.pool.current_num_threads()) {
            context.cancel.check()?;
            let read = |(group, rows): &(usize, Range<u64>)| {
                let batch = self.rows.read_group(*group, names)?;
                let mask: Vec<bool> = rows.clone().map(&wants).collect();
                let numbers = rows.clone().zip(&mask).filter(|(_, wanted)| **wanted).map(|(row, _)| row);
                let numbers = UInt64Array::from_iter_values(numbers);
                let batch =
                    if numbers.len() == batch.num_rows() { batch } else { filter_record_batch(&batch, &mask.into())? };
                work(numbers, batch)
            };
            let done: Result<Vec<T>> = context.pool.install(|| wave.par_iter().map(read).collect());
            done?.into_iter().try_for_each(&mut consume)?;
        }
        Ok(())
    }

    /// Reads every byte of both files.
    pub(super) fn check_bytes(&self) -> Result<()> {
        self.rows.file.check(&self.record.rows_file)?;
        self.keys.file.check(&self.record.keys_file)
    }

    /// Location of a file, for messages: of the rows, of the keys.
    pub(super) fn locations(&self) -> (&str, &str) {
        (self.rows.file.location(), self.keys.file.location())
    }
}

/// A small file whose SHA-256 is known.
fn checked(place: &Place, record: &FileRecord) -> Result<Bytes> {
    let location = place.display(&record.path);
    let (bytes, _) = place.get_if_there(&record.path)?.ok_or_else(|| damaged(&location, "it is not there"))?;
    if bytes.len() as u64 == record.bytes && hex(&Sha256::digest(&bytes)) == record.sha256 {
        Ok(bytes)
    } else {
        Err(damaged(&location, "its SHA-256 is not the one it was written with"))
    }
}

/// A set of rows as a list of numbers, 4 bytes each.
pub(super) fn expired_bytes(rows: &RowSet) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4 * rows.len() as usize);
    for row in rows.iter() {
        let row = u32::try_from(row).map_err(|_| Error::Invariant(format!("row {row} is beyond a segment")))?;
        bytes.extend_from_slice(&row.to_le_bytes());
    }
    zstd::bulk::compress(&bytes, 3).map_err(|error| Error::Invariant(format!("zstd failed: {error}")))
}

/// The rows of a segment that have expired inside of its ranges.
pub(super) fn read_expired_of(place: &Place, record: &SegmentRecord) -> Result<RowSet> {
    match &record.expired {
        None => Ok(RowSet::new()),
        Some(file) => read_expired(&checked(place, file)?, &place.display(&file.path), file.rows),
    }
}

fn read_expired(bytes: &[u8], location: &str, n_rows: u64) -> Result<RowSet> {
    let capacity = usize::try_from(4 * n_rows).unwrap_or(usize::MAX);
    let bytes = zstd::bulk::decompress(bytes, capacity).map_err(|error| damaged(location, error.to_string()))?;
    let rows: RowSet = bytes.as_chunks::<4>().0.iter().map(|row| u64::from(u32::from_le_bytes(*row))).collect();
    if rows.len() == n_rows { Ok(rows) } else { Err(damaged(location, "it lists another number of rows")) }
}

/// The error of a read: our own, if it comes from a block.
fn failure(file: &BlockFile, error: ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<Error>() {
            Ok(error) => *error,
            Err(cause) => damaged(file.location(), cause.to_string()),
        },
        other => damaged(file.location(), other.to_string()),
    }
}
