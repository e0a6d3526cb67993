//! Sorting more records than fit in memory: sorted runs in temporary files, merged when read.
//!
//! ```text
//! push push push ... -> buffer --(budget refuses)--> sort -> run file 0, 1, 2 ...
//! finish -> merge of buffer and run files, at most MERGE_FAN_IN files open at a time -> records in order
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::budget::{Budget, Reservation};
use crate::context::Context;
use crate::{Error, Result};

/// Bytes by which a sorter asks for more memory.
const GROW_BYTES: usize = 1 << 20;
/// Bytes that the buffer of a sorter begins with.
const FIRST_BYTES: usize = 1 << 16;
/// Bytes of a buffer that the system allocator gives pages of its own, so that it grows without being copied.
const MOVABLE_BYTES: usize = 64 << 20;
/// Bytes that a sorter holds whatever the budget grants: a first buffer, and as much again on the heap.
const LEAST_BYTES: usize = 2 * GROW_BYTES;
/// Run files merged at once; more are first merged into longer ones.
const MERGE_FAN_IN: usize = 64;
/// Buffer of one open run file.
const FILE_BUFFER_BYTES: usize = 128 << 10;

/// Name that the folders of temporary files begin with.
const DIR_PREFIX: &str = "tamis-";
/// The file in such a folder that its owner holds locked, as long as it lives.
const OWNER: &str = "owner";
/// The folder in such a folder that has the temporary files.
const FILES: &str = "files";

/// A folder of temporary files, removed with everything in it when dropped. What a killed process left is removed by the
/// next one that spills to the same place.
#[derive(Debug)]
pub struct SpillDir {
    _dir: tempfile::TempDir,
    files: PathBuf,
    next_file: AtomicU64,
    _owner: File,
}

impl SpillDir {
    /// Makes a folder of its own inside `parent`, or inside the system's temporary folder.
    pub fn new(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        Self::new_in(&parent).map_err(|source| Error::Spill { dir: parent, source })
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix(DIR_PREFIX).tempdir_in(parent)?;
        let files = dir.path().join(FILES);
        std::fs::create_dir(&files)?;
        let owner = own(dir.path())?;
        remove_orphans(parent, dir.path());
        Ok(Self { _dir: dir, files, next_file: AtomicU64::new(0), _owner: owner })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.files
    }

    /// A path in the folder that no one else was given.
    pub fn new_path(&self) -> PathBuf {
        self.path().join(self.next_file.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// An I/O error of a file in the folder.
    pub fn error(&self, source: io::Error) -> Error {
        Error::Spill { dir: self.path().to_path_buf(), source }
    }
}

/// Takes the lock that the system gives back when this process ends, however it ends. The file has its name only once it is
/// locked, so that no other process takes a new folder for an orphan.
fn own(dir: &Path) -> io::Result<File> {
    let new = dir.join(FILES).join(OWNER);
    let file = File::create(&new)?;
    match file.try_lock() {
        // Without locks there, the folder is never taken for an orphan either.
        Err(TryLockError::Error(_)) => std::fs::remove_file(new)?,
        Ok(()) | Err(TryLockError::WouldBlock) => std::fs::rename(new, dir.join(OWNER))?,
    }
    Ok(file)
}

/// Removes the folders whose owner is gone: ours by user and name, with an owner's file that no one holds.
fn remove_orphans(parent: &Path, own_dir: &Path) {
    let user =
        |path: &Path| std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_dir).map(|dir| dir.uid());
    let own_user = user(own_dir);
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with(DIR_PREFIX) && user(&path) == own_user;
        if !is_ours || path == own_dir {
            continue;
        }
        // An orphan that cannot be removed harms no one.
        let Ok(owner) = File::open(path.join(OWNER)) else { continue };
        if owner.try_lock().is_ok() && std::fs::remove_dir_all(&path).is_ok() {
            tracing::info!(dir = %path.display(), "removed the temporary files of a killed run");
        }
    }
}

/// Something that can be sorted in a temporary file.
pub trait Record: Ord + Sized {
    /// Writes the record so that [`decode`](Self::decode) reads it back.
    fn encode(&self, out: &mut impl Write) -> io::Result<()>;

