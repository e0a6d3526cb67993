//! The columns that a scorer appends, made of what its model says.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float16Array, Float32Array, StringArray};
use arrow::datatypes::{DataType, Field};
use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};
use tamis_schemas::columns;

use super::Task;
use super::committee::Disagreement;
use super::targets::{Kind, Scale, Targets, sigmoid, softmax};
use crate::{Error, Result};

/// What the outputs of a model mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answers {
    names: Vec<String>,
    meaning: Meaning,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Meaning {
    /// Nothing was learned.
    Nothing,
    /// One class is all there is.
    OneClass,
    /// Logits of classes, divided by a temperature.
    Classes(f32),
    /// Logits of labels, divided by a temperature.
    MultiLabel(f32),
    Regression(Scale),
}

impl Answers {
    /// Of a scorer that had nothing to tell apart: no label, or one class only.
    pub(super) fn untrained(targets: Targets) -> Self {
        let meaning = if targets.names.is_empty() { Meaning::Nothing } else { Meaning::OneClass };
        Self { names: targets.names, meaning }
    }

    /// Of what answers with columns of its own.
    pub(super) fn none() -> Self {
        Self { names: Vec::new(), meaning: Meaning::Nothing }
    }

    /// Whether there was something to tell apart.
    pub(crate) fn tell_apart(&self) -> bool {
        !matches!(self.meaning, Meaning::Nothing | Meaning::OneClass)
    }

    /// Of a model that was trained on `targets`.
    pub(super) fn new(targets: &Targets, temperature: f32) -> Self {
        let meaning = match targets.kind {
            Kind::Classes { .. } => Meaning::Classes(temperature),
            Kind::MultiLabel { .. } => Meaning::MultiLabel(temperature),
            Kind::Regression { scale, .. } => Meaning::Regression(scale),
        };
        Self { names: targets.names.clone(), meaning }
    }

    /// Name of the task that was learned.
    pub(crate) fn task(&self) -> Task {
        match self.meaning {
            Meaning::Nothing | Meaning::OneClass | Meaning::Classes(_) => Task::Classes,
            Meaning::MultiLabel(_) => Task::MultiLabel,
            Meaning::Regression(_) => Task::Regression,
        }
    }

    /// Numbers that a model answers with, if it was trained.
    pub(super) fn n_outputs(&self) -> usize {
        self.names.len().max(1)
    }

    /// Names of the classes or labels, sorted.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The columns, in order; the embedding is not among them.
    pub(super) fn fields(&self) -> Vec<Field> {
        if let Meaning::Regression(_) = self.meaning {
            return vec![Field::new(columns::QUALITY, DataType::Float32, false)];
        }
        let mut fields = vec![Field::new(columns::LABEL, DataType::Utf8, true)];
        if !self.names.is_empty() {
            let names = serde_json::Value::from(self.names.clone()).to_string();
            let metadata = HashMap::from([(columns::CLASSES_KEY.to_owned(), names)]);
            let probabilities = list_of(DataType::Float32, self.names.len());
            fields.push(Field::new(columns::PROBABILITIES, probabilities, false).with_metadata(metadata));
        }
        fields.push(Field::new(columns::MARGIN, DataType::Float32, true));
        fields.push(Field::new(columns::ENTROPY, DataType::Float32, true));
        fields
    }

    /// The columns of `n_rows` rows; the outputs of the model lie row by row, and there are none where it has none.
    pub(super) fn columns(&self, mut outputs: Vec<f32>, n_rows: usize) -> Result<Vec<ArrayRef>> {
        match self.meaning {
            Meaning::Nothing => {
                let nulls: ArrayRef = Arc::new(Float32Array::new_null(n_rows));
                Ok(vec![Arc::new(StringArray::new_null(n_rows)), nulls.clone(), nulls])
            }
            Meaning::OneClass => {
                let labels = StringArray::from_iter_values(std::iter::repeat_n(&self.names[0], n_rows));
                let ones: ArrayRef = Arc::new(Float32Array::from(vec![1.0; n_rows]));
                let zeros = Arc::new(Float32Array::from(vec![0.0; n_rows]));
                let probabilities = fixed_size_list(DataType::Float32, 1, ones.clone())?;
                Ok(vec![Arc::new(labels), probabilities, ones, zeros])
            }
            Meaning::Classes(temperature) => {
                for row in outputs.chunks_exact_mut(self.names.len()) {
                    soften(row, temperature);
                }
                self.of_probabilities(outputs, |row| {
                    let [first, second] = top_two(row);
                    (self.names[first].clone(), row[first] - row[second], normalized_entropy(row))
                })
            }
            Meaning::MultiLabel(temperature) => {
                for output in &mut outputs {
                    *output = sigmoid(*output / temperature);
                }
                self.of_probabilities(outputs, |row| {
                    let likely = row.iter().zip(&self.names).filter(|(p, _)| 0.5 <= **p);
                    let names: Vec<&str> = likely.map(|(_, name)| name.as_str()).collect();
                    let margin = row.iter().map(|p| (2.0 * p - 1.0).abs()).fold(1.0, f32::min);
                    (names.join(";"), margin, mean_entropy(row))
                })
            }
            Meaning::Regression(scale) => {
                let number = |output: &f32| (output * scale.deviation + scale.mean).clamp(scale.least, scale.most);
                Ok(vec![Arc::new(outputs.iter().map(number).collect::<Float32Array>())])
            }
        }
    }

