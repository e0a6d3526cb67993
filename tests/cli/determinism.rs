//! The same bytes whatever the threads, the batches, the memory and the order of the files.

use std::path::Path;

use crate::support::{files, json_lines, sample, tamis};

/// Sample data in four files of two formats, one of them twice compressed.
fn input(dir: &Path) {
    std::fs::create_dir(dir.join("in")).unwrap();
    for name in ["licences", "laws"] {
        let text = std::fs::read_to_string(sample(&format!("{name}.jsonl"))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let half = lines.len() / 2;
        std::fs::write(dir.join(format!("in/{name}-1.jsonl")), lines[..half].join("\n")).unwrap();
        std::fs::write(dir.join(format!("in/{name}-0.jsonl")), lines[half..].join("\n") + "\n{\"broken\n").unwrap();
    }
}

#[test]
fn output_bytes_depend_on_input_and_settings_alone() {
    let dir = tempfile::tempdir().unwrap();
    input(dir.path());
    let run = |inputs: &str, flags: &str| {
        let args = format!("dedup {inputs} -o out --overwrite --threshold 0.6 {flags}");
        tamis(dir.path(), &args).expect_code(1);
        files(&dir.path().join("out"))
    };
    let expect = run("in", "--threads 2");
    assert!(expect.len() >= 5, "{:?}", expect.keys());
    for flags in [
        "--threads 1",
        "--threads 8",
        "--threads 8 --batch-rows 1",
        "--batch-rows 7",
        "--memory-limit 64MiB",
        "--memory-limit 4GiB",
        "--memory-limit 64MiB --threads 1",
    ] {
        assert!(run("in", flags) == expect, "{flags}");
    }
    let shuffled = "in/licences-1.jsonl in/laws-0.jsonl in/licences-0.jsonl in/laws-1.jsonl in/laws-0.jsonl";
    assert!(run(shuffled, "") == expect, "order of the files");
    assert!(run("in/l*.jsonl", "") == expect, "a glob");
}

#[test]
fn selection_too() {
    let dir = tempfile::tempdir().unwrap();
    let pool = sample("banking.jsonl");
    let labels: Vec<String> = json_lines(&pool)
        .iter()
        .step_by(29)
        .map(|row| format!("{},{}", row["id"].as_str().unwrap(), row["label"].as_str().unwrap()))
        .collect();
    std::fs::write(dir.path().join("labels.csv"), format!("id,label\n{}\n", labels.join("\n"))).unwrap();
    for labels in ["", "--labels labels.csv"] {
        let run = |flags: &str| {
            tamis(dir.path(), &format!("select {pool} -o out --overwrite --budget 40 {labels} {flags}")).expect_code(0);
            files(&dir.path().join("out"))
        };
        let expect = run("--threads 2");
        for flags in ["--threads 1 --batch-rows 7", "--threads 8 --memory-limit 64MiB"] {
            assert!(run(flags) == expect, "{labels} {flags}");
        }
        assert!(run("--seed 7") != expect, "the seed changes nothing");
    }
}
