//! A new segment: rows on their way into an index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};
use tamis_schemas::index::{RunRecord, SegmentRecord};
use tamis_schemas::manifest::FileRecord;

use super::blocks::BlockWriter;
use super::rows::{KEYS, STORED_SKETCH, stored_schema};
use crate::context::Context;
use crate::dedup::settings::Search;
use crate::place::Place;
use crate::sink::{Chunker, hex};
use crate::spill::ExternalSorter;
use crate::{Error, Result};

/// Folder of all segments.
pub(super) const SEGMENTS: &str = "segments";
/// Keys of a row group of `keys.parquet`: what a look-up of one key reads.
const GROUP_KEYS: usize = 16_384;
/// Uncompressed bytes of a row group of `rows.parquet`, about: what a look at one row reads.
const GROUP_BYTES: u64 = 4 << 20;
/// Characters of the name of a run.
const RUN_NAME_CHARS: usize = 32;
const STAGE: &str = "index";

/// What distinguishes one addition from all others, in place and time. It never reaches the output of a run.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Now, in seconds since 1970.
    pub now: u64,
    /// A name that nobody else uses for a file.
    pub nonce: String,
}

/// Columns of `keys.parquet`.
fn keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::UInt64, false), Field::new("row", DataType::UInt32, false)]))
}

/// A segment in the making. Dropped without [`finish`](Self::finish) and [`keep`](StagedSegment::keep), it is removed.
pub struct Addition {
    place: Place,
    folder: String,
    rows: Option<ArrowWriter<BlockWriter>>,
    chunker: Chunker,
    group_bytes: u64,
    keys: ExternalSorter<(u64, u32)>,
    n_rows: u64,
    is_kept: bool,
}

impl std::fmt::Debug for Addition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Addition").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Addition {
    /// Begins a segment of rows that are found by `search`. Nothing is written before its first row.
    pub fn new(place: &Place, search: Search, stamp: &Stamp, context: &Context) -> Self {
        Self {
            place: place.clone(),
            folder: format!("{SEGMENTS}/{}-{}", stamp.now, stamp.nonce),
            rows: None,
            chunker: Chunker::new(stored_schema(search)),
            group_bytes: 0,
            keys: ExternalSorter::new(STAGE, &context.budget),
            n_rows: 0,
            is_kept: false,
        }
    }

    /// Adds rows as [`IndexRows`](super::IndexRows) makes them.
    pub fn write(&mut self, rows: &RecordBatch, context: &Context) -> Result<()> {
        let n_columns = rows.num_columns() - 1;
        let keys = rows.column(n_columns).as_list_opt::<i32>();
        let keys = keys.ok_or_else(|| Error::Invariant(format!("column `{KEYS}` is malformed")))?;
        let values = keys.values().as_primitive::<UInt64Type>().values();
        for (ends, row) in keys.offsets().windows(2).zip(self.n_rows..) {
            let row = u32::try_from(row)
                .map_err(|_| Error::config("a segment of an index cannot have more than 4,294,967,295 rows"))?;
            for &key in &values[ends[0] as usize..ends[1] as usize] {
                self.keys.push((key, row), context)?;
            }
        }
        self.n_rows += rows.num_rows() as u64;
        self.chunker.push(&rows.project(&(0..n_columns).collect::<Vec<_>>())?)?;
        while let Some(chunk) = self.chunker.pop() {
            self.write_chunk(&chunk.batch, chunk.bytes)?;
        }
        Ok(())
    }

    /// Row groups end where the rows say so, whatever batches they came in: equal rows are equal bytes.
    fn write_chunk(&mut self, chunk: &RecordBatch, bytes: u64) -> Result<()> {
        let name = self.name("rows.parquet");
        if self.rows.is_none() {
            let properties = properties()
                .set_statistics_enabled(EnabledStatistics::None)
                .set_column_compression(ColumnPath::from(STORED_SKETCH), Compression::UNCOMPRESSED)
                .build();
            let file = BlockWriter::create(&self.place, &name)?;
            let writer = ArrowWriter::try_new(file, chunk.schema(), Some(properties));
            self.rows = Some(writer.map_err(|error| self.place.unwritable(&name, error))?);
        }
        let Some(writer) = &mut self.rows else { return Ok(()) };
        let mut write = || {
            writer.write(chunk)?;
            self.group_bytes += bytes;
            if self.group_bytes >= GROUP_BYTES {
                self.group_bytes = 0;
                writer.flush()?;
            }
            Ok::<_, ParquetError>(())
        };
        write().map_err(|error| self.place.unwritable(&name, error))
    }

    /// Ends the segment; `None` if it has no row.
    pub fn finish(mut self, context: &Context) -> Result<Option<StagedSegment>> {
        if let Some(chunk) = self.chunker.finish()? {
            self.write_chunk(&chunk.batch, chunk.bytes)?;
        }
        let Some(writer) = self.rows.take() else { return Ok(None) };
        let name = self.name("rows.parquet");
        let (rows_file, mut checksums) = self.close(&name, self.n_rows, writer)?;
        let (keys_file, of_keys) = self.write_keys(context)?;
        checksums.extend_from_slice(&of_keys);
        let name = self.name("checksums");
        let checksums_file = FileRecord {
            path: name.clone(),
            rows: 0,
            bytes: checksums.len() as u64,
            sha256: hex(&Sha256::digest(&checksums)),
            ..FileRecord::default()
        };
        self.place.put(&name, checksums)?;
        let run = rows_file.sha256.chars().take(RUN_NAME_CHARS).collect();
        let record = SegmentRecord {
            path: self.folder.clone(),
            rows: self.n_rows,
            rows_file,
            keys_file,
            checksums_file,
            runs: Vec::new(),
            expired: None,
        };
        Ok(Some(StagedSegment { addition: self, record, run }))
    }

    fn write_keys(&mut self, context: &Context) -> Result<(FileRecord, Vec<u8>)> {
        let name = self.name("keys.parquet");
        let properties = properties()
            .set_compression(Compression::UNCOMPRESSED)
            .set_column_encoding(ColumnPath::from("key"), Encoding::DELTA_BINARY_PACKED)
            .set_column_statistics_enabled(ColumnPath::from("key"), EnabledStatistics::Chunk)
            .set_column_statistics_enabled(ColumnPath::from("row"), EnabledStatistics::None)
            .build();
        let unwritable = |error| self.place.unwritable(&name, error);
        let file = BlockWriter::create(&self.place, &name)?;
        let mut writer = ArrowWriter::try_new(file, keys_schema(), Some(properties)).map_err(unwritable)?;
        let sorter = std::mem::replace(&mut self.keys, ExternalSorter::new(STAGE, &context.budget));
        let n_keys = sorter.len();
        let mut sorted = sorter.finish(context)?.peekable();
        while sorted.peek().is_some() {
            context.cancel.check()?;
            let (mut keys, mut rows) = (Vec::with_capacity(GROUP_KEYS), Vec::with_capacity(GROUP_KEYS));
            for entry in sorted.by_ref().take(GROUP_KEYS) {
                let (key, row) = entry?;
                keys.push(key);
                rows.push(row);
            }
            let columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(keys)), Arc::new(UInt32Array::from(rows))];
            let group = RecordBatch::try_new(keys_schema(), columns)?;
            writer.write(&group).and_then(|()| writer.flush()).map_err(unwritable)?;
        }
        self.close(&name, n_keys, writer)
    }

    fn close(&self, name: &str, rows: u64, writer: ArrowWriter<BlockWriter>) -> Result<(FileRecord, Vec<u8>)> {
        let file = writer.into_inner().map_err(|error| self.place.unwritable(name, error))?;
        let (bytes, sha256, checksums) = file.finish().map_err(|error| self.place.unwritable(name, error))?;
        Ok((FileRecord { path: name.to_owned(), rows, bytes, sha256, ..FileRecord::default() }, checksums))
    }

    fn name(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    fn remove(&self) {
        let names = ["rows.parquet", "keys.parquet", "checksums"].map(|file| self.name(file));
        let _ = self.place.delete(names.iter().map(String::as_str));
    }
}

