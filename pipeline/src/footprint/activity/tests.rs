use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tamis_schemas::footprint::Amounts;

use super::clock::{Clocks, balance};
use super::*;
use crate::footprint::fixture;

/// Uses about so many milliseconds of CPU time on this thread.
fn work(milliseconds: u64) -> u64 {
    let end_ns = thread_cpu_ns() + milliseconds * 1_000_000;
    let mut sum = 0_u64;
    while thread_cpu_ns() < end_ns {
        for number in 0..2_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
    }
    sum
}

fn cpu_ms(usage: &Usage, stage: &str) -> f64 {
    let found = usage.stages.iter().find(|used| used.name == stage).unwrap_or_else(|| panic!("no stage {stage}"));
    found.cpu_ns as f64 / 1e6
}

fn sum_ns(usage: &Usage) -> u64 {
    usage.stages.iter().map(|stage| stage.cpu_ns).sum()
}

#[test]
fn scopes_of_many_threads_add_up_to_the_process() {
    let meter = Meter::start();
    meter.phase("survey");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    pool.scope(|scope| {
        for number in 0..40 {
            let meter = meter.clone();
            scope.spawn(move |_| {
                let _outer = meter.scope("dedup");
                work(2);
                if number % 3 == 0 {
                    let _inner = meter.scope("score");
                    work(3);
                    let _again = meter.scope("dedup");
                    work(1);
                }
                work(1);
            });
        }
    });
    meter.phase("write");
    work(20);
    let usage = meter.finish();
    assert_eq!(sum_ns(&usage), usage.cpu_ns);
    // 40 jobs of 3 ms and 14 of 1 ms more; 14 of 3 ms. A loop ends at most one turn late.
    for (stage, expect) in [("dedup", 134.0), ("score", 42.0)] {
        let ms = cpu_ms(&usage, stage);
        assert!((expect..expect * 1.25 + 2.0).contains(&ms), "{stage}: {ms} ms, expected {expect}");
    }
    // Other tests of this process run meanwhile: their time is in phases, so only the lower bound is sure.
    assert!(cpu_ms(&usage, "write") >= 20.0);
}

/// Keeps CPUs busy until it is dropped.
struct BusyLoops {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl BusyLoops {
    fn start(n_threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |stop: Arc<AtomicBool>| {
            let mut n_turns = 0;
            while !stop.load(Ordering::Relaxed) {
                n_turns = std::hint::black_box(n_turns + 1);
            }
            thread_cpu_ns()
        };
        let threads = (0..n_threads).map(|_| Arc::clone(&stop)).map(|stop| std::thread::spawn(move || spin(stop)));
        Self { threads: threads.collect(), stop }
    }

