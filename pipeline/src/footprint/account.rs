//! From a run to the rows of its ledger.

use std::collections::BTreeMap;
use std::time::Instant;

use sha2::{Digest, Sha256};
use tamis_schemas::footprint::{
    Amounts, Component, ComponentRow, FootprintConfig, Interval, LEDGER_SCHEMA, Label, LedgerRow, ScorerChoiceRow,
};

use super::activity::{Activity, Machine, Meter, Snapshot, StageUsage, SystemRoot, Usage};
use super::forecast::{Series, time_text};
use super::intensity::{intensity, pue};
use super::meter::{
    GpuEnergy, GpuMeter, Load, ModelSettings, PowerFile, Powercap, PowercapEnergy, Readings, embodied_g, energy,
};
use super::tables::Tables;
use crate::sink::hex;
use crate::{Error, Result};

/// Records what a run does, from the start on.
#[derive(Debug)]
pub struct Recorder {
    root: SystemRoot,
    meter: Meter,
    started: Instant,
    start: Snapshot,
    powercap: Powercap,
    gpu: GpuMeter,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// CPU time by stage.
    pub usage: Usage,
    /// Counters of the process and the machine.
    pub activity: Activity,
    /// The machine.
    pub machine: Machine,
    /// Counters of processors.
    pub powercap: Option<PowercapEnergy>,
    /// Counters of devices.
    pub gpu: Option<GpuEnergy>,
    /// Names of devices.
    pub gpus: Vec<String>,
}

/// What a recorder cannot know of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFacts {
    /// The run.
    pub run_id: String,
    /// The command: `dedup`, `al select`.
    pub command: String,
    /// When it was asked for, seconds since 1970, if it was free to wait.
    pub submitted_at: Option<f64>,
    /// When it started, seconds since 1970.
    pub started_at: f64,
    /// When it ended, seconds since 1970.
    pub ended_at: f64,
    /// What went through it.
    pub amounts: Amounts,
    /// Which of two scorers was chosen.
    pub scorer_choice: Option<ScorerChoiceRow>,
    /// Seconds that devices were held, by stage.
    pub device_seconds: BTreeMap<String, f64>,
    /// SHA-256 of its config.
    pub config_hash: String,
    /// SHA-256 that stands for its inputs.
    pub input_hash: String,
    /// Version of tamis.
    pub tamis_version: String,
}

/// Files of others that accounting uses, read before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Readings of a power meter.
    pub power_file: Option<&'a PowerFile>,
    /// What the grid's intensity was.
    pub actuals: Option<&'a Series>,
}

