//! The columns that a scan adds: `tamis_row`, `tamis_text`, `tamis_id`.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use tamis_schemas::columns;

use super::{IdSource, Request, TextExpression, TextPart};
use crate::{Error, Result};

/// How text and id are made from columns.
#[derive(Debug, Clone, Default)]
pub(super) struct Special {
    /// The columns they are made from, each once.
    pub(super) columns: Vec<String>,
    /// Those among the columns that an input must have.
    pub(super) is_required: Vec<bool>,
    text: Option<Vec<Part>>,
    /// Indices in `columns`: the first one with a value counts. None: by row.
    id: Vec<usize>,
    has_id: bool,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Column(usize),
}

impl Special {
    /// What a request asks for.
    ///
    /// # Errors
    /// `Error::Config` for a text without a column.
    pub(super) fn new(request: &Request) -> Result<Self> {
        let mut special = Self::default();
        if let Some(TextExpression { parts }) = &request.text {
            let parts: Vec<Part> = parts
                .iter()
                .map(|part| match part {
                    TextPart::Literal(text) => Part::Literal(text.clone()),
                    TextPart::Column(name) => Part::Column(special.column(name, true)),
                })
                .collect();
            if special.columns.is_empty() {
                return Err(Error::config("the text expression names no column"));
            }
            special.text = Some(parts);
        }
        special.has_id = request.id.is_some();
        special.id = match &request.id {
            Some(IdSource::Column(name)) => vec![special.column(name, true)],
            Some(IdSource::FirstPresent(names)) => names.iter().map(|name| special.column(name, false)).collect(),
            Some(IdSource::Row) | None => Vec::new(),
        };
        Ok(special)
    }

    fn column(&mut self, name: &str, is_required: bool) -> usize {
        let index = self.columns.iter().position(|column| column == name).unwrap_or_else(|| {
            self.columns.push(name.to_owned());
            self.is_required.push(false);
            self.columns.len() - 1
        });
        self.is_required[index] |= is_required;
        index
    }

    /// Whether a column is part of the text.
    pub(super) fn is_text(&self, column: usize) -> bool {
        self.text.iter().flatten().any(|part| matches!(part, Part::Column(index) if *index == column))
    }

    /// The columns added, in their order.
    pub(super) fn fields(&self) -> Vec<FieldRef> {
        let mut fields = vec![Arc::new(Field::new(columns::ROW, DataType::UInt64, false))];
        if self.text.is_some() {
            fields.push(Arc::new(Field::new(columns::TEXT, DataType::Utf8, false)));
        }
        if self.has_id {
            fields.push(Arc::new(Field::new(columns::ID, DataType::Utf8, false)));
        }
        fields
    }

    /// Why a row has no text, for people.
    pub(super) fn no_text_reason(&self) -> String {
        let names: Vec<String> = (0..self.columns.len())
            .filter(|&column| self.is_text(column))
            .map(|column| format!("`{}`", self.columns[column]))
            .collect();
        let (noun, verb) = if names.len() == 1 { ("column", "is") } else { ("columns", "are") };
        format!("no text: {noun} {} {verb} null or missing", names.join(", "))
    }

    /// Whether a row has text, if text is asked for.
    pub(super) fn has_text(&self, is_present: impl Fn(usize) -> bool) -> bool {
        self.text
            .as_ref()
            .is_none_or(|parts| parts.iter().any(|part| matches!(part, Part::Column(index) if is_present(*index))))
    }

    /// The added columns of rows for which the columns of [`Special::columns`] are at hand; `None`: not in this file.
    ///
    /// `rows`: ordinals in the file. Every row has text.
    pub(super) fn of_columns(
        &self,
        name: &str,
        base_row: u64,
        rows: &[u64],
        columns: &[Option<ArrayRef>],
    ) -> Result<Vec<ArrayRef>> {
        let as_text = |index: usize| -> Result<Option<StringArray>> {
            let column = columns[index].as_ref();
            column.map(|column| Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())).transpose()
        };
        let texts = (0..self.columns.len()).map(as_text).collect::<Result<Vec<_>>>()?;
        // A text that is a column as it is, is not copied.
        let column = match self.text.as_deref() {
            Some([Part::Column(index)]) => texts[*index].clone(),
            _ => None,
        };
        let parts = if column.is_some() { None } else { self.text.clone() };
        let rest = Self { text: parts, ..self.clone() };
        let mut builder = SpecialBuilder::new(&rest, name, base_row, 0);
        for (index, &row) in rows.iter().enumerate() {
            builder.push(row, |column| {
                texts[column].as_ref().filter(|text| text.is_valid(index)).map(|text| text.value(index))
            });
        }
        let mut added = builder.finish();
        if let Some(column) = column {
            added.insert(1, Arc::new(column));
        }
        Ok(added)
    }
}

/// Builds the added columns row by row.
#[derive(Debug)]
pub(super) struct SpecialBuilder<'a> {
    special: &'a Special,
    file_name: &'a str,
    base_row: u64,
    rows: Vec<u64>,
    text: StringBuilder,
    id: StringBuilder,
}

impl<'a> SpecialBuilder<'a> {
    /// `base_row`: position of the file's first row in the whole input.
    ///
    /// `text_bytes`: about as many as the texts will have.
    pub(super) fn new(special: &'a Special, file_name: &'a str, base_row: u64, text_bytes: usize) -> Self {
        let text =
            if special.text.is_some() { StringBuilder::with_capacity(0, text_bytes) } else { StringBuilder::new() };
        let id = StringBuilder::new();
        Self { special, file_name, base_row, rows: Vec::new(), text, id }
    }

    /// Number of rows pushed since the last `finish`.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row, its ordinal in the file, given by the texts of its columns. It [has text](Special::has_text).
    ///
    /// `cell`: of a column of [`Special::columns`]; `None`: null or missing.
    pub(super) fn push<'c>(&mut self, row: u64, cell: impl Fn(usize) -> Option<&'c str>) {
        self.rows.push(self.base_row + row);
        for part in self.special.text.iter().flatten() {
            match part {
                Part::Literal(text) => write_text(&mut self.text, text),
                Part::Column(index) => {
                    if let Some(text) = cell(*index) {
                        write_text(&mut self.text, text);
                    }
                }
            }
        }
        if self.special.text.is_some() {
            self.text.append_value("");
        }
        if self.special.has_id {
            match self.special.id.iter().find_map(|&index| cell(index)) {
                Some(id) => write_text(&mut self.id, id),
                None => write_row_id(&mut self.id, self.file_name, row),
            }
            self.id.append_value("");
        }
    }

    /// The columns of the rows pushed, in the order of [`Special::fields`].
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(std::mem::take(&mut self.rows)))];
        if self.special.text.is_some() {
            columns.push(Arc::new(self.text.finish()));
        }
        if self.special.has_id {
            columns.push(Arc::new(self.id.finish()));
        }
        columns
    }
}

fn write_text(out: &mut StringBuilder, text: &str) {
    out.write_str(text).expect("a string builder takes any text");
}

fn write_row_id(out: &mut StringBuilder, file_name: &str, row: u64) {
    write!(out, "{file_name}#{row}").expect("a string builder takes any text");
}
