//! Where each run of tokens of the held-out items lies, by its hash.
//!
//! ```text
//! hash -> filter (2 bytes a run, one look, passes 1 in 150 others) -> bucket -> entries (tag of 32 bits, position of 32 bits)
//! ```

use std::ops::Range;

use memchr::memchr_iter;

use super::held_out::ItemTable;
use super::tokens::BETWEEN;
use crate::Result;
use crate::bloom::BloomFilter;
use crate::budget::Reservation;
use crate::dedup::{Shingler, tokenize};

/// Runs in a bucket, on average.
const BUCKET_ENTRIES: usize = 4;

/// All runs of `n_tokens` tokens of the items, and the whole of each shorter item.
#[derive(Debug)]
pub(super) struct Index {
    n_tokens: usize,
    shingler: Shingler,
    filter: BloomFilter,
    /// End of each bucket in `entries`.
    ends: Vec<u32>,
    /// Tag in the high half, position in [`ItemTable::bytes`] in the low one. Sorted in each bucket.
    entries: Vec<u64>,
    short: Option<Short>,
    /// Gives the memory back when dropped.
    reservation: Reservation,
}

/// How items of fewer than `n_tokens` tokens are found: by the first tokens of all of them, then by length.
#[derive(Debug)]
struct Short {
    shingler: Shingler,
    filter: BloomFilter,
    /// The shortest one.
    n_tokens: usize,
    lengths: Vec<usize>,
}

/// A run of tokens in a row that is likely in an item too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed {
    /// Index of its first token.
    pub(super) token: usize,
    pub(super) n_tokens: usize,
    /// First of the entries that may be of this run, and the end of them: looked up once, since they lie far apart.
    entries: (u32, u32),
}

impl Index {
    /// # Errors
    /// `Error::OverBudget` if the memory limit leaves no room.
    pub(super) fn new(items: &ItemTable, n_tokens: usize, mut reservation: Reservation) -> Result<Self> {
        let n_windows = items.n_windows();
        let n_buckets = n_windows / BUCKET_ENTRIES + 1;
        let bytes = |n: usize| size_of::<u64>() * filter_words(n) + n_buckets * size_of::<u32>() + n * size_of::<u64>();
        reservation.grow(bytes(n_windows))?;
        let shingler = Shingler::new(n_tokens, 0);
        let mut filter = BloomFilter::new(filter_words(n_windows));
        let mut ends = vec![0u32; n_buckets];
        let mut entries = vec![0u64; n_windows];
        let (mut lengths, mut n_short) = (vec![0usize; n_tokens], 0);
        for_each_window(items, &shingler, |hash, _| {
            filter.insert(hash);
            ends[bucket(hash, n_buckets)] += 1;
        });
        for_each_short(items, n_tokens, |tokens| {
            lengths[tokens.len()] += 1;
            n_short += 1;
        });
        // The beginning of each bucket, which becomes its end while it is filled.
        let mut n_before = 0;
        for end in &mut ends {
            let n_entries = std::mem::replace(end, n_before);
            n_before += n_entries;
        }
        for_each_window(items, &shingler, |hash, position| {
            let end = &mut ends[bucket(hash, n_buckets)];
            entries[*end as usize] = u64::from(tag(hash)) << 32 | position as u64;
            *end += 1;
        });
        let mut start = 0;
        for &end in &ends {
            entries[start..end as usize].sort_unstable();
            start = end as usize;
        }
        let mut index = Self { n_tokens, shingler, filter, ends, entries, short: None, reservation };
        let lengths: Vec<usize> = (0..n_tokens).filter(|&length| lengths[length] > 0).collect();
        if let Some(&shortest) = lengths.first() {
            index.reservation.grow(size_of::<u64>() * filter_words(n_short))?;
            index.short = Some(Short::new(items, n_tokens, n_short, shortest, lengths));
        }
        Ok(index)
    }

    /// Appends the runs of a row that are likely in an item too, those of `n_tokens` tokens first, in the order of the row.
    pub(super) fn seeds(&self, tokens: &[u64], windows: &mut Vec<u64>, seeds: &mut Vec<Seed>) {
        let n_tokens = self.n_tokens;
        if n_tokens <= tokens.len() {
            self.shingler.shingle(tokens, windows);
            for (token, &hash) in windows.iter().enumerate() {
                seeds.extend(self.look_up(hash).map(|entries| Seed { token, n_tokens, entries }));
            }
        }
        let Some(short) = &self.short else { return };
        if tokens.len() < short.n_tokens {
            return;
        }
        short.shingler.shingle(tokens, windows);
        let mut whole = Vec::with_capacity(1);
        for (token, &first) in windows.iter().enumerate() {
            if !short.filter.may_contain(first) {
                continue;
            }
            for &n_tokens in short.lengths.iter().take_while(|&&length| token + length <= tokens.len()) {
                // Fewer tokens than a shingle has: one shingle of all.
                self.shingler.shingle(&tokens[token..token + n_tokens], &mut whole);
                seeds.extend(self.look_up(whole[0]).map(|entries| Seed { token, n_tokens, entries }));
            }
        }
    }

