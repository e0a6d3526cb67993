//! Rows that say the same in other words: which go, for whom, and what is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float16Type, Int64Type};
use serde_json::{Value, json};

use crate::embed::model;
use crate::support::{Ended, files, floats, json_lines, sample, strings, table, tamis};

fn write_lines(path: &Path, rows: &[Value]) {
    fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

/// A config over `rows.jsonl`, with more settings of `[semantic]` and sections before it.
fn write_config(dir: &Path, sections: &str, semantic: &str) {
    let config = format!(
        "[input]\npaths = [\"rows.jsonl\"]\n{sections}\n[semantic]\nmodel = \"{}\"\n{semantic}\n[output]\npath = \"out\"\n",
        model()
    );
    fs::write(dir.join("run.toml"), config).unwrap();
}

fn run(dir: &Path, args: &str) -> Ended {
    tamis(dir, &format!("run run.toml --format json --overwrite {args}"))
}

fn banking(n_rows: usize) -> Vec<Value> {
    json_lines(&sample("banking.jsonl")).into_iter().take(n_rows).collect()
}

fn text(row: &Value) -> &str {
    row["text"].as_str().unwrap()
}

fn id(row: &Value) -> &str {
    row["id"].as_str().unwrap()
}

/// Dropped id, kept id and similarity.
fn evidence(batch: &RecordBatch) -> BTreeMap<String, (String, f64)> {
    let kept = strings(batch, "kept_id").into_iter().zip(floats(batch, "similarity"));
    strings(batch, "dropped_id").into_iter().zip(kept).collect()
}

/// What the contract says, pair by pair: the vectors are those of `tamis embed`.
fn all_pairs(dir: &Path, rows: &[Value], order: &[usize], threshold: f64) -> BTreeMap<String, (String, f64)> {
    if !dir.join("vectors").exists() {
        tamis(dir, &format!("embed rows.jsonl -o vectors --model {}", model())).expect_code(0);
    }
    let (_, batch) = table(&dir.join("vectors"), "embeddings");
    let lists = batch.column_by_name("embedding").unwrap().as_fixed_size_list();
    let vectors: Vec<Vec<f64>> = lists
        .iter()
        .map(|list| list.unwrap().as_primitive::<Float16Type>().values().iter().map(|x| x.to_f64()).collect())
        .collect();
    let product = |a: usize, b: usize| -> f64 { vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum() };
    let lengths: Vec<f64> = (0..rows.len()).map(|row| product(row, row).sqrt()).collect();
    let (mut kept, mut dropped) = (Vec::new(), BTreeMap::new());
    for &row in order {
        let mut best: Option<(usize, f64)> = None;
        for &other in &kept {
            let cosine = product(row, other) / lengths[row] / lengths[other];
            if threshold <= cosine && best.is_none_or(|(_, best)| best < cosine) {
                best = Some((other, cosine));
            }
        }
        match best {
            Some((other, cosine)) => {
                dropped.insert(id(&rows[row]).to_owned(), (id(&rows[other]).to_owned(), cosine));
            }
            None => kept.push(row),
        }
    }
    dropped
}

#[test]
fn in_one_cluster_all_pairs_are_compared_in_keep_order() {
    let dir = tempfile::tempdir().unwrap();
    let rows = banking(1300);
    write_lines(&dir.path().join("rows.jsonl"), &rows);
    let first: Vec<usize> = (0..rows.len()).collect();
    let mut longest = first.clone();
    longest.sort_by_key(|&row| (std::cmp::Reverse(text(&rows[row]).chars().count()), row));
    for (order, keep) in [(&first, "first"), (&longest, "longest")] {
        let expect = all_pairs(dir.path(), &rows, order, 0.9);
        assert!(expect.len() > 100, "{} rows dropped", expect.len());
        let settings = format!("threshold = 0.9\nclusters = 1\ncache = \"cache\"\nkeep = \"{keep}\"");
        write_config(dir.path(), "", &settings);
        let manifest = run(dir.path(), "").expect_code(0).json()["manifest"].clone();
        let out = dir.path().join("out");
        let (_, batch) = table(&out, "evidence");
        let found = evidence(&batch);
        assert!(found.keys().eq(expect.keys()), "{} rows dropped, not {}", found.len(), expect.len());
        for ((row, (_, cosine)), (_, expect)) in found.iter().zip(expect.values()) {
            assert!((cosine - expect).abs() < 1e-6, "{row}: {cosine}, not {expect}");
        }
        let n_right = found.iter().filter(|(row, (kept, _))| expect[*row].0 == *kept).count();
        assert!(n_right + 2 >= found.len(), "{n_right} of {} are dropped for the nearest", found.len());

        assert_eq!(strings(&batch, "rule"), vec!["semantic"; found.len()]);
        assert_eq!(strings(&batch, "method"), vec!["exact"; found.len()]);
        assert_eq!(strings(&batch, "cluster_id"), strings(&batch, "kept_id"));
        let mut sizes: BTreeMap<&str, i64> = BTreeMap::new();
        for (kept, _) in found.values() {
            *sizes.entry(kept).or_insert(1) += 1;
        }
        let told = batch.column_by_name("cluster_size").unwrap().as_primitive::<Int64Type>().values().iter();
        assert!(strings(&batch, "kept_id").iter().zip(told).all(|(kept, size)| sizes[kept.as_str()] == *size));
        let (_, kept) = table(&out, "kept");
        let counts = kept.column_by_name("tamis_duplicates").unwrap().as_primitive::<Int64Type>().values();
        for (kept, count) in strings(&kept, "tamis_id").iter().zip(counts) {
            assert_eq!(sizes.get(kept.as_str()).unwrap_or(&1), count, "{kept}");
        }
        assert_eq!(strings(&table(&out, "dropped").1, "tamis_reason"), vec!["semantic"; found.len()]);

        let record = &manifest["semantic"];
        assert_eq!((&record["clusters"], &record["largest_cluster_rows"]), (&1.into(), &1300.into()));
        assert_eq!((&record["dropped_rows"], &record["untested_pairs"]), (&found.len().into(), &0.into()));
        assert_eq!(record["embedding"]["rows"], 1300);
        let model = &manifest["config"]["semantic"]["model"];
        assert!(model.is_null() && !record["embedding"]["fingerprint"].as_str().unwrap().is_empty());
    }
}

/// Questions of one label differ in what they ask for less than those of two: at the default threshold hardly any row goes for one
/// of another label, and the shell of pairs further out has more of them.
#[test]
fn what_is_dropped_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let rows = banking(2800);
    write_lines(&dir.path().join("rows.jsonl"), &rows);
    write_config(dir.path(), "[deduplicate]", "");
    run(dir.path(), "").expect_code(0);
    let labels: BTreeMap<&str, &Value> = rows.iter().map(|row| (id(row), &row["label"])).collect();
    let found = evidence(&table(&dir.path().join("out"), "evidence").1);
    let n_same = found.iter().filter(|(row, (kept, _))| labels[row.as_str()] == labels[kept.as_str()]).count();
    assert!(found.len() > 250 && n_same * 100 > found.len() * 97, "{n_same} of {}", found.len());
}

