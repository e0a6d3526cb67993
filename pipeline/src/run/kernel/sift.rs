//! Which rows stay by their quality, from the scores of all units.

use std::collections::BTreeMap;
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
    let (column, schema) = seen.finish(task.job.starts.len())?;
    let found = keep.finish(context)?;
    let mut writer = RecordWriter::begin(output)?;
    for (kind, rows) in [(Kind::Unfit, &found.dropped), (Kind::Control, &found.control)] {
        for (unit, payload) in by_unit(task, rows)? {
            writer.push(&Record { unit: Some(unit), payload, ..Record::new(kind) })?;
        }
    }
    let sifted = Sifted { record: record(&found, &column), schema };
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

/// The rows of each unit that has some, in payloads of 8 bytes each.
fn by_unit(task: Task<'_>, rows: &RowSet) -> Result<BTreeMap<u64, Vec<u8>>> {
    let mut of_units: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for row in rows.iter() {
        let unit = task.job.unit_of(row).ok_or_else(|| Error::Invariant(format!("row {row} is of no unit")))?;
        of_units.entry(unit).or_default().extend(row.to_le_bytes());
    }
    Ok(of_units)
}

/// What has come, and must come.
#[derive(Debug, Default)]
struct Seen {
    pieces: Expected,
    n_rows: u64,
    expected_rows: u64,
    column: Option<String>,
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
                self.column.get_or_insert(judged.column);
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

    /// The column of the score, and the columns of its table.
    ///
    /// # Errors
    /// `Error::Invariant` if something was lost on its way.
    fn finish(self, n_units: usize) -> Result<(String, Vec<u8>)> {
        let Self { pieces, n_rows, expected_rows, column, schema } = self;
        if let Some((unit, piece)) = pieces.missing() {
            return Err(lost(&format!("piece {piece} of unit {unit} is not there")));
        }
        match (column, schema) {
            (Some(column), Some(schema)) if pieces.n_units() == n_units && n_rows == expected_rows => {
                Ok((column, schema))
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
