//! Energy counters of the processor as Linux shows them: `/sys/class/powercap/intel-rapl:*`, of AMD processors too.
//!
//! ```text
//! intel-rapl:0          package-0    counted
//!   intel-rapl:0:0      core         part of the package: left out
//!   intel-rapl:0:1      dram         memory, beside the package: counted apart
//! intel-rapl:1          psys         the platform, packages in it: left out
//! intel-rapl-mmio:0     package-0    the first counter again, by another way: left out
//! ```
//!
//! A counter is 32 bits wide and wraps every few minutes to hours: [`Powercap::sample`] wants to be called once a minute. Some
//! machines show one counter of a socket as that of each of its dies; these grow alike, and count once.

use std::io;

use tamis_schemas::footprint::Interval;

use super::sensors::SensorState;
use crate::footprint::activity::SystemRoot;

const FOLDER: &str = "sys/class/powercap";

/// A package that draws more has not: its counter was reset. The largest processors of 2026 draw 500 W.
const MAX_WATTS: f64 = 1500.0;

/// Counters that start this close together, and grow alike, are one: 2 J is what a busy socket draws between two readings.
const MIRROR_UJ: u64 = 2_000_000;

/// The counters of a machine, over a run.
#[derive(Debug, Default)]
pub struct Powercap {
    root: SystemRoot,
    zones: Vec<Zone>,
    state: Option<SensorState>,
    at_seconds: f64,
    started_seconds: f64,
}

#[derive(Debug, Clone)]
struct Zone {
    folder: String,
    is_dram: bool,
    range_uj: Option<u64>,
    first_uj: u64,
    last_uj: u64,
    joules: f64,
    covered_seconds: f64,
}

/// What the counters say of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowercapEnergy {
    /// All processors, joules.
    pub package_j: Interval,
    /// All memory, joules, if it is counted.
    pub dram_j: Option<Interval>,
    /// Processors counted.
    pub n_packages: usize,
    /// Share of the run that the counters cover; below 1 if one was reset.
    pub covered_ratio: f64,
}

impl Powercap {
    /// Finds the counters and reads them for the first time, at a moment on a clock that only goes forward.
    pub fn open(root: &SystemRoot, at_seconds: f64) -> Self {
        let mut powercap = Self { root: root.clone(), at_seconds, started_seconds: at_seconds, ..Self::default() };
        match find_zones(root) {
            Ok(zones) => powercap.zones = zones,
            Err(state) => powercap.state = Some(state),
        }
        powercap
    }

    /// Why there is nothing to read; none if there is.
    pub fn problem(&self) -> Option<&SensorState> {
        self.state.as_ref()
    }

    /// Reads the counters. At least once a minute: a counter that wraps twice between two readings cannot be told from one that
    /// wrapped once.
    pub fn sample(&mut self, at_seconds: f64) {
        let elapsed = at_seconds - self.at_seconds;
        if elapsed <= 0.0 {
            return;
        }
        self.at_seconds = at_seconds;
        for zone in &mut self.zones {
            if let Some(uj) = self.root.number(&format!("{}/energy_uj", zone.folder)) {
                zone.advance(uj, elapsed);
            }
        }
    }

    /// What the counters say of the time from the first reading to the last. None if there are no counters, or if they cover
    /// less than half of it.
    pub fn energy(&self) -> Option<PowercapEnergy> {
        let total_seconds = self.at_seconds - self.started_seconds;
        let packages = without_mirrors(self.zones.iter().filter(|zone| !zone.is_dram));
        let dram: Vec<&Zone> = without_mirrors(self.zones.iter().filter(|zone| zone.is_dram));
        let covered = |zones: &[&Zone]| {
            let least = zones.iter().map(|zone| zone.covered_seconds).fold(f64::INFINITY, f64::min);
            Some(least / total_seconds).filter(|ratio| ratio.is_finite() && *ratio >= 0.5)
        };
        let covered_ratio = covered(&packages)?;
        Some(PowercapEnergy {
            package_j: packages.iter().map(|zone| zone.over(total_seconds)).sum(),
            dram_j: covered(&dram).map(|_| dram.iter().map(|zone| zone.over(total_seconds)).sum()),
            n_packages: packages.len(),
            covered_ratio,
        })
    }
}

