//! The batch.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field};
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::SelectionRecord;

use super::Run;
use super::fit::Fitted;
use super::pass;
use super::route::{Carried, id_field, reason_field};
use super::survey::Survey;
use crate::select::{Cost, Quota, SelectSettings, Selection, Strategy};
use crate::sink::Output;
use crate::source::{Columns, Request};
use crate::stage::{BarrierStage, MapStage};
use crate::{Error, Result, RowSet};

/// Observes scored rows and writes the batch.
#[derive(Debug)]
pub(super) struct Chooser<'a> {
    run: Run<'a>,
    selection: Selection,
}

impl<'a> Chooser<'a> {
    /// `None` if the config selects nothing.
    pub(super) fn new(run: Run<'a>, survey: &Survey, fitted: &Fitted<'_>) -> Result<Option<Self>> {
        let Some(select) = &run.config.select else { return Ok(None) };
        let quota = select.stratum_column.clone().map(|column| Quota { column, max_ratio: select.stratum_max_ratio });
        let settings = SelectSettings {
            budget: select.budget as usize,
            strategy: select.strategy,
            random_ratio: select.random_ratio,
            seed: select.seed,
            quota,
            n_candidates: select.candidates.map(|n| n as usize),
            max_similarity: select.max_similarity,
            cost: Cost { exponent: select.cost_exponent, base: select.cost_base },
            cluster_column: None,
        };
        let selection = Selection::new(settings, &fitted.labels, RowSet::new())?;
        let selection = match select.strategy {
            Strategy::Anchor => selection.with_anchors(fitted.anchors(run, survey)?),
            _ => selection,
        };
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
