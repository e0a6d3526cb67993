//! Single values of records.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use serde_json::{Map, Value};
use tamis_schemas::columns;

use crate::label_tools::answer::{Answer, Span};
use crate::label_tools::offsets::Unit;
use crate::label_tools::{MODEL_KEY, ROUND_KEY};

/// A string, number or boolean as text; `None` for all else, and for an empty string.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
        _ => None,
    }
}

/// A number, or text that says one.
pub(super) fn number(value: Option<&Value>) -> Option<f64> {
    let value = value?;
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    number.is_finite().then_some(number)
}

/// A time in ISO 8601 as microseconds since 1970, UTC where it names no zone.
pub(super) fn time(value: Option<&Value>) -> Option<i64> {
    Some(string_to_timestamp_nanos(value?.as_str()?).ok()?.div_euclid(1000))
}

/// One label, or each of a list; `None` for what is neither.
pub(super) fn labels(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(|item| text(Some(item))).collect(),
        value => Some(vec![text(Some(value))?]),
    }
}

/// A span from objects with `start`, `end` and `label`.
pub(super) fn span(item: &Value, content: Option<&str>, unit: Unit) -> Result<Span, String> {
    let label = text(item.get("label")).ok_or_else(|| format!("a span without a label: {item}"))?;
    let (start, end) = bounds(item, "start", "end")?;
    unit.span(content.ok_or("spans of a row whose text is not in the file")?, start, end, label)
}

/// Where a span begins and ends.
pub(super) fn bounds(item: &Value, start: &str, end: &str) -> Result<(u64, u64), String> {
    let offset = |key: &str| item.get(key).and_then(Value::as_u64);
    offset(start).zip(offset(end)).ok_or_else(|| format!("a span without numbers `{start}` and `{end}`: {item}"))
}

/// An answer with what our own keys say of its task; `None` without an id.
pub(super) fn answer_of(facts: &Map<String, Value>) -> Option<Answer> {
    Some(Answer {
        tamis_id: text(facts.get(columns::ID))?,
        round: number(facts.get(ROUND_KEY)).map(|round| round as i32),
        suggestion: text(facts.get(columns::LABEL)),
        suggestion_score: number(facts.get(columns::PROBABILITY)),
        model_version: text(facts.get(MODEL_KEY)),
        ..Answer::default()
    })
}
