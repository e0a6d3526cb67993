//! The pass that writes: every row goes where its verdict says, the kept ones by way of the scorer.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns;
use tamis_schemas::config::{Config, Measure, OutputMode, Table};
use tamis_schemas::manifest::{
    EmbeddingRecord, GrainRecord, IndexRecord, LossRecord, NearDuplicateRecord, SCurvePoint, SampleRecord,
    ScorerRecord, SelectionRecord, WhatIfPoint,
};
use tamis_schemas::tables::rejected_schema;

use super::duplicates::{self, duplicates_field};
use super::embed::{EmbeddedRows, Embedder, EmbeddingTally};
use super::fit::Fitted;
use super::grain::CutRows;
use super::guards::{Guards, Losses};
use super::ids::{column, ids_of, rows_of};
use super::index::Adding;
use super::order::{DroppedWriter, places, unclustered};
use super::plan::Plan;
use super::route::{Carried, id_field, reason_field, source_field, split_by_null, with_source};
use super::select::Chooser;
use super::sources::{SourceOf, Tallies};
use super::survey::Survey;
use super::verdict::Verdicts;
use super::{Run, pass};
use crate::batch_sort::Key;
use crate::context::Context;
use crate::decontaminate::Contaminated;
use crate::dedup::grain::{Cutter, Span, SpanTable};
use crate::dedup::index::IndexRows;
use crate::dedup::{DuplicateCounts, Evidence, NearDuplicateReport};
use crate::sink::{Output, TableWriter};
use crate::source::{Columns, Decoded, InputSchema, Inputs, Request};
use crate::stage::MapStage;
use crate::{Error, Result, RowSet};

/// What the writing pass counted.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) kept: u64,
    pub(super) dropped: u64,
    pub(super) dropped_by_reason: BTreeMap<String, u64>,
    pub(super) near_duplicates: Option<NearDuplicateRecord>,
    pub(super) losses: Option<LossRecord>,
    pub(super) index: Option<IndexRecord>,
    pub(super) grain: Option<GrainRecord>,
    pub(super) embedding: Option<EmbeddingRecord>,
    pub(super) scorer: Option<ScorerRecord>,
    pub(super) selection: Option<SelectionRecord>,
}

