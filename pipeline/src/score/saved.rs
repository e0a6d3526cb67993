//! A fitted scorer as a file, to be used without its labels.
//!
//! One file in the format of safetensors: the numbers as tensors, and what they mean as JSON under the key `tamis_scorer` of its
//! metadata. It is written whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::agreement::Agreement;
use super::answers::Answers;
use super::builtin::BuiltinScorer;
use super::cache::SharedEncoder;
use super::column::ColumnScorer;
use super::device::{DeviceChoice, ResolvedDevice, resolve};
use super::head::{EncoderScorer, Truncated};
use super::importance::ImportanceScorer;
use super::ngram::NgramScorer;
use crate::context::Context;
use crate::place::Place;
use crate::sink::hex;
use crate::stage::MapStage;
use crate::store::{Stores, is_url};
use crate::{Error, Result};

/// Name of the file in its folder.
pub const FILE: &str = "scorer.safetensors";
/// Its key in the metadata.
const KEY: &str = "tamis_scorer";
const VERSION: u32 = 1;

/// What the tensors mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    version: u32,
    tamis_version: String,
    pub(super) model: Model,
    pub(super) answers: Answers,
    pub(super) labelled_rows: usize,
    pub(super) agreement: Option<Agreement>,
}

/// What kind of scorer it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub(super) enum Model {
    /// The built-in one.
    Builtin {
        /// Features of a text that are looked at.
        max_features: usize,
        /// Of the projection that embeds, if one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
        /// Members of the committee, if one is asked; none if labels tell nothing apart.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        committee: Option<usize>,
    },
    /// A head on an encoder.
    Encoder {
        /// Where the encoder's model lies, as it was named.
        location: String,
        /// Of the encoder.
        fingerprint: String,
        /// What embeddings are multiplied by.
        scale: f32,
        /// Networks whose mean answers; none if labels tell nothing apart.
        n_members: usize,
        /// Layers of each.
        n_layers: usize,
        /// Whether they say what they disagree on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        committee: bool,
    },
    /// A head on embeddings that rows have in a column.
    Column {
        /// Name of the column.
        column: String,
        /// Components of an embedding.
        dimensions: usize,
        /// What embeddings are multiplied by.
        scale: f32,
        /// Networks whose mean answers; none if labels tell nothing apart.
        n_members: usize,
        /// Layers of each.
        n_layers: usize,
        /// Whether they say what they disagree on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        committee: bool,
    },
    /// Bits per byte under a byte n-gram model.
    Ngram,
    /// Importance for a target.
    Importance,
}

/// Numbers by name, of any shape.
#[derive(Debug, Default)]
pub(super) struct Tensors {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    /// For errors.
    location: String,
}

impl Tensors {
    pub(super) fn add(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), (Dtype::F32, shape.to_vec(), bytes));
    }

    pub(super) fn add_integers(&mut self, name: &str, values: &[u32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), (Dtype::U32, vec![values.len()], bytes));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Values of a tensor of two dimensions, and the second of these.
    pub(super) fn matrix(&self, name: &str) -> Result<(Vec<f32>, usize)> {
        match self.tensors.get(name) {
            Some((Dtype::F32, shape, bytes)) if shape.len() == 2 => Ok((self.floats(name, bytes)?, shape[1])),
            _ => Err(self.corrupt(&format!("it has no matrix `{name}`"))),
        }
    }

    /// Values of a tensor of one dimension.
    pub(super) fn vector(&self, name: &str) -> Result<Vec<f32>> {
        match self.tensors.get(name) {
            Some((Dtype::F32, shape, bytes)) if shape.len() == 1 => self.floats(name, bytes),
            _ => Err(self.corrupt(&format!("it has no vector `{name}`"))),
        }
    }

    pub(super) fn integers(&self, name: &str) -> Result<Vec<u32>> {
        match self.tensors.get(name) {
            Some((Dtype::U32, _, bytes)) => {
                Ok(bytes.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect())
            }
            _ => Err(self.corrupt(&format!("it has no integers `{name}`"))),
        }
    }

    fn floats(&self, name: &str, bytes: &[u8]) -> Result<Vec<f32>> {
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(self.corrupt(&format!("a number of `{name}` is not finite")))
        }
    }

    /// An error of the encoder that the scorer was learnt on, said to be one.
    pub(super) fn of_encoder(&self, encoder: &str, error: Error) -> Error {
        match error {
            Error::Config { message, hint } => Error::Config {
                message: format!("the scorer `{}` was learnt on the encoder `{encoder}`: {message}", self.location),
                hint,
            },
            other => other,
        }
    }

    /// An error that says what is wrong with the file.
    pub(super) fn corrupt(&self, message: &str) -> Error {
        Error::Corrupt { location: self.location.clone(), format: "a scorer of tamis", message: message.to_owned() }
    }
}

