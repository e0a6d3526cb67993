//! The barrier that sees all scores and becomes the stage that marks the batch.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, UInt64Type};
use tamis_schemas::columns;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::batch::{Admission, explain, spread};
use super::candidates::{Candidate, Candidates};
use super::labels::text_column;
use super::mark::{Chosen, MarkBatch};
use super::report::{SelectionReport, Strata};
use super::scores::{Scores, classes_of, list_length};
use super::strategy::{Proposal, Turns, cluster_margin, round_robin, typiclust};
use super::{LabelledPool, SelectSettings, Strategy};
use crate::budget::Reservation;
use crate::context::Context;
use crate::score::append::required_column;
use crate::stage::{BarrierStage, MapStage, Next};
use crate::{Error, Result, RowSet};

/// Candidates for each row that is to be chosen: what Cluster-Margin (2021, section 4) uses.
const CANDIDATES_PER_ROW: usize = 10;
/// Candidates of an uncertainty strategy beyond twice the budget, at most.
const MAX_UNCERTAIN_CANDIDATES: usize = 100_000;
/// Rows of the pool that typiclust parts, at most: what `UHerding` (ICLR 2025) caps its candidates at.
const MAX_TYPICAL_CANDIDATES: usize = 35_000;
/// Labelled rows that typiclust counts in its clusters, at most.
const MAX_LABELLED_CANDIDATES: usize = 10_000;

/// Keeps the random slice independent of the order that breaks ties.
const RANDOM_SALT: u64 = 0x5261_6e64_6f6d;

/// Sees scored batches and chooses the rows to label next.
///
/// # Shape
/// Needs `tamis_row`, `tamis_id`; what the scorer appends: `tamis_embedding`, and for a strategy of uncertainty
/// `tamis_probabilities` with `tamis_margin` or `tamis_entropy`; and the columns that the settings name.
///
/// # Determinism
/// A function of the set of rows: neither their order nor the slicing into batches counts, but for rows of one id.
#[derive(Debug)]
pub struct Selection {
    settings: SelectSettings,
    labelled: RowSet,
    excluded: RowSet,
    n_labels_unknown: u64,
    plan: Option<Plan>,
    strata: Strata,
    strata_reservation: Option<Reservation>,
    n_pool: u64,
    n_labelled: u64,
    n_excluded: u64,
    outcome: OutcomeHandle,
}

/// What is known once the first batch is seen.
#[derive(Debug)]
struct Plan {
    strategy: Strategy,
    reason: String,
    classes: Vec<String>,
    dimensions: usize,
    /// Best first by the strategy.
    best: Candidates,
    /// First by hash.
    random: Candidates,
    /// Labelled rows, first by hash.
    labelled: Candidates,
}

/// The batch and the report of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The chosen rows, as the stage that marks them.
    pub batch: MarkBatch,
    /// What was done.
    pub report: SelectionReport,
}

/// Where the outcome of a selection is found once its pass has ended.
#[derive(Debug, Clone, Default)]
pub struct OutcomeHandle(Arc<OnceLock<Outcome>>);

impl OutcomeHandle {
    /// The outcome; `None` before the end of the pass.
    pub fn get(&self) -> Option<&Outcome> {
        self.0.get()
    }
}

impl Selection {
    /// A selection that has seen no row. Labelled rows are counted, never chosen; so are the `excluded` ones.
    pub fn new(settings: SelectSettings, labelled: &LabelledPool, excluded: RowSet) -> Result<Self> {
        settings.validate()?;
        Ok(Self {
            settings,
            labelled: labelled.rows.clone(),
            excluded,
            n_labels_unknown: labelled.n_labels_unknown,
            plan: None,
            strata: Strata::default(),
            strata_reservation: None,
            n_pool: 0,
            n_labelled: 0,
            n_excluded: 0,
            outcome: OutcomeHandle::default(),
        })
    }

    /// Where to find the outcome after the pass.
    pub fn outcome(&self) -> OutcomeHandle {
        self.outcome.clone()
    }