#[test]
fn bytes_do_not_depend_on_threads_batches_memory_and_cache() {
    let dir = tempfile::tempdir().unwrap();
    write_lines(&dir.path().join("rows.jsonl"), &banking(700));
    let sections =
        "[deduplicate]\nthreshold = 0.5\nngram = 2\n[grain]\nunit = \"line\"\naction = \"cut\"\nmin_tokens = 1";
    write_config(dir.path(), sections, "threshold = 0.85\nclusters = 9\nseed = 3");
    let record = run(dir.path(), "--threads 1").expect_code(0).json()["manifest"]["semantic"].clone();
    let one = files(&dir.path().join("out"));
    assert!(record["dropped_rows"].as_u64().unwrap() > 100, "{record}");
    assert!(record["clusters"].as_u64().unwrap() > 3 && record["untested_pairs"].as_u64().unwrap() > 0, "{record}");
    run(dir.path(), "--threads 2 --batch-rows 17 --memory-limit 300MiB").expect_code(0);
    assert!(files(&dir.path().join("out")) == one);

    write_config(dir.path(), sections, "threshold = 0.85\nclusters = 9\nseed = 3\ncache = \"cache\"");
    run(dir.path(), "").expect_code(0);
    let again = run(dir.path(), "").expect_code(0).json()["manifest"]["semantic"]["embedding"].clone();
    assert_eq!(again["cached_rows"], again["rows"]);
    let tables = |files: BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        files.into_iter().filter(|(name, _)| name != "manifest.json").collect()
    };
    assert!(tables(files(&dir.path().join("out"))) == tables(one));
}