    /// Reads one record.
    fn decode(input: &mut impl Read) -> io::Result<Self>;

    /// Bytes held outside of the record itself.
    fn heap_bytes(&self) -> usize {
        0
    }
}

macro_rules! integer_record {
    ($($integer:ty),*) => {$(
        impl Record for $integer {
            fn encode(&self, out: &mut impl Write) -> io::Result<()> {
                out.write_all(&self.to_le_bytes())
            }

            fn decode(input: &mut impl Read) -> io::Result<Self> {
                let mut bytes = [0; size_of::<$integer>()];
                input.read_exact(&mut bytes)?;
                Ok(Self::from_le_bytes(bytes))
            }
        }
    )*};
}
integer_record!(u16, u32, u64, u128);

impl Record for Vec<u8> {
    fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        self.len().encode_len(out)?;
        out.write_all(self)
    }

    fn decode(input: &mut impl Read) -> io::Result<Self> {
        let mut bytes = vec![0; u64::decode(input)? as usize];
        input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

trait EncodeLen {
    fn encode_len(&self, out: &mut impl Write) -> io::Result<()>;
}

impl EncodeLen for usize {
    fn encode_len(&self, out: &mut impl Write) -> io::Result<()> {
        (*self as u64).encode(out)
    }
}

macro_rules! tuple_record {
    ($($name:ident . $index:tt),*) => {
        impl<$($name: Record),*> Record for ($($name,)*) {
            fn encode(&self, out: &mut impl Write) -> io::Result<()> {
                $(self.$index.encode(out)?;)*
                Ok(())
            }

            fn decode(input: &mut impl Read) -> io::Result<Self> {
                Ok(($($name::decode(input)?,)*))
            }

            fn heap_bytes(&self) -> usize {
                0 $(+ self.$index.heap_bytes())*
            }
        }
    };
}
tuple_record!(A.0, B.1);
tuple_record!(A.0, B.1, C.2);
tuple_record!(A.0, B.1, C.2, D.3);
tuple_record!(A.0, B.1, C.2, D.3, E.4);

/// Sorts any number of records within the budget.
///
/// # Determinism
/// The order that comes out is that of `Ord`, whatever was spilled; equal records are equal in every byte.
#[derive(Debug)]
pub struct ExternalSorter<R> {
    buffer: Vec<R>,
    heap_bytes: usize,
    reservation: Reservation,
    most_bytes: usize,
    runs: Vec<PathBuf>,
    n_records: u64,
}

impl<R: Record> ExternalSorter<R> {
    /// A sorter that never takes more than a quarter of the budget.
    pub fn new(stage: &'static str, budget: &Budget) -> Self {
        Self::with_share(stage, budget, 4)
    }

    /// A sorter that never takes more than one of `n_shares` of the budget: for what is sorted while much else is held.
    pub fn with_share(stage: &'static str, budget: &Budget, n_shares: usize) -> Self {
        Self {
            buffer: Vec::new(),
            heap_bytes: 0,
            reservation: budget.reserve(stage),
            most_bytes: (budget.limit_bytes() / n_shares).max(GROW_BYTES),
            runs: Vec::new(),
            n_records: 0,
        }
    }

    /// Number of records pushed.
    pub fn len(&self) -> u64 {
        self.n_records
    }

    /// Whether no record was pushed.
    pub fn is_empty(&self) -> bool {
        self.n_records == 0
    }

    /// Adds a record.
    pub fn push(&mut self, record: R, context: &Context) -> Result<()> {
        self.n_records += 1;
        self.heap_bytes += record.heap_bytes();
        let held_bytes = (self.buffer.len() + 1) * size_of::<R>() + self.heap_bytes;
        if held_bytes > self.reservation.bytes().max(LEAST_BYTES) {
            self.make_room(held_bytes, context)?;
        }
        if self.buffer.len() == self.buffer.capacity() {
            self.extend_capacity();
        }
        self.buffer.push(record);
        Ok(())
    }

    /// Asks for more memory; if the budget refuses, empties the buffer into a run file.
    fn make_room(&mut self, held_bytes: usize, context: &Context) -> Result<()> {
        let wanted_bytes = held_bytes + GROW_BYTES;
        let granted =
            wanted_bytes <= self.most_bytes && self.reservation.try_grow(wanted_bytes - self.reservation.bytes());
        if granted { Ok(()) } else { self.spill(context) }
    }

    /// Reserves addresses, which cost no memory until they are written to: few at first, then so many that the system moves
    /// them without copying when there must be more.
    fn extend_capacity(&mut self) {
        let n_bytes = match self.buffer.capacity() * size_of::<R>() {
            0 => FIRST_BYTES,
            n_bytes if n_bytes < MOVABLE_BYTES => self.most_bytes.clamp(LEAST_BYTES, MOVABLE_BYTES).max(2 * n_bytes),
            n_bytes => 2 * n_bytes,
        };
        self.buffer.reserve_exact((n_bytes / size_of::<R>()).max(16) - self.buffer.len());
    }

    fn spill(&mut self, context: &Context) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.buffer.sort_unstable();
        let path = context.spill.new_path();
        write_run(&path, self.buffer.drain(..).map(Ok)).map_err(|error| context.spill.error(error))?;
        self.runs.push(path);
        self.heap_bytes = 0;
        Ok(())
    }

    /// Sorts and hands the records out in order.
    pub fn finish(mut self, context: &Context) -> Result<Sorted<R>> {
        if self.runs.is_empty() {
            self.buffer.sort_unstable();
            return Ok(Sorted {
                source: SortedSource::Memory(self.buffer.into_iter()),
                _reservation: self.reservation,
            });
        }
        self.spill(context)?;
        self.buffer = Vec::new();
        self.reservation.free();
        let in_spill = |error| context.spill.error(error);
        while self.runs.len() > MERGE_FAN_IN {
            let merged: Vec<_> = self.runs.drain(..MERGE_FAN_IN).collect();
            let path = context.spill.new_path();
            write_run(&path, Merge::<R>::open(&merged).map_err(in_spill)?).map_err(in_spill)?;
            self.runs.push(path);
        }
        let merge = Merge::open(&self.runs).map_err(in_spill)?;
        Ok(Sorted {
            source: SortedSource::Files(merge, context.spill.path().to_path_buf()),
            _reservation: self.reservation,
        })
    }
}

