//! Files that are cut, damaged, missing or not what they seem.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use super::support::*;
use crate::Error;
use crate::source::{Request, TextDocuments};

fn lines(n_lines: usize) -> String {
    let line = |line: usize| format!("{{\"text\":\"line {line} {}\"}}\n", "x".repeat(line % 50));
    (0..n_lines).map(line).collect::<Vec<_>>().concat()
}

fn text_only() -> Request {
    Request { id: None, ..request("text", "") }
}

/// Checks that a cut or damaged file gives its first rows and one reject.
fn check_damage(name: &str, bytes: &[u8], plain: &str, reason: &str) {
    let folder = Folder::new();
    folder.write(name, bytes);
    let (survey, schema, scan) = folder.read(&text_only()).unwrap();
    assert_eq!(survey.rejects, scan.rejects);
    let [reject] = &scan.rejects[..] else { panic!("{:?}", scan.rejects) };
    let n_rows = scan.rows.num_rows();
    assert_eq!((reject.row, schema.n_rows()), (n_rows as u64, n_rows as u64 + 1), "{name}");
    let read = texts(&scan.rows, "tamis_text").into_iter().flatten();
    let read = read.map(|text| format!("{{\"text\":\"{text}\"}}\n")).collect::<Vec<_>>().concat();
    let offset = reject.byte_offset.unwrap() as usize;
    assert!(n_rows > 0 && plain.starts_with(&read) && offset == read.len(), "{name}");
    assert!(plain.as_bytes()[offset..].starts_with(&reject.raw), "{name}");
    assert!(reject.reason.starts_with(reason), "{}", reject.reason);
    let n_before = reject.reason.split("; ").nth(1).unwrap().replace(',', "");
    assert_eq!(n_before, format!("{n_rows} rows before it were read"));
}

#[test]
fn cut_streams() {
    let plain = lines(60_000);
    let (gzip, zstd) = (gzip(plain.as_bytes()), zstd(plain.as_bytes()));
    check_damage("x.jsonl.gz", &gzip[..gzip.len() * 2 / 3], &plain, "gzip stream ends early");
    check_damage("x.jsonl.zst", &zstd[..zstd.len() * 2 / 3], &plain, "zstd stream ends early");
    check_damage("x.jsonl.gz", &gzip[..gzip.len() - 3], &plain, "gzip stream ends early");
    check_damage("x.jsonl.zst", &zstd[..zstd.len() - 1], &plain, "zstd stream ends early");
}

#[test]
fn damaged_streams() {
    let plain = lines(60_000);
    let mut bytes = gzip(plain.as_bytes());
    bytes.extend_from_slice(b"no gzip member");
    check_damage("x.jsonl.gz", &bytes, &plain, "gzip stream is damaged");
    let mut bytes = zstd(plain.as_bytes());
    bytes.extend_from_slice(b"no zstd frame");
    check_damage("x.jsonl.zst", &bytes, &plain, "zstd stream is damaged");
}

#[test]
fn a_damaged_stream_ends_a_file_of_each_text_format() {
    let cut = |plain: &str| {
        let bytes = zstd::encode_all(plain.as_bytes(), 1).unwrap();
        bytes[..bytes.len() - 5].to_vec()
    };
    for (name, whole_file) in [("x.csv.zst", false), ("x.txt.zst", false), ("x.txt.zst", true)] {
        let mut folder = Folder::new();
        folder.options.text_documents = if whole_file { TextDocuments::Files } else { TextDocuments::Lines };
        // Blocks of zstd are 128 KiB: the first ones are whole.
        let plain = (0..100_000).fold(String::from("text\n"), |text, line| text + &format!("row {line}\n"));
        folder.write(name, cut(&plain));
        let (survey, _, scan) = folder.read(&text_only()).unwrap();
        assert_eq!(survey.rejects, scan.rejects);
        assert_eq!((scan.rejects.len(), scan.rows.num_rows() > 0), (1, !whole_file), "{name}");
    }
}

