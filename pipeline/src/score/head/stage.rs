//! An encoder with a head as a row-local stage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use tamis_schemas::columns;

use super::{Head, HeadSettings};
use crate::context::Context;
use crate::score::LabelledText;
use crate::score::agreement::Agreement;
use crate::score::append::{append_columns, append_fields, required_column};
use crate::score::builtin::sorted_places;
use crate::score::cache::SharedEncoder;
use crate::score::device::ResolvedDevice;
use crate::score::encoder::{Encoder, EncoderOptions};
use crate::score::saved::{self, Header, Tensors};
use crate::stage::MapStage;
use crate::store::Stores;
use crate::{Error, Result};

/// A fitted scorer; a [`MapStage`] that appends what a head says of an encoder's embeddings, and these.
///
/// The columns are those of the [built-in scorer](crate::score::BuiltinScorer), with the encoder's embedding.
#[derive(Debug)]
pub struct EncoderScorer<'a> {
    encoder: SharedEncoder,
    /// Where its model lies.
    location: String,
    head: Head,
    n_labelled: usize,
    /// Place among the labelled texts as given of each that the head has learnt from.
    order: Vec<usize>,
    /// Labelled texts that were longer than the encoder takes.
    n_labelled_truncated: u64,
    truncated: Truncated,
    context: &'a Context,
}

/// Counts texts that were longer than an encoder takes.
#[derive(Debug, Clone, Default)]
pub struct Truncated(Arc<AtomicU64>);

impl Truncated {
    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins anew.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl<'a> EncoderScorer<'a> {
    /// Embeds the labelled texts and learns from them. The model of `encoder` lies at `location`.
    ///
    /// # Determinism
    /// A function of the arguments, whatever the order of `labelled` and, on the CPU, the number of threads.
    ///
    /// # Errors
    /// Those of the encoder; `Error::Config` for a label that the task cannot have.
    pub fn fit(
        encoder: SharedEncoder,
        location: &str,
        labelled: &[LabelledText],
        settings: &HeadSettings,
        context: &'a Context,
    ) -> Result<Self> {
        let order = sorted_places(labelled);
        let labelled: Vec<&LabelledText> = order.iter().map(|&place| &labelled[place]).collect();
        let texts: Vec<&str> = labelled.iter().map(|one| one.text.as_str()).collect();
        let labels: Vec<&str> = labelled.iter().map(|one| one.label.as_str()).collect();
        let mut reservation = context.budget.reserve("scorer");
        let dimensions = encoder.encoder().dimensions();
        reservation.grow(texts.len() * dimensions * size_of::<f32>())?;
        let embedded = encoder.embed(&texts, context)?;
        let (vectors, n_labelled_truncated) = (embedded.vectors, embedded.n_truncated);
        let head = Head::fit(&vectors, dimensions, &labels, settings, context)?;
        let (location, truncated) = (location.to_owned(), Truncated::default());
        let n_labelled = labelled.len();
        Ok(Self { encoder, location, head, n_labelled, order, n_labelled_truncated, truncated, context })
    }

    /// Names of the classes, sorted.
    pub fn classes(&self) -> &[String] {
        self.head.answers.names()
    }

    /// How well it agrees with the labels, by models that had not seen them; `None` for fewer than 50 labels.
    pub fn agreement(&self) -> Option<Agreement> {
        self.head.agreement
    }

    /// Index of labelled texts, in the order in which they were given, and probability of each class, by models that had not seen the text; taken
    /// once. None for fewer than 50 labels, for what is no class, and for a text that is alone with its class.
    pub(crate) fn take_left_out(&mut self) -> Vec<(usize, Vec<f32>)> {
        let left_out = self.head.take_left_out();
        left_out.into_iter().map(|(text, probabilities)| (self.order[text], probabilities)).collect()
    }

    /// Whether the labels told anything apart.
    pub fn has_learnt(&self) -> bool {
        self.head.has_learnt()
    }

    /// The scorer as a file, but for the encoder's model, which stays where it is.
    ///
    /// # Errors
    /// `Error::Invariant`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.head.to_bytes(self.n_labelled, |scale, [n_members, n_layers], committee| saved::Model::Encoder {
            location: self.location.clone(),
            fingerprint: self.encoder.encoder().fingerprint().to_owned(),
            scale,
            n_members,
            n_layers,
            committee,
        })
    }

    /// The scorer that a file holds, with the encoder that it names.
    ///
    /// # Errors
    /// `Error::Corrupt` if something is missing in it, `Error::Config` if the encoder is another one; those of the encoder.
    pub(in crate::score) fn of_saved(
        header: Header,
        tensors: &Tensors,
        device: &ResolvedDevice,
        cache: Option<&str>,
        stores: &Stores,
        context: &'a Context,
    ) -> Result<Self> {
        let saved::Model::Encoder { location, fingerprint, scale, n_members, n_layers, committee } =
            header.model.clone()
        else {
            return Err(tensors.corrupt("it is another scorer"));
        };
        let encoder = Encoder::open(&location, &EncoderOptions::default(), device, stores, context)
            .map_err(|error| tensors.of_encoder(&location, error))?;
        if encoder.fingerprint() != fingerprint {
            return Err(Error::Config {
                message: format!(
                    "the scorer was learnt on the encoder {fingerprint}, and `{location}` is {}",
                    encoder.fingerprint()
                ),
                hint: Some("put the model that it was learnt on there, or learn it again with `tamis distill`".into()),
            });
        }
        let n_labelled = header.labelled_rows;
        let head = Head::of_saved(header, ([n_members, n_layers], committee), scale, encoder.dimensions(), tensors)?;
        let encoder = SharedEncoder::open(encoder, cache, stores, context)?;
        let truncated = Truncated::default();
        let (order, n_labelled_truncated) = (Vec::new(), 0);
        Ok(Self { encoder, location, head, n_labelled, order, n_labelled_truncated, truncated, context })
    }

    /// What it embeds with, to be finished once all is scored.
    pub(crate) fn encoder(&self) -> SharedEncoder {
        self.encoder.clone()
    }

    /// Counts the texts that are scored and longer than the encoder takes.
    pub fn truncated(&self) -> Truncated {
        self.truncated.clone()
    }

    /// Number of labelled texts that were longer than the encoder takes.
    pub fn n_labelled_truncated(&self) -> u64 {
        self.n_labelled_truncated
    }

    /// Number of labelled texts it was fitted on.
    pub fn n_labelled(&self) -> usize {
        self.n_labelled
    }

    fn fields(&self) -> Vec<FieldRef> {
        self.head.fields(self.encoder.encoder().dimensions()).into_iter().map(Arc::new).collect()
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
        let embedded = self.encoder.embed(&texts, self.context)?;
        self.truncated.0.fetch_add(embedded.n_truncated, Ordering::Relaxed);
        let arrays = self.head.columns(&embedded.vectors, self.encoder.encoder().dimensions())?;
        append_columns(&batch, &self.fields(), arrays)
    }
}
