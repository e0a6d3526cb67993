//! From keys to buckets: the rows that share a key.

use std::collections::HashSet;

use super::edge::Grouped;
use super::keep::Ranks;
use super::tape::{Sequence, SequenceWriter};
use crate::context::Context;
use crate::spill::{ExternalSorter, Sorted};
use crate::{Result, RowSet};

const STAGE: &str = "near-duplicates: buckets";
/// Numbers of a sequence of buckets that are looked at together.
const READ_NUMBERS: usize = 1 << 15;
/// Numbers before the ranks of a bucket: its key, how many ranks there are.
const HEAD: usize = 2;

/// Buckets of two rows and more.
#[derive(Debug)]
pub(super) struct Buckets {
    /// Of those that are not hot: key, number of rows, their ranks in order; one bucket after the other.
    pub(super) cool: Sequence,
    /// Of the hot ones: (key, rank).
    pub(super) hot: Sorted<(u64, u64)>,
    /// Keys of the hot ones.
    pub(super) hot_keys: HashSet<u64>,
}

/// The lower halves of the keys of hot buckets.
#[derive(Debug)]
pub(super) struct HotTags {
    tags: HashSet<u32>,
    /// A bit for each value of the lower bits of a tag: whether one of the tags has it. Nearly all others are told by that.
    low_bits: Box<[u64; 1 << (HotTags::LOW_BITS - 6)]>,
}

impl HotTags {
    const LOW_BITS: u32 = 16;

    pub(super) fn new(hot_keys: &HashSet<u64>) -> Self {
        let tags: HashSet<u32> = hot_keys.iter().map(|&key| key as u32).collect();
        let mut low_bits = Box::new([0; 1 << (Self::LOW_BITS - 6)]);
        for &tag in &tags {
            low_bits[Self::word(tag)] |= 1 << (tag & 63);
        }
        Self { tags, low_bits }
    }

    pub(super) fn contain(&self, tag: u32) -> bool {
        self.low_bits[Self::word(tag)] >> (tag & 63) & 1 == 1 && self.tags.contains(&tag)
    }

    fn word(tag: u32) -> usize {
        (tag as usize & ((1 << Self::LOW_BITS) - 1)) >> 6
    }
}

/// Groups the rows that share a key, `collapsed` ranks aside. A bucket of more than `hot_rows` is hot.
pub(super) fn buckets(
    keys: ExternalSorter<(u64, u64)>,
    hot_rows: usize,
    ranks: &Ranks,
    collapsed: &RowSet,
    context: &Context,
) -> Result<Buckets> {
    let mut cool = SequenceWriter::new(STAGE, context);
    let mut hot = ExternalSorter::new(STAGE, &context.budget);
    let mut hot_keys = HashSet::new();
    let mut records = Grouped::new(keys.finish(context)?)?;
    let mut bucket: Vec<u64> = Vec::new();
    let mut n_buckets = 0u64;
    while let Some((key, first_row)) = records.next()? {
        n_buckets += 1;
        if n_buckets.is_multiple_of(4096) {
            context.cancel.check()?;
        }
        // Most keys have one row.
        let Some((_, mut row)) = records.next_if(|(next_key, _)| *next_key == key)? else { continue };
        bucket.clear();
        bucket.extend([key, 0]);
        push_rank(first_row, &mut bucket, ranks, collapsed)?;
        loop {
            push_rank(row, &mut bucket, ranks, collapsed)?;
            if bucket.len() - HEAD > hot_rows {
                hot_keys.insert(key);
                for rank in bucket.drain(HEAD..) {
                    hot.push((key, rank), context)?;
                }
            }
            match records.next_if(|(next_key, _)| *next_key == key)? {
                Some((_, next_row)) => row = next_row,
                None => break,
            }
        }
        if !hot_keys.is_empty() && hot_keys.contains(&key) {
            for rank in bucket.drain(HEAD..) {
                hot.push((key, rank), context)?;
            }
        } else if bucket.len() > HEAD + 1 {
            if !ranks.are_rows() {
                bucket[HEAD..].sort_unstable();
            }
            bucket[1] = (bucket.len() - HEAD) as u64;
            cool.append(&bucket, context)?;
        }
    }
    Ok(Buckets { cool: cool.finish(context)?, hot: hot.finish(context)?, hot_keys })
}

fn push_rank(row: u64, bucket: &mut Vec<u64>, ranks: &Ranks, collapsed: &RowSet) -> Result<()> {
    let rank = ranks.rank(row)?;
    if !collapsed.contains(rank) {
        bucket.push(rank);
    }
    Ok(())
}

/// Reads buckets in their order, some at a time.
#[derive(Debug)]
pub(super) struct BucketReader<'a> {
    sequence: &'a Sequence,
    at: u64,
}

impl<'a> BucketReader<'a> {
    pub(super) fn new(sequence: &'a Sequence) -> Self {
        Self { sequence, at: 0 }
    }

    /// The numbers of the next buckets, whole ones; empty at the end.
    pub(super) fn next_numbers(&mut self) -> Result<Vec<u64>> {
        let mut numbers = self.sequence.read(self.at, READ_NUMBERS)?;
        if numbers.len() >= HEAD {
            numbers = match bucket_ends(&numbers).last() {
                Some(end) => {
                    numbers.truncate(end);
                    numbers
                }
                None => self.sequence.read(self.at, HEAD + numbers[1] as usize)?,
            };
        }
        self.at += numbers.len() as u64;
        Ok(numbers)
    }
}

/// Where each whole bucket among `numbers` ends.
fn bucket_ends(numbers: &[u64]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += HEAD + *numbers.get(at + 1)? as usize;
        (at <= numbers.len()).then_some(at)
    })
}

/// The whole buckets among `numbers`: key, and ranks in order.
pub(super) fn split(numbers: &[u64]) -> impl Iterator<Item = (u64, &[u64])> {
    let mut start = 0;
    bucket_ends(numbers).map(move |end| {
        let bucket = &numbers[std::mem::replace(&mut start, end)..end];
        (bucket[0], &bucket[HEAD..])
    })
}
