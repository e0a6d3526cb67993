//! Records of Argilla 2: what `Record.from_dict` and `Dataset.records.from_json` read.

use serde_json::{Map, Value, json};

use super::chunks::{self, Framing};
use super::tasks::{Task, Tasks};
use super::{ExportFile, ExportSettings};
use crate::label_tools::TEXT_KEY;

pub(super) fn files(tasks: &Tasks<'_>, settings: &ExportSettings) -> Vec<ExportFile> {
    let records: Vec<String> = tasks.iter().map(|task| record(&task, settings).to_string()).collect();
    chunks::files(&records, Framing::List, settings)
}

fn record(task: &Task<'_>, settings: &ExportSettings) -> Value {
    let mut suggestions = Map::new();
    if let Some(suggestion) = &task.suggestion {
        // A question for several labels takes a list, one for a single label takes that.
        let value = match suggestion.labels.as_slice() {
            [label] => json!(label),
            labels => json!(labels),
        };
        let suggestion = json!({"value": value, "score": suggestion.confidence, "agent": settings.model_version});
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