/// Reads every row with its final type and writes the tables.
pub(super) fn write(
    run: Run<'_>,
    survey: &mut Survey,
    embedder: Option<&Embedder>,
    fitted: Option<&Fitted<'_>>,
    adding: Option<&mut Adding>,
    output: &mut Output,
) -> Result<Written> {
    let duplicates = duplicates::count(run, survey)?;
    let mut guards = Guards::new(run);
    let has_ids = run.plan.needs_text(run.config);
    let carried = CarriedTables::new(run.plan, run.config, &survey.schema, duplicates.is_some());
    let (index_rows, mut addition) = adding.map(|adding| (&adding.rows, &mut adding.addition)).unzip();
    let cutter = survey.grain.as_ref().and_then(|grain| grain.cutter.as_ref());
    let router = Router {
        inputs: run.inputs,
        cutter,
        verdicts: survey.verdicts(),
        index_rows,
        context: run.context,
        embedder,
        scorer: fitted.map(|fitted| &*fitted.scorer),
        duplicates,
        source: guards.as_ref().and_then(Guards::source),
        carried: &carried,
        control: survey.quality.as_ref().map(|quality| Arc::clone(&quality.control)),
        carries_rows: carries_rows(run.plan),
    };
    let scores = fitted.map(|fitted| score_table(&*fitted.scorer)).transpose()?;
    let mut tables = Tables::open(run, &carried, scores.as_ref(), embedder, output)?;
    let mut tally = embedder.map(|embedder| EmbeddingTally::new(embedder, run.context));
    let mut chooser = fitted.map(|fitted| Chooser::new(run, survey, fitted)).transpose()?.flatten();
    let mut written = Written::default();

    run.begin("writing");
    let columns = if router.carries_rows { Columns::All } else { Columns::Named(named_columns(run, &router)) };
    let request = Request {
        columns,
        text: (embedder.is_some() || fitted.is_some() || index_rows.is_some() || cutter.is_some())
            .then(|| run.plan.text.clone()),
        id: has_ids.then(|| run.plan.id.clone()),
        rows: None,
    };
    let scan = run.scan(&survey.schema, &request)?;
    let sorts = tables.dropped.as_ref().is_some_and(DroppedWriter::sorts);
    let found = survey.near_duplicates.as_mut().filter(|_| sorts);
    let mut clusters = found.map(|found| found.evidence.clusters(run.context)).transpose()?;
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
                let input = &run.inputs.files()[routed.file].url;
                tables.write(&routed, input)?;
                if let (Some(guards), Some(tallies)) = (&mut guards, routed.tallies) {
                    guards.observe(tallies)?;
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
                if let (Some(tally), Some(embedded)) = (&mut tally, routed.embedded) {
                    tally.observe(embedded)?;
                }
                if let Some(writer) = &mut tables.dropped {
                    let places = if sorts { places(&routed.dropped_rows, clusters.as_mut())? } else { Vec::new() };
                    writer.write(&routed.dropped, &places, run.context)?;
                }
                if let (Some(addition), Some(rows)) = (&mut addition, &routed.indexed) {
                    addition.write(rows, run.context)?;
                }
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
    tables.finish(run, output)?;
    written.grain = cut_rows.map(|cut_rows| cut_rows.finish(output)).transpose()?;
    if let (Some(_), Some(found)) = (&addition, &survey.near_duplicates) {
        written.index = Some(index_record(&found.report));
    }
    write_decisions(run, survey, guards, &mut written, output)?;
    written.embedding = tally.map(EmbeddingTally::finish).transpose()?;
    written.scorer = fitted.map(Fitted::finish).transpose()?;
    written.selection = chooser.map(|chooser| chooser.finish(survey, output)).transpose()?;
    Ok(written)
}

/// Writes what was decided about rows, and says so in the manifest.
pub(super) fn write_decisions(
    run: Run<'_>,
    survey: &mut Survey,
    guards: Option<Guards<'_>>,
    written: &mut Written,
    output: &mut Output,
) -> Result<()> {
    let found = survey.near_duplicates.take();
    written.near_duplicates = found.as_ref().filter(|_| run.plan.deduplicate.is_some()).map(|found| {
        let measure = run.config.deduplicate.as_ref().map(|config| config.measure).unwrap_or_default();
        near_duplicate_record(measure, &found.report)
    });
    let mut losses = match (guards, &found) {
        (Some(guards), Some(found)) => guards.finish(found, survey.rows_at_stake())?,
        _ => Losses::default(),
    };
    write_evidence(survey.contaminated.take(), found.map(|found| found.evidence), &mut losses, run, output)?;
    written.losses = losses.finish()?;
    Ok(())
}

/// Columns of the tables that carry rows of the input.
#[derive(Debug)]
pub(super) struct CarriedTables {
    kept: Carried,
    dropped: Carried,
    control: Carried,
    /// Whether dropped rows say of which file they are.
    names_sources: bool,
}

impl CarriedTables {
    /// `has_counts`: kept rows say how many they stand for.
    pub(super) fn new(plan: &Plan, config: &Config, input: &InputSchema, has_counts: bool) -> Self {
        let (schema, has_ids) = (input.schema(), plan.needs_text(config));
        let carried_by = |added: &[Field]| Carried::new(schema, if has_ids { added } else { &[] });
        let names_sources = config.output.mode == OutputMode::Append;
        let kept_fields = [id_field(), duplicates_field()];
        let dropped_fields = [id_field(), reason_field(), source_field()];
        Self {
            kept: carried_by(&kept_fields[..if has_counts { 2 } else { 1 }]),
            dropped: carried_by(&dropped_fields[..if names_sources { 3 } else { 2 }]),
            control: carried_by(&[id_field()]),
            names_sources,
        }
    }

    /// Columns of the tables that hold rows of the input, of those that could not be read, and of what was cut out of texts.
    pub(super) fn schemas(&self) -> [(Table, SchemaRef); 5] {
        [
            (Table::Kept, Arc::clone(self.kept.schema())),
            (Table::Dropped, Arc::clone(self.dropped.schema())),
            (Table::Rejected, rejected_schema()),
            (Table::Control, Arc::clone(self.control.schema())),
            (Table::Spans, SpanTable::schema()),
        ]
    }
}

fn carries_rows(plan: &Plan) -> bool {
    [Table::Kept, Table::Dropped, Table::Control].into_iter().any(|table| plan.writes(table))
}

/// Input columns that are looked at when no input column is written.
fn named_columns(run: Run<'_>, router: &Router<'_>) -> Vec<String> {
    stratum_columns(run.config)
        .chain(run.plan.embedding_columns())
        .chain(router.source.iter().flat_map(SourceOf::columns))
        .collect()
}

/// The input column that a quota is on.
pub(super) fn stratum_columns(config: &Config) -> impl Iterator<Item = String> {
    let named = config.select.iter().filter_map(|select| select.stratum_column.clone());
    named.filter(|name| name != columns::LENGTH)
}

/// Writes the evidence: of contaminated rows first, then of near-duplicates; what lost too much sees the latter.
fn write_evidence(
    contaminated: Option<Contaminated>,
    near_duplicates: Option<Evidence>,
    losses: &mut Losses,
    run: Run<'_>,
    output: &mut Output,
) -> Result<()> {
    let writes = run.plan.writes(Table::Evidence);
    let open = || DroppedWriter::open(run, Table::Evidence, Evidence::schema(), output);
    let mut writer = writes.then(open).transpose()?;
    let mut write = |batch: &RecordBatch, places: Vec<Key>| {
        run.context.cancel.check()?;
        writer.as_mut().map_or(Ok(()), |writer| writer.write(batch, &places, run.context))
    };
    if let (true, Some(contaminated)) = (writes, contaminated) {
        let mut n_rows = 0;
        for batch in contaminated.evidence(run.context)? {
            let batch = batch?;
            let rows = n_rows..n_rows + batch.num_rows() as u64;
            n_rows = rows.end;
            write(&batch, unclustered(rows).collect())?;
        }
    }
    if let (true, Some(evidence)) = (writes || !losses.is_empty(), near_duplicates) {
        let mut batches = evidence.finish(run.context)?;
        while let Some(batch) = batches.next().transpose()? {
            losses.observe(batches.rows(), &batch)?;
            let places = batches.clusters().iter().copied().zip(batches.rows().iter().copied());
            write(&batch, places.collect())?;
        }
    }
    writer.map_or(Ok(()), |writer| writer.finish(run, output))
}

/// Row-local work of the pass.
#[derive(Debug)]
pub(super) struct Router<'a> {
    inputs: &'a Inputs,
    cutter: Option<&'a Cutter>,
    verdicts: Verdicts,
    index_rows: Option<&'a IndexRows>,
    context: &'a Context,
    embedder: Option<&'a Embedder>,
    scorer: Option<&'a dyn MapStage>,
    duplicates: Option<DuplicateCounts>,
    source: Option<SourceOf>,
    carried: &'a CarriedTables,
    /// Rows drawn at random to compare with what quality keeps.
    control: Option<Arc<RowSet>>,
    carries_rows: bool,
}

