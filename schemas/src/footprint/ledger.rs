//! The ledger: one row for each stage of a run, and one for what belongs to none.

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::forecast::Signal;
use super::{Interval, Label};

/// The boundary of a run on a cluster: the processes of all its tasks, and those of the engine that they ran in.
pub const TASKS: &str = "tasks";

/// What the field `schema` of each row says.
pub const LEDGER_SCHEMA: &str = "tamis.footprint/1";

/// Name of the row with what belongs to no stage.
pub const OVERHEAD: &str = "overhead";

/// What one stage of a run used.
///
/// Rows of one run add up to the run: CPU seconds, joules, grams. All else about the run stands in each of its rows, so that a
/// row can be read alone. Everything that is reported is computed from these and from tables of factors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// [`LEDGER_SCHEMA`].
    pub schema: String,
    /// The run.
    pub run_id: String,
    /// What was run: `dedup`, `run`, `al select`. Null in rows that versions wrote which did not say it.
    #[serde(default)]
    pub command: Option<String>,
    /// The stage, or [`OVERHEAD`].
    pub stage: String,
    /// Position of the row in its run, from 0.
    pub seq: u32,
    /// Rows of the run.
    pub rows_of_run: u32,
    /// When the run was asked for, RFC 3339 in UTC, if it was free to wait for a cleaner grid.
    #[serde(default)]
    pub submitted_at: Option<String>,
    /// When the run started, RFC 3339 in UTC.
    pub start_at: String,
    /// When the run ended, RFC 3339 in UTC.
    pub end_at: String,
    /// How long the run took.
    pub run_wall_seconds: f64,
    /// Time from the stage's first start to its last end; stages may overlap.
    pub wall_seconds: f64,
    /// CPU time of all threads in this stage, in this stage alone.
    pub cpu_seconds: f64,
    /// CPU time of all processes of the machine during the run, if known.
    pub machine_cpu_seconds: Option<f64>,
    /// Time that a device (GPU) was held.
    #[serde(default)]
    pub device_seconds: f64,
    /// What went through the stage.
    #[serde(flatten)]
    pub amounts: Amounts,
    /// What went through the run as a whole: the units that reports divide by.
    pub run: Amounts,
    /// Energy of each component at the machine: PUE is not in it.
    pub components: Vec<ComponentRow>,
    /// Which rule made the energy of the processor, e.g. `spec-family/1`.
    pub method: String,
    /// What is inside: `process`, `machine` or [`TASKS`].
    pub boundary: String,
    /// Energy of the site over that of the machine.
    pub pue: FactorRow,
    /// Carbon intensity of the grid.
    pub intensity: IntensityRow,
    /// Share of what it took to make the hardware, grams of `CO2e`.
    pub embodied_g: Interval,
    /// Which of two scorers was chosen, if one was held against the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer_choice: Option<ScorerChoiceRow>,
    /// Where it ran.
    pub machine: MachineRow,
    /// Others wanted the CPUs too: wall times are too long, CPU seconds are not.
    pub contended: bool,
    /// SHA-256 of the config.
    pub config_hash: String,
    /// SHA-256 that stands for the inputs.
    pub input_hash: String,
    /// Version of tamis.
    pub tamis_version: String,
    /// SHA-256 of the tables of factors.
    pub tables_hash: String,
    /// `sha256` of the row before, in the file; 64 zeros in the first.
    #[serde(default)]
    pub prev_sha256: String,
    /// SHA-256 of the line up to this field. Last, always.
    #[serde(default)]
    pub sha256: String,
}

/// Stage in which the smaller of two scorers scores a sample.
pub const SAMPLE_BY_SMALLER: &str = "sample by the smaller scorer";
/// Stage in which the larger of two scorers scores the same sample.
pub const SAMPLE_BY_LARGER: &str = "sample by the larger scorer";

/// A scorer that was held against a larger one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScorerChoiceRow {
    /// Name of the smaller one.
    pub smaller: String,
    /// Name of the larger one.
    pub larger: String,
    /// Whether the smaller one was chosen.
    pub is_smaller: bool,
    /// Documents that both scored.
    pub sample_docs: u64,
    /// Of these, documents of which both say the same.
    pub agreeing_docs: u64,
    /// Documents that the chosen one scored.
    pub scored_docs: u64,
}

