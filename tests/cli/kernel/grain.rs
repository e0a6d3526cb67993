//! Paragraphs and lines that several rows have, and rows that repeat themselves: those of a run in one process, whatever the units.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::driver::{Driver, Place};
use super::{check, config, records, samples, write_lines};
use crate::support::{json_lines, sample, table, tamis};

/// Rows of a table that a run by kernels has written.
fn n_rows(dir: &Path, name: &str) -> usize {
    table(&dir.join("together"), name).1.num_rows()
}

/// Rows that share paragraphs and lines with each other in many ways, and some that repeat themselves.
fn pool(dir: &Path) -> Vec<String> {
    let laws = json_lines(&sample("laws.jsonl"));
    let texts: Vec<&str> = laws.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).filter(|line| line.len() > 30).collect();
    let paragraph = |at: usize| lines[at % 97..at % 97 + 1 + at % 3].join("\n");
    let row = |at: usize| {
        let mut text: Vec<String> = (0..at % 7).map(|n| paragraph(at * 13 + n * n * 5)).collect();
        text.push(if at.is_multiple_of(4) {
            format!("Zeile {at}, die sonst niemand hat, mit genug Wörtern.")
        } else {
            paragraph(at * 3)
        });
        if at.is_multiple_of(9) {
            text.push(text[0].clone());
        }
        let blank = if at.is_multiple_of(5) { "\r\n \r\n" } else { "\n\n" };
        let label = if at.is_multiple_of(3) { "a" } else { "b" };
        json!({"id": format!("z{:03}", at * 11 % 301), "text": text.join(blank), "n": at, "label": label})
    };
    let mut rows: Vec<Value> = (0..301).map(row).collect();
    rows.push(json!({"id": "none", "text": null, "n": -1, "label": "a"}));
    rows.push(json!({"id": "blank", "text": " \n\n", "n": -2, "label": "b"}));
    let again = [lines[3]; 12].join("\n");
    rows.insert(40, json!({"id": "again", "text": again, "n": -3, "label": "a"}));
    rows.insert(140, json!({"id": "again-2", "text": again, "n": -4, "label": "a"}));
    let (some, others) = rows.split_at(120);
    write_lines(&dir.join("some.jsonl"), some);
    write_lines(&dir.join("others.jsonl"), others);
    vec!["some.jsonl".into(), "others.jsonl".into()]
}

const CUT: &str = "[grain]\naction = \"cut\"\nmin_tokens = 3\n";

#[test]
fn units_and_actions() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(dir.path());
    for unit in ["paragraph", "line"] {
        for (action, unit_bytes) in [("cut", 9_000), ("drop", 3_000)] {
            let grain = format!("[grain]\nunit = \"{unit}\"\naction = \"{action}\"\nmin_tokens = 3\n");
            let (n_units, _) = check(dir.path(), &pool, &grain, unit_bytes, 3);
            assert!(n_units > 5);
            assert!(n_rows(dir.path(), "dropped") > 20, "{grain}");
            if action == "cut" {
                assert!(n_rows(dir.path(), "spans") > 100, "{grain}");
            }
            check(dir.path(), &pool, &format!("[deduplicate]\nthreshold = 0.5\n{grain}"), unit_bytes, 2);
        }
    }
    check(dir.path(), &samples(), "[deduplicate]\n[grain]\nunit = \"line\"\nmax_duplicate_ratio = 0.1", 60_000, 4);
    check(dir.path(), &pool, &format!("input:id = \"\";tables = [\"kept\", \"dropped\"]\n{CUT}"), 4_000, 2);
}

#[test]
fn rows_that_repeat_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(dir.path());
    let drop = "[repetition]\nmin_document_tokens = 10\n";
    for repetition in [drop, "[repetition]\naction = \"cut\"\nmin_tokens = 3\n"] {
        check(dir.path(), &pool, repetition, 5_000, 3);
        let n_found = if repetition == drop { n_rows(dir.path(), "dropped") } else { n_rows(dir.path(), "spans") };
        assert!(n_found > 10, "{repetition}");
        check(dir.path(), &pool, &format!("[deduplicate]\nthreshold = 0.4\nkeep = \"n:desc\"\n{repetition}"), 5_000, 2);
        check(dir.path(), &pool, &format!("[deduplicate]\nby = \"label\"\n{repetition}{CUT}"), 5_000, 3);
    }
    // Nothing but rows that repeat themselves.
    write_lines(&dir.path().join("again.jsonl"), &[json!({"id": 1, "text": "ein Wort nach dem anderen ".repeat(30)})]);
    check(dir.path(), &["again.jsonl".into()], &format!("[deduplicate]\n{drop}{CUT}"), 5_000, 1);
}

