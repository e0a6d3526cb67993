//! The process that lives as long as a run on a cluster: holds the output, plans, and commits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tamis_schemas::config::{Config, OutputMode, Table};
use tamis_schemas::manifest::{DecontaminationRecord, FilePart, FileRecord, IndexRecord, Manifest, RowCounts};

use super::Surroundings;
use super::added::{AddedRun, Opened};
use super::columns::{binaries, int64s, number};
use super::index::{IndexOfRun, TaskSegments};
use super::job::{JOB_KEY, Job, survey_request};
use super::judged::JudgedRun;
use super::more::{More, MoreDropped};
use super::picked::PickedRun;
use super::places::{Places, places_schema};
use super::record::{Kind, for_each_record};
use super::refusals;
use super::scan::tells_ids;
use super::scored::ScoredRun;
use super::scoring::ScoringOfRun;
use super::stream::{Incoming, Outgoing, PROTOCOL};
use super::summary::Summary;
use super::units::{units_schema, units_to_batch};
use super::write::{WrittenFile, WrittenRows, check_counts, has_counts};
use crate::context::Context;
use crate::dataset::Sharing;
use crate::decontaminate::{Contaminated, Hits};
use crate::dedup::index::Stamp;
use crate::dedup::{Decisions, DropReason, Handed, MoreDrops, SearchCounts, Settings};
use crate::run::guards::Guards;
use crate::run::held_out::{self, HeldOutItems};
use crate::run::index::IndexRun;
use crate::run::parts::Ended;
use crate::run::plan::Plan;
use crate::run::quality::{Judge, QualityPlan, Source};
use crate::run::sources::{SourceCounts, Tallies};
use crate::run::survey::Survey;
use crate::run::write::{CarriedTables, Written, index_record, stratum_columns, write_decisions};
use crate::run::{
    Job as RunJob, NAMES_COLUMNS, Run, check, check_reject_ratio, warn_of_single_writer, with_flags, with_own_index,
};
use crate::sink::{Existing, Output, hex};
use crate::source::{Columns, InputSchema, Inputs, Request, SchemaOnWire, Types, Unit};
use crate::spill::ExternalSorter;
use crate::{Error, Result, RowSet};

/// Units and ids that are handed on together.
const BATCH_ROWS: usize = 8192;

/// A run on a cluster, from its plan to its commit. Dropped before that, it takes back what was written.
#[derive(Debug)]
pub struct Session<'a> {
    config: Config,
    plan: Plan,
    existing: Existing,
    with: Surroundings<'a>,
    output: Output,
    /// If it is added to others.
    added: Option<AddedRun<'a>>,
    inputs: Inputs,
    units: Vec<Unit>,
    job: Job,
    rows: RowCounts,
    schema: Option<InputSchema>,
    index: Option<(IndexRun, TaskSegments)>,
    held_out: Option<HeldOutItems>,
    contaminated: Option<Contaminated>,
    decontamination: Option<DecontaminationRecord>,
    /// Rows that repeat themselves.
    repeated: MoreDrops,
}

