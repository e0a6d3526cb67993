//! Selection: which rows of the pool are labelled next, and why.
//!
//! ```text
//! labels file ----> LabelTable --\
//! pool (row, id) ---------------> LabelJoin -> LabelledPool: what is labelled already, what is not in the pool
//!                                                  |
//! scored batches -> Selection: random candidates --+-> random slice -------------\
//!                              best candidates  (bounded, pruned by polars)       +-> MarkBatch: rank, score, reason
//!                                               -> k-means -> round robin -------/
//! ```
//!
//! Memory does not grow with the pool: only the best candidates are held, by an order that any slicing of the input
//! and any order of its rows leaves the same.

mod acquire;
mod anchors;
mod batch;
mod candidates;
mod crowd;
mod handover;
mod labels;
mod mark;
mod plan;
mod report;
mod scores;
mod selection;
#[cfg(test)]
mod tests;

pub use labels::{LabelJoin, LabelTable, LabelledPool};
pub use mark::{Chosen, MarkBatch};
pub use report::SelectionReport;
pub use selection::{Outcome, OutcomeHandle, Selection};

pub use anchors::Anchors;
pub(crate) use anchors::{Embeddings, MAX_ANCHORS};
pub use crowd::Crowd;
pub(crate) use crowd::{Answered, Opinion};
pub(crate) use handover::Seen;
pub(crate) use labels::text_column;
pub use tamis_schemas::config::Strategy;

use crate::{Error, Result};

/// Settings of a [`Selection`].
#[derive(Debug, Clone, PartialEq)]
pub struct SelectSettings {
    /// Rows to choose.
    pub budget: usize,
    /// How.
    pub strategy: Strategy,
    /// Share of the batch that is chosen at random, for honest estimation; rounded up to whole rows.
    pub random_ratio: f64,
    /// Seed of everything that is random, ties too.
    pub seed: u64,
    /// Limit to the share of the batch that rows of one value may have.
    pub quota: Option<Quota>,
    /// Rows that the strategy compares with each other; `None`: what suits it.
    pub n_candidates: Option<usize>,
    /// Most cosine of a row's embedding and that of a labelled or chosen row; the random slice heeds no such limit.
    pub max_similarity: Option<f64>,
    /// What speaks for a row is divided by its cost to the power of `exponent`.
    pub cost: Cost,
    /// Column that names the near-duplicate cluster of a row: at most one row of each is chosen; null is a cluster alone.
    pub cluster_column: Option<String>,
}

impl Default for SelectSettings {
    fn default() -> Self {
        Self {
            budget: 100,
            strategy: Strategy::Auto,
            random_ratio: 0.1,
            seed: 0,
            quota: None,
            n_candidates: None,
            max_similarity: None,
            cost: Cost::default(),
            cluster_column: None,
        }
    }
}

/// What labelling a row costs: the bytes of its text, and `base`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// 0: costs do not count; 1: a row must be worth its cost.
    pub exponent: f64,
    /// What any row costs, as bytes of text.
    pub base: f64,
}

impl Cost {
    /// What gains are multiplied by, for a text of `n_bytes`.
    fn weight(self, n_bytes: usize) -> f32 {
        (n_bytes as f64 + self.base).max(1.0).powf(-self.exponent) as f32
    }
}

/// At most a share of the batch for each value of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// The column; null counts as a value.
    pub column: String,
    /// The share, above 0 and up to 1; rounded down to whole rows, but at least one.
    pub max_ratio: f64,
}

impl SelectSettings {
    fn validate(&self) -> Result<()> {
        if self.budget == 0 {
            return Err(Error::config("the budget of a batch must be at least 1 row"));
        }
        if !(0.0..=1.0).contains(&self.random_ratio) {
            return Err(Error::config(format!("random_ratio is {}, expected 0 to 1", self.random_ratio)));
        }
        let is_number = |number: f64| number.is_finite() && 0.0 <= number;
        if !is_number(self.cost.exponent) || !is_number(self.cost.base) {
            return Err(Error::config("cost_exponent and cost_base must be 0 or more"));
        }
        if 0.0 < self.cost.exponent && !strategy_weighs_costs(self.strategy) {
            return Err(Error::Config {
                message: format!("the strategy `{}` has no measure that costs could divide", self.strategy.name()),
                hint: Some("use `margin`, `cluster-margin` or `uherding`, or leave cost_exponent out".into()),
            });
        }
        if self.strategy == Strategy::Activelab && self.max_similarity.is_some() {
            return Err(Error::config(
                "the strategy `activelab` asks for rows again that are labelled, and max_similarity leaves out what is like them",
            ));
        }
        if self.max_similarity.is_some_and(|most| !(-1.0..=1.0).contains(&most)) {
            return Err(Error::config("max_similarity must be a cosine, 0 to 1"));
        }
        if let Some(n) = self.n_candidates.filter(|n| *n < self.budget) {
            return Err(Error::config(format!(
                "candidates is {n}: the {} rows of the budget are chosen from them",
                self.budget
            )));
        }
        match &self.quota {
            Some(quota) if !(0.0 < quota.max_ratio && quota.max_ratio <= 1.0) => Err(Error::config(format!(
                "max_ratio of `{}` is {}, expected above 0 to 1",
                quota.column, quota.max_ratio
            ))),
            _ => Ok(()),
        }
    }

    /// Rows of the random slice.
    fn n_random(&self) -> usize {
        ((self.budget as f64 * self.random_ratio).ceil() as usize).min(self.budget)
    }

    /// Most rows of one stratum.
    fn max_per_stratum(&self) -> usize {
        // A share like 0.3 of 10 rows must not come out as 2.
        let most = |quota: &Quota| ((self.budget as f64 * quota.max_ratio + 1e-9) as usize).max(1);
        self.quota.as_ref().map_or(usize::MAX, most)
    }
}

/// Whether a strategy has a measure for each row that costs can divide.
fn strategy_weighs_costs(strategy: Strategy) -> bool {
    !matches!(
        strategy,
        Strategy::Random | Strategy::Typiclust | Strategy::Probcover | Strategy::KCenter | Strategy::KMeans
    )
}
