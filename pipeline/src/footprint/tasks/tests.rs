//! Tests of runs that many processes did: against one process that did the same.

use tamis_schemas::footprint::{Component, Interval, LedgerRow, OVERHEAD};

use super::*;
use crate::footprint::account::Recorder;
use crate::footprint::activity::Meter;
use crate::footprint::fixture;
use crate::footprint::meter::{GpuMeter, PowercapEnergy};
use crate::footprint::report;
use crate::footprint::tests::{T0, facts, recording, settings, stage};

/// What a task did from `from` to `to`, in seconds of the run.
fn task(stage: &str, host: &str, (from, to): (f64, f64), cpu_seconds: f64) -> TaskUsage {
    TaskUsage {
        stage: stage.into(),
        host: host.into(),
        machine: recording().machine.row(&[]),
        started_at: T0 + from,
        ended_at: T0 + to,
        cpu_ns: (cpu_seconds * 1e9) as u64,
        // Half of a machine of two threads is busy.
        machine_cpu_seconds: Some([1000.0 + from, 1000.0 + to]),
        net_bytes: Some([from as u64 * 1000, to as u64 * 1000]),
        rss_peak_bytes: Some(1 << 30),
        read_bytes: Some(500),
        written_bytes: Some(7),
        contended: false,
        engine: None,
    }
}

/// The process that leads a run of 120 s, and does nothing itself.
fn leader() -> Recording {
    let stages = vec![stage(OVERHEAD, 0.0)];
    let activity = Activity { read_bytes: Some(0), written_bytes: Some(0), net_bytes: Some(0), ..Activity::default() };
    Recording { usage: Usage { cpu_ns: 0, stages, wall_seconds: 120.0 }, activity, ..recording() }
}

fn rows_of(tasks: &[TaskUsage]) -> Vec<LedgerRow> {
    rows_led_by(&leader(), 0, tasks).unwrap()
}

fn rows_led_by(recording: &Recording, driver_cpu_ns: u64, tasks: &[TaskUsage]) -> Result<Vec<LedgerRow>> {
    let leader = Leader { recording, host: "a".into(), driver_cpu_ns };
    rows_of_tasks(tasks, &leader, &facts("run"), |stage| stage == "score", &settings(), Extras::default())
}

fn joules(rows: &[LedgerRow], stage: &str, component: Component) -> Interval {
    let of_stage = rows.iter().filter(|row| row.stage == stage);
    let components = of_stage.flat_map(|row| row.components.iter().filter(|row| row.name == component));
    components.filter_map(|row| row.provisioned_j).sum()
}

fn assert_near(found: &Interval, expect: &Interval) {
    for (found, expect) in [(found.low(), expect.low()), (found.mid(), expect.mid()), (found.high(), expect.high())] {
        assert!((found - expect).abs() <= 1e-9 * expect.abs(), "{found} instead of {expect}");
    }
}

#[test]
fn one_task_is_accounted_for_as_one_process_is() {
    let tasks = [task("scan", "a", (0.0, 100.0), 60.0)];
    let alone = Recording {
        usage: Usage {
            stages: vec![StageUsage { cpu_ns: 60_000_000_000, ..stage("scan", 60.0) }],
            cpu_ns: 60_000_000_000,
            wall_seconds: 100.0,
        },
        activity: Activity {
            machine_cpu_seconds: Some(100.0),
            rss_peak_bytes: Some(1 << 30),
            read_bytes: Some(500),
            written_bytes: Some(7),
            net_bytes: Some(100_000),
            ..Activity::default()
        },
        ..recording()
    };
    let alone = rows(&alone, &facts("run"), &settings(), Extras::default(), Tables::shipped()).unwrap();
    let found = rows_of(&tasks);
    for component in [Component::Cpu, Component::Ram, Component::Disk, Component::Network] {
        let (found, expect) = (joules(&found, "scan", component), joules(&alone, "scan", component));
        assert!(0.0 < expect.mid(), "{component}");
        assert_near(&found, &expect);
    }
    assert_near(&found[0].embodied_g, &alone[0].embodied_g);
}

