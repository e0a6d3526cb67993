//! Names of the columns between the fingerprint and the search for near-duplicates, and typed access to them.

use arrow::array::{Array, ArrayRef, RecordBatch};

use crate::{Error, Result};

/// Hash of the whole normalized text. `FixedSizeBinary(16)`.
pub const EXACT_KEY: &str = "tamis_exact_key";
/// Shingles of the text, repeats counted; 0: no token. `UInt32`.
pub const N_SHINGLES: &str = "tamis_n_shingles";
/// Characters of the text. `UInt64`.
pub const LENGTH: &str = "tamis_length";
/// Sketch of the shingles. `FixedSizeList<UInt32, 256>`.
pub const SKETCH: &str = "tamis_sketch";
/// Keys of the sketch's bands; none without a token. `List<UInt64>`.
pub const BAND_KEYS: &str = "tamis_band_keys";
/// Shingles of the text, each counted once. `UInt64`.
pub const SET_SIZE: &str = "tamis_set_size";
/// The least shingles of the text, sorted, each once. `List<UInt64>`.
pub const SAMPLE: &str = "tamis_sample";
/// The set of shingles, sorted. `List<UInt64>`.
pub const SHINGLES: &str = "tamis_shingles";

/// The column `name`, whatever its type.
pub(super) fn column_by_name<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::Invariant(format!("column `{name}` is missing between two stages")))
}

/// The column `name` as an array of type `A`.
pub(super) fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
    let array = column_by_name(batch, name)?;
    array
        .as_any()
        .downcast_ref()
        .ok_or_else(|| Error::Invariant(format!("column `{name}` has type {} between two stages", array.data_type())))
}
