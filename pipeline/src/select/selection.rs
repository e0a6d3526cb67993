//! The barrier that sees all scores and becomes the stage that marks the batch.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, UInt64Type};
use tamis_schemas::columns;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::acquire::{Pool, Proposal, acquire};
use super::batch::{Admission, Distance, explain, explain_again, spread};
use super::candidates::{Candidate, Candidates, Finished};
use super::labels::text_column;
use super::mark::{Chosen, MarkBatch};
use super::plan::{Plan, order};
use super::report::{SelectionReport, Strata};
use super::scores::{Scores, classes_of, list_length};
use super::{Anchors, Crowd, LabelledPool, SelectSettings, Strategy};
use crate::budget::Reservation;
use crate::context::Context;
use crate::points::Points;
use crate::score::append::required_column;
use crate::stage::{BarrierStage, MapStage, Next};
use crate::{Error, Result, RowSet};

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
    pub(super) settings: SelectSettings,
    labelled: RowSet,
    excluded: RowSet,
    anchors: Anchors,
    crowd: Crowd,
    n_labels_unknown: u64,
    pub(super) plan: Option<Plan>,
    pub(super) strata: Strata,
    strata_reservation: Option<Reservation>,
    pub(super) n_pool: u64,
    pub(super) n_labelled: u64,
    pub(super) n_excluded: u64,
    /// Rows that may be chosen again.
    pub(super) n_again: u64,
    outcome: OutcomeHandle,
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
    /// A selection that has seen no row. Labelled rows are counted, not chosen (but see [`Self::with_crowd`]); so are the `excluded` ones and those that
    /// annotators are split about.
    pub fn new(settings: SelectSettings, labelled: &LabelledPool, mut excluded: RowSet) -> Result<Self> {
        for row in labelled.split.iter() {
            excluded.insert(row);
        }
        settings.validate()?;
        Ok(Self {
            settings,
            labelled: labelled.rows.clone(),
            excluded,
            anchors: Anchors::default(),
            crowd: Crowd::default(),
            n_labels_unknown: labelled.n_labels_unknown,
            plan: None,
            strata: Strata::default(),
            strata_reservation: None,
            n_pool: 0,
            n_labelled: 0,
            n_excluded: 0,
            n_again: 0,
            outcome: OutcomeHandle::default(),
        })
    }

    /// Labelled rows that the strategy `anchor` stays near to.
    #[must_use]
    pub fn with_anchors(self, anchors: Anchors) -> Self {
        Self { anchors, ..self }
    }

    /// What the strategy `activelab` knows of rows that have labels; it may choose them again.
    #[must_use]
    pub fn with_crowd(self, crowd: Crowd) -> Self {
        Self { crowd, ..self }
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

        let mut best = finish_all(plan.best)?;
        let proposals = propose(
            (plan.strategy, plan.least_weight),
            (&mut best, &plan.classes),
            plan.labelled.finish()?,
            n_wanted,
            &self.settings,
            &mut admission,
            context,
        )?;

        let chosen_of = |proposal: &Proposal| {
            let row = &best.rows[proposal.index];
            let (score, reason) = match self.crowd.opinion(row.row) {
                Some(opinion) => explain_again(opinion, self.crowd.names()),
                None => explain(plan.strategy, row, proposal, &plan.classes),
            };
            (row, Some(score), reason)
        };
        let random_reason = if plan.strategy == Strategy::Random { "random" } else { "random slice" };
        let drawn_rows = drawn.iter().map(|&row| (row, None, random_reason.to_owned()));
        for (row, score, reason) in spread(proposals.iter().map(chosen_of).collect(), drawn_rows.collect()) {
            let rank = batch.len() as u32 + 1;
            batch.push(Chosen { row: row.row, rank, score, reason });
        }

        let n_choosable = self.n_pool - self.n_labelled - self.n_excluded + self.n_again;
        let is_again = |row: &&Candidate| self.crowd.opinion(row.row).is_some();
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
            n_relabelled: proposals.iter().map(|one| &best.rows[one.index]).filter(is_again).count() as u64,
            shortfall: shortfall(&self.settings, n_choosable, batch.len()),
        };
        Ok(Outcome { batch: MarkBatch::new(batch), report })
    }

    /// Knows the scorer's columns.
    pub(super) fn begin(&mut self, dimensions: usize, classes: Vec<String>, context: &Context) -> Result<()> {
        self.plan = Some(Plan::new(&self.settings, (&self.anchors, &self.crowd), dimensions, classes, context)?);
        Ok(())
    }

    /// Number of a value of the quota's column.
    pub(super) fn stratum(&mut self, value: Option<&str>, context: &Context) -> Result<u32> {
        number_of(value, &mut self.strata, &mut self.strata_reservation, context)
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
            n_relabelled: 0,
            shortfall: shortfall(&self.settings, 0, 0),
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
        let strata = self.settings.quota.as_ref().map(|quota| strata_of(batch, &quota.column)).transpose()?;
        let clusters = text_of(self.settings.cluster_column.as_ref())?;
        let texts = if 0.0 < self.settings.cost.exponent {
            Some(required_column(batch, columns::TEXT, &DataType::Utf8)?.as_string::<i32>())
        } else {
            None
        };
        if self.plan.is_none() {
            let embedding = batch.column_by_name(columns::EMBEDDING);
            self.begin(embedding.map_or(0, list_length), classes_of(batch)?, context)?;
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
                value: 0.0,
                weight: 1.0,
                best_classes: [0; 2],
            };
            let opinion = self.crowd.opinion(row);
            let (is_labelled, is_excluded) = (self.labelled.contains(row), self.excluded.contains(row));
            if is_labelled {
                self.n_labelled += 1;
                plan.labelled.push(candidate, scores.embedding(index), &[])?;
            } else if is_excluded {
                self.n_excluded += 1;
            }
            if (is_labelled || is_excluded) && opinion.is_none() {
                continue;
            }
            if let Some(strata) = &strata {
                let value = (!strata.is_null(index)).then(|| strata.value(index));
                candidate.stratum = number_of(value, &mut self.strata, &mut self.strata_reservation, context)?;
            }
            candidate.value = if let Some(opinion) = opinion {
                self.n_again += u64::from(is_labelled || is_excluded);
                opinion.score as f32
            } else {
                let random_key = xxh3_64_with_seed(id, self.settings.seed ^ RANDOM_SALT);
                plan.random.push(Candidate { key: random_key, ..candidate }, &[], &[])?;
                let value = scores.value(plan.strategy, index);
                if plan.strategy == Strategy::Activelab { self.crowd.unanswered(value) } else { value }
            };
            if let Some(texts) = texts {
                candidate.weight = self.settings.cost.weight(texts.value_length(index) as usize);
            }
            plan.push(candidate, &scores, index, &self.anchors)?;
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

/// All sets in one, without rows that several have.
fn finish_all(sets: Vec<Candidates>) -> Result<Finished> {
    let mut sets = sets.into_iter();
    let Some(first) = sets.next() else { return Err(Error::Invariant("a selection without candidates".into())) };
    let mut all = first.finish()?;
    for set in sets {
        all.add(set.finish()?);
    }
    Ok(all)
}

/// What the strategy proposes and `admission` lets in.
fn propose(
    (strategy, least_weight): (Strategy, f32),
    (best, classes): (&mut Finished, &[String]),
    mut labelled: Finished,
    n_wanted: usize,
    settings: &SelectSettings,
    admission: &mut Admission,
    context: &Context,
) -> Result<Vec<Proposal>> {
    debug_assert!(classes.len() < 2 || best.probabilities.len().is_multiple_of(classes.len()));
    // A strategy that looks at no embedding has points of one component, and none of them.
    let dimensions = best.dimensions().max(1);
    let (points, labelled_points) = (best.take_points()?, labelled.take_points()?);
    let points = Points::new(&points, dimensions);
    let labelled = Points::new(&labelled_points, dimensions);
    if strategy == Strategy::Anchor {
        for row in &mut best.rows {
            row.order = order(strategy, row, 0.0 < settings.cost.exponent);
        }
    }
    let pool = Pool { rows: &best.rows, points, probabilities: &best.probabilities, labelled, least_weight };
    let mut distance = settings.max_similarity.map(|most| Distance::new(most, points, labelled));
    let mut admit = |index: usize| {
        let is_far = distance.as_ref().is_none_or(|distance| distance.allows(index));
        let is_let_in = is_far && admission.admit(&pool.rows[index]);
        if let (true, Some(distance)) = (is_let_in, &mut distance) {
            distance.choose(index);
        }
        is_let_in
    };
    acquire(strategy, pool, n_wanted, settings.seed, &mut admit, context)
}

/// What the quota is on: a column, or the length of the text.
fn strata_of(batch: &RecordBatch, column: &str) -> Result<StringArray> {
    if column != columns::LENGTH {
        return text_column(batch, column);
    }
    let texts = required_column(batch, columns::TEXT, &DataType::Utf8)?.as_string::<i32>();
    let class = |text: Option<&str>| match text.map_or(0, str::len).checked_ilog2() {
        None => "0 bytes".to_owned(),
        Some(bits) => format!("{} to {} bytes", 1u64 << bits, (2u64 << bits) - 1),
    };
    Ok(StringArray::from_iter_values(texts.iter().map(class)))
}

fn number_of(
    value: Option<&str>,
    strata: &mut Strata,
    reservation: &mut Option<Reservation>,
    context: &Context,
) -> Result<u32> {
    let (number, more_bytes) = strata.number(value);
    reservation.get_or_insert_with(|| context.budget.reserve("selection")).grow(more_bytes)?;
    Ok(number)
}

fn cluster_hash(clusters: Option<&StringArray>, index: usize, row: u64) -> u64 {
    match clusters {
        Some(clusters) if !clusters.is_null(index) => xxh3_64_with_seed(clusters.value(index).as_bytes(), 0),
        _ => xxh3_64_with_seed(&row.to_le_bytes(), 1),
    }
}

/// Why a batch is smaller than asked for.
fn shortfall(settings: &SelectSettings, n_choosable: u64, n_chosen: usize) -> Option<String> {
    if n_chosen == settings.budget {
        return None;
    }
    if n_chosen as u64 == n_choosable {
        return Some(format!("all {n_choosable} rows that could be chosen were chosen"));
    }
    let limits: Vec<String> = [
        settings.quota.as_ref().map(|quota| format!("the quota on `{}`", quota.column)),
        settings.cluster_column.as_ref().map(|_| "one row for each near-duplicate cluster".to_owned()),
        settings.max_similarity.map(|most| format!("the similarity limit of {most}")),
        settings.n_candidates.map(|n| format!("the limit of {n} candidates")),
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(format!("{} left {n_chosen} of {n_choosable} rows", limits.join(" and ")))
}