/// What went through a stage or a run. A count that is not known is null, never 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// Documents in.
    pub docs_in: Option<u64>,
    /// Documents out; of a run: survivors.
    pub docs_out: Option<u64>,
    /// Bytes of documents in.
    pub bytes_in: Option<u64>,
    /// Bytes of documents out.
    pub bytes_out: Option<u64>,
    /// Tokens in.
    pub tokens_in: Option<u64>,
    /// Tokens out; of a run: survivor tokens.
    pub tokens_out: Option<u64>,
    /// Labels bought.
    pub labels: Option<u64>,
    /// Bytes read from storage.
    pub read_bytes: Option<u64>,
    /// Bytes written to storage.
    pub written_bytes: Option<u64>,
    /// Bytes sent and received over the network.
    pub net_bytes: Option<u64>,
}

/// What is not known of one is not known of both.
impl Add for Amounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
        Self {
            docs_in: sum(self.docs_in, other.docs_in),
            docs_out: sum(self.docs_out, other.docs_out),
            bytes_in: sum(self.bytes_in, other.bytes_in),
            bytes_out: sum(self.bytes_out, other.bytes_out),
            tokens_in: sum(self.tokens_in, other.tokens_in),
            tokens_out: sum(self.tokens_out, other.tokens_out),
            labels: sum(self.labels, other.labels),
            read_bytes: sum(self.read_bytes, other.read_bytes),
            written_bytes: sum(self.written_bytes, other.written_bytes),
            net_bytes: sum(self.net_bytes, other.net_bytes),
        }
    }
}

/// A part of a machine that uses energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// All of it, as a meter at the socket sees it: the processor, memory and disks are in it.
    Machine,
    /// Processors; with figures of whole servers also board, fans and power supply.
    Cpu,
    /// Graphics processors.
    Gpu,
    /// Memory.
    Ram,
    /// Disks.
    Disk,
    /// Network outside of the machine.
    Network,
}

/// Energy of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentRow {
    /// Which.
    pub name: Component,
    /// With the reserved share of what the machine draws when idle, joules. Null: absent.
    pub provisioned_j: Option<Interval>,
    /// What it drew beyond idle because of us, joules. Null: absent.
    pub dynamic_j: Option<Interval>,
    /// How it came about.
    pub label: Label,
    /// The rule, with its version.
    pub method: String,
    /// The meter or the coefficient.
    pub source: String,
}

/// A factor and its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactorRow {
    /// The factor.
    pub value: Interval,
    /// How it came about.
    pub label: Label,
    /// Where it comes from.
    pub source: String,
}

/// Grams of `CO2e` for each kWh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntensityRow {
    /// Grams of `CO2e` per kWh.
    pub g_per_kwh: Interval,
    /// Year it is about, if it is one.
    pub year: Option<u32>,
    /// Average or marginal.
    pub signal: Signal,
    /// Region, country or zone it is about.
    pub zone: String,
    /// How it came about.
    pub label: Label,
    /// Where it comes from.
    pub source: String,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRow {
    /// SHA-256 of what follows: equal machines, equal fingerprints.
    pub fingerprint: String,
    /// Name of the processor as it says it.
    pub cpu: String,
    /// Its vendor.
    pub cpu_vendor: String,
    /// Its family number.
    pub cpu_family: u32,
    /// Its model number.
    pub cpu_model: u32,
    /// Is the machine a guest of another one?
    pub is_guest: bool,
    /// Hardware threads that the operating system sees.
    pub threads: u32,
    /// Memory.
    pub ram_bytes: u64,
    /// Most memory that the run held, if known.
    pub rss_peak_bytes: Option<u64>,
    /// Devices, by name.
    #[serde(default)]
    pub gpus: Vec<String>,
}

impl Component {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Ram => "ram",
            Self::Disk => "disk",
            Self::Network => "network",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
