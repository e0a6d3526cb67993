//! Prodigy: tasks with an answer, as `db-out` writes them.

use serde_json::{Map, Value};

use super::ImportSettings;
use super::found::Found;
use super::records::Record;
use super::value::{answer_of, labels, number, span, text};
use crate::label_tools::LABEL_KEY;
use crate::label_tools::answer::{Answer, Status};
use crate::label_tools::offsets::Unit;

pub(super) fn read(record: &Record, settings: &ImportSettings, found: &mut Found) -> Result<(), String> {
    // A task that nobody has seen.
    let Some(given) = text(record.get("answer")) else { return Ok(()) };
    let empty = Map::new();
    let meta = record.get("meta").and_then(Value::as_object).unwrap_or(&empty);
    let Some(task) = answer_of(meta).or_else(|| answer_of(record)) else {
        found.miss();
        return Ok(());
    };
    let annotator = text(record.get("_annotator_id")).or_else(|| text(record.get("_session_id")));
    let mut answer = Answer {
        task_id: text(record.get("_task_hash")),
        // A session answers a task once.
        annotation_id: annotator.clone(),
        annotator,
        created_at: number(record.get("_timestamp")).map(|seconds| (seconds * 1e6) as i64),
        ..task
    };
    match (given.as_str(), record.get(LABEL_KEY).filter(|_| is_binary(record))) {
        ("ignore", _) => answer.status = Status::Skipped,
        ("accept", Some(label)) => {
            answer.suggestion = text(Some(label));
            answer.labels = Some(labels(label).ok_or_else(|| format!("`{LABEL_KEY}` is no label: {label}"))?);
        }
        // An answer too: not this one.
        ("reject", Some(label)) => {
            answer.suggestion = text(Some(label));
            answer.labels = Some(Vec::new());
        }
        ("reject", None) => answer.status = Status::Discarded,
        ("accept", None) => read_accepted(record, settings, &mut answer)?,
        (other, _) => return Err(format!("the answer `{other}` is none of accept, reject and ignore")),
    }
    found.add(answer);
    Ok(())
}

/// One label, to be accepted or rejected.
fn is_binary(record: &Record) -> bool {
    record.get(LABEL_KEY).is_some_and(|label| !label.is_null()) && !record.contains_key("options")
}

fn read_accepted(record: &Record, settings: &ImportSettings, answer: &mut Answer) -> Result<(), String> {
    let spans = record.get("spans").and_then(Value::as_array);
    if record.contains_key("options") || record.contains_key("accept") {
        let chosen = record.get("accept").map_or(Some(Vec::new()), labels);
        answer.labels = Some(chosen.ok_or("`accept` holds no ids of options")?);
    }
    let asks_for_spans = text(record.get("_view_id"))
        .is_some_and(|view| matches!(view.as_str(), "ner_manual" | "spans_manual" | "ner" | "spans"));
    if spans.is_some() || asks_for_spans {
        let content = record.get(&settings.text_key).and_then(Value::as_str);
        let spans = spans.into_iter().flatten().map(|item| span(item, content, Unit::CodePoints));
        answer.spans = Some(spans.collect::<Result<_, _>>()?);
    }
    Ok(())
}
