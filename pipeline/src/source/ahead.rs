//! Reading the next files while this one is decoded: many small objects would each cost a round trip otherwise.

use std::collections::VecDeque;
use std::sync::Arc;

use super::InputFile;
use super::fetch::{RangeReader, StoredFile};

/// Files that are read ahead.
const MAX_FILES: usize = 16;
/// Bytes of them together.
const MAX_BYTES: u64 = 8 << 20;

/// Readers of text files that come next, already under way.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    readers: VecDeque<(usize, RangeReader)>,
    /// The first file that was not looked at.
    next: usize,
}

impl ReadAhead {
    /// The reader of a file; starts those of the files after it. Indices only grow.
    pub(super) fn take(&mut self, index: usize, files: &[InputFile], stored: &[Arc<StoredFile>]) -> RangeReader {
        self.readers.retain(|(ahead, _)| *ahead >= index);
        let reader = match self.readers.pop_front() {
            Some((ahead, reader)) if ahead == index => reader,
            other => {
                self.readers.extend(other);
                RangeReader::new(stored[index].clone())
            }
        };
        self.next = self.next.max(index + 1);
        let mut n_bytes: u64 = self.readers.iter().map(|(ahead, _)| files[*ahead].size_bytes).sum();
        while let Some(file) = files.get(self.next).filter(|_| self.readers.len() < MAX_FILES) {
            if file.format.is_text() {
                n_bytes = n_bytes.saturating_add(file.size_bytes);
                if n_bytes > MAX_BYTES {
                    break;
                }
                self.readers.push_back((self.next, RangeReader::new(stored[self.next].clone())));
            }
            self.next += 1;
        }
        reader
    }
}
