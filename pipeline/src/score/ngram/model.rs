//! How likely a byte is after those before it.

use rayon::prelude::*;

use crate::Result;
use crate::score::saved::Tensors;

/// Bytes that a byte is predicted from, at most.
const MOST_CONTEXT_BYTES: usize = 5;
/// Bits of the number of a slot. Contexts of one byte have a slot each; longer ones share slots by their hash.
const SLOT_BITS: u32 = 21;
/// Probabilities that are multiplied before a logarithm is taken: the least possible product is far from the least number.
const PRODUCT_BYTES: usize = 16;
/// What the names of tensors begin with: of what followed contexts of a length, and how often each byte did.
const CONTEXTS: &str = "contexts";
const FOLLOWED: &str = "followed";

/// A byte n-gram model: contexts of 0 to 5 bytes, interpolated after Witten and Bell.
///
/// For a byte `b` after the context `c`, which `n` bytes have followed in training, `d` distinct ones, `f` times `b`:
///
/// ```text
/// p(b | c) = (f + d * p(b | c without its first byte)) / (n + d)         p(b) before any context: 1 / 256
/// ```
///
/// # Determinism
/// A function of the texts in their order: two contexts that share a slot are counted as one, and the first tells which bytes
/// are new in it. The order of contexts of each length is its own, so that threads do not matter.
///
/// # Source
/// Witten, Bell: The Zero-Frequency Problem, IEEE Transactions on Information Theory 1991, method C; interpolated as in Chen,
/// Goodman: An Empirical Study of Smoothing Techniques for Language Modeling, 1998, section 2.6. Hashed without a check of the
/// context, as in Talbot, Osborne: Randomised Language Modelling for Statistical Machine Translation, 2007.
#[derive(Debug)]
pub(super) struct ByteModel {
    /// By length of the context.
    lengths: Vec<Length>,
}

/// Counts of the contexts of one length.
#[derive(Debug)]
struct Length {
    contexts: Slots<Followers>,
    /// By context and byte.
    followed: Slots<u32>,
}

/// What followed a context.
#[derive(Debug, Clone, Copy, Default)]
struct Followers {
    all: u32,
    distinct: u32,
}

/// Counts by bytes.
#[derive(Debug)]
struct Slots<T> {
    key_bytes: usize,
    slots: Vec<T>,
}

impl<T: Clone + Default> Slots<T> {
    fn new(key_bytes: usize) -> Self {
        Self { key_bytes, slots: vec![T::default(); 1 << Self::bits(key_bytes)] }
    }

    fn bits(key_bytes: usize) -> u32 {
        SLOT_BITS.min(8 * key_bytes as u32)
    }

    fn memory_bytes(key_bytes: usize) -> usize {
        size_of::<T>() << Self::bits(key_bytes)
    }

    /// The slot of the last `key_bytes` bytes of `window`.
    fn slot(&self, window: u64) -> usize {
        let key = window & ((1 << (8 * self.key_bytes)) - 1);
        let bits = Self::bits(self.key_bytes);
        if bits == 8 * self.key_bytes as u32 {
            return key as usize;
        }
        // Multiplied twice: the first bytes of a key must reach all bits, too.
        let mixed = (key ^ (key >> 24)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> (64 - bits)) as usize
    }
}

impl Length {
    fn new(context_bytes: usize) -> Self {
        Self { contexts: Slots::new(context_bytes), followed: Slots::new(context_bytes + 1) }
    }

    fn observe(&mut self, text: &str) {
        let mut window = 0;
        for &byte in text.as_bytes() {
            let after = shift(window, byte);
            let (context, followed) = (self.contexts.slot(window), self.followed.slot(after));
            let (context, followed) = (&mut self.contexts.slots[context], &mut self.followed.slots[followed]);
            context.distinct += u32::from(*followed == 0);
            context.all += 1;
            *followed += 1;
            window = after;
        }
    }
}

/// The bytes before a text are taken for zeros.
fn shift(window: u64, byte: u8) -> u64 {
    (window << 8) | u64::from(byte)
}

impl ByteModel {
    /// Bytes that a model takes.
    pub(super) fn memory_bytes() -> usize {
        (0..=MOST_CONTEXT_BYTES)
            .map(|length| Slots::<Followers>::memory_bytes(length) + Slots::<u32>::memory_bytes(length + 1))
            .sum()
    }

    /// Learns from texts, in the threads that it is called from.
    pub(super) fn fit(texts: &[&str]) -> Self {
        let mut lengths: Vec<Length> = (0..=MOST_CONTEXT_BYTES).map(Length::new).collect();
        lengths.par_iter_mut().for_each(|length| texts.iter().for_each(|text| length.observe(text)));
        Self { lengths }
    }