#[test]
fn not_compressed_at_all() {
    let folder = Folder::new();
    folder.write("x.jsonl.gz", lines(3));
    let (_, _, scan) = folder.read(&everything()).unwrap();
    assert_eq!((scan.rows.num_rows(), scan.rejects.len()), (0, 1));
    assert!(scan.rejects[0].reason.starts_with("gzip stream is damaged"), "{}", scan.rejects[0].reason);
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let folder = Folder::new();
    // A frame header that asks for a window of 2^28 bytes: magic, descriptor, (28 - 10) << 3.
    folder.write("x.jsonl.zst", [0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3, 1, 0, 0]);
    let error = folder.read(&everything()).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { location, message, .. } if location.ends_with("x.jsonl.zst") && message.contains("2^27")),
        "{error}"
    );
}

#[test]
fn a_window_at_the_limit_is_read() {
    use std::io::Write;
    let folder = Folder::new();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(lines(10).as_bytes()).unwrap();
    folder.write("x.jsonl.zst", encoder.finish().unwrap());
    assert_eq!(folder.read(&everything()).unwrap().2.rows.num_rows(), 10);
}

#[test]
fn empty_files_have_no_rows() {
    for name in ["x.jsonl", "x.csv", "x.tsv.gz", "x.jsonl.zst", "x.txt", "x.unknown"] {
        let folder = Folder::new();
        folder.write(name, "");
        let inputs = folder.inputs(&[name]).unwrap();
        let (pass, types) = survey(&inputs, &text_only()).unwrap();
        let schema = inputs.resolve(types).unwrap();
        assert_eq!((pass.rows.num_rows(), schema.n_rows(), pass.rejects.len()), (0, 0, 0), "{name}");
        assert_eq!(scan(&inputs, &schema, &text_only()).unwrap().rows.num_rows(), 0, "{name}");
    }
}

#[test]
fn a_header_without_rows() {
    let folder = Folder::new();
    folder.write("x.csv", "id,text\n");
    let (_, schema, scan) = folder.read(&text_only()).unwrap();
    assert_eq!(scan.rows.num_rows(), 0);
    let types: Vec<_> =
        schema.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(types, ["id Utf8", "text Utf8"]);
}

fn parquet() -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..2000).map(|row| format!("row {row}"))));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2000));
    let rows = RecordBatch::try_from_iter([("text", texts), ("n", numbers)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn corrupt_tables() {
    let bytes = parquet();
    let mut inside = bytes.clone();
    for byte in &mut inside[20..2000] {
        *byte ^= 0x5a;
    }
    let cases: [(&str, &[u8]); 8] = [
        ("half.parquet", &bytes[..bytes.len() / 2]),
        ("inside.parquet", &inside),
        ("text.parquet", b"{\"text\":1}\n"),
        ("empty.parquet", b""),
        ("magic.parquet", b"PAR1PAR1"),
        ("text.arrow", b"{\"text\":1}\n"),
        ("magic.arrow", b"ARROW1\0\0ARROW1"),
        ("old.feather", b"FEA1....FEA1"),
    ];
    for (name, bytes) in cases {
        let folder = Folder::new();
        folder.write(name, bytes);
        let error = folder.read(&everything()).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { location, .. } if location.ends_with(name)), "{name}: {error:?}");
    }
}

#[test]
fn cut_arrow_files() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..2000).map(|row| format!("row {row}"))));
    let rows = RecordBatch::try_from_iter([("text", texts)]).unwrap();
    let mut file = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    file.write(&rows).unwrap();
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    stream.write(&rows).unwrap();
    for (name, bytes) in [("x.arrow", file.into_inner().unwrap()), ("x.arrows", stream.into_inner().unwrap())] {
        for length in [bytes.len() / 10, bytes.len() / 2, bytes.len() - 100] {
            let folder = Folder::new();
            folder.write(name, &bytes[..length]);
            let error = folder.read(&everything()).unwrap_err();
            assert!(matches!(&error, Error::Corrupt { location, .. } if location.ends_with(name)), "{name}: {error:?}");
        }
    }
}

