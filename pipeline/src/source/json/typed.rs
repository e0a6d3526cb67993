//! Lines as typed columns, by arrow-json.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;

use super::line::LineReader;
use super::rewrite::rewrite_line;
use super::value::{for_each_element, for_each_entry};
use crate::source::plan::{Mode, Output, Plan};
use crate::source::records::RecordBlock;
use crate::source::schema::InputSchema;
use crate::source::unify::adapt;
use crate::{Error, Result};

/// Decodes a block into the columns that the plan asks for.
///
/// The survey has rejected every row that is not valid, so that any error here means that the file changed.
pub(in crate::source) fn decode_typed(
    output: &mut Output<'_>,
    block: &RecordBlock,
    damage: Option<&str>,
    schema: &InputSchema,
) -> Result<()> {
    let (plan, file) = (output.plan, output.file);
    let mut lines: Vec<&str> = Vec::with_capacity(block.records.len());
    let mut rows: Vec<u64> = Vec::with_capacity(block.records.len());
    output.for_each_record(block, damage, |output, index, line| {
        let row = block.first_row + index as u64;
        if output.plan.was_rejected(file.base_row + row) {
            return rejected_reason(output.plan, line).map(Some);
        }
        lines.push(line);
        rows.push(row);
        Ok(None)
    })?;
    let columns = JsonColumns::new(plan, schema);
    for (lines, rows) in lines.chunks(plan.batch_rows).zip(rows.chunks(plan.batch_rows)) {
        let changed = |error: ArrowError| {
            Error::Invariant(format!(
                "`{}` changed since it was first read, or has a value that its type does not hold: {error}",
                file.name
            ))
        };
        let batch = columns.decode(lines, schema).map_err(changed)?;
        let column = |field: &FieldRef| match batch.column_by_name(field.name()) {
            Some(column) => adapt(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), lines.len())),
        };
        let input = plan.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        let special: Vec<Option<ArrayRef>> =
            plan.special.columns.iter().map(|name| batch.column_by_name(name).cloned()).collect();
        output.push_checked(block, input, rows, &special)?;
    }
    Ok(())
}

/// The JSON columns of a scan, under the types that arrow-json is to read.
struct JsonColumns {
    schema: SchemaRef,
    has_json: bool,
}

impl JsonColumns {
    fn new(plan: &Plan, schema: &InputSchema) -> Self {
        let asked = plan.columns.iter().map(|field| field.name()).chain(&plan.special.columns);
        let mut fields: Vec<FieldRef> = Vec::new();
        let mut has_json = false;
        for name in asked {
            if fields.iter().any(|field| field.name() == name) {
                continue;
            }
            if schema.is_given() {
                fields.extend(schema.column(name).cloned());
            } else if let Some(kind) = schema.json_kind(name) {
                has_json |= kind.has_json();
                fields.push(Arc::new(Field::new(name, kind.data_type(), true)));
            }
        }
        Self { schema: Arc::new(Schema::new(fields)), has_json }
    }

    fn decode(&self, lines: &[&str], schema: &InputSchema) -> std::result::Result<RecordBatch, ArrowError> {
        if !self.has_json {
            return decode_lines(lines.iter().map(|line| line.as_bytes()), lines.len(), &self.schema);
        }
        let mut rewritten = Vec::new();
        let kind_of = |name: &str| self.schema.fields().find(name).and_then(|_| schema.json_kind(name));
        for line in lines {
            rewrite_line(line, kind_of, &mut rewritten);
        }
        decode_lines([rewritten.as_slice()].into_iter(), lines.len(), &self.schema)
    }
}

fn decode_lines<'a>(
    parts: impl Iterator<Item = &'a [u8]>,
    n_rows: usize,
    schema: &SchemaRef,
) -> std::result::Result<RecordBatch, ArrowError> {
    if schema.fields().is_empty() {
        return Ok(RecordBatch::new_empty(schema.clone()));
    }
    let mut decoder = ReaderBuilder::new(schema.clone()).with_batch_size(n_rows).build_decoder()?;
    for part in parts {
        decoder.decode(part)?;
    }
    match decoder.flush()? {
        Some(batch) if batch.num_rows() == n_rows => Ok(batch),
        _ => Err(ArrowError::JsonError(format!("{n_rows} rows were expected"))),
    }
}

/// Records of a block that are rows but do not fit the given schema: their indices, in order, and why.
pub(super) fn misfits(output: &Output<'_>, block: &RecordBlock, schema: &SchemaRef) -> Result<Vec<(usize, String)>> {
    ReaderBuilder::new(schema.clone()).build_decoder().map_err(|error| Error::Column {
        message: format!("the schema has a type that is not read from JSON: {error}"),
        hint: Some("change the type in the schema".into()),
    })?;
    let mut reader = LineReader::new(&output.plan.special);
    let mut rows: Vec<(usize, &str)> = Vec::new();
    for (index, &record) in block.records.iter().enumerate() {
        let line = std::str::from_utf8(block.bytes(record)).ok().filter(|_| record.flaw.is_none());
        if let Some(line) = line
            && reader.read(line).is_ok()
            && reader.has_text()
        {
            rows.push((index, line));
        }
    }
    let has_fractions = rows.iter().any(|(_, line)| has_fraction(line, schema));
    let all = decode_lines(rows.iter().map(|(_, line)| line.as_bytes()), rows.len(), schema);
    if !has_fractions && (rows.is_empty() || all.is_ok()) {
        return Ok(Vec::new());
    }
    Ok(rows.into_iter().filter_map(|(index, line)| Some((index, misfit(line, schema)?))).collect())
}

/// Why a valid line does not fit the given schema, if it does not.
fn misfit(line: &str, schema: &SchemaRef) -> Option<String> {
    if has_fraction(line, schema) {
        return Some("does not fit the schema: a number with a fraction in an integer column".into());
    }
    let error = decode_lines(std::iter::once(line.as_bytes()), 1, schema).err()?;
    let text = error.to_string();
    Some(format!("does not fit the schema: {}", text.strip_prefix("Json error: ").unwrap_or(&text)))
}

/// Whether a number with a fraction or exponent lies where the schema has an integer: arrow-json would cut it off.
fn has_fraction(line: &str, schema: &SchemaRef) -> bool {
    fn in_value(text: &str, data_type: &DataType) -> bool {
        let mut found = false;
        match data_type {
            integer if integer.is_integer() => {
                let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
                return is_number && text.contains(['.', 'e', 'E']);
            }
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _)
                if text.starts_with('[') =>
            {
                for_each_element(text, |value| found |= in_value(value, field.data_type()));
            }
            DataType::Struct(fields) if text.starts_with('{') => for_each_entry(text, |key, value| {
                found |= fields.find(&key).is_some_and(|(_, field)| in_value(value, field.data_type()));
            }),
            _ => {}
        }
        found
    }
    in_value(line.trim_ascii(), &DataType::Struct(schema.fields().clone()))
}

/// Why the survey rejected a line.
pub(super) fn rejected_reason(plan: &Plan, line: &str) -> Result<String> {
    let special = plan.survey_special();
    let mut reader = LineReader::new(special);
    if let Err(reason) = reader.read(line) {
        return Ok(reason);
    }
    if !reader.has_text() {
        return Ok(special.no_text_reason());
    }
    let reason = match (&plan.mode, &plan.options.schema) {
        (Mode::Typed(_), Some(schema)) => misfit(line, schema),
        _ => None,
    };
    reason.ok_or_else(|| Error::Invariant("a row was rejected by the survey and not when it was read again".into()))
}