impl<'a> Session<'a> {
    pub(super) fn open(
        config: &Config,
        existing: Existing,
        unit_bytes: u64,
        stamp: &Stamp,
        sharing: &Sharing,
        with: Surroundings<'a>,
    ) -> Result<Result<Self, Ended>> {
        check(config)?;
        let config = with_own_index(config.resolved());
        warn_of_single_writer(&config);
        let plan = Plan::new(&config)?;
        refusals::check(&config, &plan)?;
        let Surroundings { stores, context, progress } = with;
        let job = RunJob { config: &config, plan: &plan, existing, stores, context, progress };
        let mut stamp = stamp.clone();
        let (added, inputs, mut output, index) = if config.output.mode == OutputMode::Append {
            stamp.nonce += "-0";
            match AddedRun::open(job, &stamp, sharing, with)? {
                Ok(Opened { run, inputs, output, index }) => (Some(run), inputs, output, index),
                Err(ended) => return Ok(Err(ended)),
            }
        } else {
            let output = job.output(None)?;
            let index = IndexRun::open(&config, plan.deduplicate.as_ref(), existing, None, stores, &stamp, context)?;
            index.as_ref().map_or(Ok(()), IndexRun::announce)?;
            output.prepare()?;
            (None, job.discover()?, output, index)
        };
        let units = inputs.units(unit_bytes, stores)?;
        let held_out = held_out::load(&plan, stores, context, progress)?;
        let encoder = added.as_ref().and_then(|added| added.dataset.encoder());
        let scoring = [
            ScoringOfRun::look(&config, &plan, encoder, with)?,
            ScoringOfRun::look_at_quality(&config, &plan, with)?,
            ScoringOfRun::look_at_semantic(&plan, with)?,
        ];
        let index_of_run = index.as_ref().map(|index| IndexOfRun::new(index, stamp.now)).transpose()?;
        let held_out_files = held_out.as_ref().map(HeldOutItems::files);
        let index_content = index_of_run.as_ref().map(IndexOfRun::content);
        let name = name_of(&config, &units, &(index_content, held_out_files, &scoring))?;
        let job = Job::new(&config, name, &stamp.nonce, index_of_run, scoring)?;
        output.expect_parts(job.file_prefix());
        let index = index.map(|index| {
            let segments = TaskSegments::new(index.catalog().place(), stamp.now, job.file_prefix());
            (index, segments)
        });
        let rows = RowCounts::default();
        Ok(Ok(Self {
            config,
            plan,
            existing,
            with,
            output,
            added,
            inputs,
            units,
            job,
            rows,
            schema: None,
            index,
            held_out,
            contaminated: None,
            decontamination: None,
            repeated: MoreDrops::new(context),
        }))
    }

    /// Writes the units.
    pub fn write_units(&self, output: impl Write) -> Result<()> {
        let stages: &[&str] = match &self.plan.deduplicate {
            Some(settings) if self.index.is_none() && settings.has_apart_buckets()? => {
                &["bucket", "prune", "prove", "assign"]
            }
            Some(settings) if settings.reads_columns() => &["fingerprint", "compare", "prove", "assign"],
            Some(_) => &["compare", "prove", "assign"],
            None => &[],
        };
        let dividing: &[&str] = if self.plan.grain.as_ref().is_some_and(|grain| grain.duplicates.is_some()) {
            &["divide", "hold"]
        } else {
            &[]
        };
        let folding: &[&str] = if self.plan.semantic.is_some() { &["embed", "fold"] } else { &[] };
        let ids: &[&str] = if tells_ids(&self.plan, &self.config) { &["ids"] } else { &[] };
        let selects = self.config.select.is_some();
        let learning: &[&str] = if self.job.learns() || selects { &["texts", "learn"] } else { &[] };
        let scoring: &[&str] = if self.job.scoring.is_some() { &["score"] } else { &[] };
        let selecting: &[&str] = match (selects, self.plan.writes(Table::Batch)) {
            (false, _) => &[],
            (true, false) => &["choose"],
            (true, true) => &["choose", "pick"],
        };
        let judging: &[&str] = match &self.job.quality {
            Some(quality) if quality.learns => &["quality-texts", "quality-learn", "judge", "sift"],
            Some(_) => &["judge", "sift"],
            None => &[],
        };
        let stages = [ids, stages, dividing, folding, judging, learning, scoring, selecting].concat();
        let stages = format!("[{}]", stages.iter().map(|stage| format!("\"{stage}\"")).collect::<Vec<_>>().join(","));
        let metadata = [(JOB_KEY, &*self.job.to_text()?), ("tamis.run", &self.job.run), ("tamis.stages", &stages)];
        let mut output = Outgoing::new(output);
        let schema = output.begin(&units_schema(), &metadata)?;
        for (index, units) in self.units.chunks(BATCH_ROWS).enumerate() {
            output.write(&units_to_batch(index * BATCH_ROWS, units, &schema)?)?;
        }
        output.finish().map(drop)
    }

