//! From token hashes to a set of shingles, and the exact similarity of two sets.

use super::widest::widest;

/// Base of the polynomials: a prime next to 2^64 divided by the golden ratio.
const BASE: u64 = 0x9e37_79b9_7f4a_7c55;

/// How shingles are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shingler {
    n_tokens: usize,
    seed: u64,
}

impl Shingler {
    /// Shingles of `n_tokens` consecutive tokens (at least 1). The seed changes every hash, never which shingles are equal.
    pub fn new(n_tokens: usize, seed: u64) -> Self {
        Self { n_tokens: n_tokens.max(1), seed }
    }

    /// Replaces `shingles` by those of a text with these token hashes, in text order, repeats included.
    ///
    /// A shingle is a polynomial of its token hashes, finally mixed. Fewer tokens than a shingle takes: one shingle of
    /// all of them. No token: no shingle.
    ///
    /// # Cost
    /// One step a token of the shingle, each of them over all shingles at once in vectors: of 5 tokens, less than to roll the
    /// polynomial on, where each step waits for the one before it.
    pub fn shingle(&self, tokens: &[u64], shingles: &mut Vec<u64>) {
        shingles.clear();
        if tokens.is_empty() {
            return;
        }
        let n_tokens = self.n_tokens.min(tokens.len());
        shingles.extend_from_slice(&tokens[..=tokens.len() - n_tokens]);
        for start in 1..n_tokens {
            add_terms(shingles, &tokens[start..]);
        }
        finish(shingles, self.seed);
    }
}

