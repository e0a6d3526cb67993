//! Bits per byte under a small language model.

mod model;
mod shape;
mod tokenizer;

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use candle_core::Device;
use candle_core::quantized::gguf_file::Content;
use rayon::prelude::*;
use tamis_schemas::columns;
use tokenizers::Tokenizer;

use self::model::Model;
use self::shape::Shape;
use super::append::{append_columns, append_fields, required_column};
use super::device::ResolvedDevice;
use crate::budget::Reservation;
use crate::context::Context;
use crate::place::Place;
use crate::stage::MapStage;
use crate::store::Stores;
use crate::{Error, Result};

/// Tokens of a text that are looked at: its beginning tells.
const MOST_TOKENS: usize = 512;
/// Bytes of it that tokens are made of.
const MOST_BYTES: usize = 32 << 10;
/// What a thread holds at once, in bytes, for models of up to some hundred million weights.
const THREAD_BYTES: usize = 96 << 20;

/// Appends `tamis_bits_per_byte`: how many bits a byte of the text takes under a causal language model of the Llama family, read
/// from a GGUF file with its tokenizer.
///
/// The first 512 tokens of a text are looked at, fewer if the model takes fewer: their bits over their bytes. Null for an
/// empty text.
///
/// # Cost
/// A model of 135 million weights: 540 MB of memory, and a few hundred tokens a second and core.
///
/// # Determinism
/// On one kind of device and instruction set a function of the text, whatever the rows around it.
#[derive(Debug)]
pub struct CausalScorer {
    model: Model,
    tokenizer: Tokenizer,
    /// What stands before the first token of a text.
    beginning: u32,
    max_tokens: usize,
    is_cpu: bool,
    _reservation: Reservation,
}

impl CausalScorer {
    /// Reads the GGUF file at a path or URL.
    ///
    /// # Errors
    /// `Error::Config` if there is none or it is of another family, `Error::Corrupt` if it is damaged, `Error::OverBudget`.
    pub fn open(location: &str, device: &ResolvedDevice, stores: &Stores, context: &Context) -> Result<Self> {
        let (place, name) = place_of(location, stores, context)?;
        let mut reading = context.budget.reserve("language model");
        reading.grow(place.size_if_there(name)?.unwrap_or_default() as usize)?;
        let bytes = place.read_if_there(name, &context.cancel)?.ok_or_else(|| missing(location))?;
        let corrupt = |error: &dyn std::fmt::Display| Error::Corrupt {
            location: location.to_owned(),
            format: "the GGUF file of a language model",
            // Candle adds a backtrace on further lines.
            message: error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        let content = Content::read(&mut Cursor::new(&bytes)).map_err(|error| corrupt(&error))?;
        let shape = Shape::read(&content, location)?;
        let beginning = content.metadata.get("tokenizer.ggml.bos_token_id").and_then(|id| id.to_u32().ok());
        let beginning = beginning.ok_or_else(|| corrupt(&"it does not say which token begins a text"))?;
        let tokenizer = tokenizer::read(&content).map_err(|error| corrupt(&error))?;
        let n_weights: usize = content.tensor_infos.values().map(|info| info.shape.elem_count()).sum();
        let mut reservation = context.budget.reserve("language model");
        let n_threads = if matches!(device.device, Device::Cpu) { context.pool.current_num_threads() } else { 1 };
        reservation.grow(n_weights * size_of::<f32>() + n_threads * THREAD_BYTES)?;
        // One position more, for what stands before the first token.
        let max_tokens = MOST_TOKENS.min(shape.context_tokens - 1);
        let model =
            Model::read(&content, &bytes, shape, max_tokens + 1, &device.device).map_err(|error| corrupt(&error))?;
        let n_words = model.vocabulary_size().map_err(|error| corrupt(&error))?;
        if n_words < tokenizer.get_vocab_size(true) || n_words <= beginning as usize {
            return Err(corrupt(&format!(
                "its tokenizer has {} tokens and its model knows {n_words}",
                tokenizer.get_vocab_size(true)
            )));
        }
        let is_cpu = matches!(device.device, Device::Cpu);
        Ok(Self { model, tokenizer, beginning, max_tokens, is_cpu, _reservation: reservation })
    }

    /// Hash of the GGUF file at a path or URL.
    ///
    /// # Errors
    /// `Error::Config` if there is none.
    pub(crate) fn digest(location: &str, stores: &Stores, context: &Context) -> Result<String> {
        let (place, name) = place_of(location, stores, context)?;
        let (_, digest) = place.digest(name, &context.cancel)?.ok_or_else(|| missing(location))?;
        Ok(digest)
    }

    fn field() -> [FieldRef; 1] {
        [Arc::new(Field::new(columns::BITS_PER_BYTE, DataType::Float32, true))]
    }

    fn score(&self, text: &str) -> Result<Option<f32>> {
        let text = &text[..text.floor_char_boundary(MOST_BYTES)];
        let encoding = self.tokenizer.encode(text, false).map_err(Error::Model)?;
        let n_tokens = encoding.get_ids().len().min(self.max_tokens);
        let Some(&(_, n_bytes)) = n_tokens.checked_sub(1).and_then(|last| encoding.get_offsets().get(last)) else {
            return Ok(None);
        };
        let tokens: Vec<u32> =
            std::iter::once(self.beginning).chain(encoding.get_ids()[..n_tokens].iter().copied()).collect();
        let logarithms = self.model.log_probabilities(&tokens).map_err(|error| Error::Model(Box::new(error)))?;
        let bits = -logarithms.iter().map(|&x| f64::from(x)).sum::<f64>() / std::f64::consts::LN_2;
        if !bits.is_finite() {
            return Err(Error::Model(
                "the language model answers with values that are no numbers: its file is damaged".into(),
            ));
        }
        Ok(Some((bits / n_bytes.max(1) as f64) as f32))
    }
}

/// The folder of a file, and its name in there.
fn place_of<'a>(location: &'a str, stores: &Stores, context: &Context) -> Result<(Place, &'a str)> {
    let (folder, name) = location.rsplit_once('/').unwrap_or((".", location));
    let folder = if folder.is_empty() { "/" } else { folder };
    Ok((Place::new(folder, stores, context.runtime.handle())?, name))
}

fn missing(location: &str) -> Error {
    Error::Config { message: format!("there is no `{location}`"), hint: Some("name a GGUF file: gguf:FILE".into()) }
}

impl MapStage for CausalScorer {
    fn name(&self) -> &'static str {
        "score"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(append_fields(input, &Self::field()))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let texts: &StringArray = required_column(&batch, columns::TEXT, &DataType::Utf8)?.as_string::<i32>();
        let score = |row: usize| if texts.is_null(row) { Ok(None) } else { self.score(texts.value(row)) };
        let scores: Vec<Option<f32>> = if self.is_cpu {
            (0..texts.len()).into_par_iter().with_max_len(1).map(score).collect::<Result<_>>()?
        } else {
            (0..texts.len()).map(score).collect::<Result<_>>()?
        };
        append_columns(&batch, &Self::field(), vec![Arc::new(Float32Array::from(scores))])
    }
}
