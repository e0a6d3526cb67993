//! The search for near-duplicates in parts that are processes of their own: what one hands to the next.
//!
//! ```text
//! fingerprints -> hand_over -> counts, ranks, members, edges, open pairs, wanted rows
//!                               sets of these -> Assignment -> drops, clusters, counts -> Verdicts of all rows
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use serde::{Deserialize, Serialize};
use tamis_schemas::columns::ROW;

use super::assign::{Drop, Rule};
use super::candidates::Counts;
use super::columns::SHINGLES;
use super::edge::{Edge, GreyPair, Grouped, Method, Similarity};
use super::identical::Identical;
use super::keep::Ranks;
use super::lists::Lists;
use super::near_duplicates::{Closing, Compared, NearDuplicates, conclude, report};
use super::prune::{OpenPairs, Pruned, prune};
use super::report::{NearDuplicateReport, NearDuplicateResult, ResultHandle};
use super::scope::Places;
use super::settings::{KeepOrder, Linkage, Search, Settings};
use super::tape::RowTableWriter;
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::stage::{BarrierStage, Next};
use crate::{Error, Result, RowSet};

const STAGE: &str = "near-duplicates: handed over";
/// Shingles that are observed together, about.
const BATCH_SHINGLES: usize = 1 << 18;

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

/// Numbers of the report that only who counts them knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "those of the report")]
pub(crate) struct SearchCounts {
    n_rows: u64,
    n_without_tokens: u64,
    n_candidate_pairs: u64,
    n_untested_pairs: u64,
    n_hot_buckets: u64,
    n_proven_pairs: u64,
    n_spared: u64,
}

impl SearchCounts {
    /// Of rows alone.
    pub(crate) fn of_rows(n_rows: u64, n_without_tokens: u64) -> Self {
        Self { n_rows, n_without_tokens, ..Self::default() }
    }

    pub(super) fn of_pairs(counts: Counts) -> Self {
        let Counts { candidate_pairs, untested_pairs, hot_buckets } = counts;
        Self {
            n_candidate_pairs: candidate_pairs,
            n_untested_pairs: untested_pairs,
            n_hot_buckets: hot_buckets,
            ..Self::default()
        }
    }

    fn add(&mut self, other: Self) {
        self.n_rows += other.n_rows;
        self.n_without_tokens += other.n_without_tokens;
        self.n_candidate_pairs += other.n_candidate_pairs;
        self.n_untested_pairs += other.n_untested_pairs;
        self.n_hot_buckets += other.n_hot_buckets;
    }

    fn of(report: &NearDuplicateReport) -> Self {
        Self {
            n_rows: report.n_rows,
            n_without_tokens: report.n_without_tokens,
            n_candidate_pairs: report.n_candidate_pairs,
            n_untested_pairs: report.n_untested_pairs,
            n_hot_buckets: report.n_hot_buckets,
            n_proven_pairs: report.n_proven_pairs,
            n_spared: report.n_spared,
        }
    }

    fn into_report(self, settings: &Settings) -> Result<NearDuplicateReport> {
        let search = settings.search()?;
        Ok(NearDuplicateReport {
            recall_at_threshold: search.probability(settings.threshold),
            n_candidate_pairs: self.n_candidate_pairs,
            n_untested_pairs: self.n_untested_pairs,
            n_hot_buckets: self.n_hot_buckets,
            n_proven_pairs: self.n_proven_pairs,
            n_spared: self.n_spared,
            ..report(search, self.n_rows, self.n_without_tokens)
        })
    }
}

impl Settings {
    /// Whether buckets can be compared apart from each other: rows are known by their positions then.
    pub(crate) fn has_apart_buckets(&self) -> Result<bool> {
        Ok(self.keep == KeepOrder::First && matches!(self.search()?, Search::Bands(_)))
    }

    /// # Errors
    /// `Error::Config` for what only a search in one process does.
    pub(crate) fn check_for_handover(&self) -> Result<()> {
        let refuse = |what: &str| {
            let hint = Some("leave it out, or run on one machine".into());
            Err(Error::Config { message: format!("deduplicate.{what} does not work on a cluster yet"), hint })
        };
        match self.search()? {
            Search::Samples(_) => return refuse("measure = \"containment\""),
            Search::Bands(_) | Search::Exhaustive => {}
        }
        if self.scope.has_sources() || self.scope.by.is_some() {
            return refuse("scope and deduplicate.by");
        }
        if !self.columns().is_empty() {
            return refuse("keep by columns");
        }
        Ok(())
    }
}

