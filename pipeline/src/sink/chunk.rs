//! Cuts a stream of batches into chunks whose bounds depend on the rows alone, so that the bytes we write do not depend
//! on how the rows were batched.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};

use crate::Result;

/// Rows of a chunk, at most. A multiple of what the Parquet writer looks at before it ends a page.
const CHUNK_ROWS: usize = 1024;
/// Bytes from which a chunk ends.
const CHUNK_BYTES: u64 = 1 << 20;

/// A chunk and its uncompressed size.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) batch: RecordBatch,
    pub(crate) bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Chunker {
    schema: SchemaRef,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: u64,
    ready: VecDeque<Chunk>,
}

impl Chunker {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, pending: Vec::new(), pending_rows: 0, pending_bytes: 0, ready: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut bytes_of_row = vec![0; batch.num_rows()];
        for column in batch.columns() {
            add_row_bytes(column, &mut bytes_of_row);
        }
        let mut start = 0;
        for (row, bytes) in bytes_of_row.into_iter().enumerate() {
            self.pending_bytes += bytes;
            let n_rows = row + 1 - start;
            if self.pending_rows + n_rows == CHUNK_ROWS || self.pending_bytes >= CHUNK_BYTES {
                self.pending.push(batch.slice(start, n_rows));
                self.close()?;
                start = row + 1;
            }
        }
        if start < batch.num_rows() {
            self.pending_rows += batch.num_rows() - start;
            self.pending.push(batch.slice(start, batch.num_rows() - start));
        }
        Ok(())
    }

    /// The next whole chunk.
    pub(crate) fn pop(&mut self) -> Option<Chunk> {
        self.ready.pop_front()
    }

    /// The rows that do not fill a chunk.
    pub(crate) fn finish(&mut self) -> Result<Option<Chunk>> {
        if !self.pending.is_empty() {
            self.close()?;
        }
        Ok(self.pop())
    }

    fn close(&mut self) -> Result<()> {
        let batch = match self.pending.as_slice() {
            [only] => only.clone(),
            many => concat_batches(&self.schema, many)?,
        };
        self.ready.push_back(Chunk { batch, bytes: self.pending_bytes });
        self.pending.clear();
        self.pending_rows = 0;
        self.pending_bytes = 0;
        Ok(())
    }
}

/// Adds to each row the bytes of its value in `array`: a function of the values, not of the buffers they lie in.
fn add_row_bytes(array: &ArrayRef, bytes: &mut [u64]) {
    match array.data_type() {
        DataType::Utf8 => add_lengths(array.as_string::<i32>().value_offsets(), bytes, |_, length| length),
        DataType::LargeUtf8 => add_lengths(array.as_string::<i64>().value_offsets(), bytes, |_, length| length),
        DataType::Binary => add_lengths(array.as_binary::<i32>().value_offsets(), bytes, |_, length| length),
        DataType::LargeBinary => add_lengths(array.as_binary::<i64>().value_offsets(), bytes, |_, length| length),
        DataType::Utf8View => {
            let lengths = array.as_string_view().lengths();
            lengths.zip(bytes).for_each(|(length, total)| *total += 4 + u64::from(length));
        }
        DataType::BinaryView => {
            let lengths = array.as_binary_view().lengths();
            lengths.zip(bytes).for_each(|(length, total)| *total += 4 + u64::from(length));
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            add_children(list.value_offsets(), list.values(), bytes);
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            add_children(list.value_offsets(), list.values(), bytes);
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            add_children(map.value_offsets(), &entries, bytes);
        }
        DataType::FixedSizeList(_, width) => {
            let list = array.as_fixed_size_list();
            let offsets: Vec<i32> = (0..=list.len() as i32).map(|row| row * width).collect();
            add_children(&offsets, list.values(), bytes);
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().for_each(|column| add_row_bytes(column, bytes));
        }
        DataType::Dictionary(key, _) => add_width(key.primitive_width().unwrap_or(4), bytes),
        DataType::FixedSizeBinary(width) => add_width(*width as usize, bytes),
        other => add_width(other.primitive_width().unwrap_or(1), bytes),
    }
}

fn add_width(width: usize, bytes: &mut [u64]) {
    for total in bytes {
        *total += width as u64;
    }
}

fn add_lengths<O: OffsetSizeTrait>(offsets: &[O], bytes: &mut [u64], size: impl Fn(usize, u64) -> u64) {
    for (row, (pair, total)) in offsets.windows(2).zip(bytes).enumerate() {
        *total += 4 + size(row, (pair[1] - pair[0]).as_usize() as u64);
    }
}

fn add_children<O: OffsetSizeTrait>(offsets: &[O], values: &ArrayRef, bytes: &mut [u64]) {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return };
    let base = first.as_usize();
    let used = values.slice(base, last.as_usize() - base);
    let mut bytes_of_value = vec![0; used.len()];
    add_row_bytes(&used, &mut bytes_of_value);
    for (pair, total) in offsets.windows(2).zip(bytes) {
        let range = pair[0].as_usize() - base..pair[1].as_usize() - base;
        *total += 4 + bytes_of_value[range].iter().sum::<u64>();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray};
    use arrow::datatypes::{Field, Int32Type, Schema};

    use super::*;

    fn chunks(batch: &RecordBatch, batch_rows: usize) -> Vec<(usize, u64)> {
        let mut chunker = Chunker::new(batch.schema());
        let mut chunks = Vec::new();
        for start in (0..batch.num_rows()).step_by(batch_rows) {
            chunker.push(&batch.slice(start, batch_rows.min(batch.num_rows() - start))).unwrap();
            while let Some(chunk) = chunker.pop() {
                chunks.push((chunk.batch.num_rows(), chunk.bytes));
            }
        }
        chunks.extend(chunker.finish().unwrap().map(|chunk| (chunk.batch.num_rows(), chunk.bytes)));
        chunks
    }

    #[test]
    fn bounds_depend_on_rows_alone() {
        let texts: StringArray = (0..5000).map(|row| Some("x".repeat(row % 1700))).collect();
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
            (0..5000).map(|row| (row % 3 != 0).then(|| (0..row % 9).map(Some).collect::<Vec<_>>())),
        );
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("text", DataType::Utf8, true),
            Field::new("list", lists.data_type().clone(), true),
        ]);
        let numbers = Int64Array::from_iter_values(0..5000);
        let batch =
            RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(texts), Arc::new(lists)]).unwrap();
        let expect = chunks(&batch, 5000);
        assert!(expect.len() > 4, "{expect:?}");
        assert_eq!(expect.iter().map(|chunk| chunk.0).sum::<usize>(), 5000);
        let text_bytes: u64 = (0..5000).map(|row| row % 1700).sum();
        let list_bytes: u64 = (0..5000).filter(|row| row % 3 != 0).map(|row| row % 9 * 4).sum();
        assert_eq!(expect.iter().map(|chunk| chunk.1).sum::<u64>(), text_bytes + list_bytes + 5000 * (8 + 4 + 4));
        for batch_rows in [1, 7, 1024, 4999] {
            assert_eq!(chunks(&batch, batch_rows), expect, "{batch_rows}");
        }
    }
}
