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
use tamis_schemas::manifest::{InputRecord, MANIFEST_VERSION, Manifest, RowCounts, config_for_manifest};

use super::ids::{column, ids_of};
use super::route::{Carried, id_field};
use super::selected::{Chosen, Part, Search, Selectors, none_wanted};
use super::{input_records, pass, sha256_of};
use crate::context::Context;
use crate::dataset::run_of_file;
use crate::dedup::grain::{Piece, rebuild};
use crate::finished::{FinishedRun, TableReader, Waiting, bring_back, check_file};
use crate::progress::Progress;
use crate::sink::{Existing, Output, TableWriter};
use crate::source::{Columns, Decoded, IdSource, Request, Scan};
use crate::store::{Stores, Thaw};
use crate::{Error, ErrorKind, Result, RowSet};

/// Which rows are restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// Kept rows, then dropped ones.
    All,
    /// Kept rows.
    KeptOnly,
    /// Dropped rows, as far as they are wanted.
    Dropped(Selectors),
}

/// How rows are restored.
#[derive(Debug, Clone)]
pub struct RestoreSettings {
    /// Which.
    pub restored: Restored,
    /// How archived files are asked for.
    pub thaw: Thaw,
    /// What to do with an output that holds something.
    pub existing: Existing,
}

/// What became of it.
#[derive(Debug)]
pub enum Restoration {
    /// The rows were written.
    Written(Box<Manifest>),
    /// Nothing was written yet: files lie in an archive, and were asked for.
    Waiting(Waiting),
}

/// Writes the rows that the run at `location` read, rejected ones aside, into the table `kept` at `output`.
///
/// Columns and values are those of the input; `tamis_id` is added if the run named rows. Kept rows come in their order,
/// then the dropped ones in theirs. If files lie in an archive, all that are needed are asked for, and nothing is written.
///
/// # Errors
/// `Error::Config` if the run did not write a table that is needed, or knows nothing of what is wanted; `Error::Corrupt` if a
/// file is not what its manifest says.
pub fn restore(
    location: &str,
    output: &str,
    settings: &RestoreSettings,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<Restoration> {
    let run = FinishedRun::open(location, stores, context, progress)?;
    let config = config(&run, output);
    let unique = vec![config.input.text.clone()];
    let (tables, handle) = ([Table::Kept], context.runtime.handle());
    // An output that is refused must not cost what an archive asks for.
    let sink = Output::open(&config, &tables, unique, settings.existing, None, stores, handle)?;
    let has_ids = ["decontaminate", "deduplicate", "grain", "repetition", "semantic", "score", "select"]
        .iter()
        .any(|name| !run.manifest().config[name].is_null());
    let job = Job { run: &run, config, sink, thaw: settings.thaw, has_ids, stores, context, progress };
    match &settings.restored {
        Restored::All => job.whole(run.manifest().rows.dropped > 0),
        Restored::KeptOnly => job.whole(false),
        Restored::Dropped(selectors) => job.selected(selectors),
    }
}

/// Rows on their way back.
struct Job<'a> {
    run: &'a FinishedRun<'a>,
    /// That of the run whose only table is what is restored.
    config: Config,
    sink: Output,
    thaw: Thaw,
    has_ids: bool,
    stores: &'a Stores,
    context: &'a Context,
    progress: &'a Progress,
}

