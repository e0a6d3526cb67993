//! Folders, columns, types and numbers that others rely on.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use arrow::datatypes::DataType;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use crate::support::{floats, json_lines, sample, strings, table, tamis};

#[test]
fn dedup_writes_what_its_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let input = sample("licences.jsonl");
    let ended = tamis(dir.path(), &format!("dedup {input} -o out --format json --threshold 0.7")).expect_code(0);
    let out = dir.path().join("out");
    let rows = json_lines(&input);

    let (kept_schema, kept) = table(&out, "kept");
    let (dropped_schema, dropped) = table(&out, "dropped");
    let (evidence_schema, evidence) = table(&out, "evidence");
    let (rejected_schema, rejected) = table(&out, "rejected");
    let names = |schema: &arrow::datatypes::Schema| {
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    let keys: Vec<String> = rows[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names(&kept_schema), [keys.clone(), vec!["tamis_id".into(), "tamis_duplicates".into()]].concat());
    assert_eq!(kept_schema.field_with_name("tamis_duplicates").unwrap().data_type(), &DataType::Int64);
    assert_eq!(
        names(&dropped_schema),
        [keys, vec!["tamis_id".into(), "tamis_reason".into(), "tamis_source".into()]].concat()
    );
    assert_eq!(names(&rejected_schema), ["source", "row", "byte_offset", "reason", "raw"]);
    let expect = [
        ("dropped_id", DataType::Utf8),
        ("kept_id", DataType::Utf8),
        ("similarity", DataType::Float64),
        ("method", DataType::Utf8),
        ("rule", DataType::Utf8),
        ("shared_bands", DataType::Int32),
        ("cluster_id", DataType::Utf8),
        ("cluster_size", DataType::Int64),
        ("span_start", DataType::Int64),
        ("span_end", DataType::Int64),
    ];
    let types: Vec<_> = evidence_schema.fields().iter().map(|f| (f.name().as_str(), f.data_type().clone())).collect();
    assert_eq!(types, expect);

    assert_eq!(rejected.num_rows(), 0);
    assert_eq!(kept.num_rows() + dropped.num_rows(), rows.len());
    assert!(dropped.num_rows() > 20, "{} dropped", dropped.num_rows());
    let all: BTreeSet<String> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let kept_ids: BTreeSet<String> = strings(&kept, "tamis_id").into_iter().collect();
    let dropped_ids: BTreeSet<String> = strings(&dropped, "tamis_id").into_iter().collect();
    assert_eq!(&kept_ids | &dropped_ids, all);
    assert_eq!(strings(&evidence, "dropped_id").into_iter().collect::<BTreeSet<_>>(), dropped_ids);
    assert!(strings(&evidence, "kept_id").iter().all(|id| kept_ids.contains(id)));
    assert!(floats(&evidence, "similarity").iter().all(|similarity| (0.7..=1.0).contains(similarity)));
    assert!(strings(&dropped, "tamis_reason").iter().all(|reason| !reason.is_empty()));

    assert!(strings(&dropped, "tamis_source").iter().all(|source| *source == input));
    assert!(has_dictionary(&out.join("dropped/part-00000.parquet"), "tamis_source"));

    let summary = ended.json();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(summary["manifest"], manifest);
    assert_eq!(manifest["rows"]["rows_in"], rows.len());
    assert_eq!(manifest["rows"]["kept"], kept.num_rows());
    assert_eq!(manifest["rows"]["dropped"], dropped.num_rows());
    for (name, rows) in [("kept", kept.num_rows()), ("evidence", evidence.num_rows())] {
        assert_eq!(manifest["tables"][name]["rows"], rows);
    }
}

fn has_dictionary(file: &Path, column: &str) -> bool {
    let file = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let group = file.metadata().row_group(0);
    let column = group.columns().iter().find(|found| found.column_path().string() == column).unwrap();
    column.dictionary_page_offset().is_some()
}

