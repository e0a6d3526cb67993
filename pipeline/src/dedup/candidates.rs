//! From keys to pairs worth a look, and the first look at them.
//!
//! ```text
//! (key, row) sorted -> buckets of 2 rows and more -> (key, rank) sorted -> small: pairs sorted, each once -> compare
//!                                                                      \-> large: compare in the bucket
//!                                                                      \-> hot:   walk the bucket
//! compare -> clear pairs: edges
//!        \-> others: grey pairs
//! ```
//!
//! A pair meets in every bucket that it shares. In a large one it is compared only if that is the bucket of the first band
//! (or the least shingle) that the two rows share, hot buckets aside.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::band::Bands;
use super::compare::{Findings, first_shared};
use super::earlier::Pairing;
use super::edge::{Edge, GreyPair, Grouped};
use super::keep::Ranks;
use super::settings::Gate;
use super::sketch::Sketch;
use super::tape::{RowTable, SetTable};
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Result, RowSet};

const STAGE: &str = "near-duplicates: candidates";
/// A bucket of more rows is large: its pairs are many, and compared where they are rather than sorted first.
const LARGE_ROWS: usize = 16;
/// A bucket of more rows is hot: its work is bounded, its untested pairs are counted.
const HOT_ROWS: u64 = 1000;
/// In a hot bucket, a row is compared with so many of the rows kept so far at its head, and as many at its tail.
const HOT_REACH: usize = 500;
/// Pairs looked at before what was found is handed on.
const WAVE_PAIRS: u64 = 1 << 17;
/// Pairs of small buckets that a thread takes at once.
const TASK_PAIRS: usize = 1 << 11;

/// What is compared of a row.
#[derive(Debug)]
pub(super) enum Features {
    /// Sketches: what they leave open is grey.
    Sketches {
        /// Sketch by row.
        table: RowTable<Sketch>,
        /// The bands whose keys made the buckets.
        bands: Bands,
        /// What is clear.
        gate: Gate,
    },
    /// Sets of shingles: nothing is left open.
    Sets {
        /// Set by row.
        table: SetTable,
        /// Least similarity of an edge.
        threshold: f64,
    },
}

/// What came out of all buckets.
#[derive(Debug)]
pub(super) struct Found {
    /// Proven pairs; one may be there twice.
    pub(super) edges: ExternalSorter<Edge>,
    /// Open pairs; one may be there twice.
    pub(super) grey: ExternalSorter<GreyPair>,
    /// Counts for the report.
    pub(super) counts: Counts,
}

/// How many pairs and buckets there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Pairs compared.
    pub(super) candidate_pairs: u64,
    /// Pairs of hot buckets not compared, where not known to be of no use.
    pub(super) untested_pairs: u64,
    /// Buckets above [`HOT_ROWS`].
    pub(super) hot_buckets: u64,
}

/// Compares the rows that share a key, `collapsed` ranks aside.
pub(super) fn compare(
    keys: ExternalSorter<(u64, u64)>,
    features: &Features,
    ranks: &Ranks,
    pairing: Pairing,
    collapsed: &RowSet,
    context: &Context,
) -> Result<Found> {
    let found = Found {
        edges: ExternalSorter::new(STAGE, &context.budget),
        grey: ExternalSorter::new(STAGE, &context.budget),
        counts: Counts::default(),
    };
    let (mut buckets, hot_keys) = shared_keys(keys, ranks, collapsed, context)?;
    let hot_keys = if matches!(features, Features::Sketches { .. }) { hot_keys } else { HashSet::new() };
    let mut comparison =
        Comparison { features, ranks, pairing, hot_keys, context, found, wave: Vec::new(), n_wave_pairs: 0 };
    let mut pairs = ExternalSorter::new(STAGE, &context.budget);
    while let Some(&(key, _)) = buckets.peek() {
        context.cancel.check()?;
        if comparison.hot_keys.contains(&key) {
            comparison.walk_hot_bucket(key, &mut buckets)?;
            continue;
        }
        let mut bucket = Vec::new();
        while let Some((_, rank)) = buckets.next_if(|(next_key, _)| *next_key == key)? {
            bucket.push(rank);
        }
        if bucket.len() > LARGE_ROWS {
            comparison.add_bucket(key, bucket)?;
            continue;
        }
        for later in pairing.later(&bucket) {
            for &earlier in &bucket[pairing.earlier(&bucket, later)] {
                pairs.push((bucket[later], earlier), context)?;
            }
        }
    }
    std::mem::drop(buckets);
    comparison.add_pairs(pairs)?;
    comparison.run_wave()?;
    Ok(comparison.found)
}

/// Rows that share a key with another: (key, rank), sorted.
type Buckets = Grouped<(u64, u64)>;

