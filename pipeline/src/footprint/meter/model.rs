//! From activity and readings to joules by component.

use tamis_schemas::footprint::{Component, ComponentRow, Interval, Label, MethodConfig};

use super::powercap::PowercapEnergy;
use crate::Result;
use crate::footprint::J_PER_KWH;
use crate::footprint::activity::Machine;
use crate::footprint::tables::Tables;

/// What a run did, as far as energy depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// CPU time of the process, seconds.
    pub cpu_seconds: f64,
    /// CPU time of all processes of the machine, seconds.
    pub machine_cpu_seconds: Option<f64>,
    /// Length, seconds.
    pub wall_seconds: f64,
    /// Time that devices were held, seconds; 0 if none was.
    pub device_seconds: f64,
    /// Most memory that the process held, bytes.
    pub rss_peak_bytes: Option<u64>,
    /// Bytes read from and written to storage.
    pub disk_bytes: Option<u64>,
    /// Bytes sent and received.
    pub net_bytes: Option<u64>,
}

/// What meters say of a run: the whole machine's, whoever used it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    /// A power meter at the socket, joules.
    pub power_file_j: Option<Interval>,
    /// Counters of the processors.
    pub powercap: Option<PowercapEnergy>,
    /// Counters of devices.
    pub gpu: Option<GpuEnergy>,
}

/// What devices drew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuEnergy {
    /// Joules.
    pub joules: f64,
    /// Power limit of all together, watts.
    pub limit_w: f64,
}

/// What the user says of the machine and of the rule.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ModelSettings {
    /// A rule, and no other; else the best one that works.
    pub method: Option<MethodConfig>,
    /// Watts of a thread at full load.
    pub watts_per_thread: Option<f64>,
    /// Board power of devices without a counter, watts.
    pub gpu_watts: Option<f64>,
}

/// Energy by component.
#[derive(Debug, Clone, PartialEq)]
pub struct Energy {
    /// Rule of the processor's energy.
    pub method: &'static str,
    /// Components; one that is not known is there, and says so.
    pub components: Vec<ComponentRow>,
}

/// Gigabytes of memory for each thread that figures of whole servers hold already.
const RAM_IN_SERVER_GB: f64 = 2.0;

/// Below this, counters of devices are read too rarely to be trusted.
const SHORT_SECONDS: f64 = 10.0;

/// Energy of a run by component, joules. Higher-priority sources are used where they have something to say.
///
/// The share of a reading, or of idle power, that is ours is `own / capacity <= own / used by anybody <= 1` of CPU seconds: at the
/// least what we kept busy, most likely our part of what was used, at the most everything.
///
/// # Source
/// Attribution by CPU time as in Kepler; RAM, disk and network coefficients in the tables.
pub fn energy(
    load: &Load,
    readings: &Readings,
    machine: &Machine,
    settings: &ModelSettings,
    tables: &Tables,
) -> Result<Energy> {
    let share = share(load, machine);
    let method = choose(readings, machine, settings, tables);
    let mut components = Vec::new();
    let name = match method {
        Method::PowerFile => {
            let joules = readings.power_file_j;
            components.push(attributed(Component::Machine, joules, share, "power-file/1", "readings of a power meter"));
            "power-file/1"
        }
        Method::Powercap => {
            let joules = readings.powercap.map(|energy| energy.package_j);
            components.push(attributed(Component::Cpu, joules, share, "powercap/1", "counters of the processor"));
            "powercap/1"
        }
        Method::Watts(watts) => {
            components.push(cpu_by_watts(load, machine, share, &watts));
            watts.method
        }
        Method::Compat(watts) => {
            components.push(known(Component::Cpu, load.cpu_seconds * watts.watts, watts.label, watts.source));
            COMPAT
        }
    };
    match method {
        Method::PowerFile => {}
        Method::Compat(_) => {
            components.push(known(Component::Ram, COMPAT_RAM_W * load.wall_seconds, Label::Assumed, COMPAT_SOURCE));
        }
        _ => components.push(ram(
            load,
            readings,
            machine,
            share,
            matches!(method, Method::Watts(watts) if watts.is_server),
            tables,
        )?),
    }
    components.extend(gpu(load, readings, settings, tables)?);
    if !matches!(method, Method::PowerFile | Method::Compat(_)) {
        components.push(disk(load, tables)?);
    }
    if !matches!(method, Method::Compat(_)) {
        components.push(network(load, tables));
    }
    Ok(Energy { method: name, components })
}

