//! Rows that their quality drops: those of a run in one process, whatever the units.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::driver::{Change, Driver, Place};
use super::tables::mixed;
use super::{check, config, records, samples, write_lines};
use crate::support::{json_lines, sample, table, tamis};

/// Rows of a table that a run by kernels has written.
fn n_rows(dir: &Path, name: &str) -> usize {
    let manifest = fs::read_to_string(dir.join("together/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let n_rows = manifest["tables"][name]["rows"].as_u64().unwrap() as usize;
    assert_eq!(n_rows, table(&dir.join("together"), name).1.num_rows());
    n_rows
}

#[test]
fn every_rule() {
    let dir = tempfile::tempdir().unwrap();
    for rule in [
        "keep = \"top\"\nratio = 0.4",
        "keep = \"gumbel\"\nratio = 0.3\ntemperature = 0.5\nseed = 4",
        "keep = \"band\"\nmin = 2.0\nmax = 2.6",
        "keep = \"top\"\nratio = 0.0",
        "keep = \"band\"\nmin = -1e9",
    ] {
        let (n_units, _) = check(dir.path(), &samples(), &format!("[quality]\n{rule}"), 60_000, 3);
        assert!(3 < n_units);
    }
    let with_all = "[deduplicate]\nthreshold = 0.6\n[quality]\nkeep = \"top\"\nratio = 0.5\n";
    check(dir.path(), &samples(), with_all, 60_000, 2);
    assert_eq!(n_rows(dir.path(), "control"), n_rows(dir.path(), "kept"));
    assert!(n_rows(dir.path(), "kept") < n_rows(dir.path(), "quality"));
    check(dir.path(), &mixed(dir.path())[..4], &format!("input:id = \"\";{with_all}"), 500, 3);
}

/// Scores that are no numbers, or very large ones, and what a manifest says of them.
#[test]
fn scores_of_all_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let rows = &json_lines(&sample("banking.jsonl"))[..60];
    let texts = |name: &str| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(row[name].as_str().unwrap())).collect::<StringArray>())
    };
    let scores = [Some(f64::INFINITY), Some(f64::NEG_INFINITY), None, Some(-0.0), Some(2.5), Some(f64::NAN)];
    let scores: ArrayRef = Arc::new(scores.into_iter().cycle().take(rows.len()).collect::<Float64Array>());
    let pool = RecordBatch::try_from_iter_with_nullable([
        ("id", texts("id"), false),
        ("text", texts("text"), false),
        ("s", scores, true),
    ]);
    let pool = pool.unwrap();
    let settings = WriterProperties::builder().set_max_row_group_row_count(Some(16)).build();
    let file = fs::File::create(dir.path().join("scored.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, pool.schema(), Some(settings)).unwrap();
    writer.write(&pool).unwrap();
    writer.close().unwrap();
    for rule in ["keep = \"top\"\nratio = 0.4", "keep = \"band\"\nmax = 2.0", "keep = \"gumbel\"\nratio = 0.5"] {
        check(dir.path(), &["scored.parquet".into()], &format!("[quality]\ncolumn = \"s\"\n{rule}"), 700, 2);
        tamis(dir.path(), "verify alone").expect_code(0);
    }
}

#[test]
fn every_source_of_scores() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(sample("laws.jsonl"), dir.path().join("laws.jsonl")).unwrap();
    let top = "keep = \"top\"\nratio = 0.5\n";
    let references = json!(["laws.jsonl", sample("licences.jsonl")]);
    for scorer in ["ngram", "dsir"] {
        let sections = format!("[quality]\n{top}scorer = \"{scorer}\"\nreference = {references}\nseed = 2");
        check(dir.path(), &samples(), &sections, 60_000, 3);
    }
    let questions = json_lines(&sample("banking.jsonl"));
    let judged: Vec<Value> = questions[..300]
        .iter()
        .map(|row| {
            let n_bytes = row["text"].as_str().unwrap().len();
            let kind = if n_bytes < 50 { "short" } else { "long" };
            json!({"id": row["id"], "text": row["text"], "label": kind, "grade": n_bytes as f64 / 7.0})
        })
        .collect();
    write_lines(&dir.path().join("judged.jsonl"), &judged);
    tamis(dir.path(), "distill judged.jsonl -o by-class").expect_code(0);
    tamis(dir.path(), "distill judged.jsonl --label-column grade -o by-number").expect_code(0);
    for scorer in ["scorer = \"by-class\"\nclass = \"long\"", "scorer = \"by-number\"", "column = \"grade\""] {
        check(dir.path(), &["judged.jsonl".into()], &format!("[quality]\n{top}{scorer}"), 9_000, 3);
    }
    std::os::unix::fs::symlink(crate::causal::model(), dir.path().join("model.gguf")).unwrap();
    write_lines(&dir.path().join("some.jsonl"), &questions[..12]);
    let sections = format!("[quality]\n{top}scorer = \"gguf:model.gguf\"");
    check(dir.path(), &["some.jsonl".into()], &sections, 800, 2);
}