/// A batch, split.
#[derive(Debug)]
pub(super) struct Routed {
    file: usize,
    pub(super) n_kept: u64,
    pub(super) n_dropped: u64,
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) kept: RecordBatch,
    pub(super) dropped: RecordBatch,
    pub(super) control: Option<RecordBatch>,
    dropped_rows: Vec<u64>,
    pub(super) spans: Vec<Span>,
    pub(super) scored: Option<RecordBatch>,
    pub(super) embedded: Option<EmbeddedRows>,
    pub(super) indexed: Option<RecordBatch>,
    pub(super) ids: Option<(UInt64Array, StringArray)>,
    pub(super) tallies: Option<Tallies>,
}

impl<'a> Router<'a> {
    /// By verdicts alone.
    pub(super) fn of_verdicts(
        inputs: &'a Inputs,
        verdicts: Verdicts,
        source: Option<SourceOf>,
        duplicates: Option<DuplicateCounts>,
        carried: &'a CarriedTables,
        plan: &Plan,
        context: &'a Context,
    ) -> Self {
        Self {
            inputs,
            cutter: None,
            verdicts,
            index_rows: None,
            context,
            embedder: None,
            scorer: None,
            duplicates,
            source,
            carried,
            control: None,
            carries_rows: carries_rows(plan),
        }
    }

    /// Makes of kept rows what an index stores of them, too.
    pub(super) fn indexing(self, index_rows: Option<&'a IndexRows>) -> Self {
        Self { index_rows, ..self }
    }

    /// Draws rows to compare with what quality keeps.
    pub(super) fn controlling(self, control: Option<Arc<RowSet>>) -> Self {
        Self { control, ..self }
    }

    /// Cuts the texts of rows that stay.
    pub(super) fn cutting(self, cutter: Option<&'a Cutter>) -> Self {
        Self { cutter, ..self }
    }

    /// Scores and embeds rows that stay, and carries none of them.
    pub(super) fn scoring(self, scorer: Option<&'a dyn MapStage>, embedder: Option<&'a Embedder>) -> Self {
        Self { scorer, embedder, carries_rows: false, ..self }
    }

