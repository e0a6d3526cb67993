//! The answer as a map stage: which rows are dropped, and why.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns::{REASON, ROW};

use super::columns::column;
use crate::stage::MapStage;
use crate::{Result, RowSet};

/// Why a row is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Its normalized text is that of a kept row.
    Identical,
    /// It is a near-duplicate of a kept row.
    NearDuplicate,
    /// Too much of it is in paragraphs of rows that stay.
    DuplicateParagraphs,
    /// Too much of it is in lines of rows that stay.
    DuplicateLines,
    /// It repeats itself too much.
    Repetition,
    /// It says what a kept row says, in other words.
    Semantic,
}

impl DropReason {
    /// The value of `tamis_reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::NearDuplicate => "near_duplicate",
            Self::DuplicateParagraphs => "duplicate_paragraphs",
            Self::DuplicateLines => "duplicate_lines",
            Self::Repetition => "repetition",
            Self::Semantic => "semantic",
        }
    }

    /// Whether a kept row stands for the whole row.
    pub(super) fn is_duplicate(self) -> bool {
        matches!(self, Self::Identical | Self::NearDuplicate | Self::Semantic)
    }
}

/// Map stage: appends `tamis_reason`, null for rows that stay. Needs `tamis_row`. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// No row is in two of the sets.
    dropped: Vec<(DropReason, Arc<RowSet>)>,
}

impl Verdict {
    /// Also drops `rows`, which stayed so far, for `reason`.
    pub(crate) fn with(mut self, reason: DropReason, rows: RowSet) -> Self {
        self.dropped.push((reason, Arc::new(rows)));
        self
    }

    /// Why `row` is dropped; `None`: it stays.
    pub fn reason(&self, row: u64) -> Option<DropReason> {
        self.dropped.iter().find(|(_, rows)| rows.contains(row)).map(|(reason, _)| *reason)
    }

    /// The rows that are dropped.
    pub fn dropped(&self) -> RowSet {
        self.dropped.iter().flat_map(|(_, rows)| rows.iter()).collect()
    }

    /// The rows that are dropped for one row that has the same text, or nearly so, or says the same.
    pub fn duplicates(&self) -> RowSet {
        self.dropped.iter().filter(|(reason, _)| reason.is_duplicate()).flat_map(|(_, rows)| rows.iter()).collect()
    }

    /// How many rows are dropped.
    pub fn n_dropped(&self) -> u64 {
        self.dropped.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// Whether `row` stays.
    pub fn keeps(&self, row: u64) -> bool {
        self.reason(row).is_none()
    }

    /// The reasons of these rows, null for those that stay.
    pub fn reasons(&self, rows: &UInt64Array) -> StringArray {
        rows.values().iter().map(|&row| self.reason(row).map(DropReason::name)).collect()
    }
}

impl MapStage for Verdict {
    fn name(&self) -> &'static str {
        "near-duplicate verdicts"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let mut fields = input.fields().to_vec();
        fields.push(Arc::new(Field::new(REASON, DataType::Utf8, true)));
        Ok(Arc::new(Schema::new_with_metadata(fields, input.metadata().clone())))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let reasons: ArrayRef = Arc::new(self.reasons(column(&batch, ROW)?));
        let schema = self.output_schema(batch.schema_ref())?;
        let mut columns = batch.columns().to_vec();
        columns.push(reasons);
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}
