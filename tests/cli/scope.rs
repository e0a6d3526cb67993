//! Scopes, caps and counts of duplicates, seen from the outside.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::support::{files, json_lines, sample, strings, table, tamis};

fn counts(kept: &RecordBatch) -> Vec<i64> {
    kept.column_by_name("tamis_duplicates").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn pairs(dir: &Path) -> Vec<(String, String)> {
    let (_, evidence) = table(&dir.join("out"), "evidence");
    strings(&evidence, "dropped_id").into_iter().zip(strings(&evidence, "kept_id")).collect()
}

/// Three files in which `one two` and its like stand in several, and a column whose values are shared by some.
fn input(dir: &Path) {
    std::fs::create_dir(dir.join("in")).unwrap();
    let rows = [
        (
            "a",
            &[
                ("a0", "one two", "1"),
                ("a1", "one two", "2"),
                ("a2", "three four", "null"),
                ("a3", "three four", "null"),
            ][..],
        ),
        ("b", &[("b0", "one two", "1"), ("b1", "three four", "3"), ("b2", "five", "[1]")]),
        ("c", &[("c0", "five", "[1]"), ("c1", "one two", "2"), ("c2", "three four", "null")]),
    ];
    for (file, rows) in rows {
        let mut text = String::new();
        for (id, words, value) in rows {
            writeln!(text, "{{\"id\":\"{id}\",\"text\":\"{words}\",\"v\":{value}}}").unwrap();
        }
        std::fs::write(dir.join(format!("in/{file}.jsonl")), text).unwrap();
    }
}

#[test]
fn rows_meet_within_their_scope() {
    let dir = tempfile::tempdir().unwrap();
    input(dir.path());
    let all = "a1>a0 a3>a2 b0>a0 b1>a2 c0>b2 c1>a0 c2>a2";
    let cases = [
        ("", all),
        ("--scope all", all),
        ("--scope within-source", "a1>a0 a3>a2"),
        ("--scope across-sources", "b0>a0 b1>a2 c0>b2 c1>a0 c2>a2"),
        ("--by v", "a3>a2 b0>a0 c0>b2 c1>a1 c2>a2"),
        ("--by v --scope within-source", "a3>a2"),
        ("--by v --scope across-sources", "b0>a0 c0>b2 c1>a1 c2>a2"),
        ("--scope within-source --source-column v", "a3>a2 b0>a0 c0>b2 c1>a1 c2>a2"),
        ("--scope across-sources --source-column v", "a1>a0 b1>a2 c1>a0"),
        ("--cap-cluster 2", "b0>a0 b1>a2 c1>a0 c2>a2"),
        ("--cap-cluster 3 --linkage connected", "c1>a0 c2>a2"),
        ("--cap-cluster 2 --keep v:desc --by v", "c2>a2"),
    ];
    for recall in ["0.99", "1.0"] {
        for (flags, expect) in cases {
            tamis(dir.path(), &format!("dedup in -o out --overwrite --recall {recall} {flags}")).expect_code(0);
            let found: Vec<String> =
                pairs(dir.path()).into_iter().map(|(dropped, kept)| format!("{dropped}>{kept}")).collect();
            assert_eq!(found.join(" "), expect, "{flags} at {recall}");
            let (_, kept) = table(&dir.path().join("out"), "kept");
            assert_eq!(counts(&kept).iter().sum::<i64>(), 10, "{flags}");
        }
    }
}

#[test]
fn bytes_do_not_depend_on_threads_batches_memory_or_order() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let rows: Vec<String> = ["licences.jsonl", "laws.jsonl"]
        .iter()
        .flat_map(|name| json_lines(&sample(name)))
        .enumerate()
        .map(|(row, mut value)| {
            value["shelf"] = (row * 7919 % 5).into();
            value["origin"] = format!("site {}", row * 31 % 40).into();
            value.to_string()
        })
        .collect();
    for (file, rows) in rows.chunks(130).enumerate() {
        std::fs::write(dir.path().join(format!("in/{file}.jsonl")), rows.join("\n")).unwrap();
    }
    let run = |inputs: &str, flags: &str| {
        tamis(dir.path(), &format!("dedup {inputs} -o out --overwrite --threshold 0.6 {flags}")).expect_code(0);
        files(&dir.path().join("out"))
    };
    for options in [
        "--by shelf",
        "--scope within-source",
        "--scope across-sources --source-column origin --by shelf",
        "--scope across-sources --linkage connected --recall 1.0",
        "--cap-cluster 3 --keep longest",
        "--measure containment --by shelf --cap-cluster 2",
        "--measure containment --scope across-sources --source-column origin",
        "--max-dropped-ratio 0.01 --max-cluster-rows 2 --allow-loss --source-column origin",
    ] {
        let expect = run("in", &format!("{options} --threads 2"));
        for flags in ["--threads 1 --batch-rows 7", "--threads 8 --memory-limit 64MiB"] {
            assert!(run("in", &format!("{options} {flags}")) == expect, "{options} {flags}");
        }
        assert!(run("in/3.jsonl in/1.jsonl in/0.jsonl in/4.jsonl in/2.jsonl", options) == expect, "{options}");
    }
}

