//! Which rows are compared with which.
//!
//! ```text
//! by = COLUMN, sources = Within   -> group of a row    mixed into its exact key and its shingles: rows of one group meet
//! sources = Across                -> source of a row   looked at pair by pair: rows of two sources meet
//! ```
//!
//! Groups and sources are 128-bit hashes of column values in Arrow's row format, which tells any two values apart. What is
//! mixed into shingles has 64 bits: it only says who meets. Whether two rows may be compared is decided by [`Places`].
//!
//! # Across sources
//! The star rule with fewer pairs: in keep order, a row is dropped if and only if a kept row *of another source* is among
//! those that it is similar to. So of equal texts in sources `a a b c a`, in keep order, the first one stays, `b` and `c` are
//! dropped for it, and so every `a` stays: nothing of another source that they could be dropped for is left. If the first
//! `a` is dropped for a row of `b`, then so are all `a`, and `c`; and `b` stays unless a row of another source drops it.
//!
//! Rows of equal text *and* source share their fate, as they are similar to the same rows: a row that drops a later one of
//! them but not the first would come after the first, and be dropped for it. So they collapse to the first of them before
//! anything is compared, and stay or go with it; between those of different sources there is an edge of similarity 1.

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::row::{RowConverter, SortField};
use tamis_schemas::columns::FILE;
use xxhash_rust::xxh3::xxh3_128;

use super::columns::{GROUP, SOURCE, column_by_name, key_column, keys_of};
use super::keep::Ranks;
use super::tape::{RowTable, RowTableWriter};
use crate::context::Context;
use crate::{Error, Result};

const STAGE: &str = "near-duplicates: scope";

/// Which rows are compared with which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Which sources meet.
    pub sources: Sources,
    /// The column that holds the source of a row; `None`: `tamis_file`, which a batch must bring then.
    pub source_column: Option<String>,
    /// Only rows with equal values of this column meet; null is a value.
    pub by: Option<String>,
}

/// Which sources meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sources {
    /// Any two, and each itself.
    #[default]
    All,
    /// Each itself.
    Within,
    /// Any two that differ.
    Across,
    /// No two: rows are compared with those of earlier runs only.
    Index,
}

impl Scope {
    /// The input columns that it looks at.
    pub fn columns(&self) -> Vec<&str> {
        let source = self.source_column.as_deref().filter(|_| self.looks_at_sources());
        self.by.as_deref().into_iter().chain(source).collect()
    }

    /// Whether it looks at `tamis_file`.
    pub fn needs_file(&self) -> bool {
        self.looks_at_sources() && self.source_column.is_none()
    }

    fn looks_at_sources(&self) -> bool {
        matches!(self.sources, Sources::Within | Sources::Across)
    }

    /// Columns whose values make a group.
    fn group_columns(&self) -> Vec<&str> {
        let source = (self.sources == Sources::Within).then(|| self.source());
        self.by.as_deref().into_iter().chain(source).collect()
    }

    fn source(&self) -> &str {
        self.source_column.as_deref().unwrap_or(FILE)
    }

    fn has_groups(&self) -> bool {
        self.by.is_some() || self.sources == Sources::Within
    }

    pub(super) fn has_sources(&self) -> bool {
        self.sources == Sources::Across
    }

    /// The columns of [`columns_of`](Self::columns_of).
    pub(super) fn fields(&self) -> Vec<Field> {
        let names = [(GROUP, self.has_groups()), (SOURCE, self.has_sources())];
        let names = names.into_iter().filter(|(_, is_there)| *is_there);
        names.map(|(name, _)| Field::new(name, DataType::FixedSizeBinary(16), false)).collect()
    }

    /// The group of each row; `None` if all are in one.
    ///
    /// # Errors
    /// `Error::Column` if a column is missing or its values cannot be compared.
    pub(super) fn groups(&self, batch: &RecordBatch) -> Result<Option<Vec<u128>>> {
        self.has_groups().then(|| value_keys(batch, &self.group_columns())).transpose()
    }

