//! Each row asks who of the larger rows has enough of its sample.
//!
//! The lists of a row's sampled shingles are taken from the shortest on, up to a number of entries. A list left out, of a
//! shingle that is everywhere, lowers what the others must show by one: no pair is lost by that, as long as so many lists
//! are taken that a pair must show up in one of them. Where boilerplate makes even those too long, only their ends are read,
//! and what is left out is counted for the rows that stay.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::super::edge::{Edge, GreyPair, Grouped, Method, Similarity};
use super::super::keep::Ranks;
use super::super::scope::Places;
use super::super::tape::RowTable;
use super::postings::{BLOCK_ROWS, Lookup, Postings, Span};
use super::sampling::{Sample, Sampling};
use crate::Result;
use crate::context::Context;
use crate::spill::{ExternalSorter, Sorted};

const STAGE: &str = "near-duplicates: containment";
/// Entries looked at before what was found is handed on.
const WAVE_ENTRIES: u64 = 1 << 20;
/// Rows that look at the same time, at most.
const WAVE_ROWS: usize = 1 << 12;
/// More entries are counted in an array, window by window.
const MOST_SORTED: u64 = 1 << 12;
/// Ranks of a window.
const WINDOW_RANKS: u64 = 1 << 16;

/// How much one row may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Entries of lists that are read whole.
    pub(super) n_entries: u64,
    /// Candidates handed on.
    pub(super) n_pairs: usize,
}

impl Limits {
    /// No limits: for an exhaustive search.
    pub(super) const NONE: Self = Self { n_entries: u64::MAX, n_pairs: usize::MAX };

    /// Limits that let a few thousand rows look at all, and a million rows at as much as can be looked at in minutes.
    pub(super) fn of(n_rows: u64) -> Self {
        let share = |total: u64| total / n_rows.max(1);
        Self {
            n_entries: share(1 << 28).clamp(1 << 12, 1 << 20),
            n_pairs: share(1 << 24).clamp(1 << 6, 1 << 16) as usize,
        }
    }
}

/// What came out of all rows.
#[derive(Debug)]
pub(super) struct Found {
    /// Pairs whose containment the sample itself proves.
    pub(super) edges: ExternalSorter<Edge>,
    /// Open pairs.
    pub(super) grey: ExternalSorter<GreyPair>,
    /// Candidates.
    pub(super) n_pairs: u64,
    /// Ranks that left entries or candidates out, and how many: they matter for those that stay.
    pub(super) untested: ExternalSorter<(u64, u64)>,
}

/// What rows look into.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) postings: &'a Postings,
    pub(super) ranks: &'a Ranks,
    pub(super) places: &'a Places,
    /// Elements of each row's set, by row.
    pub(super) sizes: &'a RowTable<u64>,
    pub(super) sampling: Sampling,
    pub(super) limits: Limits,
}

/// A row and the lists of its sampled shingles: number of entries, first block.
type Task = (u64, Vec<(u64, u64)>);

