//! What is to be cut out of the texts of a unit, as units in a stream have it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use arrow::array::{Array as _, BinaryArray, RecordBatch, StringArray, UInt64Array};
use xxhash_rust::xxh3::xxh3_64;

use super::Task;
use super::columns::binaries;
use super::record::{Kind, Record};
use super::units::PlacedUnit;
use crate::budget::Reservation;
use crate::context::Context;
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

/// What a payload says is cut.
fn cuts_in(payload: &[u8]) -> impl Iterator<Item = Result<Cut<'_>>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((cut, behind)) = Cut::split_from(rest) else {
            rest = &[];
            return Some(Err(malformed()));
        };
        rest = behind;
        Some(Ok(cut))
    })
}

fn malformed() -> Error {
    Error::config("`cuts` of a unit cannot be read")
}

/// Records of what is cut, one of each unit, in the making.
#[derive(Debug)]
pub(super) struct CutsByUnit {
    open: Option<Record>,
    reservation: Reservation,
    /// Hashes of what is said of units.
    hashes: BTreeMap<u64, u64>,
}

impl CutsByUnit {
    pub(super) fn new(context: &Context) -> Self {
        Self { open: None, reservation: context.budget.reserve("what is cut out of a unit"), hashes: BTreeMap::new() }
    }

    /// Adds a cut; of rows and in them in their order. Gives the record of the unit before.
    pub(super) fn push(&mut self, unit: u64, cut: Cut<'_>) -> Result<Option<Record>> {
        let done = if self.open.as_ref().is_some_and(|open| open.unit != Some(unit)) { self.take() } else { None };
        self.reservation.grow(Cut::HEAD_BYTES + cut.id.len())?;
        let open = self.open.get_or_insert_with(|| Record { unit: Some(unit), ..Record::new(Kind::Cuts) });
        cut.append_to(&mut open.payload);
        Ok(done)
    }

    /// The record of the last unit.
    pub(super) fn take(&mut self) -> Option<Record> {
        let done = self.open.take()?;
        self.reservation.free();
        self.hashes.extend(done.unit.map(|unit| (unit, hash_of(&done.payload))));
        Some(done)
    }

    /// Of each unit that something is cut out of, the hash of what was said.
    pub(super) fn into_hashes(self) -> BTreeMap<u64, u64> {
        self.hashes
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

    /// Of a unit, which is at `place` of the batch.
    ///
    /// # Errors
    /// `Error::Config` if it is not what `hold` says of this unit.
    pub(super) fn of_unit(&self, task: Task<'_>, unit: &PlacedUnit, place: usize) -> Result<Cuts> {
        let context = task.with.context;
        let mut held_bytes = context.budget.reserve("what is cut out of a unit");
        let (Some(plan), Some(payloads)) = (&task.plan.grain, &self.0) else {
            let grain = Grain::cutting(task.plan.grain.as_ref().and_then(|plan| plan.cutter(None)));
            return Ok(Cuts { grain, ids: BTreeMap::new(), hash: 0, _held: held_bytes });
        };
        let (settings, _) = task.duplicate_units()?;
        let rows = unit.rows();
        let mut held = HeldWriter::new(Rule::of_units(settings.unit), rows.start, context);
        let mut ids = BTreeMap::new();
        let payload = if payloads.is_valid(place) { payloads.value(place) } else { &[] };
        held_bytes.grow(payload.len())?;
        let mut last = None;
        let mut of_row: (u64, Vec<u64>) = (0, Vec::new());
        for cut in cuts_in(payload) {
            let cut = cut?;
            let is_next = last.replace((cut.row, cut.ordinal)).is_none_or(|last| last < (cut.row, cut.ordinal));
            if !is_next || !rows.contains(&cut.row) {
                return Err(malformed());
            }
            if of_row.0 != cut.row && !of_row.1.is_empty() {
                held.push(of_row.0, &of_row.1, context)?;
                of_row.1.clear();
            }
            of_row.0 = cut.row;
            of_row.1.extend([cut.ordinal, cut.holder]);
            if let Entry::Vacant(vacant) = ids.entry(cut.holder) {
                vacant.insert(str::from_utf8(cut.id).map_err(|_| malformed())?.to_owned());
            }
        }
        if !of_row.1.is_empty() {
            held.push(of_row.0, &of_row.1, context)?;
        }
        let grain = Grain::cutting(plan.cutter(Some(held.finish(context)?)));
        Ok(Cuts { grain, ids, hash: hash_of(payload), _held: held_bytes })
    }
}

/// By which the session sees that `write` was told what `hold` has said; 0 of nothing.
fn hash_of(payload: &[u8]) -> u64 {
    if payload.is_empty() { 0 } else { xxh3_64(payload) }
}

/// Of a unit.
pub(super) struct Cuts {
    pub(super) grain: Grain,
    /// Of the rows that hold what is cut.
    ids: BTreeMap<u64, String>,
    /// Of all that was said of it.
    pub(super) hash: u64,
    _held: Reservation,
}

impl Cuts {
    /// The rows that hold what is cut, and their ids.
    pub(super) fn holders(&self) -> (UInt64Array, StringArray) {
        let rows = UInt64Array::from_iter_values(self.ids.keys().copied());
        (rows, StringArray::from_iter_values(self.ids.values()))
    }
}