/// The buckets of two rows and more, and the keys of the hot ones.
fn shared_keys(
    keys: ExternalSorter<(u64, u64)>,
    ranks: &Ranks,
    collapsed: &RowSet,
    context: &Context,
) -> Result<(Buckets, HashSet<u64>)> {
    let mut shared = ExternalSorter::new(STAGE, &context.budget);
    let mut hot_keys = HashSet::new();
    let mut records = Grouped::new(keys.finish(context)?)?;
    let mut n_records = 0u64;
    while let Some((key, first_row)) = records.next()? {
        n_records += 1;
        if n_records.is_multiple_of(4096) {
            context.cancel.check()?;
        }
        let mut next_row = records.next_if(|(next_key, _)| *next_key == key)?;
        if next_row.is_none() {
            continue;
        }
        let first = ranks.rank(first_row)?;
        // A row waits here until a second one shows that the bucket has two.
        let mut waiting = (!collapsed.contains(first)).then_some(first);
        let mut n_rows = u64::from(waiting.is_some());
        while let Some((_, row)) = next_row {
            let rank = ranks.rank(row)?;
            if !collapsed.contains(rank) {
                n_rows += 1;
                match waiting.take() {
                    None if n_rows == 1 => waiting = Some(rank),
                    first => {
                        for rank in first.into_iter().chain([rank]) {
                            shared.push((key, rank), context)?;
                        }
                    }
                }
                if n_rows == HOT_ROWS + 1 {
                    hot_keys.insert(key);
                }
            }
            next_row = records.next_if(|(next_key, _)| *next_key == key)?;
        }
    }
    Ok((Grouped::new(shared.finish(context)?)?, hot_keys))
}

/// Work for one thread.
#[derive(Debug)]
enum Task {
    /// Part of the pairs of a large bucket: each row of `later` with all rows before it.
    Bucket { key: u64, bucket: Arc<[u64]>, later: Range<usize> },
    /// Pairs of small buckets: later rank, earlier rank.
    Pairs(Vec<(u64, u64)>),
}

struct Comparison<'a> {
    features: &'a Features,
    ranks: &'a Ranks,
    pairing: Pairing,
    hot_keys: HashSet<u64>,
    context: &'a Context,
    found: Found,
    wave: Vec<Task>,
    n_wave_pairs: u64,
}

