//! Files whose every block has a checksum: damage is noticed in whatever part of a file is read, and only that part is.
//!
//! ```text
//! rows.parquet  | block 0 | block 1 | ... |     checksums: one hash of 16 bytes for each block of both files
//! keys.parquet  | block 0 | ...                 index.json: size and SHA-256 of all three
//! ```

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use sha2::{Digest, Sha256};
use tamis_schemas::manifest::FileRecord;
use tokio::runtime::Handle;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::place::Place;
use crate::sink::{ObjectWriter, hex};
use crate::store::unreadable;
use crate::{Error, Result};

/// Bytes of a block.
const BLOCK_BYTES: u64 = 64 << 10;
/// Bytes of a checksum.
pub(super) const CHECKSUM_BYTES: usize = 16;
/// Files up to this size are read and checked as a whole when they are opened.
const SMALL_BYTES: u64 = 16 << 20;
/// Bytes of one request where a file is read from its beginning to its end.
const READ_BYTES: u64 = 8 * BLOCK_BYTES;

/// Writes a file and hashes its blocks.
pub(super) struct BlockWriter {
    object: ObjectWriter,
    block: Xxh3,
    block_bytes: u64,
    checksums: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn create(place: &Place, name: &str) -> Result<Self> {
        let object = ObjectWriter::create(&place.store, &place.path(name), None, &place.runtime)
            .map_err(|error| place.unwritable(name, error))?;
        Ok(Self { object, block: Xxh3::new(), block_bytes: 0, checksums: Vec::new() })
    }

    /// Ends the file: its size, its SHA-256 and the checksums of its blocks.
    pub(super) fn finish(mut self) -> object_store::Result<(u64, String, Vec<u8>)> {
        if self.block_bytes > 0 {
            self.end_block();
        }
        let (bytes, sha256) = self.object.finish()?;
        Ok((bytes, sha256, self.checksums))
    }

    fn end_block(&mut self) {
        self.checksums.extend_from_slice(&self.block.digest128().to_be_bytes());
        self.block.reset();
        self.block_bytes = 0;
    }
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_bytes = bytes.len().min((BLOCK_BYTES - self.block_bytes) as usize);
        self.object.write_all(&bytes[..n_bytes])?;
        self.block.update(&bytes[..n_bytes]);
        self.block_bytes += n_bytes as u64;
        if self.block_bytes == BLOCK_BYTES {
            self.end_block();
        }
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Number of blocks of a file.
pub(super) fn n_blocks(bytes: u64) -> usize {
    bytes.div_ceil(BLOCK_BYTES) as usize
}

/// A file whose blocks are checked as they are read. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct BlockFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    runtime: Handle,
    location: Arc<str>,
    n_bytes: u64,
    checksums: Bytes,
}

impl BlockFile {
    /// Opens a file of the index, whose blocks have these checksums; a small one is checked as a whole.
    ///
    /// # Errors
    /// `Error::Corrupt` if it is not there, has another size, or is damaged.
    pub(super) fn open(place: &Place, record: &FileRecord, checksums: Bytes) -> Result<Self> {
        let file = Self {
            store: Arc::clone(&place.store),
            path: place.path(&record.path),
            runtime: place.runtime.clone(),
            location: place.display(&record.path).into(),
            n_bytes: record.bytes,
            checksums,
        };
        if file.checksums.len() != n_blocks(record.bytes) * CHECKSUM_BYTES {
            return Err(damaged(&file.location, "its checksums are of a file of another size"));
        }
        let found =
            place.size(&record.path).map_err(|error| missing_or_unreadable(&place.display(&record.path), &error))?;
        if found != record.bytes {
            let message = format!("it has {found} bytes, but was written with {}", record.bytes);
            return Err(damaged(&file.location, message));
        }
        if record.bytes <= SMALL_BYTES {
            file.check(record)?;
        }
        Ok(file)
    }

