//! Accounts for what a run uses: before it, between its stages, and after it.
//!
//! ```text
//! earlier rows of the ledger -> prediction -> over budget? when to start?
//! run: phases and scopes -> recorder -> at each step: over budget so far? -> stop, nothing is written
//! end of the run -> rows -> ledger -> what the summary says
//! ```

mod start;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tamis_pipeline::context::{Cancel, Context};
use tamis_pipeline::footprint::KeptLedger;
use tamis_pipeline::footprint::account::{self, Extras, Recorder, RunFacts};
use tamis_pipeline::footprint::activity::{Machine, Meter, SystemRoot, Usage};
use tamis_pipeline::footprint::forecast::{Prefer, Series, parse};
use tamis_pipeline::footprint::intensity::intensity;
use tamis_pipeline::footprint::meter::{GpuMeter, PowerFile};
use tamis_pipeline::footprint::planner::{Plan, PlanQuestion, predict};
use tamis_pipeline::footprint::report::{self, Budget, Report, Verdict};
use tamis_pipeline::footprint::tables::Tables;
use tamis_pipeline::store::Stores;
use tamis_pipeline::{Error, progress::Progress};
use tamis_schemas::config::{Config, OutputMode};
use tamis_schemas::footprint::{Amounts, FootprintConfig, LedgerRow, ViewConfig};
use tamis_schemas::manifest::Manifest;

use crate::args::{Accounting, Switch};
use crate::{diagnostic, log, metrics};

pub(crate) use start::Start;

/// Bytes of text that count as a token.
const BYTES_PER_TOKEN: u64 = 4;
/// How often counters that wrap are read.
const SAMPLE: Duration = Duration::from_secs(30);

/// Why a budget stopped a run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// It costs more.
    #[error("{0}")]
    OverBudget(String),
    /// What the budget is about is not known.
    #[error("{0}")]
    Unmetered(String),
}

/// What is known before a run begins.
#[derive(Debug)]
pub(crate) struct Account {
    settings: FootprintConfig,
    ledger: KeptLedger,
    earlier: Vec<LedgerRow>,
    facts: RunFacts,
    may_use_device: bool,
    is_added_to: bool,
}

/// The account of a run that has begun.
#[derive(Debug)]
pub(crate) struct Running {
    account: Account,
    recorder: Arc<Mutex<Recorder>>,
    meter: Meter,
    stopped: Arc<Mutex<Option<Stopped>>>,
    sampler: Option<Sampler>,
}

/// Reads counters that wrap, until it is dropped.
#[derive(Debug)]
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Account {
    /// Checks all that can be checked before; `None` if accounting is off.
    pub(crate) fn open(
        config: &Config,
        flags: &Accounting,
        stores: &Stores,
        context: &Context,
    ) -> anyhow::Result<Option<Self>> {
        if flags.footprint == Some(Switch::Off) {
            if flags.max_g.is_some() || flags.start_within.is_some() {
                return Err(Error::Config {
                    message: "--footprint is off, and a budget or a start asks for it".into(),
                    hint: Some("leave one of the two out".into()),
                }
                .into());
            }
            return Ok(None);
        }
        let settings = settings(config.footprint.clone().unwrap_or_default(), flags);
        account::check(&settings)?;
        // Both are read again at the end, when they say what came to pass.
        power_file(&settings)?;
        actuals(&settings)?;
        let is_added_to = config.output.mode == OutputMode::Append;
        let ledger = KeptLedger::of_output(&config.output.path, is_added_to, stores, context.runtime.handle())?;
        let asks_earlier =
            settings.max_g.is_some() || settings.max_g_per_mdoc.is_some() || flags.start_within.is_some();
        let earlier = if asks_earlier { ledger.verified_rows()? } else { Vec::new() };
        let may_use_device = [
            config.score.as_ref().map(|score| &score.device),
            config.embed.as_ref().map(|embed| &embed.device),
            config.semantic.as_ref().map(|semantic| &semantic.device),
        ]
        .into_iter()
        .flatten()
        .any(|device| device != "cpu");
        let facts = RunFacts {
            run_id: run_id(),
            config_hash: account::hash_of(&tamis_schemas::manifest::config_for_manifest(config).to_string()),
            tamis_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..RunFacts::default()
        };
        Ok(Some(Self { settings, ledger, earlier, facts, may_use_device, is_added_to }))
    }

    /// Begins: what comes before, such as a wait, is not of the run.
    pub(crate) fn begin(mut self, context: &mut Context) -> Running {
        self.facts.started_at = now();
        let gpu = if self.may_use_device { GpuMeter::open() } else { GpuMeter::none() };
        let meter = Meter::start();
        context.meter = meter.clone();
        let recorder = Arc::new(Mutex::new(Recorder::start(SystemRoot::default(), gpu, meter.clone())));
        let sampler = Sampler::start(Arc::clone(&recorder));
        Running { account: self, recorder, meter, stopped: Arc::default(), sampler }
    }

    /// What the run will use, by earlier ones.
    fn plan(&self, input_bytes: u64) -> Plan {
        let machine = Machine::read(&SystemRoot::default()).row(&[]).fingerprint;
        let question = PlanQuestion {
            input_bytes,
            config_hash: &self.facts.config_hash,
            machine: &machine,
            view: self.settings.view,
        };
        predict(&self.earlier, &question)
    }

    /// Refuses a run that will cost more than its budget, as far as earlier ones tell.
    pub(crate) fn check_plan(&self, input_bytes: u64) -> anyhow::Result<()> {
        if !self.has_budget() {
            return Ok(());
        }
        let Some(last) = self.earlier.last() else { return Ok(()) };
        let intensity = intensity(&self.settings, None, (now() as i64, now() as i64 + 1), Tables::shipped())?;
        let docs = last.run.docs_in.zip(last.run.bytes_in).filter(|(_, bytes)| 0 < *bytes);
        let docs_in = docs.map(|(docs, bytes)| (docs as f64 * input_bytes as f64 / bytes as f64) as u64);
        let verdict = report::gate_plan(&self.plan(input_bytes), &intensity, docs_in, &Budget::of(&self.settings))?;
        match verdict {
            Verdict::OverBudget(_) => {
                let words = report::text::of_verdict(&verdict);
                let words = format!("{}: predicted from earlier runs, nothing was begun", words.trim_end());
                Err(Stopped::OverBudget(words).into())
            }
            Verdict::Within | Verdict::Unmetered(_) => Ok(()),
        }
    }

    /// When to start.
    pub(crate) fn start(&self, flags: &Accounting, input_bytes: Option<u64>) -> Option<Start> {
        let plan = input_bytes.map_or(Plan::Unknown, |bytes| self.plan(bytes));
        Some(start::decide(flags.start_within?, flags.forecast.as_deref(), &plan, now() as i64))
    }

    /// Whether something depends on the bytes of the input before it is read.
    pub(crate) fn asks_input(&self, flags: &Accounting) -> bool {
        flags.start_within.is_some() || (self.has_budget() && !self.earlier.is_empty())
    }

    fn has_budget(&self) -> bool {
        self.settings.max_g.is_some() || self.settings.max_g_per_mdoc.is_some()
    }
}

