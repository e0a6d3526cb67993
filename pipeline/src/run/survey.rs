//! The first pass: the types of all columns, ids, rejects, contaminated rows, and the fingerprints that near-duplicates are found by.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{DecontaminationRecord, RowCounts, SemanticRecord};
use tamis_schemas::tables::rejected_schema;

use super::grain::{self, Grain};
use super::held_out::HeldOutItems;
use super::ids::{IdKey, first_repeated, id_keys, ids_of, rows_of};
use super::plan::max_cluster_rows;
use super::quality::Quality;
use super::route::split_by_null;
use super::verdict::Verdicts;
use super::{NAMES_COLUMNS, Run, pass, rejects, with_flags};
use crate::context::Context;
use crate::decontaminate::{self, Contaminated, Decontaminate, Hits};
use crate::dedup::grain::Repetition;
use crate::dedup::index::Lookup;
use crate::dedup::{DropReason, Fingerprint, MoreDrops, NearDuplicateResult, NearDuplicates, ResultHandle, Settings};
use crate::sink::Output;
use crate::source::{Columns, Decoded, IdSource, InputSchema, Reject, Request, Types};
use crate::spill::ExternalSorter;
use crate::stage::{BarrierStage, MapStage, Next};
use crate::{Error, Result, RowSet};

/// What the first pass found.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) schema: InputSchema,
    pub(super) rows: RowCounts,
    pub(super) contaminated: Option<Contaminated>,
    pub(super) decontamination: Option<DecontaminationRecord>,
    /// Which rows other rules drop; `None` if there is none.
    pub(super) near_duplicates: Option<NearDuplicateResult>,
    pub(super) grain: Option<Grain>,
    /// What was found by embeddings, once it is.
    pub(super) semantic: Option<SemanticRecord>,
    /// What quality decided, once it has.
    pub(super) quality: Option<Quality>,
}

impl Survey {
    /// Whether something is to be cut out of texts.
    pub(super) fn cuts(&self) -> bool {
        self.grain.as_ref().is_some_and(|grain| grain.cutter.is_some())
    }

    /// Takes out of the texts of a block what is to be cut.
    pub(super) fn cut(&self, decoded: Decoded) -> Result<Decoded> {
        match &self.grain {
            Some(grain) => grain.cut(decoded),
            None => Ok(decoded),
        }
    }

    /// Reads the texts of some rows, as they will be written, and columns; `visit` has them batch by batch, in their order.
    pub(super) fn read_texts(
        &self,
        run: Run<'_>,
        columns: Vec<String>,
        rows: RowSet,
        mut visit: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let request = Request {
            columns: Columns::Named(columns),
            text: Some(run.plan.text.clone()),
            id: None,
            rows: Some(Arc::new(rows)),
        };
        pass::for_each(
            run.scan(&self.schema, &request)?,
            run.context,
            |decoded| self.cut(decoded),
            |decoded| decoded.batches.into_iter().try_for_each(&mut visit),
        )
    }

    /// Rows of which losses are a share: all that were read but those that contain a held-out item, whose drop is no loss.
    pub(super) fn rows_at_stake(&self) -> u64 {
        let contaminated = self.contaminated.as_ref().map_or(0, |found| found.rows().len());
        self.rows.rows_in - self.rows.rejected - contaminated
    }

    /// The row of this run that stands for each of `rows`, of those that are dropped for one that says the same.
    pub(super) fn stand_ins(&mut self, rows: &RowSet, context: &Context) -> Result<HashMap<u64, u64>> {
        let verdicts = self.verdicts();
        let n_rows = self.schema.n_rows();
        let Some(found) = &mut self.near_duplicates else { return Ok(HashMap::new()) };
        if rows.iter().all(|row| verdicts.keeps(row)) {
            return Ok(HashMap::new());
        }
        let mut stand_ins = found.evidence.stand_ins(rows, context)?;
        // What earlier runs kept is not of the pool.
        stand_ins.retain(|_, kept| *kept < n_rows);
        Ok(stand_ins)
    }

