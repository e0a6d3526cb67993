//! One table: chunks go into row groups, row groups into files.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{FilePart, FileRecord, TableRecord};
use tokio::runtime::Handle;

use super::chunk::{Chunk, Chunker};
use super::encoding::writer_properties;
use super::object::ObjectWriter;
use super::tier::Tier;
use crate::{Error, Result};

/// Writes the rows of one table, in the order they come.
///
/// # Determinism
/// The bytes of every file depend on the rows, the schema and the tier's settings alone.
#[derive(Debug)]
pub struct TableWriter {
    table: Table,
    tier: Arc<Tier>,
    added_run: Option<String>,
    schema: SchemaRef,
    properties: WriterProperties,
    runtime: Handle,
    chunker: Chunker,
    open: Option<OpenFile>,
    /// Of rows that are in no file yet, of which input they are.
    pending: VecDeque<FilePart>,
    first_number: usize,
    files: Vec<FileRecord>,
    rows: u64,
}

struct OpenFile {
    writer: ArrowWriter<ObjectWriter>,
    rows: u64,
    group_bytes: u64,
    parts: Vec<FilePart>,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl TableWriter {
    /// A writer for rows of `schema`; `unique_columns` hold texts that hardly ever repeat. `added_run`: the
    /// run is added to others, its files have names of their own, numbered from `first_number`, and a table without a row has
    /// none.
    pub(super) fn new(
        table: Table,
        tier: Arc<Tier>,
        added_run: Option<String>,
        first_number: usize,
        schema: SchemaRef,
        unique_columns: &[String],
        runtime: Handle,
    ) -> Result<Self> {
        let properties = writer_properties(&schema, unique_columns, tier.config.zstd)?;
        let chunker = Chunker::new(Arc::clone(&schema));
        Ok(Self {
            table,
            tier,
            added_run,
            schema,
            properties,
            runtime,
            chunker,
            open: None,
            pending: VecDeque::new(),
            first_number,
            files: Vec::new(),
            rows: 0,
        })
    }

    /// Schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.chunker.push(batch)?;
        while let Some(chunk) = self.chunker.pop() {
            self.write_chunk(&chunk)?;
        }
        Ok(())
    }

    /// Adds rows that are of one input, of which the table says so if its run is added to others.
    pub(crate) fn write_part(&mut self, batch: &RecordBatch, input: &str) -> Result<()> {
        if self.added_run.is_some() && batch.num_rows() > 0 {
            add_part(&mut self.pending, input, batch.num_rows() as u64);
        }
        self.write(batch)
    }

    /// Ends files that another process makes visible.
    pub(crate) fn finish_part(self) -> Result<TableRecord> {
        self.finish()
    }

    /// Writes what is left. A table without a row still has one file, so that its columns can be read; not if the Delta log of
    /// runs that are added to each other has them.
    pub(super) fn finish(mut self) -> Result<TableRecord> {
        if let Some(chunk) = self.chunker.finish()? {
            self.write_chunk(&chunk)?;
        }
        if self.files.is_empty() && self.open.is_none() && self.added_run.is_none() {
            self.open = Some(self.create()?);
        }
        self.close()?;
        Ok(TableRecord {
            tier: self.tier.name.clone(),
            storage_class: self.tier.storage_class.map(str::to_owned),
            rows: self.rows,
            files: std::mem::take(&mut self.files),
        })
    }

    fn write_chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.create()?,
        };
        file.rows += chunk.batch.num_rows() as u64;
        move_parts(&mut self.pending, &mut file.parts, chunk.batch.num_rows() as u64);
        file.group_bytes += chunk.bytes;
        let mut written = file.writer.write(&chunk.batch);
        let is_group_full = file.group_bytes >= self.tier.config.row_group.0;
        if written.is_ok() && is_group_full {
            file.group_bytes = 0;
            written = file.writer.flush();
        }
        let is_file_full = is_group_full && file.writer.bytes_written() as u64 >= self.tier.config.file_size.0;
        self.open = Some(file);
        written.map_err(|error| self.parquet_error(error))?;
        if is_file_full { self.close() } else { Ok(()) }
    }

    fn file_name(&self) -> String {
        let stem = self.added_run.as_deref().unwrap_or("part");
        format!("{}/{stem}-{:05}.parquet", self.table.name(), self.first_number + self.files.len())
    }

    fn path(&self) -> Path {
        self.tier.writing_path(&self.file_name())
    }

    fn create(&self) -> Result<OpenFile> {
        let object = ObjectWriter::create(&self.tier.store, &self.path(), self.tier.storage_class, &self.runtime)
            .map_err(|error| self.tier.unwritable(&self.file_name(), error))?;
        let writer = ArrowWriter::try_new(object, Arc::clone(&self.schema), Some(self.properties.clone()))
            .map_err(|error| Error::config(format!("Parquet cannot hold a column of this table: {error}")))?;
        Ok(OpenFile { writer, rows: 0, group_bytes: 0, parts: Vec::new() })
    }

    fn close(&mut self) -> Result<()> {
        let Some(file) = self.open.take() else { return Ok(()) };
        let object = file.writer.into_inner().map_err(|error| self.parquet_error(error))?;
        let name = self.file_name();
        let (bytes, sha256) = object.finish().map_err(|error| self.tier.unwritable(&name, error))?;
        self.files.push(FileRecord {
            path: self.tier.public_name(&name),
            rows: file.rows,
            bytes,
            sha256,
            parts: file.parts,
        });
        Ok(())
    }

    fn parquet_error(&self, error: parquet::errors::ParquetError) -> Error {
        self.tier.unwritable(&self.file_name(), error)
    }
}

/// Lengthens the last part if it is of the same input.
fn add_part(parts: &mut VecDeque<FilePart>, input: &str, rows: u64) {
    match parts.back_mut() {
        Some(last) if last.input == input => last.rows += rows,
        _ => parts.push_back(FilePart { input: input.to_owned(), rows }),
    }
}

/// Moves the parts of the first rows.
fn move_parts(from: &mut VecDeque<FilePart>, to: &mut Vec<FilePart>, mut rows: u64) {
    while let Some(first) = from.front_mut().filter(|_| rows > 0) {
        let moved = rows.min(first.rows);
        match to.last_mut() {
            Some(last) if last.input == first.input => last.rows += moved,
            _ => to.push(FilePart { input: first.input.clone(), rows: moved }),
        }
        first.rows -= moved;
        rows -= moved;
        if first.rows == 0 {
            from.pop_front();
        }
    }
}