#[test]
fn counts_say_what_a_kept_row_stands_for_over_runs() {
    let dir = tempfile::tempdir().unwrap();
    let rows = json_lines(&sample("licences.jsonl"));
    tamis(dir.path(), &format!("dedup {} -o strict --threshold 0.9", sample("licences.jsonl"))).expect_code(0);
    let (schema, kept) = table(&dir.path().join("strict"), "kept");
    assert!(!schema.field_with_name("tamis_duplicates").unwrap().is_nullable());
    let (_, evidence) = table(&dir.path().join("strict"), "evidence");
    let mut expect: HashMap<String, i64> = HashMap::new();
    for id in strings(&evidence, "kept_id") {
        *expect.entry(id).or_insert(1) += 1;
    }
    for (id, count) in strings(&kept, "tamis_id").iter().zip(counts(&kept)) {
        assert_eq!(count, expect.get(id).copied().unwrap_or(1), "{id}");
    }

    // A second run, looser and over what the first kept, adds the counts up; so it does where they come as text formats.
    let first: BTreeMap<String, i64> = strings(&kept, "tamis_id").into_iter().zip(counts(&kept)).collect();
    let mut csv = "id,text,tamis_duplicates\n".to_owned();
    for (id, text) in strings(&kept, "tamis_id").iter().zip(strings(&kept, "text")) {
        let count = if first[id] == 1 { String::new() } else { first[id].to_string() };
        writeln!(csv, "{id},\"{}\",{count}", text.replace('"', "\"\"")).unwrap();
    }
    std::fs::write(dir.path().join("strict.csv"), csv).unwrap();
    for input in ["strict/kept", "strict.csv"] {
        tamis(dir.path(), &format!("dedup {input} -o out --overwrite --threshold 0.6")).expect_code(0);
        let (schema, kept) = table(&dir.path().join("out"), "kept");
        assert_eq!(schema.fields().iter().filter(|field| field.name() == "tamis_duplicates").count(), 1);
        let mut expect = first.clone();
        let dropped = pairs(dir.path());
        assert!(dropped.len() > 5);
        for (dropped, kept) in dropped {
            let count = expect.remove(&dropped).unwrap();
            *expect.get_mut(&kept).unwrap() += count;
        }
        let found: BTreeMap<String, i64> = strings(&kept, "tamis_id").into_iter().zip(counts(&kept)).collect();
        assert_eq!(found, expect, "{input}");
        assert_eq!(found.values().sum::<i64>(), rows.len() as i64);
    }
}

#[test]
fn counts_that_are_none_count_one() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [("a", "4"), ("b", "-7"), ("c", "null"), ("d", "0"), ("e", "18446744073709551615")];
    let lines: Vec<String> =
        rows.iter().map(|(id, n)| format!("{{\"id\":\"{id}\",\"text\":\"same\",\"tamis_duplicates\":{n}}}")).collect();
    std::fs::write(dir.path().join("in.jsonl"), lines[..4].join("\n")).unwrap();
    tamis(dir.path(), "dedup in.jsonl -o out").expect_code(0);
    assert_eq!(counts(&table(&dir.path().join("out"), "kept").1), [7]);
    let (schema, dropped) = table(&dir.path().join("out"), "dropped");
    assert_eq!(
        (strings(&dropped, "tamis_duplicates"), schema.fields().len()),
        (vec!["-7".into(), String::new(), "0".into()], 5)
    );
    std::fs::write(dir.path().join("in.jsonl"), [lines[0].as_str(), &lines[4]].join("\n")).unwrap();
    tamis(dir.path(), "dedup in.jsonl -o out --overwrite").expect_code(0);
    assert_eq!(counts(&table(&dir.path().join("out"), "kept").1), [i64::MAX]);
    std::fs::write(dir.path().join("in.jsonl"), "{\"text\":\"same\",\"tamis_duplicates\":\"many\"}\n").unwrap();
    tamis(dir.path(), "dedup in.jsonl -o out --overwrite").expect_code(0);
    assert_eq!(counts(&table(&dir.path().join("out"), "kept").1), [1]);
    tamis(dir.path(), "convert in.jsonl -o out --overwrite").expect_code(0);
    assert_eq!(strings(&table(&dir.path().join("out"), "kept").1, "tamis_duplicates"), ["many"]);
}