impl Job<'_> {
    /// Restores every row, or every kept one.
    fn whole(mut self, needs_dropped: bool) -> Result<Restoration> {
        // Of added runs, none may have kept a row, and none of the rows that were cut or dropped may be left.
        let is_empty = |table| {
            !self.run.commits().is_empty()
                && self.run.manifest().tables.contains_key(&table)
                && self.run.files(table).next().is_none()
        };
        let was_cut = self.run.manifest().grain.is_some_and(|grain| grain.cut_spans > 0);
        let tables = [(Table::Kept, true), (Table::Spans, was_cut), (Table::Dropped, needs_dropped)]
            .map(|(table, is_needed)| (table, is_needed && !is_empty(table)));
        let needed = || tables.iter().filter(|(_, is_needed)| *is_needed).flat_map(|(table, _)| self.run.files(*table));
        if let Some(waiting) = bring_back(self.run, needed(), self.thaw)? {
            return Ok(Restoration::Waiting(waiting));
        }
        self.progress.begin("verifying");
        needed().try_for_each(|(url, record)| check_file(self.run, &url, record))?;
        let [kept, spans, dropped] = tables.map(|(table, is_needed)| {
            let open = || self.run.table(table)?.ok_or_else(|| missing(self.run, table));
            is_needed.then(open).transpose()
        });
        let (kept, spans, dropped) = (kept?, spans?, dropped?);
        let n_dropped = self.run.manifest().rows.dropped;
        let n_there = dropped.as_ref().map_or(0, |dropped| dropped.columns.n_rows());
        if needs_dropped && n_there < n_dropped {
            let gone = n_dropped - n_there;
            tracing::warn!(rows = gone, "dropped rows are past their retention; they are not brought back");
        }

        let input = match (&kept, &dropped) {
            (Some(kept), _) => input_columns(self.run, kept, dropped.as_ref())?,
            (None, Some(dropped)) => without_verdict(dropped.columns.schema()),
            (None, None) => return Err(no_rows(self.run)),
        };
        let (carried, mut writer) = self.begin(&input)?;
        let mut work = self.work(&carried);
        let mut pieces = spans.as_ref().map(|spans| Pieces::open(spans, self.context)).transpose()?;
        let (mut n_rows, location) = (0, self.run.location());
        if let Some(kept) = &kept {
            let runs = runs_of(kept);
            n_rows += work.copy(kept, None, &mut writer, |file, batch| match &mut pieces {
                Some(pieces) => put_back(batch, &runs[file], &self.config.input.text, pieces, location),
                None => Ok(batch),
            })?;
        }
        if let Some(pieces) = &mut pieces
            && let Some(piece) = pieces.next_of(None)?
        {
            return Err(unfitting(location, &piece.id));
        }
        if let Some(dropped) = &dropped {
            n_rows += work.copy(dropped, None, &mut writer, |_, batch| Ok(batch))?;
        }
        let sources = [kept.as_ref(), dropped.as_ref()].into_iter().flatten();
        let inputs = sources.flat_map(|table| input_records(&table.inputs, table.columns.file_rows())).collect();
        self.finish(writer, inputs, n_rows)
    }

    /// Restores dropped rows that are wanted.
    fn selected(mut self, selectors: &Selectors) -> Result<Restoration> {
        let mut search = Search::new(selectors, self.run);
        let parts = match search.choose(self.run, self.thaw)? {
            Chosen::Waiting(waiting) => return Ok(Restoration::Waiting(waiting)),
            Chosen::Parts(parts) => parts,
        };
        let needed = || parts.iter().flat_map(|part| part.run.files(Table::Dropped));
        if let Some(waiting) = bring_back(self.run, needed(), self.thaw)? {
            return Ok(Restoration::Waiting(waiting));
        }
        self.progress.begin("verifying");
        needed().try_for_each(|(url, record)| check_file(self.run, &url, record))?;
        let mut tables = Vec::new();
        for part in &parts {
            let dropped = part.run.table(Table::Dropped)?.ok_or_else(|| missing(&part.run, Table::Dropped))?;
            let rows = search.rows(part, &dropped)?;
            tables.push((dropped, rows.map(Arc::new)));
        }
        search.check_ids(self.run)?;
        if tables.iter().all(|(_, rows)| rows.as_ref().is_some_and(|rows| rows.is_empty())) {
            return Err(none_wanted());
        }

        let (carried, mut writer) = self.begin(&columns_of_dropped(self.run, &parts)?)?;
        let mut work = self.work(&carried);
        let (mut inputs, mut n_rows) = (Vec::new(), 0);
        for (dropped, rows) in tables {
            n_rows += work.copy(&dropped, rows, &mut writer, |_, batch| Ok(batch))?;
            inputs.extend(input_records(&dropped.inputs, dropped.columns.file_rows()));
        }
        self.finish(writer, inputs, n_rows)
    }

    /// Begins the table of the rows, which has the columns of the input.
    fn begin(&mut self, input: &Schema) -> Result<(Carried, TableWriter)> {
        let added = [id_field()];
        let carried = Carried::new(input, if self.has_ids { &added } else { &[] });
        self.sink.prepare()?;
        let writer = self.sink.table(Table::Kept, Arc::clone(carried.schema()))?;
        self.progress.begin("restoring");
        Ok((carried, writer))
    }

    fn work<'w>(&'w self, carried: &'w Carried) -> Work<'w> {
        Work { context: self.context, progress: self.progress, carried, has_ids: self.has_ids }
    }

    fn finish(mut self, writer: TableWriter, inputs: Vec<InputRecord>, n_rows: u64) -> Result<Restoration> {
        self.sink.finish_table(Table::Kept, writer)?;
        let manifest = Manifest {
            manifest_version: MANIFEST_VERSION,
            tamis_version: env!("CARGO_PKG_VERSION").to_owned(),
            config_sha256: sha256_of(&config_for_manifest(&self.config)),
            config: config_for_manifest(&self.config),
            inputs,
            rows: RowCounts { rows_in: n_rows, kept: n_rows, ..RowCounts::default() },
            tables: self.sink.records().clone(),
            requests: self.stores.requests(),
            ..Manifest::default()
        };
        self.sink.commit(&manifest)?;
        Ok(Restoration::Written(Box::new(manifest)))
    }
}