/// Whoever looks at texts sees them as they are written.
#[test]
fn what_comes_after_sees_texts_that_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(dir.path());
    let named: Vec<Value> = ["some.jsonl", "others.jsonl"]
        .iter()
        .flat_map(|name| json_lines(dir.path().join(name).to_str().unwrap()))
        .step_by(2)
        .map(|row| json!({"id": row["id"], "label": row["label"]}))
        .collect();
    write_lines(&dir.path().join("labels.jsonl"), &named);
    let item = json_lines(dir.path().join("some.jsonl").to_str().unwrap())[30].clone();
    write_lines(&dir.path().join("items.jsonl"), &[item]);
    let rest = "[repetition]\nmin_document_tokens = 10\n[decontaminate]\npaths = [\"items.jsonl\"]\nmin_tokens = 3\n";
    for (quality, score) in [
        ("scorer = \"dsir\"\nreference = [\"labels.jsonl\"]", "scorer = \"builtin\""),
        ("column = \"n\"", "scorer = \"ngram\""),
    ] {
        let quality = quality.replace("labels.jsonl", "items.jsonl");
        let sections = format!(
            "[deduplicate]\nthreshold = 0.5\n{CUT}{rest}[quality]\nkeep = \"top\"\nratio = 0.6\n{quality}\n[score]\n{score}\n"
        );
        check(dir.path(), &pool, &sections, 6_000, 3);
        let select = "[select]\nbudget = 15\nlabels = [\"labels.jsonl\"]\n";
        if score.contains("builtin") {
            check(dir.path(), &pool, &format!("{sections}{select}"), 6_000, 2);
        }
    }
    let guards = "[guards]\nmax_dropped_ratio = 0.95\n[score]\n[select]\nbudget = 15\nlabels = [\"labels.jsonl\"]\n";
    check(dir.path(), &pool, &format!("{CUT}{rest}{guards}"), 6_000, 2);
}

/// A second run is compared with what the first one has kept, as it was read.
#[test]
fn an_index_has_whole_texts() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(dir.path());
    let sections = format!("[deduplicate]\nthreshold = 0.6\n[index]\nurl = \"{{out}}-index\"\n{CUT}");
    for n_files in [1, 2] {
        check(dir.path(), &pool[..n_files], &sections, 4_000, 3);
    }
}

#[test]
fn what_was_cut_can_be_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(dir.path());
    check(dir.path(), &pool, CUT, 4_000, 3);
    tamis(dir.path(), "restore together -o restored").expect_code(0);
    tamis(dir.path(), "restore alone -o expected").expect_code(0);
    let texts = |name: &str| super::rows(&dir.path().join(name), "kept");
    assert!(texts("restored").len() > 100);
    assert_eq!(texts("restored"), texts("expected"));
    tamis(dir.path(), "verify together").expect_code(0);
}

/// Records that are lost, or come twice, end the run.
#[test]
fn faults_on_the_way_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(dir.path());
    let path = config(dir.path(), "faulty", &pool, CUT);
    let driver = || Driver::new(Place::at(dir.path()), path.clone(), 4_000);
    driver().expect_fault("hold", |sent| records::without_first(sent, 33), "units were divided");
    driver().expect_fault("hold", records::twice, "twice");
    driver().expect_fault("hold", |sent| records::without_first(sent, 34), "nothing of the row");
    let not_told = Driver { on_its_way: Some(("write", |units| records::without(units, "cuts"))), ..driver() };
    let told = not_told.try_run().map(|ended| ended.code);
    assert!(told.as_ref().is_err_and(|told| told.contains("what was cut is not what was to be cut")), "{told:?}");
    driver().expect_refusal(|sent| records::without_first(&sent, 38), "nothing is said of paragraphs");
    driver().expect_refusal(|sent| records::without_first(&sent, 7), "dropped");
    assert!(!fs::exists(dir.path().join("faulty/manifest.json")).unwrap());
}
