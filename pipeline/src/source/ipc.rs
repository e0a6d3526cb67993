//! Arrow IPC, file or stream; Feather version 2 is the file format.

use std::io::BufRead;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, StreamReader, read_footer_length};
use arrow::ipc::{Block, root_as_footer, root_as_message};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::batch::{Body, needed_columns};
use super::fetch::{RangeReader, StoredFile, store_error};
use super::plan::{FileFacts, Plan};
use crate::{Error, Result};

const FORMAT: &str = "an Arrow IPC file";
/// Bytes at the end of a file: length of the footer, and the magic.
const TRAILER_BYTES: u64 = 10;

/// An Arrow IPC file or stream while it is read.
pub(super) enum IpcReader {
    File(IpcFile),
    Stream(Box<IpcStream>),
}

impl IpcReader {
    /// Opens a file and reads its schema; leaves out the columns that the plan does not need.
    pub(super) fn open(file: &Arc<StoredFile>, plan: &Plan) -> Result<Self> {
        let head = file.read(0..file.size_bytes.min(6))?;
        match &*head {
            b"ARROW1" => IpcFile::open(file, plan).map(Self::File),
            [b'F', b'E', b'A', b'1', ..] => {
                Err(corrupt(&file.location, "it is Feather version 1; write it as version 2".into()))
            }
            _ => IpcStream::open(file, plan).map(|stream| Self::Stream(Box::new(stream))),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::File(file) => file.schema.clone(),
            Self::Stream(stream) => stream.reader.schema(),
        }
    }

    /// The next rows; `None` at the end.
    pub(super) fn next(&mut self, plan: &Plan, facts: &FileFacts) -> Result<Option<Body>> {
        match self {
            Self::File(file) => file.next(plan, facts),
            Self::Stream(stream) => stream.next(plan, facts),
        }
    }

    /// Bytes that are done.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::File(file) => file.position,
            Self::Stream(stream) => stream.reader.get_ref().position(),
        }
    }

    /// Rows read so far.
    pub(super) fn n_rows(&self) -> u64 {
        match self {
            Self::File(file) => file.next_row,
            Self::Stream(stream) => stream.next_row,
        }
    }
}

/// The file format: batches found by the footer.
pub(super) struct IpcFile {
    file: Arc<StoredFile>,
    schema: SchemaRef,
    decoder: Arc<FileDecoder>,
    has_columns: bool,
    blocks: Vec<Block>,
    next_block: usize,
    next_row: u64,
    ahead: Option<JoinHandle<Result<Bytes>>>,
    position: u64,
}

/// A batch of an IPC file, to be decoded on any thread.
pub(super) struct IpcBlock {
    decoder: Arc<FileDecoder>,
    block: Block,
    data: Bytes,
    location: String,
    pub(super) first_row: u64,
}

impl IpcBlock {
    /// Decodes the needed columns.
    pub(super) fn decode(self) -> Result<RecordBatch> {
        let batch = self.decoder.read_record_batch(&self.block, &Buffer::from(self.data));
        let batch = batch.map_err(|error| damaged(&self.location, &error))?;
        batch.ok_or_else(|| corrupt(&self.location, "a block without a batch".into()))
    }
}

impl IpcFile {
    fn open(file: &Arc<StoredFile>, plan: &Plan) -> Result<Self> {
        let location = &file.location;
        let trailer_start = file.size_bytes.saturating_sub(TRAILER_BYTES);
        let trailer = file.read(trailer_start..file.size_bytes)?;
        let cut = || corrupt(location, "its end is missing".into());
        let trailer: [u8; TRAILER_BYTES as usize] = trailer.as_ref().try_into().map_err(|_| cut())?;
        let footer_bytes = read_footer_length(trailer).map_err(|_| cut())? as u64;
        let footer_start = trailer_start.checked_sub(footer_bytes).ok_or_else(cut)?;
        let footer = file.read(footer_start..trailer_start)?;
        let footer = root_as_footer(&footer).map_err(|error| corrupt(location, error.to_string()))?;
        let schema = footer.schema().ok_or_else(|| corrupt(location, "it has no schema".into()))?;
        let schema = Arc::new(fb_to_schema(schema));
        let columns = needed_columns(plan, &schema);
        let has_columns = !columns.is_empty();
        let mut decoder = FileDecoder::new(schema.clone(), footer.version()).with_projection(columns);
        for block in footer.dictionaries().iter().flatten() {
            let data = file.read(block_range(file, block)?)?;
            decoder.read_dictionary(block, &Buffer::from(data)).map_err(|error| damaged(location, &error))?;
        }
        Ok(Self {
            file: file.clone(),
            schema,
            decoder: Arc::new(decoder),
            has_columns,
            blocks: footer.recordBatches().iter().flatten().copied().collect(),
            next_block: 0,
            next_row: 0,
            ahead: None,
            position: 0,
        })
    }

