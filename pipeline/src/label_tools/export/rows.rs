//! The batch itself with a column to fill in: CSV, JSON Lines, Parquet.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value};

use super::chunks::{self, Framing};
use super::{ExportFile, ExportSettings};
use crate::label_tools::{LABEL_KEY, LabelTool, ROUND_KEY};
use crate::{Error, Result};

pub(super) fn files(batch: &RecordBatch, settings: &ExportSettings) -> Result<Vec<ExportFile>> {
    let batch = with_label(batch, settings)?;
    let objects = objects(&batch)?;
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let lines: Vec<String> = objects.iter().map(|object| line(&names, object)).collect();
    if settings.tool == LabelTool::Jsonl {
        return Ok(chunks::files(&lines, Framing::Lines, settings));
    }
    let ranges = chunks::cut(lines.iter().map(String::len), settings.max_tasks_per_file);
    ranges
        .into_iter()
        .enumerate()
        .map(|(place, range)| {
            let bytes = match settings.tool {
                LabelTool::Parquet => parquet(&batch.slice(range.start, range.len()))?,
                _ => csv(&names, &objects[range])?,
            };
            Ok(ExportFile { name: settings.file_name(place, settings.tool.name()), bytes })
        })
        .collect()
}

/// Rows as JSON objects; what is null is not there.
pub(super) fn objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let lines = writer.into_inner();
    let objects = serde_json::Deserializer::from_slice(&lines).into_iter().collect::<Result<_, _>>();
    objects.map_err(|error| Error::Invariant(format!("rows written as JSON are none: {error}")))
}

/// The batch with its round and an empty column for the label; one of that name is that of the input.
fn with_label(batch: &RecordBatch, settings: &ExportSettings) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let is_taken = field.name() == LABEL_KEY && settings.text_column != LABEL_KEY;
        let field = if is_taken { Arc::new(field.as_ref().clone().with_name("input_label")) } else { field.clone() };
        fields.push(field);
        columns.push(column.clone());
    }
    fields.push(Arc::new(Field::new(ROUND_KEY, DataType::Int32, false)));
    columns.push(Arc::new(Int32Array::from(vec![settings.round as i32; batch.num_rows()])));
    fields.push(Arc::new(Field::new(LABEL_KEY, DataType::Utf8, true)));
    columns.push(new_null_array(&DataType::Utf8, batch.num_rows()));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// With a null for what is not there, so that the key to fill in is seen.
fn line(names: &[String], object: &Map<String, Value>) -> String {
    let value = |name: &String| (name.clone(), object.get(name).cloned().unwrap_or(Value::Null));
    Value::Object(names.iter().map(value).collect()).to_string()
}

/// Values that are no text are written as JSON.
fn csv(names: &[String], objects: &[Map<String, Value>]) -> Result<Vec<u8>> {
    let cell = |value: Option<&Value>| match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let broken = |error: csv::Error| Error::Invariant(format!("rows could not be written as CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(names).map_err(broken)?;
    for object in objects {
        writer.write_record(names.iter().map(|name| cell(object.get(name)))).map_err(broken)?;
    }
    writer.into_inner().map_err(|error| broken(error.into_error().into()))
}

fn parquet(batch: &RecordBatch) -> Result<Vec<u8>> {
    let refused = |source: parquet::errors::ParquetError| Error::Unwritable {
        location: "a Parquet file for labels".into(),
        source: source.into(),
    };
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).map_err(refused)?;
    writer.write(batch).map_err(refused)?;
    writer.into_inner().map_err(refused)
}
