//! The columns of the whole input: found by a survey, one type for each name.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use indexmap::IndexMap;
use tamis_schemas::columns;

use super::csv::Fits;
use super::json::Kind;
use super::plan::missing_column;
use super::special::Special;
use super::unify::common_type;
use super::{Format, InputFile};
use crate::{Error, Result, RowSet};

/// Keys that an error message lists.
const MAX_LISTED_KEYS: usize = 30;

/// What a survey found out about columns, in some blocks or in all.
///
/// Merged in block order it is a pure function of the input.
#[derive(Debug, Clone, Default)]
pub struct Types {
    pub(super) json: IndexMap<Box<str>, Kind>,
    pub(super) csv: IndexMap<Box<str>, Fits>,
    pub(super) files: BTreeMap<usize, FileTypes>,
    /// How the survey makes text and id.
    pub(super) special: Arc<Special>,
    /// Rejected rows of blocks that were merged.
    pub(super) rejected: RowSet,
    /// Rejected rows of this block.
    pub(super) rejected_here: Vec<u64>,
}

/// What a survey found out about one file.
#[derive(Debug, Clone, Default)]
pub(super) struct FileTypes {
    pub(super) n_rows: u64,
    /// Schema of a file that has one.
    pub(super) schema: Option<SchemaRef>,
    /// Rows that could be read, with text or not.
    pub(super) n_readable: u64,
    /// Which of the columns of [`Special`] were found in the file.
    pub(super) has_special: Vec<bool>,
    /// Columns of the file, some of them, for messages.
    pub(super) keys: Vec<Box<str>>,
}

impl Types {
    /// Adds what was found in the next block.
    pub fn merge(&mut self, next: Self) {
        self.special = next.special;
        for (name, kind) in next.json {
            self.json.entry(name).or_default().merge(kind);
        }
        for (name, fits) in next.csv {
            self.csv.entry(name).or_insert(Fits::ALL).merge(fits);
        }
        for (index, file) in next.files {
            self.files.entry(index).or_default().merge(file);
        }
        for row in next.rejected_here {
            self.rejected.insert(row);
        }
    }

    /// Notes a rejected row, by its position in the whole input.
    pub(super) fn reject(&mut self, position: u64) {
        self.rejected_here.push(position);
    }
}

impl FileTypes {
    fn merge(&mut self, next: Self) {
        self.n_rows += next.n_rows;
        self.n_readable += next.n_readable;
        self.schema = self.schema.take().or(next.schema);
        self.has_special.resize(self.has_special.len().max(next.has_special.len()), false);
        for (has, next) in self.has_special.iter_mut().zip(next.has_special) {
            *has |= next;
        }
        for key in next.keys {
            self.add_key(&key);
        }
    }

    pub(super) fn add_key(&mut self, key: &str) {
        if self.keys.len() < MAX_LISTED_KEYS && !self.keys.iter().any(|known| **known == *key) {
            self.keys.push(key.into());
        }
    }
}

/// Columns and types of the whole input, and the rows that the survey rejected: later scans skip exactly those.
#[derive(Debug, Clone)]
pub struct InputSchema(Arc<Resolved>);

#[derive(Debug)]
struct Resolved {
    schema: SchemaRef,
    json: IndexMap<Box<str>, Kind>,
    is_given: bool,
    rejected: RowSet,
    survey_special: Arc<Special>,
    file_rows: Vec<u64>,
}

impl InputSchema {
    /// Of a unit of the input; see [`SchemaOnWire::of_unit`](super::wire::SchemaOnWire::of_unit).
    pub(super) fn of_unit(
        schema: SchemaRef,
        json: IndexMap<Box<str>, Kind>,
        is_given: bool,
        rejected: RowSet,
        survey_special: Arc<Special>,
        n_rows: u64,
    ) -> Self {
        Self(Arc::new(Resolved { schema, json, is_given, rejected, survey_special, file_rows: vec![n_rows] }))
    }

    /// Kinds of the JSON columns, and whether the user gave the schema.
    pub(super) fn json_kinds(&self) -> (&IndexMap<Box<str>, Kind>, bool) {
        (&self.0.json, self.0.is_given)
    }

    /// The input columns: over all files by name, in order of first appearance, nullable.
    pub fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    /// Rows of the whole input, rejected ones too.
    pub fn n_rows(&self) -> u64 {
        self.0.file_rows.iter().sum()
    }

    /// Whether the survey left a row.
    pub(super) fn has_rows(&self) -> bool {
        self.0.rejected.len() < self.n_rows()
    }

    /// Rows of each file, rejected ones too, in the order of the files.
    pub fn file_rows(&self) -> &[u64] {
        &self.0.file_rows
    }

