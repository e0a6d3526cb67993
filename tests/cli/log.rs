//! `--log-format json`: every line on stderr is an object.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{command, finish, sample, tamis};

/// The lines of stderr, which must all be objects with the fields that every line has.
fn lines(stderr: &str) -> Vec<Value> {
    let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        for field in ["timestamp", "level", "run_id", "target", "message"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
    }
    lines
}

#[test]
fn the_log_of_a_run_has_its_id_in_every_line() {
    let dir = tempfile::tempdir().unwrap();
    let laws = sample("laws.jsonl");
    let log = |n: usize| {
        let args = format!("dedup {laws} -o out{n} -vv --log-format json");
        lines(&tamis(dir.path(), &args).expect_code(0).stderr)
    };
    let (first, second) = (log(1), log(2));
    assert!(first.iter().any(|line| line["message"] == "step started" && line["step"].is_string()), "{first:?}");
    let ids = |log: &[Value]| log.iter().map(|line| line["run_id"].to_string()).collect::<BTreeSet<_>>();
    assert!(ids(&first).len() == 1 && ids(&second).len() == 1 && ids(&first) < ids(&second), "{first:?}");

    let mut given = command(dir.path());
    given.args(["dedup", &laws, "-o", "out3", "-v"]).env("TAMIS_LOG_FORMAT", "json").env("TAMIS_RUN_ID", "mine \"1\"");
    let log = lines(&finish(&mut given).expect_code(0).stderr);
    assert!(!log.is_empty() && log.iter().all(|line| line["run_id"] == "mine \"1\""), "{log:?}");
}

#[test]
fn errors_are_objects_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.toml"), "[input]\npaths = []\nbad").unwrap();
    for (args, message, has_hint) in [
        ("convert none.jsonl -o out --log-format json", "none.jsonl", false),
        ("run c.toml --log-format=json", "not a config file", false),
        ("dedup --log-format json --wrong", "--wrong", false),
        ("index delete index --log-format json", "--yes", false),
        ("convert none.jsonl -o out --memory-limit 1MiB --log-format json", "too small", true),
    ] {
        let log = lines(&tamis(dir.path(), args).expect_code(2).stderr);
        let [error] = log.as_slice() else { panic!("{args}: {log:?}") };
        assert!(error["message"].as_str().unwrap().contains(message), "{args}: {error}");
        assert!(error["level"] == "ERROR" && error["exit_code"] == 2, "{args}: {error}");
        assert_eq!(error["hint"].is_string(), has_hint, "{args}: {error}");
    }
    let log = lines(&tamis(dir.path(), "run c.toml --log-format json").expect_code(2).stderr);
    assert!(log[0]["causes"][0].as_str().unwrap().contains("line 3"), "{log:?}");
    // Help is no error.
    assert!(tamis(dir.path(), "--help --log-format json").expect_code(0).stdout.contains("Exit codes"));
}
