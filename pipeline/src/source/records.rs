//! Splitting the bytes of a text file into records, and records into blocks of about 1 MiB.
//!
//! ```text
//! TextReader -> | record \n record \n rec | -> block: whole records
//!                                     ^^^ carried over to the next block
//! ```

use super::decompress::TextReader;
use super::format::{BOM, SourceOptions};
use crate::{Error, Result};

/// Bytes of a block; a longer record makes a longer block.
const BLOCK_BYTES: usize = 1 << 20;
/// Most bytes that are read before the buffer is scanned again.
const MAX_READ_BYTES: usize = 16 << 20;
/// Limit of the limit of a row: positions in a block are `u32`, and offsets in an Arrow string column `i32`.
const MAX_ROW_BYTES: usize = 1 << 30;

/// Where records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// At each line feed. Lines of nothing but white space are no records.
    Lines,
    /// At each line feed outside of quotes. Empty lines are no records.
    Quoted {
        /// Byte between fields.
        delimiter: u8,
    },
    /// At the end of the file. A file of nothing but white space has no record.
    File,
}

/// Whole records of one file.
#[derive(Debug, Default)]
pub(super) struct RecordBlock {
    pub(super) data: Vec<u8>,
    pub(super) records: Vec<Record>,
    /// Offset of `data` in the decompressed file.
    pub(super) byte_offset: u64,
    /// Ordinal of the first record in the file.
    pub(super) first_row: u64,
}

/// A record in a block, without its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) flaw: Option<Flaw>,
}

/// Why a record cannot be read, whatever is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Longer than the limit; the block holds its beginning only.
    TooLong,
    /// The compressed stream ends or breaks inside of it.
    Damaged,
    /// A quote is opened and never closed.
    OpenQuote,
}

impl RecordBlock {
    /// The bytes of a record.
    pub(super) fn bytes(&self, record: Record) -> &[u8] {
        &self.data[record.start as usize..record.end as usize]
    }

    /// Number of records.
    pub(super) fn n_rows(&self) -> u64 {
        self.records.len() as u64
    }

    fn push(&mut self, start: usize, end: usize, flaw: Option<Flaw>) {
        self.records.push(Record { start: start as u32, end: end as u32, flaw });
    }
}

/// Reads a text file block by block.
pub(super) struct RecordReader {
    reader: TextReader,
    framing: Framing,
    location: String,
    max_row_bytes: usize,
    max_reject_bytes: usize,
    /// Bytes read and not handed out; they begin with a record.
    buffer: Vec<u8>,
    /// Offset of `buffer` in the decompressed file.
    buffer_offset: u64,
    next_row: u64,
    state: State,
    /// The block that the header was taken from.
    after_header: Option<RecordBlock>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Middle,
    /// Every byte is in the buffer or was handed out.
    Read,
    /// The last record was handed out.
    Done,
}

impl RecordReader {
    pub(super) fn new(reader: TextReader, framing: Framing, location: &str, options: &SourceOptions) -> Self {
        Self {
            reader,
            framing,
            location: location.to_owned(),
            max_row_bytes: options.max_row_bytes.min(MAX_ROW_BYTES),
            max_reject_bytes: options.max_reject_bytes,
            buffer: Vec::new(),
            buffer_offset: 0,
            next_row: 0,
            state: State::Start,
            after_header: None,
        }
    }

    /// The text is a part of a file from the byte `offset` on, where its row `first_row` begins.
    pub(super) fn starting_at(self, first_row: u64, offset: u64) -> Self {
        Self { buffer_offset: offset, next_row: first_row, ..self }
    }

    /// Takes the first record, which is no row; `None` in an empty file.
    pub(super) fn take_header(&mut self) -> Result<Option<Vec<u8>>> {
        let mut block = RecordBlock::default();
        if !self.next(&mut block)? {
            return Ok(None);
        }
        let header = block.records.remove(0);
        if let Some(flaw) = header.flaw {
            let message = match flaw {
                Flaw::TooLong => format!("the header is longer than {} bytes", self.max_row_bytes),
                Flaw::OpenQuote => "a quote in the header is not closed".into(),
                Flaw::Damaged => format!("{} in the header", self.damage().unwrap_or("the stream is damaged")),
            };
            return Err(Error::Corrupt { location: self.location.clone(), format: "CSV", message });
        }
        let header = block.bytes(header).to_vec();
        self.next_row -= 1;
        self.after_header = Some(block);
        Ok(Some(header))
    }

