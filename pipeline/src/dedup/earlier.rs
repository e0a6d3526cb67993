//! Rows of earlier runs among those of this one: they come before all of its rows, and they stay.
//!
//! Their positions lie above all positions of the run, because they are known last; their ranks lie below all others.

use std::ops::Range;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use tamis_schemas::columns::{ID, ROW};

use super::columns::column;
use super::evidence::Evidence;
use super::index::{LookupCounts, Matches, Part};
use super::keep::Ranks;
use super::scope::{Scope, Sources};
use crate::context::Context;
use crate::{Result, RowSet};

/// Rows of earlier runs that may be near-duplicates of rows of this one.
#[derive(Debug)]
pub(super) struct Earlier {
    matches: Matches,
    first_position: u64,
}

impl Earlier {
    /// `matches`, at the positions from `first_position` on.
    pub(super) fn new(matches: Matches, first_position: u64) -> Self {
        Self { matches, first_position }
    }

    pub(super) fn counts(&self) -> LookupCounts {
        self.matches.counts
    }

    /// Whether the row at `position` is one of an earlier run.
    pub(super) fn is_earlier(&self, position: u64) -> bool {
        self.first_position <= position
    }

    /// Ranks of all rows, given those of the run's own.
    pub(super) fn ranks(&self, of_run: Ranks) -> Ranks {
        Ranks::AfterEarlier {
            n_earlier: self.counts().n_matched,
            first_position: self.first_position,
            of_run: Box::new(of_run),
        }
    }

    /// The fingerprints of all these rows, in order.
    pub(super) fn fingerprints(&self, context: &Context, consume: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        self.matches.read(Part::Fingerprints, self.first_position, |_| true, context, consume)
    }

    /// The shingle sets of these rows as far as they are in `positions`, in order.
    pub(super) fn sets(
        &self,
        positions: &RowSet,
        context: &Context,
        consume: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let wants = |number: u64| positions.contains(self.first_position + number);
        self.matches.read(Part::Sets, self.first_position, wants, context, consume)
    }

    /// Tells `evidence` the ids of the rows that it names.
    pub(super) fn name_rows(&self, evidence: &mut Evidence, context: &Context) -> Result<()> {
        let named = evidence.kept_rows().clone();
        let wants = |number: u64| named.contains(self.first_position + number);
        self.matches.read(Part::Ids, self.first_position, wants, context, |batch| {
            let (rows, ids): (&UInt64Array, &StringArray) = (column(&batch, ROW)?, column(&batch, ID)?);
            evidence.observe_ids(rows, ids, context)
        })
    }
}

/// Which rows of a bucket, sorted by rank, are compared with which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pairing {
    /// Rank of the first row of this run: those before it stay, whatever they are like.
    pub(super) first_new: u64,
    /// Whether rows of this run are compared with each other.
    pub(super) among_new: bool,
}

impl Pairing {
    pub(super) fn new(earlier: Option<&Earlier>, scope: &Scope) -> Self {
        let first_new = earlier.map_or(0, |earlier| earlier.counts().n_matched);
        Self { first_new, among_new: scope.sources != Sources::Index }
    }

    /// Whether the row at `rank` is one of this run.
    pub(super) fn is_new(self, rank: u64) -> bool {
        self.first_new <= rank
    }

    /// Rows of a bucket, given by their `ranks` in order, that the one at `later` of it is compared with.
    pub(super) fn earlier(self, ranks: &[u64], later: usize) -> Range<usize> {
        match (self.is_new(ranks[later]), self.among_new) {
            (false, _) => 0..0,
            (true, true) => 0..later,
            (true, false) => 0..ranks.partition_point(|&rank| !self.is_new(rank)),
        }
    }

    /// Whether rows of one group of identical texts, the first of which has the rank `first`, collapse.
    pub(super) fn collapses(self, first: u64) -> bool {
        self.among_new || first < self.first_new
    }
}
