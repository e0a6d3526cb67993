//! Accounts for what a run uses: before it, between its stages, and after it.
//!
//! ```text
//! earlier rows of the ledger -> prediction -> over budget? when to start?        Account::ready
//! run: phases and scopes -> recorder -> at each step: over budget so far? -> stop, nothing is written        run
//! end of the run -> rows -> ledger -> what the summary says
//! ```

mod done;
pub(crate) mod file;
mod flags;
mod start;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tamis_pipeline::context::{Cancel, Context};
use tamis_pipeline::footprint::KeptLedger;
use tamis_pipeline::footprint::account::{self, Extras, Recorder, Recording, RunFacts};
use tamis_pipeline::footprint::activity::{Machine, Meter, SystemRoot};
use tamis_pipeline::footprint::forecast::{Prefer, Series, parse, time_text};
use tamis_pipeline::footprint::intensity::intensity;
use tamis_pipeline::footprint::meter::{GpuMeter, PowerFile};
use tamis_pipeline::footprint::planner::{Plan, PlanQuestion, predict};
use tamis_pipeline::footprint::report::{self, Budget, Report, Verdict};
use tamis_pipeline::footprint::tables::Tables;
use tamis_pipeline::footprint::tasks::{Leader, TaskUsage, host_of, rows_of_tasks};
use tamis_pipeline::store::Stores;
use tamis_pipeline::{Error, progress::Progress};
use tamis_schemas::config::{Config, InputConfig, OutputMode};
use tamis_schemas::footprint::{FootprintConfig, LedgerRow, ViewConfig};

use crate::args::{Accounting, Global, Switch};
use crate::progress::Display;
use crate::{diagnostic, log};

pub(crate) use done::Done;
pub(crate) use flags::{check_flags, check_on_cluster, flags_of_session, tell_unused};
pub(crate) use start::{Start, print_start};

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
    input: InputConfig,
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
    /// Checks all that can be checked before; `None` if accounting is off. `command` is `tamis dedup`; `config` says what it reads, where
    /// it writes, and what runs on devices, and `further` what else its result depends on.
    pub(crate) fn open(
        command: &str,
        (config, further): (&Config, &str),
        flags: &Accounting,
        stores: &Stores,
        context: &Context,
    ) -> anyhow::Result<Option<Self>> {
        check_flags(flags)?;
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
        tell_unused(&settings);
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
        // What judges quality finds its device itself.
        let is_judged_by_model = config.quality.as_ref().is_some_and(|quality| quality.scorer.is_some());
        let config_text = tamis_schemas::manifest::config_for_manifest(config).to_string();
        let facts = RunFacts {
            run_id: run_id(),
            command: command.trim_start_matches("tamis ").to_owned(),
            submitted_at: flags.start_within.map(|_| now()),
            config_hash: account::hash_of(&(config_text + further)),
            tamis_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..RunFacts::default()
        };
        let input = config.input.clone();
        Ok(Some(Self {
            settings,
            ledger,
            earlier,
            facts,
            input,
            may_use_device: may_use_device || is_judged_by_model,
            is_added_to,
        }))
    }

    /// Refuses a run that will cost more than its budget, and waits for its start if it may. `check_output` refuses an output before
    /// the wait that the run would refuse after it.
    pub(crate) fn ready(
        &self,
        flags: &Accounting,
        (stores, context): (&Stores, &Context),
        check_output: impl FnOnce() -> tamis_pipeline::Result<()>,
    ) -> anyhow::Result<()> {
        if !self.asks_input(flags) {
            return Ok(());
        }
        let input_bytes = self.input_bytes(stores, context)?;
        input_bytes.map_or(Ok(()), |bytes| self.check_plan(bytes))?;
        if let Some(start) = self.start(flags, input_bytes) {
            check_output()?;
            start.wait(&context.cancel)?;
        }
        Ok(())
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
            command: Some(&self.facts.command),
            input_bytes,
            config_hash: &self.facts.config_hash,
            machine: &machine,
            view: self.settings.view,
        };
        predict(&self.earlier, &question)
    }

    /// Bytes of the input; `None` for standard input, which is read once.
    fn input_bytes(&self, stores: &Stores, context: &Context) -> tamis_pipeline::Result<Option<u64>> {
        if self.input.paths.iter().any(|path| path == "-") {
            return Ok(None);
        }
        tamis_pipeline::run::input_bytes(&self.input, stores, context).map(Some)
    }

    /// Refuses a run that will cost more than its budget, as far as earlier ones tell.
    fn check_plan(&self, input_bytes: u64) -> anyhow::Result<()> {
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
    fn start(&self, flags: &Accounting, input_bytes: Option<u64>) -> Option<Start> {
        let plan = input_bytes.map_or(Plan::Unknown, |bytes| self.plan(bytes));
        Some(start::decide(flags.start_within?, flags.forecast.as_deref(), &plan, now() as i64))
    }

    /// Whether something depends on the bytes of the input before it is read.
    fn asks_input(&self, flags: &Accounting) -> bool {
        flags.start_within.is_some() || (self.has_budget() && !self.earlier.is_empty())
    }

    fn has_budget(&self) -> bool {
        self.settings.max_g.is_some() || self.settings.max_g_per_mdoc.is_some()
    }
}