    /// Adds the counts.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        for (length, counts) in self.lengths.iter().enumerate() {
            let contexts = counts.contexts.slots.iter().flat_map(|followers| [followers.all, followers.distinct]);
            tensors.add_integers(&format!("{CONTEXTS}.{length}"), &contexts.collect::<Vec<_>>());
            tensors.add_integers(&format!("{FOLLOWED}.{length}"), &counts.followed.slots);
        }
    }

    /// The model that a file holds.
    ///
    /// # Errors
    /// `Error::Corrupt` if a count is missing.
    pub(super) fn of_saved(tensors: &Tensors) -> Result<Self> {
        let lengths = (0..=MOST_CONTEXT_BYTES).map(|length| {
            let mut counts = Length::new(length);
            let contexts = tensors.integers(&format!("{CONTEXTS}.{length}"))?;
            let followed = tensors.integers(&format!("{FOLLOWED}.{length}"))?;
            let (contexts, rest) = contexts.as_chunks();
            let fits = rest.is_empty()
                && contexts.len() == counts.contexts.slots.len()
                && followed.len() == counts.followed.slots.len();
            if !fits {
                return Err(tensors.corrupt("it has no count for each context"));
            }
            counts.contexts.slots = contexts.iter().map(|&[all, distinct]| Followers { all, distinct }).collect();
            counts.followed.slots = followed;
            Ok(counts)
        });
        Ok(Self { lengths: lengths.collect::<Result<_>>()? })
    }

    /// Bits that it takes to say which byte comes next, on average over the bytes of `text`; `None` for an empty one. What the model
    /// learnt from this text, which was `n_learnt` times among the texts that it learnt from, does not count.
    pub(super) fn bits_per_byte(&self, text: &[u8], n_learnt: u32) -> Option<f32> {
        if text.is_empty() {
            return None;
        }
        let mut probabilities = vec![1.0 / 256.0; text.len()];
        for length in &self.lengths {
            length.refine(text, n_learnt, &mut probabilities);
        }
        let products = probabilities.chunks(PRODUCT_BYTES).map(|of_bytes| of_bytes.iter().product::<f64>());
        Some((-products.map(f64::log2).sum::<f64>() / text.len() as f64) as f32)
    }
}

impl Length {
    /// Takes the probability of each byte of `text` after a shorter context to that after a context of this length.
    fn refine(&self, text: &[u8], n_learnt: u32, probabilities: &mut [f64]) {
        let mut window = 0;
        let slots = text.iter().map(|&byte| {
            let context = self.contexts.slot(window);
            window = shift(window, byte);
            (context, self.followed.slot(window))
        });
        if n_learnt == 0 {
            for ((context, followed), probability) in slots.zip(probabilities) {
                let (context, followed) = (self.contexts.slots[context], self.followed.slots[followed]);
                *probability = interpolate(context, followed, *probability);
            }
            return;
        }
        // Places with one context side by side, and of these, those with one byte.
        let mut places: Vec<(u32, u32, u32)> =
            slots.zip(0..).map(|((context, followed), place)| (context as u32, followed as u32, place)).collect();
        places.sort_unstable();
        for in_context in places.chunk_by(|left, right| left.0 == right.0) {
            let own = |places: &[(u32, u32, u32)]| places.len() as u32 * n_learnt;
            let count = |of_byte: &[(u32, u32, u32)]| self.followed.slots[of_byte[0].1 as usize];
            let of_bytes = || in_context.chunk_by(|left, right| left.1 == right.1);
            let context = self.contexts.slots[in_context[0].0 as usize];
            let rest = Followers {
                all: context.all.saturating_sub(own(in_context)),
                distinct: context
                    .distinct
                    .saturating_sub(of_bytes().filter(|of_byte| count(of_byte) <= own(of_byte)).count() as u32),
            };
            for of_byte in of_bytes() {
                let followed = count(of_byte).saturating_sub(own(of_byte));
                for &(.., place) in of_byte {
                    let probability = &mut probabilities[place as usize];
                    *probability = interpolate(rest, followed, *probability);
                }
            }
        }
    }
}

