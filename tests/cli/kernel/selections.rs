//! Labelling batches: the rows of a run in one process, whatever the units.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::driver::{Change, Driver, Place};
use super::{check, config, records, rows, samples, write_lines};
use crate::support::{json_lines, sample, tamis};

/// The first questions, each third with a label in another file.
fn write_pool(dir: &Path, n_rows: usize) -> Vec<String> {
    let pool = json_lines(&sample("banking.jsonl"));
    write_lines(&dir.join("pool.jsonl"), &pool[..n_rows]);
    let labels = pool[..n_rows].iter().step_by(3).map(|row| json!({"id": row["id"], "label": row["label"]}));
    write_lines(&dir.join("labels.jsonl"), &labels.chain([json!({"id": "?", "label": "?"})]).collect::<Vec<_>>());
    vec!["pool.jsonl".into()]
}

const LABELS: &str = "labels = [\"labels.jsonl\"]\n";

#[test]
fn every_strategy() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_pool(dir.path(), 500);
    for strategy in [
        "auto",
        "random",
        "least-confidence",
        "margin",
        "entropy",
        "bald",
        "vote-entropy",
        "min-margin",
        "cluster-margin",
        "typiclust",
        "probcover",
        "k-center",
        "k-means",
        "facility-location",
        "stochastic-facility-location",
        "uherding",
        "badge",
        "anchor",
        "activelab",
    ] {
        let sections =
            format!("[deduplicate]\nthreshold = 0.6\n[select]\nbudget = 30\nstrategy = \"{strategy}\"\n{LABELS}");
        let (n_units, _) = check(dir.path(), &inputs, &sections, 16_000, 2);
        assert!(2 < n_units);
        let batch = rows(&dir.path().join("together"), "batch");
        assert!(batch.iter().filter(|row| row.contains("banking77")).count() == 30, "{strategy}: {batch:?}");
    }
}

#[test]
fn quotas_costs_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_pool(dir.path(), 800);
    for (limits, units_at_once) in [
        ("stratum_column = \"label\"\nstratum_max_ratio = 0.1\ncandidates = 60", 1),
        ("stratum_column = \"tamis_length\"\nstratum_max_ratio = 0.3\nmax_similarity = 0.7", 3),
        ("strategy = \"margin\"\ncost_exponent = 0.5\ncost_base = 20\nrandom_ratio = 0.5\nseed = 3", 50),
        ("strategy = \"badge\"\ncandidates = 70\nstratum_column = \"label\"\nstratum_max_ratio = 0.2", 2),
    ] {
        let sections = format!("[select]\nbudget = 50\n{limits}\n{LABELS}");
        check(dir.path(), &inputs, &sections, 20_000, units_at_once);
    }
    // More than there is.
    check(dir.path(), &inputs, &format!("[select]\nbudget = 5000\nstrategy = \"margin\"\n{LABELS}"), 20_000, 3);
}

/// Nothing to learn from, or nothing to tell apart.
#[test]
fn before_there_are_labels() {
    let dir = tempfile::tempdir().unwrap();
    check(dir.path(), &samples(), "[deduplicate]\nthreshold = 0.6\n[select]\nbudget = 40", 60_000, 3);
    let inputs = write_pool(dir.path(), 200);
    let same: Vec<Value> =
        json_lines(&sample("banking.jsonl"))[..40].iter().map(|row| json!({"id": row["id"], "label": "one"})).collect();
    write_lines(&dir.path().join("labels.jsonl"), &same);
    check(dir.path(), &inputs, &format!("[select]\nbudget = 20\n{LABELS}"), 9_000, 2);
    let tables = "[score]\n[select]\nbudget = 20\nstrategy = \"random\"";
    check(dir.path(), &inputs, tables, 9_000, 2);
}

