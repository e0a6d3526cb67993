//! Dropped rows in the order of their clusters: the same rows, elsewhere.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use serde_json::{Value, json};

use crate::support::{files, json_lines, sample, strings, table, tamis};

/// Runs over `in` into a folder, with the dropped rows in an order.
fn run(dir: &Path, stages: &str, order: &str, out: &str, flags: &str) {
    let config = format!(
        "[input]\npaths = [\"in\"]\n{stages}\n[output]\npath = \"{out}\"\n[tiers.trash]\n{order}\n\
         [routes]\ndropped = \"trash\"\nevidence = \"trash\"\n"
    );
    fs::write(dir.join("c.toml"), config).unwrap();
    tamis(dir, &format!("run c.toml --overwrite {flags}")).expect_code(0);
}

/// Dropped rows and evidence of a run, both in the order of the input, put in the order of clusters.
fn by_cluster(out: &Path, position: &HashMap<String, u64>) -> [RecordBatch; 2] {
    let (dropped, evidence) = (table(out, "dropped").1, table(out, "evidence").1);
    let (ids, rules) = (strings(&evidence, "dropped_id"), strings(&evidence, "rule"));
    let clusters = strings(&evidence, "cluster_id");
    let key_of: HashMap<&String, (u64, u64)> = (0..ids.len())
        .map(|row| {
            let cluster = if rules[row] == "contaminated" { u64::MAX } else { position[&clusters[row]] };
            (&ids[row], (cluster, position[&ids[row]]))
        })
        .collect();
    let sorted = |batch: &RecordBatch, id: &str| {
        let ids = strings(batch, id);
        let mut rows: Vec<u64> = (0..ids.len() as u64).collect();
        rows.sort_by_key(|&row| key_of[&ids[row as usize]]);
        take_record_batch(batch, &UInt64Array::from(rows)).unwrap()
    };
    [sorted(&dropped, "tamis_id"), sorted(&evidence, "dropped_id")]
}

fn read(out: &Path) -> [RecordBatch; 2] {
    ["dropped", "evidence"].map(|name| table(out, name).1)
}

fn positions(rows: impl IntoIterator<Item = Value>) -> HashMap<String, u64> {
    rows.into_iter().map(|row| row["id"].as_str().unwrap().to_owned()).zip(0..).collect()
}

fn write_rows(path: &Path, rows: &[Value]) {
    fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

#[test]
fn rows_dropped_for_one_row_stand_together_whatever_dropped_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("in")).unwrap();
    let (mut rows, laws) = (json_lines(&sample("licences.jsonl")), json_lines(&sample("laws.jsonl")));
    let plain: Vec<Value> = rows.iter().map(|row| json!({"id": row["id"], "text": row["text"]})).collect();
    rows = plain;
    rows.push(json!({"id": "again", "text": "again and ".repeat(60)}));
    let (first, second) = rows.split_at(40);
    let laws: Vec<Value> = laws.iter().map(|row| json!({"id": row["id"], "text": row["text"]})).collect();
    let parts = [first, &laws, second];
    for (part, rows) in parts.iter().enumerate() {
        write_rows(&dir.path().join(format!("in/{part}.jsonl")), rows);
    }
    write_rows(&dir.path().join("held.jsonl"), &[json!({"id": "h", "text": second[3]["text"]})]);
    let position = positions(parts.iter().flat_map(|rows| rows.iter().cloned()));
    let stages = "[decontaminate]\npaths = [\"held.jsonl\"]\n[deduplicate]\nthreshold = 0.6\nkeep = \"longest\"\n\
                  [grain]\n[repetition]";
    run(dir.path(), stages, "order = \"input\"", "input", "");
    run(dir.path(), stages, "order = \"cluster\"", "cluster", "");
    let [input, cluster] = ["input", "cluster"].map(|out| dir.path().join(out));
    let expect = by_cluster(&input, &position);
    assert_eq!(read(&cluster), expect);
    assert_ne!(read(&input), expect, "the sample has this order anyway");
    let [dropped, evidence] = read(&cluster);
    for reason in ["contaminated", "near_duplicate", "repetition", "duplicate_paragraphs"] {
        assert!(strings(&dropped, "tamis_reason").iter().any(|found| found == reason), "no row is {reason}");
    }
    assert_eq!(strings(&dropped, "tamis_id"), strings(&evidence, "dropped_id"));
    assert_eq!(strings(&dropped, "tamis_reason").last().unwrap(), "contaminated");

    // All else is as before.
    assert_eq!(table(&input, "kept"), table(&cluster, "kept"));
    let counts = |out: &Path| {
        let manifest: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
        ["rows", "dropped_by_reason", "near_duplicates", "grain"].map(|name| manifest[name].clone())
    };
    assert_eq!(counts(&input), counts(&cluster));
    tamis(dir.path(), "restore cluster -o back").expect_code(0);
    assert_eq!(table(&dir.path().join("back"), "kept").1.num_rows(), position.len());
    // The class says so too, and a tier of every day keeps the order of the input.
    run(dir.path(), stages, "class = \"cold\"", "cold", "");
    assert_eq!(read(&dir.path().join("cold")), expect);
    run(dir.path(), stages, "class = \"warm\"", "warm", "");
    assert_eq!(read(&dir.path().join("warm")), read(&input));
}