impl Running {
    /// Progress whose steps are phases, at each of which the budget is looked at.
    pub(crate) fn progress(&self, cancel: &Cancel) -> Progress {
        let meter = self.meter.clone();
        // Only of grams in all: how many documents there are is known at the end.
        let settings = FootprintConfig { max_g_per_mdoc: None, ..self.account.settings.clone() };
        let budget = settings.max_g.is_some().then(|| Budget::of(&settings));
        let (recorder, stopped, cancel) = (Arc::clone(&self.recorder), Arc::clone(&self.stopped), cancel.clone());
        let facts = self.account.facts.clone();
        let left = if self.account.is_added_to { "what was added before stays" } else { "nothing was written" };
        Progress::watched(move |name| {
            if let Some(budget) = &budget {
                let recording = recorder.lock().unwrap_or_else(PoisonError::into_inner).finish();
                let facts = RunFacts { ended_at: now(), ..facts.clone() };
                let rows = account::rows(&recording, &facts, &settings, Extras::default(), Tables::shipped());
                let refused = match rows.and_then(|rows| report::gate(&rows, budget)) {
                    Ok(verdict) => stop(&verdict),
                    Err(error) => Some(Stopped::Unmetered(format!("the budget cannot be judged: {error}"))),
                };
                if let Some(why) = refused {
                    let ending = format!("stopped before the step `{name}`, {left}");
                    *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.with(&ending));
                    cancel.cancel();
                }
            }
            meter.phase(name);
        })
    }

    /// Why the run was stopped, if its budget did it.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the account of a run and adds it to the ledger. What goes wrong is told, and fails no run that is done.
    pub(crate) fn finish(mut self, manifest: &Manifest) -> Option<Report> {
        self.sampler.take();
        let recording = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).finish();
        let Account { settings, ledger, mut facts, .. } = self.account;
        facts.amounts = amounts(manifest);
        facts.input_hash = account::hash_of(&serde_json::json!(manifest.inputs).to_string());
        facts.device_seconds = device_seconds(manifest, &recording.usage);
        facts.ended_at = now();
        let reported = (|| {
            let (power_file, actuals) = (power_file(&settings)?, actuals(&settings)?);
            let extras = Extras { power_file: power_file.as_ref(), actuals: actuals.as_ref() };
            let rows = account::rows(&recording, &facts, &settings, extras, Tables::shipped())?;
            ledger.append(&rows)?;
            report::report(&rows, None, ViewConfig::Provisioned)
        })();
        match reported {
            Ok(report) => Some(report),
            Err(error) => {
                let why = anyhow::Error::from(error);
                diagnostic::warn(
                    &format!("the footprint of this run was not kept: {why:#}"),
                    "the output is whole; move a damaged ledger away, or do without by --footprint off",
                );
                None
            }
        }
    }
}

