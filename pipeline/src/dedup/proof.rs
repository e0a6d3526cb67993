//! The last pass: exact similarity of the pairs that sketches or samples left open.

use std::borrow::Cow;
use std::cmp::Reverse;

use arrow::array::{RecordBatch, UInt64Array};
use rayon::prelude::*;
use tamis_schemas::columns::ROW;

use super::columns::{SHINGLES, column};
use super::containment::{PartedSets, PartedSetsWriter};
use super::edge::{Edge, GreyPair, Grouped, Method, Similarity};
use super::lists::lists;
use super::measure::Measure;
use super::near_duplicates::Closing;
use super::prune::OpenPairs;
use super::settings::{Linkage, Settings};
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
    earlier_runs: RowSet,
    n_missing_rows: u64,
}

/// When pairs are compared.
#[derive(Debug)]
enum Order {
    /// As the rows come in, which is the keep order: of a row that is dropped, the set is not kept. Only by Jaccard similarity
    /// can that be.
    AsRead {
        walk: StarWalk,
        /// Rows that later ones may be compared with.
        earlier: RowSet,
        sets: SetTableWriter,
    },
    /// In keep order, once all sets are there.
    AtEnd { walk: StarWalk, sets: SetsWriter },
    /// All of them, once all sets are there.
    All { grey: Sorted<GreyPair>, sets: SetsWriter },
}

/// The sets that pairs are compared by, in the making.
#[derive(Debug)]
enum SetsWriter {
    Jaccard(SetTableWriter),
    Containment(PartedSetsWriter),
}

/// The sets that pairs are compared by.
#[derive(Debug)]
enum Sets {
    Jaccard(SetTable),
    Containment(PartedSets),
}

impl SetsWriter {
    fn new(measure: Measure, context: &Context) -> Self {
        match measure {
            Measure::Jaccard => Self::Jaccard(SetTableWriter::new(STAGE, context)),
            Measure::Containment => Self::Containment(PartedSetsWriter::new(STAGE, context)),
        }
    }

    fn push(&mut self, row: u64, set: &[u64], context: &Context) -> Result<()> {
        match self {
            Self::Jaccard(sets) => sets.push(row, set, context),
            Self::Containment(sets) => sets.push(row, set, context),
        }
    }

    fn finish(self, context: &Context) -> Result<Sets> {
        Ok(match self {
            Self::Jaccard(sets) => Sets::Jaccard(sets.finish(context)?),
            Self::Containment(sets) => Sets::Containment(sets.finish(context)?),
        })
    }
}

impl Sets {
    fn get(&self, row: u64) -> Result<Vec<u64>> {
        match self {
            Self::Jaccard(sets) => sets.get(row),
            Self::Containment(sets) => sets.get(row),
        }
    }

    /// The similarity of `set` and the set of an earlier row, if it reaches the threshold.
    fn similarity_reaching(&self, set: &[u64], earlier: u64, threshold: f64) -> Result<Option<f64>> {
        match self {
            Self::Jaccard(sets) => Ok(jaccard_reaching(set, &sets.get(earlier)?, threshold)),
            Self::Containment(sets) => sets.containment_reaching(set, earlier, threshold),
        }
    }
}

impl Proof {
    /// The barrier, and the rows that it must see. Rows of earlier runs are not among these: the index knows them.
    pub(super) fn new(mut closing: Closing, open: OpenPairs, context: &Context) -> Result<(Self, RowSet)> {
        let (mut rows, mut earlier_runs) = (RowSet::new(), RowSet::new());
        for rank in open.later.iter().chain(open.earlier.iter()) {
            let row = closing.ranks.row(rank)?;
            let of_earlier = closing.earlier.as_ref().filter(|earlier| earlier.has_sets());
            let is_earlier = of_earlier.is_some_and(|earlier| earlier.rows().contains(row));
            if is_earlier { &mut earlier_runs } else { &mut rows }.insert(row);
        }
        let n_missing_rows = rows.len() + earlier_runs.len();
        let grey = open.pairs.finish(context)?;
        let measure = closing.settings.measure;
        let sets = SetsWriter::new(measure, context);
        let order = match (closing.settings.linkage, sets) {
            (Linkage::Connected, sets) => Order::All { grey, sets },
            (Linkage::Star, sets) => {
                let walk = StarWalk::new(closing.take_edges(context), grey, measure, context)?;
                match sets {
                    SetsWriter::Jaccard(sets) if closing.ranks.are_rows() => {
                        Order::AsRead { walk, earlier: open.earlier, sets }
                    }
                    sets => Order::AtEnd { walk, sets },
                }
            }
        };
        Ok((Self { closing, order, earlier_runs, n_missing_rows }, rows))
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
            match &mut self.order {
                Order::AsRead { walk, earlier, sets } => {
                    sets.flush(context)?;
                    let set_at = |rank| sets.view(rank, context);
                    let threshold = self.closing.settings.threshold;
                    let compare = |set: &[u64], rank| Ok(jaccard_reaching(set, &set_at(rank)?, threshold));
                    walk.walk_to(row, set_at, compare, context)?;
                    let is_dropped = walk.decide(row, |_| Ok(Cow::Borrowed(set)), compare, context)?;
                    if !is_dropped && earlier.contains(row) {
                        sets.push(row, set, context)?;
                    }
                }
                Order::AtEnd { sets, .. } | Order::All { sets, .. } => sets.push(row, set, context)?,
            }
        }
        Ok(())
    }

    fn end_of_pass(self: Box<Self>, context: &Context) -> Result<Next> {
        let Self { mut closing, mut order, earlier_runs, mut n_missing_rows } = *self;
        if let (Some(earlier), Order::AtEnd { sets, .. } | Order::All { sets, .. }) = (&closing.earlier, &mut order) {
            earlier.sets(&earlier_runs, context, |batch| {
                let rows: &UInt64Array = column(&batch, ROW)?;
                n_missing_rows = n_missing_rows.saturating_sub(rows.len() as u64);
                lists(&batch, SHINGLES, rows)?.try_for_each(|(row, set)| sets.push(row, set, context))
            })?;
        }
        if n_missing_rows > 0 {
            let message = format!("{n_missing_rows} rows were not there when the input was read again");
            return Err(Error::Invariant(message));
        }
        let (walk, sets) = match order {
            Order::AsRead { walk, sets, .. } => (walk, SetsWriter::Jaccard(sets)),
            Order::AtEnd { walk, sets } => (walk, sets),
            Order::All { grey, sets } => {
                let sets = sets.finish(context)?;
                closing.edges = prove_all(grey, &sets, closing.take_edges(context), &closing, context)?;
                std::mem::drop(sets);
                return closing.close(context);
            }
        };
        closing.edges = walk.walk_to_end(&sets.finish(context)?, &closing, context)?;
        closing.close(context)
    }
}