    /// Reads the summaries of all units, and writes the places of their rows.
    pub fn place_rows(&mut self, input: impl Read, output: impl Write) -> Result<()> {
        let request = survey_request(&self.plan, &self.config);
        let mut summaries = BTreeMap::new();
        let mut input = Incoming::open(input)?;
        while let Some(batch) = input.next()? {
            let (units, bytes) = (int64s(&batch, "unit")?, binaries(&batch, "summary")?);
            for row in 0..batch.num_rows() {
                let unit = number(&units, row, "unit")?;
                if summaries.insert(unit, Summary::of_bytes(bytes.value(row))?).is_some() {
                    return Err(Error::Invariant(format!("unit {unit} was scanned twice")));
                }
            }
        }
        self.added.as_ref().map_or(Ok(()), AddedRun::check)?;
        if !summaries.keys().copied().eq(0..self.units.len() as u64) {
            let (found, expected) = (summaries.len(), self.units.len());
            return Err(Error::Invariant(format!("{found} of {expected} units were scanned")));
        }
        let mut types = Types::default();
        let held_out = self.held_out.take();
        let n_items = |items: &HeldOutItems| items.stage.held_out().len();
        let mut hits = held_out.as_ref().map(|items| Hits::new(n_items(items), self.with.context)).transpose()?;
        let (mut base_row, mut first_row, mut file) = (0, 0, 0);
        let mut places = Places::default();
        let (mut compared, mut without_tokens) = (0, 0);
        for (unit, summary) in self.units.iter().zip(summaries.into_values()) {
            if unit.file_index != file {
                (base_row, first_row, file) = (base_row + first_row, 0, unit.file_index);
            }
            let start = base_row + first_row;
            let n_rows = summary.types.n_rows();
            self.rows.rows_in += n_rows;
            self.rows.rejected += summary.rejected;
            self.rows.text_bytes += summary.text_bytes;
            self.job.starts.push(start);
            compared += summary.compared;
            without_tokens += summary.without_tokens;
            let contaminated: Vec<u64> = summary.hits.iter().map(|(row, ..)| start + row).collect();
            let repeated: Vec<u64> = summary.repeated.iter().map(|(row, _)| start + row).collect();
            places.push(base_row, first_row, n_rows, [&summary.types.rejected(start), &contaminated, &repeated]);
            for (row, ratio) in summary.repeated {
                self.repeated.push_repetition(start + row, ratio, self.with.context)?;
            }
            for (row, item, share, from, to) in summary.hits {
                let hits = hits.as_mut().ok_or_else(|| Error::Invariant("nobody looks for held-out items".into()))?;
                hits.push((start + row, item, share, from, to), self.with.context)?;
            }
            types.merge(summary.types.into_types(unit.file_index, start, &request)?);
            first_row += n_rows;
        }
        self.job.n_rows = base_row + first_row;
        let schema = self.inputs.resolve(types).map_err(|error| with_flags(error, NAMES_COLUMNS))?;
        // Columns that are not there are told of before all is read once more.
        let of_search = self.plan.deduplicate.iter().flat_map(Settings::columns);
        let of_selection = stratum_columns(&self.config).chain(self.plan.embedding_columns());
        let of_semantic = self.plan.semantic.iter().flat_map(|plan| plan.settings.columns());
        let columns = Columns::Named(of_search.chain(of_selection).chain(of_semantic).collect());
        self.inputs.scan(&schema, &Request { columns, ..request })?;
        if let Some(QualityPlan { source: Source::Column(name), .. }) = &self.plan.quality {
            Judge::of_column(name, schema.schema())?;
        }
        check_reject_ratio(self.run(), &self.rows)?;
        check_counts(&schema, has_counts(&self.plan))?;
        for (table, columns) in self.carried(&schema) {
            self.output.expect(table, &columns)?;
        }
        self.job.text_bytes = self.rows.text_bytes;
        self.job.rows = SearchCounts::of_rows(compared, without_tokens);
        self.job.schema = Some(SchemaOnWire::new(&schema)?);
        self.schema = Some(schema);
        let found = held_out.zip(hits).map(|(items, hits)| items.finish(hits, self.with.context));
        (self.contaminated, self.decontamination) = found.unzip();
        let mut output = Outgoing::new(output);
        let schema = output.begin(&places_schema(), &[(JOB_KEY, &self.job.to_text()?)])?;
        output.write(&places.finish(schema)?)?;
        output.finish().map(drop)
    }

