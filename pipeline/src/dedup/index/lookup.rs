//! Which rows of earlier runs have a key of this run's rows, and what is compared of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::UInt64Type;
use tamis_schemas::columns::{ID, ROW};
use tamis_schemas::index::SegmentRecord;

use super::catalog::Catalog;
use super::keys::KeyTable;
use super::parameters::parameters;
use super::rows::{
    IndexRows, STORED_EXACT_KEY, STORED_ID, STORED_N_SHINGLES, STORED_SKETCH, STORED_TEXT, exact_key, key_of_text,
};
use super::segment::Segment;
use crate::context::Context;
use crate::dedup::columns::{BAND_KEYS, EXACT_KEY, SHINGLES, column};
use crate::dedup::compare::prefix_len;
use crate::dedup::settings::{Search, Settings};
use crate::spill::ExternalSorter;
use crate::{Error, Result, RowSet};

const STAGE: &str = "index: look-up";

/// What the index had to say, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// Rows of earlier runs.
    pub n_rows: u64,
    /// Of these, rows that share a key with a row of this run.
    pub n_matched: u64,
}

/// Collects the keys of a run's rows, then finds the rows of earlier runs that have one of them.
#[derive(Debug)]
pub struct Lookup {
    rows: IndexRows,
    threshold: f64,
    segments: Vec<Segment>,
    keys: ExternalSorter<u64>,
}

impl Lookup {
    /// A look-up in the rows of `segments` at the index of `catalog`, but for those that the runs named `superseded` added.
    ///
    /// # Errors
    /// `Error::Config` naming every parameter in which index and settings differ; `Error::Corrupt` naming a file that is
    /// not what it was when it was written.
    pub fn new(
        catalog: &Catalog,
        segments: &[SegmentRecord],
        settings: &Settings,
        superseded: &[String],
        context: &Context,
    ) -> Result<Self> {
        catalog.check(&parameters(settings)?)?;
        let rows = IndexRows::new(settings)?;
        let mut opened = Vec::new();
        for record in segments {
            let mut record = record.clone();
            record.runs.retain(|run| !superseded.contains(&run.run));
            if !record.runs.is_empty() {
                opened.push(Segment::open(catalog.place(), &record, rows.search())?);
            }
        }
        let keys = ExternalSorter::new(STAGE, &context.budget);
        Ok(Self { rows, threshold: settings.threshold, segments: opened, keys })
    }

    /// Sees the fingerprints of rows of this run.
    pub(in crate::dedup) fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        if self.segments.is_empty() {
            return Ok(());
        }
        let exact_keys: &FixedSizeBinaryArray = column(batch, EXACT_KEY)?;
        for bytes in exact_keys.iter().flatten() {
            self.keys.push(key_of_text(exact_key(bytes)?), context)?;
        }
        let (name, is_set) = match self.rows.search() {
            Search::Bands(_) => (BAND_KEYS, false),
            Search::Exhaustive | Search::Samples(_) => (SHINGLES, true),
        };
        let lists: &ListArray = column(batch, name)?;
        let values = lists.values().as_primitive_opt::<UInt64Type>();
        let values = values.ok_or_else(|| Error::Invariant(format!("column `{name}` is malformed")))?.values();
        for ends in lists.offsets().windows(2) {
            let list = &values[ends[0] as usize..ends[1] as usize];
            let n_keys = if is_set { prefix_len(list.len(), self.threshold) } else { list.len() };
            for &key in &list[..n_keys] {
                self.keys.push(key, context)?;
            }
        }
        Ok(())
    }

    /// Joins the keys with those of each segment.
    pub(in crate::dedup) fn find(self, context: &Context) -> Result<Matches> {
        let mut counts = LookupCounts::default();
        let mut segments = Vec::with_capacity(self.segments.len());
        let wanted = KeyTable::new(self.keys, context)?;
        for segment in self.segments {
            counts.n_rows += (0..segment.record.rows).filter(|&row| segment.is_live(row)).count() as u64;
            let rows = segment.rows_with(&wanted, context)?;
            let first = counts.n_matched;
            counts.n_matched += rows.len();
            segments.push(Matched { segment, rows, first });
        }
        Ok(Matches { rows: self.rows, segments, counts })
    }
}

/// Rows of a segment that were found, numbered from `first`.
#[derive(Debug)]
struct Matched {
    segment: Segment,
    rows: RowSet,
    first: u64,
}

/// What is read of the rows that were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dedup) enum Part {
    /// What a [`Fingerprint`](crate::dedup::Fingerprint) stage makes of a text.
    Fingerprints,
    /// `tamis_row` and `tamis_shingles`.
    Sets,
    /// `tamis_row` and `tamis_id`.
    Ids,
}

/// Rows of earlier runs that share a key with a row of this run, numbered from 0 in the order in which they were added.
#[derive(Debug)]
pub(in crate::dedup) struct Matches {
    rows: IndexRows,
    segments: Vec<Matched>,
    pub(in crate::dedup) counts: LookupCounts,
}

impl Matches {
    /// Reads a part of the rows whose numbers `wants`, in their order, as rows at the positions from `first_position` on.
    pub(in crate::dedup) fn read(
        &self,
        part: Part,
        first_position: u64,
        wants: impl Fn(u64) -> bool,
        context: &Context,
        mut consume: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let names: &[&str] = match (part, self.rows.search()) {
            (Part::Fingerprints, Search::Bands(_)) => &[STORED_EXACT_KEY, STORED_N_SHINGLES, STORED_SKETCH],
            (Part::Fingerprints, Search::Exhaustive | Search::Samples(_)) => {
                &[STORED_EXACT_KEY, STORED_N_SHINGLES, STORED_TEXT]
            }
            (Part::Sets, _) => &[STORED_TEXT],
            (Part::Ids, _) => &[STORED_ID],
        };
        for Matched { segment, rows, first } in &self.segments {
            let numbered = (*first..).zip(rows.iter()).filter(|(number, _)| wants(*number));
            let wanted: RowSet = numbered.map(|(_, row)| row).collect();
            if wanted.is_empty() {
                continue;
            }
            let work = |stored_rows: UInt64Array, batch: RecordBatch| {
                let positions = positions(&stored_rows, rows, first_position + first);
                match part {
                    Part::Fingerprints => self.rows.fingerprints(&batch, positions),
                    Part::Sets => self.rows.sets(&batch, positions),
                    Part::Ids => ids(&batch, positions),
                }
            };
            segment.scan(|row| wanted.contains(row), names, context, work, &mut consume)?;
        }
        Ok(())
    }
}

/// The position of each of some rows, which are all found; the first of the `found` has the position `first`.
fn positions(rows: &UInt64Array, found: &RowSet, first: u64) -> UInt64Array {
    let mut at = rows.values().first().copied().unwrap_or_default();
    let mut position = first + found.rank(at);
    rows.values()
        .iter()
        .map(|&row| {
            position += (at..row).map(|row| u64::from(found.contains(row))).sum::<u64>();
            at = row;
            position
        })
        .collect()
}

fn ids(stored: &RecordBatch, positions: UInt64Array) -> Result<RecordBatch> {
    let ids: &StringArray = column(stored, STORED_ID)?;
    let columns: [(&str, ArrayRef); 2] = [(ROW, Arc::new(positions)), (ID, Arc::new(ids.clone()))];
    Ok(RecordBatch::try_from_iter(columns)?)
}
