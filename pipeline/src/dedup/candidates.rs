//! From keys to pairs worth a look, and the first look at them.
//!
//! ```text
//! (key, row) sorted -> buckets of 2 rows and more -> sketches: each pair of a bucket -> compare
//!                                                \-> sets: pairs of small buckets sorted, each once -> compare
//!                                                \-> hot: walk the bucket
//! compare -> clear pairs: edges
//!        \-> others: grey pairs
//! ```
//!
//! A pair meets in every bucket that it shares. It is compared only if that is the bucket of the first band (or the least
//! shingle) that the two rows share, hot buckets aside. A hot bucket must look at its pairs to know its leaders, but keeps
//! only what it finds of those that meet nowhere else.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use super::buckets::{BucketReader, Buckets, HotTags, buckets, split};
use super::compare::{Findings, first_shared};
use super::earlier::Pairing;
use super::edge::{Edge, GreyPair, Grouped};
use super::keep::Ranks;
use super::scope::{Place, Places};
use super::settings::Gate;
use super::sketch_table::{BucketGlances, Glance, SketchTable};
use super::tape::SetTable;
use crate::context::Context;
use crate::spill::{ExternalSorter, Sorted};
use crate::{Error, Result, RowSet};

const STAGE: &str = "near-duplicates: candidates";
/// A bucket of more rows is hot: its work is bounded, its untested pairs are counted.
pub(super) const HOT_ROWS: usize = 1000;
/// In a hot bucket, a row is compared with so many of the rows kept so far at its head, and as many at its tail.
const HOT_REACH: usize = 500;
/// Rows of a hot bucket that are compared at once.
pub(super) const HOT_BLOCK_ROWS: usize = 256;
/// A bucket of sets of more rows is large: its pairs are many, and compared where they are rather than sorted first.
const LARGE_ROWS: usize = 16;
/// Pairs that a thread takes at once.
const TASK_PAIRS: usize = 1 << 12;
/// Tasks done before what was found is handed on.
const WAVE_TASKS: usize = 32;
/// Pairs of small buckets looked at before what was found is handed on.
const WAVE_PAIRS: usize = WAVE_TASKS * TASK_PAIRS;

