//! Which open pairs can still matter.

use super::edge::{Edge, GreyPair, Grouped};
use super::settings::Linkage;
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Result, RowSet};

const STAGE: &str = "near-duplicates: open pairs";

/// Pairs that the answer depends on, each once.
#[derive(Debug)]
pub(super) struct Pruned {
    pub(super) edges: ExternalSorter<Edge>,
    pub(super) grey: ExternalSorter<GreyPair>,
}

/// Leaves out what the answer does not depend on, whatever the open pairs turn out to be.
///
/// Under star linkage a row with an edge to a row that surely stays is surely dropped: its open pairs need no proof, nor do
/// pairs with it of rows that come later. A row without a pair to any row that may stay surely stays itself.
pub(super) fn prune(
    edges: ExternalSorter<Edge>,
    grey: ExternalSorter<GreyPair>,
    linkage: Linkage,
    context: &Context,
) -> Result<Pruned> {
    let mut edges = Grouped::new(edges.finish(context)?)?;
    let mut grey = Grouped::new(grey.finish(context)?)?;
    let mut pruned = Pruned {
        edges: ExternalSorter::new(STAGE, &context.budget),
        grey: ExternalSorter::new(STAGE, &context.budget),
    };
    let mut dropped = RowSet::new();
    let mut open = RowSet::new();
    let mut edges_of_row: Vec<Edge> = Vec::new();
    let mut grey_of_row: Vec<GreyPair> = Vec::new();
    loop {
        let heads = [edges.peek().map(|edge| edge.later), grey.peek().map(|pair| pair.later)];
        let Some(row) = heads.into_iter().flatten().min() else { break };
        context.cancel.check()?;
        edges_of_row.clear();
        while let Some(edge) = edges.next_if(|edge| edge.later == row)? {
            edges_of_row.push(edge);
        }
        grey_of_row.clear();
        while let Some(pair) = grey.next_if(|pair| pair.later == row)? {
            grey_of_row.push(pair);
        }
        edges_of_row.dedup();
        grey_of_row.dedup();
        if linkage == Linkage::Star {
            edges_of_row.retain(|edge| !dropped.contains(edge.earlier));
            grey_of_row.retain(|pair| !dropped.contains(pair.earlier));
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
        for &pair in &grey_of_row {
            pruned.grey.push(pair, context)?;
        }
    }
    Ok(pruned)
}