    /// What becomes of each row.
    pub(super) fn verdicts(&self) -> Verdicts {
        Verdicts {
            contaminated: self.contaminated.as_ref().map(|found| Arc::clone(found.rows())),
            near_duplicates: self.near_duplicates.as_ref().map(|found| found.verdict.clone()),
            quality: self.quality.as_ref().map(|quality| Arc::clone(&quality.dropped)),
        }
    }
}

/// Reads every row once, those in doubt once more, and those that stay once more if their paragraphs or lines count. A row
/// that contains a held-out item is compared with no other.
pub(super) fn survey(
    run: Run<'_>,
    held_out: Option<HeldOutItems>,
    lookup: Option<Lookup>,
    output: &mut Output,
) -> Result<Survey> {
    let needs_text = run.plan.needs_text(run.config);
    let request = Request {
        columns: Columns::Named(Vec::new()),
        text: needs_text.then(|| run.plan.text.clone()),
        id: needs_text.then(|| run.plan.id.clone()),
        rows: None,
    };
    let settings = run.plan.deduplicate.as_ref();
    let columns = settings.map_or_else(Vec::new, Settings::columns);
    let needs_file = settings.is_some_and(|settings| settings.scope.needs_file());
    let fingerprint = settings.map(Fingerprint::new).transpose()?;
    let (mut barrier, result) =
        settings.map(|settings| NearDuplicates::new(settings, run.context)).transpose()?.unzip();
    let fingerprint = fingerprint.zip(barrier.as_ref()).map(|(map, barrier)| map.before(barrier));
    if let (Some(alone), Some(lookup)) = (barrier.take_if(|_| lookup.is_some()), lookup) {
        barrier = Some(alone.against(lookup)?);
    }
    let mut writer =
        run.plan.writes(Table::Rejected).then(|| output.table(Table::Rejected, rejected_schema())).transpose()?;
    let mut ids = ExternalSorter::new("id check", &run.context.budget);
    let mut rows = RowCounts::default();
    let mut types = Types::default();
    let mut hits = held_out.as_ref().map(|items| Hits::new(items.stage.held_out().len(), run.context)).transpose()?;

    run.begin("reading");
    let scan = run.survey(&request)?;
    let repetition = run.plan.grain.as_ref().and_then(|plan| plan.repetition.as_ref());
    let mut repeated = MoreDrops::new(run.context);
    let map = fingerprint.as_ref().map(|map| map as &dyn MapStage);
    // A keep order or a scope by columns needs their types, which only now are looked for.
    let stages = Stages {
        decontaminate: held_out.as_ref().map(|items| &items.stage),
        repetition,
        map: map.filter(|_| columns.is_empty()),
    };
    let checks_ids = needs_text && run.plan.id != IdSource::Row;
    let name_columns = |error| with_flags(error, NAMES_COLUMNS);
    pass::for_each(
        scan,
        run.context,
        |decoded| {
            let _scope = run.context.meter.scope("fingerprinting");
            Work::new(with_file(decoded, needs_file)?, stages, checks_ids)
        },
        |work| {
            if let (Some(writer), false) = (&mut writer, work.rejects.is_empty()) {
                writer.write(&rejects::to_batch(&work.rejects, run.inputs)?)?;
            }
            rows.rows_in += work.decoded_rows + work.rejects.len() as u64;
            rows.rejected += work.rejects.len() as u64;
            rows.text_bytes += work.text_bytes;
            for key in work.ids {
                ids.push(key, run.context)?;
            }
            types.merge(work.types);
            if let Some(hits) = &mut hits {
                work.hits.iter().try_for_each(|batch| hits.observe(batch, run.context))?;
            }
            for (row, ratio) in work.repeated {
                repeated.push_repetition(row, ratio, run.context)?;
            }
            if let (Some(barrier), Some(_)) = (&mut barrier, stages.map) {
                observe(barrier, &work.mapped, run)
            } else {
                run.progress.add_rows(work.decoded_rows);
                Ok(())
            }
        },
    )
    .map_err(name_columns)?;
    if let Some(writer) = writer {
        output.finish_table(Table::Rejected, writer)?;
    }
    let schema = run.inputs.resolve(types).map_err(name_columns)?;
    check_ids(run, &schema, ids)?;
    let (contaminated, decontamination) =
        held_out.zip(hits).map(|(items, hits)| items.finish(hits, run.context)).unzip();

    if let (false, Some(barrier)) = (columns.is_empty(), &mut barrier) {
        run.begin("fingerprinting");
        let request = Request { columns: Columns::Named(columns), id: None, ..request };
        let scan = run.scan(&schema, &request)?;
        let contaminated = contaminated.as_ref().map(|found| found.rows().as_ref());
        let stages = Stages { map, ..Stages::default() };
        pass::for_each(
            scan,
            run.context,
            |decoded| {
                let decoded = without(without(decoded, contaminated)?, repeated.rows(DropReason::Repetition))?;
                Work::new(with_file(decoded, needs_file)?, stages, false)
            },
            |work| observe(barrier, &work.mapped, run),
        )?;
    }
    let near_duplicates =
        barrier.zip(result).map(|(barrier, result)| prove(run, &schema, barrier, &result)).transpose()?;
    let (near_duplicates, grain) = match &run.plan.grain {
        Some(plan) => {
            let found = near_duplicates
                .map_or_else(|| NearDuplicateResult::none(max_cluster_rows(run.config), run.context), Ok)?;
            let found = found.with(repeated, run.context)?;
            let contaminated = contaminated.as_ref().map(|found| found.rows().as_ref());
            let (found, grain) = grain::decide(run, &schema, plan, contaminated, found)?;
            (Some(found), Some(grain))
        }
        None => (near_duplicates, None),
    };
    Ok(Survey { schema, rows, contaminated, decontamination, near_duplicates, grain, semantic: None, quality: None })
}

