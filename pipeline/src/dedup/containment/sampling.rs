//! How much of a set is sampled, and how much of that a row that contains the set must have.

use super::super::measure::least_overlap;
use super::super::shingle::to_set;
use crate::{Error, Result};

/// The largest sample.
const MOST_SAMPLED: usize = 256;
/// The smallest sample worth having.
const LEAST_SAMPLED: usize = 8;
/// How many unrelated rows, that contain half of what they would have to, each row is taken to meet.
const N_UNRELATED: f64 = 1000.0;
/// Share of the pairs that the recall allows to be missed, that a sample is chosen to miss.
const SHARE_MISSED: f64 = 0.3;
/// Elements that an exhaustive search samples beyond the fewest that do: it may leave as many long lists out.
const N_SPARE: usize = 32;

/// What is sampled of a set, and when a larger set becomes a candidate to contain it.
///
/// A sample of `s` elements has, of a set contained to `c`, a number of shared elements of mean `c s`; a pair becomes a
/// candidate from `m` on, with the probability that a binomial variable of `s` trials with `c` reaches `m`. (Sampling
/// without replacement spreads less than that.) A set no larger than `s` is its own sample, and its containment known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    threshold: f64,
    plan: Plan,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Plan {
    Random { n_sampled: usize, least_shared: usize },
    Exhaustive,
}

/// The sample of one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Its elements.
    pub(super) n_sampled: usize,
    /// Elements that a candidate has of it, at least 1.
    pub(super) least_shared: usize,
}

impl Sampling {
    /// Chooses a sample in which a pair at `threshold` shares enough elements with a probability of `recall` or more; as
    /// with bands, only a third of what may be missed is.
    ///
    /// Of all that do, the one with the least expected work per row: one unit for each element, and one for each of 1,000
    /// rows at half the threshold that becomes a candidate. At a recall of 1.0 no pair is missed.
    ///
    /// # Errors
    /// `Error::Config` if no sample can reach the recall.
    pub(in super::super) fn choose(threshold: f64, recall: f64) -> Result<Self> {
        if recall >= 1.0 {
            return Ok(Self { threshold, plan: Plan::Exhaustive });
        }
        let reaching = |aim: f64| -> Vec<(usize, usize)> {
            let sizes = LEAST_SAMPLED..=MOST_SAMPLED;
            sizes.filter_map(|n| Some((n, (1..=n).rev().find(|&least| tail(n, threshold, least) >= aim)?))).collect()
        };
        let mut choices = reaching(1.0 - SHARE_MISSED * (1.0 - recall));
        if choices.is_empty() {
            choices = reaching(recall);
        }
        let cost = |&(n, least): &(usize, usize)| n as f64 + N_UNRELATED * tail(n, threshold / 2.0, least);
        let choice = choices.into_iter().min_by(|left, right| cost(left).total_cmp(&cost(right)));
        let (n_sampled, least_shared) = choice.ok_or_else(|| Error::Config {
            message: format!(
                "a recall of {recall} at a containment of {threshold} needs a sample of more than {MOST_SAMPLED} shingles"
            ),
            hint: Some(format!(
                "at this threshold up to {:.6} can be reached; a recall of 1.0 compares without samples",
                tail(MOST_SAMPLED, threshold, 1)
            )),
        })?;
        Ok(Self { threshold, plan: Plan::Random { n_sampled, least_shared } })
    }

    /// Elements of a sample and elements that a candidate shares; `None` if the search is exhaustive.
    pub fn sizes(self) -> Option<(usize, usize)> {
        match self.plan {
            Plan::Random { n_sampled, least_shared } => Some((n_sampled, least_shared)),
            Plan::Exhaustive => None,
        }
    }

    /// Probability that a row which contains `containment` of a large set becomes a candidate.
    pub fn probability(self, containment: f64) -> f64 {
        match self.plan {
            Plan::Random { n_sampled, least_shared } => tail(n_sampled, containment, least_shared),
            Plan::Exhaustive => 1.0,
        }
    }

