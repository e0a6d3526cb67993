//! Cutting units out of texts, row-locally.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use tamis_schemas::columns::{ID, ROW, TEXT};

use super::unit::{Unit, UnitReader, UnitSettings, find};
use crate::context::Context;
use crate::dedup::assign::Rule;
use crate::dedup::columns::column;
use crate::dedup::edge::record_of_fields;
use crate::dedup::tape::{SetTable, SetTableWriter};
use crate::stage::MapStage;
use crate::{Error, Result, RowSet};

/// Which units of which rows earlier rows hold.
#[derive(Debug)]
pub struct Held {
    /// Of each row, ordinals of its units and the rows that hold them, alternating.
    units: SetTable,
    /// Row that the table begins with: it takes room for each one from there on.
    first_row: u64,
    holders: RowSet,
    rule: Rule,
}

/// [`Held`] in the making.
#[derive(Debug)]
pub(crate) struct HeldWriter {
    units: SetTableWriter,
    first_row: u64,
    holders: RowSet,
    rule: Rule,
}

impl HeldWriter {
    /// Nothing of rows from `first_row` on, of units for which rows are dropped by `rule`.
    pub(crate) fn new(rule: Rule, first_row: u64, context: &Context) -> Self {
        Self { units: SetTableWriter::new("units to cut", context), first_row, holders: RowSet::new(), rule }
    }

    /// Adds a row, after all rows before it: ordinals of its units, ascending, and the rows that hold them, alternating.
    pub(crate) fn push(&mut self, row: u64, units: &[u64], context: &Context) -> Result<()> {
        for &[_, holder] in units.as_chunks::<2>().0 {
            self.holders.insert(holder);
        }
        self.units.push(row - self.first_row, units, context)
    }

    pub(crate) fn finish(self, context: &Context) -> Result<Held> {
        let Self { units, first_row, holders, rule } = self;
        Ok(Held { units: units.finish(context)?, first_row, holders, rule })
    }
}

/// What was cut out of a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub(super) row: u64,
    /// Byte of the text as it was read.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) rule: Rule,
    /// The row in which the unit stays.
    pub(super) first_row: u64,
    pub(super) id: Vec<u8>,
    pub(super) text: Vec<u8>,
}

record_of_fields!(Span { row, start, end, rule, first_row, id, text });

impl Span {
    /// Position of the row that it was cut out of.
    pub fn row(&self) -> u64 {
        self.row
    }

    /// Bytes that were cut.
    pub fn n_bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// Map stage: cuts units out of `tamis_text`, and out of the input column that it was made from if that is in the batch.
///
/// Cut is what an earlier row [holds](Held), and, if asked for, what occurs earlier in the same text. A unit is cut with the
/// line break or the blank lines after it; those after the last unit that stays are cut with what stands before them. So
/// the text begins and ends as before, and two units that stay are parted as two units of the text were.
#[derive(Debug, Clone)]
pub struct Cutter {
    unit: Unit,
    held: Option<Arc<Held>>,
    repeats: Option<UnitSettings>,
    text_column: String,
}

impl Cutter {
    /// Cuts what is `held`, and what repeats within a text under the settings of `repeats`, which divide texts as those of
    /// `held` do. `text_column` is the input column that the text is.
    pub fn new(unit: Unit, held: Option<Held>, repeats: Option<UnitSettings>, text_column: &str) -> Self {
        Self { unit, held: held.map(Arc::new), repeats, text_column: text_column.to_owned() }
    }

    /// Whether what is cut out of other rows stays in `row`.
    pub fn holds(&self, row: u64) -> bool {
        self.held.as_ref().is_some_and(|held| held.holders.contains(row))
    }

    /// The rows that hold units which are cut elsewhere.
    pub fn holders(&self) -> RowSet {
        self.held.as_ref().map(|held| held.holders.clone()).unwrap_or_default()
    }

