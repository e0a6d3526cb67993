//! Which meters a machine has, and what a run on it would go by.

use tamis_schemas::footprint::FootprintConfig;

use crate::Result;
use crate::footprint::activity::{Machine, Snapshot, SystemRoot};
use crate::footprint::meter::{GpuMeter, Load, ModelSettings, Powercap, Readings, Sensor, energy, sensors};
use crate::footprint::tables::Tables;

/// What there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Doctor {
    /// Meters.
    pub sensors: Vec<Sensor>,
    /// The machine.
    pub machine: Machine,
    /// Its processor family in the tables.
    pub cpu_family: Option<String>,
    /// Its thermal design power in the tables, watts.
    pub tdp_w: Option<f64>,
    /// The rule that a run would go by.
    pub method: &'static str,
    /// What is counted: name, and whether it is there.
    pub counters: Vec<(&'static str, bool)>,
    /// Others want the CPUs now, percent of time, if that is known.
    pub contention_percent: Option<f64>,
    /// Rows of tables that are older than three years.
    pub old_rows: Vec<String>,
}

/// Looks at a machine. `year` is the present one.
///
/// # Errors
/// `Error::Invariant` for a broken table.
pub fn doctor(
    root: &SystemRoot,
    gpu: &GpuMeter,
    settings: &FootprintConfig,
    year: u32,
    tables: &Tables,
) -> Result<Doctor> {
    let machine = Machine::read(root);
    let snapshot = Snapshot::read(root);
    let mut powercap = Powercap::open(root, 0.0);
    powercap.sample(1.0);
    let readings = Readings { powercap: powercap.energy(), ..Readings::default() };
    let model = ModelSettings {
        method: settings.method,
        watts_per_thread: settings.watts_per_thread,
        gpu_watts: settings.gpu_watts,
    };
    let load = Load { cpu_seconds: 1.0, wall_seconds: 1.0, ..Load::default() };
    Ok(Doctor {
        sensors: sensors(root, gpu),
        cpu_family: tables.cpu_family(&machine.cpu).map(|row| row.name.clone()),
        tdp_w: tables.tdp_w(&machine.cpu.name),
        method: energy(&load, &readings, &machine, &model, tables)?.method,
        counters: vec![
            ("memory of the process", snapshot.process.rss_peak_bytes.is_some()),
            ("bytes read and written", snapshot.process.read_bytes.is_some()),
            ("bytes sent", snapshot.process.net_bytes.is_some()),
            ("CPU time of the machine", snapshot.machine_cpu_seconds.is_some()),
            ("control group", snapshot.cgroup.is_some()),
            ("pressure on the CPUs", snapshot.contention_percent.is_some()),
        ],
        contention_percent: snapshot.contention_percent,
        old_rows: tables.old_rows(year),
        machine,
    })
}
