//! Sorting more rows than fit in memory, as [`spill`](crate::spill) does, where a row has columns of any type.
//!
//! ```text
//! push push push ... -> buffer --(budget refuses)--> sort -> run file 0, 1, 2 ...      (Arrow IPC, LZ4)
//! finish -> merge of buffer or run files, at most MERGE_FAN_IN files open at a time -> batches in order
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{can_cast_types, cast, interleave_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::Result;
use crate::budget::{Budget, Reservation};
use crate::context::Context;
use crate::row_bytes::row_bytes;

/// Bytes by which a sorter asks for more memory.
const GROW_BYTES: usize = 1 << 20;
/// Bytes that a sorter holds whatever the budget grants.
const LEAST_BYTES: usize = 2 * GROW_BYTES;
/// A sorter takes one of so many shares of the budget at most.
const SHARES: usize = 4;
/// Run files merged at once; more are first merged into longer ones.
const MERGE_FAN_IN: usize = 32;
/// Bytes of the batches that come out and lie in run files; a single row may have more.
const CHUNK_BYTES: u64 = 256 << 10;
/// Rows of these batches, at most.
const CHUNK_ROWS: usize = 1024;
/// Buffer of one open run file.
const FILE_BUFFER_BYTES: usize = 64 << 10;

/// What rows are sorted by: the place of a group, then of the row.
pub(crate) type Key = (u64, u64);

/// Number of columns that hold the key, after all others.
const KEY_COLUMNS: usize = 2;
/// Bytes for each row while the buffer is sorted.
const PLACE_BYTES: usize = size_of::<(Key, usize, usize)>() + size_of::<u64>();

/// Sorts the rows of batches within the budget, by keys that are all different.
///
/// # Memory
/// What the budget grants, at least 2 MiB; while it merges, 32 batches of 256 KiB, or of one row that is larger.
///
/// # Determinism
/// The order that comes out is that of the keys, whatever was spilled.
#[derive(Debug)]
pub(crate) struct BatchSorter {
    /// Of the rows.
    schema: SchemaRef,
    /// Of what is held: only columns that refer to nothing but their own values, and the key.
    held_schema: SchemaRef,
    batches: Vec<RecordBatch>,
    held_bytes: usize,
    reservation: Reservation,
    most_bytes: usize,
    runs: Vec<PathBuf>,
}

impl BatchSorter {
    pub(crate) fn new(stage: &'static str, schema: SchemaRef, budget: &Budget) -> Self {
        let held = schema.fields().iter().map(|field| field.as_ref().clone().with_data_type(plain(field.data_type())));
        let key = (0..KEY_COLUMNS).map(|part| Field::new(format!("key {part}"), DataType::UInt64, false));
        Self {
            held_schema: Arc::new(Schema::new(held.chain(key).collect::<Vec<_>>())),
            schema,
            batches: Vec::new(),
            held_bytes: 0,
            reservation: budget.reserve(stage),
            most_bytes: (budget.limit_bytes() / SHARES).max(LEAST_BYTES),
            runs: Vec::new(),
        }
    }

    /// Adds rows with their keys.
    pub(crate) fn push(&mut self, batch: &RecordBatch, keys: &[Key], context: &Context) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = batch.columns().iter().zip(self.held_schema.fields());
        let mut columns =
            columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
        columns.push(Arc::new(keys.iter().map(|key| key.0).collect::<UInt64Array>()));
        columns.push(Arc::new(keys.iter().map(|key| key.1).collect::<UInt64Array>()));
        let batch = RecordBatch::try_new(Arc::clone(&self.held_schema), columns)?;
        let bytes = batch.get_array_memory_size() + batch.num_rows() * PLACE_BYTES;
        let wanted_bytes = self.held_bytes + bytes;
        if wanted_bytes > self.reservation.bytes().max(LEAST_BYTES) && !self.grow_to(wanted_bytes + GROW_BYTES) {
            self.spill(context)?;
        }
        self.held_bytes += bytes;
        self.batches.push(batch);
        Ok(())
    }

    fn grow_to(&mut self, bytes: usize) -> bool {
        bytes <= self.most_bytes && self.reservation.try_grow(bytes - self.reservation.bytes())
    }

    fn spill(&mut self, context: &Context) -> Result<()> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let mut run = RunWriter::create(&self.held_schema, context)?;
        self.drain_sorted(context, |batch| run.write(&batch, context))?;
        self.runs.push(run.finish(context)?);
        Ok(())
    }

    /// Empties the buffer.
    fn drain_sorted(&mut self, context: &Context, mut emit: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        self.held_bytes = 0;
        let batches = std::mem::take(&mut self.batches);
        let mut places: Vec<(Key, usize, usize)> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        for (number, batch) in batches.iter().enumerate() {
            places.extend(keys(batch).enumerate().map(|(row, key)| (key, number, row)));
        }
        places.sort_unstable();
        let bytes: Vec<Vec<u64>> = batches.iter().map(row_bytes).collect();
        let mut picks = Picks::default();
        for (_, batch, row) in places {
            if picks.add(batch, row, bytes[batch][row]) {
                context.cancel.check()?;
                emit(picks.take_from(&batches)?)?;
            }
        }
        if picks.is_empty() { Ok(()) } else { emit(picks.take_from(&batches)?) }
    }

    /// Hands all rows out in order.
    pub(crate) fn finish(mut self, context: &Context, mut emit: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        let schema = Arc::clone(&self.schema);
        let emit = |batch: RecordBatch| emit(&unkeyed(&batch, &schema)?);
        if self.runs.is_empty() {
            return self.drain_sorted(context, emit);
        }
        self.spill(context)?;
        self.reservation.free();
        while self.runs.len() > MERGE_FAN_IN {
            let shorter: Vec<PathBuf> = self.runs.drain(..MERGE_FAN_IN).collect();
            let mut run = RunWriter::create(&self.held_schema, context)?;
            merge(&shorter, context, |batch| run.write(&batch, context))?;
            self.runs.push(run.finish(context)?);
        }
        merge(&self.runs, context, emit)
    }
}