/// What is compared of a row.
#[derive(Debug)]
pub(super) enum Features {
    /// Sketches: what they leave open is grey.
    Sketches {
        /// Sketch by row.
        table: Glances,
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

/// Glances by row.
#[derive(Debug)]
pub(super) enum Glances {
    /// Of all rows.
    All(SketchTable),
    /// Of those that are looked at.
    Some(HashMap<u64, Glance<'static>>),
}

impl Glances {
    fn get(&self, row: u64) -> Result<Glance<'_>> {
        match self {
            Self::All(table) => table.get(row),
            Self::Some(glances) => {
                let glance = glances.get(&row).map(Glance::view);
                glance.ok_or_else(|| Error::Invariant(format!("the sketch of row {row} is not there")))
            }
        }
    }
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

impl Found {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            edges: ExternalSorter::new(STAGE, &context.budget),
            grey: ExternalSorter::new(STAGE, &context.budget),
            counts: Counts::default(),
        }
    }
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
    places: &Places,
    context: &Context,
) -> Result<Found> {
    let found = Found::new(context);
    let hot_rows = if matches!(features, Features::Sketches { .. }) { HOT_ROWS } else { usize::MAX };
    let Buckets { cool, hot, hot_keys } = buckets(keys, hot_rows, ranks, collapsed, context)?;
    let hot_tags = &HotTags::new(&hot_keys);
    let mut comparison = Comparison { features, ranks, pairing, hot_tags, places, context, found };
    let mut reader = BucketReader::new(&cool);
    let mut pairs = ExternalSorter::new(STAGE, &context.budget);
    loop {
        context.cancel.check()?;
        let numbers = reader.next_numbers()?;
        if numbers.is_empty() {
            break;
        }
        match features {
            Features::Sketches { .. } => comparison.run(&tasks(split(&numbers)))?,
            Features::Sets { .. } => comparison.run_large(split(&numbers), &mut pairs)?,
        }
    }
    drop(cool);
    comparison.run_pairs(pairs)?;
    comparison.walk_hot_buckets(hot)?;
    Ok(comparison.found)
}

/// Work for one thread.
#[derive(Debug)]
pub(super) enum Task<'a> {
    /// Small buckets: key, ranks.
    Buckets(Vec<(u64, &'a [u64])>),
    /// Part of the pairs of a large bucket: each row of `later` with all rows before it.
    Bucket { key: u64, ranks: &'a [u64], later: Range<usize> },
    /// Pairs, sorted: later rank, earlier rank.
    Pairs(&'a [(u64, u64)]),
}

/// Cuts the pairs of buckets into tasks of about as many pairs.
pub(super) fn tasks<'a>(buckets: impl Iterator<Item = (u64, &'a [u64])>) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    let mut small = Vec::new();
    let mut n_small_pairs = 0;
    for (key, ranks) in buckets {
        let n_pairs = ranks.len() * (ranks.len() - 1) / 2;
        if n_pairs >= TASK_PAIRS {
            tasks.extend(parts(ranks.len()).map(|later| Task::Bucket { key, ranks, later }));
            continue;
        }
        small.push((key, ranks));
        n_small_pairs += n_pairs;
        if n_small_pairs >= TASK_PAIRS {
            tasks.push(Task::Buckets(std::mem::take(&mut small)));
            n_small_pairs = 0;
        }
    }
    tasks.push(Task::Buckets(small));
    tasks
}

/// Cuts the rows of a bucket so that those of a part have about [`TASK_PAIRS`] pairs with the rows before them.
fn parts(n_rows: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 1;
    std::iter::from_fn(move || {
        let later = start..n_rows.min(start + 1 + TASK_PAIRS / start);
        start = later.end;
        (!later.is_empty()).then_some(later)
    })
}

/// Compares rows, and collects what is found.
pub(super) struct Comparison<'a> {
    pub(super) features: &'a Features,
    pub(super) ranks: &'a Ranks,
    pub(super) pairing: Pairing,
    pub(super) hot_tags: &'a HotTags,
    pub(super) places: &'a Places,
    pub(super) context: &'a Context,
    pub(super) found: Found,
}

