//! A compact set of hashes that may say yes where it should say no.

/// A Bloom filter of blocks (Putze, Sanders, Singler 2007): the three bits of a hash lie in one word, so that a look costs
/// one cache line. Of other hashes about 0.7 % pass at 16 bits for each hash that is in.
#[derive(Debug)]
pub(crate) struct BloomFilter(Vec<u64>);

impl BloomFilter {
    /// Hashes for each word: 16 bits a hash.
    pub(crate) const WORD_HASHES: usize = 4;

    /// An empty filter of that many words, at least 1.
    pub(crate) fn new(n_words: usize) -> Self {
        Self(vec![0; n_words.max(1)])
    }

    /// Adds a hash, of which the low 18 bits must be well mixed.
    pub(crate) fn insert(&mut self, hash: u64) {
        let word = self.word(hash);
        self.0[word] |= Self::bits(hash);
    }

    /// True for every hash that was added, and for a few others.
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let bits = Self::bits(hash);
        self.0[self.word(hash)] & bits == bits
    }

    /// The hashes may all be small numbers, of a sample of the least ones, so that they are spread by a product.
    #[inline]
    fn word(&self, hash: u64) -> usize {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        ((u128::from(hash.wrapping_mul(FACTOR)) * self.0.len() as u128) >> u64::BITS) as usize
    }

    #[inline]
    fn bits(hash: u64) -> u64 {
        1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn every_hash_passes_and_few_others() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        for n_hashes in [0, 1, 10, 100_000] {
            // All hashes, and the least of many.
            for shift in [0, 5, 20] {
                let hashes: Vec<u64> = (0..n_hashes).map(|_| random.random::<u64>() >> shift).collect();
                let mut filter = BloomFilter::new(n_hashes / BloomFilter::WORD_HASHES);
                for &hash in &hashes {
                    filter.insert(hash);
                }
                assert!(hashes.iter().all(|&hash| filter.may_contain(hash)));
                let n_passed = (0..100_000).filter(|_| filter.may_contain(random.random::<u64>() >> shift)).count();
                // 4 hashes of 3 bits in 64 on average: about 0.7 % pass; that of words with more hashes weighs in.
                let expect = if n_hashes == 100_000 { 400..1500 } else { 0..4000 };
                assert!(expect.contains(&n_passed), "{n_hashes} hashes: {n_passed} of 100,000 others passed");
            }
        }
    }
}