/// The type of a column that refers to nothing but its own values: dictionaries and views may have values of other rows.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) if can_cast_types(value, data_type) => value.as_ref().clone(),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

fn keys(batch: &RecordBatch) -> impl Iterator<Item = Key> + '_ {
    let first = batch.num_columns() - KEY_COLUMNS;
    let part = |column: usize| batch.column(column).as_primitive::<UInt64Type>().values().iter().copied();
    part(first).zip(part(first + 1))
}

/// A batch as it came in.
fn unkeyed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<Vec<ArrayRef>, _>>()?)?)
}

/// Rows that come next.
#[derive(Debug, Default)]
struct Picks {
    rows: Vec<(usize, usize)>,
    bytes: u64,
}

impl Picks {
    /// Adds a row of a batch. `true`: there are enough.
    fn add(&mut self, batch: usize, row: usize, bytes: u64) -> bool {
        self.rows.push((batch, row));
        self.bytes += bytes;
        self.bytes >= CHUNK_BYTES || self.rows.len() >= CHUNK_ROWS
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes the rows, and is empty.
    fn take_from(&mut self, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &rows)
    }
}

/// A sorted run on its way to a file.
struct RunWriter {
    path: PathBuf,
    writer: StreamWriter<BufWriter<File>>,
}

impl RunWriter {
    fn create(schema: &Schema, context: &Context) -> Result<Self> {
        let path = context.spill.new_path();
        let file = File::create(&path).map_err(|error| context.spill.error(error))?;
        let file = BufWriter::with_capacity(FILE_BUFFER_BYTES, file);
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        Ok(Self { path, writer: StreamWriter::try_new_with_options(file, schema, options).map_err(in_spill(context))? })
    }

    fn write(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        self.writer.write(batch).map_err(in_spill(context))
    }

    fn finish(mut self, context: &Context) -> Result<PathBuf> {
        self.writer.finish().and_then(|()| self.writer.flush()).map_err(in_spill(context))?;
        Ok(self.path)
    }
}

fn in_spill(context: &Context) -> impl Fn(ArrowError) -> crate::Error {
    |error| {
        context.spill.error(match error {
            ArrowError::IoError(_, error) => error,
            other => io::Error::other(other),
        })
    }
}

/// A sorted run on its way back; its file is deleted when it is read to its end.
struct RunReader {
    path: PathBuf,
    reader: StreamReader<BufReader<File>>,
    keys: Vec<Key>,
    bytes: Vec<u64>,
    row: usize,
}

impl RunReader {
    fn open(path: &Path) -> Result<Self, ArrowError> {
        let file = BufReader::with_capacity(FILE_BUFFER_BYTES, File::open(path)?);
        let reader = StreamReader::try_new(file, None)?;
        Ok(Self { path: path.to_path_buf(), reader, keys: Vec::new(), bytes: Vec::new(), row: 0 })
    }

    /// The next batch, of which no row is taken yet; without a row at the end.
    fn next_batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let Some(batch) = self.reader.next().transpose()? else {
            std::fs::remove_file(&self.path)?;
            return Ok(RecordBatch::new_empty(self.reader.schema()));
        };
        self.keys = keys(&batch).collect();
        self.bytes = row_bytes(&batch);
        self.row = 0;
        Ok(batch)
    }
}

