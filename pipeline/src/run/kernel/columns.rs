//! Columns of streams, by name, in whatever width the other side has them.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use std::sync::Arc;

use crate::{Error, Result};

/// A column as `data_type`, which Spark and pyarrow may have larger or smaller.
fn typed(batch: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    let column = batch.column_by_name(name).ok_or_else(|| Error::Config {
        message: format!("the stream has no column `{name}`"),
        hint: Some("docs/kernel-protocol.md says which columns a kernel reads".into()),
    })?;
    Ok(cast(column, data_type)?)
}

pub(super) fn int64s(batch: &RecordBatch, name: &str) -> Result<Int64Array> {
    Ok(typed(batch, name, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

pub(super) fn doubles(batch: &RecordBatch, name: &str) -> Result<Float64Array> {
    Ok(typed(batch, name, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

pub(super) fn strings(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    Ok(typed(batch, name, &DataType::Utf8)?.as_string().clone())
}

pub(super) fn binaries(batch: &RecordBatch, name: &str) -> Result<BinaryArray> {
    Ok(typed(batch, name, &DataType::Binary)?.as_binary().clone())
}

pub(super) fn int64_lists(batch: &RecordBatch, name: &str) -> Result<ListArray> {
    Ok(typed(batch, name, &int64_list())?.as_list().clone())
}

/// The type of a column of lists.
pub(super) fn int64_list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

/// The numbers of one list.
pub(super) fn numbers_of(lists: &ListArray, row: usize) -> Vec<u64> {
    lists.value(row).as_primitive::<Int64Type>().values().iter().map(|number| number.cast_unsigned()).collect()
}

/// A number without a sign, which is there.
pub(super) fn number(numbers: &Int64Array, row: usize, name: &str) -> Result<u64> {
    if numbers.is_null(row) {
        return Err(Error::Invariant(format!("row {row} of a stream has no `{name}`")));
    }
    Ok(numbers.value(row).cast_unsigned())
}
