//! The fitted scorer as a row-local stage.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use half::f16;
use tamis_schemas::columns;

use super::append::{append_columns, append_fields, required_column};
use super::builtin::{BuiltinScorer, Model};
use super::ensemble::{Ensemble, Prediction};
use super::features::FeatureHasher;
use super::projection::{PROJECTED_DIMENSIONS, Projection};
use crate::Result;
use crate::stage::MapStage;

impl MapStage for BuiltinScorer {
    fn name(&self) -> &'static str {
        "score"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(append_fields(input, &self.fields()))
    }

    /// Scores `tamis_text`; a row's result is its own, whatever else is in the batch.
    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let texts = required_column(&batch, columns::TEXT, &DataType::Utf8)?.as_string::<i32>();
        let mut hasher = FeatureHasher::new(self.max_features);
        let arrays = match &self.model {
            Model::Cold(projection) => {
                let nulls: ArrayRef = Arc::new(Float32Array::new_null(texts.len()));
                let labels = Arc::new(StringArray::new_null(texts.len()));
                vec![labels, nulls.clone(), nulls, project(projection, texts, &mut hasher)?]
            }
            Model::OneClass(projection) => {
                let labels = StringArray::from_iter_values(std::iter::repeat_n(&self.classes[0], texts.len()));
                let ones: ArrayRef = Arc::new(Float32Array::from(vec![1.0; texts.len()]));
                let zeros = Arc::new(Float32Array::from(vec![0.0; texts.len()]));
                let probabilities = fixed_size_list(DataType::Float32, 1, ones.clone())?;
                vec![Arc::new(labels), probabilities, ones, zeros, project(projection, texts, &mut hasher)?]
            }
            Model::Trained(ensemble) => predict(ensemble, &self.classes, texts, &mut hasher)?,
        };
        append_columns(&batch, &self.fields(), arrays)
    }
}

impl BuiltinScorer {
    /// Number of components of `tamis_embedding`.
    pub fn dimensions(&self) -> usize {
        match &self.model {
            Model::Cold(_) | Model::OneClass(_) => PROJECTED_DIMENSIONS,
            Model::Trained(ensemble) => ensemble.dimensions(),
        }
    }

    /// The columns that are appended, in order.
    fn fields(&self) -> Vec<FieldRef> {
        let mut fields = vec![Field::new(columns::LABEL, DataType::Utf8, true)];
        if !self.classes.is_empty() {
            let classes = serde_json::Value::from(self.classes.clone()).to_string();
            let metadata = HashMap::from([(columns::CLASSES_KEY.to_owned(), classes)]);
            let probabilities = list_of(DataType::Float32, self.classes.len());
            fields.push(Field::new(columns::PROBABILITIES, probabilities, false).with_metadata(metadata));
        }
        fields.push(Field::new(columns::MARGIN, DataType::Float32, true));
        fields.push(Field::new(columns::ENTROPY, DataType::Float32, true));
        fields.push(Field::new(columns::EMBEDDING, list_of(DataType::Float16, self.dimensions()), false));
        fields.into_iter().map(Arc::new).collect()
    }
}

/// Embeddings of texts without a trained model.
fn project(projection: &Projection, texts: &StringArray, hasher: &mut FeatureHasher) -> Result<ArrayRef> {
    let mut vector = [0.0; PROJECTED_DIMENSIONS];
    let mut values = Vec::with_capacity(texts.len() * PROJECTED_DIMENSIONS);
    for text in texts {
        projection.embed(hasher.buckets(text.unwrap_or_default()), &mut vector);
        values.extend(vector.iter().map(|&x| f16::from_f32(x)));
    }
    fixed_size_list(DataType::Float16, PROJECTED_DIMENSIONS, Arc::new(Float16Array::from(values)))
}

/// All columns of a trained model.
fn predict(
    ensemble: &Ensemble,
    classes: &[String],
    texts: &StringArray,
    hasher: &mut FeatureHasher,
) -> Result<Vec<ArrayRef>> {
    let mut prediction = Prediction::default();
    let mut labels = Vec::with_capacity(texts.len());
    let mut probabilities = Vec::with_capacity(texts.len() * classes.len());
    let mut margins = Vec::with_capacity(texts.len());
    let mut entropies = Vec::with_capacity(texts.len());
    let mut embeddings = Vec::with_capacity(texts.len() * ensemble.dimensions());
    for text in texts {
        ensemble.predict(hasher.buckets(text.unwrap_or_default()), &mut prediction);
        let [first, second] = top_two(&prediction.probabilities);
        labels.push(classes[first].as_str());
        margins.push(prediction.probabilities[first] - prediction.probabilities[second]);
        entropies.push(normalized_entropy(&prediction.probabilities));
        probabilities.extend_from_slice(&prediction.probabilities);
        embeddings.extend(prediction.embedding.iter().map(|&x| f16::from_f32(x)));
    }
    Ok(vec![
        Arc::new(StringArray::from_iter_values(labels)),
        fixed_size_list(DataType::Float32, classes.len(), Arc::new(Float32Array::from(probabilities)))?,
        Arc::new(Float32Array::from(margins)),
        Arc::new(Float32Array::from(entropies)),
        fixed_size_list(DataType::Float16, ensemble.dimensions(), Arc::new(Float16Array::from(embeddings)))?,
    ])
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

fn list_of(item: DataType, length: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(item, false)), length as i32)
}

fn fixed_size_list(item: DataType, length: usize, values: ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(item, false));
    Ok(Arc::new(FixedSizeListArray::try_new(field, length as i32, values, None)?))
}