#[test]
fn every_row_is_accounted_for_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let rows = banking(500);
    write_lines(&dir.path().join("rows.jsonl"), &rows);
    tamis(dir.path(), &format!("dedup rows.jsonl -o out --semantic {} --semantic-threshold 0.85", model()))
        .expect_code(0);
    let out = dir.path().join("out");
    let manifest: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let n_semantic = manifest["dropped_by_reason"]["semantic"].as_u64().unwrap();
    assert!(n_semantic > 20 && manifest["semantic"]["threshold"] == 0.85, "{manifest}");
    assert_eq!(manifest["rows"]["kept"].as_u64().unwrap() + manifest["rows"]["dropped"].as_u64().unwrap(), 500);
    tamis(dir.path(), "restore out -o back").expect_code(0);
    let (_, back) = table(&dir.path().join("back"), "kept");
    let texts: BTreeMap<String, String> = strings(&back, "id").into_iter().zip(strings(&back, "text")).collect();
    let expect: BTreeMap<String, String> = rows.iter().map(|row| (id(row).to_owned(), text(row).to_owned())).collect();
    assert_eq!(texts, expect);
    let (dropped, (kept, _)) = evidence(&table(&out, "evidence").1).into_iter().next().unwrap();
    let shown = tamis(dir.path(), &format!("inspect out --dropped {dropped}")).expect_code(0).stdout;
    assert!(shown.contains("semantic") && shown.contains(&kept), "{shown}");
    let summary = tamis(dir.path(), &format!("dedup rows.jsonl -o text --semantic {}", model())).expect_code(0).stdout;
    assert!(summary.contains("semantic duplicates: cosine >= 0.95 of embeddings, 1 cluster of 5"), "{summary}");
    tamis(dir.path(), "verify out").expect_code(0);
}

/// Evidence names rows that stay: a row that others were dropped for does, and a text that is none is like no other.
#[test]
fn rows_that_others_were_dropped_for_stay_and_rows_without_text_too() {
    let dir = tempfile::tempdir().unwrap();
    let row = |id: &str, text: &str| json!({"id": id, "text": text});
    write_lines(
        &dir.path().join("rows.jsonl"),
        &[
            row("a", "How do I activate my card?"),
            row("blank", ""),
            row("b", "How can I activate my new card, please?"),
            row("spaces", "  \n "),
            row("b2", "how can i activate my new card please"),
            row("c", "How do I go about activating my card?"),
            row("hash", &"8f3a".repeat(40)),
            row("other hash", &"c0de".repeat(40)),
            row("emoji", "\u{1f389}"),
            row("other emoji", "\u{1f680} \u{1f389}"),
            row("d", "The weather in Lisbon is mild in winter."),
        ],
    );
    write_config(dir.path(), "[deduplicate]\nignore_punctuation = true", "threshold = 0.7");
    let manifest = run(dir.path(), "").expect_code(0).json()["manifest"].clone();
    let out = dir.path().join("out");
    let found = evidence(&table(&out, "evidence").1);
    let pairs: Vec<(&str, &str)> = found.iter().map(|(row, (kept, _))| (row.as_str(), kept.as_str())).collect();
    assert_eq!((pairs[0], pairs[1].0), (("b2", "b"), "c"), "{pairs:?}");
    let kept: BTreeSet<String> = strings(&table(&out, "kept").1, "tamis_id").into_iter().collect();
    assert!(kept.contains("b") && kept.contains("blank") && kept.contains("d"), "{kept:?}");
    let record = &manifest["semantic"];
    assert_eq!((&record["spared_rows"], &record["dropped_rows"]), (&1.into(), &1.into()));
    assert_eq!((&record["embedding"]["rows"], record["rows_without_text"].as_u64()), (&4.into(), Some(6)));
}

