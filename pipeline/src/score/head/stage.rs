//! An encoder with a head as a row-local stage.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use tamis_schemas::columns;

use super::{Head, HeadSettings};
use crate::Result;
use crate::context::Context;
use crate::score::LabelledText;
use crate::score::answers::{embedding_field, embeddings};
use crate::score::append::{append_columns, append_fields, required_column};
use crate::score::encoder::Encoder;
use crate::stage::MapStage;

/// A fitted scorer; a [`MapStage`] that appends what a head says of an encoder's embeddings, and these.
///
/// The columns are those of the [built-in scorer](crate::score::BuiltinScorer), with the encoder's embedding.
#[derive(Debug)]
pub struct EncoderScorer<'a> {
    encoder: Encoder,
    head: Head,
    n_labelled: usize,
    context: &'a Context,
}

impl<'a> EncoderScorer<'a> {
    /// Embeds the labelled texts and learns from them.
    ///
    /// # Determinism
    /// A function of the arguments, whatever the order of `labelled` and, on the CPU, the number of threads.
    ///
    /// # Errors
    /// Those of the encoder; `Error::Config` for a label that the task cannot have.
    pub fn fit(
        encoder: Encoder,
        labelled: &[LabelledText],
        settings: &HeadSettings,
        context: &'a Context,
    ) -> Result<Self> {
        let mut labelled: Vec<&LabelledText> = labelled.iter().collect();
        labelled.sort_unstable();
        let texts: Vec<&str> = labelled.iter().map(|one| one.text.as_str()).collect();
        let labels: Vec<&str> = labelled.iter().map(|one| one.label.as_str()).collect();
        let mut reservation = context.budget.reserve("scorer");
        reservation.grow(texts.len() * encoder.dimensions() * size_of::<f32>())?;
        let vectors = encoder.embed(&texts, context)?.vectors;
        let head = Head::fit(&vectors, encoder.dimensions(), &labels, settings, context)?;
        Ok(Self { encoder, head, n_labelled: labelled.len(), context })
    }

    /// Names of the classes, sorted.
    pub fn classes(&self) -> &[String] {
        self.head.answers.names()
    }

    /// Number of labelled texts it was fitted on.
    pub fn n_labelled(&self) -> usize {
        self.n_labelled
    }

    fn fields(&self) -> Vec<FieldRef> {
        let embedding = embedding_field(self.encoder.dimensions());
        self.head.answers.fields().into_iter().chain([embedding]).map(Arc::new).collect()
    }
}

impl MapStage for EncoderScorer<'_> {
    fn name(&self) -> &'static str {
        "score"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(append_fields(input, &self.fields()))
    }

    /// Scores `tamis_text`.
    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let texts = required_column(&batch, columns::TEXT, &DataType::Utf8)?.as_string::<i32>();
        let texts: Vec<&str> = texts.iter().map(Option::unwrap_or_default).collect();
        let vectors = self.encoder.embed(&texts, self.context)?.vectors;
        let dimensions = self.encoder.dimensions();
        let outputs = vectors.chunks_exact(dimensions).flat_map(|vector| self.head.outputs(vector)).collect();
        let mut arrays = self.head.answers.columns(outputs, texts.len())?;
        arrays.push(embeddings(&vectors, dimensions)?);
        append_columns(&batch, &self.fields(), arrays)
    }
}
