//! Types found over the whole input, and the values that come out under them.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use parquet::arrow::ArrowWriter;

use super::support::*;
use crate::Error;
use crate::source::Request;

/// Reads files and checks the types (`name type`, separated by `;`) and the rows as JSON.
fn check(files: &[(&str, &str)], types: &str, rows: &[&str]) {
    let folder = Folder::new();
    for (name, bytes) in files {
        folder.write(name, bytes);
    }
    let (_, schema, scan) = folder.read(&everything()).unwrap();
    let found: Vec<String> =
        schema.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(found.join("; "), types, "{files:?}");
    assert!(schema.schema().fields().iter().all(|field| field.is_nullable()));
    assert_eq!(folder.read_as_json().lines().collect::<Vec<_>>(), rows, "{files:?}");
    assert_eq!(scan.rejects, [], "{files:?}");
}

#[test]
fn json_values_keep_their_type_and_precision() {
    let check_values = |values: &[&str], data_type: &str, expected: &[&str]| {
        let lines: Vec<String> = values.iter().map(|value| format!("{{\"v\":{value}}}")).collect();
        let expected: Vec<String> = expected.iter().map(|value| format!("{{\"v\":{value}}}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&[("x.jsonl", &lines.join("\n"))], &format!("v {data_type}"), &expected);
    };
    let same = |values: &[&str], data_type: &str| check_values(values, data_type, values);
    same(&["1", "null", "-9223372036854775808"], "Int64");
    same(&["1", "18446744073709551615"], "UInt64");
    same(&["true", "null"], "Boolean");
    same(&["null", "null"], "Utf8");
    same(&["\"2020-01-01\"", "\"12\"", "\"\""], "Utf8");
    same(&["[1,null]", "[]", "null"], "List(Int64)");
    same(&["{\"a\":1,\"b\":{\"c\":[\"x\"]}}", "null"], "Struct(\"a\": Int64, \"b\": Struct(\"c\": List(Utf8)))");
    check_values(&["1", "2.5"], "Float64", &["1.0", "2.5"]);
    check_values(&["1", "-1", "18446744073709551615"], "Utf8", &["\"1\"", "\"-1\"", "\"18446744073709551615\""]);
    check_values(&["123456789012345678901234567890", "null"], "Utf8", &["\"123456789012345678901234567890\"", "null"]);
    check_values(&["9007199254740993", "0.5"], "Utf8", &["\"9007199254740993\"", "\"0.5\""]);
    check_values(
        &["1", "\"x \\u00e9\"", "true", "[1, 2]", "{\"a\": \"b\"}", "null"],
        "Utf8",
        &["\"1\"", "\"x é\"", "\"true\"", "\"[1, 2]\"", "\"{\\\"a\\\": \\\"b\\\"}\"", "null"],
    );
    check_values(&["{}", "null"], "Utf8", &["\"{}\"", "null"]);
    check_values(&["[1]", "[\"a\", {}]"], "List(Utf8)", &["[\"1\"]", "[\"a\",\"{}\"]"]);
    check_values(&["{\"a\":1,\"a\":2}", "{\"a\":3}"], "Utf8", &["\"{\\\"a\\\":1,\\\"a\\\":2}\"", "\"{\\\"a\\\":3}\""]);
    check_values(
        &["{\"a\":1}", "{\"b\":2}"],
        "Struct(\"a\": Int64, \"b\": Int64)",
        &["{\"a\":1,\"b\":null}", "{\"a\":null,\"b\":2}"],
    );
}

#[test]
fn json_columns_in_order_of_first_appearance() {
    check(
        &[("a.jsonl", "{\"b\":1}\n{\"a\":\"x\",\"b\":2}\n"), ("b.jsonl", "{\"c\":null,\"b\":\"y\"}")],
        "b Utf8; a Utf8; c Utf8",
        &[
            "{\"b\":\"1\",\"a\":null,\"c\":null}",
            "{\"b\":\"2\",\"a\":\"x\",\"c\":null}",
            "{\"b\":\"y\",\"a\":null,\"c\":null}",
        ],
    );
}

#[test]
fn a_type_that_only_the_last_row_decides() {
    let mut lines = "{\"v\":1,\"text\":\"a long enough text to fill some blocks\"}\n".repeat(60_000);
    lines.push_str("{\"v\":\"x\",\"text\":\"b\"}");
    let folder = Folder::new();
    folder.write("x.jsonl", &lines);
    let (_, schema, scan) = folder.read(&everything()).unwrap();
    assert_eq!(schema.schema().field(0).data_type(), &DataType::Utf8);
    assert_eq!(texts(&scan.rows, "v")[59_999..], [Some("1".into()), Some("x".into())]);
}

#[test]
fn rejected_rows_do_not_decide_types() {
    let folder = Folder::new();
    folder.write("x.jsonl", "{\"v\":1,\"text\":\"a\"}\n{\"v\":\"x\",\"w\":1}\n{\"v\":\"x\",\"text\":\"b\"\n");
    let (_, schema, _) = folder.read(&Request { id: None, ..request("text", "") }).unwrap();
    let types: Vec<_> = schema.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, ["Int64", "Utf8"]);
}

#[test]
fn csv_values() {
    check(
        &[(
            "x.csv",
            "i,f,b,d,t,s,n\n1,1,true,2020-01-31,2020-01-31 10:00:00,01,\n,2.5,False,,2020-01-31T10:00:00.5,,\n",
        )],
        "i Int64; f Float64; b Boolean; d Date32; t Timestamp(µs); s Utf8; n Utf8",
        &[
            "{\"i\":1,\"f\":1.0,\"b\":true,\"d\":\"2020-01-31\",\"t\":\"2020-01-31T10:00:00\",\"s\":\"01\",\"n\":null}",
            "{\"i\":null,\"f\":2.5,\"b\":false,\"d\":null,\"t\":\"2020-01-31T10:00:00.500\",\"s\":null,\"n\":null}",
        ],
    );
    check(
        &[("a.csv", "v,w\n1,2020-01-31T10:00:00Z\n"), ("b.tsv", "u\tv\n\"\"\tx\n")],
        "v Utf8; w Timestamp(µs, \"+00:00\"); u Utf8",
        &["{\"v\":\"1\",\"w\":\"2020-01-31T10:00:00Z\",\"u\":null}", "{\"v\":\"x\",\"w\":null,\"u\":\"\"}"],
    );
}

#[test]
fn formats_agree_on_a_type() {
    check(
        &[("a.csv", "n,s\n1,\n"), ("b.jsonl", "{\"n\":0.5,\"s\":[1]}\n{\"n\":null}\n"), ("c.txt", "x\n")],
        "n Float64; s List(Int64); text Utf8",
        &[
            "{\"n\":1.0,\"s\":null,\"text\":null}",
            "{\"n\":0.5,\"s\":[1],\"text\":null}",
            "{\"n\":null,\"s\":null,\"text\":null}",
            "{\"n\":null,\"s\":null,\"text\":\"x\"}",
        ],
    );
    let folder = Folder::new();
    folder.write("a.csv", "n\n1\n");
    folder.write("b.jsonl", "{\"n\":\"x\"}\n");
    let error = folder.read(&everything()).unwrap_err().to_string();
    assert!(
        error.contains("Int64 in `") && error.contains("a.csv` and Utf8 in `") && error.ends_with("b.jsonl`"),
        "{error}"
    );
}

fn write_parquet(folder: &Folder, name: &str, rows: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    folder.write(name, writer.into_inner().unwrap());
}

fn write_ipc(folder: &Folder, name: &str, rows: &RecordBatch) {
    let mut writer = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    writer.write(rows).unwrap();
    folder.write(name, writer.into_inner().unwrap());
}

fn rows_of_many_types() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(0.5), None]), None, Some(vec![])]);
    let inner = Fields::from(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)]);
    let structure = StructArray::new(
        inner,
        vec![Arc::new(Int32Array::from(vec![1, 2, 3])), Arc::new(StringArray::from(vec![Some("x"), None, Some("z")]))],
        Some(vec![true, true, false].into()),
    );
    let fixed = FixedSizeListArray::from_iter_primitive::<Int8Type, _, _>(
        [Some(vec![Some(1), Some(2)]), None, Some(vec![None, Some(3)])],
        2,
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i8", Arc::new(Int8Array::from(vec![Some(1), None, Some(-3)]))),
        ("u64", Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]))),
        ("f32", Arc::new(Float32Array::from(vec![f32::NAN, -0.0, 1.5]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("text", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("large", Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("c")]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("a longer text than twelve bytes"), None, Some("c")]))),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..], b"", b"x"]))),
        ("dict", Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("x"), None, Some("x")]))),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("Europe/Paris"))),
        ("date", Arc::new(Date32Array::from(vec![Some(0), None, Some(20000)]))),
        ("money", Arc::new(Decimal128Array::from(vec![12345, -1, 0]).with_precision_and_scale(20, 2).unwrap())),
        ("list", Arc::new(list)),
        ("struct", Arc::new(structure)),
        ("fixed", Arc::new(fixed)),
        ("null", Arc::new(NullArray::new(3))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

#[test]
fn tables_carry_every_type_through() {
    let rows = rows_of_many_types();
    for (name, write) in [("x.parquet", write_parquet as fn(&Folder, &str, &RecordBatch)), ("x.arrow", write_ipc)] {
        let folder = Folder::with_batch_rows(2);
        write(&folder, name, &rows);
        let (_, schema, scan) = folder.read(&request("text", "u64")).unwrap();
        assert_eq!(schema.schema().fields(), rows.schema().fields(), "{name}");
        assert_eq!(scan.rows.project(&(0..rows.num_columns()).collect::<Vec<_>>()).unwrap(), rows, "{name}");
        assert_eq!(texts(&scan.rows, "tamis_id")[0].as_deref(), Some("18446744073709551615"));
    }
}

#[test]
fn tables_of_different_types_are_unified() {
    let folder = Folder::new();
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter(["x", "y"]));
    write_parquet(&folder, "a.parquet", &RecordBatch::try_from_iter([("n", ints), ("s", dictionary)]).unwrap());
    let longs: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
    let texts: ArrayRef = Arc::new(LargeStringArray::from(vec!["z"]));
    let extra: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    write_ipc(&folder, "b.arrow", &RecordBatch::try_from_iter([("s", texts), ("extra", extra), ("n", longs)]).unwrap());
    let (_, schema, _) = folder.read(&everything()).unwrap();
    let types: Vec<_> =
        schema.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(types, ["n Int64", "s LargeUtf8", "extra Boolean"]);
    assert_eq!(
        folder.read_as_json(),
        "{\"n\":1,\"s\":\"x\",\"extra\":null}\n{\"n\":2,\"s\":\"y\",\"extra\":null}\n{\"n\":1099511627776,\"s\":\"z\",\"extra\":true}\n"
    );
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    write_parquet(&folder, "c.parquet", &RecordBatch::try_from_iter([("n", flags)]).unwrap());
    let error = folder.read(&everything()).unwrap_err();
    assert!(
        matches!(&error, Error::Column { message, .. } if message.contains("a.parquet") && message.contains("c.parquet") && message.contains("Boolean")),
        "{error}"
    );
}

#[test]
fn columns_that_tamis_writes_are_read_and_other_names_of_ours_are_refused() {
    let folder = Folder::new();
    folder.write("x.jsonl", "{\"tamis_id\":\"seven\",\"text\":\"a\",\"tamis_score\":0.5}\n");
    let (_, schema, scan) = folder.read(&request("text", "tamis_id")).unwrap();
    let names: Vec<&str> = schema.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["tamis_id", "text", "tamis_score"]);
    assert_eq!(texts(&scan.rows, "tamis_id"), [Some("seven".into())]);
    folder.write("x.jsonl", "{\"tamis_id\":\"seven\",\"text\":\"a\",\"tamis_row\":3}\n");
    let error = folder.read(&request("text", "tamis_id")).unwrap_err();
    assert!(matches!(&error, Error::Column { message, .. } if message.contains("`tamis_row`")), "{error}");
}
