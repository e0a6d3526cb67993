//! A reading of units that judges the quality of rows.

use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use serde::{Deserialize, Serialize};
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use xxhash_rust::xxh3::xxh3_64;

use super::cuts::CutsOfBatch;
use super::fate::verdicts_so_far;
use super::pieces::Pieces;
use super::record::{Kind, Record, RecordWriter};
use super::scorer::ScorersOfStream;
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use super::{Surroundings, Task};
use crate::run::grain::Grain;
use crate::run::pass;
use crate::run::quality::{Judge, Judged, QualityPlan, Source, read_distilled};
use crate::run::unlabelled::open_causal;
use crate::run::verdict::Verdicts;
use crate::score::device::DeviceChoice;
use crate::score::{CausalScorer, SavedScorer, Unlabelled};
use crate::source::{Columns, Decoded, InputSchema, Inputs, Request, batch_to_bytes, schema_to_bytes};
use crate::stage::MapStage;
use crate::{Error, Result};

/// Columns of scores that are handed on.
pub(super) const SCORE: &str = "score";

/// What was judged of a unit, but for the scores.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct JudgedUnit {
    /// Rows that were judged.
    pub(super) rows: u64,
    /// The column of the score.
    pub(super) column: String,
    /// Hash of the scorer that has learnt, 0 if none has.
    pub(super) scorer: u64,
    /// Device that the scorer ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    /// Of the first unit only, for all: columns of the table `quality`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) schema: Vec<u8>,
}

/// Judges the units of a stream.
pub(super) fn judge(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let mut writer = RecordWriter::begin(output)?;
    let no_inputs = Inputs::none(&task.plan.source, task.with.context);
    let (mut scorers, mut judge) = (ScorersOfStream::default(), None);
    while let Some(batch) = input.next()? {
        let of_batch = ScorersOfStream::column(&batch)?;
        let (units, cuts) = (PlacedUnit::of_batch(&batch)?, CutsOfBatch::new(task, &batch)?);
        for (index, (unit, verdicts)) in units.iter().zip(verdicts_so_far(task, &batch, &units)?).enumerate() {
            let learnt = scorers.next(&of_batch, index)?;
            let (inputs, schema) = unit.open(task)?;
            let judge = match &mut judge {
                Some(judge) => judge,
                none => none.insert(open(task, &no_inputs, learnt, &schema)?),
            };
            let scorer = learnt.map_or(0, xxh3_64);
            let (unit, fate) = ((unit, &inputs, &schema), (&verdicts, &cuts.of_unit(task, unit, index)?.grain));
            read_unit(task, (judge, scorer), unit, fate, |record| writer.push(&record))?;
        }
    }
    writer.finish()
}

/// # Errors
/// `Error::Config` if there is nothing to judge with.
fn open<'a>(task: Task<'a>, no_inputs: &'a Inputs, learnt: Option<&[u8]>, schema: &InputSchema) -> Result<Judge<'a>> {
    let Surroundings { stores, context, .. } = task.with;
    let (Some(config), Some(QualityPlan { source, .. })) = (&task.config.quality, &task.plan.quality) else {
        return Err(Error::Invariant("this run looks for no quality".into()));
    };
    let check_model = |location: &str, hash: &str| {
        task.job.quality.as_ref().map_or(Ok(()), |of_run| of_run.check_model(location, hash))
    };
    match source {
        Source::Column(name) => Judge::of_column(name, schema.schema()),
        Source::Distilled(location) => {
            let saved = read_distilled(location, stores, context)?;
            check_model(location, saved.fingerprint())?;
            Judge::of_distilled(saved, location, config.class.as_deref(), DeviceChoice::Auto, stores, context)
        }
        Source::Scorer(scorer) => {
            let (stage, device): (Box<dyn MapStage + 'a>, _) = match (scorer, learnt) {
                (Unlabelled::Causal(file), _) => {
                    check_model(file, &CausalScorer::digest(file, stores, context)?)?;
                    let (scorer, device) = open_causal(task.run(no_inputs), file, DeviceChoice::Auto, stores)?;
                    (Box::new(scorer), device)
                }
                (_, Some(bytes)) => {
                    let saved = SavedScorer::from_bytes(bytes, "the scorer that was learnt".into())?;
                    let opened = saved.open(DeviceChoice::Auto, None, stores, context)?;
                    (opened.scorer, opened.device)
                }
                (_, None) => return Err(Error::config("there is no scorer of quality in the stream")),
            };
            Ok(Judge::Scorer { column: scorer.column(), device: device.description, stage })
        }
    }
}

fn read_unit(
    task: Task<'_>,
    (judge, scorer): (&Judge<'_>, u64),
    (unit, inputs, schema): (&PlacedUnit, &Inputs, &InputSchema),
    (verdicts, grain): (&Verdicts, &Grain),
    mut to: impl FnMut(Record) -> Result<()>,
) -> Result<()> {
    let Surroundings { context, progress, .. } = task.with;
    let table = judge.table(schema.schema())?;
    let request = Request {
        columns: Columns::Named(task.config.quality.iter().filter_map(|quality| quality.column.clone()).collect()),
        text: judge.needs_text().then(|| task.plan.text.clone()),
        id: Some(task.plan.id.clone()),
        rows: None,
    };
    let scan = inputs.scan(schema, &request)?;
    progress.watch(inputs.total_bytes(), scan.bytes_read());
    let unit_number = Some(unit.number);
    let (mut n_rows, mut n_pieces) = (0, 0);
    let mut pieces = Pieces::new(unit.number, &mut to);
    pass::for_each(
        scan,
        context,
        |Decoded { batches, .. }| {
            let of_batch = |batch: RecordBatch| {
                let n_rows = batch.num_rows() as u64;
                Ok((n_rows, judge.apply(grain.cut_batch(verdicts.staying(batch)?)?, &table)?))
            };
            batches.into_iter().map(of_batch).collect::<Result<Vec<_>>>()
        },
        |judged| {
            for (n_read, judged) in judged {
                progress.add_rows(n_read);
                n_rows += judged.rows.len() as u64;
                if task.plan.writes(Table::Quality) {
                    pieces.push(Table::Quality, &judged.table)?;
                }
                if !judged.rows.is_empty() {
                    let payload = batch_to_bytes(&scores_of(judged)?)?;
                    pieces.pass_on(Record { unit: unit_number, a: n_pieces, payload, ..Record::new(Kind::Judged) })?;
                    n_pieces += 1;
                }
            }
            Ok(())
        },
    )?;
    let (column, device) = (judge.column().to_owned(), judge.device().map(str::to_owned));
    let mut judged = JudgedUnit { rows: n_rows, column, scorer, device, schema: Vec::new() };
    if unit.number == 0 {
        judged.schema = schema_to_bytes(table.schema())?;
    }
    to(Record { unit: unit_number, c: n_pieces, ..Record::json(Kind::JudgedUnit, &judged)? })
}

/// Rows and scores of a batch.
fn scores_of(Judged { rows, scores, .. }: Judged) -> Result<RecordBatch> {
    let rows: ArrayRef = Arc::new(rows);
    Ok(RecordBatch::try_from_iter_with_nullable([(columns::ROW, rows, false), (SCORE, Arc::new(scores), true)])?)
}