fn write_run<R: Record>(path: &Path, records: impl Iterator<Item = io::Result<R>>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(FILE_BUFFER_BYTES, File::create(path)?);
    for record in records {
        record?.encode(&mut out)?;
    }
    out.flush()
}

/// Records in order, from memory or from run files.
#[derive(Debug)]
pub struct Sorted<R: Record> {
    source: SortedSource<R>,
    _reservation: Reservation,
}

#[derive(Debug)]
enum SortedSource<R: Record> {
    Memory(std::vec::IntoIter<R>),
    Files(Merge<R>, PathBuf),
}

impl<R: Record> Iterator for Sorted<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            SortedSource::Memory(records) => records.next().map(Ok),
            SortedSource::Files(merge, dir) => {
                merge.next().map(|record| record.map_err(|source| Error::Spill { dir: dir.clone(), source }))
            }
        }
    }
}

/// Merge of sorted run files; a file is deleted when it is read to its end.
#[derive(Debug)]
struct Merge<R: Record> {
    readers: Vec<RunReader>,
    heads: BinaryHeap<Reverse<(R, usize)>>,
}

#[derive(Debug)]
struct RunReader {
    reader: BufReader<File>,
    path: PathBuf,
}

impl RunReader {
    fn read<R: Record>(&mut self) -> io::Result<Option<R>> {
        if io::BufRead::fill_buf(&mut self.reader)?.is_empty() {
            std::fs::remove_file(&self.path)?;
            return Ok(None);
        }
        R::decode(&mut self.reader).map(Some)
    }
}