impl Search<'_> {
    /// Finds the candidates of all rows.
    pub(super) fn run(&self, lookups: Sorted<Lookup>, context: &Context) -> Result<Found> {
        let mut found = Found {
            edges: ExternalSorter::new(STAGE, &context.budget),
            grey: ExternalSorter::new(STAGE, &context.budget),
            n_pairs: 0,
            untested: ExternalSorter::new(STAGE, &context.budget),
        };
        let mut lookups = Grouped::new(lookups)?;
        let mut wave: Vec<Task> = Vec::new();
        let mut n_wave_entries = 0;
        while let Some(&(rank, ..)) = lookups.peek() {
            let mut lists = Vec::new();
            let mut n_entries = 0;
            while let Some((_, n_rows, first_block)) = lookups.next_if(|lookup| lookup.0 == rank)? {
                lists.push((n_rows, first_block));
                n_entries += n_rows;
            }
            if self.sample(rank)?.1.least_shared <= lists.len() {
                n_wave_entries += n_entries.min(self.limits.n_entries);
                wave.push((rank, lists));
            }
            if n_wave_entries >= WAVE_ENTRIES || wave.len() == WAVE_ROWS {
                self.run_wave(&std::mem::take(&mut wave), &mut found, context)?;
                n_wave_entries = 0;
            }
        }
        self.run_wave(&wave, &mut found, context)?;
        Ok(found)
    }

    /// Elements of a row's set, and its sample.
    fn sample(&self, rank: u64) -> Result<(usize, Sample)> {
        let n_elements = self.sizes.get(self.ranks.row(rank)?)? as usize;
        Ok((n_elements, self.sampling.of(n_elements)))
    }

    fn run_wave(&self, wave: &[Task], found: &mut Found, context: &Context) -> Result<()> {
        context.cancel.check()?;
        let tasks = wave.par_iter().with_min_len(16);
        let findings: Result<Vec<Findings>> = context.pool.install(|| {
            tasks.map_init(Counter::default, |counter, (rank, lists)| self.look_up(*rank, lists, counter)).collect()
        });
        for ((rank, _), findings) in wave.iter().zip(findings?) {
            found.n_pairs += findings.n_pairs;
            if findings.n_untested > 0 {
                found.untested.push((*rank, findings.n_untested), context)?;
            }
            for edge in findings.edges {
                found.edges.push(edge, context)?;
            }
            for pair in findings.grey {
                found.grey.push(pair, context)?;
            }
        }
        Ok(())
    }

    fn look_up(&self, rank: u64, lists: &[(u64, u64)], counter: &mut Counter) -> Result<Findings> {
        let (n_elements, sample) = self.sample(rank)?;
        let Reading { spans, n_whole, n_untested } = choose(lists, sample, self.limits.n_entries);
        let n_open = sample.n_sampled - n_whole;
        let least_shared = sample.least_shared.saturating_sub(n_open).max(1);
        let mut findings = Findings { n_untested, ..Findings::default() };
        let candidates = counter.count(self.postings, spans, rank, least_shared)?;
        // What a row is not compared with takes no candidate's place.
        let mut candidates = self.meeting(rank, candidates)?;
        findings.n_pairs = candidates.len() as u64;
        let is_known = n_open == 0 && sample.n_sampled == n_elements;
        findings.n_untested += leave(&mut candidates, self.limits.n_pairs);
        for &(earlier, n_shared) in &candidates {
            if is_known {
                let similarity = Similarity::new(f64::from(n_shared) / n_elements as f64);
                let edge = Edge { later: rank, earlier, similarity, method: Method::Exact, n_shared_bands: 0 };
                findings.edges.push(edge);
            } else {
                let n_shared_bands = u16::try_from(n_shared).unwrap_or(u16::MAX);
                findings.grey.push(GreyPair::new(rank, earlier, n_shared_bands));
            }
        }
        Ok(findings)
    }

    /// Those of the candidates that the row is compared with.
    fn meeting(&self, rank: u64, candidates: Vec<(u64, u32)>) -> Result<Vec<(u64, u32)>> {
        let place = self.places.of(rank, self.ranks)?;
        let mut meeting = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if place.meets(self.places.of(candidate.0, self.ranks)?) {
                meeting.push(candidate);
            }
        }
        Ok(meeting)
    }
}

#[derive(Debug, Default)]
struct Findings {
    edges: Vec<Edge>,
    grey: Vec<GreyPair>,
    n_pairs: u64,
    n_untested: u64,
}

/// What a row reads.
struct Reading {
    spans: Vec<Span>,
    /// Sampled shingles that all rows with them are known of.
    n_whole: usize,
    /// Entries between the ends of lists that must be read and are too long.
    n_untested: u64,
}

/// Chooses what is read of `lists`, which come shortest first.
fn choose(lists: &[(u64, u64)], sample: Sample, most_entries: u64) -> Reading {
    // A pair that shares enough shows up in any so many lists.
    let n_needed = sample.n_sampled - sample.least_shared + 1;
    let n_empty = sample.n_sampled - lists.len();
    let mut chosen = Reading { spans: Vec::with_capacity(lists.len()), n_whole: n_empty, n_untested: 0 };
    let mut n_entries = 0;
    for (n_taken, &(n_rows, first_block)) in (n_empty..).zip(lists) {
        let span = |positions| Span { first_block, positions };
        n_entries += n_rows;
        if n_entries <= most_entries {
            chosen.spans.push(span(0..n_rows));
            chosen.n_whole += 1;
        } else if n_taken < n_needed {
            let tail = (n_rows - 1) / BLOCK_ROWS * BLOCK_ROWS;
            let head = tail.min(BLOCK_ROWS);
            chosen.spans.extend([span(0..head), span(tail..n_rows)]);
            chosen.n_untested += tail - head;
        } else {
            break;
        }
    }
    chosen
}

/// Leaves at most `n_most` candidates: half of them the largest rows, which are kept more often than others, the other half
/// those that share most. The number of those left out is returned.
fn leave(candidates: &mut Vec<(u64, u32)>, n_most: usize) -> u64 {
    let n_left_out = candidates.len().saturating_sub(n_most);
    if n_left_out > 0 {
        candidates[n_most / 2..].sort_unstable_by_key(|&(rank, n_shared)| (Reverse(n_shared), rank));
        candidates.truncate(n_most);
    }
    n_left_out as u64
}

/// Counts in how many spans a rank is. Its array is reused from row to row.
#[derive(Debug, Default)]
struct Counter {
    counts: Vec<u32>,
}

impl Counter {
    /// The ranks below `end` that are in at least `least` of `spans`, in order, and in how many.
    fn count(&mut self, postings: &Postings, spans: Vec<Span>, end: u64, least: usize) -> Result<Vec<(u64, u32)>> {
        let n_entries: u64 = spans.iter().map(|span| span.positions.end - span.positions.start).sum();
        if n_entries <= MOST_SORTED {
            count_sorted(postings, &spans, least)
        } else {
            self.count_in_windows(postings, spans, end, least)
        }
    }