impl Drop for Addition {
    fn drop(&mut self) {
        if self.n_rows > 0 && !self.is_kept {
            self.remove();
        }
    }
}

fn properties() -> WriterPropertiesBuilder {
    let zstd = ZstdLevel::try_new(3).map_or(Compression::UNCOMPRESSED, Compression::ZSTD);
    WriterProperties::builder()
        .set_compression(zstd)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(None)
        .set_created_by(concat!("tamis ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_offset_index_disabled(true)
}

/// Removes all but `segments` of those whose folders have names that begin with `prefix`.
///
/// # Errors
/// `Error::Config` if a file of these segments is not there.
pub(crate) fn remove_other_segments(place: &Place, prefix: &str, segments: &[&SegmentRecord]) -> Result<()> {
    let begin = format!("{SEGMENTS}/{prefix}");
    let there: BTreeMap<String, u64> =
        place.list(SEGMENTS)?.into_iter().map(|(name, meta)| (name, meta.size)).collect();
    let files = segments.iter().flat_map(|segment| [&segment.rows_file, &segment.keys_file, &segment.checksums_file]);
    if let Some(file) = files.clone().find(|file| there.get(&file.path) != Some(&file.bytes)) {
        return Err(Error::Config {
            message: format!(
                "`{}`, which this run has added to the index, is not there any more",
                place.display(&file.path)
            ),
            hint: Some(
                "run it again; compact the index when no run is adding to it, or let it keep orphans for longer".into(),
            ),
        });
    }
    let named: BTreeSet<&str> = files.map(|file| file.path.as_str()).collect();
    place.delete(there.keys().map(String::as_str).filter(|name| name.starts_with(&begin) && !named.contains(name)))
}

/// A segment that is written, and that no manifest names yet. Dropped before [`keep`](Self::keep), it is removed.
#[derive(Debug)]
pub struct StagedSegment {
    addition: Addition,
    record: SegmentRecord,
    run: String,
}

impl StagedSegment {
    /// Name of the run that added it: a hash of its rows.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Rows.
    pub fn n_rows(&self) -> u64 {
        self.record.rows
    }

    /// The record of a segment that one run added at `now`.
    pub fn record(&self, now: u64) -> SegmentRecord {
        let run = RunRecord { run: self.run.clone(), added_at: now, first_row: 0, rows: self.record.rows };
        SegmentRecord { runs: vec![run], ..self.record.clone() }
    }

    /// Leaves the files where they are: a manifest names them now.
    pub fn keep(mut self) {
        self.addition.is_kept = true;
    }
}