    fn run(&self) -> Run<'_> {
        let Surroundings { context, progress, .. } = self.with;
        Run { config: &self.config, plan: &self.plan, inputs: &self.inputs, context, progress }
    }

    /// The tables of rows of the input, and their columns.
    fn carried(&self, schema: &InputSchema) -> Vec<(Table, SchemaRef)> {
        let carried = CarriedTables::new(&self.plan, &self.config, schema, has_counts(&self.plan));
        carried.schemas().into_iter().filter(|(table, _)| self.plan.writes(*table)).collect()
    }

    /// Takes a file of a unit. Of tables whose rows do not name their input, the file does, where later runs may have to know.
    fn take_file(
        &self,
        unit: Option<u64>,
        WrittenFile { table, mut record }: WrittenFile,
    ) -> Result<(Table, FileRecord)> {
        let is_asked = matches!(table, Table::Kept | Table::Scores | Table::Embeddings);
        if self.added.is_some() && is_asked {
            let unit = unit.and_then(|unit| self.units.get(unit as usize));
            let unit = unit.ok_or_else(|| Error::Invariant(format!("`{}` is of no unit of this run", record.path)))?;
            record.parts = vec![FilePart { input: unit.file.url.clone(), rows: record.rows }];
        }
        Ok((table, record))
    }

    /// Reads what was decided and written, and makes it visible.
    pub fn commit(mut self, input: impl Read) -> Result<Committed> {
        let context = self.with.context;
        let schema =
            self.schema.take().ok_or_else(|| Error::Invariant("rows are placed before they are written".into()))?;
        let mut incoming = Incoming::open(input)?;
        let n_contaminated = self.contaminated.as_ref().map_or(0, |found| found.rows().len());
        let n_repeated = self.repeated.rows(DropReason::Repetition).map_or(0, RowSet::len);
        let n_compared = self.rows.rows_in - self.rows.rejected - n_contaminated - n_repeated;
        let mut decisions =
            self.plan.deduplicate.as_ref().map(|settings| Decisions::new(settings, n_compared, context));
        let (mut files, mut n_units) = (BTreeMap::<Table, Vec<FileRecord>>::new(), BTreeSet::new());
        let mut rows = WrittenRows::default();
        let mut ids = Ids::new(context);
        let mut sources = SourceCounts::new(context);
        let (mut scored, mut picked) = (ScoredRun::default(), PickedRun::new(context));
        let mut judged = JudgedRun::default();
        let mut more = MoreDropped::new(context);
        let mut used = Vec::new();
        for_each_record(&mut incoming, |record| {
            if let Err(error) = context.cancel.check() {
                self.added.as_ref().map_or(Ok(()), AddedRun::check)?;
                return Err(error);
            }
            match record.kind {
                Kind::File => {
                    let (table, file) = self.take_file(record.unit, record.value()?)?;
                    files.entry(table).or_default().push(file);
                }
                Kind::Rows => {
                    let of_unit: WrittenRows = record.value()?;
                    if !n_units.insert(record.a) {
                        return Err(Error::Invariant(format!("unit {} was written twice", record.a)));
                    }
                    rows.kept += of_unit.kept;
                    rows.dropped += of_unit.dropped;
                    rows.rejected += of_unit.rejected;
                    for (reason, n_rows) in of_unit.reasons {
                        *rows.reasons.entry(reason).or_default() += n_rows;
                    }
                    rows.cuts.iter_mut().zip(of_unit.cuts).for_each(|(sum, n)| *sum += n);
                    more.push_told(record.a, of_unit.told);
                }
                Kind::Id => ids.push(record.a, &record.payload, context)?,
                Kind::Segment => match &mut self.index {
                    Some((_, segments)) => segments.push(record.a, record.value()?),
                    None => return Err(Error::Invariant("nobody asked for rows of an index".into())),
                },
                Kind::Sources => {
                    let tallies = Tallies::of_bytes(&record.payload)
                        .map_err(|error| Error::config(format!("counts of sources cannot be read: {error}")))?;
                    sources.add(tallies, context)?;
                }
                Kind::Learnt if record.a == 0 => scored.push_learnt(record.value()?, record.b)?,
                Kind::Learnt => judged.push_learnt(record.value()?, record.b, record.c)?,
                Kind::Grain => more.push_grain(record.value()?)?,
                Kind::Folded => more.push_semantic(record.value()?)?,
                Kind::Sifted => judged.push(record.value()?)?,
                Kind::Scored => scored.push_unit(record.a, record.value()?)?,
                Kind::Used => used.push(record.payload),
                Kind::Chosen => picked.push_chosen(record)?,
                Kind::Selected => picked.push_record(record.value()?)?,
                Kind::TableRows => picked.push_rows(&record)?,
                _ => match record.into_handed()? {
                    Some(Handed::Drop(drop)) if !drop.rule.is_of_search() => more.push_drop(drop, context)?,
                    Some(handed) => {
                        decisions.as_mut().map_or(Ok(()), |decisions| decisions.push(&handed, context))?;
                    }
                    None => {}
                },
            }
            Ok(())
        })?;
        // Now that all is there: hours may have passed.
        self.added.as_ref().map_or(Ok(()), AddedRun::check)?;
        if n_units.len() != self.units.len() || rows.rejected != self.rows.rejected {
            return Err(Error::Invariant(format!(
                "{} of {} units were written, with {} of {} rejected rows",
                n_units.len(),
                self.units.len(),
                rows.rejected,
                self.rows.rejected
            )));
        }
        let found = decisions.map(|decisions| decisions.finish(context)).transpose()?;
        let repeated = std::mem::replace(&mut self.repeated, MoreDrops::new(context));
        let More { mut found, grain, semantic } = more.finish(self.run(), found, repeated, rows.cuts)?;
        let scored =
            self.job.scoring.as_ref().map(|scoring| scored.finish(scoring.learns, self.units.len(), rows.kept));
        let scored = scored.transpose()?.unwrap_or_default();
        let n_near_duplicates = found.as_ref().map_or(0, |found| found.verdict.n_dropped());
        let n_to_judge = (n_compared + n_repeated).saturating_sub(n_near_duplicates);
        let judged = judged.finish(self.job.quality.as_ref(), n_to_judge, rows.kept)?;
        let (n_judged, n_judged_good) =
            judged.as_ref().map_or((0, 0), |(quality, _)| (quality.record.judged_rows, quality.record.kept_rows));
        let tables = [
            (Table::Quality, n_judged),
            (Table::Control, n_judged_good),
            (Table::Kept, rows.kept),
            (Table::Dropped, rows.dropped),
            (Table::Rejected, rows.rejected),
            (Table::Scores, rows.kept),
            (Table::Embeddings, rows.kept),
            (Table::Spans, rows.cuts[1]),
        ];
        for (table, n_rows) in tables.into_iter().filter(|(table, _)| self.plan.writes(*table)) {
            let n_written: u64 = files.get(&table).into_iter().flatten().map(|file| file.rows).sum();
            if n_written != n_rows {
                let message = format!("the files of `{}` have {n_written} rows, not {n_rows}", table.name());
                return Err(Error::Invariant(message));
            }
        }
        let n_decided = n_near_duplicates + n_contaminated + (n_judged - n_judged_good);
        if rows.dropped != n_decided {
            let message = format!("{n_decided} rows were to be dropped, and {} were", rows.dropped);
            return Err(Error::Invariant(message));
        }
        let contaminated = &mut self.contaminated;
        ids.for_each(context, |rows, ids| {
            found.as_mut().map_or(Ok(()), |found| found.evidence.observe_ids(rows, ids, context))?;
            contaminated.as_mut().map_or(Ok(()), |found| found.observe_ids(rows, ids, context))
        })?;
        let carried = self.carried(&schema);
        let Self { config, plan, existing, with, mut output, added, inputs, rows: counts, mut index, .. } = self;
        let (contaminated, decontamination) = (self.contaminated, self.decontamination);
        let (quality, of_quality) = judged.unzip();
        let of_quality = of_quality.map(|schema| (Table::Quality, schema));
        let schemas = carried.into_iter().chain(of_quality).chain(scored.schemas);
        for (table, schema) in schemas.filter(|(table, _)| plan.writes(*table)) {
            output.adopt(table, schema, files.remove(&table).unwrap_or_default())?;
        }
        let selection = picked.finish(&plan, &schema, scored.predicts, context, &mut output)?;
        if selection.is_some() != config.select.is_some() {
            return Err(Error::Invariant("nothing is said of the batch, or of one that nobody asked for".into()));
        }
        let mut survey = Survey {
            schema,
            rows: counts,
            contaminated,
            decontamination,
            near_duplicates: found,
            grain: None,
            semantic,
            quality,
        };
        let indexed = index.as_mut().map(|(_, segments)| segments.finish(rows.kept)).transpose()?;
        let index_record = survey.near_duplicates.as_ref().zip(indexed.as_ref()).map(|(found, added)| {
            let run = added.first().and_then(|segment| segment.runs.first()).map(|run| run.run.clone());
            let added_rows = added.iter().map(|segment| segment.rows).sum();
            IndexRecord { run, added_rows, ..index_record(&found.report) }
        });
        let mut written = Written {
            index: index_record,
            kept: rows.kept,
            dropped: rows.dropped,
            dropped_by_reason: rows.reasons,
            embedding: scored.embedding,
            scorer: scored.scorer,
            selection,
            grain,
            ..Written::default()
        };
        let Surroundings { stores, context, progress } = with;
        let run = Run { config: &config, plan: &plan, inputs: &inputs, context, progress };
        write_decisions(run, &mut survey, Guards::counted(run, sources), &mut written, &mut output)?;
        let job = RunJob { config: &config, plan: &plan, existing, stores, context, progress };
        let manifest = job.manifest(&inputs, survey, written, &output)?;
        let (index, mut segments) = index.unzip();
        let (index, indexed) = (index.as_ref(), indexed.unwrap_or_default());
        let keep = || segments.as_mut().map_or((), TaskSegments::keep);
        if let Some(added) = added {
            added.commit(output, (index, indexed), &inputs, &manifest, keep, context)?;
            return Ok(Committed { manifest, used });
        }
        index.map_or(Ok(()), IndexRun::check_unchanged)?;
        output.commit(&manifest)?;
        index.map_or(Ok(()), |index| index.commit_segments(indexed, keep))?;
        Ok(Committed { manifest, used })
    }
}

