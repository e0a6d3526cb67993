//! The manifest of a finished run, and the rows of its tables.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use object_store::ObjectStoreExt;
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{FileRecord, MANIFEST_VERSION, Manifest};

use crate::context::Context;
use crate::progress::Progress;
use crate::run::{ids_of, parse_text, rows_of};
use crate::sink::MANIFEST;
use crate::source::{Columns, Format, IdSource, InputSchema, Inputs, Request, SourceOptions, TextExpression, Types};
use crate::store::{Stores, unreadable};
use crate::{Error, Result, RowSet};

/// A run that has a manifest, to be read.
#[derive(Debug)]
pub struct FinishedRun<'a> {
    location: String,
    manifest: Manifest,
    text: TextExpression,
    stores: &'a Stores,
    pub(super) context: &'a Context,
    pub(super) progress: &'a Progress,
}

impl<'a> FinishedRun<'a> {
    /// Reads the manifest at a folder or URL.
    ///
    /// # Errors
    /// `Error::Config` if there is none, or if another version of tamis wrote it in another layout.
    pub fn open(location: &str, stores: &'a Stores, context: &'a Context, progress: &'a Progress) -> Result<Self> {
        let location = location.strip_suffix(MANIFEST).unwrap_or(location);
        let location = if location.is_empty() { "." } else { location };
        let location = if location.len() > 1 { location.trim_end_matches('/') } else { location }.to_owned();
        let file = format!("{location}/{MANIFEST}");
        let (store, path) = stores.resolve(&file)?;
        let read = context.runtime.block_on(async { store.get(&path).await?.bytes().await });
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::Config {
                    message: format!("`{location}` is no finished run: it has no {MANIFEST}"),
                    hint: Some(
                        "name the folder or URL that a run was given with -o; one that was stopped left none".into(),
                    ),
                });
            }
            Err(error) => return Err(unreadable(&file, &error)),
        };
        let manifest = parse_manifest(&file, &bytes)?;
        let text = parse_text(manifest.config["input"]["text"].as_str().unwrap_or("text"))?;
        Ok(Self { location, manifest, text, stores, context, progress })
    }

    /// The folder or URL.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the files of a table lie, and what the manifest says of each; none if the run wrote no such table.
    pub(crate) fn files(&self, table: Table) -> impl Iterator<Item = (String, &FileRecord)> {
        let files = self.manifest.tables.get(&table).into_iter().flat_map(|record| &record.files);
        files.map(move |file| (file_location(&self.location, table, &file.path), file))
    }

    /// A table, or `None` if the run wrote none of that name.
    ///
    /// # Errors
    /// `Error::Corrupt` if its files are not those that the manifest names.
    pub(crate) fn table(&self, table: Table) -> Result<Option<TableReader<'_>>> {
        let Some(record) = self.manifest.tables.get(&table) else { return Ok(None) };
        let locations: Vec<String> = self.files(table).map(|(location, _)| location).collect();
        let options = SourceOptions { format: Some(Format::Parquet), ..SourceOptions::default() };
        let inputs = Inputs::discover(&locations, &options, self.stores, self.context)?;
        let mut types = Types::default();
        let mut survey = inputs.survey(&request(&[]))?;
        while let Some(block) = survey.next_block()? {
            types.merge(block.decode()?.types);
        }
        let schema = inputs.resolve(types)?;
        let recorded: (u64, u64) =
            record.files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.bytes));
        let found = (schema.n_rows(), inputs.total_bytes());
        if found != recorded {
            return Err(Error::Corrupt {
                location: format!("{}/{}", self.location, table.name()),
                format: "the table of this run",
                message: format!(
                    "the manifest says {} rows in {} bytes, the files have {} rows in {} bytes",
                    recorded.0, recorded.1, found.0, found.1
                ),
            });
        }
        Ok(Some(TableReader { run: self, table, inputs, columns: schema }))
    }
}

fn parse_manifest(file: &str, bytes: &[u8]) -> Result<Manifest> {
    let corrupt = |error: serde_json::Error| Error::Corrupt {
        location: file.to_owned(),
        format: "a manifest of tamis",
        message: error.to_string(),
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(corrupt)?;
    if let Some(version) = value["manifest_version"].as_u64()
        && version != u64::from(MANIFEST_VERSION)
    {
        return Err(Error::Config {
            message: format!("`{file}` has layout {version}, this version of tamis reads {MANIFEST_VERSION}"),
            hint: value["tamis_version"].as_str().map(|version| format!("tamis {version} wrote it and can read it")),
        });
    }
    serde_json::from_value(value).map_err(corrupt)
}

/// Where a file of a table lies: those beside the manifest are named `<table>/<file>`, those of another tier by its URL.
fn file_location(run: &str, table: Table, path: &str) -> String {
    let is_beside =
        path.strip_prefix(table.name()).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| !rest.contains('/'));
    if is_beside { format!("{run}/{path}") } else { path.to_owned() }
}

