//! One file of the cache.
//!
//! ```text
//! row group | row group | ... | footer: keys of all rows, hashes of the row groups       named by the hash of the footer
//! ```
//!
//! So one request says what is in a file, one more brings some rows, and no damaged byte is taken for an embedding.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, Float16Array,
    Float32Array, RecordBatch,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Schema, SchemaRef};
use bytes::{Buf, Bytes};
use half::f16;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use tamis_schemas::config::EmbeddingType;
use xxhash_rust::xxh3::xxh3_128;

use crate::place::Place;
use crate::{Error, Result};

/// Rows that are read together: a text that is found costs so many rows at most, and texts in the order of the earlier run
/// cost one each.
const GROUP_ROWS: usize = 1024;

const KEY: &str = "key";
const EMBEDDING: &str = "embedding";
const TRUNCATED: &str = "truncated";

/// Keys in the footer: the keys of all rows, and the end and hash of each row group, in hexadecimal digits.
const KEYS: &str = "tamis.keys";
const GROUPS: &str = "tamis.groups";
/// Bytes that are fetched to find the footer in them.
const TAIL_BYTES: u64 = 1 << 20;
/// Bytes after the footer: its length, and the format's mark.
const END_BYTES: usize = 8;

/// An embedding and what else an encoder says of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) vector: Vec<f32>,
    pub(crate) is_truncated: bool,
}

fn schema(item: EmbeddingType, dimensions: usize) -> SchemaRef {
    let item = match item {
        EmbeddingType::F16 => DataType::Float16,
        EmbeddingType::F32 => DataType::Float32,
    };
    let list = DataType::FixedSizeList(Arc::new(Field::new_list_field(item, false)), dimensions as i32);
    Arc::new(Schema::new(vec![
        Field::new(KEY, DataType::FixedSizeBinary(16), false),
        Field::new(EMBEDDING, list, false),
        Field::new(TRUNCATED, DataType::Boolean, false),
    ]))
}

/// The file of `rows`, and its name.
pub(super) fn write(rows: &[(u128, Stored)], item: EmbeddingType, dimensions: usize) -> Result<(String, Vec<u8>)> {
    let schema = schema(item, dimensions);
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(Compression::UNCOMPRESSED)
        .set_max_row_group_row_count(None)
        .build();
    let written = || -> Result<Vec<u8>, ParquetError> {
        let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
        let (mut keys, mut groups, mut start) = (String::new(), String::new(), 0);
        for group in rows.chunks(GROUP_ROWS) {
            writer.write(&batch(group, &schema, item)?)?;
            writer.flush()?;
            writer.sync()?;
            let bytes = &writer.inner()[start..];
            start += bytes.len();
            let _ = write!(groups, "{start:016x}{:032x}", xxh3_128(bytes));
            for (key, _) in group {
                let _ = write!(keys, "{key:032x}");
            }
        }
        writer.append_key_value_metadata(KeyValue::new(KEYS.into(), keys));
        writer.append_key_value_metadata(KeyValue::new(GROUPS.into(), groups));
        writer.into_inner()
    };
    let bytes = written()
        .map_err(|error| Error::Invariant(format!("a file of the embedding cache cannot be made: {error}")))?;
    let footer = footer(&bytes).ok_or_else(|| Error::Invariant("a Parquet file has a footer".into()))?;
    Ok((format!("{:032x}.parquet", xxh3_128(footer)), bytes))
}