    fn count_in_windows(
        &mut self,
        postings: &Postings,
        mut spans: Vec<Span>,
        end: u64,
        least: usize,
    ) -> Result<Vec<(u64, u32)>> {
        let mut found = Vec::new();
        let mut start = 0;
        while start < end {
            let window_end = (start + WINDOW_RANKS).min(end);
            self.counts.clear();
            self.counts.resize((window_end - start) as usize, 0);
            for span in &mut spans {
                span.positions.start = postings.visit(span, |rank| {
                    let is_inside = rank < window_end;
                    if is_inside {
                        self.counts[(rank - start) as usize] += 1;
                    }
                    is_inside
                })?;
            }
            spans.retain(|span| !span.positions.is_empty());
            let ranks = (start..window_end).zip(&self.counts);
            found.extend(ranks.filter(|&(_, &n)| n as usize >= least).map(|(rank, &n)| (rank, n)));
            start = if spans.is_empty() { end } else { window_end };
        }
        Ok(found)
    }
}

fn count_sorted(postings: &Postings, spans: &[Span], least: usize) -> Result<Vec<(u64, u32)>> {
    let mut ranks = Vec::new();
    for span in spans {
        postings.visit(span, |rank| {
            ranks.push(rank);
            true
        })?;
    }
    ranks.sort_unstable();
    let groups = ranks.chunk_by(|left, right| left == right);
    Ok(groups.filter(|group| group.len() >= least).map(|group| (group[0], group.len() as u32)).collect())
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::postings::occurrence;
    use super::*;
    use crate::context::{Cancel, Resources};

    #[test]
    fn both_ways_of_counting_say_the_same() {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(64);
        let n_ranks = 3 * WINDOW_RANKS;
        let mut occurrences = ExternalSorter::new("test", &context.budget);
        for shingle in 0..12 {
            let share = random.random_range(0.0..0.1);
            (0..n_ranks).filter(|_| random.random_bool(share)).for_each(|rank| {
                occurrences.push(occurrence(shingle, rank, false), &context).unwrap();
            });
            occurrences.push(occurrence(shingle, n_ranks, true), &context).unwrap();
        }
        let (postings, lookups) = Postings::new("test", occurrences, &context).unwrap();
        let spans: Vec<Span> = lookups
            .map(|lookup| {
                let (_, n_rows, first_block) = lookup.unwrap();
                Span { first_block, positions: random.random_range(0..=n_rows / 2)..n_rows }
            })
            .collect();
        let mut counter = Counter::default();
        for least in [1, 2, 3] {
            let found = counter.count_in_windows(&postings, spans.clone(), n_ranks, least).unwrap();
            assert!(found == count_sorted(&postings, &spans, least).unwrap());
            assert!(!found.is_empty());
        }
    }

    #[test]
    fn long_lists_are_left_out_as_long_as_no_pair_is_lost() {
        let sample = Sample { n_sampled: 10, least_shared: 7 };
        let lists: Vec<(u64, u64)> = [1, 1, 5, 20, 1000, 2000, 5000, 9000].into_iter().zip(0..).collect();
        // Two sampled shingles are in no larger row, and four are needed.
        let chosen = choose(&lists, sample, u64::MAX);
        assert_eq!((chosen.spans.len(), chosen.n_whole, chosen.n_untested), (8, 10, 0));
        let chosen = choose(&lists, sample, 100);
        assert_eq!((chosen.spans.len(), chosen.n_whole, chosen.n_untested), (4, 6, 0));
        let chosen = choose(&lists[4..], Sample { n_sampled: 4, least_shared: 3 }, 1500);
        let positions: Vec<_> = chosen.spans.iter().map(|span| span.positions.clone()).collect();
        assert_eq!(positions, [0..1000, 0..256, 1792..2000]);
        assert_eq!((chosen.n_whole, chosen.n_untested), (1, 1536));
        let chosen = choose(&[(100, 0), (300, 1)], Sample { n_sampled: 2, least_shared: 1 }, 1);
        let positions: Vec<_> = chosen.spans.iter().map(|span| span.positions.clone()).collect();
        assert_eq!(positions, [0..0, 0..100, 0..256, 256..300]);
    }

    #[test]
    fn candidates_are_cut_to_the_largest_and_the_most_alike() {
        let mut candidates: Vec<(u64, u32)> = vec![(1, 3), (2, 3), (4, 3), (6, 9), (7, 5), (9, 9)];
        assert_eq!(leave(&mut candidates.clone(), 6), 0);
        assert_eq!(leave(&mut candidates, 4), 2);
        assert_eq!(candidates, [(1, 3), (2, 3), (6, 9), (9, 9)]);
    }
}
