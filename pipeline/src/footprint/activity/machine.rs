//! The machine: processors, memory, how busy it is.

use sha2::{Digest, Sha256};
use tamis_schemas::footprint::MachineRow;

use super::root::field;
use super::{Cgroup, SystemRoot};
use crate::sink::hex;

/// Above this share of time in which some task waited for a CPU, a run counts as contended.
pub const CONTENDED_PERCENT: f64 = 20.0;

/// Ticks of `/proc/stat` in a second: what Linux shows to programs is 100 on every architecture that tamis runs on.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// A kind of processor, by the numbers that it gives itself and by name.
///
/// Numbers go first: guests often see a name without a model, such as `AMD EPYC`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Vendor, e.g. `AuthenticAMD`.
    pub vendor: String,
    /// Family, e.g. 25.
    pub family: u32,
    /// Model in the family, e.g. 1.
    pub model: u32,
    /// Name, e.g. `AMD EPYC 7763 64-Core Processor`.
    pub name: String,
}

/// What a run has at its disposal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Processor.
    pub cpu: Cpu,
    /// Hardware threads that the operating system sees; 0 if it does not say.
    pub threads: u32,
    /// Memory, or what the container may use of it, bytes; 0 if unknown.
    pub ram_bytes: u64,
    /// Is it a guest of another one?
    pub is_guest: bool,
}

impl Machine {
    /// Reads what there is. Without `/proc/cpuinfo`, threads are those that the standard library sees.
    pub fn read(root: &SystemRoot) -> Self {
        let text = root.text("proc/cpuinfo").unwrap_or_default();
        let value = |key: &str| {
            let line = text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let number = |key: &str| value(key).and_then(|value| value.parse().ok()).unwrap_or(0);
        let threads = text.lines().filter(|line| line.starts_with("processor")).count() as u32;
        let visible = std::thread::available_parallelism().map_or(0, |threads| threads.get() as u32);
        let ram_kib = field(&root.text("proc/meminfo").unwrap_or_default(), "MemTotal:").unwrap_or(0);
        let limit_bytes = Cgroup::read(root).and_then(|cgroup| cgroup.memory_limit_bytes).unwrap_or(u64::MAX);
        Self {
            cpu: Cpu {
                vendor: value("vendor_id").unwrap_or_default(),
                family: number("cpu family"),
                model: number("model"),
                name: value("model name").unwrap_or_default(),
            },
            threads: if threads > 0 { threads } else { visible },
            ram_bytes: limit_bytes.min(ram_kib * 1024),
            is_guest: value("flags").is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
        }
    }

    /// The machine of a row of the ledger.
    pub fn of(row: &MachineRow) -> Self {
        let cpu =
            Cpu { vendor: row.cpu_vendor.clone(), family: row.cpu_family, model: row.cpu_model, name: row.cpu.clone() };
        Self { cpu, threads: row.threads, ram_bytes: row.ram_bytes, is_guest: row.is_guest }
    }

    /// What the ledger says of it.
    pub fn row(&self, gpus: &[String]) -> MachineRow {
        let Cpu { vendor, family, model, name } = &self.cpu;
        let facts = format!("{vendor}/{family}/{model}/{name}/{}/{}/{}", self.threads, self.ram_bytes, gpus.join(","));
        MachineRow {
            fingerprint: hex(&Sha256::digest(facts)),
            cpu: if name.is_empty() { "unknown".to_owned() } else { name.clone() },
            cpu_vendor: vendor.clone(),
            cpu_family: *family,
            cpu_model: *model,
            is_guest: self.is_guest,
            threads: self.threads,
            ram_bytes: self.ram_bytes,
            rss_peak_bytes: None,
            gpus: gpus.to_vec(),
        }
    }
}

/// CPU time of all processes of the machine since it started, seconds: `/proc/stat` without idle, I/O wait and stolen time.
pub fn busy_cpu_seconds(root: &SystemRoot) -> Option<f64> {
    let text = root.text("proc/stat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq; guest time is in user time.
    let busy = ticks.get(..3)?.iter().chain(ticks.get(5..7)?).sum::<u64>();
    Some(busy as f64 / TICKS_PER_SECOND)
}

/// Share of the last 10 seconds in which some task waited for a CPU, percent.
pub fn contention_percent(root: &SystemRoot) -> Option<f64> {
    let text = root.text("proc/pressure/cpu")?;
    let line = text.lines().find(|line| line.starts_with("some"))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}
