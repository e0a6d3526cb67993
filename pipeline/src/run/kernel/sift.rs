//! Which rows stay by their quality, from the scores of all units.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use serde::{Deserialize, Serialize};
use tamis_schemas::manifest::QualityRecord;

use super::Task;
use super::expected::Expected;
use super::judge::{JudgedUnit, SCORE};
use super::record::{Kind, Record, RecordWriter, for_each_record};
use super::stream::{Incoming, Outgoing};
use crate::context::Context;
use crate::quality::KeepByScore;
use crate::run::ids::rows_of;
use crate::run::quality::record;
use crate::score::append::required_column;
use crate::source::batch_of_bytes;
use crate::{Error, Result, RowSet};

/// What was decided, but for the rows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sifted {
    pub(super) record: QualityRecord,
    /// Hash of the scorer that has learnt, 0 if none has.
    pub(super) scorer: u64,
    /// Columns of the table `quality`.
    pub(super) schema: Vec<u8>,
}

/// Decides, from records sorted by kind and unit.
pub(super) fn sift(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let context = task.with.context;
    let (Some(config), Some(plan)) = (&task.config.quality, &task.plan.quality) else {
        return Err(Error::Invariant("this run looks for no quality".into()));
    };
    let mut keep = KeepByScore::new(plan.rule, config.seed, context);
    let mut seen = Seen::default();
    for_each_record(input, |record| {
        context.cancel.check()?;
        seen.take(&record)?;
        if record.kind == Kind::Judged {
            seen.n_rows += observe(&mut keep, &batch_of_bytes(&record.payload)?, context)?;
        }
        Ok(())
    })?;
    let devices: Vec<&str> = seen.devices.iter().map(String::as_str).collect();
    let device = (!devices.is_empty()).then(|| devices.join(", "));
    let (column, scorer, schema) = seen.finish(task.job.starts.len())?;
    let found = keep.finish(context)?;
    let mut writer = RecordWriter::begin(output)?;
    for (kind, rows) in [(Kind::Unfit, &found.dropped), (Kind::Control, &found.control)] {
        hand_on(task, kind, rows, |record| writer.push(&record))?;
    }
    let sifted = Sifted { record: record(&found, &column, device), scorer, schema };
    writer.push(&Record::json(Kind::Sifted, &sifted)?)?;
    writer.finish()
}

fn observe(keep: &mut KeepByScore, scores: &RecordBatch, context: &Context) -> Result<u64> {
    let of_rows = required_column(scores, SCORE, &DataType::Float64)?.as_primitive::<Float64Type>();
    for (&row, score) in rows_of(scores)?.values().iter().zip(of_rows) {
        keep.observe(row, score, context)?;
    }
    Ok(of_rows.len() as u64)
}

/// Hands on the rows of each unit that has some, 8 bytes each.
fn hand_on(task: Task<'_>, kind: Kind, rows: &RowSet, mut to: impl FnMut(Record) -> Result<()>) -> Result<()> {
    let mut of_unit = Record::new(kind);
    for row in rows.iter() {
        let unit = task.job.unit_of(row).ok_or_else(|| Error::Invariant(format!("row {row} is of no unit")))?;
        if of_unit.unit != Some(unit) {
            task.with.context.cancel.check()?;
            let done = std::mem::replace(&mut of_unit, Record { unit: Some(unit), ..Record::new(kind) });
            if done.unit.is_some() {
                to(done)?;
            }
        }
        of_unit.payload.extend(row.to_le_bytes());
    }
    if of_unit.unit.is_some() { to(of_unit) } else { Ok(()) }
}

/// What has come, and must come.
#[derive(Debug, Default)]
struct Seen {
    pieces: Expected,
    n_rows: u64,
    expected_rows: u64,
    /// Column of the score and hash of the scorer, of all units the same.
    judge: Option<(String, u64)>,
    devices: BTreeSet<String>,
    schema: Option<Vec<u8>>,
}

impl Seen {
    fn take(&mut self, record: &Record) -> Result<()> {
        let unit = record.unit.ok_or_else(|| Error::Invariant("scores that are of no unit".into()))?;
        match record.kind {
            Kind::JudgedUnit => {
                let judged: JudgedUnit = record.value()?;
                if !self.pieces.expect(unit, record.c) {
                    return Err(lost(&format!("unit {unit} was judged twice")));
                }
                self.expected_rows += judged.rows;
                self.devices.extend(judged.device);
                let judge = (judged.column, judged.scorer);
                if *self.judge.get_or_insert_with(|| judge.clone()) != judge {
                    return Err(Error::Invariant(format!("unit {unit} was judged by another scorer than others")));
                }
                if unit == 0 {
                    self.schema = Some(judged.schema);
                }
                Ok(())
            }
            Kind::Judged if self.pieces.take(unit, record.a) => Ok(()),
            Kind::Judged => Err(lost(&format!("piece {} of unit {unit} is not the next one", record.a))),
            kind => Err(Error::Invariant(format!("no quality is told by records of kind {}", kind as u8))),
        }
    }

    /// The column of the score, the hash of the scorer, and the columns of the table.
    ///
    /// # Errors
    /// `Error::Invariant` if something was lost on its way.
    fn finish(self, n_units: usize) -> Result<(String, u64, Vec<u8>)> {
        let Self { pieces, n_rows, expected_rows, judge, schema, .. } = self;
        if let Some((unit, piece)) = pieces.missing() {
            return Err(lost(&format!("piece {piece} of unit {unit} is not there")));
        }
        match (judge, schema) {
            (Some((column, scorer)), Some(schema)) if pieces.n_units() == n_units && n_rows == expected_rows => {
                Ok((column, scorer, schema))
            }
            _ => Err(lost(&format!(
                "{} of {n_units} units were judged, with {n_rows} of {expected_rows} rows",
                pieces.n_units()
            ))),
        }
    }
}

fn lost(what: &str) -> Error {
    Error::Invariant(format!("the scores of quality are not whole: {what}"))
}
