//! Data of rows, written once in sequence and read back anywhere: in memory while the budget grants it, else in a file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytemuck::Pod;
use memmap2::{MmapMut, MmapOptions};

use crate::budget::Reservation;
use crate::context::Context;
use crate::{Error, Result};

/// Bytes of memory asked for at a time.
const PAGE_BYTES: usize = 1 << 20;
/// No tape takes more than this share of the memory limit.
const MOST_OF_BUDGET: usize = 4;

/// Bytes in the making.
#[derive(Debug)]
struct TapeWriter {
    storage: Storage,
    n_bytes: u64,
    reservation: Reservation,
    most_bytes: usize,
}

#[derive(Debug)]
enum Storage {
    Memory(Vec<MmapMut>),
    File(BufWriter<File>),
}

impl TapeWriter {
    fn new(stage: &'static str, context: &Context) -> Self {
        Self {
            storage: Storage::Memory(Vec::new()),
            n_bytes: 0,
            reservation: context.budget.reserve(stage),
            most_bytes: context.budget.limit_bytes() / MOST_OF_BUDGET,
        }
    }

    fn append(&mut self, mut bytes: &[u8], context: &Context) -> Result<()> {
        while !bytes.is_empty() {
            let used_of_page = self.n_bytes as usize % PAGE_BYTES;
            if used_of_page == 0 {
                self.make_room(context)?;
            }
            let n_bytes = bytes.len().min(PAGE_BYTES - used_of_page);
            let (now, later) = bytes.split_at(n_bytes);
            match &mut self.storage {
                Storage::Memory(pages) => {
                    pages[self.n_bytes as usize / PAGE_BYTES][used_of_page..][..n_bytes].copy_from_slice(now);
                }
                Storage::File(file) => file.write_all(now).map_err(|error| context.spill.error(error))?,
            }
            self.n_bytes += n_bytes as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Appends zeros up to `n_bytes`.
    fn pad(&mut self, n_bytes: u64, context: &Context) -> Result<()> {
        const PAGE: u64 = PAGE_BYTES as u64;
        while self.n_bytes < n_bytes {
            if self.n_bytes.is_multiple_of(PAGE) {
                self.make_room(context)?;
            }
            self.n_bytes = match &mut self.storage {
                Storage::Memory(_) => n_bytes.min((self.n_bytes / PAGE + 1) * PAGE),
                Storage::File(file) => {
                    file.seek(SeekFrom::Start(n_bytes)).map_err(|error| context.spill.error(error))?
                }
            };
        }
        Ok(())
    }

    /// Adds pages of zeros for `n_bytes` more, if the budget grants them.
    fn try_reserve(&mut self, n_bytes: usize) -> bool {
        let Storage::Memory(pages) = &mut self.storage else { return false };
        while pages.len() * PAGE_BYTES < self.n_bytes as usize + n_bytes {
            let within_share = self.reservation.bytes() + PAGE_BYTES <= self.most_bytes;
            if !within_share || !self.reservation.try_grow(PAGE_BYTES) {
                return false;
            }
            // All of it is written to, and mapping it at once costs a third of what the page faults would.
            let Ok(page) = MmapOptions::new().len(PAGE_BYTES).populate().map_anon() else { return false };
            pages.push(page);
        }
        true
    }

    /// Makes room for a byte: in memory if the budget grants it, else everything is moved into a file.
    fn make_room(&mut self, context: &Context) -> Result<()> {
        if self.try_reserve(1) {
            return Ok(());
        }
        let Storage::Memory(pages) = &mut self.storage else { return Ok(()) };
        let write = |pages: &[MmapMut]| -> io::Result<_> {
            let mut file = BufWriter::with_capacity(PAGE_BYTES, tempfile::tempfile_in(context.spill.path())?);
            for page in pages {
                file.write_all(page)?;
            }
            Ok(file)
        };
        let file = write(pages).map_err(|error| context.spill.error(error))?;
        self.storage = Storage::File(file);
        self.reservation.free();
        Ok(())
    }

    /// What was appended, not copied if it is in memory and on one page.
    fn view<T: Pod>(&self, offset: u64, n: usize, context: &Context) -> Result<Cow<'_, [T]>> {
        if let Storage::Memory(pages) = &self.storage
            && let Some(values) = view_page(pages, offset, n)
        {
            return Ok(Cow::Borrowed(values));
        }
        let mut values = vec![T::zeroed(); n];
        self.read(offset, bytemuck::cast_slice_mut(&mut values), context)?;
        Ok(Cow::Owned(values))
    }

    /// Reads what was appended, as far as it was not kept back in a buffer.
    fn read(&self, offset: u64, out: &mut [u8], context: &Context) -> Result<()> {
        match &self.storage {
            Storage::Memory(pages) => copy_from_pages(pages, offset, out),
            Storage::File(file) => {
                file.get_ref().read_exact_at(out, offset).map_err(|error| context.spill.error(error))?;
            }
        }
        Ok(())
    }

    /// Makes all that was appended readable.
    fn flush(&mut self, context: &Context) -> Result<()> {
        match &mut self.storage {
            Storage::Memory(_) => Ok(()),
            Storage::File(file) => file.flush().map_err(|error| context.spill.error(error)),
        }
    }

    fn finish(self, context: &Context) -> Result<Tape> {
        let pages = match self.storage {
            Storage::Memory(pages) => Pages::Memory(pages, self.reservation),
            Storage::File(file) => {
                let seal = || -> io::Result<File> {
                    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                    file.set_len(self.n_bytes)?;
                    Ok(file)
                };
                Pages::File(seal().map_err(|error| context.spill.error(error))?, context.spill.path().to_path_buf())
            }
        };
        Ok(Tape { pages, n_bytes: self.n_bytes })
    }
}

/// Bytes that can be read anywhere, from any thread.
#[derive(Debug)]
struct Tape {
    pages: Pages,
    n_bytes: u64,
}

#[derive(Debug)]
enum Pages {
    Memory(Vec<MmapMut>, #[expect(dead_code, reason = "gives the memory back when dropped")] Reservation),
    File(File, PathBuf),
}

impl Tape {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        match &self.pages {
            Pages::Memory(pages, _) => {
                copy_from_pages(pages, offset, out);
                Ok(())
            }
            Pages::File(file, dir) => {
                file.read_exact_at(out, offset).map_err(|source| Error::Spill { dir: dir.clone(), source })
            }
        }
    }
}

/// Values that lie on one page, where values of their kind may.
fn view_page<T: Pod>(pages: &[MmapMut], offset: u64, n: usize) -> Option<&[T]> {
    let at = offset as usize;
    let bytes = pages.get(at / PAGE_BYTES)?.get(at % PAGE_BYTES..at % PAGE_BYTES + n * size_of::<T>())?;
    bytemuck::try_cast_slice(bytes).ok()
}

fn copy_from_pages(pages: &[MmapMut], offset: u64, mut out: &mut [u8]) {
    let mut at = offset as usize;
    while !out.is_empty() {
        let page = &pages[at / PAGE_BYTES][at % PAGE_BYTES..];
        let (now, later) = out.split_at_mut(out.len().min(page.len()));
        now.copy_from_slice(&page[..now.len()]);
        at += now.len();
        out = later;
    }
}

/// A record for each row, in the making: so many values of a kind. Rows come in ascending order; rows left out have zeros.
#[derive(Debug)]
pub(super) struct RowTableWriter<T> {
    tape: TapeWriter,
    width: usize,
    kind: PhantomData<T>,
}

impl<T: Pod> RowTableWriter<T> {
    /// An empty table of one value a row.
    pub(super) fn new(stage: &'static str, context: &Context) -> Self {
        Self::of_width(1, stage, context)
    }

