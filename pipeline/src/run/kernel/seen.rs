//! What selections have seen, each of its units, as records.

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::Range;

use super::Task;
use super::record::{Kind, Record, for_each_record};
use super::stream::Incoming;
use crate::run::known::Known;
use crate::select::{Seen, Selection};
use crate::source::{batch_of_bytes, batch_to_bytes};
use crate::{Error, Result};

/// Key of the metadata that holds what is known before any row is seen.
const KNOWN_KEY: &str = "tamis.known";

/// What the stream says that selections know.
pub(super) fn known_of_stream(input: &Incoming<impl Read>) -> Result<Known> {
    let text = input.metadata(KNOWN_KEY).ok_or_else(|| Error::Config {
        message: format!("the stream has no `{KNOWN_KEY}` in its metadata"),
        hint: Some("hand on what `learn` has said".into()),
    })?;
    serde_json::from_str(text)
        .map_err(|error| Error::config(format!("`{KNOWN_KEY}` is not what `learn` says: {error}")))
}

/// A selection that has seen no row.
pub(super) fn selection(task: Task<'_>, known: Known) -> Result<Selection> {
    let select = task.config.select.as_ref();
    known.selection(select.ok_or_else(|| Error::Invariant("this run selects nothing".into()))?)
}

/// Hands on what a selection has seen of `units`.
pub(super) fn hand_over(
    selection: Selection,
    units: Range<u64>,
    mut to: impl FnMut(Record) -> Result<()>,
) -> Result<()> {
    let unit = Some(units.start);
    let mut n_pieces = 0;
    let seen = selection.hand_over(|candidates| {
        let payload = batch_to_bytes(candidates)?;
        to(Record { unit, a: n_pieces, payload, ..Record::new(Kind::Candidates) })?;
        n_pieces += 1;
        Ok(())
    })?;
    to(Record { unit, a: units.end, c: n_pieces, ..Record::json(Kind::Seen, &seen)? })
}

/// Joins what selections of neighbouring units have seen, from records sorted by kind and unit; gives which units those are.
///
/// # Errors
/// `Error::Invariant` if something was lost on its way, or comes twice.
pub(super) fn join(task: Task<'_>, input: &mut Incoming<impl Read>) -> Result<(Selection, Range<u64>)> {
    let context = task.with.context;
    let mut selection = selection(task, known_of_stream(input)?)?;
    let (mut units, mut pieces) = (None::<Range<u64>>, BTreeSet::new());
    for_each_record(input, |record| {
        context.cancel.check()?;
        let unit = record.unit.ok_or_else(|| Error::Invariant("a record of a selection that is of no unit".into()))?;
        match record.kind {
            Kind::Seen => {
                let known = units.get_or_insert(unit..unit);
                if known.end != unit || record.a < unit {
                    return Err(lost(&format!("unit {unit} was to be {}", known.end)));
                }
                known.end = record.a;
                pieces.extend((0..record.c).map(|piece| (unit, piece)));
                selection.add_seen(record.value::<Seen>()?, context)
            }
            Kind::Candidates if pieces.remove(&(unit, record.a)) => {
                selection.add_candidates(&batch_of_bytes(&record.payload)?, context)
            }
            Kind::Candidates => Err(lost(&format!("piece {} of unit {unit} comes twice, or of itself", record.a))),
            kind => Err(Error::Invariant(format!("no selection has records of kind {}", kind as u8))),
        }
    })?;
    match pieces.first() {
        None => Ok((selection, units.unwrap_or(0..0))),
        Some((unit, piece)) => Err(lost(&format!("piece {piece} of unit {unit} is not there"))),
    }
}

fn lost(what: &str) -> Error {
    Error::Invariant(format!("what was seen of the rows is not whole: {what}"))
}
