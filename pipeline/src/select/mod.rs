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

mod batch;
mod candidates;
mod labels;
mod mark;
mod report;
mod scores;
mod selection;
mod strategy;
#[cfg(test)]
mod tests;

pub use labels::{LabelJoin, LabelTable, LabelledPool};
pub use mark::{Chosen, MarkBatch};
pub use report::{SelectionReport, StratumCount};
pub use selection::{Outcome, OutcomeHandle, Selection};

use crate::{Error, Result};

/// How the rows of a batch are chosen, apart from its random slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// [`Margin`](Self::Margin) if the scorer has learnt two classes or more, else [`Typiclust`](Self::Typiclust).
    #[default]
    Auto,
    /// At random.
    Random,
    /// The lowest highest probability first.
    LeastConfidence,
    /// The smallest difference of the two highest probabilities first.
    Margin,
    /// The highest entropy of the probabilities first.
    Entropy,
    /// The most typical row of each part of the pool, parts with few labels and many rows first. Needs no labels.
    Typiclust,
}

impl Strategy {
    const ALL: [Self; 6] =
        [Self::Auto, Self::Random, Self::LeastConfidence, Self::Margin, Self::Entropy, Self::Typiclust];

    /// Name in config and manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Random => "random",
            Self::LeastConfidence => "least-confidence",
            Self::Margin => "margin",
            Self::Entropy => "entropy",
            Self::Typiclust => "typiclust",
        }
    }

    /// Whether it ranks rows by the scorer's probabilities.
    fn needs_probabilities(self) -> bool {
        matches!(self, Self::LeastConfidence | Self::Margin | Self::Entropy)
    }
}

impl std::str::FromStr for Strategy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == text).ok_or_else(|| Error::Config {
            message: format!("`{text}` is not a strategy"),
            hint: Some(format!("use one of {}", Self::ALL.map(Self::name).join(", "))),
        })
    }
}

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
    /// Column that names the near-duplicate cluster of a row: at most one row of each is chosen; null is a cluster alone.
    pub cluster_column: Option<String>,
}

impl Default for SelectSettings {
    fn default() -> Self {
        Self { budget: 100, strategy: Strategy::Auto, random_ratio: 0.1, seed: 0, quota: None, cluster_column: None }
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