/// Labels of rows that are dropped count for those that stand for them; those of held-out items do not count.
#[test]
fn labels_of_rows_that_go() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_pool(dir.path(), 900);
    let pool = json_lines(&sample("banking.jsonl"));
    write_lines(&dir.path().join("items.jsonl"), &pool.iter().step_by(9).take(60).cloned().collect::<Vec<_>>());
    let found = "[decontaminate]\npaths = [\"items.jsonl\"]\nmin_tokens = 3\n[deduplicate]\nthreshold = 0.4\n";
    // Each row twice, so that many labelled ones are dropped for a later or an earlier one.
    let twice: Vec<Value> = (0..2)
        .flat_map(|time| {
            pool[..300].iter().map(move |row| {
                let mut row = row.clone();
                row["id"] = json!(format!("{}-{time}", row["id"].as_str().unwrap()));
                row
            })
        })
        .collect();
    write_lines(&dir.path().join("twice.jsonl"), &twice);
    let later = twice[300..].iter().step_by(2).map(|row| json!({"id": row["id"], "label": row["label"]}));
    write_lines(&dir.path().join("later.jsonl"), &later.collect::<Vec<_>>());
    let both = "[score]\nlabels = [\"labels.jsonl\"]\n[select]\nbudget = 30\nlabels = [\"later.jsonl\"]";
    let inputs_of_both = [inputs, vec!["twice.jsonl".into()]].concat();
    check(dir.path(), &inputs_of_both, &format!("{found}{both}"), 20_000, 3);
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("together/manifest.json")).unwrap()).unwrap();
    assert!(manifest["selection"]["labelled_rows"].as_u64() > Some(100), "{}", manifest["selection"]);
}

/// What annotators do not agree on, asked of them again; with a column of who said it, and rows that they are split about.
#[test]
fn answers_of_several_annotators() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_pool(dir.path(), 600);
    let answers: Vec<Value> = json_lines(&sample("banking.jsonl"))[..600]
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 2 == 0)
        .flat_map(|(at, row)| {
            let length = row["text"].as_str().unwrap().len();
            let kind = if length < 40 { "short" } else { "long" };
            let other = if at % 5 == 0 { "odd" } else { kind };
            [("ann", kind), ("bob", other)].map(|(who, label)| json!({"id": row["id"], "label": label, "who": who}))
        })
        .collect();
    write_lines(&dir.path().join("labels.jsonl"), &answers);
    for strategy in ["activelab", "margin"] {
        let sections = format!(
            "[deduplicate]\nthreshold = 0.5\n[select]\nbudget = 30\nstrategy = \"{strategy}\"\nannotator_column = \
             \"who\"\n{LABELS}"
        );
        check(dir.path(), &inputs, &sections, 16_000, 2);
    }
    let manifest = fs::read_to_string(dir.path().join("together/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["selection"]["strategy"], "margin");
}

#[test]
fn scorers_of_all_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_pool(dir.path(), 300);
    let mut pool = json_lines(dir.path().join("pool.jsonl").to_str().unwrap());
    for row in &mut pool {
        let text = row["text"].as_str().unwrap();
        row["vector"] = json!([text.len() as f64 / 50.0, text.matches('e').count(), text.matches(' ').count(), 0.5]);
    }
    write_lines(&dir.path().join("pool.jsonl"), &pool);
    let chosen = format!("[select]\nbudget = 20\n{LABELS}strategy = ");
    for strategy in ["badge", "bald", "anchor", "activelab"] {
        let sections = format!("[score]\nscorer = \"column:vector\"\n{chosen}\"{strategy}\"");
        check(dir.path(), &inputs, &sections, 9_000, 2);
    }
    write_lines(&dir.path().join("judged.jsonl"), &json_lines(&sample("banking.jsonl"))[..300]);
    tamis(dir.path(), "distill judged.jsonl -o scorer").expect_code(0);
    for strategy in ["auto", "anchor"] {
        let sections = format!("[score]\nscorer = \"scorer\"\n{chosen}\"{strategy}\"");
        check(dir.path(), &inputs, &sections, 9_000, 2);
    }
    let some = write_pool(dir.path(), 120);
    let by_length = json_lines(dir.path().join("pool.jsonl").to_str().unwrap());
    let by_length: Vec<Value> = by_length[..60]
        .iter()
        .map(|row| json!({"id": row["id"], "label": if row["text"].as_str().unwrap().len() < 50 { "short" } else { "long" }}))
        .collect();
    write_lines(&dir.path().join("labels.jsonl"), &by_length);
    let model = crate::embed::model();
    for (strategy, head) in [("min-margin", "linear"), ("anchor", "mlp")] {
        let sections = format!("[score]\nscorer = \"{model}\"\nhead = \"{head}\"\n{chosen}\"{strategy}\"");
        check(dir.path(), &some, &sections, 4_000, 2);
    }
}

