//! JSON Lines of doccano: text, the suggested labels, and the rest, which becomes `meta`.

use indexmap::IndexSet;
use serde_json::{Map, Value, json};

use super::chunks::{self, Framing};
use super::tasks::{Task, Tasks};
use super::{ExportFile, ExportSettings};
use crate::label_tools::{LABEL_KEY, TEXT_KEY};

pub(super) fn files(tasks: &Tasks<'_>, settings: &ExportSettings) -> Vec<ExportFile> {
    let mut examples: Vec<Map<String, Value>> = tasks.iter().map(example).collect();
    // doccano reads a table: what one line lacks becomes NaN there, which its database refuses.
    let names: IndexSet<String> = examples.iter().flat_map(|example| example.keys().cloned()).collect();
    for example in &mut examples {
        for name in &names {
            example.entry(name).or_insert_with(|| "".into());
        }
    }
    let examples: Vec<String> = examples.into_iter().map(|example| Value::Object(example).to_string()).collect();
    chunks::files(&examples, Framing::Lines, settings)
}

/// No fact is named `id`, `data` or `text`: as meta keys these would replace doccano's own when it exports.
fn example(task: Task<'_>) -> Map<String, Value> {
    let labels = task.suggestion.map(|suggestion| suggestion.labels).unwrap_or_default();
    let mut example = Map::new();
    example.insert(TEXT_KEY.into(), task.text.into());
    example.insert(LABEL_KEY.into(), json!(labels));
    example.extend(task.facts);
    example
}
