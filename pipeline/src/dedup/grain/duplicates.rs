//! The barrier: sees the units of every row that stays, then knows which of them an earlier row holds.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, ListArray, RecordBatch, StringArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns::{ROW, TEXT};

use super::cut::{Held, HeldWriter};
use super::holders::Holders;
use super::unit::{UnitReader, UnitSettings};
use crate::Result;
use crate::context::Context;
use crate::dedup::assign::{Drop, Rule};
use crate::dedup::columns::{LENGTH, column, column_by_name};
use crate::dedup::edge::{Grouped, Method, Similarity, record_of_fields};
use crate::dedup::handover::HandedDrop;
use crate::dedup::lists::lists;
use crate::dedup::report::{MoreDrops, NearDuplicateResult};
use crate::dedup::tape::RowTableWriter;
use crate::dedup::verdict::Verdict;
use crate::spill::ExternalSorter;
use crate::stage::MapStage;

const STAGE: &str = "duplicate paragraphs and lines";
/// Words of a unit in the column [`UNITS`].
const UNIT_WORDS: usize = 3;

/// The units of a text that are compared: of each, the two halves of its key, then ordinal and characters in one word.
/// `List<UInt64>`.
pub const UNITS: &str = "tamis_units";

/// What happens to units that an earlier row holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DuplicateAction {
    /// The row is dropped if a larger share of its characters lies in them.
    Drop {
        /// That share.
        max_ratio: f64,
    },
    /// They are cut; a row of which only white space would be left is dropped.
    Cut,
}

/// Map stage: the units of rows that a verdict keeps; the other rows are left out.
///
/// In: `tamis_row`, `tamis_text`. Out: `tamis_row`, `tamis_length` (characters of all units), [`UNITS`].
#[derive(Debug)]
pub struct UnitKeys {
    settings: UnitSettings,
    verdict: Verdict,
}

impl UnitKeys {
    /// Units under `settings` of rows that `verdict` keeps.
    pub fn new(settings: UnitSettings, verdict: Verdict) -> Self {
        Self { settings, verdict }
    }
}

impl MapStage for UnitKeys {
    fn name(&self) -> &'static str {
        "units of kept rows"
    }

    fn output_schema(&self, _input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::new(Schema::new(vec![
            Field::new(ROW, DataType::UInt64, false),
            Field::new(LENGTH, DataType::UInt64, false),
            Field::new(UNITS, DataType::List(word_field()), false),
        ])))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let rows: &UInt64Array = column(&batch, ROW)?;
        let stays: BooleanArray = rows.values().iter().map(|&row| Some(self.verdict.keeps(row))).collect();
        let batch = filter_record_batch(&batch, &stays)?;
        let texts: &StringArray = column(&batch, TEXT)?;
        let mut reader = UnitReader::new(self.settings);
        let (mut lengths, mut words, mut n_words) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            let (units, total_chars) = reader.read(text.unwrap_or_default());
            lengths.push(total_chars);
            n_words.push(units.len() * UNIT_WORDS);
            for unit in units {
                let last = u64::from(unit.ordinal) << 32 | u64::from(unit.n_chars);
                words.extend([(unit.key >> 64) as u64, unit.key as u64, last]);
            }
        }
        let words: ArrayRef = Arc::new(UInt64Array::from(words));
        let units = ListArray::try_new(word_field(), OffsetBuffer::from_lengths(n_words), words, None)?;
        let columns: Vec<ArrayRef> =
            vec![Arc::clone(column_by_name(&batch, ROW)?), Arc::new(UInt64Array::from(lengths)), Arc::new(units)];
        Ok(RecordBatch::try_new(self.output_schema(batch.schema_ref())?, columns)?)
    }
}

fn word_field() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::UInt64, false))
}

/// Visits the rows of a batch of [`UnitKeys`]: position, characters of all units, and those units that are compared.
pub(crate) fn for_each_row(
    batch: &RecordBatch,
    mut visit: impl FnMut(u64, u64, &[[u64; UNIT_WORDS]]) -> Result<()>,
) -> Result<()> {
    if batch.num_rows() == 0 {
        return Ok(());
    }
    let lengths: &UInt64Array = column(batch, LENGTH)?;
    let units = lists(batch, UNITS, column(batch, ROW)?)?;
    units.zip(lengths.values()).try_for_each(|((row, words), &n_chars)| visit(row, n_chars, words.as_chunks().0))
}

/// A unit of a row.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Keyed {
    key: u128,
    row: u64,
    ordinal: u32,
    n_chars: u32,
}