#[test]
fn tables_that_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_pool(dir.path(), 200);
    for tables in ["\"batch\"", "\"kept\", \"scores\""] {
        let sections = format!("tables = [{tables}]\n[deduplicate]\n[select]\nbudget = 20\n{LABELS}");
        check(dir.path(), &inputs, &sections, 9_000, 2);
    }
    // No row of them is made: what is there to write is empty.
    let sections = format!("tables = [\"batch\"]\n[select]\nbudget = 20\n{LABELS}");
    let path = config(dir.path(), "made", &inputs, &sections);
    let is_empty: Change = |records| {
        assert_eq!(records.num_rows(), 0);
        records.clone()
    };
    let driver = Driver { on_its_way: Some(("tabulate", is_empty)), ..Driver::new(Place::at(dir.path()), path, 9_000) };
    assert_eq!(driver.run().code, 0);
}

/// Components that half precision cannot hold are the same on the way from task to task.
#[test]
fn embeddings_that_are_very_large() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_pool(dir.path(), 120);
    let mut pool = json_lines(dir.path().join("pool.jsonl").to_str().unwrap());
    for row in &mut pool {
        let length = row["text"].as_str().unwrap().len();
        row["label"] = json!(if length < 50 { "short" } else { "long" });
        row["vector"] = json!([70_000, 2.5, length as f64 * 1e36]);
    }
    write_lines(&dir.path().join("pool.jsonl"), &pool);
    write_lines(&dir.path().join("labels.jsonl"), &pool[..60]);
    for strategy in ["anchor", "badge"] {
        let sections =
            format!("[score]\nscorer = \"column:vector\"\n[select]\nbudget = 8\nstrategy = \"{strategy}\"\n{LABELS}");
        check(dir.path(), &inputs, &sections, 3_000, 2);
    }
}

#[test]
fn what_is_lost_on_its_way_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_pool(dir.path(), 300);
    let sections = format!("[deduplicate]\nthreshold = 0.4\n[select]\nbudget = 20\n{LABELS}");
    let config = config(dir.path(), "lossy", &inputs, &sections);
    let driver = || Driver::new(Place::at(dir.path()), config.clone(), 9_000);
    let faults: [(&'static str, Change, &str); 7] = [
        ("learn", |records| records::without_first(records, 7), "drops"),
        ("learn", |records| records::second_for_first(records, 11), "comes twice"),
        ("choose", |records| records::without_first(records, 23), "not whole"),
        ("choose", |records| records::without_first(records, 24), "not whole"),
        ("choose", |records| records::without_kind(records, 24), "not whole"),
        ("choose", records::twice, "not whole"),
        ("choose", |records| records.slice(0, 0), "to be chosen from"),
    ];
    for (kernel, fault, expect) in faults {
        driver().expect_fault(kernel, fault, expect);
    }
    for (kind, expect) in
        [(18, "rows of the batch were to be read"), (25, "rows were to be chosen"), (26, "nobody has chosen")]
    {
        driver().expect_refusal(|records| records::without_kind(&records, kind), expect);
    }
    // As many rows, but not those that were chosen.
    driver().expect_refusal(|records| records::second_for_first(&records, 18), "were to be read");
    assert!(!dir.path().join("lossy").exists());
}
