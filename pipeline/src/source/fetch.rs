//! Bytes of one file in an object store: in ranges, a few of them ahead.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::store::unreadable;
use crate::{Error, Result};

/// Bytes of one request. Large enough that S3's first-byte latency (some 30 ms) costs little at 1 GB/s.
const RANGE_BYTES: u64 = 8 << 20;
/// Bytes that are looked at together for the end of a line.
const LINE_BYTES: u64 = 64 << 10;
/// Requests under way while a range is used.
const RANGES_AHEAD: usize = 2;

/// A file in an object store, as it was when the inputs were listed.
#[derive(Debug, Clone)]
pub(super) struct StoredFile {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: Path,
    /// Name in error messages.
    pub(super) location: String,
    /// Where in the object it begins; 0 unless it is a part of it.
    pub(super) offset: u64,
    pub(super) size_bytes: u64,
    pub(super) e_tag: Option<String>,
    pub(super) handle: Handle,
}

impl StoredFile {
    /// Starts to read a range that lies in the file.
    pub(super) fn start(&self, range: Range<u64>) -> JoinHandle<Result<Bytes>> {
        let file = self.clone();
        self.handle.spawn(async move { file.get(range).await })
    }

    /// Waits for a range.
    pub(super) fn wait(&self, request: JoinHandle<Result<Bytes>>) -> Result<Bytes> {
        self.handle.block_on(request).map_err(|error| Error::Invariant(format!("a read was lost: {error}")))?
    }

    /// Reads a range that lies in the file.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.wait(self.start(range))
    }

    /// The lines of the file that begin in a range of its bytes, as a file of their own.
    pub(super) fn lines(&self, range: &Range<u64>) -> Result<Self> {
        let (start, end) = (self.line_start(range.start)?, self.line_start(range.end)?);
        Ok(Self { offset: self.offset + start, size_bytes: end - start, ..self.clone() })
    }

    /// Where the first line begins that does not begin before `at`.
    fn line_start(&self, at: u64) -> Result<u64> {
        // A line that begins at `at` has its line feed right before.
        let mut from = at.min(self.size_bytes).saturating_sub(1);
        if at == 0 {
            return Ok(0);
        }
        while from < self.size_bytes {
            let bytes = self.read(from..(from + LINE_BYTES).min(self.size_bytes))?;
            if let Some(line_feed) = memchr::memchr(b'\n', &bytes) {
                return Ok(from + line_feed as u64 + 1);
            }
            from += bytes.len() as u64;
        }
        Ok(self.size_bytes)
    }

    async fn get(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        // A weak tag (`W/...`, some web servers) never matches.
        let if_match = self.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        let range = self.offset + range.start..self.offset + range.end;
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), if_match, ..GetOptions::default() };
        let got = async { self.store.get_opts(&self.path, options).await?.bytes().await }.await;
        match got {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok(_) | Err(object_store::Error::Precondition { .. }) => {
                Err(Error::Invariant(format!("`{}` changed while it was read", self.location)))
            }
            Err(error) => Err(unreadable(&self.location, &error)),
        }
    }
}

/// A file from its beginning to its end. Errors of the store are inside of the `io::Error`: see [`store_error`].
#[derive(Debug)]
pub(super) struct RangeReader {
    file: Arc<StoredFile>,
    current: Bytes,
    current_end: u64,
    ahead: VecDeque<JoinHandle<Result<Bytes>>>,
    next_offset: u64,
}

impl RangeReader {
    /// Starts to read.
    pub(super) fn new(file: Arc<StoredFile>) -> Self {
        let mut reader = Self { file, current: Bytes::new(), current_end: 0, ahead: VecDeque::new(), next_offset: 0 };
        reader.request();
        reader
    }

    fn request(&mut self) {
        while self.ahead.len() < RANGES_AHEAD && self.next_offset < self.file.size_bytes {
            let end = (self.next_offset + RANGE_BYTES).min(self.file.size_bytes);
            self.ahead.push_back(self.file.start(self.next_offset..end));
            self.next_offset = end;
        }
    }

    /// Bytes that were used.
    pub(super) fn position(&self) -> u64 {
        self.current_end - self.current.len() as u64
    }
}

impl BufRead for RangeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty()
            && let Some(request) = self.ahead.pop_front()
        {
            self.current = self.file.wait(request).map_err(io::Error::other)?;
            self.current_end += self.current.len() as u64;
            self.request();
        }
        Ok(&self.current)
    }

    fn consume(&mut self, n_bytes: usize) {
        let _ = self.current.split_to(n_bytes);
    }
}

impl Read for RangeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.fill_buf()?.len().min(out.len());
        out[..n_bytes].copy_from_slice(&self.current[..n_bytes]);
        self.consume(n_bytes);
        Ok(n_bytes)
    }
}

/// The error of the store that an `io::Error` carries; else the `io::Error`.
pub(super) fn store_error(error: io::Error) -> std::result::Result<Error, io::Error> {
    error.downcast::<Error>()
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    fn stored(runtime: &tokio::runtime::Runtime, bytes: Vec<u8>) -> StoredFile {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("x");
        let size_bytes = bytes.len() as u64;
        let e_tag = runtime.block_on(store.put(&path, bytes.into())).unwrap().e_tag;
        let handle = runtime.handle().clone();
        StoredFile { store, path, location: "x".into(), offset: 0, size_bytes, e_tag, handle }
    }

    #[test]
    fn reads_every_byte_once() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        for size in [0, 1, RANGE_BYTES as usize, 3 * RANGE_BYTES as usize + 17] {
            let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let mut reader = RangeReader::new(Arc::new(stored(&runtime, bytes.clone())));
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{size} bytes");
            assert_eq!(reader.position(), size as u64);
        }
    }

    #[test]
    fn ranges_have_each_line_once() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let long = format!("{}\n", "x".repeat(3 * LINE_BYTES as usize + 5));
        for text in ["", "a", "a\n", "\n\nab\r\n\ncd", &format!("one\n{long}two\n{long}{long}end")] {
            let file = stored(&runtime, text.as_bytes().to_vec());
            for step in [1, 2, 3, 7, LINE_BYTES, LINE_BYTES + 1, 1 << 40] {
                if text.len() as u64 / step > 1000 {
                    continue;
                }
                let mut found = Vec::new();
                let mut n_parts = 0;
                for start in (0..file.size_bytes.max(1)).step_by(step as usize) {
                    let part = file.lines(&(start..(start + step).min(file.size_bytes))).unwrap();
                    let bytes = part.read(0..part.size_bytes).unwrap();
                    n_parts += usize::from(!bytes.is_empty());
                    assert!(found.is_empty() || bytes.is_empty() || found.ends_with(b"\n"));
                    found.extend_from_slice(&bytes);
                }
                assert!(found == text.as_bytes(), "{step}");
                assert!(step > 1 || n_parts == text.split_inclusive('\n').count());
            }
        }
    }

    #[test]
    fn a_change_is_noticed() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let file = stored(&runtime, b"before".to_vec());
        runtime.block_on(file.store.put(&file.path, b"after!".to_vec().into())).unwrap();
        let mut reader = RangeReader::new(Arc::new(file));
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(matches!(store_error(error), Ok(Error::Invariant(message)) if message.contains("changed")));
    }
}
