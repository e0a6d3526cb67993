//! The keep order of rows: which of two near-duplicates stays.

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, SortField};

use super::columns::{LENGTH, column, column_by_name};
use super::settings::{Direction, KeepOrder};
use super::tape::{RowTable, RowTableWriter};
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Error, Result};

const STAGE: &str = "near-duplicates: keep order";

/// The columns that a keep order looks at, each once.
pub(super) fn keep_columns(order: &KeepOrder) -> Vec<&str> {
    let mut names = Vec::new();
    if let KeepOrder::Columns(columns) = order {
        for (name, _) in columns {
            if !names.contains(&name.as_str()) {
                names.push(name.as_str());
            }
        }
    }
    names
}

/// Converter of the keep columns into bytes that sort like the values, nulls last.
///
/// # Errors
/// `Error::Column` if a column is missing or its type has no order.
pub(super) fn row_converter(columns: &[(String, Direction)], schema: &Schema) -> Result<RowConverter> {
    let fields = columns
        .iter()
        .map(|(name, direction)| {
            let field = schema.field_with_name(name).map_err(|_| Error::Column {
                message: format!("the keep order names column `{name}`, which the input does not have"),
                hint: None,
            })?;
            let options = SortOptions { descending: *direction == Direction::Descending, nulls_first: false };
            let sort_field = SortField::new_with_options(field.data_type().clone(), options);
            if RowConverter::supports_fields(std::slice::from_ref(&sort_field)) {
                return Ok(sort_field);
            }
            let message =
                format!("the keep order names column `{name}` of type {}, which has no order", field.data_type());
            Err(Error::Column { message, hint: None })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(RowConverter::new(fields)?)
}

/// Collects what the keep order needs of each row.
#[derive(Debug)]
pub(super) struct KeepKeys {
    order: KeepOrder,
    converter: Option<RowConverter>,
    keys: ExternalSorter<(Vec<u8>, u64)>,
}

impl KeepKeys {
    pub(super) fn new(order: KeepOrder, context: &Context) -> Self {
        Self { order, converter: None, keys: ExternalSorter::new(STAGE, &context.budget) }
    }

    /// Sees the rows of a fingerprint batch.
    pub(super) fn observe(&mut self, batch: &RecordBatch, rows: &UInt64Array, context: &Context) -> Result<()> {
        match &self.order {
            KeepOrder::First => {}
            KeepOrder::Longest => {
                let lengths: &UInt64Array = column(batch, LENGTH)?;
                for (&row, &length) in rows.values().iter().zip(lengths.values()) {
                    self.keys.push(((u64::MAX - length).to_be_bytes().to_vec(), row), context)?;
                }
            }
            KeepOrder::Columns(columns) => {
                let converter = match &mut self.converter {
                    Some(converter) => converter,
                    none => none.insert(row_converter(columns, batch.schema_ref())?),
                };
                let arrays =
                    columns.iter().map(|(name, _)| column_by_name(batch, name).cloned()).collect::<Result<Vec<_>>>()?;
                for (key, &row) in converter.convert_columns(&arrays)?.iter().zip(rows.values()) {
                    self.keys.push((key.as_ref().to_vec(), row), context)?;
                }
            }
        }
        Ok(())
    }

    /// Orders the rows.
    pub(super) fn finish(self, context: &Context) -> Result<Ranks> {
        if self.order == KeepOrder::First {
            return Ok(Ranks::ByRow);
        }
        let mut row_of_rank = RowTableWriter::new(STAGE, context);
        let mut by_row = ExternalSorter::new(STAGE, &context.budget);
        for (rank, record) in self.keys.finish(context)?.enumerate() {
            let (_, row) = record?;
            row_of_rank.push(rank as u64, &row, context)?;
            by_row.push((row, rank as u64), context)?;
        }
        let mut rank_of_row = RowTableWriter::new(STAGE, context);
        for record in by_row.finish(context)? {
            let (row, rank) = record?;
            rank_of_row.push(row, &rank, context)?;
        }
        Ok(Ranks::Tables { rank_of_row: rank_of_row.finish(context)?, row_of_rank: row_of_rank.finish(context)? })
    }
}

/// Place of each row in the keep order, 0 is first.
#[derive(Debug)]
pub(super) enum Ranks {
    /// The rank of a row is its position.
    ByRow,
    /// Ranks that were sorted for.
    Tables {
        /// Rank by row.
        rank_of_row: RowTable<u64>,
        /// Row by rank.
        row_of_rank: RowTable<u64>,
    },
}

impl Ranks {
    /// Whether the rank of every row is its position.
    pub(super) fn are_rows(&self) -> bool {
        matches!(self, Self::ByRow)
    }

    /// The rank of `row`.
    pub(super) fn rank(&self, row: u64) -> Result<u64> {
        match self {
            Self::ByRow => Ok(row),
            Self::Tables { rank_of_row, .. } => rank_of_row.get(row),
        }
    }

    /// The row at `rank`.
    pub(super) fn row(&self, rank: u64) -> Result<u64> {
        match self {
            Self::ByRow => Ok(rank),
            Self::Tables { row_of_rank, .. } => row_of_rank.get(rank),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray};

    use super::*;
    use crate::context::{Cancel, Resources};

    fn check(order: KeepOrder, expect_rows: &[u64]) {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let rows = UInt64Array::from(vec![0, 1, 2, 5, 6]);
        let batch = RecordBatch::try_from_iter([
            (LENGTH, Arc::new(UInt64Array::from(vec![3, 9, 9, 1, 10])) as ArrayRef),
            ("score", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-1.0), Some(0.5), Some(7.0)]))),
            ("source", Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("a"), Some("b")]))),
        ])
        .unwrap();
        let mut keys = KeepKeys::new(order, &context);
        for start in 0..batch.num_rows() {
            keys.observe(&batch.slice(start, 1), &rows.slice(start, 1), &context).unwrap();
        }
        let ranks = keys.finish(&context).unwrap();
        if let Ranks::Tables { .. } = ranks {
            let in_order: Vec<u64> = (0..5).map(|rank| ranks.row(rank).unwrap()).collect();
            assert_eq!(in_order, expect_rows);
        }
        assert!(expect_rows.is_sorted_by_key(|&row| ranks.rank(row).unwrap()));
    }

    #[test]
    fn orders() {
        let by = |columns: &[(&str, Direction)]| {
            KeepOrder::Columns(columns.iter().map(|&(name, direction)| (name.to_owned(), direction)).collect())
        };
        check(KeepOrder::First, &[0, 1, 2, 5, 6]);
        check(KeepOrder::Longest, &[6, 1, 2, 0, 5]);
        check(by(&[("score", Direction::Descending)]), &[6, 0, 5, 2, 1]);
        check(by(&[("score", Direction::Ascending)]), &[2, 0, 5, 6, 1]);
        check(by(&[("source", Direction::Ascending), ("score", Direction::Descending)]), &[5, 1, 6, 0, 2]);
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = row_converter(&[("nope".into(), Direction::Ascending)], &Schema::empty()).unwrap_err();
        assert_eq!(error.to_string(), "the keep order names column `nope`, which the input does not have");
    }
}
