//! The executor: reads the input as often as the stages need, in the only place that knows their order.
//!
//! ```text
//! held-out items -> survey (types, rejects, contaminated rows, fingerprints) -> proof passes -> paragraphs or lines
//!     -> loss guards -> semantic duplicates -> loss guards -> quality -> fit -> write (kept, dropped, scores) -> loss guards by source -> batch -> commit
//! ```

mod changed;
mod crowd;
mod distill;
mod duplicates;
mod embed;
mod fit;
mod grain;
mod guards;
mod held_out;
mod ids;
mod index;
mod judged;
pub mod kernel;
mod known;
mod labels;
mod learn;
mod look;
mod order;
mod parts;
pub(crate) mod pass;
mod plan;
mod quality;
mod rejects;
mod restore;
mod right_size;
mod round;
mod route;
mod select;
mod selected;
mod semantic;
mod simulate;
mod sources;
mod survey;
mod texts;
mod training;
mod tune;
mod unlabelled;
mod verdict;
mod write;

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use tamis_schemas::config::{CommitMode, Config, IndexConfig, InputConfig, OutputMode, Table};
use tamis_schemas::manifest::{InputRecord, MANIFEST_VERSION, Manifest, RowCounts, config_for_manifest};

pub use distill::{Distilled, check_distilled, distill};
pub(crate) use ids::{ids_of, rows_of};
pub use look::{ColumnSummary, InputSummary, look};
pub(crate) use plan::parse_text;
pub(crate) use restore::completed;
pub use restore::{Restoration, RestoreSettings, Restored, restore};
pub(crate) use round::{ChosenRound, choose_round};
pub use selected::Selectors;
pub use simulate::{JudgedColumns, Simulated, check_simulated, simulate};
pub use tune::draw_sample;

use crate::context::Context;
use crate::dataset::INDEX;
pub use crate::dataset::{IfLocked, Sharing};
use crate::dedup::Search;
use crate::dedup::index::{StagedSegment, Stamp};
use crate::progress::Progress;
use crate::sink::{Added, Existing, Output, hex};
use crate::source::{Compression, Format, InputFile, InputSchema, Inputs, Request, Scan};
use crate::store::Stores;
use crate::tiers::{self, DEFAULT_TIER};
use crate::{Error, Result};

use index::IndexRun;
use plan::{Plan, source_options};
use survey::Survey;
use write::Written;

/// Checks a config without reading anything.
///
/// # Errors
/// `Error::Config` for the first setting that cannot work.
pub fn check(config: &Config) -> Result<()> {
    tables(config)?;
    config.select.as_ref().map_or(Ok(()), select::check)?;
    config.footprint.as_ref().map_or(Ok(()), crate::footprint::account::check)?;
    tiers::check_settings(config)
}

/// Tables that a run of `config` writes, each to a tier that is there.
///
/// # Errors
/// `Error::Config` for the first setting of a stage that cannot work, and for a route that leads nowhere.
pub(crate) fn tables(config: &Config) -> Result<Vec<Table>> {
    let plan = Plan::new(config)?;
    for tier in config.routes.values() {
        if tier != DEFAULT_TIER && !config.tiers.contains_key(tier) {
            return Err(Error::config(format!("routes name tier `{tier}`, which is not defined")));
        }
    }
    Ok(plan.tables)
}

/// Columns of `config` that hold long texts which hardly ever repeat.
pub(crate) fn unique_columns(config: &Config) -> Result<Vec<String>> {
    Ok(Plan::new(config)?.unique_columns())
}

/// Refuses an output that a run of `config` would refuse, for runs that have to wait before they begin. It stays as it is.
///
/// # Errors
/// `Error::Config` if the output holds something that is not to be overwritten, or lies in an input; `Error::Locked`;
/// `Error::Unwritable`. Not of an output that runs are added to: it may be there.
pub fn check_output(config: &Config, existing: Existing, stores: &Stores, context: &Context) -> Result<()> {
    let config = &config.resolved();
    if config.output.mode == OutputMode::Append {
        return Ok(());
    }
    let plan = &Plan::new(config)?;
    let job = Job { config, plan, existing, stores, context, progress: &Progress::default() };
    job.output(None).map(drop)
}