impl Comparison<'_> {
    /// Does the work, so much at a time that what is found takes little memory: any pair may be an edge.
    pub(super) fn run(&mut self, tasks: &[Task<'_>]) -> Result<()> {
        for wave in tasks.chunks(WAVE_TASKS) {
            let this = &*self;
            let findings: Result<Vec<Findings>> =
                self.context.pool.install(|| wave.par_iter().with_max_len(1).map(|task| this.compare(task)).collect());
            findings?.into_iter().try_for_each(|findings| self.keep(findings))?;
        }
        Ok(())
    }

    /// Compares the pairs of large buckets, and hands on those of the others.
    fn run_large<'a>(
        &mut self,
        buckets: impl Iterator<Item = (u64, &'a [u64])>,
        pairs: &mut ExternalSorter<(u64, u64)>,
    ) -> Result<()> {
        for (key, ranks) in buckets {
            if ranks.len() > LARGE_ROWS {
                let tasks: Vec<_> = parts(ranks.len()).map(|later| Task::Bucket { key, ranks, later }).collect();
                self.run(&tasks)?;
                continue;
            }
            for (index, &later) in ranks.iter().enumerate() {
                for &earlier in &ranks[self.pairing.earlier(ranks, index)] {
                    pairs.push((later, earlier), self.context)?;
                }
            }
        }
        Ok(())
    }

    /// Compares pairs, each once.
    fn run_pairs(&mut self, pairs: ExternalSorter<(u64, u64)>) -> Result<()> {
        let mut pairs = Grouped::new(pairs.finish(self.context)?)?;
        let mut wave = Vec::new();
        while let Some(pair) = pairs.next()? {
            if pairs.peek() != Some(&pair) {
                wave.push(pair);
            }
            if wave.len() == WAVE_PAIRS || pairs.peek().is_none() {
                self.run(&wave.chunks(TASK_PAIRS).map(Task::Pairs).collect::<Vec<_>>())?;
                wave.clear();
            }
        }
        Ok(())
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

    fn compare(&self, task: &Task<'_>) -> Result<Findings> {
        self.context.cancel.check()?;
        let mut findings = Findings::default();
        match (task, self.features) {
            (Task::Buckets(buckets), Features::Sketches { table, gate }) => {
                let mut glances = BucketGlances::default();
                for &(key, ranks) in buckets {
                    self.compare_sketches(key, ranks, 1..ranks.len(), table, *gate, &mut glances, &mut findings)?;
                }
            }
            (Task::Bucket { key, ranks, later }, Features::Sketches { table, gate }) => {
                let (ranks, mut glances) = (&ranks[..later.end], BucketGlances::default());
                self.compare_sketches(*key, ranks, later.clone(), table, *gate, &mut glances, &mut findings)?;
            }
            (Task::Bucket { key, ranks, later }, Features::Sets { table, threshold }) => {
                self.compare_sets(*key, &ranks[..later.end], later.clone(), table, *threshold, &mut findings)?;
            }
            (Task::Pairs(pairs), Features::Sets { table, threshold }) => {
                for pairs in pairs.chunk_by(|left, right| left.0 == right.0) {
                    let later = pairs[0].0;
                    let left = table.get(self.ranks.row(later)?)?;
                    for &(_, earlier) in pairs {
                        let right = table.get(self.ranks.row(earlier)?)?;
                        findings.judge_sets((later, &left), (earlier, &right), *threshold);
                    }
                }
            }
            (Task::Buckets(_), Features::Sets { .. }) | (Task::Pairs(_), Features::Sketches { .. }) => {}
        }
        Ok(findings)
    }

    #[expect(clippy::too_many_arguments, reason = "buffers that are used again")]
    fn compare_sketches<'t>(
        &self,
        key: u64,
        ranks: &[u64],
        later: Range<usize>,
        table: &'t Glances,
        gate: Gate,
        glances: &mut BucketGlances<'t>,
        findings: &mut Findings,
    ) -> Result<()> {
        glances.fill(key, ranks.iter().map(|&rank| table.get(self.ranks.row(rank)?)))?;
        let is_hot = |tag| self.hot_tags.contain(tag);
        let mut met = Vec::new();
        for later in later {
            glances.meeting(later, self.pairing.earlier(ranks, later), is_hot, &mut met);
            let left = glances.get(later);
            for &earlier in &met {
                findings.judge(ranks[later], ranks[earlier], left, glances.get(earlier), gate);
            }
        }
        Ok(())
    }

    fn compare_sets(
        &self,
        key: u64,
        ranks: &[u64],
        later: Range<usize>,
        table: &SetTable,
        threshold: f64,
        findings: &mut Findings,
    ) -> Result<()> {
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
        Ok(())
    }

    fn sets(&self, table: &SetTable, ranks: &[u64]) -> Result<Vec<Vec<u64>>> {
        ranks.iter().map(|&rank| table.get(self.ranks.row(rank)?)).collect()
    }

    /// Compares each row of a hot bucket with the first and the last rows of those that nothing before them in the bucket
    /// clearly drops. An edge to a row so dropped could only matter if that row were kept after all.
    fn walk_hot_buckets(&mut self, hot: Sorted<(u64, u64)>) -> Result<()> {
        let Features::Sketches { table, gate } = self.features else { return Ok(()) };
        let mut hot = Grouped::new(hot)?;
        while let Some(&(key, _)) = hot.peek() {
            self.found.counts.hot_buckets += 1;
            let mut leaders = Leaders::default();
            loop {
                let mut block = Vec::with_capacity(HOT_BLOCK_ROWS);
                while block.len() < HOT_BLOCK_ROWS {
                    let Some((_, rank)) = hot.next_if(|(next_key, _)| *next_key == key)? else { break };
                    let glance = table.get(self.ranks.row(rank)?)?;
                    block.push(HotRow::new(rank, self.places.of(rank, self.ranks)?, glance, self.hot_tags));
                }
                if block.is_empty() {
                    break;
                }
                self.context.cancel.check()?;
                self.walk_block(block, &mut leaders, *gate)?;
            }
        }
        Ok(())
    }

    /// Compares the rows of a block with the leaders before it on all threads, then with those inside of it.
    pub(super) fn walk_block(&mut self, block: Vec<HotRow<'_>>, leaders: &mut Leaders, gate: Gate) -> Result<()> {
        let pairing = self.pairing;
        let compare = |row: &HotRow<'_>| {
            let mut findings = Findings::default();
            if pairing.is_new(row.rank) {
                row.judge(&leaders.held, gate, &mut findings);
            }
            findings
        };
        let all: Vec<Findings> = self.context.pool.install(|| block.par_iter().map(compare).collect());
        let mut new_leaders: Vec<HotRow<'_>> = Vec::new();
        for (row, mut findings) in block.into_iter().zip(all) {
            let is_new = pairing.is_new(row.rank);
            if is_new {
                self.found.counts.untested_pairs += leaders.n_rows - leaders.held.len() as u64;
                row.judge(&new_leaders, gate, &mut findings);
            }
            if !findings.is_any_clear && (pairing.among_new || !is_new) {
                new_leaders.push(row);
            }
            self.keep(findings)?;
        }
        for row in new_leaders {
            leaders.push(row);
        }
        Ok(())
    }
}

