//! Rows that say the same in other words: those of a run in one process, whatever the units.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::driver::{Driver, Place};
use super::{check, config, records, write_lines};
use crate::embed::model;
use crate::support::{json_lines, sample, table};

fn n_rows(dir: &Path, name: &str) -> usize {
    table(&dir.join("together"), name).1.num_rows()
}

/// Questions of which many say the same; two rows say nothing. Gives the names of the files, and the section.
fn pool(dir: &Path) -> (Vec<String>, String) {
    let mut rows = json_lines(&sample("banking.jsonl"))[..260].to_vec();
    rows.iter_mut().enumerate().for_each(|(at, row)| row["n"] = json!(at * 37 % 101));
    rows.insert(9, json!({"id": "nothing", "text": "", "n": 1}));
    rows.insert(200, json!({"id": "null", "text": null, "n": 2}));
    let (some, others) = rows.split_at(100);
    write_lines(&dir.join("some.jsonl"), some);
    write_lines(&dir.join("others.jsonl"), others);
    (vec!["some.jsonl".into(), "others.jsonl".into()], format!("[semantic]\nmodel = \"{}\"\n", model()))
}

#[test]
fn thresholds_orders_and_clusters() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, semantic) = pool(dir.path());
    for settings in ["threshold = 0.8\n", "threshold = 0.6\nclusters = 3\nseed = 5\nkeep = \"n:desc,id:asc\"\n"] {
        let (n_units, _) = check(dir.path(), &pool, &format!("{semantic}{settings}"), 9_000, 3);
        assert!(n_units > 3);
        assert!(n_rows(dir.path(), "dropped") > 20, "{settings}");
    }
    check(dir.path(), &pool, &format!("input:id = \"\";tables = [\"kept\", \"evidence\"]\n{semantic}"), 9_000, 2);
}

/// Rows that others are dropped for already, or that hold what is cut elsewhere, stay; and what comes after knows who went.
#[test]
fn with_everything_before_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, semantic) = pool(dir.path());
    let mut rows = json_lines(dir.path().join("others.jsonl").to_str().unwrap());
    let footer = "\nmany of the questions end with one and the same sentence";
    for row in rows.iter_mut().step_by(2).filter(|row| row["text"].is_string()) {
        row["text"] = json!(format!("{}{footer}", row["text"].as_str().unwrap()));
    }
    write_lines(&dir.path().join("others.jsonl"), &rows);
    let labels: Vec<Value> =
        rows.iter().step_by(2).map(|row| json!({"id": row["id"], "label": row["label"]})).collect();
    write_lines(&dir.path().join("labels.jsonl"), &labels);
    let before = "[deduplicate]\nthreshold = 0.5\nkeep = \"n:asc\"\n[grain]\nunit = \"line\"\naction = \"cut\"\nmin_tokens = 3\n";
    let semantic = format!("{semantic}threshold = 0.7\n");
    check(dir.path(), &pool, &format!("{before}{semantic}"), 9_000, 3);
    assert!(n_rows(dir.path(), "spans") > 5, "{}", n_rows(dir.path(), "spans"));
    let after = "[quality]\nkeep = \"top\"\nratio = 0.7\ncolumn = \"n\"\n[score]\n[select]\nbudget = 9\nlabels = [\"labels.jsonl\"]\n";
    check(dir.path(), &pool, &format!("{before}{semantic}{after}[guards]\nmax_dropped_ratio = 0.99"), 9_000, 2);
    check(dir.path(), &pool, &format!("{semantic}{after}[guards]\nmax_cluster_rows = 50"), 9_000, 3);
    let index = "[deduplicate]\n[index]\nurl = \"{out}-index\"\n";
    for n_files in [1, 2] {
        check(dir.path(), &pool[..n_files], &format!("{index}{semantic}"), 9_000, 3);
    }
}

/// Records that are lost, or come twice, end the run.
#[test]
fn faults_on_the_way_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, semantic) = pool(dir.path());
    let path = config(dir.path(), "faulty", &pool, &semantic);
    let driver = || Driver::new(Place::at(dir.path()), path.clone(), 9_000);
    driver().expect_fault("fold", |sent| records::without_first(sent, 39), "not the next one");
    driver().expect_fault("fold", |sent| records::without_first(sent, 40), "not");
    driver().expect_fault("fold", |sent| records::second_for_first(sent, 40), "not the next one");
    driver().expect_fault("fold", records::twice, "twice");
    driver().expect_refusal(|sent| records::without_first(&sent, 41), "nothing is said of embeddings");
    driver().expect_refusal(|sent| records::without_first(&sent, 7), "not as many as were counted");
    assert!(!fs::exists(dir.path().join("faulty/manifest.json")).unwrap());
}
