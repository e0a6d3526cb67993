//! Rows that are rejected, one kind after the other: the same in the survey and in every later scan, with or without text.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use parquet::arrow::ArrowWriter;

use super::support::*;
use crate::Error;
use crate::source::{Columns, Reject, Request};

/// Reads a file and checks which rows are rejected (ordinal, start of the reason) and which are kept (text).
fn check(folder: &Folder, request: &Request, rejects: &[(u64, &str)], kept: &[&str]) -> Vec<Reject> {
    let inputs = folder.all();
    let (surveyed, types) = survey(&inputs, request).unwrap();
    let schema = inputs.resolve(types).unwrap();
    let found: Vec<(u64, &str)> = surveyed.rejects.iter().map(|reject| (reject.row, reject.reason.as_str())).collect();
    assert_eq!(found.len(), rejects.len(), "{found:?}");
    for ((row, reason), (expected_row, expected_reason)) in found.iter().zip(rejects) {
        assert!(row == expected_row && reason.starts_with(expected_reason), "{found:?}");
    }
    let scanned = scan(&inputs, &schema, request).unwrap();
    assert_eq!(
        scanned.rejects.iter().map(without_raw).collect::<Vec<_>>(),
        surveyed.rejects.iter().map(without_raw).collect::<Vec<_>>()
    );
    for pass in [&surveyed, &scanned] {
        assert_eq!(
            texts(&pass.rows, "tamis_text"),
            kept.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>()
        );
    }
    assert_eq!(schema.n_rows() as usize, rejects.len() + kept.len());
    assert_eq!(schema.rejected().len() as usize, rejects.len());
    // Without text and without columns, the same rows are rejected for the same reasons.
    for columns in [Columns::All, Columns::Named(Vec::new())] {
        let plain = scan(&inputs, &schema, &Request { columns, ..everything() }).unwrap();
        assert_eq!(plain.rows.num_rows(), kept.len());
        let plain: Vec<_> = plain.rejects.iter().map(without_raw).collect();
        assert_eq!(plain, surveyed.rejects.iter().map(without_raw).collect::<Vec<_>>());
    }
    // Rejected rows that are not asked for are not reported.
    let none = scan(&inputs, &schema, &only(request, [])).unwrap();
    assert_eq!((none.rows.num_rows(), none.rejects.len()), (0, 0));
    if let Some(first) = surveyed.rejects.first() {
        let base: u64 = schema.file_rows()[..first.file].iter().sum();
        let one = scan(&inputs, &schema, &only(request, [base + first.row])).unwrap();
        assert_eq!(without_raw(&one.rejects[0]), without_raw(first));
    }
    scanned.rejects
}

fn without_raw(reject: &Reject) -> (usize, u64, Option<u64>, String) {
    (reject.file, reject.row, reject.byte_offset, reject.reason.clone())
}

fn text_only() -> Request {
    Request { id: None, ..request("text", "") }
}

