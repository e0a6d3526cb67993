//! Names of the columns between the fingerprint and the search for near-duplicates, and typed access to them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, RecordBatch};
use arrow::buffer::Buffer;

use crate::{Error, Result};

/// Hash of the whole normalized text. `FixedSizeBinary(16)`.
pub const EXACT_KEY: &str = "tamis_exact_key";
/// Shingles of the text, repeats counted; 0: no token. `UInt32`.
pub const N_SHINGLES: &str = "tamis_n_shingles";
/// Characters of the text. `UInt64`.
pub const LENGTH: &str = "tamis_length";
/// Sketch of the shingles. `FixedSizeList<UInt32, 256>`.
pub const SKETCH: &str = "tamis_sketch";
/// What is kept of a sketch to look at pairs, where it comes from another process. `FixedSizeList<UInt32>`.
pub(super) const GLANCE: &str = "tamis_glance";
/// Keys of the sketch's bands; none without a token. `List<UInt64>`.
pub const BAND_KEYS: &str = "tamis_band_keys";
/// Group of the row: only rows of one group are compared. `FixedSizeBinary(16)`.
pub const GROUP: &str = "tamis_group";
/// Source of the row: only rows of different sources are compared. `FixedSizeBinary(16)`.
pub const SOURCE: &str = "tamis_source_key";
/// Shingles of the text, each counted once. `UInt64`.
pub const SET_SIZE: &str = "tamis_set_size";
/// The least shingles of the text, sorted, each once. `List<UInt64>`.
pub const SAMPLE: &str = "tamis_sample";
/// The shingles of the text in its order, repeats included. `List<UInt64>`.
pub(super) const ALL_SHINGLES: &str = "tamis_all_shingles";
/// Place in the keep order, where it depends on columns and the row comes from another process: sorts like their values. `Binary`.
pub(super) const ORDER: &str = "tamis_keep_order";
/// The set of shingles, sorted. `List<UInt64>`.
pub const SHINGLES: &str = "tamis_shingles";

/// The column `name`, whatever its type; the last one, if an input column is called like one of ours.
pub(super) fn column_by_name<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let index = batch.schema_ref().fields().iter().rposition(|field| field.name() == name);
    index
        .map(|index| batch.column(index))
        .ok_or_else(|| Error::Invariant(format!("column `{name}` is missing between two stages")))
}

/// The column `name` as an array of type `A`.
pub(super) fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
    let array = column_by_name(batch, name)?;
    array
        .as_any()
        .downcast_ref()
        .ok_or_else(|| Error::Invariant(format!("column `{name}` has type {} between two stages", array.data_type())))
}

/// What is wrong with the column `name`.
pub(super) fn malformed(name: &str) -> Error {
    Error::Invariant(format!("column `{name}` is malformed between two stages"))
}

/// A column of 128-bit keys.
pub(super) fn key_column(keys: impl IntoIterator<Item = u128>) -> Result<ArrayRef> {
    let bytes: Vec<u8> = keys.into_iter().flat_map(u128::to_be_bytes).collect();
    Ok(Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None)?))
}

/// The keys of a column of 128-bit keys.
pub(super) fn keys_of<'a>(batch: &'a RecordBatch, name: &str) -> Result<impl Iterator<Item = u128> + 'a> {
    let keys: &FixedSizeBinaryArray = column(batch, name)?;
    let (keys, rest) = keys.value_data().as_chunks::<16>();
    if keys.len() != batch.num_rows() || !rest.is_empty() {
        return Err(malformed(name));
    }
    Ok(keys.iter().map(|&key| u128::from_be_bytes(key)))
}
