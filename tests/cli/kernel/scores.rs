//! Scores and embeddings: the rows of a run in one process, whatever the units.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::driver::{Change, Driver, Place};
use super::tables::mixed;
use super::{check, config, records, rows, samples, write_lines};
use crate::support::{files, json_lines, sample, tamis};

/// Labels of one in `step` questions, in a file of another id column, and a row that no pool has.
fn write_labels(dir: &Path, step: usize) {
    let of_pool = json_lines(&sample("banking.jsonl"));
    let labels = of_pool.iter().step_by(step).map(|row| json!({"question": row["id"], "intent": row["label"]}));
    let lines: String = labels.chain([json!({"question": "?", "intent": "?"})]).map(|row| format!("{row}\n")).collect();
    fs::write(dir.join("labels.jsonl"), lines).unwrap();
}

const LABELS: &str = "labels = [\"labels.jsonl\"]\nlabel_column = \"intent\"\nlabel_id_column = \"question\"";

/// The first questions, so that an encoder is done soon.
fn write_some(dir: &Path, n_rows: usize) -> Vec<String> {
    write_lines(&dir.join("some.jsonl"), &json_lines(&sample("banking.jsonl"))[..n_rows]);
    vec!["some.jsonl".into()]
}

#[test]
fn the_builtin_scorer_learns_from_labels_of_all_units() {
    let dir = tempfile::tempdir().unwrap();
    write_labels(dir.path(), 3);
    let scored = format!("[score]\n{LABELS}");
    check(dir.path(), &samples(), &scored, 1 << 40, 1);
    check(dir.path(), &samples(), &format!("[deduplicate]\nthreshold = 0.6\n{scored}\nseed = 7"), 60_000, 3);
    check(dir.path(), &mixed(dir.path())[..4], "input:id = \"\";[score]", 500, 50);
}

/// Without labels, or with those of one class, frequencies of a sample are all there is to learn.
#[test]
fn a_scorer_that_has_nothing_to_tell_apart() {
    let dir = tempfile::tempdir().unwrap();
    let sections = "[deduplicate]\nthreshold = 0.6\n[score]\n";
    check(dir.path(), &samples(), sections, 60_000, 2);
    let same: Vec<Value> = json_lines(&sample("banking.jsonl"))[..40]
        .iter()
        .map(|row| json!({"id": row["id"], "label": "all the same"}))
        .collect();
    write_lines(&dir.path().join("same.jsonl"), &same);
    check(dir.path(), &samples(), &format!("{sections}labels = [\"same.jsonl\"]"), 60_000, 3);
}

#[test]
fn labels_are_lists_numbers_or_in_the_pool_itself() {
    let dir = tempfile::tempdir().unwrap();
    let pool: Vec<Value> = json_lines(&sample("banking.jsonl"))
        .into_iter()
        .enumerate()
        .map(|(at, mut row)| {
            let length = row["text"].as_str().unwrap().len();
            if at % 3 == 0 {
                row["tags"] = json!([if length > 60 { "long" } else { "short" }, "question"]);
                row["grade"] = json!(length as f64 / 7.0);
            }
            row
        })
        .collect();
    write_lines(&dir.path().join("pool.jsonl"), &pool);
    for column in ["tags", "grade", "label"] {
        let sections = format!("[score]\nlabels = [\"pool.jsonl\"]\nlabel_column = \"{column}\"");
        check(dir.path(), &["pool.jsonl".into()], &sections, 60_000, 3);
    }
}

/// What is learnt from a row with a held-out item, or from rows that are dropped, is as on one machine.
#[test]
fn labels_of_rows_that_go() {
    let dir = tempfile::tempdir().unwrap();
    write_labels(dir.path(), 2);
    let items: Vec<Value> = json_lines(&sample("banking.jsonl")).into_iter().step_by(4).take(100).collect();
    write_lines(&dir.path().join("items.jsonl"), &items);
    let sections = format!(
        "[decontaminate]\npaths = [\"items.jsonl\"]\nmin_tokens = 3\n[deduplicate]\nthreshold = 0.5\n[score]\n{LABELS}"
    );
    check(dir.path(), &samples(), &sections, 50_000, 3);
}