record_of_fields!(Keyed { key, row, ordinal, n_chars });

/// A unit of a row that other rows have too, those numbered from 0.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Occurrence {
    row: u64,
    ordinal: u32,
    unit: u64,
    n_chars: u32,
}

record_of_fields!(Occurrence { row, ordinal, unit, n_chars });

/// Barrier: observes [`UnitKeys`] in row order, then walks the rows in that order.
///
/// ```text
/// keys sorted by unit -> units of several rows, numbered -> sorted by row -> walk: who holds each unit, who is dropped
/// ```
///
/// # Memory
/// Sorted runs; 8 bytes a row and 8 bytes a unit of several rows, both in files when the budget refuses them.
/// # Determinism
/// A function of the rows and their positions.
#[derive(Debug)]
pub struct DuplicateUnits {
    settings: UnitSettings,
    action: DuplicateAction,
    keys: ExternalSorter<Keyed>,
    lengths: RowTableWriter<u64>,
}

/// What [`DuplicateUnits`] found.
#[derive(Debug)]
pub struct DuplicateUnitsFound {
    /// What was known before, with the rows dropped here.
    pub result: NearDuplicateResult,
    /// Units to cut.
    pub held: Held,
    /// Units compared.
    pub n_units: u64,
    /// Of these, units that an earlier row holds.
    pub n_duplicates: u64,
    /// Rows that would be dropped if no other rows had been dropped for them.
    pub n_spared: u64,
}

impl DuplicateUnits {
    /// A search under `settings`.
    pub fn new(settings: UnitSettings, action: DuplicateAction, context: &Context) -> Self {
        Self {
            settings,
            action,
            keys: ExternalSorter::new(STAGE, &context.budget),
            lengths: RowTableWriter::new(STAGE, context),
        }
    }

    /// Sees one batch.
    pub fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        for_each_row(batch, |row, n_chars, units| {
            self.push_row(row, n_chars, context)?;
            units.iter().try_for_each(|unit| self.push_unit(row, unit, context))
        })
    }

    /// Sees a row, after those before it: the characters of all its units.
    pub(crate) fn push_row(&mut self, row: u64, n_chars: u64, context: &Context) -> Result<()> {
        self.lengths.push(row, &n_chars, context)
    }

    /// Sees a unit of a row, as it is in [`UNITS`].
    pub(crate) fn push_unit(&mut self, row: u64, unit: &[u64; UNIT_WORDS], context: &Context) -> Result<()> {
        let &[high, low, last] = unit;
        let key = u128::from(high) << 64 | u128::from(low);
        self.keys.push(Keyed { key, row, ordinal: (last >> 32) as u32, n_chars: last as u32 }, context)
    }

    /// All rows were seen: decides about those that `result` keeps.
    pub fn finish(self, result: NearDuplicateResult, context: &Context) -> Result<DuplicateUnitsFound> {
        let mut drops = MoreDrops::new(context);
        let mut held = HeldWriter::new(self.rule(), 0, context);
        let stays = |row| result.evidence.names_as_kept(row);
        let counts = self.decide(stays, context, |decision| match decision {
            UnitDecision::Drop(drop) => drops.push_handed(drop, context),
            UnitDecision::Cut { row, units } => held.push(row, units.as_flattened(), context),
        })?;
        let UnitCounts { units: n_units, duplicates: n_duplicates, spared_rows: n_spared } = counts;
        let (result, held) = (result.with(drops, context)?, held.finish(context)?);
        Ok(DuplicateUnitsFound { result, held, n_units, n_duplicates, n_spared })
    }

    fn rule(&self) -> Rule {
        Rule::of_units(self.settings.unit)
    }

    /// All rows were seen: decides about them row by row, in their order. A row that `stays` is not dropped.
    pub(crate) fn decide(
        self,
        stays: impl Fn(u64) -> bool,
        context: &Context,
        mut to: impl FnMut(UnitDecision<'_>) -> Result<()>,
    ) -> Result<UnitCounts> {
        let (rule, n_units) = (self.rule(), self.keys.len());
        let (occurrences, n_shared) = shared_units(self.keys, context)?;
        let lengths = self.lengths.finish(context)?;
        let mut holders = Holders::new(STAGE, n_shared, context)?;
        let (mut n_duplicates, mut n_spared) = (0, 0);
        let (mut free, mut held): (Vec<u64>, Vec<HeldUnit>) = (Vec::new(), Vec::new());
        let mut cuts = Vec::new();
        let mut occurrences = Grouped::new(occurrences.finish(context)?)?;
        while let Some(row) = occurrences.peek().map(|occurrence| occurrence.row) {
            context.cancel.check()?;
            free.clear();
            held.clear();
            while let Some(Occurrence { ordinal, unit, n_chars, .. }) = occurrences.next_if(|next| next.row == row)? {
                match holders.get(unit, context)? {
                    Some(holder) => held.push(HeldUnit { ordinal, holder, n_chars }),
                    None => free.push(unit),
                }
            }
            n_duplicates += held.len() as u64;
            let n_held_chars: u64 = held.iter().map(|unit| u64::from(unit.n_chars)).sum();
            let n_chars = lengths.get(row)?;
            let ratio = n_held_chars as f64 / n_chars.max(1) as f64;
            let is_too_much = match self.action {
                DuplicateAction::Drop { max_ratio } => ratio > max_ratio,
                DuplicateAction::Cut => n_held_chars == n_chars,
            } && !held.is_empty();
            if is_too_much && !stays(row) {
                let (kept, similarity) = (main_holder(&mut held), Similarity::new(ratio));
                let (rank, method) = (row, Method::Exact);
                let drop = Drop { kept, rank, dropped: row, similarity, method, rule, n_shared_bands: 0 };
                to(UnitDecision::Drop(HandedDrop::of(drop)))?;
                continue;
            }
            n_spared += u64::from(is_too_much);
            for &unit in &free {
                holders.set(unit, row, context)?;
            }
            if self.action == DuplicateAction::Cut && !is_too_much && !held.is_empty() {
                cuts.clear();
                cuts.extend(held.iter().map(|unit| [u64::from(unit.ordinal), unit.holder]));
                to(UnitDecision::Cut { row, units: &cuts })?;
            }
        }
        Ok(UnitCounts { units: n_units, duplicates: n_duplicates, spared_rows: n_spared })
    }
}