#[test]
fn text_columns_that_are_not_there() {
    let parquet = parquet();
    let cases: [(&str, &[u8], &str); 5] = [
        ("x.jsonl", b"{\"a\":1,\"Body\":\"x\"}\n{\"b\":2}\n", "a, Body, b"),
        ("x.csv", b"a,Body,b\n1,2,3\n", "a, Body, b"),
        ("empty.csv", b"a,Body,b\n", "a, Body, b"),
        ("x.txt", b"x\n", "text"),
        ("x.parquet", &parquet, "text, n"),
    ];
    for (name, bytes, columns) in cases {
        let folder = Folder::new();
        let path = folder.write(name, bytes);
        let error = folder.read(&Request { id: None, ..request("body", "") }).unwrap_err();
        let expected = format!("no column `body` in `{}`; its columns are {columns}", path.display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.hint().unwrap().contains("`Body`"), columns.contains("Body"));
    }
}

#[test]
fn text_columns_of_another_type() {
    let parquet = parquet();
    let cases: [(&str, &[u8]); 3] = [("x.jsonl", b"{\"n\":1}\n"), ("x.csv", b"n\n1\n"), ("x.parquet", &parquet)];
    for (name, bytes) in cases {
        let folder = Folder::new();
        folder.write(name, bytes);
        let error = folder.read(&Request { id: None, ..request("n", "") }).unwrap_err();
        assert!(error.to_string().starts_with("column `n` in `"), "{error}");
        assert!(error.to_string().ends_with("has type Int64, text is needed"), "{error}");
    }
    let folder = Folder::new();
    folder.write("x.jsonl", "{\"text\":\"a\",\"score\":0.5}\n");
    let error = folder.read(&request("text", "score")).unwrap_err();
    assert!(error.to_string().contains("has type Float64, an id is text or an integer"), "{error}");
}

#[test]
fn a_header_with_a_name_twice() {
    let folder = Folder::new();
    folder.write("x.csv", "a,b,a\n1,2,3\n");
    let error = folder.read(&everything()).unwrap_err();
    assert!(matches!(&error, Error::Column { message, .. } if message.contains("`a` twice")), "{error}");
}

#[test]
fn other_encodings_and_arrays_are_explained() {
    for (name, bytes, expected) in [
        ("x.csv", &b"\xff\xfea\0,\0"[..], "UTF-16"),
        ("x.json", b" [\n{\"a\":1},\n{\"a\":2}\n]\n", "a JSON array"),
        ("x.csv", b"a\xff,b\n1,2\n", "the header is not UTF-8"),
        ("x.csv", b"\"a,b\n1,2\n", "a quote in the header is not closed"),
    ] {
        let folder = Folder::new();
        folder.write(name, bytes);
        let error = folder.read(&everything()).unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt { location, message, .. } if location.ends_with(name) && message.contains(expected)),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_changes_between_passes() {
    let folder = Folder::new();
    folder.write("x.jsonl", lines(10));
    let inputs = folder.all();
    let (_, types) = survey(&inputs, &everything()).unwrap();
    let schema = inputs.resolve(types).unwrap();
    folder.write("x.jsonl", lines(11));
    let error = scan(&inputs, &schema, &everything()).unwrap_err();
    assert!(matches!(&error, Error::Invariant(message) if message.contains("changed")), "{error}");
}

#[test]
fn a_cancelled_run_stops() {
    let folder = Folder::new();
    folder.write("x.jsonl", lines(10));
    let inputs = folder.all();
    folder.context.cancel.cancel();
    assert!(matches!(survey(&inputs, &everything()), Err(Error::Interrupted)));
}