/// A row of a hot bucket.
#[derive(Debug)]
pub(super) struct HotRow<'a> {
    rank: u64,
    place: Place,
    glance: Glance<'a>,
    /// It was compared with whom it shares one of them.
    cool_bands: Vec<bool>,
}

impl<'a> HotRow<'a> {
    pub(super) fn new(rank: u64, place: Place, glance: Glance<'a>, hot_tags: &HotTags) -> Self {
        let cool_bands = glance.cool_bands(|tag| hot_tags.contain(tag));
        Self { rank, place, glance, cool_bands }
    }

    /// Compares it with earlier rows. What is out of its scope must not pass for a row that it is dropped for.
    fn judge(&self, earlier: &[HotRow<'_>], gate: Gate, findings: &mut Findings) {
        for other in earlier.iter().filter(|other| self.place.meets(other.place)) {
            let is_known = || self.glance.shares_one_of(&self.cool_bands, &other.glance);
            findings.judge_unless(is_known, self.rank, other.rank, &self.glance, &other.glance, gate);
        }
    }
}

/// Rows of a hot bucket that others are compared with: the first and the last of those that nothing clearly drops.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    held: Vec<HotRow<'static>>,
    n_rows: u64,
}

impl Leaders {
    fn push(&mut self, row: HotRow<'_>) {
        let HotRow { rank, place, glance, cool_bands } = row;
        let leader = HotRow { rank, place, glance: glance.into_owned(), cool_bands };
        if self.held.len() < 2 * HOT_REACH {
            self.held.push(leader);
        } else {
            self.held[HOT_REACH + self.n_rows as usize % HOT_REACH] = leader;
        }
        self.n_rows += 1;
    }
}

