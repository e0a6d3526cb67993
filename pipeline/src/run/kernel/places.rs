//! Where the rows of units are in the whole input, as the session writes it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListBuilder, PrimitiveBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use super::columns::int64_list;
use crate::Result;

pub(super) fn places_schema() -> Schema {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let lists = ["rejected", "contaminated", "repeated"].map(|name| Field::new(name, int64_list(), false));
    let numbers = ["unit", "base_row", "first_row", "n_rows"].map(number);
    Schema::new(numbers.into_iter().chain(lists).collect::<Vec<_>>())
}

/// Places in the making.
#[derive(Debug, Default)]
pub(super) struct Places {
    numbers: [Vec<i64>; 3],
    /// Rejected rows, contaminated ones, and those that repeat themselves.
    lists: [ListBuilder<PrimitiveBuilder<Int64Type>>; 3],
}

impl Places {
    pub(super) fn push(&mut self, base_row: u64, first_row: u64, n_rows: u64, lists: [&[u64]; 3]) {
        let values = [base_row, first_row, n_rows];
        self.numbers.iter_mut().zip(values).for_each(|(column, value)| column.push(value.cast_signed()));
        for (builder, rows) in self.lists.iter_mut().zip(lists) {
            builder.append_value(rows.iter().map(|row| Some(row.cast_signed())));
        }
    }

    pub(super) fn finish(self, schema: Arc<Schema>) -> Result<RecordBatch> {
        let units = Int64Array::from_iter_values(0..self.numbers[0].len() as i64);
        let numbers = self.numbers.map(|numbers| Arc::new(Int64Array::from(numbers)) as ArrayRef);
        let lists = self.lists.map(|mut list| Arc::new(list.finish()) as ArrayRef);
        let columns = [Arc::new(units) as ArrayRef].into_iter().chain(numbers).chain(lists);
        Ok(RecordBatch::try_new(schema, columns.collect())?)
    }
}
