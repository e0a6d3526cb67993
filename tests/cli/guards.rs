//! Loss guards: a run that would lose too much stops, names what loses, and leaves nothing behind.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{files, sample, strings, table, tamis};

/// Runs a command that a guard must stop with a message that has every one of `expect`.
#[track_caller]
fn stops(dir: &Path, args: &str, expect: &[&str]) -> String {
    let ended = tamis(dir, args).expect_code(2);
    for part in expect {
        assert!(ended.stderr.contains(part), "`{args}` does not say `{part}`:\n{}", ended.stderr);
    }
    assert!(ended.stderr.contains("--allow-loss"), "no hint: {}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert!(!dir.join("out").exists(), "`{args}` left an output");
    ended.stderr
}

/// Lines of examples, `dropped -> kept (similarity)`.
fn examples(stderr: &str) -> Vec<(String, String)> {
    let pairs = stderr.lines().filter_map(|line| {
        let (dropped, rest) = line.strip_prefix("    ")?.split_once(" -> ")?;
        Some((dropped.to_owned(), rest.split_once(" (")?.0.to_owned()))
    });
    pairs.collect()
}

fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("out/manifest.json")).unwrap()).unwrap()
}

#[test]
fn a_run_that_loses_too_much_stops_and_names_its_sources() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = format!("{} {}", sample("licences.jsonl"), sample("laws.jsonl"));
    let base = format!("dedup {inputs} -o out --threshold 0.7");
    let stderr =
        stops(dir.path(), &format!("{base} --max-dropped-ratio 0.2"), &["the run loses", "licences.jsonl` loses"]);
    assert_eq!(stderr.lines().filter(|line| line.contains("more than max_dropped_ratio = 0.2")).count(), 3, "{stderr}");
    let told = examples(&stderr);
    assert_eq!(told.len(), 15, "five examples for the run and each of two sources: {stderr}");

    tamis(dir.path(), &base).expect_code(0);
    let (_, evidence) = table(&dir.path().join("out"), "evidence");
    let pairs: Vec<_> = strings(&evidence, "dropped_id").into_iter().zip(strings(&evidence, "kept_id")).collect();
    assert!(told.iter().all(|pair| pairs.contains(pair)), "{told:?}");
}

#[test]
fn a_source_that_loses_too_much_is_named_though_the_run_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = String::new();
    for row in 0..200 {
        let source = ["a", "b", "c", "d"][row % 4];
        let text = if source == "b" { format!("copy {}", row % 20) } else { format!("text number {row} of its kind") };
        // Source c is small, what is lost of it is no sign of anything; rows without a source are one of their own.
        let source = match source {
            "c" if row > 40 => "null".to_owned(),
            source => format!("\"{source}\""),
        };
        writeln!(rows, "{{\"id\":\"row-{row}\",\"text\":\"{text}\",\"source\":{source}}}").unwrap();
    }
    rows +=
        "{\"id\":\"x\",\"text\":\"tiny\",\"source\":\"tiny\"}\n{\"id\":\"y\",\"text\":\"tiny\",\"source\":\"tiny\"}\n";
    std::fs::write(dir.path().join("in.jsonl"), rows).unwrap();
    let base = "dedup in.jsonl -o out --source-column source";
    let stderr = stops(
        dir.path(),
        &format!("{base} --max-dropped-ratio 0.5"),
        &["error: ", "the source `b` loses 45 of 50 rows (90.0 %), more than max_dropped_ratio = 0.5"],
    );
    assert!(!stderr.contains("tiny") && !stderr.contains("the run"), "{stderr}");
    let told = examples(&stderr);
    let expect: Vec<(String, String)> =
        (0..5).map(|nth| (format!("row-{}", 21 + 4 * nth), format!("row-{}", 1 + 4 * nth))).collect();
    assert_eq!(told, expect);

    let allowed = format!("{base} --max-dropped-ratio 0.5 --allow-loss");
    let ended = tamis(dir.path(), &allowed).expect_code(0);
    assert!(ended.stdout.contains("the source `b` loses 45 of 50 rows"), "{}", ended.stdout);
    let losses = &manifest(dir.path())["losses"];
    assert_eq!((losses["sources"].as_u64(), losses["breaches"].as_array().unwrap().len()), (Some(1), 1));
    let breach = &losses["breaches"][0];
    assert_eq!(
        (breach["of"].as_str(), breach["name"].as_str(), breach["dropped"].as_u64()),
        (Some("source"), Some("b"), Some(45))
    );
    assert_eq!(breach["examples"][4]["dropped_id"], "row-37");

    let expect = files(&dir.path().join("out"));
    for flags in ["--threads 1 --batch-rows 1", "--threads 8 --batch-rows 7", "--memory-limit 64MiB"] {
        tamis(dir.path(), &format!("{allowed} --overwrite {flags}")).expect_code(0);
        assert!(files(&dir.path().join("out")) == expect, "{flags}");
    }
    tamis(dir.path(), &format!("{base} --max-dropped-ratio 0.9 --overwrite")).expect_code(0);
    assert_eq!(manifest(dir.path())["losses"], Value::Null);
}

