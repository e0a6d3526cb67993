//! Bad input gives a clear error or reject records: never a panic, never a loss, never half an output.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use crate::support::{command, finish, sample, strings, table, tamis};

/// Runs dedup on one file and returns (kept texts, reasons of the rejects).
#[track_caller]
fn rejects(name: &str, bytes: &[u8], expect_kept: &[&str], expect_reasons: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), bytes).unwrap();
    let code = i32::from(!expect_reasons.is_empty());
    tamis(dir.path(), &format!("dedup {name} -o out")).expect_code(code);
    let (_, kept) = table(&dir.path().join("out"), "kept");
    let texts = if kept.num_rows() == 0 { Vec::new() } else { strings(&kept, "text") };
    assert_eq!(texts, expect_kept, "{name}");
    let (_, rejected) = table(&dir.path().join("out"), "rejected");
    let reasons = strings(&rejected, "reason");
    assert_eq!(reasons.len(), expect_reasons.len(), "{name}: {reasons:?}");
    for (reason, expect) in reasons.iter().zip(expect_reasons) {
        assert!(reason.contains(expect), "{name}: `{reason}` does not say `{expect}`");
    }
}

/// Runs a command that must fail with a message naming every one of `expect`, and leave nothing.
#[track_caller]
fn fails(dir: &Path, args: &str, expect: &[&str]) {
    let ended = tamis(dir, args).expect_code(2);
    for part in expect {
        assert!(ended.stderr.contains(part), "`{args}` does not say `{part}`:\n{}", ended.stderr);
    }
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert!(!dir.join("out").exists(), "`{args}` left an output");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn many_lines() -> String {
    (0..5000).map(|row| format!("{{\"text\":\"document number {row} of {}\"}}\n", row * 7919)).collect()
}

#[test]
fn no_thread_and_no_row_are_no_numbers_of_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in.txt"), "one\n").unwrap();
    fails(dir.path(), "convert in.txt -o out --threads 0", &["--threads"]);
    fails(dir.path(), "convert in.txt -o out --batch-rows 0", &["--batch-rows"]);
}

#[test]
fn broken_rows_become_rejects() {
    rejects(
        "a.jsonl",
        b"{\"text\":\"one\"}\n{\"text\":\"t\xffwo\"}\n{\"text\":\"three\"}\n",
        &["one", "three"],
        &["UTF-8"],
    );
    rejects("a.jsonl", b"{\"text\":\"one\"}\n{\"text\":\n[1]\n", &["one"], &["JSON", "object"]);
    rejects(
        "a.jsonl",
        br#"{"text":"one"}
{"text":"\ud800"}
{"text":"two","x":"\udfff \ud83d\ude00"}
{"text":"\ud83d\ude00"}"#,
        &["one", "\u{1f600}"],
        &["surrogate", "surrogate"],
    );
    rejects("a.jsonl", b"{\"text\":\"one\"}\n{\"text\":null}\n{\"other\":1}\n", &["one"], &["text", "text"]);
    rejects("a.csv", b"text,n\none,1\ntwo\nthr\xffee,3\n\"fo\nur\",4\n", &["one", "fo\nur"], &["field", "UTF-8"]);
    rejects("a.jsonl", b"{\"text\":\"a\\u0000b\"}\n", &["a\0b"], &[]);
    rejects("a.jsonl", b"", &[], &[]);
    rejects("a.csv", b"text,n\n", &[], &[]);
    rejects(
        "a.jsonl",
        b"{\"text\":\"one\",\"v\":1}\n{\"text\":\"two\",\"v\":\"x\"}\n{\"text\":\"three\",\"v\":{\"a\":1}}\n",
        &["one", "two", "three"],
        &[],
    );
}

#[test]
fn a_reject_says_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.jsonl"), "{\"text\":\"one\"}\n\nnot json\n").unwrap();
    tamis(dir.path(), "dedup a.jsonl -o out").expect_code(1);
    let (_, rejected) = table(&dir.path().join("out"), "rejected");
    assert_eq!(strings(&rejected, "source"), ["a.jsonl"]);
    assert_eq!(rejected.column_by_name("row").unwrap().as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(rejected.column_by_name("byte_offset").unwrap().as_primitive::<Int64Type>().value(0), 16);
    assert_eq!(rejected.column_by_name("raw").unwrap().as_binary::<i32>().value(0), b"not json");
}

