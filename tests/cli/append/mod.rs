//! Runs that are added to one output: each input is read once, each run is visible whole or not at all, and readers of Delta
//! Lake tables see the same rows.

mod afterwards;
mod changed;
mod columns;
mod kills;
mod lease;
mod many;
mod outages;
mod parts;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::python::boto3;
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

/// The same with more lines in `[output]`.
fn config_with(dir: &Path, input: &str, output: &str, lines: &str) {
    config(dir, input, output);
    let text = std::fs::read_to_string(dir.join("run.toml")).unwrap();
    std::fs::write(dir.join("run.toml"), text + lines + "\n").unwrap();
}

/// What two readers of Delta Lake tables see in some tables.
pub fn delta(dir: &Path, environment: &[(&'static str, String)], tables: &[String]) -> Vec<Value> {
    let peers = std::env::var("TAMIS_TEST_PEERS").expect("run the tests with `bash tests/run.sh`");
    let mut python = Command::new("python3");
    python.arg(root().join("tests/support/read_delta.py")).args(tables).current_dir(dir);
    let read = finish(python.env("PYTHONPATH", peers).envs(environment.iter().cloned())).expect_code(0);
    read.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn local_delta(dir: &Path, table: &str) -> Value {
    delta(dir, &[], &[format!("out/{table}")]).remove(0)
}

pub fn commits(out: &Path) -> Vec<Value> {
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

/// A config over the sample licences in files of `n_rows`, of which one is yet to come; gives that.
fn all_but_one(dir: &Path, n_rows: usize) -> PathBuf {
    let (input, later) = (dir.join("in"), dir.join("later.jsonl"));
    std::fs::create_dir(&input).unwrap();
    let names = licences(&input, n_rows);
    std::fs::rename(input.join(&names[1]), &later).unwrap();
    config(dir, "in", "out");
    later
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
    tamis(dir.path(), "run run.toml --exit-empty 10").expect_code(10);
    tamis(dir.path(), "run run.toml --exit-empty 2").expect_code(2);
    let nothing_new = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(
        (nothing_new["nothing_new"].as_bool(), nothing_new["files"].as_u64()),
        (Some(true), Some(names.len() as u64))
    );
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
        let after = files(&dir.path().join("out"));
        let mine = |name: &&String| !name.starts_with("_tamis/lease/");
        assert!(after.keys().filter(mine).eq(before.keys().filter(mine)), "{args} left something behind");
        assert!(before.iter().filter(|(name, _)| mine(name)).all(|(name, bytes)| after[name] == *bytes), "{args}");
    };
    refused("run run.toml --overwrite", "nothing to overwrite");
    refused("dedup in -o out", "is not empty");
    refused("dedup in -o out --overwrite", "added one by one");

    std::fs::write(dir.path().join("in").join(&names[1]), "{\"id\":\"x\",\"text\":\"other\"}\n").unwrap();
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(dir.path().join("run.toml"), text.replace("[input]\n", "[input]\nchanged = \"refuse\"\n")).unwrap();
    refused("run run.toml", "has changed since run");
    std::fs::write(dir.path().join("run.toml"), text).unwrap();
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

fn sum(commits: &[Value], of: &str) -> u64 {
    commits.iter().map(|commit| commit["manifest"]["rows"][of].as_u64().unwrap()).sum()
}

#[test]
fn a_file_may_grow() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(sample("licences.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let write =
        |n_lines: usize| std::fs::write(dir.path().join("in.jsonl"), lines[..n_lines].join("\n") + "\n").unwrap();
    config(dir.path(), "in.jsonl", "out");
    let replacing = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    let refusing = replacing.replace("[input]\n", "[input]\nchanged = \"refuse\"\n");
    let reading = replacing.replace("[input]\n", "[input]\nchanged = \"read\"\n");
    std::fs::write(dir.path().join("run.toml"), &refusing).unwrap();
    write(100);
    tamis(dir.path(), "run run.toml").expect_code(0);
    write(200);
    assert!(tamis(dir.path(), "run run.toml").expect_code(2).stderr.contains("to \"read\" if it only grows"));
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
