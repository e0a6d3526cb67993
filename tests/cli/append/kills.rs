//! Runs that are killed while others are added.

use std::time::Instant;

use super::*;

/// Nobody waits for another: what is lost is lost at the commit.
const NO_LEASE: &str = "lease = \"0s\"";

/// What every commit names is there, byte by byte, and every input is in one commit.
fn check_intact(out: &Path, n_inputs: usize) {
    let commits = commits(out);
    let mut read = BTreeSet::new();
    for commit in &commits {
        for input in commit["inputs"].as_array().unwrap() {
            assert!(read.insert(input["url"].as_str().unwrap().to_owned()), "{} is read twice", input["url"]);
        }
        for record in commit["manifest"]["tables"].as_object().unwrap().values() {
            for file in record["files"].as_array().unwrap() {
                let path = out.join(file["path"].as_str().unwrap());
                let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                assert_eq!(bytes.len() as u64, file["bytes"].as_u64().unwrap());
            }
        }
        let rows = &commit["manifest"]["rows"];
        let n = |name: &str| rows[name].as_u64().unwrap();
        assert_eq!(n("rows_in"), n("kept") + n("dropped") + n("rejected"));
    }
    assert_eq!(read.len(), n_inputs);
}

fn spawn(dir: &Path, environment: &[(&'static str, String)]) -> Child {
    let mut command = command(dir);
    command.args(["run", "run.toml", "--threads", "1", "--memory-limit", "64MiB"]).envs(environment.iter().cloned());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Workers that are started and killed while files arrive.
fn kill_workers(
    dir: &Path,
    environment: &[(&'static str, String)],
    mut arrive: impl FnMut(usize),
    n_files: usize,
) -> u32 {
    const N_WORKERS: usize = 4;
    let mut workers: Vec<Child> = Vec::new();
    let mut n_killed = 0;
    for file in 0..n_files {
        arrive(file);
        workers.retain_mut(|worker| worker.try_wait().unwrap().is_none());
        while workers.len() < N_WORKERS {
            workers.push(spawn(dir, environment));
        }
        // Kills hit every part of a run.
        std::thread::sleep(Duration::from_millis(5 + file as u64 * 37 % 113));
        if file % 2 == 1 {
            let victim = file * 7 % workers.len();
            workers[victim].kill().unwrap();
            n_killed += u32::from(workers[victim].wait().unwrap().code().is_none());
        }
    }
    for mut worker in workers {
        worker.wait().unwrap();
    }
    n_killed
}

#[test]
fn workers_that_are_killed_lose_nothing_and_read_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, input) = (dir.path().join("store"), dir.path().join("in"));
    std::fs::create_dir(&store).unwrap();
    std::fs::create_dir(&input).unwrap();
    let names = licences(&store, 12);
    config_with(dir.path(), "in", "out", NO_LEASE);
    let arrive = |file: usize| std::fs::rename(store.join(&names[file]), input.join(&names[file])).unwrap();
    let n_killed = kill_workers(dir.path(), &[], arrive, names.len());
    assert!(n_killed > 0);
    tamis(dir.path(), "run run.toml").expect_code(0);
    let out = dir.path().join("out");
    check_intact(&out, names.len());
    let commits = commits(&out);
    assert_eq!(sum(&commits, "rows_in"), json_lines(&sample("licences.jsonl")).len() as u64);
    for name in ["kept", "dropped"] {
        assert_eq!(local_delta(dir.path(), name)["rows"], sum(&commits, name));
    }
    tamis(dir.path(), "index verify out/_tamis/index").expect_code(0);
}

#[test]
fn on_s3_too() {
    let server = S3Server::start("append");
    let environment = server.environment();
    let dir = tempfile::tempdir().unwrap();
    let names = licences(dir.path(), 30);
    config_with(dir.path(), &server.url("in/"), &server.url("out"), NO_LEASE);
    let arrive = |file: usize| server.put(&format!("in/{}", names[file]), &dir.path().join(&names[file]));
    let n_killed = kill_workers(dir.path(), &environment, arrive, names.len());
    assert!(n_killed > 0);
    let run = || finish(command(dir.path()).args(["run", "run.toml"]).envs(environment.iter().cloned())).expect_code(0);
    run();
    assert!(run().stdout.contains("nothing new"));
    let out = dir.path().join("copy");
    for (key, _) in server.list("out/") {
        let to = out.join(key.strip_prefix("out/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        server.get(&key, &to);
    }
    check_intact(&out, names.len());
    let commits = commits(&out);
    assert_eq!(sum(&commits, "rows_in"), json_lines(&sample("licences.jsonl")).len() as u64);
    let tables = ["kept", "dropped"].map(|name| server.url(&format!("out/{name}")));
    for (seen, name) in delta(dir.path(), &environment, &tables).iter().zip(["kept", "dropped"]) {
        assert_eq!(seen["rows"], sum(&commits, name));
    }
}

#[test]
fn workers_that_wait_for_each_other_are_killed() {
    const N_WORKERS: usize = 4;
    const N_OBJECTS: usize = 300;
    const COMMIT_FILES: usize = 10;
    let server = S3Server::start("leased");
    let environment = server.environment();
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(sample("banking.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for number in 0..N_OBJECTS {
        let rows = &lines[number * lines.len() / N_OBJECTS..(number + 1) * lines.len() / N_OBJECTS];
        std::fs::write(dir.path().join("part.jsonl"), rows.join("\n") + "\n").unwrap();
        server.put(&format!("in/{number:03}.jsonl"), &dir.path().join("part.jsonl"));
    }
    let limits = format!("commit_files = {COMMIT_FILES}\nlease = \"2s\"");
    config_with(dir.path(), &server.url("in/"), &server.url("out"), &limits);
    let start = || {
        let mut command = command(dir.path());
        command.args(["run", "run.toml", "--if-locked", "wait:10m", "--threads", "1", "--memory-limit", "64MiB"]);
        command.envs(environment.iter().cloned()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let began = Instant::now();
    let mut workers: Vec<Child> = (0..N_WORKERS).map(|_| start()).collect();
    let (mut n_killed, mut random) = (0, 1u32);
    let n_commits = || server.list("out/_tamis/commits/").len();
    while n_commits() < N_OBJECTS / COMMIT_FILES {
        std::thread::sleep(Duration::from_millis(1500));
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let victim = &mut workers[random as usize >> 16 & (N_WORKERS - 1)];
        victim.kill().unwrap();
        n_killed += u32::from(victim.wait().unwrap().code().is_none());
        *victim = start();
    }
    for mut worker in workers {
        assert_eq!(worker.wait().unwrap().code(), Some(0), "it waits, and finds nothing new");
    }
    assert!(n_killed > 0);
    let epochs = server.list("out/_tamis/lease/");
    println!(
        "{N_OBJECTS} objects, {} commits, {n_killed} killed, lease {epochs:?}, {:?}",
        n_commits(),
        began.elapsed()
    );
    assert_eq!(n_commits(), N_OBJECTS / COMMIT_FILES, "nobody reads what another reads");
    outages::check_sound(dir.path(), &environment, &server.url("out"), N_OBJECTS);
}

#[test]
fn what_a_run_could_not_write_after_its_commit_the_next_one_writes() {
    let dir = tempfile::tempdir().unwrap();
    let later = all_but_one(dir.path(), 200);
    let out = dir.path().join("out");
    tamis(dir.path(), "run run.toml").expect_code(0);
    let index_before = std::fs::read(out.join("_tamis/index/index.json")).unwrap();
    std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let expect = files(&out);
    // As if killed right after the commit.
    std::fs::write(out.join("_tamis/index/index.json"), index_before).unwrap();
    for table in ["kept", "dropped", "evidence", "rejected"] {
        std::fs::remove_file(out.join(table).join("_delta_log/00000000000000000001.json")).unwrap();
    }
    assert!(tamis(dir.path(), "run run.toml").expect_code(0).stdout.contains("nothing new"));
    assert!(files(&out) == expect);

    // The index was deleted on purpose: what it had does not come back.
    tamis(dir.path(), "index delete out/_tamis/index --yes").expect_code(0);
    assert!(tamis(dir.path(), "run run.toml").expect_code(0).stdout.contains("nothing new"));
    std::fs::copy(dir.path().join("in/later.jsonl"), dir.path().join("in/copy.jsonl")).unwrap();
    let copied = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(copied["manifest"]["index"]["indexed_rows"], 0);
}