#[test]
fn mixed_types_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "{\"text\":\"one\",\"v\":1}\n{\"text\":\"two\",\"v\":\"x\"}\n{\"text\":\"three\",\"v\":{\"a\":[1,null]}}\n{\"text\":\"four\",\"v\":12345678901234567890123}\n";
    fs::write(dir.path().join("a.jsonl"), rows).unwrap();
    tamis(dir.path(), "convert a.jsonl -o out").expect_code(0);
    let (_, kept) = table(&dir.path().join("out"), "kept");
    assert_eq!(strings(&kept, "v"), ["1", "x", "{\"a\":[1,null]}", "12345678901234567890123"]);
}

#[test]
fn half_a_compressed_file_gives_its_whole_rows() {
    for (name, bytes) in [
        ("a.jsonl.gz", gzip(many_lines().as_bytes())),
        ("a.jsonl.zst", zstd::encode_all(many_lines().as_bytes(), 3).unwrap()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
        tamis(dir.path(), &format!("dedup {name} -o out --recall 0.9")).expect_code(1);
        let (_, rejected) = table(&dir.path().join("out"), "rejected");
        let reasons = strings(&rejected, "reason");
        assert_eq!(reasons.len(), 1, "{name}: {reasons:?}");
        assert!(reasons[0].contains("ends early") || reasons[0].contains("damaged"), "{name}: {}", reasons[0]);
        let rows = ["kept", "dropped"].map(|name| table(&dir.path().join("out"), name).1.num_rows());
        assert!(rows.iter().sum::<usize>() <= 5000);
    }
}

#[test]
fn a_very_long_line_is_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("a.jsonl")).unwrap();
    write!(file, "{{\"text\":\"{}\"}}\n{{\"text\":\"short\"}}\n", "long words ".repeat(50_000_000 / 11)).unwrap();
    tamis(dir.path(), "dedup a.jsonl -o out --memory-limit 256MiB").expect_code(0);
    let (_, kept) = table(&dir.path().join("out"), "kept");
    assert_eq!(strings(&kept, "text").iter().map(String::len).collect::<Vec<_>>(), [50_000_000 / 11 * 11, 5]);
}

#[test]
fn files_that_are_not_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    tamis(dir.path(), &format!("convert {} -o whole", sample("laws.jsonl"))).expect_code(0);
    let parquet = fs::read(at("whole/kept/part-00000.parquet")).unwrap();
    fs::write(at("half.parquet"), &parquet[..parquet.len() / 2]).unwrap();
    fails(dir.path(), "dedup half.parquet -o out", &["half.parquet", "Parquet"]);
    fs::write(at("text.parquet"), "not parquet at all").unwrap();
    fails(dir.path(), "convert text.parquet -o out", &["text.parquet", "Parquet"]);
    fs::write(at("half.arrow"), b"ARROW1\0\0half").unwrap();
    fails(dir.path(), "convert half.arrow -o out", &["half.arrow", "Arrow"]);
    fails(dir.path(), "convert none.jsonl -o out", &["none.jsonl"]);
    fails(dir.path(), "convert no*.jsonl -o out", &["no*.jsonl"]);
    std::os::unix::fs::symlink("/nowhere", at("link.jsonl")).unwrap();
    fails(dir.path(), "convert link.jsonl -o out", &["link.jsonl"]);
    fs::write(at("a.xyz"), b"\x00\x01\x02\x03").unwrap();
    fails(dir.path(), "convert a.xyz -o out", &["a.xyz", "--input-format"]);
    fs::write(at("twice.csv"), "a,b,a\n1,2,3\n").unwrap();
    fails(dir.path(), "convert twice.csv -o out", &["twice.csv", "a"]);
}