    /// Why the compressed stream ended before its end, if it did.
    pub(super) fn damage(&self) -> Option<&str> {
        self.reader.damage()
    }

    /// Compressed bytes that were used.
    pub(super) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// The first byte that is not white space, if it is in the first bytes of the file.
    pub(super) fn first_byte(&mut self) -> Result<Option<u8>> {
        if self.state == State::Start {
            self.fill(BLOCK_BYTES)?;
        }
        Ok(self.buffer.trim_ascii_start().first().copied())
    }

    /// Fills `block` with the next records; `false` at the end of the file.
    pub(super) fn next(&mut self, block: &mut RecordBlock) -> Result<bool> {
        if let Some(rest) = self.after_header.take().filter(|rest| !rest.records.is_empty()) {
            *block = rest;
            return Ok(true);
        }
        block.data.clear();
        block.records.clear();
        block.first_row = self.next_row;
        while block.records.is_empty() && self.state != State::Done {
            let scanned = self.framing.scan(&self.buffer, &mut block.records);
            if !block.records.is_empty() {
                self.hand_out(block, scanned.cut);
            } else if self.state == State::Read {
                self.hand_out_last(block, scanned);
            } else {
                self.discard(scanned.cut);
                if self.buffer.len() > self.max_row_bytes {
                    self.skip_long_record(block)?;
                } else {
                    // Long records: twice as many bytes each time, so that scanning them again costs little.
                    self.fill(self.buffer.len().clamp(BLOCK_BYTES, MAX_READ_BYTES))?;
                }
            }
        }
        self.next_row += block.n_rows();
        Ok(!block.records.is_empty())
    }

    fn fill(&mut self, n_bytes: usize) -> Result<()> {
        let is_first = self.state == State::Start && self.buffer_offset == 0;
        self.state = if self.reader.read(&mut self.buffer, n_bytes)? { State::Middle } else { State::Read };
        if is_first && (self.buffer.starts_with(&[0xff, 0xfe]) || self.buffer.starts_with(&[0xfe, 0xff])) {
            return Err(Error::Corrupt {
                location: self.location.clone(),
                format: "text in UTF-8",
                message: "it begins like UTF-16; convert it, e.g., with iconv -f UTF-16 -t UTF-8".into(),
            });
        }
        if is_first && self.buffer.starts_with(BOM) {
            self.discard(BOM.len());
        }
        Ok(())
    }

    fn discard(&mut self, n_bytes: usize) {
        self.buffer.drain(..n_bytes);
        self.buffer_offset += n_bytes as u64;
    }

    /// Hands out the first `n_bytes` of the buffer, which hold the records of `block`.
    fn hand_out(&mut self, block: &mut RecordBlock, n_bytes: usize) {
        std::mem::swap(&mut block.data, &mut self.buffer);
        self.buffer.extend_from_slice(&block.data[n_bytes..]);
        block.data.truncate(n_bytes);
        block.byte_offset = self.buffer_offset;
        self.buffer_offset += n_bytes as u64;
        for record in &mut block.records {
            if (record.end - record.start) as usize > self.max_row_bytes {
                record.flaw.get_or_insert(Flaw::TooLong);
            }
        }
    }

    /// The bytes after the last line end are a record; if the stream broke, they are one even if there are none.
    fn hand_out_last(&mut self, block: &mut RecordBlock, scanned: Scanned) {
        self.state = State::Done;
        let (start, end) = (scanned.cut, self.buffer.len());
        if self.reader.damage().is_some() {
            block.push(start, end, Some(Flaw::Damaged));
        } else if !self.framing.is_blank(&self.buffer[start..end]) {
            let end = if self.framing == Framing::File { end } else { without_return(&self.buffer, start, end) };
            block.push(start, end, scanned.is_quote_open.then_some(Flaw::OpenQuote));
        }
        self.hand_out(block, end);
    }

