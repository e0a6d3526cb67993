//! Bands of a sketch: which pairs become candidates, and with what probability.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::sketch::{N_SLOTS, Sketch};
use crate::{Error, Result};

/// How many unrelated documents, at half the threshold, each document is taken to have when bands are chosen.
const N_UNRELATED: f64 = 1000.0;
/// Share of the pairs that the recall allows to be missed, that bands are chosen to miss.
const SHARE_MISSED: f64 = 0.3;

/// Bands of a sketch: `n_bands` times `rows_per_band` consecutive slots. Two documents are candidates if all slots of a
/// band are equal, which happens to a pair of Jaccard similarity s with probability `1 - (1 - s^rows_per_band)^n_bands`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bands {
    /// Number of bands.
    pub n_bands: usize,
    /// Slots of each band.
    pub rows_per_band: usize,
}

impl Bands {
    /// Chooses bands that find a pair at `threshold` with a probability of `recall` or more; with 256 slots it is mostly
    /// affordable to miss only a third of what may be missed, so that small inputs keep the promise too.
    ///
    /// Of all that do, within 256 slots, the ones with the least expected work per document: one unit for each band key,
    /// and one for each of 1,000 unrelated documents at half the threshold that becomes a candidate.
    ///
    /// | threshold | recall | bands x rows | found at 0.5 | 0.7 | 0.8 | 0.9 |
    /// | --- | --- | --- | --- | --- | --- | --- |
    /// | 0.5 | 0.99 | 44 x 3 | 0.997 | 1.000 | 1.000 | 1.000 |
    /// | 0.7 | 0.99 | 32 x 5 | 0.638 | 0.997 | 1.000 | 1.000 |
    /// | 0.8 | 0.99 | 32 x 8 | 0.118 | 0.850 | 0.997 | 1.000 |
    /// | 0.9 | 0.99 | 16 x 11 | 0.008 | 0.274 | 0.762 | 0.998 |
    ///
    /// # Errors
    /// `Error::Config` if 256 slots cannot reach the recall; it says what they can.
    pub fn choose(threshold: f64, recall: f64) -> Result<Self> {
        let reaching = |aim: f64| {
            let all = (1..=N_SLOTS).filter_map(|rows_per_band| {
                let reaches = move |bands: &Self| bands.probability(threshold) >= aim;
                (1..=N_SLOTS / rows_per_band).map(move |n_bands| Self { n_bands, rows_per_band }).find(reaches)
            });
            all.collect::<Vec<_>>()
        };
        let mut choices = reaching(1.0 - SHARE_MISSED * (1.0 - recall));
        if choices.is_empty() {
            choices = reaching(recall);
        }
        let cost = |bands: &Self| bands.n_bands as f64 + N_UNRELATED * bands.probability(threshold / 2.0);
        choices.into_iter().min_by(|left, right| cost(left).total_cmp(&cost(right))).ok_or_else(|| {
            let widest = Self { n_bands: N_SLOTS, rows_per_band: 1 };
            let lowest_threshold = 1.0 - (1.0 - recall).powf(1.0 / N_SLOTS as f64);
            Error::Config {
                message: format!("a recall of {recall} at a threshold of {threshold} needs more than {N_SLOTS} slots"),
                hint: Some(format!(
                    "at this threshold up to {:.6} can be reached, this recall from a threshold of {lowest_threshold:.4}; \
                     a recall of 1.0 compares without slots",
                    widest.probability(threshold)
                )),
            }
        })
    }

    /// # Errors
    /// `Error::Config` if a sketch has no such bands.
    pub(super) fn check(self) -> Result<()> {
        match self.n_bands.checked_mul(self.rows_per_band) {
            Some(1..=N_SLOTS) => Ok(()),
            _ => Err(Error::config(format!(
                "{} bands of {} slots are not within the {N_SLOTS} slots of a sketch",
                self.n_bands, self.rows_per_band
            ))),
        }
    }

    /// Probability that a pair of Jaccard similarity `similarity` becomes a candidate.
    pub fn probability(self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.rows_per_band as i32)).powi(self.n_bands as i32)
    }

    /// The S-curve: similarity and probability to be found, from 0 to 1 in steps of 0.05.
    pub fn s_curve(self) -> Vec<(f64, f64)> {
        (0..=20).map(|step| f64::from(step) / 20.0).map(|s| (s, self.probability(s))).collect()
    }

    /// Appends the key of each band: a 64-bit hash of its slots and its number.
    pub fn push_keys(self, sketch: &Sketch, keys: &mut Vec<u64>) {
        let mut bytes = [0; 4 * N_SLOTS];
        copy_bytes(sketch, &mut bytes);
        let bands = bytes.chunks_exact(4 * self.rows_per_band).take(self.n_bands);
        keys.extend(bands.zip(0..).map(|(bytes, band)| xxh3_64_with_seed(bytes, band)));
    }
}

fn copy_bytes(slots: &[u32], bytes: &mut [u8]) {
    for (bytes, slot) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(slots) {
        *bytes = slot.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_reach_the_recall_within_the_sketch() {
        for (threshold, n_bands, rows_per_band) in [(0.5, 44, 3), (0.7, 32, 5), (0.8, 32, 8), (0.9, 16, 11)] {
            assert_eq!(Bands::choose(threshold, 0.99).unwrap(), Bands { n_bands, rows_per_band });
        }
        for threshold in [0.05, 0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.95, 0.99, 1.0] {
            for recall in [0.5, 0.9, 0.99, 0.999] {
                match Bands::choose(threshold, recall) {
                    Ok(bands) => {
                        assert!(bands.n_bands * bands.rows_per_band <= N_SLOTS);
                        assert!(bands.probability(threshold) >= recall);
                    }
                    Err(error) => {
                        let widest = 1.0 - (1.0f64 - threshold).powi(N_SLOTS as i32);
                        assert!(widest < recall, "{threshold} {recall}: {error}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_reached_is_an_error_that_says_what_can() {
        let error = Bands::choose(0.01, 0.99).unwrap_err();
        assert_eq!(error.to_string(), "a recall of 0.99 at a threshold of 0.01 needs more than 256 slots");
        let hint = error.hint().unwrap();
        assert!(hint.contains("0.923685") && hint.contains("0.0178"), "{hint}");
    }

    #[test]
    fn the_s_curve_rises_from_0_to_1() {
        let curve = Bands { n_bands: 26, rows_per_band: 8 }.s_curve();
        assert_eq!((curve.len(), curve[0], curve[20]), (21, (0.0, 0.0), (1.0, 1.0)));
        assert!(curve.is_sorted_by(|left, right| left.1 <= right.1));
        assert!((curve[16].0 - 0.8).abs() < 1e-12 && (curve[16].1 - 0.9916).abs() < 1e-4, "{:?}", curve[16]);
    }

    #[test]
    fn keys_are_equal_where_bands_are() {
        let bands = Bands { n_bands: 3, rows_per_band: 2 };
        let mut left = [7; N_SLOTS];
        let mut keys = Vec::new();
        bands.push_keys(&left, &mut keys);
        assert!(keys[0] != keys[1] && keys[1] != keys[2], "the number of the band counts");
        left[3] = 8;
        let mut left_keys = Vec::new();
        bands.push_keys(&left, &mut left_keys);
        assert!(left_keys[0] == keys[0] && left_keys[1] != keys[1] && left_keys[2] == keys[2]);
    }
}
