//! Cuts a stream of batches into chunks whose bounds depend on the rows alone, so that the bytes we write do not depend
//! on how the rows were batched.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::Result;
use crate::row_bytes::row_bytes;

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
        let mut start = 0;
        for (row, bytes) in row_bytes(batch).into_iter().enumerate() {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};

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