/// Does `work`, and accounts for it: what it used goes into the ledger if `done` says that something was done.
pub(crate) fn run<T>(
    account: Option<Account>,
    context: &mut Context,
    global: &Global,
    work: impl FnOnce(&Context, &Progress) -> tamis_pipeline::Result<T>,
    done: impl FnOnce(&T) -> Option<Done>,
) -> anyhow::Result<(T, Option<Report>)> {
    let running = account.map(|account| account.begin(context));
    let progress = running.as_ref().map(|running| running.progress(&context.cancel)).unwrap_or_default();
    let display = Display::of(progress, global);
    let worked = work(context, display.progress());
    drop(display);
    let Some(running) = running else { return Ok((worked?, None)) };
    match (worked, running.stopped()) {
        (Err(_), Some(stopped)) => Err(stopped.into()),
        (worked, _) => {
            let worked = worked?;
            let report = done(&worked).and_then(|done| running.finish(done));
            Ok((worked, report))
        }
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
    fn stopped(&self) -> Option<Stopped> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the account of a run and adds it to the ledger. What goes wrong is told, and fails no run that is done.
    fn finish(self, done: Done) -> Option<Report> {
        let Ended { account: Account { settings, ledger, .. }, recording, mut facts, done } = self.end(done);
        facts.device_seconds = done.device_seconds(&recording.usage);
        let reported = (|| {
            let (power_file, actuals) = (power_file(&settings)?, actuals(&settings)?);
            if let Some((path, file)) = settings.power_file.as_ref().zip(power_file.as_ref()) {
                tell_uncovered(path, file, &facts);
            }
            let extras = Extras { power_file: power_file.as_ref(), actuals: actuals.as_ref() };
            let rows = account::rows(&recording, &facts, &settings, extras, Tables::shipped())?;
            ledger.append(&rows)?;
            report::report(&rows, None, ViewConfig::Provisioned)
        })();
        kept(reported)
    }

    /// The same of a run whose work tasks on other machines did, too.
    ///
    /// `said` is what each of them says of itself, in JSON; `driver_cpu_ns` what the process used meanwhile that started this one.
    pub(crate) fn finish_tasks(self, done: Done, said: &[Vec<u8>], driver_cpu_ns: u64) {
        let Ended { account: Account { settings, ledger, .. }, recording, facts, done } = self.end(done);
        let appended = (|| {
            if said.is_empty() {
                return Err(Error::Config {
                    message: "nothing is said of what the tasks of this run used".into(),
                    hint: Some("the driver is to hand on what each says at its end: docs/kernel-protocol.md".into()),
                });
            }
            let tasks: Vec<TaskUsage> = said
                .iter()
                .map(|said| serde_json::from_slice(said))
                .collect::<Result<_, _>>()
                .map_err(|error| Error::config(format!("what a task says of itself cannot be read: {error}")))?;
            let leader = Leader { recording: &recording, host: host_of(&SystemRoot::default()), driver_cpu_ns };
            let actuals = actuals(&settings)?;
            let extras = Extras { power_file: None, actuals: actuals.as_ref() };
            let uses_device = |stage: &str| done.uses_device(stage);
            ledger.append(&rows_of_tasks(&tasks, &leader, &facts, uses_device, &settings, extras)?)
        })();
        kept(appended);
    }

    /// Ends what is recorded.
    fn end(mut self, mut done: Done) -> Ended {
        self.sampler.take();
        let recording = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).finish();
        let facts = RunFacts {
            amounts: done.amounts,
            input_hash: std::mem::take(&mut done.input_hash),
            scorer_choice: done.scorer_choice.take(),
            ended_at: now(),
            ..self.account.facts.clone()
        };
        Ended { account: self.account, recording, facts, done }
    }
}

/// A run that has ended, before its account is drawn up.
struct Ended {
    account: Account,
    recording: Recording,
    facts: RunFacts,
    done: Done,
}

/// What was kept; tells why, if it was not.
fn kept<T>(result: tamis_pipeline::Result<T>) -> Option<T> {
    let tell = |error| {
        let why = anyhow::Error::from(error);
        diagnostic::warn(
            &format!("the footprint of this run was not kept: {why:#}"),
            "the output is whole; move a damaged ledger away, or do without by --footprint off",
        );
    };
    result.map_err(tell).ok()
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

/// Warns of readings that are not of the run.
fn tell_uncovered(path: &str, file: &PowerFile, facts: &RunFacts) {
    if file.energy(facts.started_at, facts.ended_at).is_some() {
        return;
    }
    let time = |at: f64| time_text(at as i64);
    let has = file.span().map_or_else(
        || "it has no readings".to_owned(),
        |(first, last)| format!("its readings are from {} to {}", time(first), time(last)),
    );
    diagnostic::warn(
        &format!(
            "the power file `{path}` does not cover half of this run ({} to {}): {has}",
            time(facts.started_at),
            time(facts.ended_at)
        ),
        "let the meter write while the run goes on, every 2 minutes or oftener, by the clock of this machine",
    );
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
pub(super) fn settings(config: FootprintConfig, flags: &Accounting) -> FootprintConfig {
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