impl Stopped {
    fn with(self, ending: &str) -> Self {
        match self {
            Self::OverBudget(words) => Self::OverBudget(format!("{words}: {ending}")),
            Self::Unmetered(words) => Self::Unmetered(format!("{words}: {ending}")),
        }
    }
}

/// Whether a verdict stops a run: a gate that cannot see stays shut.
fn stop(verdict: &Verdict) -> Option<Stopped> {
    let words = report::text::of_verdict(verdict).trim_end().replace('\n', "; ");
    match verdict {
        Verdict::Within => None,
        Verdict::OverBudget(_) => Some(Stopped::OverBudget(words)),
        Verdict::Unmetered(_) => Some(Stopped::Unmetered(words)),
    }
}

/// Readings of a power meter, as far as they go now.
fn power_file(settings: &FootprintConfig) -> tamis_pipeline::Result<Option<PowerFile>> {
    settings.power_file.as_ref().map(|path| PowerFile::parse(&text_of(path)?, path)).transpose()
}

/// What came to pass, as far as it is known now.
fn actuals(settings: &FootprintConfig) -> tamis_pipeline::Result<Option<Series>> {
    settings.actuals.as_ref().map(|path| parse(&text_of(path)?, path, Prefer::Actual)).transpose()
}

fn text_of(path: &String) -> tamis_pipeline::Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::Unreadable { location: path.clone(), source: Box::new(error) })
}

/// Seconds that a device was held: those of the stages that use one, if one was used.
fn device_seconds(manifest: &Manifest, usage: &Usage) -> BTreeMap<String, f64> {
    let of_scorer = manifest.scorer.as_ref().map(|scorer| &scorer.device);
    let of_encoder = manifest.embedding.as_ref().map(|embedding| &embedding.device);
    if !of_scorer.into_iter().chain(of_encoder).any(|device| device.starts_with("cuda")) {
        return BTreeMap::new();
    }
    let uses = |name: &str| ["learning", "scoring", "embedding"].contains(&name);
    let stages = usage.stages.iter().filter(|stage| uses(&stage.name));
    stages.map(|stage| (stage.name.clone(), stage.wall_seconds)).collect()
}

impl Sampler {
    fn start(recorder: Arc<Mutex<Recorder>>) -> Option<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let sample = move || {
            while !asked.load(Ordering::Relaxed) {
                std::thread::park_timeout(SAMPLE);
                recorder.lock().unwrap_or_else(PoisonError::into_inner).sample();
            }
        };
        // Without the thread, runs of more than twenty minutes may miss a wrap.
        let thread = std::thread::Builder::new().name("tamis-meter".into()).spawn(sample).ok();
        thread.map(|thread| Self { stop, thread: Some(thread) })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does nothing that could fail.
            let _ = thread.join();
        }
    }
}

/// The settings of the config, and flags before them.
fn settings(config: FootprintConfig, flags: &Accounting) -> FootprintConfig {
    FootprintConfig {
        region: flags.region.clone().or(config.region),
        intensity_g_per_kwh: flags.intensity.or(config.intensity_g_per_kwh),
        actuals: flags.actuals.clone().or(config.actuals),
        pue: flags.pue.or(config.pue),
        power_file: flags.power_file.clone().or(config.power_file),
        method: flags.method.or(config.method),
        max_g: flags.max_g.or(config.max_g),
        ..config
    }
}

/// What went through a run. Tokens are a quarter of the bytes of text; those of survivors are in proportion of the rows.
fn amounts(manifest: &Manifest) -> Amounts {
    let rows = &manifest.rows;
    let tokens_in = rows.text_bytes / BYTES_PER_TOKEN;
    let tokens_out = u128::from(tokens_in) * u128::from(rows.kept) / u128::from(rows.rows_in.max(1));
    let known = |tokens: u64| (0 < rows.text_bytes).then_some(tokens);
    Amounts {
        docs_in: Some(rows.rows_in),
        docs_out: Some(rows.kept),
        bytes_in: Some(metrics::input_bytes(manifest)),
        bytes_out: Some(metrics::output_bytes(manifest)),
        tokens_in: known(tokens_in),
        tokens_out: known(tokens_out as u64),
        labels: manifest.selection.as_ref().map(|selection| selection.batch_rows),
        ..Amounts::default()
    }
}

/// The id of a run in its ledger. One that is given may be given to several: they are told apart by their start.
fn run_id() -> String {
    match log::given_run_id() {
        Some(id) => format!("{id}@{:.3}", now()),
        None => log::run_id().map_or_else(log::new_run_id, str::to_owned),
    }
}

/// The present, seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