#[test]
fn tasks_at_once_share_their_machine() {
    // Four tasks of a thread each, two at once: 100 s of the machine, of which they use all that is used.
    let times = [(0.0, 50.0), (0.0, 50.0), (50.0, 100.0), (50.0, 100.0)];
    let tasks = times.map(|time| task("scan", "a", time, 25.0));
    let whole = [TaskUsage { rss_peak_bytes: Some(2 << 30), ..task("scan", "a", (0.0, 100.0), 100.0) }];
    for component in [Component::Cpu, Component::Ram] {
        let (found, expect) = (rows_of(&tasks), rows_of(&whole));
        assert_near(&joules(&found, "scan", component), &joules(&expect, "scan", component));
    }
    // A pause in which no task was at work, as of a run that went on later, is not the run's.
    let later = [task("scan", "a", (0.0, 50.0), 40.0), task("scan", "a", (5000.0, 5050.0), 40.0)];
    let at_once = [task("scan", "a", (0.0, 100.0), 80.0)];
    let (found, expect) = (rows_of(&later), rows_of(&at_once));
    assert_near(&joules(&found, "scan", Component::Cpu), &joules(&expect, "scan", Component::Cpu));
    assert_near(&found[0].embodied_g, &expect[0].embodied_g);
}

#[test]
fn two_machines_use_twice_as_much() {
    let on = |host| [task("scan", host, (0.0, 60.0), 50.0), task("score", host, (60.0, 100.0), 30.0)];
    let (one, both) = (rows_of(&on("a")), rows_of(&[on("a"), on("b")].concat()));
    for stage in ["scan", "score"] {
        for component in [Component::Cpu, Component::Ram, Component::Disk, Component::Network] {
            let expect = joules(&one, stage, component).scale(2.0);
            assert!(0.0 < expect.mid(), "{stage} {component}");
            assert_near(&joules(&both, stage, component), &expect);
        }
        let seconds = |rows: &[LedgerRow]| rows.iter().find(|row| row.stage == stage).unwrap().wall_seconds;
        assert!((seconds(&both) - seconds(&one)).abs() < 1e-6, "stages of two machines go on at once");
    }
}

#[test]
fn rows_are_those_of_one_run() {
    let other = MachineRow { threads: 64, fingerprint: "f".into(), ..recording().machine.row(&[]) };
    let mut tasks = vec![task("scan", "a", (0.0, 10.0), 5.0), task("score", "a", (20.0, 50.0), 25.5)];
    tasks.push(TaskUsage { machine: other, ..task("scan", "b", (0.0, 12.0), 9.0) });
    let leader = Recording {
        powercap: Some(PowercapEnergy {
            package_j: Interval::exact(1e6),
            dram_j: None,
            n_packages: 1,
            covered_ratio: 1.0,
        }),
        ..recording()
    };
    let rows = rows_led_by(&leader, 3_000_000_000, &tasks).unwrap();
    let names: Vec<(&str, u32)> = rows.iter().map(|row| (row.stage.as_str(), row.machine.threads)).collect();
    assert_eq!(names.len(), 3 + 5);
    assert!(names.contains(&("scan", 64)) && names.contains(&("scan", 2)), "{names:?}");
    assert_eq!(names.last(), Some(&(OVERHEAD, 2)));
    for (at, row) in rows.iter().enumerate() {
        assert_eq!((row.seq, row.rows_of_run, row.run_wall_seconds), (at as u32, 8, 120.0));
        assert_eq!((row.boundary.as_str(), row.run.docs_in), ("tasks", Some(2_000_000)));
        assert_eq!(row.run.read_bytes, Some(3_000_000_000 + 1500));
        assert_eq!(row.method, "spec-family/1", "no meter of one machine");
        let device_seconds = if row.stage == "score" { 30.0 } else { 0.0 };
        assert!((row.device_seconds - device_seconds).abs() < 1e-6, "{}", row.device_seconds);
    }
    let report = report::report(&rows, None, tamis_schemas::footprint::ViewConfig::Provisioned).unwrap();
    assert!((report.totals.cpu_seconds - 242.5).abs() < 1e-6, "{}", report.totals.cpu_seconds);
    assert!(!report.is_incomplete);
    let scan: Vec<_> = report.stages.iter().filter(|stage| stage.stage == "scan").collect();
    assert_eq!(scan.len(), 1, "a stage is one line, whatever the machines");
    assert!((scan[0].totals.cpu_seconds - 14.0).abs() < 1e-9 && (scan[0].wall_seconds - 12.0).abs() < 1e-6);
    assert_eq!(scan[0].amounts.read_bytes, Some(1000));
}

