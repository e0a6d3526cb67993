//! The second pass: exact similarity of the pairs that sketches left open.

use std::cmp::Reverse;

use arrow::array::{RecordBatch, UInt64Array};
use rayon::prelude::*;
use tamis_schemas::columns::ROW;

use super::columns::{SHINGLES, column};
use super::edge::{Edge, GreyPair, Grouped, Method, Similarity};
use super::near_duplicates::{Closing, lists};
use super::prune::OpenPairs;
use super::settings::Linkage;
use super::shingle::jaccard_reaching;
use super::tape::{SetTable, SetTableWriter};
use crate::context::Context;
use crate::spill::{ExternalSorter, Sorted};
use crate::stage::{BarrierStage, Next};
use crate::{Error, Result, RowSet};

const STAGE: &str = "near-duplicates: proof";
/// Pairs compared before the edges among them are handed on.
const WAVE_PAIRS: usize = 1 << 14;
/// Pairs of a row compared on one thread before the others are asked to help.
const PAIRS_ALONE: usize = 32;

/// Barrier stage: observes the shingle sets of the rows in open pairs, and compares them exactly.
#[derive(Debug)]
pub(super) struct Proof {
    closing: Closing,
    order: Order,
    sets: SetTableWriter,
    n_missing_rows: u64,
}

/// When pairs are compared.
#[derive(Debug)]
enum Order {
    /// As the rows come in, which is the keep order: of a row that is dropped, the set is not kept.
    AsRead {
        walk: StarWalk,
        /// Rows that later ones may be compared with.
        earlier: RowSet,
    },
    /// In keep order, once all sets are there.
    AtEnd(StarWalk),
    /// All of them, once all sets are there.
    All(Sorted<GreyPair>),
}

impl Proof {
    /// The barrier, and the rows that it must see.
    pub(super) fn new(mut closing: Closing, open: OpenPairs, context: &Context) -> Result<(Self, RowSet)> {
        let mut rows = RowSet::new();
        for rank in open.later.iter().chain(open.earlier.iter()) {
            rows.insert(closing.ranks.row(rank)?);
        }
        let grey = open.pairs.finish(context)?;
        let order = match closing.settings.linkage {
            Linkage::Connected => Order::All(grey),
            Linkage::Star => {
                let walk = StarWalk::new(closing.take_edges(context), grey, closing.settings.threshold, context)?;
                if closing.ranks.are_rows() {
                    Order::AsRead { walk, earlier: open.earlier }
                } else {
                    Order::AtEnd(walk)
                }
            }
        };
        let sets = SetTableWriter::new(STAGE, context);
        Ok((Self { closing, order, sets, n_missing_rows: rows.len() }, rows))
    }
}

impl BarrierStage for Proof {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        let rows: &UInt64Array = column(batch, ROW)?;
        for (row, set) in lists(batch, SHINGLES, rows)? {
            self.n_missing_rows = self.n_missing_rows.saturating_sub(1);
            if let Order::AsRead { walk, earlier } = &mut self.order {
                self.sets.flush(context)?;
                let sets = &self.sets;
                let set_at = |rank| sets.get(rank, context);
                walk.walk_to(row, set_at, context)?;
                let is_dropped = walk.decide(row, |_| Ok(set.to_vec()), set_at, context)?;
                if is_dropped || !earlier.contains(row) {
                    continue;
                }
            }
            self.sets.push(row, set, context)?;
        }
        Ok(())
    }

    fn end_of_pass(self: Box<Self>, context: &Context) -> Result<Next> {
        let Self { mut closing, order, sets, n_missing_rows } = *self;
        if n_missing_rows > 0 {
            let message = format!("{n_missing_rows} rows were not there when the input was read again");
            return Err(Error::Invariant(message));
        }
        let sets = sets.finish(context)?;
        closing.edges = match order {
            Order::AsRead { mut walk, .. } | Order::AtEnd(mut walk) => {
                walk.walk_to(u64::MAX, |rank| sets.get(closing.ranks.row(rank)?), context)?;
                walk.proven
            }
            Order::All(grey) => prove_all(grey, &sets, closing.take_edges(context), &closing, context)?,
        };
        std::mem::drop(sets);
        closing.close(context)
    }
}

/// Compares open pairs in keep order, until a row is known to be dropped.
///
/// A row with a clear edge to a kept row needs no proof. Any other row's open pairs with kept rows are compared, those that
/// share the most bands first, up to the first that reaches the threshold: so a row that is dropped costs about one
/// comparison, whatever the size of its cluster.
#[derive(Debug)]
struct StarWalk {
    edges: Grouped<Edge>,
    grey: Grouped<GreyPair>,
    threshold: f64,
    dropped: RowSet,
    proven: ExternalSorter<Edge>,
}

