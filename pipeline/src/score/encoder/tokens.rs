//! A text as the tokens that the model sees.

use std::borrow::Cow;

use tokenizers::models::ModelWrapper;
use tokenizers::{Tokenizer, TruncationParams};

use super::folder::ModelFolder;
use super::thin::Thinner;
use crate::{Error, Result};

/// The file of the tokenizer.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// A tokenizer without padding, and with the model's own length instead of the one that its file says.
#[derive(Debug)]
pub(super) struct TextTokenizer {
    tokenizer: Tokenizer,
    thinner: Thinner,
    lower_case: bool,
    /// In place of words that the vocabulary cannot spell.
    unknown: Option<u32>,
}

/// The tokens of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    /// Whether the text had more.
    pub(super) is_truncated: bool,
}

impl TextTokenizer {
    /// Reads the file's `bytes`.
    ///
    /// # Errors
    /// `Error::Corrupt` for a tokenizer of another kind, `Error::Config` for one whose tokens the model does not know.
    pub(super) fn new(
        bytes: &[u8],
        max_tokens: usize,
        vocab_size: usize,
        lower_case: bool,
        folder: &ModelFolder,
    ) -> Result<Self> {
        let location = folder.display(TOKENIZER);
        let corrupt = |message: String| Error::Corrupt { location: location.clone(), format: "a tokenizer", message };
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| corrupt(error.to_string()))?;
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else {
            return Err(corrupt("its model is not WordPiece, which the models of the BERT family have".into()));
        };
        let max_word_chars = model.max_input_chars_per_word;
        let unknown = tokenizer.token_to_id(&model.unk_token);
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or_default() as usize;
        if vocab_size <= largest {
            return Err(Error::Config {
                message: format!("`{location}` has a token {largest}, and the model knows {vocab_size}"),
                hint: Some("the tokenizer is of another model: take the one that lies beside the weights".into()),
            });
        }
        let added = tokenizer.get_added_vocabulary().get_vocab().keys();
        let thinner = Thinner::new(max_tokens, max_word_chars, added.map(String::as_str));
        let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        tokenizer.with_padding(None);
        tokenizer.with_truncation(Some(truncation)).map_err(|error| corrupt(error.to_string()))?;
        let tokenizer = Self { tokenizer, thinner, lower_case, unknown };
        if tokenizer.tokens("")?.ids.len() < 2 {
            return Err(corrupt(
                "it puts no token before and after a text, as the models of the BERT family need".into(),
            ));
        }
        Ok(tokenizer)
    }

    /// The tokens of `text`, at most as many as the model takes.
    ///
    /// # Cost
    /// Bounded whatever the length of the text: of a long one only what these tokens come from is looked at.
    pub(super) fn tokens(&self, text: &str) -> Result<Tokens> {
        self.tokens_of_all(&self.thinner.thin(text))
    }

    /// The same, of a text that is not too long.
    pub(super) fn tokens_of_all(&self, text: &str) -> Result<Tokens> {
        let text = if self.lower_case { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) };
        let encoding = self.tokenizer.encode_fast(text.as_ref(), true).map_err(Error::Model)?;
        Ok(Tokens { ids: encoding.get_ids().to_vec(), is_truncated: !encoding.get_overflowing().is_empty() })
    }

    /// Whether the vocabulary can spell any of the words of `text` that the model sees.
    pub(super) fn knows(&self, text: &str) -> Result<bool> {
        let ids = self.tokens(text)?.ids;
        // The first and the last stand before and after every text.
        Ok(ids[1..ids.len() - 1].iter().any(|&id| Some(id) != self.unknown))
    }
}