    fn next(&mut self, plan: &Plan, facts: &FileFacts) -> Result<Option<Body>> {
        while let Some(&block) = self.blocks.get(self.next_block) {
            self.next_block += 1;
            let range = block_range(&self.file, &block)?;
            self.position = range.end;
            // All rows are wanted: the whole batch, and the next one ahead. Some: first what tells how many rows it has.
            let whole = match (&plan.rows, self.has_columns) {
                (None, true) => Some(self.read_ahead(range.clone())?),
                _ => None,
            };
            let n_rows = if let Some(data) = &whole {
                n_rows(&self.file.location, data)?
            } else {
                let header = range.start..(range.start + block.metaDataLength().max(0) as u64).min(range.end);
                n_rows(&self.file.location, &self.file.read(header)?)?
            };
            let first_row = self.next_row;
            self.next_row += n_rows;
            let first_position = facts.base_row + first_row;
            if !plan.wants_any(first_position, first_position + n_rows) {
                continue;
            }
            if !self.has_columns {
                return Ok(Some(Body::Rows(first_row..first_row + n_rows)));
            }
            let data = whole.map_or_else(|| self.file.read(range), Ok)?;
            let (decoder, location) = (self.decoder.clone(), self.file.location.clone());
            return Ok(Some(Body::Ipc(IpcBlock { decoder, block, data, location, first_row })));
        }
        Ok(None)
    }

    fn read_ahead(&mut self, range: std::ops::Range<u64>) -> Result<Bytes> {
        let request = self.ahead.take().unwrap_or_else(|| self.file.start(range));
        if let Some(next) = self.blocks.get(self.next_block) {
            self.ahead = Some(self.file.start(block_range(&self.file, next)?));
        }
        self.file.wait(request)
    }
}

fn block_range(file: &StoredFile, block: &Block) -> Result<std::ops::Range<u64>> {
    let range = u64::try_from(block.offset()).ok().and_then(|start| {
        let n_bytes =
            u64::try_from(block.metaDataLength()).ok()?.checked_add(u64::try_from(block.bodyLength()).ok()?)?;
        Some(start..start.checked_add(n_bytes).filter(|&end| end <= file.size_bytes)?)
    });
    range.ok_or_else(|| corrupt(&file.location, "a block lies outside of the file".into()))
}

/// Rows of the batch whose message `data` begins with.
fn n_rows(location: &str, data: &[u8]) -> Result<u64> {
    // Since version 0.15, the length comes after a marker.
    let ([0xff, 0xff, 0xff, 0xff, _, _, _, _, message @ ..] | [_, _, _, _, message @ ..]) = data else {
        return Err(corrupt(location, "a block is too short".into()));
    };
    let message = root_as_message(message).map_err(|error| corrupt(location, error.to_string()))?;
    let batch = message.header_as_record_batch();
    let n_rows = batch.and_then(|batch| u64::try_from(batch.length()).ok());
    n_rows.ok_or_else(|| corrupt(location, "a block without a batch".into()))
}

/// The stream format.
pub(super) struct IpcStream {
    reader: StreamReader<RangeReader>,
    projection: Vec<usize>,
    next_row: u64,
    location: String,
}

impl IpcStream {
    fn open(file: &Arc<StoredFile>, plan: &Plan) -> Result<Self> {
        let location = file.location.clone();
        let mut reader = RangeReader::new(file.clone());
        reader.fill_buf().map_err(|error| stream_error(&location, ArrowError::from(error)))?;
        let reader = StreamReader::try_new(reader, None).map_err(|error| stream_error(&location, error))?;
        let projection = needed_columns(plan, &reader.schema());
        Ok(Self { reader, projection, next_row: 0, location })
    }

    fn next(&mut self, plan: &Plan, facts: &FileFacts) -> Result<Option<Body>> {
        for batch in self.reader.by_ref() {
            let batch = batch.map_err(|error| stream_error(&self.location, error))?;
            let first_row = self.next_row;
            let rows = first_row..first_row + batch.num_rows() as u64;
            self.next_row = rows.end;
            let wanted: Vec<u64> = rows.clone().filter(|row| plan.wants(facts.base_row + row)).collect();
            if wanted.is_empty() {
                continue;
            }
            if self.projection.is_empty() {
                return Ok(Some(Body::Rows(rows)));
            }
            return Ok(Some(Body::Consecutive { batch: batch.project(&self.projection)?, first_row }));
        }
        Ok(None)
    }
}

fn stream_error(location: &str, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => match store_error(error) {
            Ok(error) => error,
            Err(error) => corrupt(location, error.to_string()),
        },
        error => damaged(location, &error),
    }
}

fn damaged(location: &str, error: &ArrowError) -> Error {
    corrupt(location, error.to_string())
}

fn corrupt(location: &str, message: String) -> Error {
    Error::Corrupt { location: location.to_owned(), format: FORMAT, message }
}