    /// Positions of the rows that the survey rejected.
    pub fn rejected(&self) -> &RowSet {
        &self.0.rejected
    }

    pub(super) fn survey_special(&self) -> &Special {
        &self.0.survey_special
    }

    /// Kind of a JSON column.
    pub(super) fn json_kind(&self, name: &str) -> Option<&Kind> {
        self.0.json.get(name)
    }

    /// Whether the user gave the schema: then JSON is read as those types, not as what was found.
    pub(super) fn is_given(&self) -> bool {
        self.0.is_given
    }

    /// A column.
    pub(super) fn column(&self, name: &str) -> Option<&FieldRef> {
        self.0.schema.fields().find(name).map(|(_, field)| field)
    }

    /// Checks that text and id can be made from these columns.
    pub(super) fn check_special(&self, special: &Special) -> Result<()> {
        for (index, name) in special.columns.iter().enumerate() {
            let Some(field) = self.column(name) else {
                // Of a required column that was seen, every row may have been rejected.
                if special.is_required[index] && self.has_rows() {
                    let names = self.0.schema.fields().iter().map(|field| field.name().as_str());
                    return Err(missing_column(name, "the input", names));
                }
                continue;
            };
            check_special_type(special, index, field.data_type(), "the input")?;
        }
        Ok(())
    }
}

/// Checks that a column of this type can be part of the text or be the id.
pub(super) fn check_special_type(special: &Special, index: usize, data_type: &DataType, place: &str) -> Result<()> {
    let value_type = match data_type {
        DataType::Dictionary(_, value) => value.as_ref(),
        other => other,
    };
    let is_text = value_type.is_string() || *value_type == DataType::Null;
    let name = &special.columns[index];
    if special.is_text(index) && !is_text {
        return Err(Error::Column {
            message: format!("column `{name}` in `{place}` has type {data_type}, text is needed"),
            hint: Some("name a column of text".into()),
        });
    }
    if !is_text && !value_type.is_integer() && *value_type != DataType::Boolean {
        return Err(Error::Column {
            message: format!("column `{name}` in `{place}` has type {data_type}, an id is text or an integer"),
            hint: Some("name another id column, or none to number the rows".into()),
        });
    }
    Ok(())
}

/// A column and the file that it was first found in.
struct Found<'a> {
    field: Field,
    file: &'a str,
    /// A file with types of its own says that the column is of nulls.
    is_declared_null: bool,
}

/// Finds one type for each column.
///
/// # Errors
/// `Error::Column` if types do not go together, or the text or id column is not in a file; it names the files.
pub(super) fn resolve(files: &[InputFile], types: Types, given: Option<&SchemaRef>) -> Result<InputSchema> {
    let special = &types.special;
    let json: IndexMap<Box<str>, Kind> = types.json.into_iter().map(|(name, kind)| (name, kind.resolved())).collect();
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    // Files of one text format share their types, as if they were one file.
    let mut json_columns: Vec<FieldRef> = json.iter().map(|(name, kind)| field(name, json_type(kind))).collect();
    let mut csv_columns: Vec<FieldRef> = types.csv.iter().map(|(name, fits)| field(name, csv_type(*fits))).collect();
    let mut found: IndexMap<String, Found<'_>> = IndexMap::new();
    for (index, file) in files.iter().enumerate() {
        let Some(file_types) = types.files.get(&index) else { continue };
        check_file(file, file_types, special)?;
        let columns: Vec<FieldRef> = match (file.format, &file_types.schema) {
            (Format::JsonLines, _) => std::mem::take(&mut json_columns),
            (Format::Csv | Format::Tsv, _) => std::mem::take(&mut csv_columns),
            (_, Some(schema)) => schema.fields().to_vec(),
            (_, None) => Vec::new(),
        };
        for column in columns {
            match given {
                Some(given) => check_given(given, &column, file)?,
                None => add_column(&mut found, &column, file)?,
            }
        }
    }
    let schema = match given {
        None => Schema::new(found.into_values().map(Found::finish).collect::<Vec<_>>()),
        Some(given) => Schema::new(given.fields().iter().map(nullable).collect::<Vec<_>>()),
    };
    check_names(&schema)?;
    let n_rows = |index: usize| types.files.get(&index).map_or(0, |file| file.n_rows);
    let schema = InputSchema(Arc::new(Resolved {
        schema: Arc::new(schema),
        json,
        is_given: given.is_some(),
        rejected: types.rejected,
        survey_special: special.clone(),
        file_rows: (0..files.len()).map(n_rows).collect(),
    }));
    schema.check_special(special)?;
    Ok(schema)
}

