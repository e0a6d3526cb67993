//! A batch, its exports as the tools got them, and answers as lines.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, StructArray};
use arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};

use crate::label_tools::{ExportSettings, ImportSettings, Imported, LabelTool, import};

pub(super) const CLASSES: [&str; 3] = ["sport", "news & \"views\"", "caf\u{e9} \u{1f4a9}"];

/// Ids as real ones are, and texts that break what takes them for ASCII, HTML or one line.
pub(super) const ROWS: [(&str, &str); 8] = [
    ("news/2024.jsonl.gz#7", "Rovers win the cup"),
    ("doc 2, \"quoted\"", "\u{1f4a9}This is an annotation."),
    ("3", "\u{1f468}\u{1f3fb}\u{200d}\u{1f692} firemen drive firetrucks"),
    ("s3://bucket/a b/\u{e9}.csv#12", "line one\nline two, \"quoted\"; <b>bold</b> & #tagged"),
    ("5", "\u{645}\u{631}\u{62d}\u{628}\u{627} \u{628}\u{627}\u{644}\u{639}\u{627}\u{644}\u{645}"),
    ("6", "Parliament votes on the budget"),
    ("7", "Best espresso in town"),
    ("8", "Nothing to see here"),
];

/// The batch for choices has suggestions, that for spans has none.
pub(super) fn batch(with_suggestions: bool) -> RecordBatch {
    let n = ROWS.len() as i32;
    let texts = |of: fn(&(&'static str, &'static str)) -> &'static str| -> ArrayRef {
        Arc::new(ROWS.iter().map(|row| Some(of(row))).collect::<StringArray>())
    };
    let scores = (0..n).map(|row| (row != 4).then(|| 1.0 - f64::from(row) / 10.0));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values((0..i64::from(n)).map(|row| 1000 + row)))),
        ("body", texts(|row| row.1)),
        ("title", Arc::new(StringArray::from(vec![Some("T"), None, Some("U"), None, None, None, None, None]))),
        ("label", Arc::new(StringArray::from(vec!["not for annotators"; ROWS.len()]))),
        ("tamis_id", texts(|row| row.0)),
        ("tamis_rank", Arc::new(Int32Array::from_iter_values(1..=n))),
        ("tamis_score", Arc::new(scores.collect::<Float64Array>())),
        ("tamis_reason", Arc::new(StringArray::from(vec!["margin 0.03 between `a` and `b`"; ROWS.len()]))),
    ];
    if with_suggestions {
        let labels = [Some(0), Some(1), Some(2), None, Some(0), Some(1), Some(2), Some(0)];
        let labels = labels.map(|class: Option<usize>| class.map(|class| CLASSES[class]));
        let probabilities = [Some(0.9), Some(0.51), Some(0.625), None, None, Some(0.4), Some(1.0), Some(0.35)];
        columns.push(("tamis_label", Arc::new(StringArray::from(labels.to_vec()))));
        columns.push(("tamis_probability", Arc::new(Float32Array::from(probabilities.to_vec()))));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

pub(super) fn settings(tool: LabelTool, with_classes: bool) -> ExportSettings {
    ExportSettings {
        classes: if with_classes { CLASSES.map(str::to_owned).to_vec() } else { Vec::new() },
        round: 3,
        model_version: "tamis-r003".into(),
        strategy: "auto".into(),
        seed: 7,
        ..ExportSettings::new(tool, "body")
    }
}

/// Where the files lie that the tools got, and those that they gave back.
pub(super) fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/label_tools"))
}

pub(super) fn read(name: &str, text: &str, settings: &ImportSettings) -> Imported {
    import(name, text.as_bytes(), settings).unwrap()
}

/// Each answer as `id | annotator | labels | spans | status`, in order.
pub(super) fn lines(labels: &RecordBatch) -> Vec<String> {
    (0..labels.num_rows())
        .map(|row| {
            let parts = ["tamis_id", "annotator", "labels", "spans", "status"].map(|name| cell(labels, name, row));
            parts.join(" | ")
        })
        .collect()
}

/// A value for people; `-` for null.
pub(super) fn cell(labels: &RecordBatch, name: &str, row: usize) -> String {
    let column = labels.column_by_name(name).unwrap();
    if column.is_null(row) {
        return "-".into();
    }
    match name {
        "labels" => {
            let items = column.as_list::<i32>().value(row);
            let items: Vec<&str> = items.as_string::<i32>().iter().flatten().collect();
            format!("{items:?}")
        }
        "spans" => spans(column.as_list::<i32>().value(row).as_struct()),
        "round" => column.as_primitive::<Int32Type>().value(row).to_string(),
        "lead_time_s" | "suggestion_score" => column.as_primitive::<Float64Type>().value(row).to_string(),
        "created_at" => column.as_primitive::<TimestampMicrosecondType>().value_as_datetime(row).unwrap().to_string(),
        _ => column.as_string::<i32>().value(row).to_owned(),
    }
}

fn spans(spans: &StructArray) -> String {
    let bounds = |name| spans.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
    let (starts, ends) = (bounds("start"), bounds("end"));
    let labels = spans.column_by_name("label").unwrap().as_string::<i32>();
    let spans = (0..spans.len()).map(|row| format!("{}..{} {}", starts.value(row), ends.value(row), labels.value(row)));
    format!("[{}]", spans.collect::<Vec<_>>().join(", "))
}
