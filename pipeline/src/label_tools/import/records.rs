//! Rows of any format as JSON objects.

use std::fmt;
use std::io::{Cursor, Read};

use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::{Map, Value};
use zip::ZipArchive;

use crate::{Error, Result};

/// A row: keys and values.
pub(super) type Record = Map<String, Value>;

/// Most bytes of a file in a zip.
const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A JSON list, or a line each.
    Json,
    Csv,
    Parquet,
}

/// A row, or why it is none.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Ordinal in its file.
    pub(super) row: u64,
    /// Name of the file without folders; of one in a zip, that in the zip.
    pub(super) file: &'a str,
    pub(super) is_archived: bool,
    pub(super) format: Format,
    pub(super) record: Result<Record, String>,
}

type Visit<'a> = &'a mut dyn FnMut(Entry<'_>);

/// Calls `visit` for each row of a file.
pub(super) fn visit(name: &str, bytes: &[u8], visit: Visit<'_>) -> Result<()> {
    if !bytes.starts_with(b"PK\x03\x04") {
        return File { location: name, name: base_name(name), is_archived: false }.visit(bytes, visit);
    }
    let damaged = |message: String| Error::Corrupt { location: name.to_owned(), format: "a zip archive", message };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(error.to_string()))?;
    for index in 0..archive.len() {
        let member = archive.by_index(index).map_err(|error| damaged(error.to_string()))?;
        if member.is_dir() {
            continue;
        }
        let member_name = member.name().map_err(|error| damaged(error.to_string()))?.into_owned();
        let mut unpacked = Vec::new();
        member
            .take(MAX_UNPACKED_BYTES + 1)
            .read_to_end(&mut unpacked)
            .map_err(|error| damaged(format!("{member_name}: {error}")))?;
        if MAX_UNPACKED_BYTES < unpacked.len() as u64 {
            return Err(damaged(format!("{member_name} has more than {MAX_UNPACKED_BYTES} bytes; unpack it first")));
        }
        let location = format!("{name}/{member_name}");
        File { location: &location, name: base_name(&member_name), is_archived: true }.visit(&unpacked, visit)?;
    }
    Ok(())
}

fn base_name(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// A file that is no archive.
#[derive(Debug, Clone, Copy)]
struct File<'a> {
    location: &'a str,
    name: &'a str,
    is_archived: bool,
}

impl File<'_> {
    fn visit(self, bytes: &[u8], visit: Visit<'_>) -> Result<()> {
        if bytes.starts_with(b"PAR1") {
            return self.visit_parquet(bytes, visit);
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => Ok(()),
            Some(b'[') => self.visit_list(bytes, visit),
            Some(b'{') => {
                self.visit_lines(bytes, Format::Json, visit);
                Ok(())
            }
            Some(_) => self.visit_csv(bytes, visit),
        }
    }

    fn corrupt(self, format: &'static str, error: &dyn fmt::Display) -> Error {
        Error::Corrupt { location: self.location.to_owned(), format, message: error.to_string() }
    }

    fn enter(self, row: u64, format: Format, record: Result<Record, String>, visit: Visit<'_>) {
        visit(Entry { row, file: self.name, is_archived: self.is_archived, format, record });
    }

    fn visit_list(self, bytes: &[u8], visit: Visit<'_>) -> Result<()> {
        let mut each = |row, value| self.enter(row, Format::Json, object(value), visit);
        let mut json = serde_json::Deserializer::from_slice(bytes);
        json.deserialize_seq(Items(&mut each))
            .and_then(|()| json.end())
            .map_err(|error| self.corrupt("a JSON list", &error))
    }

    fn visit_lines(self, bytes: &[u8], format: Format, visit: Visit<'_>) {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        for (row, line) in lines.enumerate() {
            let record = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}")).and_then(object);
            self.enter(row as u64, format, record, visit);
        }
    }

    fn visit_csv(self, bytes: &[u8], visit: Visit<'_>) -> Result<()> {
        let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let count = |delimiter: &u8| memchr::memchr_iter(*delimiter, header).count();
        // Of equally frequent ones the last.
        let delimiter = [b';', b'\t', b','].into_iter().max_by_key(count).unwrap_or(b',');
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
        let names = reader.headers().map_err(|error| self.corrupt("CSV", &error))?.clone();
        for (row, cells) in reader.records().enumerate() {
            let record = match cells {
                Ok(cells) if cells.len() == names.len() => {
                    Ok(names.iter().zip(&cells).map(|(name, cell)| (name.to_owned(), cell.into())).collect())
                }
                Ok(cells) => Err(format!("{} cells under {} names", cells.len(), names.len())),
                Err(error) => Err(format!("not CSV: {error}")),
            };
            self.enter(row as u64, Format::Csv, record, visit);
        }
        Ok(())
    }

    fn visit_parquet(self, bytes: &[u8], visit: Visit<'_>) -> Result<()> {
        let damaged = |error: &dyn fmt::Display| self.corrupt("a Parquet file", error);
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes))
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(|error| damaged(&error))?;
        // A column of nulls is there too.
        let mut lines = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
        for batch in reader {
            lines.write(&batch.map_err(|error| damaged(&error))?)?;
        }
        lines.finish()?;
        self.visit_lines(&lines.into_inner(), Format::Parquet, visit);
        Ok(())
    }
}

fn object(value: Value) -> Result<Record, String> {
    match value {
        Value::Object(record) => Ok(record),
        other => Err(format!("not a JSON object: {}", other.to_string().chars().take(80).collect::<String>())),
    }
}

/// Items of a list, one at a time: a whole export need not fit into memory as values.
struct Items<'a>(&'a mut dyn FnMut(u64, Value));

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut row = 0;
        while let Some(item) = items.next_element()? {
            (self.0)(row, item);
            row += 1;
        }
        Ok(())
    }
}