    /// An empty table of `width` values a row.
    pub(super) fn of_width(width: usize, stage: &'static str, context: &Context) -> Self {
        Self { tape: TapeWriter::new(stage, context), width, kind: PhantomData }
    }

    /// Sets the value of `row`, which must be above all earlier rows.
    pub(super) fn push(&mut self, row: u64, value: &T, context: &Context) -> Result<()> {
        self.push_record(row, std::slice::from_ref(value), context)
    }

    /// Sets the values of `row`, which must be above all earlier rows.
    pub(super) fn push_record(&mut self, row: u64, values: &[T], context: &Context) -> Result<()> {
        self.tape.pad(row * size_of_val(values) as u64, context)?;
        self.tape.append(bytemuck::cast_slice(values), context)
    }

    /// Makes the records that were pushed so far readable.
    pub(super) fn flush(&mut self, context: &Context) -> Result<()> {
        self.tape.flush(context)
    }

    /// The records of `n_rows` rows from `first` on, all of which were pushed before the last [`flush`](Self::flush).
    pub(super) fn records(&self, first: u64, n_rows: usize, context: &Context) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); n_rows * self.width];
        let offset = first * (self.width * size_of::<T>()) as u64;
        self.tape.read(offset, bytemuck::cast_slice_mut(&mut values), context)?;
        Ok(values)
    }

    /// Ends writing.
    pub(super) fn finish(self, context: &Context) -> Result<RowTable<T>> {
        Ok(RowTable { tape: self.tape.finish(context)?, width: self.width, kind: PhantomData })
    }
}

