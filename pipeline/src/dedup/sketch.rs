//! A set of shingles as 256 numbers, from which the Jaccard similarity of two sets is estimated.
//!
//! | step | what | who ends here |
//! | --- | --- | --- |
//! | up to 3 rounds | each shingle falls into one slot; a slot keeps its minimum | sets of 100 shingles and more |
//! | fill | one classic `MinHash` permutation for each slot still empty | small sets |
//!
//! A round costs one step per shingle whatever the number of slots; the fill is vectorized over slots.

use super::widest::widest;

/// Slots of a sketch.
pub const N_SLOTS: usize = 256;
/// A sketch: the minimum of each slot.
pub type Sketch = [u32; N_SLOTS];

/// A slot that no shingle fell into. A filled slot may hold the same bits only after the fill, when none is empty.
const EMPTY: u32 = u32::MAX;
/// The bits above say in which round a value came up, so that an earlier round wins over a later one.
const VALUE_BITS: u32 = 30;
/// Rounds before the fill.
const N_ROUNDS: u32 = 3;
/// Slots filled together: lanes of several vectors, so that their multiplications overlap (3 times as fast as one at n = 50).
const LANES: usize = 32;
/// Steps spent on slots that are not empty, up to which picking the empty ones out costs more.
const WASTED_STEPS: usize = 8192;

/// Computes the sketch of a set of well-mixed 64-bit shingles, given in any order, repeats allowed.
///
/// The share of equal slots in two sketches is an unbiased estimate of the Jaccard similarity J. Its standard error is at
/// most `sqrt(J (1 - J) / 256)` and about 0.7 of that for sets of about as many shingles as there are slots.
/// The sketch of no shingles is `u32::MAX` in every slot.
///
/// # Determinism
/// The same bits on every platform, for any order of the shingles.
///
/// # Source
/// Dahlgaard, Knudsen, Thorup, Fast Similarity Sketching (FOCS 2017), rounds cut off after 3 of 2K; the remaining slots
/// get multiply-shift permutations (Dietzfelbinger 1996) instead of the paper's per-slot rounds.
pub fn sketch(shingles: &[u64]) -> Sketch {
    let mut slots = [EMPTY; N_SLOTS];
    if shingles.is_empty() {
        return slots;
    }
    for round in 0..N_ROUNDS {
        throw(shingles, round, &mut slots);
        if !slots.contains(&EMPTY) {
            return slots;
        }
    }
    fill(shingles, &mut slots);
    slots
}

/// Whether the set behind a sketch is so small that one shingle of it decides.
///
/// What fills most slots of a small set are 32 bits of its shingles. Two shingles of different texts have these in common
/// once in 2^32 pairs, and a set of one shingle has then almost the sketch of the other. Above 16 shingles, one more in
/// common moves the similarity by less than the estimate is allowed to err.
pub(super) fn is_of_few(sketch: &Sketch) -> bool {
    const FEW: usize = 16;
    let n_thrown = sketch.iter().filter(|&&slot| slot < N_ROUNDS << VALUE_BITS).count();
    n_thrown <= FEW * N_ROUNDS as usize
}

/// Estimates the Jaccard similarity of the sets behind two sketches, in `0..=1`.
pub fn estimate(left: &Sketch, right: &Sketch) -> f64 {
    f64::from(count_equal(left, right)) / N_SLOTS as f64
}

/// One round: every shingle falls into one slot.
fn throw(shingles: &[u64], round: u32, slots: &mut Sketch) {
    let tag = round << VALUE_BITS;
    let (seed, factor) = ROUND_PARAMETERS[round as usize];
    for &shingle in shingles {
        let hash = (shingle ^ seed).wrapping_mul(factor);
        let hash = hash ^ hash >> 32;
        let slot = &mut slots[(hash >> 56) as usize];
        *slot = (*slot).min(tag | (hash as u32 >> (u32::BITS - VALUE_BITS)));
    }
}

/// Gives every empty slot the minimum of its own permutation of the shingles.
fn fill(shingles: &[u64], slots: &mut Sketch) {
    let n_empty = slots.iter().map(|&value| u32::from(value == EMPTY)).sum::<u32>() as usize;
    let mut minima = [0; N_SLOTS];
    if shingles.len() * (N_SLOTS - n_empty) <= WASTED_STEPS {
        permuted_minima(shingles, &FILL_PARAMETERS.factors, &FILL_PARAMETERS.addends, &mut minima);
        for (slot, &minimum) in slots.iter_mut().zip(&minima) {
            *slot = if *slot == EMPTY { fill_value(minimum) } else { *slot };
        }
        return;
    }
    let mut empty = [0; N_SLOTS];
    let mut n_found = 0;
    for (base, slots) in slots.as_chunks::<64>().0.iter().enumerate() {
        let mut mask = slots.iter().enumerate().fold(0, |mask, (bit, &value)| mask | u64::from(value == EMPTY) << bit);
        while mask != 0 {
            empty[n_found] = (64 * base) as u8 | mask.trailing_zeros() as u8;
            n_found += 1;
            mask &= mask - 1;
        }
    }
    let mut factors = [0; N_SLOTS];
    let mut addends = [0; N_SLOTS];
    for (index, &slot) in empty[..n_empty].iter().enumerate() {
        factors[index] = FILL_PARAMETERS.factors[usize::from(slot)];
        addends[index] = FILL_PARAMETERS.addends[usize::from(slot)];
    }
    let n_lanes = n_empty.next_multiple_of(LANES);
    permuted_minima(shingles, &factors[..n_lanes], &addends[..n_lanes], &mut minima[..n_lanes]);
    for (&slot, &minimum) in empty[..n_empty].iter().zip(&minima) {
        slots[usize::from(slot)] = fill_value(minimum);
    }
}

