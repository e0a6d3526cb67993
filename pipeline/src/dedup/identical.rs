//! The exact rule: rows of equal normalized text collapse to the first of them before anything else is compared.

use super::edge::{Edge, Grouped, Method, Similarity};
use super::keep::Ranks;
use crate::context::Context;
use crate::spill::{ExternalSorter, Sorted};
use crate::{Result, RowSet};

/// Rows of equal text.
#[derive(Debug)]
pub(super) struct Identical {
    /// Rank of the first row of a group, and rank of another row of it.
    pub(super) members: Sorted<(u64, u64)>,
    /// Ranks of all rows that are not the first of their group.
    pub(super) collapsed: RowSet,
}

/// Groups rows by the 128-bit key of their text.
pub(super) fn group(keys: ExternalSorter<(u128, u64)>, ranks: &Ranks, context: &Context) -> Result<Identical> {
    const STAGE: &str = "near-duplicates: identical texts";
    // Groups of two rows or more only, each in keep order: number of the group, rank.
    let mut groups = ExternalSorter::new(STAGE, &context.budget);
    let mut keys = Grouped::new(keys.finish(context)?)?;
    let mut group = 0u64;
    while let Some((key, row)) = keys.next()? {
        context.cancel.check()?;
        if keys.peek().is_some_and(|(next_key, _)| *next_key == key) {
            groups.push((group, ranks.rank(row)?), context)?;
            while let Some((_, row)) = keys.next_if(|(next_key, _)| *next_key == key)? {
                groups.push((group, ranks.rank(row)?), context)?;
            }
            group += 1;
        }
    }
    let mut members = ExternalSorter::new(STAGE, &context.budget);
    let mut collapsed = RowSet::new();
    let mut groups = Grouped::new(groups.finish(context)?)?;
    while let Some((group, first)) = groups.next()? {
        context.cancel.check()?;
        while let Some((_, rank)) = groups.next_if(|(next_group, _)| *next_group == group)? {
            members.push((first, rank), context)?;
            collapsed.insert(rank);
        }
    }
    Ok(Identical { members: members.finish(context)?, collapsed })
}

/// Edges between rows of equal text that did not collapse, as their sources differ: to the first one, which no other must be
/// compared with. If that one is dropped, so are the others for the same row, or they are of that row's source.
pub(super) fn link(
    keys: ExternalSorter<(u128, u64)>,
    collapsed: &RowSet,
    ranks: &Ranks,
    edges: &mut ExternalSorter<Edge>,
    context: &Context,
) -> Result<()> {
    for member in group(keys, ranks, context)?.members {
        let (earlier, later) = member?;
        if !collapsed.contains(later) {
            let (similarity, method) = (Similarity::ONE, Method::Identical);
            edges.push(Edge { later, earlier, similarity, method, n_shared_bands: 0 }, context)?;
        }
    }
    Ok(())
}