/// # Errors
/// `Error::Column` for a column that has a name of ours, which would be mistaken for it between two stages.
fn check_names(schema: &Schema) -> Result<()> {
    let is_ours = |name: &str| name.starts_with(columns::PREFIX) && !columns::WRITTEN.contains(&name);
    let Some(field) = schema.fields().iter().find(|field| is_ours(field.name())) else { return Ok(()) };
    Err(Error::Column {
        message: format!("the input has a column `{}`, and tamis keeps such names for itself", field.name()),
        hint: Some(format!("give it a name that does not start with `{}`", columns::PREFIX)),
    })
}

/// Checks that text and id can be made of every file, whatever else the files hold; gives the rows of each.
///
/// # Errors
/// `Error::Column` if a column that text or id need is not in a file, or has the wrong type.
pub(super) fn check_special_alone(files: &[InputFile], types: &Types) -> Result<Vec<u64>> {
    let special = &types.special;
    for (index, file) in files.iter().enumerate() {
        if let Some(file_types) = types.files.get(&index) {
            check_file(file, file_types, special)?;
        }
    }
    for (index, name) in special.columns.iter().enumerate() {
        let json = types.json.get(name.as_str()).map(|kind| json_type(&kind.clone().resolved()));
        let csv = types.csv.get(name.as_str()).map(|&fits| csv_type(fits));
        // Files that are tables were checked when they were opened.
        for data_type in json.into_iter().chain(csv) {
            check_special_type(special, index, &data_type, "the input")?;
        }
    }
    Ok((0..files.len()).map(|index| types.files.get(&index).map_or(0, |file| file.n_rows)).collect())
}

/// Type of a JSON column before other files have a say: nulls go with anything.
fn json_type(kind: &Kind) -> DataType {
    if *kind == Kind::Null { DataType::Null } else { kind.data_type() }
}

fn csv_type(fits: Fits) -> DataType {
    if fits == Fits::ALL { DataType::Null } else { fits.data_type() }
}

fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

fn check_file(file: &InputFile, types: &FileTypes, special: &Special) -> Result<()> {
    let has = |column: usize| types.has_special.get(column).copied().unwrap_or(false);
    let missing = (0..special.columns.len()).find(|&column| special.is_required[column] && !has(column));
    match missing {
        Some(column) if types.n_readable > 0 => {
            Err(missing_column(&special.columns[column], &file.name, types.keys.iter().map(AsRef::as_ref)))
        }
        _ => Ok(()),
    }
}

fn add_column<'a>(found: &mut IndexMap<String, Found<'a>>, column: &FieldRef, file: &'a InputFile) -> Result<()> {
    let is_declared_null = *column.data_type() == DataType::Null && !file.format.is_text();
    let Some(known) = found.get_mut(column.name()) else {
        let field = column.as_ref().clone().with_nullable(true);
        found.insert(column.name().clone(), Found { field, file: &file.name, is_declared_null });
        return Ok(());
    };
    known.is_declared_null |= is_declared_null;
    let (left, right) = (known.field.data_type(), column.data_type());
    let Some(common) = common_type(left, right) else {
        let (name, known, file) = (column.name(), known.file, &file.name);
        return Err(Error::Column {
            message: format!("column `{name}` has type {left} in `{known}` and {right} in `{file}`"),
            hint: Some("write it with one type, or give a schema".into()),
        });
    };
    known.field.set_data_type(common);
    Ok(())
}

impl Found<'_> {
    /// A column of text formats in which every value is null is text.
    fn finish(self) -> Field {
        let is_text = *self.field.data_type() == DataType::Null && !self.is_declared_null;
        if is_text { self.field.with_data_type(DataType::Utf8) } else { self.field }
    }
}

fn check_given(given: &SchemaRef, column: &FieldRef, file: &InputFile) -> Result<()> {
    let (name, found) = (column.name(), column.data_type());
    let Some((_, expected)) = given.fields().find(name) else {
        return Err(Error::Column {
            message: format!("`{}` has a column `{name}`, which the schema does not have", file.name),
            hint: Some("add it to the schema".into()),
        });
    };
    let expected = expected.data_type();
    let fits = match file.format {
        // Their values are read as the given type, or rejected.
        Format::JsonLines => true,
        Format::Csv | Format::Tsv => can_cast_types(&DataType::Utf8, expected),
        _ => common_type(found, expected).as_ref() == Some(expected),
    };
    if fits {
        return Ok(());
    }
    Err(Error::Column {
        message: format!("column `{name}` has type {found} in `{}` and {expected} in the schema", file.name),
        hint: Some("change the type in the schema".into()),
    })
}