/// A run that is visible.
#[derive(Debug)]
pub struct Committed {
    /// What was done.
    pub manifest: Manifest,
    /// What each of its tasks says that it used, in JSON, as far as the driver has handed it on.
    pub used: Vec<Vec<u8>>,
}

impl Committed {
    /// Writes the manifest.
    pub fn write(&self, output: impl Write) -> Result<()> {
        let text = serde_json::to_string(&self.manifest)
            .map_err(|error| Error::Invariant(format!("the manifest is not JSON: {error}")))?;
        let mut output = Outgoing::new(output);
        let schema = output.begin(&Schema::new(vec![Field::new("manifest", DataType::Utf8, false)]), &[])?;
        output.write(&RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec![text]))])?)?;
        output.finish().map(drop)
    }
}

/// The same for the same config, inputs, and `others` that the result depends on.
fn name_of(config: &Config, units: &[Unit], others: &impl Serialize) -> Result<String> {
    let config =
        serde_json::to_vec(&(config, others)).map_err(|error| Error::Invariant(format!("no JSON: {error}")))?;
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(PROTOCOL);
    hash.update(config);
    for unit in units {
        let Unit { file, bytes, .. } = unit;
        hash.update(format!("{:?} {} {:?} {:?} {bytes:?}", file.url, file.size_bytes, file.e_tag, file.version));
    }
    Ok(hex(&hash.finalize()[..8]))
}

/// Ids of rows, in any order.
#[derive(Debug)]
struct Ids(ExternalSorter<(u64, Vec<u8>)>);

impl Ids {
    fn new(context: &Context) -> Self {
        Self(ExternalSorter::new("ids", &context.budget))
    }

    fn push(&mut self, row: u64, id: &[u8], context: &Context) -> Result<()> {
        self.0.push((row, id.to_vec()), context)
    }

    fn for_each(
        self,
        context: &Context,
        mut visit: impl FnMut(&UInt64Array, &StringArray) -> Result<()>,
    ) -> Result<()> {
        let mut sorted = self.0.finish(context)?.peekable();
        while sorted.peek().is_some() {
            context.cancel.check()?;
            let batch = sorted.by_ref().take(BATCH_ROWS).collect::<Result<Vec<_>>>()?;
            let rows = UInt64Array::from_iter_values(batch.iter().map(|(row, _)| *row));
            let ids = StringArray::from_iter_values(batch.iter().map(|(_, id)| String::from_utf8_lossy(id)));
            visit(&rows, &ids)?;
        }
        Ok(())
    }
}
