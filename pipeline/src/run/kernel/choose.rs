//! The batch, from what was seen of all units.

use std::io::{Read, Write};

use tamis_schemas::manifest::SelectionRecord;

use super::Task;
use super::record::{Kind, Record, RecordWriter};
use super::seen;
use super::stream::{Incoming, Outgoing};
use crate::run::select::record;
use crate::select::Chosen;
use crate::{Error, Result};

/// Joins what was seen of some units, so that who chooses has less to read.
pub(super) fn gather(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let (selection, units) = seen::join(task, input)?;
    let mut writer = RecordWriter::begin(output)?;
    if !units.is_empty() {
        seen::hand_over(selection, units, |record| writer.push(&record))?;
    }
    writer.finish()
}

/// Chooses.
pub(super) fn choose(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let (selection, units) = seen::join(task, input)?;
    let n_units = task.job.starts.len() as u64;
    if units != (0..n_units) {
        return Err(Error::Invariant(format!("a batch was to be chosen from {n_units} units, and is from {units:?}")));
    }
    let outcome = selection.finish(task.with.context)?;
    let mut writer = RecordWriter::begin(output)?;
    for chosen in outcome.batch.chosen() {
        writer.push(&to_record(chosen, task.job.unit_of(chosen.row)))?;
    }
    let selected: SelectionRecord = record(outcome.report);
    writer.push(&Record::json(Kind::Selected, &selected)?)?;
    writer.finish()
}

fn to_record(chosen: &Chosen, unit: Option<u64>) -> Record {
    let Chosen { row, rank, score, reason } = chosen;
    Record {
        unit,
        a: *row,
        b: u64::from(*rank),
        c: u64::from(score.is_some()),
        similarity: score.unwrap_or_default(),
        payload: reason.as_bytes().to_vec(),
        ..Record::new(Kind::Chosen)
    }
}

/// The row that a record says was chosen.
pub(super) fn of_record(record: Record) -> Result<Chosen> {
    let malformed = |what: &str| Error::config(format!("a record of a chosen row cannot be read: {what}"));
    Ok(Chosen {
        row: record.a,
        rank: u32::try_from(record.b).map_err(|_| malformed("its rank"))?,
        score: (record.c > 0).then_some(record.similarity),
        reason: String::from_utf8(record.payload).map_err(|_| malformed("why"))?,
    })
}
