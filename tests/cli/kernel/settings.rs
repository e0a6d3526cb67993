//! Settings of a run: the rows of a run in one process, whatever the units; what is refused.

use std::fs;

use serde_json::{Value, json};

use super::driver::{Driver, Place, Session, run};
use super::tables::mixed;
use super::{check, config, every, records, samples};
use crate::support::{command, finish, sample, tamis};

#[test]
fn the_sample_data_in_units_of_any_size() {
    let dir = tempfile::tempdir().unwrap();
    let sections = "[deduplicate]\nthreshold = 0.7";
    let (few, n_sets) = check(dir.path(), &samples(), sections, 1 << 40, 1);
    let (many, n_sets_of_many) = check(dir.path(), &samples(), sections, 10_000, 3);
    assert!(few < many && n_sets > 0 && n_sets == n_sets_of_many, "{few} {many} {n_sets} {n_sets_of_many}");
    // Shorter than most rows.
    let lines = fs::read_to_string(sample("laws.jsonl"))
        .unwrap()
        .lines()
        .take(60)
        .fold(String::new(), |text, line| text + line + "\n");
    fs::write(dir.path().join("some.jsonl"), lines).unwrap();
    check(dir.path(), &["some.jsonl".into()], sections, 100, 100);
}

#[test]
fn settings_of_the_search() {
    let dir = tempfile::tempdir().unwrap();
    for settings in [
        "threshold = 0.5\nkeep = \"longest\"",
        "threshold = 0.6\nrecall = 1.0",
        "threshold = 0.6\nlinkage = \"connected\"",
        "threshold = 0.6\ncap_cluster = 2",
        "preset = \"loose\"\nkeep = \"longest\"\nlinkage = \"connected\"",
        "ignore_digits = true\nngram = 3",
    ] {
        check(dir.path(), &samples(), &format!("[deduplicate]\n{settings}"), 50_000, 2);
    }
}

#[test]
fn settings_that_look_at_columns() {
    let dir = tempfile::tempdir().unwrap();
    for scope in ["within-source", "across-sources"] {
        // The same rows in several files, and a column that few rows have.
        let inputs: Vec<String> = ["x.jsonl", "y.jsonl", "z.jsonl"].map(str::to_owned).into();
        for (n, name) in (1..).zip(&inputs) {
            every(n, &dir.path().join(name));
        }
        let numbered = format!("input:id = \"\";[deduplicate]\nthreshold = 0.7\nscope = \"{scope}\"");
        check(dir.path(), &inputs, &numbered, 60_000, 3);
        let by_column = format!("input:source = \"label\";[deduplicate]\nthreshold = 0.6\nscope = \"{scope}\"");
        check(dir.path(), &samples(), &by_column, 60_000, 2);
    }
    for settings in [
        "keep = \"id:desc\"",
        "keep = \"label:desc,id:asc\"",
        "by = \"label\"",
        "by = \"label\"\nkeep = \"longest\"\nrecall = 1.0",
    ] {
        check(dir.path(), &samples(), &format!("[deduplicate]\nthreshold = 0.6\n{settings}"), 60_000, 3);
    }
    check(dir.path(), &mixed(dir.path())[..4], "input:id = \"\";[deduplicate]\nkeep = \"n:desc\"", 500, 50);
    config(dir.path(), "unknown", &samples(), "[deduplicate]\nkeep = \"nowhere:asc\"");
    let driver = Driver::new(Place::at(dir.path()), dir.path().join("unknown.toml"), 1 << 30);
    let message = driver.try_run().map(|ended| ended.code).unwrap_err();
    assert!(message.contains("`nowhere`"), "{message}");
}

