//! `--measure containment`: what is dropped is in what stays; against all pairs, by brute force.

use std::collections::HashMap;
use std::path::Path;

use crate::support::{containment, files, json_lines, judge_by, sample, shingles, strings, table, tamis};

fn texts(paths: &[String]) -> HashMap<String, String> {
    let field = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
    paths.iter().flat_map(|path| json_lines(path)).map(|row| (field(&row, "id"), field(&row, "text"))).collect()
}

fn check(dir: &Path, paths: &[String], threshold: f64, recall: f64, max_missed_ratio: f64) {
    let args = format!(
        "dedup {} -o out --overwrite --measure containment --threshold {threshold} --recall {recall}",
        paths.join(" ")
    );
    tamis(dir, &args).expect_code(0);
    let out = dir.join("out");
    let texts = texts(paths);
    let verdicts = judge_by(&out, &texts, threshold, containment);
    assert_eq!(verdicts.false_drops, [], "{args}");
    assert!(verdicts.true_pairs > 20, "{args}: {} pairs prove nothing", verdicts.true_pairs);
    let most = (max_missed_ratio * verdicts.true_pairs as f64) as usize;
    assert!(verdicts.missed_pairs <= most, "{args}: {verdicts:?}");

    // The row that stays has the larger set: nothing that is said only in a dropped row is lost beyond the threshold.
    let (_, evidence) = table(&out, "evidence");
    for (dropped, kept) in strings(&evidence, "dropped_id").iter().zip(strings(&evidence, "kept_id")) {
        assert!(shingles(&texts[dropped], 5).len() <= shingles(&texts[&kept], 5).len(), "{dropped} for {kept}");
    }
    assert!(strings(&evidence, "method").iter().all(|method| method == "exact" || method == "identical"));
}

#[test]
fn sample_data_at_every_threshold() {
    let dir = tempfile::tempdir().unwrap();
    let (rarely, hardly_ever) = ((0.99, 0.01), (0.999, 0.001));
    for (threshold, (recall, max_missed_ratio)) in
        [(0.5, rarely), (0.7, hardly_ever), (0.8, rarely), (0.9, hardly_ever)]
    {
        check(dir.path(), &[sample("licences.jsonl")], threshold, recall, max_missed_ratio);
    }
    check(dir.path(), &[sample("laws.jsonl")], 0.8, 0.999, 0.001);
    check(dir.path(), &[sample("laws.jsonl")], 0.7, 1.0, 0.0);
}

#[test]
fn a_quotation_goes_for_the_text_that_it_is_from() {
    let dir = tempfile::tempdir().unwrap();
    let long: Vec<String> = (0..3000).map(|n| format!("word{n}")).collect();
    let rows = [long[1000..1060].join(" "), long.join(" "), long[..200].join(" ") + " and an end of its own"];
    let lines = rows.iter().enumerate().map(|(id, text)| format!("{{\"id\":\"r{id}\",\"text\":\"{text}\"}}\n"));
    std::fs::write(dir.path().join("in.jsonl"), lines.collect::<String>()).unwrap();
    tamis(dir.path(), "dedup in.jsonl -o by-jaccard").expect_code(0);
    assert_eq!(table(&dir.path().join("by-jaccard"), "dropped").1.num_rows(), 0);
    let ended = tamis(dir.path(), "dedup in.jsonl -o out --measure containment").expect_code(0);
    assert!(ended.stdout.contains("containment >= 0.8 of 5-token shingles"), "{}", ended.stdout);
    let (_, evidence) = table(&dir.path().join("out"), "evidence");
    assert_eq!(strings(&evidence, "dropped_id"), ["r0", "r2"]);
    assert_eq!(strings(&evidence, "kept_id"), ["r1", "r1"]);

    let json = tamis(dir.path(), "dedup in.jsonl -o out --overwrite --measure containment --format json").json();
    let record = &json["manifest"]["near_duplicates"];
    assert_eq!((record["measure"].as_str(), record["bands"].as_u64()), (Some("containment"), Some(0)));
    assert!(record["sample"]["least_shared"].as_u64() < record["sample"]["shingles"].as_u64(), "{record}");
    assert_eq!(json["manifest"]["config"]["deduplicate"]["measure"], "containment");
}

#[test]
fn a_config_file_can_say_so_too() {
    let dir = tempfile::tempdir().unwrap();
    let run = |section: &str| {
        let input = sample("licences.jsonl");
        let config = format!("[input]\npaths = [{input:?}]\n[deduplicate]\n{section}\n[output]\npath = \"out\"\n");
        std::fs::write(dir.path().join("c.toml"), config).unwrap();
        tamis(dir.path(), "run c.toml --overwrite")
    };
    run("measure = \"containment\"\nthreshold = 0.7").expect_code(0);
    let by_config = files(&dir.path().join("out"));
    let args = format!(
        "dedup {} -o out --overwrite --measure containment --threshold 0.7 --threads 1 --batch-rows 7 --memory-limit 64MiB",
        sample("licences.jsonl")
    );
    tamis(dir.path(), &args).expect_code(0);
    assert!(files(&dir.path().join("out")) == by_config, "flags, threads, batches or memory change the bytes");
    let ended = run("measure = \"overlap\"").expect_code(2);
    assert!(ended.stderr.contains("overlap"), "{}", ended.stderr);
    let ended = run("measure = \"containment\"\nthreshold = 0.01").expect_code(2);
    assert!(ended.stderr.contains("containment of 0.01"), "{}", ended.stderr);
}