    /// Hands out the beginning of a record that is too long and reads on to the next line feed.
    fn skip_long_record(&mut self, block: &mut RecordBlock) -> Result<()> {
        block.byte_offset = self.buffer_offset;
        block.data.extend_from_slice(&self.buffer[..self.max_reject_bytes.min(self.max_row_bytes)]);
        block.push(0, block.data.len(), Some(Flaw::TooLong));
        self.discard(self.max_row_bytes);
        loop {
            let line_end = if self.framing == Framing::File { None } else { memchr::memchr(b'\n', &self.buffer) };
            self.discard(line_end.map_or(self.buffer.len(), |position| position + 1));
            if line_end.is_some() || self.state == State::Read {
                return Ok(());
            }
            self.fill(BLOCK_BYTES)?;
        }
    }
}

/// How far a buffer was scanned.
#[derive(Debug, Clone, Copy)]
struct Scanned {
    /// Where the first record without an end begins.
    cut: usize,
    /// Whether a quote in that record is open.
    is_quote_open: bool,
}

impl Framing {
    /// Finds the records that end in `data`.
    fn scan(self, data: &[u8], records: &mut Vec<Record>) -> Scanned {
        match self {
            Self::Lines => {
                let mut cut = 0;
                for line_end in memchr::memchr_iter(b'\n', data) {
                    self.push(data, cut, line_end, records);
                    cut = line_end + 1;
                }
                Scanned { cut, is_quote_open: false }
            }
            Self::Quoted { delimiter } => self.scan_quoted(data, delimiter, records),
            Self::File => Scanned { cut: 0, is_quote_open: false },
        }
    }

    /// A quote opens at the beginning of a field only, as the field splitter has it; `""` inside of quotes closes nothing.
    fn scan_quoted(self, data: &[u8], delimiter: u8, records: &mut Vec<Record>) -> Scanned {
        let mut cut = 0;
        let mut position = 0;
        while let Some(found) = memchr::memchr2(b'\n', b'"', &data[position..]) {
            let found = position + found;
            position = found + 1;
            if data[found] == b'\n' {
                self.push(data, cut, found, records);
                cut = position;
            } else if found == cut || data[found - 1] == delimiter {
                loop {
                    let Some(quote) = memchr::memchr(b'"', &data[position..]) else {
                        return Scanned { cut, is_quote_open: true };
                    };
                    position += quote + 1;
                    if data.get(position) != Some(&b'"') {
                        break;
                    }
                    position += 1;
                }
            }
        }
        Scanned { cut, is_quote_open: false }
    }

    fn push(self, data: &[u8], start: usize, line_end: usize, records: &mut Vec<Record>) {
        let end = without_return(data, start, line_end);
        if !self.is_blank(&data[start..end]) {
            records.push(Record { start: start as u32, end: end as u32, flaw: None });
        }
    }

    fn is_blank(self, record: &[u8]) -> bool {
        match self {
            Self::Lines | Self::File => record.iter().all(u8::is_ascii_whitespace),
            Self::Quoted { .. } => record.is_empty(),
        }
    }
}

fn without_return(data: &[u8], start: usize, end: usize) -> usize {
    if start < end && data[end - 1] == b'\r' { end - 1 } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(framing: Framing, text: &str) -> (Vec<&str>, usize, bool) {
        let mut records = Vec::new();
        let scanned = framing.scan(text.as_bytes(), &mut records);
        let records = records.iter().map(|record| &text[record.start as usize..record.end as usize]).collect();
        (records, scanned.cut, scanned.is_quote_open)
    }

    #[test]
    fn lines() {
        assert_eq!(scan(Framing::Lines, "a\r\n\n \t\n b \nc"), (vec!["a", " b "], 11, false));
        assert_eq!(scan(Framing::Lines, ""), (vec![], 0, false));
    }

    #[test]
    fn quoted_records() {
        let framing = Framing::Quoted { delimiter: b',' };
        let check = |text: &'static str, records: &[&str], cut, open| {
            assert_eq!(scan(framing, text), (records.to_vec(), cut, open), "{text:?}");
        };
        check("a,\"x\ny\"\r\nb\n", &["a,\"x\ny\"", "b"], 11, false);
        check("5\" disk,b\nc", &["5\" disk,b"], 10, false);
        check("\"a\"\"\n\"\n", &["\"a\"\"\n\""], 7, false);
        check("x\n\"a\n", &["x"], 2, true);
        check("\"\"\n\"\"", &["\"\""], 3, false);
        check(" \n\n", &[" "], 3, false);
        check("\"a\"b\"\nc\n", &["\"a\"b\"", "c"], 8, false);
    }
}
