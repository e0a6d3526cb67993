//! What the process and its machine did: the part of accounting that is counted rather than estimated.
//!
//! [`SystemRoot`] is where the kernel's files are read; tests give it a folder. A file that is missing is `None`, never 0.

mod cgroup;
mod clock;
mod machine;
mod process;
mod root;
#[cfg(test)]
mod tests;

pub use cgroup::{Cgroup, CgroupVersion};
pub use clock::{Meter, Scope, Stage, StageUsage, Usage};
pub use machine::{CONTENDED_PERCENT, Cpu, Machine, busy_cpu_seconds, contention_percent};
pub use process::{ProcessCounters, cpu_ns_of, process_cpu_ns, resident_bytes, thread_cpu_ns};
pub use root::SystemRoot;

/// Counters of the machine, the container and the process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Snapshot {
    /// The process.
    pub process: ProcessCounters,
    /// The container, if there is one.
    pub cgroup: Option<Cgroup>,
    /// CPU time of all processes of the machine, seconds.
    pub machine_cpu_seconds: Option<f64>,
    /// Share of the last 10 seconds in which some task waited for a CPU, percent.
    pub contention_percent: Option<f64>,
}

/// What happened between two snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Activity {
    /// CPU time of all processes of the machine, seconds.
    pub machine_cpu_seconds: Option<f64>,
    /// Most memory that the process held, bytes.
    pub rss_peak_bytes: Option<u64>,
    /// Bytes that the process had storage deliver.
    pub read_bytes: Option<u64>,
    /// Bytes that the process had storage take.
    pub written_bytes: Option<u64>,
    /// Bytes sent and received by all processes that share the network namespace, loopback left out.
    pub net_bytes: Option<u64>,
    /// CPU time of the container, seconds.
    pub cgroup_cpu_seconds: Option<f64>,
    /// Others wanted the CPUs too, at the start or at the end. False if that cannot be known.
    pub contended: bool,
}

impl Snapshot {
    /// Reads what there is.
    pub fn read(root: &SystemRoot) -> Self {
        Self {
            process: ProcessCounters::read(root),
            cgroup: Cgroup::read(root),
            machine_cpu_seconds: busy_cpu_seconds(root),
            contention_percent: contention_percent(root),
        }
    }

    /// What happened since `start`. A counter that went backwards is `None`.
    pub fn since(&self, start: &Self) -> Activity {
        let bytes = self.process.since(&start.process);
        let growth_f = |now: Option<f64>, then: Option<f64>| Some(now? - then?).filter(|growth| *growth >= 0.0);
        let usage = |snapshot: &Self| snapshot.cgroup.and_then(|cgroup| cgroup.cpu_seconds);
        let is_contended = |percent: Option<f64>| percent.is_some_and(|percent| percent > CONTENDED_PERCENT);
        Activity {
            machine_cpu_seconds: growth_f(self.machine_cpu_seconds, start.machine_cpu_seconds),
            rss_peak_bytes: self.process.rss_peak_bytes,
            read_bytes: bytes.read_bytes,
            written_bytes: bytes.written_bytes,
            net_bytes: bytes.net_bytes,
            cgroup_cpu_seconds: growth_f(usage(self), usage(start)),
            contended: is_contended(self.contention_percent) || is_contended(start.contention_percent),
        }
    }
}
