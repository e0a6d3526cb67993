//! Encoders of the BERT family (MiniLM, E5, BGE, GTE): a text becomes a vector of length 1, as sentence-transformers makes it.
//!
//! ```text
//! text -> thin -> tokens -> packed (CPU) or padded (CUDA) -> a vector a token -> pooled, normalised
//! ```
//!
//! `folder` finds the files of a model, `shape` and `weights` read them, `tokens` and `thin` make tokens, `packed`
//! computes with `product` and `kernels`, `padded` with Candle.

mod folder;
mod halving;
mod kernels;
mod packed;
mod padded;
mod pooled;
pub(crate) mod product;
mod shape;
#[cfg(test)]
mod tests;
mod thin;
mod tokens;
mod weights;

use std::sync::atomic::AtomicUsize;

use candle_core::{DType, Device};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::device::ResolvedDevice;
use crate::context::Context;
use crate::sink::hex;
use crate::store::Stores;
use crate::{Error, Result};

use folder::ModelFolder;
use packed::Packed;
use padded::Padded;
use pooled::pool;
use shape::{Description, Pooling};
use tokens::{TOKENIZER, TextTokenizer, Tokens};
use weights::{WEIGHTS, Weights};

/// Texts that a device gets at once, at first.
const BATCH_TEXTS: usize = 256;

/// What a device computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Brain floating point, for CUDA devices: half the memory, and vectors that differ in the third digit.
    Bf16,
}

/// How an encoder is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncoderOptions {
    /// Tokens of a text, those at its ends included; further ones are cut off. Default: what the model's files say.
    pub max_tokens: Option<usize>,
    /// What a CUDA device computes in.
    pub precision: Precision,
}

/// An encoder, ready.
#[derive(Debug)]
pub struct Encoder {
    tokenizer: TextTokenizer,
    model: Model,
    pooling: Pooling,
    dimensions: usize,
    fingerprint: String,
}

#[derive(Debug)]
enum Model {
    Packed(Box<Packed>),
    Padded { model: Box<Padded>, batch_texts: AtomicUsize },
}

/// The vectors of some texts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embedded {
    /// One after the other, [`Encoder::dimensions`] components each, of length 1.
    pub vectors: Vec<f32>,
    /// Whether each text had more tokens than the model takes.
    pub is_truncated: Vec<bool>,
    /// How many of them had.
    pub n_truncated: u64,
    /// Tokens of all texts, those at their ends included.
    pub n_tokens: u64,
}

impl Encoder {
    /// Opens the model at `location`: a folder or URL with `model.safetensors`, `tokenizer.json` and `config.json`, or `ORG/NAME`
    /// in the cache of the hub ([`Context::hub_cache`]). How tokens are pooled say `modules.json` and `1_Pooling/config.json`.
    ///
    /// # Memory
    /// The weights in single precision, and on the CPU activations of 512 tokens (or of the longest text) a thread, are held
    /// until the encoder is dropped.
    ///
    /// # Errors
    /// `Error::Config` for a model that is not there or not of the BERT family, `Error::Corrupt` for files that do not
    /// fit each other, `Error::OverBudget`, `Error::Model` if the device fails.
    pub fn open(
        location: &str,
        options: &EncoderOptions,
        device: &ResolvedDevice,
        stores: &Stores,
        context: &Context,
    ) -> Result<Self> {
        let is_cpu = matches!(device.device, Device::Cpu);
        if is_cpu && options.precision == Precision::Bf16 {
            return Err(Error::Config {
                message: "bf16 is for CUDA devices, and the encoder runs on the CPU".into(),
                hint: Some("use f32, or a device cuda:N".into()),
            });
        }
        let folder = ModelFolder::find(location, stores, context)?;
        let description = Description::read(&folder, options.max_tokens, context)?;
        let tokenizer_bytes = folder.read(TOKENIZER, context)?;
        let Description { shape, pooling, max_tokens, lower_case } = &description;
        let (pooling, max_tokens) = (*pooling, *max_tokens);
        let tokenizer = TextTokenizer::new(&tokenizer_bytes, max_tokens, shape.vocab_size, *lower_case, &folder)?;
        let mut reading = context.budget.reserve("encoder");
        reading.grow(folder.size(WEIGHTS)? as usize)?;
        let weight_bytes = folder.read(WEIGHTS, context)?;
        let weights = Weights::read(&weight_bytes, shape, &folder, context)?;
        let fingerprint = fingerprint(&description, options.precision, &[&tokenizer_bytes, &weight_bytes]);
        drop(weight_bytes);
        reading.free();
        let dimensions = shape.hidden_size;
        let model = if is_cpu {
            Model::Packed(Box::new(Packed::new(description.shape, weights, max_tokens, context)?))
        } else {
            let precision = match options.precision {
                Precision::F32 => DType::F32,
                Precision::Bf16 => DType::BF16,
            };
            let model = Padded::new(shape, &weights, &device.device, precision).map_err(device_error)?;
            Model::Padded { model: Box::new(model), batch_texts: AtomicUsize::new(BATCH_TEXTS) }
        };
        Ok(Self { tokenizer, model, pooling, dimensions, fingerprint })
    }

