//! The batch.

use std::sync::Arc;

use arrow::array::{AsArray, Float32Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, max, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use tamis_schemas::columns;
use tamis_schemas::config::{SelectConfig, Table};
use tamis_schemas::manifest::SelectionRecord;

use super::Run;
use super::fit::Fitted;
use super::ids::column;
use super::known::Known;
use super::pass;
use super::route::{Carried, append, id_field, reason_field};
use super::survey::Survey;
use super::training::InputRows;
use crate::budget::Reservation;
use crate::context::Context;
use crate::select::{Cost, LabelledPool, MarkBatch, Quota, SelectSettings, Selection, SelectionReport};
use crate::sink::Output;
use crate::source::{Columns, Decoded, Request};
use crate::stage::{BarrierStage, MapStage};
use crate::{Error, Result, RowSet};

/// Observes scored rows and writes the batch.
#[derive(Debug)]
pub(super) struct Chooser<'a> {
    run: Run<'a>,
    selection: Selection,
    scorer: &'a dyn MapStage,
}

impl<'a> Chooser<'a> {
    /// `None` if the config selects nothing.
    pub(super) fn new(run: Run<'a>, survey: &Survey, fitted: &'a Fitted<'_>) -> Result<Option<Self>> {
        let Some(select) = &run.config.select else { return Ok(None) };
        let (verdicts, data) = (survey.verdicts(), InputRows { run, survey, seed: select.seed });
        let known = Known::new(select, fitted, |row| verdicts.keeps(row), &data)?;
        Ok(Some(Self { run, selection: known.selection(select)?, scorer: &*fitted.scorer }))
    }

    pub(super) fn observe(&mut self, scored: &RecordBatch) -> Result<()> {
        self.selection.observe(scored, self.run.context)
    }

    /// Reads the chosen rows again and writes them in the order of their ranks.
    pub(super) fn finish(self, survey: &Survey, output: &mut Output) -> Result<SelectionRecord> {
        let Self { run, selection, scorer } = self;
        run.context.meter.phase("choosing");
        let outcome = selection.finish(run.context)?;
        if run.plan.writes(Table::Batch) {
            write_batch(&chosen_rows(run, &outcome.batch, scorer, survey)?, output)?;
        }
        Ok(record(outcome.report))
    }

    /// Reads the chosen rows again.
    pub(super) fn into_round(self, survey: &Survey) -> Result<(RecordBatch, SelectionRecord)> {
        let Self { run, selection, scorer } = self;
        run.context.meter.phase("choosing");
        let outcome = selection.finish(run.context)?;
        Ok((chosen_rows(run, &outcome.batch, scorer, survey)?, record(outcome.report)))
    }
}

/// Checks the settings of a selection without a pool.
///
/// # Errors
/// `Error::Config` for the first one that cannot work.
pub(super) fn check(select: &SelectConfig) -> Result<()> {
    Selection::new(settings(select), &LabelledPool::default(), RowSet::new()).map(drop)
}

pub(super) fn settings(select: &SelectConfig) -> SelectSettings {
    SelectSettings {
        budget: select.budget as usize,
        strategy: select.strategy,
        random_ratio: select.random_ratio,
        seed: select.seed,
        quota: select.stratum_column.clone().map(|column| Quota { column, max_ratio: select.stratum_max_ratio }),
        n_candidates: select.candidates.map(|n| n as usize),
        max_similarity: select.max_similarity,
        cost: Cost { exponent: select.cost_exponent, base: select.cost_base },
        cluster_column: None,
    }
}

/// The rows of a batch in the order of their ranks, with what the scorer predicts for them, if it has learned classes or labels.
fn chosen_rows(run: Run<'_>, batch: &MarkBatch, scorer: &dyn MapStage, survey: &Survey) -> Result<RecordBatch> {
    let predicts = predicts(scorer)?;
    let mut rows = BatchRows::new(batch, survey.schema.schema(), predicts, run.context);
    run.begin("reading the batch");
    let request = Request {
        columns: Columns::All,
        text: (predicts || survey.cuts()).then(|| run.plan.text.clone()),
        id: Some(run.plan.id.clone()),
        rows: Some(Arc::new(batch.rows())),
    };
    let work = |decoded: Decoded| {
        let batches = survey.cut(decoded)?.batches.into_iter();
        batches.map(|rows| if predicts { predicted(rows, scorer) } else { Ok(rows) }).collect()
    };
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, work, |batches: Vec<RecordBatch>| {
        batches.into_iter().try_for_each(|batch| rows.push(batch))
    })?;
    rows.finish()
}

