//! The keep order of rows: which of two near-duplicates stays.

use arrow::array::{BinaryArray, RecordBatch, UInt64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, Rows, SortField};

use super::columns::{LENGTH, ORDER, SET_SIZE, column, column_by_name};
use super::measure::Measure;
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
    measure: Measure,
    converter: Option<RowConverter>,
    keys: ExternalSorter<(Vec<u8>, u64)>,
}

impl KeepKeys {
    /// No rows yet. By containment the largest sets come first, whatever the order.
    pub(super) fn new(order: KeepOrder, measure: Measure, context: &Context) -> Self {
        Self { order, measure, converter: None, keys: ExternalSorter::new(STAGE, &context.budget) }
    }

    /// Sees the rows of a fingerprint batch.
    pub(super) fn observe(&mut self, batch: &RecordBatch, rows: &UInt64Array, context: &Context) -> Result<()> {
        let mut keys: Vec<Vec<u8>> = match self.measure {
            Measure::Jaccard => vec![Vec::new(); rows.len()],
            Measure::Containment => largest_first(column(batch, SET_SIZE)?),
        };
        match &self.order {
            KeepOrder::First if self.measure == Measure::Jaccard => return Ok(()),
            KeepOrder::First => {}
            KeepOrder::Longest => {
                for (key, length) in keys.iter_mut().zip(largest_first(column(batch, LENGTH)?)) {
                    key.extend(length);
                }
            }
            KeepOrder::Columns(_) if batch.schema_ref().index_of(ORDER).is_ok() => {
                for (key, order) in keys.iter_mut().zip(column::<BinaryArray>(batch, ORDER)?) {
                    key.extend_from_slice(order.unwrap_or_default());
                }
            }
            KeepOrder::Columns(columns) => {
                let converter = match &mut self.converter {
                    Some(converter) => converter,
                    none => none.insert(row_converter(columns, batch.schema_ref())?),
                };
                for (key, values) in keys.iter_mut().zip(&values_of(columns, batch, converter)?) {
                    key.extend_from_slice(values.as_ref());
                }
            }
        }
        for (key, &row) in keys.into_iter().zip(rows.values()) {
            self.keys.push((key, row), context)?;
        }
        Ok(())
    }

    /// Orders the rows.
    pub(super) fn finish(self, context: &Context) -> Result<Ranks> {
        if self.order == KeepOrder::First && self.measure == Measure::Jaccard {
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

fn values_of(columns: &[(String, Direction)], batch: &RecordBatch, converter: &RowConverter) -> Result<Rows> {
    let arrays = columns.iter().map(|(name, _)| column_by_name(batch, name).cloned()).collect::<Result<Vec<_>>>()?;
    Ok(converter.convert_columns(&arrays)?)
}

/// What `tamis_keep_order` says of the rows of a batch; null where no column decides.
pub(super) fn order_of(order: &KeepOrder, batch: &RecordBatch) -> Result<BinaryArray> {
    let KeepOrder::Columns(columns) = order else { return Ok(BinaryArray::new_null(batch.num_rows())) };
    let values = values_of(columns, batch, &row_converter(columns, batch.schema_ref())?)?;
    Ok(BinaryArray::from_iter_values(&values))
}

/// Keys that sort like numbers do from the greatest on.
fn largest_first(numbers: &UInt64Array) -> Vec<Vec<u8>> {
    numbers.values().iter().map(|&number| (u64::MAX - number).to_be_bytes().to_vec()).collect()
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
    /// Rows of earlier runs, which lie above all others, come first.
    AfterEarlier {
        /// How many they are.
        n_earlier: u64,
        /// Position of the first of them.
        first_position: u64,
        /// Ranks among the other rows.
        of_run: Box<Ranks>,
    },
}

impl Ranks {
    /// Whether the rank of every row is its position.
    pub(super) fn are_rows(&self) -> bool {
        matches!(self, Self::ByRow)
    }

    /// Those among the rows of the run itself.
    pub(super) fn of_run(&self) -> &Self {
        match self {
            Self::AfterEarlier { of_run, .. } => of_run,
            Self::ByRow | Self::Tables { .. } => self,
        }
    }

    /// The rank of `row`.
    pub(super) fn rank(&self, row: u64) -> Result<u64> {
        match self {
            Self::ByRow => Ok(row),
            Self::Tables { rank_of_row, .. } => rank_of_row.get(row),
            Self::AfterEarlier { first_position, .. } if *first_position <= row => Ok(row - first_position),
            Self::AfterEarlier { n_earlier, of_run, .. } => Ok(n_earlier + of_run.rank(row)?),
        }
    }

    /// The row at `rank`.
    pub(super) fn row(&self, rank: u64) -> Result<u64> {
        match self {
            Self::ByRow => Ok(rank),
            Self::Tables { row_of_rank, .. } => row_of_rank.get(rank),
            Self::AfterEarlier { n_earlier, first_position, .. } if rank < *n_earlier => Ok(first_position + rank),
            Self::AfterEarlier { n_earlier, of_run, .. } => of_run.row(rank - n_earlier),
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
        check_by(Measure::Jaccard, order, expect_rows);
    }

    fn check_by(measure: Measure, order: KeepOrder, expect_rows: &[u64]) {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let rows = UInt64Array::from(vec![0, 1, 2, 5, 6]);
        let batch = RecordBatch::try_from_iter([
            (LENGTH, Arc::new(UInt64Array::from(vec![3, 9, 9, 1, 10])) as ArrayRef),
            (SET_SIZE, Arc::new(UInt64Array::from(vec![4, 2, 4, 7, 2]))),
            ("score", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-1.0), Some(0.5), Some(7.0)]))),
            ("source", Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("a"), Some("b")]))),
        ])
        .unwrap();
        let mut keys = KeepKeys::new(order, measure, &context);
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
        check_by(Measure::Containment, KeepOrder::First, &[5, 0, 2, 1, 6]);
        check_by(Measure::Containment, KeepOrder::Longest, &[5, 2, 0, 6, 1]);
        check_by(Measure::Containment, by(&[("score", Direction::Ascending)]), &[5, 2, 0, 6, 1]);
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = row_converter(&[("nope".into(), Direction::Ascending)], &Schema::empty()).unwrap_err();
        assert_eq!(error.to_string(), "the keep order names column `nope`, which the input does not have");
    }
}