/// SHA-256 of a text, as rows have it of config and inputs.
pub fn hash_of(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

impl Recorder {
    /// Begins. `gpu` is [`GpuMeter::none`] for a run that uses no device; `meter` is that of the run, begun just now.
    pub fn start(root: SystemRoot, gpu: GpuMeter, meter: Meter) -> Self {
        let started = Instant::now();
        let start = Snapshot::read(&root);
        let powercap = Powercap::open(&root, 0.0);
        Self { root, meter, started, start, powercap, gpu }
    }

    /// Attributes CPU time to stages.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Reads counters that wrap: to be called once a minute. Costs some 6 microseconds for each counter.
    pub fn sample(&mut self) {
        self.powercap.sample(self.started.elapsed().as_secs_f64());
    }

    /// Ends the run. May be called before the end, for a look at what it used so far; phases end with it.
    pub fn finish(&mut self) -> Recording {
        self.sample();
        let usage = self.meter.finish();
        Recording {
            usage,
            activity: Snapshot::read(&self.root).since(&self.start),
            machine: Machine::read(&self.root),
            powercap: self.powercap.energy(),
            gpu: self.gpu.energy(),
            gpus: self.gpu.names().to_vec(),
        }
    }
}

/// Rows of a run: a stage each, and overhead, which is the last.
///
/// Energy and embodied emissions are divided by CPU time; those of disks and of the network by bytes, of devices by seconds, where
/// stages have counted them. Rows add up to the run.
///
/// # Errors
/// `Error::Config` for settings that cannot be, such as a region that is in no table.
pub fn rows(
    recording: &Recording,
    facts: &RunFacts,
    settings: &FootprintConfig,
    extras: Extras<'_>,
    tables: &Tables,
) -> Result<Vec<LedgerRow>> {
    check(settings)?;
    let Recording { usage, activity, machine, .. } = recording;
    let add = |one: Option<u64>, two: Option<u64>| one.zip(two).map(|(one, two)| one + two);
    let load = Load {
        cpu_seconds: usage.cpu_seconds(),
        machine_cpu_seconds: activity.machine_cpu_seconds,
        wall_seconds: usage.wall_seconds,
        device_seconds: facts.device_seconds.values().sum(),
        rss_peak_bytes: activity.rss_peak_bytes,
        disk_bytes: add(activity.read_bytes, activity.written_bytes),
        net_bytes: activity.net_bytes,
    };
    let power_file_j = extras.power_file.and_then(|file| file.energy(facts.started_at, facts.ended_at));
    let readings = Readings {
        power_file_j: power_file_j.map(|(joules, _)| joules),
        powercap: recording.powercap,
        gpu: recording.gpu,
    };
    let model = ModelSettings {
        method: settings.method,
        watts_per_thread: settings.watts_per_thread,
        gpu_watts: settings.gpu_watts,
    };
    let mut energy = energy(&load, &readings, machine, &model, tables)?;
    if extras.power_file.is_some() && power_file_j.is_none() {
        for row in energy.components.iter_mut().filter(|row| row.name == Component::Cpu) {
            row.source += "; the power file covers less than half of the run";
        }
    }
    let embodied = embodied_g(&load, machine, tables);
    let time = (facts.started_at as i64, facts.ended_at as i64);
    let mut intensity = intensity(settings, extras.actuals, time, tables)?;
    if extras.actuals.is_some() && settings.intensity_g_per_kwh.is_none() && intensity.label != Label::Measured {
        intensity.source += "; the file of actual intensities does not cover the run";
    }
    let mut machine_row = machine.row(&recording.gpus);
    machine_row.rss_peak_bytes = activity.rss_peak_bytes;
    let run = Amounts {
        read_bytes: facts.amounts.read_bytes.or(activity.read_bytes),
        written_bytes: facts.amounts.written_bytes.or(activity.written_bytes),
        net_bytes: facts.amounts.net_bytes.or(activity.net_bytes),
        ..facts.amounts
    };
    let pue_row = pue(settings, tables)?;
    let shares = Shares::of(&usage.stages, &facts.device_seconds);
    let row = |(at, stage): (usize, &StageUsage)| LedgerRow {
        schema: LEDGER_SCHEMA.into(),
        run_id: facts.run_id.clone(),
        command: Some(facts.command.clone()),
        stage: stage.name.clone(),
        seq: at as u32,
        rows_of_run: usage.stages.len() as u32,
        submitted_at: facts.submitted_at.map(|at| time_text(at as i64)),
        start_at: time_text(time.0),
        end_at: time_text(time.1),
        run_wall_seconds: usage.wall_seconds,
        wall_seconds: stage.wall_seconds,
        cpu_seconds: stage.cpu_seconds(),
        machine_cpu_seconds: activity.machine_cpu_seconds,
        device_seconds: facts.device_seconds.get(&stage.name).copied().unwrap_or(0.0),
        amounts: stage.amounts,
        run,
        components: energy.components.iter().map(|row| shares.part(row, at)).collect(),
        method: energy.method.into(),
        boundary: "process".into(),
        pue: pue_row.clone(),
        intensity: intensity.clone(),
        embodied_g: embodied.scale(shares.cpu[at]),
        scorer_choice: facts.scorer_choice.clone(),
        machine: machine_row.clone(),
        contended: activity.contended,
        config_hash: facts.config_hash.clone(),
        input_hash: facts.input_hash.clone(),
        tamis_version: facts.tamis_version.clone(),
        tables_hash: tables.hash.clone(),
        prev_sha256: String::new(),
        sha256: String::new(),
    };
    Ok(usage.stages.iter().enumerate().map(row).collect())
}

/// Checks settings before a run; intensity, PUE and region are checked by looking them up.
///
/// # Errors
/// `Error::Config` for watts that are no watts, or what [`intensity`] and [`pue`] refuse.
pub fn check(settings: &FootprintConfig) -> Result<()> {
    for (name, value) in [("watts_per_thread", settings.watts_per_thread), ("gpu_watts", settings.gpu_watts)] {
        if let Some(value) = value.filter(|value| !value.is_finite() || *value <= 0.0) {
            return Err(Error::config(format!("footprint.{name} is {value}: watts are above 0")));
        }
    }
    for (name, value) in [("max_g", settings.max_g), ("max_g_per_mdoc", settings.max_g_per_mdoc)] {
        if let Some(value) = value.filter(|value| !value.is_finite() || *value < 0.0) {
            return Err(Error::config(format!("footprint.{name} is {value}: a budget is 0 or more")));
        }
    }
    let tables = Tables::shipped();
    intensity(settings, None, (0, 1), tables).and_then(|_| pue(settings, tables)).map(|_| ())
}

/// Which part of each component is a stage's; each list adds up to 1.
struct Shares {
    cpu: Vec<f64>,
    disk: Vec<f64>,
    network: Vec<f64>,
    device: Vec<f64>,
}

impl Shares {
    fn of(stages: &[StageUsage], device_seconds: &BTreeMap<String, f64>) -> Self {
        let amounts = |bytes: fn(&Amounts) -> Option<u64>| stages.iter().map(move |stage| bytes(&stage.amounts));
        let disk = |amounts: &Amounts| {
            let read = amounts.read_bytes;
            read.map(|read| read + amounts.written_bytes.unwrap_or(0)).or(amounts.written_bytes)
        };
        let as_f64 = |bytes: Option<u64>| bytes.unwrap_or(0) as f64;
        let cpu = parts(&stages.iter().map(|stage| stage.cpu_ns as f64).collect::<Vec<_>>(), None);
        let device = stages.iter().map(|stage| device_seconds.get(&stage.name).copied().unwrap_or(0.0));
        Self {
            disk: parts(&amounts(disk).map(as_f64).collect::<Vec<_>>(), Some(&cpu)),
            network: parts(&amounts(|amounts| amounts.net_bytes).map(as_f64).collect::<Vec<_>>(), Some(&cpu)),
            device: parts(&device.collect::<Vec<_>>(), Some(&cpu)),
            cpu,
        }
    }

    fn part(&self, row: &ComponentRow, at: usize) -> ComponentRow {
        let share = match row.name {
            Component::Machine | Component::Cpu | Component::Ram => self.cpu[at],
            Component::Gpu => self.device[at],
            Component::Disk => self.disk[at],
            Component::Network => self.network[at],
        };
        let scale = |joules: Option<Interval>| joules.map(|joules| joules.scale(share));
        ComponentRow { provisioned_j: scale(row.provisioned_j), dynamic_j: scale(row.dynamic_j), ..row.clone() }
    }
}

/// Weights over their sum; if that is 0, `otherwise`, or all to the last.
fn parts(weights: &[f64], otherwise: Option<&Vec<f64>>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 {
        return weights.iter().map(|weight| weight / sum).collect();
    }
    let last = weights.len().saturating_sub(1);
    let all_to_last = || (0..weights.len()).map(|at| if at == last { 1.0 } else { 0.0 }).collect();
    otherwise.cloned().unwrap_or_else(all_to_last)
}
