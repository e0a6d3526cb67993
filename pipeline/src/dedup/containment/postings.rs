//! Which rows have each sampled shingle.

use std::ops::Range;

use super::super::edge::Grouped;
use super::super::tape::{SetTable, SetTableWriter};
use crate::Result;
use crate::context::Context;
use crate::spill::{ExternalSorter, Sorted};

/// Rows of a block: what is read of a long list at once.
pub(super) const BLOCK_ROWS: u64 = 256;

/// A row that has a shingle: the shingle, twice the rank of the row, plus one if the shingle is in its sample.
pub(super) type Occurrence = (u64, u64);

/// What a row has to look up: its rank, number of larger rows that have one of its sampled shingles, first block of their
/// list. A sampled shingle that no larger row has needs no look.
pub(super) type Lookup = (u64, u64, u64);

/// The occurrence of a shingle.
pub(super) fn occurrence(shingle: u64, rank: u64, is_sampled: bool) -> Occurrence {
    (shingle, rank << 1 | u64::from(is_sampled))
}

/// The rows that have each sampled shingle, in rank order, in blocks.
#[derive(Debug)]
pub(super) struct Postings {
    blocks: SetTable,
}

/// Part of the list of a shingle.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// First block of the list.
    pub(super) first_block: u64,
    /// Positions in the list.
    pub(super) positions: Range<u64>,
}

impl Postings {
    /// The lists of all shingles, and what is to be looked up in them by row.
    pub(super) fn new(
        stage: &'static str,
        occurrences: ExternalSorter<Occurrence>,
        context: &Context,
    ) -> Result<(Self, Sorted<Lookup>)> {
        let mut lookups = ExternalSorter::new(stage, &context.budget);
        let mut blocks = SetTableWriter::new(stage, context);
        let mut n_blocks = 0;
        let mut block = Vec::with_capacity(BLOCK_ROWS as usize);
        let mut occurrences = Grouped::new(occurrences.finish(context)?)?;
        while let Some(&(shingle, _)) = occurrences.peek() {
            context.cancel.check()?;
            let first_block = n_blocks;
            let mut n_rows = 0;
            let mut is_looked_up = false;
            while let Some((_, entry)) = occurrences.next_if(|(next, _)| *next == shingle)? {
                let (rank, is_sampled) = (entry >> 1, entry & 1 == 1);
                if is_sampled && n_rows > 0 {
                    lookups.push((rank, n_rows, first_block), context)?;
                    is_looked_up = true;
                }
                if block.len() as u64 == BLOCK_ROWS {
                    blocks.push(n_blocks, &block, context)?;
                    n_blocks += 1;
                    block.clear();
                }
                block.push(rank);
                n_rows += 1;
            }
            if is_looked_up {
                blocks.push(n_blocks, &block, context)?;
                n_blocks += 1;
            }
            block.clear();
        }
        Ok((Self { blocks: blocks.finish(context)? }, lookups.finish(context)?))
    }

    /// Calls `visit` on the ranks of a span in order, until it says no; the position of the first rank not visited.
    pub(super) fn visit(&self, span: &Span, mut visit: impl FnMut(u64) -> bool) -> Result<u64> {
        let Range { start, end } = span.positions;
        let mut position = start;
        while position < end {
            let block = self.blocks.get(span.first_block + position / BLOCK_ROWS)?;
            let n_here = (BLOCK_ROWS - position % BLOCK_ROWS).min(end - position);
            let from = (position % BLOCK_ROWS) as usize;
            for &rank in block.iter().skip(from).take(n_here as usize) {
                if !visit(rank) {
                    return Ok(position);
                }
                position += 1;
            }
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::context::{Cancel, Resources};

    #[test]
    fn every_row_finds_the_larger_rows_with_its_samples() {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(63);
        let mut occurrences = ExternalSorter::new("test", &context.budget);
        let mut lists: BTreeMap<u64, Vec<(u64, bool)>> = BTreeMap::new();
        for shingle in 0..300 {
            let n_rows = [1, 2, 30, 256, 257, 1000][random.random_range(0..6)];
            let is_sampled = random.random_bool(0.7);
            let list = (0..n_rows).map(|row| (3 * row, is_sampled && random.random_bool(0.3))).collect();
            lists.insert(shingle, list);
        }
        for (&shingle, list) in lists.iter().rev() {
            for &(rank, is_sampled) in list.iter().rev() {
                occurrences.push(occurrence(shingle, rank, is_sampled), &context).unwrap();
            }
        }
        let (postings, lookups) = Postings::new("test", occurrences, &context).unwrap();
        let mut found: Vec<(u64, Vec<u64>)> = lookups
            .map(|lookup| {
                let (rank, n_rows, first_block) = lookup.unwrap();
                let mut ranks = Vec::new();
                let span = Span { first_block, positions: 0..n_rows };
                let end = postings.visit(&span, |rank| {
                    ranks.push(rank);
                    true
                });
                assert_eq!(end.unwrap(), n_rows);
                (rank, ranks)
            })
            .collect();
        let mut expect: Vec<(u64, Vec<u64>)> = Vec::new();
        for list in lists.values() {
            for (position, &(rank, is_sampled)) in list.iter().enumerate().skip(1) {
                if is_sampled {
                    expect.push((rank, list[..position].iter().map(|&(rank, _)| rank).collect()));
                }
            }
        }
        found.sort();
        expect.sort();
        assert!(found == expect);
    }
}
