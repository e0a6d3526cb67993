//! No row is dropped without proof, hardly any pair is missed: against all pairs, by brute force.

use std::collections::HashMap;

use crate::support::{json_lines, judge, sample, tamis};

fn check(inputs: &[&str], threshold: f64, recall: f64, max_missed_ratio: f64) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<String> = inputs.iter().map(|name| sample(name)).collect();
    let texts: HashMap<String, String> = paths
        .iter()
        .flat_map(|path| json_lines(path))
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned()))
        .collect();
    let args = format!("dedup {} -o out --threshold {threshold} --recall {recall}", paths.join(" "));
    tamis(dir.path(), &args).expect_code(0);
    let verdicts = judge(&dir.path().join("out"), &texts, threshold);
    assert_eq!(verdicts.false_drops, [], "{args}");
    assert!(verdicts.true_pairs > 20, "{args}: {} pairs prove nothing", verdicts.true_pairs);
    let most = (max_missed_ratio * verdicts.true_pairs as f64) as usize;
    assert!(verdicts.missed_pairs <= most, "{args}: {verdicts:?}");
}

#[test]
fn sample_data_at_every_threshold() {
    for threshold in [0.5, 0.7, 0.8, 0.9] {
        check(&["licences.jsonl"], threshold, 0.99, 0.01);
        check(&["laws.jsonl"], threshold, 0.99, 0.01);
    }
}

#[test]
fn exhaustive_recall_misses_nothing() {
    for threshold in [0.5, 0.8] {
        check(&["licences.jsonl", "laws.jsonl"], threshold, 1.0, 0.0);
    }
}

#[test]
fn short_questions() {
    check(&["banking.jsonl"], 0.5, 0.99, 0.01);
}