fn batch(rows: &[(u128, Stored)], schema: &SchemaRef, item: EmbeddingType) -> Result<RecordBatch, ParquetError> {
    let values = rows.iter().flat_map(|(_, stored)| stored.vector.iter().copied());
    let values: ArrayRef = match item {
        EmbeddingType::F16 => Arc::new(Float16Array::from_iter_values(values.map(f16::from_f32))),
        EmbeddingType::F32 => Arc::new(Float32Array::from_iter_values(values)),
    };
    let list = ArrayData::builder(schema.field(1).data_type().clone())
        .len(rows.len())
        .add_child_data(values.to_data())
        .build()?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_from_iter(rows.iter().map(|(key, _)| key.to_be_bytes()))?),
        Arc::new(FixedSizeListArray::from(list)),
        Arc::new(rows.iter().map(|(_, stored)| Some(stored.is_truncated)).collect::<BooleanArray>()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The footer of a file of which `tail` is the end; `None` if it is not a file's, or begins before that.
fn footer(tail: &[u8]) -> Option<&[u8]> {
    let end = tail.len().checked_sub(END_BYTES)?;
    let length = u32::from_le_bytes(*tail[end..].first_chunk()?) as usize;
    tail.get(end.checked_sub(length)?..end)
}

/// A file that is read row group by row group.
#[derive(Debug)]
pub(super) struct Segment {
    place: Place,
    name: String,
    metadata: ArrowReaderMetadata,
    item: EmbeddingType,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    first_row: u32,
    bytes: Range<u64>,
    hash: u128,
}

impl Segment {
    /// Opens the file and reads the keys of its rows.
    pub(super) fn open(
        place: &Place,
        name: &str,
        n_bytes: u64,
        item: EmbeddingType,
        dimensions: usize,
    ) -> Result<(Self, Vec<u128>), ParquetError> {
        let mut tail = fetch(place, name, n_bytes.saturating_sub(TAIL_BYTES)..n_bytes)?;
        let length = tail
            .len()
            .checked_sub(END_BYTES)
            .and_then(|at| tail[at..].first_chunk())
            .map(|bytes| u32::from_le_bytes(*bytes));
        let needed = u64::from(length.unwrap_or_default()) + END_BYTES as u64;
        if tail.len() < needed as usize && needed <= n_bytes {
            tail = fetch(place, name, n_bytes - needed..n_bytes)?;
        }
        let hash = footer(&tail).map(|footer| format!("{:032x}.parquet", xxh3_128(footer)));
        if hash.as_deref() != Some(name) {
            return Err(damaged("its footer is not what was written"));
        }
        let window = Window { start: n_bytes - tail.len() as u64, n_bytes, held: tail };
        let metadata = ArrowReaderMetadata::load(&window, ArrowReaderOptions::new())?;
        let (keys, groups) = Self::described(&metadata).ok_or_else(|| damaged("it is no file of this cache"))?;
        if metadata.schema().fields() != schema(item, dimensions).fields() {
            return Err(damaged("it has other columns"));
        }
        Ok((Self { place: place.clone(), name: name.to_owned(), metadata, item, groups }, keys))
    }

    /// What the footer says of keys and row groups.
    fn described(metadata: &ArrowReaderMetadata) -> Option<(Vec<u128>, Vec<Group>)> {
        let entries = metadata.metadata().file_metadata().key_value_metadata()?;
        let value = |key: &str| entries.iter().find(|entry| entry.key == key)?.value.as_deref();
        let keys = value(KEYS)?.as_bytes().as_chunks::<32>().0.iter().map(|digits| hexadecimal(digits));
        let keys = keys.collect::<Option<Vec<u128>>>()?;
        let (mut first_row, mut start) = (0, 0);
        let of_groups = value(GROUPS)?.as_bytes().as_chunks::<48>().0.iter().zip(metadata.metadata().row_groups());
        let groups = of_groups.map(|(digits, of_group)| {
            let bytes = start..hexadecimal(&digits[..16])? as u64;
            let group = Group { first_row, bytes, hash: hexadecimal(&digits[16..])? };
            start = group.bytes.end;
            first_row += of_group.num_rows() as u32;
            Some(group)
        });
        let groups = groups.collect::<Option<Vec<Group>>>()?;
        (groups.len() == metadata.metadata().num_row_groups() && keys.len() == first_row as usize)
            .then_some((keys, groups))
    }

    pub(super) fn location(&self) -> String {
        self.place.display(&self.name)
    }

    /// The row group of a row.
    pub(super) fn group_of(&self, row: u32) -> usize {
        self.groups.partition_point(|group| group.first_row <= row) - 1
    }

    /// Of a row group, the rows that are `wanted`: each with a number of the caller's, which comes back with what is stored.
    pub(super) fn read(&self, group: usize, wanted: &[(usize, u32)]) -> Result<Vec<(usize, Stored)>, ParquetError> {
        let batch = self.read_group(group)?;
        let vectors = batch.column(1).as_fixed_size_list();
        let truncated = batch.column(2).as_boolean();
        let found = wanted.iter().map(|&(number, row)| {
            let row = (row - self.groups[group].first_row) as usize;
            let values = vectors.value(row);
            let vector = match self.item {
                EmbeddingType::F16 => {
                    values.as_primitive::<Float16Type>().values().iter().map(|value| value.to_f32()).collect()
                }
                EmbeddingType::F32 => values.as_primitive::<Float32Type>().values().to_vec(),
            };
            (number, Stored { vector, is_truncated: truncated.value(row) })
        });
        Ok(found.collect())
    }

    /// A whole row group, in one request.
    fn read_group(&self, group: usize) -> Result<RecordBatch, ParquetError> {
        let Group { bytes, hash, .. } = &self.groups[group];
        let held = fetch(&self.place, &self.name, bytes.clone())?;
        if xxh3_128(&held) != *hash {
            return Err(damaged("its rows are not what was written"));
        }
        let window = Window { start: bytes.start, n_bytes: bytes.end, held };
        let n_rows = self.metadata.metadata().row_group(group).num_rows() as usize;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(window, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size(n_rows.max(1))
            .build()?;
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        Ok(concat_batches(self.metadata.schema(), &batches)?)
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u128> {
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn damaged(what: &str) -> ParquetError {
    ParquetError::General(what.into())
}

fn fetch(place: &Place, name: &str, range: Range<u64>) -> Result<Bytes, ParquetError> {
    let got = place.runtime.block_on(place.store.get_range(&place.path(name), range));
    got.map_err(|error| ParquetError::External(Box::new(error)))
}

/// The part of a file from `start` on.
#[derive(Debug)]
struct Window {
    start: u64,
    n_bytes: u64,
    held: Bytes,
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.n_bytes
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.get_bytes(start, self.n_bytes.saturating_sub(start) as usize)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let at = start.checked_sub(self.start).map(|at| at as usize);
        let range = at.map(|at| at..at.saturating_add(length)).filter(|range| range.end <= self.held.len());
        range.map(|range| self.held.slice(range)).ok_or_else(|| damaged("it points outside of itself"))
    }
}
