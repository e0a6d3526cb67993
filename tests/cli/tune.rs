//! Presets, the what-if table, and `tamis tune`.

use std::fs;

use crate::support::{Ended, floats, sample, table, tamis};

fn near_duplicates(ended: &Ended) -> serde_json::Value {
    ended.json()["manifest"]["near_duplicates"].clone()
}

#[test]
fn presets_set_what_is_not_given() {
    let dir = tempfile::tempdir().unwrap();
    let input = sample("licences.jsonl");
    let check = |flags: &str, threshold: f64, ngram: u64, bands: [u64; 2], recall: f64| {
        let ended =
            tamis(dir.path(), &format!("dedup {input} -o out --overwrite --format json {flags}")).expect_code(0);
        let (found, config) = (near_duplicates(&ended), &ended.json()["manifest"]["config"]["deduplicate"]);
        assert_eq!(config["threshold"], threshold, "{flags}");
        assert_eq!(config["ngram"], ngram, "{flags}");
        assert_eq!(
            [&found["bands"], &found["rows_per_band"]],
            [&serde_json::json!(bands[0]), &serde_json::json!(bands[1])]
        );
        // 1 - (1 - t^r)^b
        let expect = 1.0 - (1.0 - threshold.powi(bands[1] as i32)).powi(bands[0] as i32);
        assert!((expect - recall).abs() < 5e-4, "{flags}: {expect}");
        assert!((found["recall_at_threshold"].as_f64().unwrap() - expect).abs() < 1e-9, "{flags}");
        let point = found["s_curve"].as_array().unwrap().iter().find(|point| point["similarity"] == 0.9).unwrap();
        let at = 1.0 - (1.0 - 0.9f64.powi(bands[1] as i32)).powi(bands[0] as i32);
        assert!((point["probability"].as_f64().unwrap() - at).abs() < 1e-9, "the S-curve is that of the bands used");
    };
    check("--preset web", 0.8, 5, [20, 12], 0.759);
    check("--preset standard", 0.8, 5, [16, 8], 0.947);
    check("--preset loose", 0.5, 2, [50, 4], 0.960);
    check("--preset loose --threshold 0.7", 0.7, 2, [50, 4], 1.0);
    check("--preset loose --ngram 5", 0.5, 5, [50, 4], 0.960);
    check("--preset web --recall 0.99", 0.8, 5, [32, 8], 0.997);
    check("--threshold 0.8", 0.8, 5, [32, 8], 0.997);
    let shown = tamis(dir.path(), &format!("dedup {input} -o out --overwrite --preset web")).expect_code(0).stdout;
    assert!(shown.contains("20 bands of 12 (preset web: 75.9 % of the pairs at the threshold)"), "{shown}");
    let ended = tamis(dir.path(), &format!("dedup {input} -o out --overwrite --preset web --recall 1")).expect_code(0);
    assert!(ended.stdout.contains("every pair that shares a shingle"), "{}", ended.stdout);
    tamis(dir.path(), &format!("dedup {input} -o out --overwrite --preset tight")).expect_code(2);
}

#[test]
fn a_preset_in_a_config_is_shown_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let write = |deduplicate: &str| {
        let input = sample("laws.jsonl");
        let text = format!("[input]\npaths = [{input:?}]\n[deduplicate]\n{deduplicate}\n[output]\npath = \"out\"\n");
        fs::write(dir.path().join("c.toml"), text).unwrap();
    };
    write("preset = \"loose\"\nthreshold = 0.6");
    let shown = tamis(dir.path(), "config show c.toml").expect_code(0).stdout;
    for line in ["preset = \"loose\"  # c.toml", "threshold = 0.6  # c.toml", "ngram = 2  # preset loose"] {
        assert!(shown.lines().any(|shown| shown == line), "no `{line}` in\n{shown}");
    }
    assert!(shown.contains("# 50 bands of 4 slots find 99.9 % of the pairs at the threshold"), "{shown}");
    assert!(!shown.contains("recall = "), "the bands are the preset's:\n{shown}");
    tamis(dir.path(), "run c.toml").expect_code(0);
    let first = fs::read(dir.path().join("out/manifest.json")).unwrap();
    // What is shown is a config that does the same.
    fs::write(dir.path().join("c.toml"), &shown).unwrap();
    tamis(dir.path(), "run c.toml --overwrite").expect_code(0);
    assert_eq!(fs::read(dir.path().join("out/manifest.json")).unwrap(), first);

    write("preset = \"loose\"\nrecall = 0.999");
    let shown = tamis(dir.path(), "config show c.toml").expect_code(0).stdout;
    assert!(shown.contains("recall = 0.999  # c.toml") && shown.contains("threshold = 0.5  # preset loose"), "{shown}");
    write("preset = \"tight\"");
    assert!(tamis(dir.path(), "config check c.toml").expect_code(2).stderr.contains("tight"));
}

