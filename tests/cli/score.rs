//! Scores of a pool, by what labels teach.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float32Type};
use serde_json::json;

use crate::support::{json_lines, sample, strings, table, tamis};

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
