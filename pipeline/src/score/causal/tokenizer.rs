//! The tokenizer of a GGUF file.

use candle_core::Result;
use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

/// Candle's reading of the file, but for how words are divided where it knows no rule of the model's own: as in GPT-2 without a
/// space put before the text, and each digit by itself where the model was trained so.
pub(super) fn read(content: &Content) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_gguf(content)?;
    let rule = content.metadata.get("tokenizer.ggml.pre").and_then(|rule| rule.to_string().ok());
    let byte_level = ByteLevel::new(false, true, true);
    let division: Option<PreTokenizerWrapper> = match rule.map(String::as_str) {
        Some("qwen2" | "smaug-bpe" | "lfm2" | "llama3") => None,
        Some("smollm") => Some(Sequence::new(vec![Digits::new(true).into(), byte_level.into()]).into()),
        _ => Some(byte_level.into()),
    };
    if division.is_some() {
        tokenizer.with_pre_tokenizer(division);
    }
    Ok(tokenizer)
}
