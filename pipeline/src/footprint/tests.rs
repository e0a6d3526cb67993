//! Tests of accounting and of the ledger, and what other tests make rows with.

use std::collections::BTreeMap;
use std::fs;

use tamis_schemas::footprint::{Amounts, Component, FootprintConfig, Interval, Label, LedgerRow, OVERHEAD, Signal};

use super::account::{Extras, Recorder, Recording, RunFacts, rows};
use super::activity::{Activity, Cpu, Machine, Meter, StageUsage, Usage};
use super::forecast::{Point, Series};
use super::meter::{GpuMeter, PowerFile};
use super::tables::Tables;
use super::{account, fixture, ledger};

/// 2026-11-30, 10:00 in UTC.
pub(crate) const T0: f64 = 1_796_032_800.0;

pub(crate) fn stage(name: &str, cpu_seconds: f64) -> StageUsage {
    StageUsage {
        name: name.into(),
        cpu_ns: (cpu_seconds * 1e9) as u64,
        wall_seconds: cpu_seconds / 2.0,
        amounts: Amounts::default(),
    }
}

/// A run of four stages on a guest with two threads.
pub(crate) fn recording() -> Recording {
    let mut stages = vec![stage("survey", 60.0), stage("dedup", 90.0), stage("write", 40.0), stage(OVERHEAD, 10.0)];
    stages[0].amounts.read_bytes = Some(3_000_000_000);
    stages[2].amounts.written_bytes = Some(1_000_000_000);
    Recording {
        usage: Usage { cpu_ns: stages.iter().map(|stage| stage.cpu_ns).sum(), stages, wall_seconds: 120.0 },
        activity: Activity {
            machine_cpu_seconds: Some(220.0),
            rss_peak_bytes: Some(2_000_000_000),
            read_bytes: Some(3_000_000_000),
            written_bytes: Some(1_000_000_000),
            net_bytes: Some(0),
            cgroup_cpu_seconds: None,
            contended: false,
        },
        machine: Machine {
            cpu: Cpu { vendor: "AuthenticAMD".into(), family: 26, model: 2, name: "AMD EPYC".into() },
            threads: 2,
            ram_bytes: 24_000_000_000,
            is_guest: true,
        },
        powercap: None,
        gpu: None,
        gpus: Vec::new(),
    }
}

pub(crate) fn facts(run_id: &str) -> RunFacts {
    RunFacts {
        run_id: run_id.into(),
        started_at: T0,
        ended_at: T0 + 120.0,
        amounts: Amounts {
            docs_in: Some(2_000_000),
            docs_out: Some(1_500_000),
            bytes_in: Some(4_000_000_000),
            bytes_out: Some(3_000_000_000),
            tokens_out: Some(600_000_000),
            ..Amounts::default()
        },
        config_hash: "c".repeat(64),
        input_hash: "i".repeat(64),
        tamis_version: "0.1.0".into(),
        ..RunFacts::default()
    }
}

pub(crate) fn settings() -> FootprintConfig {
    FootprintConfig { region: Some("FRA".into()), ..FootprintConfig::default() }
}

/// Rows of the run, with CPU times and bytes times a factor.
pub(crate) fn run(run_id: &str, factor: f64) -> Vec<LedgerRow> {
    let mut recording = recording();
    for stage in &mut recording.usage.stages {
        stage.cpu_ns = (stage.cpu_ns as f64 * factor) as u64;
    }
    recording.usage.cpu_ns = recording.usage.stages.iter().map(|stage| stage.cpu_ns).sum();
    recording.usage.wall_seconds *= factor;
    recording.activity.machine_cpu_seconds = Some(220.0 * factor);
    rows(&recording, &facts(run_id), &settings(), Extras::default(), Tables::shipped()).unwrap()
}

fn sum_j(rows: &[LedgerRow], name: Component) -> Interval {
    let components = rows.iter().flat_map(|row| &row.components).filter(|row| row.name == name);
    components.filter_map(|row| row.provisioned_j).sum()
}

