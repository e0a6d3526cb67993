//! The forward pass, by Candle's own operations: on the CPU and on CUDA devices alike.

use std::io::Cursor;

use candle_core::quantized::gguf_file::Content;
use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{log_softmax, rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::rope_i;

use super::shape::Shape;

/// Rows of the last product, which has a column for each word of the vocabulary, that are made at a time.
const LOGIT_ROWS: usize = 64;

/// A model of the Llama family in single precision.
#[derive(Debug)]
pub(super) struct Model {
    shape: Shape,
    /// `[vocabulary, hidden]`.
    words: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `[vocabulary, hidden]`; often the words themselves.
    output: Tensor,
    /// Of each position and pair of components, `[positions, head / 2]`.
    cos: Tensor,
    sin: Tensor,
}

/// Weights are `[outputs, inputs]`.
#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_output: Tensor,
    inner_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

/// Tensors of a file, made to what a device computes with.
struct Tensors<'a> {
    content: &'a Content,
    bytes: Cursor<&'a [u8]>,
    device: &'a Device,
}

impl Tensors<'_> {
    fn get(&mut self, name: &str, sizes: &[usize]) -> Result<Tensor> {
        let tensor = self.content.tensor(&mut self.bytes, name, self.device)?.dequantize(self.device)?;
        if tensor.dims() == sizes {
            Ok(tensor)
        } else {
            candle_core::bail!("`{name}` has the sizes {:?}, not {sizes:?}", tensor.dims())
        }
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor> {
        self.get(name, &[length])
    }

    /// Of any number of outputs.
    fn matrix(&mut self, name: &str, inputs: usize) -> Result<Tensor> {
        let outputs = match self.content.tensor_infos.get(name) {
            Some(info) => info.shape.dims().first().copied().unwrap_or_default(),
            None => candle_core::bail!("there is no `{name}`"),
        };
        self.get(name, &[outputs, inputs])
    }
}

impl Model {
    /// Reads all weights, for texts of `max_tokens` tokens.
    pub(super) fn read(
        content: &Content,
        bytes: &[u8],
        shape: Shape,
        max_tokens: usize,
        device: &Device,
    ) -> Result<Self> {
        let hidden = shape.hidden_size;
        let (head, keys) = (shape.head_size(), shape.n_key_heads * shape.head_size());
        let mut tensors = Tensors { content, bytes: Cursor::new(bytes), device };
        let words = tensors.matrix("token_embd.weight", hidden)?;
        let output = match content.tensor_infos.get("output.weight") {
            Some(_) => tensors.get("output.weight", words.dims())?,
            None => words.clone(),
        };
        let layers = (0..shape.n_layers)
            .map(|layer| {
                let name = |part: &str| format!("blk.{layer}.{part}.weight");
                let gate = tensors.matrix(&name("ffn_gate"), hidden)?;
                let inner = gate.dim(0)?;
                Ok(Layer {
                    attention_norm: tensors.vector(&name("attn_norm"), hidden)?,
                    query: tensors.get(&name("attn_q"), &[hidden, hidden])?,
                    key: tensors.get(&name("attn_k"), &[keys, hidden])?,
                    value: tensors.get(&name("attn_v"), &[keys, hidden])?,
                    attention_output: tensors.get(&name("attn_output"), &[hidden, hidden])?,
                    inner_norm: tensors.vector(&name("ffn_norm"), hidden)?,
                    up: tensors.get(&name("ffn_up"), &[inner, hidden])?,
                    down: tensors.get(&name("ffn_down"), &[hidden, inner])?,
                    gate,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let norm = tensors.vector("output_norm.weight", hidden)?;
        let angles: Vec<f32> = (0..max_tokens)
            .flat_map(|position| {
                let base = shape.rope_base;
                (0..head / 2).map(move |pair| (position as f64 * base.powf(-2.0 * pair as f64 / head as f64)) as f32)
            })
            .collect();
        let angles = Tensor::from_vec(angles, (max_tokens, head / 2), device)?;
        Ok(Self { shape, words, layers, norm, output, cos: angles.cos()?, sin: angles.sin()? })
    }

    /// Words of the vocabulary.
    pub(super) fn vocabulary_size(&self) -> Result<usize> {
        self.words.dim(0)
    }

    /// The natural logarithm of the probability of each token but the first, given those before it.
    pub(super) fn log_probabilities(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let n = tokens.len() - 1;
        let device = self.words.device();
        let mut rows = self.words.index_select(&Tensor::new(&tokens[..n], device)?, 0)?;
        let later: Vec<f32> = (0..n * n).map(|at| if at / n < at % n { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(later, (n, n), device)?;
        for layer in &self.layers {
            rows = self.layer(layer, &rows, &mask)?;
        }
        let rows = rms_norm(&rows, &self.norm, self.shape.epsilon)?;
        let next = Tensor::new(&tokens[1..], device)?.unsqueeze(1)?;
        let mut found = Vec::with_capacity(n);
        for start in (0..n).step_by(LOGIT_ROWS) {
            let n_rows = LOGIT_ROWS.min(n - start);
            let logits = rows.narrow(0, start, n_rows)?.matmul(&self.output.t()?)?;
            let of_next = log_softmax(&logits, D::Minus1)?.gather(&next.narrow(0, start, n_rows)?, 1)?;
            found.extend(of_next.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(found)
    }

    /// `rows` is `[tokens, hidden]`.
    fn layer(&self, layer: &Layer, rows: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let Shape { n_heads, n_key_heads, epsilon, .. } = self.shape;
        let (n, head) = (rows.dim(0)?, self.shape.head_size());
        let (cos, sin) = (self.cos.narrow(0, 0, n)?, self.sin.narrow(0, 0, n)?);
        let normed = rms_norm(rows, &layer.attention_norm, epsilon)?;
        // `[1, heads, tokens, head]`
        let heads = |weight: &Tensor, n_heads: usize| {
            normed.matmul(&weight.t()?)?.reshape((1, n, n_heads, head))?.transpose(1, 2)?.contiguous()
        };
        let shared = |of_keys: Tensor| {
            let each = n_heads / n_key_heads;
            of_keys.unsqueeze(2)?.expand((1, n_key_heads, each, n, head))?.reshape((1, n_heads, n, head))
        };
        let query = rope_i(&heads(&layer.query, n_heads)?, &cos, &sin)?;
        let key = shared(rope_i(&heads(&layer.key, n_key_heads)?, &cos, &sin)?)?;
        let value = shared(heads(&layer.value, n_key_heads)?)?;
        let scores = (query.matmul(&key.t()?)? * (head as f64).powf(-0.5))?.broadcast_add(mask)?;
        let seen = softmax_last_dim(&scores)?.matmul(&value)?;
        let seen = seen.transpose(1, 2)?.reshape((n, n_heads * head))?;
        let rows = (rows + seen.matmul(&layer.attention_output.t()?)?)?;
        let normed = rms_norm(&rows, &layer.inner_norm, epsilon)?;
        let inner = (silu(&normed.matmul(&layer.gate.t()?)?)? * normed.matmul(&layer.up.t()?)?)?;
        rows + inner.matmul(&layer.down.t()?)?
    }
}
