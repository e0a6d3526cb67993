//! Runs that are added to one output: each input is read once, each run is visible whole or not at all, and readers of Delta
//! Lake tables see the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::s3::S3Server;
use crate::support::{command, files, finish, json_lines, root, sample, strings, table, tamis};

const CONFIG: &str = r#"
[input]
paths = ["INPUT"]
[deduplicate]
threshold = 0.7
[output]
path = "OUTPUT"
mode = "append"
"#;

fn config(dir: &Path, input: &str, output: &str) {
    std::fs::write(dir.join("run.toml"), CONFIG.replace("INPUT", input).replace("OUTPUT", output)).unwrap();
}

/// What two readers of Delta Lake tables see in some tables.
fn delta(dir: &Path, environment: &[(&'static str, String)], tables: &[String]) -> Vec<Value> {
    let peers = std::env::var("TAMIS_TEST_PEERS").expect("run the tests with `bash tests/run.sh`");
    let mut python = Command::new("python3");
    python.arg(root().join("tests/support/read_delta.py")).args(tables).current_dir(dir);
    let read = finish(python.env("PYTHONPATH", peers).envs(environment.iter().cloned())).expect_code(0);
    read.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn local_delta(dir: &Path, table: &str) -> Value {
    delta(dir, &[], &[format!("out/{table}")]).remove(0)
}

fn commits(out: &Path) -> Vec<Value> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(out.join("_tamis/commits")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    found.sort();
    found.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// Writes the sample licences in files of `n_rows`.
fn licences(folder: &Path, n_rows: usize) -> Vec<String> {
    let text = std::fs::read_to_string(sample("licences.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let name = |index: usize| format!("{index:03}.jsonl");
    for (index, lines) in lines.chunks(n_rows).enumerate() {
        std::fs::write(folder.join(name(index)), lines.join("\n") + "\n").unwrap();
    }
    (0..lines.len().div_ceil(n_rows)).map(name).collect()
}

fn ids(batch: &arrow::array::RecordBatch, column: &str) -> BTreeSet<String> {
    strings(batch, column).into_iter().collect()
}

#[test]
fn each_file_is_read_once_and_the_rows_are_those_of_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let (all, some) = (dir.path().join("all"), dir.path().join("some"));
    std::fs::create_dir(&all).unwrap();
    std::fs::create_dir(&some).unwrap();
    let names = licences(&all, 50);
    config(dir.path(), "some", "out");
    for (version, names) in names.chunks(3).enumerate() {
        for name in names {
            std::fs::copy(all.join(name), some.join(name)).unwrap();
        }
        let summary = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
        assert_eq!(summary["manifest"]["inputs"].as_array().unwrap().len(), names.len(), "only what is new is read");
        let again = tamis(dir.path(), "run run.toml").expect_code(0);
        assert!(again.stdout.contains("nothing new"), "{}", again.stdout);
        assert_eq!(commits(&dir.path().join("out")).len(), version + 1);
    }
    tamis(dir.path(), "dedup all -o whole --threshold 0.7").expect_code(0);
    let whole = dir.path().join("whole");
    for (name, column) in [("kept", "tamis_id"), ("dropped", "tamis_id"), ("evidence", "dropped_id")] {
        let expect = ids(&table(&whole, name).1, column);
        let found = local_delta(dir.path(), name);
        let found_ids: Vec<&str> = found["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert!(found_ids.iter().copied().eq(expect.iter().map(String::as_str)), "{name}");
        assert_eq!(found["protocol"], serde_json::json!([1, 2]));
        assert_eq!(found["version"], names.chunks(3).len() - 1);
    }
    let rejected = local_delta(dir.path(), "rejected");
    assert_eq!((rejected["rows"].as_u64(), rejected["files"].as_u64()), (Some(0), Some(0)));
    let nothing_new = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(
        (nothing_new["nothing_new"].as_bool(), nothing_new["files"].as_u64()),
        (Some(true), Some(names.len() as u64))
    );
}

#[test]
fn all_runs_are_inspected_and_restored_together() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 150);
    config(dir.path(), "in", "out");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(
        dir.path().join("run.toml"),
        text + "[repetition]\naction = \"cut\"\nunit = \"line\"\nmin_tokens = 1\n",
    )
    .unwrap();
    let later = dir.path().join("later.jsonl");
    std::fs::rename(dir.path().join("in").join(&names[1]), &later).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let commits = commits(&dir.path().join("out"));
    let n_cut: u64 = commits.iter().map(|commit| commit["manifest"]["grain"]["cut_spans"].as_u64().unwrap()).sum();
    assert!(commits.len() == 2 && n_cut > 0, "{n_cut} cuts");

    let seen = tamis(dir.path(), "inspect out --format json").expect_code(0).json();
    assert_eq!(seen["overview"]["rows"]["rows_in"].as_u64().unwrap(), sum(&commits, "rows_in"));
    assert_eq!(seen["overview"]["evidence_rows"].as_u64().unwrap(), sum(&commits, "dropped"));
    // A row of the second run that was dropped for one of the first, side by side.
    let first: BTreeSet<String> = ids(&table(&dir.path().join("out"), "kept").1, "tamis_id");
    let evidence = table(&dir.path().join("out"), "evidence").1;
    let pair = strings(&evidence, "dropped_id")
        .into_iter()
        .zip(strings(&evidence, "kept_id"))
        .find(|(_, kept)| first.contains(kept));
    let shown = tamis(dir.path(), &format!("inspect out --dropped {}", pair.unwrap().0)).expect_code(0).stdout;
    assert!(shown.lines().count() > 5, "{shown}");

    tamis(dir.path(), "restore out -o back").expect_code(0);
    let expect: BTreeMap<String, String> = json_lines(&sample("licences.jsonl"))
        .iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned()))
        .collect();
    let back = table(&dir.path().join("back"), "kept").1;
    let found: BTreeMap<String, String> = strings(&back, "id").into_iter().zip(strings(&back, "text")).collect();
    assert!(found == expect, "{} rows of {}", found.len(), expect.len());
}

#[test]
fn what_cannot_be_added_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 100);
    config(dir.path(), "in", "out");
    tamis(dir.path(), "run run.toml").expect_code(0);
    let before = files(&dir.path().join("out"));
    let refused = |args: &str, words: &str| {
        let ended = tamis(dir.path(), args).expect_code(2);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(files(&dir.path().join("out")) == before, "{args} left something behind");
    };
    refused("run run.toml --overwrite", "nothing to overwrite");
    refused("dedup in -o out", "is not empty");
    refused("dedup in -o out --overwrite", "added one by one");

    std::fs::write(dir.path().join("in").join(&names[1]), "{\"id\":\"x\",\"text\":\"other\"}\n").unwrap();
    refused("run run.toml", "has changed since run");
    std::fs::remove_file(dir.path().join("in").join(&names[1])).unwrap();
    std::fs::write(dir.path().join("in/type.jsonl"), "{\"id\":7,\"text\":\"a number for an id\"}\n").unwrap();
    refused("run run.toml", "column `id` of table `kept` has been of type \"string\"");
    std::fs::write(dir.path().join("in/type.jsonl"), "{\"id\":\"x\",\"Text\":\"a\",\"text\":\"b\"}\n").unwrap();
    refused("run run.toml", "differ in case only");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(dir.path().join("run.toml"), text.clone() + "[grain]\n").unwrap();
    refused("run run.toml", "[grain] does not work where runs are added");
    std::fs::write(dir.path().join("run.toml"), text.replace("[deduplicate]\nthreshold = 0.7\n", "")).unwrap();
    refused("run run.toml", "removed near-duplicates, and this one would not");
    config(dir.path(), "-", "out");
    refused("run run.toml", "standard input");
    config(dir.path(), "in", "out");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(dir.path().join("run.toml"), text + "[tiers.other]\nurl = \"other\"\n[routes]\nkept = \"other\"\n")
        .unwrap();
    refused("run run.toml", "table `kept` lies in the output itself since earlier runs");

    tamis(dir.path(), "dedup in -o single").expect_code(0);
    config(dir.path(), "in", "single");
    let ended = tamis(dir.path(), "run run.toml").expect_code(2);
    assert!(ended.stderr.contains("to which none can be added"), "{}", ended.stderr);
}

