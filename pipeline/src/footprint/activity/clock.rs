//! CPU time by stage, such that stages and overhead add up to the process, to the nanosecond.
//!
//! ```text
//! process clock   |------ phase "survey" ------|------ phase "write" ------|
//! thread clocks      [dedup]  [dedup]             [score [encode] score]       scopes, on any thread
//! ```
//!
//! A phase is what the run does for a while; a scope is a piece of work of a stage on one thread. What scopes measured is theirs,
//! a phase has the rest of what the process used meanwhile, and what lies outside of both is overhead. A scope in a scope stops
//! the outer one's clock: where a worker takes up a job of another stage while it waits, no time counts twice.
//!
//! Bytes that the process reads, writes and sends are of the phase in which it does: the kernel counts them for all threads together.
//!
//! A scope costs two readings of the thread clock, a system call each: 1.4 to 2.3 microseconds together on a guest with 2 threads.
//! It is opened for a batch, not for a row.

use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use tamis_schemas::footprint::{Amounts, OVERHEAD};

use super::SystemRoot;
use super::process::{ProcessCounters, process_cpu_ns, thread_cpu_ns};

/// Attributes the CPU time of a process to stages. Clones are the same meter.
#[derive(Debug, Clone)]
pub struct Meter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clocks: Clocks,
    started: Instant,
    cpu_start_ns: u64,
    /// CPU time that scopes have measured.
    scoped_ns: AtomicU64,
    stages: RwLock<Stages>,
    phase: Mutex<Phase>,
    /// Bytes outside of phases.
    overhead: Counters,
}

/// What tells CPU time in nanoseconds; tests have clocks of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// Of all threads.
    pub(super) process_ns: fn() -> u64,
    /// Of the calling thread.
    pub(super) thread_ns: fn() -> u64,
    /// And bytes of the process.
    pub(super) bytes: fn() -> ProcessCounters,
}

const KERNEL: Clocks = Clocks {
    process_ns: process_cpu_ns,
    thread_ns: thread_cpu_ns,
    bytes: || ProcessCounters::read(&SystemRoot::default()),
};

/// Stages by name, and in the order of their first mention.
#[derive(Debug, Default)]
struct Stages {
    by_name: HashMap<String, usize>,
    counters: Vec<(String, Arc<Counters>)>,
}

#[derive(Debug)]
struct Phase {
    /// Its stage; none between phases.
    stage: Option<Arc<Counters>>,
    started: Instant,
    process_ns: u64,
    scoped_ns: u64,
    bytes: ProcessCounters,
    /// CPU time outside of phases and scopes.
    overhead_ns: u64,
}

#[derive(Debug)]
struct Counters {
    scoped_ns: AtomicU64,
    phase_ns: AtomicU64,
    phase_wall_ns: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    /// As in [`Amounts`], in its order; `UNKNOWN` until something is added.
    amounts: [AtomicU64; N_AMOUNTS],
}

const N_AMOUNTS: usize = 10;
const UNKNOWN: u64 = u64::MAX;

/// A stage of a meter, looked up once.
#[derive(Debug, Clone)]
pub struct Stage {
    counters: Arc<Counters>,
    meter: Arc<Shared>,
}

/// Work of a stage on this thread, until it is dropped.
///
/// Not `Send`: it belongs to the clock of one thread.
#[derive(Debug)]
#[must_use = "a scope measures until it is dropped"]
pub struct Scope {
    depth: usize,
    not_send: PhantomData<*const ()>,
}

/// CPU time by stage: see [`Meter::finish`].
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Stages, in the order of their first mention; overhead is the last.
    pub stages: Vec<StageUsage>,
    /// CPU time of the process: the sum of the stages'.
    pub cpu_ns: u64,
    /// How long the meter ran.
    pub wall_seconds: f64,
}

/// What one stage used.
#[derive(Debug, Clone, PartialEq)]
pub struct StageUsage {
    /// Name.
    pub name: String,
    /// CPU time.
    pub cpu_ns: u64,
    /// Length of its phases; of a stage without any, the time from the start of its first scope to the end of its last. Stages overlap.
    pub wall_seconds: f64,
    /// Bytes that the process read, wrote and sent in its phases, and what callers have counted.
    pub amounts: Amounts,
}

thread_local! {
    static OPEN: RefCell<Open> = const { RefCell::new(Open { scopes: Vec::new(), since_ns: 0 }) };
}

/// Scopes of a thread, the innermost last: only its clock runs, since `since_ns`.
struct Open {
    /// `None`: dropped already, though one within it is open.
    scopes: Vec<Option<Stage>>,
    since_ns: u64,
}

impl Meter {
    /// Begins now: what the process used before is not counted.
    pub fn start() -> Self {
        Self::since(KERNEL, process_cpu_ns())
    }

    /// Begins with the process: what it used so far is overhead.
    pub fn start_of_process() -> Self {
        Self::since(KERNEL, 0)
    }

