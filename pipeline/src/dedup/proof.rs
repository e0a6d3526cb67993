//! The second pass: exact similarity of the pairs that sketches left open.

use arrow::array::{RecordBatch, UInt64Array};
use rayon::prelude::*;
use tamis_schemas::columns::ROW;

use super::columns::{SHINGLES, column};
use super::edge::{Edge, GreyPair, Grouped, Method, Similarity};
use super::near_duplicates::{Closing, lists};
use super::shingle::jaccard;
use super::tape::{SetTable, SetTableWriter};
use crate::context::Context;
use crate::spill::{ExternalSorter, Sorted};
use crate::stage::{BarrierStage, Next};
use crate::{Error, Result, RowSet};

const STAGE: &str = "near-duplicates: proof";
/// Pairs compared before the edges among them are handed on.
const WAVE_PAIRS: usize = 1 << 14;

/// Barrier stage: observes the shingle sets of the rows in open pairs, and compares them exactly.
#[derive(Debug)]
pub(super) struct Proof {
    closing: Closing,
    grey: Sorted<GreyPair>,
    sets: SetTableWriter,
    n_missing_rows: u64,
}

impl Proof {
    /// The barrier, and the rows that it must see.
    pub(super) fn new(closing: Closing, grey: ExternalSorter<GreyPair>, context: &Context) -> Result<(Self, RowSet)> {
        let mut rows = RowSet::new();
        let mut pairs = ExternalSorter::new(STAGE, &context.budget);
        for pair in grey.finish(context)? {
            let pair = pair?;
            rows.insert(closing.ranks.row(pair.later)?);
            rows.insert(closing.ranks.row(pair.earlier)?);
            pairs.push(pair, context)?;
        }
        let grey = pairs.finish(context)?;
        let sets = SetTableWriter::new(STAGE, context);
        Ok((Self { closing, grey, sets, n_missing_rows: rows.len() }, rows))
    }
}

impl BarrierStage for Proof {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        let rows: &UInt64Array = column(batch, ROW)?;
        for (row, set) in lists(batch, SHINGLES, rows)? {
            self.sets.push(row, set, context)?;
            self.n_missing_rows = self.n_missing_rows.saturating_sub(1);
        }
        Ok(())
    }

    fn end_of_pass(self: Box<Self>, context: &Context) -> Result<Next> {
        let Self { mut closing, grey, sets, n_missing_rows } = *self;
        if n_missing_rows > 0 {
            let message = format!("{n_missing_rows} rows were not there when the input was read again");
            return Err(Error::Invariant(message));
        }
        let sets = sets.finish(context)?;
        let mut grey = Grouped::new(grey)?;
        loop {
            context.cancel.check()?;
            let mut wave = Vec::with_capacity(WAVE_PAIRS);
            while wave.len() < WAVE_PAIRS {
                let Some(pair) = grey.next()? else { break };
                wave.push(pair);
            }
            if wave.is_empty() {
                break;
            }
            for edge in prove(&wave, &sets, &closing, context)? {
                closing.edges.push(edge, context)?;
            }
        }
        std::mem::drop(sets);
        closing.close(context)
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
    let mut edges = Vec::new();
    for &GreyPair { later, earlier, n_shared_bands } in pairs {
        let similarity = jaccard(&set, &sets.get(closing.ranks.row(earlier)?)?);
        if similarity >= closing.settings.threshold {
            let similarity = Similarity::new(similarity);
            edges.push(Edge { later, earlier, similarity, method: Method::Exact, n_shared_bands });
        }
    }
    Ok(edges)
}
