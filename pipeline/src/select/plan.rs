//! What a selection does with rows, which is known once it has seen the first of them.

use tamis_schemas::columns;

use super::candidates::{Candidate, Candidates};
use super::scores::{Scores, small_is_unsure};
use super::{Anchors, Crowd, SelectSettings, Strategy, strategy_weighs_costs};
use crate::context::Context;
use crate::{Error, Result};

/// Largest batch of which `auto` compares every row with all others that it stands for; it sees what 4,096 rows leave uncovered.
const MAX_HERDED_ROWS: usize = 1_000;
/// What `auto` has a row count that the model is sure of, if one that it is unsure of counts 1. A half is better than 0 on TREC-6 and SUBJ
/// (docs/performance.md).
const AUTO_LEAST_WEIGHT: f32 = 0.5;
/// Candidates for each row that is to be chosen: what Cluster-Margin (2021, section 4) uses.
const CANDIDATES_PER_ROW: usize = 10;
/// Candidates of an uncertainty strategy beyond twice the budget, at most.
const MAX_UNCERTAIN_CANDIDATES: usize = 100_000;
/// Rows of the pool that strategies compare with each other, at most: what `UHerding` (ICLR 2025) caps its candidates at.
const MAX_COMPARED_CANDIDATES: usize = 35_000;
/// Labelled rows that they are compared with, at most.
const MAX_LABELLED_CANDIDATES: usize = 10_000;

/// What is known once the first batch is seen.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) strategy: Strategy,
    pub(super) reason: String,
    /// See [`Pool`](super::acquire::Pool).
    pub(super) least_weight: f32,
    /// Whether costs count.
    pub(super) weighs_costs: bool,
    pub(super) classes: Vec<String>,
    pub(super) dimensions: usize,
    /// Best first by the strategy; of `anchor` for each class, near ones first.
    pub(super) best: Vec<Candidates>,
    /// First by hash.
    pub(super) random: Candidates,
    /// Labelled rows, first by hash.
    pub(super) labelled: Candidates,
}

impl Plan {
    pub(super) fn new(
        settings: &SelectSettings,
        (anchors, crowd): (&Anchors, &Crowd),
        dimensions: usize,
        classes: Vec<String>,
        context: &Context,
    ) -> Result<Self> {
        let has_classes = 2 <= classes.len();
        let (strategy, reason) = match settings.strategy {
            Strategy::Auto if has_classes && settings.budget <= MAX_HERDED_ROWS => {
                (Strategy::Uherding, format!("the scorer tells {} classes apart", classes.len()))
            }
            Strategy::Auto if has_classes => (
                Strategy::ClusterMargin,
                format!("the scorer tells {} classes apart, and the batch is large", classes.len()),
            ),
            Strategy::Auto if classes.is_empty() => (Strategy::Typiclust, "there are no labels yet".into()),
            Strategy::Auto => (Strategy::Typiclust, "all labels are of one class".into()),
            asked => (asked, "asked for".into()),
        };
        let reason = if strategy == Strategy::Activelab && crowd.is_empty() {
            format!(
                "{reason}; no label is asked for again: that takes 50 labels that the scorer has learnt in this run"
            )
        } else {
            reason
        };
        let reason = if 0.0 < settings.cost.exponent && !strategy_weighs_costs(strategy) {
            format!("{reason}; costs do not count without labels")
        } else {
            reason
        };
        let kind = Kind::of(strategy);
        if strategy.needs_classes() && !has_classes {
            return Err(Error::Config {
                message: format!("the strategy `{}` needs labels of two classes or more", strategy.name()),
                hint: Some("use `auto` or `typiclust` until there are some".into()),
            });
        }
        let needs_embeddings = kind != Kind::Nothing && (kind != Kind::Rank || settings.max_similarity.is_some());
        if needs_embeddings && dimensions == 0 {
            return Err(Error::Column {
                message: format!("there is no column `{}` of lists of one length", columns::EMBEDDING),
                hint: None,
            });
        }
        let wanted = settings.budget.saturating_mul(CANDIDATES_PER_ROW);
        let capacity = match (kind, settings.n_candidates) {
            (Kind::Nothing, _) => 0,
            (_, Some(asked)) => asked,
            (Kind::Compare, None) => MAX_COMPARED_CANDIDATES.max(2 * settings.budget),
            (_, None) => wanted.min(MAX_UNCERTAIN_CANDIDATES.max(2 * settings.budget)),
        };
        let dimensions = if needs_embeddings { dimensions } else { 0 };
        let n_probabilities = if strategy == Strategy::Badge { classes.len() } else { 0 };
        let labelled_capacity = match kind {
            Kind::Compare => MAX_LABELLED_CANDIDATES,
            _ if settings.max_similarity.is_some() => MAX_LABELLED_CANDIDATES,
            _ => 0,
        };
        let random_capacity = match kind {
            Kind::Nothing => wanted,
            _ => settings.n_random().saturating_mul(CANDIDATES_PER_ROW),
        };
        let max_ratio = settings.quota.as_ref().map_or(1.0, |quota| quota.max_ratio);
        let candidates = |capacity: usize, shape| {
            let stratum_capacity =
                ((capacity as f64 * max_ratio).ceil() as usize).max(settings.max_per_stratum().min(capacity));
            Candidates::new(capacity, stratum_capacity, shape, &context.budget)
        };
        let n_sets = if strategy == Strategy::Anchor { anchors.n_classes() } else { 1 };
        let of_set = capacity.div_ceil(n_sets.max(1));
        let least_weight = if settings.strategy == Strategy::Auto { AUTO_LEAST_WEIGHT } else { 0.0 };
        Ok(Self {
            strategy,
            reason,
            least_weight,
            weighs_costs: 0.0 < settings.cost.exponent,
            classes,
            dimensions,
            best: (0..n_sets).map(|_| candidates(of_set, [dimensions, n_probabilities])).collect(),
            random: candidates(random_capacity, [0, 0]),
            labelled: Candidates::new(labelled_capacity, labelled_capacity, [dimensions, 0], &context.budget),
        })
    }