/// Merges sorted runs.
fn merge(paths: &[PathBuf], context: &Context, mut emit: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    let mut runs = Vec::with_capacity(paths.len());
    let mut batches = Vec::with_capacity(paths.len());
    let mut heads = BinaryHeap::with_capacity(paths.len());
    for (number, path) in paths.iter().enumerate() {
        let mut run = RunReader::open(path).map_err(in_spill(context))?;
        batches.push(run.next_batch().map_err(in_spill(context))?);
        heads.extend(run.keys.first().map(|&key| Reverse((key, number))));
        runs.push(run);
    }
    let mut picks = Picks::default();
    while let Some(mut head) = heads.peek_mut() {
        let number = head.0.1;
        let run = &mut runs[number];
        let is_full = picks.add(number, run.row, run.bytes[run.row]);
        run.row += 1;
        let is_read = run.row == run.keys.len();
        if is_full || is_read {
            context.cancel.check()?;
            emit(picks.take_from(&batches)?)?;
        }
        if is_read {
            batches[number] = run.next_batch().map_err(in_spill(context))?;
        }
        if batches[number].num_rows() == 0 {
            PeekMut::pop(head);
        } else {
            head.0.0 = run.keys[run.row];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int64Array, ListArray, StringArray, StringViewArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Int8Type, Int32Type};
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::context::{Cancel, Resources};

    /// Rows of several types, of which every value tells its key.
    fn rows(keys: &[Key]) -> RecordBatch {
        let text = |key: &Key| format!("{} {} {}", key.0, key.1, "x".repeat((key.1 % 997) as usize));
        let list =
            |key: &Key| (!key.1.is_multiple_of(5)).then(|| (0..key.1 % 5).map(|n| Some(n as i32)).collect::<Vec<_>>());
        let kinds = ["a", "b", "c"];
        let columns: [(&str, ArrayRef); 5] = [
            (
                "n",
                Arc::new(
                    keys.iter().map(|key| (!key.1.is_multiple_of(3)).then_some(key.1 as i64)).collect::<Int64Array>(),
                ),
            ),
            ("text", Arc::new(StringArray::from_iter_values(keys.iter().map(text)))),
            ("view", Arc::new(StringViewArray::from_iter_values(keys.iter().map(text)))),
            (
                "kind",
                Arc::new(keys.iter().map(|key| Some(kinds[key.1 as usize % 3])).collect::<DictionaryArray<Int8Type>>()),
            ),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(keys.iter().map(list)))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn check(limit_bytes: usize, n_rows: u64, expect_runs: std::ops::RangeInclusive<usize>) {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut keys: Vec<Key> = (0..n_rows).map(|row| (random.random_range(0..50), row)).collect();
        keys.shuffle(&mut random);
        let resources = Resources { memory_limit_bytes: limit_bytes, ..Resources::default() };
        let context = Context::new(&resources, Cancel::default()).unwrap();
        let schema = rows(&[]).schema();
        let mut sorter = BatchSorter::new("test", Arc::clone(&schema), &context.budget);
        for keys in keys.chunks(300) {
            sorter.push(&rows(keys), keys, &context).unwrap();
        }
        assert!(expect_runs.contains(&sorter.runs.len()), "{} runs", sorter.runs.len());
        let mut sorted = Vec::new();
        sorter
            .finish(&context, |batch| {
                sorted.push(batch.clone());
                Ok(())
            })
            .unwrap();
        keys.sort_unstable();
        let (found, expect) = (concat_batches(&schema, &sorted).unwrap(), rows(&keys));
        for (found, expect) in found.columns().iter().zip(expect.columns()) {
            let plain = |column: &ArrayRef| cast(column, &plain(column.data_type())).unwrap();
            assert_eq!(found.data_type(), expect.data_type());
            assert_eq!(&plain(found), &plain(expect));
        }
        assert_eq!(std::fs::read_dir(context.spill.path()).unwrap().count(), 0, "run files stay behind");
        assert!(context.budget.reserve("test").try_grow(limit_bytes), "the reservation was not given back");
    }

    #[test]
    fn rows_are_sorted_in_memory_and_in_files() {
        check(1 << 30, 20_000, 0..=0);
        check(32 << 20, 20_000, 3..=MERGE_FAN_IN);
        check(1 << 30, 0, 0..=0);
    }

    #[test]
    fn more_runs_are_merged_than_are_opened_at_once() {
        check(1, 60_000, MERGE_FAN_IN + 1..=200);
    }
}
