//! The process that lives as long as a run on a cluster: holds the output, and plans; `commit` is its end.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use arrow::datatypes::SchemaRef;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tamis_schemas::config::{Config, OutputMode, Table};
use tamis_schemas::manifest::{DecontaminationRecord, RowCounts};

use super::Surroundings;
use super::added::{AddedRun, Opened};
use super::columns::{binaries, int64s, number};
use super::index::{IndexOfRun, TaskSegments};
use super::job::{JOB_KEY, Job, survey_request};
use super::places::{Places, places_schema};
use super::refusals;
use super::scan::tells_ids;
use super::scoring::ScoringOfRun;
use super::stream::{Incoming, Outgoing, PROTOCOL};
use super::summary::Summary;
use super::units::{units_schema, units_to_batch};
use super::write::{check_counts, has_counts};
use crate::dataset::Sharing;
use crate::decontaminate::{Contaminated, Hits};
use crate::dedup::index::Stamp;
use crate::dedup::{MoreDrops, SearchCounts, Settings};
use crate::run::held_out::{self, HeldOutItems};
use crate::run::index::IndexRun;
use crate::run::parts::Ended;
use crate::run::plan::Plan;
use crate::run::quality::{Judge, QualityPlan, Source};
use crate::run::write::{CarriedTables, stratum_columns};
use crate::run::{
    Job as RunJob, NAMES_COLUMNS, Run, check, check_reject_ratio, warn_of_single_writer, with_flags, with_own_index,
};
use crate::sink::{Existing, Output, hex};
use crate::source::{Columns, InputSchema, Inputs, Request, SchemaOnWire, Types, Unit};
use crate::{Error, Result};

/// Units that are handed on together.
const BATCH_ROWS: usize = 8192;

/// A run on a cluster, from its plan to its commit. Dropped before that, it takes back what was written.
#[derive(Debug)]
pub struct Session<'a> {
    pub(super) config: Config,
    pub(super) plan: Plan,
    pub(super) existing: Existing,
    pub(super) with: Surroundings<'a>,
    pub(super) output: Output,
    /// If it is added to others.
    pub(super) added: Option<AddedRun<'a>>,
    pub(super) inputs: Inputs,
    pub(super) units: Vec<Unit>,
    pub(super) job: Job,
    pub(super) rows: RowCounts,
    pub(super) schema: Option<InputSchema>,
    pub(super) index: Option<(IndexRun, TaskSegments)>,
    held_out: Option<HeldOutItems>,
    pub(super) contaminated: Option<Contaminated>,
    pub(super) decontamination: Option<DecontaminationRecord>,
    /// Rows that repeat themselves.
    pub(super) repeated: MoreDrops,
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
        self.check_turn()?;
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

    pub(super) fn run(&self) -> Run<'_> {
        let Surroundings { context, progress, .. } = self.with;
        Run { config: &self.config, plan: &self.plan, inputs: &self.inputs, context, progress }
    }

    /// The tables of rows of the input, and their columns.
    pub(super) fn carried(&self, schema: &InputSchema) -> Vec<(Table, SchemaRef)> {
        let carried = CarriedTables::new(&self.plan, &self.config, schema, has_counts(&self.plan));
        carried.schemas().into_iter().filter(|(table, _)| self.plan.writes(*table)).collect()
    }

    /// # Errors
    /// As [`AddedRun::check`], if the run is added to others.
    pub(super) fn check_turn(&self) -> Result<()> {
        self.added.as_ref().map_or(Ok(()), AddedRun::check)
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
