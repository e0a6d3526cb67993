//! Greedy maximization of what has diminishing returns, without looking at every row for every choice.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::Proposal;
use crate::Result;
use crate::context::Context;
use crate::select::candidates::Candidate;

/// A sum that grows with what is chosen, by ever less.
pub(super) trait Coverage {
    /// By how much it would grow with a row.
    fn gain(&mut self, index: usize) -> f64;

    /// The row is chosen.
    fn choose(&mut self, index: usize);

    /// What its gain is multiplied by.
    fn weight(&self, row: &Candidate) -> f64 {
        f64::from(row.weight)
    }
}

/// A row, and what it would have gained when that was last looked at, or could at most.
#[derive(Debug)]
struct Entry {
    gain: f64,
    /// Rows that were chosen then; none if it is only known not to be more.
    n_chosen: Option<usize>,
    key: (u64, u64),
    index: usize,
}

impl Entry {
    fn place(&self) -> (u64, u64, usize) {
        (self.key.0, self.key.1, self.index)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The largest gain is greatest; of equals the first by hash.
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then_with(|| other.place().cmp(&self.place()))
    }
}

/// Always the row with the largest gain for its cost, of equals the first by hash; before anything is chosen, gains are at most `gains`, but for rounding.
///
/// # Source
/// Minoux: Accelerated greedy algorithms for maximizing submodular set functions, 1978: a gain never grows, so that a row whose
/// gain was just looked at and is still the largest is the one.
pub(super) fn lazy_greedy(
    coverage: &mut impl Coverage,
    gains: &[f64],
    rows: &[Candidate],
    n: usize,
    admit: &mut dyn FnMut(usize) -> bool,
    context: &Context,
) -> Result<Vec<Proposal>> {
    let entry = |(index, (row, &gain)): (usize, (&Candidate, &f64))| Entry {
        gain: gain * coverage.weight(row),
        n_chosen: None,
        key: (row.key, row.row),
        index,
    };
    let mut heap: BinaryHeap<Entry> = rows.iter().zip(gains).enumerate().map(entry).collect();
    let mut chosen: Vec<Proposal> = Vec::new();
    while chosen.len() < n {
        context.cancel.check()?;
        let Some(mut best) = heap.pop() else { break };
        if best.n_chosen != Some(chosen.len()) {
            best.gain = coverage.gain(best.index) * coverage.weight(&rows[best.index]);
            best.n_chosen = Some(chosen.len());
            heap.push(best);
            continue;
        }
        if admit(best.index) {
            coverage.choose(best.index);
            chosen.push(Proposal { index: best.index, score: best.gain, cluster: None });
        }
    }
    Ok(chosen)
}
