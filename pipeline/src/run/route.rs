//! Where the columns of a row go: into `kept` or `dropped`, with what tamis adds.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns;

use super::ids::column;
use crate::{Error, Result};

/// A table that carries the input's columns and some of tamis's.
///
/// An input column that has the name of one of these is replaced: `kept` of an earlier run, read again, has the same
/// columns as before.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    schema: SchemaRef,
    n_input: usize,
}

impl Carried {
    /// `input` with `added` after it.
    pub(super) fn new(input: &Schema, added: &[Field]) -> Self {
        let mut fields: Vec<Arc<Field>> = input
            .fields()
            .iter()
            .filter(|field| added.iter().all(|added| added.name() != field.name()))
            .cloned()
            .collect();
        let n_input = fields.len();
        fields.extend(added.iter().cloned().map(Arc::new));
        Self { schema: Arc::new(Schema::new_with_metadata(fields, input.metadata().clone())), n_input }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The table's columns of `batch`. Where two columns share a name, the first one is the input's, the last one tamis's.
    pub(super) fn project(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = batch.schema_ref();
        let columns = self
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(number, field)| {
                let mut fields = schema.fields().iter();
                let is_it = |candidate: &Arc<Field>| candidate.name() == field.name();
                let index = if number < self.n_input { fields.position(is_it) } else { fields.rposition(is_it) };
                index.map(|index| Arc::clone(batch.column(index))).ok_or_else(|| {
                    Error::Invariant(format!("no column `{}` for the table that must hold it", field.name()))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// The id that every carried row gets.
pub(super) fn id_field() -> Field {
    Field::new(columns::ID, DataType::Utf8, false)
}

/// Why a row was dropped or chosen.
pub(super) fn reason_field() -> Field {
    Field::new(columns::REASON, DataType::Utf8, false)
}

/// The input file of a dropped row.
pub(super) fn source_field() -> Field {
    Field::new(columns::SOURCE, DataType::Utf8, false)
}

/// Appends the name of the input file that the rows are from.
pub(super) fn with_source(batch: &RecordBatch, name: &str) -> Result<RecordBatch> {
    append(batch, source_field(), Arc::new(StringArray::from_iter_values(vec![name; batch.num_rows()])))
}

/// Appends a column.
pub(super) fn append(batch: &RecordBatch, field: Field, values: ArrayRef) -> Result<RecordBatch> {
    let mut fields = batch.schema_ref().fields().to_vec();
    fields.push(Arc::new(field));
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    let columns = batch.columns().iter().cloned().chain([values]).collect();
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// Splits a batch by whether `column_name` is null: (null, not null).
pub(super) fn split_by_null(batch: &RecordBatch, column_name: &str) -> Result<(RecordBatch, RecordBatch)> {
    let marks = column(batch, column_name)?;
    match marks.null_count() {
        n if n == marks.len() => Ok((batch.clone(), batch.slice(0, 0))),
        0 => Ok((batch.slice(0, 0), batch.clone())),
        _ => {
            let nulls: BooleanArray = (0..marks.len()).map(|row| Some(marks.is_null(row))).collect();
            let others: BooleanArray = (0..marks.len()).map(|row| Some(marks.is_valid(row))).collect();
            Ok((filter_record_batch(batch, &nulls)?, filter_record_batch(batch, &others)?))
        }
    }
}
