//! The sketch against its theory, and against classic `MinHash` as an independent implementation of the same promise.
//!
//! Tolerances are two-sided and derived, seeds are fixed:
//!
//! - a mean over T trials has a standard error of `sigma / sqrt(T)`, five of which are allowed;
//! - a root mean square over T trials has a relative standard error of `1 / sqrt(2 T)`, five of which are allowed;
//! - a share over T trials has a standard error of `sqrt(p (1 - p) / T)`, five of which are allowed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const N_ERRORS: f64 = 5.0;
const SLOTS: f64 = N_SLOTS as f64;
/// Bands and slots of each: the presets, and what a recall of 0.99 at 0.8 takes.
const BANDS: [(usize, usize); 4] = [(20, 12), (16, 8), (50, 4), (32, 8)];
/// Shingles of each set, shared ones: sets of one shingle are equal or disjoint, and tested apart.
const SETS: [(usize, usize); 20] = [
    (2, 1),
    (5, 2),
    (5, 3),
    (5, 4),
    (10, 5),
    (10, 8),
    (10, 9),
    (30, 15),
    (30, 25),
    (30, 28),
    (100, 50),
    (100, 80),
    (100, 93),
    (1000, 400),
    (1000, 800),
    (1000, 890),
    (1000, 950),
    (10_000, 5000),
    (10_000, 8000),
    (10_000, 9300),
];

/// Classic `MinHash`: the minimum of each of 256 permutations, each a bijection of the 64-bit numbers of its own.
fn classic(shingles: &[u64]) -> Vec<u64> {
    let permute = |shingle: u64, slot: u64| {
        let x = shingle.wrapping_add((slot + 1).wrapping_mul(0xd134_2543_de82_ef95));
        let x = (x ^ x >> 32).wrapping_mul(0xe703_7ed1_a0b4_28db);
        let x = (x ^ x >> 29).wrapping_mul(0x8ebc_6af0_9c88_c6e3);
        x ^ x >> 32
    };
    (0..N_SLOTS as u64).map(|slot| shingles.iter().map(|&shingle| permute(shingle, slot)).min().unwrap()).collect()
}

/// Two random sets of `n` shingles with `n_shared` in common.
fn pair(random: &mut ChaCha8Rng, n: usize, n_shared: usize) -> (Vec<u64>, Vec<u64>) {
    let all: Vec<u64> = (0..2 * n - n_shared).map(|_| random.random()).collect();
    (all[..n].to_vec(), all[n - n_shared..].to_vec())
}

fn jaccard_of(n: usize, n_shared: usize) -> f64 {
    n_shared as f64 / (2 * n - n_shared) as f64
}

/// Which slots are equal, over trials.
struct Trials {
    similarity: f64,
    equal: Vec<Vec<bool>>,
}

impl Trials {
    fn run<T: PartialEq>((n, n_shared): (usize, usize), n_trials: usize, slots: impl Fn(&[u64]) -> Vec<T>) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64((n * 100_003 + n_shared) as u64);
        let trial = |_| {
            let (left, right) = pair(&mut random, n, n_shared);
            slots(&left).iter().zip(&slots(&right)).map(|(left, right)| left == right).collect()
        };
        Self { similarity: jaccard_of(n, n_shared), equal: (0..n_trials).map(trial).collect() }
    }

    fn n_trials(&self) -> f64 {
        self.equal.len() as f64
    }

    /// Mean and root mean square of the error of the estimate.
    fn errors(&self) -> (f64, f64) {
        let error = |equal: &Vec<bool>| equal.iter().filter(|equal| **equal).count() as f64 / SLOTS - self.similarity;
        let errors: Vec<f64> = self.equal.iter().map(error).collect();
        let mean = errors.iter().sum::<f64>() / self.n_trials();
        (mean, (errors.iter().map(|error| error * error).sum::<f64>() / self.n_trials()).sqrt())
    }

    /// Share of the trials in which a whole band is equal.
    fn candidates(&self, (n_bands, width): (usize, usize)) -> f64 {
        let meets =
            |equal: &&Vec<bool>| equal.chunks_exact(width).take(n_bands).any(|band| band.iter().all(|&equal| equal));
        self.equal.iter().filter(meets).count() as f64 / self.n_trials()
    }
}

