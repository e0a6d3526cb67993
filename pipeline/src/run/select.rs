//! Labels, the fitted scorer, and the batch.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field};
use tamis_schemas::columns;
use tamis_schemas::config::{ScoreConfig, SelectConfig, Table};
use tamis_schemas::manifest::{ScorerRecord, SelectionRecord};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Run;
use super::ids::{column, rows_of};
use super::pass;
use super::route::{Carried, id_field, reason_field};
use super::survey::Survey;
use crate::score::device::{ResolvedDevice, resolve};
use crate::score::{BuiltinScorer, BuiltinSettings, LabelledText};
use crate::select::{LabelJoin, LabelTable, LabelledPool, Quota, SelectSettings, Selection, Strategy};
use crate::sink::Output;
use crate::source::{Columns, IdSource, Inputs, Request, TextExpression, Types};
use crate::stage::{BarrierStage, MapStage};
use crate::store::Stores;
use crate::{Error, Result, RowSet};

/// Kept rows that a scorer without labels learns word frequencies from, at most.
const SAMPLE_ROWS: u64 = 20_000;
/// Bytes of their texts, at most.
const SAMPLE_BYTES: usize = 32 << 20;

/// A scorer that is ready, and what the labels say.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) scorer: BuiltinScorer,
    pub(super) record: ScorerRecord,
    labels: LabelledPool,
}

/// Fits the scorer, if the config wants scores or a batch.
pub(super) fn fit(run: Run<'_>, survey: &Survey, stores: &Stores) -> Result<Option<Fitted>> {
    if run.config.score.is_none() && run.config.select.is_none() {
        return Ok(None);
    }
    let mut labels = match &run.config.select {
        Some(select) if !select.labels.is_empty() => join_labels(run, survey, select, stores)?,
        _ => LabelledPool::default(),
    };
    if let Some(contaminated) = &survey.contaminated {
        labels.remove(contaminated.rows());
    }
    let score = run.config.score.clone().unwrap_or_else(|| ScoreConfig {
        seed: run.config.select.as_ref().map_or(0, |select| select.seed),
        ..ScoreConfig::default()
    });
    let (labelled, sample) = read_texts(run, survey, &labels, score.seed)?;
    let device = resolve(run.plan.device)?;
    let settings = BuiltinSettings { seed: score.seed, ..BuiltinSettings::default() };
    let scorer = BuiltinScorer::fit(&labelled, &sample, &settings, &device, run.context)?;
    let record = record(&scorer, &device);
    Ok(Some(Fitted { scorer, record, labels }))
}

fn record(scorer: &BuiltinScorer, device: &ResolvedDevice) -> ScorerRecord {
    ScorerRecord {
        name: "builtin".into(),
        device: device.description.clone(),
        device_note: device.fallback_reason.clone(),
        classes: scorer.classes().to_vec(),
        labelled_rows: scorer.n_labelled() as u64,
    }
}

/// Reads the label files and finds their rows in the pool.
fn join_labels(run: Run<'_>, survey: &Survey, select: &SelectConfig, stores: &Stores) -> Result<LabelledPool> {
    let table = read_labels(run, select, stores)?;
    let n_labels = table.len();
    let mut join = LabelJoin::new(table)?;
    run.begin("joining labels");
    let request =
        Request { columns: Columns::Named(Vec::new()), text: None, id: Some(run.plan.id.clone()), rows: None };
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, Ok, |decoded| {
        decoded.batches.iter().try_for_each(|batch| {
            run.progress.add_rows(batch.num_rows() as u64);
            join.observe(batch)
        })
    })?;
    let pool = join.finish()?;
    if n_labels > 0 && pool.labelled.is_empty() {
        return Err(Error::Config {
            message: format!("none of the {n_labels} labels has an id of the pool"),
            hint: Some("the label files and the pool must name rows by the same ids: see --id-column".into()),
        });
    }
    Ok(pool)
}

fn read_labels(run: Run<'_>, select: &SelectConfig, stores: &Stores) -> Result<LabelTable> {
    let id = match (&select.label_id_column, &run.plan.id) {
        (Some(name), _) => IdSource::Column(name.clone()),
        (None, IdSource::Row) => IdSource::Column(columns::ID.to_owned()),
        (None, of_pool) => of_pool.clone(),
    };
    let options = super::plan::source_options(&tamis_schemas::config::InputConfig::new(select.labels.clone()))?;
    let inputs = Inputs::discover(&select.labels, &options, stores, run.context)?;
    let request = Request {
        columns: Columns::Named(Vec::new()),
        text: Some(TextExpression::column(&select.label_column)),
        id: Some(id),
        rows: None,
    };
    let (mut types, mut batches) = (Types::default(), Vec::new());
    pass::for_each(inputs.survey(&request)?, run.context, Ok, |decoded| {
        types.merge(decoded.types);
        batches.extend(decoded.batches);
        Ok(())
    })?;
    inputs.resolve(types)?;
    LabelTable::from_batches(&batches, columns::ID, columns::TEXT)
}