    /// Positions in [`ItemTable::bytes`] of the runs that may be a seed's, ascending.
    pub(super) fn positions(&self, seed: Seed) -> impl Iterator<Item = usize> {
        self.entries(seed).iter().map(|&entry| entry as u32 as usize)
    }

    /// The same between two positions.
    pub(super) fn positions_in(&self, seed: Seed, range: &Range<usize>) -> impl Iterator<Item = usize> {
        let entries = self.entries(seed);
        let start = entries.partition_point(|&entry| (entry as u32 as usize) < range.start);
        entries[start..].iter().map(|&entry| entry as u32 as usize).take_while(|&position| position < range.end)
    }

    fn entries(&self, seed: Seed) -> &[u64] {
        &self.entries[seed.entries.0 as usize..seed.entries.1 as usize]
    }

    /// The entries with the tag of a hash, if there are any.
    #[inline]
    fn look_up(&self, hash: u64) -> Option<(u32, u32)> {
        if self.filter.may_contain(hash) { self.look_up_in_bucket(hash) } else { None }
    }

    #[inline(never)]
    fn look_up_in_bucket(&self, hash: u64) -> Option<(u32, u32)> {
        let bucket = bucket(hash, self.ends.len());
        let base = if bucket == 0 { 0 } else { self.ends[bucket - 1] as usize };
        let entries = &self.entries[base..self.ends[bucket] as usize];
        let tag = tag(hash);
        let start = entries.partition_point(|&entry| ((entry >> 32) as u32) < tag);
        let n_equal = entries[start..].partition_point(|&entry| (entry >> 32) as u32 == tag);
        (n_equal > 0).then_some(((base + start) as u32, (base + start + n_equal) as u32))
    }
}

impl Short {
    fn new(items: &ItemTable, n_tokens: usize, n_short: usize, shortest: usize, lengths: Vec<usize>) -> Self {
        let shingler = Shingler::new(shortest, 0);
        let mut filter = BloomFilter::new(filter_words(n_short));
        let mut first = Vec::with_capacity(1);
        for_each_short(items, n_tokens, |tokens| {
            shingler.shingle(&tokens[..shortest], &mut first);
            filter.insert(first[0]);
        });
        Self { shingler, filter, n_tokens: shortest, lengths }
    }
}

/// Visits the hash and the position of every run to be indexed, in the order of the items.
fn for_each_window(items: &ItemTable, shingler: &Shingler, mut visit: impl FnMut(u64, usize)) {
    let (mut tokens, mut windows) = (Vec::new(), Vec::new());
    for item in 0..items.len() {
        let range = items.range(item);
        let bytes = &items.bytes()[range.clone()];
        tokens.clear();
        tokenize(bytes, &mut tokens);
        shingler.shingle(&tokens, &mut windows);
        let starts = std::iter::once(0).chain(memchr_iter(BETWEEN, bytes).map(|at| at + 1));
        for (&hash, start) in windows.iter().zip(starts) {
            visit(hash, range.start + start);
        }
    }
}

/// Visits the token hashes of every item of fewer than `n_tokens` tokens.
fn for_each_short(items: &ItemTable, n_tokens: usize, mut visit: impl FnMut(&[u64])) {
    let mut tokens = Vec::new();
    for item in 0..items.len() {
        let bytes = &items.bytes()[items.range(item)];
        if memchr_iter(BETWEEN, bytes).take(n_tokens).count() + 1 < n_tokens {
            tokens.clear();
            tokenize(bytes, &mut tokens);
            visit(&tokens);
        }
    }
}

/// Hashes are spread evenly, and so are their high halves over any number of buckets.
fn bucket(hash: u64, n_buckets: usize) -> usize {
    (((hash >> 32) * n_buckets as u64) >> 32) as usize
}

/// Words of a filter of that many runs.
fn filter_words(n_runs: usize) -> usize {
    n_runs / BloomFilter::WORD_HASHES + 1
}

/// What tells the runs of a bucket apart: bits that hardly any bucket number uses.
fn tag(hash: u64) -> u32 {
    hash as u32
}
