//! Counters of this process.

use rustix::time::{ClockId, clock_gettime};
use tamis_schemas::footprint::Amounts;

use super::SystemRoot;
use super::machine::TICKS_PER_SECOND;
use super::root::field;

/// Counters of the process; they only grow, the peak of memory too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessCounters {
    /// Most memory held so far, bytes (`VmHWM`).
    pub rss_peak_bytes: Option<u64>,
    /// Bytes that storage delivered (`/proc/self/io`): what came from the page cache is not in it.
    pub read_bytes: Option<u64>,
    /// Bytes that storage took, what was deleted before it was written left out.
    pub written_bytes: Option<u64>,
    /// Bytes sent and received on all interfaces but loopback (`/proc/net/dev`), by whoever shares them.
    pub net_bytes: Option<u64>,
}

impl ProcessCounters {
    /// Reads what there is.
    pub fn read(root: &SystemRoot) -> Self {
        let status = root.text("proc/self/status").unwrap_or_default();
        let io = root.text("proc/self/io").unwrap_or_default();
        let cancelled = field(&io, "cancelled_write_bytes:").unwrap_or(0);
        Self {
            rss_peak_bytes: field(&status, "VmHWM:").map(|kib| kib * 1024),
            read_bytes: field(&io, "read_bytes:"),
            written_bytes: field(&io, "write_bytes:").map(|bytes| bytes.saturating_sub(cancelled)),
            net_bytes: root.text("proc/net/dev").map(|text| net_bytes(&text)),
        }
    }

    /// Bytes read, written and sent since `start`. A counter that went backwards is `None`.
    pub(super) fn since(&self, start: &Self) -> Amounts {
        let growth = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        Amounts {
            read_bytes: growth(self.read_bytes, start.read_bytes),
            written_bytes: growth(self.written_bytes, start.written_bytes),
            net_bytes: growth(self.net_bytes, start.net_bytes),
            ..Amounts::default()
        }
    }
}

/// Memory that this process holds now, bytes (`VmRSS`).
pub fn resident_bytes(root: &SystemRoot) -> Option<u64> {
    field(&root.text("proc/self/status")?, "VmRSS:").map(|kib| kib * 1024)
}

/// CPU time of all threads of this process since it started, those that have ended too, nanoseconds.
pub fn process_cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

/// CPU time of another process since it started, nanoseconds: none if there is no such process.
pub fn cpu_ns_of(root: &SystemRoot, process: u32) -> Option<u64> {
    let text = root.text(&format!("proc/{process}/stat"))?;
    // Its name may have spaces and parentheses in it.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some((ticks as f64 / TICKS_PER_SECOND * 1e9) as u64)
}

/// CPU time of the calling thread, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn net_bytes(text: &str) -> u64 {
    let interfaces = text.lines().filter_map(|line| line.split_once(':'));
    let counts = interfaces.filter(|(name, _)| name.trim() != "lo").map(|(_, counts)| {
        let column = |number: usize| counts.split_whitespace().nth(number).and_then(|count| count.parse::<u64>().ok());
        column(0).unwrap_or(0) + column(8).unwrap_or(0)
    });
    counts.sum()
}
