//! A run that is added in parts: each is a commit of its own, and what was added stays.

use super::*;

fn n_files(commits: &[Value]) -> Vec<usize> {
    commits.iter().map(|commit| commit["inputs"].as_array().unwrap().len()).collect()
}

#[test]
fn parts_give_what_one_commit_gives() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 50);
    assert!(names.len() > 6 && !names.len().is_multiple_of(3));
    config_with(dir.path(), "in", "out", "commit_files = 3");
    let summary = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert!(tamis(dir.path(), "run run.toml").expect_code(0).stdout.contains("nothing new"));
    let in_parts = commits(&dir.path().join("out"));
    assert_eq!(n_files(&in_parts), names.chunks(3).map(<[String]>::len).collect::<Vec<_>>());
    assert_eq!(summary["parts"], in_parts.len());
    let found = ["kept", "dropped", "evidence", "rejected"].map(|name| local_delta(dir.path(), name));
    let found_index = tamis(dir.path(), "index show out/_tamis/index --format json").expect_code(0).json();
    tamis(dir.path(), "index verify out/_tamis/index").expect_code(0);
    tamis(dir.path(), "verify out").expect_code(0);

    std::fs::remove_dir_all(dir.path().join("out")).unwrap();
    config(dir.path(), "in", "out");
    let whole_summary = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!((commits(&dir.path().join("out")).len(), &whole_summary["parts"]), (1, &Value::from(1)));
    for (found, name) in found.iter().zip(["kept", "dropped", "evidence", "rejected"]) {
        let whole = local_delta(dir.path(), name);
        assert_eq!((&found["ids"], &found["columns"]), (&whole["ids"], &whole["columns"]), "{name}");
    }
    let index = tamis(dir.path(), "index show out/_tamis/index --format json").expect_code(0).json();
    assert_eq!(found_index["rows"], index["rows"]);
    for pointer in ["/rows", "/dropped_by_reason", "/index/added_rows", "/index/indexed_rows", "/inputs"] {
        let of = |summary: &Value| summary["manifest"].pointer(pointer).unwrap().clone();
        assert_eq!(of(&summary), of(&whole_summary), "{pointer}");
    }
    for name in ["identical_rows", "exact_rows", "estimated_rows"] {
        let sum: u64 = in_parts.iter().map(|one| one["manifest"]["near_duplicates"][name].as_u64().unwrap()).sum();
        assert_eq!(summary["manifest"]["near_duplicates"][name], sum, "{name}");
    }
    for (table, record) in whole_summary["manifest"]["tables"].as_object().unwrap() {
        assert_eq!(summary["manifest"]["tables"][table]["rows"], record["rows"], "{table}");
    }
}

#[test]
fn a_part_has_a_size() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    std::fs::create_dir(&input).unwrap();
    for (name, n_bytes) in [("a", 400), ("b", 500), ("c", 200), ("d", 3000), ("e", 30), ("f", 30)] {
        let text = "x".repeat(n_bytes - 27);
        std::fs::write(input.join(format!("{name}.jsonl")), format!("{{\"id\":\"{name}\",\"text\":\"{text}\"}}\n"))
            .unwrap();
    }
    config_with(dir.path(), "in", "out", "commit_bytes = \"1000B\"\ncommit_files = 2");
    tamis(dir.path(), "run run.toml").expect_code(0);
    assert_eq!(n_files(&commits(&dir.path().join("out"))), [2, 1, 1, 2]);
}

#[test]
fn limits_that_cannot_work_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 200);
    for (lines, words) in
        [("commit_files = 0", "commit_files is 0"), ("commit_files = 1\n[select]\nbudget = 3", "a batch of its own")]
    {
        config_with(dir.path(), "in", "out", lines);
        assert!(tamis(dir.path(), "run run.toml").expect_code(2).stderr.contains(words), "{words}");
    }
    config_with(dir.path(), "in", "out", "commit_bytes = \"1GiB\"");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(dir.path().join("run.toml"), text.replace("mode = \"append\"\n", "")).unwrap();
    assert!(tamis(dir.path(), "run run.toml").expect_code(2).stderr.contains("are for runs that are added to others"));
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_guard_that_stops_a_part_leaves_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    std::fs::create_dir(&input).unwrap();
    let rows = |n: usize| -> String {
        (0..40)
            .map(|row| format!("{{\"id\":\"{n}-{row}\",\"text\":\"words of {} and no other\"}}\n", (row + 1) * n))
            .collect()
    };
    // All rows of the second are alike.
    for (name, n) in [("a", 1), ("b", 0), ("c", 2)] {
        std::fs::write(input.join(format!("{name}.jsonl")), rows(n)).unwrap();
    }
    config_with(dir.path(), "in", "out", "commit_files = 1\n[guards]\nmax_dropped_ratio = 0.6");
    let metrics = dir.path().join("run.prom");
    let ended = tamis(dir.path(), "run run.toml --metrics-file run.prom").expect_code(2);
    assert!(ended.stderr.contains("stopped in its part 2; those before it were added to `out`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("loses 39 of 40 rows"), "{}", ended.stderr);
    assert!(std::fs::read_to_string(metrics).unwrap().contains("exit_code{run=\"run\"} 2"));
    assert_eq!(n_files(&commits(&dir.path().join("out"))), [1]);
    tamis(dir.path(), "verify out").expect_code(0);
    std::fs::remove_file(input.join("b.jsonl")).unwrap();
    let summary = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(summary["manifest"]["inputs"][0]["name"], "in/c.jsonl", "what was added is not read again");
}

#[test]
fn a_run_that_is_stopped_keeps_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 10);
    config_with(dir.path(), "in", "out", "commit_files = 1");
    let out = dir.path().join("out");
    let mut child = command(dir.path()).args(["run", "run.toml"]).stderr(Stdio::piped()).spawn().unwrap();
    let second = out.join("_tamis/commits/00000000000000000001.json");
    while !second.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert!(stderr.contains("those before it were added") && stderr.contains("interrupted"), "{stderr}");
    let n_added = commits(&out).len();
    assert!((2..names.len()).contains(&n_added), "{n_added}");
    assert!(tamis(dir.path(), "verify out").expect_code(0).stdout.contains("is sound"), "no half of a part stays");
    let summary = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(summary["parts"].as_u64().unwrap() as usize, names.len() - n_added);
    let commits = commits(&out);
    assert_eq!(sum(&commits, "rows_in"), json_lines(&sample("licences.jsonl")).len() as u64);
    assert_eq!(local_delta(dir.path(), "kept")["rows"], sum(&commits, "kept"));
}