#[test]
fn columns_may_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    config(dir.path(), "in", "out");
    let add = |name: &str, row: &str| {
        std::fs::write(dir.path().join("in").join(name), row).unwrap();
        tamis(dir.path(), "run run.toml").expect_code(0);
    };
    add("a.jsonl", "{\"id\":\"a\",\"text\":\"one two three four five six\",\"n\":1,\"s\":{\"x\":1}}\n");
    add("b.csv", "id,text,u\nb,seven eight nine ten eleven twelve,x\n");
    add(
        "c.jsonl",
        "{\"id\":\"c\",\"text\":\"the last of all the rows in here\",\"n\":3,\"s\":{\"x\":2,\"y\":[true]}}\n",
    );
    let kept = local_delta(dir.path(), "kept");
    assert_eq!(kept["ids"], serde_json::json!(["a", "b", "c"]));
    let nulls: BTreeMap<String, u64> = serde_json::from_value(kept["nulls"].clone()).unwrap();
    assert_eq!((nulls["n"], nulls["s"], nulls["u"], nulls["text"]), (1, 1, 2, 0));
    assert_eq!(kept["columns"]["n"], "int64");
    assert!(kept["columns"]["s"].as_str().unwrap().contains("y: list"), "{}", kept["columns"]);
}

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