/// Compares open pairs in keep order, until a row is known to be dropped.
///
/// A row with a clear edge to a kept row needs no proof. Any other row's open pairs with kept rows are compared, those that
/// share the most bands or sampled shingles first, up to the first that reaches the threshold: so a row that is dropped costs about one
/// comparison, whatever the size of its cluster.
#[derive(Debug)]
struct StarWalk {
    edges: Grouped<Edge>,
    grey: Grouped<GreyPair>,
    measure: Measure,
    dropped: RowSet,
    proven: ExternalSorter<Edge>,
}

impl StarWalk {
    fn new(edges: ExternalSorter<Edge>, grey: Sorted<GreyPair>, measure: Measure, context: &Context) -> Result<Self> {
        Ok(Self {
            edges: Grouped::new(edges.finish(context)?)?,
            grey: Grouped::new(grey)?,
            measure,
            dropped: RowSet::new(),
            proven: ExternalSorter::new(STAGE, &context.budget),
        })
    }

    /// Decides about all rows below `end` that have pairs.
    fn walk_to<'s>(
        &mut self,
        end: u64,
        own_set: impl Fn(u64) -> Result<Cow<'s, [u64]>>,
        compare: impl Fn(&[u64], u64) -> Result<Option<f64>> + Sync,
        context: &Context,
    ) -> Result<()> {
        loop {
            let heads = [self.edges.peek().map(|edge| edge.later), self.grey.peek().map(|pair| pair.later)];
            let Some(rank) = heads.into_iter().flatten().min().filter(|&rank| rank < end) else { return Ok(()) };
            self.decide(rank, &own_set, &compare, context)?;
        }
    }

    /// Decides about all rows that are left, and gives the edges.
    fn walk_to_end(mut self, sets: &Sets, closing: &Closing, context: &Context) -> Result<ExternalSorter<Edge>> {
        let row = |rank| closing.ranks.row(rank);
        let compare = |set: &[u64], rank| sets.similarity_reaching(set, row(rank)?, closing.settings.threshold);
        self.walk_to(u64::MAX, |rank| Ok(sets.get(row(rank)?)?.into()), compare, context)?;
        Ok(self.proven)
    }

    /// Whether the row is dropped; `compare` gives the similarity of its set and an earlier row if it is an edge. All rows before it must be decided.
    fn decide<'s>(
        &mut self,
        rank: u64,
        own_set: impl FnOnce(u64) -> Result<Cow<'s, [u64]>>,
        compare: impl Fn(&[u64], u64) -> Result<Option<f64>> + Sync,
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
            if let Some(edge) = first_edge(&open, &own_set(rank)?, compare, self.measure, context)? {
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
    compare: impl Fn(&[u64], u64) -> Result<Option<f64>> + Sync,
    measure: Measure,
    context: &Context,
) -> Result<Option<Edge>> {
    let prove = |pair: &GreyPair| prove_pair(*pair, set, &compare, measure).transpose();
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
    sets: &Sets,
    mut edges: ExternalSorter<Edge>,
    closing: &Closing,
    context: &Context,
) -> Result<ExternalSorter<Edge>> {
    let mut grey = Grouped::new(grey)?;
    let Settings { measure, threshold, .. } = closing.settings;
    let compare = |set: &[u64], rank| sets.similarity_reaching(set, closing.ranks.row(rank)?, threshold);
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
            let set = sets.get(closing.ranks.row(pairs[0].later)?)?;
            pairs.iter().filter_map(|pair| prove_pair(*pair, &set, compare, measure).transpose()).collect()
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
    compare: impl Fn(&[u64], u64) -> Result<Option<f64>>,
    measure: Measure,
) -> Result<Option<Edge>> {
    Ok(compare(set, pair.earlier())?.map(|similarity| Edge {
        later: pair.later,
        earlier: pair.earlier(),
        similarity: Similarity::new(similarity),
        method: Method::Exact,
        n_shared_bands: if measure == Measure::Jaccard { pair.n_shared_bands() } else { 0 },
    }))
}