#[test]
fn where_there_is_no_row_no_column_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("empty.jsonl"), "").unwrap();
    fs::write(dir.path().join("bad.jsonl"), "no JSON\n{\"text\":\n").unwrap();
    fs::write(dir.path().join("header.csv"), "id,text\n").unwrap();
    fs::write(dir.path().join("held.jsonl"), "{\"text\":\"a held out item of several words\"}\n").unwrap();
    for (name, code) in [("empty.jsonl", 0), ("bad.jsonl", 1), ("header.csv", 0)] {
        for flags in [
            "",
            "--by q",
            "--keep q:asc",
            "--keep q:desc,r:asc --recall 1.0",
            "--source-column q --scope within-source",
            "--source-column q --scope across-sources --by r",
            "--source-column q --max-dropped-ratio 0.5",
            "--measure containment --by q --cap-cluster 2",
            "--grain paragraph --repetition cut --by q",
            "--index index --keep q:desc --against held.jsonl",
        ] {
            tamis(dir.path(), &format!("dedup {name} -o out --overwrite {flags}")).expect_code(code);
            assert_eq!(table(&dir.path().join("out"), "kept").1.num_rows(), 0, "{name} {flags}");
        }
    }
    fs::write(dir.path().join("one.jsonl"), "{\"text\":\"one\"}\n").unwrap();
    fs::remove_dir_all(dir.path().join("out")).unwrap();
    fails(dir.path(), "dedup one.jsonl -o out --by q", &["`q`", "text"]);
}

#[test]
fn columns_that_are_missing_or_not_text() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.jsonl"), "{\"body\":\"one\",\"n\":1}\n{\"body\":\"two\",\"n\":2}\n").unwrap();
    fails(dir.path(), "dedup a.jsonl -o out", &["`text`", "body"]);
    fails(dir.path(), "dedup a.jsonl -o out --text-column body --id-column key", &["`key`"]);
    tamis(dir.path(), "convert a.jsonl -o whole").expect_code(0);
    fails(dir.path(), "dedup whole/kept -o out", &["`text`", "body"]);
    fails(dir.path(), "dedup whole/kept -o out --text-column n", &["`n`", "Int64"]);
    tamis(dir.path(), "dedup whole/kept -o out --text-column {body}-{n}").expect_code(2);
}

#[test]
fn duplicate_ids_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"b\",\"text\":\"two\"}\n{\"id\":\"a\",\"text\":\"three\"}\n";
    fs::write(dir.path().join("a.jsonl"), rows).unwrap();
    fails(dir.path(), "dedup a.jsonl -o out", &["`a`", "a.jsonl"]);
    let ended = finish(command(dir.path()).args(["dedup", "a.jsonl", "-o", "out", "--id-column", ""])).expect_code(0);
    assert!(ended.stdout.contains('3'));
}

#[test]
fn settings_that_cannot_work() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "one\n").unwrap();
    for (flags, expect) in [
        ("--threshold 0", "threshold"),
        ("--threshold 1.5", "threshold"),
        ("--recall 2", "recall"),
        ("--ngram 0", "ngram"),
        ("--keep score", "keep"),
        ("--threshold 0.01 --recall 0.99", "recall"),
        ("--text-column {a", "brace"),
    ] {
        fails(dir.path(), &format!("dedup a.txt -o out {flags}"), &[expect]);
    }
}

#[test]
fn outputs_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "one\n").unwrap();
    for out in ["a.txt/out", "/proc/tamis"] {
        let ended = tamis(dir.path(), &format!("dedup a.txt -o {out}")).expect_code(2);
        assert!(ended.stderr.contains(out), "{}", ended.stderr);
    }
}

/// A limit on the size of files fails the writes as a full disk does.
#[test]
fn a_full_disk_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_tamis");
    let script = format!("ulimit -f 64; trap '' XFSZ; exec {binary} convert {} -o out", sample("banking.jsonl"));
    let ended = finish(std::process::Command::new("bash").args(["-c", &script]).current_dir(dir.path())).expect_code(2);
    assert!(ended.stderr.contains("could not write `out/kept/part-00000.parquet`"), "{}", ended.stderr);
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_memory_limit_too_small_names_the_smallest_that_works() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.jsonl"), "{\"id\":\"a\",\"text\":\"one\"}\n").unwrap();
    for command in ["dedup a.jsonl -o out", "select a.jsonl -o out --budget 1", "convert a.jsonl -o out"] {
        let stderr = tamis(dir.path(), &format!("{command} --memory-limit 67108863")).expect_code(2).stderr;
        let hint = stderr.split("--memory-limit ").nth(1).unwrap_or_else(|| panic!("{stderr}"));
        let smallest = hint.split_whitespace().next().unwrap();
        assert!(!dir.path().join("out").exists());
        tamis(dir.path(), &format!("dedup a.jsonl -o out --overwrite --memory-limit {smallest}")).expect_code(0);
        fs::remove_dir_all(dir.path().join("out")).unwrap();
    }
}
