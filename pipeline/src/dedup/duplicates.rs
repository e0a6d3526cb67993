//! How many rows each kept row stands for: duplicates are a signal of their own.

use super::edge::Grouped;
use super::tape::{RowTable, RowTableWriter};
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Error, Result, RowSet};

const STAGE: &str = "near-duplicates: duplicates";

/// Who is dropped for whom, in the making.
#[derive(Debug)]
pub(super) struct DuplicatesWriter {
    counts: CountsWriter,
    pairs: ExternalSorter<(u64, u64)>,
}

impl DuplicatesWriter {
    pub(super) fn new(context: &Context) -> Self {
        Self { counts: CountsWriter::new(context), pairs: ExternalSorter::new(STAGE, &context.budget) }
    }

    /// Adds a dropped row.
    pub(super) fn push(&mut self, dropped: u64, kept: u64, context: &Context) -> Result<()> {
        self.pairs.push((dropped, kept), context)
    }

    /// Adds the number of rows dropped for `kept`, which must be above all earlier ones.
    pub(super) fn count(&mut self, kept: u64, n_dropped: u64, context: &Context) -> Result<()> {
        self.counts.push(kept, n_dropped, context)
    }

    pub(super) fn finish(self, context: &Context) -> Result<Duplicates> {
        Ok(Duplicates { counts: self.counts.finish(context)?, pairs: self.pairs })
    }
}

/// Who is dropped for whom.
#[derive(Debug)]
pub struct Duplicates {
    counts: DuplicateCounts,
    /// Dropped row, kept row.
    pairs: ExternalSorter<(u64, u64)>,
}

impl Duplicates {
    /// No row is dropped.
    pub(super) fn none(context: &Context) -> Result<Self> {
        DuplicatesWriter::new(context).finish(context)
    }

    /// Also counts rows that were dropped later: kept row, dropped row.
    pub(super) fn with(self, more: ExternalSorter<(u64, u64)>, context: &Context) -> Result<Self> {
        let Self { counts, mut pairs } = self;
        let mut joined = CountsWriter::new(context);
        let mut more = Grouped::new(more.finish(context)?)?;
        let mut earlier = counts.kept.iter().peekable();
        while let Some(kept) = more.peek().map(|(kept, _)| *kept).into_iter().chain(earlier.peek().copied()).min() {
            context.cancel.check()?;
            earlier.next_if_eq(&kept);
            let mut n_dropped = counts.dropped_for(kept)?;
            while let Some((_, dropped)) = more.next_if(|(row, _)| *row == kept)? {
                pairs.push((dropped, kept), context)?;
                n_dropped += 1;
            }
            joined.push(kept, n_dropped, context)?;
        }
        Ok(Self { counts: joined.finish(context)?, pairs })
    }

    /// Counts, each dropped row as one.
    pub fn count(self) -> DuplicateCounts {
        self.counts
    }

    /// Makes ready to count each dropped row as many times as it says itself.
    pub fn weigh(self, context: &Context) -> Result<Weighing> {
        let pairs = Grouped::new(self.pairs.finish(context)?)?;
        Ok(Weighing { pairs, by_kept: ExternalSorter::new(STAGE, &context.budget) })
    }
}

/// Sums what dropped rows stand for.
#[derive(Debug)]
pub struct Weighing {
    pairs: Grouped<(u64, u64)>,
    by_kept: ExternalSorter<(u64, u64)>,
}

impl Weighing {
    /// Sees how many rows a dropped row stands for. Of every dropped row, in their order.
    ///
    /// # Errors
    /// `Error::Invariant` if the row is not the next one that was dropped.
    pub fn observe(&mut self, dropped: u64, weight: u64, context: &Context) -> Result<()> {
        let Some((_, kept)) = self.pairs.next_if(|(row, _)| *row == dropped)? else { return Err(unmatched(dropped)) };
        self.by_kept.push((kept, weight), context)
    }

    /// Sums up.
    ///
    /// # Errors
    /// `Error::Invariant` if a dropped row was not seen.
    pub fn finish(self, context: &Context) -> Result<DuplicateCounts> {
        if let Some(&(dropped, _)) = self.pairs.peek() {
            return Err(unmatched(dropped));
        }
        let mut counts = CountsWriter::new(context);
        let mut weights = Grouped::new(self.by_kept.finish(context)?)?;
        while let Some((kept, first)) = weights.next()? {
            let mut sum = first;
            while let Some((_, weight)) = weights.next_if(|(row, _)| *row == kept)? {
                sum = sum.saturating_add(weight);
            }
            counts.push(kept, sum, context)?;
        }
        counts.finish(context)
    }
}

fn unmatched(row: u64) -> Error {
    Error::Invariant(format!("row {row} was seen in one pass over the input and not in another"))
}

/// [`DuplicateCounts`] in the making.
#[derive(Debug)]
struct CountsWriter {
    kept: RowSet,
    table: RowTableWriter<u64>,
}

impl CountsWriter {
    fn new(context: &Context) -> Self {
        Self { kept: RowSet::new(), table: RowTableWriter::new(STAGE, context) }
    }

    fn push(&mut self, kept: u64, n_rows: u64, context: &Context) -> Result<()> {
        self.kept.insert(kept);
        self.table.push(kept, &n_rows, context)
    }

    fn finish(self, context: &Context) -> Result<DuplicateCounts> {
        Ok(DuplicateCounts { kept: self.kept, table: self.table.finish(context)? })
    }
}

/// How many rows were dropped for each row.
#[derive(Debug)]
pub struct DuplicateCounts {
    /// Rows for which others were dropped: most rows need no look at the table.
    kept: RowSet,
    table: RowTable<u64>,
}

impl DuplicateCounts {
    /// Of rows in their order, and how many are dropped for each.
    pub(crate) fn of(counts: impl IntoIterator<Item = (u64, u64)>, context: &Context) -> Result<Self> {
        let mut writer = CountsWriter::new(context);
        counts.into_iter().try_for_each(|(kept, n_dropped)| writer.push(kept, n_dropped, context))?;
        writer.finish(context)
    }

    /// Rows dropped for `row`.
    pub fn dropped_for(&self, row: u64) -> Result<u64> {
        if self.kept.contains(row) { self.table.get(row) } else { Ok(0) }
    }
}