fn sum(commits: &[Value], of: &str) -> u64 {
    commits.iter().map(|commit| commit["manifest"]["rows"][of].as_u64().unwrap()).sum()
}

#[test]
fn what_a_run_could_not_write_after_its_commit_the_next_one_writes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 200);
    let later = dir.path().join("later.jsonl");
    std::fs::rename(dir.path().join("in").join(&names[1]), &later).unwrap();
    config(dir.path(), "in", "out");
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

#[test]
fn others_may_compact_a_table() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 100);
    let later = dir.path().join("later.jsonl");
    std::fs::rename(dir.path().join("in").join(&names[0]), &later).unwrap();
    config(dir.path(), "in", "out");
    tamis(dir.path(), "run run.toml").expect_code(0);
    let peers = std::env::var("TAMIS_TEST_PEERS").unwrap();
    let compact = "from deltalake import DeltaTable; t = DeltaTable('out/kept'); t.optimize.compact(); \
                   t.alter.set_table_properties({'delta.appendOnly': 'false'}); t.create_checkpoint()";
    let mut python = Command::new("python3");
    finish(python.args(["-c", compact]).current_dir(dir.path()).env("PYTHONPATH", peers)).expect_code(0);
    std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let kept = local_delta(dir.path(), "kept");
    assert_eq!(kept["rows"], sum(&commits(&dir.path().join("out")), "kept"));
    assert!(kept["version"].as_u64().unwrap() > 1, "{}", kept["version"]);
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
    config(dir.path(), "in", "out");
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
    config(dir.path(), &server.url("in/"), &server.url("out"));
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
fn an_output_is_looked_after() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 200);
    let later = dir.path().join("later.jsonl");
    std::fs::rename(dir.path().join("in").join(&names[1]), &later).unwrap();
    config(dir.path(), "in", "out");
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let out = dir.path().join("out");

    let runs = tamis(dir.path(), "runs out --format json").expect_code(0).json();
    assert_eq!(runs.as_array().unwrap().len(), 2);
    assert_eq!((runs[1]["version"].as_u64(), runs[1]["files"].as_u64()), (Some(1), Some(1)));
    let shown = tamis(dir.path(), "runs out").expect_code(0).stdout;
    assert_eq!((shown.lines().count(), shown.contains("20")), (3, true), "{shown}");
    let listed = tamis(dir.path(), "export out --files").expect_code(0).stdout;
    let on_disk: BTreeSet<String> =
        files(&out).into_keys().filter(|name| name.starts_with("kept/") && name.ends_with(".parquet")).collect();
    assert_eq!(
        listed.lines().map(|line| line.strip_prefix("out/").unwrap().to_owned()).collect::<BTreeSet<_>>(),
        on_disk
    );
    assert_eq!(tamis(dir.path(), "export out --files --table rejected").expect_code(0).stdout, "");

    assert!(tamis(dir.path(), "verify out").expect_code(0).stdout.contains("is sound"));
    let orphan = out.join("dropped/01a2279f-dead-7333-b36b-24df300a0c00-0-00000.parquet");
    // Others look after their own.
    std::fs::write(out.join("dropped/part-00000-dead-c000.zstd.parquet"), "of others").unwrap();
    std::fs::write(&orphan, "half a file").unwrap();
    let verified = tamis(dir.path(), "verify out").expect_code(0).stdout;
    assert!(verified.contains("1 file of runs that did not end") && verified.contains("01a2279f-dead"), "{verified}");
    let before = files(&out);
    assert!(tamis(dir.path(), "gc out").expect_code(0).stdout.contains("0 files removed"), "it is young");
    let planned = tamis(dir.path(), "gc out --grace 0h --dry-run --format json");
    // What is written in this second is not older than 0 hours.
    std::thread::sleep(Duration::from_millis(1100));
    assert!(files(&out) == before, "{}", planned.stdout);
    assert!(tamis(dir.path(), "gc out --grace 0h").expect_code(0).stdout.contains("1 file removed"));
    assert!(!orphan.exists());
    assert_eq!(files(&out).len() + 1, before.len());

    let kept = out.join(on_disk.first().unwrap());
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&kept, &bytes).unwrap();
    std::fs::remove_file(out.join("evidence/_delta_log/00000000000000000001.json")).unwrap();
    let verified = tamis(dir.path(), "verify out --format json").expect_code(2).json();
    let problems: Vec<&str> = verified["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("SHA-256 is not that") && problems[1].contains("Delta log lacks"), "{problems:?}");
    std::fs::write(&kept, &bytes[1..]).unwrap();
    assert!(tamis(dir.path(), "verify out").expect_code(2).stdout.contains("when it was written"));
    std::fs::remove_file(&kept).unwrap();
    assert!(tamis(dir.path(), "verify out").expect_code(2).stdout.contains("it is not there"));

    tamis(dir.path(), "dedup in -o single").expect_code(0);
    assert!(tamis(dir.path(), "verify single").expect_code(0).stdout.contains("is sound"));
    assert_eq!(tamis(dir.path(), "export single --files").expect_code(0).stdout, "single/kept/part-00000.parquet\n");
    assert!(tamis(dir.path(), "gc single --grace 0h").expect_code(0).stdout.contains("0 files removed"));
    for command in ["runs in", "verify in", "gc nowhere", "export in --files"] {
        let ended = tamis(dir.path(), command).expect_code(2);
        assert!(ended.stderr.contains("is no finished run"), "{command}: {}", ended.stderr);
    }
    std::fs::write(out.join("_tamis/commits/00000000000000000001.json"), "{\"commit_version\": 1, ").unwrap();
    assert!(tamis(dir.path(), "runs out").expect_code(2).stderr.contains("damaged"));
    std::fs::rename(
        out.join("_tamis/commits/00000000000000000001.json"),
        out.join("_tamis/commits/00000000000000000002.json"),
    )
    .unwrap();
    assert!(tamis(dir.path(), "run run.toml").expect_code(2).stderr.contains("damaged"));
}

