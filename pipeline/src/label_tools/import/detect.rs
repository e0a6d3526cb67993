//! Which tool wrote a record.

use serde_json::Value;

use super::records::{Format, Record};
use crate::label_tools::LabelTool;

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
    } else if is_archived || has(&["Comments"]) || has(&["id", "entities"]) || has_doccano_spans(record) {
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

/// `[[0, 2, "ORG"], ...]`
fn has_doccano_spans(record: &Record) -> bool {
    let first = record.get("label").and_then(|label| label.get(0));
    first.and_then(Value::as_array).is_some_and(|span| span.len() == 3 && span[0].is_u64() && span[1].is_u64())
}
