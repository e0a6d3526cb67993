//! Label Studio: tasks with their annotations (JSON), or an annotation a row (`JSON_MIN`, CSV, TSV).

use serde_json::{Map, Value};

use super::ImportSettings;
use super::found::Found;
use super::records::Record;
use super::value::{answer_of, bounds, labels, number, text, time};
use crate::label_tools::answer::{Answer, Span, Status};
use crate::label_tools::offsets::Unit;
use crate::label_tools::{LABEL_KEY, LABEL_SEPARATOR};

pub(super) fn read(record: &Record, settings: &ImportSettings, found: &mut Found) -> Result<(), String> {
    if let Some(Value::Object(data)) = record.get("data") {
        Task::of(record, data, settings).read(record, found)
    } else if let Some(Value::Object(task)) = record.get("task") {
        // A target storage has a file for each annotation, with its task inside.
        let data = task.get("data").and_then(Value::as_object).ok_or("a task without `data`")?;
        Task::of(task, data, settings).read_annotation(record, found)
    } else {
        read_flat(record, settings, found)
    }
}

/// What all annotations of a task share.
struct Task<'a> {
    settings: &'a ImportSettings,
    /// `None` without an id of ours.
    answer: Option<Answer>,
    content: Option<&'a str>,
}

impl<'a> Task<'a> {
    fn of(task: &'a Map<String, Value>, data: &'a Map<String, Value>, settings: &'a ImportSettings) -> Self {
        let mut answer = answer_of(data);
        if let Some(answer) = &mut answer {
            answer.task_id = text(task.get("id"));
            suggest(answer, task.get("predictions").and_then(|predictions| predictions.get(0)));
        }
        Self { settings, answer, content: data.get(&settings.text_key).and_then(Value::as_str) }
    }

    fn read(&self, task: &Record, found: &mut Found) -> Result<(), String> {
        // Some exports have ids of drafts only.
        let objects =
            |key: &str| task.get(key).and_then(Value::as_array).into_iter().flatten().filter(|item| item.is_object());
        let mut refused = Vec::new();
        for annotation in objects("annotations").chain(objects("drafts")).filter_map(Value::as_object) {
            if let Err(reason) = self.read_annotation(annotation, found) {
                refused.push(reason);
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(refused.join("; ")) }
    }

    fn read_annotation(&self, annotation: &Map<String, Value>, found: &mut Found) -> Result<(), String> {
        let Some(task) = &self.answer else {
            found.miss();
            return Ok(());
        };
        let is_draft = !annotation.contains_key("completed_by");
        let mut answer = Answer {
            annotator: if is_draft { drafter(annotation) } else { annotator(annotation.get("completed_by")) },
            status: match annotation.get("was_cancelled") {
                _ if is_draft => Status::Draft,
                Some(Value::Bool(true)) => Status::Skipped,
                _ => Status::Submitted,
            },
            // Drafts are numbered on their own.
            annotation_id: text(annotation.get("id")).map(|id| if is_draft { format!("draft-{id}") } else { id }),
            ..task.clone()
        };
        // The one that was shown, whoever made it.
        suggest(&mut answer, annotation.get("prediction"));
        add_times(&mut answer, annotation);
        if answer.status != Status::Skipped {
            let results = annotation.get("result").and_then(Value::as_array).ok_or("an annotation without `result`")?;
            self.read_results(results, &mut answer, found)?;
        }
        found.add(answer);
        Ok(())
    }

    fn read_results(&self, results: &[Value], answer: &mut Answer, found: &mut Found) -> Result<(), String> {
        for result in results {
            let Some(from_name) = result.get("from_name").and_then(Value::as_str) else {
                continue; // A relation between two others.
            };
            found.answered(from_name);
            if self.settings.question.as_deref().is_some_and(|question| question != from_name) {
                continue;
            }
            let kind = result.get("type").and_then(Value::as_str).unwrap_or_default();
            let value = result.get("value").and_then(|value| value.get(kind).map(|given| (value, given)));
            let (value, given) = value.ok_or_else(|| format!("a result of type `{kind}` without a value"))?;
            match kind {
                "choices" | "rating" | "number" => {
                    let given = labels(given).ok_or_else(|| format!("`{kind}` without a label: {given}"))?;
                    answer.labels.get_or_insert_default().extend(given);
                }
                "taxonomy" => answer.labels.get_or_insert_default().extend(paths(given)?),
                "labels" => answer.spans.get_or_insert_default().extend(spans(value, given, self.content)?),
                other => return Err(format!("results of type `{other}` are no labels that are read here")),
            }
        }
        Ok(())
    }
}

/// What a prediction says, where it is one: exports may have its number only.
fn suggest(answer: &mut Answer, prediction: Option<&Value>) {
    let Some(prediction) = prediction else { return };
    let results = prediction.get("result").and_then(Value::as_array);
    let choices = results.into_iter().flatten().find_map(|result| labels(result.get("value")?.get("choices")?));
    if let Some(choices) = choices {
        answer.suggestion = Some(choices.join(LABEL_SEPARATOR));
        answer.suggestion_score = number(prediction.get("score"));
        answer.model_version = text(prediction.get("model_version"));
    }
}

/// Their address where the export has it, else their number.
fn annotator(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Object(user) => text(user.get("email")).or_else(|| text(user.get("id"))),
        value => text(Some(value)),
    }
}