/// # Errors
/// `Error::Config` naming an id that two rows have, and the rows.
fn check_ids(run: Run<'_>, schema: &InputSchema, ids: ExternalSorter<IdKey>) -> Result<()> {
    let Some((first, second)) = first_repeated(ids, run.context)? else { return Ok(()) };
    let request = Request {
        columns: Columns::Named(Vec::new()),
        text: None,
        id: Some(run.plan.id.clone()),
        rows: Some(Arc::new([first, second].into_iter().collect())),
    };
    let mut id = String::new();
    pass::for_each(run.scan(schema, &request)?, run.context, Ok, |decoded| {
        for batch in &decoded.batches {
            ids_of(batch)?.iter().flatten().next_back().unwrap_or_default().clone_into(&mut id);
        }
        Ok(())
    })?;
    Err(Error::Config {
        message: format!(
            "the id `{id}` is not unique: {} and {} have it",
            place(run, schema, first),
            place(run, schema, second)
        ),
        hint: Some("name a column of unique ids with --id-column (input.id), or pass \"\" to number the rows".into()),
    })
}

/// File and row of a row position, for people.
fn place(run: Run<'_>, schema: &InputSchema, position: u64) -> String {
    let mut first = 0;
    for (file, &n_rows) in run.inputs.files().iter().zip(schema.file_rows()) {
        if position < first + n_rows {
            return format!("row {} of `{}`", position - first, file.name);
        }
        first += n_rows;
    }
    format!("row {position}")
}

/// Hands the barrier what it asks for until it has an answer.
fn prove(
    run: Run<'_>,
    schema: &InputSchema,
    barrier: NearDuplicates,
    result: &ResultHandle,
) -> Result<NearDuplicateResult> {
    run.context.meter.phase("comparing");
    let mut next = Box::new(barrier.at_end(schema.n_rows())).end_of_pass(run.context)?;
    loop {
        match next {
            Next::Done(_) => return result.take(),
            Next::Again { rows, map, mut barrier } => {
                run.begin("proving");
                let request = Request {
                    columns: Columns::Named(Vec::new()),
                    text: Some(run.plan.text.clone()),
                    id: None,
                    rows: Some(Arc::new(rows)),
                };
                let scan = run.scan(schema, &request)?;
                let stages = Stages { map: Some(map.as_ref()), ..Stages::default() };
                pass::for_each(
                    scan,
                    run.context,
                    |decoded| Work::new(decoded, stages, false),
                    |work| observe(barrier.as_mut(), &work.mapped, run),
                )?;
                next = barrier.end_of_pass(run.context)?;
            }
        }
    }
}