impl NearDuplicates {
    /// Compares the rows, and hands on everything that the next part needs, kind by kind.
    pub(crate) fn hand_over(self, context: &Context, mut to: impl FnMut(Handed) -> Result<()>) -> Result<()> {
        let Compared::Pairs { closing, open } = self.compared(context)? else {
            return Err(Error::Invariant("containment is compared in one process".into()));
        };
        let Closing { ranks, edges, identical, report, .. } = *closing;
        to(Handed::Counts(SearchCounts::of(&report)))?;
        if !ranks.are_rows() {
            (0..report.n_rows).try_for_each(|rank| to(Handed::Rank { rank, row: ranks.row(rank)? }))?;
        }
        for member in identical.members {
            let (first, other) = member?;
            to(Handed::Member { first, other })?;
        }
        hand_pairs_over(edges, open, &ranks, context, to)
    }
}

/// Hands on pairs, and the rows whose sets open ones need.
fn hand_pairs_over(
    edges: ExternalSorter<Edge>,
    open: OpenPairs,
    ranks: &Ranks,
    context: &Context,
    mut to: impl FnMut(Handed) -> Result<()>,
) -> Result<()> {
    let rows = open.later.iter().chain(open.earlier.iter()).map(|rank| ranks.row(rank));
    let wanted = rows.collect::<Result<RowSet>>()?;
    hand_rows_over(edges, open.pairs, context, &mut to)?;
    wanted.iter().try_for_each(|row| to(Handed::Wanted { row }))
}

/// Hands on pairs, row by row.
pub(super) fn hand_rows_over(
    edges: ExternalSorter<Edge>,
    open: ExternalSorter<GreyPair>,
    context: &Context,
    mut to: impl FnMut(Handed) -> Result<()>,
) -> Result<()> {
    let mut edges = Grouped::new(edges.finish(context)?)?;
    while let Some(later) = edges.peek().map(|edge| edge.later) {
        context.cancel.check()?;
        let mut of_row = Vec::new();
        while let Some(edge) = edges.next_if(|edge| edge.later == later)? {
            let Edge { earlier, similarity, method, n_shared_bands, .. } = edge;
            of_row.push(HandedEdge { earlier, similarity: similarity.value(), method, n_shared_bands });
        }
        to(Handed::Edges { later, edges: of_row })?;
    }
    let mut open = Grouped::new(open.finish(context)?)?;
    while let Some(later) = open.peek().map(|pair| pair.later) {
        context.cancel.check()?;
        let mut pairs = Vec::new();
        while let Some(pair) = open.next_if(|pair| pair.later == later)? {
            pairs.push((pair.earlier(), pair.n_shared_bands()));
        }
        to(Handed::Open { later, pairs })?;
    }
    Ok(())
}

/// Pairs that come in.
#[derive(Debug)]
struct Pairs {
    edges: ExternalSorter<Edge>,
    open: ExternalSorter<GreyPair>,
}

impl Pairs {
    fn new(context: &Context) -> Self {
        let (edges, open) = (ExternalSorter::new(STAGE, &context.budget), ExternalSorter::new(STAGE, &context.budget));
        Self { edges, open }
    }

    fn push(&mut self, handed: &Handed, context: &Context) -> Result<()> {
        match handed {
            Handed::Edges { later, edges } => edges.iter().try_for_each(|edge| {
                let HandedEdge { earlier, similarity, method, n_shared_bands } = *edge;
                let similarity = Similarity::new(similarity);
                self.edges.push(Edge { later: *later, earlier, similarity, method, n_shared_bands }, context)
            }),
            Handed::Open { later, pairs } => pairs.iter().try_for_each(|&(earlier, n_shared_bands)| {
                self.open.push(GreyPair::new(*later, earlier, n_shared_bands), context)
            }),
            _ => Err(Error::Invariant(format!("{handed:?} is no pair"))),
        }
    }
}

/// The pairs of many [`BucketStream`](super::bucket_stream::BucketStream)s: leaves out what the answer does not depend on.
#[derive(Debug)]
pub(crate) struct Pruning {
    linkage: Linkage,
    counts: SearchCounts,
    pairs: Pairs,
}