    /// Chooses the batch from what was seen.
    pub fn finish(self, context: &Context) -> Result<Outcome> {
        let Some(plan) = self.plan else { return Ok(self.nothing()) };
        let mut admission = Admission::new(self.settings.max_per_stratum());
        let mut batch = Vec::new();

        let n_random = if plan.strategy == Strategy::Random { self.settings.budget } else { self.settings.n_random() };
        let random = plan.random.finish()?;
        let drawn: Vec<&Candidate> = random.rows.iter().filter(|row| admission.admit(row)).take(n_random).collect();
        let n_wanted = self.settings.budget - drawn.len();

        let best = plan.best.finish()?;
        let turns = match plan.strategy {
            _ if best.rows.is_empty() || n_wanted == 0 => Turns::new(),
            Strategy::Typiclust => {
                let labelled = plan.labelled.finish()?;
                typiclust(&best, &labelled, plan.dimensions, n_wanted, self.settings.seed, context)?
            }
            _ => cluster_margin(&best, plan.dimensions, n_wanted, self.settings.seed, context)?,
        };
        let proposals = round_robin(&turns, n_wanted, |index| admission.admit(&best.rows[index]));

        let chosen_of = |proposal: &Proposal| {
            let row = &best.rows[proposal.index];
            let (score, reason) = explain(plan.strategy, row, proposal, &plan.classes);
            (row, Some(score), reason)
        };
        let random_reason = if plan.strategy == Strategy::Random { "random" } else { "random slice" };
        let drawn_rows = drawn.iter().map(|&row| (row, None, random_reason.to_owned()));
        for (row, score, reason) in spread(proposals.iter().map(chosen_of).collect(), drawn_rows.collect()) {
            let rank = batch.len() as u32 + 1;
            batch.push(Chosen { row: row.row, rank, score, reason });
        }

        let n_unlabelled = self.n_pool - self.n_labelled - self.n_excluded;
        let strata_chosen = drawn.iter().copied().chain(proposals.iter().map(|one| &best.rows[one.index]));
        let strata = match self.settings.quota {
            Some(_) => self.strata.counts(strata_chosen.map(|row| row.stratum).collect())?,
            None => Vec::new(),
        };
        let report = SelectionReport {
            strategy: plan.strategy,
            strategy_reason: plan.reason,
            budget: self.settings.budget as u64,
            n_pool: self.n_pool,
            n_labelled: self.n_labelled,
            n_labels_unknown: self.n_labels_unknown,
            n_excluded: self.n_excluded,
            n_candidates: if plan.strategy == Strategy::Random { random.rows.len() } else { best.rows.len() } as u64,
            n_chosen: batch.len() as u64,
            n_random: drawn.len() as u64,
            shortfall: shortfall(&self.settings, n_unlabelled, batch.len()),
            strata,
        };
        Ok(Outcome { batch: MarkBatch::new(batch), report })
    }

    /// The outcome for a pool without rows.
    fn nothing(self) -> Outcome {
        let (strategy, reason) = match self.settings.strategy {
            Strategy::Auto => (Strategy::Typiclust, "the pool has no rows"),
            asked => (asked, "asked for"),
        };
        let report = SelectionReport {
            strategy,
            strategy_reason: reason.into(),
            budget: self.settings.budget as u64,
            n_pool: 0,
            n_labelled: 0,
            n_labels_unknown: self.n_labels_unknown,
            n_excluded: 0,
            n_candidates: 0,
            n_chosen: 0,
            n_random: 0,
            shortfall: shortfall(&self.settings, 0, 0),
            strata: Vec::new(),
        };
        Outcome { batch: MarkBatch::new(Vec::new()), report }
    }
}

impl BarrierStage for Selection {
    fn name(&self) -> &'static str {
        "select"
    }

    fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        let rows = required_column(batch, columns::ROW, &DataType::UInt64)?.as_primitive::<UInt64Type>();
        let ids = required_column(batch, columns::ID, &DataType::Utf8)?.as_string::<i32>();
        let text_of = |name: Option<&String>| name.map(|name| text_column(batch, name)).transpose();
        let strata = text_of(self.settings.quota.as_ref().map(|quota| &quota.column))?;
        let clusters = text_of(self.settings.cluster_column.as_ref())?;
        if self.plan.is_none() {
            let embedding = batch.column_by_name(columns::EMBEDDING);
            let dimensions = embedding.map_or(0, list_length);
            self.plan = Some(Plan::new(&self.settings, dimensions, classes_of(batch)?, context)?);
        }
        let plan = self.plan.as_mut().expect("made above");
        let scores = Scores::of(batch, plan.strategy, plan.classes.len(), plan.dimensions)?;
        for (index, (&row, id)) in rows.values().iter().zip(ids).enumerate() {
            self.n_pool += 1;
            let id = id.unwrap_or_default().as_bytes();
            let mut candidate = Candidate {
                order: 0.0,
                key: xxh3_64_with_seed(id, self.settings.seed),
                row,
                stratum: 0,
                cluster: cluster_hash(clusters.as_ref(), index, row),
                best_classes: [0; 2],
            };
            if self.labelled.contains(row) {
                self.n_labelled += 1;
                plan.labelled.push(candidate, scores.embedding(index))?;
                continue;
            }
            if self.excluded.contains(row) {
                self.n_excluded += 1;
                continue;
            }
            if let Some(strata) = &strata {
                let value = (!strata.is_null(index)).then(|| strata.value(index));
                let (stratum, more_bytes) = self.strata.number(value);
                let reservation = self.strata_reservation.get_or_insert_with(|| context.budget.reserve("selection"));
                reservation.grow(more_bytes)?;
                self.strata.count(stratum);
                candidate.stratum = stratum;
            }
            let random_key = xxh3_64_with_seed(id, self.settings.seed ^ RANDOM_SALT);
            plan.random.push(Candidate { key: random_key, ..candidate }, &[])?;
            candidate.order = scores.order(plan.strategy, index);
            if plan.strategy != Strategy::Random && plan.best.may_hold(candidate.order, candidate.key) {
                candidate.best_classes = scores.best_classes(index);
                plan.best.push(candidate, scores.embedding(index))?;
            }
        }
        Ok(())
    }

    fn end_of_pass(self: Box<Self>, context: &Context) -> Result<Next> {
        let handle = self.outcome.clone();
        let outcome = self.finish(context)?;
        let stage: Box<dyn MapStage> = Box::new(outcome.batch.clone());
        handle.0.set(outcome).map_err(|_| Error::Invariant("a selection ended twice".into()))?;
        Ok(Next::Done(stage))
    }
}

