//! What is to be cut out of the texts of a unit, as units in a stream have it.

use std::collections::BTreeMap;

use arrow::array::{Array as _, BinaryArray, RecordBatch, StringArray, UInt64Array};

use super::Task;
use super::columns::binaries;
use super::record::{Kind, Record};
use crate::dedup::Rule;
use crate::dedup::grain::{DuplicateAction, HeldWriter};
use crate::run::grain::Grain;
use crate::{Error, Result};

/// A paragraph or line that another row holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut<'a> {
    pub(super) row: u64,
    /// Which one of the text it is.
    pub(super) ordinal: u64,
    pub(super) holder: u64,
    /// Of the holder.
    pub(super) id: &'a [u8],
}

impl<'a> Cut<'a> {
    /// Bytes before the id.
    const HEAD_BYTES: usize = 28;

    fn append_to(self, payload: &mut Vec<u8>) {
        let Self { row, ordinal, holder, id } = self;
        payload.extend([row, ordinal, holder].into_iter().flat_map(u64::to_le_bytes));
        payload.extend((id.len() as u32).to_le_bytes());
        payload.extend(id);
    }

    /// The first one of a payload, and what is behind it.
    fn split_from(payload: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = payload.split_at_checked(Self::HEAD_BYTES)?;
        let (numbers, n_bytes) = head.as_chunks();
        let [row, ordinal, holder] = *<&[[u8; 8]; 3]>::try_from(numbers).ok()?;
        let n_bytes = u32::from_le_bytes(n_bytes.try_into().ok()?) as usize;
        let (id, rest) = rest.split_at_checked(n_bytes)?;
        let [row, ordinal, holder] = [row, ordinal, holder].map(u64::from_le_bytes);
        Some((Self { row, ordinal, holder, id }, rest))
    }
}

/// Visits the rows that hold what a payload says is cut.
pub(super) fn holders_of(payload: &[u8], mut visit: impl FnMut(u64)) -> Result<()> {
    let mut rest = payload;
    while !rest.is_empty() {
        let (cut, behind) = Cut::split_from(rest).ok_or_else(malformed)?;
        rest = behind;
        visit(cut.holder);
    }
    Ok(())
}

fn malformed() -> Error {
    Error::config("`cuts` of a unit cannot be read")
}

/// Records of what is cut, one of each unit, in the making.
#[derive(Debug, Default)]
pub(super) struct CutsByUnit(Option<Record>);

impl CutsByUnit {
    /// Adds a cut; of rows and in them in their order. Gives the record of the unit before.
    pub(super) fn push(&mut self, unit: u64, cut: Cut<'_>) -> Option<Record> {
        let done = self.0.take_if(|open| open.unit != Some(unit));
        let open = self.0.get_or_insert_with(|| Record { unit: Some(unit), ..Record::new(Kind::Cuts) });
        cut.append_to(&mut open.payload);
        done
    }

    /// The record of the last unit.
    pub(super) fn finish(self) -> Option<Record> {
        self.0
    }
}

/// What is cut out of the texts of each unit of a batch.
pub(super) struct CutsOfBatch(Option<BinaryArray>);

impl CutsOfBatch {
    /// # Errors
    /// `Error::Config` if the run cuts what several rows have, and the units do not say what.
    pub(super) fn new(task: Task<'_>, batch: &RecordBatch) -> Result<Self> {
        let duplicates = task.plan.grain.as_ref().and_then(|grain| grain.duplicates);
        let cuts = matches!(duplicates, Some((_, DuplicateAction::Cut)));
        cuts.then(|| binaries(batch, "cuts")).transpose().map(Self)
    }

    /// Of the unit at a place of the batch.
    pub(super) fn of_unit(&self, task: Task<'_>, place: usize) -> Result<Cuts> {
        let (Some(plan), Some(payloads)) = (&task.plan.grain, &self.0) else {
            return Ok(Cuts {
                grain: Grain::cutting(task.plan.grain.as_ref().and_then(|plan| plan.cutter(None))),
                ids: BTreeMap::new(),
            });
        };
        let (settings, _) = task.duplicate_units()?;
        let mut held = HeldWriter::new(Rule::of_units(settings.unit), task.with.context);
        let mut ids = BTreeMap::new();
        let mut rest = if payloads.is_valid(place) { payloads.value(place) } else { &[] };
        let mut of_row: (u64, Vec<u64>) = (0, Vec::new());
        while !rest.is_empty() {
            let (cut, behind) = Cut::split_from(rest).ok_or_else(malformed)?;
            rest = behind;
            if of_row.0 != cut.row && !of_row.1.is_empty() {
                held.push(of_row.0, &of_row.1, task.with.context)?;
                of_row.1.clear();
            }
            of_row.0 = cut.row;
            of_row.1.extend([cut.ordinal, cut.holder]);
            ids.entry(cut.holder).or_insert_with(|| String::from_utf8_lossy(cut.id).into_owned());
        }
        if !of_row.1.is_empty() {
            held.push(of_row.0, &of_row.1, task.with.context)?;
        }
        Ok(Cuts { grain: Grain::cutting(plan.cutter(Some(held.finish(task.with.context)?))), ids })
    }
}

/// Of a unit.
pub(super) struct Cuts {
    pub(super) grain: Grain,
    /// Of the rows that hold what is cut.
    ids: BTreeMap<u64, String>,
}

impl Cuts {
    /// The rows that hold what is cut, and their ids.
    pub(super) fn holders(&self) -> (UInt64Array, StringArray) {
        let rows = UInt64Array::from_iter_values(self.ids.keys().copied());
        (rows, StringArray::from_iter_values(self.ids.values()))
    }
}