#[test]
fn json_rows() {
    let mut folder = Folder::new();
    folder.options.max_row_bytes = 200;
    folder.options.max_reject_bytes = 10;
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(300));
    let lines: &[&[u8]] = &[
        br#"{"text":"good\u0000 \ud83d\ude00","n":1}"#,
        b"{\"text\":\"broken \xff\",\"n\":1}",
        br#"{"text":"cut"#,
        b"[1]",
        b"plain",
        br#"{"text":"x"}{"text":"y"}"#,
        br#"{"text":"x"} # comment"#,
        br#"{"text":"x","other":"\udead"}"#,
        br#"{"text":"\ud800"}"#,
        br#"{"text":"x","text":"y"}"#,
        br#"{"text":null}"#,
        br#"{"other":"x"}"#,
        b"{\"text\":\"control \x01\"}",
        b"\0\0\0",
        long.as_bytes(),
        br#"{"text":"","n":01}"#,
        br#"{"text":""}"#,
        br#"{"text":"last","n":"mixed"}"#,
    ];
    folder.write("x.jsonl", lines.join(&b"\n"[..]));
    let rejects = check(
        &folder,
        &text_only(),
        &[
            (1, "not UTF-8 at byte 16"),
            (2, "not valid JSON at byte 12: EOF while parsing a string"),
            (3, "not a JSON object"),
            (4, "not JSON"),
            (5, "not valid JSON at byte 13: trailing characters"),
            (6, "not valid JSON at byte 14: trailing characters"),
            (7, "a \\u escape is half of a surrogate pair"),
            (8, "a \\u escape is half of a surrogate pair"),
            (9, "the key `text` is there twice"),
            (10, "no text: column `text` is null or missing"),
            (11, "no text: column `text` is null or missing"),
            (12, "not valid JSON"),
            (13, "not JSON"),
            (14, "the row is longer than 200 bytes"),
            (15, "not valid JSON at byte 17: invalid number"),
        ],
        &["good\0 😀", "", "last"],
    );
    assert_eq!(rejects[1].raw, br#"{"text":"c"#);
    assert_eq!(rejects[1].byte_offset, Some((lines[0].len() + lines[1].len() + 2) as u64));
    assert_eq!(rejects[13].raw.len(), 10);
}

#[test]
fn csv_rows() {
    let mut folder = Folder::new();
    folder.options.max_row_bytes = 100;
    let long = format!("7,{}", "x".repeat(100));
    let records: &[&[u8]] = &[
        b"id,text",
        b"1,good",
        b"2,too,many",
        b"3",
        b"4,broken \xc3",
        b"5,",
        b"6,\"\"",
        long.as_bytes(),
        b"8,\"two\nlines\"",
        b"9,\"quoted\" more",
        b"10,\"never closed",
        b"11,inside",
    ];
    folder.write("x.csv", records.join(&b"\n"[..]));
    check(
        &folder,
        &text_only(),
        &[
            (1, "3 fields, the header has 2"),
            (2, "1 fields, the header has 2"),
            (3, "not UTF-8 at byte 9"),
            (4, "no text: column `text` is null or missing"),
            (6, "the row is longer than 100 bytes"),
            (8, "text after a closing quote"),
            (9, "a quote is opened here and not closed in the rest of the file"),
        ],
        &["good", "", "two\nlines"],
    );
}

#[test]
fn text_rows() {
    let folder = Folder::new();
    folder.write("x.txt", b"good\nbroken \xff\nlast\0");
    check(&folder, &text_only(), &[(1, "not UTF-8 at byte 7")], &["good", "last\0"]);
}

#[test]
fn rows_of_any_length_around_the_limit() {
    // Lines much longer than a block, one of them beyond the limit, in the middle and at the end.
    let mut folder = Folder::new();
    folder.options.max_row_bytes = 5 << 20;
    let line = |n_bytes: usize| format!("{{\"text\":\"{}\"}}", "x".repeat(n_bytes - 11));
    for framing in ["\n", ""] {
        let lines = [line(5 << 20), line((5 << 20) + 1), line(20), line(40 << 20), line(30)];
        folder.write("x.jsonl", lines.join("\n") + framing);
        let kept = ["x".repeat((5 << 20) - 11), "x".repeat(9), "x".repeat(19)];
        let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
        let reason = "the row is longer than 5242880 bytes";
        let rejects = check(&folder, &text_only(), &[(1, reason), (3, reason)], &kept);
        assert_eq!(rejects[1].byte_offset, Some((10 << 20) + 24));
    }
    folder.write("x.jsonl", [line(20), line(40 << 20)].join("\n"));
    check(&folder, &text_only(), &[(1, "the row is longer than")], &["x".repeat(9).as_str()]);
}

