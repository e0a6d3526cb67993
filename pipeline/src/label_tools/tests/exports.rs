use std::fs;

use arrow::array::RecordBatch;
use arrow::array::{ArrayRef, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::{Value, json};
use std::sync::Arc;

use super::support::{CLASSES, ROWS, batch, fixtures, settings};
use crate::label_tools::{ExportFile, ImportSettings, LabelTool, export, import};

/// The files that were loaded into the tools (`tests/label_tools`) are those that are written today.
///
/// With `TAMIS_WRITE_FIXTURES` set they are written; load them into the tools again after that.
#[test]
fn files_are_those_that_the_tools_were_given() {
    for (kind, is_choice) in [("choices", true), ("spans", false)] {
        for tool in [LabelTool::LabelStudio, LabelTool::Argilla, LabelTool::Doccano, LabelTool::Prodigy] {
            let folder = fixtures().join("sent").join(kind).join(tool.name());
            let files = export(&batch(is_choice), &settings(tool, is_choice)).unwrap();
            if std::env::var_os("TAMIS_WRITE_FIXTURES").is_some() {
                fs::create_dir_all(&folder).unwrap();
                for file in &files {
                    fs::write(folder.join(&file.name), &file.bytes).unwrap();
                }
            }
            assert_eq!(files.len(), fs::read_dir(&folder).unwrap().count(), "{}", folder.display());
            for file in &files {
                let given = fs::read_to_string(folder.join(&file.name)).unwrap();
                assert_eq!(given, String::from_utf8_lossy(&file.bytes), "{kind}, {tool}: {}", file.name);
            }
        }
    }
}

fn one(batch: &RecordBatch, tool: LabelTool) -> Vec<u8> {
    let files = export(batch, &settings(tool, true)).unwrap();
    files.into_iter().next().unwrap().bytes
}

#[test]
fn a_task_of_label_studio_has_all_that_it_should() {
    let tasks: Vec<Value> = serde_json::from_slice(&one(&batch(true), LabelTool::LabelStudio)).unwrap();
    assert_eq!(tasks.len(), ROWS.len());
    let expect = json!({
        "data": {
            "text": ROWS[1].1, "tamis_id": ROWS[1].0, "tamis_round": 3, "tamis_rank": 2, "tamis_score": 0.9,
            "tamis_reason": "margin 0.03 between `a` and `b`", "tamis_label": CLASSES[1], "tamis_probability": 0.51,
            "tamis_model": "tamis-r003", "tamis_batch": "r003", "input_id": 1001, "input_label": "not for annotators",
        },
        "meta": {"tamis": {"strategy": "auto", "seed": 7, "model": "tamis-r003"}},
        "predictions": [{
            "model_version": "tamis-r003", "score": 0.51,
            "result": [{
                "id": format!("tamis-{}", ROWS[1].0), "from_name": "label", "to_name": "text", "type": "choices",
                "value": {"choices": [CLASSES[1]]},
            }],
        }],
    });
    assert_eq!(tasks[1], expect);
    // No suggestion; one without a confidence; a column of the input.
    assert_eq!(tasks[3]["predictions"], json!([]));
    assert_eq!(tasks[4]["predictions"][0].get("score"), None);
    assert_eq!(tasks[0]["data"]["title"], json!("T"));
}

#[test]
fn the_config_of_label_studio_names_the_classes() {
    let files = export(&batch(true), &settings(LabelTool::LabelStudio, true)).unwrap();
    let [_, ExportFile { name, bytes }] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(name, "r003-label-config.xml");
    assert!(String::from_utf8_lossy(bytes).contains("<Choice value=\"news &amp; &quot;views&quot;\"/>"));
}

#[test]
fn several_labels_are_told_from_one_with_a_semicolon_in_its_name() {
    let labels: ArrayRef =
        Arc::new(StringArray::from(vec![Some("a;b"), Some("x;y"), Some("a"), Some(""), Some("a;z")]));
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "3", "4", "5"]));
    let batch =
        RecordBatch::try_from_iter([("body", ids.clone()), ("tamis_id", ids), ("tamis_label", labels)]).unwrap();
    let classes = vec!["a".into(), "b".into(), "x;y".into()];
    let settings = |tool| crate::label_tools::ExportSettings { classes: classes.clone(), ..settings(tool, false) };
    let values = |tool, pointer: &str| -> Vec<Value> {
        let bytes = export(&batch, &settings(tool)).unwrap().swap_remove(0).bytes;
        let text = String::from_utf8(bytes).unwrap();
        let tasks: Vec<Value> = if text.starts_with('[') {
            serde_json::from_str(&text).unwrap()
        } else {
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        tasks.iter().map(|task| task.pointer(pointer).cloned().unwrap_or_default()).collect()
    };
    let lists = json!([["a", "b"], ["x;y"], ["a"], null, ["a;z"]]);
    assert_eq!(json!(values(LabelTool::LabelStudio, "/predictions/0/result/0/value/choices")), lists);
    assert_eq!(json!(values(LabelTool::Doccano, "/label")), json!([["a", "b"], ["x;y"], ["a"], [], ["a;z"]]));
    assert_eq!(
        json!(values(LabelTool::Argilla, "/suggestions/label/value")),
        json!([["a", "b"], ["x;y"], ["a"], null, ["a;z"]])
    );
    // Only options can be chosen.
    assert_eq!(json!(values(LabelTool::Prodigy, "/accept")), json!([["a", "b"], ["x;y"], ["a"], null, null]));
    let config = export(&batch, &settings(LabelTool::LabelStudio)).unwrap().swap_remove(1).bytes;
    assert!(String::from_utf8_lossy(&config).contains("choice=\"multiple\""));
}

