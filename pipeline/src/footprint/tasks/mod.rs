//! A run that many processes did, on any number of machines: what each says of itself, and what that is together.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tamis_schemas::footprint::{Amounts, FootprintConfig, LedgerRow, MachineRow, TASKS};

use super::account::{Extras, Recording, RunFacts, rows};
use super::activity::{Activity, Machine, Snapshot, StageUsage, SystemRoot, Usage, process_cpu_ns};
use super::tables::Tables;
use crate::Result;

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
    start: Snapshot,
}

impl TaskMeter {
    /// Begins; CPU time counts from the start of the process.
    pub fn start(root: SystemRoot) -> Self {
        let start = Snapshot::read(&root);
        Self { root, started_at: now(), start }
    }

    /// What the process has done, whose only work was that of `stage`.
    pub fn finish(self, stage: &str) -> TaskUsage {
        let Self { root, started_at, start } = self;
        let end = Snapshot::read(&root);
        let Activity { rss_peak_bytes, read_bytes, written_bytes, contended, .. } = end.since(&start);
        TaskUsage {
            stage: stage.to_owned(),
            host: host(&root),
            machine: Machine::read(&root).row(&[]),
            started_at,
            ended_at: now(),
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

/// Rows of a run: a stage on machines of a kind each, then those of the process that led it, of which overhead is the last.
///
/// Machines alike are taken together. Their counters, of which all processes see the same, are taken from the first of tasks that overlap to the last.
/// Energy is by model: readings of meters are of one machine. `driver_cpu_ns` is what the process used that started the leader; `uses_device` says in which stages devices were held.
///
/// # Errors
/// As [`rows`].
pub fn rows_of_tasks(
    tasks: &[TaskUsage],
    leader: &Recording,
    driver_cpu_ns: u64,
    facts: &RunFacts,
    uses_device: impl Fn(&str) -> bool,
    settings: &FootprintConfig,
    extras: Extras<'_>,
) -> Result<Vec<LedgerRow>> {
    let mut of_kind: BTreeMap<&str, Vec<&TaskUsage>> = BTreeMap::new();
    for task in tasks {
        of_kind.entry(&task.machine.fingerprint).or_default().push(task);
    }
    let mut leader = Recording { powercap: None, ..leader.clone() };
    if 0 < driver_cpu_ns {
        leader.usage.cpu_ns += driver_cpu_ns;
        let (name, wall_seconds) = (ENGINE.to_owned(), leader.usage.wall_seconds);
        let driver = StageUsage { name, cpu_ns: driver_cpu_ns, wall_seconds, amounts: Amounts::default() };
        leader.usage.stages.insert(0, driver);
    }
    let recorded: Vec<_> = of_kind.values().map(|tasks| recording(tasks, facts.started_at)).collect();
    let all = || recorded.iter().map(|(recording, _)| recording).chain([&leader]);
    let sum = |bytes: fn(&Activity) -> Option<u64>| all().map(|recording| bytes(&recording.activity)).sum();
    let amounts = Amounts {
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
        let facts = RunFacts { amounts, device_seconds, ..facts.clone() };
        found.extend(rows(recording, &facts, settings, extras, Tables::shipped())?);
    }
    let rows_of_run = found.len() as u32;
    for (row, seq) in found.iter_mut().zip(0..) {
        (row.seq, row.rows_of_run) = (seq, rows_of_run);
        TASKS.clone_into(&mut row.boundary);
        (row.run_wall_seconds, row.contended) = (leader.usage.wall_seconds, contended);
    }
    Ok(found)
}

/// What tasks on machines of a kind did, and how long each stage held a machine, on all machines together.
fn recording(tasks: &[&TaskUsage], run_started_at: f64) -> (Recording, BTreeMap<String, f64>) {
    let at_work: Vec<Span> = by_host(tasks).values().flat_map(|tasks| spans(tasks)).collect();
    let seconds = |spans: &[Span]| spans.iter().map(Span::seconds).sum::<f64>();
    let wall_seconds = seconds(&at_work);
    let (mut stages, mut held) = (Vec::new(), BTreeMap::new());
    for stage in in_order(tasks) {
        let own: Vec<&TaskUsage> = tasks.iter().filter(|task| task.stage == stage).copied().collect();
        held.insert(stage.to_owned(), by_host(&own).values().map(|tasks| seconds(&spans(tasks))).sum());
        stages.push(StageUsage {
            name: stage.to_owned(),
            cpu_ns: own.iter().map(|task| task.cpu_ns).sum(),
            wall_seconds: seconds(&spans(&own)),
            amounts: Amounts {
                read_bytes: own.iter().map(|task| task.read_bytes).sum(),
                written_bytes: own.iter().map(|task| task.written_bytes).sum(),
                ..Amounts::default()
            },
        });
    }
    let engine = Engine::of(tasks, run_started_at);
    if 0 < engine.cpu_ns {
        let (name, cpu_ns, amounts) = (ENGINE.to_owned(), engine.cpu_ns, Amounts::default());
        stages.push(StageUsage { name, cpu_ns, wall_seconds: seconds(&spans(tasks)), amounts });
    }
    // Memory of tasks that overlap was held at once.
    let byte_seconds = |task: &&TaskUsage| Some(task.rss_peak_bytes? as f64 * task.seconds());
    let byte_seconds: Option<f64> = tasks.iter().map(byte_seconds).chain([Some(engine.byte_seconds)]).sum();
    let activity = Activity {
        machine_cpu_seconds: at_work.iter().map(|span| Some(span.machine_cpu?[1] - span.machine_cpu?[0])).sum(),
        rss_peak_bytes: byte_seconds.filter(|_| 0.0 < wall_seconds).map(|sum| (sum / wall_seconds) as u64),
        read_bytes: tasks.iter().map(|task| task.read_bytes).sum(),
        written_bytes: tasks.iter().map(|task| task.written_bytes).sum(),
        net_bytes: at_work.iter().map(|span| Some(span.net?[1] - span.net?[0])).sum(),
        cgroup_cpu_seconds: None,
        contended: tasks.iter().any(|task| task.contended),
    };
    let usage = Usage { cpu_ns: stages.iter().map(|stage| stage.cpu_ns).sum(), stages, wall_seconds };
    let machine = tasks.first().map(|task| Machine::of(&task.machine)).unwrap_or_default();
    (Recording { usage, activity, machine, powercap: None, gpu: None, gpus: Vec::new() }, held)
}

fn by_host<'a>(tasks: &[&'a TaskUsage]) -> BTreeMap<&'a str, Vec<&'a TaskUsage>> {
    let mut of_host: BTreeMap<&str, Vec<&TaskUsage>> = BTreeMap::new();
    for &task in tasks {
        of_host.entry(&task.host).or_default().push(task);
    }
    of_host
}

/// What an engine used on machines of a kind.
struct Engine {
    cpu_ns: u64,
    /// Of its processes, as long as tasks were at work in them.
    byte_seconds: f64,
}

impl Engine {
    /// Processes that were started after the run were started for it, and count from their start; others from the first task that saw them.
    fn of(tasks: &[&TaskUsage], run_started_at: f64) -> Self {
        let mut found = Self { cpu_ns: 0, byte_seconds: 0.0 };
        let mut processes: BTreeMap<(&str, &str), Vec<(&TaskUsage, &EngineProcess)>> = BTreeMap::new();
        for &task in tasks {
            let Some(engine) = &task.engine else { continue };
            found.cpu_ns += engine.worker_cpu_ns;
            if let Some(process) = &engine.process {
                processes.entry((&task.host, &process.id)).or_default().push((task, process));
            }
        }
        for seen in processes.values() {
            let at_work: Vec<&TaskUsage> = seen.iter().map(|(task, _)| *task).collect();
            let seconds: f64 = spans(&at_work).iter().map(Span::seconds).sum();
            let rss = seen.iter().filter_map(|(_, process)| process.rss_peak_bytes).max();
            found.byte_seconds += rss.unwrap_or(0) as f64 * seconds;
            let is_ours = seen.iter().any(|(_, process)| run_started_at <= process.started_at);
            let first = seen.iter().map(|(_, process)| process.cpu_ns[0]).min().filter(|_| !is_ours).unwrap_or(0);
            let last = seen.iter().map(|(_, process)| process.cpu_ns[1]).max().unwrap_or(0);
            found.cpu_ns += last.saturating_sub(first);
        }
        found
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

/// A time in which some task was at work, with counters of the machine at its start and its end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    from: f64,
    to: f64,
    machine_cpu: Option<[f64; 2]>,
    net: Option<[u64; 2]>,
}

impl Span {
    fn seconds(&self) -> f64 {
        self.to - self.from
    }
}

/// The times in which any of some tasks was at work, without overlap.
fn spans(tasks: &[&TaskUsage]) -> Vec<Span> {
    let mut by_start = tasks.to_vec();
    by_start.sort_by(|one, other| one.started_at.total_cmp(&other.started_at));
    let mut spans: Vec<Span> = Vec::new();
    for task in by_start {
        let (from, to) = (task.started_at, task.started_at + task.seconds());
        match spans.last_mut() {
            Some(last) if from <= last.to => {
                last.machine_cpu = grown(last.machine_cpu, task.machine_cpu_seconds);
                last.net = grown(last.net, task.net_bytes);
                last.to = last.to.max(to);
            }
            _ => spans.push(Span { from, to, machine_cpu: task.machine_cpu_seconds, net: task.net_bytes }),
        }
    }
    spans
}

/// A counter that only grows, over two times that overlap.
fn grown<T: PartialOrd + Copy>(one: Option<[T; 2]>, other: Option<[T; 2]>) -> Option<[T; 2]> {
    let ([from, to], [other_from, other_to]) = (one?, other?);
    Some([if other_from < from { other_from } else { from }, if to < other_to { other_to } else { to }])
}

impl TaskUsage {
    /// How long it ran; a clock may be set back.
    fn seconds(&self) -> f64 {
        (self.ended_at - self.started_at).max(0.0)
    }
}

/// What started when, and its network, of which containers of a machine may have their own.
fn host(root: &SystemRoot) -> String {
    let boot = root.text("proc/sys/kernel/random/boot_id").unwrap_or_default();
    let network = std::fs::read_link(root.path("proc/self/ns/net")).unwrap_or_default();
    format!("{} {}", boot.trim(), network.display())
}

/// A counter then and now; none if it went backwards.
fn pair<T: PartialOrd>(then: Option<T>, now: Option<T>) -> Option<[T; 2]> {
    then.zip(now).filter(|(then, now)| then <= now).map(|(then, now)| [then, now])
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