impl Pruning {
    /// `rows`: what is known of the rows.
    pub(crate) fn new(settings: &Settings, rows: SearchCounts, context: &Context) -> Self {
        Self { linkage: settings.linkage, counts: rows, pairs: Pairs::new(context) }
    }

    /// Takes pairs, or what a stream has counted.
    pub(crate) fn push(&mut self, handed: &Handed, context: &Context) -> Result<()> {
        match *handed {
            Handed::Counts(counts) => {
                self.counts.add(counts);
                Ok(())
            }
            _ => self.pairs.push(handed, context),
        }
    }

    /// Hands on what is left.
    pub(crate) fn finish(self, context: &Context, mut to: impl FnMut(Handed) -> Result<()>) -> Result<()> {
        let Self { linkage, counts, pairs: Pairs { edges, open } } = self;
        to(Handed::Counts(counts))?;
        let (places, ranks) = (Places::anywhere(), Ranks::ByRow);
        let Pruned { edges, open } = prune(edges, open, linkage, (&places, &ranks), context)?;
        hand_pairs_over(edges, open, &ranks, context, to)
    }
}

/// The second part: takes what the first has handed on, sets last, and decides.
#[derive(Debug)]
pub(crate) struct Assignment {
    settings: Settings,
    state: State,
}

#[derive(Debug)]
enum State {
    Taking(Box<Taking>),
    Proving { barrier: Box<dyn BarrierStage>, result: ResultHandle, sets: Sets },
    Decided(ResultHandle),
}

#[derive(Debug)]
struct Taking {
    counts: Option<SearchCounts>,
    row_of_rank: RowTableWriter<u64>,
    rank_of_row: ExternalSorter<(u64, u64)>,
    members: ExternalSorter<(u64, u64)>,
    pairs: Pairs,
}

/// Sets that are observed together.
#[derive(Debug, Default)]
struct Sets {
    rows: Vec<u64>,
    lists: Lists,
    n_shingles: usize,
}

impl Sets {
    fn push(&mut self, row: u64, shingles: &[u64]) -> bool {
        self.rows.push(row);
        self.lists.push(shingles);
        self.n_shingles += shingles.len();
        self.n_shingles >= BATCH_SHINGLES
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let Self { rows, lists, .. } = std::mem::take(self);
        let rows: ArrayRef = Arc::new(UInt64Array::from(rows));
        Ok(RecordBatch::try_from_iter([(ROW, rows), (SHINGLES, lists.into_column()?)])?)
    }
}

impl Assignment {
    pub(crate) fn new(settings: &Settings, context: &Context) -> Self {
        let taking = Taking {
            counts: None,
            row_of_rank: RowTableWriter::new(STAGE, context),
            rank_of_row: ExternalSorter::new(STAGE, &context.budget),
            members: ExternalSorter::new(STAGE, &context.budget),
            pairs: Pairs::new(context),
        };
        Self { settings: settings.clone(), state: State::Taking(Box::new(taking)) }
    }

    /// Takes what comes next. Ranks come in their order, sets in that of their rows and after all else.
    pub(crate) fn push(&mut self, handed: Handed, context: &Context) -> Result<()> {
        if let Handed::Set { row, shingles } = handed {
            if matches!(self.state, State::Taking(_)) {
                self.begin_proof(context)?;
            }
            let State::Proving { barrier, sets, .. } = &mut self.state else {
                return Err(Error::Invariant(format!("nobody asked for the set of row {row}")));
            };
            return if sets.push(row, &shingles) { barrier.observe(&sets.take()?, context) } else { Ok(()) };
        }
        let State::Taking(taking) = &mut self.state else {
            return Err(Error::Invariant("sets come after all else".into()));
        };
        match handed {
            Handed::Counts(counts) => taking.counts = Some(counts),
            Handed::Rank { rank, row } => {
                taking.row_of_rank.push(rank, &row, context)?;
                taking.rank_of_row.push((row, rank), context)?;
            }
            Handed::Member { first, other } => taking.members.push((first, other), context)?,
            Handed::Edges { .. } | Handed::Open { .. } => taking.pairs.push(&handed, context)?,
            Handed::Wanted { .. } | Handed::Set { .. } | Handed::Drop(_) | Handed::Cluster { .. } => {
                return Err(Error::Invariant(format!("{handed:?} is not for who decides")));
            }
        }
        Ok(())
    }