/// Share of what it took to make the machine, grams of `CO2e`: threads and memory, by the hours they are reserved.
pub fn embodied_g(load: &Load, machine: &Machine, tables: &Tables) -> Interval {
    let hours = load.wall_seconds / 3600.0;
    let item = |name: &str| tables.embodied.iter().find(|row| row.item == name);
    let of = |name: &str, number: f64| item(name).map_or(Interval::ZERO, |row| row.g_per_hour().scale(number * hours));
    let whole = of("thread", f64::from(machine.threads)) + of("ram_gb", gigabytes(machine.ram_bytes));
    whole.times(&share(load, machine))
}

/// Rule that is used.
#[derive(Debug, Clone, Copy)]
enum Method {
    PowerFile,
    Powercap,
    Watts(Watts),
    Compat(CompatWatts),
}

/// Watts of a thread, as `CodeCarbon` has them.
#[derive(Debug, Clone, Copy)]
struct CompatWatts {
    watts: f64,
    label: Label,
    source: &'static str,
}

/// Watts of a thread.
#[derive(Debug, Clone, Copy)]
struct Watts {
    idle: Interval,
    full: Interval,
    label: Label,
    method: &'static str,
    source: &'static str,
    /// Are they those of a whole server, with its first gigabytes of memory?
    is_server: bool,
}

const COMPAT: &str = "codecarbon-compat/1";

const COMPAT_SOURCE: &str = "as CodeCarbon 3.3.2 does in process mode";

/// Memory of a process, as `CodeCarbon` has it on x86, watts.
const COMPAT_RAM_W: f64 = 10.0;

/// What `CodeCarbon` takes for a thread of a processor that it does not know, watts.
const COMPAT_UNKNOWN_W: f64 = 4.0;

fn choose(readings: &Readings, machine: &Machine, settings: &ModelSettings, tables: &Tables) -> Method {
    let threads = f64::from(machine.threads.max(1));
    let tdp_per_thread = tables.tdp_w(&machine.cpu.name).map(|watts| watts / threads);
    let family = || {
        let row = tables.cpu_family(&machine.cpu)?;
        Some(Watts {
            idle: row.idle_w(),
            full: row.full_w(),
            label: Label::Estimated,
            method: "spec-family/1",
            source: "watts per thread of the processor family",
            is_server: true,
        })
    };
    let by_ratio = |watts: f64, label, method, source, full: &str, idle: &str| {
        let ratio =
            |name: &str| tables.coefficient(name).map_or(Interval::ZERO, super::super::tables::Coefficient::value);
        Watts {
            idle: ratio(idle).scale(watts),
            full: ratio(full).scale(watts),
            label,
            method,
            source,
            is_server: false,
        }
    };
    let tdp = || {
        let source = "thermal design power over threads";
        let watts = tdp_per_thread?;
        Some(by_ratio(watts, Label::Estimated, "tdp/1", source, "tdp_full_ratio", "tdp_idle_ratio"))
    };
    let generic = || {
        let full = tables.coefficient("generic_full").map_or(Interval::ZERO, super::super::tables::Coefficient::value);
        let source = "2 W for a thread of an unknown processor";
        let idle = by_ratio(full.mid(), Label::Assumed, "generic/1", source, "generic_full", "generic_idle_ratio").idle;
        Watts { idle, full, label: Label::Assumed, method: "generic/1", source, is_server: false }
    };
    let given = || {
        let watts = settings.watts_per_thread?;
        let source = "watts per thread, as given";
        Some(by_ratio(watts, Label::Estimated, "given-watts/1", source, "tdp_full_ratio", "generic_idle_ratio"))
    };
    match settings.method {
        Some(MethodConfig::PowerFile) => Method::PowerFile,
        Some(MethodConfig::Powercap) => Method::Powercap,
        Some(MethodConfig::CodecarbonCompat) => Method::Compat(compat(tdp_per_thread)),
        Some(MethodConfig::SpecFamily) => Method::Watts(family().unwrap_or_else(generic)),
        Some(MethodConfig::Tdp) => Method::Watts(tdp().unwrap_or_else(generic)),
        Some(MethodConfig::Generic) => Method::Watts(generic()),
        None if readings.power_file_j.is_some() => Method::PowerFile,
        None if readings.powercap.is_some() => Method::Powercap,
        None => {
            // A guest does not know which part of the processor is its own.
            let by_tdp = || if machine.is_guest { None } else { tdp() };
            Method::Watts(given().or_else(family).or_else(by_tdp).unwrap_or_else(generic))
        }
    }
}

