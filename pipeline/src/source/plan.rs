//! What all files of a scan have in common, and what a block of rows is decoded into.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::compute::filter;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use super::format::SourceOptions;
use super::records::{Flaw, Record, RecordBlock};
use super::schema::{InputSchema, Types};
use super::special::Special;
use super::{Columns, Decoded, Reject, Request};
use crate::{Error, Result, RowSet};

/// What a scan does, the same for all its files.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    pub(super) options: SourceOptions,
    pub(super) special: Arc<Special>,
    pub(super) rows: Option<Arc<RowSet>>,
    pub(super) batch_rows: usize,
    /// The input columns handed out, with their types.
    pub(super) columns: Vec<FieldRef>,
    /// Of the batches.
    pub(super) schema: SchemaRef,
}

/// What a scan knows of the input.
#[derive(Debug)]
pub(super) enum Mode {
    /// Nothing: it finds the types, hands out no input columns.
    Survey,
    /// What a survey found.
    Typed(InputSchema),
}

impl Plan {
    /// The plan of a survey, or with an input schema, of a scan.
    pub(super) fn new(
        schema: Option<InputSchema>,
        request: &Request,
        options: &SourceOptions,
        batch_rows: usize,
    ) -> Result<Self> {
        let special = Arc::new(Special::new(request)?);
        let columns = match &schema {
            None => Vec::new(),
            Some(schema) => {
                schema.check_special(&special)?;
                let mut columns = requested(schema, &request.columns)?;
                columns.retain(|column| special.fields().iter().all(|added| added.name() != column.name()));
                columns
            }
        };
        let fields: Vec<FieldRef> = columns.iter().cloned().chain(special.fields()).collect();
        Ok(Self {
            mode: schema.map_or(Mode::Survey, Mode::Typed),
            options: options.clone(),
            special,
            rows: request.rows.clone(),
            batch_rows,
            columns,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// Whether a row of `start..end`, positions in the whole input, is asked for.
    pub(super) fn wants_any(&self, start: u64, end: u64) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.intersects(start, end))
    }

    /// Whether the row at a position in the whole input is asked for.
    pub(super) fn wants(&self, position: u64) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.contains(position))
    }

    /// Whether the survey rejected the row at a position in the whole input.
    pub(super) fn was_rejected(&self, position: u64) -> bool {
        matches!(&self.mode, Mode::Typed(schema) if schema.rejected().contains(position))
    }

    /// How the survey made text and id; in a survey, how this scan does.
    pub(super) fn survey_special(&self) -> &Special {
        match &self.mode {
            Mode::Survey => &self.special,
            Mode::Typed(schema) => schema.survey_special(),
        }
    }
}

/// Input columns that are asked for. What has no row to hand out need not have them.
fn requested(input: &InputSchema, columns: &Columns) -> Result<Vec<FieldRef>> {
    let schema = input.schema();
    match columns {
        Columns::All => Ok(schema.fields().to_vec()),
        Columns::Named(names) => {
            let missing = names.iter().find(|name| schema.field_with_name(name).is_err());
            if let Some(name) = missing.filter(|_| input.has_rows()) {
                return Err(missing_column(
                    name,
                    "the input",
                    schema.fields().iter().map(|field| field.name().as_str()),
                ));
            }
            Ok(schema.fields().iter().filter(|field| names.contains(field.name())).cloned().collect())
        }
    }
}

/// The error of a column that is not there.
pub(super) fn missing_column<'a>(name: &str, place: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<&str> = names.collect();
    let same = names.iter().find(|other| other.eq_ignore_ascii_case(name));
    let hint = match same {
        Some(same) => format!("did you mean `{same}`?"),
        None => "name another column".into(),
    };
    let list =
        if names.is_empty() { "it has no columns".into() } else { format!("its columns are {}", names.join(", ")) };
    Error::Column { message: format!("no column `{name}` in `{place}`; {list}"), hint: Some(hint) }
}

/// A file of a scan.
#[derive(Debug)]
pub(super) struct FileFacts {
    /// Index in the inputs.
    pub(super) index: usize,
    pub(super) name: String,
    /// Position of its first row in the whole input.
    pub(super) base_row: u64,
    /// Where it is read from.
    pub(super) from: PlaceInFile,
}

/// Where in a file a scan begins, and how far it goes.
#[derive(Debug, Clone, Default)]
pub(super) struct PlaceInFile {
    /// Ordinal of the row.
    pub(super) row: u64,
    pub(super) byte: u64,
    /// Bytes in which the row groups begin that are read; `None`: all.
    pub(super) row_groups: Option<Range<u64>>,
}

/// Collects what a block is decoded into.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) plan: &'a Plan,
    pub(super) file: &'a FileFacts,
    pub(super) decoded: Decoded,
}

impl<'a> Output<'a> {
    pub(super) fn new(plan: &'a Plan, file: &'a FileFacts) -> Self {
        let decoded = Decoded { file: file.index, batches: Vec::new(), rejects: Vec::new(), types: Types::default() };
        Self { plan, file, decoded }
    }

    /// Adds a batch of input columns and [added columns](Special::fields).
    pub(super) fn push(&mut self, mut columns: Vec<ArrayRef>, added: Vec<ArrayRef>) -> Result<()> {
        let n_rows = added.first().map_or(0, Array::len);
        if n_rows == 0 {
            return Ok(());
        }
        columns.extend(added);
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        self.decoded.batches.push(RecordBatch::try_new_with_options(self.plan.schema.clone(), columns, &options)?);
        Ok(())
    }

