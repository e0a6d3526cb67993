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
        command: "dedup".into(),
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
fn rows_of_earlier_versions_are_read_and_checked() {
    let mut text = String::new();
    let mut previous = ledger::FIRST.to_owned();
    for row in run("old", 1.0) {
        let mut value = serde_json::to_value(&row).unwrap();
        let fields = value.as_object_mut().unwrap();
        assert!(fields.shift_remove("command").is_some() && fields.shift_remove("submitted_at").is_some());
        fields.shift_remove("sha256");
        fields["prev_sha256"] = previous.into();
        let line = value.to_string();
        let start = &line[..line.len() - 1];
        previous = account::hash_of(start);
        text += &format!("{start},\"sha256\":\"{previous}\"}}\n");
    }
    assert_eq!(ledger::verify_text(&text, "old").unwrap().n_rows, 4);
    let rows = ledger::parse(&text, "old").unwrap();
    assert!(rows.iter().all(|row| row.command.is_none() && row.submitted_at.is_none()));
    let both = ledger::with_rows(&text, "old", &run("new", 1.0)).unwrap();
    assert_eq!(ledger::verify_text(&both, "old").unwrap().n_rows, 8);
    assert_eq!(ledger::parse(&both, "old").unwrap()[4].command.as_deref(), Some("dedup"));
}

/// Joules beyond idle, of all rows.
fn dynamic_j(rows: &[LedgerRow], name: Component) -> Interval {
    let components = rows.iter().flat_map(|row| &row.components).filter(|row| row.name == name);
    components.filter_map(|row| row.dynamic_j).sum()
}

/// Rows of the run that these counters were read of.
fn rows_of(recording: &Recording) -> Vec<LedgerRow> {
    rows(recording, &facts("run"), &settings(), Extras::default(), Tables::shipped()).unwrap()
}

#[test]
fn what_others_use_beside_a_run_is_not_its_own() {
    let alone = recording();
    let mut beside = alone.clone();
    // Two busy loops of others: everything takes three times as long, and the machine is busy all the time.
    beside.usage.wall_seconds *= 3.0;
    for stage in &mut beside.usage.stages {
        stage.wall_seconds *= 3.0;
    }
    beside.activity.machine_cpu_seconds = Some(720.0);
    beside.activity.contended = true;
    let (alone, beside) = (rows_of(&alone), rows_of(&beside));
    for (one, other) in alone.iter().zip(&beside) {
        assert_eq!((one.cpu_seconds.to_bits(), &one.stage), (other.cpu_seconds.to_bits(), &other.stage));
        let of_cpu = |row: &LedgerRow| dynamic_j(std::slice::from_ref(row), Component::Cpu);
        assert_eq!(of_cpu(one), of_cpu(other), "{}", one.stage);
    }
    // Of what the machine draws when idle, its share is by what all used: no more than alone, where others hardly used it.
    let mid = |rows: &[LedgerRow]| sum_j(rows, Component::Cpu).mid();
    assert!(mid(&beside) <= mid(&alone), "{} {}", mid(&beside), mid(&alone));
    assert!(beside.iter().all(|row| row.contended));
}

#[test]
fn energy_grows_with_the_work_that_is_counted() {
    let of = |factor: u64| {
        let mut recording = recording();
        for stage in &mut recording.usage.stages {
            stage.cpu_ns *= factor;
            stage.wall_seconds *= factor as f64;
            stage.amounts.read_bytes = stage.amounts.read_bytes.map(|bytes| bytes * factor);
            stage.amounts.written_bytes = stage.amounts.written_bytes.map(|bytes| bytes * factor);
        }
        recording.usage.cpu_ns *= factor;
        recording.usage.wall_seconds *= factor as f64;
        let activity = &mut recording.activity;
        activity.machine_cpu_seconds = activity.machine_cpu_seconds.map(|seconds| seconds * factor as f64);
        activity.read_bytes = activity.read_bytes.map(|bytes| bytes * factor);
        activity.written_bytes = activity.written_bytes.map(|bytes| bytes * factor);
        activity.net_bytes = Some(1_000_000_000 * factor);
        rows_of(&recording)
    };
    let once = of(1);
    for factor in [2, 3, 10] {
        let more = of(factor);
        for name in [Component::Cpu, Component::Ram, Component::Disk, Component::Network] {
            for (one, many) in
                [(sum_j(&once, name), sum_j(&more, name)), (dynamic_j(&once, name), dynamic_j(&more, name))]
            {
                for bound in [Interval::low, Interval::mid, Interval::high] {
                    let expect = bound(&one) * factor as f64;
                    assert!((bound(&many) - expect).abs() <= 1e-9 * expect, "{name} {factor}: {one:?} {many:?}");
                }
            }
        }
    }
    assert!(0.0 < dynamic_j(&once, Component::Cpu).low() && 0.0 < sum_j(&once, Component::Network).low());
    // A stage that works twice as much beside others that do not has twice the energy of its processor.
    let mut longer = recording();
    longer.usage.stages[1].cpu_ns *= 2;
    longer.usage.cpu_ns = longer.usage.stages.iter().map(|stage| stage.cpu_ns).sum();
    let of_stage = |rows: &[LedgerRow], at: usize| dynamic_j(&rows[at..=at], Component::Cpu).mid();
    let (before, after) = (rows_of(&recording()), rows_of(&longer));
    assert!((of_stage(&after, 1) / of_stage(&before, 1) - 2.0).abs() < 1e-9);
    assert!((of_stage(&after, 0) / of_stage(&before, 0) - 1.0).abs() < 1e-9);
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