/// Standard error of classic `MinHash`.
fn classic_error(similarity: f64) -> f64 {
    (similarity * (1.0 - similarity) / SLOTS).sqrt()
}

/// Variance of the sketch's estimate over that of classic `MinHash`, if `n_all` shingles are in the one or the other set.
///
/// Two slots are equal where the shingle that wins the slot for both sets together is a shared one. In a round the winners of
/// m slots are m different shingles, drawn without replacement: the number of shared ones among them varies by
/// `m J (1 - J) (n - m) / (n - 1)`, and rounds are independent of each other. A slot that is left for the fill has a winner of
/// its own, so that these vary as in classic `MinHash`. The mean never depends on m. Of the empty slots, each takes part in
/// a round with probability `1 - (1 - 1/K)^n`, two of them with `1 - 2 (1 - 1/K)^n + (1 - 2/K)^n`.
fn variance_ratio(n_all: usize) -> f64 {
    const N_ROUNDS: usize = 3;
    let n = n_all as f64;
    let (one_empty, two_empty) = ((1.0 - 1.0 / SLOTS).powf(n), (1.0 - 2.0 / SLOTS).powf(n));
    let (mut empty, mut empty_pairs) = (SLOTS, SLOTS * (SLOTS - 1.0));
    let mut sum = 0.0;
    for _ in 0..N_ROUNDS {
        let filled = empty * (1.0 - one_empty);
        let filled_pairs = empty_pairs * (1.0 - 2.0 * one_empty + two_empty);
        sum += filled - filled_pairs / (n - 1.0);
        empty *= one_empty;
        empty_pairs *= two_empty;
    }
    (sum + empty) / SLOTS
}

/// Probability that a whole band is equal if the number of equal slots varies `ratio` times as much as that of independent ones.
///
/// All orders of the slots are equally likely, so that only the distribution of that number counts: taken as normal here. For
/// each number x, the share of the arrangements of x equal slots that fill no band is the coefficient of `z^x` in
/// `((1 + z)^r - z^r)^b (1 + z)^(K - b r)` over that in `(1 + z)^K`.
fn candidate_probability(similarity: f64, (n_bands, width): (usize, usize), ratio: f64) -> f64 {
    let times_one_plus_z = |mut series: Vec<f64>| {
        series.push(0.0);
        for power in (1..series.len()).rev() {
            series[power] += series[power - 1];
        }
        series
    };
    let power_of = |exponent: usize| (0..exponent).fold(vec![1.0], |series, _| times_one_plus_z(series));
    let mut band = power_of(width);
    band[width] = 0.0;
    let times_band = |series: &Vec<f64>| {
        let mut product = vec![0.0; series.len() + width];
        for (left, value) in series.iter().enumerate() {
            for (right, factor) in band.iter().enumerate() {
                product[left + right] += value * factor;
            }
        }
        product
    };
    let no_band = (0..n_bands).fold(power_of(N_SLOTS - n_bands * width), |series, _| times_band(&series));
    let all = power_of(N_SLOTS);
    let (mean, variance) = (SLOTS * similarity, ratio * SLOTS * similarity * (1.0 - similarity));
    let weight = |x: usize| (-(x as f64 - mean).powi(2) / (2.0 * variance)).exp();
    let (mut sum, mut weights) = (0.0, 0.0);
    for x in 0..=N_SLOTS {
        weights += weight(x);
        sum += weight(x) * (1.0 - no_band[x] / all[x]);
    }
    sum / weights
}

fn formula(similarity: f64, (n_bands, width): (usize, usize)) -> f64 {
    1.0 - (1.0 - similarity.powi(width as i32)).powi(n_bands as i32)
}

fn check_errors(trials: &Trials, expect_rmse: f64, what: &str) {
    let (mean, rmse) = trials.errors();
    let most_bias = N_ERRORS * expect_rmse / trials.n_trials().sqrt();
    assert!(mean.abs() <= most_bias, "{what}: biased by {mean}, at most {most_bias} by chance");
    let tolerance = N_ERRORS / (2.0 * trials.n_trials()).sqrt();
    assert!(
        (rmse / expect_rmse - 1.0).abs() <= tolerance,
        "{what}: RMSE {rmse}, not {expect_rmse} +- {tolerance} of it"
    );
}