/// Writes `in/odd.parquet` with a column of each kind of type, or compares it with what a reader sees in `out/kept`.
const ODD_TYPES: &str = r"
import datetime as dt, decimal, sys
import polars as pl, pyarrow as pa, pyarrow.parquet as pq
from deltalake import DeltaTable

utc = dt.timezone.utc
at = dt.datetime(2024, 2, 29, 12, 30, 1, 250000)
columns = {
    'id': pa.array(['a', 'b']),
    'text': pa.array(['one two three four five six', 'seven eight nine ten eleven twelve']),
    'u8': pa.array([255, None], pa.uint8()),
    'u16': pa.array([65535, 0], pa.uint16()),
    'u32': pa.array([2**32 - 1, 0], pa.uint32()),
    'u64': pa.array([2**64 - 1, None], pa.uint64()),
    'i8': pa.array([-128, None], pa.int8()),
    'f16': pa.array([1.5, None], pa.float16()),
    'f32': pa.array([0.1, None], pa.float32()),
    'date': pa.array([at.date(), None], pa.date32()),
    'zoned': pa.array([at.replace(tzinfo=utc), None], pa.timestamp('ms', 'UTC')),
    'naive': pa.array([at, None], pa.timestamp('us')),
    'price': pa.array([decimal.Decimal('-12.34'), None], pa.decimal128(9, 2)),
    'kind': pa.array(['x', None]).dictionary_encode(),
    'long': pa.array(['y', None], pa.large_string()),
    'raw': pa.array([b'\0\xff', None]),
    'list': pa.array([[1, None], []], pa.large_list(pa.int32())),
    'pair': pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    'deep': pa.array([{'x': [{'y': 1}], 'z': None}, None], pa.struct([('x', pa.list_(pa.struct([('y', pa.int8())]))), ('z', pa.string())])),
    'map': pa.array([[('k', 1)], None], pa.map_(pa.string(), pa.int64())),
    'time': pa.array([dt.time(1, 2), None], pa.time64('us')),
}
table = pa.table(columns)
if sys.argv[1] == 'write':
    pq.write_table(table, 'in/odd.parquet')