/// What becomes of a row for what earlier rows hold.
#[derive(Debug)]
pub(crate) enum UnitDecision<'a> {
    /// It goes.
    Drop(HandedDrop),
    /// Units of it are cut.
    Cut {
        row: u64,
        /// Ordinals, and the rows that hold them.
        units: &'a [[u64; 2]],
    },
}

/// How many units and rows that concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnitCounts {
    /// Units compared.
    pub(crate) units: u64,
    /// Of these, units that an earlier row holds.
    pub(crate) duplicates: u64,
    /// Rows that would be dropped if they did not stay.
    pub(crate) spared_rows: u64,
}

/// A unit of a row that an earlier row holds.
struct HeldUnit {
    ordinal: u32,
    holder: u64,
    n_chars: u32,
}

/// The row that holds most of the characters; the first of them if several do.
fn main_holder(held: &mut [HeldUnit]) -> u64 {
    held.sort_unstable_by_key(|unit| unit.holder);
    let by_holder = held.chunk_by(|left, right| left.holder == right.holder).map(|units| {
        let n_chars: u64 = units.iter().map(|unit| u64::from(unit.n_chars)).sum();
        (units[0].holder, n_chars)
    });
    by_holder.reduce(|most, next| if next.1 > most.1 { next } else { most }).map_or(0, |(holder, _)| holder)
}

/// The units that several rows have, and how many such units there are.
///
/// Of the first row that has a unit, one occurrence is enough: nothing before it can hold the unit.
fn shared_units(keys: ExternalSorter<Keyed>, context: &Context) -> Result<(ExternalSorter<Occurrence>, u64)> {
    let mut occurrences = ExternalSorter::new(STAGE, &context.budget);
    let mut n_shared = 0;
    let mut keys = Grouped::new(keys.finish(context)?)?;
    while let Some(first) = keys.next()? {
        context.cancel.check()?;
        let mut unit = None;
        while let Some(Keyed { row, ordinal, n_chars, .. }) = keys.next_if(|next| next.key == first.key)? {
            if row == first.row {
                continue;
            }
            if unit.is_none() {
                let Keyed { row, ordinal, n_chars, .. } = first;
                occurrences.push(Occurrence { row, ordinal, unit: n_shared, n_chars }, context)?;
                unit = Some(n_shared);
                n_shared += 1;
            }
            occurrences.push(Occurrence { row, ordinal, unit: unit.unwrap_or(n_shared), n_chars }, context)?;
        }
    }
    Ok((occurrences, n_shared))
}
