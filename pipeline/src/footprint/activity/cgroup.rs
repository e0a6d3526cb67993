//! Counters of the container: control groups, versions 1 and 2.

use super::SystemRoot;
use super::root::field;

/// Which interface the kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One tree for each controller.
    V1,
    /// One tree.
    V2,
}

/// Counters of a control group; of what it lacks, `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cgroup {
    /// Version of the interface that they come from.
    pub version: CgroupVersion,
    /// CPU time of its processes, seconds.
    pub cpu_seconds: Option<f64>,
    /// Most memory its processes held, page cache included, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Memory it may use at most, bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes its processes read and wrote on block devices.
    pub io_bytes: Option<u64>,
}

impl Cgroup {
    /// Reads the group of this process; in a container, whose `/proc/self/cgroup` may name a path outside of it, the root.
    pub fn read(root: &SystemRoot) -> Option<Self> {
        let groups = root.text("proc/self/cgroup")?;
        Self::read_v2(root, &groups).or_else(|| Self::read_v1(root, &groups))
    }

    fn read_v2(root: &SystemRoot, groups: &str) -> Option<Self> {
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let read = |file: &str| {
            let at_own = root.text(&format!("sys/fs/cgroup/{}/{file}", own.trim_matches('/')));
            at_own.or_else(|| root.text(&format!("sys/fs/cgroup/{file}")))
        };
        let usage_us = field(&read("cpu.stat")?, "usage_usec")?;
        Some(Self {
            version: CgroupVersion::V2,
            cpu_seconds: Some(usage_us as f64 / 1e6),
            memory_peak_bytes: read("memory.peak").and_then(|text| text.trim().parse().ok()),
            memory_limit_bytes: read("memory.max").and_then(|text| text.trim().parse().ok()),
            io_bytes: read("io.stat").map(|text| io_stat_bytes(&text)),
        })
    }

    fn read_v1(root: &SystemRoot, groups: &str) -> Option<Self> {
        let read = |controller: &str, file: &str| {
            let own = groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let is_it = parts.next()?.split(',').any(|name| name == controller);
                parts.next().filter(|_| is_it)
            })?;
            ["cpu,cpuacct", controller].into_iter().filter(|folder| folder.contains(controller)).find_map(|folder| {
                let at_own = root.number(&format!("sys/fs/cgroup/{folder}/{}/{file}", own.trim_matches('/')));
                at_own.or_else(|| root.number(&format!("sys/fs/cgroup/{folder}/{file}")))
            })
        };
        let usage_ns = read("cpuacct", "cpuacct.usage");
        let memory_peak_bytes = read("memory", "memory.max_usage_in_bytes");
        if usage_ns.is_none() && memory_peak_bytes.is_none() {
            return None;
        }
        Some(Self {
            version: CgroupVersion::V1,
            cpu_seconds: usage_ns.map(|ns| ns as f64 / 1e9),
            memory_peak_bytes,
            // No limit is a number near 2^63.
            memory_limit_bytes: read("memory", "memory.limit_in_bytes").filter(|bytes| *bytes < 1 << 60),
            io_bytes: None,
        })
    }
}

fn io_stat_bytes(text: &str) -> u64 {
    let values = text.split_whitespace().filter_map(|word| word.split_once('='));
    let bytes = values.filter(|(key, _)| matches!(*key, "rbytes" | "wbytes"));
    bytes.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}
