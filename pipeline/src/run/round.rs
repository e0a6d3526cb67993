//! A round of a labelling loop: what `tamis select` does, without an output of its own.

use std::collections::HashSet;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tamis_schemas::config::Config;
use tamis_schemas::manifest::{InputRecord, RowCounts, ScorerRecord, SelectionRecord};

use super::ids::{ids_of, rows_of};
use super::plan::Plan;
use super::select::Chooser;
use super::survey::Survey;
use super::write::stratum_columns;
use super::{NAMES_COLUMNS, Run, check, check_reject_ratio, fit, input_records, pass, survey, with_flags};
use crate::context::Context;
use crate::progress::Progress;
use crate::sink::{Existing, Output};
use crate::source::{Columns, Inputs, Request};
use crate::store::Stores;
use crate::{Error, Result, RowSet};

/// A batch, and what it was chosen of.
#[derive(Debug)]
pub(crate) struct ChosenRound {
    /// The rows in the order of their ranks, as in the table `batch`.
    pub(crate) batch: RecordBatch,
    /// How they were chosen.
    pub(crate) selection: SelectionRecord,
    /// What scored.
    pub(crate) scorer: ScorerRecord,
    /// The files of the pool.
    pub(crate) inputs: Vec<InputRecord>,
    /// Rows of the pool.
    pub(crate) rows: RowCounts,
}

/// Fits the scorer and chooses a batch as `config` says, but none of the rows with ids in `excluded`; `observe` sees every row that
/// stays, with its scores, in the order of the input. Writes nothing.
///
/// # Errors
/// `Error::Config` for the first setting that cannot work, and whatever stops a run.
pub(crate) fn choose_round(
    config: &Config,
    excluded: &HashSet<String>,
    mut observe: impl FnMut(&RecordBatch) -> Result<()>,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<ChosenRound> {
    let config = &config.resolved();
    check(config)?;
    let plan = &Plan::new(config)?;
    let inputs = &Inputs::discover(&config.input.paths, &plan.source, stores, context)?;
    let run = Run { config, plan, inputs, context, progress };
    let mut no_tables =
        Output::open(config, &[], Vec::new(), Existing::Overwrite, None, stores, context.runtime.handle())?;
    let mut survey = survey::survey(run, None, None, &mut no_tables)?;
    check_reject_ratio(run, &survey.rows)?;
    let nothing = || Error::Invariant("a round without a selection".into());
    let fitted = fit::fit(run, &mut survey, stores)?.ok_or_else(nothing)?;
    let alike = rows_like(run, &mut survey, excluded, &fitted)?;
    let mut chooser = Chooser::new(run, &survey, &fitted)?.ok_or_else(nothing)?;

    run.begin("scoring the pool");
    let request = Request {
        columns: Columns::Named(stratum_columns(config).chain(plan.embedding_columns()).collect()),
        text: Some(plan.text.clone()),
        id: Some(plan.id.clone()),
        rows: None,
    };
    let verdicts = survey.verdicts();
    let mut rows = survey.rows;
    let scan = run.scan(&survey.schema, &request).map_err(|error| with_flags(error, NAMES_COLUMNS))?;
    pass::for_each(
        scan,
        context,
        |decoded| {
            let scored = decoded.batches.into_iter().map(|batch| {
                let n_rows = batch.num_rows() as u64;
                Ok((n_rows, fitted.scorer.apply(verdicts.staying(batch)?)?))
            });
            scored.collect::<Result<Vec<_>>>()
        },
        |scored| {
            for (n_rows, scored) in scored {
                run.progress.add_rows(n_rows);
                rows.kept += scored.num_rows() as u64;
                rows.dropped += n_rows - scored.num_rows() as u64;
                observe(&scored)?;
                chooser.observe(&without(&scored, excluded, &alike)?)?;
            }
            Ok(())
        },
    )?;
    let (batch, selection) = chooser.into_round(&survey)?;
    let inputs = input_records(inputs, survey.schema.file_rows());
    Ok(ChosenRound { batch, selection, scorer: fitted.finish()?, inputs, rows })
}

/// Rows without a label that stand for excluded ones, which are dropped.
fn rows_like(
    run: Run<'_>,
    survey: &mut Survey,
    excluded: &HashSet<String>,
    fitted: &fit::Fitted<'_>,
) -> Result<RowSet> {
    let verdicts = survey.verdicts();
    if excluded.is_empty() || survey.near_duplicates.as_ref().is_none_or(|found| found.verdict.n_dropped() == 0) {
        return Ok(RowSet::new());
    }
    run.begin("joining rows");
    let request =
        Request { columns: Columns::Named(Vec::new()), text: None, id: Some(run.plan.id.clone()), rows: None };
    let mut dropped = RowSet::new();
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, Ok, |decoded| {
        for batch in &decoded.batches {
            let ids = ids_of(batch)?.iter().map(Option::unwrap_or_default);
            for (&row, id) in rows_of(batch)?.values().iter().zip(ids) {
                if !verdicts.keeps(row) && excluded.contains(id) {
                    dropped.insert(row);
                }
            }
        }
        Ok(())
    })?;
    let stand_ins = survey.stand_ins(&dropped, run.context)?;
    Ok(stand_ins.into_values().filter(|row| !fitted.labels.rows.contains(*row)).collect())
}

fn without(batch: &RecordBatch, excluded: &HashSet<String>, alike: &RowSet) -> Result<RecordBatch> {
    let ids = ids_of(batch)?.iter();
    let rows = rows_of(batch)?.values().iter();
    let stays = ids.zip(rows).map(|(id, row)| id.is_none_or(|id| !excluded.contains(id)) && !alike.contains(*row));
    let stays: BooleanArray = stays.map(Some).collect();
    Ok(filter_record_batch(batch, &stays)?)
}
