//! Which row holds each paragraph or line that several rows have.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use tamis_schemas::manifest::GrainRecord;

use super::Task;
use super::cuts::{Cut, CutsByUnit};
use super::record::{Kind, Record, RecordWriter, for_each_record};
use super::stream::{Incoming, Outgoing};
use crate::context::Context;
use crate::dedup::grain::{DuplicateUnits, UnitCounts, UnitDecision};
use crate::dedup::{Grouped, Handed};
use crate::spill::ExternalSorter;
use crate::{Error, Result, RowSet};

const STAGE: &str = "paragraphs and lines to cut";

/// What was decided, but for the rows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) record: GrainRecord,
    /// Of each unit that something is cut out of, the hash of what is said of that.
    pub(super) cuts: BTreeMap<u64, u64>,
}

/// Decides, from records sorted by kind, row and place in it.
pub(super) fn hold(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let context = task.with.context;
    let (settings, action) = task.duplicate_units()?;
    let mut units = DuplicateUnits::new(settings, action, context);
    let mut seen = Seen::new(context);
    let mut n_records = 0;
    for_each_record(input, |record| {
        n_records += 1;
        seen.take(record, &mut units, context)
    })?;
    let Seen { named, ids, n_paragraphs, of_units, .. } = seen;
    if !of_units.iter().copied().eq(0..task.job.starts.len() as u64) {
        let (found, expected) = (of_units.len(), task.job.starts.len());
        return Err(Error::Invariant(format!("{found} of {expected} units were divided")));
    }
    let mut writer = RecordWriter::begin(output)?;
    // Rows that others are dropped for, and rows that keep what is cut elsewhere.
    let (mut holders, mut keepers) = (RowSet::new(), RowSet::new());
    let mut cuts = ExternalSorter::new(STAGE, &context.budget);
    let unit_of = |row| task.job.unit_of(row);
    let stays = |row| named.contains(row);
    let UnitCounts { duplicates, spared_rows, .. } = units.decide(stays, context, |decision| match decision {
        UnitDecision::Drop(drop) => {
            holders.insert(drop.kept);
            writer.push(&Record::of_handed(Handed::Drop(drop), true, unit_of)?)
        }
        UnitDecision::Cut { row, units } => units.iter().try_for_each(|&[ordinal, holder]| {
            keepers.insert(holder);
            cuts.push((holder, row, ordinal), context)
        }),
    })?;
    for (b, rows) in [(0, &holders), (1, &keepers)] {
        for row in rows.iter() {
            writer.push(&Record { unit: unit_of(row), a: row, b, ..Record::new(Kind::Holder) })?;
        }
    }
    let mut by_unit = CutsByUnit::new(context);
    for cut in with_ids(cuts, ids, context)?.finish(context)? {
        let (row, ordinal, holder, id) = cut?;
        let unit = unit_of(row).ok_or_else(|| Error::Invariant(format!("row {row} is of no unit")))?;
        if let Some(record) = by_unit.push(unit, Cut { row, ordinal, holder, id: &id })? {
            context.cancel.check()?;
            writer.push(&record)?;
        }
    }
    by_unit.take().map_or(Ok(()), |record| writer.push(&record))?;
    let record =
        GrainRecord { units: n_paragraphs, duplicate_units: duplicates, spared_rows, ..GrainRecord::default() };
    let held = Held { record, cuts: by_unit.into_hashes() };
    writer.push(&Record { c: n_records, ..Record::json(Kind::Grain, &held)? })?;
    writer.finish()
}

/// Row, ordinal, holder and its id of each cut.
type CutsWithIds = ExternalSorter<(u64, u64, u64, Vec<u8>)>;

/// Joins cuts, sorted by who holds them, and the ids of rows.
fn with_ids(
    cuts: ExternalSorter<(u64, u64, u64)>,
    ids: ExternalSorter<(u64, Vec<u8>)>,
    context: &Context,
) -> Result<CutsWithIds> {
    let mut joined = ExternalSorter::new(STAGE, &context.budget);
    let mut cuts = Grouped::new(cuts.finish(context)?)?;
    for id in ids.finish(context)? {
        context.cancel.check()?;
        let (holder, id) = id?;
        while let Some((_, row, ordinal)) = cuts.next_if(|(of, ..)| *of == holder)? {
            joined.push((row, ordinal, holder, id.clone()), context)?;
        }
    }
    match cuts.peek() {
        None => Ok(joined),
        Some((holder, ..)) => Err(Error::Invariant(format!("row {holder} holds what is cut, and nobody has its id"))),
    }
}

/// What the stream has told so far.
struct Seen {
    /// Rows that others are dropped for.
    named: RowSet,
    /// Rows with paragraphs.
    rows: RowSet,
    ids: ExternalSorter<(u64, Vec<u8>)>,
    n_paragraphs: u64,
    of_units: BTreeSet<u64>,
    last_row: Option<u64>,
    last_paragraph: Option<(u64, u64)>,
}

impl Seen {
    fn new(context: &Context) -> Self {
        Self {
            named: RowSet::new(),
            rows: RowSet::new(),
            ids: ExternalSorter::new("ids", &context.budget),
            n_paragraphs: 0,
            of_units: BTreeSet::new(),
            last_row: None,
            last_paragraph: None,
        }
    }

    /// # Errors
    /// `Error::Invariant` if something comes twice, or out of order.
    fn take(&mut self, record: Record, units: &mut DuplicateUnits, context: &Context) -> Result<()> {
        context.cancel.check()?;
        let row = record.a;
        match record.kind {
            Kind::Drop => {
                self.named.insert(row);
                Ok(())
            }
            Kind::DividedUnit => {
                let sum = self.n_paragraphs.checked_add(record.b);
                self.n_paragraphs =
                    sum.ok_or_else(|| Error::config("a unit says that it has more paragraphs than can be"))?;
                let unit = record.unit.ok_or_else(|| Error::Invariant("paragraphs that are of no unit".into()))?;
                if self.of_units.insert(unit) {
                    return Ok(());
                }
                Err(Error::Invariant(format!("unit {unit} was divided twice")))
            }
            Kind::DividedRow if self.last_row.replace(row).is_none_or(|last| last < row) => {
                self.rows.insert(row);
                self.ids.push((row, record.payload), context)?;
                units.push_row(row, record.c, context)
            }
            Kind::Paragraph
                if self.last_paragraph.replace((row, record.b)).is_none_or(|last| last < (row, record.b)) =>
            {
                if !self.rows.contains(row) {
                    return Err(Error::Invariant(format!("there are paragraphs of row {row}, and nothing of the row")));
                }
                let (halves, rest) = record.payload.as_chunks();
                let &[high, low] = halves else { return Err(no_key(row)) };
                if !rest.is_empty() {
                    return Err(no_key(row));
                }
                units.push_unit(row, &[u64::from_be_bytes(high), u64::from_be_bytes(low), record.b], context)
            }
            Kind::DividedRow | Kind::Paragraph => {
                Err(Error::Invariant(format!("paragraphs of row {row} come twice, or out of order")))
            }
            kind => Err(Error::Invariant(format!("no records of kind {} tell of paragraphs", kind as u8))),
        }
    }
}

fn no_key(row: u64) -> Error {
    Error::config(format!("a paragraph of row {row} has no key"))
}
