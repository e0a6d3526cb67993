//! Columns of lists of numbers: the shingles, keys or samples of each row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, RecordBatch, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};

use super::columns::column;
use crate::{Error, Result};

/// A column of lists of shingles or keys.
pub(super) fn list_field(name: &str) -> Field {
    Field::new(name, DataType::List(item()), false)
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::UInt64, false))
}

/// Such a column in the making: the numbers of one row behind those of the other.
#[derive(Debug, Default)]
pub(super) struct Lists {
    values: Vec<u64>,
    ends: Vec<usize>,
}

impl Lists {
    /// Room for so many rows, and numbers of all of them together.
    pub(super) fn with_capacity(n_rows: usize, n_numbers: usize) -> Self {
        Self { values: Vec::with_capacity(n_numbers), ends: Vec::with_capacity(n_rows) }
    }

    /// Adds the numbers of the next row.
    pub(super) fn push(&mut self, numbers: &[u64]) {
        self.push_with(|values| values.extend_from_slice(numbers));
    }

    /// Adds what is added to the numbers for the next row.
    pub(super) fn push_with<T>(&mut self, add: impl FnOnce(&mut Vec<u64>) -> T) -> T {
        let added = add(&mut self.values);
        self.ends.push(self.values.len());
        added
    }

    /// The numbers of the last row.
    pub(super) fn last_mut(&mut self) -> &mut [u64] {
        let start = self.ends.iter().rev().nth(1).copied().unwrap_or(0);
        &mut self.values[start..]
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.ends.clear();
    }

    /// The column.
    ///
    /// # Errors
    /// `Error::Config` if the lists are longer than a batch may have them.
    pub(super) fn into_column(self) -> Result<ArrayRef> {
        let Self { values, ends } = self;
        if i32::try_from(values.len()).is_err() {
            let message = format!("a batch of {} rows has {} shingles", ends.len(), values.len());
            let hint = Some("a smaller batch of rows".into());
            return Err(Error::Config { message, hint });
        }
        let lengths = std::iter::once(0).chain(ends.iter().copied()).zip(&ends).map(|(start, &end)| end - start);
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(item(), offsets, Arc::new(UInt64Array::from(values)), None)?))
    }
}

/// The lists of a column, row by row.
pub(super) fn lists<'a>(
    batch: &'a RecordBatch,
    name: &str,
    rows: &'a UInt64Array,
) -> Result<impl Iterator<Item = (u64, &'a [u64])>> {
    let lists: &ListArray = column(batch, name)?;
    let values = lists.values().as_any().downcast_ref::<UInt64Array>();
    let values = values.ok_or_else(|| Error::Invariant(format!("column `{name}` has no lists of numbers")))?;
    let slices = lists.offsets().windows(2).map(|ends| &values.values()[ends[0] as usize..ends[1] as usize]);
    Ok(rows.values().iter().copied().zip(slices))
}