#[test]
fn more_rows_than_fit_in_memory_are_ordered_alike() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("in")).unwrap();
    // 2,000 texts of 8 KB that have nothing in common, then all of them with another word here and there, twice.
    let mut rows = Vec::new();
    for copy in 0..3_u64 {
        for row in 0..2_000_u64 {
            let word = |word: u64| {
                let is_changed = copy > 0 && word % 200 == row * copy % 200;
                let number = (row * 800 + word) * 2_654_435_761 % 999_999_937;
                if is_changed { format!("changed{copy}") } else { format!("{number:09}") }
            };
            let text: Vec<String> = (0..800).map(word).collect();
            rows.push(json!({"id": format!("{copy}-{row}"), "text": text.join(" ")}));
        }
    }
    write_rows(&dir.path().join("in/a.jsonl"), &rows);
    let position = positions(rows);
    let ordered = |order: &str, out: &str, flags: &str| {
        run(dir.path(), "[deduplicate]", &format!("order = \"{order}\""), out, flags);
        dir.path().join(out)
    };
    let input = ordered("input", "input", "");
    let cluster = ordered("cluster", "cluster", "--memory-limit 1GiB --threads 4");
    let expect = by_cluster(&input, &position);
    assert_eq!(expect[0].num_rows(), 4_000);
    assert!(read(&cluster) == expect);
    let small = ordered("cluster", "small", "--memory-limit 64MiB --threads 1 --batch-rows 50");
    for name in ["dropped", "evidence", "kept"] {
        assert!(files(&small.join(name)) == files(&cluster.join(name)), "{name} depends on memory");
    }
    let bytes = |out: &Path| fs::metadata(out.join("dropped/part-00000.parquet")).unwrap().len();
    let (input, cluster) = (bytes(&input), bytes(&cluster));
    assert!(cluster * 3 < input * 2, "{input} bytes in the order of the input, {cluster} by cluster");
}

#[test]
fn rows_dropped_for_a_row_of_an_earlier_run_stand_together_too() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("in")).unwrap();
    let text = |name: &str| format!("this is the text of {name} and of nobody else at all");
    let write = |file: &str, rows: &[(&str, &str)]| {
        let rows: Vec<Value> = rows.iter().map(|(id, name)| json!({"id": id, "text": text(name)})).collect();
        write_rows(&dir.path().join("in").join(file), &rows);
    };
    let config = "[input]\npaths = [\"in\"]\n[deduplicate]\n[output]\npath = \"out\"\nmode = \"append\"\n\
                  [tiers.default]\norder = \"cluster\"\n";
    fs::write(dir.path().join("c.toml"), config).unwrap();
    write("a.jsonl", &[("x", "x"), ("y", "y"), ("z", "z"), ("x1", "x")]);
    tamis(dir.path(), "run c.toml").expect_code(0);
    write(
        "b.jsonl",
        &[("y1", "y"), ("n", "n"), ("x2", "x"), ("m", "m"), ("y2", "y"), ("m1", "m"), ("x3", "x"), ("n1", "n")],
    );
    tamis(dir.path(), "run c.toml").expect_code(0);
    let mut dropped: Vec<_> = files(&dir.path().join("out/dropped")).into_keys().collect();
    dropped.retain(|name| name.ends_with(".parquet"));
    assert_eq!(dropped.len(), 2);
    let ids = |name: &str, column: &str| strings(&table(&dir.path().join("out"), name).1, column);
    let mut of_runs = [&["x1"][..], &["n1", "m1", "x2", "x3", "y1", "y2"]];
    // The names of the files say nothing of the order of the runs.
    if ids("dropped", "tamis_id")[0] != "x1" {
        of_runs.reverse();
    }
    for (name, column) in [("dropped", "tamis_id"), ("evidence", "dropped_id")] {
        assert_eq!(ids(name, column), of_runs.concat(), "{name}");
    }
}
