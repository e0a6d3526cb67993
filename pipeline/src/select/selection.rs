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
use super::report::{SelectionReport, Strata};
use super::scores::{Scores, classes_of, list_length, small_is_unsure};
use super::{Anchors, Crowd, LabelledPool, SelectSettings, Strategy, strategy_weighs_costs};
use crate::budget::Reservation;
use crate::context::Context;
use crate::kmeans::Points;
use crate::score::append::required_column;
use crate::stage::{BarrierStage, MapStage, Next};
use crate::{Error, Result, RowSet};

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
    anchors: Anchors,
    crowd: Crowd,
    n_labels_unknown: u64,
    plan: Option<Plan>,
    strata: Strata,
    strata_reservation: Option<Reservation>,
    n_pool: u64,
    n_labelled: u64,
    n_excluded: u64,
    /// Rows that may be chosen again.
    n_again: u64,
    outcome: OutcomeHandle,
}

/// What is known once the first batch is seen.
#[derive(Debug)]
struct Plan {
    strategy: Strategy,
    reason: String,
    /// See [`Pool`].
    least_weight: f32,
    /// Whether costs count.
    weighs_costs: bool,
    classes: Vec<String>,
    dimensions: usize,
    /// Best first by the strategy; of `anchor` for each class, near ones first.
    best: Vec<Candidates>,
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
            n_relabelled: proposals.iter().map(|one| &best.rows[one.index]).filter(is_again).count() as u64,
            shortfall: shortfall(&self.settings, n_choosable, batch.len()),
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
            n_relabelled: 0,
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
        let strata = self.settings.quota.as_ref().map(|quota| strata_of(batch, &quota.column)).transpose()?;
        let clusters = text_of(self.settings.cluster_column.as_ref())?;
        let texts = if 0.0 < self.settings.cost.exponent {
            Some(required_column(batch, columns::TEXT, &DataType::Utf8)?.as_string::<i32>())
        } else {
            None
        };
        if self.plan.is_none() {
            let embedding = batch.column_by_name(columns::EMBEDDING);
            let dimensions = embedding.map_or(0, list_length);
            self.plan = Some(Plan::new(self, dimensions, classes_of(batch)?, context)?);
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
                let (stratum, more_bytes) = self.strata.number(value);
                let reservation = self.strata_reservation.get_or_insert_with(|| context.budget.reserve("selection"));
                reservation.grow(more_bytes)?;
                self.strata.count(stratum);
                candidate.stratum = stratum;
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

impl Plan {
    fn new(selection: &Selection, dimensions: usize, classes: Vec<String>, context: &Context) -> Result<Self> {
        let settings = &selection.settings;
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
        let reason = if strategy == Strategy::Activelab && selection.crowd.is_empty() {
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
        let n_sets = if strategy == Strategy::Anchor { selection.anchors.n_classes() } else { 1 };
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
    fn push(&mut self, row: Candidate, scores: &Scores<'_>, index: usize, anchors: &Anchors) -> Result<()> {
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
fn order(strategy: Strategy, row: &Candidate, weighs_costs: bool) -> f32 {
    let unsure = if small_is_unsure(strategy) { 1.0 - row.value } else { row.value };
    // Small margins are closer to each other than 1 less them.
    let order = if !weighs_costs && small_is_unsure(strategy) { row.value } else { -(unsure * row.weight) };
    order + 0.0
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
