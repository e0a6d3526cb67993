//! CSV and TSV with a header: RFC 4180, fields typed over the whole column.
//!
//! An empty field without quotes is null in columns of every type, text too; an empty field in quotes is the empty text.
//! A field that begins with a quote ends with one: other text after it makes the row a reject.

mod fields;
mod infer;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, SchemaRef};

pub(super) use infer::Fits;

use self::fields::{Field, split};
use super::plan::{Mode, Output, Plan};
use super::records::RecordBlock;
use super::special::{Special, SpecialBuilder};
use crate::{Error, Result};

/// The header of a file.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) names: Vec<String>,
    delimiter: u8,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// `Error::Corrupt` if it is not UTF-8 or its quotes are wrong, `Error::Column` if it has a name twice.
    pub(super) fn parse(record: &[u8], delimiter: u8, location: &str) -> Result<Self> {
        let corrupt = |message: String| Error::Corrupt { location: location.to_owned(), format: "CSV", message };
        let text = std::str::from_utf8(record).map_err(|error| corrupt(format!("the header is not UTF-8: {error}")))?;
        let mut fields = Vec::new();
        split(text, delimiter, &mut fields).map_err(|what| corrupt(format!("the header: {what}")))?;
        let names: Vec<String> = fields.into_iter().map(|field| field.text.into_owned()).collect();
        let duplicate = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
        if let Some((_, name)) = duplicate {
            return Err(Error::Column {
                message: format!("the header of `{location}` has the column `{name}` twice"),
                hint: Some("rename one of them".into()),
            });
        }
        Ok(Self { names, delimiter })
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Splits a record; `Err`: why it is not a row.
    fn split<'a>(&self, record: &'a str, fields: &mut Vec<Field<'a>>) -> std::result::Result<(), String> {
        split(record, self.delimiter, fields)?;
        if fields.len() == self.names.len() {
            return Ok(());
        }
        Err(format!("{} fields, the header has {}", fields.len(), self.names.len()))
    }

    /// For each column of `special`, its field; `None`: not in this file.
    fn special_fields(&self, special: &Special) -> Vec<Option<usize>> {
        special.columns.iter().map(|name| self.index(name)).collect()
    }
}

/// Decodes a block into text and id; in a survey, finds the types of its columns too.
pub(super) fn decode_survey(
    output: &mut Output<'_>,
    block: &RecordBlock,
    damage: Option<&str>,
    header: &Header,
) -> Result<()> {
    let (plan, file) = (output.plan, output.file);
    let special_fields = header.special_fields(&plan.special);
    // All of the block, unless only some rows are asked for.
    let text_bytes = if plan.rows.is_none() { block.data.len() } else { 0 };
    let mut builder = SpecialBuilder::new(&plan.special, &file.name, file.base_row, text_bytes);
    let mut fits = vec![Fits::ALL; header.names.len()];
    let mut fields = Vec::new();
    let given = plan.options.schema.as_ref().filter(|_| matches!(plan.mode, Mode::Survey));
    output.for_each_record(block, damage, |output, index, record| {
        let row = block.first_row + index as u64;
        if output.plan.was_rejected(file.base_row + row) {
            return rejected_reason(output.plan, record, header).map(Some);
        }
        if let Err(reason) = header.split(record, &mut fields) {
            return Ok(Some(reason));
        }
        let cell = |column: usize| special_fields[column].and_then(|index| fields[index].value());
        if !plan.special.has_text(|column| cell(column).is_some()) {
            return Ok(Some(plan.special.no_text_reason()));
        }
        if let Some(reason) = given.and_then(|schema| misfit(&fields, header, schema)) {
            return Ok(Some(reason));
        }
        for (fits, field) in fits.iter_mut().zip(&fields) {
            if let Some(value) = field.value() {
                fits.observe(value);
            }
        }
        builder.push(row, cell);
        if builder.len() == plan.batch_rows {
            output.push(Vec::new(), builder.finish())?;
        }
        Ok(None)
    })?;
    output.push(Vec::new(), builder.finish())?;
    if matches!(plan.mode, Mode::Survey) {
        let columns = header.names.iter().map(|name| name.as_str().into()).zip(fits);
        output.decoded.types.csv.extend(columns);
    }
    Ok(())
}