#[test]
fn held_out_items() {
    let dir = tempfile::tempdir().unwrap();
    // Of a file in another folder than tasks may run in, named by its relative path; an item in part, one whole, one in no row.
    let laws = fs::read_to_string(sample("laws.jsonl")).unwrap();
    let texts: Vec<Value> = laws.lines().take(40).map(|line| serde_json::from_str(line).unwrap()).collect();
    let items: String = texts
        .iter()
        .step_by(3)
        .map(|row| row["text"].as_str().unwrap().split_inclusive(' ').skip(3).take(60).collect::<String>())
        .chain(["these words are in none of all the rows of the sample data at all".into()])
        .map(|text| format!("{}\n", json!({"text": text})))
        .collect();
    // Some of them are in another file, too, of which the whole path comes first: that is where they are found.
    let more = dir.path().join("more.jsonl");
    fs::write(&more, items.lines().take(5).fold(String::new(), |text, line| text + line + "\n")).unwrap();
    fs::write(dir.path().join("held_out.jsonl"), items).unwrap();
    let held_out = format!("[decontaminate]\npaths = [\"held_out.jsonl\", {}]\n", json!(more));
    for others in [
        "[deduplicate]\nthreshold = 0.7",
        "[deduplicate]\nthreshold = 0.7\nkeep = \"id:desc\"",
        "[deduplicate]\nthreshold = 0.7\nkeep = \"longest\"\n[index]\nurl = \"{out}_index\"\n[guards]\nmax_dropped_ratio = 0.9",
        "",
    ] {
        let sections = format!("{held_out}{others}");
        check(dir.path(), &samples(), &sections, 40_000, 3);
        let manifest: Value =
            serde_json::from_slice(&fs::read(dir.path().join("together/manifest.json")).unwrap()).unwrap();
        assert!(manifest["dropped_by_reason"]["contaminated"].as_u64() > Some(10), "{}", manifest["dropped_by_reason"]);
    }
    // The id of a row that is dropped for what it contains counts as any other.
    let ids = laws.lines().chain(laws.lines().take(1)).fold(String::new(), |text, line| text + line + "\n");
    fs::write(dir.path().join("twice.jsonl"), ids).unwrap();
    let config = config(dir.path(), "twice", &["twice.jsonl".into()], &held_out);
    let mut session = Session::start(Place::at(dir.path()), &config, 1 << 30);
    let units = session.read();
    assert_eq!(units.stages, ["ids"]);
    let scanned = run(Place::at(dir.path()), "scan", &units.batch, &units.job.unwrap(), "x");
    assert_eq!(records::n_given_ids(&scanned), laws.lines().count() + 1);
    session.end();
}

#[test]
fn loss_guards() {
    let dir = tempfile::tempdir().unwrap();
    let guards = "[deduplicate]\nthreshold = 0.7\n[guards]\n";
    check(dir.path(), &samples(), &format!("{guards}max_dropped_ratio = 0.9\nmax_cluster_rows = 500"), 50_000, 3);
    let strict = "max_dropped_ratio = 0.05\nmax_cluster_rows = 3";
    check(dir.path(), &samples(), &format!("{guards}{strict}\nallow_loss = true"), 50_000, 3);
    // By a column, of which few rows have a value.
    let by_column = "input:source = \"label\";[deduplicate]\nthreshold = 0.7\n[guards]\nallow_loss = true\n";
    check(dir.path(), &samples(), &format!("{by_column}{strict}"), 50_000, 3);

    config(dir.path(), "stopped", &samples(), &format!("{guards}{strict}"));
    let alone = tamis(dir.path(), "run stopped.toml --log-format json --footprint off").expect_code(2);
    let config = dir.path().join("stopped.toml");
    let driver = Driver::new(Place::at(dir.path()), config, 50_000);
    let together = driver.try_run().map(|ended| ended.code).unwrap_err();
    let message = |stderr: &str| {
        let last = stderr.lines().rfind(|line| line.contains("\"message\"")).unwrap();
        serde_json::from_str::<Value>(last).unwrap()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(message(&together), message(&alone.stderr));
    assert!(!dir.path().join("stopped").exists());
}

#[test]
fn what_a_cluster_does_not_do_is_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for (sections, expect) in [
        ("[deduplicate]\nmeasure = \"containment\"", "containment"),
        ("mode = \"append\"\ncommit_files = 3", "commit_files"),
        ("[deduplicate]\n[footprint]\nmax_g = 1.0", "max_g"),
    ] {
        let config = config(dir.path(), "out", &["nowhere.jsonl".into()], sections);
        let ended = finish(command(dir.path()).args(["kernel", "session"]).arg(config)).expect_code(2);
        assert!(ended.stderr.contains(expect) && ended.stderr.contains("cluster yet"), "{}", ended.stderr);
        assert!(ended.stdout.is_empty() && !dir.path().join("out").exists());
    }
    let config = config(dir.path(), "out", &["-".into()], "[deduplicate]");
    let ended = finish(command(dir.path()).args(["kernel", "session"]).arg(config)).expect_code(2);
    assert!(ended.stderr.contains("standard input"), "{}", ended.stderr);
}
