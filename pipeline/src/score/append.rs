//! Columns by name: those a stage needs, and those it appends.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};

use crate::{Error, Result};

/// `schema` with `fields` after its own; a field of the same name gives way.
pub(crate) fn append_fields(schema: &SchemaRef, fields: &[FieldRef]) -> SchemaRef {
    let kept = schema.fields().iter().filter(|field| !is_named(fields, field.name()));
    let fields: Vec<FieldRef> = kept.chain(fields).cloned().collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// `batch` with `arrays` after its own columns; a column of the same name gives way.
pub(crate) fn append_columns(batch: &RecordBatch, fields: &[FieldRef], arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
    let schema = append_fields(batch.schema_ref(), fields);
    let own = batch.schema_ref().fields().iter().zip(batch.columns());
    let kept = own.filter(|(field, _)| !is_named(fields, field.name())).map(|(_, array)| array.clone());
    let arrays = kept.chain(arrays).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

fn is_named(fields: &[FieldRef], name: &str) -> bool {
    fields.iter().any(|field| field.name() == name)
}

/// The column `name`, which must be there and of `data_type`.
pub(crate) fn required_column<'a>(batch: &'a RecordBatch, name: &str, data_type: &DataType) -> Result<&'a ArrayRef> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| Error::Column { message: format!("there is no column `{name}`"), hint: None })?;
    if array.data_type() != data_type {
        let message = format!("column `{name}` has type {}, expected {data_type}", array.data_type());
        return Err(Error::Column { message, hint: None });
    }
    Ok(array)
}