impl Plan {
    fn new(settings: &SelectSettings, dimensions: usize, classes: Vec<String>, context: &Context) -> Result<Self> {
        let has_classes = 2 <= classes.len();
        let (strategy, reason) = match settings.strategy {
            Strategy::Auto if has_classes => {
                (Strategy::Margin, format!("the scorer tells {} classes apart", classes.len()))
            }
            Strategy::Auto if classes.is_empty() => (Strategy::Typiclust, "there are no labels yet".into()),
            Strategy::Auto => (Strategy::Typiclust, "all labels are of one class".into()),
            asked => (asked, "asked for".into()),
        };
        if strategy.needs_probabilities() && !has_classes {
            return Err(Error::Config {
                message: format!("the strategy `{}` needs labels of two classes or more", strategy.name()),
                hint: Some("use `auto` or `typiclust` until there are some".into()),
            });
        }
        if strategy != Strategy::Random && dimensions == 0 {
            return Err(Error::Column {
                message: format!("there is no column `{}` of lists of one length", columns::EMBEDDING),
                hint: None,
            });
        }
        let (capacity, labelled_capacity, dimensions) = match strategy {
            Strategy::Random => (0, 0, 0),
            Strategy::Typiclust => {
                (MAX_TYPICAL_CANDIDATES.max(2 * settings.budget), MAX_LABELLED_CANDIDATES, dimensions)
            }
            _ => {
                let wanted = settings.budget.saturating_mul(CANDIDATES_PER_ROW);
                (wanted.min(MAX_UNCERTAIN_CANDIDATES.max(2 * settings.budget)), 0, dimensions)
            }
        };
        let random_capacity = match strategy {
            Strategy::Random => settings.budget.saturating_mul(CANDIDATES_PER_ROW),
            _ => settings.n_random().saturating_mul(CANDIDATES_PER_ROW),
        };
        let max_ratio = settings.quota.as_ref().map_or(1.0, |quota| quota.max_ratio);
        let candidates = |capacity: usize, dimensions| {
            let stratum_capacity =
                ((capacity as f64 * max_ratio).ceil() as usize).max(settings.max_per_stratum().min(capacity));
            Candidates::new(capacity, stratum_capacity, dimensions, &context.budget)
        };
        Ok(Self {
            strategy,
            reason,
            classes,
            dimensions,
            best: candidates(capacity, dimensions),
            random: candidates(random_capacity, 0),
            labelled: Candidates::new(labelled_capacity, labelled_capacity, dimensions, &context.budget),
        })
    }
}

fn cluster_hash(clusters: Option<&StringArray>, index: usize, row: u64) -> u64 {
    match clusters {
        Some(clusters) if !clusters.is_null(index) => xxh3_64_with_seed(clusters.value(index).as_bytes(), 0),
        _ => xxh3_64_with_seed(&row.to_le_bytes(), 1),
    }
}

/// Why a batch is smaller than asked for.
fn shortfall(settings: &SelectSettings, n_unlabelled: u64, n_chosen: usize) -> Option<String> {
    if n_chosen == settings.budget {
        return None;
    }
    if n_chosen as u64 == n_unlabelled {
        return Some(format!("all {n_unlabelled} rows that could be chosen were chosen"));
    }
    let limits: Vec<String> = [
        settings.quota.as_ref().map(|quota| format!("the quota on `{}`", quota.column)),
        settings.cluster_column.as_ref().map(|_| "one row for each near-duplicate cluster".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(format!("{} left {n_chosen} of {n_unlabelled} rows", limits.join(" and ")))
}
