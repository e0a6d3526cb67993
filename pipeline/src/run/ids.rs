//! Ids must be unique: evidence, labels and batches name rows by them.

use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::UInt64Type;
use tamis_schemas::columns;
use xxhash_rust::xxh3::xxh3_128;

use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Error, Result};

/// A 128-bit hash of an id, and the row that has it.
pub(super) type IdKey = (u128, u64);

/// Hashes of the ids of a batch.
pub(super) fn id_keys(batch: &RecordBatch) -> Result<Vec<IdKey>> {
    let (rows, ids) = (rows_of(batch)?, ids_of(batch)?);
    Ok(rows
        .values()
        .iter()
        .zip(ids.iter())
        .map(|(&row, id)| (xxh3_128(id.unwrap_or_default().as_bytes()), row))
        .collect())
}

/// The first two rows that share an id, in the order of the second.
pub(super) fn first_repeated(keys: ExternalSorter<IdKey>, context: &Context) -> Result<Option<(u64, u64)>> {
    let mut first: Option<(u64, u64)> = None;
    let mut last: Option<IdKey> = None;
    for key in keys.finish(context)? {
        let key = key?;
        if let Some((hash, row)) = last
            && hash == key.0
            && first.is_none_or(|(_, second)| key.1 < second)
        {
            first = Some((row, key.1));
        }
        last = Some(key);
    }
    Ok(first)
}

/// The `tamis_row` column.
pub(crate) fn rows_of(batch: &RecordBatch) -> Result<&UInt64Array> {
    column(batch, columns::ROW)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| wrong_type(columns::ROW))
}

/// The `tamis_id` column.
pub(crate) fn ids_of(batch: &RecordBatch) -> Result<&StringArray> {
    column(batch, columns::ID)?.as_string_opt::<i32>().ok_or_else(|| wrong_type(columns::ID))
}

/// A column that an earlier step must have made.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    batch
        .column_by_name(name)
        .map(AsRef::as_ref)
        .ok_or_else(|| Error::Invariant(format!("no column `{name}` between two stages")))
}

fn wrong_type(name: &str) -> Error {
    Error::Invariant(format!("column `{name}` has the wrong type between two stages"))
}
