//! A place in JSON text that moves on over what it is told to expect.

use std::ops::Range;

use serde_json::value::RawValue;

use super::string::Unescaped;
use super::value::has_lone_surrogate;

/// A place in a line. What is not there as it should be is `None`, and the place of no use then.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    line: &'a str,
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { line, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The next byte that is not white space; `None` at the end.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = &self.line.as_bytes()[self.position..];
        let n_space = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        self.position += n_space.unwrap_or(bytes.len());
        bytes.get(n_space?).copied()
    }

    /// Moves over a byte, and the white space before it, if it is there.
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.position += 1)
    }

    /// Moves over a string of whole characters and adds its text; returns where the text is.
    pub(super) fn string(&mut self, unescaped: &mut Unescaped) -> Option<Range<usize>> {
        self.take(b'"')?;
        let start = unescaped.len();
        self.position = unescaped.push_string(self.line.as_bytes(), self.position)?;
        Some(start..unescaped.len())
    }

    /// Moves over a value that is not a string, of whole characters, and that begins here; returns its JSON text.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        let mut values = serde_json::Deserializer::from_str(&self.line[self.position..]).into_iter::<&RawValue>();
        let value = values.next()?.ok()?.get();
        self.position += value.len();
        (!has_lone_surrogate(value)).then_some(value)
    }
}
