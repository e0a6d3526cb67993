//! Scorers that are learnt once and kept.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::embed::model;
use crate::support::{floats, json_lines, sample, strings, table, tamis};

fn write_lines(path: &Path, rows: impl Iterator<Item = Value>) {
    fs::write(path, rows.map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

/// The banking questions of the training split, one of `step`, as rows with their label; and all as a pool without.
fn write_banking(dir: &Path, step: usize) {
    let rows = json_lines(&sample("banking.jsonl"));
    let judged = rows.iter().filter(|row| row["split"] == "train").step_by(step);
    write_lines(&dir.join("judged.jsonl"), judged.cloned());
    write_lines(&dir.join("pool.jsonl"), rows.iter().map(|row| json!({"id": row["id"], "text": row["text"]})));
}

fn fails(dir: &Path, command: &str, code: i32, message: &str) {
    let ended = tamis(dir, command).expect_code(code);
    assert!(ended.stderr.contains(message), "{command}: {}", ended.stderr);
}

/// The file says all: its scores are those of a scorer that has just learnt, bit for bit, and it is the same on any number of threads.
#[test]
fn a_kept_scorer_scores_as_the_one_that_learnt() {
    let dir = tempfile::tempdir().unwrap();
    write_banking(dir.path(), 2);
    let ended = tamis(dir.path(), "distill judged.jsonl -o scorer --format json --threads 1").expect_code(0).json();
    tamis(dir.path(), "score pool.jsonl --labels judged.jsonl -o learnt").expect_code(0);
    tamis(dir.path(), "score pool.jsonl --scorer scorer -o kept").expect_code(0);
    let [learnt, kept] = ["learnt", "kept"].map(|out| table(&dir.path().join(out), "scores"));
    assert_eq!(learnt, kept);
    assert_eq!((&ended["scorer"]["task"], &ended["scorer"]["labelled_rows"]), (&json!("classes"), &json!(1000)));

    // What it says of its own agreement is near what it reaches on the test split: 4 standard errors of 800 texts, and what four
    // folds learn less from than all.
    let labels: Vec<Value> = json_lines(&sample("banking.jsonl"));
    let predicted = strings(&kept.1, "tamis_label");
    let of_test: Vec<usize> = (0..labels.len()).filter(|&row| labels[row]["split"] == "test").collect();
    let n_right = of_test.iter().filter(|&&row| labels[row]["label"] == predicted[row].as_str()).count();
    let (accuracy, agreement) =
        (n_right as f64 / of_test.len() as f64, ended["agreement"]["accuracy"].as_f64().unwrap());
    assert!((accuracy - agreement).abs() < 0.06, "{accuracy} and {agreement}");

    let written = fs::read(dir.path().join("scorer/scorer.safetensors")).unwrap();
    fails(dir.path(), "distill judged.jsonl -o scorer", 2, "is there already");
    tamis(dir.path(), "distill judged.jsonl -o scorer --overwrite --threads 2").expect_code(0);
    assert_eq!(fs::read(dir.path().join("scorer/scorer.safetensors")).unwrap(), written);
}

/// A head on an encoder is kept without the encoder, and refuses another one.
#[test]
fn a_kept_head_asks_for_its_encoder() {
    let dir = tempfile::tempdir().unwrap();
    write_banking(dir.path(), 25);
    let folder = dir.path().join("model");
    fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    for file in
        ["config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json", "1_Pooling/config.json"]
    {
        fs::copy(Path::new(&model()).join(file), folder.join(file)).unwrap();
    }
    tamis(dir.path(), "distill judged.jsonl --scorer model --head mlp -o scorer").expect_code(0);
    let labels = json_lines(dir.path().join("judged.jsonl").to_str().unwrap());
    let texts = |row: &Value| json!({"id": row["id"], "text": row["text"]});
    write_lines(&dir.path().join("pool.jsonl"), labels.iter().map(texts));
    tamis(dir.path(), "score pool.jsonl --scorer model --head mlp --labels judged.jsonl -o learnt").expect_code(0);
    tamis(dir.path(), "score pool.jsonl --scorer scorer -o kept").expect_code(0);
    let [learnt, kept] = ["learnt", "kept"].map(|out| table(&dir.path().join(out), "scores"));
    assert_eq!(learnt, kept);

    fs::write(folder.join("sentence_bert_config.json"), "{\"max_seq_length\": 64}").unwrap();
    fails(dir.path(), "score pool.jsonl --scorer scorer -o other", 2, "was learnt on the encoder");
    fs::remove_dir_all(&folder).unwrap();
    fails(dir.path(), "score pool.jsonl --scorer scorer -o other", 2, "was learnt on the encoder");
}

/// A teacher's scores are a student's labels; `[quality]` keeps rows by what the student says.
#[test]
fn quality_goes_by_a_student() {
    let dir = tempfile::tempdir().unwrap();
    let length = |row: &Value| row["text"].as_str().unwrap().split(' ').count().min(20);
    let rows = json_lines(&sample("banking.jsonl"));
    let graded = |row: &Value| json!({"id": row["id"], "text": row["text"], "grade": length(row) as f64 / 4.0 + 0.01});
    write_lines(&dir.path().join("judged.jsonl"), rows.iter().take(800).map(graded));
    write_lines(&dir.path().join("pool.jsonl"), rows.iter().skip(800).cloned());
    let teacher =
        tamis(dir.path(), "distill judged.jsonl --label-column grade -o teacher --format json").expect_code(0).json();
    assert_eq!(teacher["agreement"]["task"], "regression");
    assert!(teacher["agreement"]["spearman"].as_f64().unwrap() > 0.3, "{}", teacher["agreement"]);
    tamis(dir.path(), "score pool.jsonl --scorer teacher -o scored").expect_code(0);
    let scored = table(&dir.path().join("scored"), "scores").1;
    let student = "distill pool.jsonl --labels scored/scores --label-column tamis_quality -o student --format json";
    let student = tamis(dir.path(), student).expect_code(0).json();
    // The teacher is easier to learn than what it has learnt from: it is such a model itself.
    let rank = |of: &Value| of["agreement"]["spearman"].as_f64().unwrap();
    assert!(rank(&teacher) < rank(&student), "{} and {}", teacher["agreement"], student["agreement"]);

    let config = |quality: &str| {
        let config = format!("[input]\npaths = [\"pool.jsonl\"]\n[quality]\n{quality}\n[output]\npath = \"out\"\n");
        fs::write(dir.path().join("run.toml"), config).unwrap();
    };
    config("scorer = \"teacher\"\nkeep = \"top\"\nratio = 0.25");
    tamis(dir.path(), "run run.toml").expect_code(0);
    let quality = table(&dir.path().join("out"), "quality").1;
    let scores = strings(&quality, "tamis_id").into_iter().zip(floats(&quality, "tamis_quality"));
    let of_scorer = strings(&scored, "tamis_id").into_iter().zip(floats(&scored, "tamis_quality"));
    assert!(scores.clone().eq(of_scorer), "[quality] and `tamis score` differ");
    let mut by_score: Vec<(f64, String)> = scores.map(|(id, score)| (-score, id)).collect();
    by_score.sort_by(|a, b| a.0.total_cmp(&b.0));
    let kept = strings(&table(&dir.path().join("out"), "kept").1, "tamis_id");
    assert_eq!(kept.len(), (by_score.len() as f64 * 0.25).round() as usize);
    let limit = by_score[kept.len() - 1].0;
    assert!(by_score.iter().filter(|(score, _)| *score < limit).all(|(_, id)| kept.contains(id)));

    config("scorer = \"teacher\"\nclass = \"good\"\nkeep = \"top\"\nratio = 0.25");
    fails(dir.path(), "run run.toml --overwrite", 2, "knows numbers");
    config("scorer = \"nowhere\"\nkeep = \"top\"\nratio = 0.25");
    fails(dir.path(), "run run.toml --overwrite", 2, "nor a folder with `scorer.safetensors`");
    config("scorer = \"builtin\"\nkeep = \"top\"\nratio = 0.25");
    fails(dir.path(), "run run.toml --overwrite", 2, "tamis distill");
}

/// Of classes, one is what counts.
#[test]
fn quality_goes_by_the_probability_of_a_class() {
    let dir = tempfile::tempdir().unwrap();
    write_banking(dir.path(), 1);
    tamis(dir.path(), "distill judged.jsonl -o scorer").expect_code(0);
    tamis(dir.path(), "score pool.jsonl --scorer scorer -o scored").expect_code(0);
    let labels = strings(&table(&dir.path().join("scored"), "scores").1, "tamis_label");
    let class = labels[7].clone();
    let config = |class: &str| {
        let quality = format!("scorer = \"scorer\"\nkeep = \"band\"\nmin = 0.5\n{class}");
        let config = format!("[input]\npaths = [\"pool.jsonl\"]\n[quality]\n{quality}\n[output]\npath = \"out\"\n");
        fs::write(dir.path().join("run.toml"), config).unwrap();
    };
    config(&format!("class = \"{class}\""));
    tamis(dir.path(), "run run.toml").expect_code(0);
    let kept = strings(&table(&dir.path().join("out"), "kept").1, "tamis_id");
    let scored = table(&dir.path().join("scored"), "scores").1;
    let of_class: Vec<String> = strings(&scored, "tamis_id")
        .into_iter()
        .zip(&labels)
        .filter(|(_, label)| **label == class)
        .map(|(id, _)| id)
        .collect();
    // With a probability from 0.5 on a class is the likeliest one; the other way round that need not be.
    assert!(!kept.is_empty() && kept.iter().all(|id| of_class.contains(id)), "{kept:?}");
    config("class = \"nonsense\"");
    fails(dir.path(), "run run.toml --overwrite", 2, "knows the classes");
    config("");
    fails(dir.path(), "run run.toml --overwrite", 2, "quality.class is not set");
}

#[test]
fn errors_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    write_banking(dir.path(), 20);
    let refused = |command: &str, message: &str| fails(dir.path(), command, 2, message);
    refused("distill judged.jsonl --scorer ngram -o scorer", "learns without labels");
    refused("distill judged.jsonl --label-column nothing -o scorer", "nothing");
    refused("distill - -o scorer", "standard input");
    refused("distill judged.jsonl --task regression -o scorer", "not a finite number");
    let same = json_lines(dir.path().join("judged.jsonl").to_str().unwrap());
    write_lines(&dir.path().join("same.jsonl"), same.iter().map(|row| json!({"text": row["text"], "label": "x"})));
    refused("distill same.jsonl -o scorer", "tell nothing apart");
    assert!(!dir.path().join("scorer").exists());

    let mut judged = fs::read_to_string(dir.path().join("judged.jsonl")).unwrap();
    judged.push_str("{\"id\": \"cut\", \"te\n");
    fs::write(dir.path().join("judged.jsonl"), judged).unwrap();
    fails(dir.path(), "distill judged.jsonl -o scorer", 1, "1 row could not be read");

    fs::copy(dir.path().join("judged.jsonl"), dir.path().join("labels.jsonl")).unwrap();
    let ended = tamis(dir.path(), "score pool.jsonl --labels labels.jsonl -o told").expect_code(0);
    assert!(ended.stderr.contains("label files could not be read"), "{}", ended.stderr);
    refused("score pool.jsonl --scorer scorer/scorer.safetensors -o out", "is a file");

    refused("score pool.jsonl --scorer scorer --labels judged.jsonl -o out", "has learnt what it knows");
    let file = dir.path().join("scorer/scorer.safetensors");
    let whole = fs::read(&file).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        refused("score pool.jsonl --scorer scorer -o out", "not a scorer of tamis");
    }
    fs::copy(Path::new(&model()).join("model.safetensors"), &file).unwrap();
    refused("score pool.jsonl --scorer scorer -o out", "its metadata has no key");
    let find = |needle: &[u8]| whole.windows(needle.len()).position(|window| window == needle).unwrap();
    let mut later = whole.clone();
    let at = find(b"{\\\"version\\\":1") + b"{\\\"version\\\":".len();
    later[at] = b'2';
    fs::write(&file, &later).unwrap();
    refused("score pool.jsonl --scorer scorer -o out", "version 2");
    assert!(!dir.path().join("out").exists());
}