    /// Adds rows of a text format, given by the columns of [`Special::columns`] where the file has them; rejects those
    /// without text.
    ///
    /// `rows`: ordinals in the file.
    pub(super) fn push_checked(
        &mut self,
        block: &RecordBlock,
        columns: Vec<ArrayRef>,
        rows: &[u64],
        special: &[Option<ArrayRef>],
    ) -> Result<()> {
        self.push_with_text(columns, rows, special, |output, index| {
            let reason = output.plan.special.no_text_reason();
            output.reject_record(block, (rows[index] - block.first_row) as usize, reason);
        })
    }

    /// Adds rows; calls `reject` with the index of each that has no text.
    pub(super) fn push_with_text(
        &mut self,
        mut columns: Vec<ArrayRef>,
        rows: &[u64],
        special: &[Option<ArrayRef>],
        mut reject: impl FnMut(&mut Self, usize),
    ) -> Result<()> {
        let plan = self.plan;
        // Logical: the values of a dictionary may be null too.
        let nulls: Vec<Option<NullBuffer>> =
            special.iter().map(|column| column.as_ref().and_then(Array::logical_nulls)).collect();
        let is_present = |index: usize, column: usize| {
            special[column].is_some() && nulls[column].as_ref().is_none_or(|nulls| nulls.is_valid(index))
        };
        let has_text: BooleanArray =
            (0..rows.len()).map(|index| Some(plan.special.has_text(|column| is_present(index, column)))).collect();
        if has_text.true_count() == rows.len() {
            let added = plan.special.of_columns(&self.file.name, self.file.base_row, rows, special)?;
            return self.push(columns, added);
        }
        for index in (0..rows.len()).filter(|&index| !has_text.value(index)) {
            reject(self, index);
        }
        for column in &mut columns {
            *column = filter(column, &has_text)?;
        }
        let special = special
            .iter()
            .map(|column| column.as_ref().map(|column| filter(column, &has_text)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let rows: Vec<u64> =
            rows.iter().zip(has_text.values()).filter(|(_, has_text)| *has_text).map(|(&row, _)| row).collect();
        let added = plan.special.of_columns(&self.file.name, self.file.base_row, &rows, &special)?;
        self.push(columns, added)
    }

    /// Rejects a row, its ordinal in the file.
    pub(super) fn reject(&mut self, row: u64, byte_offset: Option<u64>, reason: String, raw: &[u8]) {
        if matches!(self.plan.mode, Mode::Survey) {
            self.decoded.types.reject(self.file.base_row + row);
        }
        let raw = raw[..raw.len().min(self.plan.options.max_reject_bytes)].to_vec();
        self.decoded.rejects.push(Reject { file: self.file.index, row, byte_offset, reason, raw });
    }

    /// Rejects a record of a text format.
    pub(super) fn reject_record(&mut self, block: &RecordBlock, index: usize, reason: String) {
        let record = block.records[index];
        let offset = block.byte_offset + u64::from(record.start);
        self.reject(block.first_row + index as u64, Some(offset), reason, block.bytes(record));
    }

    /// Goes through the records that are asked for: `visit(self, index, text)` says why one is rejected, if it is.
    pub(super) fn for_each_record<'b>(
        &mut self,
        block: &'b RecordBlock,
        damage: Option<&str>,
        mut visit: impl FnMut(&mut Self, usize, &'b str) -> Result<Option<String>>,
    ) -> Result<()> {
        // Of some rows only, few of a block may be wanted.
        let valid = self.plan.rows.is_none().then(|| simdutf8::basic::from_utf8(&block.data).ok()).flatten();
        for (index, &record) in block.records.iter().enumerate() {
            let row = block.first_row + index as u64;
            if !self.plan.wants(self.file.base_row + row) {
                continue;
            }
            let text = match (record.flaw, valid) {
                (Some(flaw), _) => Err(self.flaw_reason(flaw, row, damage)),
                (None, Some(valid)) => Ok(&valid[record.start as usize..record.end as usize]),
                (None, None) => utf8(block, record),
            };
            let reason = match text {
                Ok(text) => visit(self, index, text)?,
                Err(reason) => Some(reason),
            };
            if let Some(reason) = reason {
                self.reject_record(block, index, reason);
            }
        }
        Ok(())
    }

    fn flaw_reason(&self, flaw: Flaw, n_before: u64, damage: Option<&str>) -> String {
        match flaw {
            Flaw::TooLong => format!("the row is longer than {} bytes", self.plan.options.max_row_bytes),
            Flaw::OpenQuote => "a quote is opened here and not closed in the rest of the file".into(),
            Flaw::Damaged => {
                let damage = damage.unwrap_or("the stream is damaged");
                format!("{damage}; {} rows before it were read", with_thousands(n_before))
            }
        }
    }
}

fn utf8(block: &RecordBlock, record: Record) -> std::result::Result<&str, String> {
    simdutf8::compat::from_utf8(block.bytes(record))
        .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))
}

fn with_thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands() {
        for (number, expected) in [(0, "0"), (999, "999"), (1234, "1,234"), (1_000_000, "1,000,000")] {
            assert_eq!(with_thousands(number), expected);
        }
    }
}
