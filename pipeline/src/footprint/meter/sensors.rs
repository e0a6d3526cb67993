//! Which meters there are, and why not.

use std::fmt;

use super::nvml::GpuMeter;
use super::powercap::Powercap;
use crate::footprint::activity::SystemRoot;

/// One meter of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensor {
    /// Name, e.g. `powercap`.
    pub name: &'static str,
    /// What it would measure.
    pub measures: &'static str,
    /// Whether it can be read.
    pub state: SensorState,
    /// What to do about it.
    pub fix: Option<String>,
}

/// Whether a meter can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SensorState {
    /// It can.
    Usable,
    /// The machine has none, or shows none to its guest.
    Missing,
    /// Its folder is there and empty, as in containers.
    Masked,
    /// It is there for the superuser only.
    NotPermitted,
    /// This build does not read it.
    NotBuilt,
    /// It answers with an error.
    Unreadable(String),
}

impl fmt::Display for SensorState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable => out.write_str("can be read"),
            Self::Missing => out.write_str("this machine shows none"),
            Self::Masked => out.write_str("hidden from this container"),
            Self::NotPermitted => out.write_str("only root may read it"),
            Self::NotBuilt => out.write_str("not read by this build"),
            Self::Unreadable(why) => write!(out, "cannot be read: {why}"),
        }
    }
}

/// Lets a group read the counters, also after a restart: a file for `/etc/udev/rules.d`.
const UDEV_RULE: &str = "SUBSYSTEM==\"powercap\", KERNEL==\"intel-rapl*\", \
    RUN+=\"/usr/bin/chgrp tamis /sys/%p/energy_uj\", RUN+=\"/usr/bin/chmod g+r /sys/%p/energy_uj\"";

/// Tries each meter.
pub fn sensors(root: &SystemRoot, gpu: &GpuMeter) -> Vec<Sensor> {
    let powercap = Powercap::open(root, 0.0).problem().cloned().unwrap_or(SensorState::Usable);
    let powercap_fix = match powercap {
        SensorState::NotPermitted => {
            Some(format!("as root, write to /etc/udev/rules.d/60-tamis-powercap.rules and restart: {UDEV_RULE}"))
        }
        SensorState::Masked => Some("give the container /sys/devices/virtual/powercap as a read-only mount".to_owned()),
        SensorState::Missing => {
            Some("a guest has none; readings of a power meter can be given with --power-file".to_owned())
        }
        _ => None,
    };
    let has_perf = root.path("sys/bus/event_source/devices/power/events/energy-pkg").exists();
    let gpu_state = gpu.problem().cloned().unwrap_or(SensorState::Usable);
    let gpu_fix = (gpu_state == SensorState::NotBuilt).then(|| "build with feature `nvml`".to_owned());
    vec![
        Sensor { name: "powercap", measures: "processors, memory on some", state: powercap, fix: powercap_fix },
        Sensor {
            name: "perf",
            measures: "processors",
            state: if has_perf { SensorState::NotBuilt } else { SensorState::Missing },
            fix: has_perf.then(|| "the same counters are in powercap".to_owned()),
        },
        Sensor { name: "nvml", measures: "NVIDIA devices", state: gpu_state, fix: gpu_fix },
    ]
}