#[test]
fn scorers_that_learn_from_texts_without_labels() {
    let dir = tempfile::tempdir().unwrap();
    let laws = sample("laws.jsonl");
    let [ngram, dsir] = ["ngram", "dsir"].map(|name| format!("[score]\nscorer = \"{name}\"\nseed = 3\n"));
    check(dir.path(), &samples(), &format!("[deduplicate]\nthreshold = 0.6\n{ngram}"), 60_000, 3);
    fs::copy(laws, dir.path().join("laws.jsonl")).unwrap();
    for scorer in [ngram, dsir] {
        let references = json!(["laws.jsonl", sample("licences.jsonl")]);
        check(dir.path(), &samples(), &format!("{scorer}reference = {references}"), 60_000, 3);
    }
}

#[test]
fn a_language_model_by_its_relative_path() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_some(dir.path(), 12);
    std::os::unix::fs::symlink(crate::causal::model(), dir.path().join("model.gguf")).unwrap();
    check(dir.path(), &inputs, "[score]\nscorer = \"gguf:model.gguf\"", 800, 2);
}

#[test]
fn scorers_that_were_distilled() {
    let dir = tempfile::tempdir().unwrap();
    write_lines(&dir.path().join("judged.jsonl"), &json_lines(&sample("banking.jsonl"))[..300]);
    tamis(dir.path(), "distill judged.jsonl -o scorer").expect_code(0);
    check(dir.path(), &samples(), "[deduplicate]\n[score]\nscorer = \"scorer\"", 60_000, 3);
}

/// Which of two scorers scores, and what is said of it, is as on one machine.
#[test]
fn the_smaller_of_two_scorers_if_it_says_the_same() {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = tempfile::tempdir().unwrap();
    let intents = ["request_refund", "reverted_card_payment?", "transaction_charged_twice", "transfer_fee_charged"];
    let questions = json_lines(&sample("banking.jsonl"));
    let mut some: Vec<Value> =
        questions.into_iter().filter(|row| intents.contains(&row["label"].as_str().unwrap())).step_by(4).collect();
    assert!(90 < some.len(), "{}", some.len());
    for (at, row) in some.iter_mut().enumerate() {
        let text = row["text"].as_str().unwrap().to_owned();
        row["vector"] = json!([text.len() as f64, at as f64 % 7.0, text.matches('a').count() as f64]);
        row["other"] = json!([at as f64 % 5.0, text.matches('c').count() as f64]);
    }
    for copy in 0..9 {
        let mut row = some[copy].clone();
        row["id"] = json!(format!("copy of {copy}"));
        some.push(row);
    }
    write_lines(&dir.path().join("some.jsonl"), &some);
    write_lines(&dir.path().join("labels.jsonl"), &some.iter().step_by(9).cloned().collect::<Vec<_>>());
    tamis(dir.path(), "distill labels.jsonl -o distilled").expect_code(0);
    let inputs = ["some.jsonl".to_owned()];
    let model = crate::embed::model();
    let right_size = |sections: &str| {
        check(dir.path(), &inputs, sections, 2000, 3);
        let manifest: Value =
            serde_json::from_slice(&fs::read(dir.path().join("together/manifest.json")).unwrap()).unwrap();
        manifest["scorer"].clone()
    };
    let pair = |smaller: &str, larger: &str, min_agreement: f64, labels: &str| {
        format!("[score]\nscorer = \"{smaller}\"\nlarger = \"{larger}\"\nmin_agreement = {min_agreement}\n{labels}")
    };
    let labels = "labels = [\"labels.jsonl\"]";
    let enough = right_size(&pair("builtin", &model, 0.2, labels));
    assert_eq!((&enough["name"], &enough["right_size"]["smaller"]), (&json!("builtin"), &json!("builtin")));
    let n_compared = enough["right_size"]["sample_rows"].as_u64().unwrap();
    assert_eq!(n_compared as usize, some.len() - some.len().div_ceil(9), "rows without a label");
    let not_enough = right_size(&pair("builtin", &model, 1.0, &format!("{labels}\n[deduplicate]\nthreshold = 0.4")));
    assert_eq!(not_enough["name"], not_enough["right_size"]["larger"]);
    assert!(not_enough["right_size"]["sample_rows"].as_u64().unwrap() < n_compared, "rows that go are in no sample");
    for (smaller, larger) in
        [("column:vector", "builtin"), ("column:vector", "column:other"), ("builtin", "column:other")]
    {
        for min_agreement in [0.0, 1.0] {
            right_size(&pair(
                smaller,
                larger,
                min_agreement,
                &format!("{labels}\nseed = 5\n[select]\nbudget = 9\nstrategy = \"anchor\""),
            ));
        }
    }
    let distilled = right_size(&pair("distilled", "column:vector", 0.0, labels));
    assert_eq!(distilled["name"], distilled["right_size"]["smaller"]);
    right_size(&pair("distilled", "column:vector", 1.0, labels));
    // One that is another than when the run began scores nothing.
    write_lines(&dir.path().join("fewer.jsonl"), &some[..40]);
    tamis(dir.path(), "distill fewer.jsonl -o other").expect_code(0);
    DIR.set(dir.path().to_owned()).unwrap();
    let path = config(dir.path(), "changed", &inputs, &pair("distilled", "column:vector", 0.0, labels));
    let swap: Change = |records| {
        let [from, to] = ["other", "distilled"].map(|name| DIR.get().unwrap().join(name).join("scorer.safetensors"));
        fs::copy(from, to).unwrap();
        records.clone()
    };
    let driver = Driver::new(Place::at(dir.path()), path, 2000);
    driver.expect_fault("learn", swap, "another scorer than when the run began");
    // Too few rows to tell.
    write_lines(&dir.path().join("labels.jsonl"), &some[20..]);
    assert_eq!(right_size(&pair("builtin", "column:vector", 0.0, labels))["right_size"]["sample_rows"], 20);
}

