//! Records of Argilla 2: what `Record.from_dict` and `Dataset.records.from_json` read.

use serde_json::{Map, Value, json};

use super::chunks::{self, Framing};
use super::tasks::{Suggestion, Task, Tasks};
use super::{ExportFile, ExportSettings};
use crate::label_tools::TEXT_KEY;

pub(super) fn files(tasks: &Tasks<'_>, settings: &ExportSettings) -> Vec<ExportFile> {
    let several = tasks.have_several_labels();
    let records: Vec<String> = tasks.iter().map(|task| record(&task, several, settings).to_string()).collect();
    chunks::files(&records, Framing::List, settings)
}

/// A question for several labels takes lists, of scores too; one for a single label takes neither.
fn record(task: &Task<'_>, several: bool, settings: &ExportSettings) -> Value {
    let mut suggestions = Map::new();
    if let Some(Suggestion { labels, confidence }) = &task.suggestion {
        let (value, score) = match (several, labels.as_slice()) {
            (false, [label]) => (json!(label), json!(confidence)),
            // The confidence is that of one label.
            (_, [label]) => (json!([label]), confidence.map_or(Value::Null, |confidence| json!([confidence]))),
            (_, labels) => (json!(labels), Value::Null),
        };
        let suggestion = json!({"value": value, "score": score, "agent": settings.model_version});
        suggestions.insert(settings.question.clone(), suggestion);
    }
    json!({
        "id": task.id,
        "fields": {TEXT_KEY: task.text},
        "metadata": task.facts,
        "suggestions": suggestions,
        "responses": {},
        "vectors": {},
    })
}