/// Whether the scorer has learnt classes or labels, so that the rows of a batch have what it predicts.
pub(super) fn predicts(scorer: &dyn MapStage) -> Result<bool> {
    let text = Schema::new(vec![Field::new(columns::TEXT, DataType::Utf8, false)]);
    Ok(scorer.output_schema(&Arc::new(text))?.column_with_name(columns::PROBABILITIES).is_some())
}

/// Rows with what the scorer predicts for them.
pub(super) fn predicted(rows: RecordBatch, scorer: &dyn MapStage) -> Result<RecordBatch> {
    with_probability(&scorer.apply(rows)?)
}

/// The rows of a batch, as they come.
#[derive(Debug)]
pub(super) struct BatchRows<'a> {
    batch: &'a MarkBatch,
    table: Carried,
    rows: Vec<RecordBatch>,
    reservation: Reservation,
}

impl<'a> BatchRows<'a> {
    /// `predicts`: what a scorer predicts is among their columns.
    pub(super) fn new(batch: &'a MarkBatch, input: &Schema, predicts: bool, context: &Context) -> Self {
        let mut added = vec![
            id_field(),
            Field::new(columns::RANK, DataType::Int32, false),
            Field::new(columns::SCORE, DataType::Float64, true),
            reason_field(),
        ];
        if predicts {
            added.push(Field::new(columns::LABEL, DataType::Utf8, true));
            added.push(probability_field());
        }
        let table = Carried::new(input, &added);
        let rows = vec![RecordBatch::new_empty(Arc::clone(table.schema()))];
        Self { batch, table, rows, reservation: context.budget.reserve("labelling batch") }
    }

    /// Takes chosen rows with all their columns.
    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<()> {
        let rows = self.table.project(&self.batch.apply(rows)?)?;
        self.reservation.grow(rows.get_array_memory_size())?;
        self.rows.push(rows);
        Ok(())
    }

    /// All of them in the order of their ranks.
    pub(super) fn finish(self) -> Result<RecordBatch> {
        let chosen = concat_batches(self.table.schema(), &self.rows)?;
        let order: UInt32Array = sort_to_indices(
            chosen.column_by_name(columns::RANK).ok_or_else(|| Error::Invariant("a batch without ranks".into()))?,
            None,
            None,
        )?;
        Ok(take_record_batch(&chosen, &order)?)
    }
}

fn probability_field() -> Field {
    Field::new(columns::PROBABILITY, DataType::Float32, true)
}

/// Appends the highest of the probabilities.
fn with_probability(scored: &RecordBatch) -> Result<RecordBatch> {
    let highest: Float32Array = column(scored, columns::PROBABILITIES)?
        .as_fixed_size_list()
        .iter()
        .map(|row| row.and_then(|row| max(row.as_primitive::<Float32Type>())))
        .collect();
    append(scored, probability_field(), Arc::new(highest))
}

/// Writes the table `batch`.
pub(super) fn write_batch(batch: &RecordBatch, output: &mut Output) -> Result<()> {
    let mut writer = output.table(Table::Batch, batch.schema())?;
    writer.write(batch)?;
    output.finish_table(Table::Batch, writer)
}

pub(super) fn record(report: SelectionReport) -> SelectionRecord {
    SelectionRecord {
        strategy: report.strategy.name().to_owned(),
        why: report.strategy_reason,
        shortfall: report.shortfall,
        pool_rows: report.n_pool - report.n_labelled - report.n_excluded,
        batch_rows: report.n_chosen,
        random_rows: report.n_random,
        relabelled_rows: report.n_relabelled,
        labelled_rows: report.n_labelled,
        unknown_labels: report.n_labels_unknown,
    }
}
