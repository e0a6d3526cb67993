//! Argilla 2: records, nested or flattened, with the responses of each user.

use serde_json::{Map, Value};

use super::ImportSettings;
use super::found::Found;
use super::records::Record;
use super::value::{answer_of, labels, number, span, text};
use crate::label_tools::LABEL_SEPARATOR;
use crate::label_tools::answer::{Answer, Status};
use crate::label_tools::offsets::Unit;

/// What one user said to one question.
struct Response<'a> {
    question: &'a str,
    value: &'a Value,
    user: Option<String>,
    /// Only in the flattened form; the nested one does not tell drafts and what was discarded from what was submitted.
    status: Option<&'a str>,
}

pub(super) fn read(record: &Record, settings: &ImportSettings, found: &mut Found) -> Result<(), String> {
    let responses = if record.contains_key("fields") { nested(record) } else { flattened(record) };
    if responses.is_empty() {
        return Ok(());
    }
    let empty = Map::new();
    let metadata = record.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    // The record's id is ours too, but others give ids of their own.
    let Some(task) = answer_of(metadata).or_else(|| answer_of(record)) else {
        found.miss();
        return Ok(());
    };
    let mut refused = Vec::new();
    for response in responses {
        found.answered(response.question);
        if settings.question.as_deref().is_some_and(|question| question != response.question) {
            continue;
        }
        match answer(record, &task, &response, settings) {
            Ok(answer) => found.add(answer),
            Err(reason) => refused.push(reason),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.join("; ")) }
}

fn nested(record: &Record) -> Vec<Response<'_>> {
    let questions = record.get("responses").and_then(Value::as_object);
    let mut found = Vec::new();
    for (question, responses) in questions.into_iter().flatten() {
        for response in responses.as_array().into_iter().flatten() {
            let value = response.get("value").unwrap_or(&Value::Null);
            found.push(Response { question, value, user: text(response.get("user_id")), status: None });
        }
    }
    found
}

fn flattened(record: &Record) -> Vec<Response<'_>> {
    let mut found = Vec::new();
    for (key, values) in record {
        let Some(question) = key.strip_suffix(".responses") else { continue };
        let item =
            |suffix: &str, place: usize| record.get(&format!("{key}.{suffix}")).and_then(|items| items.get(place));
        for (place, value) in values.as_array().into_iter().flatten().enumerate() {
            let status = item("status", place).and_then(Value::as_str);
            found.push(Response { question, value, user: text(item("users", place)), status });
        }
    }
    found
}

fn answer(
    record: &Record,
    task: &Answer,
    response: &Response<'_>,
    settings: &ImportSettings,
) -> Result<Answer, String> {
    let status = match response.status {
        None => Status::Submitted,
        Some(status) => Status::of_name(status).ok_or_else(|| format!("a response of status `{status}`"))?,
    };
    let mut answer = Answer {
        annotator: response.user.clone(),
        status,
        task_id: text(record.get("_server_id")).or_else(|| text(record.get("id"))),
        // A user has one response to a record.
        annotation_id: response.user.clone(),
        ..task.clone()
    };
    suggest(&mut answer, record, response.question);
    if matches!(status, Status::Submitted | Status::Draft) {
        read_value(record, response.value, settings, &mut answer)?;
    }
    Ok(answer)
}

fn suggest(answer: &mut Answer, record: &Record, question: &str) {
    let nested = record.get("suggestions").and_then(|suggestions| suggestions.get(question));
    let of = |nested_key: &str, flat_key: &str| match nested {
        Some(suggestion) => suggestion.get(nested_key),
        None => record.get(&format!("{question}.{flat_key}")),
    };
    if let Some(suggested) = of("value", "suggestion").and_then(labels) {
        answer.suggestion = Some(suggested.join(LABEL_SEPARATOR));
        answer.suggestion_score = number(of("score", "suggestion.score"));
        answer.model_version = text(of("agent", "suggestion.agent"));
    }
}

fn read_value(record: &Record, value: &Value, settings: &ImportSettings, answer: &mut Answer) -> Result<(), String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if value.is_null() || value.as_array().is_some_and(Vec::is_empty) {
        return Ok(()); // Nothing, of whatever was asked.
    }
    if items.iter().any(|item| item.get("start").is_some()) {
        let content = content(record, &settings.text_key);
        let spans: Result<_, _> = items.iter().map(|item| span(item, content, Unit::CodePoints)).collect();
        answer.spans = Some(spans?);
    } else {
        answer.labels = Some(labels(value).ok_or_else(|| format!("a response that is no label: {value}"))?);
    }
    Ok(())
}

/// The field that the text is in: by its name, or because it is the only one.
fn content<'a>(record: &'a Record, key: &str) -> Option<&'a str> {
    let Some(Value::Object(fields)) = record.get("fields") else {
        return record.get(key).and_then(Value::as_str);
    };
    let only = || fields.values().next().filter(|_| fields.len() == 1);
    fields.get(key).or_else(only).and_then(Value::as_str)
}
