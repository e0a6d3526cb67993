//! A run that many processes did, on any number of machines: what each says of itself, and what that is together.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tamis_schemas::footprint::{Amounts, FootprintConfig, LedgerRow, MachineRow, TASKS};

use super::account::{Extras, Recording, RunFacts, rows};
use super::activity::{Activity, Machine, Snapshot, StageUsage, SystemRoot, Usage, process_cpu_ns};
use super::tables::Tables;
use crate::{Error, Result};

/// Stage of what the engine used: the processes that start kernels, and those above them.
pub const ENGINE: &str = "engine";

/// What a process did for a task, as it says itself when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskUsage {
    /// What was done: the stage of its row.
    pub stage: String,
    /// Whose counters those of the machine are: what started when, and its network.
    pub host: String,
    /// The machine.
    pub machine: MachineRow,
    /// When it started, seconds since 1970.
    pub started_at: f64,
    /// When it ended, seconds since 1970.
    pub ended_at: f64,
    /// CPU time of the process, nanoseconds.
    pub cpu_ns: u64,
    /// CPU time of all processes of the machine, seconds: the counter then and now.
    pub machine_cpu_seconds: Option<[f64; 2]>,
    /// Bytes that the network carried: the counter then and now.
    pub net_bytes: Option<[u64; 2]>,
    /// Most memory that it held, bytes.
    pub rss_peak_bytes: Option<u64>,
    /// Bytes that it had storage deliver.
    pub read_bytes: Option<u64>,
    /// Bytes that it had storage take.
    pub written_bytes: Option<u64>,
    /// Others wanted the CPUs too.
    pub contended: bool,
    /// What the engine used that started it, if its driver says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineUsage>,
}

/// What an engine used for a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineUsage {
    /// CPU time of the process that started the kernel, while that was at work, nanoseconds.
    pub worker_cpu_ns: u64,
    /// The process above, which does the work of many tasks.
    #[serde(default)]
    pub process: Option<EngineProcess>,
}

/// A process of an engine, as a task saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineProcess {
    /// What no other process of the host has.
    pub id: String,
    /// When it started, seconds since 1970.
    pub started_at: f64,
    /// Its CPU time, nanoseconds: the counter at the start and at the end of the task.
    pub cpu_ns: [u64; 2],
    /// Most memory that it held, bytes.
    pub rss_peak_bytes: Option<u64>,
}

/// Measures the process of one task.
#[derive(Debug)]
pub struct TaskMeter {
    root: SystemRoot,
    started_at: f64,
    started: Instant,
    start: Snapshot,
}

impl TaskMeter {
    /// Begins; CPU time counts from the start of the process.
    pub fn start(root: SystemRoot) -> Self {
        let start = Snapshot::read(&root);
        Self { root, started_at: now(), started: Instant::now(), start }
    }

    /// What the process has done, whose only work was that of `stage`.
    pub fn finish(self, stage: &str) -> TaskUsage {
        let Self { root, started_at, started, start } = self;
        let end = Snapshot::read(&root);
        let Activity { rss_peak_bytes, read_bytes, written_bytes, contended, .. } = end.since(&start);
        TaskUsage {
            stage: stage.to_owned(),
            host: host_of(&root),
            machine: Machine::read(&root).row(&[]),
            started_at,
            ended_at: started_at + started.elapsed().as_secs_f64(),
            cpu_ns: process_cpu_ns(),
            machine_cpu_seconds: pair(start.machine_cpu_seconds, end.machine_cpu_seconds),
            net_bytes: pair(start.process.net_bytes, end.process.net_bytes),
            rss_peak_bytes,
            read_bytes,
            written_bytes,
            contended,
            engine: None,
        }
    }
}

/// The process that leads a run.
#[derive(Debug)]
pub struct Leader<'a> {
    /// What it did.
    pub recording: &'a Recording,
    /// Its machine: see [`host_of`].
    pub host: String,
    /// CPU time of the process that started it, meanwhile, nanoseconds.
    pub driver_cpu_ns: u64,
}

