//! The table of rows that could not be read.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use tamis_schemas::tables::rejected_schema;

use crate::Result;
use crate::source::{Inputs, Reject};

/// Rejects as rows of the table `rejected`.
pub(super) fn to_batch(rejects: &[Reject], inputs: &Inputs) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rejects.iter().map(|reject| inputs.files()[reject.file].name.as_str()))),
        Arc::new(rejects.iter().map(|reject| reject.row.cast_signed()).collect::<Int64Array>()),
        Arc::new(rejects.iter().map(|reject| reject.byte_offset.map(u64::cast_signed)).collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(rejects.iter().map(|reject| reject.reason.as_str()))),
        Arc::new(BinaryArray::from_iter_values(rejects.iter().map(|reject| reject.raw.as_slice()))),
    ];
    Ok(RecordBatch::try_new(rejected_schema(), columns)?)
}