#[test]
fn rows_add_up_to_the_run() {
    let rows = run("run", 1.0);
    assert_eq!(rows.len(), 4);
    let cpu: f64 = rows.iter().map(|row| row.cpu_seconds).sum();
    assert!((cpu - 200.0).abs() < 1e-9);
    // 200 s of 0.96 W, and 200 of 220 used CPU-seconds of the idle power of two threads.
    let expect = 200.0 * 0.96 + 200.0 / 220.0 * 240.0 * 0.21;
    assert!((sum_j(&rows, Component::Cpu).mid() / expect - 1.0).abs() < 1e-9);
    // 8 J/GB; by bytes, not by CPU time.
    assert!((sum_j(&rows, Component::Disk).mid() - 32.0).abs() < 1e-9);
    assert!((sum_j(&rows[..1], Component::Disk).mid() - 24.0).abs() < 1e-9);
    assert_eq!(rows[0].run.read_bytes, Some(3_000_000_000));
    assert_eq!((rows[0].start_at.as_str(), rows[0].end_at.as_str()), ("2026-11-30T10:00:00Z", "2026-11-30T10:02:00Z"));
    assert!(rows.iter().all(|row| row.intensity.zone == "FRA" && row.pue.source.starts_with("datacenter")));
}

#[test]
fn what_devices_use_goes_to_who_held_them() {
    let mut facts = facts("run");
    facts.device_seconds = BTreeMap::from([("dedup".to_owned(), 30.0)]);
    let settings = FootprintConfig { gpu_watts: Some(100.0), ..settings() };
    let rows = rows(&recording(), &facts, &settings, Extras::default(), Tables::shipped()).unwrap();
    assert_eq!(sum_j(&rows[..1], Component::Gpu), Interval::ZERO);
    assert!(sum_j(&rows[1..2], Component::Gpu).mid() > 2000.0);
    assert!((rows[1].device_seconds - 30.0).abs() < 1e-12);
}

#[test]
fn readings_of_a_meter_go_before_all_else() {
    let file = PowerFile::parse("timestamp,watts\n1796032790,50\n1796032850,50\n1796032930,50\n", "p").unwrap();
    let extras = Extras { power_file: Some(&file), actuals: None };
    let rows = rows(&recording(), &facts("run"), &settings(), extras, Tables::shipped()).unwrap();
    assert_eq!(rows[0].method, "power-file/1");
    assert!((sum_j(&rows, Component::Machine).mid() - 6000.0 * 200.0 / 220.0).abs() < 1e-6);
    assert!(rows[0].components.iter().any(|row| row.label == Label::Measured));
}

#[test]
fn files_that_do_not_cover_the_run_say_so() {
    let file = PowerFile::parse("timestamp,watts\n0,50\n60,50\n", "p").unwrap();
    let point = Point { start: 0, end: 60, g_per_kwh: 1.0 };
    let actuals = Series::new("FR".into(), None, Signal::Average, vec![point]).unwrap();
    let extras = Extras { power_file: Some(&file), actuals: Some(&actuals) };
    let rows = rows(&recording(), &facts("run"), &settings(), extras, Tables::shipped()).unwrap();
    assert!(rows[0].components[0].source.ends_with("the power file covers less than half of the run"));
    assert!(rows[0].intensity.source.ends_with("does not cover the run"));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let check = |change: fn(&mut FootprintConfig)| {
        let mut settings = settings();
        change(&mut settings);
        account::check(&settings)
    };
    assert!(check(|_| ()).is_ok());
    assert!(check(|settings| settings.watts_per_thread = Some(f64::NAN)).is_err());
    assert!(check(|settings| settings.gpu_watts = Some(0.0)).is_err());
    assert!(check(|settings| settings.pue = Some(f64::NAN)).is_err());
    assert!(check(|settings| settings.intensity_g_per_kwh = Some(f64::INFINITY)).is_err());
    assert!(check(|settings| settings.region = Some("Atlantis".into())).is_err());
}

#[test]
fn a_run_without_cpu_time_is_overhead() {
    let mut recording = recording();
    recording.usage.cpu_ns = 0;
    for stage in &mut recording.usage.stages {
        stage.cpu_ns = 0;
    }
    let rows = rows(&recording, &facts("run"), &settings(), Extras::default(), Tables::shipped()).unwrap();
    assert_eq!(sum_j(&rows[..3], Component::Cpu), Interval::ZERO);
}