/// Our share of the machine, from what we kept busy to all of it.
fn share(load: &Load, machine: &Machine) -> Interval {
    let own = load.cpu_seconds;
    let Some(used) = load.machine_cpu_seconds else {
        let capacity = (f64::from(machine.threads) * load.wall_seconds).max(own);
        let low = if capacity > 0.0 { own / capacity } else { 0.0 };
        return Interval::around(low, 1.0, 1.0);
    };
    let used = used.max(own);
    let capacity = (f64::from(machine.threads) * load.wall_seconds).max(used);
    if used <= 0.0 {
        return Interval::around(0.0, 0.0, 1.0);
    }
    Interval::around(own / capacity, own / used, 1.0)
}

fn attributed(
    name: Component,
    joules: Option<Interval>,
    share: Interval,
    method: &'static str,
    source: &'static str,
) -> ComponentRow {
    let Some(joules) = joules else { return absent(name, method, "there are no readings of this run") };
    // The idle power is in the reading: half of it, at least, was drawn because of those who were busy.
    let busy = joules.scale(share.low());
    let dynamic = Interval::around(busy.low() / 2.0, busy.mid(), joules.mid() * share.mid());
    row(name, joules.times(&share), dynamic, Label::Measured, method, source)
}

fn cpu_by_watts(load: &Load, machine: &Machine, share: Interval, watts: &Watts) -> ComponentRow {
    let dynamic = watts.full.above(&watts.idle).scale(load.cpu_seconds);
    let idle = watts.idle.scale(f64::from(machine.threads) * load.wall_seconds).times(&share);
    row(Component::Cpu, dynamic + idle, dynamic, watts.label, watts.method, watts.source)
}

/// A processor that is in no table has watts that are not about it.
fn compat(tdp_per_thread: Option<f64>) -> CompatWatts {
    match tdp_per_thread {
        Some(watts) => CompatWatts { watts, label: Label::Estimated, source: COMPAT_SOURCE },
        None => CompatWatts {
            watts: COMPAT_UNKNOWN_W,
            label: Label::Assumed,
            source: "4 W for a thread of an unknown processor, as CodeCarbon 3.3.2 has it",
        },
    }
}

fn known(name: Component, joules: f64, label: Label, source: &'static str) -> ComponentRow {
    let joules = Interval::exact(joules);
    row(name, joules, joules, label, COMPAT, source)
}

fn ram(
    load: &Load,
    readings: &Readings,
    machine: &Machine,
    share: Interval,
    is_in_server: bool,
    tables: &Tables,
) -> Result<ComponentRow> {
    if let Some(dram_j) = readings.powercap.and_then(|energy| energy.dram_j) {
        return Ok(attributed(Component::Ram, Some(dram_j), share, "powercap/1", "counters of the memory"));
    }
    let method = "ram-watts/1";
    if machine.ram_bytes == 0 {
        return Ok(absent(Component::Ram, method, "the machine does not say how much memory it has"));
    }
    let all_gb = gigabytes(machine.ram_bytes);
    let in_server_gb = if is_in_server { RAM_IN_SERVER_GB * f64::from(machine.threads) } else { 0.0 };
    // One to two gigabytes for each thread: two for the lower bounds, one for the upper.
    let beyond = |in_server_gb: f64| (all_gb - in_server_gb).max(0.0);
    let counted_gb = Interval::around(beyond(in_server_gb), beyond(in_server_gb), beyond(in_server_gb / 2.0));
    let idle = tables.coefficient("ram_provisioned")?.value().times(&counted_gb).scale(load.wall_seconds).times(&share);
    let own_gb = gigabytes(load.rss_peak_bytes.unwrap_or(machine.ram_bytes));
    let dynamic = tables.coefficient("ram_dynamic")?.value().scale(own_gb * load.wall_seconds);
    // What memory draws because of us is a part of what it draws.
    let dynamic =
        Interval::around(dynamic.low().min(idle.low()), dynamic.mid().min(idle.mid()), dynamic.high().min(idle.high()));
    Ok(row(Component::Ram, idle, dynamic, Label::Assumed, method, "watts per gigabyte"))
}

