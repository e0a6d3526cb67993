//! What the user may choose about near-duplicates.

use super::band::Bands;
use super::containment::Sampling;
use super::measure::Measure;
use super::normalize::Normalize;
use super::scope::{Scope, Sources};
use super::sketch::N_SLOTS;
use super::sketch_table::agreement;
use crate::{Error, Result};

/// Standard errors of the estimate beyond which a pair counts as clear.
const CLEAR_STANDARD_ERRORS: f64 = 4.0;

/// What counts as a near-duplicate, and which of them stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the similarity of two rows is.
    pub measure: Measure,
    /// Least similarity of a dropped row and its kept row, in `(0, 1]`.
    pub threshold: f64,
    /// Least probability that a pair at the threshold is found, in `(0, 1]`. At 1.0 every pair is found.
    pub recall: f64,
    /// Bands to use whatever recall they have; `recall` is not looked at then. [`Measure::Containment`] has no bands.
    pub bands: Option<Bands>,
    /// Consecutive tokens of a shingle.
    pub n_tokens: usize,
    /// Seed of all shingle hashes: changes which pairs chance misses, never what is proven.
    pub seed: u64,
    /// What is evened out before texts are compared.
    pub normalize: Normalize,
    /// Which row stays; under [`Measure::Containment`], of rows with sets of the same size.
    pub keep: KeepOrder,
    /// Which rows are dropped.
    pub linkage: Linkage,
    /// Which rows are compared.
    pub scope: Scope,
    /// Rows of a cluster that stay, at least 1: its first one, and of those to be dropped for it the first ones in the keep
    /// order. Nothing is dropped for these.
    pub cap_cluster: u64,
    /// Clusters of more rows are counted.
    pub max_cluster_rows: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            measure: Measure::Jaccard,
            threshold: 0.8,
            recall: 0.99,
            bands: None,
            n_tokens: 5,
            seed: 0,
            normalize: Normalize::default(),
            keep: KeepOrder::First,
            linkage: Linkage::Star,
            scope: Scope::default(),
            cap_cluster: 1,
            max_cluster_rows: None,
        }
    }
}

impl Settings {
    /// The input columns that are looked at beside the text, each once.
    pub fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.keep.columns().into_iter().chain(self.scope.columns().into_iter().map(str::to_owned)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether any are.
    pub(crate) fn reads_columns(&self) -> bool {
        !self.columns().is_empty()
    }

    /// Checks that the settings work with an index over runs.
    ///
    /// # Errors
    /// `Error::Config` for connected linkage, by which a row of this run could connect two rows that stay; for containment,
    /// whose samples the index does not hold; and for groups and sources, which it does not know.
    pub fn check_for_index(&self) -> Result<()> {
        let refuse =
            |message: &str, hint: &str| Err(Error::Config { message: message.into(), hint: Some(hint.into()) });
        if self.linkage == Linkage::Connected {
            return refuse(
                "linkage connected does not work with an index: what earlier runs kept cannot be dropped",
                "use linkage star (--linkage), or run without an index",
            );
        }
        if self.measure == Measure::Containment {
            return refuse(
                "measure containment does not work with an index, which is not searched by parts of texts",
                "use measure jaccard (--measure), or run without an index",
            );
        }
        if let Some(column) = &self.scope.by {
            return refuse(
                &format!("by `{column}` does not work with an index, which does not know the groups of earlier rows"),
                "leave out --by, or keep an index for each group",
            );
        }
        let scope = match self.scope.sources {
            Sources::All | Sources::Index => return Ok(()),
            Sources::Within => "within-source",
            Sources::Across => "across-sources",
        };
        refuse(
            &format!("scope {scope} does not work with an index, which does not know the sources of earlier rows"),
            "use scope all or index (--scope), or keep an index for each source",
        )
    }

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
        if self.cap_cluster == 0 {
            return Err(Error::config("cap_cluster is 0: of every cluster at least 1 row stays"));
        }
        if self.n_tokens == 0 {
            return Err(Error::config("a shingle has 0 tokens, but must have at least 1"));
        }
        match (self.measure, self.bands) {
            (Measure::Containment, _) => Sampling::choose(self.threshold, self.recall).map(Search::Samples),
            (Measure::Jaccard, Some(bands)) => bands.check().map(|()| Search::Bands(bands)),
            (Measure::Jaccard, None) if self.recall >= 1.0 => Ok(Search::Exhaustive),
            (Measure::Jaccard, None) => Bands::choose(self.threshold, self.recall).map(Search::Bands),
        }
    }
}

/// How candidates are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Search {
    /// Pairs that share a band of their sketches.
    Bands(Bands),
    /// Pairs that share an element of their prefixes: no pair at or above the threshold is missed.
    Exhaustive,
    /// Pairs in which the larger set has enough of a sample of the smaller one.
    Samples(Sampling),
}

impl Search {
    /// Probability that a pair so similar is found, for similarities from the threshold on.
    pub fn probability(self, similarity: f64) -> f64 {
        match self {
            Self::Bands(bands) => bands.probability(similarity),
            Self::Exhaustive => 1.0,
            Self::Samples(sampling) => sampling.probability(similarity),
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
        check(Settings { cap_cluster: 0, ..base.clone() }, "cap_cluster is 0: of every cluster at least 1 row stays");
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