#[test]
fn texts_pass_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let input = sample("laws.jsonl");
    tamis(dir.path(), &format!("dedup {input} -o out")).expect_code(0);
    let mut written: Vec<(String, String)> = ["kept", "dropped"]
        .iter()
        .flat_map(|name| {
            let (_, batch) = table(&dir.path().join("out"), name);
            strings(&batch, "id").into_iter().zip(strings(&batch, "text")).collect::<Vec<_>>()
        })
        .collect();
    let mut read: Vec<(String, String)> = json_lines(&input)
        .iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned()))
        .collect();
    written.sort();
    read.sort();
    assert_eq!(written, read);
}

#[test]
fn rows_are_numbered_without_an_id_column() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jsonl"), "{\"text\":\"one\"}\n\n{\"text\":\"two\"}\n").unwrap();
    std::fs::write(dir.path().join("b.txt"), "three\none\n").unwrap();
    tamis(dir.path(), "dedup ./b.txt a.jsonl -o out").expect_code(0);
    let (_, kept) = table(&dir.path().join("out"), "kept");
    assert_eq!(strings(&kept, "tamis_id"), ["a.jsonl#0", "a.jsonl#1", "b.txt#0"]);
    let (_, evidence) = table(&dir.path().join("out"), "evidence");
    assert_eq!(strings(&evidence, "dropped_id"), ["b.txt#1"]);
    assert_eq!(strings(&evidence, "kept_id"), ["a.jsonl#0"]);
    assert_eq!(strings(&evidence, "method"), ["identical"]);
}

#[test]
fn keep_says_who_stays() {
    let dir = tempfile::tempdir().unwrap();
    let long = "the quick brown fox jumps over the lazy dog and runs away into the deep dark forest near the river";
    let rows = format!(
        "{{\"id\":\"a\",\"text\":\"{long}\",\"q\":1}}\n{{\"id\":\"b\",\"text\":\"{long} today\",\"q\":3}}\n{{\"id\":\"c\",\"text\":\"{long}\",\"q\":2.5}}\n"
    );
    std::fs::write(dir.path().join("in.jsonl"), rows).unwrap();
    for (keep, expect) in [("first", "a"), ("longest", "b"), ("q:desc", "b"), ("q:asc", "a")] {
        tamis(dir.path(), &format!("dedup in.jsonl -o out --overwrite --keep {keep}")).expect_code(0);
        let (_, kept) = table(&dir.path().join("out"), "kept");
        assert_eq!(strings(&kept, "id"), [expect], "{keep}");
    }
    let ended = tamis(dir.path(), "dedup in.jsonl -o out --overwrite --keep price:desc").expect_code(2);
    assert!(ended.stderr.contains("price"), "{}", ended.stderr);
}

#[test]
fn an_output_is_neither_overwritten_nor_inside_an_input() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/a.txt"), "one\n").unwrap();
    for (args, expect) in [
        ("convert data -o data/out", "overlap"),
        ("convert data -o data", "overlap"),
        ("convert data/a.txt -o data", "overlap"),
        ("convert data/*.txt -o data/x --overwrite", "overlap"),
    ] {
        let ended = tamis(dir.path(), args).expect_code(2);
        assert!(ended.stderr.contains(expect), "{args}: {}", ended.stderr);
        assert_eq!(std::fs::read_dir(dir.path().join("data")).unwrap().count(), 1, "{args}");
    }
    // A glob without a folder begins in the working folder, and an output elsewhere is in no input.
    let ended = tamis(&dir.path().join("data"), "convert *.txt -o x").expect_code(2);
    assert!(ended.stderr.contains("overlap"), "{}", ended.stderr);
    tamis(&dir.path().join("data"), "convert *.txt -o ../beside").expect_code(0);
    tamis(dir.path(), "convert data -o out").expect_code(0);
    let before = crate::support::files(&dir.path().join("out"));
    let ended = tamis(dir.path(), "convert data -o out").expect_code(2);
    assert!(ended.stderr.contains("--overwrite"), "{}", ended.stderr);
    assert_eq!(crate::support::files(&dir.path().join("out")), before);
    std::fs::write(dir.path().join("out/mine.txt"), "mine").unwrap();
    tamis(dir.path(), "dedup data -o out --overwrite").expect_code(0);
    assert!(dir.path().join("out/mine.txt").exists(), "a file that is not ours is gone");
    assert!(dir.path().join("out/evidence").exists());
    tamis(dir.path(), "convert data -o out --overwrite").expect_code(0);
    assert!(!dir.path().join("out/evidence").exists(), "a table of the earlier run stays behind");
}

