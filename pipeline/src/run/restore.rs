//! Every row of an earlier run as it was read: what was cut is put back, what was dropped is brought back.
//!
//! ```text
//! kept --+-- spans, joined in the order of the rows --> text as it was --+--> RESTORED/kept
//! dropped ---------------------------------------------------------------+
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, UInt64Type};
use tamis_schemas::columns;
use tamis_schemas::config::{Config, InputConfig, OutputConfig, Table};
use tamis_schemas::manifest::{MANIFEST_VERSION, Manifest, RowCounts, config_for_manifest};

use super::ids::{column, ids_of};
use super::route::{Carried, id_field};
use super::{input_records, pass, sha256_of};
use crate::context::Context;
use crate::dedup::grain::{Piece, rebuild};
use crate::finished::{FinishedRun, TableReader, check_file};
use crate::progress::Progress;
use crate::sink::{Existing, Output, TableWriter};
use crate::source::{Columns, Decoded, IdSource, Request, Scan};
use crate::store::Stores;
use crate::{Error, Result};

/// Which rows are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// Kept rows, then dropped ones.
    All,
    /// Kept rows.
    KeptOnly,
}

/// Writes the rows that the run at `location` read, rejected ones aside, into the table `kept` at `output`.
///
/// Columns and values are those of the input; `tamis_id` is added if the run named rows. Kept rows come in their order,
/// then the dropped ones in theirs.
///
/// # Errors
/// `Error::Config` if the run did not write a table that is needed; `Error::Corrupt` if a file is not what its manifest
/// says.
pub fn restore(
    location: &str,
    output: &str,
    restored: Restored,
    existing: Existing,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<Manifest> {
    let run = FinishedRun::open(location, stores, context, progress)?;
    progress.begin("verifying");
    let needs_dropped = restored == Restored::All && run.manifest().rows.dropped > 0;
    let needs_spans = run.manifest().grain.is_some_and(|grain| grain.cut_spans > 0);
    let open = |table, is_needed: bool| {
        if !is_needed {
            return Ok(None);
        }
        run.files(table).try_for_each(|(url, record)| check_file(&run, &url, record))?;
        run.table(table)?.ok_or_else(|| missing(&run, table)).map(Some)
    };
    let kept = open(Table::Kept, true)?.ok_or_else(|| missing(&run, Table::Kept))?;
    let spans = open(Table::Spans, needs_spans)?;
    let dropped = open(Table::Dropped, needs_dropped)?;

    if let Some(dropped) = &dropped
        && dropped.columns.n_rows() < run.manifest().rows.dropped
    {
        let gone = run.manifest().rows.dropped - dropped.columns.n_rows();
        tracing::warn!(rows = gone, "dropped rows are past their retention; they are not brought back");
    }

    let config = config(&run, output);
    let has_ids = ["decontaminate", "deduplicate", "grain", "repetition", "score", "select"]
        .iter()
        .any(|name| !run.manifest().config[name].is_null());
    let added = [id_field()];
    let input = input_columns(&run, &kept, dropped.as_ref())?;
    let carried = Carried::new(&input, if has_ids { &added } else { &[] });
    let unique = vec![config.input.text.clone()];
    let mut sink = Output::open(&config, &[Table::Kept], unique, existing, None, stores, context.runtime.handle())?;
    sink.prepare()?;
    let mut writer = sink.table(Table::Kept, Arc::clone(carried.schema()))?;

    progress.begin("restoring");
    let mut work = Work { context, progress, carried: &carried, has_ids };
    let mut pieces = spans.as_ref().map(|spans| Pieces::open(spans, context)).transpose()?;
    let runs = runs_of(&kept);
    let mut n_rows = work.copy(&kept, &mut writer, |file, batch| match &mut pieces {
        Some(pieces) => put_back(batch, &runs[file], &config.input.text, pieces, run.location()),
        None => Ok(batch),
    })?;
    if let Some(pieces) = &mut pieces
        && let Some(piece) = pieces.next_of(None)?
    {
        return Err(unfitting(run.location(), &piece.id));
    }
    if let Some(dropped) = &dropped {
        n_rows += work.copy(dropped, &mut writer, |_, batch| Ok(batch))?;
    }
    sink.finish_table(Table::Kept, writer)?;

    let sources = [Some(&kept), dropped.as_ref()].into_iter().flatten();
    let manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        tamis_version: env!("CARGO_PKG_VERSION").to_owned(),
        config_sha256: sha256_of(&config_for_manifest(&config)),
        config: config_for_manifest(&config),
        inputs: sources.flat_map(|table| input_records(&table.inputs, table.columns.file_rows())).collect(),
        rows: RowCounts { rows_in: n_rows, kept: n_rows, ..RowCounts::default() },
        tables: sink.records().clone(),
        requests: stores.requests(),
        ..Manifest::default()
    };
    sink.commit(&manifest)?;
    Ok(manifest)
}