#[test]
fn processes_of_an_engine_are_counted_once() {
    let seen = |id: &str, started_at: f64, from: u64, to: u64| {
        let cpu_ns = [from, to].map(|seconds| seconds * 1_000_000_000);
        let process =
            EngineProcess { id: id.into(), started_at: T0 + started_at, cpu_ns, rss_peak_bytes: Some(1 << 31) };
        Some(EngineUsage { worker_cpu_ns: 500_000_000, process: Some(process) })
    };
    let with = |engine, host: &str, time| TaskUsage { engine, ..task("scan", host, time, 5.0) };
    let engine_seconds = |tasks: &[TaskUsage]| {
        let rows = rows_of(tasks);
        let rows: Vec<_> = rows.iter().filter(|row| row.stage == ENGINE).collect();
        rows.iter().map(|row| row.cpu_seconds).sum::<f64>()
    };
    // Started for the run: from its start to what the last task saw, whichever ended last.
    let ours = [with(seen("1", 2.0, 7, 30), "a", (5.0, 50.0)), with(seen("1", 2.0, 9, 21), "a", (6.0, 20.0))];
    assert!((engine_seconds(&ours) - 31.0).abs() < 1e-6, "{}", engine_seconds(&ours));
    // One that was there before: what it did from the first task that saw it on.
    let before =
        [with(seen("1", -900.0, 107, 120), "a", (5.0, 50.0)), with(seen("1", -900.0, 109, 130), "a", (6.0, 60.0))];
    assert!((engine_seconds(&before) - 24.0).abs() < 1e-6, "{}", engine_seconds(&before));
    // Another host may have a process of the same name.
    let hosts = [with(seen("1", 2.0, 7, 30), "a", (5.0, 50.0)), with(seen("1", 2.0, 7, 30), "b", (5.0, 50.0))];
    assert!((engine_seconds(&hosts) - 61.0).abs() < 1e-6, "{}", engine_seconds(&hosts));
    // It works between tasks, too, on a machine of which half is busy from its start to its last task.
    let between = [with(seen("1", 2.0, 7, 9), "a", (10.0, 11.0)), with(seen("1", 2.0, 40, 42), "a", (90.0, 102.0))];
    let row = &rows_of(&between)[0];
    let own: f64 = rows_of(&between).iter().map(|row| row.cpu_seconds).sum();
    assert_eq!(row.machine_cpu_seconds, Some(92.0), "from the first task to the last");
    assert!((own - 53.0).abs() < 1e-6, "{own}");
    let alone = [TaskUsage { rss_peak_bytes: Some(2 << 30), ..task("scan", "a", (2.0, 102.0), 53.0) }];
    let held = |rows: &[LedgerRow], factor: f64| rows.iter().map(|row| row.embodied_g.high()).sum::<f64>() / factor;
    assert!(
        (held(&rows_of(&between), 1.0) - held(&rows_of(&alone), 1.0)).abs() < 1e-9,
        "the machine is reserved meanwhile"
    );
    // Its memory is held as long as it is there: 2 GiB beside the task's own.
    let [alone, with_engine] = [None, seen("1", -9.0, 0, 0)].map(|engine| rows_of(&[with(engine, "a", (0.0, 50.0))]));
    assert_eq!(alone[0].machine.rss_peak_bytes, Some(1 << 30));
    assert_eq!(with_engine[0].machine.rss_peak_bytes, Some(3 << 30));
    assert!(alone.iter().all(|row| row.stage != ENGINE || row.cpu_seconds == 0.0));
}