/// A record for each row.
#[derive(Debug)]
pub(super) struct RowTable<T> {
    tape: Tape,
    width: usize,
    kind: PhantomData<T>,
}

impl<T: Pod> RowTable<T> {
    /// The values of `row`, not copied if they are in memory.
    pub(super) fn view(&self, row: u64) -> Result<Cow<'_, [T]>> {
        let n_bytes = self.width * size_of::<T>();
        if let Pages::Memory(pages, _) = &self.tape.pages
            && let Some(values) = view_page(pages, row * n_bytes as u64, self.width)
        {
            return Ok(Cow::Borrowed(values));
        }
        let mut values = vec![T::zeroed(); self.width];
        self.read(row, &mut values)?;
        Ok(Cow::Owned(values))
    }

    /// The value of `row`, of a table of one value a row.
    pub(super) fn get(&self, row: u64) -> Result<T> {
        let mut value = T::zeroed();
        self.read(row, std::slice::from_mut(&mut value))?;
        Ok(value)
    }

    fn read(&self, row: u64, values: &mut [T]) -> Result<()> {
        let offset = row * size_of_val(values) as u64;
        if offset < self.tape.n_bytes { self.tape.read(offset, bytemuck::cast_slice_mut(values)) } else { Ok(()) }
    }
}

/// Numbers one after the other, in the making.
#[derive(Debug)]
pub(super) struct SequenceWriter(TapeWriter);

impl SequenceWriter {
    /// An empty sequence.
    pub(super) fn new(stage: &'static str, context: &Context) -> Self {
        Self(TapeWriter::new(stage, context))
    }

    /// Adds numbers to the end.
    pub(super) fn append(&mut self, numbers: &[u64], context: &Context) -> Result<()> {
        self.0.append(bytemuck::cast_slice(numbers), context)
    }

    /// Ends writing.
    pub(super) fn finish(self, context: &Context) -> Result<Sequence> {
        Ok(Sequence(self.0.finish(context)?))
    }
}

/// Numbers one after the other.
#[derive(Debug)]
pub(super) struct Sequence(Tape);

impl Sequence {
    /// How many numbers there are.
    pub(super) fn len(&self) -> u64 {
        self.0.n_bytes / size_of::<u64>() as u64
    }

    /// The `n` numbers from `start` on, or those that are left.
    pub(super) fn read(&self, start: u64, n: usize) -> Result<Vec<u64>> {
        let n_left = self.len().saturating_sub(start).min(n as u64);
        let mut numbers = vec![0; n_left as usize];
        self.0.read(start * size_of::<u64>() as u64, bytemuck::cast_slice_mut(&mut numbers))?;
        Ok(numbers)
    }
}

/// A set of shingles for some rows, in the making.
#[derive(Debug)]
pub(super) struct SetTableWriter {
    elements: TapeWriter,
    index: RowTableWriter<[u64; 2]>,
}

impl SetTableWriter {
    /// An empty table.
    pub(super) fn new(stage: &'static str, context: &Context) -> Self {
        Self { elements: TapeWriter::new(stage, context), index: RowTableWriter::new(stage, context) }
    }

    /// Sets the set of `row`, which must be above all earlier rows.
    pub(super) fn push(&mut self, row: u64, set: &[u64], context: &Context) -> Result<()> {
        self.index.push(row, &[self.elements.n_bytes, set.len() as u64], context)?;
        self.elements.append(bytemuck::cast_slice(set), context)
    }

    /// Whether a set of so many elements can be pushed, and all stay in memory.
    pub(super) fn try_reserve(&mut self, n_elements: usize) -> bool {
        self.elements.try_reserve(n_elements * size_of::<u64>())
    }

    /// Makes the sets that were pushed so far readable.
    pub(super) fn flush(&mut self, context: &Context) -> Result<()> {
        self.elements.flush(context)?;
        self.index.tape.flush(context)
    }

    /// The set of a row that was pushed before the last [`flush`](Self::flush), not copied if it is in memory and on one page.
    pub(super) fn view(&self, row: u64, context: &Context) -> Result<Cow<'_, [u64]>> {
        let mut place = [0u64; 2];
        self.index.tape.read(row * size_of_val(&place) as u64, bytemuck::bytes_of_mut(&mut place), context)?;
        self.elements.view(place[0], place[1] as usize, context)
    }

    /// Ends writing.
    pub(super) fn finish(self, context: &Context) -> Result<SetTable> {
        Ok(SetTable { elements: self.elements.finish(context)?, index: self.index.finish(context)? })
    }
}

