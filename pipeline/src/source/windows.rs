//! The bytes of a Parquet file for parquet-rs: for each column chunk a window that moves forward, and the next one ahead.
//!
//! ```text
//! row group:  | column a ............ | column b ............ |
//!                  [window][ahead]        [window][ahead]
//! ```

use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::task::JoinHandle;

use super::fetch::StoredFile;
use crate::{Error, Result};

/// Bytes of all windows of a file together; as much again may be ahead.
const WINDOWS_BYTES: u64 = 8 << 20;
/// Bytes of a window, however many columns there are.
const MIN_WINDOW_BYTES: u64 = 64 << 10;
/// Bytes of a window, however few columns there are.
const MAX_WINDOW_BYTES: u64 = 8 << 20;

/// A file whose column chunks are read through windows.
#[derive(Debug, Clone)]
pub(super) struct Windows(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<StoredFile>,
    windows: Mutex<Vec<Window>>,
    /// The first error of the store: on its way through parquet-rs it would become a string.
    failure: Mutex<Option<Error>>,
}

#[derive(Debug)]
struct Window {
    /// The column chunk.
    range: Range<u64>,
    read_bytes: u64,
    /// Where `data` begins.
    start: u64,
    data: Bytes,
    ahead: Option<(u64, JoinHandle<Result<Bytes>>)>,
}

impl Windows {
    /// A file of which nothing is read yet.
    pub(super) fn new(file: Arc<StoredFile>) -> Self {
        Self(Arc::new(Inner { file, windows: Mutex::default(), failure: Mutex::default() }))
    }

    /// Moves on to the column chunks at `ranges`.
    pub(super) fn set_chunks(&self, ranges: impl ExactSizeIterator<Item = Range<u64>>) {
        let n_chunks = ranges.len().max(1) as u64;
        let window_bytes = (WINDOWS_BYTES / n_chunks).clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES);
        let file = &self.0.file;
        let window = |range: Range<u64>| {
            let range = range.start..range.end.min(file.size_bytes);
            let mut window =
                Window { start: range.start, range, read_bytes: window_bytes, data: Bytes::new(), ahead: None };
            window.request(file, window.start);
            window
        };
        let windows = ranges.map(window).collect();
        *self.0.windows.lock().unwrap_or_else(PoisonError::into_inner) = windows;
    }

    /// The error of the store that a read failed with, if it was the store.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn read(&self, start: u64, n_bytes: u64) -> Result<Bytes> {
        let file = &self.0.file;
        let end = start.checked_add(n_bytes).filter(|&end| end <= file.size_bytes);
        let end = end.ok_or_else(|| Error::Corrupt {
            location: file.location.clone(),
            format: "a Parquet file",
            message: format!("it points to byte {start} and {n_bytes} more, but has {} bytes", file.size_bytes),
        })?;
        let mut windows = self.0.windows.lock().unwrap_or_else(PoisonError::into_inner);
        match windows.iter_mut().find(|window| window.range.start <= start && end <= window.range.end) {
            Some(window) => window.read(file, start, n_bytes),
            // Footer and indexes.
            None => file.read(start..end),
        }
    }

    /// As [`read`](Self::read); the error goes to `failure`, parquet-rs gets a stand-in.
    fn read_for_parquet(&self, start: u64, n_bytes: u64) -> Result<Bytes, ParquetError> {
        self.read(start, n_bytes).map_err(|error| {
            self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            ParquetError::General("the file could not be read".into())
        })
    }

    /// Bytes from `start` on, as many as are at hand or a small read gives; at least one before the end of the file.
    fn read_some(&self, start: u64) -> Result<Bytes, ParquetError> {
        let at_hand = {
            let windows = self.0.windows.lock().unwrap_or_else(PoisonError::into_inner);
            let window = windows.iter().find(|window| window.range.contains(&start));
            window.map_or(0, |window| window.at_hand(start).min(MIN_WINDOW_BYTES))
        };
        let rest = self.0.file.size_bytes.saturating_sub(start);
        self.read_for_parquet(start, at_hand.max(1).min(rest))
    }
}

impl Window {
    fn at_hand(&self, start: u64) -> u64 {
        if (self.start..=self.end()).contains(&start) { self.end() - start } else { 0 }
    }

    fn end(&self) -> u64 {
        self.start + self.data.len() as u64
    }

    fn request(&mut self, file: &StoredFile, start: u64) {
        let end = (start + self.read_bytes).min(self.range.end);
        self.ahead = (start < end).then(|| (start, file.start(start..end)));
    }

    fn read(&mut self, file: &StoredFile, start: u64, n_bytes: u64) -> Result<Bytes> {
        let mut data = if (self.start..=self.end()).contains(&start) {
            self.data.slice((start - self.start) as usize..)
        } else {
            Bytes::new()
        };
        while (data.len() as u64) < n_bytes {
            let next = start + data.len() as u64;
            let more = match self.ahead.take() {
                Some((ahead, request)) if ahead == next => file.wait(request)?,
                _ => {
                    let end = next + (n_bytes - data.len() as u64).max(self.read_bytes);
                    file.read(next..end.min(self.range.end))?
                }
            };
            self.request(file, next + more.len() as u64);
            data = if data.is_empty() { more } else { concatenated(&data, &more) };
        }
        self.start = start;
        self.data = data.clone();
        Ok(data.slice(..n_bytes as usize))
    }
}

fn concatenated(left: &Bytes, right: &Bytes) -> Bytes {
    let mut both = BytesMut::with_capacity(left.len() + right.len());
    both.extend_from_slice(left);
    both.extend_from_slice(right);
    both.freeze()
}

impl Length for Windows {
    fn len(&self) -> u64 {
        self.0.file.size_bytes
    }
}

impl ChunkReader for Windows {
    type T = WindowReader;

    fn get_read(&self, start: u64) -> Result<WindowReader, ParquetError> {
        Ok(WindowReader { windows: self.clone(), position: start, local: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.read_for_parquet(start, length as u64)
    }
}

/// Reads on from a position; used for page headers, some tens of bytes each.
#[derive(Debug)]
pub(super) struct WindowReader {
    windows: Windows,
    position: u64,
    local: Bytes,
}

impl Read for WindowReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.local.is_empty() {
            self.local = self.windows.read_some(self.position).map_err(std::io::Error::other)?;
        }
        let n_bytes = self.local.len().min(out.len());
        self.local.copy_to_slice(&mut out[..n_bytes]);
        self.position += n_bytes as u64;
        Ok(n_bytes)
    }
}