widest! {
    /// Multiplies each polynomial by its base and adds a token.
    fn add_terms(polynomials: &mut [u64], tokens: &[u64]) = add_terms_body
}
widest! {
    /// Turns polynomials into shingles.
    fn finish(polynomials: &mut [u64], seed: u64) = finish_body
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn add_terms_body(polynomials: &mut [u64], tokens: &[u64]) {
    for (polynomial, &token) in polynomials.iter_mut().zip(tokens) {
        *polynomial = polynomial.wrapping_mul(BASE).wrapping_add(token);
    }
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn finish_body(polynomials: &mut [u64], seed: u64) {
    for polynomial in polynomials {
        *polynomial = mix(*polynomial ^ seed);
    }
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014): a bijection whose every output bit depends on every input bit.
#[inline]
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Sorts shingles and drops repeats: the form of a set.
///
/// Hashes are spread evenly, so that their highest bits say about where each belongs: one step brings them there, and few
/// have to move on. That takes half of the time of a sort that knows nothing of them.
pub fn to_set(shingles: &mut Vec<u64>) {
    /// Elements that come to one place, on average.
    const PLACE_ELEMENTS: usize = 2;
    /// With more of them at one place, hashes are not spread evenly.
    const MOST_AT_A_PLACE: usize = 32;
    let place_bits = (shingles.len() / PLACE_ELEMENTS).checked_ilog2().unwrap_or(0);
    if place_bits < 4 {
        shingles.sort_unstable();
        return shingles.dedup();
    }
    let place = |shingle: u64| (shingle >> (u64::BITS - place_bits)) as usize;
    let mut ends = vec![0; (1 << place_bits) + 1];
    for &shingle in shingles.iter() {
        ends[place(shingle) + 1] += 1;
    }
    let is_even = ends.iter().all(|&n_elements| n_elements <= MOST_AT_A_PLACE);
    if !is_even {
        shingles.sort_unstable();
        return shingles.dedup();
    }
    for index in 1..ends.len() {
        ends[index] += ends[index - 1];
    }
    let mut sorted = vec![0; shingles.len()];
    for &shingle in shingles.iter() {
        let end = &mut ends[place(shingle)];
        sorted[*end] = shingle;
        *end += 1;
    }
    insert_each(&mut sorted);
    sorted.dedup();
    *shingles = sorted;
}

/// Insertion sort: for what is nearly sorted.
fn insert_each(numbers: &mut [u64]) {
    for index in 1..numbers.len() {
        let number = numbers[index];
        let mut place = index;
        while 0 < place && number < numbers[place - 1] {
            numbers[place] = numbers[place - 1];
            place -= 1;
        }
        numbers[place] = number;
    }
}

/// Exact Jaccard similarity of two sets (sorted, distinct): shared by all, in `0..=1`. Two empty sets: 0.
pub fn jaccard(left: &[u64], right: &[u64]) -> f64 {
    let n_shared = count_shared(left, right);
    let n_all = left.len() + right.len() - n_shared;
    if n_all == 0 { 0.0 } else { n_shared as f64 / n_all as f64 }
}

/// Exact Jaccard similarity if it reaches `threshold`; a pair that cannot is given up as soon as that is clear.
pub fn jaccard_reaching(left: &[u64], right: &[u64], threshold: f64) -> Option<f64> {
    /// Elements passed over between two looks at whether the pair can still reach the threshold.
    const STRIDE: usize = 64;
    let n_both = left.len() + right.len();
    // J >= t needs |A n B| >= t / (1 + t) * (|A| + |B|); one less, so that rounding refuses nothing.
    let n_needed = ((threshold / (1.0 + threshold) * n_both as f64) as usize).saturating_sub(1);
    let (mut l, mut r, mut n_shared) = (0, 0, 0);
    loop {
        if n_shared + (left.len() - l).min(right.len() - r) < n_needed {
            return None;
        }
        for _ in 0..STRIDE {
            let (Some(&a), Some(&b)) = (left.get(l), right.get(r)) else {
                let n_all = n_both - n_shared;
                let similarity = if n_all == 0 { 0.0 } else { n_shared as f64 / n_all as f64 };
                return (similarity >= threshold).then_some(similarity);
            };
            n_shared += usize::from(a == b);
            l += usize::from(a <= b);
            r += usize::from(b <= a);
        }
    }
}

/// Number of elements in both sets (sorted, distinct).
pub(super) fn count_shared(left: &[u64], right: &[u64]) -> usize {
    let (mut l, mut r, mut n_shared) = (0, 0, 0);
    while let (Some(&a), Some(&b)) = (left.get(l), right.get(r)) {
        n_shared += usize::from(a == b);
        l += usize::from(a <= b);
        r += usize::from(b <= a);
    }
    n_shared
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn shingles_are_equal_where_token_runs_are() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        for n_tokens in 1..8 {
            let shingler = Shingler::new(n_tokens, 0);
            let tokens: Vec<u64> = (0..2000).map(|_| mix(random.random_range(1..4))).collect();
            let mut shingles = Vec::new();
            shingler.shingle(&tokens, &mut shingles);
            assert_eq!(shingles.len(), tokens.len() - n_tokens + 1);
            let distinct_runs: HashSet<&[u64]> = tokens.windows(n_tokens).collect();
            let pairs: HashSet<(&[u64], u64)> = tokens.windows(n_tokens).zip(shingles.iter().copied()).collect();
            to_set(&mut shingles);
            assert_eq!((shingles.len(), pairs.len()), (distinct_runs.len(), distinct_runs.len()));
        }
    }

    #[test]
    fn shingles_are_the_polynomials_of_their_tokens() {
        let mut random = ChaCha8Rng::seed_from_u64(14);
        for (n_tokens, seed) in [(1, 0), (2, 5), (5, 0), (13, u64::MAX)] {
            for n in 1..100 {
                let tokens: Vec<u64> = (0..n).map(|_| random.random()).collect();
                let mut shingles = Vec::new();
                Shingler::new(n_tokens, seed).shingle(&tokens, &mut shingles);
                let by_definition = tokens.windows(n_tokens.min(n)).map(|window| {
                    mix(window.iter().fold(0u64, |sum, &token| sum.wrapping_mul(BASE).wrapping_add(token)) ^ seed)
                });
                assert!(by_definition.eq(shingles));
            }
        }
    }

    #[test]
    fn short_texts_have_one_shingle_of_all() {
        let shingler = Shingler::new(5, 7);
        let shingle = |tokens: &[u64]| {
            let mut shingles = vec![99];
            shingler.shingle(tokens, &mut shingles);
            shingles
        };
        assert!(shingle(&[]).is_empty());
        let all: HashSet<Vec<u64>> = (1..=5).map(|n| shingle(&[11, 12, 13, 14, 15][..n])).collect();
        assert_eq!(all.len(), 5);
        assert!(all.iter().all(|shingles| shingles.len() == 1));
        assert_ne!(shingle(&[1, 2]), shingle(&[2, 1]));
    }

    #[test]
    fn sets_are_sorted_and_distinct() {
        let mut random = ChaCha8Rng::seed_from_u64(6);
        for n in [0, 1, 2, 40, 47, 48, 49, 100, 1000, 20_000] {
            for n_values in [1, 3, 1 << 10, u64::MAX] {
                // Spread out, all at the low end, all at the high end.
                for form in [mix, |value| value, |value: u64| !value] {
                    let mut shingles: Vec<u64> = (0..n).map(|_| form(random.random_range(0..n_values))).collect();
                    let expect: Vec<u64> =
                        shingles.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
                    to_set(&mut shingles);
                    assert!(shingles == expect, "{n} of {n_values}");
                }
            }
        }
    }

    #[test]
    fn jaccard_equals_hash_sets() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..200 {
            let mut draw = || {
                let mut set: Vec<u64> = (0..random.random_range(0..40)).map(|_| random.random_range(0..50)).collect();
                to_set(&mut set);
                set
            };
            let (left, right) = (draw(), draw());
            let (l, r): (HashSet<_>, HashSet<_>) = (left.iter().collect(), right.iter().collect());
            let n_all = l.union(&r).count();
            let expect = if n_all == 0 { 0.0 } else { l.intersection(&r).count() as f64 / n_all as f64 };
            assert_eq!(jaccard(&left, &right).to_bits(), expect.to_bits());
            for threshold in [0.01, 0.1, 0.25, 0.5, expect.max(0.01), 0.9, 1.0] {
                let reached = (expect >= threshold).then_some(expect);
                assert_eq!(jaccard_reaching(&left, &right, threshold), reached, "{left:?} {right:?} {threshold}");
            }
        }
    }
}
