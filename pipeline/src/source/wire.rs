//! What a survey found out, on its way between processes.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Request;
use super::csv::Fits;
use super::json::Kind;
use super::schema::{FileTypes, InputSchema, Types};
use super::special::Special;
use crate::{Error, Result, RowSet};

/// What every whole stream ends with.
pub(crate) const END_MARKER: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// [`Types`] of one unit.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TypesOnWire {
    json: IndexMap<Box<str>, Kind>,
    csv: IndexMap<Box<str>, Fits>,
    file: FileOnWire,
    /// Ordinals of rejected rows in the unit.
    rejected: Vec<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct FileOnWire {
    n_rows: u64,
    schema: Option<Vec<u8>>,
    n_readable: u64,
    has_special: Vec<bool>,
    keys: Vec<Box<str>>,
}

impl TypesOnWire {
    /// Of the survey of a unit, in which it is the only file and rows are counted from 0.
    pub(crate) fn new(types: Types) -> Result<Self> {
        let file = types.files.into_values().next().unwrap_or_default();
        Ok(Self {
            rejected: types.rejected.iter().collect(),
            json: types.json,
            csv: types.csv,
            file: FileOnWire {
                n_rows: file.n_rows,
                schema: file.schema.as_deref().map(schema_to_bytes).transpose()?,
                n_readable: file.n_readable,
                has_special: file.has_special,
                keys: file.keys,
            },
        })
    }

    /// Rows of the unit, rejected ones too.
    pub(crate) fn n_rows(&self) -> u64 {
        self.file.n_rows
    }

    /// Positions of its rejected rows, of which the first row has `position`.
    pub(crate) fn rejected(&self, position: u64) -> Vec<u64> {
        self.rejected.iter().map(|row| position + row).collect()
    }

    /// As found in the file `index` of the whole input, from `position` on.
    pub(crate) fn into_types(self, index: usize, position: u64, request: &Request) -> Result<Types> {
        let schema = self.file.schema.as_deref().map(schema_of_bytes).transpose()?;
        let rejected = self.rejected(position);
        let FileOnWire { n_rows, n_readable, has_special, keys, .. } = self.file;
        let mut types =
            Types { json: self.json, csv: self.csv, special: Arc::new(Special::new(request)?), ..Types::default() };
        types.files.insert(index, FileTypes { n_rows, schema, n_readable, has_special, keys });
        for row in rejected {
            types.reject(row);
        }
        Ok(types)
    }
}

/// The columns of the whole input, as the kernels that read typed rows need them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SchemaOnWire {
    schema: Vec<u8>,
    json: IndexMap<Box<str>, Kind>,
    is_given: bool,
}

impl SchemaOnWire {
    pub(crate) fn new(schema: &InputSchema) -> Result<Self> {
        let (json, is_given) = schema.json_kinds();
        Ok(Self { schema: schema_to_bytes(schema.schema())?, json: json.clone(), is_given })
    }

    /// The schema as a scan of one unit needs it: of its last row the ordinal in the file is `n_rows - 1`; `rejected` are positions in the
    /// whole input. `request` is that of the survey.
    pub(crate) fn of_unit(&self, n_rows: u64, rejected: RowSet, request: &Request) -> Result<InputSchema> {
        let special = Arc::new(Special::new(request)?);
        Ok(InputSchema::of_unit(
            schema_of_bytes(&self.schema)?,
            self.json.clone(),
            self.is_given,
            rejected,
            special,
            n_rows,
        ))
    }
}

/// Rows as a stream of one batch.
pub(crate) fn batch_to_bytes(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// The rows of a stream of one batch, which is whole.
pub(crate) fn batch_of_bytes(bytes: &[u8]) -> Result<RecordBatch> {
    let torn = || Error::config("their stream is cut off, or goes on after its end");
    let mut rest = bytes;
    let mut reader = StreamReader::try_new(&mut rest, None).map_err(|_| torn())?;
    let batch = reader.next().ok_or_else(torn)?.map_err(|_| torn())?;
    let is_last = reader.next().is_none();
    drop(reader);
    // The library takes a stream without its end for a whole one.
    let is_whole = is_last && rest.is_empty() && bytes.ends_with(&END_MARKER);
    if is_whole { Ok(batch) } else { Err(torn()) }
}

/// Columns as a stream without a row.
pub(crate) fn schema_to_bytes(schema: &Schema) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// The columns of a stream.
pub(crate) fn schema_of_bytes(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(Cursor::new(bytes), None)?.schema())
}
