//! The fitted scorer as a row-local stage.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use tamis_schemas::columns;

use super::ensemble::{Committee, MEMBER_DIMENSIONS, Prediction};
use super::features::FeatureHasher;
use super::projection::PROJECTED_DIMENSIONS;
use super::{BuiltinScorer, Model};
use crate::Result;
use crate::score::answers::{embedding_field, embeddings};
use crate::score::append::{append_columns, append_fields, required_column};
use crate::score::committee;
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
        let (mut outputs, mut vectors) = (Vec::new(), Vec::with_capacity(texts.len() * self.dimensions()));
        let mut of_members = Vec::new();
        let mut prediction = Prediction::default();
        let mut projected = [0.0; PROJECTED_DIMENSIONS];
        for text in texts {
            let buckets = hasher.buckets(text.unwrap_or_default());
            let vector = match &self.model {
                Model::Untrained(projection) => {
                    projection.embed(buckets, &mut projected);
                    &projected[..]
                }
                Model::Trained(ensemble) => {
                    ensemble.predict(buckets, &mut prediction);
                    outputs.extend_from_slice(&prediction.outputs);
                    if let Some(committee) = &self.committee {
                        committee.predict(&prediction, &mut of_members);
                    }
                    match &self.projection {
                        Some(projection) => {
                            projection.embed(buckets, &mut projected);
                            &projected[..]
                        }
                        None => &prediction.embedding,
                    }
                }
            };
            vectors.extend_from_slice(vector);
        }
        let mut arrays = self.answers.columns(outputs, texts.len())?;
        if self.asks_committee {
            let n_members = self.committee.as_ref().map_or(0, Committee::len);
            arrays.extend(self.answers.disagreement(of_members, n_members, texts.len())?);
        }
        arrays.push(embeddings(&vectors, self.dimensions())?);
        append_columns(&batch, &self.fields(), arrays)
    }
}

impl BuiltinScorer {
    /// Number of components of `tamis_embedding`.
    pub fn dimensions(&self) -> usize {
        match &self.model {
            Model::Trained(_) if self.projection.is_none() => MEMBER_DIMENSIONS,
            Model::Trained(_) | Model::Untrained(_) => PROJECTED_DIMENSIONS,
        }
    }

    /// The columns that are appended, in order.
    fn fields(&self) -> Vec<FieldRef> {
        let committee = self.asks_committee.then(committee::fields).into_iter().flatten();
        let embedding = embedding_field(self.dimensions());
        self.answers.fields().into_iter().chain(committee).chain([embedding]).map(Arc::new).collect()
    }
}
