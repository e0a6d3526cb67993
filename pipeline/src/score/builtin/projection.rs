//! The embedding of texts that no label has a part in: TF-IDF of hashed n-grams, projected at random.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::BuiltinSettings;
use super::features::{FeatureHasher, N_BUCKETS};
use crate::Result;
use crate::score::saved::Tensors;

/// Length of the projected vector; a power of two, at most 128.
pub(super) const PROJECTED_DIMENSIONS: usize = 128;
/// Components of the projected vector that a feature has a share in.
const COMPONENTS_PER_FEATURE: usize = 8;
/// Name of the tensor of weights.
const WEIGHTS: &str = "inverse_frequencies";

/// Weights of features, and the seed of their places in the projected vector.
///
/// A feature that occurs `f` times in the text, and in `df` of `n` sample texts, weighs
/// `(1 + ln f) * (1 + ln((1 + n) / (1 + df)))` and is added, with random signs, to eight of the components.
///
/// # Source
/// Li, Hastie, Church: Very Sparse Random Projections, KDD 2006: inner products are kept in expectation.
#[derive(Debug, Clone)]
pub struct Projection {
    inverse_frequencies: Arc<[f32]>,
    seed: u64,
}

impl Projection {
    /// Learns from `sample` what the built-in scorer embeds by while there are no labels.
    ///
    /// # Cost
    /// About 10 µs for a text of a sentence, and 1 MiB.
    pub fn of(sample: &[String], settings: &BuiltinSettings) -> Self {
        let mut hasher = FeatureHasher::new(settings.max_features);
        Self::fit(sample.iter().map(String::as_str), &mut hasher, settings.seed)
    }

    /// Learns in how many of the `sample` texts each feature occurs.
    pub(super) fn fit<'a>(sample: impl Iterator<Item = &'a str>, hasher: &mut FeatureHasher, seed: u64) -> Self {
        let mut n_texts_with = vec![0u32; N_BUCKETS];
        let mut n_texts = 0u32;
        for text in sample {
            n_texts += 1;
            let buckets = hasher.buckets(text);
            buckets.sort_unstable();
            for same in buckets.chunk_by(|a, b| a == b) {
                n_texts_with[same[0] as usize] += 1;
            }
        }
        let inverse_frequencies = n_texts_with
            .iter()
            .map(|&n_with| (1.0 + (f64::from(1 + n_texts) / f64::from(1 + n_with)).ln()) as f32)
            .collect();
        Self { inverse_frequencies, seed }
    }

    /// Adds the weights; gives the seed.
    pub(super) fn save(&self, tensors: &mut Tensors) -> u64 {
        tensors.add(WEIGHTS, &[self.inverse_frequencies.len()], &self.inverse_frequencies);
        self.seed
    }

    /// The projection that a file holds.
    ///
    /// # Errors
    /// `Error::Corrupt` if a weight is missing.
    pub(super) fn of_saved(seed: u64, tensors: &Tensors) -> Result<Self> {
        let inverse_frequencies = tensors.vector(WEIGHTS)?;
        if inverse_frequencies.len() != N_BUCKETS {
            return Err(tensors.corrupt("it has no weight for each feature"));
        }
        Ok(Self { inverse_frequencies: inverse_frequencies.into(), seed })
    }

    /// Writes the vector of a text's features to `out`, with length 1, or 0 for a text without features.
    ///
    /// # Shape
    /// `out`: [`PROJECTED_DIMENSIONS`]. `buckets` is sorted here.
    pub(super) fn embed(&self, buckets: &mut [u32], out: &mut [f32]) {
        buckets.sort_unstable();
        out.fill(0.0);
        for same in buckets.chunk_by(|a, b| a == b) {
            let weight = (1.0 + (same.len() as f32).ln()) * self.inverse_frequencies[same[0] as usize];
            let places = xxh3_64_with_seed(&same[0].to_le_bytes(), self.seed);
            for place in places.to_le_bytes().iter().take(COMPONENTS_PER_FEATURE) {
                let component = usize::from(place & 0x7f) % PROJECTED_DIMENSIONS;
                out[component] += if place & 0x80 == 0 { weight } else { -weight };
            }
        }
        normalize(out);
    }
}

/// Scales a vector to length 1; leaves a zero vector as it is.
pub(super) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if 0.0 < length {
        for x in vector {
            *x /= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embed(projection: &Projection, text: &str) -> Vec<f32> {
        let mut out = vec![0.0; PROJECTED_DIMENSIONS];
        projection.embed(FeatureHasher::new(4096).buckets(text), &mut out);
        out
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn near_texts_are_nearer_than_far_ones() {
        let sample = ["where is my new card", "my card was stolen", "how do I top up by bank transfer"];
        let projection = Projection::fit(sample.into_iter(), &mut FeatureHasher::new(4096), 7);
        let [card, stolen, transfer] = sample.map(|text| embed(&projection, text));
        assert!((cosine(&card, &card) - 1.0).abs() < 1e-5);
        assert!(cosine(&card, &transfer) + 0.05 < cosine(&card, &stolen));
        assert_eq!(embed(&projection, " "), vec![0.0; PROJECTED_DIMENSIONS]);
    }

    /// The estimate of a cosine from `d` random components has a standard error near `1 / sqrt(d)`.
    #[test]
    fn inner_products_are_kept() {
        let texts = ["alpha beta gamma delta", "alpha beta epsilon zeta"];
        let exact = {
            let mut hasher = FeatureHasher::new(4096);
            let [a, b] = texts.map(|text| {
                let mut buckets = hasher.buckets(text).to_vec();
                buckets.sort_unstable();
                let runs: Vec<(u32, f32)> =
                    buckets.chunk_by(|x, y| x == y).map(|run| (run[0], 1.0 + (run.len() as f32).ln())).collect();
                runs
            });
            let dot: f32 = a.iter().flat_map(|x| b.iter().filter(|y| y.0 == x.0).map(|y| x.1 * y.1)).sum();
            let length = |v: &[(u32, f32)]| v.iter().map(|x| x.1 * x.1).sum::<f32>().sqrt();
            dot / (length(&a) * length(&b))
        };
        let n_seeds = 64u16;
        let mean = (0..n_seeds)
            .map(|seed| {
                let projection = Projection::fit(std::iter::empty(), &mut FeatureHasher::new(1), u64::from(seed));
                cosine(&embed(&projection, texts[0]), &embed(&projection, texts[1]))
            })
            .sum::<f32>()
            / f32::from(n_seeds);
        let standard_error = (1.0 / (PROJECTED_DIMENSIONS as f32 * f32::from(n_seeds))).sqrt();
        assert!((mean - exact).abs() < 4.0 * standard_error, "{mean} is not near {exact}");
    }
}