#[test]
fn a_cluster_that_is_too_large_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let base = format!("dedup {} -o out --threshold 0.7", sample("licences.jsonl"));
    tamis(dir.path(), &base).expect_code(0);
    let largest = manifest(dir.path())["near_duplicates"]["largest_cluster_rows"].as_u64().unwrap();
    let (_, evidence) = table(&dir.path().join("out"), "evidence");
    let sizes = strings(&evidence, "cluster_size");
    let of_largest = sizes.iter().position(|size| *size == largest.to_string()).unwrap();
    let leader = strings(&evidence, "cluster_id")[of_largest].clone();
    std::fs::remove_dir_all(dir.path().join("out")).unwrap();

    let expect = format!("the cluster of `{leader}` has {largest} rows, more than max_cluster_rows = {}", largest - 1);
    let stderr = stops(dir.path(), &format!("{base} --max-cluster-rows {}", largest - 1), &[&expect]);
    assert!(examples(&stderr).iter().take(5).all(|(_, kept)| *kept == leader), "{stderr}");
    tamis(dir.path(), &format!("{base} --max-cluster-rows {largest}")).expect_code(0);
    tamis(dir.path(), &format!("{base} --overwrite --max-cluster-rows 2 --allow-loss")).expect_code(0);
    let losses = &manifest(dir.path())["losses"];
    let n_clusters = {
        let mut large: Vec<String> = strings(&evidence, "cluster_id");
        let mut sizes = sizes.iter();
        large.retain(|_| sizes.next().is_some_and(|size| size != "2"));
        large.sort();
        large.dedup();
        large.len() as u64
    };
    assert_eq!(losses["clusters"], n_clusters);
    assert_eq!(losses["breaches"].as_array().unwrap().len(), 5.min(n_clusters as usize));
    assert_eq!(losses["breaches"][0]["name"], leader);
}