else:
    seen = DeltaTable('out/kept').to_pyarrow_table().sort_by('id')
    assert 'time' not in seen.column_names
    for name in columns.keys() - {'time'}:
        left, right = seen.column(name).to_pylist(), table.column(name).to_pylist()
        assert left == right, f'{name}: {left} {right}'
    # What these two hold in Parquet, polars does not take for what the table says they are.
    others = list(columns.keys() - {'time', 'u64', 'pair', 'map'})
    scan = pl.scan_delta('out/kept').select(others).collect().sort('id')
    for name in others:
        assert scan[name].to_list() == seen.column(name).to_pylist(), name
";

#[test]
fn types_survive_the_way_through_a_delta_table() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    config(dir.path(), "in", "out");
    let peers = std::env::var("TAMIS_TEST_PEERS").unwrap();
    let python = |what: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", ODD_TYPES, what]).current_dir(dir.path()).env("PYTHONPATH", &peers);
        finish(&mut python).expect_code(0);
    };
    python("write");
    tamis(dir.path(), "run run.toml").expect_code(0);
    python("compare");
    let log = |table: &str| {
        std::fs::read_to_string(dir.path().join(format!("out/{table}/_delta_log/00000000000000000000.json"))).unwrap()
    };
    assert!(log("kept").contains("\"readerFeatures\":[\"timestampNtz\"]"));
    assert_eq!(local_delta(dir.path(), "evidence")["protocol"], serde_json::json!([1, 2]));
}