impl StarWalk {
    fn new(edges: ExternalSorter<Edge>, grey: Sorted<GreyPair>, threshold: f64, context: &Context) -> Result<Self> {
        Ok(Self {
            edges: Grouped::new(edges.finish(context)?)?,
            grey: Grouped::new(grey)?,
            threshold,
            dropped: RowSet::new(),
            proven: ExternalSorter::new(STAGE, &context.budget),
        })
    }

    /// Decides about all rows below `end` that have pairs.
    fn walk_to(&mut self, end: u64, set_at: impl Fn(u64) -> Result<Vec<u64>> + Sync, context: &Context) -> Result<()> {
        loop {
            let heads = [self.edges.peek().map(|edge| edge.later), self.grey.peek().map(|pair| pair.later)];
            let Some(rank) = heads.into_iter().flatten().min().filter(|&rank| rank < end) else { return Ok(()) };
            self.decide(rank, &set_at, &set_at, context)?;
        }
    }

    /// Whether the row is dropped. All rows before it must be decided.
    fn decide(
        &mut self,
        rank: u64,
        own_set: impl FnOnce(u64) -> Result<Vec<u64>>,
        set_at: impl Fn(u64) -> Result<Vec<u64>> + Sync,
        context: &Context,
    ) -> Result<bool> {
        context.cancel.check()?;
        let mut is_dropped = false;
        while let Some(edge) = self.edges.next_if(|edge| edge.later == rank)? {
            if !self.dropped.contains(edge.earlier) {
                is_dropped = true;
                self.proven.push(edge, context)?;
            }
        }
        let mut open: Vec<GreyPair> = Vec::new();
        while let Some(pair) = self.grey.next_if(|pair| pair.later == rank)? {
            if !is_dropped && !self.dropped.contains(pair.earlier()) {
                open.push(pair);
            }
        }
        if !open.is_empty() {
            open.sort_by_key(|pair| (Reverse(pair.n_shared_bands()), pair.earlier()));
            if let Some(edge) = first_edge(&open, &own_set(rank)?, set_at, self.threshold, context)? {
                is_dropped = true;
                self.proven.push(edge, context)?;
            }
        }
        if is_dropped {
            self.dropped.insert(rank);
        }
        Ok(is_dropped)
    }
}

/// The first of a row's open pairs that reaches the threshold.
fn first_edge(
    pairs: &[GreyPair],
    set: &[u64],
    set_at: impl Fn(u64) -> Result<Vec<u64>> + Sync,
    threshold: f64,
    context: &Context,
) -> Result<Option<Edge>> {
    let prove = |pair: &GreyPair| prove_pair(*pair, set, &set_at, threshold).transpose();
    let (first, others) = pairs.split_at(pairs.len().min(PAIRS_ALONE));
    if let Some(edge) = first.iter().find_map(prove) {
        return edge.map(Some);
    }
    if others.is_empty() {
        return Ok(None);
    }
    // Many misses mean many more comparisons, most likely: they are worth all threads.
    context.pool.install(|| others.par_iter().find_map_first(prove)).transpose()
}

/// Compares every open pair.
fn prove_all(
    grey: Sorted<GreyPair>,
    sets: &SetTable,
    mut edges: ExternalSorter<Edge>,
    closing: &Closing,
    context: &Context,
) -> Result<ExternalSorter<Edge>> {
    let mut grey = Grouped::new(grey)?;
    let set_at = |rank| sets.get(closing.ranks.row(rank)?);
    loop {
        context.cancel.check()?;
        let mut wave = Vec::with_capacity(WAVE_PAIRS);
        while wave.len() < WAVE_PAIRS {
            let Some(pair) = grey.next()? else { break };
            wave.push(pair);
        }
        if wave.is_empty() {
            return Ok(edges);
        }
        let rows: Vec<&[GreyPair]> = wave.chunk_by(|left, right| left.later == right.later).collect();
        let prove_row = |pairs: &&[GreyPair]| -> Result<Vec<Edge>> {
            let set = set_at(pairs[0].later)?;
            let threshold = closing.settings.threshold;
            pairs.iter().filter_map(|pair| prove_pair(*pair, &set, set_at, threshold).transpose()).collect()
        };
        let found: Result<Vec<Vec<Edge>>> = context.pool.install(|| rows.par_iter().map(prove_row).collect());
        for edge in found?.into_iter().flatten() {
            edges.push(edge, context)?;
        }
    }
}

/// The edge of an open pair, if it is one; `set` is that of its later row.
fn prove_pair(
    pair: GreyPair,
    set: &[u64],
    set_at: impl Fn(u64) -> Result<Vec<u64>>,
    threshold: f64,
) -> Result<Option<Edge>> {
    let other = set_at(pair.earlier())?;
    Ok(jaccard_reaching(set, &other, threshold).map(|similarity| Edge {
        later: pair.later,
        earlier: pair.earlier(),
        similarity: Similarity::new(similarity),
        method: Method::Exact,
        n_shared_bands: pair.n_shared_bands(),
    }))
}
