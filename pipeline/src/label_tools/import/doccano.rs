//! doccano: examples with all labels, of everybody together or of one annotator.

use serde_json::Value;

use super::ImportSettings;
use super::found::Found;
use super::records::Record;
use super::value::{answer_of, bounds, labels, text};
use crate::label_tools::answer::{Answer, Span, Status};
use crate::label_tools::offsets::Unit;
use crate::label_tools::{LABEL_KEY, LABEL_SEPARATOR};

/// Name of the file with the labels of everybody.
const EVERYBODY: &str = "all";
/// Between the labels of a cell of CSV.
const CELL_SEPARATOR: char = '#';

pub(super) fn read(record: &Record, file: &str, settings: &ImportSettings, found: &mut Found) -> Result<(), String> {
    let content = record.get(&settings.text_key).or_else(|| record.get("data")).and_then(Value::as_str);
    let mut given = Given::default();
    match record.get(LABEL_KEY) {
        Some(Value::String(cell)) => {
            given.labels = Some(cell.split(CELL_SEPARATOR).filter(|label| !label.is_empty()).map(Into::into).collect());
        }
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_array) => {
            given.spans = Some(items.iter().map(|item| listed(item, content)).collect::<Result<_, _>>()?);
        }
        Some(Value::Array(items)) if items.is_empty() => {}
        Some(value @ Value::Array(_)) => {
            given.labels = Some(labels(value).ok_or_else(|| format!("`{LABEL_KEY}` holds no labels: {value}"))?);
        }
        None if record.contains_key("entities") || record.contains_key("cats") => {}
        Some(Value::Null) => {}
        None => return Err(format!("no `{LABEL_KEY}`, `entities` or `cats`")),
        Some(other) => return Err(format!("`{LABEL_KEY}` is no list of labels: {other}")),
    }
    if let Some(entities) = record.get("entities").and_then(Value::as_array) {
        let entity = |item: &Value| if item.is_array() { listed(item, content) } else { named(item, content) };
        given.spans = Some(entities.iter().map(entity).collect::<Result<_, _>>()?);
    }
    if let Some(categories) = record.get("cats") {
        given.labels = Some(labels(categories).ok_or_else(|| format!("`cats` holds no labels: {categories}"))?);
    }
    add(record, file, given, settings, found);
    Ok(())
}

/// What the labels of a row are.
#[derive(Default)]
struct Given {
    labels: Option<Vec<String>>,
    spans: Option<Vec<Span>>,
}

impl Given {
    fn is_empty(&self) -> bool {
        self.labels.iter().all(Vec::is_empty) && self.spans.iter().all(Vec::is_empty)
    }

    fn is(&self, suggestion: Option<&str>) -> bool {
        suggestion.is_some_and(|suggestion| {
            // doccano sorts them.
            let mut suggested: Vec<&str> = suggestion.split(LABEL_SEPARATOR).collect();
            suggested.sort_unstable();
            let labels = self.labels.as_deref().unwrap_or_default();
            labels == [suggestion] || labels.iter().map(String::as_str).eq(suggested)
        })
    }
}

/// An export of all examples holds those that nobody has looked at yet: they have no label, or the one that we suggested.
fn add(record: &Record, file: &str, given: Given, settings: &ImportSettings, found: &mut Found) {
    if given.is_empty() && !settings.is_approved_only {
        return;
    }
    let Some(task) = answer_of(record) else { return found.miss() };
    let is_untouched = !settings.is_approved_only && given.is(task.suggestion.as_deref());
    let annotator = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let annotator = (annotator != EVERYBODY).then(|| annotator.to_owned());
    found.add(Answer {
        labels: given.labels,
        spans: given.spans,
        status: if is_untouched { Status::Draft } else { Status::Submitted },
        task_id: text(record.get("id")),
        annotation_id: annotator.clone(),
        annotator,
        ..task
    });
}

/// `[0, 2, "ORG"]`
fn listed(item: &Value, content: Option<&str>) -> Result<Span, String> {
    let parts = item.as_array().map(Vec::as_slice).unwrap_or_default();
    let [start, end, label] = parts else { return Err(format!("no span: {item}")) };
    let label = text(Some(label)).ok_or_else(|| format!("a span without a label: {item}"))?;
    let bounds = start.as_u64().zip(end.as_u64());
    let (start, end) = bounds.ok_or_else(|| format!("a span without numbers: {item}"))?;
    Unit::Utf16.span(content.ok_or("spans of a row whose text is not in the file")?, start, end, label)
}

/// `{"start_offset": 0, "end_offset": 2, "label": "ORG"}`
fn named(item: &Value, content: Option<&str>) -> Result<Span, String> {
    let label = text(item.get(LABEL_KEY)).ok_or_else(|| format!("a span without a label: {item}"))?;
    let (start, end) = bounds(item, "start_offset", "end_offset")?;
    Unit::Utf16.span(content.ok_or("spans of a row whose text is not in the file")?, start, end, label)
}
