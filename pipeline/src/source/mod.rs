//! Rows come in: files, folders, globs, standard input and object-store URLs, in any supported format.
//!
//! ```text
//! Inputs::discover -> files in a fixed order
//!   survey(request)        -> Scan -> Block ... one read that also finds the types of all columns (Types)
//!   resolve(types)         -> InputSchema
//!   scan(schema, request)  -> Scan -> Block ... typed columns, all rows or a RowSet
//! Block::decode (any thread) -> Decoded { file, batches, rejects, types }
//! ```
//!
//! A survey decides once which rows are rejected; later scans reject the same. A row is what stands in the file, rejected
//! or not: a line that is not blank, a record, a table row, and the place where a damaged stream breaks off.

mod ahead;
mod batch;
mod csv;
mod decompress;
mod discover;
mod fetch;
mod format;
mod inputs;
mod ipc;
mod json;
mod parquet;
mod plan;
mod records;
mod scan;
mod schema;
mod special;
#[cfg(test)]
mod tests;
mod text;
mod unify;
mod unit;
mod windows;
mod wire;

use std::sync::Arc;

use arrow::array::RecordBatch;

pub use format::{Compression, Format, SourceOptions, TextDocuments};
pub use inputs::{InputFile, Inputs};
pub use scan::{Block, Scan};
pub use schema::{InputSchema, Types};
pub(crate) use unit::{Unit, UnitPlace};
pub(crate) use wire::{
    END_MARKER, SchemaOnWire, TypesOnWire, batch_of_bytes, batch_to_bytes, schema_of_bytes, schema_to_bytes,
};

use crate::RowSet;

/// How the text of a row is made from its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextExpression {
    /// Literal and column parts, in order; a single column for the common case.
    pub parts: Vec<TextPart>,
}

impl TextExpression {
    /// The text of one column.
    pub fn column(name: impl Into<String>) -> Self {
        Self { parts: vec![TextPart::Column(name.into())] }
    }
}

/// A part of a [`TextExpression`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextPart {
    /// Text as it is.
    Literal(String),
    /// The value of a column; nothing if it is null.
    Column(String),
}

/// Where the id of a row comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdSource {
    /// A column, as text; a row where it is null is named as under [`IdSource::Row`].
    Column(String),
    /// The first of these columns that has a value, else the row.
    FirstPresent(Vec<String>),
    /// `<source>#<row>`: name of the file and ordinal of the row in it, from 0, rejected rows counted too.
    Row,
}

/// What a scan hands out beside `tamis_row`.
#[derive(Debug, Clone)]
pub struct Request {
    /// Input columns: all, or those named (in input order, whatever the order here). A survey hands out none.
    pub columns: Columns,
    /// Append `tamis_text`; rows of which every column part is null become rejects.
    pub text: Option<TextExpression>,
    /// Append `tamis_id`, in place of an input column of this name.
    pub id: Option<IdSource>,
    /// Only these rows; `None`: all.
    pub rows: Option<Arc<RowSet>>,
}

/// Which input columns a scan hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// Every one.
    All,
    /// Those with these names.
    Named(Vec<String>),
}

/// A row that could not be read, or that has no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Index of the file in [`Inputs::files`].
    pub file: usize,
    /// Ordinal of the row in the file, from 0.
    pub row: u64,
    /// Where the row begins in the decompressed file; `None` in formats that are tables.
    pub byte_offset: Option<u64>,
    /// Why, for people.
    pub reason: String,
    /// The bytes of the row, up to a limit; of a table row, the columns at hand as JSON.
    pub raw: Vec<u8>,
}

/// Some rows of one file, decoded.
#[derive(Debug)]
pub struct Decoded {
    /// Index of the file in [`Inputs::files`].
    pub file: usize,
    /// `[input columns ...] tamis_row [tamis_text] [tamis_id]`, at most `Context::batch_rows` rows each, none empty.
    pub batches: Vec<RecordBatch>,
    /// Rows that were rejected here.
    pub rejects: Vec<Reject>,
    /// What a survey found out about the columns; merge them in block order.
    pub types: Types,
}
