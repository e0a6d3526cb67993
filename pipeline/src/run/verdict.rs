//! What becomes of each row, all reasons to drop it together.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use tamis_schemas::columns;

use super::ids::rows_of;
use super::route::append;
use crate::dedup::{DropReason, Verdict};
use crate::{Result, RowSet, decontaminate};

/// The verdicts of all stages.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    pub(super) contaminated: Option<Arc<RowSet>>,
    pub(super) near_duplicates: Option<Verdict>,
}

impl Verdicts {
    /// Whether any stage drops rows.
    pub(super) fn are_there(&self) -> bool {
        self.contaminated.is_some() || self.near_duplicates.is_some()
    }

    /// Whether `row` stays.
    pub(super) fn keeps(&self, row: u64) -> bool {
        self.reason(row).is_none()
    }

    /// Appends `tamis_reason`, null for rows that stay.
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let reasons: StringArray = rows_of(batch)?.values().iter().map(|&row| self.reason(row)).collect();
        append(batch, Field::new(columns::REASON, DataType::Utf8, true), Arc::new(reasons))
    }

    fn reason(&self, row: u64) -> Option<&'static str> {
        if self.contaminated.as_ref().is_some_and(|rows| rows.contains(row)) {
            return Some(decontaminate::REASON);
        }
        self.near_duplicates.as_ref()?.reason(row).map(DropReason::name)
    }
}
