//! Rows of formats that are tables already: Parquet and Arrow IPC.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use super::ipc::IpcBlock;
use super::plan::{Output, Plan, missing_column};
use super::schema::check_special_type;
use super::special::Special;
use super::unify::adapt;
use crate::Result;

/// Rows of a block, before they are made into what the plan asks for.
pub(super) enum Body {
    /// Rows of which no column is needed.
    Rows(Range<u64>),
    /// Columns of some rows, given by their ordinals in the file.
    Batch { batch: RecordBatch, rows: Vec<u64> },
    /// Columns of consecutive rows.
    Consecutive { batch: RecordBatch, first_row: u64 },
    /// Arrow IPC that is not decoded yet.
    Ipc(IpcBlock),
}

/// Indices of the columns that a plan needs of a file with this schema.
pub(super) fn needed_columns(plan: &Plan, schema: &SchemaRef) -> Vec<usize> {
    let is_needed =
        |name: &String| plan.columns.iter().any(|column| column.name() == name) || plan.special.columns.contains(name);
    (0..schema.fields().len()).filter(|&index| is_needed(schema.field(index).name())).collect()
}

/// Checks that a file has the columns of text and id, with types that they can be made from.
pub(super) fn check_special_columns(special: &Special, schema: &SchemaRef, file: &str) -> Result<()> {
    for (index, name) in special.columns.iter().enumerate() {
        match schema.fields().find(name) {
            Some((_, field)) => check_special_type(special, index, field.data_type(), file)?,
            None if special.is_required[index] => {
                return Err(missing_column(name, file, schema.fields().iter().map(|field| field.name().as_str())));
            }
            None => {}
        }
    }
    Ok(())
}

/// Decodes rows of which no column is needed.
pub(super) fn decode_rows(output: &mut Output<'_>, rows: Range<u64>) -> Result<()> {
    let base_row = output.file.base_row;
    let rows: Vec<u64> = rows.filter(|row| output.plan.wants(base_row + row)).collect();
    for rows in rows.chunks(output.plan.batch_rows) {
        let batch = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        decode_part(output, &batch, rows)?;
    }
    Ok(())
}

/// Decodes columns of rows that are asked for.
pub(super) fn decode_batch(output: &mut Output<'_>, batch: &RecordBatch, rows: &[u64]) -> Result<()> {
    let batch_rows = output.plan.batch_rows;
    for (index, part) in rows.chunks(batch_rows).enumerate() {
        decode_part(output, &batch.slice(index * batch_rows, part.len()), part)?;
    }
    Ok(())
}

/// Decodes columns of consecutive rows from `first_row` on, of which some are asked for.
pub(super) fn decode_all(output: &mut Output<'_>, batch: &RecordBatch, first_row: u64) -> Result<()> {
    let (plan, base_row) = (output.plan, output.file.base_row);
    let all = first_row..first_row + batch.num_rows() as u64;
    let rows: Vec<u64> = all.clone().filter(|row| plan.wants(base_row + row)).collect();
    if rows.len() == batch.num_rows() {
        return decode_batch(output, batch, &rows);
    }
    let wanted: BooleanArray = all.map(|row| Some(plan.wants(base_row + row))).collect();
    decode_batch(output, &filter_record_batch(batch, &wanted)?, &rows)
}

/// At most `batch_rows` rows; `batch` is without rows where it has no columns.
fn decode_part(output: &mut Output<'_>, batch: &RecordBatch, rows: &[u64]) -> Result<()> {
    let (plan, base_row) = (output.plan, output.file.base_row);
    let was_rejected = |row: &u64| plan.was_rejected(base_row + row);
    if !rows.iter().any(was_rejected) {
        return decode_accepted(output, batch, rows);
    }
    // The survey found them without text; here, text may not be asked for.
    for (index, &row) in rows.iter().enumerate().filter(|(_, row)| was_rejected(row)) {
        reject(output, batch, index, row);
    }
    let accepted: BooleanArray = rows.iter().map(|row| Some(!was_rejected(row))).collect();
    let batch = if batch.num_columns() == 0 { batch.clone() } else { filter_record_batch(batch, &accepted)? };
    let rows: Vec<u64> = rows.iter().copied().filter(|row| !was_rejected(row)).collect();
    decode_accepted(output, &batch, &rows)
}

fn decode_accepted(output: &mut Output<'_>, batch: &RecordBatch, rows: &[u64]) -> Result<()> {
    let plan = output.plan;
    let input = plan.columns.iter().map(|column| match batch.column_by_name(column.name()) {
        Some(array) => adapt(array, column.data_type()),
        None => Ok(new_null_array(column.data_type(), rows.len())),
    });
    let input = input.collect::<Result<Vec<_>>>()?;
    let special: Vec<Option<ArrayRef>> =
        plan.special.columns.iter().map(|name| batch.column_by_name(name).cloned()).collect();
    output.push_with_text(input, rows, &special, |output, index| reject(output, batch, index, rows[index]))
}

fn reject(output: &mut Output<'_>, batch: &RecordBatch, index: usize, row: u64) {
    let special = output.plan.survey_special();
    let raw = row_as_json(batch, index, &special.columns);
    output.reject(row, None, special.no_text_reason(), &raw);
}

/// What text and id are made of in a row, as JSON, whatever else was read of it; empty if a type has no JSON.
fn row_as_json(batch: &RecordBatch, index: usize, names: &[String]) -> Vec<u8> {
    let fields = batch.schema_ref().fields().iter().enumerate();
    let named: Vec<usize> = fields.filter(|(_, field)| names.contains(field.name())).map(|(index, _)| index).collect();
    // A batch of no columns has no rows.
    if named.is_empty() {
        return Vec::new();
    }
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    let row = batch.project(&named).map(|named| named.slice(index, 1));
    match row.and_then(|row| writer.write(&row)).and_then(|()| writer.finish()) {
        Ok(()) => writer.into_inner().trim_ascii_end().to_vec(),
        Err(_) => Vec::new(),
    }
}
