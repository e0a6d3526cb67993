//! The labelling loop replayed on rows that have labels.

use std::fs::{self, File};
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{sample, strings, table, tamis};

fn curves(out: &Path) -> RecordBatch {
    let file = File::open(out.join("curves.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn summary(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap()
}

/// Two groups of points, and a few rows of a third; texts say nothing.
fn write_points(path: &Path) {
    let row = |n: usize| {
        let class = if n % 20 == 7 { 2 } else { n % 2 };
        let (x, y) = [(1.0, 0.0), (0.0, 1.0), (-1.0, -1.0)][class];
        let shift = (n * 37 % 100) as f64 / 300.0;
        let label = ["left", "right", "rare"][class];
        serde_json::json!({"id": format!("p{n}"), "text": format!("text number {n}"), "label": label, "e": [x + shift, y - shift]})
    };
    fs::write(path, (0..600).map(|n| format!("{}\n", row(n))).collect::<String>()).unwrap();
}

#[test]
fn curves_and_summary_are_what_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let data = sample("banking.jsonl");
    let args = format!(
        "simulate {data} --text-column text --label-column label --id-column id --test-split-column split --test-split-value test \
         --scorer builtin --strategy margin --strategy auto --init 40 --batch 20 --rounds 2 --seeds 2 -o out --format json"
    );
    let ended = tamis(dir.path(), &args).expect_code(0);
    let out = dir.path().join("out");
    let curves = curves(&out);
    let names: Vec<&str> = curves.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["strategy", "seed", "round", "labels", "accuracy", "macro_f1", "seconds"]);
    assert_eq!(curves.num_rows(), 3 * 2 * 3, "random is always replayed");
    let labels = curves.column(3).as_primitive::<Int32Type>().values();
    assert_eq!(labels[..3], [40, 60, 80]);
    let accuracies = curves.column(4).as_primitive::<Float64Type>().values();
    assert!(accuracies.iter().all(|accuracy| (0.1..=1.0).contains(accuracy)), "{accuracies:?}");

    let summary = summary(&out);
    for name in ["random", "margin", "auto"] {
        let report = &summary["strategies"][name];
        for key in ["aulc_accuracy", "aulc_macro_f1", "delta_vs_random", "labels_saved_ratio"] {
            assert!(report[key].is_number(), "{name} {key}: {report}");
        }
        assert_eq!(report["delta_ci95"].as_array().map(Vec::len), Some(2), "{name}");
    }
    // The area of the first curve, by hand.
    let first = (accuracies[0] + 2.0 * accuracies[1] + accuracies[2]) / 4.0;
    let second = (accuracies[3] + 2.0 * accuracies[4] + accuracies[5]) / 4.0;
    let area = summary["strategies"]["random"]["aulc_accuracy"].as_f64().unwrap();
    assert!((area - f64::midpoint(first, second)).abs() < 1e-9);
    assert!(fs::read_to_string(out.join("curves.svg")).unwrap().contains("</svg>"));
    assert_eq!(ended.json()["summary"], summary);

    tamis(dir.path(), &args).expect_code(2).expect_stderr("is there already");
    tamis(dir.path(), &format!("{args} --overwrite")).expect_code(0);
}

#[test]
fn embeddings_that_rows_have_are_learnt_from() {
    let dir = tempfile::tempdir().unwrap();
    write_points(&dir.path().join("points.jsonl"));
    let args = "simulate points.jsonl --scorer column:e --init 10 --batch 10 --rounds 3 --seeds 2 --strategy badge,anchor,min-margin -o out";
    tamis(dir.path(), args).expect_code(0);
    let summary = summary(&dir.path().join("out"));
    for name in ["badge", "anchor", "min-margin", "random"] {
        let accuracy = summary["strategies"][name]["final_accuracy"].as_f64().unwrap();
        assert!(0.94 < accuracy, "{name}: {accuracy}; texts say nothing, points all");
    }
    let labels: String =
        (0..40).map(|n| format!("{{\"id\":\"p{n}\",\"label\":\"{}\"}}\n", ["left", "right"][n % 2])).collect();
    fs::write(dir.path().join("labels.jsonl"), labels).unwrap();
    for strategy in ["uherding", "anchor", "bald", "k-center"] {
        let args = format!(
            "select points.jsonl --scorer column:e --labels labels.jsonl --budget 9 --threshold 1.0 --strategy {strategy} -o sel --overwrite"
        );
        tamis(dir.path(), &args).expect_code(0);
        assert_eq!(table(&dir.path().join("sel"), "batch").1.num_rows(), 9, "{strategy}");
    }
    // Far from all that is labelled: the class that no label is of.
    let (_, batch) = table(&dir.path().join("sel"), "batch");
    assert!(strings(&batch, "label").iter().any(|label| label == "rare"));
    tamis(dir.path(), "select points.jsonl --scorer column:text --budget 9 -o no")
        .expect_code(2)
        .expect_stderr("expected lists of numbers");
    tamis(dir.path(), "select points.jsonl --scorer column:nowhere --budget 9 -o no").expect_code(2);
}

#[test]
fn costs_and_similarities_are_heeded() {
    let dir = tempfile::tempdir().unwrap();
    write_points(&dir.path().join("points.jsonl"));
    let select = |more: &str| {
        let args = format!(
            "select points.jsonl --scorer column:e --budget 3 --threshold 1.0 --random-ratio 0 -o out --overwrite {more}"
        );
        tamis(dir.path(), &args).expect_code(0);
        table(&dir.path().join("out"), "batch").1
    };
    let apart = select("--strategy k-means --max-similarity 0.5");
    let labels: std::collections::BTreeSet<String> = strings(&apart, "label").into_iter().collect();
    assert_eq!(labels.len(), apart.num_rows(), "rows of one group are closer than that");
    select("--strategy uherding --cost-exponent 1 --cost-base 10");
    let refused = "select points.jsonl --scorer column:e --budget 3 --strategy k-center --cost-exponent 1 -o no";
    tamis(dir.path(), refused).expect_code(2).expect_stderr("no measure that costs could divide");
}

#[test]
fn data_that_cannot_be_replayed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write_points(&dir.path().join("points.jsonl"));
    fs::write(dir.path().join("one.jsonl"), "{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":\"x\"}\n")
        .unwrap();
    fs::write(dir.path().join("none.jsonl"), "{\"text\":\"a\",\"label\":null}\n{\"text\":\"b\",\"label\":\"\"}\n")
        .unwrap();
    for (args, expect) in [
        ("simulate one.jsonl -o out", "nothing to tell apart"),
        ("simulate none.jsonl -o out", "nothing to replay"),
        ("simulate points.jsonl --label-column nowhere -o out", "nowhere"),
        ("simulate points.jsonl --test-split-column label --test-split-value up -o out", "0 test rows"),
        ("simulate points.jsonl --test-split-column label -o out", "--test-split-value"),
        ("simulate points.jsonl --scorer ngram -o out", "learns nothing from labels"),
        ("simulate points.jsonl --noise 2 -o out", "noise"),
        ("simulate points.jsonl --batch 0 -o out", "at least 1"),
        ("simulate points.jsonl --strategy activelab -o out", "one label for each row"),
        ("simulate points.jsonl --init 5000 -o out", "--init takes 5000"),
        ("simulate points.jsonl --label-column e -o out", "rows with several labels cannot be replayed"),
        ("select points.jsonl --scorer column:e --budget 9 --candidates 3 -o out", "candidates is 3"),
    ] {
        tamis(dir.path(), args).expect_code(2).expect_stderr(expect);
        assert!(!dir.path().join("out").join("summary.json").exists(), "{args}");
    }
}