/// The bytes of a file.
pub(super) fn to_bytes(
    model: Model,
    answers: &Answers,
    labelled_rows: usize,
    agreement: Option<Agreement>,
    tensors: &Tensors,
) -> Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let header =
        Header { version: VERSION, tamis_version: version, model, answers: answers.clone(), labelled_rows, agreement };
    let invariant = |error: String| Error::Invariant(format!("the scorer cannot be written: {error}"));
    let header = serde_json::to_string(&header).map_err(|error| invariant(error.to_string()))?;
    let views = tensors.tensors.iter().map(|(name, (dtype, shape, bytes))| {
        Ok((
            name.as_str(),
            TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| invariant(error.to_string()))?,
        ))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), header)])))
        .map_err(|error| invariant(error.to_string()))
}

/// A scorer that was saved.
#[derive(Debug)]
pub struct SavedScorer {
    header: Header,
    tensors: Tensors,
    fingerprint: String,
}

impl SavedScorer {
    /// Reads the one in the folder or at the URL `location`; `None` if there is none.
    ///
    /// # Errors
    /// `Error::Corrupt` for a file that is cut off or not a scorer, `Error::Config` for one of a later version.
    pub fn read(location: &str, stores: &Stores, context: &Context) -> Result<Option<Self>> {
        Ok(Self::read_file(location, stores, context)?.map(|(_, saved)| saved))
    }

    /// The same with the bytes of its file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_file(location: &str, stores: &Stores, context: &Context) -> Result<Option<(Vec<u8>, Self)>> {
        if !is_url(location) && Path::new(location).is_file() {
            return Err(Error::Config {
                message: format!("the scorer `{location}` is a file, and a scorer is a folder"),
                hint: Some("name the folder that `tamis distill` wrote to, or that of an encoder; write gguf:FILE for a language model".into()),
            });
        }
        let place = Place::new(location, stores, context.runtime.handle())?;
        let Some(bytes) = place.read_if_there(FILE, &context.cancel)? else { return Ok(None) };
        let location = place.display(FILE);
        let saved = Self::from_bytes(&bytes, location)?;
        let is_kept = matches!(
            saved.header.model,
            Model::Builtin { seed: None, committee: None, .. } | Model::Encoder { committee: false, .. }
        );
        if !is_kept {
            return Err(saved.tensors.corrupt("it is of a kind that runs on a cluster hand on, and nobody keeps"));
        }
        Ok(Some((bytes.into(), saved)))
    }

    /// The scorer that the bytes of a file are; `location` names it in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn from_bytes(bytes: &[u8], location: String) -> Result<Self> {
        let corrupt =
            |message: String| Error::Corrupt { location: location.clone(), format: "a scorer of tamis", message };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| corrupt(error.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let header = header.ok_or_else(|| corrupt(format!("its metadata has no key `{KEY}`")))?;
        let version: Version = serde_json::from_str(header).map_err(|error| corrupt(error.to_string()))?;
        if version.version != VERSION {
            return Err(Error::Config {
                message: format!(
                    "`{location}` is a scorer of version {}, and this tamis reads {VERSION}",
                    version.version
                ),
                hint: Some("make it again with `tamis distill`".into()),
            });
        }
        let header = serde_json::from_str(header).map_err(|error| corrupt(error.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| corrupt(error.to_string()))?;
        let tensors = file
            .iter()
            .map(|(name, view)| (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
            .collect();
        let fingerprint = hex(&Sha256::digest(bytes)[..16]);
        Ok(Self { header, tensors: Tensors { tensors, location }, fingerprint })
    }

    /// What the answers mean.
    pub(crate) fn answers(&self) -> &Answers {
        &self.header.answers
    }

    /// Hash of the file.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Labelled texts it was fitted on.
    pub(crate) fn n_labelled(&self) -> usize {
        self.header.labelled_rows
    }

    /// Name of it in a manifest.
    pub(crate) fn name(&self) -> String {
        let kind = match self.header.model {
            Model::Builtin { .. } => "builtin",
            Model::Encoder { .. } => "encoder",
            Model::Column { .. } => "column",
            Model::Ngram => "ngram",
            Model::Importance => "dsir",
        };
        format!("distilled {kind} {}", self.fingerprint)
    }

    /// Makes it ready to score.
    ///
    /// # Errors
    /// `Error::Corrupt` if numbers are missing; those of the encoder, if it has one.
    pub(crate) fn open<'a>(
        self,
        device: DeviceChoice,
        cache: Option<&str>,
        stores: &Stores,
        context: &'a Context,
    ) -> Result<OpenedScorer<'a>> {
        let Self { header, tensors, .. } = self;
        let on_cpu = |scorer| OpenedScorer { scorer, device: ResolvedDevice::cpu(), truncated: None, encoder: None };
        match header.model {
            Model::Builtin { .. } => Ok(on_cpu(Box::new(BuiltinScorer::of_saved(header, &tensors, context)?))),
            Model::Column { .. } => Ok(on_cpu(Box::new(ColumnScorer::of_saved(header, &tensors)?))),
            Model::Ngram => Ok(on_cpu(Box::new(NgramScorer::of_saved(&tensors, context)?))),
            Model::Importance => Ok(on_cpu(Box::new(ImportanceScorer::of_saved(&tensors)?))),
            Model::Encoder { .. } => {
                let device = resolve(device)?;
                let scorer = EncoderScorer::of_saved(header, &tensors, &device, cache, stores, context)?;
                let (truncated, encoder) = (Some(scorer.truncated()), Some(scorer.encoder()));
                Ok(OpenedScorer { scorer: Box::new(scorer), device, truncated, encoder })
            }
        }
    }
}