    /// Adds a row to what the strategy may choose from.
    pub(super) fn push(&mut self, row: Candidate, scores: &Scores<'_>, index: usize, anchors: &Anchors) -> Result<()> {
        let order_of = |row: &Candidate| match Kind::of(self.strategy) {
            Kind::Rank | Kind::Part => order(self.strategy, row, self.weighs_costs),
            Kind::Nothing | Kind::Compare => 0.0,
        };
        let row = Candidate { order: order_of(&row), ..row };
        let (embedding, probabilities) = (scores.embedding(index), scores.probabilities(index));
        let add = |set: &mut Candidates, row: Candidate| {
            if set.may_hold(row.order, row.key) {
                let row = Candidate { best_classes: scores.best_classes(index), ..row };
                set.push(row, embedding, probabilities)?;
            }
            Ok(())
        };
        match self.strategy {
            Strategy::Random => Ok(()),
            Strategy::Anchor => {
                for (set, similarity) in self.best.iter_mut().zip(anchors.similarities(embedding)) {
                    add(set, Candidate { order: 0.0 - similarity, ..row })?;
                }
                Ok(())
            }
            _ => self.best.iter_mut().try_for_each(|set| add(set, row)),
        }
    }
}

/// What a strategy does with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Draws them.
    Nothing,
    /// Takes the best by a measure of their own.
    Rank,
    /// Parts the best by a measure of their own.
    Part,
    /// Compares all with each other, or a sample of them.
    Compare,
}

impl Kind {
    fn of(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Auto | Strategy::Random => Self::Nothing,
            Strategy::LeastConfidence
            | Strategy::Margin
            | Strategy::Entropy
            | Strategy::Bald
            | Strategy::VoteEntropy
            | Strategy::MinMargin
            | Strategy::Activelab => Self::Rank,
            Strategy::ClusterMargin | Strategy::Anchor => Self::Part,
            Strategy::Typiclust
            | Strategy::Probcover
            | Strategy::KCenter
            | Strategy::KMeans
            | Strategy::FacilityLocation
            | Strategy::StochasticFacilityLocation
            | Strategy::Uherding
            | Strategy::Badge => Self::Compare,
        }
    }
}

/// Place of a row in the order of a strategy: lower is sooner.
pub(super) fn order(strategy: Strategy, row: &Candidate, weighs_costs: bool) -> f32 {
    let unsure = if small_is_unsure(strategy) { 1.0 - row.value } else { row.value };
    // Small margins are closer to each other than 1 less them.
    let order = if !weighs_costs && small_is_unsure(strategy) { row.value } else { -(unsure * row.weight) };
    order + 0.0
}
