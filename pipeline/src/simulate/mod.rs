//! The labelling loop replayed on rows that have labels already: does active learning pay here, and which strategy?
//!
//! ```text
//! judged rows -> inject (copies, imbalance, noise) -> World: a pool whose labels are hidden, and test rows
//!      for each strategy and seed:  replay: first labels -> learn -> test -> select -> labels -> learn -> ...
//! curves -> area, paired with random seed by seed -> interval, labels saved, one sentence
//! ```
//!
//! The rows are chosen by [`select`](crate::select), the code that `tamis select` runs. Every strategy has the same first labels, the same model
//! and the same test rows; no label is spent on anything but training.

mod curve;
mod inject;
mod learner;
mod output;
mod plot;
mod replay;
mod report;
#[cfg(test)]
mod tests;
mod world;

pub use curve::Point;
pub use inject::Injection;
pub use output::{CURVES, PLOT, SUMMARY};
pub(crate) use output::{check_free, write};
pub use report::{StrategyReport, Summary};

use tamis_schemas::config::Strategy;

use crate::budget::Reservation;
use crate::context::Context;
use crate::progress::Progress;
use crate::score::HeadKind;
use crate::score::encoder::Encoder;
use crate::{Error, Result};

/// Rows with labels.
#[derive(Debug, Default)]
pub struct Judged {
    /// Ids.
    pub ids: Vec<String>,
    /// Texts.
    pub texts: Vec<String>,
    /// Labels.
    pub labels: Vec<String>,
    /// Embeddings, one after the other, and their length, if rows have some.
    pub embeddings: Option<(Vec<f32>, usize)>,
    /// What tells test rows from others, if a column does.
    pub splits: Vec<Option<String>>,
    /// Rows that could not be read.
    pub n_rejected: u64,
    /// Rows without a label, which are left out.
    pub n_unlabelled: u64,
    pub(crate) reservation: Option<Reservation>,
}

/// What is replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulateSettings {
    /// Strategies, beside random, which is always replayed.
    pub strategies: Vec<Strategy>,
    /// Labels before the first round, drawn at random.
    pub n_init: usize,
    /// Labels of a round.
    pub n_batch: usize,
    /// Rounds.
    pub n_rounds: usize,
    /// Replays of each strategy, each with other first labels.
    pub n_seeds: u64,
    /// Value of the split column that test rows have; `None`: a fifth of the rows, by the hash of their ids.
    pub test_split: Option<String>,
    /// What learns from an encoder's embeddings.
    pub head: HeadKind,
    /// What is done to the pool first.
    pub injection: Injection,
}

impl SimulateSettings {
    fn validate(&self) -> Result<()> {
        if self.n_init == 0 || self.n_batch == 0 || self.n_rounds == 0 || self.n_seeds == 0 {
            return Err(Error::config("init, batch, rounds and seeds must be at least 1"));
        }
        if self.strategies.contains(&Strategy::Activelab) {
            return Err(Error::Config {
                message: "the strategy `activelab` asks annotators again, and a replay has one label for each row"
                    .into(),
                hint: Some("try `least-confidence`, the order in which it takes rows without a label".into()),
            });
        }
        self.injection.validate()
    }
}

/// Replays all strategies; without an encoder the built-in scorer learns.
///
/// # Determinism
/// All but the seconds is a function of rows, settings and encoder.
///
/// # Errors
/// `Error::Config` for settings that cannot work, for rows of one class, for no rows to test or to label; `Error::Interrupted`,
/// `Error::OverBudget`.
pub fn simulate(
    judged: Judged,
    encoder: Option<&Encoder>,
    settings: &SimulateSettings,
    context: &Context,
    progress: &Progress,
) -> Result<(Vec<Point>, Summary)> {
    settings.validate()?;
    let world = world::World::new(judged, settings, context)?;
    progress.begin(if encoder.is_some() { "embedding" } else { "finding near-duplicates" });
    let learner = learner::Learner::new(encoder, &world, settings.head, context)?;
    let mut strategies = vec![Strategy::Random];
    strategies.extend(settings.strategies.iter().copied().filter(|strategy| *strategy != Strategy::Random));
    let mut points = Vec::new();
    progress.begin("replaying");
    for &strategy in &strategies {
        for seed in 0..settings.n_seeds {
            points.extend(replay::replay(&world, &learner, strategy, seed, settings, context, progress)?);
        }
    }
    let summary = Summary::new(&points, &strategies, &world, settings);
    Ok((points, summary))
}
