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
    /// One step a token of the shingle, of some shingles at once in vectors: of 5 tokens, less than to roll the polynomial on,
    /// where each step waits for the one before it.
    pub fn shingle(&self, tokens: &[u64], shingles: &mut Vec<u64>) {
        shingles.clear();
        self.append(tokens, shingles);
    }

    /// As [`shingle`](Self::shingle), behind what is there.
    pub(super) fn append(&self, tokens: &[u64], shingles: &mut Vec<u64>) {
        if !tokens.is_empty() {
            push_shingles(tokens, self.n_tokens.min(tokens.len()), self.seed, shingles);
        }
    }
}

widest! {
    /// Adds the shingles of `n_tokens` tokens, of which there are at least so many.
    fn push_shingles(tokens: &[u64], n_tokens: usize, seed: u64, shingles: &mut Vec<u64>) = push_shingles_body
}

#[inline(always)]
fn push_shingles_body(tokens: &[u64], n_tokens: usize, seed: u64, shingles: &mut Vec<u64>) {
    /// Shingles that are made at once in registers, and that are appended at once.
    const LANES: usize = 16;
    const BLOCK: usize = 2 * LANES;
    let n_shingles = tokens.len() - n_tokens + 1;
    shingles.reserve(n_shingles);
    let mut start = 0;
    while start + BLOCK <= n_shingles {
        let mut made = [0; BLOCK];
        for (part, made) in made.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let first = start + part * LANES;
            let mut lanes = [0; LANES];
            for tokens in tokens[first..first + n_tokens - 1 + LANES].windows(LANES) {
                for lane in 0..LANES {
                    lanes[lane] = add_term(lanes[lane], tokens[lane]);
                }
            }
            for lane in 0..LANES {
                made[lane] = mix(lanes[lane] ^ seed);
            }
        }
        shingles.extend_from_slice(&made);
        start += BLOCK;
    }
    for tokens in tokens[start..].windows(n_tokens) {
        let polynomial = tokens.iter().fold(0, |polynomial, &token| add_term(polynomial, token));
        shingles.push(mix(polynomial ^ seed));
    }
}

/// Multiplies a polynomial by its base and adds a token.
#[inline]
fn add_term(polynomial: u64, token: u64) -> u64 {
    polynomial.wrapping_mul(BASE).wrapping_add(token)
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
/// Hashes are spread evenly, so that a radix sort by their highest bits leaves few that have to move on. That takes half
/// of the time of a sort that knows nothing of them.
pub fn to_set(shingles: &mut Vec<u64>) {
    to_set_with(shingles, &mut Vec::new());
}

/// As [`to_set`], with memory that is used again.
pub(super) fn to_set_with(shingles: &mut Vec<u64>, sorted: &mut Vec<u64>) {
    /// Fewer are sorted as fast by comparing them.
    const FEW: usize = 64;
    // Eight times as many places as shingles, and more.
    let n_digits = match shingles.len() {
        0..FEW => {
            shingles.sort_unstable();
            return shingles.dedup();
        }
        FEW..0x2000 => 2,
        0x2000..0x20_0000 => 3,
        _ => 4,
    };
    sorted.resize(shingles.len(), 0);
    for digit in (0..n_digits).rev() {
        sort_by_digit(shingles, sorted, u64::BITS - DIGIT_BITS * (digit + 1));
        std::mem::swap(shingles, sorted);
    }
    if !insert_each(shingles) {
        shingles.sort_unstable();
    }
    shingles.dedup();
}

const DIGIT_BITS: u32 = 8;

/// Sorts numbers by the digit that begins at a bit; those with the same one keep their order.
fn sort_by_digit(numbers: &[u64], sorted: &mut [u64], first_bit: u32) {
    let digit = |number: u64| usize::from((number >> first_bit) as u8);
    let mut places = [0u32; 1 << DIGIT_BITS];
    for &number in numbers {
        places[digit(number)] += 1;
    }
    let mut start = 0;
    for place in &mut places {
        start += std::mem::replace(place, start);
    }
    for &number in numbers {
        let place = &mut places[digit(number)];
        sorted[*place as usize] = number;
        *place += 1;
    }
}

/// Insertion sort, for what is nearly sorted: `false` if it is not, and left in some order.
fn insert_each(numbers: &mut [u64]) -> bool {
    /// Places that each number may move on, on average.
    const MOST_MOVES: usize = 16;
    let mut moves_left = MOST_MOVES * numbers.len();
    for index in 1..numbers.len() {
        let number = numbers[index];
        let mut place = index;
        while 0 < place && number < numbers[place - 1] {
            numbers[place] = numbers[place - 1];
            place -= 1;
        }
        numbers[place] = number;
        let Some(left) = moves_left.checked_sub(index - place) else { return false };
        moves_left = left;
    }
    true
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
