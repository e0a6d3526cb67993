//! What each threshold would do, and which one to take.

use rayon::prelude::*;

use super::pairs::{N_PARTS, Pair, Pairs};
use super::sample::{Role, Sample, SampledRow};
use crate::context::Context;
use crate::dedup::{Bands, Search, Settings};
use crate::{Error, Result};

/// Thresholds are multiples of a twentieth, from 0.5 to 0.95.
const THRESHOLDS: std::ops::RangeInclusive<u32> = 10..=19;
/// Of two thresholds with equal claims the one that is nearer to this is suggested.
const USUAL: f64 = 0.8;
/// Pairs shown on each side of the suggested threshold.
const N_EXAMPLES: usize = 3;
/// Texts of fewer shingles are so short that one changed word decides.
const SHORT_SHINGLES: usize = 30;

/// What near-duplicate removal would do at one threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdLine {
    /// Jaccard similarity from which rows are near-duplicates.
    pub threshold: f64,
    /// How candidates would be found.
    pub search: Search,
    /// Pairs of the input at or above the threshold.
    pub pairs: f64,
    /// Rows of the input that would be dropped.
    pub dropped_rows: f64,
    /// The same as a share of the input.
    pub dropped_ratio: f64,
    /// Two standard errors of that share; 0 if the sample is the whole input.
    pub dropped_ratio_error: f64,
    /// Share of the true pairs that become candidates; `None` without a pair.
    pub recall: Option<f64>,
    /// Share of the candidates that are true pairs, before proof. After it, all are. `None` without a candidate.
    pub precision: Option<f64>,
    /// Candidate pairs of the input for each of its rows; `None` if the search is exhaustive.
    pub candidates_per_row: Option<f64>,
}

/// The settings to try first.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// Threshold.
    pub threshold: f64,
    /// Why that one, in a sentence.
    pub reason: String,
    /// What else may be wrong with the settings.
    pub note: Option<String>,
}

/// What a sample says about settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// A line for each threshold, ascending.
    pub lines: Vec<ThresholdLine>,
    /// Similarities from which a bin goes to the next, and pairs of the input in it; the last bin holds those of similarity 1.
    pub histogram: Vec<(f64, f64)>,
    /// The settings to try first.
    pub suggestion: Suggestion,
    /// The pairs nearest to the suggested threshold from above, nearest first.
    pub above: Vec<Pair>,
    /// The pairs nearest to it from below, nearest first.
    pub below: Vec<Pair>,
}

impl Tuning {
    /// Works out what `pairs` of `sample` say.
    ///
    /// # Errors
    /// `Error::Config` if no bands reach the recall asked for.
    pub fn new(sample: &Sample, pairs: &Pairs, context: &Context) -> Result<Self> {
        if sample.n_drawn() < 2 {
            return Err(Error::config("the input has fewer than two rows: there is nothing to compare"));
        }
        let scale = Scale::new(sample);
        let lines = THRESHOLDS
            .map(|step| line(f64::from(step) / 20.0, sample, pairs, &scale, context))
            .collect::<Result<Vec<_>>>()?;
        let suggestion = suggest(&lines, sample);
        let threshold = suggestion.threshold;
        let mut reservation = context.budget.reserve("comparing the sample");
        reservation.grow(size_of_val(pairs.near.as_slice()))?;
        let mut sorted = pairs.near.clone();
        sorted.sort_by(|left, right| {
            left.similarity
                .total_cmp(&right.similarity)
                .then((left.later, left.earlier).cmp(&(right.later, right.earlier)))
        });
        let (below, above) = sorted.split_at(sorted.partition_point(|pair| pair.similarity < threshold));
        Ok(Self {
            histogram: histogram(sample, pairs, &scale),
            above: examples(above.iter()),
            below: examples(below.iter().rev()),
            lines,
            suggestion,
        })
    }
}

/// From the sample to the input.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Rows of the input that a row drawn stands for.
    rows: f64,
    /// Other rows of the input that another row drawn stands for.
    others: f64,
    n_drawn: f64,
    is_whole_input: bool,
}

