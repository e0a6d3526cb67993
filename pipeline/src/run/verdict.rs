//! What becomes of each row, all reasons to drop it together.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use tamis_schemas::columns;

use super::ids::rows_of;
use super::route::{append, split_by_null};
use crate::dedup::{DropReason, Verdict};
use crate::{Result, RowSet, decontaminate, quality};

/// The verdicts of all stages.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    pub(super) contaminated: Option<Arc<RowSet>>,
    pub(super) near_duplicates: Option<Verdict>,
    /// Rows that their quality drops, of those that the others keep.
    pub(super) quality: Option<Arc<RowSet>>,
}

impl Verdicts {
    /// Whether any stage drops rows.
    pub(super) fn are_there(&self) -> bool {
        self.contaminated.is_some() || self.near_duplicates.is_some() || self.quality.is_some()
    }

    /// Whether `row` stays.
    pub(super) fn keeps(&self, row: u64) -> bool {
        self.reason(row).is_none()
    }

    /// Whether `row` has a held-out item.
    pub(super) fn is_contaminated(&self, row: u64) -> bool {
        self.contaminated.as_ref().is_some_and(|rows| rows.contains(row))
    }

    /// Whether `row` is dropped for another one.
    pub(super) fn is_near_duplicate(&self, row: u64) -> bool {
        self.near_duplicates.as_ref().is_some_and(|verdict| verdict.reason(row).is_some())
    }

    /// The rows of a batch that stay.
    pub(super) fn staying(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.are_there() { Ok(split_by_null(&self.apply(&batch)?, columns::REASON)?.0) } else { Ok(batch) }
    }

    /// Appends `tamis_reason`, null for rows that stay.
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let reasons: StringArray = rows_of(batch)?.values().iter().map(|&row| self.reason(row)).collect();
        append(batch, Field::new(columns::REASON, DataType::Utf8, true), Arc::new(reasons))
    }

    fn reason(&self, row: u64) -> Option<&'static str> {
        let is_in = |rows: &Option<Arc<RowSet>>| rows.as_ref().is_some_and(|rows| rows.contains(row));
        if is_in(&self.contaminated) {
            return Some(decontaminate::REASON);
        }
        let near_duplicate = self.near_duplicates.as_ref().and_then(|verdict| verdict.reason(row));
        near_duplicate.map(DropReason::name).or_else(|| is_in(&self.quality).then_some(quality::REASON))
    }
}