/// Decodes a block into the columns that the plan asks for.
pub(super) fn decode_typed(
    output: &mut Output<'_>,
    block: &RecordBlock,
    damage: Option<&str>,
    header: &Header,
) -> Result<()> {
    let (plan, file) = (output.plan, output.file);
    let mut columns = Columns::new(header, plan);
    let mut rows: Vec<u64> = Vec::new();
    let mut fields = Vec::new();
    output.for_each_record(block, damage, |output, index, record| {
        let row = block.first_row + index as u64;
        if output.plan.was_rejected(file.base_row + row) {
            return rejected_reason(output.plan, record, header).map(Some);
        }
        if let Err(reason) = header.split(record, &mut fields) {
            return Err(Error::Invariant(format!("`{}` changed since it was first read: {reason}", file.name)));
        }
        columns.push(&fields);
        rows.push(row);
        if rows.len() == plan.batch_rows {
            columns.flush(output, block, &mut rows)?;
        }
        Ok(None)
    })?;
    columns.flush(output, block, &mut rows)
}

/// Columns of a file as text, before they get their types.
struct Columns {
    /// Field of each input column of the plan, then of each special column; `None`: not in this file.
    fields: Vec<Option<usize>>,
    builders: Vec<StringBuilder>,
    n_input: usize,
}

impl Columns {
    fn new(header: &Header, plan: &Plan) -> Self {
        let input = plan.columns.iter().map(|field| header.index(field.name()));
        let fields: Vec<Option<usize>> = input.chain(header.special_fields(&plan.special)).collect();
        let builders = fields.iter().map(|_| StringBuilder::new()).collect();
        Self { fields, builders, n_input: plan.columns.len() }
    }

    fn push(&mut self, record: &[Field<'_>]) {
        for (field, builder) in self.fields.iter().zip(&mut self.builders) {
            if let Some(field) = field {
                builder.append_option(record[*field].value());
            }
        }
    }

    fn flush(&mut self, output: &mut Output<'_>, block: &RecordBlock, rows: &mut Vec<u64>) -> Result<()> {
        let mut texts = Vec::with_capacity(self.fields.len());
        for (field, builder) in self.fields.iter().zip(&mut self.builders) {
            let text: ArrayRef = Arc::new(builder.finish());
            texts.push(field.is_some().then_some(text));
        }
        let special = texts.split_off(self.n_input);
        let file = &output.file.name;
        let input = output.plan.columns.iter().zip(texts).map(|(column, text)| typed(text, column, rows.len(), file));
        let input = input.collect::<Result<Vec<_>>>()?;
        output.push_checked(block, input, rows, &special)?;
        rows.clear();
        Ok(())
    }
}

fn typed(text: Option<ArrayRef>, column: &FieldRef, n_rows: usize, file: &str) -> Result<ArrayRef> {
    let text = text.filter(|text| text.null_count() < n_rows);
    let Some(text) = text else { return Ok(new_null_array(column.data_type(), n_rows)) };
    let array = cast(&text, column.data_type())?;
    if array.logical_null_count() != text.null_count() {
        let (name, data_type) = (column.name(), column.data_type());
        return Err(Error::Invariant(format!(
            "`{file}` changed since it was first read: a value in column `{name}` is not {data_type}"
        )));
    }
    Ok(array)
}

/// Why a row does not fit the given schema, if it does not.
fn misfit(fields: &[Field<'_>], header: &Header, schema: &SchemaRef) -> Option<String> {
    fields.iter().zip(&header.names).find_map(|(field, name)| {
        let (_, column) = schema.fields().find(name)?;
        let value = field.value().filter(|_| !column.data_type().is_string())?;
        let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
        let fits = cast(&text, column.data_type()).is_ok_and(|array| array.logical_null_count() == 0);
        (!fits).then(|| format!("does not fit the schema: `{value}` in column `{name}` is not {}", column.data_type()))
    })
}

/// Why the survey rejected a record.
fn rejected_reason(plan: &Plan, record: &str, header: &Header) -> Result<String> {
    let special = plan.survey_special();
    let mut fields = Vec::new();
    if let Err(reason) = header.split(record, &mut fields) {
        return Ok(reason);
    }
    let special_fields = header.special_fields(special);
    if !special.has_text(|column| special_fields[column].is_some_and(|index| fields[index].value().is_some())) {
        return Ok(special.no_text_reason());
    }
    let reason = plan.options.schema.as_ref().and_then(|schema| misfit(&fields, header, schema));
    reason.ok_or_else(|| Error::Invariant("a row was rejected by the survey and not when it was read again".into()))
}
