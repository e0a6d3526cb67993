//! The same rows in every format, read back under every batch size, in full and in part.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::ZstdLevel;
use parquet::file::properties::WriterProperties;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::support::*;
use crate::source::{Columns, Format, IdSource, Request, TextExpression, TextPart};

const N_ROWS: usize = 3000;

fn rows() -> RecordBatch {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let words = [
        "plain",
        "with,comma",
        "a \"quote\"",
        "tab\there",
        "line\nfeed",
        "日本語",
        "\u{0}nul",
        "",
        "é",
        "\\u0041",
        "{}",
    ];
    let text = |random: &mut ChaCha8Rng| {
        let n_words = random.random_range(1..120);
        let words: Vec<_> = (0..n_words).map(|_| words[random.random_range(0..words.len())]).collect();
        words.join(" ")
    };
    let texts: Vec<String> = (0..N_ROWS).map(|row| format!("{row} {}", text(&mut random))).collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(Int64Array::from_iter_values((0..N_ROWS as i64).map(|row| row * 3 - 50)))),
        ("text", Arc::new(StringArray::from(texts))),
        ("score", Arc::new((0..N_ROWS).map(|row| (row % 3 > 0).then_some(row as f64 / 8.0)).collect::<Float64Array>())),
        ("flag", Arc::new((0..N_ROWS).map(|row| (row % 5 > 0).then_some(row % 2 == 0)).collect::<BooleanArray>())),
        ("note", Arc::new((0..N_ROWS).map(|row| (row % 7 > 3).then_some("some")).collect::<StringArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

fn csv(rows: &RecordBatch, delimiter: char) -> String {
    let columns: Vec<_> = rows.schema().fields().iter().map(|field| texts(rows, field.name())).collect();
    let mut out = ["id", "text", "score", "flag", "note"].join(&delimiter.to_string()) + "\r\n";
    for row in 0..rows.num_rows() {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push(delimiter);
            }
            if let Some(value) = &column[row] {
                let needs_quotes = value.contains([delimiter, '"', '\n', '\r']) || value.is_empty();
                let quoted = format!("\"{}\"", value.replace('"', "\"\""));
                out.push_str(if needs_quotes { &quoted } else { value });
            }
        }
        out.push_str("\r\n");
    }
    out
}

fn parquet(rows: &RecordBatch) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(700))
        .set_data_page_row_count_limit(100)
        .set_compression(parquet::basic::Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

fn ipc_parts(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    (0..rows.num_rows()).step_by(800).map(|start| rows.slice(start, 800.min(rows.num_rows() - start)))
}

fn ipc_file(rows: &RecordBatch) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(Some(arrow::ipc::CompressionType::ZSTD)).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &rows.schema(), options).unwrap();
    ipc_parts(rows).for_each(|part| writer.write(&part).unwrap());
    writer.into_inner().unwrap()
}

fn ipc_stream(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    ipc_parts(rows).for_each(|part| writer.write(&part).unwrap());
    writer.into_inner().unwrap()
}

fn files(rows: &RecordBatch) -> Vec<(&'static str, Vec<u8>)> {
    let json = as_json(rows);
    let with_bom = format!("\u{feff}\n  \n{}", json.replace("}\n", "} \r\n\n")).into_bytes();
    let csv_text = csv(rows, ',');
    let csv_bom = format!("\u{feff}{csv_text}").into_bytes();
    vec![
        ("x.jsonl", json.clone().into_bytes()),
        ("x.ndjson.gz", gzip(json.as_bytes())),
        ("x.json.zst", zstd(json.as_bytes())),
        ("hidden_gzip.jsonl", gzip(json.as_bytes())),
        ("bom.jsonl", with_bom),
        ("no_last_line_feed.jsonl", json.trim_end().as_bytes().to_vec()),
        ("x.csv", csv_text.clone().into_bytes()),
        ("x.csv.gz", gzip(csv_text.as_bytes())),
        ("x.csv.zst", zstd(csv_text.as_bytes())),
        ("bom.csv", csv_bom),
        ("x.tsv", csv(rows, '\t').into_bytes()),
        ("x.parquet", parquet(rows)),
        ("x.arrow", ipc_file(rows)),
        ("x.feather", ipc_file(rows)),
        ("x.arrows", ipc_stream(rows)),
        ("stream.ipc", ipc_stream(rows)),
    ]
}

/// What a scan of `rows` must give for `request("text", "id")`.
fn expected(rows: &RecordBatch) -> RecordBatch {
    let texts: ArrayRef = Arc::new(StringArray::from(texts(rows, "text")));
    let ids: ArrayRef = Arc::new(StringArray::from(super::support::texts(rows, "id")));
    let positions: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..rows.num_rows() as u64));
    let fields = rows.schema();
    let names = fields.fields().iter().map(|field| (field.name().as_str(), true));
    let names = names.chain([("tamis_row", false), ("tamis_text", false), ("tamis_id", false)]);
    let columns = rows.columns().iter().cloned().chain([positions, texts, ids]);
    let columns = names.zip(columns).map(|((name, nullable), column)| (name, column, nullable));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[test]