/// Drafts name people by their address, but have the number that annotations name them by in `name, number`.
fn drafter(draft: &Map<String, Value>) -> Option<String> {
    let number = draft.get("created_username").and_then(Value::as_str).and_then(|name| name.rsplit_once(", "));
    let number = number.map(|(_, number)| number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    number.map(str::to_owned).or_else(|| annotator(draft.get("user")))
}

fn add_times(answer: &mut Answer, annotation: &Map<String, Value>) {
    answer.created_at = time(annotation.get("created_at"));
    answer.updated_at = time(annotation.get("updated_at"));
    answer.lead_time_s = number(annotation.get("lead_time"));
}

/// The labels of one stretch of text.
fn spans(value: &Value, given: &Value, content: Option<&str>) -> Result<Vec<Span>, String> {
    let names = labels(given).ok_or_else(|| format!("`labels` without a label: {given}"))?;
    let (start, end) = bounds(value, "start", "end")?;
    let content = content.ok_or("spans of a row whose text is not in the file")?;
    let told = value.get("text").and_then(Value::as_str).map(letters);
    let fits = |span: &Span| {
        let covered = letters(&content[span.start as usize..span.end as usize]);
        told.as_ref().is_none_or(|told| *told == covered)
    };
    let span = |label: String| {
        let utf16 = Unit::Utf16.span(content, start, end, label.clone());
        match utf16 {
            Ok(span) if fits(&span) => Ok(span),
            // Annotations that a Python program made count code points: the text that comes with them shows it.
            other => match Unit::CodePoints.span(content, start, end, label.clone()) {
                Ok(span) if told.is_some() && fits(&span) => Ok(span),
                _ => other.and_then(|_| {
                    Err(format!("the span {start}..{end} of `{label}` does not cover the text that it says it does"))
                }),
            },
        }
    };
    names.into_iter().map(span).collect()
}

/// The browser's text of a region differs in white space, and has line breaks as `\n`.
fn letters(text: &str) -> String {
    text.replace("\\n", "").chars().filter(|character| !character.is_whitespace()).collect()
}

/// Paths through a taxonomy, as in `animal > bird`.
fn paths(given: &Value) -> Result<Vec<String>, String> {
    let path = |path: &Value| Some(labels(path)?.join(" > "));
    let paths: Option<Vec<String>> = given.as_array().and_then(|given| given.iter().map(path).collect());
    paths.ok_or_else(|| format!("a taxonomy without paths: {given}"))
}

/// A row of `JSON_MIN` or CSV: the keys of the data, then those of the annotation.
fn read_flat(record: &Record, settings: &ImportSettings, found: &mut Found) -> Result<(), String> {
    // A task without annotation.
    let Some(annotation_id) = text(record.get("annotation_id")) else { return Ok(()) };
    let Some(task) = answer_of(record) else {
        found.miss();
        return Ok(());
    };
    let mut answer = Answer {
        task_id: text(record.get("id")),
        annotation_id: Some(annotation_id),
        annotator: annotator(record.get("annotator")),
        ..task
    };
    add_times(&mut answer, record);
    found.asked();
    let question = settings.question.as_deref().unwrap_or(LABEL_KEY);
    let given = record.get(question).map(|given| parsed(given).unwrap_or_else(|| given.clone()));
    if let Some(given) = given.filter(|given| text(Some(given)).is_some() || !given.is_string()) {
        found.answered(question);
        let content = record.get(&settings.text_key).and_then(Value::as_str);
        read_value(&given, &mut answer, content)?;
    }
    found.add(answer);
    Ok(())
}

/// A cell of CSV that holds a list or an object as JSON.
fn parsed(given: &Value) -> Option<Value> {
    given.as_str().filter(|given| given.starts_with(['[', '{'])).and_then(|given| serde_json::from_str(given).ok())
}

fn read_value(given: &Value, answer: &mut Answer, content: Option<&str>) -> Result<(), String> {
    let is_list_of = |test: fn(&Value) -> bool| given.as_array().is_some_and(|given| given.iter().all(test));
    if let Some(choices) = given.get("choices").and_then(labels) {
        answer.labels = Some(choices);
    } else if given.as_array().is_some_and(Vec::is_empty) {
        // Nothing, of whatever was asked.
    } else if is_list_of(|item| item.get("labels").is_some()) {
        let items = given.as_array().into_iter().flatten();
        let found: Result<Vec<_>, _> = items.map(|item| spans(item, &item["labels"], content)).collect();
        answer.spans = Some(found?.concat());
    } else if is_list_of(|item| item.get("rating").is_some() || item.get("number").is_some()) {
        let items = given.as_array().into_iter().flatten();
        answer.labels = items.map(|item| text(item.get("rating").or_else(|| item.get("number")))).collect();
    } else if is_list_of(|item| item.get("taxonomy").is_some()) {
        let items = given.as_array().into_iter().flatten();
        answer.labels = Some(items.map(|item| paths(&item["taxonomy"])).collect::<Result<Vec<_>, _>>()?.concat());
    } else if is_list_of(Value::is_array) {
        answer.labels = Some(paths(given)?);
    } else {
        answer.labels = Some(labels(given).ok_or_else(|| format!("no label that is read here: {given}"))?);
    }
    Ok(())
}