    fn begin_proof(&mut self, context: &Context) -> Result<()> {
        let (result, next) = match std::mem::replace(&mut self.state, State::Decided(ResultHandle::default())) {
            State::Taking(taking) => taking.close(&self.settings, context)?,
            other => return Err(Error::Invariant(format!("a proof begins once: {other:?}"))),
        };
        self.state = match next {
            Next::Done(_) => State::Decided(result),
            Next::Again { barrier, .. } => State::Proving { barrier, result, sets: Sets::default() },
        };
        Ok(())
    }

    /// Decides, and hands on who is dropped for whom.
    pub(crate) fn finish(mut self, context: &Context, mut to: impl FnMut(Handed) -> Result<()>) -> Result<()> {
        if matches!(self.state, State::Taking(_)) {
            self.begin_proof(context)?;
        }
        let result = match self.state {
            State::Decided(result) => result,
            State::Proving { mut barrier, result, mut sets } => {
                barrier.observe(&sets.take()?, context)?;
                barrier.end_of_pass(context)?;
                result
            }
            State::Taking(_) => return Err(Error::Invariant("the proof has not begun".into())),
        };
        let NearDuplicateResult { evidence, report, .. } = result.take()?;
        to(Handed::Counts(SearchCounts::of(&report)))?;
        evidence.hand_over(|handed| {
            context.cancel.check()?;
            to(handed)
        })
    }
}

impl Taking {
    fn close(self, settings: &Settings, context: &Context) -> Result<(ResultHandle, Next)> {
        let counts =
            self.counts.ok_or_else(|| Error::Invariant("the counts of the first part are not there".into()))?;
        let ranks = if self.rank_of_row.is_empty() {
            Ranks::ByRow
        } else {
            let mut rank_of_row = RowTableWriter::new(STAGE, context);
            for record in self.rank_of_row.finish(context)? {
                let (row, rank) = record?;
                rank_of_row.push(row, &rank, context)?;
            }
            let row_of_rank = self.row_of_rank.finish(context)?;
            Ranks::Tables { rank_of_row: rank_of_row.finish(context)?, row_of_rank }
        };
        let identical = Identical { members: self.members.finish(context)?, collapsed: RowSet::new() };
        let report = counts.into_report(settings)?;
        let (mut closing, result) = Closing::new(settings.clone(), ranks, identical, report, context);
        let Pairs { edges, open } = self.pairs;
        closing.edges = edges;
        let mut rows = OpenPairs::new(context);
        for pair in open.finish(context)? {
            rows.push_row(&[pair?], context)?;
        }
        Ok((result, closing.prove_open(rows, None, context)?))
    }
}

impl HandedDrop {
    pub(super) fn of(drop: Drop) -> Self {
        let Drop { kept, rank, dropped, similarity, method, rule, n_shared_bands } = drop;
        Self { kept, dropped, rank, similarity: similarity.value(), method, rule, n_shared_bands }
    }
}

/// The verdicts of all rows, as the second part has handed them on, in any order.
#[derive(Debug)]
pub(crate) struct Decisions {
    settings: Settings,
    counts: Option<SearchCounts>,
    drops: ExternalSorter<Drop>,
    clusters: ExternalSorter<(u64, u64)>,
}

impl Decisions {
    pub(crate) fn new(settings: &Settings, context: &Context) -> Self {
        Self {
            settings: settings.clone(),
            counts: None,
            drops: ExternalSorter::new(STAGE, &context.budget),
            clusters: ExternalSorter::new(STAGE, &context.budget),
        }
    }

    pub(crate) fn push(&mut self, handed: &Handed, context: &Context) -> Result<()> {
        match *handed {
            Handed::Counts(counts) => self.counts = Some(counts),
            Handed::Cluster { kept, n_rows, .. } => self.clusters.push((kept, n_rows), context)?,
            Handed::Drop(HandedDrop { kept, dropped, rank, similarity, method, rule, n_shared_bands }) => {
                let similarity = Similarity::new(similarity);
                self.drops.push(Drop { kept, rank, dropped, similarity, method, rule, n_shared_bands }, context)?;
            }
            _ => return Err(Error::Invariant(format!("{handed:?} is no decision"))),
        }
        Ok(())
    }

    pub(crate) fn finish(self, context: &Context) -> Result<NearDuplicateResult> {
        let counts = self.counts.ok_or_else(|| Error::Invariant("the counts of the decisions are not there".into()))?;
        let report = counts.into_report(&self.settings)?;
        conclude(self.drops, self.clusters, &self.settings, report, context)
    }
}