fn every_format_gives_the_same_rows() {
    let rows = rows();
    let full = expected(&rows);
    for (name, bytes) in files(&rows) {
        for batch_rows in [1, 7, 8192] {
            let folder = Folder::with_batch_rows(batch_rows);
            folder.write(name, &bytes);
            let (survey, schema, scan) = folder.read(&request("text", "id")).unwrap();
            assert_eq!(schema.schema(), &rows.schema(), "{name}");
            assert!(scan.rows == full, "{name} in batches of {batch_rows}");
            assert!(survey.rows == full.project(&[5, 6, 7]).unwrap(), "survey of {name} in batches of {batch_rows}");
            assert_eq!((survey.rejects.len(), scan.rejects.len()), (0, 0), "{name}");
            assert_eq!((schema.n_rows(), schema.file_rows()), (N_ROWS as u64, &[N_ROWS as u64][..]), "{name}");
        }
    }
}

#[test]
fn some_rows_are_those_of_all() {
    let rows = rows();
    let full = expected(&rows);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut some: Vec<u64> = (0..N_ROWS as u64).filter(|row| *row > 1500 && random.random_ratio(1, 50)).collect();
    some.extend([1, 2, N_ROWS as u64 - 1]);
    some.sort_unstable();
    some.dedup();
    let wanted = take_record_batch(&full, &UInt64Array::from(some.clone())).unwrap();
    for (name, bytes) in files(&rows) {
        let folder = Folder::new();
        folder.write(name, &bytes);
        let inputs = folder.all();
        let (_, types) = survey(&inputs, &request("text", "id")).unwrap();
        let schema = inputs.resolve(types).unwrap();
        let scanned = scan(&inputs, &schema, &only(&request("text", "id"), some.clone())).unwrap();
        assert!(scanned.rows == wanted, "{name}");
        let few_columns = Columns::Named(vec!["flag".into(), "id".into()]);
        let named = Request { columns: few_columns, ..only(&request("text", "id"), some.clone()) };
        assert!(scan(&inputs, &schema, &named).unwrap().rows == wanted.project(&[0, 3, 5, 6, 7]).unwrap(), "{name}");
        let none = Request { columns: Columns::Named(Vec::new()), ..only(&request("text", "id"), some.clone()) };
        assert!(scan(&inputs, &schema, &none).unwrap().rows == wanted.project(&[5, 6, 7]).unwrap(), "{name}");
        let rows_only = Request { text: None, id: None, ..none };
        assert!(scan(&inputs, &schema, &rows_only).unwrap().rows == wanted.project(&[5]).unwrap(), "{name}");
        assert_eq!(scan(&inputs, &schema, &only(&everything(), [])).unwrap().rows.num_rows(), 0, "{name}");
    }
}

#[test]
fn files_of_all_formats_are_one_input() {
    let rows = rows().slice(0, 50);
    let mut names = Vec::new();
    let folder = Folder::new();
    for (name, bytes) in files(&rows) {
        folder.write(name, bytes);
        names.push(name);
    }
    names.sort_unstable();
    let (survey_pass, schema, full) = folder.read(&request("text", "id")).unwrap();
    assert_eq!(schema.schema(), &rows.schema());
    assert_eq!(full.rows.num_rows(), 50 * names.len());
    assert_eq!(survey_pass.rows, full.rows.project(&[5, 6, 7]).unwrap());
    for (file, name) in names.iter().enumerate() {
        let part = full.rows.slice(file * 50, 50);
        assert_eq!(part.project(&[0, 1, 2, 3, 4]).unwrap(), rows, "{name}");
    }
    // The order of the arguments and files given twice change nothing.
    let mut arguments: Vec<&str> = names.iter().copied().chain(["x.csv", "./x.arrow", "."]).collect();
    arguments.shuffle(&mut ChaCha8Rng::seed_from_u64(5));
    let inputs = folder.inputs(&arguments).unwrap();
    assert_eq!(inputs.files(), folder.all().files());
    let (again, types) = survey(&inputs, &request("text", "id")).unwrap();
    assert_eq!(again, survey_pass);
    assert_eq!(scan(&inputs, &inputs.resolve(types).unwrap(), &request("text", "id")).unwrap(), full);
}