fn observe(barrier: &mut dyn BarrierStage, batches: &[RecordBatch], run: Run<'_>) -> Result<()> {
    for batch in batches {
        run.progress.add_rows(batch.num_rows() as u64);
        barrier.observe(batch, run.context)?;
    }
    Ok(())
}

/// The batches without some rows.
pub(super) fn without(mut decoded: Decoded, rows: Option<&RowSet>) -> Result<Decoded> {
    let Some(rows) = rows.filter(|rows| !rows.is_empty()) else { return Ok(decoded) };
    for batch in &mut decoded.batches {
        let others: BooleanArray = rows_of(batch)?.values().iter().map(|&row| Some(!rows.contains(row))).collect();
        if others.true_count() < others.len() {
            *batch = filter_record_batch(batch, &others)?;
        }
    }
    Ok(decoded)
}

/// Appends `tamis_file` where it is needed.
pub(super) fn with_file(mut decoded: Decoded, needs_file: bool) -> Result<Decoded> {
    if !needs_file {
        return Ok(decoded);
    }
    for batch in &mut decoded.batches {
        let mut fields = batch.schema_ref().fields().to_vec();
        fields.push(Arc::new(Field::new(columns::FILE, DataType::UInt64, false)));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from(vec![decoded.file as u64; batch.num_rows()])));
        *batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    }
    Ok(decoded)
}

/// The row-local work of a pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stages<'a> {
    pub(super) decontaminate: Option<&'a Decontaminate>,
    /// Takes out rows that repeat themselves.
    pub(super) repetition: Option<&'a Repetition>,
    /// Makes of the others what a barrier observes.
    pub(super) map: Option<&'a dyn MapStage>,
}

/// What the workers make of a block.
#[derive(Debug)]
pub(super) struct Work {
    /// Rows that contain a held-out item: no other stage sees them.
    pub(super) hits: Vec<RecordBatch>,
    pub(super) mapped: Vec<RecordBatch>,
    /// Rows that repeat themselves, and how much.
    pub(super) repeated: Vec<(u64, f64)>,
    pub(super) ids: Vec<IdKey>,
    pub(super) text_bytes: u64,
    pub(super) decoded_rows: u64,
    pub(super) rejects: Vec<Reject>,
    pub(super) types: Types,
}

impl Work {
    pub(super) fn new(decoded: Decoded, stages: Stages<'_>, wants_ids: bool) -> Result<Self> {
        let mut work = Self {
            hits: Vec::new(),
            mapped: Vec::with_capacity(decoded.batches.len()),
            repeated: Vec::new(),
            ids: Vec::new(),
            text_bytes: 0,
            decoded_rows: 0,
            rejects: decoded.rejects,
            types: decoded.types,
        };
        for mut batch in decoded.batches {
            work.decoded_rows += batch.num_rows() as u64;
            if wants_ids {
                work.ids.extend(id_keys(&batch)?);
            }
            if let Some(texts) = batch.column_by_name(columns::TEXT).and_then(|texts| texts.as_string_opt::<i32>()) {
                let offsets = texts.value_offsets();
                work.text_bytes += (offsets[offsets.len() - 1] - offsets[0]) as u64;
            }
            if let Some(stage) = stages.decontaminate {
                let (clean, hits) = split_by_null(&stage.apply(batch)?, decontaminate::ITEM)?;
                batch = clean;
                if hits.num_rows() > 0 {
                    work.hits.push(hits);
                }
            }
            if let Some(repetition) = stages.repetition {
                let (rest, repeated) = repetition.split(batch)?;
                work.repeated.extend(repeated);
                batch = rest;
            }
            if let Some(map) = stages.map {
                work.mapped.push(map.apply(batch)?);
            }
        }
        Ok(work)
    }
}
