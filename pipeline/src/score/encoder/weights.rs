//! The weights of a model: tensors by name out of `model.safetensors`, each of the shape that the config promises.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::folder::ModelFolder;
use super::kernels::LayerNorm;
use super::shape::Shape;
use crate::budget::Reservation;
use crate::context::Context;
use crate::{Error, Result};

/// The file of the weights.
pub(super) const WEIGHTS: &str = "model.safetensors";

/// A linear layer: `y = x * transposed weight + bias`, the weight as in the file: `outputs` rows of `inputs` values.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// One layer of the encoder.
#[derive(Debug)]
pub(super) struct Layer {
    /// Queries, keys and values side by side, the queries already divided by the root of the head's size.
    pub(super) attention: Linear,
    pub(super) attention_output: Linear,
    pub(super) attention_norm: LayerNorm,
    pub(super) intermediate: Linear,
    pub(super) output: Linear,
    pub(super) output_norm: LayerNorm,
}

/// All weights, in single precision.
#[derive(Debug)]
pub(super) struct Weights {
    /// Vectors of tokens.
    pub(super) words: Vec<f32>,
    /// Vectors of positions, that of the first token type added.
    pub(super) positions: Vec<f32>,
    pub(super) norm: LayerNorm,
    pub(super) layers: Vec<Layer>,
    /// For all of them.
    _reservation: Reservation,
}

impl Weights {
    /// Takes them out of the bytes of the file.
    ///
    /// # Errors
    /// `Error::Corrupt` for a file that is cut off, lacks a tensor, or has one of another shape or type;
    /// `Error::OverBudget`.
    pub(super) fn read(bytes: &[u8], shape: &Shape, folder: &ModelFolder, context: &Context) -> Result<Self> {
        let location = folder.display(WEIGHTS);
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| corrupt(&location, error.to_string()))?;
        let prefix = tensors.names().iter().any(|name| name.starts_with("bert.embeddings.")).then_some("bert.");
        let reader =
            Reader { tensors, location, prefix: prefix.unwrap_or_default(), epsilon: shape.layer_norm_eps as f32 };
        let mut reservation = context.budget.reserve("encoder");
        reservation.grow(n_values(shape) * size_of::<f32>())?;

        let hidden = shape.hidden_size;
        let mut positions =
            reader.tensor("embeddings.position_embeddings.weight", &[shape.max_position_embeddings, hidden])?;
        let types = reader.tensor("embeddings.token_type_embeddings.weight", &[shape.type_vocab_size, hidden])?;
        for row in positions.chunks_exact_mut(hidden) {
            row.iter_mut().zip(&types).for_each(|(value, of_type)| *value += of_type);
        }
        Ok(Self {
            words: reader.tensor("embeddings.word_embeddings.weight", &[shape.vocab_size, hidden])?,
            positions,
            norm: reader.norm("embeddings.LayerNorm", hidden)?,
            layers: (0..shape.num_hidden_layers).map(|n| reader.layer(n, shape)).collect::<Result<_>>()?,
            _reservation: reservation,
        })
    }
}

/// Values of all tensors that are read.
fn n_values(shape: &Shape) -> usize {
    let (hidden, inner) = (shape.hidden_size, shape.intermediate_size);
    let layer = hidden.saturating_mul(4 * hidden + 2 * inner + 9) + inner;
    let tables = hidden.saturating_mul(shape.vocab_size + shape.max_position_embeddings + 3);
    tables.saturating_add(layer.saturating_mul(shape.num_hidden_layers))
}

struct Reader<'a> {
    tensors: SafeTensors<'a>,
    location: String,
    prefix: &'static str,
    epsilon: f32,
}

impl Reader<'_> {
    fn layer(&self, number: usize, shape: &Shape) -> Result<Layer> {
        let (hidden, inner) = (shape.hidden_size, shape.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{number}.{part}");
        let mut query = self.linear(&name("attention.self.query"), hidden, hidden)?;
        let factor = 1.0 / (shape.head_size() as f32).sqrt();
        query.weight.iter_mut().chain(&mut query.bias).for_each(|value| *value *= factor);
        let key = self.linear(&name("attention.self.key"), hidden, hidden)?;
        let value = self.linear(&name("attention.self.value"), hidden, hidden)?;
        Ok(Layer {
            attention: side_by_side(&[query, key, value]),
            attention_output: self.linear(&name("attention.output.dense"), hidden, hidden)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), hidden)?,
            intermediate: self.linear(&name("intermediate.dense"), hidden, inner)?,
            output: self.linear(&name("output.dense"), inner, hidden)?,
            output_norm: self.norm(&name("output.LayerNorm"), hidden)?,
        })
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        Ok(Linear { weight, bias: self.tensor(&format!("{name}.bias"), &[outputs])?, inputs, outputs })
    }

    /// Files of the first BERT have other names for the same.
    fn norm(&self, name: &str, width: usize) -> Result<LayerNorm> {
        let is_old = self.tensors.tensor(&format!("{}{name}.gamma", self.prefix)).is_ok();
        let [scale, shift] = if is_old { ["gamma", "beta"] } else { ["weight", "bias"] };
        Ok(LayerNorm {
            scale: self.tensor(&format!("{name}.{scale}"), &[width])?,
            shift: self.tensor(&format!("{name}.{shift}"), &[width])?,
            epsilon: self.epsilon,
        })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = format!("{}{name}", self.prefix);
        let tensor =
            self.tensors.tensor(&name).map_err(|_| corrupt(&self.location, format!("there is no tensor `{name}`")))?;
        if tensor.shape() != shape {
            let message = format!("tensor `{name}` has the shape {:?}, the config says {shape:?}", tensor.shape());
            return Err(corrupt(&self.location, message));
        }
        let bytes = tensor.data();
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
            other => {
                return Err(corrupt(&self.location, format!("tensor `{name}` has values of type {other:?}")));
            }
        };
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(corrupt(&self.location, format!("tensor `{name}` has values that are no numbers")))
        }
    }
}

/// One layer that computes what several do of the same input.
fn side_by_side(layers: &[Linear]) -> Linear {
    Linear {
        weight: layers.iter().flat_map(|layer| &layer.weight).copied().collect(),
        bias: layers.iter().flat_map(|layer| &layer.bias).copied().collect(),
        inputs: layers[0].inputs,
        outputs: layers.iter().map(|layer| layer.outputs).sum(),
    }
}

fn corrupt(location: &str, message: String) -> Error {
    Error::Corrupt { location: location.to_owned(), format: "the weights that its config describes", message }
}