    pub(super) fn since(clocks: Clocks, cpu_start_ns: u64) -> Self {
        let started = Instant::now();
        let bytes = (clocks.bytes)();
        let phase = Phase { stage: None, started, process_ns: cpu_start_ns, scoped_ns: 0, bytes, overhead_ns: 0 };
        Self {
            shared: Arc::new(Shared {
                clocks,
                started,
                cpu_start_ns,
                scoped_ns: AtomicU64::new(0),
                stages: RwLock::default(),
                phase: Mutex::new(phase),
                overhead: Counters::default(),
            }),
        }
    }

    /// Begins a phase, and ends the one before. A name may come again.
    pub fn phase(&self, name: &str) {
        let stage = self.counters(name);
        self.shared.switch(Some(stage));
    }

    /// Ends the phase: until the next one, what no scope measures is overhead.
    pub fn end_phase(&self) {
        self.shared.switch(None);
    }

    /// The stage with this name.
    pub fn stage(&self, name: &str) -> Stage {
        Stage { counters: self.counters(name), meter: Arc::clone(&self.shared) }
    }

    /// Measures work of a stage on this thread until the scope is dropped. In a loop, [`Meter::stage`] once saves the look-up.
    pub fn scope(&self, stage: &str) -> Scope {
        self.stage(stage).enter()
    }

    /// What each stage used. Scopes that are still open count to the phase that they are in.
    ///
    /// The sum of all `cpu_ns` is that of the process, exactly.
    pub fn finish(&self) -> Usage {
        self.shared.switch(None);
        let phase = self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = self.shared.stages.read().unwrap_or_else(PoisonError::into_inner);
        let mut used: Vec<StageUsage> = stages.counters.iter().map(|(name, counters)| counters.usage(name)).collect();
        let overhead = StageUsage {
            name: OVERHEAD.to_owned(),
            cpu_ns: phase.overhead_ns,
            wall_seconds: 0.0,
            amounts: self.shared.overhead.usage(OVERHEAD).amounts,
        };
        used.push(overhead);
        let cpu_ns = phase.process_ns - self.shared.cpu_start_ns;
        let mut rests_ns: Vec<u64> =
            stages.counters.iter().map(|(_, counters)| counters.phase_ns.load(Ordering::Relaxed)).collect();
        rests_ns.push(phase.overhead_ns);
        balance(&mut used, rests_ns, cpu_ns);
        Usage { stages: used, cpu_ns, wall_seconds: self.shared.started.elapsed().as_secs_f64() }
    }

    fn counters(&self, name: &str) -> Arc<Counters> {
        {
            let stages = self.shared.stages.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(&at) = stages.by_name.get(name) {
                return Arc::clone(&stages.counters[at].1);
            }
        }
        let mut stages = self.shared.stages.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&at) = stages.by_name.get(name) {
            return Arc::clone(&stages.counters[at].1);
        }
        let counters = Arc::new(Counters::default());
        let at = stages.counters.len();
        stages.by_name.insert(name.to_owned(), at);
        stages.counters.push((name.to_owned(), Arc::clone(&counters)));
        counters
    }
}

/// Makes the stages add up to `cpu_ns`.
///
/// A scope counts when it ends, so that one that began in an earlier phase counts there too, as that phase's rest. What is too
/// much is taken from rests (`rests_ns`, of each stage), overhead's first and then the largest; and from scopes only where rests
/// are not enough.
pub(super) fn balance(stages: &mut [StageUsage], mut rests_ns: Vec<u64>, cpu_ns: u64) {
    let sum: u64 = stages.iter().map(|stage| stage.cpu_ns).sum();
    if let Some(overhead) = stages.last_mut() {
        overhead.cpu_ns += cpu_ns.saturating_sub(sum);
    }
    let mut excess = sum.saturating_sub(cpu_ns);
    for _ in 0..2 {
        let n_stages = stages.len();
        let mut order: Vec<usize> = (0..n_stages).collect();
        order.sort_by_key(|&at| (at + 1 < n_stages, std::cmp::Reverse(rests_ns[at])));
        for at in order {
            let taken = excess.min(rests_ns[at]);
            stages[at].cpu_ns -= taken;
            excess -= taken;
        }
        rests_ns = stages.iter().map(|stage| stage.cpu_ns).collect();
    }
}

