//! CSV, JSON Lines, Parquet: a row with an id and a label.

use serde_json::Value;
use tamis_schemas::columns;

use super::ImportSettings;
use super::found::Found;
use super::records::Record;
use super::value::{answer_of, bounds, labels, number, span, text, time};
use crate::label_tools::answer::{Answer, Span, Status};
use crate::label_tools::offsets::Unit;

/// Where the id is if not where it should be.
const OTHER_ID_COLUMN: &str = "id";

/// `annotator`, `status`, `spans` (bytes), `created_at` and `lead_time_s` are read where they are there.
pub(super) fn read(record: &Record, settings: &ImportSettings, found: &mut Found) -> Result<(), String> {
    let given = record.get(&settings.label_column);
    let spans = record.get("spans").map(parsed).filter(|spans| !spans.is_null());
    let status = match text(record.get("status")) {
        None => Status::Submitted,
        Some(name) => Status::of_name(&name)
            .ok_or_else(|| format!("the status `{name}` is none of submitted, draft, discarded and skipped"))?,
    };
    found.column_seen(given.is_some() || spans.is_some());
    let has_status = text(record.get("status")).is_some();
    let given = given.map(parsed).filter(|given| is_filled_in(given, has_status));
    if given.is_none() && spans.is_none() && matches!(status, Status::Submitted | Status::Draft) {
        return Ok(()); // Not filled in yet.
    }
    let id = text(record.get(&settings.id_column)).or_else(|| text(record.get(OTHER_ID_COLUMN)));
    let Some(id) = id else {
        found.miss();
        return Ok(());
    };
    let annotator = text(record.get("annotator"));
    let mut answer = Answer {
        status,
        created_at: time(record.get("created_at")),
        lead_time_s: number(record.get("lead_time_s")),
        task_id: Some(id.clone()),
        annotation_id: annotator.clone(),
        annotator,
        ..facts(record, id)
    };
    if matches!(status, Status::Submitted | Status::Draft) {
        answer.labels = match &given {
            None => None,
            Some(given) => Some(labels(given).ok_or_else(|| format!("no label and no list of them: {given}"))?),
        };
        if let Some(Value::Array(items)) = &spans {
            let content = record.get(&settings.text_key).and_then(Value::as_str);
            answer.spans = Some(items.iter().map(|item| byte_span(item, content)).collect::<Result<_, _>>()?);
        }
    }
    found.add(answer);
    Ok(())
}

/// Whether this is an answer. That no label fits is one only where a status says so: an empty list may be a form that nobody has seen.
fn is_filled_in(given: &Value, has_status: bool) -> bool {
    match given {
        Value::Null => false,
        Value::String(label) => !label.trim().is_empty(),
        Value::Array(labels) => has_status || !labels.is_empty(),
        _ => true,
    }
}

/// A span that is in bytes already: the text, where it is there, says whether it can be.
fn byte_span(item: &Value, content: Option<&str>) -> Result<Span, String> {
    if content.is_some() {
        return span(item, content, Unit::Bytes);
    }
    let label = text(item.get("label")).ok_or_else(|| format!("a span without a label: {item}"))?;
    let (start, end) = bounds(item, "start", "end")?;
    if end < start {
        return Err(format!("the span {start}..{end} of `{label}` ends before it begins"));
    }
    Ok(Span { start: start as i64, end: end as i64, label })
}

/// What our own keys say of the row with this id.
fn facts(record: &Record, id: String) -> Answer {
    let mut facts = record.clone();
    facts.insert(columns::ID.into(), id.clone().into());
    answer_of(&facts).unwrap_or_else(|| Answer { tamis_id: id, ..Answer::default() })
}

/// A cell of CSV that holds a list as JSON.
fn parsed(given: &Value) -> Value {
    let list = given.as_str().filter(|given| given.starts_with('[')).and_then(|given| serde_json::from_str(given).ok());
    list.unwrap_or_else(|| given.clone())
}
