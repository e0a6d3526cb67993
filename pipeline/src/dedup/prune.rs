//! Which open pairs can still matter.

use super::edge::{Edge, GreyPair, Grouped};
use super::keep::Ranks;
use super::scope::Places;
use super::settings::Linkage;
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Result, RowSet};

const STAGE: &str = "near-duplicates: open pairs";

/// Pairs that the answer depends on, each once.
#[derive(Debug)]
pub(super) struct Pruned {
    pub(super) edges: ExternalSorter<Edge>,
    pub(super) open: OpenPairs,
}

/// Pairs that are to be compared exactly.
#[derive(Debug)]
pub(super) struct OpenPairs {
    pub(super) pairs: ExternalSorter<GreyPair>,
    /// Ranks of the rows that come later in a pair.
    pub(super) later: RowSet,
    /// Ranks of the rows that come earlier.
    pub(super) earlier: RowSet,
}

impl OpenPairs {
    pub(super) fn new(context: &Context) -> Self {
        let pairs = ExternalSorter::new(STAGE, &context.budget);
        Self { pairs, later: RowSet::new(), earlier: RowSet::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Adds pairs of one later row.
    pub(super) fn push_row(&mut self, pairs: &[GreyPair], context: &Context) -> Result<()> {
        if let Some(pair) = pairs.first() {
            self.later.insert(pair.later);
        }
        for &pair in pairs {
            self.earlier.insert(pair.earlier());
            self.pairs.push(pair, context)?;
        }
        Ok(())
    }
}

/// Leaves out pairs outside of the scope, and what the answer does not depend on, whatever the open pairs turn out to be.
///
/// Under star linkage a row with an edge to a row that surely stays is surely dropped: its open pairs need no proof, nor do
/// pairs with it of rows that come later. A row without a pair to any row that may stay surely stays itself.
pub(super) fn prune(
    edges: ExternalSorter<Edge>,
    grey: ExternalSorter<GreyPair>,
    linkage: Linkage,
    meeting: (&Places, &Ranks),
    context: &Context,
) -> Result<Pruned> {
    let (places, ranks) = meeting;
    let mut edges = Grouped::new(edges.finish(context)?)?;
    let mut grey = Grouped::new(grey.finish(context)?)?;
    let mut pruned = Pruned { edges: ExternalSorter::new(STAGE, &context.budget), open: OpenPairs::new(context) };
    let mut dropped = RowSet::new();
    let mut open = RowSet::new();
    let mut edges_of_row: Vec<Edge> = Vec::new();
    let mut grey_of_row: Vec<GreyPair> = Vec::new();
    loop {
        let heads = [edges.peek().map(|edge| edge.later), grey.peek().map(|pair| pair.later)];
        let Some(row) = heads.into_iter().flatten().min() else { break };
        context.cancel.check()?;
        let place = places.of(row, ranks)?;
        edges_of_row.clear();
        while let Some(edge) = edges.next_if(|edge| edge.later == row)? {
            if place.meets(places.of(edge.earlier, ranks)?) {
                edges_of_row.push(edge);
            }
        }
        grey_of_row.clear();
        while let Some(pair) = grey.next_if(|pair| pair.later == row)? {
            if place.meets(places.of(pair.earlier(), ranks)?) {
                grey_of_row.push(pair);
            }
        }
        edges_of_row.dedup();
        grey_of_row.dedup();
        if linkage == Linkage::Star {
            edges_of_row.retain(|edge| !dropped.contains(edge.earlier));
            grey_of_row.retain(|pair| !dropped.contains(pair.earlier()));
            if edges_of_row.iter().any(|edge| !open.contains(edge.earlier)) {
                dropped.insert(row);
                grey_of_row.clear();
            } else if !edges_of_row.is_empty() || !grey_of_row.is_empty() {
                open.insert(row);
            }
        }
        for &edge in &edges_of_row {
            pruned.edges.push(edge, context)?;
        }
        pruned.open.push_row(&grey_of_row, context)?;
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::assign::assign;
    use super::super::edge::{Method, Similarity};
    use super::super::settings::Settings;
    use super::*;
    use crate::context::{Cancel, Resources};

    /// Dropped rows and the rows they are dropped for.
    fn stars(edges: impl IntoIterator<Item = Edge>, context: &Context) -> BTreeMap<u64, u64> {
        let no_members = ExternalSorter::new(STAGE, &context.budget).finish(context).unwrap();
        let verdicts =
            assign(sorter(edges, context), no_members, &Settings::default(), &Ranks::ByRow, context).unwrap();
        let drops = verdicts.drops.finish(context).unwrap().map(Result::unwrap);
        drops.map(|drop| (drop.dropped, drop.kept)).collect()
    }

    fn sorter<R: crate::spill::Record>(records: impl IntoIterator<Item = R>, context: &Context) -> ExternalSorter<R> {
        let mut sorter = ExternalSorter::new(STAGE, &context.budget);
        records.into_iter().for_each(|record| sorter.push(record, context).unwrap());
        sorter
    }

    #[test]
    fn who_is_dropped_does_not_depend_on_pruned_pairs() {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(31);
        let places = Places::anywhere();
        let meeting = (&places, &Ranks::ByRow);
        let (mut n_open, mut n_proven) = (0, 0);
        for _ in 0..300 {
            let n_rows = random.random_range(2..30u64);
            let density = random.random_range(0.02..0.5);
            let (mut edges, mut grey, mut proven) = (Vec::new(), Vec::new(), Vec::new());
            for later in 0..n_rows {
                for earlier in 0..later {
                    if !random.random_bool(density) {
                        continue;
                    }
                    let similarity = Similarity::new(random.random_range(0.8..1.0));
                    let edge = Edge { later, earlier, similarity, method: Method::Estimated, n_shared_bands: 1 };
                    if random.random_bool(0.5) {
                        edges.push(edge);
                        continue;
                    }
                    grey.push(GreyPair::new(later, earlier, 1));
                    if random.random_bool(0.5) {
                        proven.push(Edge { method: Method::Exact, ..edge });
                    }
                }
            }
            let expect = stars(edges.iter().chain(&proven).copied(), &context);

            let twice = edges.iter().chain(&edges).copied();
            let pruned =
                prune(sorter(twice, &context), sorter(grey.clone(), &context), Linkage::Star, meeting, &context)
                    .unwrap();
            let left: Vec<GreyPair> = pruned.open.pairs.finish(&context).unwrap().map(Result::unwrap).collect();
            (n_open, n_proven) = (n_open + grey.len(), n_proven + left.len());
            let is_left =
                |edge: &&Edge| left.iter().any(|pair| (pair.later, pair.earlier()) == (edge.later, edge.earlier));
            let edges_left = pruned.edges.finish(&context).unwrap().map(Result::unwrap);
            let found = stars(edges_left.chain(proven.iter().filter(is_left).copied()), &context);
            assert!(found.keys().eq(expect.keys()));
            assert!(found.values().all(|kept| !found.contains_key(kept)));
        }
        assert!(n_proven * 3 < n_open * 2, "{n_proven} of {n_open} open pairs are left: pruning does little");
    }
}