    /// Components of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// A name of all that the vectors depend on: weights, tokenizer, sizes, pooling, length and precision.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether the model knows any of the words of `text`: all texts of which it knows none have vectors that say nothing.
    ///
    /// # Errors
    /// `Error::Model` if the tokenizer fails.
    pub fn knows(&self, text: &str) -> Result<bool> {
        self.tokenizer.knows(text)
    }

    /// The vectors of `texts`, on all threads of `context`.
    ///
    /// # Determinism
    /// On the CPU, the vector of a text has the same bits whatever the other texts and the number of threads are. On a CUDA device it
    /// depends in its last digits on the texts that it is computed with.
    ///
    /// # Errors
    /// `Error::Interrupted`, `Error::Model` if the device fails, other than for want of memory: then it gets fewer texts at once.
    pub fn embed(&self, texts: &[&str], context: &Context) -> Result<Embedded> {
        context.pool.install(|| {
            let tokens = texts
                .par_iter()
                .with_min_len(16)
                .map(|text| context.cancel.check().and_then(|()| self.tokenizer.tokens(text)))
                .collect::<Result<Vec<Tokens>>>()?;
            let vectors = match &self.model {
                Model::Packed(model) => model.embed(&tokens, self.pooling, &context.cancel)?,
                Model::Padded { model, batch_texts } => self.embed_padded(model, batch_texts, &tokens, context)?,
            };
            let is_truncated: Vec<bool> = tokens.iter().map(|tokens| tokens.is_truncated).collect();
            Ok(Embedded {
                vectors,
                n_truncated: is_truncated.iter().filter(|&&is_truncated| is_truncated).count() as u64,
                is_truncated,
                n_tokens: tokens.iter().map(|tokens| tokens.ids.len() as u64).sum(),
            })
        })
    }

    /// Texts of like lengths together, so that little is padded; the longest first, so that memory is missing soon or never.
    fn embed_padded(
        &self,
        model: &Padded,
        batch_texts: &AtomicUsize,
        tokens: &[Tokens],
        context: &Context,
    ) -> Result<Vec<f32>> {
        let mut vectors = vec![0.0; tokens.len() * self.dimensions];
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&text| std::cmp::Reverse(tokens[text].ids.len()));
        let is_too_large =
            |error: &Stopped| matches!(error, Stopped::Device(error) if halving::is_out_of_memory(error));
        halving::in_batches(&order, batch_texts, is_too_large, |batch| {
            context.cancel.check().map_err(|_| Stopped::Interrupted)?;
            let texts: Vec<&Tokens> = batch.iter().map(|&text| &tokens[text]).collect();
            let (length, rows) = model.forward(&texts).map_err(Stopped::Device)?;
            for (&text, rows) in batch.iter().zip(rows.chunks_exact(length * self.dimensions)) {
                let rows = &rows[..tokens[text].ids.len() * self.dimensions];
                pool(rows, self.pooling, &mut vectors[text * self.dimensions..][..self.dimensions]);
            }
            Ok(())
        })
        .map_err(|stopped| match stopped {
            Stopped::Interrupted => Error::Interrupted,
            Stopped::Device(error) => device_error(error),
        })?;
        Ok(vectors)
    }
}

/// Why a batch on a device has no vectors.
enum Stopped {
    Interrupted,
    Device(candle_core::Error),
}

fn device_error(error: candle_core::Error) -> Error {
    Error::Model(Box::new(error))
}

fn fingerprint(description: &Description, precision: Precision, files: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{description:?} {precision:?}"));
    for file in files {
        digest.update((file.len() as u64).to_le_bytes());
        digest.update(file);
    }
    hex(&digest.finalize()[..16])
}