/// Rows of a run: a stage on machines of a kind each, then those of the process that led it, of which overhead is the last.
///
/// Machines alike are taken together. Their counters, of which all processes see the same, are taken from the first of tasks that overlap to the last.
/// Energy is by model: readings of meters are of one machine. `uses_device` says in which stages devices were held.
///
/// # Errors
/// As [`rows`]; `Error::Config` if a task says what cannot be.
pub fn rows_of_tasks(
    tasks: &[TaskUsage],
    leader: &Leader<'_>,
    facts: &RunFacts,
    uses_device: impl Fn(&str) -> bool,
    settings: &FootprintConfig,
    extras: Extras<'_>,
) -> Result<Vec<LedgerRow>> {
    let mut of_kind: BTreeMap<String, Vec<&TaskUsage>> = BTreeMap::new();
    for task in tasks {
        task.check()?;
        of_kind.entry(kind_of(&task.machine)).or_default().push(task);
    }
    let at_its_host: Vec<&TaskUsage> = tasks.iter().filter(|task| task.host == leader.host).collect();
    let at_its_host = at_work(&at_its_host, &Engine::of(&at_its_host, facts.started_at));
    let Leader { recording: leader, driver_cpu_ns, .. } = leader;
    let driver_cpu_ns = *driver_cpu_ns;
    let mut leader = Recording { powercap: None, ..(*leader).clone() };
    // Where it has its machine in common with tasks, these have what the network carried meanwhile.
    let of_tasks = Span::net_bytes(&at_its_host);
    leader.usage.stages.iter_mut().for_each(|stage| stage.amounts = Amounts::default());
    leader.activity.net_bytes =
        leader.activity.net_bytes.zip(of_tasks).map(|(all, of_tasks)| all.saturating_sub(of_tasks));
    if 0 < driver_cpu_ns {
        leader.usage.cpu_ns += driver_cpu_ns;
        let (name, wall_seconds) = (ENGINE.to_owned(), leader.usage.wall_seconds);
        let driver = StageUsage { name, cpu_ns: driver_cpu_ns, wall_seconds, amounts: Amounts::default() };
        leader.usage.stages.insert(0, driver);
    }
    let recorded: Vec<_> = of_kind.values().map(|tasks| recording(tasks, facts.started_at)).collect();
    let all = || recorded.iter().map(|(recording, _)| recording).chain([&leader]);
    let sum = |bytes: fn(&Activity) -> Option<u64>| all().map(|recording| bytes(&recording.activity)).sum();
    let run = Amounts {
        read_bytes: sum(|activity| activity.read_bytes),
        written_bytes: sum(|activity| activity.written_bytes),
        net_bytes: sum(|activity| activity.net_bytes),
        ..facts.amounts
    };
    let contended = all().any(|recording| recording.activity.contended);
    let mut found = Vec::new();
    let of_leader = (&leader, &BTreeMap::new());
    for (recording, held) in recorded.iter().map(|(recording, held)| (recording, held)).chain([of_leader]) {
        let device_seconds = held.iter().filter(|(stage, _)| uses_device(stage));
        let device_seconds = device_seconds.map(|(stage, seconds)| (stage.clone(), *seconds)).collect();
        let facts = RunFacts { device_seconds, ..facts.clone() };
        found.extend(rows(recording, &facts, settings, extras, Tables::shipped())?);
    }
    let rows_of_run = found.len() as u32;
    for (row, seq) in found.iter_mut().zip(0..) {
        (row.seq, row.rows_of_run) = (seq, rows_of_run);
        TASKS.clone_into(&mut row.boundary);
        (row.run, row.run_wall_seconds, row.contended) = (run, leader.usage.wall_seconds, contended);
    }
    Ok(found)
}

/// What tells machines of a kind: like ones differ by some kilobytes of memory.
fn kind_of(machine: &MachineRow) -> String {
    let MachineRow { cpu, cpu_vendor, cpu_family, cpu_model, threads, ram_bytes, gpus, .. } = machine;
    let ram_gb = (*ram_bytes as f64 / 1e9).round();
    format!("{cpu_vendor}/{cpu_family}/{cpu_model}/{cpu}/{threads}/{ram_gb}/{}", gpus.join(","))
}

