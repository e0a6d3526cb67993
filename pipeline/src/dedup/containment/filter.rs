//! Which shingles some row has sampled: a compact set that may say yes where it should say no.

use crate::Result;
use crate::bloom::BloomFilter;
use crate::budget::Reservation;
use crate::context::Context;
use crate::spill::ExternalSorter;

/// Held whatever the budget grants.
const LEAST_WORDS: usize = 1 << 13;

/// A Bloom filter within the budget.
///
/// With less memory more shingles pass than were sampled. They cost work, and change no result.
#[derive(Debug)]
pub(super) struct ShingleFilter {
    sampled: BloomFilter,
    #[expect(dead_code, reason = "gives the memory back when dropped")]
    reservation: Reservation,
}

impl ShingleFilter {
    /// A filter that all of `shingles` pass.
    pub(super) fn new(stage: &'static str, shingles: ExternalSorter<u64>, context: &Context) -> Result<Self> {
        let mut reservation = context.budget.reserve(stage);
        let mut n_words = LEAST_WORDS.max(shingles.len() as usize / BloomFilter::WORD_HASHES);
        while n_words > LEAST_WORDS && !reservation.try_grow(size_of::<u64>() * n_words) {
            n_words = LEAST_WORDS.max(n_words / 2);
        }
        let mut sampled = BloomFilter::new(n_words);
        for shingle in shingles.finish(context)? {
            sampled.insert(shingle?);
        }
        Ok(Self { sampled, reservation })
    }

    /// Leaves those of `shingles` that pass.
    pub(super) fn retain(&self, shingles: &mut Vec<u64>) {
        let mut n_kept = 0;
        for index in 0..shingles.len() {
            let shingle = shingles[index];
            shingles[n_kept] = shingle;
            n_kept += usize::from(self.sampled.may_contain(shingle));
        }
        shingles.truncate(n_kept);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::shingle::mix;
    use super::*;
    use crate::context::{Cancel, Resources};

    #[test]
    fn what_was_sampled_passes_and_little_else() {
        for (limit_bytes, most_passing) in [(64 << 20, 0.012), (1 << 10, 1.0)] {
            let resources = Resources { memory_limit_bytes: limit_bytes, ..Resources::default() };
            let context = Context::new(&resources, Cancel::default()).unwrap();
            let mut sampled = ExternalSorter::new("test", &context.budget);
            // The least of many: what a sample of long texts is.
            let elements: Vec<u64> = (0..200_000u64).map(|n| mix(n) >> 5).collect();
            for &element in &elements {
                sampled.push(element, &context).unwrap();
            }
            let filter = ShingleFilter::new("test", sampled, &context).unwrap();
            let mut passing = elements.clone();
            filter.retain(&mut passing);
            assert!(passing == elements);
            for shift in [0, 5] {
                let mut others: Vec<u64> = (1_000_000..1_100_000u64).map(|n| mix(n) >> shift).collect();
                filter.retain(&mut others);
                let share = others.len() as f64 / 100_000.0;
                assert!(share <= most_passing, "{share} pass under {limit_bytes} bytes");
            }
            drop(filter);
            assert!(context.budget.reserve("test").try_grow(limit_bytes), "the reservation was not given back");
        }
    }
}