/// The columns of `kept` that hold what the input held, for all rows that are restored. Says which others the input had.
fn input_columns(run: &FinishedRun<'_>, kept: &TableReader<'_>, dropped: Option<&TableReader<'_>>) -> Result<Schema> {
    let schema = kept.columns.schema();
    let has = |table: &TableReader<'_>, name: &str| table.columns.schema().field_with_name(name).is_ok();
    let mut replaced = Vec::new();
    let mut lost = Vec::new();
    // Those of `dropped` are the input's, but for the reason and the file.
    if !run.manifest().config["deduplicate"].is_null() {
        replaced.push(columns::DUPLICATES);
        let of_input = match dropped {
            Some(dropped) => has(dropped, columns::DUPLICATES),
            None => run.table(Table::Dropped)?.is_some_and(|dropped| has(&dropped, columns::DUPLICATES)),
        };
        lost.extend(of_input.then_some(columns::DUPLICATES));
    }
    if let Some(dropped) = dropped {
        let names_sources = !run.commits().is_empty() && has(dropped, columns::SOURCE);
        for name in [Some(columns::REASON), names_sources.then_some(columns::SOURCE)].into_iter().flatten() {
            replaced.push(name);
            lost.extend(has(kept, name).then_some(name));
        }
    }
    if !lost.is_empty() {
        tracing::warn!(columns = lost.join(", "), "the run replaced columns of its input; they are not brought back");
    }
    let is_input = |field: &&Arc<Field>| !replaced.contains(&field.name().as_str());
    let fields = schema.fields().iter().filter(is_input);
    // Of runs that were added to each other, one may have brought a column to `dropped` alone.
    let others = dropped.iter().flat_map(|dropped| dropped.columns.schema().fields());
    let others = others.filter(is_input).filter(|field| field.name() != columns::ID && !has(kept, field.name()));
    Ok(Schema::new_with_metadata(fields.chain(others).cloned().collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The config of the run whose only table is what is restored.
fn config(run: &FinishedRun<'_>, output: &str) -> Config {
    let mut input = InputConfig::new(vec![run.location().to_owned()]);
    if let Some(text) = run.manifest().config["input"]["text"].as_str() {
        text.clone_into(&mut input.text);
    }
    Config::new(input, OutputConfig::new(output.to_owned()))
}

fn missing(run: &FinishedRun<'_>, table: Table) -> Error {
    let hint = match table {
        Table::Dropped => "leave the dropped rows out with --kept-only",
        Table::Spans => "what was cut is lost: a run that cuts must write the table `spans`",
        _ => "the run must have written the table `kept`: see output.tables",
    };
    Error::Config {
        message: format!("the run in `{}` wrote no table `{}`", run.location(), table.name()),
        hint: Some(hint.into()),
    }
}

fn unfitting(location: &str, id: &str) -> Error {
    Error::Corrupt {
        location: location.to_owned(),
        format: "a run that can be restored",
        message: format!("the spans of row `{id}` do not fit what is left of its text"),
    }
}

/// Copies tables.
struct Work<'a> {
    context: &'a Context,
    progress: &'a Progress,
    carried: &'a Carried,
    has_ids: bool,
}

impl Work<'_> {
    /// Writes every row of a table as `change` makes it, in order.
    fn copy(
        &mut self,
        table: &TableReader<'_>,
        writer: &mut TableWriter,
        mut change: impl FnMut(usize, RecordBatch) -> Result<RecordBatch>,
    ) -> Result<u64> {
        let id = self.has_ids.then(|| IdSource::Column(columns::ID.to_owned()));
        let request = Request { columns: Columns::All, text: None, id, rows: None };
        let scan = table.inputs.scan(&table.columns, &request)?;
        self.progress.watch(table.inputs.total_bytes(), scan.bytes_read());
        let mut n_rows = 0;
        pass::for_each(scan, self.context, Ok, |decoded: Decoded| {
            for batch in decoded.batches {
                n_rows += batch.num_rows() as u64;
                self.progress.add_rows(batch.num_rows() as u64);
                let batch = completed(&change(decoded.file, batch)?, self.carried.schema())?;
                writer.write(&self.carried.project(&batch)?)?;
            }
            Ok(())
        })?;
        Ok(n_rows)
    }
}

/// Adds the columns that a table lacks, as null: of runs that were added to each other, one may have brought them to the other
/// table alone. A column that the two hold in different types becomes what `schema` says.
pub(crate) fn completed(batch: &RecordBatch, schema: &Schema) -> Result<RecordBatch> {
    let mut fields = batch.schema_ref().fields().to_vec();
    let mut columns = batch.columns().to_vec();
    for field in schema.fields() {
        match fields.iter().position(|other| other.name() == field.name()) {
            Some(at) if columns[at].data_type() != field.data_type() => {
                columns[at] = cast(&columns[at], field.data_type())?;
                fields[at] = Arc::new(fields[at].as_ref().clone().with_data_type(field.data_type().clone()));
            }
            Some(_) => {}
            None => {
                columns.push(new_null_array(field.data_type(), batch.num_rows()));
                fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
            }
        }
    }
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// Of each file of a table the run that wrote it, by its name: all have one name if there was only one run.
fn runs_of(table: &TableReader<'_>) -> Vec<String> {
    let run = |name: &str| {
        let file = name.rsplit('/').next().unwrap_or(name);
        file.rsplit_once('-').map_or("", |(run, _)| run).to_owned()
    };
    table.inputs.files().iter().map(|file| run(&file.name)).collect()
}

/// Puts back what `run` cut out of the texts of a batch.
fn put_back(
    batch: RecordBatch,
    run: &str,
    text_column: &str,
    pieces: &mut Pieces,
    location: &str,
) -> Result<RecordBatch> {
    let Some((index, field)) = batch.schema_ref().column_with_name(text_column) else {
        return Err(Error::Corrupt {
            location: location.to_owned(),
            format: "a run that can be restored",
            message: format!("its table `kept` has no column `{text_column}`"),
        });
    };
    let ids = ids_of(&batch)?;
    let rests = cast(batch.column(index), &DataType::Utf8)?;
    let rests = rests.as_string::<i32>();
    let mut texts: Vec<Option<String>> = vec![None; rests.len()];
    for (row, id) in ids.iter().enumerate() {
        let id = id.unwrap_or_default();
        let mut of_row = Vec::new();
        while let Some(piece) = pieces.next_of(Some((run, id)))? {
            of_row.push(piece);
        }
        if of_row.is_empty() {
            continue;
        }
        let of_row: Vec<Piece<'_>> =
            of_row.iter().map(|span| Piece { start: span.start, end: span.end, text: &span.text }).collect();
        texts[row] = Some(rebuild(rests.value(row), &of_row).ok_or_else(|| unfitting(location, id))?);
    }
    if texts.iter().all(Option::is_none) {
        return Ok(batch);
    }
    let texts: StringArray = texts.iter().zip(rests).map(|(text, rest)| text.as_deref().or(rest)).collect();
    let mut columns = batch.columns().to_vec();
    columns[index] = cast(&(Arc::new(texts) as ArrayRef), field.data_type())?;
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

/// What was cut out of a row.
#[derive(Debug)]
struct CutPiece {
    id: String,
    start: u64,
    end: u64,
    text: String,
}

/// The table `spans`, from its beginning to its end.
struct Pieces {
    scan: Scan,
    /// Run by file.
    runs: Vec<String>,
    /// File and rows.
    batches: VecDeque<(usize, RecordBatch)>,
    /// Row of the first batch that comes next.
    next_row: usize,
}

impl Pieces {
    fn open(table: &TableReader<'_>, context: &Context) -> Result<Self> {
        let columns = Columns::Named(["id", "start", "end", "text"].map(str::to_owned).to_vec());
        let request = Request { columns, text: None, id: None, rows: None };
        context.cancel.check()?;
        let scan = table.inputs.scan(&table.columns, &request)?;
        Ok(Self { scan, runs: runs_of(table), batches: VecDeque::new(), next_row: 0 })
    }

    /// The next piece, if it is of that row of that run, or of any.
    fn next_of(&mut self, row_of_run: Option<(&str, &str)>) -> Result<Option<CutPiece>> {
        loop {
            if let Some((_, batch)) = self.batches.front() {
                if self.next_row < batch.num_rows() {
                    break;
                }
                self.batches.pop_front();
                self.next_row = 0;
            } else {
                let Some(block) = self.scan.next_block()? else { return Ok(None) };
                let decoded = block.decode()?;
                self.batches.extend(decoded.batches.into_iter().map(|batch| (decoded.file, batch)));
            }
        }
        let ((file, batch), row) = (&self.batches[0], self.next_row);
        let found_id = strings(batch, "id")?.value(row);
        if row_of_run.is_some_and(|of| of != (&self.runs[*file], found_id)) {
            return Ok(None);
        }
        self.next_row += 1;
        Ok(Some(CutPiece {
            id: found_id.to_owned(),
            start: number(batch, "start", row)?,
            end: number(batch, "end", row)?,
            text: strings(batch, "text")?.value(row).to_owned(),
        }))
    }
}

fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    column(batch, name)?.as_string_opt::<i32>().ok_or_else(|| wrong_type(name))
}

fn number(batch: &RecordBatch, name: &str, row: usize) -> Result<u64> {
    let number = cast(&column(batch, name)?.slice(row, 1), &DataType::UInt64).map_err(|_| wrong_type(name))?;
    let number = number.as_primitive_opt::<UInt64Type>().filter(|number| number.is_valid(0));
    number.map(|number| number.value(0)).ok_or_else(|| wrong_type(name))
}

fn wrong_type(name: &str) -> Error {
    Error::Column { message: format!("column `{name}` of the table `spans` has the wrong type"), hint: None }
}