/// What tasks on machines of a kind did, and how long each stage held a machine, on all machines together.
fn recording(tasks: &[&TaskUsage], run_started_at: f64) -> (Recording, BTreeMap<String, f64>) {
    let (mut stages, mut held) = (Vec::new(), BTreeMap::new());
    for stage in in_order(tasks) {
        let own: Vec<&TaskUsage> = tasks.iter().filter(|task| task.stage == stage).copied().collect();
        let held_seconds = by_host(&own).values().map(|tasks| Span::seconds(&spans(&own_times(tasks)))).sum();
        held.insert(stage.to_owned(), held_seconds);
        stages.push(StageUsage {
            name: stage.to_owned(),
            cpu_ns: own.iter().map(|task| task.cpu_ns).sum(),
            wall_seconds: Span::seconds(&spans(&own_times(&own))),
            amounts: Amounts {
                read_bytes: own.iter().map(|task| task.read_bytes).sum(),
                written_bytes: own.iter().map(|task| task.written_bytes).sum(),
                ..Amounts::default()
            },
        });
    }
    let engine = Engine::of(tasks, run_started_at);
    let at_work = at_work(tasks, &engine);
    let wall_seconds = Span::seconds(&at_work);
    let cpu_ns: u64 = tasks.iter().filter_map(|task| task.engine.as_ref()).map(|engine| engine.worker_cpu_ns).sum();
    let cpu_ns = cpu_ns + engine.processes.iter().map(|process| process.cpu_ns).sum::<u64>();
    if 0 < cpu_ns {
        stages.push(StageUsage { name: ENGINE.to_owned(), cpu_ns, wall_seconds, amounts: Amounts::default() });
    }
    // Memory of what overlaps was held at once.
    let of_tasks = tasks.iter().map(|task| Some(task.rss_peak_bytes? as f64 * task.seconds()));
    let of_engine = engine.processes.iter().map(|process| Some(process.rss_peak_bytes as f64 * process.time.length()));
    let byte_seconds: Option<f64> = of_tasks.chain(of_engine).sum();
    let activity = Activity {
        machine_cpu_seconds: at_work.iter().map(|span| Some(span.machine_cpu?[1] - span.machine_cpu?[0])).sum(),
        rss_peak_bytes: byte_seconds.filter(|_| 0.0 < wall_seconds).map(|sum| (sum / wall_seconds) as u64),
        read_bytes: tasks.iter().map(|task| task.read_bytes).sum(),
        written_bytes: tasks.iter().map(|task| task.written_bytes).sum(),
        net_bytes: Span::net_bytes(&at_work),
        cgroup_cpu_seconds: None,
        contended: tasks.iter().any(|task| task.contended),
    };
    let usage = Usage { cpu_ns: stages.iter().map(|stage| stage.cpu_ns).sum(), stages, wall_seconds };
    let machine = tasks.first().map(|task| Machine::of(&task.machine)).unwrap_or_default();
    (Recording { usage, activity, machine, powercap: None, gpu: None, gpus: Vec::new() }, held)
}

/// When machines were at work: an engine is, and holds memory, between tasks, too.
fn at_work(tasks: &[&TaskUsage], engine: &Engine<'_>) -> Vec<Span> {
    let times_at = |(host, tasks): (&&str, &Vec<&TaskUsage>)| {
        let own = own_times(tasks).into_iter();
        spans(&own.chain(engine.at_work(host)).collect::<Vec<_>>())
    };
    by_host(tasks).iter().flat_map(times_at).collect()
}

fn by_host<'a>(tasks: &[&'a TaskUsage]) -> BTreeMap<&'a str, Vec<&'a TaskUsage>> {
    let mut of_host: BTreeMap<&str, Vec<&TaskUsage>> = BTreeMap::new();
    for &task in tasks {
        of_host.entry(&task.host).or_default().push(task);
    }
    of_host
}

/// What an engine's processes did on machines of a kind.
struct Engine<'a> {
    processes: Vec<Seen<'a>>,
}

/// A process of an engine, as all tasks in it saw it.
struct Seen<'a> {
    host: &'a str,
    cpu_ns: u64,
    rss_peak_bytes: u64,
    /// From the first task that saw it to the last.
    time: Span,
}

impl<'a> Engine<'a> {
    /// Processes that were started after the run were started for it, and count from their start; others from the first task that saw them.
    fn of(tasks: &[&'a TaskUsage], run_started_at: f64) -> Self {
        let mut of_process: BTreeMap<(&str, &str), Vec<(&TaskUsage, &EngineProcess)>> = BTreeMap::new();
        for &task in tasks {
            if let Some(process) = task.engine.as_ref().and_then(|engine| engine.process.as_ref()) {
                of_process.entry((&task.host, &process.id)).or_default().push((task, process));
            }
        }
        let seen = |((host, _), seen): ((&'a str, &str), Vec<(&TaskUsage, &EngineProcess)>)| {
            let time = seen.iter().map(|(task, _)| task.time()).reduce(Span::around)?;
            let [from, to] = seen.iter().map(|(_, process)| process.cpu_ns).reduce(around)?;
            let started_at = seen.iter().map(|(_, process)| process.started_at).fold(f64::INFINITY, f64::min);
            let is_ours = run_started_at <= started_at;
            Some(Seen {
                host,
                cpu_ns: to - if is_ours { 0 } else { from },
                rss_peak_bytes: seen.iter().filter_map(|(_, process)| process.rss_peak_bytes).max().unwrap_or(0),
                time: if is_ours { Span { from: time.from.min(started_at), ..time } } else { time },
            })
        };
        Self { processes: of_process.into_iter().filter_map(seen).collect() }
    }

    /// When its processes on a host were at work.
    fn at_work(&self, host: &str) -> impl Iterator<Item = Span> {
        self.processes.iter().filter(move |process| process.host == host).map(|process| process.time)
    }
}

/// Names of stages, by their first start.
fn in_order<'a>(tasks: &[&'a TaskUsage]) -> Vec<&'a str> {
    let mut by_start = tasks.to_vec();
    by_start.sort_by(|one, other| one.started_at.total_cmp(&other.started_at));
    let mut names = Vec::new();
    for task in by_start {
        if !names.contains(&task.stage.as_str()) {
            names.push(task.stage.as_str());
        }
    }
    names
}