fn fill_value(minimum: u32) -> u32 {
    N_ROUNDS << VALUE_BITS | minimum >> (u32::BITS - VALUE_BITS)
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn permuted_minima_body(shingles: &[u64], factors: &[u32], addends: &[u32], minima: &mut [u32]) {
    let lanes = factors.as_chunks::<LANES>().0.iter().zip(addends.as_chunks::<LANES>().0);
    for ((factors, addends), minima) in lanes.zip(minima.as_chunks_mut::<LANES>().0) {
        let mut lowest = [u32::MAX; LANES];
        for &shingle in shingles {
            for lane in 0..LANES {
                let permuted = factors[lane].wrapping_mul(shingle as u32).wrapping_add(addends[lane]);
                lowest[lane] = lowest[lane].min(permuted);
            }
        }
        *minima = lowest;
    }
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn count_equal_body(left: &Sketch, right: &Sketch) -> u32 {
    left.iter().zip(right).map(|(l, r)| u32::from(l == r)).sum()
}

widest! {
    /// The minimum over all shingles of `factor * shingle + addend` (32 bits), for each slot; a multiple of [`LANES`] slots.
    fn permuted_minima(shingles: &[u64], factors: &[u32], addends: &[u32], minima: &mut [u32]) = permuted_minima_body
}
widest! {
    /// Number of slots that hold equal values.
    pub(super) fn count_equal(left: &Sketch, right: &Sketch) -> u32 = count_equal_body
}

/// Seed and odd factor of each round.
const ROUND_PARAMETERS: [(u64, u64); N_ROUNDS as usize] =
    [(0, 1), (0xd6e8_feb8_6659_fd93, 0xff51_afd7_ed55_8ccd), (0xa076_1d64_78bd_642f, 0xc4ce_b9fe_1a85_ec53)];

/// Odd factor and addend of each slot's permutation.
struct FillParameters {
    factors: [u32; N_SLOTS],
    addends: [u32; N_SLOTS],
}

/// Outputs of `SplitMix64`.
static FILL_PARAMETERS: FillParameters = {
    let mut parameters = FillParameters { factors: [0; N_SLOTS], addends: [0; N_SLOTS] };
    let mut state = 0u64;
    let mut slot = 0;
    while slot < N_SLOTS {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        parameters.factors[slot] = (x >> 32) as u32 | 1;
        parameters.addends[slot] = x as u32;
        slot += 1;
    }
    parameters
};

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn order_and_repeats_do_not_matter() {
        let mut random = ChaCha8Rng::seed_from_u64(9);
        for n in [1, 2, 17, 100, 300, 5000] {
            let mut shingles: Vec<u64> = (0..n).map(|_| random.random()).collect();
            let expect = sketch(&shingles);
            shingles.extend_from_within(..n / 2);
            shingles.shuffle(&mut random);
            assert_eq!(sketch(&shingles), expect);
            assert!(!expect.contains(&EMPTY));
        }
        assert_eq!(sketch(&[]), [EMPTY; N_SLOTS]);
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let mut random = ChaCha8Rng::seed_from_u64(10);
        let FillParameters { factors, addends } = &FILL_PARAMETERS;
        for n in [1, 2, 3, 64, 500] {
            let shingles: Vec<u64> = (0..n).map(|_| random.random()).collect();
            let mut expect = [0; N_SLOTS];
            permuted_minima_body(&shingles, factors, addends, &mut expect);
            let mut minima = [0; N_SLOTS];
            permuted_minima(&shingles, factors, addends, &mut minima);
            assert_eq!(minima, expect);
            let slot_by_slot: Vec<u32> = (0..N_SLOTS)
                .map(|slot| {
                    let permute =
                        |shingle: &u64| factors[slot].wrapping_mul(*shingle as u32).wrapping_add(addends[slot]);
                    shingles.iter().map(permute).min().unwrap()
                })
                .collect();
            assert_eq!(minima.as_slice(), slot_by_slot);
            let mut other = minima;
            for slot in &mut other[..n.min(200)] {
                *slot ^= 1;
            }
            assert_eq!(count_equal(&minima, &other) as usize, N_SLOTS - n.min(200));
        }
        // Frozen: a change of these bits is a change of every result and of every stored index.
        let shingles: Vec<u64> = (1..=40u64).map(super::super::shingle::mix).collect();
        let digest =
            sketch(&shingles).iter().fold(0u64, |sum, &slot| super::super::shingle::mix(sum ^ u64::from(slot)));
        assert_eq!(digest, 14_680_111_378_712_563_248);
    }
}