impl Scale {
    fn new(sample: &Sample) -> Self {
        let (n_rows, n_drawn) = (sample.n_rows() as f64, sample.n_drawn() as f64);
        Self {
            rows: n_rows / n_drawn,
            others: (n_rows - 1.0) / (n_drawn - 1.0),
            n_drawn,
            is_whole_input: sample.is_whole_input(),
        }
    }

    /// How often the rows drawn have this pair, taken together: each end that was drawn counts once if all its neighbours are
    /// there, whoever they are. Of a row with too many neighbours those that were drawn stand for all.
    fn ends(self, sample: &Sample, pair: &Pair) -> f64 {
        let roles = [sample.roles[pair.earlier as usize], sample.roles[pair.later as usize]];
        let end = |role, other: Role| match role {
            Role::Drawn => 1.0,
            Role::DrawnOfMany if other.is_drawn() => self.others,
            Role::DrawnOfMany | Role::Neighbour => 0.0,
        };
        end(roles[0], roles[1]) + end(roles[1], roles[0])
    }

    /// Pairs of the input, from the ends of the rows drawn.
    fn pairs(self, n_ends: f64) -> f64 {
        n_ends * self.rows / 2.0
    }
}

fn line(threshold: f64, sample: &Sample, pairs: &Pairs, scale: &Scale, context: &Context) -> Result<ThresholdLine> {
    let settings = Settings { threshold, bands: None, ..sample.settings.clone() };
    let search = settings.search()?;
    let met = context.pool.install(|| count_met(threshold, search, sample, pairs, *scale));
    let dropped = star(threshold, sample, pairs);
    let n_dropped =
        dropped.iter().zip(&sample.roles).filter(|(dropped, role)| **dropped && role.is_drawn()).count() as f64;
    let far = match search {
        Search::Bands(bands) => expected_far(bands, pairs) * scale.others,
        Search::Exhaustive => 0.0,
    };
    // Each end of a pair is a row drawn that has it, and each pair of the input has two ends.
    let candidates_per_row = (met.candidates / 2.0 + far) / scale.n_drawn;
    let found_per_row = met.found / 2.0 / scale.n_drawn;
    let is_exhaustive = search == Search::Exhaustive;
    Ok(ThresholdLine {
        threshold,
        search,
        pairs: scale.pairs(met.reaching),
        dropped_rows: n_dropped * scale.rows,
        dropped_ratio: n_dropped / scale.n_drawn,
        dropped_ratio_error: if scale.is_whole_input { 0.0 } else { two_standard_errors(n_dropped, scale) },
        recall: (met.reaching > 0.0).then(|| met.found / met.reaching),
        precision: (!is_exhaustive && candidates_per_row > 0.0).then(|| found_per_row / candidates_per_row),
        candidates_per_row: (!is_exhaustive).then_some(candidates_per_row),
    })
}

/// Two standard errors of a share of the rows drawn, as Agresti and Coull (1998) take it: not 0 where nothing was seen.
fn two_standard_errors(n_seen: f64, scale: &Scale) -> f64 {
    let n = scale.n_drawn + 4.0;
    let share = (n_seen + 2.0) / n;
    let left = 1.0 - 1.0 / scale.rows;
    2.0 * (left * share * (1.0 - share) / n).sqrt()
}

/// Pairs, by the ends of the rows drawn.
#[derive(Debug, Default, Clone, Copy)]
struct Met {
    /// At or above the threshold.
    reaching: f64,
    /// Of these, those that share a band.
    found: f64,
    /// All that share a band.
    candidates: f64,
}

fn count_met(threshold: f64, search: Search, sample: &Sample, pairs: &Pairs, scale: Scale) -> Met {
    let keys: Vec<Vec<u64>> = match search {
        Search::Bands(bands) => sample.rows.par_iter().map(|row| keys(bands, row)).collect(),
        Search::Exhaustive => Vec::new(),
    };
    let shares_band = |pair: &Pair| {
        let (left, right) = (&keys[pair.earlier as usize], &keys[pair.later as usize]);
        left.iter().zip(right).any(|(left, right)| left == right)
    };
    let is_candidate = |pair: &Pair| match search {
        Search::Bands(_) => shares_band(pair),
        Search::Exhaustive => threshold <= pair.similarity,
    };
    let are_candidates: Vec<bool> = pairs.near.par_iter().map(is_candidate).collect();
    // One thread adds, so that sums of fractions come out the same for any number of threads.
    let mut met = Met::default();
    for (pair, is_candidate) in pairs.near.iter().zip(are_candidates) {
        let n_ends = scale.ends(sample, pair);
        let counted = |counts: bool| if counts { n_ends } else { 0.0 };
        met.reaching += counted(threshold <= pair.similarity);
        met.found += counted(threshold <= pair.similarity && is_candidate);
        met.candidates += counted(is_candidate);
    }
    met
}

