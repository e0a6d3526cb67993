//! What the user may choose about near-duplicates.

use super::band::Bands;
use super::normalize::Normalize;
use super::sketch::N_SLOTS;
use super::sketch_table::agreement;
use crate::{Error, Result};

/// Standard errors of the estimate beyond which a pair counts as clear.
const CLEAR_STANDARD_ERRORS: f64 = 4.0;

/// What counts as a near-duplicate, and which of them stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Least Jaccard similarity of a dropped row and its kept row, in `(0, 1]`.
    pub threshold: f64,
    /// Least probability that a pair at the threshold is found, in `(0, 1]`. At 1.0 every pair is found.
    pub recall: f64,
    /// Bands to use whatever recall they have; `recall` is not looked at then.
    pub bands: Option<Bands>,
    /// Consecutive tokens of a shingle.
    pub n_tokens: usize,
    /// Seed of all shingle hashes: changes which pairs chance misses, never what is proven.
    pub seed: u64,
    /// What is evened out before texts are compared.
    pub normalize: Normalize,
    /// Which row stays.
    pub keep: KeepOrder,
    /// Which rows are dropped.
    pub linkage: Linkage,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 0.8,
            recall: 0.99,
            bands: None,
            n_tokens: 5,
            seed: 0,
            normalize: Normalize::default(),
            keep: KeepOrder::First,
            linkage: Linkage::Star,
        }
    }
}

impl Settings {
    /// Checks the settings and chooses how candidates are found.
    ///
    /// # Errors
    /// `Error::Config` naming the setting that is out of range.
    pub fn search(&self) -> Result<Search> {
        let in_range = |name: &str, value: f64| match value {
            value if value > 0.0 && value <= 1.0 => Ok(()),
            _ => Err(Error::config(format!("{name} is {value}, but must be above 0 and at most 1"))),
        };
        in_range("threshold", self.threshold)?;
        in_range("recall", self.recall)?;
        if self.n_tokens == 0 {
            return Err(Error::config("a shingle has 0 tokens, but must have at least 1"));
        }
        if let Some(bands) = self.bands {
            bands.check()?;
            Ok(Search::Bands(bands))
        } else if self.recall >= 1.0 {
            Ok(Search::Exhaustive)
        } else {
            Bands::choose(self.threshold, self.recall).map(Search::Bands)
        }
    }
}

/// How candidates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Pairs that share a band of their sketches.
    Bands(Bands),
    /// Pairs that share an element of their prefixes: no pair at or above the threshold is missed.
    Exhaustive,
}

impl Search {
    /// Probability that a pair of Jaccard similarity `similarity` is found, for similarities from the threshold on.
    pub fn probability(self, similarity: f64) -> f64 {
        match self {
            Self::Bands(bands) => bands.probability(similarity),
            Self::Exhaustive => 1.0,
        }
    }
}

/// The order in which rows claim their place: of two near-duplicates the earlier one stays.
///
/// Ties are decided by row position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepOrder {
    /// By row position.
    First,
    /// More characters first.
    Longest,
    /// By the values of columns, the first one foremost; rows without a value come last.
    Columns(Vec<(String, Direction)>),
}

impl KeepOrder {
    /// Columns whose values decide.
    pub fn columns(&self) -> Vec<String> {
        match self {
            Self::Columns(columns) => columns.iter().map(|(name, _)| name.clone()).collect(),
            Self::First | Self::Longest => Vec::new(),
        }
    }
}

/// Direction of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Least first.
    Ascending,
    /// Greatest first.
    Descending,
}

/// Which rows of a group of near-duplicates are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// Those with a proven similarity to a kept row: every dropped row has a direct edge to the row that stays for it.
    Star,
    /// All but one of those connected by any chain of proven similarities.
    Connected,
}

/// What a number of equal slots says about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// Fewer equal slots: clearly below the threshold.
    pub refuse_below: u32,
    /// At least so many equal slots: clearly at or above the threshold. More than there are slots if nothing is clear.
    pub accept_from: u32,
}

impl Gate {
    /// The gate at a threshold: an estimate is clear beyond four standard errors, `sqrt(c (1 - c) / 256)` each, where c is the
    /// share of slots that agree at the threshold: in 8 bits of each, hence a little above it.
    pub fn new(threshold: f64) -> Self {
        let n_slots = N_SLOTS as f64;
        let share = agreement(threshold);
        let margin = CLEAR_STANDARD_ERRORS * (share * (1.0 - share) / n_slots).sqrt();
        let accept_from = if threshold < 1.0 { ((share + margin) * n_slots).ceil() } else { n_slots + 1.0 };
        Self { refuse_below: ((share - margin) * n_slots).ceil() as u32, accept_from: accept_from as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_four_standard_errors_wide_on_each_side() {
        assert_eq!(Gate::new(0.8), Gate { refuse_below: 180, accept_from: 231 });
        assert_eq!(Gate::new(0.5), Gate { refuse_below: 97, accept_from: 161 });
        assert_eq!(Gate::new(1.0), Gate { refuse_below: 256, accept_from: 257 });
        assert!(Gate::new(0.95).accept_from > N_SLOTS as u32, "at 0.95 no estimate is clear enough");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let check = |settings: Settings, expect: &str| {
            assert_eq!(settings.search().unwrap_err().to_string(), expect);
        };
        let base = Settings::default();
        check(Settings { threshold: 0.0, ..base.clone() }, "threshold is 0, but must be above 0 and at most 1");
        check(Settings { threshold: f64::NAN, ..base.clone() }, "threshold is NaN, but must be above 0 and at most 1");
        check(Settings { recall: 1.5, ..base.clone() }, "recall is 1.5, but must be above 0 and at most 1");
        check(Settings { n_tokens: 0, ..base.clone() }, "a shingle has 0 tokens, but must have at least 1");
        assert_eq!(Settings { recall: 1.0, ..base.clone() }.search().unwrap(), Search::Exhaustive);
        assert!(matches!(base.search().unwrap(), Search::Bands(_)));
    }

    #[test]
    fn given_bands_are_used_whatever_the_recall() {
        let search = |n_bands, rows_per_band| {
            let bands = Bands { n_bands, rows_per_band };
            (Settings { bands: Some(bands), recall: 1.0, ..Settings::default() }.search(), Search::Bands(bands))
        };
        let (found, expect) = search(64, 4);
        assert_eq!(found.unwrap(), expect);
        for (n_bands, rows_per_band) in [(0, 4), (4, 0), (33, 8), (usize::MAX, 2)] {
            let message = search(n_bands, rows_per_band).0.unwrap_err().to_string();
            assert!(message.starts_with(&format!("{n_bands} bands of {rows_per_band} slots")), "{message}");
        }
    }
}
