//! The pass that writes: every row goes where its verdict says, the kept ones by way of the scorer.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{
    GrainRecord, NearDuplicateRecord, SCurvePoint, ScorerRecord, SelectionRecord, WhatIfPoint,
};

use super::grain::CutRows;
use super::ids::{ids_of, rows_of};
use super::route::{Carried, id_field, reason_field, split_by_null};
use super::select::{Chooser, Fitted};
use super::survey::Survey;
use super::verdict::Verdicts;
use super::{Run, pass};
use crate::dedup::grain::{Cutter, Span};
use crate::dedup::{Evidence, NearDuplicateReport};
use crate::score::BuiltinScorer;
use crate::sink::{Output, TableWriter};
use crate::source::{Columns, Decoded, Request};
use crate::stage::MapStage;
use crate::{Error, Result};

/// What the writing pass counted.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) kept: u64,
    pub(super) dropped: u64,
    pub(super) dropped_by_reason: BTreeMap<String, u64>,
    pub(super) near_duplicates: Option<NearDuplicateRecord>,
    pub(super) grain: Option<GrainRecord>,
    pub(super) scorer: Option<ScorerRecord>,
    pub(super) selection: Option<SelectionRecord>,
}

/// Reads every row with its final type and writes the tables.
pub(super) fn write(
    run: Run<'_>,
    survey: &mut Survey,
    fitted: Option<&Fitted>,
    output: &mut Output,
) -> Result<Written> {
    let schema = survey.schema.schema();
    let has_ids = run.plan.needs_text(run.config);
    let carried_by = |added: &[Field]| Carried::new(schema, if has_ids { added } else { &[] });
    let kept = carried_by(&[id_field()]);
    let dropped = carried_by(&[id_field(), reason_field()]);
    let cutter = survey.grain.as_ref().and_then(|grain| grain.cutter.as_ref());
    let router = Router {
        cutter,
        verdicts: survey.verdicts(),
        scorer: fitted.map(|fitted| &fitted.scorer),
        kept: &kept,
        dropped: &dropped,
        carries_rows: run.plan.writes(Table::Kept) || run.plan.writes(Table::Dropped),
    };
    let scores = fitted.map(|fitted| score_table(&fitted.scorer)).transpose()?;
    let mut tables = Tables::open(run, &kept, &dropped, scores.as_ref(), output)?;
    let mut chooser = fitted.map(|fitted| Chooser::new(run, fitted)).transpose()?.flatten();
    let mut written = Written {
        kept: 0,
        dropped: 0,
        dropped_by_reason: BTreeMap::new(),
        near_duplicates: None,
        grain: None,
        scorer: None,
        selection: None,
    };

    run.begin("writing");
    let columns = if router.carries_rows { Columns::All } else { Columns::Named(chooser_columns(run)) };
    let request = Request {
        columns,
        text: (fitted.is_some() || cutter.is_some()).then(|| run.plan.text.clone()),
        id: has_ids.then(|| run.plan.id.clone()),
        rows: None,
    };
    let scan = run.scan(&survey.schema, &request)?;
    let (mut found, mut contaminated) = (survey.near_duplicates.as_mut(), survey.contaminated.as_mut());
    let mut cut_rows = survey.grain.as_ref().map(|grain| CutRows::new(run, grain));
    pass::for_each(
        scan,
        run.context,
        |decoded| router.route(decoded),
        |routed: Vec<Routed>| {
            for routed in routed {
                run.progress.add_rows(routed.n_kept + routed.n_dropped);
                written.kept += routed.n_kept;
                written.dropped += routed.n_dropped;
                for (reason, n_rows) in &routed.reasons {
                    *written.dropped_by_reason.entry(reason.clone()).or_default() += n_rows;
                }
                if let Some((rows, ids)) = &routed.ids {
                    if let Some(found) = &mut found {
                        found.evidence.observe_ids(rows, ids, run.context)?;
                    }
                    if let Some(cut_rows) = &mut cut_rows {
                        cut_rows.observe_ids(rows, ids)?;
                    }
                    if let Some(contaminated) = &mut contaminated {
                        contaminated.observe_ids(rows, ids, run.context)?;
                    }
                }
                tables.write(&routed)?;
                if let Some(cut_rows) = &mut cut_rows {
                    cut_rows.push(routed.spans)?;
                }
                if let (Some(chooser), Some(scored)) = (&mut chooser, &routed.scored) {
                    chooser.observe(scored)?;
                }
            }
            Ok(())
        },
    )?;
    tables.finish(output)?;
    written.grain = cut_rows.map(|cut_rows| cut_rows.finish(output)).transpose()?;
    written.near_duplicates = finish_evidence(survey, run, output)?.filter(|_| run.plan.deduplicate.is_some());
    written.scorer = fitted.map(|fitted| fitted.record.clone());
    written.selection = chooser.map(|chooser| chooser.finish(survey, output)).transpose()?;
    Ok(written)
}