/// Texts of the labelled rows, or of a sample of the kept ones if there is no label.
fn read_texts(
    run: Run<'_>,
    survey: &Survey,
    labels: &LabelledPool,
    seed: u64,
) -> Result<(Vec<LabelledText>, Vec<String>)> {
    let is_cold = labels.classes.len() < 2;
    let mut rows = labels.rows.clone();
    let sample = if is_cold { sample_rows(survey, seed) } else { RowSet::new() };
    for row in sample.iter() {
        rows.insert(row);
    }
    let (mut labelled, mut texts) = (Vec::new(), Vec::new());
    let mut sample_bytes = 0;
    let mut reservation = run.context.budget.reserve("labelled texts");
    let mut next_label = labels.labelled.iter().peekable();
    run.begin("learning");
    let request = Request {
        columns: Columns::Named(Vec::new()),
        text: Some(run.plan.text.clone()),
        id: None,
        rows: Some(Arc::new(rows)),
    };
    pass::for_each(
        run.scan(&survey.schema, &request)?,
        run.context,
        |decoded| survey.cut(decoded),
        |decoded| {
            for batch in &decoded.batches {
                let batch_texts = column(batch, columns::TEXT)?.as_string::<i32>();
                for (&row, text) in rows_of(batch)?.values().iter().zip(batch_texts) {
                    let text = text.unwrap_or_default();
                    while next_label.next_if(|(labelled_row, _)| *labelled_row < row).is_some() {}
                    if let Some((_, label)) = next_label.next_if(|(labelled_row, _)| *labelled_row == row) {
                        reservation.grow(text.len())?;
                        labelled.push(LabelledText { text: text.to_owned(), label: label.clone() });
                    }
                    if sample.contains(row) && sample_bytes + text.len() <= SAMPLE_BYTES {
                        sample_bytes += text.len();
                        texts.push(text.to_owned());
                    }
                }
            }
            Ok(())
        },
    )?;
    Ok((labelled, texts))
}

/// Rows in hash order, up to a number; not those that were rejected or dropped.
fn sample_rows(survey: &Survey, seed: u64) -> RowSet {
    let n_rows = survey.schema.n_rows();
    let share = if n_rows <= SAMPLE_ROWS { u64::MAX } else { (u64::MAX / n_rows).saturating_mul(SAMPLE_ROWS) };
    let verdicts = survey.verdicts();
    (0..n_rows)
        .filter(|row| xxh3_64_with_seed(&row.to_le_bytes(), seed) <= share)
        .filter(|&row| verdicts.keeps(row))
        .collect()
}

/// Observes scored rows and writes the batch.
#[derive(Debug)]
pub(super) struct Chooser<'a> {
    run: Run<'a>,
    selection: Selection,
}

impl<'a> Chooser<'a> {
    /// `None` if the config selects nothing.
    pub(super) fn new(run: Run<'a>, fitted: &Fitted) -> Result<Option<Self>> {
        let Some(select) = &run.config.select else { return Ok(None) };
        let quota = select.stratum_column.clone().map(|column| Quota { column, max_ratio: select.stratum_max_ratio });
        let settings = SelectSettings {
            budget: select.budget as usize,
            strategy: strategy(select.strategy),
            random_ratio: select.random_ratio,
            seed: select.seed,
            quota,
            cluster_column: None,
        };
        let selection = Selection::new(settings, &fitted.labels, RowSet::new())?;
        Ok(Some(Self { run, selection }))
    }

    pub(super) fn observe(&mut self, scored: &RecordBatch) -> Result<()> {
        self.selection.observe(scored, self.run.context)
    }

    /// Reads the chosen rows again and writes them in the order of their ranks.
    pub(super) fn finish(self, survey: &Survey, output: &mut Output) -> Result<SelectionRecord> {
        let Self { run, selection } = self;
        let outcome = selection.finish(run.context)?;
        if run.plan.writes(Table::Batch) {
            let table = Carried::new(
                survey.schema.schema(),
                &[
                    id_field(),
                    Field::new(columns::RANK, DataType::Int32, false),
                    Field::new(columns::SCORE, DataType::Float64, true),
                    reason_field(),
                ],
            );
            run.begin("writing the batch");
            let request = Request {
                columns: Columns::All,
                text: survey.cuts().then(|| run.plan.text.clone()),
                id: Some(run.plan.id.clone()),
                rows: Some(Arc::new(outcome.batch.rows())),
            };
            let mut reservation = run.context.budget.reserve("labelling batch");
            let mut chosen = vec![RecordBatch::new_empty(Arc::clone(table.schema()))];
            let work = |decoded: crate::source::Decoded| {
                survey
                    .cut(decoded)?
                    .batches
                    .into_iter()
                    .map(|batch| table.project(&outcome.batch.apply(batch)?))
                    .collect()
            };
            pass::for_each(run.scan(&survey.schema, &request)?, run.context, work, |batches: Vec<RecordBatch>| {
                for batch in batches {
                    reservation.grow(batch.get_array_memory_size())?;
                    chosen.push(batch);
                }
                Ok(())
            })?;
            let chosen = concat_batches(table.schema(), &chosen)?;
            let order: UInt32Array = sort_to_indices(
                chosen.column_by_name(columns::RANK).ok_or_else(|| Error::Invariant("a batch without ranks".into()))?,
                None,
                None,
            )?;
            let mut writer = output.table(Table::Batch, Arc::clone(table.schema()))?;
            writer.write(&take_record_batch(&chosen, &order)?)?;
            output.finish_table(Table::Batch, writer)?;
        }
        let report = outcome.report;
        Ok(SelectionRecord {
            strategy: report.strategy.name().to_owned(),
            why: report.strategy_reason,
            shortfall: report.shortfall,
            pool_rows: report.n_pool - report.n_labelled - report.n_excluded,
            batch_rows: report.n_chosen,
            random_rows: report.n_random,
            labelled_rows: report.n_labelled,
            unknown_labels: report.n_labels_unknown,
        })
    }
}

fn strategy(strategy: tamis_schemas::config::Strategy) -> Strategy {
    use tamis_schemas::config::Strategy as Config;
    match strategy {
        Config::Auto => Strategy::Auto,
        Config::Random => Strategy::Random,
        Config::LeastConfidence => Strategy::LeastConfidence,
        Config::Margin => Strategy::Margin,
        Config::Entropy => Strategy::Entropy,
        Config::Typiclust => Strategy::Typiclust,
    }
}
