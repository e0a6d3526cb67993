//! Scores of a pool, by what labels teach.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float32Type};
use serde_json::json;

use crate::support::{files, json_lines, sample, strings, table, tamis};

fn names(schema: &arrow::datatypes::Schema) -> Vec<&str> {
    schema.fields().iter().map(|field| field.name().as_str()).collect()
}

fn write_lines(path: &std::path::Path, rows: impl Iterator<Item = serde_json::Value>) {
    std::fs::write(path, rows.map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

#[test]
fn classes_are_learned_from_a_file_of_labels() {
    let dir = tempfile::tempdir().unwrap();
    let pool = sample("banking.jsonl");
    let rows = json_lines(&pool);
    let labels = rows.iter().filter(|row| row["split"] == "train");
    write_lines(&dir.path().join("labels.jsonl"), labels.map(|row| json!({"id": row["id"], "intent": row["label"]})));
    let args = format!("score {pool} -o out --labels labels.jsonl --label-column intent --format json");
    let ended = tamis(dir.path(), &args).expect_code(0);
    let (schema, scores) = table(&dir.path().join("out"), "scores");
    assert_eq!(
        names(&schema),
        ["tamis_id", "tamis_label", "tamis_probabilities", "tamis_margin", "tamis_entropy", "tamis_embedding"]
    );
    assert_eq!(scores.num_rows(), rows.len());
    assert!(!dir.path().join("out/kept").exists());
    let predicted = strings(&scores, "tamis_label");
    let of_test: Vec<usize> = (0..rows.len()).filter(|&row| rows[row]["split"] == "test").collect();
    let n_right = of_test.iter().filter(|&&row| rows[row]["label"] == predicted[row].as_str()).count();
    // Measured 0.93; chance is 0.05.
    assert!(0.89 * of_test.len() as f64 <= n_right as f64, "{n_right} of {}", of_test.len());
    let scorer = &ended.json()["manifest"]["scorer"];
    assert_eq!((&scorer["name"], &scorer["task"]), (&json!("builtin"), &json!("classes")));
    let written = std::fs::read(dir.path().join("out/manifest.json")).unwrap();
    tamis(dir.path(), &format!("{args} --overwrite --threads 1")).expect_code(0);
    assert_eq!(std::fs::read(dir.path().join("out/manifest.json")).unwrap(), written, "bits depend on threads");
}

#[test]
fn labels_may_be_in_the_pool_itself() {
    let dir = tempfile::tempdir().unwrap();
    let rows = (0..60).map(|n| {
        let quality = if n < 40 { json!(f64::from(n % 5) + 0.5) } else { json!(null) };
        json!({"id": format!("{n}"), "text": format!("{} words", ["no", "few", "some", "many", "all"][n as usize % 5]), "quality": quality})
    });
    write_lines(&dir.path().join("pool.jsonl"), rows);
    let ended = tamis(dir.path(), "score pool.jsonl -o out --labels pool.jsonl --label-column quality --format json")
        .expect_code(0);
    let scorer = &ended.json()["manifest"]["scorer"];
    assert_eq!((&scorer["task"], &scorer["labelled_rows"]), (&json!("regression"), &json!(40)));
    let (schema, scores) = table(&dir.path().join("out"), "scores");
    assert_eq!(names(&schema), ["tamis_id", "tamis_quality", "tamis_embedding"]);
    assert_eq!(schema.field(1).data_type(), &DataType::Float32);
    let qualities = scores.column_by_name("tamis_quality").unwrap().as_primitive::<Float32Type>();
    assert!(qualities.value(50) < qualities.value(52) && qualities.value(52) < qualities.value(54), "{qualities:?}");
}

#[test]
fn lists_are_several_labels() {
    let dir = tempfile::tempdir().unwrap();
    let texts =
        [("green grass", vec!["green"]), ("loud drum", vec!["loud"]), ("green drum so loud", vec!["green", "loud"])];
    let rows = (0..90).map(|n| json!({"id": n, "text": texts[n % 3].0, "tags": texts[n % 3].1}));
    write_lines(&dir.path().join("pool.jsonl"), rows);
    tamis(dir.path(), "convert pool.jsonl -o labels").expect_code(0);
    for labels in ["pool.jsonl", "labels/kept"] {
        let args = format!("score pool.jsonl -o out --overwrite --labels {labels} --label-column tags --format json");
        let ended = tamis(dir.path(), &args).expect_code(0);
        assert_eq!(ended.json()["manifest"]["scorer"]["task"], "multi-label", "{labels}");
        let (_, scores) = table(&dir.path().join("out"), "scores");
        assert_eq!(strings(&scores, "tamis_label")[..3], ["green", "loud", "green;loud"], "{labels}");
    }
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let rows = (0..4).map(|n| json!({"id": n, "text": "one two", "label": "a", "q": "high"}));
    write_lines(&dir.path().join("pool.jsonl"), rows);
    write_lines(&dir.path().join("other.jsonl"), std::iter::once(json!({"id": "x", "label": "a"})));
    for (args, expect) in [
        ("--labels pool.jsonl --label-column q --task regression", "`high`"),
        ("--labels pool.jsonl --label-column none", "none"),
        ("--labels other.jsonl", "none of the 1 labels"),
        ("--scorer no-such-model", "no-such-model"),
        ("--head mlp", "score.head"),
        ("--device tpu", "tpu"),
    ] {
        let ended = tamis(dir.path(), &format!("score pool.jsonl -o out {args}")).expect_code(2);
        assert!(ended.stderr.contains(expect), "{args}: {}", ended.stderr);
        assert!(!dir.path().join("out").exists(), "{args}");
    }
    tamis(dir.path(), "score pool.jsonl -o out").expect_code(0);
    assert_eq!(names(&table(&dir.path().join("out"), "scores").0)[1], "tamis_label");
}

#[test]
fn embeddings_of_earlier_runs_are_not_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let rows = json_lines(&sample("banking.jsonl"));
    let lines = |rows: &[serde_json::Value]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    std::fs::write(dir.path().join("pool.jsonl"), lines(&rows[..80])).unwrap();
    std::fs::write(dir.path().join("labels.jsonl"), lines(&rows[..20])).unwrap();
    let model = crate::embed::model();
    let score = |flags: &str| {
        let args = format!("score pool.jsonl --labels labels.jsonl --scorer {model} --format json {flags}");
        tamis(dir.path(), &args).expect_code(0).json()["manifest"]["scorer"].clone()
    };
    let scores = |out: &str| files(&dir.path().join(out).join("scores"));
    assert!(score("-o without")["cached_rows"].is_null());
    let first = score("-o first --cache cache");
    assert!(first["cached_rows"].is_null(), "{first}");
    let second = score("-o second --cache cache");
    assert_eq!(second["cached_rows"], 100, "those to learn from, and all of the pool");
    let expected = scores("without");
    assert!(!expected.is_empty());
    assert_eq!((scores("first"), scores("second")), (expected.clone(), expected));

    // What the cache lacks is computed, and what is damaged in it is as good as not there.
    std::fs::write(dir.path().join("pool.jsonl"), lines(&rows[..90])).unwrap();
    assert_eq!(score("-o more --cache cache")["cached_rows"], 100);
    let refused = tamis(dir.path(), "score pool.jsonl --labels labels.jsonl -o out --cache cache").expect_code(2);
    assert!(refused.stderr.contains("no encoder"), "{}", refused.stderr);
}

#[test]
fn the_smaller_scorer_is_enough_if_it_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let rows = json_lines(&sample("banking.jsonl"));
    let lines = |rows: &[serde_json::Value]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let mut intents: BTreeSet<&str> = rows.iter().map(|row| row["label"].as_str().unwrap()).collect();
    intents = intents.into_iter().take(7).collect();
    let rows: Vec<_> = rows.iter().filter(|row| intents.contains(row["label"].as_str().unwrap())).cloned().collect();
    let (labelled, others): (Vec<_>, Vec<_>) = rows.into_iter().enumerate().partition(|(place, _)| place % 9 == 0);
    let [labelled, others] = [labelled, others].map(|rows| rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
    std::fs::write(dir.path().join("labels.jsonl"), lines(&labelled)).unwrap();
    std::fs::write(dir.path().join("pool.jsonl"), lines(&[labelled, others.clone()].concat())).unwrap();
    let model = crate::embed::model();
    let score = |flags: &str| {
        let args = format!("score pool.jsonl --labels labels.jsonl --format json {flags}");
        tamis(dir.path(), &args).expect_code(0).json()["manifest"]["scorer"].clone()
    };
    let said = |out: &str| {
        let (_, batch) = table(&dir.path().join(out), "scores");
        strings(&batch, "tamis_id").into_iter().zip(strings(&batch, "tamis_label")).collect::<BTreeMap<_, _>>()
    };
    score("-o small");
    score(&format!("-o large --scorer {model} --cache cache"));
    let (of_small, of_large) = (said("small"), said("large"));
    let ids: Vec<&str> = others.iter().map(|row| row["id"].as_str().unwrap()).collect();
    let n_same = ids.iter().filter(|id| of_small[**id] == of_large[**id]).count();
    assert!(0 < n_same && n_same < ids.len(), "they differ somewhere: {n_same} of {}", ids.len());

    let ratio = n_same as f64 / ids.len() as f64;
    let enough = score(&format!("-o enough --larger {model} --cache cache --min-agreement {}", ratio - 0.001));
    assert_eq!(enough["name"], "builtin");
    let compared = &enough["right_size"];
    assert_eq!((&compared["sample_rows"], &compared["agreeing_rows"]), (&json!(ids.len()), &json!(n_same)));
    let scores = |out: &str| files(&dir.path().join(out).join("scores"));
    assert_eq!(scores("enough"), scores("small"));
    let report = tamis(dir.path(), "footprint report enough --format json").expect_code(0).json();
    let right_sized = &report["right_sized"];
    assert_eq!(right_sized["choice"]["agreeing_docs"], json!(n_same));
    assert_eq!(right_sized["choice"]["scored_docs"], json!(of_small.len()));
    let cpu_seconds = |stage: &str| {
        let stages = report["stages"].as_array().unwrap();
        stages.iter().find(|row| row["stage"] == stage).unwrap()["cpu_seconds"].as_f64().unwrap()
    };
    let (by_smaller, by_larger) =
        (cpu_seconds("sample by the smaller scorer"), cpu_seconds("sample by the larger scorer"));
    let expected = (by_larger - by_smaller) * of_small.len() as f64 / ids.len() as f64;
    let saved = right_sized["saved"]["cpu_seconds"].as_f64().unwrap();
    assert!((saved - expected).abs() < 1e-6 * expected.abs(), "{saved}, by hand {expected}");
    let not_enough = score(&format!("-o more --larger {model} --cache cache --min-agreement {}", ratio + 0.001));
    assert!(not_enough["name"].as_str().unwrap().starts_with("encoder "), "{not_enough}");
    assert_eq!(&not_enough["right_size"], compared);
    assert_eq!(scores("more"), scores("large"));
    for (args, expect) in [
        (format!("score pool.jsonl -o out --larger {model}"), "has learnt no labels"),
        ("score pool.jsonl -o out --labels labels.jsonl --larger ngram".into(), "says no label"),
        (format!("score pool.jsonl -o out --labels labels.jsonl --larger {model} --min-agreement 1.2"), "0 to 1"),
        ("score pool.jsonl -o out --labels labels.jsonl --min-agreement 0.5".into(), "--larger"),
    ] {
        tamis(dir.path(), &args).expect_code(2).expect_stderr(expect);
    }
}