/// The columns of the input in what some runs dropped: one may have brought more than another.
fn columns_of_dropped(run: &FinishedRun<'_>, parts: &[Part<'_>]) -> Result<Schema> {
    let names: Vec<&str> = parts.iter().flat_map(|part| part.run.commits()).map(|commit| commit.run.as_str()).collect();
    let added = (!names.is_empty()).then(|| run.only(&names)).transpose()?;
    let run = added.as_ref().unwrap_or(run);
    let dropped = run.table(Table::Dropped)?.ok_or_else(|| missing(run, Table::Dropped))?;
    Ok(without_verdict(dropped.columns.schema()))
}

/// The columns of `dropped` that are the input's.
fn without_verdict(schema: &Schema) -> Schema {
    let is_input = |field: &&Arc<Field>| ![columns::REASON, columns::SOURCE].contains(&field.name().as_str());
    let fields = schema.fields().iter().filter(is_input).cloned();
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
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
            // Not worth a wait: what lies in an archive is not looked at.
            None => match run.table(Table::Dropped) {
                Err(error) if error.kind() == ErrorKind::Archived => false,
                dropped => dropped?.is_some_and(|dropped| has(&dropped, columns::DUPLICATES)),
            },
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

/// The error of a table that the run did not write.
pub(super) fn missing(run: &FinishedRun<'_>, table: Table) -> Error {
    let hint = match table {
        Table::Dropped => "leave the dropped rows out with --kept-only",
        Table::Evidence => "which rows were dropped for which is not known: choose by --run or --id",
        Table::Spans => "what was cut is lost: a run that cuts must write the table `spans`",
        _ => "the run must have written the table `kept`: see output.tables",
    };
    Error::Config {
        message: format!("the run in `{}` wrote no table `{}`", run.location(), table.name()),
        hint: Some(hint.into()),
    }
}

fn no_rows(run: &FinishedRun<'_>) -> Error {
    let rows = &run.manifest().rows;
    Error::Config {
        message: format!("`{}` has no row to restore: {} kept, {} dropped", run.location(), rows.kept, rows.dropped),
        hint: Some("`tamis runs` says what its runs read; without --kept-only dropped rows come back, too".into()),
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
    /// Writes rows of a table, or all, as `change` makes them, in order.
    fn copy(
        &mut self,
        table: &TableReader<'_>,
        rows: Option<Arc<RowSet>>,
        writer: &mut TableWriter,
        mut change: impl FnMut(usize, RecordBatch) -> Result<RecordBatch>,
    ) -> Result<u64> {
        let id = self.has_ids.then(|| IdSource::Column(columns::ID.to_owned()));
        let request = Request { columns: Columns::All, text: None, id, rows };
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
    table.inputs.files().iter().map(|file| run_of_file(&file.name).to_owned()).collect()
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