#[test]
fn what_is_not_known_is_not_nothing() {
    let mut tasks = [task("scan", "a", (0.0, 10.0), 5.0), task("scan", "a", (5.0, 15.0), 5.0)];
    tasks[1].read_bytes = None;
    tasks[1].net_bytes = None;
    tasks[1].machine_cpu_seconds = None;
    tasks[1].rss_peak_bytes = None;
    let row = &rows_of(&tasks)[0];
    assert_eq!((row.run.read_bytes, row.run.net_bytes), (None, None));
    assert_eq!((row.machine_cpu_seconds, row.machine.rss_peak_bytes), (None, None));
    // Nor is it known of one kind of machines only.
    let other = MachineRow { threads: 64, ..recording().machine.row(&[]) };
    let tasks = [TaskUsage { machine: other, ..tasks[0].clone() }, tasks[1].clone()];
    assert!(rows_of(&tasks).iter().all(|row| row.run.read_bytes.is_none() && row.run.written_bytes == Some(14)));
}

#[test]
fn what_cannot_be_is_refused() {
    let good = || task("scan", "a", (0.0, 10.0), 5.0);
    let process = |cpu_ns, started_at| {
        let process = EngineProcess { id: "1".into(), started_at, cpu_ns, rss_peak_bytes: None };
        Some(EngineUsage { worker_cpu_ns: 0, process: Some(process) })
    };
    let bad = [
        TaskUsage { ended_at: good().started_at - 1.0, ..good() },
        TaskUsage { started_at: -1e308, ended_at: 1e308, ..good() },
        TaskUsage { ended_at: f64::NAN, ..good() },
        TaskUsage { machine_cpu_seconds: Some([10.0, 9.0]), ..good() },
        TaskUsage { net_bytes: Some([10, 5]), ..good() },
        TaskUsage { cpu_ns: 1 << 63, ..good() },
        TaskUsage { read_bytes: Some(u64::MAX), ..good() },
        TaskUsage { engine: process([7, 3], T0), ..good() },
        TaskUsage { engine: process([0, 1 << 60], T0), ..good() },
        TaskUsage { engine: process([0, 1], f64::INFINITY), ..good() },
    ];
    for task in bad {
        let refused = rows_led_by(&leader(), 0, &[good(), task.clone()]).unwrap_err();
        assert!(refused.to_string().contains("says what cannot be"), "{task:?}: {refused}");
    }
}

#[test]
fn the_leader_and_tasks_share_a_network() {
    let leader = Recording { activity: Activity { net_bytes: Some(100_000), ..leader().activity }, ..leader() };
    let net = |host: &str| {
        let tasks = [task("scan", host, (0.0, 30.0), 5.0), task("write", host, (20.0, 60.0), 5.0)];
        rows_led_by(&leader, 0, &tasks).unwrap()[0].run.net_bytes
    };
    assert_eq!((net("a"), net("b")), (Some(100_000), Some(160_000)));
    // What the network carried between tasks is the engine's, which is there all the time.
    let process = EngineProcess { id: "1".into(), started_at: T0 - 5.0, cpu_ns: [0, 1], rss_peak_bytes: None };
    let engine = Some(EngineUsage { worker_cpu_ns: 0, process: Some(process) });
    let tasks =
        [(0.0, 10.0), (50.0, 60.0)].map(|time| TaskUsage { engine: engine.clone(), ..task("scan", "a", time, 5.0) });
    assert_eq!(rows_led_by(&leader, 0, &tasks).unwrap()[0].run.net_bytes, Some(100_000));
}

#[test]
fn a_task_measures_itself() {
    let root = fixture("guest-cgroup-v1");
    let usage = TaskMeter::start(root.clone()).finish("scan");
    let mut recorder = Recorder::start(root, GpuMeter::none(), Meter::start());
    let expect = recorder.finish();
    assert_eq!(Machine::of(&usage.machine), expect.machine);
    assert_eq!((usage.stage.as_str(), usage.rss_peak_bytes), ("scan", expect.activity.rss_peak_bytes));
    assert!(0 < usage.cpu_ns && usage.started_at <= usage.ended_at);
    let text = serde_json::to_string(&usage).unwrap();
    assert_eq!(serde_json::from_str::<TaskUsage>(&text).unwrap(), usage);
}