impl<R: Record> Merge<R> {
    fn open(paths: &[PathBuf]) -> io::Result<Self> {
        let mut readers = Vec::with_capacity(paths.len());
        let mut heads = BinaryHeap::with_capacity(paths.len());
        for path in paths {
            let reader = BufReader::with_capacity(FILE_BUFFER_BYTES, File::open(path)?);
            let mut reader = RunReader { reader, path: path.clone() };
            if let Some(record) = reader.read()? {
                heads.push(Reverse((record, readers.len())));
            }
            readers.push(reader);
        }
        Ok(Self { readers, heads })
    }
}

impl<R: Record> Iterator for Merge<R> {
    type Item = io::Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.heads.peek_mut()?;
        let index = head.0.1;
        match self.readers[index].read() {
            Ok(Some(record)) => Some(Ok(std::mem::replace(&mut head.0.0, record))),
            Ok(None) => Some(Ok(PeekMut::pop(head).0.0)),
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::context::{Cancel, Resources};

    fn check<R: Record + Clone + std::fmt::Debug>(limit_bytes: usize, mut records: Vec<R>, expect_runs: bool) {
        let resources = Resources { memory_limit_bytes: limit_bytes, ..Resources::default() };
        let context = Context::new(&resources, Cancel::default()).unwrap();
        let mut sorter = ExternalSorter::new("test", &context.budget);
        for record in &records {
            sorter.push(record.clone(), &context).unwrap();
        }
        assert_eq!(!sorter.runs.is_empty(), expect_runs);
        let sorted: Vec<R> = sorter.finish(&context).unwrap().map(Result::unwrap).collect();
        records.sort();
        assert_eq!(sorted, records);
        assert_eq!(std::fs::read_dir(context.spill.path()).unwrap().count(), 0, "run files stay behind");
        assert!(context.budget.reserve("test").try_grow(limit_bytes), "the reservation was not given back");
    }

    #[test]
    fn sorts_in_memory_and_in_files() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let pairs: Vec<(u64, u32)> = (0..300_000).map(|_| (random.random_range(0..1000), random.random())).collect();
        check(64 << 20, pairs.clone(), false);
        check(1 << 20, pairs, true);
        let texts: Vec<(Vec<u8>, u64)> = (0..60_000u64)
            .map(|row| ((0..random.random_range(0..40)).map(|_| random.random::<u8>()).collect(), row))
            .collect();
        check(256 << 20, texts.clone(), false);
        check(2 << 20, texts, true);
        check::<u64>(1 << 20, Vec::new(), false);
    }

    #[test]
    fn a_refusing_budget_does_not_make_a_run_of_every_record() {
        let context =
            Context::new(&Resources { memory_limit_bytes: 1, ..Resources::default() }, Cancel::default()).unwrap();
        let mut sorter = ExternalSorter::new("test", &context.budget);
        for row in 0..100_000u64 {
            sorter.push((row, vec![7u8; 20]), &context).unwrap();
        }
        assert!(sorter.runs.len() <= 10, "{} runs", sorter.runs.len());
    }

    #[test]
    fn folders_of_killed_runs_are_removed_and_no_others() {
        let parent = tempfile::tempdir().unwrap();
        let orphan = SpillDir::new(Some(parent.path())).unwrap();
        std::fs::write(orphan.new_path(), "data").unwrap();
        let SpillDir { _dir: dir, _owner: owner, .. } = orphan;
        let orphan = dir.keep();
        std::fs::create_dir(parent.path().join("tamis-of-someone")).unwrap();
        let alive = SpillDir::new(Some(parent.path())).unwrap();
        assert!(orphan.join(FILES).join("0").exists(), "its owner lives");
        std::mem::drop(owner);
        let next = SpillDir::new(Some(parent.path())).unwrap();
        assert!(!orphan.exists(), "an orphan stays behind");
        assert!(alive.path().exists() && next.path().exists() && parent.path().join("tamis-of-someone").exists());
        std::mem::drop((alive, next));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn merges_more_runs_than_it_opens_at_once() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        check(1 << 20, (0..9_000_000).map(|_| random.random::<u64>()).collect(), true);
    }
}