/// With an index and embeddings beside it: rows that are dropped here are in neither.
#[test]
fn dropped_rows_leave_no_trace_in_index_and_embeddings() {
    let dir = tempfile::tempdir().unwrap();
    let row = |id: &str, text: &str| json!({"id": id, "text": text});
    let (said, again) = (row("a", "How do I activate my card?"), row("b", "How can I activate my card?"));
    let other = row("c", "The weather in Lisbon is mild in winter.");
    let sections = format!("[deduplicate]\n[index]\nurl = \"seen\"\n[embed]\nmodel = \"{}\"", model());
    write_lines(&dir.path().join("rows.jsonl"), &[said, again.clone(), other]);
    write_config(dir.path(), &sections, "threshold = 0.8");
    let manifest = run(dir.path(), "").expect_code(0).json()["manifest"].clone();
    assert_eq!((&manifest["index"]["added_rows"], &manifest["embedding"]["rows"]), (&2.into(), &2.into()));
    assert_eq!(manifest["embedding"]["fingerprint"], manifest["semantic"]["embedding"]["fingerprint"]);
    assert_eq!(strings(&table(&dir.path().join("out"), "embeddings").1, "tamis_id"), ["a", "c"]);

    write_lines(&dir.path().join("rows.jsonl"), &[again]);
    let config = fs::read_to_string(dir.path().join("run.toml")).unwrap().replace("\"out\"", "\"next\"");
    fs::write(dir.path().join("run.toml"), config).unwrap();
    let manifest = run(dir.path(), "").expect_code(0).json()["manifest"].clone();
    assert_eq!((&manifest["index"]["dropped_rows"], &manifest["rows"]["kept"]), (&0.into(), &1.into()));
}

#[test]
fn guards_count_such_rows_as_losses() {
    let dir = tempfile::tempdir().unwrap();
    write_lines(&dir.path().join("rows.jsonl"), &banking(500));
    for (guard, words) in [
        ("max_dropped_ratio = 0.1", "max_dropped_ratio = 0.1"),
        ("max_cluster_rows = 4", "more than max_cluster_rows = 4"),
    ] {
        for sections in ["", "[deduplicate]\n"] {
            let sections = format!("{sections}[guards]\n{guard}");
            write_config(dir.path(), &sections, "threshold = 0.8\ncache = \"cache\"");
            let ended = run(dir.path(), "").expect_code(2);
            assert!(ended.stderr.contains(words) && ended.stderr.contains(" -> "), "{}", ended.stderr);
            assert!(!dir.path().join("out").exists());
        }
    }
}

#[test]
fn settings_that_cannot_work_are_told_of_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.jsonl"), "{\"text\":\"a\"}\n").unwrap();
    let check = |sections: &str, semantic: &str, words: &str| {
        write_config(dir.path(), sections, semantic);
        let ended = run(dir.path(), "").expect_code(2);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(!dir.path().join("out/manifest.json").exists());
    };
    check("", "threshold = 0.0", "semantic.threshold is 0, not above 0 and up to 1");
    check("", "threshold = 1.5", "semantic.threshold is 1.5");
    check("", "clusters = 0", "semantic.clusters is not between 1 and 1024");
    check("", "keep = \"best\"", "keep is `best`, which is no order");
    check("", "keep = \"score:desc\"", "no column `score` in `the input`");
    check("", "max_tokens = 513", "a text has 2 to 512 tokens in this model, not 513");
    check("[deduplicate]\nby = \"label\"", "", "does not look at deduplicate.by");
    check("[deduplicate]\ncap_cluster = 2", "", "does not look at deduplicate.cap_cluster");
    let ended = tamis(dir.path(), "dedup rows.jsonl -o out --semantic nowhere").expect_code(2);
    assert!(ended.stderr.contains("there is no model folder `nowhere`"), "{}", ended.stderr);
    assert!(!dir.path().join("out").exists());
    let config = fs::read_to_string(dir.path().join("run.toml")).unwrap().replace("cap_cluster = 2", "");
    fs::write(dir.path().join("run.toml"), config + "mode = \"append\"\n").unwrap();
    let ended = tamis(dir.path(), "run run.toml").expect_code(2);
    assert!(ended.stderr.contains("[semantic] compares the rows of one run"), "{}", ended.stderr);
}