impl Zone {
    /// Takes a reading. One that went backwards wrapped, or was reset, as after suspend: then the sample is dropped.
    fn advance(&mut self, uj: u64, elapsed_seconds: f64) {
        let wrapped = self.range_uj.and_then(|range| (range + uj).checked_sub(self.last_uj));
        let grown_uj = uj.checked_sub(self.last_uj).or(wrapped);
        self.last_uj = uj;
        let Some(joules) = grown_uj.map(|grown| grown as f64 / 1e6) else { return };
        if joules <= MAX_WATTS * elapsed_seconds {
            self.joules += joules;
            self.covered_seconds += elapsed_seconds;
        }
    }

    /// Energy of the whole time, joules: what dropped samples lack is filled in at the mean power.
    fn over(&self, total_seconds: f64) -> Interval {
        let mid = self.joules * total_seconds / self.covered_seconds;
        Interval::around(self.joules, mid, mid)
    }
}

/// The zones without those that show the counter of one before.
fn without_mirrors<'a>(zones: impl Iterator<Item = &'a Zone>) -> Vec<&'a Zone> {
    let mut kept: Vec<&Zone> = Vec::new();
    for zone in zones {
        let mirrors = |other: &&Zone| {
            let is_near = zone.first_uj.abs_diff(other.first_uj) <= MIRROR_UJ;
            let tolerance = MIRROR_UJ as f64 / 1e6 + 0.01 * other.joules;
            is_near && (zone.joules - other.joules).abs() <= tolerance
        };
        if !kept.iter().any(mirrors) {
            kept.push(zone);
        }
    }
    kept
}

fn find_zones(root: &SystemRoot) -> Result<Vec<Zone>, SensorState> {
    if !root.path(FOLDER).is_dir() {
        return Err(SensorState::Missing);
    }
    let mut packages: Vec<(String, Zone)> = Vec::new();
    let mut problem = SensorState::Masked;
    // Sorted, `intel-rapl-mmio:0` is before `intel-rapl:0`: the latter goes first.
    let mut folders = root.names(FOLDER);
    folders.sort_by_key(|folder| folder.starts_with("intel-rapl-mmio"));
    for folder in folders {
        let path = format!("{FOLDER}/{folder}");
        let Some(name) = root.text(&format!("{path}/name")).map(|name| name.trim().to_owned()) else { continue };
        let parent = folder.rsplit_once(':').map(|(parent, _)| parent.to_owned());
        let is_dram = name == "dram";
        if !is_dram && !name.starts_with("package") {
            continue;
        }
        // Memory has the same name in each package.
        let identity = if is_dram {
            let package = parent.and_then(|parent| root.text(&format!("{FOLDER}/{parent}/name")));
            format!("{}/dram", package.unwrap_or_default().trim())
        } else {
            name
        };
        if packages.iter().any(|(known, _)| *known == identity) {
            continue;
        }
        let read = root.read(&format!("{path}/energy_uj"));
        let uj = match read.map(|text| text.trim().parse::<u64>()) {
            Ok(Ok(uj)) => uj,
            Ok(Err(_)) => {
                problem = SensorState::Unreadable("its counter is no number".into());
                continue;
            }
            Err(error) => {
                problem = why_unreadable(&error);
                continue;
            }
        };
        let range_uj = root.number(&format!("{path}/max_energy_range_uj"));
        let zone =
            Zone { folder: path, is_dram, range_uj, first_uj: uj, last_uj: uj, joules: 0.0, covered_seconds: 0.0 };
        packages.push((identity, zone));
    }
    if packages.iter().all(|(_, zone)| zone.is_dram) {
        return Err(problem);
    }
    Ok(packages.into_iter().map(|(_, zone)| zone).collect())
}

/// What an error of a counter means.
pub(super) fn why_unreadable(error: &io::Error) -> SensorState {
    match error.kind() {
        io::ErrorKind::PermissionDenied => SensorState::NotPermitted,
        io::ErrorKind::NotFound => SensorState::Missing,
        _ => SensorState::Unreadable(error.to_string()),
    }
}
