//! Runs that want the same output at once: one works, the others wait, leave, or take over from the dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;
use crate::support::proxy::Proxy;

/// A lease of which others write that it is held.
fn held(epoch: u64, beat: u64) -> String {
    format!(
        r#"{{"epoch":{epoch},"owner":"process 1 on elsewhere","nonce":"x","beat":{beat},"ttl_seconds":1,"released":false}}"#
    )
}

fn lease_file(dir: &Path, epoch: u64) -> PathBuf {
    dir.join(format!("out/_tamis/lease/{epoch:020}.json"))
}

/// Writes a lease as a run does: nobody sees half of it.
fn write(file: &Path, lease: &str) {
    let whole = file.with_file_name("../whole");
    std::fs::write(&whole, lease).unwrap();
    std::fs::rename(&whole, file).unwrap();
}

/// Does something while another run shows signs of life.
fn while_held<T>(dir: &Path, epoch: u64, act: impl FnOnce() -> T) -> T {
    let file = lease_file(dir, epoch);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for beat in 0.. {
                write(&file, &held(epoch, beat));
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        while !file.exists() {
            std::thread::yield_now();
        }
        let done = act();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

/// The only lease, which nobody holds.
fn released(dir: &Path) -> u64 {
    let folder = files(&dir.join("out/_tamis/lease"));
    assert_eq!(folder.len(), 1, "{:?}", folder.keys());
    let record: Value = serde_json::from_slice(folder.values().next().unwrap()).unwrap();
    assert_eq!(record["released"], true, "{record}");
    record["epoch"].as_u64().unwrap()
}

#[test]
fn a_run_says_who_is_at_work_and_takes_over_from_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let later = all_but_one(dir.path(), 200);
    tamis(dir.path(), "run run.toml").expect_code(0);
    assert_eq!((commits(&dir.path().join("out"))[0]["epoch"].as_u64(), released(dir.path())), (Some(1), 1));
    while_held(dir.path(), 2, || {
        let nothing = tamis(dir.path(), "run run.toml").expect_code(0);
        assert!(nothing.stdout.contains("nothing new"), "who has nothing to do does not wait");
        std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
        let failed = tamis(dir.path(), "run run.toml").expect_code(75);
        let words = "error: another run is adding to `out`: process 1 on elsewhere\n\nhint: ";
        assert!(failed.stderr.starts_with(words), "{}", failed.stderr);
        let skipped = tamis(dir.path(), "run run.toml --if-locked skip").expect_code(0);
        assert_eq!(skipped.stdout, "tamis run: skipped: another run is adding to out: process 1 on elsewhere\n");
        let skipped = tamis(dir.path(), "run run.toml --if-locked skip --format json").expect_code(0).json();
        assert_eq!((&skipped["skipped"], &skipped["holder"]), (&true.into(), &"process 1 on elsewhere".into()));
        let began = Instant::now();
        tamis(dir.path(), "run run.toml --if-locked wait:2s").expect_code(75);
        assert!((2..20).contains(&began.elapsed().as_secs()));
    });
    assert_eq!(commits(&dir.path().join("out")).len(), 1);
    // It does not show itself any more, as if killed.
    let began = Instant::now();
    tamis(dir.path(), "run run.toml").expect_code(0);
    assert!(1 <= began.elapsed().as_secs(), "it may have been alive");
    assert_eq!((commits(&dir.path().join("out"))[1]["epoch"].as_u64(), released(dir.path())), (Some(3), 3));
}

#[test]
fn who_waits_begins_when_the_other_ends() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 100);
    config(dir.path(), "in", "out");
    let waiting = while_held(dir.path(), 7, || {
        let waiting = command(dir.path()).args(["run", "run.toml", "--if-locked", "wait:5m"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        waiting
    });
    write(&lease_file(dir.path(), 7), &held(7, 0).replace("false", "true"));
    assert!(waiting.wait_with_output().unwrap().status.success());
    assert_eq!(commits(&dir.path().join("out"))[0]["epoch"], 8);
}

#[test]
fn a_run_that_is_taken_over_stops() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 2);
    config_with(dir.path(), "in", "out", "commit_files = 1\nlease = \"1s\"");
    let out = dir.path().join("out");
    let child = command(dir.path()).args(["run", "run.toml"]).stderr(Stdio::piped()).spawn().unwrap();
    let others = [format!("process {}", child.id()), "since 20".to_owned()];
    while !out.join("_tamis/commits/00000000000000000001.json").exists() {
        std::thread::yield_now();
    }
    let second = tamis(dir.path(), "run run.toml").expect_code(75);
    assert!(others.iter().all(|words| second.stderr.contains(words)), "{}", second.stderr);
    write(&lease_file(dir.path(), 2), &held(2, 0));
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(stderr.contains("those before it were added") && stderr.contains("has taken over `out`"), "{stderr}");
    let n_added = commits(&out).len();
    assert!((2..names.len()).contains(&n_added), "{n_added} of {}", names.len());
    // What took over is dead by now.
    tamis(dir.path(), "verify out").expect_code(0);
    config(dir.path(), "in", "out");
    tamis(dir.path(), "run run.toml").expect_code(0);
    assert_eq!(sum(&commits(&out), "rows_in"), json_lines(&sample("licences.jsonl")).len() as u64);
    assert_eq!(released(dir.path()), 3);
}

