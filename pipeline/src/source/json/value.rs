//! Walking through JSON text without building values.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Calls `visit` for each entry of the object in `text`.
///
/// # Errors
/// If `text` is not one JSON object; some entries may have been visited then.
pub(super) fn try_for_each_entry<'a>(
    text: &'a str,
    visit: impl FnMut(Cow<'a, str>, &'a str),
) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Entries(visit))?;
    deserializer.end()
}

/// Calls `visit` for each entry of an object known to be valid.
pub(super) fn for_each_entry<'a>(text: &'a str, visit: impl FnMut(Cow<'a, str>, &'a str)) {
    try_for_each_entry(text, visit).expect("a part of valid JSON is valid");
}

/// Calls `visit` for each element of an array known to be valid.
pub(super) fn for_each_element<'a>(text: &'a str, visit: impl FnMut(&'a str)) {
    serde_json::Deserializer::from_str(text).deserialize_seq(Elements(visit)).expect("a part of valid JSON is valid");
}

/// Whether a string in valid JSON has an escape that stands for half a character.
pub(super) fn has_lone_surrogate(text: &str) -> bool {
    let bytes = text.as_bytes();
    let unit = |at: usize| {
        let is_escape = bytes.get(at..at + 2) == Some(b"\\u");
        is_escape.then(|| u16::from_str_radix(&text[at + 2..at + 6], 16).unwrap_or(0))
    };
    let mut position = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[position..]) {
        let at = position + found;
        position = match unit(at) {
            None => at + 2,
            Some(0xdc00..=0xdfff) => return true,
            Some(0xd800..=0xdbff) if !matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => return true,
            Some(0xd800..=0xdbff) => at + 12,
            Some(_) => at + 6,
        };
    }
    false
}

struct Entries<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de str)> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            (self.0)(key, map.next_value::<&RawValue>()?.get());
        }
        Ok(())
    }
}

/// A key: borrowed unless it has escapes. (`Cow<str>` alone is always owned in serde.)
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct Elements<F>(F);

impl<'de, F: FnMut(&'de str)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            (self.0)(element.get());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates() {
        let cases = [
            (r#""plain""#, false),
            (r#""\ud83d\ude00""#, false),
            (r#""\ud83d""#, true),
            (r#""\ude00""#, true),
            (r#""\ude00\ud83d""#, true),
            (r#""\ud83dx\ude00""#, true),
            (r#""\\ud83d""#, false),
            (r#""\\\ud83d""#, true),
            (r#""\u00e9\n\ud83d\ud83d\ude00""#, true),
            (r#"{"\ud83d":1}"#, true),
        ];
        for (text, expected) in cases {
            assert_eq!(has_lone_surrogate(text), expected, "{text}");
            // serde_json decides the same when it builds the string.
            if !text.starts_with('{') {
                assert_eq!(serde_json::from_str::<String>(text).is_err(), expected, "{text}");
            }
        }
    }

    #[test]
    fn entries_in_order() {
        let mut entries = Vec::new();
        let text = r#" {"a" : [1, 2] ,"\n": "x"} "#;
        try_for_each_entry(text, |key, value| entries.push((key.into_owned(), value))).unwrap();
        assert_eq!(entries, [("a".to_owned(), "[1, 2]"), ("\n".to_owned(), "\"x\"")]);
        for text in ["", "1", "[]", "{\"a\":1}x", "{\"a\":1}{}", "{\"a\":tru}", "{a:1}", "{\"a\":1,}", "{\"a\":\"\n\"}"]
        {
            assert!(try_for_each_entry(text, |_, _| ()).is_err(), "{text}");
        }
    }
}
