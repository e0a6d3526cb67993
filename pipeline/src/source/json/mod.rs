//! JSON Lines: an object on each line.
//!
//! The survey walks each line once with `serde_json`, without building values: it checks all that makes a row a reject, adds
//! the types of the values, and takes text and id on the way. The typed scan skips the rows that the survey rejected and
//! gives the rest to arrow-json, which is laxer but right for what is left.

mod kind;
mod line;
mod rewrite;
mod survey;
mod typed;
mod value;

use serde_json::value::RawValue;

pub(super) use kind::Kind;
pub(super) use survey::decode_survey;
pub(super) use typed::decode_typed;

/// Writes a value as text, in pieces: a string stands for itself, anything else for its JSON text.
pub(super) fn write_json(value: &RawValue, mut write: impl FnMut(&str)) {
    let text = value.get();
    if text.starts_with('"') { value::write_string(text, write) } else { write(text) }
}