#[test]
fn lines_and_files_of_text() {
    let mut folder = Folder::new();
    folder.write("a.txt", "one\r\n\n  two  \n\t\nthree");
    folder.write("b.md.gz", gzip("# title\n\nbody\n".as_bytes()));
    folder.write("c.txt", " \n ");
    let read = |folder: &Folder| {
        let request = Request { id: Some(IdSource::FirstPresent(vec!["id".into()])), ..request("text", "") };
        let (survey, _, scan) = folder.read(&request).unwrap();
        assert_eq!(texts(&survey.rows, "tamis_text"), texts(&scan.rows, "text"));
        texts(&scan.rows, "text").into_iter().flatten().collect::<Vec<_>>()
    };
    assert_eq!(read(&folder), ["one", "  two  ", "three", "# title", "body"]);
    folder.options.text_documents = crate::source::TextDocuments::Files;
    assert_eq!(read(&folder), ["one\r\n\n  two  \n\t\nthree", "# title\n\nbody\n"]);
}

#[test]
fn rows_without_an_id_are_named_by_file_and_row() {
    let folder = Folder::new();
    folder.write("a.jsonl", "{\"text\":\"x\",\"id\":null}\nbad\n{\"text\":\"y\",\"id\":7}\n{\"text\":\"z\"}\n");
    folder.write("b.csv", "text\nu\n");
    let request = Request { id: Some(IdSource::FirstPresent(vec!["id".into()])), ..request("text", "") };
    let (survey, _, scan) = folder.read(&request).unwrap();
    let dir = folder.dir.path().to_str().unwrap();
    let expected = [format!("{dir}/a.jsonl#0"), "7".into(), format!("{dir}/a.jsonl#3"), format!("{dir}/b.csv#0")];
    assert_eq!(texts(&scan.rows, "tamis_id"), expected.map(Some));
    assert_eq!(texts(&survey.rows, "tamis_id"), texts(&scan.rows, "tamis_id"));
}

#[test]
fn a_text_of_several_columns() {
    let rows = "{\"a\":\"x\",\"b\":\"y\"}\n{\"a\":null,\"b\":\"y\"}\n{\"a\":\"x\"}\n{\"a\":null,\"b\":null}\n";
    let mut csv = String::from("a,b\n");
    for row in ["x,y", ",y", "x,", ","] {
        writeln!(csv, "{row}").unwrap();
    }
    let column = |name: &str| TextPart::Column(name.into());
    let parts =
        vec![TextPart::Literal("<".into()), column("a"), TextPart::Literal("|".into()), column("b"), column("a")];
    let request = Request { text: Some(TextExpression { parts }), ..everything() };
    for (name, bytes) in [("x.jsonl", rows), ("x.csv", csv.as_str())] {
        let folder = Folder::new();
        folder.write(name, bytes);
        let (survey, _, scan) = folder.read(&request).unwrap();
        assert_eq!(
            texts(&scan.rows, "tamis_text"),
            ["<x|yx", "<|y", "<x|x"].map(|text| Some(text.to_owned())),
            "{name}"
        );
        assert_eq!(texts(&survey.rows, "tamis_text"), texts(&scan.rows, "tamis_text"), "{name}");
        assert_eq!(survey.rejects, scan.rejects, "{name}");
        assert_eq!(scan.rejects[0].reason, "no text: columns `a`, `b` are null or missing");
    }
}

#[test]
fn the_format_can_be_named() {
    let mut folder = Folder::new();
    folder.write("x.log", "a\tb\n1\t2\n");
    let by_default = folder.inputs(&["x.log"]).unwrap_err();
    assert!(
        by_default.to_string().contains("x.log") && by_default.hint().unwrap().contains(".parquet"),
        "{by_default}"
    );
    folder.options.format = Some(Format::Tsv);
    assert_eq!(folder.read_as_json(), "{\"a\":1,\"b\":2}\n");
}

#[test]
fn many_small_files_are_read_in_order() {
    let folder = Folder::new();
    let rows = rows().slice(0, 2);
    let tables = files(&rows);
    for index in 0..100 {
        // Some larger than what is read ahead, some tables between them.
        let (name, bytes) = match index % 10 {
            3 => {
                (format!("{index:03}.parquet"), tables.iter().find(|(name, _)| *name == "x.parquet").unwrap().1.clone())
            }
            7 => {
                (format!("{index:03}.jsonl"), format!("{{\"id\":{index},\"text\":\"{}\"}}", "x".repeat(3 << 20)).into())
            }
            _ => (format!("{index:03}.jsonl"), format!("{{\"id\":{index},\"text\":\"small\"}}\n").into()),
        };
        folder.write(&name, bytes);
    }
    let (survey, schema, scan) = folder.read(&request("text", "id")).unwrap();
    assert_eq!(schema.n_rows(), 110);
    assert_eq!(texts(&survey.rows, "tamis_id"), texts(&scan.rows, "tamis_id"));
    let ids: Vec<String> = texts(&scan.rows, "tamis_id").into_iter().flatten().collect();
    let expected = (0..100).flat_map(|index| match index % 10 {
        3 => vec!["-50".to_owned(), "-47".to_owned()],
        _ => vec![index.to_string()],
    });
    assert_eq!(ids, expected.collect::<Vec<_>>());
}
