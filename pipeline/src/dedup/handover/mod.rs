//! The search for near-duplicates in parts that are processes of their own: what one hands to the next.
//!
//! ```text
//! fingerprints -> hand_over -> counts, ranks, members, edges, open pairs, wanted rows
//!                               sets of these -> Assignment -> drops, clusters, counts -> Verdicts of all rows
//! ```
//!
//! Of rows of earlier runs, who compares has the index at hand: it hands on their sets and their ids, too.

mod assignment;
mod counts;
mod decisions;
mod links;
mod pairs;
mod part;

pub(crate) use assignment::Assignment;
pub(crate) use counts::SearchCounts;
pub(crate) use decisions::Decisions;
pub(crate) use links::Links;
pub(crate) use pairs::Pruning;
pub(super) use pairs::hand_rows_over;
pub(crate) use part::Part;

use super::assign::{Drop, Rule};
use super::earlier::Earlier;
use super::edge::{Method, Similarity};
use super::fingerprint::sets_of;
use super::near_duplicates::{Closing, Compared, NearDuplicates};
use super::settings::{KeepOrder, Search, Settings};
use crate::context::Context;
use crate::{Error, Result, RowSet};
use pairs::hand_pairs_over;

const STAGE: &str = "near-duplicates: handed over";

/// What one part of the search tells the next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Handed {
    /// What was counted so far.
    Counts(SearchCounts),
    /// Place of a row in the keep order.
    Rank { rank: u64, row: u64 },
    /// Rows of one text, by rank.
    Member { first: u64, other: u64 },
    /// Proven pairs of a row with earlier ones, by rank. A family of rows has very many.
    Edges { later: u64, edges: Vec<HandedEdge> },
    /// Pairs of a row that only sets can decide, by rank: the earlier row, and the bands that the two share.
    Open { later: u64, pairs: Vec<(u64, u16)> },
    /// A row whose set is asked for.
    Wanted { row: u64 },
    /// Its set, sorted.
    Set { row: u64, shingles: Vec<u64> },
    /// A row that is dropped for another.
    Drop(HandedDrop),
    /// The id of a row of an earlier run that may be named.
    Id { row: u64, id: String },
    /// A row that others are dropped for, with the rows of its cluster and those that are dropped.
    Cluster { kept: u64, n_rows: u64, n_dropped: u64 },
}

/// A proven pair of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HandedEdge {
    pub(crate) earlier: u64,
    pub(crate) similarity: f64,
    pub(crate) method: Method,
    pub(crate) n_shared_bands: u16,
}

/// A row that is dropped, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HandedDrop {
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
    pub(crate) rank: u64,
    pub(crate) similarity: f64,
    pub(crate) method: Method,
    pub(crate) rule: Rule,
    pub(crate) n_shared_bands: u16,
}

impl HandedDrop {
    pub(in crate::dedup) fn of(drop: Drop) -> Self {
        let Drop { kept, rank, dropped, similarity, method, rule, n_shared_bands } = drop;
        Self { kept, dropped, rank, similarity: similarity.value(), method, rule, n_shared_bands }
    }
}

impl From<HandedDrop> for Drop {
    fn from(drop: HandedDrop) -> Self {
        let HandedDrop { kept, dropped, rank, similarity, method, rule, n_shared_bands } = drop;
        Self { kept, rank, dropped, similarity: Similarity::new(similarity), method, rule, n_shared_bands }
    }
}

impl Settings {
    /// Whether buckets can be compared apart from each other: rows are known by their positions then, and any two of them meet.
    pub(crate) fn has_apart_buckets(&self) -> Result<bool> {
        let is_anywhere = self.scope.fields().is_empty();
        Ok(self.keep == KeepOrder::First && is_anywhere && matches!(self.search()?, Search::Bands(_)))
    }

    /// # Errors
    /// `Error::Config` for what only a search in one process does.
    pub(crate) fn check_for_handover(&self) -> Result<()> {
        match self.search()? {
            Search::Samples(_) => Err(Error::Config {
                message: "deduplicate.measure = \"containment\" does not work on a cluster yet".into(),
                hint: Some("leave it out, or run on one machine".into()),
            }),
            Search::Bands(_) | Search::Exhaustive => Ok(()),
        }
    }
}

impl NearDuplicates {
    /// Compares the rows, and hands on everything that the next part needs, kind by kind.
    pub(crate) fn hand_over(self, context: &Context, mut to: impl FnMut(Handed) -> Result<()>) -> Result<()> {
        let Compared::Pairs { closing, open } = self.compared(context)? else {
            return Err(Error::Invariant("containment is compared in one process".into()));
        };
        let Closing { ranks, edges, identical, report, earlier, .. } = *closing;
        let counts = SearchCounts::of(&report).against(earlier.as_ref().map(Earlier::rows));
        to(Handed::Counts(counts))?;
        let of_run = ranks.of_run();
        if !of_run.are_rows() {
            (0..report.n_rows).try_for_each(|rank| to(Handed::Rank { rank, row: of_run.row(rank)? }))?;
        }
        let n_earlier = earlier.as_ref().map_or(0, |earlier| earlier.rows().n_matched());
        let mut named = RowSet::new();
        let mut with_names = |handed: Handed| {
            for rank in handed.earlier_ranks().filter(|&rank| rank < n_earlier) {
                named.insert(ranks.row(rank)?);
            }
            to(handed)
        };
        for member in identical.members {
            let (first, other) = member?;
            with_names(Handed::Member { first, other })?;
        }
        let wanted = hand_pairs_over(edges, open, &ranks, context, with_names)?;
        let Some(earlier) = &earlier else { return wanted.iter().try_for_each(|row| to(Handed::Wanted { row })) };
        let ours = wanted.iter().filter(|&row| !earlier.rows().contains(row));
        ours.map(|row| Handed::Wanted { row }).try_for_each(&mut to)?;
        earlier.sets(&wanted, context, |batch| {
            sets_of(&batch)?.try_for_each(|(row, set)| to(Handed::Set { row, shingles: set.to_vec() }))
        })?;
        earlier.ids(&named, context, |row, id| to(Handed::Id { row, id: id.to_owned() }))
    }
}

impl Handed {
    /// The ranks of rows that others may be dropped for.
    fn earlier_ranks(&self) -> impl Iterator<Item = u64> {
        let (first, edges, pairs) = match self {
            Self::Member { first, .. } => (Some(*first), &[][..], &[][..]),
            Self::Edges { edges, .. } => (None, &edges[..], &[][..]),
            Self::Open { pairs, .. } => (None, &[][..], &pairs[..]),
            _ => (None, &[][..], &[][..]),
        };
        let of_pairs = pairs.iter().map(|(earlier, _)| *earlier);
        first.into_iter().chain(edges.iter().map(|edge| edge.earlier)).chain(of_pairs)
    }
}
