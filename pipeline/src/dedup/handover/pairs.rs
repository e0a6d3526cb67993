//! Pairs on their way, and those among them that the answer depends on.

use super::{Handed, HandedEdge, Part, STAGE, SearchCounts};
use crate::context::Context;
use crate::dedup::edge::{Edge, GreyPair, Grouped, Similarity};
use crate::dedup::keep::Ranks;
use crate::dedup::prune::{OpenPairs, Pruned, prune};
use crate::dedup::scope::Places;
use crate::dedup::settings::{Linkage, Settings};
use crate::spill::ExternalSorter;
use crate::{Error, Result, RowSet};

/// Hands on pairs; gives the rows whose sets open ones need.
pub(super) fn hand_pairs_over(
    edges: ExternalSorter<Edge>,
    open: OpenPairs,
    ranks: &Ranks,
    context: &Context,
    to: impl FnMut(Handed) -> Result<()>,
) -> Result<RowSet> {
    let rows = open.later.iter().chain(open.earlier.iter()).map(|rank| ranks.row(rank));
    let wanted = rows.collect::<Result<RowSet>>()?;
    hand_rows_over(edges, open.pairs, context, to)?;
    Ok(wanted)
}

/// Hands on pairs, row by row.
pub(in crate::dedup) fn hand_rows_over(
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
pub(super) struct Pairs {
    pub(super) edges: ExternalSorter<Edge>,
    pub(super) open: ExternalSorter<GreyPair>,
}

impl Pairs {
    pub(super) fn new(context: &Context) -> Self {
        let (edges, open) = (ExternalSorter::new(STAGE, &context.budget), ExternalSorter::new(STAGE, &context.budget));
        Self { edges, open }
    }

    pub(super) fn push(&mut self, handed: &Handed, context: &Context) -> Result<()> {
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

/// The pairs of many [`BucketStream`](crate::dedup::bucket_stream::BucketStream)s: leaves out what the answer does not depend on.
#[derive(Debug)]
pub(crate) struct Pruning {
    linkage: Linkage,
    /// What is known of the rows.
    rows: SearchCounts,
    /// What streams have counted.
    counts: SearchCounts,
    /// Whether what was counted is known here.
    is_counted: bool,
    pairs: Pairs,
}

impl Pruning {
    /// `rows`: what is known of the rows.
    pub(crate) fn new(settings: &Settings, rows: SearchCounts, part: Part, context: &Context) -> Self {
        let (counts, is_counted) = (SearchCounts::default(), part == Part::All);
        Self { linkage: settings.linkage, rows, counts, is_counted, pairs: Pairs::new(context) }
    }

    /// Takes pairs, or what a stream has counted.
    pub(crate) fn push(&mut self, handed: &Handed, context: &Context) -> Result<()> {
        match *handed {
            Handed::Counts(counts) => {
                self.is_counted = true;
                self.counts.add(counts);
                Ok(())
            }
            _ => self.pairs.push(handed, context),
        }
    }

    /// Hands on what is left.
    pub(crate) fn finish(self, context: &Context, mut to: impl FnMut(Handed) -> Result<()>) -> Result<()> {
        let Self { linkage, rows, mut counts, is_counted, pairs: Pairs { edges, open } } = self;
        if is_counted {
            counts.add(rows);
        }
        to(Handed::Counts(counts))?;
        let (places, ranks) = (Places::anywhere(), Ranks::ByRow);
        let Pruned { edges, open } = prune(edges, open, linkage, (&places, &ranks), context)?;
        hand_pairs_over(edges, open, &ranks, context, &mut to)?.iter().try_for_each(|row| to(Handed::Wanted { row }))
    }
}
