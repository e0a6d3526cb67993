//! One answer of a person, and the table of them.

use std::sync::Arc;

use arrow::array::builder::{Int64Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field};
use indexmap::IndexMap;
use indexmap::map::Entry;
use tamis_schemas::tables;

use super::LabelTool;
use crate::Result;

/// Bytes `start..end` of a text, and what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) label: String,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Status {
    /// Answered.
    #[default]
    Submitted,
    /// Begun, not handed in.
    Draft,
    /// The row is no good.
    Discarded,
    /// Passed over.
    Skipped,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Draft => "draft",
            Self::Discarded => "discarded",
            Self::Skipped => "skipped",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::Submitted, Self::Draft, Self::Discarded, Self::Skipped].into_iter().find(|status| status.name() == name)
    }
}

/// One answer: a row of [`tables::labels_schema`].
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Answer {
    pub(super) tamis_id: String,
    pub(super) round: Option<i32>,
    pub(super) annotator: Option<String>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) spans: Option<Vec<Span>>,
    pub(super) status: Status,
    /// Microseconds since 1970; of this and the next.
    pub(super) created_at: Option<i64>,
    pub(super) updated_at: Option<i64>,
    pub(super) lead_time_s: Option<f64>,
    pub(super) task_id: Option<String>,
    pub(super) annotation_id: Option<String>,
    pub(super) model_version: Option<String>,
    pub(super) suggestion: Option<String>,
    pub(super) suggestion_score: Option<f64>,
}

impl Answer {
    /// When it was last changed, as far as the tool says.
    fn changed_at(&self) -> Option<i64> {
        self.updated_at.or(self.created_at)
    }
}

/// Task, annotation and row; annotations without a name are counted instead.
type Name = (Option<String>, Result<String, usize>, String);

/// Answers, each once: of those that a tool names alike, the one that was changed last. Where it names none, all are kept.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_name: IndexMap<Name, Answer>,
}

impl Answers {
    pub(super) fn add(&mut self, answer: Answer) {
        let annotation = answer.annotation_id.clone().ok_or(self.by_name.len());
        let name = (answer.task_id.clone(), annotation, answer.tamis_id.clone());
        match self.by_name.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(answer);
            }
            Entry::Occupied(mut entry) => {
                if entry.get().changed_at() <= answer.changed_at() {
                    entry.insert(answer);
                }
            }
        }
    }

    /// Says of answers that hold nothing what they hold nothing of, as the others show.
    pub(super) fn fill_empty(&mut self) {
        let has_labels = self.by_name.values().any(|answer| answer.labels.is_some());
        let has_spans = self.by_name.values().any(|answer| answer.spans.is_some());
        for answer in self.by_name.values_mut() {
            let is_answer = matches!(answer.status, Status::Submitted | Status::Draft);
            if is_answer && answer.labels.is_none() && answer.spans.is_none() {
                answer.labels = (has_labels || !has_spans).then(Vec::new);
                answer.spans = has_spans.then(Vec::new);
            }
        }
    }

    /// The table, in the order in which answers were met first.
    pub(super) fn into_table(self, tool: LabelTool) -> Result<RecordBatch> {
        let answers: Vec<Answer> = self.by_name.into_values().collect();
        let text =
            |of: fn(&Answer) -> Option<&str>| -> ArrayRef { Arc::new(answers.iter().map(of).collect::<StringArray>()) };
        let number =
            |of: fn(&Answer) -> Option<f64>| -> ArrayRef { Arc::new(answers.iter().map(of).collect::<Float64Array>()) };
        let created_at: TimestampMicrosecondArray = answers.iter().map(|answer| answer.created_at).collect();
        let columns: Vec<ArrayRef> = vec![
            text(|answer| Some(&answer.tamis_id)),
            Arc::new(answers.iter().map(|answer| answer.round).collect::<Int32Array>()),
            text(|answer| answer.annotator.as_deref()),
            labels(&answers),
            spans(&answers),
            text(|answer| Some(answer.status.name())),
            Arc::new(created_at.with_timezone("UTC")),
            number(|answer| answer.lead_time_s),
            Arc::new(StringArray::from(vec![tool.name(); answers.len()])),
            text(|answer| answer.task_id.as_deref()),
            text(|answer| answer.annotation_id.as_deref()),
            text(|answer| answer.model_version.as_deref()),
            text(|answer| answer.suggestion.as_deref()),
            number(|answer| answer.suggestion_score),
        ];
        Ok(RecordBatch::try_new(tables::labels_schema(), columns)?)
    }
}

fn labels(answers: &[Answer]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Field::new_list_field(DataType::Utf8, false));
    for answer in answers {
        lists.append_option(answer.labels.as_ref().map(|labels| labels.iter().map(Some)));
    }
    Arc::new(lists.finish())
}

fn spans(answers: &[Answer]) -> ArrayRef {
    let item = StructBuilder::new(
        tables::span_fields(),
        vec![Box::new(Int64Builder::new()), Box::new(Int64Builder::new()), Box::new(StringBuilder::new())],
    );
    let mut lists =
        ListBuilder::new(item).with_field(Field::new_list_field(DataType::Struct(tables::span_fields()), false));
    for answer in answers {
        for span in answer.spans.iter().flatten() {
            let fields = lists.values();
            let expect = "the fields are made with these builders";
            fields.field_builder::<Int64Builder>(0).expect(expect).append_value(span.start);
            fields.field_builder::<Int64Builder>(1).expect(expect).append_value(span.end);
            fields.field_builder::<StringBuilder>(2).expect(expect).append_value(&span.label);
            fields.append(true);
        }
        lists.append(answer.spans.is_some());
    }
    Arc::new(lists.finish())
}