/// A set of shingles for some rows.
#[derive(Debug)]
pub(super) struct SetTable {
    elements: Tape,
    index: RowTable<[u64; 2]>,
}

impl SetTable {
    /// The set of `row`; empty if the row has none.
    pub(super) fn get(&self, row: u64) -> Result<Vec<u64>> {
        let mut set = Vec::new();
        self.read(row, &mut set)?;
        Ok(set)
    }

    /// The number of elements of the set of `row`.
    pub(super) fn n_elements(&self, row: u64) -> Result<u64> {
        self.index.get(row).map(|[_, n_elements]| n_elements)
    }

    /// As [`get`](Self::get), with memory that is used again.
    pub(super) fn read(&self, row: u64, set: &mut Vec<u64>) -> Result<()> {
        let [offset, n_elements] = self.index.get(row)?;
        set.resize(n_elements as usize, 0);
        self.elements.read(offset, bytemuck::cast_slice_mut(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Cancel, Resources};

    fn context(limit_bytes: usize) -> Context {
        Context::new(&Resources { memory_limit_bytes: limit_bytes, ..Resources::default() }, Cancel::default()).unwrap()
    }

    #[test]
    fn tables_hold_the_same_in_memory_and_in_a_file() {
        for (limit_bytes, in_memory) in [(64 << 20, true), (8 << 20, false), (1 << 10, false)] {
            let context = context(limit_bytes);
            let mut writer = RowTableWriter::<[u64; 3]>::new("test", &context);
            let rows: Vec<u64> = (0..100_000).filter(|row| row % 7 != 0 && !(500..90_000).contains(row)).collect();
            for &row in &rows {
                writer.push(row, &[row, !row, row * row], &context).unwrap();
            }
            let table = writer.finish(&context).unwrap();
            assert_eq!(matches!(table.tape.pages, Pages::Memory(..)), in_memory);
            for row in 0..100_100 {
                let expect = if rows.binary_search(&row).is_ok() { [row, !row, row * row] } else { [0; 3] };
                assert_eq!(table.get(row).unwrap(), expect);
                assert_eq!(*table.view(row).unwrap(), [expect]);
            }
            drop(table);
            assert!(context.budget.reserve("test").try_grow(limit_bytes), "the reservation was not given back");
            assert_eq!(std::fs::read_dir(context.spill.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn records_and_sequences_cross_pages() {
        for limit_bytes in [64 << 20, 1 << 20] {
            let context = context(limit_bytes);
            let mut table = RowTableWriter::<u32>::of_width(97, "test", &context);
            let mut sequence = SequenceWriter::new("test", &context);
            let record = |row: u64| (0..97).map(|index| row as u32 * 100 + index).collect::<Vec<u32>>();
            for row in 0..10_000 {
                table.push_record(row, &record(row), &context).unwrap();
                sequence.append(&[row; 31], &context).unwrap();
            }
            let (table, sequence) = (table.finish(&context).unwrap(), sequence.finish(&context).unwrap());
            assert!((0..10_000).all(|row| *table.view(row).unwrap() == record(row)));
            assert!(table.view(10_000).unwrap().iter().all(|&value| value == 0));
            assert_eq!(sequence.len(), 310_000);
            assert!((0..310_000).step_by(1000).all(|at| {
                sequence.read(at, 5000).unwrap().into_iter().eq((at..310_000).take(5000).map(|at| at / 31))
            }));
        }
    }

    #[test]
    fn sets_cross_pages() {
        for limit_bytes in [256 << 20, 2 << 20] {
            let context = context(limit_bytes);
            let mut writer = SetTableWriter::new("test", &context);
            let set = |row: u64| (0..row * 1000 % 77_777).collect::<Vec<u64>>();
            for row in (3..60).step_by(3) {
                writer.push(row, &set(row), &context).unwrap();
                writer.flush(&context).unwrap();
                assert!((3..=row).step_by(3).all(|row| *writer.view(row, &context).unwrap() == set(row)));
            }
            let table = writer.finish(&context).unwrap();
            for row in 0..70 {
                let expect = if (3..60).contains(&row) && row % 3 == 0 { set(row) } else { Vec::new() };
                assert!(table.get(row).unwrap() == expect, "row {row} under {limit_bytes} bytes");
            }
        }
    }
}