    /// The S-curve: containment and probability to be found, from 0 to 1 in steps of 0.05.
    pub fn s_curve(self) -> Vec<(f64, f64)> {
        (0..=20).map(|step| f64::from(step) / 20.0).map(|c| (c, self.probability(c))).collect()
    }

    /// The sample of a set of `n_elements`.
    ///
    /// A set that contains `overlap` of them misses `n_elements - overlap`: of any sample larger than that it has the rest.
    pub(super) fn of(self, n_elements: usize) -> Sample {
        let overlap = least_overlap(n_elements, self.threshold);
        let n_sampled = match self.plan {
            Plan::Random { n_sampled, .. } => n_sampled,
            Plan::Exhaustive => n_elements - overlap + 1 + N_SPARE,
        };
        let n_sampled = n_sampled.min(n_elements);
        let sure = (n_sampled + overlap).saturating_sub(n_elements);
        let least_shared = match self.plan {
            Plan::Random { least_shared, .. } if n_sampled < n_elements => least_shared.max(sure),
            _ => sure,
        };
        Sample { n_sampled, least_shared: least_shared.max(1) }
    }
}

/// Probability that of `n` trials with `p` at least `least` succeed.
fn tail(n: usize, p: f64, least: usize) -> f64 {
    if least == 0 || p >= 1.0 {
        return f64::from(u8::from(least <= n));
    }
    if p <= 0.0 {
        return 0.0;
    }
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    // From the most successes down, so that the small terms are added first where the tail is thin.
    for k in (least..=n).rev() {
        let log_term = log_choose + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p();
        sum += log_term.exp();
        log_choose += (k as f64).ln() - ((n - k + 1) as f64).ln();
    }
    sum.min(1.0)
}

/// Leaves the sample of a set: the least distinct of `shingles`, in order. The number of all distinct ones is returned.
pub(in super::super) fn least_distinct(shingles: &mut Vec<u64>, table: &mut Vec<u64>, sampling: Sampling) -> usize {
    /// More shingles are sorted, which takes no memory.
    const MOST_IN_TABLE: usize = 1 << 16;
    /// So many times a sample are expected below the limit up to which elements are sorted.
    const SLACK: usize = 2;

    if shingles.len() > MOST_IN_TABLE {
        to_set(shingles);
    } else {
        drop_repeats(shingles, table);
    }
    let n_elements = shingles.len();
    let n_sampled = sampling.of(n_elements).n_sampled;
    if n_sampled < n_elements / (2 * SLACK) {
        let limit = u64::MAX / n_elements as u64 * (SLACK * n_sampled) as u64;
        if shingles.iter().filter(|&&shingle| shingle <= limit).count() >= n_sampled {
            shingles.retain(|&shingle| shingle <= limit);
        }
    }
    shingles.sort_unstable();
    shingles.truncate(n_sampled);
    n_elements
}