/// Input columns that selection looks at when no input column is written.
fn chooser_columns(run: Run<'_>) -> Vec<String> {
    run.config.select.iter().filter_map(|select| select.stratum_column.clone()).collect()
}

/// Writes the evidence: of contaminated rows first, then of near-duplicates.
fn finish_evidence(survey: &mut Survey, run: Run<'_>, output: &mut Output) -> Result<Option<NearDuplicateRecord>> {
    let (contaminated, found) = (survey.contaminated.take(), survey.near_duplicates.take());
    let record = found.as_ref().map(|found| near_duplicate_record(&found.report));
    if run.plan.writes(Table::Evidence) {
        let mut writer = output.table(Table::Evidence, Evidence::schema())?;
        if let Some(contaminated) = contaminated {
            write_batches(contaminated.evidence(run.context)?, &mut writer, run)?;
        }
        if let Some(found) = found {
            write_batches(found.evidence.finish(run.context)?, &mut writer, run)?;
        }
        output.finish_table(Table::Evidence, writer)?;
    }
    Ok(record)
}

fn write_batches(
    mut batches: impl Iterator<Item = Result<RecordBatch>>,
    writer: &mut TableWriter,
    run: Run<'_>,
) -> Result<()> {
    batches.try_for_each(|batch| {
        run.context.cancel.check()?;
        writer.write(&batch?)
    })
}

/// Row-local work of the pass.
#[derive(Debug)]
struct Router<'a> {
    cutter: Option<&'a Cutter>,
    verdicts: Verdicts,
    scorer: Option<&'a BuiltinScorer>,
    kept: &'a Carried,
    dropped: &'a Carried,
    carries_rows: bool,
}

/// A batch, split.
#[derive(Debug)]
struct Routed {
    n_kept: u64,
    n_dropped: u64,
    reasons: BTreeMap<String, u64>,
    kept: RecordBatch,
    dropped: RecordBatch,
    spans: Vec<Span>,
    scored: Option<RecordBatch>,
    ids: Option<(UInt64Array, StringArray)>,
}

impl Router<'_> {
    fn route(&self, decoded: Decoded) -> Result<Vec<Routed>> {
        decoded.batches.into_iter().map(|batch| self.route_batch(&batch)).collect()
    }

    fn route_batch(&self, batch: &RecordBatch) -> Result<Routed> {
        let (ids, (kept, dropped)) = if self.verdicts.are_there() {
            let ids = (rows_of(batch)?.clone(), ids_of(batch)?.clone());
            (Some(ids), split_by_null(&self.verdicts.apply(batch)?, columns::REASON)?)
        } else {
            (None, (batch.clone(), batch.slice(0, 0)))
        };
        let (kept, spans) = match self.cutter {
            Some(cutter) => cutter.cut(kept)?,
            None => (kept, Vec::new()),
        };
        let scored = self.scorer.map(|scorer| scorer.apply(kept.clone())).transpose()?;
        let reasons = if dropped.num_rows() > 0 { count_reasons(&dropped)? } else { BTreeMap::new() };
        let (n_kept, n_dropped) = (kept.num_rows() as u64, dropped.num_rows() as u64);
        let project = |carried: &Carried, batch: &RecordBatch| {
            if self.carries_rows && batch.num_rows() > 0 {
                carried.project(batch)
            } else {
                Ok(RecordBatch::new_empty(carried.schema().clone()))
            }
        };
        Ok(Routed {
            n_kept,
            n_dropped,
            reasons,
            kept: project(self.kept, &kept)?,
            dropped: project(self.dropped, &dropped)?,
            spans,
            scored,
            ids,
        })
    }
}

