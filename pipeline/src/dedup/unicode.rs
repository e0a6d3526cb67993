//! What each character means to the tokenizer and the normalizer, looked up in tables that are filled when first used.

use std::sync::OnceLock;

use unicode_normalization::IsNormalized;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// Facts about one character, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u8);

impl Class {
    const WORD: u8 = 1;
    const MARK: u8 = 1 << 1;
    const ALONE: u8 = 1 << 2;
    const CASED: u8 = 1 << 3;
    const UNSETTLED: u8 = 1 << 4;

    /// Looks the class of `c` up.
    pub(crate) fn of(c: char) -> Self {
        let code = c as usize;
        Self(PAGES[code >> 8].get_or_init(|| page(code >> 8))[code & 0xff])
    }

    /// Alphanumeric or a connector such as `_`: starts a token or continues one.
    pub(crate) fn is_word(self) -> bool {
        self.0 & Self::WORD != 0
    }

    /// A combining mark or a zero-width joiner: continues a token, starts none.
    pub(crate) fn is_mark(self) -> bool {
        self.0 & Self::MARK != 0
    }

    /// A word character of a script written without spaces: a token of its own.
    pub(crate) fn is_alone(self) -> bool {
        self.0 & Self::ALONE != 0
    }

    /// Whether lower-casing changes it.
    pub(crate) fn is_cased(self) -> bool {
        self.0 & Self::CASED != 0
    }

    /// Whether a text with this character may not be in NFC.
    pub(crate) fn is_unsettled(self) -> bool {
        self.0 & Self::UNSETTLED != 0
    }
}

/// The lower-case form of `c`, never depending on what stands beside it: every sigma becomes σ.
pub(crate) fn lower(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().map(|lower| if lower == 'ς' { 'σ' } else { lower })
}

static PAGES: [OnceLock<Box<[u8; 256]>>; 0x1100] = [const { OnceLock::new() }; 0x1100];

fn page(index: usize) -> Box<[u8; 256]> {
    let mut classes = Box::new([0; 256]);
    for (offset, class) in classes.iter_mut().enumerate() {
        *class = char::from_u32((index << 8 | offset) as u32).map_or(0, classify);
    }
    classes
}

fn classify(c: char) -> u8 {
    let mut bits = 0;
    if c.general_category_group() == GeneralCategoryGroup::Mark || matches!(c, '\u{200c}' | '\u{200d}') {
        bits |= Class::MARK;
    } else if c.is_alphanumeric() || c.general_category() == GeneralCategory::ConnectorPunctuation {
        bits |= Class::WORD;
        if is_unspaced_script(c) {
            bits |= Class::ALONE;
        }
    }
    if !lower(c).eq([c]) {
        bits |= Class::CASED;
    }
    let is_settled = unicode_normalization::char::canonical_combining_class(c) == 0
        && unicode_normalization::is_nfc_quick([c].into_iter()) == IsNormalized::Yes;
    if !is_settled {
        bits |= Class::UNSETTLED;
    }
    bits
}

/// Whether `c` lies in a block of Han, Hiragana, Katakana, Thai, Lao, Khmer or Myanmar.
fn is_unspaced_script(c: char) -> bool {
    matches!(c as u32,
        0x0E00..=0x0EFF // Thai, Lao
        | 0x1000..=0x109F | 0xA9E0..=0xA9FF | 0xAA60..=0xAA7F | 0x116D0..=0x116FF // Myanmar and its extensions
        | 0x1780..=0x17FF | 0x19E0..=0x19FF // Khmer and its symbols
        | 0x2E80..=0x2FDF | 0x3005..=0x3007 | 0x3021..=0x3029 | 0x3038..=0x303B // Han radicals, marks and numerals
        | 0x3041..=0x30FF | 0x31F0..=0x31FF | 0xFF66..=0xFF9F // Hiragana, Katakana, halfwidth Katakana
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF // Han
        | 0x16FE2..=0x16FF1 // Han marks outside of the basic plane
        | 0x1AFF0..=0x1B16F // Kana extensions
        | 0x20000..=0x3FFFF) // Han, all later extensions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_definition() {
        let kind = |c: char| {
            let class = Class::of(c);
            (class.is_word(), class.is_mark(), class.is_alone())
        };
        for c in ['a', 'Z', '9', '_', 'ß', 'Ж', 'ع', '한', '٣', '²', '‿'] {
            assert_eq!(kind(c), (true, false, false), "{c:?}");
        }
        for c in ['漢', 'か', 'カ', 'ｶ', '々', 'ไ', 'ກ', 'ក', 'က', '\u{20000}', '\u{3134a}', '\u{1b001}']
        {
            assert_eq!(kind(c), (true, false, true), "{c:?}");
        }
        for c in ['\u{301}', '\u{93f}', '\u{e31}', '\u{200d}', '\u{fe0f}', '\u{20e3}'] {
            assert_eq!(kind(c), (false, true, false), "{c:?}");
        }
        for c in [' ', '-', '!', '。', '·', '😀', '\u{feff}', '\u{a0}'] {
            assert_eq!(kind(c), (false, false, false), "{c:?}");
        }
    }

    #[test]
    fn lower_case_does_not_look_at_neighbors() {
        let lowered = |text: &str| text.chars().flat_map(lower).collect::<String>();
        assert_eq!(lowered("ΟΔΟΣ ὁδός"), "οδοσ ὁδόσ");
        assert_eq!(lowered("İẞǅ"), "i\u{307}ßǆ");
        assert!(Class::of('Ä').is_cased() && Class::of('ς').is_cased() && !Class::of('ä').is_cased());
    }
}
