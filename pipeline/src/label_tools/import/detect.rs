//! Which tool wrote a record.

use serde_json::Value;
use tamis_schemas::columns;

use super::records::{Format, Record};
use super::value::text;
use crate::label_tools::{LABEL_KEY, LabelTool, MODEL_KEY, TEXT_KEY};

/// The tool whose keys these are; the format where they are nobody's.
pub(super) fn tool(record: &Record, format: Format, is_archived: bool) -> LabelTool {
    let has = |keys: &[&str]| keys.iter().all(|key| record.contains_key(*key));
    let is_object = |key: &str| record.get(key).is_some_and(Value::is_object);
    if is_object("data") || is_object("task") || has(&["annotation_id", "lead_time"]) {
        LabelTool::LabelStudio
    } else if has(&["fields", "responses"])
        || record.keys().any(|key| key.ends_with(".responses"))
        || has(&["_server_id"])
    {
        LabelTool::Argilla
    } else if has(&["_task_hash"]) || (has(&["text"]) && is_prodigy_answer(record)) {
        LabelTool::Prodigy
    } else if is_archived
        || has(&["Comments"])
        || has(&["id", "entities"])
        || has_doccano_spans(record)
        || is_doccano_example(record)
    {
        LabelTool::Doccano
    } else {
        match format {
            Format::Json => LabelTool::Jsonl,
            Format::Csv => LabelTool::Csv,
            Format::Parquet => LabelTool::Parquet,
        }
    }
}

fn is_prodigy_answer(record: &Record) -> bool {
    let answer = record.get("answer").and_then(Value::as_str);
    answer.is_some_and(|answer| matches!(answer, "accept" | "reject" | "ignore"))
}

/// A list of labels beside a text of ours, with an id of doccano's own, or with what only tasks of tools are told.
///
/// Older versions, and files that never were in doccano, have no `Comments`.
fn is_doccano_example(record: &Record) -> bool {
    let ours = text(record.get(columns::ID));
    let is_numbered = record.get("id").is_some_and(Value::is_u64) && text(record.get("id")) != ours;
    ours.is_some()
        && record.contains_key(TEXT_KEY)
        && record.get(LABEL_KEY).is_some_and(Value::is_array)
        && (is_numbered || record.contains_key(MODEL_KEY))
}

/// `[[0, 2, "ORG"], ...]`
fn has_doccano_spans(record: &Record) -> bool {
    let first = record.get("label").and_then(|label| label.get(0));
    first.and_then(Value::as_array).is_some_and(|span| span.len() == 3 && span[0].is_u64() && span[1].is_u64())
}