fn count_reasons(dropped: &RecordBatch) -> Result<BTreeMap<String, u64>> {
    let last = dropped.schema_ref().fields().iter().rposition(|field| field.name() == columns::REASON);
    let reasons = last
        .and_then(|index| dropped.column(index).as_string_opt::<i32>())
        .ok_or_else(|| Error::Invariant("dropped rows have no reason".into()))?;
    let mut counts = BTreeMap::new();
    for reason in reasons.iter().flatten() {
        match counts.get_mut(reason) {
            Some(count) => *count += 1,
            None => drop(counts.insert(reason.to_owned(), 1)),
        }
    }
    Ok(counts)
}

/// Columns of the table `scores`: the id and what the scorer appends.
fn score_table(scorer: &BuiltinScorer) -> Result<Carried> {
    let text = Arc::new(Schema::new(vec![Field::new(columns::TEXT, DataType::Utf8, false)]));
    let scored = scorer.output_schema(&text)?;
    let added: Vec<Field> = scored.fields().iter().skip(1).map(|field| field.as_ref().clone()).collect();
    Ok(Carried::new(&Schema::new(vec![id_field()]), &added))
}

/// The open tables of the pass.
#[derive(Debug)]
struct Tables<'a> {
    kept: Option<TableWriter>,
    dropped: Option<TableWriter>,
    scores: Option<(TableWriter, &'a Carried)>,
}

impl<'a> Tables<'a> {
    fn open(
        run: Run<'_>,
        kept: &Carried,
        dropped: &Carried,
        scores: Option<&'a Carried>,
        output: &mut Output,
    ) -> Result<Self> {
        let mut open = |table, carried: &Carried| {
            run.plan.writes(table).then(|| output.table(table, carried.schema().clone())).transpose()
        };
        let scores = match scores {
            Some(carried) => open(Table::Scores, carried)?.map(|writer| (writer, carried)),
            None => None,
        };
        Ok(Self { kept: open(Table::Kept, kept)?, dropped: open(Table::Dropped, dropped)?, scores })
    }

    fn write(&mut self, routed: &Routed) -> Result<()> {
        if let Some(writer) = &mut self.kept {
            writer.write(&routed.kept)?;
        }
        if let Some(writer) = &mut self.dropped {
            writer.write(&routed.dropped)?;
        }
        if let (Some((writer, carried)), Some(scored)) = (&mut self.scores, &routed.scored) {
            writer.write(&carried.project(scored)?)?;
        }
        Ok(())
    }

    fn finish(self, output: &mut Output) -> Result<()> {
        let scores = self.scores.map(|(writer, _)| writer);
        for (table, writer) in [(Table::Kept, self.kept), (Table::Dropped, self.dropped), (Table::Scores, scores)] {
            if let Some(writer) = writer {
                output.finish_table(table, writer)?;
            }
        }
        Ok(())
    }
}

/// What near-duplicate removal did, for the manifest.
fn near_duplicate_record(report: &NearDuplicateReport) -> NearDuplicateRecord {
    let what_if = report.what_if.iter().map(|&(threshold, dropped_rows)| WhatIfPoint { threshold, dropped_rows });
    let points = report.s_curve.iter().filter(|(similarity, _)| 0.29 < *similarity);
    NearDuplicateRecord {
        bands: report.n_bands as u32,
        rows_per_band: report.rows_per_band as u32,
        s_curve: points.step_by(2).map(|&(similarity, probability)| SCurvePoint { similarity, probability }).collect(),
        recall_at_threshold: report.recall_at_threshold,
        rows_without_tokens: report.n_without_tokens,
        identical_rows: report.n_identical,
        exact_rows: report.n_near_exact,
        estimated_rows: report.n_near_estimated,
        indirect_rows: report.n_connected,
        clusters: report.n_clusters,
        largest_cluster_rows: report.largest_cluster_rows,
        candidate_pairs: report.n_candidate_pairs,
        proven_pairs: report.n_proven_pairs,
        hot_buckets: report.n_hot_buckets,
        untested_pairs: report.n_untested_pairs,
        what_if: what_if.collect(),
    }
}
