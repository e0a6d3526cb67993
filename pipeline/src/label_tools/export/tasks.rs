//! What every tool is told of a row.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use serde_json::{Map, Value, json};
use tamis_schemas::columns;

use super::ExportSettings;
use crate::label_tools::{LABEL_SEPARATOR, MODEL_KEY, ROUND_KEY};
use crate::{Error, Result};

/// The rows of a batch.
#[derive(Debug)]
pub(super) struct Tasks<'a> {
    settings: &'a ExportSettings,
    ids: ArrayRef,
    texts: ArrayRef,
    ranks: Option<ArrayRef>,
    scores: Option<ArrayRef>,
    reasons: Option<ArrayRef>,
    labels: Option<ArrayRef>,
    probabilities: Option<ArrayRef>,
}

/// What a scorer holds a row for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Suggestion<'a> {
    /// Never empty; several where a row may have several.
    pub(super) labels: Vec<&'a str>,
    /// How sure it is, 0..=1.
    pub(super) confidence: Option<f64>,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task<'a> {
    pub(super) id: &'a str,
    pub(super) text: &'a str,
    pub(super) suggestion: Option<Suggestion<'a>>,
    /// `tamis_id` and the other facts under keys that start with `tamis_`: strings and numbers.
    pub(super) facts: Map<String, Value>,
}

impl<'a> Tasks<'a> {
    pub(super) fn of(batch: &RecordBatch, settings: &'a ExportSettings) -> Result<Self> {
        let optional = |name: &str, data_type: &DataType| -> Result<Option<ArrayRef>> {
            batch.column_by_name(name).map(|column| Ok(cast(column, data_type)?)).transpose()
        };
        Ok(Self {
            settings,
            ids: text_column(batch, columns::ID)?,
            texts: text_column(batch, &settings.text_column)?,
            ranks: optional(columns::RANK, &DataType::Int64)?,
            scores: optional(columns::SCORE, &DataType::Float64)?,
            reasons: optional(columns::REASON, &DataType::Utf8)?,
            labels: optional(columns::LABEL, &DataType::Utf8)?,
            probabilities: optional(columns::PROBABILITY, &DataType::Float32)?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Task<'_>> {
        (0..self.len()).map(|row| self.task(row))
    }

    /// Whether a row may have several labels, as far as suggestions show it.
    pub(super) fn have_several_labels(&self) -> bool {
        (0..self.len()).any(|row| self.suggestion(row).is_some_and(|suggestion| 1 < suggestion.labels.len()))
    }

    fn task(&self, row: usize) -> Task<'_> {
        let id = self.ids.as_string::<i32>().value(row);
        let suggestion = self.suggestion(row);
        let mut facts = Map::new();
        facts.insert(columns::ID.into(), id.into());
        facts.insert(ROUND_KEY.into(), self.settings.round.into());
        if let Some(ranks) = self.ranks.as_ref().filter(|ranks| ranks.is_valid(row)) {
            facts.insert(columns::RANK.into(), ranks.as_primitive::<Int64Type>().value(row).into());
        }
        if let Some(score) = number(self.scores.as_ref(), row) {
            facts.insert(columns::SCORE.into(), score.into());
        }
        if let Some(reason) = text(self.reasons.as_ref(), row) {
            facts.insert(columns::REASON.into(), reason.into());
        }
        if let Some(Suggestion { labels, confidence }) = &suggestion {
            facts.insert(columns::LABEL.into(), labels.join(LABEL_SEPARATOR).into());
            if let Some(confidence) = confidence {
                facts.insert(columns::PROBABILITY.into(), json!(confidence));
            }
            facts.insert(MODEL_KEY.into(), self.settings.model_version.as_str().into());
        }
        Task { id, text: self.texts.as_string::<i32>().value(row), suggestion, facts }
    }

    fn suggestion(&self, row: usize) -> Option<Suggestion<'_>> {
        let label = text(self.labels.as_ref(), row).filter(|label| !label.is_empty())?;
        Some(Suggestion { labels: self.labels_of(label), confidence: probability(self.probabilities.as_ref(), row) })
    }

    /// Several labels are told from one with the separator in its name by the classes.
    fn labels_of<'b>(&self, label: &'b str) -> Vec<&'b str> {
        let is_class = |label: &str| self.settings.classes.iter().any(|class| class == label);
        let several: Vec<&str> = label.split(LABEL_SEPARATOR).collect();
        if !is_class(label) && several.iter().all(|label| is_class(label)) { several } else { vec![label] }
    }
}

/// A column of text, with a value in each row.
fn text_column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let column = batch.column_by_name(name).ok_or_else(|| Error::Column {
        message: format!("the batch has no column `{name}`"),
        hint: nearest(batch, name),
    })?;
    let texts = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => cast(column, &DataType::Utf8)?,
        DataType::Dictionary(_, values) if **values == DataType::Utf8 => cast(column, &DataType::Utf8)?,
        other => {
            return Err(Error::Column {
                message: format!("column `{name}` of the batch has type {other}, expected text"),
                hint: None,
            });
        }
    };
    match (0..texts.len()).find(|row| texts.is_null(*row)) {
        Some(row) => Err(Error::Column {
            message: format!("column `{name}` of the batch is null in row {row}: there is nothing to label"),
            hint: None,
        }),
        None => Ok(texts),
    }
}

fn nearest(batch: &RecordBatch, name: &str) -> Option<String> {
    let schema = batch.schema();
    let nearest = schema.fields().iter().map(|field| (strsim::jaro_winkler(name, field.name()), field.name()));
    let (_, nearest) = nearest.max_by(|left, right| left.0.total_cmp(&right.0))?;
    Some(format!("its columns include `{nearest}`"))
}

fn text(array: Option<&ArrayRef>, row: usize) -> Option<&str> {
    let array = array?;
    array.is_valid(row).then(|| array.as_string::<i32>().value(row))
}

fn number(array: Option<&ArrayRef>, row: usize) -> Option<f64> {
    let array = array?;
    array.is_valid(row).then(|| array.as_primitive::<Float64Type>().value(row)).filter(|number| number.is_finite())
}

/// As short as the 32 bits allow: 0.9 stays 0.9.
fn probability(array: Option<&ArrayRef>, row: usize) -> Option<f64> {
    let array = array?;
    let value = array.is_valid(row).then(|| array.as_primitive::<Float32Type>().value(row))?;
    value.to_string().parse().ok().filter(|number: &f64| number.is_finite())
}
