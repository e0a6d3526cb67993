//! Sizes of a language model, as its GGUF file says.

use candle_core::quantized::gguf_file::{Content, Value};

use crate::{Error, Result};

/// Sizes of a model of the Llama family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub(super) n_layers: usize,
    pub(super) hidden_size: usize,
    pub(super) n_heads: usize,
    /// Heads of keys and values, each for as many heads of queries.
    pub(super) n_key_heads: usize,
    pub(super) rope_base: f64,
    pub(super) epsilon: f32,
    /// Tokens that it was trained on at once.
    pub(super) context_tokens: usize,
}

impl Shape {
    /// # Errors
    /// `Error::Config` for a model of another family, `Error::Corrupt` for sizes that are not there or do not fit each other.
    pub(super) fn read(content: &Content, location: &str) -> Result<Self> {
        let file = Metadata { content, location };
        let family = file.text("general.architecture")?;
        if family != "llama" {
            return Err(Error::Config {
                message: format!("`{location}` is a model of the family `{family}`, and only `llama` is known here"),
                hint: Some("use a GGUF file of a model of the Llama family, for instance SmolLM2".into()),
            });
        }
        let hidden_size = file.number("llama.embedding_length")?;
        let n_heads = file.number("llama.attention.head_count")?;
        let shape = Self {
            n_layers: file.number("llama.block_count")?,
            hidden_size,
            n_heads,
            n_key_heads: file.number_or("llama.attention.head_count_kv", n_heads)?,
            rope_base: file.real_or("llama.rope.freq_base", 10_000.0)?,
            epsilon: file.real_or("llama.attention.layer_norm_rms_epsilon", 1e-5)? as f32,
            context_tokens: file.number("llama.context_length")?,
        };
        let n_rotated = file.number_or("llama.rope.dimension_count", hidden_size / n_heads.max(1))?;
        let fits = 0 < shape.n_key_heads
            && n_heads.is_multiple_of(shape.n_key_heads)
            && hidden_size.is_multiple_of(n_heads)
            && shape.head_size().is_multiple_of(2)
            && n_rotated == shape.head_size();
        if fits && 0 < shape.n_layers { Ok(shape) } else { Err(file.corrupt("its sizes do not fit each other".into())) }
    }

    pub(super) fn head_size(&self) -> usize {
        self.hidden_size / self.n_heads
    }
}

struct Metadata<'a> {
    content: &'a Content,
    location: &'a str,
}

impl Metadata<'_> {
    fn corrupt(&self, message: String) -> Error {
        Error::Corrupt { location: self.location.to_owned(), format: "the GGUF file of a language model", message }
    }

    fn value(&self, key: &str) -> Result<&Value> {
        self.content.metadata.get(key).ok_or_else(|| self.corrupt(format!("it does not say `{key}`")))
    }

    fn text(&self, key: &str) -> Result<&str> {
        let value = self.value(key)?;
        Ok(value.to_string().map_err(|_| self.corrupt(format!("`{key}` is no text")))?)
    }

    fn number(&self, key: &str) -> Result<usize> {
        let number = match self.value(key)? {
            Value::U8(n) => u64::from(*n),
            Value::U16(n) => u64::from(*n),
            Value::U32(n) => u64::from(*n),
            Value::U64(n) => *n,
            Value::I32(n) if *n >= 0 => *n as u64,
            Value::I64(n) if *n >= 0 => *n as u64,
            _ => return Err(self.corrupt(format!("`{key}` is no number"))),
        };
        // More would be no model, and products of sizes must not overflow.
        if 0 < number && number < 1 << 24 {
            Ok(number as usize)
        } else {
            Err(self.corrupt(format!("`{key}` is {number}")))
        }
    }

    fn number_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.content.metadata.contains_key(key) { self.number(key) } else { Ok(default) }
    }

    fn real_or(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.content.metadata.get(key) else { return Ok(default) };
        let real = match value {
            Value::F32(x) => f64::from(*x),
            Value::F64(x) => *x,
            _ => return Err(self.corrupt(format!("`{key}` is no number"))),
        };
        if real.is_finite() && 0.0 < real { Ok(real) } else { Err(self.corrupt(format!("`{key}` is {real}"))) }
    }
}