/// A saved scorer that is ready.
#[derive(Debug)]
pub(crate) struct OpenedScorer<'a> {
    pub(crate) scorer: Box<dyn MapStage + 'a>,
    /// Where it computes.
    pub(crate) device: ResolvedDevice,
    /// Counts texts that are too long, if any are.
    pub(crate) truncated: Option<Truncated>,
    /// What it embeds with, if it does.
    pub(crate) encoder: Option<SharedEncoder>,
}

/// The part of the header that all versions have.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use tamis_schemas::columns;

    use super::*;
    use crate::context::{Cancel, Resources};
    use crate::score::{BuiltinSettings, LabelledText, Projection};

    const TEXTS: [&str; 4] = ["where is my new card", "my card was stolen", "a transfer by bank", "größere Straßen"];

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    /// Opens the file of a scorer; its answers must be those of the scorer, to texts that it has learnt and others.
    fn check(scorer: &dyn MapStage, bytes: &[u8], context: &Context) {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(TEXTS.into_iter().chain(["", "other words"])));
        let batch = RecordBatch::try_from_iter([(columns::TEXT, texts)]).unwrap();
        let expect = scorer.apply(batch.clone()).unwrap();
        let saved = SavedScorer::from_bytes(bytes, "here".into()).unwrap();
        let stores = Stores::new::<&str, &str>([]);
        let opened = saved.open(DeviceChoice::Cpu, None, &stores, context).unwrap();
        assert_eq!(opened.scorer.apply(batch.clone()).unwrap(), expect);
        assert_eq!(opened.scorer.output_schema(&batch.schema()).unwrap(), expect.schema());
    }

    /// The bytes with a tensor by another name.
    fn without(bytes: &[u8], tensor: &str) -> Vec<u8> {
        let (name, other) = (format!("\"{tensor}\""), format!("\"{}\"", "x".repeat(tensor.len())));
        let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).expect("it is there");
        [&bytes[..at], other.as_bytes(), &bytes[at + name.len()..]].concat()
    }

    #[test]
    fn every_kind_answers_as_before() {
        let context = &Context::new(&Resources::default(), Cancel::default()).unwrap();
        let stores = Stores::new::<&str, &str>([]);
        let refuses = |bytes: &[u8], tensor: &str| {
            let saved = SavedScorer::from_bytes(&without(bytes, tensor), "here".into()).unwrap();
            let refused = saved.open(DeviceChoice::Cpu, None, &stores, context).unwrap_err();
            assert!(matches!(refused, Error::Corrupt { .. }), "{tensor}: {refused}");
        };
        let (few, all) = (owned(&TEXTS[..2]), owned(&TEXTS));
        for scorer in [NgramScorer::of_pool(&all, context).unwrap(), NgramScorer::of_reference(&few, context).unwrap()]
        {
            let bytes = scorer.to_bytes().unwrap();
            check(&scorer, &bytes, context);
            for tensor in ["learnt", "contexts.3", "followed.5"] {
                refuses(&bytes, tensor);
            }
        }
        let scorer = ImportanceScorer::fit(&few, &all, context);
        let bytes = scorer.to_bytes().unwrap();
        check(&scorer, &bytes, context);
        refuses(&bytes, "log_ratios");
        for labels in [vec![], vec!["a"; 4], vec!["a", "b", "a", "b"]] {
            let labelled = TEXTS.iter().zip(&labels);
            let labelled: Vec<LabelledText> = labelled
                .map(|(&text, &label)| LabelledText { text: text.to_owned(), label: label.to_owned() })
                .collect();
            let scorer = BuiltinScorer::fit(&labelled, &all, &BuiltinSettings::default(), context).unwrap();
            let bytes = scorer.to_bytes().unwrap();
            check(&scorer, &bytes, context);
            refuses(&bytes, if scorer.has_learnt() { "bias" } else { "inverse_frequencies" });
            // As it is for selection: with a committee, and another projection.
            let settings = BuiltinSettings { committee: true, ..BuiltinSettings::default() };
            let scorer = BuiltinScorer::fit(&labelled, &all, &settings, context).unwrap();
            let scorer = scorer.embedding_by(Projection::of(&all, &settings));
            let bytes = scorer.to_bytes().unwrap();
            check(&scorer, &bytes, context);
            refuses(&bytes, "inverse_frequencies");
            if scorer.has_learnt() {
                refuses(&bytes, "members.4.bias");
            }
        }
    }
}
