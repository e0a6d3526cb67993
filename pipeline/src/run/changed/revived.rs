//! Rows that are decided once more, because the rows that stood for them leave the output.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use parquet::arrow::ArrowWriter;
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::FileRecord;

use super::select::text_column;
use crate::budget::Reservation;
use crate::finished::FinishedRun;
use crate::run::pass;
use crate::source::{Columns, Request};
use crate::{Error, Result, RowSet};

/// Rows of an input, in a temporary file.
#[derive(Debug)]
pub(in crate::run) struct Revived {
    pub(in crate::run) path: PathBuf,
    /// Name of the input.
    pub(in crate::run) name: String,
    /// Its URL.
    pub(in crate::run) url: String,
}

/// Dropped rows by the name of their input.
#[derive(Debug, Default)]
pub(super) struct RowsOfSources(BTreeMap<String, Vec<RecordBatch>>);

impl RowsOfSources {
    /// Reads rows of a file of the table `dropped`.
    pub(super) fn read(
        &mut self,
        run: &FinishedRun<'_>,
        (url, record): &(String, FileRecord),
        rows: RowSet,
        held: &mut Reservation,
    ) -> Result<()> {
        let stored = run.stored_files(Table::Dropped, &[(url, record)])?;
        let request = Request { rows: Some(rows.into()), columns: Columns::All, text: None, id: None };
        let scan = stored.inputs.scan(&stored.columns, &request)?;
        pass::for_each(scan, run.context, Ok, |decoded| {
            for batch in &decoded.batches {
                held.grow(batch.get_array_memory_size())?;
                self.add(batch)?;
            }
            Ok(())
        })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let sources = text_column(batch, columns::SOURCE)?
            .ok_or_else(|| Error::Invariant("dropped rows do not say of which input they are".into()))?;
        for source in sources.iter().flatten().collect::<BTreeSet<&str>>() {
            let is_of_source = sources.iter().map(|of_row| Some(of_row == Some(source))).collect();
            self.0.entry(source.to_owned()).or_default().push(filter_record_batch(batch, &is_of_source)?);
        }
        Ok(())
    }

    /// Writes them to temporary files as the inputs had them, with their ids.
    pub(super) fn write(self, run: &FinishedRun<'_>) -> Result<Vec<Revived>> {
        let urls = urls_by_name(run);
        let write = |(name, batches): (String, Vec<RecordBatch>)| {
            let url = urls.get(name.as_str()).copied().unwrap_or_default().to_owned();
            Ok(Revived { path: write_rows(&batches, run)?, name, url })
        };
        self.0.into_iter().map(write).collect()
    }
}

/// URL of each input by the name that a run gave it.
fn urls_by_name<'a>(run: &'a FinishedRun<'_>) -> HashMap<&'a str, &'a str> {
    let inputs = run.commits().iter().flat_map(|commit| commit.inputs.iter().zip(&commit.manifest.inputs));
    inputs.map(|(input, record)| (record.name.as_str(), input.url.as_str())).collect()
}

/// Writes rows as the input had them, and their ids, to a temporary file.
fn write_rows(batches: &[RecordBatch], run: &FinishedRun<'_>) -> Result<PathBuf> {
    let path = run.context.spill.new_path().with_extension("parquet");
    let is_input = |name: &str| ![columns::ROW, columns::REASON, columns::SOURCE].contains(&name);
    let project = |batch: &RecordBatch| {
        let fields = batch.schema_ref().fields();
        let indices: Vec<usize> = (0..fields.len()).filter(|&index| is_input(fields[index].name())).collect();
        batch.project(&indices)
    };
    let schema = project(&batches[0])?.schema();
    let failed = |error: parquet::errors::ParquetError| run.context.spill.error(std::io::Error::other(error));
    let file = std::fs::File::create(&path).map_err(|error| run.context.spill.error(error))?;
    let mut writer = ArrowWriter::try_new(file, schema, None).map_err(failed)?;
    for batch in batches {
        writer.write(&project(batch)?).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(path)
}