/// Bytes of inputs, as stored.
///
/// # Errors
/// `Error::NoInput` or `Error::Unreadable` if they are not there.
pub fn input_bytes(input: &InputConfig, stores: &Stores, context: &Context) -> Result<u64> {
    Ok(Inputs::discover(&input.paths, &source_options(input)?, stores, context)?.total_bytes())
}

/// How near-duplicates would be looked for; `None` if the config does not ask for it.
///
/// # Errors
/// `Error::Config` if it cannot work.
pub fn search(config: &Config) -> Result<Option<Search>> {
    config.deduplicate.as_ref().map(|config| plan::near_duplicate_settings(config)?.search()).transpose()
}

/// How the columns of text and ids are named, for people.
const NAMES_COLUMNS: &str = "--text-column (input.text) and --id-column (input.id) name the columns";

/// Says of a column error, which is about text or ids, how these are named.
fn with_flags(error: Error, flags: &str) -> Error {
    match error {
        Error::Column { message, hint } => {
            let hint = hint.map_or_else(|| flags.to_owned(), |hint| format!("{hint}; {flags}"));
            Error::Column { message, hint: Some(hint) }
        }
        other => other,
    }
}

/// Says of an error that would be taken for one of the input what it is about.
fn about(what: &str, error: Error) -> Error {
    match error {
        Error::Column { message, hint } => Error::Column { message: format!("{what}: {message}"), hint },
        Error::Config { message, hint } => Error::Config { message: format!("{what}: {message}"), hint },
        Error::NoInput { .. } => Error::Config { message: format!("{what}: {error}"), hint: error.hint() },
        other => other,
    }
}

/// What all passes of a run share.
#[derive(Debug, Clone, Copy)]
struct Run<'a> {
    config: &'a Config,
    plan: &'a Plan,
    inputs: &'a Inputs,
    context: &'a Context,
    progress: &'a Progress,
}

impl Run<'_> {
    /// Begins a step of the progress display.
    fn begin(&self, name: &'static str) {
        self.progress.begin(name);
        tracing::info!(step = name, "step started");
    }

    /// Starts a pass for types, with text and ids on the way.
    fn survey(&self, request: &Request) -> Result<Scan> {
        Ok(self.watch(self.inputs.survey(request)?))
    }

    /// Starts a pass with final types.
    fn scan(&self, schema: &InputSchema, request: &Request) -> Result<Scan> {
        Ok(self.watch(self.inputs.scan(schema, request)?))
    }

    fn watch(&self, scan: Scan) -> Scan {
        self.progress.watch(self.inputs.total_bytes(), scan.bytes_read());
        scan
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// It wrote what the manifest says.
    Written {
        /// Of all parts together.
        manifest: Box<Manifest>,
        /// Commits that it came in, if it was added to others.
        n_parts: usize,
        /// Rows of earlier runs that left the output for it: of files that have changed, and of others that it decided again.
        n_withdrawn: u64,
    },
    /// Earlier runs have read all inputs: nothing was written.
    NothingNew {
        /// Number of the files.
        n_inputs: usize,
    },
    /// Another run is adding to the output, and this one was told to leave then.
    Skipped {
        /// Who that is, and since when.
        holder: String,
    },
}

/// A run of its own settings, before it has looked at its inputs.
#[derive(Debug, Clone, Copy)]
struct Job<'a> {
    config: &'a Config,
    plan: &'a Plan,
    existing: Existing,
    stores: &'a Stores,
    context: &'a Context,
    progress: &'a Progress,
}