impl Comparison<'_> {
    /// Cuts the pairs of a bucket into tasks, and runs the tasks when there are enough.
    fn add_bucket(&mut self, key: u64, bucket: Vec<u64>) -> Result<()> {
        let bucket: Arc<[u64]> = bucket.into();
        let mut start = self.pairing.later(&bucket).start;
        while start < bucket.len() {
            let mut end = start;
            let mut n_pairs = 0;
            while end < bucket.len() && n_pairs < WAVE_PAIRS / 4 {
                n_pairs += end as u64;
                end += 1;
            }
            self.add_task(Task::Bucket { key, bucket: Arc::clone(&bucket), later: start..end }, n_pairs)?;
            start = end;
        }
        Ok(())
    }

    /// Cuts the pairs of small buckets into tasks, each pair once.
    fn add_pairs(&mut self, pairs: ExternalSorter<(u64, u64)>) -> Result<()> {
        let mut part = Vec::new();
        let mut pairs = Grouped::new(pairs.finish(self.context)?)?;
        while let Some(pair) = pairs.next()? {
            if pairs.peek() == Some(&pair) {
                continue;
            }
            part.push(pair);
            if part.len() == TASK_PAIRS || pairs.peek().is_none() {
                let n_pairs = part.len() as u64;
                self.add_task(Task::Pairs(std::mem::take(&mut part)), n_pairs)?;
            }
        }
        Ok(())
    }

    fn add_task(&mut self, task: Task, n_pairs: u64) -> Result<()> {
        self.wave.push(task);
        self.n_wave_pairs += n_pairs;
        if self.n_wave_pairs >= WAVE_PAIRS { self.run_wave() } else { Ok(()) }
    }

    fn run_wave(&mut self) -> Result<()> {
        let tasks = std::mem::take(&mut self.wave);
        self.n_wave_pairs = 0;
        let this = &*self;
        let findings: Result<Vec<Findings>> =
            self.context.pool.install(|| tasks.par_iter().with_min_len(1).map(|task| this.run(task)).collect());
        findings?.into_iter().try_for_each(|findings| self.keep(findings))
    }

    fn keep(&mut self, findings: Findings) -> Result<()> {
        self.found.counts.candidate_pairs += findings.n_pairs;
        for edge in findings.edges {
            self.found.edges.push(edge, self.context)?;
        }
        for pair in findings.grey {
            self.found.grey.push(pair, self.context)?;
        }
        Ok(())
    }

    fn run(&self, task: &Task) -> Result<Findings> {
        self.context.cancel.check()?;
        match (task, self.features) {
            (Task::Bucket { key, bucket, later }, Features::Sketches { table, bands, gate }) => {
                self.compare_sketches(*key, &bucket[..later.end], later.clone(), table, *bands, *gate)
            }
            (Task::Bucket { key, bucket, later }, Features::Sets { table, threshold }) => {
                self.compare_sets(*key, &bucket[..later.end], later.clone(), table, *threshold)
            }
            (Task::Pairs(pairs), _) => self.compare_pairs(pairs),
        }
    }

    fn compare_pairs(&self, pairs: &[(u64, u64)]) -> Result<Findings> {
        let mut findings = Findings::default();
        for pairs in pairs.chunk_by(|left, right| left.0 == right.0) {
            let later = pairs[0].0;
            match self.features {
                Features::Sketches { table, bands, gate } => {
                    let left = table.get(self.ranks.row(later)?)?;
                    for &(_, earlier) in pairs {
                        let right = table.view(self.ranks.row(earlier)?)?;
                        findings.judge(later, earlier, &left, &right, *bands, *gate);
                    }
                }
                Features::Sets { table, threshold } => {
                    let left = table.get(self.ranks.row(later)?)?;
                    for &(_, earlier) in pairs {
                        let right = table.get(self.ranks.row(earlier)?)?;
                        findings.judge_sets((later, &left), (earlier, &right), *threshold);
                    }
                }
            }
        }
        Ok(findings)
    }

    fn compare_sketches(
        &self,
        key: u64,
        ranks: &[u64],
        later: Range<usize>,
        table: &RowTable<Sketch>,
        bands: Bands,
        gate: Gate,
    ) -> Result<Findings> {
        let mut findings = Findings::default();
        let sketches: Vec<Sketch> =
            ranks.iter().map(|&rank| table.get(self.ranks.row(rank)?)).collect::<Result<_>>()?;
        for later in later {
            for earlier in self.pairing.earlier(ranks, later) {
                let (left, right) = (&sketches[later], &sketches[earlier]);
                let mut keys = bands.shared(left, right).map(|band| bands.key(left, band));
                if keys.find(|key| !self.hot_keys.contains(key)) == Some(key) {
                    findings.judge(ranks[later], ranks[earlier], left, right, bands, gate);
                }
            }
        }
        Ok(findings)
    }

    fn compare_sets(
        &self,
        key: u64,
        ranks: &[u64],
        later: Range<usize>,
        table: &SetTable,
        threshold: f64,
    ) -> Result<Findings> {
        let mut findings = Findings::default();
        for block in blocks(later) {
            let later_sets = self.sets(table, &ranks[block.clone()])?;
            for earlier_block in blocks(0..block.end) {
                let earlier_sets = self.sets(table, &ranks[earlier_block.clone()])?;
                for (later, left) in block.clone().zip(&later_sets) {
                    let end = self.pairing.earlier(ranks, later).end;
                    let earlier = earlier_block.clone().zip(&earlier_sets).take_while(|(index, _)| *index < end);
                    for (earlier, right) in earlier.filter(|(_, right)| first_shared(left, right) == Some(key)) {
                        findings.judge_sets((ranks[later], left), (ranks[earlier], right), threshold);
                    }
                }
            }
        }
        Ok(findings)
    }

    fn sets(&self, table: &SetTable, ranks: &[u64]) -> Result<Vec<Vec<u64>>> {
        ranks.iter().map(|&rank| table.get(self.ranks.row(rank)?)).collect()
    }

    /// Compares each row of a hot bucket with the first and the last rows of those that nothing before them in the bucket
    /// clearly drops. An edge to a row so dropped could only matter if that row were kept after all.
    fn walk_hot_bucket(&mut self, key: u64, buckets: &mut Buckets) -> Result<()> {
        let Features::Sketches { table, bands, gate } = self.features else { return Ok(()) };
        let mut leaders: Vec<(u64, Sketch)> = Vec::new();
        let mut n_leaders = 0u64;
        let mut findings = Findings::default();
        self.found.counts.hot_buckets += 1;
        while let Some((_, rank)) = buckets.next_if(|(next_key, _)| *next_key == key)? {
            let sketch = table.get(self.ranks.row(rank)?)?;
            let n_edges = findings.edges.len();
            let is_new = self.pairing.first_new <= rank;
            if is_new {
                for (leader, leader_sketch) in &leaders {
                    findings.judge(rank, *leader, &sketch, leader_sketch, *bands, *gate);
                }
                self.found.counts.untested_pairs += n_leaders - leaders.len() as u64;
            }
            if findings.edges.len() == n_edges && (self.pairing.among_new || !is_new) {
                if leaders.len() < 2 * HOT_REACH {
                    leaders.push((rank, sketch));
                } else {
                    leaders[HOT_REACH + n_leaders as usize % HOT_REACH] = (rank, sketch);
                }
                n_leaders += 1;
            }
            if findings.n_pairs >= WAVE_PAIRS {
                self.context.cancel.check()?;
                self.keep(std::mem::take(&mut findings))?;
            }
        }
        self.keep(findings)
    }
}

/// Cuts a range of rows into pieces whose sets are held at once.
fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    const BLOCK_ROWS: usize = 64;
    let end = range.end;
    range.step_by(BLOCK_ROWS).map(move |start| start..(start + BLOCK_ROWS).min(end))
}
