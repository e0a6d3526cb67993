//! The second pass: exact similarity of the pairs that sketches left open.

use std::cmp::Reverse;

use arrow::array::{RecordBatch, UInt64Array};
use rayon::prelude::*;
use tamis_schemas::columns::ROW;

use super::columns::{SHINGLES, column};
use super::edge::{Edge, GreyPair, Grouped, Method, Similarity};
use super::near_duplicates::{Closing, lists};
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
    grey: Sorted<GreyPair>,
    sets: SetTableWriter,
    earlier_rows: RowSet,
    n_missing_rows: u64,
}

impl Proof {
    /// The barrier, and the rows that it must see.
    ///
    /// Rows of earlier runs are not among these: the index knows them.
    pub(super) fn new(closing: Closing, grey: ExternalSorter<GreyPair>, context: &Context) -> Result<(Self, RowSet)> {
        let (mut rows, mut earlier_rows) = (RowSet::new(), RowSet::new());
        let mut pairs = ExternalSorter::new(STAGE, &context.budget);
        for pair in grey.finish(context)? {
            let pair = pair?;
            for row in [closing.ranks.row(pair.later)?, closing.ranks.row(pair.earlier)?] {
                let is_earlier = closing.earlier.as_ref().is_some_and(|earlier| earlier.is_earlier(row));
                if is_earlier {
                    earlier_rows.insert(row)
                } else {
                    rows.insert(row)
                };
            }
            pairs.push(pair, context)?;
        }
        let grey = pairs.finish(context)?;
        let sets = SetTableWriter::new(STAGE, context);
        let n_missing_rows = rows.len() + earlier_rows.len();
        Ok((Self { closing, grey, sets, earlier_rows, n_missing_rows }, rows))
    }
}

impl BarrierStage for Proof {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        self.n_missing_rows = self.n_missing_rows.saturating_sub(batch.num_rows() as u64);
        push_sets(&mut self.sets, batch, context)
    }

    fn end_of_pass(self: Box<Self>, context: &Context) -> Result<Next> {
        let Self { mut closing, grey, mut sets, earlier_rows, mut n_missing_rows } = *self;
        if let Some(earlier) = &closing.earlier {
            earlier.sets(&earlier_rows, context, |batch| {
                n_missing_rows = n_missing_rows.saturating_sub(batch.num_rows() as u64);
                push_sets(&mut sets, &batch, context)
            })?;
        }
        if n_missing_rows > 0 {
            let message = format!("{n_missing_rows} rows were not there when the input was read again");
            return Err(Error::Invariant(message));
        }
        let sets = sets.finish(context)?;
        closing.edges = match closing.settings.linkage {
            Linkage::Star => prove_for_star(grey, &sets, &mut closing, context)?,
            Linkage::Connected => prove_all(grey, &sets, closing.take_edges(context), &closing, context)?,
        };
        std::mem::drop(sets);
        closing.close(context)
    }
}

fn push_sets(sets: &mut SetTableWriter, batch: &RecordBatch, context: &Context) -> Result<()> {
    let rows: &UInt64Array = column(batch, ROW)?;
    lists(batch, SHINGLES, rows)?.try_for_each(|(row, set)| sets.push(row, set, context))
}

/// Compares open pairs in keep order, until a row is known to be dropped.
///
/// A row with a clear edge to a kept row needs no proof. Any other row's open pairs with kept rows are compared, those that
/// share the most bands first, up to the first that reaches the threshold: so a row that is dropped costs about one
/// comparison, whatever the size of its cluster.
fn prove_for_star(
    grey: Sorted<GreyPair>,
    sets: &SetTable,
    closing: &mut Closing,
    context: &Context,
) -> Result<ExternalSorter<Edge>> {
    let mut proven = ExternalSorter::new(STAGE, &context.budget);
    let mut edges = Grouped::new(closing.take_edges(context).finish(context)?)?;
    let mut grey = Grouped::new(grey)?;
    let mut dropped = RowSet::new();
    let mut open: Vec<GreyPair> = Vec::new();
    loop {
        let heads = [edges.peek().map(|edge| edge.later), grey.peek().map(|pair| pair.later)];
        let Some(row) = heads.into_iter().flatten().min() else { return Ok(proven) };
        context.cancel.check()?;
        let mut is_dropped = false;
        while let Some(edge) = edges.next_if(|edge| edge.later == row)? {
            if !dropped.contains(edge.earlier) {
                is_dropped = true;
                proven.push(edge, context)?;
            }
        }
        open.clear();
        while let Some(pair) = grey.next_if(|pair| pair.later == row)? {
            if !is_dropped && !dropped.contains(pair.earlier) {
                open.push(pair);
            }
        }
        if !open.is_empty() {
            open.sort_by_key(|pair| (Reverse(pair.n_shared_bands), pair.earlier));
            if let Some(edge) = first_edge(&open, sets, closing, context)? {
                is_dropped = true;
                proven.push(edge, context)?;
            }
        }
        if is_dropped {
            dropped.insert(row);
        }
    }
}

/// The first of a row's open pairs that reaches the threshold.
fn first_edge(pairs: &[GreyPair], sets: &SetTable, closing: &Closing, context: &Context) -> Result<Option<Edge>> {
    let set = sets.get(closing.ranks.row(pairs[0].later)?)?;
    let prove = |pair: &GreyPair| prove_pair(pair, &set, sets, closing).transpose();
    let (first, others) = pairs.split_at(pairs.len().min(PAIRS_ALONE));
    if let Some(edge) = first.iter().find_map(prove) {
        return edge.map(Some);
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
        for edge in prove(&wave, sets, closing, context)? {
            edges.push(edge, context)?;
        }
    }
}

/// The edges among open pairs, which come sorted by their later row.
fn prove(pairs: &[GreyPair], sets: &SetTable, closing: &Closing, context: &Context) -> Result<Vec<Edge>> {
    let groups: Vec<&[GreyPair]> = pairs.chunk_by(|left, right| left.later == right.later).collect();
    let edges: Result<Vec<Vec<Edge>>> =
        context.pool.install(|| groups.par_iter().map(|group| prove_row(group, sets, closing)).collect());
    Ok(edges?.into_iter().flatten().collect())
}

/// The edges among open pairs of one later row.
fn prove_row(pairs: &[GreyPair], sets: &SetTable, closing: &Closing) -> Result<Vec<Edge>> {
    let Some(first) = pairs.first() else { return Ok(Vec::new()) };
    let set = sets.get(closing.ranks.row(first.later)?)?;
    pairs.iter().filter_map(|pair| prove_pair(pair, &set, sets, closing).transpose()).collect()
}

/// The edge of an open pair, if it is one; `set` is that of its later row.
fn prove_pair(pair: &GreyPair, set: &[u64], sets: &SetTable, closing: &Closing) -> Result<Option<Edge>> {
    let &GreyPair { later, earlier, n_shared_bands } = pair;
    let other = sets.get(closing.ranks.row(earlier)?)?;
    Ok(jaccard_reaching(set, &other, closing.settings.threshold).map(|similarity| Edge {
        later,
        earlier,
        similarity: Similarity::new(similarity),
        method: Method::Exact,
        n_shared_bands,
    }))
}