/// Runs what `config` describes. The `stamp` goes into the index over runs and into the log of an output that runs are added
/// to, and nowhere else; `sharing` is for such an output.
///
/// # Errors
/// Whatever stops the run; nothing is visible at the output then, but for the parts of a run that were added to others before.
pub fn run(
    config: &Config,
    existing: Existing,
    stamp: &Stamp,
    sharing: &Sharing,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<Outcome> {
    let config = &with_own_index(config.resolved());
    check(config)?;
    let plan = &Plan::new(config)?;
    warn_of_single_writer(config);
    let job = Job { config, plan, existing, stores, context, progress };
    if config.output.mode == OutputMode::Append { parts::run(job, stamp, sharing) } else { run_alone(job, stamp) }
}

fn warn_of_single_writer(config: &Config) {
    if config.output.commit == CommitMode::UnsafeSingleWriter {
        tracing::warn!(
            "output.commit is \"unsafe-single-writer\": if two runs write at once, what one of them added is lost"
        );
    }
}

/// Writes the output of one run.
fn run_alone(job: Job<'_>, stamp: &Stamp) -> Result<Outcome> {
    let Job { config, plan, existing, stores, context, .. } = job;
    let mut output = job.output(None)?;
    let index = IndexRun::open(config, plan.deduplicate.as_ref(), existing, None, stores, stamp, context)?;
    index.as_ref().map_or(Ok(()), IndexRun::announce)?;
    output.prepare()?;
    let inputs = job.discover()?;
    let (manifest, staged) = job.make(&inputs, None, index.as_ref(), &mut output)?;
    index.as_ref().map_or(Ok(()), IndexRun::check_unchanged)?;
    output.commit(&manifest)?;
    index.as_ref().map_or(Ok(()), |index| index.commit(staged))?;
    Ok(Outcome::Written { manifest: Box::new(manifest), n_parts: 1, n_withdrawn: 0 })
}

impl Job<'_> {
    fn output(&self, added: Option<Added>) -> Result<Output> {
        let Self { config, plan, existing, stores, context, .. } = *self;
        // Of tables that are not written any more, files may still be replaced.
        let earlier = added.iter().flat_map(|added| added.tables.keys());
        let tables: BTreeSet<Table> = plan.tables.iter().chain(earlier).copied().collect();
        let tables: Vec<Table> = tables.into_iter().collect();
        let runtime = context.runtime.handle();
        Output::open(config, &tables, plan.unique_columns(), existing, added, stores, runtime)
    }

    fn discover(&self) -> Result<Inputs> {
        Inputs::discover(&self.config.input.paths, &self.plan.source, self.stores, self.context)
    }

    /// Writes the tables of `inputs`, and what goes into the index. Nothing of it is visible yet. `encoder` is the fingerprint of
    /// the one whose embeddings this output has.
    fn make(
        &self,
        inputs: &Inputs,
        encoder: Option<&str>,
        index: Option<&IndexRun>,
        output: &mut Output,
    ) -> Result<(Manifest, Option<StagedSegment>)> {
        let Self { config, plan, stores, context, progress, .. } = *self;
        let run = Run { config, plan, inputs, context, progress };
        // A model that cannot be used is told of before all input is read.
        let embedder = embed::Embedder::open(run, plan.embed.as_ref(), encoder, stores)?;
        let embeds = semantic::Embeds::open(run, embedder.as_ref(), stores)?;
        let judge = quality::distilled(run, stores)?;
        let held_out = held_out::load(plan, stores, context, progress)?;
        let lookup = index.map(|index| index.lookup(context)).transpose()?;
        let mut survey = survey::survey(run, held_out, lookup, output)?;
        check_reject_ratio(run, &survey.rows)?;
        guards::check_verdicts(run, &mut survey)?;
        if let Some(embeds) = embeds {
            semantic::decide(run, &mut survey, embeds)?;
            guards::check_verdicts(run, &mut survey)?;
        }
        quality::decide(run, judge, &mut survey, stores, output)?;
        let fitted = fit::fit(run, &mut survey, stores)?;
        let mut adding = index.map(|index| index.adding(context)).transpose()?;
        let mut written = write::write(run, &mut survey, embedder.as_ref(), fitted.as_ref(), adding.as_mut(), output)?;
        let staged = adding.map(|adding| adding.addition.finish(context)).transpose()?.flatten();
        if let (Some(record), Some(staged)) = (&mut written.index, &staged) {
            (record.run, record.added_rows) = (Some(staged.run().to_owned()), staged.n_rows());
        }

        Ok((self.manifest(inputs, survey, written, output)?, staged))
    }

    /// What the run did.
    ///
    /// # Errors
    /// `Error::Invariant` if its rows do not add up.
    fn manifest(&self, inputs: &Inputs, survey: Survey, written: Written, output: &Output) -> Result<Manifest> {
        let Self { config, stores, .. } = *self;
        let mut rows = survey.rows;
        rows.kept = written.kept;
        rows.dropped = written.dropped;
        if rows.rows_in != rows.kept + rows.dropped + rows.rejected {
            return Err(Error::Invariant(format!(
                "the rows do not add up: {} read, {} kept, {} dropped, {} rejected; did an input change?",
                rows.rows_in, rows.kept, rows.dropped, rows.rejected
            )));
        }
        Ok(Manifest {
            manifest_version: MANIFEST_VERSION,
            tamis_version: env!("CARGO_PKG_VERSION").to_owned(),
            config_sha256: sha256_of(&config_for_manifest(config)),
            config: config_for_manifest(config),
            inputs: input_records(inputs, survey.schema.file_rows()),
            skipped_files: inputs.skipped().to_vec(),
            rows,
            dropped_by_reason: written.dropped_by_reason,
            decontamination: survey.decontamination,
            near_duplicates: written.near_duplicates,
            losses: written.losses,
            index: written.index,
            grain: written.grain,
            semantic: survey.semantic,
            quality: survey.quality.map(|quality| quality.record),
            embedding: written.embedding,
            scorer: written.scorer,
            selection: written.selection,
            tables: output.records().clone(),
            requests: stores.requests(),
        })
    }
}

