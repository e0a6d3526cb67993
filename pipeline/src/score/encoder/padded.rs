//! The encoder in tensors of Candle, padded to the longest text of a batch: for CUDA devices, and for whatever else Candle
//! computes on.

use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::kernels;
use super::shape::Shape;
use super::tokens::Tokens;
use super::weights::{self, Weights};

/// Added to the scores of padding: as good as minus infinity, and a number in bf16 too.
const MASKED: f32 = -1e9;

/// The weights on a device.
#[derive(Debug)]
pub(super) struct Padded {
    device: Device,
    precision: DType,
    n_heads: usize,
    words: Tensor,
    positions: Tensor,
    norm: candle_nn::LayerNorm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    attention: Linear,
    attention_output: Linear,
    attention_norm: candle_nn::LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: candle_nn::LayerNorm,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Of rows that are not in batches: one product, not one for each text.
    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        rows.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

impl Padded {
    /// Copies the weights to `device`, in `precision`.
    pub(super) fn new(shape: &Shape, weights: &Weights, device: &Device, precision: DType) -> Result<Self> {
        let hidden = shape.hidden_size;
        let matrix = |values: &[f32], width: usize| {
            Tensor::from_slice(values, (values.len() / width, width), device)?.to_dtype(precision)
        };
        let vector = |values: &[f32]| Tensor::from_slice(values, values.len(), device)?.to_dtype(precision);
        let norm = |norm: &kernels::LayerNorm| -> Result<candle_nn::LayerNorm> {
            Ok(candle_nn::LayerNorm::new(vector(&norm.scale)?, vector(&norm.shift)?, f64::from(norm.epsilon)))
        };
        let linear = |linear: &weights::Linear| -> Result<Linear> {
            Ok(Linear {
                weight: matrix(&linear.weight, linear.inputs)?.t()?.contiguous()?,
                bias: vector(&linear.bias)?,
            })
        };
        let layer = |layer: &weights::Layer| -> Result<Layer> {
            Ok(Layer {
                attention: linear(&layer.attention)?,
                attention_output: linear(&layer.attention_output)?,
                attention_norm: norm(&layer.attention_norm)?,
                intermediate: linear(&layer.intermediate)?,
                output: linear(&layer.output)?,
                output_norm: norm(&layer.output_norm)?,
            })
        };
        Ok(Self {
            device: device.clone(),
            precision,
            n_heads: shape.num_attention_heads,
            words: matrix(&weights.words, hidden)?,
            positions: matrix(&weights.positions, hidden)?,
            norm: norm(&weights.norm)?,
            layers: weights.layers.iter().map(layer).collect::<Result<_>>()?,
        })
    }

    /// The vectors of the tokens of `texts`: for each text as many rows as the longest has, of which those of its own tokens
    /// come first.
    pub(super) fn forward(&self, texts: &[&Tokens]) -> Result<(usize, Vec<f32>)> {
        let length = texts.iter().map(|text| text.ids.len()).max().unwrap_or_default();
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for text in texts {
            let n_padding = length - text.ids.len();
            ids.extend_from_slice(&text.ids);
            ids.extend(std::iter::repeat_n(0, n_padding));
            mask.extend(std::iter::repeat_n(0.0, text.ids.len()));
            mask.extend(std::iter::repeat_n(MASKED, n_padding));
        }
        let (n_texts, hidden) = (texts.len(), self.words.dim(1)?);
        let ids = Tensor::from_vec(ids, n_texts * length, &self.device)?;
        let mask = Tensor::from_vec(mask, (n_texts, 1, 1, length), &self.device)?.to_dtype(self.precision)?;
        let words = self.words.index_select(&ids, 0)?.reshape((n_texts, length, hidden))?;
        let rows = words.broadcast_add(&self.positions.narrow(0, 0, length)?)?.reshape((n_texts * length, hidden))?;
        let mut rows = self.norm.forward(&rows)?;
        for layer in &self.layers {
            let attended = self.attend(&layer.attention.forward(&rows)?, &mask, n_texts, length)?;
            rows = layer.attention_norm.forward(&(rows + layer.attention_output.forward(&attended)?)?)?;
            let inner = layer.intermediate.forward(&rows)?.gelu_erf()?;
            rows = layer.output_norm.forward(&(rows + layer.output.forward(&inner)?)?)?;
        }
        Ok((length, rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
    }

    fn attend(&self, attention: &Tensor, mask: &Tensor, n_texts: usize, length: usize) -> Result<Tensor> {
        let hidden = attention.dim(D::Minus1)? / 3;
        let parts = attention.reshape((n_texts, length, 3, self.n_heads, hidden / self.n_heads))?;
        let part = |index: usize| parts.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let scores = part(0)?.matmul(&part(1)?.transpose(2, 3)?)?.broadcast_add(mask)?;
        let context = softmax_last_dim(&scores)?.matmul(&part(2)?)?;
        context.transpose(1, 2)?.contiguous()?.reshape((n_texts * length, hidden))
    }
}
