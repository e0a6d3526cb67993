//! JSON Lines of Prodigy: a choice with the suggestion chosen, or, without classes, the suggestion to accept or reject.

use serde_json::{Map, Value, json};
use tamis_schemas::columns;

use super::chunks::{self, Framing};
use super::tasks::{Task, Tasks};
use super::{ExportFile, ExportSettings};
use crate::label_tools::{LABEL_KEY, TEXT_KEY};

pub(super) fn files(tasks: &Tasks<'_>, settings: &ExportSettings) -> Vec<ExportFile> {
    let tasks: Vec<String> =
        tasks.iter().map(|task| Value::Object(example(task, &settings.classes)).to_string()).collect();
    chunks::files(&tasks, Framing::Lines, settings)
}

/// `tamis_id` stands at the top too: recipes that make tasks anew keep that or `meta`.
fn example(task: Task<'_>, classes: &[String]) -> Map<String, Value> {
    let labels = task.suggestion.map(|suggestion| suggestion.labels).unwrap_or_default();
    let mut example = Map::new();
    example.insert(TEXT_KEY.into(), task.text.into());
    if !classes.is_empty() {
        let options: Vec<Value> = classes.iter().map(|class| json!({"id": class, "text": class})).collect();
        example.insert("options".into(), options.into());
        // Only what can be chosen.
        let accept: Vec<&str> = labels.into_iter().filter(|label| classes.iter().any(|class| class == label)).collect();
        if !accept.is_empty() {
            example.insert("accept".into(), json!(accept));
        }
    } else if let [label] = labels.as_slice() {
        example.insert(LABEL_KEY.into(), json!(label));
    }
    example.insert(columns::ID.into(), task.id.into());
    example.insert("meta".into(), task.facts.into());
    example
}
