//! Offsets of spans, from the unit of a tool to bytes.

use super::answer::Span;

/// What a tool counts when it says where a span begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes of UTF-8: ours.
    Bytes,
    /// Code units of UTF-16, as JavaScript counts: Label Studio and doccano.
    Utf16,
    /// Code points, as Python counts: Prodigy and Argilla.
    CodePoints,
}

impl Unit {
    fn of(self, character: char) -> u64 {
        match self {
            Self::Bytes => character.len_utf8() as u64,
            Self::Utf16 => character.len_utf16() as u64,
            Self::CodePoints => 1,
        }
    }

    /// The byte at which the character begins that `offset` units come before; the length of the text at its end.
    ///
    /// `None` beyond the end, and within a character.
    fn byte(self, text: &str, offset: u64) -> Option<usize> {
        let mut n_units = 0;
        for (byte, character) in text.char_indices() {
            if offset <= n_units {
                return (offset == n_units).then_some(byte);
            }
            n_units += self.of(character);
        }
        (offset == n_units).then_some(text.len())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Utf16 => "UTF-16 code units",
            Self::CodePoints => "code points",
        }
    }

    /// The span in bytes; the error says why there is none.
    pub(super) fn span(self, text: &str, start: u64, end: u64, label: String) -> Result<Span, String> {
        let bytes = self.byte(text, start).zip(self.byte(text, end)).filter(|(start, end)| start <= end);
        let Some((start, end)) = bytes else {
            let n_units: u64 = text.chars().map(|character| self.of(character)).sum();
            return Err(format!(
                "the span {start}..{end} of `{label}` is not one of whole characters in a text of {n_units} {}",
                self.name()
            ));
        };
        Ok(Span { start: start as i64, end: end as i64, label })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(unit: Unit, text: &str, start: u64, end: u64) -> Option<&str> {
        let span = unit.span(text, start, end, "x".into()).ok()?;
        Some(&text[span.start as usize..span.end as usize])
    }

    #[test]
    fn offsets_of_the_tools_are_of_the_same_word() {
        // HumanSignal/label-studio#1347 and doccano/doccano#2290.
        let (pile, firemen) = ("💩This is an annotation.", "👨🏻\u{200d}🚒 firemen drive firetrucks");
        for (unit, text, start, end, word) in [
            (Unit::Utf16, pile, 13, 23, "annotation"),
            (Unit::CodePoints, pile, 12, 22, "annotation"),
            (Unit::Bytes, pile, 15, 25, "annotation"),
            (Unit::Utf16, firemen, 22, 32, "firetrucks"),
            (Unit::CodePoints, firemen, 19, 29, "firetrucks"),
            (Unit::Utf16, pile, 0, 2, "💩"),
            (Unit::CodePoints, pile, 0, 1, "💩"),
            (Unit::Utf16, "", 0, 0, ""),
        ] {
            assert_eq!(found(unit, text, start, end), Some(word), "{unit:?} {start}..{end} of {text:?}");
        }
    }

    proptest! {
        /// Counted by the standard library instead.
        #[test]
        fn every_stretch_of_a_text_is_found(text in "(\\PC|[a-z💩👨🏻\u{200d}é\n]){0,12}", a in 0usize..13, b in 0usize..13) {
            let bounds: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
            let (a, b) = (bounds[a.min(bounds.len() - 1)], bounds[b.min(bounds.len() - 1)]);
            let (start, end) = (a.min(b), a.max(b));
            let utf16 = |end: usize| text[..end].encode_utf16().count() as u64;
            let code_points = |end: usize| text[..end].chars().count() as u64;
            prop_assert_eq!(found(Unit::Utf16, &text, utf16(start), utf16(end)), Some(&text[start..end]));
            prop_assert_eq!(found(Unit::CodePoints, &text, code_points(start), code_points(end)), Some(&text[start..end]));
            prop_assert_eq!(found(Unit::Bytes, &text, start as u64, end as u64), Some(&text[start..end]));
        }
    }

    #[test]
    fn what_is_no_span_is_told() {
        for (unit, text, start, end) in [
            (Unit::Utf16, "💩a", 1, 3),
            (Unit::Utf16, "💩a", 0, 4),
            (Unit::CodePoints, "💩a", 0, 3),
            (Unit::Bytes, "💩a", 1, 4),
            (Unit::CodePoints, "abc", 2, 1),
        ] {
            assert_eq!(found(unit, text, start, end), None, "{unit:?} {start}..{end} of {text:?}");
        }
    }
}