#[test]
fn an_encoder_scores_and_embeds_by_a_cache() {
    let dir = tempfile::tempdir().unwrap();
    write_labels(dir.path(), 3);
    let inputs = write_some(dir.path(), 120);
    let (model, scored) = (crate::embed::model(), format!("[score]\n{LABELS}\n"));
    let sections =
        format!("[deduplicate]\nthreshold = 0.5\n{scored}scorer = \"{model}\"\n[embed]\nmodel = \"{model}\"\n");
    check(dir.path(), &inputs, &sections, 2000, 3);
    check(dir.path(), &inputs, &format!("[embed]\nmodel = \"{model}\"\nembedding_type = \"f32\""), 3000, 2);
    let none = format!("[score]\nscorer = \"{model}\"");
    check(dir.path(), &inputs, &none, 3000, 2);

    // What a run in one process has embedded is not embedded again, nor the other way round.
    let with_cache =
        format!("{scored}scorer = \"{model}\"\ncache = \"cache\"\n[embed]\nmodel = \"{model}\"\ncache = \"other\"");
    let alone = config(dir.path(), "first", &inputs, &with_cache);
    tamis(dir.path(), &format!("run {} --format json", alone.display())).expect_code(0);
    let kernels =
        |out: &str| Driver::new(Place::at(dir.path()), config(dir.path(), out, &inputs, &with_cache), 2000).run();
    let manifest = kernels("second").manifest;
    assert_eq!((&manifest["scorer"]["cached_rows"], &manifest["embedding"]["cached_rows"]), (&json!(160), &json!(120)));
    assert_eq!(rows(&dir.path().join("second"), "scores"), rows(&dir.path().join("first"), "scores"));
    assert_eq!(rows(&dir.path().join("second"), "embeddings"), rows(&dir.path().join("first"), "embeddings"));
    for cache in ["cache", "other"] {
        fs::remove_dir_all(dir.path().join(cache)).unwrap();
    }
    kernels("third");
    let n_files = files(&dir.path().join("cache")).len();
    let alone = config(dir.path(), "fourth", &inputs, &with_cache);
    let last = tamis(dir.path(), &format!("run {} --format json", alone.display())).expect_code(0).json();
    let cached = |section: &str| last["manifest"][section]["cached_rows"].clone();
    assert_eq!((cached("scorer"), cached("embedding")), (json!(160), json!(120)), "40 to learn from, and all");
    assert_eq!(files(&dir.path().join("cache")).len(), n_files);
}