fn gpu(load: &Load, readings: &Readings, settings: &ModelSettings, tables: &Tables) -> Result<Option<ComponentRow>> {
    if load.device_seconds <= 0.0 {
        return Ok(None);
    }
    let idle_ratio = tables.coefficient("gpu_idle_ratio")?.value();
    if let Some(GpuEnergy { joules, limit_w }) = readings.gpu {
        let error = if load.wall_seconds < SHORT_SECONDS { 0.3 } else { 0.1 };
        let all = Interval::around(joules * (1.0 - error), joules, joules * (1.0 + error));
        let idle_j = idle_ratio.scale(limit_w * load.wall_seconds);
        let beyond = |reading: f64, idle: f64| (reading - idle).max(0.0);
        let mid = beyond(joules, idle_j.mid());
        let dynamic = Interval::around(beyond(all.low(), idle_j.high()), mid, beyond(all.high(), idle_j.low()));
        return Ok(Some(row(
            Component::Gpu,
            all,
            dynamic,
            Label::Measured,
            "nvml/1",
            "energy counters of the devices",
        )));
    }
    let Some(watts) = settings.gpu_watts else {
        return Ok(Some(absent(Component::Gpu, "nvml/1", "a device was used, and it has no meter; give its watts")));
    };
    let full = tables.coefficient("gpu_full_ratio")?.value();
    let dynamic = full.above(&idle_ratio).scale(watts * load.device_seconds);
    let idle = idle_ratio.scale(watts * load.wall_seconds.max(load.device_seconds));
    Ok(Some(row(Component::Gpu, dynamic + idle, dynamic, Label::Estimated, "gpu-watts/1", "board power, as given")))
}

fn disk(load: &Load, tables: &Tables) -> Result<ComponentRow> {
    let Some(bytes) = load.disk_bytes else {
        return Ok(absent(
            Component::Disk,
            "disk-bytes/1",
            "the system does not count what the process reads and writes",
        ));
    };
    let joules = tables.coefficient("disk_transfer")?.value().scale(gigabytes(bytes));
    Ok(row(Component::Disk, joules, joules, Label::Assumed, "disk-bytes/1", "joules per gigabyte read and written"))
}

fn network(load: &Load, tables: &Tables) -> ComponentRow {
    let (Some(bytes), Some(path)) = (load.net_bytes, tables.network.first()) else {
        return absent(Component::Network, "network-bytes/1", "the system does not count what is sent");
    };
    let joules = path.kwh_per_gb().scale(gigabytes(bytes) * J_PER_KWH);
    // An allocation of what networks draw anyway: hardly any of it is drawn because of us.
    let dynamic = Interval::around(0.0, 0.0, joules.low());
    row(Component::Network, joules, dynamic, Label::Assumed, "network-bytes/1", "kWh per gigabyte sent and received")
}

fn row(
    name: Component,
    provisioned: Interval,
    dynamic: Interval,
    label: Label,
    method: &'static str,
    source: &'static str,
) -> ComponentRow {
    ComponentRow {
        name,
        provisioned_j: Some(provisioned),
        dynamic_j: Some(dynamic),
        label,
        method: method.to_owned(),
        source: source.to_owned(),
    }
}

fn absent(name: Component, method: &'static str, why: &'static str) -> ComponentRow {
    ComponentRow {
        name,
        provisioned_j: None,
        dynamic_j: None,
        label: Label::Absent,
        method: method.to_owned(),
        source: why.to_owned(),
    }
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}