/// Cuts a range of rows into pieces whose sets are held at once.
fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    const BLOCK_ROWS: usize = 64;
    let end = range.end;
    range.step_by(BLOCK_ROWS).map(move |start| start..(start + BLOCK_ROWS).min(end))
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::band::Bands;
    use super::super::sketch::{N_SLOTS, Sketch};
    use super::super::sketch_table::SketchTableWriter;
    use super::*;
    use crate::context::{Cancel, Resources};

    const BANDS: Bands = Bands { n_bands: 26, rows_per_band: 8 };

    /// Rows of one family: of each band most have the usual slots. Of every other row one slot of each band is its own, so that
    /// it shares no band with any; all share the first one if `is_first_shared`.
    fn family(n_rows: u32, is_first_shared: bool, random: &mut ChaCha8Rng) -> Vec<Sketch> {
        let mut sketch_of = |row: u32| {
            let mut sketch: Sketch = std::array::from_fn(|slot| slot as u32);
            let bands = sketch.chunks_exact_mut(BANDS.rows_per_band);
            for slots in bands.skip(usize::from(is_first_shared)) {
                let variant = if random.random_bool(0.7) { 0 } else { random.random_range(1..4) };
                for slot in slots.iter_mut() {
                    *slot += 300 * variant;
                }
                slots[7] += if row.is_multiple_of(2) { 0 } else { 300 * (4 + row) };
            }
            sketch
        };
        (0..n_rows).map(&mut sketch_of).collect()
    }

    /// Holds the pairs found against all pairs; gives the number of those that share one band only.
    fn check(sketches: &[Sketch], pairing: Pairing, expect_hot_buckets: u64) -> usize {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        // None is clear, so that all rows of a hot bucket are leaders.
        let gate = Gate { refuse_below: 128, accept_from: N_SLOTS as u32 + 1 };
        let mut table = SketchTableWriter::new(BANDS, STAGE, &context);
        let mut keys = ExternalSorter::new(STAGE, &context.budget);
        for (sketch, row) in sketches.iter().zip(0..) {
            let mut keys_of_row = Vec::new();
            BANDS.push_keys(sketch, &mut keys_of_row);
            table.push(row, sketch, &keys_of_row, &context).unwrap();
            for key in keys_of_row {
                keys.push((key, row), &context).unwrap();
            }
        }
        let table = table.finish(&context).unwrap();
        let glances: Vec<Glance<'static>> =
            (0..sketches.len() as u64).map(|row| table.get(row).unwrap().into_owned()).collect();
        let mut expect = Vec::new();
        for (left, later) in glances.iter().zip(0..) {
            for (right, earlier) in glances.iter().zip(0..later) {
                let is_asked = pairing.is_new(later) && (pairing.among_new || !pairing.is_new(earlier));
                let n_shared_bands = left.n_shared_bands(right);
                if is_asked && 0 < n_shared_bands && gate.refuse_below <= left.n_agreeing(right) {
                    expect.push(GreyPair::new(later, earlier, n_shared_bands));
                }
            }
        }
        let features = Features::Sketches { table: Glances::All(table), gate };
        let (collapsed, places) = (RowSet::new(), Places::anywhere());
        let found = compare(keys, &features, &Ranks::ByRow, pairing, &collapsed, &places, &context).unwrap();
        assert_eq!(found.counts.hot_buckets, expect_hot_buckets);
        let grey: Vec<GreyPair> = found.grey.finish(&context).unwrap().map(Result::unwrap).collect();
        assert!(grey == expect, "{} pairs found, {} expected", grey.len(), expect.len());
        expect.iter().filter(|pair| pair.n_shared_bands() == 1).count()
    }

    #[test]
    fn each_pair_that_shares_a_band_is_found_once() {
        let mut random = ChaCha8Rng::seed_from_u64(51);
        let everywhere = Pairing { first_new: 0, among_new: true };
        for n_rows in [2, 3, 10, 300] {
            check(&family(n_rows, false, &mut random), everywhere, 0);
        }
        let n_rows = HOT_ROWS + 1;
        let sketches = family(n_rows as u32, true, &mut random);
        for pairing in
            [everywhere, Pairing { first_new: 400, among_new: true }, Pairing { first_new: 400, among_new: false }]
        {
            check(&sketches[1..], pairing, 0);
            let n_met_once = check(&sketches, pairing, 1);
            assert!(n_rows < n_met_once, "{n_met_once} pairs depend on the hot bucket");
        }
    }
}