/// Rows that go for their quality are in no sample, and are not scored or chosen; nor do they stand for others.
#[test]
fn what_comes_after_sees_the_rows_that_stay() {
    let dir = tempfile::tempdir().unwrap();
    let pool = json_lines(&sample("banking.jsonl"));
    write_lines(&dir.path().join("pool.jsonl"), &pool[..700]);
    let labels: Vec<Value> =
        pool[..700].iter().step_by(2).map(|row| json!({"id": row["id"], "label": row["label"]})).collect();
    write_lines(&dir.path().join("labels.jsonl"), &labels);
    write_lines(&dir.path().join("items.jsonl"), &pool.iter().step_by(11).take(30).cloned().collect::<Vec<_>>());
    for (strategy, scorer) in [("auto", "builtin"), ("activelab", "builtin"), ("random", "builtin")] {
        let sections = format!(
            "[decontaminate]\npaths = [\"items.jsonl\"]\nmin_tokens = 3\n[deduplicate]\nthreshold = \
             0.4\n[guards]\nmax_dropped_ratio = 0.99\n[quality]\nkeep = \"top\"\nratio = 0.6\n[score]\nscorer = \
             \"{scorer}\"\n[select]\nbudget = 25\nstrategy = \"{strategy}\"\nlabels = [\"labels.jsonl\"]"
        );
        check(dir.path(), &["pool.jsonl".into()], &sections, 20_000, 3);
    }
    let only = "tables = [\"kept\", \"scores\"]\n[deduplicate]\n[quality]\nkeep = \"top\"\nratio = 0.6\n[score]";
    check(dir.path(), &["pool.jsonl".into()], only, 20_000, 2);
}

/// A second run is compared with what the first one has kept.
#[test]
fn an_index_has_what_stays() {
    let dir = tempfile::tempdir().unwrap();
    let sections =
        "[deduplicate]\nthreshold = 0.6\n[index]\nurl = \"{out}-index\"\n[quality]\nkeep = \"top\"\nratio = 0.5";
    for n_files in [1, 3] {
        check(dir.path(), &samples()[..n_files], sections, 60_000, 3);
    }
    assert!(n_rows(dir.path(), "dropped") > n_rows(dir.path(), "kept"));
}

#[test]
fn what_quality_lacks_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for (quality, expect) in [
        ("reference = [\"nowhere.jsonl\"]", "nowhere.jsonl"),
        ("scorer = \"nowhere\"", "no scorer of quality"),
        ("scorer = \"gguf:nowhere.gguf\"", "nowhere.gguf"),
        ("reference = [\"-\"]", "standard input"),
    ] {
        let sections = format!("[quality]\nkeep = \"top\"\nratio = 0.5\n{quality}");
        let path = config(dir.path(), "refused", &samples(), &sections);
        let ended = tamis(dir.path(), &format!("kernel session {}", path.display())).expect_code(2);
        assert!(ended.stderr.contains(expect), "{quality}: {}", ended.stderr);
        assert!(!dir.path().join("refused").exists(), "{quality}");
    }
    // What only the columns of the input tell.
    for (sections, expect) in [
        ("[quality]\nkeep = \"top\"\nratio = 0.5\ncolumn = \"nothing\"", "has no column `nothing`"),
        ("[quality]\nkeep = \"top\"\nratio = 0.5\ncolumn = \"text\"", "a score is a number"),
        ("[select]\nbudget = 5\nstratum_column = \"nothing\"", "nothing"),
        ("[score]\nscorer = \"column:nothing\"", "nothing"),
    ] {
        let path = config(dir.path(), "late", &samples(), sections);
        let told = Driver::new(Place::at(dir.path()), path, 60_000).try_run().map(|ended| ended.code);
        assert!(told.as_ref().is_err_and(|told| told.contains(expect)), "{sections}: {told:?}");
        assert!(!dir.path().join("late").exists(), "{sections}");
    }
}

#[test]
fn what_is_lost_on_its_way_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // A small scorer: it comes with each unit.
    let reference = json!([sample("laws.jsonl")]);
    let sections =
        format!("[deduplicate]\n[quality]\nkeep = \"top\"\nratio = 0.5\nscorer = \"dsir\"\nreference = {reference}");
    let config = config(dir.path(), "lossy", &samples(), &sections);
    let driver = || Driver::new(Place::at(dir.path()), config.clone(), 60_000);
    let faults: [(&'static str, Change, &str); 5] = [
        ("sift", |records| records::without_first(records, 27), "not whole"),
        ("sift", |records| records::without_first(records, 28), "not whole"),
        ("sift", |records| records::without_kind(records, 28), "not whole"),
        ("sift", records::twice, "judged twice"),
        ("tabulate", records::twice, "out of order"),
    ];
    for (kernel, fault, expect) in faults {
        driver().expect_fault(kernel, fault, expect);
    }
    // Whoever does not know which rows go is found out.
    let scored = format!("{sections}\n[score]\nscorer = \"dsir\"\nreference = {reference}");
    let scored = super::config(
        dir.path(),
        "lost",
        &samples(),
        &scored.replace("[deduplicate]", "[deduplicate]\nthreshold = 0.5"),
    );
    let faults: [(&'static str, Change); 6] = [
        ("judge", |units| records::without(&records::without(units, "dropped"), "rules")),
        ("texts", |units| records::without(&records::without(units, "dropped"), "rules")),
        ("texts", |units| records::without(units, "unfit")),
        ("score", |units| records::without(units, "unfit")),
        ("write", |units| records::without(units, "unfit")),
        ("write", |units| records::without(units, "control")),
    ];
    for (kernel, fault) in faults {
        let driver = Driver::new(Place::at(dir.path()), scored.clone(), 60_000);
        let told = Driver { on_its_way: Some((kernel, fault)), ..driver }.try_run().map(|ended| ended.code);
        assert!(told.is_err(), "{kernel}: {told:?}");
        assert!(!dir.path().join("lost/manifest.json").exists(), "{kernel}");
    }
    for (kind, expect) in [(17, "nothing is said of quality"), (31, "nothing is said of quality"), (10, "have 0 rows")]
    {
        driver().expect_refusal(|records| records::without_kind(&records, kind), expect);
    }
    assert!(!dir.path().join("lossy").exists());
}