#[test]
fn a_file_may_grow() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(sample("licences.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let write =
        |n_lines: usize| std::fs::write(dir.path().join("in.jsonl"), lines[..n_lines].join("\n") + "\n").unwrap();
    config(dir.path(), "in.jsonl", "out");
    let refusing = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    let reading = refusing.replace("[input]\n", "[input]\nchanged = \"read\"\n");
    write(100);
    tamis(dir.path(), "run run.toml").expect_code(0);
    write(200);
    assert!(tamis(dir.path(), "run run.toml").expect_code(2).stderr.contains("set input.changed to \"read\""));
    std::fs::write(dir.path().join("run.toml"), &reading).unwrap();
    for n_lines in [200, lines.len()] {
        write(n_lines);
        tamis(dir.path(), "run run.toml").expect_code(0);
        assert!(tamis(dir.path(), "run run.toml").expect_code(0).stdout.contains("nothing new"));
    }
    tamis(dir.path(), "dedup in.jsonl -o whole --threshold 0.7").expect_code(0);
    let kept = local_delta(dir.path(), "kept");
    let found: BTreeSet<String> = serde_json::from_value(kept["ids"].clone()).unwrap();
    assert_eq!(found, ids(&table(&dir.path().join("whole"), "kept").1, "tamis_id"));
    assert_eq!(kept["rows"].as_u64().unwrap(), found.len() as u64, "no row is kept twice");

    for (config, words) in [
        (reading.replace("[deduplicate]\nthreshold = 0.7\n", ""), "double their rows"),
        (reading.replace("mode = \"append\"\n", "").replace("\"out\"", "\"new\""), "no run is added"),
    ] {
        std::fs::write(dir.path().join("run.toml"), config).unwrap();
        assert!(tamis(dir.path(), "run run.toml").expect_code(2).stderr.contains(words), "{words}");
    }
}

#[test]
fn an_id_may_come_again_in_another_run() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    config(dir.path(), "in", "out");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    let cutting = text + "[repetition]\naction = \"cut\"\nunit = \"line\"\nmin_tokens = 1\n";
    std::fs::write(dir.path().join("run.toml"), cutting).unwrap();
    let rows = [
        "{\"id\":\"y\",\"text\":\"uncut words of the first\\nand more of them\"}",
        "{\"id\":\"y\",\"text\":\"red line\\nred line\\nblue line here\\nred line\",\"label\":\"new\"}",
        "{\"id\":\"y\",\"text\":\"other line\\nsome other text\\nother line\"}",
    ];
    let expect: BTreeSet<String> = rows
        .iter()
        .map(|row| serde_json::from_str::<Value>(row).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        for name in ["in", "out", "back"] {
            let _ = std::fs::remove_dir_all(dir.path().join(name));
        }
        std::fs::create_dir(dir.path().join("in")).unwrap();
        for row in order {
            std::fs::write(dir.path().join(format!("in/{row}.jsonl")), rows[row]).unwrap();
            tamis(dir.path(), "run run.toml").expect_code(0);
        }
        tamis(dir.path(), "restore out -o back").expect_code(0);
        assert_eq!(ids(&table(&dir.path().join("back"), "kept").1, "text"), expect, "{order:?}");
        assert!(
            tamis(dir.path(), "inspect out").expect_code(2).stderr.contains("no row was dropped for another so far")
        );
    }
}

#[test]
fn a_column_may_come_to_one_table_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    config(dir.path(), "in", "out");
    let same = "one two three four five six";
    for (name, rows) in [
        ("a", format!("{{\"id\":1,\"text\":\"{same}\"}}\n{{\"id\":2,\"text\":\"{same}\"}}\n")),
        ("b", "{\"id\":3,\"text\":\"all of it is new in here\",\"in_kept\":\"k\"}\n".to_owned()),
        ("c", format!("{{\"id\":4,\"text\":\"{same}\",\"in_dropped\":\"d\"}}\n")),
    ] {
        std::fs::write(dir.path().join(format!("in/{name}.jsonl")), rows).unwrap();
        tamis(dir.path(), "run run.toml").expect_code(0);
    }
    tamis(dir.path(), "restore out -o back").expect_code(0);
    let back = table(&dir.path().join("back"), "kept").1;
    let mut found: Vec<_> =
        strings(&back, "id").into_iter().zip(strings(&back, "in_kept")).zip(strings(&back, "in_dropped")).collect();
    found.sort();
    let row = |id: &str, kept: &str, dropped: &str| ((id.to_owned(), kept.to_owned()), dropped.to_owned());
    assert_eq!(found, [row("1", "", ""), row("2", "", ""), row("3", "k", ""), row("4", "", "d")]);
}