#[test]
fn null_text_in_tables() {
    let folder = Folder::new();
    let texts = [Some("a"), None, Some("c"), None, Some("")];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a.parquet", Arc::new(StringArray::from_iter(texts))),
        ("b.parquet", Arc::new(LargeStringArray::from_iter(texts))),
        ("c.parquet", Arc::new(StringViewArray::from_iter(texts))),
        ("d.parquet", Arc::new(DictionaryArray::<Int32Type>::from_iter(texts))),
    ];
    let mut names = Vec::new();
    for (name, column) in columns {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
        let rows = RecordBatch::try_from_iter([("id", ids), ("text", column)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        folder.write(name, writer.into_inner().unwrap());
        names.push(name);
    }
    let reason = "no text: column `text` is null or missing";
    let rejects: Vec<(u64, &str)> = names.iter().flat_map(|_| [(1, reason), (3, reason)]).collect();
    let kept: Vec<&str> = names.iter().flat_map(|_| ["a", "c", ""]).collect();
    let rejects = check(&folder, &text_only(), &rejects, &kept);
    // What text and id are made of, and nothing else that the pass has read: the survey reads no more.
    assert_eq!(rejects[3].raw, br#"{"text":null}"#);
    assert_eq!((rejects[3].file, rejects[3].byte_offset), (1, None));
}

#[test]
fn rows_that_do_not_fit_a_given_schema() {
    let mut folder = Folder::new();
    let fields = [
        ("text", DataType::Utf8),
        ("n", DataType::Int16),
        ("day", DataType::Date32),
        ("list", DataType::new_list(DataType::Int64, true)),
    ];
    folder.options.schema =
        Some(Arc::new(Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec())));
    let lines = [
        r#"{"text":"a","n":1,"day":"2020-01-01","list":[1,2]}"#,
        r#"{"text":"b","n":70000}"#,
        r#"{"text":"c","n":1.5}"#,
        r#"{"text":"d","day":"soon"}"#,
        r#"{"text":5}"#,
        r#"{"text":"f","list":[1,"x"]}"#,
        r#"{"text":"g","list":[1e2]}"#,
        r#"{"text":"h"}"#,
    ];
    folder.write("x.jsonl", lines.join("\n"));
    let misfit = "does not fit the schema: ";
    let rejects = [(1, misfit), (2, misfit), (3, misfit), (4, misfit), (5, misfit), (6, misfit)];
    check(&folder, &text_only(), &rejects, &["a", "h"]);
    assert_eq!(
        folder.read_as_json(),
        "{\"text\":\"a\",\"n\":1,\"day\":\"2020-01-01\",\"list\":[1,2]}\n{\"text\":\"h\",\"n\":null,\"day\":null,\"list\":null}\n"
    );
    std::fs::remove_file(folder.dir.path().join("x.jsonl")).unwrap();
    folder.write("x.csv", "day,text,n\n2020-01-01,a,1\n,b,70000\nsoon,c,\n,d,\n");
    let reasons = [
        (1, "does not fit the schema: `70000` in column `n` is not Int16"),
        (2, "does not fit the schema: `soon` in column `day` is not Date32"),
    ];
    let mut given = folder.options.schema.as_ref().unwrap().fields().to_vec();
    given.pop();
    folder.options.schema = Some(Arc::new(Schema::new(given)));
    check(&folder, &text_only(), &reasons, &["a", "d"]);
}

#[test]
fn columns_that_a_given_schema_does_not_have() {
    let mut folder = Folder::new();
    folder.options.schema = Some(Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)])));
    for (name, bytes) in [("x.jsonl", "{\"text\":\"a\",\"extra\":1}"), ("x.csv", "text,extra\na,1\n")] {
        let path = folder.write(name, bytes);
        let error = folder.read(&text_only()).unwrap_err();
        assert!(
            matches!(&error, Error::Column { message, .. } if message.contains("`extra`") && message.contains(name)),
            "{error}"
        );
        std::fs::remove_file(path).unwrap();
    }
}