    /// Group and source of each row, where they matter.
    pub(super) fn columns_of(&self, batch: &RecordBatch, groups: Option<Vec<u128>>) -> Result<Vec<ArrayRef>> {
        let sources = self.has_sources().then(|| value_keys(batch, &[self.source()])).transpose()?;
        groups.into_iter().chain(sources).map(key_column).collect()
    }
}

/// A hash of the values of some columns, row by row.
fn value_keys(batch: &RecordBatch, names: &[&str]) -> Result<Vec<u128>> {
    let schema = batch.schema_ref();
    let fields = names.iter().map(|name| sort_field(schema, name)).collect::<Result<Vec<_>>>()?;
    let arrays = names.iter().map(|name| column_by_name(batch, name).cloned()).collect::<Result<Vec<_>>>()?;
    let rows = RowConverter::new(fields)?.convert_columns(&arrays)?;
    Ok(rows.iter().map(|row| xxh3_128(row.as_ref())).collect())
}

fn sort_field(schema: &Schema, name: &str) -> Result<SortField> {
    let data_type = schema.field_with_name(name)?.data_type();
    let field = SortField::new(data_type.clone());
    if RowConverter::supports_fields(std::slice::from_ref(&field)) {
        return Ok(field);
    }
    let message = format!("rows are to be compared by column `{name}` of type {data_type}, which has no order");
    Err(Error::Column { message, hint: None })
}

/// The key of a text in its group or source.
pub(super) fn key_within(exact_key: u128, place: u128) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&exact_key.to_be_bytes());
    bytes[16..].copy_from_slice(&place.to_be_bytes());
    xxh3_128(&bytes)
}

/// Moves the shingles of a group away from those of others. Within a group it changes nothing: it is a bijection.
pub(super) fn shift(shingles: &mut [u64], group: u128) {
    for shingle in shingles {
        *shingle ^= group as u64;
    }
}

/// Group and source of all rows, in the making.
#[derive(Debug)]
pub(super) struct PlacesWriter {
    groups: Option<RowTableWriter<u128>>,
    sources: Option<RowTableWriter<u128>>,
}

impl PlacesWriter {
    pub(super) fn new(scope: &Scope, context: &Context) -> Self {
        let table = || RowTableWriter::new(STAGE, context);
        Self { groups: scope.has_groups().then(table), sources: scope.has_sources().then(table) }
    }

    /// Sees the rows of a fingerprint batch.
    pub(super) fn observe(&mut self, batch: &RecordBatch, rows: &UInt64Array, context: &Context) -> Result<()> {
        for (table, name) in [(&mut self.groups, GROUP), (&mut self.sources, SOURCE)] {
            let Some(table) = table else { continue };
            for (&row, key) in rows.values().iter().zip(keys_of(batch, name)?) {
                table.push(row, &key, context)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, context: &Context) -> Result<Places> {
        let finish = |table: Option<RowTableWriter<u128>>| table.map(|table| table.finish(context)).transpose();
        Ok(Places { groups: finish(self.groups)?, sources: finish(self.sources)? })
    }
}

/// Group and source of all rows, where they matter.
#[derive(Debug)]
pub(super) struct Places {
    groups: Option<RowTable<u128>>,
    sources: Option<RowTable<u128>>,
}

impl Places {
    /// The group of a row, given by its position; `None` if all are in one.
    pub(super) fn group(&self, row: u64) -> Result<Option<u128>> {
        self.groups.as_ref().map(|table| table.get(row)).transpose()
    }

    /// The place of a row, given by its rank.
    pub(super) fn of(&self, rank: u64, ranks: &Ranks) -> Result<Place> {
        if self.groups.is_none() && self.sources.is_none() {
            return Ok(Place { group: 0, source: None });
        }
        let row = ranks.row(rank)?;
        let source = self.sources.as_ref().map(|table| table.get(row)).transpose()?;
        Ok(Place { group: self.group(row)?.unwrap_or(0), source })
    }

    /// Every row with every other.
    pub(super) fn anywhere() -> Self {
        Self { groups: None, sources: None }
    }
}

/// Group and source of a row, where they matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    group: u128,
    source: Option<u128>,
}

impl Place {
    /// Whether two rows are compared.
    pub(super) fn meets(self, other: Self) -> bool {
        self.group == other.group && (self.source.is_none() || self.source != other.source)
    }
}