#[test]
fn a_recorder_sees_this_process() {
    let mut recorder = Recorder::start(fixture("powercap-two-sockets"), GpuMeter::none(), Meter::start());
    recorder.meter().phase("write");
    let recording = recorder.finish();
    assert_eq!(recording.usage.stages.len(), 2);
    assert_eq!(recording.powercap.unwrap().package_j, Interval::ZERO);
}

#[test]
fn a_ledger_holds_what_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("footprint.jsonl");
    let first = ledger::append(&path, &run("one", 1.0)).unwrap();
    assert_eq!(first.cut_bytes, 0);
    let second = ledger::append(&path, &run("two", 1.1)).unwrap();
    let rows = ledger::read(&path).unwrap();
    assert_eq!(rows.iter().map(|row| row.run_id.as_str()).collect::<Vec<_>>(), [["one"; 4], ["two"; 4]].concat());
    assert_eq!(rows[0].prev_sha256, ledger::FIRST);
    assert_eq!(rows[4].prev_sha256, first.last_sha256);
    assert_eq!(ledger::verify(&path).unwrap(), ledger::Verified { n_rows: 8, last_sha256: second.last_sha256 });
    // The JSON parser may miss the last digit of a number: a row is compared by its text, its numbers nearly.
    for (row, expect) in rows.iter().zip(&run("one", 1.0)) {
        let joules =
            |row: &LedgerRow| row.components.iter().filter_map(|row| row.provisioned_j).sum::<Interval>().mid();
        assert!((joules(row) - joules(expect)).abs() <= 1e-12 * joules(expect));
        assert_eq!((&row.stage, &row.machine, row.run), (&expect.stage, &expect.machine, expect.run));
    }
}

#[test]
fn a_changed_ledger_names_the_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("footprint.jsonl");
    ledger::append(&path, &run("one", 1.0)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let check = |text: String, expect: &str| {
        let message = ledger::verify_text(&text, "footprint.jsonl").unwrap_err().to_string();
        assert!(message.contains(expect), "{message}");
    };
    check(
        text.replacen("\"cpu_seconds\":90.0", "\"cpu_seconds\":9.0", 1),
        "line 2: stage `dedup` of run `one` was changed",
    );
    // Also the last one, which no other row has the hash of.
    check(text.replacen("\"cpu_seconds\":10.0", "\"cpu_seconds\":1.0", 1), "line 4: stage `overhead` of run `one`");
    check([lines[0], lines[2], lines[3], ""].join("\n"), "line 2: the row before stage `write`");
    check([lines[1], lines[0], ""].join("\n"), "line 1: the row before stage `dedup`");
    check([lines[0], "{}", ""].join("\n"), "line 2: it is no row");
    // Cut at the end, it holds.
    assert_eq!(ledger::verify_text(&[lines[0], ""].join("\n"), "x").unwrap().n_rows, 1);
    let other = text.replace("tamis.footprint/1", "tamis.footprint/9");
    assert!(ledger::parse(&other, "x").unwrap_err().to_string().contains("tamis.footprint/9"));
}

#[test]
fn a_row_that_was_not_finished_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("footprint.jsonl");
    ledger::append(&path, &run("one", 1.0)).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let torn = format!("{whole}{{\"schema\":\"tamis.foot");
    fs::write(&path, &torn).unwrap();
    assert_eq!(ledger::read(&path).unwrap().len(), 4);
    let appended = ledger::append(&path, &run("two", 1.0)).unwrap();
    assert_eq!(appended.cut_bytes, torn.len() as u64 - whole.len() as u64);
    assert_eq!(ledger::verify(&path).unwrap().n_rows, 8);
    fs::write(&path, "no row\n").unwrap();
    assert!(ledger::append(&path, &run("two", 1.0)).unwrap_err().to_string().contains("line 1: it has no hash"));
}

#[test]
fn runs_at_once_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("footprint.jsonl");
    let rows = run("one", 1.0);
    let together = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    together.wait();
                    ledger::append(&path, &rows).unwrap();
                }
            });
        }
    });
    assert_eq!(ledger::verify(&path).unwrap().n_rows, 320);
}