/// An output that runs are added to has an index of its own, if none is named: or rows would not be compared with those of
/// earlier runs.
fn with_own_index(mut config: Config) -> Config {
    if config.output.mode == OutputMode::Append && config.deduplicate.is_some() && config.index.is_none() {
        let url = format!("{}/{INDEX}", config.output.path.trim_end_matches('/'));
        config.index = Some(IndexConfig { url });
    }
    config
}

fn check_reject_ratio(run: Run<'_>, rows: &RowCounts) -> Result<()> {
    let most = run.config.input.max_reject_ratio * rows.rows_in as f64;
    if rows.rejected as f64 > most {
        return Err(Error::Config {
            message: format!("{} of {} rows were rejected", rows.rejected, rows.rows_in),
            hint: Some("look at the input, or raise input.max_reject_ratio to see them in the table `rejected`".into()),
        });
    }
    Ok(())
}

fn sha256_of(config: &serde_json::Value) -> String {
    hex(&Sha256::digest(config.to_string().as_bytes()))
}

fn input_records(inputs: &Inputs, file_rows: &[u64]) -> Vec<InputRecord> {
    let files = inputs.files().iter().zip(file_rows);
    files
        .map(|(file, &rows)| InputRecord {
            name: file.name.clone(),
            format: format_name(file),
            size_bytes: file.size_bytes,
            version: version(file),
            rows,
        })
        .collect()
}

/// Version or entity tag of an object. What the local file system gives depends on time and place, not on content.
fn version(file: &InputFile) -> Option<String> {
    let is_remote = file.url.contains("://") && !file.url.starts_with("file:");
    is_remote.then(|| file.version.clone().or_else(|| file.e_tag.clone())).flatten()
}

/// `jsonl`, `csv.gz`.
fn format_name(file: &InputFile) -> String {
    let format = match file.format {
        Format::JsonLines => "jsonl",
        Format::Csv => "csv",
        Format::Tsv => "tsv",
        Format::Parquet => "parquet",
        Format::Arrow => "arrow",
        Format::Text => "text",
    };
    let compression = match file.compression {
        Some(Compression::Gzip) => ".gz",
        Some(Compression::Zstd) => ".zst",
        None => "",
    };
    format!("{format}{compression}")
}