/// Drops repeats, in any order: shingles are well mixed, so that they find their place in a table by their high bits.
fn drop_repeats(shingles: &mut Vec<u64>, table: &mut Vec<u64>) {
    if shingles.len() < 2 {
        return;
    }
    let n_places = (2 * shingles.len()).next_power_of_two();
    let shift = u64::BITS - n_places.trailing_zeros();
    table.clear();
    table.resize(n_places, 0);
    // 0 marks an empty place, so that the shingle 0 has none.
    let mut has_zero = false;
    let mut n_kept = 0;
    for index in 0..shingles.len() {
        let shingle = shingles[index];
        let mut place = (shingle >> shift) as usize;
        while table[place] != shingle && table[place] != 0 {
            place = (place + 1) & (n_places - 1);
        }
        let is_new = if shingle == 0 { !std::mem::replace(&mut has_zero, true) } else { table[place] == 0 };
        table[place] = if shingle == 0 { table[place] } else { shingle };
        shingles[n_kept] = shingle;
        n_kept += usize::from(is_new);
    }
    shingles.truncate(n_kept);
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::super::shingle::mix;
    use super::*;

    #[test]
    fn tails_are_those_of_pascals_triangle() {
        for (n, p) in [(1usize, 0.5f64), (8, 0.9), (40, 0.8), (64, 0.25), (256, 0.02)] {
            let mut density = vec![1.0];
            for _ in 0..n {
                let mut next = vec![0.0; density.len() + 1];
                for (k, value) in density.iter().enumerate() {
                    next[k] += value * (1.0 - p);
                    next[k + 1] += value * p;
                }
                density = next;
            }
            for least in 0..=n {
                let expect: f64 = density[least..].iter().sum();
                assert!((tail(n, p, least) - expect).abs() < 1e-9, "{n} {p} {least}");
            }
        }
        assert!((tail(10, 1.0, 10) - 1.0).abs() < 1e-12 && tail(10, 0.0, 1) == 0.0);
    }

    #[test]
    fn samples_reach_the_recall() {
        for threshold in [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0] {
            for recall in [0.9, 0.99, 0.999] {
                let sampling = Sampling::choose(threshold, recall).unwrap();
                let (n_sampled, least_shared) = sampling.sizes().unwrap();
                assert!(n_sampled <= MOST_SAMPLED && least_shared >= 1);
                assert!(sampling.probability(threshold) >= 1.0 - 0.3 * (1.0 - recall) - 1e-12, "{threshold} {recall}");
            }
        }
        let error = Sampling::choose(0.01, 0.99).unwrap_err();
        assert!(error.to_string().contains("recall of 0.99 at a containment of 0.01"), "{error}");
        assert!(error.hint().unwrap().contains("0.923"), "{:?}", error.hint());
    }

    #[test]
    fn a_sample_of_an_exhaustive_search_shares_enough_for_sure() {
        let sampling = Sampling::choose(0.8, 1.0).unwrap();
        assert_eq!(sampling.of(1), Sample { n_sampled: 1, least_shared: 1 });
        assert_eq!(sampling.of(10), Sample { n_sampled: 10, least_shared: 8 });
        assert_eq!(sampling.of(1000), Sample { n_sampled: 233, least_shared: 33 });
        for n_elements in 1..500 {
            let Sample { n_sampled, least_shared } = sampling.of(n_elements);
            // The worst set that contains enough misses nothing but elements of the sample.
            let n_missed = n_elements - least_overlap(n_elements, 0.8);
            assert_eq!(n_sampled - n_missed.min(n_sampled), least_shared, "{n_elements}");
        }
    }

    #[test]
    fn sets_of_a_samples_size_are_known() {
        let sampling = Sampling::choose(0.8, 0.99).unwrap();
        let (n_most, least_shared) = sampling.sizes().unwrap();
        for n_elements in 1..=n_most {
            let expect = Sample { n_sampled: n_elements, least_shared: least_overlap(n_elements, 0.8) };
            assert_eq!(sampling.of(n_elements), expect);
        }
        assert_eq!(sampling.of(100 * n_most), Sample { n_sampled: n_most, least_shared });
    }

    #[test]
    fn samples_are_the_least_distinct_elements() {
        let mut random = ChaCha8Rng::seed_from_u64(61);
        let mut table = Vec::new();
        for recall in [0.99, 1.0] {
            let sampling = Sampling::choose(0.7, recall).unwrap();
            for n_shingles in [0, 1, 2, 3, 30, 300, 3000, 70_000] {
                for n_values in [1, 2, n_shingles.max(1) / 2 + 1, 10 * n_shingles + 1] {
                    let mut shingles: Vec<u64> =
                        (0..n_shingles).map(|_| mix(random.random_range(0..n_values as u64))).collect();
                    let mut expect = shingles.clone();
                    to_set(&mut expect);
                    let n_elements = least_distinct(&mut shingles, &mut table, sampling);
                    assert_eq!(n_elements, expect.len());
                    expect.truncate(sampling.of(n_elements).n_sampled);
                    assert_eq!(shingles, expect);
                }
            }
        }
        let mut zeros = vec![0, 5, 0, 5, u64::MAX, u64::MAX];
        assert_eq!(least_distinct(&mut zeros, &mut table, Sampling::choose(0.7, 0.99).unwrap()), 3);
        assert_eq!(zeros, [0, 5, u64::MAX]);
    }
}