    /// CPU time that they used, nanoseconds.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}

#[test]
fn busy_loops_beside_a_scope_are_not_in_it() {
    let n_cpus = std::thread::available_parallelism().map_or(2, usize::from);
    for n_busy in [0, 2 * n_cpus] {
        let process_start_ns = process_cpu_ns();
        let meter = Meter::start();
        let busy = BusyLoops::start(n_busy);
        let stage = meter.stage("dedup");
        let before_ns = thread_cpu_ns();
        let scope = stage.enter();
        let inside_ns = thread_cpu_ns();
        work(50);
        let worked_ns = thread_cpu_ns() - inside_ns;
        drop(scope);
        let most_ns = thread_cpu_ns() - before_ns;
        let busy_ns = busy.end();
        let usage = meter.finish();
        // What this thread used, to the nanosecond, whatever ran beside it; the rest has what the loops used.
        let scoped_ns = usage.stages[0].cpu_ns;
        assert!((worked_ns..=most_ns).contains(&scoped_ns), "{n_busy} loops: {worked_ns} {scoped_ns} {most_ns}");
        let overhead_ns = usage.stages[1].cpu_ns;
        assert!(busy_ns <= overhead_ns, "{n_busy} loops used {busy_ns} ns, overhead has {overhead_ns}");
        assert_eq!(sum_ns(&usage), usage.cpu_ns);
        assert!(usage.cpu_ns <= process_cpu_ns() - process_start_ns);
    }
}

#[test]
fn busy_processes_beside_this_one_are_not_in_it() {
    // Processes of others have clocks of their own: those of this one stand still while it waits for them.
    let (process_ns, thread_ns) = (process_cpu_ns(), thread_cpu_ns());
    let script = "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done";
    let busy: Vec<_> = (0..2).map(|_| std::process::Command::new("sh").args(["-c", script]).spawn().unwrap()).collect();
    let ids: Vec<u32> = busy.iter().map(std::process::Child::id).collect();
    for mut child in busy {
        assert!(child.wait().unwrap().success());
    }
    let waited_ns = thread_cpu_ns() - thread_ns;
    assert!(waited_ns <= process_cpu_ns() - process_ns);
    // Starting two processes and waiting for them takes some milliseconds at most; their loops take hundreds.
    assert!(waited_ns < 100_000_000, "{ids:?}: {waited_ns} ns");
}

#[test]
fn names_of_phases_and_scopes_are_one_stage() {
    let meter = Meter::start_of_process();
    meter.phase("write");
    {
        let _scope = meter.scope("write");
        work(2);
    }
    meter.end_phase();
    meter.phase("write");
    let stage = meter.stage("write");
    stage.add(&Amounts { docs_in: Some(3), ..Amounts::default() });
    stage.add(&Amounts { docs_in: Some(4), labels: Some(0), ..Amounts::default() });
    let usage = meter.finish();
    assert_eq!(usage.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(), ["write", "overhead"]);
    let Amounts { docs_in, labels, docs_out, .. } = usage.stages[0].amounts;
    assert_eq!((docs_in, labels, docs_out), (Some(7), Some(0), None));
    assert_eq!(sum_ns(&usage), usage.cpu_ns);
    assert!(usage.wall_seconds >= usage.stages[0].wall_seconds);
}

#[test]
fn scopes_dropped_out_of_order_and_over_a_phase_add_up() {
    let meter = Meter::start();
    meter.phase("one");
    let outer = meter.scope("outer");
    work(4);
    let inner = meter.scope("inner");
    work(4);
    drop(outer);
    work(4);
    meter.phase("two");
    work(4);
    drop(inner);
    let usage = meter.finish();
    assert_eq!(sum_ns(&usage), usage.cpu_ns);
    let (outer_ms, inner_ms) = (cpu_ms(&usage, "outer"), cpu_ms(&usage, "inner"));
    assert!((4.0..8.0).contains(&outer_ms) && (12.0..20.0).contains(&inner_ms), "{outer_ms} {inner_ms}");
    let open = super::clock::open_scopes();
    assert_eq!(open, 0);
}

thread_local! {
    /// A clock that tests set: of the one thread of a process.
    static NOW_NS: Cell<u64> = const { Cell::new(1000) };
}

fn set_meter() -> Meter {
    let now_ns = || NOW_NS.get();
    // As many bytes are read as nanoseconds pass, and half as many written; nobody tells of the network.
    let bytes = || ProcessCounters {
        read_bytes: Some(NOW_NS.get()),
        written_bytes: Some(NOW_NS.get() / 2),
        ..ProcessCounters::default()
    };
    Meter::since(Clocks { process_ns: now_ns, thread_ns: now_ns, bytes }, now_ns())
}

#[test]
fn bytes_are_of_the_phase_in_which_they_are_moved() {
    let meter = set_meter();
    pass(100);
    meter.phase("read");
    pass(40);
    {
        let _scope = meter.scope("score");
        pass(8);
    }
    meter.phase("write");
    pass(6);
    meter.phase("read");
    pass(2);
    meter.end_phase();
    pass(1000);
    let moved = |usage: Usage| -> Vec<(String, [Option<u64>; 3])> {
        let bytes = |amounts: Amounts| [amounts.read_bytes, amounts.written_bytes, amounts.net_bytes];
        usage.stages.into_iter().map(|stage| (stage.name, bytes(stage.amounts))).collect()
    };
    let expect = [
        ("read", [Some(50), Some(25), None]),
        ("score", [None; 3]),
        ("write", [Some(6), Some(3), None]),
        ("overhead", [Some(1100), Some(550), None]),
    ];
    let expect = expect.map(|(name, bytes)| (name.to_owned(), bytes));
    assert_eq!(moved(meter.finish()), expect);
    assert_eq!(moved(meter.finish()), expect, "nothing is counted twice");
}

fn pass(ns: u64) {
    NOW_NS.set(NOW_NS.get() + ns);
}

fn cpu_ns(meter: &Meter) -> Vec<(String, u64)> {
    let usage = meter.finish();
    assert_eq!(sum_ns(&usage), usage.cpu_ns);
    usage.stages.into_iter().map(|stage| (stage.name, stage.cpu_ns)).collect()
}

fn named(expect: &[(&str, u64)]) -> Vec<(String, u64)> {
    expect.iter().map(|(name, ns)| ((*name).to_owned(), *ns)).collect()
}

#[test]
fn phases_have_what_scopes_leave() {
    let meter = set_meter();
    pass(1);
    meter.phase("survey");
    pass(20);
    let outer = meter.scope("dedup");
    pass(300);
    let inner = meter.scope("score");
    pass(4_000);
    drop(inner);
    pass(50_000);
    drop(outer);
    pass(600_000);
    meter.end_phase();
    pass(7_000_000);
    meter.phase("write");
    pass(80_000_000);
    let expect =
        [("survey", 600_020), ("dedup", 50_300), ("score", 4_000), ("write", 80_000_000), ("overhead", 7_000_001)];
    assert_eq!(cpu_ns(&meter), named(&expect));
    // A look in between changes nothing of what comes after.
    meter.phase("write");
    pass(5);
    assert_eq!(cpu_ns(&meter)[3].1, 80_000_005);
}

#[test]
fn a_scope_that_outlives_its_phase_is_taken_from_its_rest() {
    let meter = set_meter();
    meter.phase("survey");
    pass(10);
    let scope = meter.scope("dedup");
    pass(20);
    // Until it ends, its 20 ns are the phase's.
    meter.phase("write");
    pass(3);
    drop(scope);
    assert_eq!(cpu_ns(&meter), named(&[("survey", 10), ("dedup", 23), ("write", 0), ("overhead", 0)]));
    // Where the next phase is too short for it, what is left is taken from the largest rest.
    let meter = set_meter();
    meter.phase("survey");
    let scope = meter.scope("dedup");
    pass(20);
    meter.phase("proof");
    drop(scope);
    meter.phase("write");
    pass(100);
    let expect = [("survey", 20), ("dedup", 20), ("proof", 0), ("write", 80), ("overhead", 0)];
    assert_eq!(cpu_ns(&meter), named(&expect));
    // With time enough afterwards, the next phase pays: rests are known for phases together, not for each.
    let meter = set_meter();
    meter.phase("survey");
    let scope = meter.scope("dedup");
    pass(20);
    meter.phase("write");
    drop(scope);
    pass(100);
    assert_eq!(cpu_ns(&meter), named(&[("survey", 20), ("dedup", 20), ("write", 80), ("overhead", 0)]));
}

#[test]
fn what_is_too_much_is_taken_from_rests_first() {
    let stage =
        |name: &str, cpu_ns| StageUsage { name: name.into(), cpu_ns, wall_seconds: 0.0, amounts: Amounts::default() };
    let check = |rests_ns: [u64; 3], cpu_ns, expect: [u64; 3]| {
        let mut stages = vec![stage("a", 50), stage("b", 100), stage("overhead", 10)];
        balance(&mut stages, rests_ns.to_vec(), cpu_ns);
        assert_eq!(stages.iter().map(|stage| stage.cpu_ns).collect::<Vec<_>>(), expect);
    };
    check([0, 0, 10], 160, [50, 100, 10]);
    check([0, 0, 10], 170, [50, 100, 20]);
    check([40, 0, 10], 130, [30, 100, 0]);
    check([40, 30, 10], 120, [20, 100, 0]);
    check([40, 30, 10], 70, [10, 60, 0]);
}

#[test]
fn a_scope_is_cheap() {
    let meter = Meter::start();
    let stage = meter.stage("dedup");
    let start_ns = thread_cpu_ns();
    for _ in 0..100_000 {
        let _scope = stage.enter();
    }
    let each_ns = (thread_cpu_ns() - start_ns) / 100_000;
    // Two system calls: some 2000 ns on a busy guest; ten times that is the alarm, not the measurement.
    assert!(each_ns < 20_000, "{each_ns} ns");
}

#[test]
fn a_guest_with_version_1_groups_is_read() {
    let root = fixture("guest-cgroup-v1");
    let machine = Machine::read(&root);
    assert_eq!((machine.cpu.family, machine.cpu.model, machine.threads), (25, 1, 2));
    assert_eq!(machine.cpu.name, "AMD EPYC");
    assert!(machine.is_guest);
    assert_eq!(machine.ram_bytes, 24_689_764 * 1024);
    let snapshot = Snapshot::read(&root);
    assert_eq!(snapshot.process.rss_peak_bytes, Some(123_456 * 1024));
    assert_eq!(snapshot.process.read_bytes, Some(8_192));
    assert_eq!(snapshot.process.written_bytes, Some(4_096));
    assert_eq!(snapshot.process.net_bytes, Some(1_500));
    assert_eq!(snapshot.machine_cpu_seconds, Some(12.0));
    assert_eq!(snapshot.contention_percent, Some(99.0));
    let cgroup = snapshot.cgroup.unwrap();
    assert_eq!(cgroup.version, CgroupVersion::V1);
    assert_eq!(cgroup.cpu_seconds, Some(12.002));
    assert_eq!(cgroup.memory_peak_bytes, Some(1 << 30));
    assert_eq!(cgroup.memory_limit_bytes, None);
}

#[test]
fn version_2_groups_are_read() {
    let cgroup = Cgroup::read(&fixture("cgroup-v2")).unwrap();
    assert_eq!(cgroup.version, CgroupVersion::V2);
    assert_eq!(cgroup.cpu_seconds, Some(2.5));
    assert_eq!(cgroup.memory_peak_bytes, Some(2_000_000));
    assert_eq!(cgroup.memory_limit_bytes, None);
    assert_eq!(cgroup.io_bytes, Some(1_000 + 200 + 30));
}

#[test]
fn a_container_has_the_memory_that_it_may_use() {
    let root = fixture("cgroup-v2-limited");
    assert_eq!(Cgroup::read(&root).unwrap().memory_limit_bytes, Some(4_000_000_000));
    assert_eq!(Machine::read(&root).ram_bytes, 4_000_000_000);
}

#[test]
fn nothing_is_never_zero() {
    let snapshot = Snapshot::read(&fixture("empty"));
    assert_eq!(snapshot, Snapshot::default());
    let activity = snapshot.since(&snapshot);
    assert_eq!(activity, Activity::default());
}

#[test]
fn a_counter_that_went_backwards_is_absent() {
    let counters = |bytes| ProcessCounters { read_bytes: Some(bytes), ..ProcessCounters::default() };
    let snapshot = |bytes, percent| Snapshot {
        process: counters(bytes),
        contention_percent: Some(percent),
        ..Snapshot::default()
    };
    let activity = snapshot(5, 0.0).since(&snapshot(9, 25.0));
    assert_eq!(activity.read_bytes, None);
    assert!(activity.contended);
    assert_eq!(snapshot(9, 0.0).since(&snapshot(5, 20.0)).read_bytes, Some(4));
    assert!(!snapshot(9, 0.0).since(&snapshot(5, 20.0)).contended);
}