#[test]
fn prodigy_asks_about_the_suggestion_where_there_are_no_classes() {
    let files = export(&batch(true), &settings(LabelTool::Prodigy, false)).unwrap();
    let text = String::from_utf8(files[0].bytes.clone()).unwrap();
    let tasks: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(tasks[0]["label"], json!("sport"));
    assert_eq!(tasks[3].get("label"), None);
    assert!(tasks.iter().all(|task| task.get("options").is_none() && task.get("accept").is_none()));
}

#[test]
fn files_hold_as_many_tasks_as_they_may() {
    for tool in LabelTool::ALL {
        let settings = crate::label_tools::ExportSettings { max_tasks_per_file: 3, ..settings(tool, false) };
        let files = export(&batch(false), &settings).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let extension = match tool {
            LabelTool::LabelStudio | LabelTool::Argilla => "json",
            LabelTool::Doccano | LabelTool::Prodigy => "jsonl",
            _ => tool.name(),
        };
        assert_eq!(names, ["00001", "00002", "00003"].map(|place| format!("r003-{place}.{extension}")), "{tool}");
        assert_eq!(export(&batch(false).slice(0, 0), &settings).unwrap(), [], "{tool}");
    }
}

#[test]
fn rows_come_back_as_they_are_filled_in() {
    // The batch has a label that is not for annotators: theirs is another column.
    let batch = batch(true);
    let csv = String::from_utf8(one(&batch, LabelTool::Csv)).unwrap();
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(
        rows.headers().unwrap().iter().collect::<Vec<_>>().join(" "),
        "id body title input_label tamis_id tamis_rank tamis_score tamis_reason tamis_label tamis_probability tamis_round label"
    );
    let texts: Vec<String> = rows.records().map(|row| row.unwrap()[1].to_owned()).collect();
    assert_eq!(texts, ROWS.map(|row| row.1));

    let empty = ImportSettings::default();
    for tool in [LabelTool::Csv, LabelTool::Jsonl, LabelTool::Parquet] {
        let unlabelled = import("x", &one(&batch, tool), &empty).unwrap();
        assert_eq!((unlabelled.labels.num_rows(), unlabelled.rejected.len()), (0, 0), "{tool}");
    }
    let parquet = ParquetRecordBatchReader::try_new(bytes::Bytes::from(one(&batch, LabelTool::Parquet)), 1024).unwrap();
    let read: Vec<RecordBatch> = parquet.collect::<Result<_, _>>().unwrap();
    assert_eq!(read[0].num_rows(), ROWS.len());
    assert_eq!(read[0].column_by_name("body"), batch.column_by_name("body"));
}

#[test]
fn a_batch_without_text_or_id_is_refused() {
    let batch = batch(true);
    for (column, message) in [
        ("bodi", "the batch has no column `bodi`"),
        ("tamis_rank", "column `tamis_rank` of the batch has type Int32, expected text"),
        ("title", "column `title` of the batch is null in row 1: there is nothing to label"),
    ] {
        let settings =
            crate::label_tools::ExportSettings { text_column: column.into(), ..settings(LabelTool::Csv, true) };
        assert_eq!(export(&batch, &settings).unwrap_err().to_string(), message);
    }
}