    /// Cuts the rows of a batch with `tamis_row`, `tamis_text` and, for the spans, `tamis_id`.
    pub fn cut(&self, batch: RecordBatch) -> Result<(RecordBatch, Vec<Span>)> {
        let rows: &UInt64Array = column(&batch, ROW)?;
        let texts: &StringArray = column(&batch, TEXT)?;
        let ids: Option<&StringArray> = batch.column_by_name(ID).and_then(|ids| ids.as_string_opt::<i32>());
        let mut reader = self.repeats.map(UnitReader::new);
        let mut units = Vec::new();
        let (mut spans, mut rests) = (Vec::new(), HashMap::new());
        for (index, (&row, text)) in rows.values().iter().zip(texts).enumerate() {
            let text = text.unwrap_or_default();
            let cuts = self.cuts(row, text, &mut reader)?;
            if cuts.is_empty() {
                continue;
            }
            find(text, self.unit, &mut units);
            let mut rest = String::with_capacity(text.len());
            let mut done = 0;
            for (span, cut) in ranges(&units, &cuts).ok_or_else(|| changed(row))? {
                let (start, end) = (span.start as u64, span.end as u64);
                rest.push_str(&text[done..span.start]);
                done = span.end;
                let id = ids.map_or_else(Vec::new, |ids| ids.value(index).as_bytes().to_vec());
                let text = text.as_bytes()[span].to_vec();
                spans.push(Span { row, start, end, rule: cut.rule, first_row: cut.first_row, id, text });
            }
            rest.push_str(&text[done..]);
            rests.insert(index, rest);
        }
        if rests.is_empty() {
            return Ok((batch, spans));
        }
        let texts: StringArray =
            texts.iter().enumerate().map(|(index, text)| rests.get(&index).map(String::as_str).or(text)).collect();
        Ok((self.replace(&batch, &(Arc::new(texts) as ArrayRef))?, spans))
    }

    /// What to cut out of a text, in order of the units.
    fn cuts(&self, row: u64, text: &str, reader: &mut Option<UnitReader>) -> Result<Vec<Cut>> {
        let mut cuts = Vec::new();
        if let Some(held) = &self.held {
            let units =
                row.checked_sub(held.first_row).map(|place| held.units.get(place)).transpose()?.unwrap_or_default();
            let held_cut = |&[ordinal, first_row]: &[u64; 2]| Cut { ordinal, rule: held.rule, first_row };
            cuts.extend(units.as_chunks::<2>().0.iter().map(held_cut));
        }
        if let Some(reader) = reader {
            let n_held = cuts.len();
            for unit in reader.read_repeats(text).0 {
                let ordinal = u64::from(unit.ordinal);
                if cuts[..n_held].binary_search_by_key(&ordinal, |cut| cut.ordinal).is_err() {
                    cuts.push(Cut { ordinal, rule: Rule::Repetition, first_row: row });
                }
            }
            cuts.sort_unstable_by_key(|cut| cut.ordinal);
        }
        Ok(cuts)
    }

    fn replace(&self, batch: &RecordBatch, texts: &ArrayRef) -> Result<RecordBatch> {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| {
            let is_text = field.name() == TEXT || *field.name() == self.text_column;
            if is_text { Ok(cast(texts, field.data_type())?) } else { Ok(Arc::clone(column)) }
        });
        Ok(RecordBatch::try_new(batch.schema(), columns.collect::<Result<Vec<_>>>()?)?)
    }
}

impl MapStage for Cutter {
    fn name(&self) -> &'static str {
        "cut"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::clone(input))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        self.cut(batch).map(|(batch, _)| batch)
    }
}

/// A unit to cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    ordinal: u64,
    rule: Rule,
    first_row: u64,
}

/// The bytes that go with each unit to cut; `None` if no unit would stay, or there is no such unit.
fn ranges<'a>(
    units: &'a [Range<usize>],
    cuts: &'a [Cut],
) -> Option<impl Iterator<Item = (Range<usize>, &'a Cut)> + use<'a>> {
    let mut last_kept = units.len().checked_sub(1)?;
    for cut in cuts.iter().rev() {
        if cut.ordinal as usize != last_kept {
            break;
        }
        last_kept = last_kept.checked_sub(1)?;
    }
    let exists = cuts.last().is_none_or(|cut| (cut.ordinal as usize) < units.len());
    exists.then(|| {
        cuts.iter().map(move |cut| {
            let at = cut.ordinal as usize;
            let bytes =
                if at < last_kept { units[at].start..units[at + 1].start } else { units[at - 1].end..units[at].end };
            (bytes, cut)
        })
    })
}

fn changed(row: u64) -> Error {
    Error::Invariant(format!("the text of row {row} is not what it was in an earlier pass; did an input change?"))
}
