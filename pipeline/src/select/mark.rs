//! The chosen rows, and the stage that marks them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, UInt64Type};
use serde::{Deserialize, Serialize};
use tamis_schemas::columns;

use crate::score::append::{append_columns, append_fields, required_column};
use crate::stage::MapStage;
use crate::{Result, RowSet};

/// A row of the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Its position in the input.
    pub row: u64,
    /// Its place in the batch, from 1.
    pub rank: u32,
    /// Acquisition score, higher is sooner; none for rows chosen at random.
    pub score: Option<f64>,
    /// Why it was chosen, for people.
    pub reason: String,
}

/// Appends `tamis_rank`, `tamis_score` and `tamis_reason`: values for rows of the batch, null for all others.
#[derive(Debug, Clone)]
pub struct MarkBatch {
    chosen: Arc<Vec<Chosen>>,
    /// Index into `chosen` by row.
    by_row: Arc<HashMap<u64, usize>>,
}

impl MarkBatch {
    /// Marks these rows, which are in the order of their ranks.
    pub(crate) fn new(chosen: Vec<Chosen>) -> Self {
        let by_row = chosen.iter().enumerate().map(|(index, one)| (one.row, index)).collect();
        Self { chosen: Arc::new(chosen), by_row: Arc::new(by_row) }
    }

    /// The batch, in the order of its ranks.
    pub fn chosen(&self) -> &[Chosen] {
        &self.chosen
    }

    /// The rows of the batch.
    pub fn rows(&self) -> RowSet {
        self.chosen.iter().map(|one| one.row).collect()
    }

    fn fields() -> [FieldRef; 3] {
        [(columns::RANK, DataType::Int32), (columns::SCORE, DataType::Float64), (columns::REASON, DataType::Utf8)]
            .map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)))
    }
}

impl MapStage for MarkBatch {
    fn name(&self) -> &'static str {
        "select"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(append_fields(input, &Self::fields()))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let rows = required_column(&batch, columns::ROW, &DataType::UInt64)?.as_primitive::<UInt64Type>();
        let found: Vec<Option<&Chosen>> =
            rows.values().iter().map(|row| self.by_row.get(row).map(|&index| &self.chosen[index])).collect();
        let ranks: Int32Array = found.iter().map(|one| one.map(|one| one.rank.cast_signed())).collect();
        let scores: Float64Array = found.iter().map(|one| one.and_then(|one| one.score)).collect();
        let reasons: StringArray = found.iter().map(|one| one.map(|one| &one.reason)).collect();
        let arrays: Vec<ArrayRef> = vec![Arc::new(ranks), Arc::new(scores), Arc::new(reasons)];
        append_columns(&batch, &Self::fields(), arrays)
    }
}