#[test]
fn the_what_if_table_counts_the_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let input = sample("licences.jsonl");
    let ended = tamis(dir.path(), &format!("dedup {input} -o out --threshold 0.7 --format json")).expect_code(0);
    let similarities = floats(&table(&dir.path().join("out"), "evidence").1, "similarity");
    let found = near_duplicates(&ended);
    let points = found["what_if"].as_array().unwrap();
    let thresholds: Vec<f64> = points.iter().map(|point| point["threshold"].as_f64().unwrap()).collect();
    assert_eq!(thresholds, [0.75, 0.8, 0.85, 0.9, 0.95, 1.0]);
    for (point, threshold) in points.iter().zip(thresholds) {
        let expect = similarities.iter().filter(|similarity| **similarity >= threshold).count();
        assert_eq!(point["dropped_rows"], expect, "at {threshold}");
    }
    assert!(points[0]["dropped_rows"].as_u64() > points[5]["dropped_rows"].as_u64());
    let ended = tamis(dir.path(), &format!("dedup {input} -o out --overwrite --threshold 0.9")).expect_code(0);
    let line = ended.stdout.lines().find(|line| line.contains("dropped rows that reach")).unwrap();
    assert!(line.contains("0.95: ") && line.contains("1.00: "), "{line}");
}

#[test]
fn tune_agrees_with_runs_at_each_threshold() {
    let dir = tempfile::tempdir().unwrap();
    let input = sample("licences.jsonl");
    let tuned = tamis(dir.path(), &format!("tune {input} --format json")).expect_code(0).json();
    assert_eq!((&tuned["rows"], &tuned["sample"]["is_whole_input"]), (&329.into(), &true.into()));
    let lines = tuned["thresholds"].as_array().unwrap();
    assert_eq!(lines.len(), 10);
    for line in [&lines[0], &lines[4], &lines[8]] {
        let threshold = &line["threshold"];
        let args = format!("dedup {input} -o out --overwrite --threshold {threshold} --recall 1 --format json");
        let ended = tamis(dir.path(), &args).expect_code(0);
        let dropped = ended.json()["manifest"]["rows"]["dropped"].as_f64().unwrap();
        assert!((line["dropped_rows"].as_f64().unwrap() - dropped).abs() < 1e-6, "{threshold}: {line} {dropped}");
        assert!(line["recall"].as_f64().unwrap() > 0.98, "{line}");
    }
    // The pairs that are listed beside the sample.
    let listed = fs::read_to_string(sample("licences_pairs.tsv")).unwrap().lines().count();
    assert!((lines[0]["pairs"].as_f64().unwrap() - listed as f64).abs() < 1e-6, "{}", lines[0]);

    let text = tamis(dir.path(), &format!("tune {input}")).expect_code(0).stdout;
    let threshold = tuned["suggestion"]["threshold"].as_f64().unwrap();
    // What is suggested can be run as it stands.
    let command = text.lines().find_map(|line| line.strip_prefix("suggested: tamis ")).unwrap();
    assert!(command.contains(&format!("--threshold {threshold} ")), "{command}");
    tamis(dir.path(), command).expect_code(0);
    assert!(dir.path().join("OUT/manifest.json").exists());
    assert!(text.contains(tuned["suggestion"]["reason"].as_str().unwrap()), "{text}");
    assert!(text.contains("just above") && text.contains("just below"), "{text}");
    let examples = tuned["examples"]["above"].as_array().unwrap();
    assert!(!examples.is_empty() && examples.iter().all(|pair| pair["similarity"].as_f64().unwrap() >= threshold));
    assert!(text.contains(examples[0]["later"]["id"].as_str().unwrap()), "{text}");
}

#[test]
fn a_sample_is_the_same_for_any_resources_and_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let input = sample("banking.jsonl");
    let tune = |flags: &str| {
        let ended = tamis(dir.path(), &format!("tune {input} --sample 500 --ngram 2 --format json {flags}"));
        let mut tuned = ended.expect_code(0).json();
        for varying in ["seconds", "threads", "peak_memory_bytes"] {
            tuned.as_object_mut().unwrap().remove(varying);
        }
        tuned
    };
    let tuned = tune("--threads 1");
    assert_eq!(tuned["sample"]["drawn_rows"], 500);
    assert_eq!(tuned["sample"]["is_whole_input"], false);
    assert_eq!(tune("--threads 4 --batch-rows 13 --memory-limit 64MiB"), tuned);
    assert_ne!(tune("--seed 1")["examples"], tuned["examples"]);
    let note = tuned["suggestion"]["note"].as_str();
    assert_eq!(note, None, "two tokens are few already");
    let text = tamis(dir.path(), &format!("tune {input} --sample 500")).expect_code(0).stdout;
    assert!(text.contains("500 drawn at random") && text.contains("--preset loose"), "{text}");
}

#[test]
fn tune_says_what_it_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("one.jsonl"), "{\"text\":\"just one\"}\n").unwrap();
    fs::write(dir.path().join("bad.jsonl"), "{\"text\":\"one\"}\nnot json\n{\"text\":\"two\"}\n").unwrap();
    for (args, code, expect) in [
        ("tune one.jsonl", 2, "fewer than two rows"),
        ("tune bad.jsonl --sample 1", 2, "sample of 1"),
        ("tune bad.jsonl --recall 0", 2, "recall is 0"),
        ("tune none.jsonl", 2, "none.jsonl"),
        ("tune bad.jsonl", 1, "1 rows could not be read"),
    ] {
        let ended = tamis(dir.path(), args).expect_code(code);
        assert!((ended.stdout + &ended.stderr).contains(expect), "{args}");
    }
}