fn check_candidates(trials: &Trials, bands: (usize, usize), expect: f64, slack: f64, what: &str) {
    let share = trials.candidates(bands);
    // A share of 0 or 1 by theory may be off by what one trial makes.
    let error = (expect * (1.0 - expect) / trials.n_trials()).sqrt().max(1.0 / trials.n_trials());
    let tolerance = N_ERRORS * error + slack;
    assert!((share - expect).abs() <= tolerance, "{what}, bands {bands:?}: {share}, not {expect} +- {tolerance}");
}

#[test]
fn classic_min_hash_is_what_theory_says() {
    for sets in SETS.into_iter().filter(|sets| sets.0 <= 1000) {
        let n_trials = if sets.0 < 1000 { 2000 } else { 400 };
        let trials = Trials::run(sets, n_trials, classic);
        let what = format!("classic, {sets:?}");
        check_errors(&trials, classic_error(trials.similarity), &what);
        for bands in BANDS {
            check_candidates(&trials, bands, formula(trials.similarity, bands), 0.0, &what);
        }
    }
}

#[test]
fn the_sketch_is_unbiased_and_as_narrow_and_as_often_found_as_its_rounds_make_it() {
    for sets in SETS {
        let n_trials = if sets.0 < 10_000 { 4000 } else { 1500 };
        let trials = Trials::run(sets, n_trials, |shingles| sketch(shingles).to_vec());
        let (what, ratio) = (format!("sketch, {sets:?}"), variance_ratio(2 * sets.0 - sets.1));
        assert!(ratio <= 1.0, "{what}: never wider than classic");
        check_errors(&trials, classic_error(trials.similarity) * ratio.sqrt(), &what);
        for bands in BANDS {
            let normal = |ratio| candidate_probability(trials.similarity, bands, ratio);
            let independent = formula(trials.similarity, bands);
            let dependence = normal(ratio) - normal(1.0);
            assert!(dependence.abs() <= 0.007, "{what}, {bands:?}: the S-curve is off by {dependence}");
            // What the normal distribution gets wrong for independent slots, it may get wrong for these.
            let slack = (normal(1.0) - independent).abs();
            check_candidates(&trials, bands, independent + dependence, slack, &what);
        }
    }
}

#[test]
fn the_sketch_estimates_what_classic_min_hash_estimates() {
    for sets in SETS.into_iter().filter(|sets| sets.0 <= 1000) {
        let n_trials = if sets.0 < 1000 { 1000 } else { 300 };
        let of_sketch = Trials::run(sets, n_trials, |shingles| sketch(shingles).to_vec());
        let of_classic = Trials::run(sets, n_trials, classic);
        let ((mean, rmse), (classic_mean, classic_rmse)) = (of_sketch.errors(), of_classic.errors());
        // The same sets: were the two independent of each other, the difference of the means would vary most.
        let most = N_ERRORS * rmse.hypot(classic_rmse) / (n_trials as f64).sqrt();
        assert!((mean - classic_mean).abs() <= most, "{sets:?}: {mean} and {classic_mean}");
        let tolerance = N_ERRORS / (n_trials as f64).sqrt();
        assert!(rmse <= classic_rmse * (1.0 + tolerance), "{sets:?}: {rmse} is wider than {classic_rmse}");
    }
}

#[test]
fn equal_and_disjoint_sets_are_told_without_error() {
    let mut random = ChaCha8Rng::seed_from_u64(21);
    for n in [1, 2, 5, 10, 30, 100, 1000, 10_000] {
        for _ in 0..20 {
            let (left, right) = pair(&mut random, n, 0);
            let (of_left, of_right) = (sketch(&left), sketch(&right));
            // Different shingles have equal 30 bits in a slot once in a billion: never among so few.
            assert!(estimate(&of_left, &of_right) < 1e-9, "{n} shingles");
            assert!((estimate(&of_left, &sketch(&left)) - 1.0).abs() < 1e-9, "{n} shingles");
        }
    }
}
