//! `tamis kernel`: one task of a run on a cluster.

use std::io::{self, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tamis_pipeline::Error;
use tamis_pipeline::context::Context;
use tamis_pipeline::footprint::activity::{SystemRoot, cpu_ns_of};
use tamis_pipeline::footprint::tasks::TaskMeter;
use tamis_pipeline::progress::Progress;
use tamis_pipeline::run::kernel::{Kernel, Surroundings, open_session, run_kernel};
use tamis_schemas::size::ByteSize;

use crate::args::{Global, KernelCommand, KernelSession};
use crate::exit::Exit;
use crate::footprint::{self, Account, Done};
use crate::{diagnostic, log, settings};

/// Id of the process that waits for the kernel.
const PARENT: &str = "TAMIS_PARENT";
/// A name that no other try has.
const ATTEMPT: &str = "TAMIS_ATTEMPT";
/// Bytes of a unit.
const UNIT_BYTES: &str = "TAMIS_UNIT_BYTES";
const DEFAULT_UNIT_BYTES: ByteSize = ByteSize(256 << 20);
/// Time between two lines of progress.
const TICK: Duration = Duration::from_secs(1);

pub(crate) fn run(command: &KernelCommand, global: &Global) -> anyhow::Result<Exit> {
    die_with_parent()?;
    let context = settings::context(global)?;
    let kernel = match command {
        KernelCommand::Session(args) => return session(args, context),
        KernelCommand::Scan => Kernel::Scan,
        KernelCommand::Bucket => Kernel::Bucket,
        KernelCommand::Link => Kernel::Link,
        KernelCommand::Prune => Kernel::Prune,
        KernelCommand::Compare => Kernel::Compare,
        KernelCommand::Prove => Kernel::Prove,
        KernelCommand::Assign => Kernel::Assign,
        KernelCommand::Divide => Kernel::Divide,
        KernelCommand::Hold => Kernel::Hold,
        KernelCommand::Embed => Kernel::Embed,
        KernelCommand::Fold => Kernel::Fold,
        KernelCommand::Judge => Kernel::Judge,
        KernelCommand::Sift => Kernel::Sift,
        KernelCommand::Texts => Kernel::Texts,
        KernelCommand::Learn => Kernel::Learn,
        KernelCommand::Score => Kernel::Score,
        KernelCommand::Gather => Kernel::Gather,
        KernelCommand::Choose => Kernel::Choose,
        KernelCommand::Pick => Kernel::Pick,
        KernelCommand::Tabulate => Kernel::Tabulate,
        KernelCommand::Write => Kernel::Write,
    };
    let attempt = std::env::var(ATTEMPT).unwrap_or_else(|_| log::new_run_id());
    let is_name = |attempt: &str| {
        !attempt.is_empty() && attempt.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    anyhow::ensure!(is_name(&attempt), "{ATTEMPT} is `{attempt}`, but must be letters, digits, `-`, `_` and `.`");
    let meter = TaskMeter::start(SystemRoot::default());
    let progress = Arc::new(Progress::default());
    let told = Told::start(Arc::clone(&progress));
    let (input, output) = (io::stdin().lock(), io::stdout().lock());
    let done = run_kernel(kernel, &attempt, input, output, settings::stores(), &context, &progress);
    drop(told);
    match done {
        Ok(()) => {
            say(&json!({"used": meter.finish(kernel.name())}));
            Ok(Exit::Clean)
        }
        // Of this machine, most likely: another try may be elsewhere.
        Err(error @ (Error::Spill { .. } | Error::Unwritable { .. } | Error::Unreadable { .. })) => {
            let error = error.into();
            diagnostic::print(&error);
            Ok(match Exit::of(&error) {
                Exit::Failed => Exit::Unavailable,
                other => other,
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Plans a run, waits for its tasks, commits it.
fn session(args: &KernelSession, mut context: Context) -> anyhow::Result<Exit> {
    let (config, _) = settings::load(&args.config)?;
    footprint::check_on_cluster(&args.accounting, &config.footprint.clone().unwrap_or_default())?;
    // Whoever started us may have done other things before.
    let driver_started_ns = driver_cpu_ns();
    let unit_bytes = match std::env::var(UNIT_BYTES) {
        Ok(text) => text.parse().map_err(|error| anyhow::anyhow!("{UNIT_BYTES}: {error}"))?,
        Err(_) => DEFAULT_UNIT_BYTES,
    };
    let stores = settings::stores().with_tiers(&config)?;
    tamis_pipeline::run::check(&config)?;
    let account = Account::open("tamis run", (&config, ""), &args.accounting, &stores, &context)?;
    let account = account.map(|account| account.begin(&mut context));
    let progress = account.as_ref().map(|account| account.progress(&context.cancel)).unwrap_or_default();
    let progress = Arc::new(progress);
    let _told = Told::start(Arc::clone(&progress));
    let with = Surroundings { stores: &stores, context: &context, progress: &progress };
    let existing = settings::existing(args.overwrite);
    let stamp = settings::stamp();
    let sharing = settings::sharing(args.if_locked, &stamp);
    let (mut input, mut output) = (BufReader::new(io::stdin().lock()), io::stdout().lock());
    let mut session = match open_session(&config, existing, unit_bytes.0, &stamp, &sharing, with)? {
        Ok(session) => session,
        Err(ended) => {
            ended.write(&mut output)?;
            output.flush()?;
            return Ok(Exit::Clean);
        }
    };
    session.write_units(&mut output)?;
    output.flush()?;
    session.place_rows(&mut input, &mut output)?;
    output.flush()?;
    let committed = session.commit(&mut input)?;
    // Before the manifest is there, which whoever started us waits for.
    if let Some(account) = account {
        let driver_cpu_ns = driver_cpu_ns().saturating_sub(driver_started_ns);
        account.finish_tasks(Done::of_manifest(&committed.manifest), &committed.used, driver_cpu_ns);
    }
    committed.write(&mut output)?;
    output.flush()?;
    Ok(if committed.manifest.rows.rejected > 0 { Exit::Rejects } else { Exit::Clean })
}

/// CPU time so far of the process that started this one, if it is a driver.
fn driver_cpu_ns() -> u64 {
    let driver = std::env::var_os(PARENT).and_then(|_| getppid());
    let cpu_ns = |driver: Pid| cpu_ns_of(&SystemRoot::default(), driver.as_raw_nonzero().get() as u32);
    driver.and_then(cpu_ns).unwrap_or(0)
}

/// Asks the system to end us with the process that waits for us: what we read and write is of no use to anybody then.
fn die_with_parent() -> anyhow::Result<()> {
    let Ok(parent) = std::env::var(PARENT) else { return Ok(()) };
    let parent: i32 = parent.parse().with_context(|| format!("{PARENT} is `{parent}`, not the id of a process"))?;
    set_parent_process_death_signal(Some(Signal::KILL)).context("could not ask to end with the process that waits")?;
    // It may have ended before we asked.
    anyhow::ensure!(
        getppid() == Pid::from_raw(parent),
        "the process {parent}, which is to wait for this one, is not its parent"
    );
    Ok(())
}

/// Says something to whoever reads stderr; nobody has to.
fn say(line: &Value) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Tells on stderr how far we are, once a second, until dropped.
struct Told(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Told {
    fn start(progress: Arc<Progress>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let tell = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(TICK);
                let seen = progress.snapshot();
                // Who compares or sorts reads nothing, but works.
                let cpu_seconds = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
                say(&json!({"progress": {"rows": seen.rows, "bytes": seen.bytes_read, "cpu_seconds": cpu_seconds}}));
            }
        };
        Self(stop, Some(std::thread::spawn(tell)))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
