//! Which held-out item a row contains, where, and how much of it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::held_out::HeldOut;
use super::index::Seed;
use super::span::original_span;
use super::tokens::{ROW_END, is_separator, join_tokens, token_spans};
use crate::dedup::{Normalize, Normalizer, tokenize};

/// Places in the items that an n-gram of a row is followed into, the first ones.
const MAX_FOLLOWED: usize = 64;
/// Bytes of a row that are compared to choose among its items; what was found by then is taken.
const MAX_COMPARED_BYTES: usize = 64 << 20;
/// What following one n-gram into one item counts for, beside the bytes compared.
const FOLLOW_BYTES: usize = 64;

/// The held-out item that a row contains.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Index of the item.
    pub item: usize,
    /// Tokens of the longest run that both share.
    pub n_tokens: usize,
    /// Share of the item's n-grams that the row has, above 0 to 1; 1 for a short item.
    pub share: f64,
    /// Bytes of the row's text, as written, that the run lies in.
    pub span: Range<usize>,
}

/// Looks for held-out items in one text after the other, with buffers that are reused.
#[derive(Debug)]
pub struct Finder<'a> {
    held_out: &'a HeldOut,
    normalizer: Normalizer,
    segments: Normalizer,
    tokens: Vec<u64>,
    windows: Vec<u64>,
    seeds: Vec<Seed>,
    row: Row,
}

/// The tokens of a row, as bytes.
#[derive(Debug, Default)]
struct Row {
    /// Where each token lies in the normalized text.
    spans: Vec<(u32, u32)>,
    /// The tokens with one byte between two, and a [`ROW_END`].
    joined: Vec<u8>,
    /// Where each token begins in `joined`; at last, the end of it.
    starts: Vec<usize>,
}

/// A run of tokens that a row and an item share, as far as it goes.
#[derive(Debug, Clone)]
struct Run {
    item: usize,
    tokens: Range<usize>,
}

impl<'a> Finder<'a> {
    /// Looks for `held_out`.
    pub fn new(held_out: &'a HeldOut) -> Self {
        // What becomes of punctuation changes no token, and texts are mapped back piece by piece.
        let normalize = Normalize { punctuation: false, ..held_out.settings.normalize };
        Self {
            held_out,
            normalizer: Normalizer::new(normalize),
            segments: Normalizer::new(normalize),
            tokens: Vec::new(),
            windows: Vec::new(),
            seeds: Vec::new(),
            row: Row::default(),
        }
    }

    /// The item that `text` contains, if it contains any.
    ///
    /// # Determinism
    /// The item with the longest run, the first of several; of its runs the first.
    pub fn find(&mut self, text: &str) -> Option<Found> {
        let normalized = self.normalizer.normalize(text);
        self.tokens.clear();
        tokenize(normalized, &mut self.tokens);
        self.seeds.clear();
        self.held_out.index.seeds(&self.tokens, &mut self.windows, &mut self.seeds);
        if self.seeds.is_empty() {
            return None;
        }
        self.row.read(str::from_utf8(normalized).expect("a normalized text is UTF-8"));
        let Run { item, tokens } = self.longest_run()?;
        let normalized_span = self.row.spans[tokens.start].0 as usize..self.row.spans[tokens.end - 1].1 as usize;
        Some(Found {
            item,
            n_tokens: tokens.len(),
            share: self.share(item),
            span: original_span(text, normalized_span, &mut self.segments),
        })
    }

    fn longest_run(&self) -> Option<Run> {
        let index = &self.held_out.index;
        let mut best: Option<Run> = None;
        // Runs that were followed: by how far row and item lie apart, the token that they end before.
        let mut followed: HashMap<i64, usize> = HashMap::new();
        let mut n_compared = 0;
        for &seed in &self.seeds {
            for position in index.positions(seed).take(MAX_FOLLOWED) {
                if best.is_some() && MAX_COMPARED_BYTES < n_compared {
                    return best;
                }
                n_compared += FOLLOW_BYTES;
                let apart = position as i64 - self.row.starts[seed.token] as i64;
                if followed.get(&apart).is_some_and(|&end| seed.token + seed.n_tokens <= end) {
                    continue;
                }
                let Some(run) = self.follow(seed, position) else { continue };
                n_compared += self.row.starts[run.tokens.end] - self.row.starts[run.tokens.start];
                followed.insert(apart, run.tokens.end);
                let is_better = best.as_ref().is_none_or(|best| {
                    best.tokens.len() < run.tokens.len()
                        || best.tokens.len() == run.tokens.len() && run.item < best.item
                });
                if is_better {
                    best = Some(run);
                }
            }
        }
        best
    }

