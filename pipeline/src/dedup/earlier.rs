//! Rows of earlier runs among those of this one: they come before all of its rows, and they stay.
//!
//! Their positions lie above all positions of the run, because they are known last; their ranks lie below all others.

use std::ops::Range;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use serde::{Deserialize, Serialize};
use tamis_schemas::columns::{ID, ROW};

use super::columns::column;
use super::evidence::Evidence;
use super::index::{LookupCounts, Matches, Part};
use super::keep::Ranks;
use super::scope::{Scope, Sources};
use crate::context::Context;
use crate::{Result, RowSet};

/// Where rows of earlier runs lie, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EarlierRows {
    first_position: u64,
    n_rows: u64,
    n_matched: u64,
}

impl EarlierRows {
    /// All rows of the index.
    pub(super) fn n_rows(self) -> u64 {
        self.n_rows
    }

    /// Those that share a key with a row of this run: only they have positions.
    pub(super) fn n_matched(self) -> u64 {
        self.n_matched
    }

    /// Whether the row at `position` is one of an earlier run.
    pub(super) fn contains(self, position: u64) -> bool {
        self.first_position <= position
    }

    /// Ranks of all rows, given those of the run's own.
    pub(super) fn ranks(self, of_run: Ranks) -> Ranks {
        if self.n_matched == 0 {
            return of_run;
        }
        let Self { first_position, n_matched: n_earlier, .. } = self;
        Ranks::AfterEarlier { n_earlier, first_position, of_run: Box::new(of_run) }
    }
}

/// Rows of earlier runs that may be near-duplicates of rows of this one.
#[derive(Debug)]
pub(super) struct Earlier {
    rows: EarlierRows,
    /// `None`: who compared them has handed on all that is needed.
    matches: Option<Matches>,
}

impl Earlier {
    /// `matches`, at the positions from `first_position` on.
    pub(super) fn new(matches: Matches, first_position: u64) -> Self {
        let LookupCounts { n_rows, n_matched } = matches.counts;
        Self { rows: EarlierRows { first_position, n_rows, n_matched }, matches: Some(matches) }
    }

    /// Rows of which only this is known here: what is needed of them comes with the pairs.
    pub(super) fn known(rows: EarlierRows) -> Self {
        Self { rows, matches: None }
    }

    pub(super) fn rows(&self) -> EarlierRows {
        self.rows
    }

    /// Whether their sets are read here.
    pub(super) fn has_sets(&self) -> bool {
        self.matches.is_some()
    }

    fn read(
        &self,
        part: Part,
        wants: impl Fn(u64) -> bool,
        context: &Context,
        consume: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let first_position = self.rows.first_position;
        let wants = |number: u64| wants(first_position + number);
        self.matches.as_ref().map_or(Ok(()), |matches| matches.read(part, first_position, wants, context, consume))
    }

    /// The fingerprints of all these rows, in order.
    pub(super) fn fingerprints(&self, context: &Context, consume: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        self.read(Part::Fingerprints, |_| true, context, consume)
    }

    /// The shingle sets of these rows as far as they are in `positions`, in order.
    pub(super) fn sets(
        &self,
        positions: &RowSet,
        context: &Context,
        consume: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.read(Part::Sets, |position| positions.contains(position), context, consume)
    }

    /// The ids of these rows as far as they are in `positions`, in order.
    pub(super) fn ids(
        &self,
        positions: &RowSet,
        context: &Context,
        mut visit: impl FnMut(u64, &str) -> Result<()>,
    ) -> Result<()> {
        self.read(
            Part::Ids,
            |position| positions.contains(position),
            context,
            |batch| {
                let (rows, ids): (&UInt64Array, &StringArray) = (column(&batch, ROW)?, column(&batch, ID)?);
                rows.values().iter().zip(ids).try_for_each(|(&row, id)| visit(row, id.unwrap_or_default()))
            },
        )
    }

    /// Tells `evidence` the ids of the rows that it names.
    pub(super) fn name_rows(&self, evidence: &mut Evidence, context: &Context) -> Result<()> {
        let named = evidence.kept_rows().clone();
        self.read(
            Part::Ids,
            |position| named.contains(position),
            context,
            |batch| evidence.observe_ids(column(&batch, ROW)?, column(&batch, ID)?, context),
        )
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
        let first_new = earlier.map_or(0, |earlier| earlier.rows.n_matched);
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