    /// The columns of the input that it needs.
    pub(super) fn columns(&self) -> Columns {
        if self.carries_rows {
            return Columns::All;
        }
        Columns::Named(self.source.iter().flat_map(SourceOf::columns).collect())
    }

    pub(super) fn route(&self, decoded: Decoded) -> Result<Vec<Routed>> {
        decoded.batches.into_iter().map(|batch| self.route_batch(decoded.file, &batch)).collect()
    }

    fn route_batch(&self, file: usize, batch: &RecordBatch) -> Result<Routed> {
        let (mut ids, mut tallies, mut dropped_rows) = (None, None, Vec::new());
        let (kept, dropped) = if self.verdicts.are_there() {
            ids = Some((rows_of(batch)?.clone(), ids_of(batch)?.clone()));
            let batch = self.verdicts.apply(batch)?;
            tallies = self.source.as_ref().map(|source| source.count(file, &batch)).transpose()?;
            let (kept, dropped) = split_by_null(&batch, columns::REASON)?;
            dropped_rows.extend_from_slice(rows_of(&dropped)?.values());
            (kept, dropped)
        } else {
            (batch.clone(), batch.slice(0, 0))
        };
        let control = self.control.as_ref().map(|rows| self.control(batch, rows, &self.carried.control)).transpose()?;
        let dropped =
            if self.carried.names_sources { with_source(&dropped, &self.inputs.files()[file].name)? } else { dropped };
        // Rows of later runs are compared as they are read, so what they are compared with is not cut either.
        let indexed = self.index_rows.map(|rows| rows.apply(kept.clone())).transpose()?;
        let (kept, spans) = match self.cutter {
            Some(cutter) => cutter.cut(kept)?,
            None => (kept, Vec::new()),
        };
        let meter = &self.context.meter;
        let embed = |embedder: &Embedder| {
            let _scope = meter.scope("embedding");
            embedder.embed(&kept, self.context)
        };
        let score = |scorer: &dyn MapStage| {
            let _scope = meter.scope("scoring");
            scorer.apply(kept.clone())
        };
        let embedded = self.embedder.map(embed).transpose()?;
        let scored = self.scorer.map(score).transpose()?;
        let reasons = if dropped.num_rows() > 0 { count_reasons(&dropped)? } else { BTreeMap::new() };
        let (n_kept, n_dropped) = (kept.num_rows() as u64, dropped.num_rows() as u64);
        let project = |carried: &Carried, batch: &RecordBatch| {
            if self.carries_rows && batch.num_rows() > 0 {
                carried.project(batch)
            } else {
                Ok(RecordBatch::new_empty(carried.schema().clone()))
            }
        };
        let kept = match &self.duplicates {
            Some(counts) => duplicates::append(&kept, counts)?,
            None => kept,
        };
        Ok(Routed {
            file,
            n_kept,
            n_dropped,
            reasons,
            kept: project(&self.carried.kept, &kept)?,
            dropped: project(&self.carried.dropped, &dropped)?,
            control,
            dropped_rows,
            spans,
            scored,
            embedded,
            indexed,
            ids,
            tallies,
        })
    }
}

impl Router<'_> {
    /// The rows of a batch that are control rows, as they would be kept.
    fn control(&self, batch: &RecordBatch, rows: &RowSet, carried: &Carried) -> Result<RecordBatch> {
        let drawn: BooleanArray = rows_of(batch)?.values().iter().map(|&row| Some(rows.contains(row))).collect();
        let drawn = filter_record_batch(batch, &drawn)?;
        let drawn = match self.cutter {
            Some(cutter) => cutter.cut(drawn)?.0,
            None => drawn,
        };
        carried.project(&drawn)
    }
}