#[test]
fn an_output_keeps_to_its_own_place_whatever_the_working_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    let input = dir.path().join("in");
    for folder in [&first, &second, &input] {
        std::fs::create_dir(folder).unwrap();
    }
    let names = licences(&input, 200);
    let later = dir.path().join("later.jsonl");
    std::fs::rename(input.join(&names[1]), &later).unwrap();
    let write = |folder: &Path, out: &str, cold: &str| {
        config(folder, &input.display().to_string(), &dir.path().join(out).display().to_string());
        let text = std::fs::read_to_string(folder.join("run.toml")).unwrap();
        let tier = format!("[tiers.cold]\nurl = \"{cold}\"\n[routes]\ndropped = \"cold\"\n");
        std::fs::write(folder.join("run.toml"), text + &tier).unwrap();
    };
    write(&first, "out", "cold");
    tamis(&first, "run run.toml").expect_code(0);
    std::fs::rename(&later, input.join("later.jsonl")).unwrap();
    // The same words mean another place there.
    write(&second, "out", "cold");
    let moved = tamis(&second, "run run.toml").expect_code(2);
    assert!(moved.stderr.contains("table `dropped` lies in"), "{}", moved.stderr);
    assert!(!second.join("cold").exists());
    write(&second, "out", &first.join("cold").display().to_string());
    tamis(&second, "run run.toml").expect_code(0);
    for command in ["verify out", "restore out -o back", "inspect out"] {
        tamis(dir.path(), command).expect_code(0);
    }
    assert_eq!(local_delta(dir.path(), "kept")["rows"], sum(&commits(&dir.path().join("out")), "kept"));
    // Another output finds the place taken.
    write(&second, "other", &first.join("cold").display().to_string());
    let taken = tamis(&second, "run run.toml").expect_code(2);
    assert!(taken.stderr.contains("is the table of another output"), "{}", taken.stderr);
    tamis(dir.path(), "verify out").expect_code(0);
}

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let to = to.join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
}

#[test]
fn an_output_of_the_first_version_is_read_and_added_to() {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("tests/data/output-v1"), &dir.path().join("out"));
    let runs = tamis(dir.path(), "runs out --format json").expect_code(0).json();
    assert_eq!((runs[0]["rows"]["rows_in"].as_u64(), runs[1]["rows"]["rejected"].as_u64()), (Some(40), Some(1)));
    assert_eq!(runs.as_array().unwrap().len(), 2);
    tamis(dir.path(), "verify out").expect_code(0);
    tamis(dir.path(), "index verify out/_tamis/index").expect_code(0);
    let kept = local_delta(dir.path(), "kept");
    assert_eq!((kept["rows"].as_u64(), kept["nulls"]["stars"].as_u64()), (Some(24), Some(23)));

    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 40);
    config(dir.path(), "in/000.jsonl", "out");
    let summary = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(summary["manifest"]["rows"]["kept"], 0, "all of it is known");
    assert_eq!(summary["manifest"]["index"]["indexed_rows"], 24);
    config(dir.path(), "in", "out");
    tamis(dir.path(), "run run.toml").expect_code(0);
    assert_eq!(local_delta(dir.path(), "kept")["rows"], sum(&commits(&dir.path().join("out")), "kept"));
    tamis(dir.path(), "inspect out").expect_code(0);
}
