//! Tasks of Label Studio, and the labelling config that they fit.

use arrow::array::RecordBatch;
use quick_xml::escape::escape;
use serde_json::{Map, Value, json};
use tamis_schemas::columns;

use super::chunks::{self, Framing};
use super::tasks::{Suggestion, Task, Tasks};
use super::{ExportFile, ExportSettings, rows};
use crate::Result;
use crate::label_tools::TEXT_KEY;

/// Keys that Label Studio's exports without nesting add to those of a task.
const RESERVED: [&str; 9] =
    [TEXT_KEY, "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "sentiment", "agreement"];

pub(super) fn files(batch: &RecordBatch, tasks: &Tasks<'_>, settings: &ExportSettings) -> Result<Vec<ExportFile>> {
    let inputs = rows::objects(batch)?;
    let json: Vec<String> =
        tasks.iter().zip(inputs).map(|(task, input)| self::task(task, input, settings).to_string()).collect();
    let mut files = chunks::files(&json, Framing::List, settings);
    if !settings.classes.is_empty() {
        let bytes = config(settings, tasks.have_several_labels()).into_bytes();
        files.push(ExportFile { name: format!("{}-label-config.xml", settings.batch_name()), bytes });
    }
    Ok(files)
}

fn task(task: Task<'_>, input: Map<String, Value>, settings: &ExportSettings) -> Value {
    let predictions: Vec<Value> =
        task.suggestion.iter().map(|suggestion| prediction(suggestion, task.id, settings)).collect();
    let mut data = Map::new();
    data.insert(TEXT_KEY.into(), task.text.into());
    data.extend(task.facts);
    data.insert("tamis_batch".into(), settings.batch_name().into());
    // So that a config can show a title or a link beside the text.
    for (name, value) in input {
        if name == settings.text_column || name.starts_with(columns::PREFIX) {
            continue;
        }
        let is_reserved = RESERVED.contains(&name.as_str()) || name == settings.from_name;
        data.insert(if is_reserved { format!("input_{name}") } else { name }, value);
    }
    let meta = json!({"strategy": settings.strategy, "seed": settings.seed, "model": settings.model_version});
    json!({"data": data, "meta": {"tamis": meta}, "predictions": predictions})
}

/// The score is what the tool sorts tasks by: how sure the scorer is, not how much the row was wanted.
fn prediction(suggestion: &Suggestion<'_>, id: &str, settings: &ExportSettings) -> Value {
    let mut prediction = json!({
        "model_version": settings.model_version,
        "result": [{
            "id": format!("tamis-{id}"),
            "from_name": settings.from_name,
            "to_name": settings.to_name,
            "type": "choices",
            "value": {"choices": suggestion.labels},
        }],
    });
    if let Some(confidence) = suggestion.confidence {
        prediction["score"] = confidence.into();
    }
    prediction
}

fn config(settings: &ExportSettings, several: bool) -> String {
    let choice = if several { "multiple" } else { "single" };
    let (from_name, to_name) = (escape(&settings.from_name), escape(&settings.to_name));
    let mut config = format!(
        "<View>\n  <Text name=\"{to_name}\" value=\"${TEXT_KEY}\"/>\n  \
         <Choices name=\"{from_name}\" toName=\"{to_name}\" choice=\"{choice}\" showInline=\"true\">\n"
    );
    for class in &settings.classes {
        config += &format!("    <Choice value=\"{}\"/>\n", escape(class));
    }
    config + "  </Choices>\n</View>\n"
}
