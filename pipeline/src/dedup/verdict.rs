//! The answer as a map stage: which rows are dropped, and why.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns::{REASON, ROW};

use super::columns::column;
use crate::stage::MapStage;
use crate::{Result, RowSet};

/// Why a row is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Its normalized text is that of a kept row.
    Identical,
    /// It is a near-duplicate of a kept row.
    NearDuplicate,
}

impl DropReason {
    /// The value of `tamis_reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::NearDuplicate => "near_duplicate",
        }
    }
}

/// Map stage: appends `tamis_reason`, null for rows that stay. Needs `tamis_row`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Verdict {
    identical: Arc<RowSet>,
    near: Arc<RowSet>,
}

impl Verdict {
    pub(super) fn new(identical: RowSet, near: RowSet) -> Self {
        Self { identical: Arc::new(identical), near: Arc::new(near) }
    }

    /// Why `row` is dropped; `None`: it stays.
    pub fn reason(&self, row: u64) -> Option<DropReason> {
        if self.identical.contains(row) {
            Some(DropReason::Identical)
        } else {
            self.near.contains(row).then_some(DropReason::NearDuplicate)
        }
    }

    /// The rows that are dropped.
    pub fn dropped(&self) -> RowSet {
        self.identical.iter().chain(self.near.iter()).collect()
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