#[test]
fn guards_that_cannot_work_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.txt"), "one\ntwo\n").unwrap();
    for (flags, expect) in [
        ("--max-dropped-ratio 1.5", "max_dropped_ratio is 1.5"),
        ("--max-dropped-ratio NaN", "max_dropped_ratio is NaN"),
        ("--max-cluster-rows 0", "max_cluster_rows is 0"),
        ("--cap-cluster 0", "cap_cluster is 0"),
        ("--source-column text", "nothing looks at the source"),
        ("--source-column nope --max-dropped-ratio 0.5", "no column `nope`"),
        ("--source-column nope --scope within-source", "no column `nope`"),
        ("--by nope", "no column `nope`"),
        ("--scope sideways", "across-sources"),
    ] {
        let ended = tamis(dir.path(), &format!("dedup in.txt -o out {flags}")).expect_code(2);
        assert!(ended.stderr.contains(expect), "{flags}: {}", ended.stderr);
        assert!(!dir.path().join("out").exists(), "{flags} left an output");
    }
    let config = "[input]\npaths = [\"in.txt\"]\n[guards]\nmax_dropped_ratio = 0.5\n[output]\npath = \"out\"\n";
    std::fs::write(dir.path().join("c.toml"), config).unwrap();
    let ended = tamis(dir.path(), "config check c.toml").expect_code(2);
    assert!(ended.stderr.contains("[deduplicate]"), "{}", ended.stderr);
    let config = config.replace("max_dropped_ratio = 0.5", "max_cluster_rows = 5") + "[grain]\n";
    std::fs::write(dir.path().join("c.toml"), config).unwrap();
    let ended = tamis(dir.path(), "config check c.toml").expect_code(2);
    assert!(ended.stderr.contains("no clusters"), "{}", ended.stderr);
}

/// Other rules than near-duplicates drop rows as well.
#[test]
fn rules_about_lines_and_repetition_are_watched_without_near_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    let repeated = "the same five words again\n".repeat(30);
    let row = |row: usize| {
        let text = if row < 15 { format!("{row} {repeated}") } else { format!("only row {row} has this line in it") };
        format!("{}\n", serde_json::json!({"id": format!("row-{row}"), "text": text}))
    };
    std::fs::write(dir.path().join("in.jsonl"), (0..30).map(row).collect::<String>()).unwrap();
    for (section, n_dropped) in [("[repetition]", 15), ("[grain]\nunit = \"line\"", 14)] {
        let config = |limit: f64| {
            format!(
                "[input]\npaths = [\"in.jsonl\"]\n{section}\n[guards]\nmax_dropped_ratio = {limit}\n[output]\npath = \"out\"\n"
            )
        };
        std::fs::write(dir.path().join("c.toml"), config(0.4)).unwrap();
        let expect = format!("the run loses {n_dropped} of 30 rows");
        stops(dir.path(), "run c.toml", &[&expect, "the source `in.jsonl` loses"]);
        std::fs::write(dir.path().join("c.toml"), config(0.6)).unwrap();
        tamis(dir.path(), "run c.toml").expect_code(0);
        std::fs::remove_dir_all(dir.path().join("out")).unwrap();
    }
}

#[test]
fn every_rule_counts_for_the_run_and_held_out_rows_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = String::new();
    for row in 0..40 {
        let text = match row % 4 {
            0 => format!("the text of row number {row} is the only one of its kind"),
            1 => format!("said {row} again ").repeat(60),
            _ => "one two three four five six seven eight nine ten eleven twelve thirteen".to_owned(),
        };
        writeln!(rows, "{{\"id\":\"row-{row}\",\"text\":\"{text}\",\"source\":\"only\"}}").unwrap();
    }
    std::fs::write(dir.path().join("in.jsonl"), rows).unwrap();
    let held_out =
        "{\"id\":\"h\",\"text\":\"one two three four five six seven eight nine ten eleven twelve thirteen\"}\n";
    std::fs::write(dir.path().join("held.jsonl"), held_out).unwrap();
    let base = "dedup in.jsonl -o out --source-column source --repetition drop --against held.jsonl";
    let stderr = stops(
        dir.path(),
        &format!("{base} --max-dropped-ratio 0.4"),
        &["the run loses 10 of 20 rows (50.0 %)", "the source `only` loses 10 of 20 rows (50.0 %)"],
    );
    let expect: Vec<(String, String)> =
        [1, 5, 9, 13, 17].iter().map(|row| (format!("row-{row}"), format!("row-{row}"))).collect();
    assert_eq!(examples(&stderr), [expect.clone(), expect].concat());
    tamis(dir.path(), &format!("{base} --max-dropped-ratio 0.5")).expect_code(0);
}