/// A request for some columns and nothing else.
pub(super) fn request(columns: &[&str]) -> Request {
    let columns = columns.iter().map(|&name| name.to_owned()).collect();
    Request { columns: Columns::Named(columns), text: None, id: None, rows: None }
}

/// A table of a finished run.
#[derive(Debug)]
pub(crate) struct TableReader<'a> {
    run: &'a FinishedRun<'a>,
    table: Table,
    pub(crate) inputs: Inputs,
    /// What a scan of `inputs` needs.
    pub(crate) columns: InputSchema,
}

impl TableReader<'_> {
    /// Its columns, those of tamis left out that a request adds by itself.
    pub(super) fn schema(&self) -> &Schema {
        self.columns.schema()
    }

    /// Calls `visit` on every batch in order, until it breaks.
    pub(super) fn scan(
        &self,
        step: &'static str,
        request: &Request,
        mut visit: impl FnMut(&RecordBatch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let progress = self.run.progress;
        progress.begin(step);
        let mut scan = self.inputs.scan(&self.columns, request)?;
        progress.watch(self.inputs.total_bytes(), scan.bytes_read());
        while let Some(block) = scan.next_block()? {
            for batch in &block.decode()?.batches {
                progress.add_rows(batch.num_rows() as u64);
                if visit(batch)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A request for `columns` with the id of each row.
    pub(super) fn request_with_ids(columns: &[&str]) -> Request {
        Request { id: Some(IdSource::Column(columns::ID.to_owned())), ..request(columns) }
    }

    /// Positions of the rows that have these ids, as far as they are in this table.
    pub(super) fn rows_of_ids<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> Result<RowSet> {
        let mut wanted: HashSet<&str> = ids.into_iter().collect();
        let mut rows = RowSet::new();
        if wanted.is_empty() {
            return Ok(rows);
        }
        let step = match self.table {
            Table::Dropped => "finding dropped rows",
            _ => "finding kept rows",
        };
        self.scan(step, &Self::request_with_ids(&[]), |batch| {
            let positions = rows_of(batch)?;
            for (&row, id) in positions.values().iter().zip(ids_of(batch)?) {
                if wanted.remove(id.unwrap_or_default()) {
                    rows.insert(row);
                }
            }
            Ok(if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(rows)
    }

    /// The texts of the rows that have these ids, each passed through `shorten`.
    pub(super) fn texts<'i, T>(
        &self,
        ids: impl IntoIterator<Item = &'i str>,
        mut shorten: impl FnMut(&str, &str) -> Result<T>,
    ) -> Result<HashMap<String, T>> {
        let rows = self.rows_of_ids(ids)?;
        let mut texts = HashMap::new();
        if rows.is_empty() {
            return Ok(texts);
        }
        let request =
            Request { text: Some(self.run.text.clone()), rows: Some(Arc::new(rows)), ..Self::request_with_ids(&[]) };
        self.scan("reading texts", &request, |batch| {
            let of_batch = batch
                .column_by_name(columns::TEXT)
                .and_then(|texts| arrow::array::AsArray::as_string_opt::<i32>(texts))
                .ok_or_else(|| Error::Invariant("a scan for texts has none".into()))?;
            for (id, text) in ids_of(batch)?.iter().flatten().zip(of_batch.iter().flatten()) {
                texts.insert(id.to_owned(), shorten(id, text)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_the_manifest_and_files_of_a_tier() {
        let check = |path: &str, expect: &str| assert_eq!(file_location("s3://b/out", Table::Kept, path), expect);
        check("kept/part-00000.parquet", "s3://b/out/kept/part-00000.parquet");
        check("cold/kept/part-00000.parquet", "cold/kept/part-00000.parquet");
        check("kept/kept/part-00000.parquet", "kept/kept/part-00000.parquet");
        check("s3://c/x/kept/part-00000.parquet", "s3://c/x/kept/part-00000.parquet");
    }
}
