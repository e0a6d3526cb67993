//! What selections have seen, each of its units, as records.

use std::io::Read;
use std::ops::Range;

use super::Task;
use super::expected::Expected;
use super::record::{Kind, Record, for_each_record};
use super::stream::Incoming;
use crate::budget::Reservation;
use crate::run::known::Known;
use crate::select::{Seen, Selection};
use crate::source::{batch_of_bytes, batch_to_bytes};
use crate::{Error, Result};

/// Key of the metadata that holds what is known before any row is seen.
const KNOWN_KEY: &str = "tamis.known";

/// What the stream says that selections know, and the memory that this takes.
pub(super) fn known_of_stream(task: Task<'_>, input: &Incoming<impl Read>) -> Result<(Known, Reservation)> {
    let text = input.metadata(KNOWN_KEY).ok_or_else(|| Error::Config {
        message: format!("the stream has no `{KNOWN_KEY}` in its metadata"),
        hint: Some("hand on what `learn` has said".into()),
    })?;
    let mut held = task.with.context.budget.reserve("what is known of labels");
    // The text, and what becomes of it for all units and for one of them.
    held.grow(3 * text.len())?;
    let known = serde_json::from_str(text)
        .map_err(|error| Error::config(format!("`{KNOWN_KEY}` is not what `learn` says: {error}")))?;
    Ok((known, held))
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
    let (known, _held) = known_of_stream(task, input)?;
    let mut selection = selection(task, known)?;
    let (mut units, mut pieces) = (None::<Range<u64>>, Expected::default());
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
                pieces.expect(unit, record.c);
                selection.add_seen(record.value::<Seen>()?, context)
            }
            Kind::Candidates if pieces.take(unit, record.a) => {
                selection.add_candidates(&batch_of_bytes(&record.payload)?, context)
            }
            Kind::Candidates => Err(lost(&format!("piece {} of unit {unit} is not the next one", record.a))),
            kind => Err(Error::Invariant(format!("no selection has records of kind {}", kind as u8))),
        }
    })?;
    match pieces.missing() {
        None => Ok((selection, units.unwrap_or(0..0))),
        Some((unit, piece)) => Err(lost(&format!("piece {piece} of unit {unit} is not there"))),
    }
}

fn lost(what: &str) -> Error {
    Error::Invariant(format!("what was seen of the rows is not whole: {what}"))
}