#[test]
fn embeddings_that_rows_have_in_a_column() {
    let dir = tempfile::tempdir().unwrap();
    write_labels(dir.path(), 3);
    let inputs = write_some(dir.path(), 200);
    let embedding = |row: &Value| {
        let text = row["text"].as_str().unwrap();
        json!([text.len() as f64 / 50.0, text.matches('e').count(), text.matches(' ').count(), 0.5])
    };
    let mut pool = json_lines(dir.path().join("some.jsonl").to_str().unwrap());
    for row in &mut pool {
        row["vector"] = embedding(row);
    }
    write_lines(&dir.path().join("some.jsonl"), &pool);
    let scorer = "scorer = \"column:vector\"\n";
    check(dir.path(), &inputs, &format!("[score]\n{scorer}{LABELS}\nhead = \"mlp\""), 4000, 3);
    check(dir.path(), &inputs, &format!("[deduplicate]\nthreshold = 0.5\n[score]\n{scorer}"), 4000, 3);
}

#[test]
fn what_a_scorer_lacks_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write_lines(&dir.path().join("other.jsonl"), &[json!({"id": "nobody", "label": "x"})]);
    for (score, expect) in [
        ("labels = [\"nowhere.jsonl\"]", "nowhere.jsonl"),
        ("scorer = \"nowhere\"", "nowhere"),
        ("scorer = \"gguf:nowhere.gguf\"", "nowhere.gguf"),
        ("labels = [\"-\"]", "standard input"),
    ] {
        let path = config(dir.path(), "refused", &samples(), &format!("[score]\n{score}"));
        let ended = tamis(dir.path(), &format!("kernel session {}", path.display())).expect_code(2);
        assert!(ended.stderr.contains(expect), "{score}: {}", ended.stderr);
        assert!(!dir.path().join("refused").exists(), "{score}");
    }
}

/// Labels that name rows by their places in a file, whose name must be the same for all.
#[test]
fn labels_of_rows_without_ids() {
    let dir = tempfile::tempdir().unwrap();
    let pool: Vec<Value> = json_lines(&sample("banking.jsonl"))[..300]
        .iter()
        .enumerate()
        .map(|(at, row)| match at % 3 {
            0 => row.clone(),
            _ => json!({"text": row["text"], "label": if at % 2 == 0 { "even" } else { "odd" }}),
        })
        .collect();
    fs::create_dir_all(dir.path().join("pool [1]")).unwrap();
    write_lines(&dir.path().join("pool [1]/some.jsonl"), &pool);
    for paths in ["pool [1]", "./pool [1]/some.jsonl"] {
        check(dir.path(), &[paths.into()], &format!("[score]\nlabels = [\"{paths}\"]"), 9000, 3);
    }
    // A folder of the scorer's name has nothing to do with it.
    fs::create_dir_all(dir.path().join("builtin")).unwrap();
    check(dir.path(), &["pool [1]".into()], "[score]", 9000, 2);
}

#[test]
fn what_is_lost_on_its_way_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write_labels(dir.path(), 3);
    let config = config(dir.path(), "lossy", &samples()[..1], &format!("[score]\n{LABELS}"));
    let driver = || Driver::new(Place::at(dir.path()), config.clone(), 60_000);
    let faults: [(&'static str, Change, &str); 6] = [
        ("learn", |records| records::without_first(records, 11), "of 934 ids,"),
        ("learn", |records| records::without_first(records, 15), "texts"),
        ("learn", |records| records::without_first(records, 21), "units were read"),
        ("learn", records::twice, "twice"),
        ("tabulate", records::reversed, "out of order"),
        ("tabulate", records::twice, "out of order"),
    ];
    for (kernel, fault, expect) in faults {
        driver().expect_fault(kernel, fault, expect);
    }
    for (kind, expect) in [(17, "nothing is said of the scorer"), (19, "units were scored"), (10, "have 0 rows")] {
        driver().expect_refusal(|records| records::without_kind(&records, kind), expect);
    }
    assert!(!dir.path().join("lossy").exists());
}