/// The probability of a byte that came `followed` times after the context, and has the probability `shorter` after a shorter one.
fn interpolate(context: Followers, followed: u32, shorter: f64) -> f64 {
    if context.all == 0 {
        return shorter;
    }
    // Contexts that share a slot may have made more of the first and less of the second.
    let followed = f64::from(followed.min(context.all));
    let distinct = f64::from(context.distinct.max(1));
    (followed + distinct * shorter) / (f64::from(context.all) + distinct)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The formula on exact counts.
    #[derive(Default)]
    struct Oracle(HashMap<Vec<u8>, HashMap<u8, u32>>);

    impl Oracle {
        fn fit(texts: &[&str]) -> Self {
            let mut counts = Self::default();
            for text in texts {
                let padded = [&[0; MOST_CONTEXT_BYTES], text.as_bytes()].concat();
                for at in MOST_CONTEXT_BYTES..padded.len() {
                    for length in 0..=MOST_CONTEXT_BYTES {
                        let followers = counts.0.entry(padded[at - length..at].to_vec()).or_default();
                        *followers.entry(padded[at]).or_default() += 1;
                    }
                }
            }
            counts
        }

        fn probability(&self, context: &[u8], byte: u8) -> f64 {
            let shorter = if context.is_empty() { 1.0 / 256.0 } else { self.probability(&context[1..], byte) };
            let Some(followers) = self.0.get(context) else { return shorter };
            let all = f64::from(followers.values().sum::<u32>());
            let distinct = followers.len() as f64;
            (f64::from(*followers.get(&byte).unwrap_or(&0)) + distinct * shorter) / (all + distinct)
        }

        fn bits_per_byte(&self, text: &str) -> f64 {
            let padded = [&[0; MOST_CONTEXT_BYTES], text.as_bytes()].concat();
            let bits = (MOST_CONTEXT_BYTES..padded.len())
                .map(|at| -self.probability(&padded[at - MOST_CONTEXT_BYTES..at], padded[at]).log2());
            bits.sum::<f64>() / text.len() as f64
        }
    }

    /// With few contexts none share a slot, or hardly any.
    #[test]
    fn the_formula_is_that_of_exact_counts() {
        let texts = ["the cat sat on the mat", "a dog sat in the fog; the cat ran", "größere Straßen, größere Autos"];
        let (model, oracle) = (ByteModel::fit(&texts), Oracle::fit(&texts));
        for text in ["the cat sat on the mat", "the dog ran on", "größer", "\u{0}", "zzzz", "x"] {
            let (found, expect) = (model.bits_per_byte(text.as_bytes(), 0).unwrap(), oracle.bits_per_byte(text));
            assert!((f64::from(found) - expect).abs() < 1e-6, "{text}: {found} and not {expect}");
        }
        assert_eq!(model.bits_per_byte(b"", 0), None);
    }

    /// A text is judged by the others: as if it had not been learnt, however often it was.
    #[test]
    fn what_was_learnt_from_a_text_does_not_count() {
        let texts = ["the cat sat on the mat", "a dog sat in the fog; the cat ran", "the cat sat on the mat", "zzz zz"];
        let model = ByteModel::fit(&texts);
        for (text, n_learnt) in [(texts[0], 2), (texts[1], 1), (texts[3], 1)] {
            let others: Vec<&str> = texts.into_iter().filter(|other| *other != text).collect();
            let expect = Oracle::fit(&others).bits_per_byte(text);
            let found = f64::from(model.bits_per_byte(text.as_bytes(), n_learnt).unwrap());
            assert!((found - expect).abs() < 1e-6, "{text}: {found} and not {expect}");
        }
    }

    /// Whatever was learnt, the bytes that may come next have a probability of 1 together, as far as no slots are shared.
    #[test]
    fn probabilities_sum_to_one() {
        let model = ByteModel::fit(&["abracadabra", "cadillac"]);
        for context in ["", "a", "abra", "cadab", "qqqqqq"] {
            let last = |byte: u8| {
                let text = [context.as_bytes(), &[byte]].concat();
                let mut probabilities = vec![1.0 / 256.0; text.len()];
                model.lengths.iter().for_each(|length| length.refine(&text, 0, &mut probabilities));
                probabilities[context.len()]
            };
            let sum: f64 = (0..=u8::MAX).map(last).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{context}: {sum}");
        }
    }

    #[test]
    fn nothing_learnt_is_eight_bits() {
        let model = ByteModel::fit(&[]);
        assert_eq!(model.bits_per_byte("any text at all".as_bytes(), 0), Some(8.0));
    }

    /// Where slots are shared no byte is more than certain.
    #[test]
    fn shared_slots_keep_probabilities_within_one() {
        let noise: String = (0..600_000u32)
            .map(|at| char::from(b' ' + (xxhash_rust::xxh3::xxh3_64(&at.to_le_bytes()) % 95) as u8))
            .collect();
        let model = ByteModel::fit(&[noise.as_str()]);
        let other: String = noise.chars().rev().map(|char| char.to_ascii_uppercase()).collect();
        for (text, n_learnt) in [(&noise, 0), (&other, 0), (&noise, 1)] {
            let mut probabilities = vec![1.0 / 256.0; text.len()];
            for length in &model.lengths {
                length.refine(text.as_bytes(), n_learnt, &mut probabilities);
                assert!(probabilities.iter().all(|&probability| 0.0 < probability && probability <= 1.0));
            }
        }
    }
}