/// A time in which something was at work, with counters of the machine at its start and its end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    from: f64,
    to: f64,
    machine_cpu: Option<[f64; 2]>,
    net: Option<[u64; 2]>,
}

impl Span {
    /// From the first start to the last end of two.
    fn around(self, other: Self) -> Self {
        Self {
            from: self.from.min(other.from),
            to: self.to.max(other.to),
            machine_cpu: self.machine_cpu.zip(other.machine_cpu).map(|(one, other)| around(one, other)),
            net: self.net.zip(other.net).map(|(one, other)| around(one, other)),
        }
    }

    fn length(&self) -> f64 {
        self.to - self.from
    }

    fn seconds(spans: &[Self]) -> f64 {
        spans.iter().map(Self::length).sum()
    }

    fn net_bytes(spans: &[Self]) -> Option<u64> {
        spans.iter().map(|span| Some(span.net?[1] - span.net?[0])).sum()
    }
}

fn own_times(tasks: &[&TaskUsage]) -> Vec<Span> {
    tasks.iter().map(|task| task.time()).collect()
}

/// Times of a machine, joined where they overlap.
fn spans(times: &[Span]) -> Vec<Span> {
    let mut by_start = times.to_vec();
    by_start.sort_by(|one, other| one.from.total_cmp(&other.from));
    let mut spans: Vec<Span> = Vec::new();
    for time in by_start {
        match spans.last_mut() {
            Some(last) if time.from <= last.to => *last = last.around(time),
            _ => spans.push(time),
        }
    }
    spans
}

/// A counter that only grows, over two times.
fn around<T: PartialOrd + Copy>([from, to]: [T; 2], [other_from, other_to]: [T; 2]) -> [T; 2] {
    [if other_from < from { other_from } else { from }, if to < other_to { other_to } else { to }]
}

/// What no clock shows, seconds since 1970, and no counter of a task.
const MOST_SECONDS: f64 = 1e11;
const MOST: u64 = 1 << 53;

impl TaskUsage {
    fn time(&self) -> Span {
        Span { from: self.started_at, to: self.ended_at, machine_cpu: self.machine_cpu_seconds, net: self.net_bytes }
    }

    fn seconds(&self) -> f64 {
        self.ended_at - self.started_at
    }

    /// # Errors
    /// `Error::Config` for what cannot be: nothing is computed from it.
    fn check(&self) -> Result<()> {
        let are_times = |[from, to]: [f64; 2]| 0.0 <= from && from <= to && to <= MOST_SECONDS;
        let are_counts = |[from, to]: [u64; 2]| from <= to && to <= MOST;
        let bytes = [self.rss_peak_bytes, self.read_bytes, self.written_bytes];
        let counts = bytes.into_iter().flatten().chain([self.cpu_ns]).map(|count| [0, count]).chain(self.net_bytes);
        let times = [[self.started_at, self.ended_at]].into_iter().chain(self.machine_cpu_seconds);
        let is_engine = |engine: &EngineUsage| {
            let is_process = |process: &EngineProcess| {
                are_counts(process.cpu_ns)
                    && process.started_at.abs() <= MOST_SECONDS
                    && process.rss_peak_bytes.is_none_or(|bytes| bytes <= MOST)
            };
            engine.worker_cpu_ns <= MOST && engine.process.as_ref().is_none_or(is_process)
        };
        if times.into_iter().all(are_times)
            && counts.into_iter().all(are_counts)
            && self.engine.as_ref().is_none_or(is_engine)
        {
            return Ok(());
        }
        Err(Error::config(format!("a task of `{}` says what cannot be of what it used", self.stage)))
    }
}

/// Whose counters those of the machine are: its name, what started when, and its network, of which containers may have their own.
pub fn host_of(root: &SystemRoot) -> String {
    let text = |name: &str| root.text(name).unwrap_or_default().trim().to_owned();
    let network = std::fs::read_link(root.path("proc/self/ns/net")).unwrap_or_default();
    let boot = text("proc/sys/kernel/random/boot_id");
    format!("{} {boot} {}", text("proc/sys/kernel/hostname"), network.display())
}

/// A counter then and now; none if it went backwards.
fn pair<T: PartialOrd>(then: Option<T>, now: Option<T>) -> Option<[T; 2]> {
    then.zip(now).filter(|(then, now)| then <= now).map(|(then, now)| [then, now])
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