#[test]
fn a_run_that_is_stopped_is_not_waited_for_and_one_that_is_killed_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 10);
    config_with(dir.path(), "in", "out", "commit_files = 1\nlease = \"30s\"");
    let first_commit = dir.path().join("out/_tamis/commits/00000000000000000000.json");
    for (signal, patience, code) in [("-TERM", "fail", 0), ("-KILL", "wait:1s", 75)] {
        let _ = std::fs::remove_dir_all(dir.path().join("out"));
        let mut child = command(dir.path()).args(["run", "run.toml"]).stderr(Stdio::null()).spawn().unwrap();
        while !first_commit.exists() {
            std::thread::yield_now();
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        child.wait().unwrap();
        let began = Instant::now();
        tamis(dir.path(), &format!("run run.toml --if-locked {patience}")).expect_code(code);
        assert!(began.elapsed() < Duration::from_secs(25), "{signal}");
    }
}

#[test]
fn a_run_with_nothing_new_asks_for_little() {
    let server = S3Server::start("idle");
    let dir = tempfile::tempdir().unwrap();
    let names = licences(dir.path(), 50);
    for name in &names {
        server.put(&format!("in/{name}"), &dir.path().join(name));
    }
    config_with(dir.path(), &server.url("in/"), &server.url("out"), "commit_files = 1");
    let run = |environment| finish(command(dir.path()).args(["run", "run.toml"]).envs(environment)).expect_code(0);
    run(server.environment());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asks = Arc::clone(&asked);
    let proxy = Proxy::start(server.port(), move |_, method, path| {
        asks.lock().unwrap().push(format!("{method} {path}"));
        None
    });
    assert!(run(S3Server::environment_at(proxy.port())).stdout.contains("nothing new"));
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|request| !request.contains("lease")), "{asked:#?}");
    // docs/datasets.md says so.
    assert_eq!(asked.len(), names.len() + 23, "{asked:#?}");
}

#[test]
fn leases_are_for_added_runs_and_may_be_off() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 200);
    config_with(dir.path(), "in", "out", "lease = \"0s\"");
    tamis(dir.path(), "run run.toml").expect_code(0);
    assert!(!dir.path().join("out/_tamis/lease").exists());
    assert_eq!(commits(&dir.path().join("out"))[0]["epoch"], Value::Null);
    for (arguments, words) in
        [("--if-locked later", "write fail, skip, or wait:"), ("--if-locked wait:soon", "is not a length of time")]
    {
        assert!(tamis(dir.path(), &format!("run run.toml {arguments}")).expect_code(2).stderr.contains(words));
    }
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap().replace("mode = \"append\"\n", "");
    std::fs::write(dir.path().join("run.toml"), &text).unwrap();
    let refused = tamis(dir.path(), "run run.toml").expect_code(2);
    assert!(refused.stderr.contains("lease are for runs that are added to others"), "{}", refused.stderr);
    std::fs::write(dir.path().join("run.toml"), text.replace("lease = \"0s\"\n", "")).unwrap();
    let refused = tamis(dir.path(), "run run.toml --if-locked skip").expect_code(2);
    assert!(refused.stderr.contains("--if-locked is for runs that are added"), "{}", refused.stderr);
}

#[test]
fn upkeep_leaves_an_output_alone_that_a_run_is_adding_to() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("in")).unwrap();
    config_with(dir.path(), "in", "out", "lease = \"1s\"");
    for name in licences(&dir.path().join("in"), 200).iter().skip(1) {
        std::fs::rename(dir.path().join("in").join(name), dir.path().join(name)).unwrap();
    }
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::fs::rename(dir.path().join("001.jsonl"), dir.path().join("in/001.jsonl")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let before = commits(&dir.path().join("out"));
    let epoch = released(dir.path()) + 1;
    let refused = while_held(dir.path(), epoch, || tamis(dir.path(), "compact out").expect_code(75));
    assert!(refused.stderr.contains("process 1 on elsewhere"), "{}", refused.stderr);
    // Of garbage alone nobody is told.
    while_held(dir.path(), epoch, || tamis(dir.path(), "gc out").expect_code(0));
    assert_eq!(commits(&dir.path().join("out")), before);
    std::fs::write(lease_file(dir.path(), epoch), held(epoch, 1).replace("false", "true")).unwrap();
    tamis(dir.path(), "compact out").expect_code(0);
    assert_eq!(commits(&dir.path().join("out")).last().unwrap()["epoch"], epoch + 1);
}