fn count_reasons(dropped: &RecordBatch) -> Result<BTreeMap<String, u64>> {
    let reasons = column(dropped, columns::REASON)?
        .as_string_opt::<i32>()
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
pub(super) fn score_table(scorer: &dyn MapStage) -> Result<Carried> {
    let text = Arc::new(Schema::new(vec![Field::new(columns::TEXT, DataType::Utf8, false)]));
    let scored = scorer.output_schema(&text)?;
    let added: Vec<Field> = scored.fields().iter().skip(1).map(|field| field.as_ref().clone()).collect();
    Ok(Carried::new(&Schema::new(vec![id_field()]), &added))
}

/// The open tables of the pass.
#[derive(Debug)]
struct Tables<'a> {
    kept: Option<TableWriter>,
    dropped: Option<DroppedWriter>,
    scores: Option<(TableWriter, &'a Carried)>,
    control: Option<TableWriter>,
    embeddings: Option<TableWriter>,
}

impl<'a> Tables<'a> {
    fn open(
        run: Run<'_>,
        carried: &CarriedTables,
        scores: Option<&'a Carried>,
        embedder: Option<&Embedder>,
        output: &mut Output,
    ) -> Result<Self> {
        let mut open = |table, schema: &SchemaRef| {
            run.plan.writes(table).then(|| output.table(table, Arc::clone(schema))).transpose()
        };
        let scores = match scores {
            Some(carried) => open(Table::Scores, carried.schema())?.map(|writer| (writer, carried)),
            None => None,
        };
        let embeddings = embedder.map(|embedder| open(Table::Embeddings, embedder.schema())).transpose()?.flatten();
        let kept = open(Table::Kept, carried.kept.schema())?;
        let control = open(Table::Control, carried.control.schema())?;
        let open = || DroppedWriter::open(run, Table::Dropped, Arc::clone(carried.dropped.schema()), output);
        let dropped = run.plan.writes(Table::Dropped).then(open).transpose()?;
        Ok(Self { kept, dropped, scores, control, embeddings })
    }

    /// Writes rows that are of one input.
    fn write(&mut self, routed: &Routed, input: &str) -> Result<()> {
        if let Some(writer) = &mut self.kept {
            writer.write_part(&routed.kept, input)?;
        }
        if let (Some((writer, carried)), Some(scored)) = (&mut self.scores, &routed.scored) {
            writer.write_part(&carried.project(scored)?, input)?;
        }
        if let (Some(writer), Some(embedded)) = (&mut self.embeddings, &routed.embedded) {
            writer.write_part(&embedded.table, input)?;
        }
        if let (Some(writer), Some(control)) = (&mut self.control, &routed.control) {
            writer.write_part(control, input)?;
        }
        Ok(())
    }

    fn finish(self, run: Run<'_>, output: &mut Output) -> Result<()> {
        let scores = self.scores.map(|(writer, _)| writer);
        let others = [(Table::Scores, scores), (Table::Control, self.control), (Table::Embeddings, self.embeddings)];
        for (table, writer) in [(Table::Kept, self.kept)].into_iter().chain(others) {
            if let Some(writer) = writer {
                output.finish_table(table, writer)?;
            }
        }
        // Last, because it may take a while and what the others held in memory is free then.
        self.dropped.map_or(Ok(()), |writer| writer.finish(run, output))
    }
}

/// What the index had to say, for the manifest; what is added is known later.
pub(super) fn index_record(report: &NearDuplicateReport) -> IndexRecord {
    IndexRecord {
        run: None,
        added_rows: 0,
        indexed_rows: report.n_earlier,
        matched_rows: report.n_earlier_matched,
        dropped_rows: report.n_dropped_for_earlier,
    }
}

/// What near-duplicate removal did, for the manifest.
fn near_duplicate_record(measure: Measure, report: &NearDuplicateReport) -> NearDuplicateRecord {
    let what_if = report.what_if.iter().map(|&(threshold, dropped_rows)| WhatIfPoint { threshold, dropped_rows });
    let points = report.s_curve.iter().filter(|(similarity, _)| 0.29 < *similarity);
    NearDuplicateRecord {
        measure,
        bands: report.n_bands as u32,
        rows_per_band: report.rows_per_band as u32,
        sample: report.sample.map(|(shingles, least_shared)| SampleRecord {
            shingles: shingles as u32,
            least_shared: least_shared as u32,
        }),
        s_curve: points.step_by(2).map(|&(similarity, probability)| SCurvePoint { similarity, probability }).collect(),
        recall_at_threshold: report.recall_at_threshold,
        rows_without_tokens: report.n_without_tokens,
        identical_rows: report.n_identical,
        exact_rows: report.n_near_exact,
        estimated_rows: report.n_near_estimated,
        indirect_rows: report.n_connected,
        spared_rows: report.n_spared,
        clusters: report.n_clusters,
        largest_cluster_rows: report.largest_cluster_rows,
        candidate_pairs: report.n_candidate_pairs,
        proven_pairs: report.n_proven_pairs,
        hot_buckets: report.n_hot_buckets,
        untested_pairs: report.n_untested_pairs,
        what_if: what_if.collect(),
    }
}