/// Band keys; of a row without a token, its text's key, which the exact rule finds it by.
fn keys(bands: Bands, row: &SampledRow) -> Vec<u64> {
    let mut keys = Vec::with_capacity(bands.n_bands);
    if row.set.is_empty() {
        keys.push(row.exact_key as u64);
    } else {
        bands.push_keys(&row.sketch, &mut keys);
    }
    keys
}

/// Pairs of drawn rows below [`NEAR`](super::pairs::NEAR) that are expected to share a band.
fn expected_far(bands: Bands, pairs: &Pairs) -> f64 {
    let middle = |part: usize| (part as f64 + 0.5) / N_PARTS as f64;
    pairs.far.iter().enumerate().map(|(part, &n_pairs)| n_pairs as f64 * bands.probability(middle(part))).sum()
}

/// Which rows are dropped, row by row: those with an earlier row at or above the threshold that stays.
fn star(threshold: f64, sample: &Sample, pairs: &Pairs) -> Vec<bool> {
    let mut dropped = vec![false; sample.rows.len()];
    for pair in pairs.near.iter().filter(|pair| threshold <= pair.similarity) {
        if !dropped[pair.earlier as usize] {
            dropped[pair.later as usize] = true;
        }
    }
    dropped
}

fn histogram(sample: &Sample, pairs: &Pairs, scale: &Scale) -> Vec<(f64, f64)> {
    let first = *THRESHOLDS.start();
    let mut n_ends_of = vec![0.0; 20 - first as usize + 1];
    for pair in &pairs.near {
        let bin = (first..=20).rev().find(|&step| f64::from(step) / 20.0 <= pair.similarity);
        if let Some(bin) = bin {
            n_ends_of[(bin - first) as usize] += scale.ends(sample, pair);
        }
    }
    (first..).zip(n_ends_of).map(|(step, n_ends)| (f64::from(step) / 20.0, scale.pairs(n_ends))).collect()
}

/// The threshold around which the verdicts change least.
fn suggest(lines: &[ThresholdLine], sample: &Sample) -> Suggestion {
    let note = (sample.median_shingles() < SHORT_SHINGLES && sample.settings.n_tokens > 2).then(|| {
        format!(
            "texts are short (half of them have at most {} shingles), so that one changed word weighs much: look at --ngram 2 \
             too, or at --preset loose",
            sample.median_shingles()
        )
    });
    if lines[0].pairs <= 0.0 {
        let reason = "no two rows were found that reach 0.5: nothing would be dropped at any threshold".to_owned();
        return Suggestion { threshold: USUAL, reason, note };
    }
    let change = |at: usize| lines[at - 1].dropped_ratio - lines[at + 1].dropped_ratio;
    let from_usual = |at: usize| (lines[at].threshold - USUAL).abs();
    let best = (1..lines.len() - 1)
        .min_by(|&left, &right| {
            change(left).total_cmp(&change(right)).then(from_usual(left).total_cmp(&from_usual(right)))
        })
        .unwrap_or(0);
    let reason = format!(
        "between {:.2} and {:.2} the share of dropped rows changes by {:.2} percentage points, less than around any other \
         threshold: there the exact value matters least",
        lines[best - 1].threshold,
        lines[best + 1].threshold,
        100.0 * change(best),
    );
    Suggestion { threshold: lines[best].threshold, reason, note }
}

/// The first pairs, each with rows that no other of them has.
fn examples<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Vec<Pair> {
    let mut shown: Vec<Pair> = Vec::new();
    for pair in pairs {
        let is_new = |row: u32| shown.iter().all(|shown| shown.earlier != row && shown.later != row);
        if is_new(pair.earlier) && is_new(pair.later) {
            shown.push(*pair);
            if shown.len() == N_EXAMPLES {
                break;
            }
        }
    }
    shown
}