    /// Texts and probabilities of classes, of texts and outputs; none if it answers with something else.
    pub(super) fn probabilities(&self, mut outputs: Vec<(usize, Vec<f32>)>) -> Vec<(usize, Vec<f32>)> {
        let Meaning::Classes(temperature) = self.meaning else { return Vec::new() };
        for (_, row) in &mut outputs {
            soften(row, temperature);
        }
        outputs
    }

    /// What members disagree on, row by row; `outputs` are those of all members for a row, and then those for the next one. Nulls where nothing was
    /// learned.
    ///
    /// # Errors
    /// `Error::Config` for a regression, which has no classes to disagree on.
    pub(super) fn disagreement(&self, mut outputs: Vec<f32>, n_members: usize, n_rows: usize) -> Result<Vec<ArrayRef>> {
        let (temperature, is_exclusive) = match self.meaning {
            Meaning::Classes(temperature) => (temperature, true),
            Meaning::MultiLabel(temperature) => (temperature, false),
            Meaning::Nothing | Meaning::OneClass => {
                return Ok(vec![Arc::new(Float32Array::new_null(n_rows)) as ArrayRef; 3]);
            }
            Meaning::Regression(_) => {
                return Err(Error::config("a committee answers with classes or labels, and the labels are numbers"));
            }
        };
        let n_outputs = self.names.len();
        let mut disagreement = Disagreement::default();
        for of_row in outputs.chunks_exact_mut(n_members * n_outputs) {
            for of_member in of_row.chunks_exact_mut(n_outputs) {
                for output in &mut *of_member {
                    *output /= temperature;
                }
                if is_exclusive {
                    softmax(of_member);
                } else {
                    for output in of_member {
                        *output = sigmoid(*output);
                    }
                }
            }
            disagreement.push(of_row, n_outputs, is_exclusive);
        }
        Ok(disagreement.columns())
    }

    /// Label, margin and entropy of each row by `describe`.
    fn of_probabilities(
        &self,
        probabilities: Vec<f32>,
        describe: impl Fn(&[f32]) -> (String, f32, f32),
    ) -> Result<Vec<ArrayRef>> {
        let n_rows = probabilities.len() / self.names.len();
        let (mut labels, mut margins, mut entropies) = (Vec::new(), Vec::new(), Vec::new());
        labels.reserve(n_rows);
        for row in probabilities.chunks_exact(self.names.len()) {
            let (label, margin, entropy) = describe(row);
            labels.push(label);
            margins.push(margin);
            entropies.push(entropy);
        }
        Ok(vec![
            Arc::new(StringArray::from_iter_values(labels)),
            fixed_size_list(DataType::Float32, self.names.len(), Arc::new(Float32Array::from(probabilities)))?,
            Arc::new(Float32Array::from(margins)),
            Arc::new(Float32Array::from(entropies)),
        ])
    }
}

/// Turns the logits of a row into probabilities.
fn soften(logits: &mut [f32], temperature: f32) {
    for logit in &mut *logits {
        *logit /= temperature;
    }
    softmax(logits);
}

/// Column of embeddings of a length.
pub(super) fn embedding_field(dimensions: usize) -> Field {
    Field::new(columns::EMBEDDING, list_of(DataType::Float16, dimensions), false)
}

/// Embeddings that lie row by row.
pub(super) fn embeddings(values: &[f32], dimensions: usize) -> Result<ArrayRef> {
    let mut halves = vec![f16::ZERO; values.len()];
    halves.convert_from_f32_slice(values);
    fixed_size_list(DataType::Float16, dimensions, Arc::new(Float16Array::from(halves)))
}

/// Indices of the highest and the second highest probability; of equals the earlier one. Equal indices if there is one.
pub(crate) fn top_two(probabilities: &[f32]) -> [usize; 2] {
    let best_but = |skipped: Option<usize>| {
        (0..probabilities.len())
            .filter(|&index| Some(index) != skipped)
            .reduce(|best, index| if probabilities[best] < probabilities[index] { index } else { best })
    };
    let first = best_but(None).unwrap_or(0);
    [first, best_but(Some(first)).unwrap_or(first)]
}

/// Entropy of the probabilities over that of as many equal ones, 0..=1.
fn normalized_entropy(probabilities: &[f32]) -> f32 {
    let entropy: f32 = probabilities.iter().filter(|&&p| 0.0 < p).map(|p| -p * p.ln()).sum();
    (entropy / (probabilities.len() as f32).ln()).clamp(0.0, 1.0)
}

/// Mean over labels of the entropy of having it or not, in bits, 0..=1.
fn mean_entropy(probabilities: &[f32]) -> f32 {
    let part = |p: f32| if 0.0 < p { -p * p.log2() } else { 0.0 };
    let sum: f32 = probabilities.iter().map(|&p| part(p) + part(1.0 - p)).sum();
    (sum / probabilities.len() as f32).clamp(0.0, 1.0)
}

fn list_of(item: DataType, length: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(item, false)), length as i32)
}

fn fixed_size_list(item: DataType, length: usize, values: ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(item, false));
    Ok(Arc::new(FixedSizeListArray::try_new(field, length as i32, values, None)?))
}