#[test]
fn its_own_kept_rows_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (licences, laws) = (sample("licences.jsonl"), sample("laws.jsonl"));
    tamis(dir.path(), &format!("dedup {licences} {laws} -o one --recall 1.0 --threshold 0.6")).expect_code(0);
    tamis(dir.path(), "dedup one/kept -o two --recall 1.0 --threshold 0.6").expect_code(0);
    let ids = |out: &str| strings(&table(&dir.path().join(out), "kept").1, "tamis_id");
    assert_eq!(ids("one"), ids("two"));
}

#[test]
fn input_columns_named_like_those_of_a_table_are_replaced_there() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = ["one", "one", "two", "two", "three"]
        .iter()
        .map(|text| {
            format!("{{\"text\":\"{text}\",\"tamis_reason\":\"mine\",\"tamis_source\":\"s\",\"tamis_score\":0.5}}\n")
        })
        .collect();
    std::fs::write(dir.path().join("in.jsonl"), rows).unwrap();
    for flags in ["", "--recall 1.0 --keep longest", "--max-dropped-ratio 0.9 --scope within-source"] {
        tamis(dir.path(), &format!("dedup in.jsonl -o out --overwrite {flags}")).expect_code(0);
        let (_, kept) = table(&dir.path().join("out"), "kept");
        assert_eq!(strings(&kept, "tamis_id"), ["in.jsonl#0", "in.jsonl#2", "in.jsonl#4"], "{flags}");
        assert_eq!(strings(&kept, "tamis_reason"), ["mine", "mine", "mine"], "{flags}");
        assert_eq!(strings(&kept, "tamis_source"), ["s", "s", "s"], "{flags}");
        let (_, dropped) = table(&dir.path().join("out"), "dropped");
        assert_eq!(strings(&dropped, "tamis_reason"), ["identical", "identical"], "{flags}");
        assert_eq!(strings(&dropped, "tamis_source"), ["in.jsonl", "in.jsonl"], "{flags}");
        assert_eq!(floats(&dropped, "tamis_score"), [0.5, 0.5], "{flags}");
    }
    // What one run dropped, another may read.
    tamis(dir.path(), "dedup out/dropped -o again").expect_code(0);
    assert_eq!(table(&dir.path().join("again"), "kept").1.num_rows(), 2);
    // Where nothing is added, nothing is replaced.
    tamis(dir.path(), "convert out/kept -o whole").expect_code(0);
    let columns = |out: &str| table(&dir.path().join(out), "kept").1.columns().to_vec();
    assert_eq!(columns("whole"), columns("out"));
}

#[test]
fn input_columns_named_like_ours_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["tamis_row", "tamis_text", "tamis_file", "tamis_length"] {
        let row = format!("{{\"text\":\"one\",\"{name}\":7}}\n");
        std::fs::write(dir.path().join("in.jsonl"), row).unwrap();
        for command in ["dedup in.jsonl -o out", "convert in.jsonl -o out"] {
            let ended = tamis(dir.path(), command).expect_code(2);
            assert!(ended.stderr.contains(&format!("`{name}`")), "{command}: {}", ended.stderr);
            assert!(!dir.path().join("out").exists(), "{command}");
        }
    }
}