    /// The whole run that a seed is part of, if the item at `position` has the seed at all.
    fn follow(&self, seed: Seed, position: usize) -> Option<Run> {
        let items = &self.held_out.items;
        let item = items.item_at(position);
        let range = items.range(item);
        if seed.n_tokens < self.held_out.settings.n_tokens {
            let tokens = seed.token..seed.token + seed.n_tokens;
            return (self.row.bytes(&tokens) == &items.bytes()[range]).then_some(Run { item, tokens });
        }
        let end = self.row.end_of_run(seed.token, &items.bytes()[position..=range.end]);
        if end < seed.token + seed.n_tokens {
            return None;
        }
        let start = self.row.start_of_run(seed.token, &items.bytes()[range.start..position]);
        Some(Run { item, tokens: start..end })
    }

    /// Share of the item's n-grams that the row has.
    fn share(&self, item: usize) -> f64 {
        let (items, n_tokens) = (&self.held_out.items, self.held_out.settings.n_tokens);
        let range = items.range(item);
        let n_item_tokens = items.bytes()[range.clone()].iter().filter(|&&byte| is_separator(byte)).count() + 1;
        if n_item_tokens < n_tokens {
            return 1.0;
        }
        let mut seen = HashSet::new();
        let mut n_found = 0;
        for &seed in self.seeds.iter().filter(|seed| seed.n_tokens == n_tokens) {
            let ngram = self.row.bytes(&(seed.token..seed.token + n_tokens));
            if seen.insert(ngram) {
                let has_ngram = |position: &usize| {
                    let after = position + ngram.len();
                    after <= range.end
                        && items.bytes()[*position..after] == *ngram
                        && is_separator(items.bytes()[after])
                };
                n_found += self.held_out.index.positions_in(seed, &range).filter(has_ngram).count();
            }
        }
        n_found as f64 / (n_item_tokens - n_tokens + 1) as f64
    }
}

impl Row {
    fn read(&mut self, normalized: &str) {
        self.spans.clear();
        token_spans(normalized, &mut self.spans);
        self.joined.clear();
        join_tokens(normalized, &self.spans, ROW_END, &mut self.joined);
        self.starts.clear();
        let mut start = 0;
        self.starts.push(start);
        for (from, to) in &self.spans {
            start += (to - from) as usize + 1;
            self.starts.push(start);
        }
    }

    /// Some tokens with one byte between two.
    fn bytes(&self, tokens: &Range<usize>) -> &[u8] {
        &self.joined[self.starts[tokens.start]..self.starts[tokens.end] - 1]
    }

    /// The token before which a run ends that begins with `token` and with the beginning of `item`.
    fn end_of_run(&self, token: usize, item: &[u8]) -> usize {
        let row = &self.joined[self.starts[token]..];
        // Both end with a byte that the other does not have.
        let n_equal = common_prefix(row, item);
        let is_whole = is_separator(row[n_equal]) && is_separator(item[n_equal]);
        let n_begun = self.starts.partition_point(|&start| start <= self.starts[token] + n_equal);
        if is_whole { n_begun } else { n_begun - 1 }
    }

    /// The token with which a run begins that ends before `token` and with the end of `item`.
    fn start_of_run(&self, token: usize, item: &[u8]) -> usize {
        let row = &self.joined[..self.starts[token]];
        let n_equal = common_suffix(row, item);
        let at = row.len() - n_equal;
        let start = self.starts.partition_point(|&start| start < at);
        let is_within_token = n_equal < item.len() && !is_separator(item[item.len() - n_equal - 1]);
        if self.starts[start] == at && is_within_token { start + 1 } else { start }
    }
}

/// Bytes compared at once.
const BLOCK_BYTES: usize = 16;

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let blocks = left.chunks_exact(BLOCK_BYTES).zip(right.chunks_exact(BLOCK_BYTES));
    let n_blocks = BLOCK_BYTES * blocks.take_while(|(left, right)| left == right).count();
    let rest = left[n_blocks..].iter().zip(&right[n_blocks..]);
    n_blocks + rest.take_while(|(left, right)| left == right).count()
}

fn common_suffix(left: &[u8], right: &[u8]) -> usize {
    let blocks = left.rchunks_exact(BLOCK_BYTES).zip(right.rchunks_exact(BLOCK_BYTES));
    let n_blocks = BLOCK_BYTES * blocks.take_while(|(left, right)| left == right).count();
    let rest = left[..left.len() - n_blocks].iter().rev().zip(right[..right.len() - n_blocks].iter().rev());
    n_blocks + rest.take_while(|(left, right)| left == right).count()
}
