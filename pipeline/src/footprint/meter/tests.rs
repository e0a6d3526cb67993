use std::fs;
use std::io;
use std::path::Path;

use tamis_schemas::footprint::{Component, ComponentRow, Interval, Label, MethodConfig};

use super::powercap::why_unreadable;
use super::*;
use crate::footprint::activity::{Cpu, Machine, SystemRoot};
use crate::footprint::fixture;
use crate::footprint::tables::Tables;

/// A copy of a fixture whose counters tests may change.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn of(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture(name).path(""), dir.path());
        Self { dir }
    }

    fn root(&self) -> SystemRoot {
        SystemRoot::new(self.dir.path())
    }

    fn set(&self, zone: &str, uj: u64) {
        fs::write(self.dir.path().join(format!("sys/class/powercap/{zone}/energy_uj")), format!("{uj}\n")).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Energy after one step of 10 seconds in which counters are set.
fn after(tree: &str, counters: &[(&str, u64)]) -> Option<PowercapEnergy> {
    let tree = Tree::of(tree);
    let mut powercap = Powercap::open(&tree.root(), 5.0);
    for (zone, uj) in counters {
        tree.set(zone, *uj);
    }
    powercap.sample(15.0);
    powercap.energy()
}

#[test]
fn sockets_add_up_and_what_is_in_them_does_not() {
    let counters = [
        ("intel-rapl:0", 600_000_000),
        ("intel-rapl:0:0", 500_000_000),
        ("intel-rapl:0:1", 40_000_000),
        ("intel-rapl:1", 1_000_000_000),
        ("intel-rapl:1:0", 30_000_000),
        ("intel-rapl:2", 9_000_000_000),
    ];
    let energy = after("powercap-two-sockets", &counters).unwrap();
    assert_eq!(energy.package_j, Interval::exact(500.0 + 700.0));
    assert_eq!(energy.dram_j, Some(Interval::exact(30.0 + 10.0)));
    assert_eq!(energy.n_packages, 2);
}

#[test]
fn a_counter_that_wraps_goes_on() {
    // 262143.32885 J is the range; it had 100 J, and has 50 J now.
    let tree = Tree::of("powercap-two-sockets");
    tree.set("intel-rapl:0", 262_143_000_000);
    let mut powercap = Powercap::open(&tree.root(), 0.0);
    tree.set("intel-rapl:0", 50_000_000);
    powercap.sample(10.0);
    let energy = powercap.energy().unwrap();
    assert!((energy.package_j.mid() - 50.328_85).abs() < 1e-6, "{energy:?}");
    assert!((energy.covered_ratio - 1.0).abs() < 1e-12);
}

#[test]
fn a_counter_that_was_reset_loses_its_sample() {
    let tree = Tree::of("powercap-msr-mmio");
    let mut powercap = Powercap::open(&tree.root(), 0.0);
    tree.set("intel-rapl:0", 1_100_000_000);
    powercap.sample(10.0);
    // After suspend it starts again: wrapped, it would have drawn 26 kW.
    tree.set("intel-rapl:0", 1_000_000);
    powercap.sample(20.0);
    tree.set("intel-rapl:0", 1_001_000_000);
    powercap.sample(30.0);
    let energy = powercap.energy().unwrap();
    assert!((energy.package_j.low() - 2000.0).abs() < 1e-9, "{energy:?}");
    assert!((energy.package_j.mid() - 3000.0).abs() < 1e-9, "{energy:?}");
    assert!((energy.covered_ratio - 2.0 / 3.0).abs() < 1e-9);
}

#[test]
fn without_a_range_a_counter_that_went_backwards_loses_its_sample() {
    assert_eq!(after("powercap-no-range", &[("intel-rapl:0", 1)]), None);
    let energy = after("powercap-no-range", &[("intel-rapl:0", 300_000_000)]).unwrap();
    assert_eq!(energy.package_j, Interval::exact(200.0));
}

#[test]
fn two_ways_to_one_counter_count_once() {
    let counters = [("intel-rapl:0", 200_000_000), ("intel-rapl-mmio:0", 199_000_000)];
    let energy = after("powercap-msr-mmio", &counters).unwrap();
    assert_eq!((energy.package_j, energy.n_packages), (Interval::exact(100.0), 1));
}

#[test]
fn dies_that_show_their_sockets_counter_count_once() {
    let dies: Vec<String> = (0..4).map(|die| format!("intel-rapl:{die}")).collect();
    let mirrored: Vec<(&str, u64)> = (0..4).map(|die| (dies[die].as_str(), 1_500_000_000 + die as u64 * 150)).collect();
    let energy = after("powercap-mirrored-dies", &mirrored).unwrap();
    assert_eq!((energy.package_j, energy.n_packages), (Interval::exact(1000.0), 1));
    // Counters that start alike and grow apart are two.
    let apart: Vec<(&str, u64)> =
        (0..4).map(|die| (dies[die].as_str(), 1_500_000_000 + die as u64 * 300_000_000)).collect();
    assert_eq!(after("powercap-mirrored-dies", &apart).unwrap().n_packages, 4);
}

#[test]
fn why_there_is_no_counter() {
    let state = |tree: &str| Powercap::open(&fixture(tree), 0.0).problem().cloned();
    assert_eq!(state("empty"), Some(SensorState::Missing));
    assert_eq!(state("powercap-masked"), Some(SensorState::Masked));
    assert_eq!(state("powercap-two-sockets"), None);
    // A superuser reads what has no permissions, so the error itself is what is tested.
    assert_eq!(why_unreadable(&io::Error::from(io::ErrorKind::PermissionDenied)), SensorState::NotPermitted);
    let tree = Tree::of("powercap-no-range");
    let counter = tree.dir.path().join("sys/class/powercap/intel-rapl:0/energy_uj");
    fs::remove_file(&counter).unwrap();
    fs::create_dir(&counter).unwrap();
    let problem = Powercap::open(&tree.root(), 0.0).problem().cloned();
    assert!(matches!(problem, Some(SensorState::Unreadable(_))), "{problem:?}");
    fs::remove_dir(&counter).unwrap();
    fs::write(&counter, "x\n").unwrap();
    let problem = Powercap::open(&tree.root(), 0.0).problem().cloned();
    assert!(matches!(problem, Some(SensorState::Unreadable(_))), "{problem:?}");
}

#[test]
fn sensors_say_what_to_do() {
    let list = sensors(&fixture("powercap-two-sockets"), &GpuMeter::none());
    let states: Vec<(&str, &SensorState)> = list.iter().map(|sensor| (sensor.name, &sensor.state)).collect();
    assert_eq!(states[0], ("powercap", &SensorState::Usable));
    assert_eq!(states[1], ("perf", &SensorState::NotBuilt));
    assert_eq!(states[2].0, "nvml");
    let masked = &sensors(&fixture("powercap-masked"), &GpuMeter::none())[0];
    assert!(masked.fix.as_deref().unwrap().contains("/sys/devices/virtual/powercap"));
    assert_eq!(sensors(&fixture("empty"), &GpuMeter::none())[1].state, SensorState::Missing);
}

#[test]
fn power_readings_are_joined_by_lines() {
    let text = "timestamp,watts\n2026-11-30T10:00:00Z,100\n2026-11-30T10:00:10Z,200\n2026-11-30T10:00:20Z,200\n";
    let file = PowerFile::parse(text, "power.csv").unwrap();
    let start = 1_796_032_800.0;
    let (joules, covered) = file.energy(start, start + 20.0).unwrap();
    assert_eq!((joules, covered), (Interval::exact(1500.0 + 2000.0), 1.0));
    // From 5 s on: 150 W to 200 W, then 200 W.
    assert_eq!(file.energy(start + 5.0, start + 15.0).unwrap().0, Interval::exact(875.0 + 1000.0));
    let (joules, covered) = file.energy(start + 10.0, start + 25.0).unwrap();
    assert!((covered - 2.0 / 3.0).abs() < 1e-12 && joules.low() < joules.mid());
    assert!((joules.mid() - 3000.0).abs() < 1e-9);
    assert_eq!(file.energy(start + 15.0, start + 30.0), None);
    assert_eq!(file.energy(start, start), None);
}

#[test]
fn counters_of_joules_may_start_again() {
    let text = "timestamp,joules\n0,1000\n10,2000\n20,5\n30,1005\n";
    let (joules, covered) = PowerFile::parse(text, "power.csv").unwrap().energy(0.0, 30.0).unwrap();
    assert!((joules.low() - 2000.0).abs() < 1e-9 && (joules.mid() - 3000.0).abs() < 1e-9, "{joules:?}");
    assert!((covered - 2.0 / 3.0).abs() < 1e-12);
    // Nothing is known of a gap.
    assert_eq!(PowerFile::parse("timestamp,watts\n0,1\n1000,1\n", "p").unwrap().energy(0.0, 1000.0), None);
}

#[test]
fn a_power_file_that_cannot_be_read_says_which_line() {
    for (text, expect) in [
        ("time,watts\n0,1\n", "line 1 is `time,watts`"),
        ("timestamp,watts\n0,1\nyesterday,2\n", "line 3: `yesterday` is no time"),
        ("timestamp,watts\n0,-1\n", "line 2: `-1` is no reading"),
        ("timestamp,watts\n5,1\n5,1\n", "line 3 is not later"),
    ] {
        let message = PowerFile::parse(text, "power.csv").unwrap_err().to_string();
        assert!(message.contains(expect) && message.contains("`power.csv`"), "{message}");
    }
}

fn machine(model: u32) -> Machine {
    Machine {
        cpu: Cpu { vendor: "AuthenticAMD".into(), family: 26, model, name: "AMD EPYC".into() },
        threads: 2,
        ram_bytes: 24_000_000_000,
        is_guest: true,
    }
}

/// The busy loop of the notes: 12 s long, on two threads that others use too.
fn load() -> Load {
    Load {
        cpu_seconds: 3.0,
        machine_cpu_seconds: Some(12.0),
        wall_seconds: 12.0,
        rss_peak_bytes: Some(100_000_000),
        disk_bytes: Some(1_000_000_000),
        net_bytes: Some(0),
        ..Load::default()
    }
}

fn of(energy: &Energy, name: Component) -> &ComponentRow {
    energy.components.iter().find(|row| row.name == name).unwrap()
}

fn run(load: &Load, readings: &Readings, machine: &Machine, settings: &ModelSettings) -> Energy {
    energy(load, readings, machine, settings, Tables::shipped()).unwrap()
}

#[test]
fn watts_of_the_family() {
    let energy = run(&load(), &Readings::default(), &machine(2), &ModelSettings::default());
    let cpu = of(&energy, Component::Cpu);
    assert_eq!((energy.method, cpu.label), ("spec-family/1", Label::Estimated));
    // 3 CPU-seconds of 1.17 - 0.21 W; and a quarter of 12 s of two idle threads.
    let dynamic = cpu.dynamic_j.unwrap();
    assert!((dynamic.mid() - 3.0 * 0.96).abs() < 1e-9, "{dynamic:?}");
    assert!((cpu.provisioned_j.unwrap().mid() - 3.0 * 0.96 - 0.25 * 24.0 * 0.21).abs() < 1e-9);
    let ram = of(&energy, Component::Ram).provisioned_j.unwrap();
    // 24 GB less 4 GB that are in the watts, 0.28 W/GB, a quarter; at the most 22 GB at 0.54 W/GB, all of it.
    assert!((ram.mid() - 20.0 * 0.28 * 12.0 * 0.25).abs() < 1e-9, "{ram:?}");
    assert!((ram.high() - 22.0 * 0.54 * 12.0).abs() < 1e-9, "{ram:?}");
    assert!((of(&energy, Component::Disk).provisioned_j.unwrap().mid() - 8.0).abs() < 1e-9);
    for row in &energy.components {
        let (provisioned, dynamic) = (row.provisioned_j.unwrap(), row.dynamic_j.unwrap());
        assert!(dynamic.low() <= provisioned.low() && dynamic.mid() <= provisioned.mid(), "{row:?}");
    }
}

#[test]
fn a_competing_load_does_not_change_what_is_ours() {
    let alone = Load { wall_seconds: 3.1, machine_cpu_seconds: Some(3.1), ..load() };
    let crowded = Load { wall_seconds: 12.0, machine_cpu_seconds: Some(23.0), ..load() };
    let dynamic = |load: &Load| {
        let energy = run(load, &Readings::default(), &machine(2), &ModelSettings::default());
        of(&energy, Component::Cpu).dynamic_j.unwrap().mid()
    };
    assert!((dynamic(&alone) / dynamic(&crowded) - 1.0).abs() < 0.1);
}

#[test]
fn twice_the_work_is_twice_the_energy() {
    let twice = Load { cpu_seconds: 6.0, wall_seconds: 24.0, machine_cpu_seconds: Some(24.0), ..load() };
    let dynamic = |load: &Load| {
        let energy = run(load, &Readings::default(), &machine(2), &ModelSettings::default());
        energy.components.iter().filter_map(|row| row.dynamic_j).sum::<Interval>().mid()
    };
    let without_disk = |load: &Load| dynamic(&Load { disk_bytes: Some(0), ..*load });
    assert!((without_disk(&twice) / without_disk(&load()) - 2.0).abs() < 0.2);
}

#[test]
fn the_order_of_sources() {
    let package_j = Interval::exact(1000.0);
    let powercap =
        PowercapEnergy { package_j, dram_j: Some(Interval::exact(100.0)), n_packages: 1, covered_ratio: 1.0 };
    let mut readings = Readings { powercap: Some(powercap), power_file_j: Some(Interval::exact(2000.0)), gpu: None };
    let none = ModelSettings::default();
    let by_file = run(&load(), &readings, &machine(2), &none);
    let names: Vec<Component> = by_file.components.iter().map(|row| row.name).collect();
    // What is behind the socket is in its reading.
    assert_eq!((by_file.method, &names[..]), ("power-file/1", &[Component::Machine, Component::Network][..]));
    let whole = of(&by_file, Component::Machine).provisioned_j.unwrap();
    assert_eq!((whole.low(), whole.mid(), whole.high()), (2000.0 * 3.0 / 24.0, 500.0, 2000.0));

    readings.power_file_j = None;
    let by_counter = run(&load(), &readings, &machine(2), &none);
    assert_eq!(by_counter.method, "powercap/1");
    assert_eq!(of(&by_counter, Component::Ram).label, Label::Measured);
    assert!((of(&by_counter, Component::Cpu).dynamic_j.unwrap().mid() - 125.0).abs() < 1e-9);

    readings.powercap = None;
    assert_eq!(run(&load(), &readings, &machine(2), &none).method, "spec-family/1");
    assert_eq!(run(&load(), &readings, &machine(99), &none).method, "generic/1");
    let given = ModelSettings { watts_per_thread: Some(3.0), ..none };
    assert_eq!(run(&load(), &readings, &machine(2), &given).method, "given-watts/1");

    let mut desk = machine(99);
    desk.cpu.name = "AMD Ryzen 9 5950X 16-Core Processor".into();
    assert_eq!(run(&load(), &readings, &desk, &none).method, "generic/1");
    desk.is_guest = false;
    let by_tdp = run(&load(), &readings, &desk, &none);
    assert_eq!((by_tdp.method, of(&by_tdp, Component::Cpu).label), ("tdp/1", Label::Estimated));
}

#[test]
fn what_is_asked_for_and_not_there_is_absent() {
    let settings = ModelSettings { method: Some(MethodConfig::Powercap), ..ModelSettings::default() };
    let energy = run(&load(), &Readings::default(), &machine(2), &settings);
    let cpu = of(&energy, Component::Cpu);
    assert_eq!((cpu.label, cpu.provisioned_j, cpu.dynamic_j), (Label::Absent, None, None));
    let blind = Load { disk_bytes: None, net_bytes: None, ..load() };
    let energy = run(&blind, &Readings::default(), &Machine { ram_bytes: 0, ..machine(2) }, &ModelSettings::default());
    for name in [Component::Disk, Component::Network, Component::Ram] {
        assert_eq!(of(&energy, name).label, Label::Absent, "{name}");
    }
}

#[test]
fn devices_have_a_counter_or_a_board_power_or_are_absent() {
    let with_device = Load { device_seconds: 6.0, ..load() };
    let mut readings = Readings::default();
    let none = ModelSettings::default();
    assert_eq!(of(&run(&with_device, &readings, &machine(2), &none), Component::Gpu).label, Label::Absent);
    let given = ModelSettings { gpu_watts: Some(100.0), ..none };
    let estimated = run(&with_device, &readings, &machine(2), &given);
    assert!((of(&estimated, Component::Gpu).dynamic_j.unwrap().mid() - 0.7 * 600.0).abs() < 1e-9);
    readings.gpu = Some(GpuEnergy { joules: 1000.0, limit_w: 300.0 });
    let measured = run(&with_device, &readings, &machine(2), &none);
    let gpu = of(&measured, Component::Gpu);
    assert_eq!(gpu.label, Label::Measured);
    assert!((gpu.dynamic_j.unwrap().mid() - (1000.0 - 0.1 * 300.0 * 12.0)).abs() < 1e-9);
}

#[test]
fn a_meter_of_devices_reads_or_says_why_not() {
    let meter = GpuMeter::open();
    assert_eq!(meter.problem().is_some(), meter.energy().is_none(), "{meter:?}");
    assert_eq!(meter.problem().is_some(), meter.names().is_empty());
    assert_eq!(GpuMeter::none().energy(), None);
}

#[test]
fn a_process_as_codecarbon_has_it() {
    let settings = ModelSettings { method: Some(MethodConfig::CodecarbonCompat), ..ModelSettings::default() };
    let energy = run(&Load { cpu_seconds: 3.13, ..load() }, &Readings::default(), &machine(2), &settings);
    assert!((of(&energy, Component::Cpu).provisioned_j.unwrap().mid() - 12.52).abs() < 1e-9);
    assert_eq!(of(&energy, Component::Ram).provisioned_j, Some(Interval::exact(120.0)));
}

#[test]
fn embodied_emissions_go_by_hours_threads_and_memory() {
    let hour = Load { cpu_seconds: 7200.0, machine_cpu_seconds: Some(7200.0), wall_seconds: 3600.0, ..load() };
    let grams = embodied_g(&hour, &machine(2), Tables::shipped());
    // 2 threads of 5.2 kg and 24 GB of 1.388 kg over four years.
    assert!((grams.mid() - (2.0 * 5200.0 + 24.0 * 1388.0) / 35_040.0).abs() < 1e-9, "{grams:?}");
    assert!(grams.low() < grams.mid() && grams.mid() < grams.high());
}

#[test]
fn the_watts_that_codecarbon_falls_back_to_are_assumed() {
    let settings = ModelSettings { method: Some(MethodConfig::CodecarbonCompat), ..ModelSettings::default() };
    let of = |name: &str| {
        let mut machine = machine(2);
        machine.cpu.name = name.into();
        let load = Load { cpu_seconds: 3.0, wall_seconds: 6.0, ..Load::default() };
        energy(&load, &Readings::default(), &machine, &settings, Tables::shipped()).unwrap().components.remove(0)
    };
    let unknown = of("no such processor");
    assert_eq!((unknown.label, unknown.provisioned_j), (Label::Assumed, Some(Interval::exact(12.0))));
    assert!(unknown.source.starts_with("4 W for a thread of an unknown processor"), "{}", unknown.source);
    let known = of(&Tables::shipped().cpu_tdp[0].name);
    assert_eq!(known.label, Label::Estimated, "{known:?}");
}