impl Shared {
    fn switch(&self, next: Option<Arc<Counters>>) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        // First what scopes have, then the process: no scope has time that the process has not.
        let scoped_ns = self.scoped_ns.load(Ordering::Acquire);
        let process_ns = (self.clocks.process_ns)();
        let now = Instant::now();
        let used = process_ns - phase.process_ns;
        let owed = scoped_ns - phase.scoped_ns;
        let rest_ns = used.saturating_sub(owed);
        let bytes = (self.clocks.bytes)();
        let moved = bytes.since(&phase.bytes);
        let mut overhead_ns = phase.overhead_ns;
        if let Some(stage) = &phase.stage {
            let wall_ns = now.duration_since(phase.started).as_nanos() as u64;
            stage.phase_ns.fetch_add(rest_ns, Ordering::Relaxed);
            stage.phase_wall_ns.fetch_add(wall_ns, Ordering::Relaxed);
            stage.add(&moved);
        } else {
            overhead_ns += rest_ns;
            self.overhead.add(&moved);
        }
        *phase = Phase { stage: next, started: now, process_ns, scoped_ns, bytes, overhead_ns };
    }
}

impl Stage {
    /// Measures work of this stage on this thread until the scope is dropped.
    pub fn enter(&self) -> Scope {
        let started_ns = self.meter.started.elapsed().as_nanos() as u64;
        self.counters.first_ns.fetch_min(started_ns, Ordering::Relaxed);
        OPEN.with_borrow_mut(|open| {
            open.charge(self.meter.clocks.thread_ns);
            open.scopes.push(Some(self.clone()));
            Scope { depth: open.scopes.len(), not_send: PhantomData }
        })
    }

    /// Counts what went through. A count that is `None` is left as it is.
    pub fn add(&self, amounts: &Amounts) {
        self.counters.add(amounts);
    }
}

impl Open {
    /// Gives the time since the last change to the innermost scope.
    fn charge(&mut self, thread_ns: fn() -> u64) {
        let now_ns = thread_ns();
        if let Some(stage) = self.scopes.last().and_then(Option::as_ref) {
            let used_ns = now_ns - self.since_ns;
            stage.counters.scoped_ns.fetch_add(used_ns, Ordering::Relaxed);
            stage.meter.scoped_ns.fetch_add(used_ns, Ordering::Release);
        }
        self.since_ns = now_ns;
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| {
            let thread_ns = open.scopes[self.depth - 1].as_ref().map_or(KERNEL, |stage| stage.meter.clocks).thread_ns;
            open.charge(thread_ns);
            if let Some(stage) = open.scopes[self.depth - 1].take() {
                let ended_ns = stage.meter.started.elapsed().as_nanos() as u64;
                stage.counters.last_ns.fetch_max(ended_ns, Ordering::Relaxed);
            }
            while open.scopes.last().is_some_and(Option::is_none) {
                open.scopes.pop();
            }
        });
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            scoped_ns: AtomicU64::new(0),
            phase_ns: AtomicU64::new(0),
            phase_wall_ns: AtomicU64::new(0),
            first_ns: AtomicU64::new(u64::MAX),
            last_ns: AtomicU64::new(0),
            amounts: [const { AtomicU64::new(UNKNOWN) }; N_AMOUNTS],
        }
    }
}

impl Counters {
    fn add(&self, amounts: &Amounts) {
        for (counter, amount) in self.amounts.iter().zip(amounts_in_order(amounts)) {
            let Some(amount) = amount else { continue };
            let add = |count: u64| Some(if count == UNKNOWN { amount } else { count.saturating_add(amount) });
            // `add` always has a value, so that this cannot fail.
            let _previous = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    fn usage(&self, name: &str) -> StageUsage {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let span_ns = load(&self.last_ns).saturating_sub(load(&self.first_ns));
        let phase_wall_ns = load(&self.phase_wall_ns);
        let [docs_in, docs_out, bytes_in, bytes_out, tokens_in, tokens_out, labels, read, written, net] =
            std::array::from_fn(|at| Some(load(&self.amounts[at])).filter(|count| *count != UNKNOWN));
        StageUsage {
            name: name.to_owned(),
            cpu_ns: load(&self.scoped_ns) + load(&self.phase_ns),
            wall_seconds: if phase_wall_ns > 0 { phase_wall_ns } else { span_ns } as f64 / 1e9,
            amounts: Amounts {
                docs_in,
                docs_out,
                bytes_in,
                bytes_out,
                tokens_in,
                tokens_out,
                labels,
                read_bytes: read,
                written_bytes: written,
                net_bytes: net,
            },
        }
    }
}

fn amounts_in_order(amounts: &Amounts) -> [Option<u64>; N_AMOUNTS] {
    let Amounts { docs_in, docs_out, bytes_in, bytes_out, tokens_in, tokens_out, labels, .. } = *amounts;
    let Amounts { read_bytes, written_bytes, net_bytes, .. } = *amounts;
    [docs_in, docs_out, bytes_in, bytes_out, tokens_in, tokens_out, labels, read_bytes, written_bytes, net_bytes]
}

impl StageUsage {
    /// CPU time, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_ns as f64 / 1e9
    }
}

impl Usage {
    /// CPU time of the process, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_ns as f64 / 1e9
    }
}

/// Scopes of this thread that are open.
#[cfg(test)]
pub(super) fn open_scopes() -> usize {
    OPEN.with_borrow(|open| open.scopes.len())
}
