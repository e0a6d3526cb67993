//! Arrow streams that are known to be whole.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::source::END_MARKER;
use crate::{Error, Result};

/// Version of the protocol, in the metadata of every stream.
pub(super) const PROTOCOL: &str = "1";
const PROTOCOL_KEY: &str = "tamis.protocol";

/// Remembers the last bytes that were read: the library takes a stream that stops between two messages for a whole one.
#[derive(Debug)]
struct Tail<R> {
    inner: R,
    last: [u8; END_MARKER.len()],
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n_bytes = self.inner.read(out)?;
        let n_kept = self.last.len().saturating_sub(n_bytes);
        self.last.rotate_right(n_kept);
        let n_new = self.last.len() - n_kept;
        self.last[n_kept..].copy_from_slice(&out[n_bytes - n_new..n_bytes]);
        Ok(n_bytes)
    }
}

/// A stream that comes in.
pub(super) struct Incoming<R> {
    reader: StreamReader<Tail<R>>,
    schema: SchemaRef,
    is_done: bool,
}

impl<R: Read> Incoming<R> {
    /// Reads the schema.
    ///
    /// # Errors
    /// `Error::Torn` if there is none; `Error::Config` if it is of another version.
    pub(super) fn open(input: R) -> Result<Self> {
        let reader = StreamReader::try_new(Tail { inner: input, last: [0; 8] }, None).map_err(torn)?;
        let incoming = Self { schema: reader.schema(), reader, is_done: false };
        match incoming.metadata(PROTOCOL_KEY) {
            Some(PROTOCOL) => Ok(incoming),
            other => Err(Error::Config {
                message: format!(
                    "the stream speaks version {} of the kernel protocol, and this tamis version {PROTOCOL}",
                    other.unwrap_or("none")
                ),
                hint: Some("use the driver and the kernels of one version of tamis".into()),
            }),
        }
    }

    /// What the metadata of the stream says.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.schema.metadata().get(key).map(String::as_str)
    }

    /// The next batch; `None` at the end, which was there.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.is_done {
            return Ok(None);
        }
        match self.reader.next() {
            Some(batch) => batch.map(Some).map_err(torn),
            None if self.reader.get_ref().last == END_MARKER => {
                self.is_done = true;
                Ok(None)
            }
            None => Err(Error::Torn),
        }
    }

    /// All that is left.
    #[cfg(test)]
    fn rest(&mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next()? {
            batches.push(batch);
        }
        Ok(batches)
    }
}

impl<R> std::fmt::Debug for Incoming<R> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Incoming").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}

/// What the end of a pipe looks like to a reader of messages.
fn torn(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(..) | ArrowError::IpcError(_) | ArrowError::ParseError(_) => Error::Torn,
        other => other.into(),
    }
}

/// A stream that goes out. Without [`finish`](Self::finish), its reader knows that it is not whole.
pub(super) struct Outgoing<W: Write> {
    state: State<W>,
}

enum State<W: Write> {
    New(W),
    Begun(Box<StreamWriter<W>>),
    Failed,
}

impl<W: Write> Outgoing<W> {
    pub(super) fn new(output: W) -> Self {
        Self { state: State::New(output) }
    }

    /// Writes the schema, with this metadata.
    pub(super) fn begin(&mut self, schema: &Schema, metadata: &[(&str, &str)]) -> Result<SchemaRef> {
        let all = [(PROTOCOL_KEY, PROTOCOL)].iter().chain(metadata);
        let all: HashMap<String, String> = all.map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let schema = Arc::new(Schema::new_with_metadata(schema.fields().clone(), all));
        let State::New(output) = std::mem::replace(&mut self.state, State::Failed) else {
            return Err(Error::Invariant("a stream begins once".into()));
        };
        let mut writer = StreamWriter::try_new(output, &schema)?;
        writer.flush()?;
        self.state = State::Begun(Box::new(writer));
        Ok(schema)
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let State::Begun(writer) = &mut self.state else {
            return Err(Error::Invariant("a stream begins with its schema".into()));
        };
        writer.write(batch)?;
        Ok(())
    }

    /// Writes the end.
    pub(super) fn finish(self) -> Result<W> {
        let State::Begun(mut writer) = self.state else {
            return Err(Error::Invariant("a stream begins with its schema".into()));
        };
        writer.finish()?;
        writer.flush()?;
        Ok(writer.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn stream(n_batches: usize, finish: bool) -> Vec<u8> {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("unit", column)]).unwrap();
        let mut bytes = Vec::new();
        let mut outgoing = Outgoing::new(&mut bytes);
        let schema = outgoing.begin(&batch.schema(), &[("tamis.job", "x")]).unwrap();
        let batch = batch.with_schema(schema).unwrap();
        (0..n_batches).for_each(|_| outgoing.write(&batch).unwrap());
        if finish {
            outgoing.finish().unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<usize> {
        let mut incoming = Incoming::open(bytes)?;
        assert_eq!(incoming.metadata("tamis.job"), Some("x"));
        incoming.rest().map(|batches| batches.len())
    }

    #[test]
    fn a_stream_is_whole_or_torn() {
        for n_batches in [0, 1, 3] {
            let whole = stream(n_batches, true);
            assert_eq!(read(&whole).unwrap(), n_batches);
            assert!(matches!(read(&stream(n_batches, false)), Err(Error::Torn)), "without an end");
            for end in 0..whole.len() {
                assert!(matches!(read(&whole[..end]), Err(Error::Torn)), "{end} of {} bytes", whole.len());
            }
        }
    }

    #[test]
    fn streams_follow_upon_each_other() {
        let both = [stream(2, true), stream(1, true)].concat();
        let mut rest = both.as_slice();
        for n_batches in [2, 1] {
            let mut incoming = Incoming::open(&mut rest).unwrap();
            assert_eq!(incoming.rest().unwrap().len(), n_batches);
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = Vec::new();
        StreamWriter::try_new(&mut bytes, &Schema::empty()).unwrap().finish().unwrap();
        let error = Incoming::open(bytes.as_slice()).unwrap_err().to_string();
        assert!(error.contains("version none") && error.contains("version 1"), "{error}");
    }
}