    /// Reads the whole file and compares its SHA-256 and every checksum.
    pub(super) fn check(&self, record: &FileRecord) -> Result<()> {
        let mut digest = Sha256::new();
        let mut start = 0;
        while start < self.n_bytes {
            let end = (start + READ_BYTES).min(self.n_bytes);
            digest.update(self.read(start..end)?);
            start = end;
        }
        if hex(&digest.finalize()) == record.sha256 {
            Ok(())
        } else {
            Err(damaged(&self.location, "its SHA-256 is not the one it was written with"))
        }
    }

    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// Reads a range that lies in the file, with the rest of the blocks that it lies in.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start >= range.end || range.end > self.n_bytes {
            let message = format!("bytes {} to {} of {} are asked for", range.start, range.end, self.n_bytes);
            return if range.is_empty() { Ok(Bytes::new()) } else { Err(damaged(&self.location, message)) };
        }
        let first_block = range.start / BLOCK_BYTES;
        let start = first_block * BLOCK_BYTES;
        let end = range.end.next_multiple_of(BLOCK_BYTES).min(self.n_bytes);
        let bytes = self
            .runtime
            .block_on(self.store.get_range(&self.path, start..end))
            .map_err(|error| missing_or_unreadable(&self.location, &error))?;
        if bytes.len() as u64 != end - start {
            return Err(damaged(&self.location, "it ends early"));
        }
        for (block, number) in bytes.chunks(BLOCK_BYTES as usize).zip(first_block..) {
            let at = number as usize * CHECKSUM_BYTES;
            if self.checksums[at..at + CHECKSUM_BYTES] != xxh3_128(block).to_be_bytes() {
                return Err(damaged(&self.location, format!("the checksum of block {number} does not match")));
            }
        }
        Ok(bytes.slice((range.start - start) as usize..(range.end - start) as usize))
    }

    /// Reads a range ahead: what lies inside of it is then served from memory.
    pub(super) fn window(&self, range: Range<u64>) -> Result<Window> {
        let start = range.start;
        Ok(Window { file: self.clone(), start, bytes: self.read(range)? })
    }
}

/// The error of a file of an index that is not what it was when it was written.
pub(super) fn damaged(location: &str, message: impl Into<String>) -> Error {
    Error::Corrupt { location: location.to_owned(), format: "a file of this index", message: message.into() }
}

/// The error of a file of an index that cannot be read.
pub(super) fn missing_or_unreadable(location: &str, error: &object_store::Error) -> Error {
    if matches!(error, object_store::Error::NotFound { .. }) {
        damaged(location, "it is not there; another command may have replaced it just now: try again")
    } else {
        unreadable(location, error)
    }
}

/// Part of a [`BlockFile`], in memory.
#[derive(Debug, Clone)]
pub(super) struct Window {
    file: BlockFile,
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn get(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let offset = start.checked_sub(self.start).map(|offset| offset as usize);
        if let Some(offset) = offset.filter(|offset| offset + length <= self.bytes.len()) {
            return Ok(self.bytes.slice(offset..offset + length));
        }
        self.file.get_bytes(start, length)
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.file.n_bytes
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let end = self.start + self.bytes.len() as u64;
        let is_inside = (self.start..end).contains(&start);
        let length = if is_inside { end - start } else { self.file.n_bytes.saturating_sub(start) };
        Ok(self.get(start, length as usize)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.get(start, length)
    }
}

impl Length for BlockFile {
    fn len(&self) -> u64 {
        self.n_bytes
    }
}

impl ChunkReader for BlockFile {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.get_bytes(start, self.n_bytes.saturating_sub(start) as usize)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.read(start..start + length as u64).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::memory_place;
    use super::*;

    fn written(bytes: &[u8]) -> (tokio::runtime::Runtime, Place, FileRecord, Bytes) {
        let (runtime, place) = memory_place();
        let mut writer = BlockWriter::create(&place, "x").unwrap();
        bytes.chunks(1000).for_each(|part| writer.write_all(part).unwrap());
        let (n_bytes, sha256, checksums) = writer.finish().unwrap();
        let record = FileRecord { path: "x".into(), rows: 0, bytes: n_bytes, sha256, ..FileRecord::default() };
        (runtime, place, record, checksums.into())
    }

    #[test]
    fn ranges_are_read_and_damage_is_found_where_it_is() {
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES + 17).map(|index| (index * index % 251) as u8).collect();
        let (_runtime, place, record, checksums) = written(&bytes);
        let file = BlockFile::open(&place, &record, checksums.clone()).unwrap();
        for range in [0..10, 65_530..65_540, 0..bytes.len() as u64, 196_608..196_625, 5..5] {
            let expect = &bytes[range.start as usize..range.end as usize];
            assert_eq!(file.read(range).unwrap(), expect);
        }
        let mut broken = bytes.clone();
        broken[2 * BLOCK_BYTES as usize] ^= 1;
        place.put("x", broken).unwrap();
        assert_eq!(file.read(0..BLOCK_BYTES).unwrap(), bytes[..BLOCK_BYTES as usize]);
        let error = file.read(0..2 * BLOCK_BYTES + 1).unwrap_err().to_string();
        assert!(error.contains("block 2"), "{error}");
        assert!(BlockFile::open(&place, &record, checksums.clone()).is_err(), "a small file is checked when opened");
        for damaged in [bytes[..bytes.len() - 1].to_vec(), [bytes.clone(), vec![0]].concat(), Vec::new()] {
            place.put("x", damaged).unwrap();
            let error = BlockFile::open(&place, &record, checksums.clone()).unwrap_err().to_string();
            assert!(error.contains("bytes"), "{error}");
        }
        let gone = FileRecord { path: "y".into(), ..record };
        assert!(BlockFile::open(&place, &gone, checksums).unwrap_err().to_string().contains("not there"));
    }
}
