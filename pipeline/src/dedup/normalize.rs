//! From a text to the form in which it is compared.

use std::sync::OnceLock;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use super::unicode::{Class, lower};
use super::widest::widest;

/// What is evened out beside letter case and canonical equivalence, which always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Normalize {
    /// Accents, Hebrew points and Arabic short vowels are taken off. Vowel signs of other scripts are letters and stay.
    pub diacritics: bool,
    /// Every decimal digit of any script becomes `0`.
    pub digits: bool,
    /// Punctuation and white space between words become one blank. A text of nothing else stays as it is.
    pub punctuation: bool,
}

/// Normalizes one text after the other, in a buffer that is reused.
#[derive(Debug, Default)]
pub struct Normalizer {
    options: Normalize,
    bytes: Vec<u8>,
}

impl Normalizer {
    /// A normalizer with these options.
    pub fn new(options: Normalize) -> Self {
        Self { options, bytes: Vec::new() }
    }

    /// Lower-cases `text` (each character by itself), brings it to NFC and applies the options.
    ///
    /// The result is valid UTF-8. ASCII is copied in bulk; other texts in NFC cost a table look-up per non-ASCII character.
    pub fn normalize(&mut self, text: &str) -> &[u8] {
        self.bytes.resize(text.len(), 0);
        let is_ascii = lower_ascii(text.as_bytes(), &mut self.bytes);
        let is_settled = is_ascii || lower_in_place(&mut self.bytes);
        if !is_settled {
            self.bytes.clear();
            lower_and_compose(text, &mut self.bytes);
        }
        if self.options != Normalize::default() {
            let evened = even_out(&String::from_utf8_lossy(&self.bytes), self.options);
            self.bytes.clear();
            self.bytes.extend_from_slice(evened.as_bytes());
        }
        &self.bytes
    }
}

widest! {
    /// Copies bytes, ASCII capitals as small letters; whether all of them are ASCII.
    fn lower_ascii(text: &[u8], lowered: &mut [u8]) -> bool = lower_ascii_body
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn lower_ascii_body(text: &[u8], lowered: &mut [u8]) -> bool {
    let mut all = 0;
    for (lowered, &byte) in lowered.iter_mut().zip(text) {
        *lowered = byte | u8::from(byte.wrapping_sub(b'A') < 26) << 5;
        all |= byte;
    }
    all.is_ascii()
}

/// Appends `text` in lower case and NFC.
///
/// A character that composes with none before it and is not reordered begins a segment; a segment of more characters than
/// that is brought to NFC by itself.
fn lower_and_compose(text: &str, bytes: &mut Vec<u8>) {
    let mut composer = Composer { bytes, segment_start: 0, is_settled: true };
    let mut rest = text;
    while !rest.is_empty() {
        let (ascii, others) = rest.split_at(next_non_ascii(rest.as_bytes(), 0).unwrap_or(rest.len()));
        composer.push_ascii(ascii.as_bytes());
        rest = others.trim_start_matches(|c: char| !c.is_ascii());
        for c in others[..others.len() - rest.len()].chars() {
            let class = Class::of(c);
            if class.is_cased() {
                lower(c).for_each(|c| composer.push(c, Class::of(c)));
            } else {
                composer.push(c, class);
            }
        }
    }
    composer.settle();
}

/// Appends characters, and brings each segment to NFC.
#[derive(Debug)]
struct Composer<'a> {
    bytes: &'a mut Vec<u8>,
    segment_start: usize,
    is_settled: bool,
}

impl Composer<'_> {
    fn push_ascii(&mut self, ascii: &[u8]) {
        if !ascii.is_empty() {
            self.settle();
            self.bytes.extend(ascii.iter().map(u8::to_ascii_lowercase));
            self.segment_start = self.bytes.len() - 1;
        }
    }

    fn push(&mut self, c: char, class: Class) {
        if class.is_unsettled() {
            self.is_settled = false;
        } else {
            self.settle();
            self.segment_start = self.bytes.len();
        }
        self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn settle(&mut self) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let segment = String::from_utf8_lossy(&self.bytes[self.segment_start..]);
        if is_nfc_quick(segment.chars()) != IsNormalized::Yes {
            let composed: String = segment.nfc().collect();
            self.bytes.truncate(self.segment_start);
            self.bytes.extend_from_slice(composed.as_bytes());
        }
    }
}

/// Lower-cases the non-ASCII characters where they stand. `false`: one changes its length, or the text may not be in
/// NFC, and the bytes are of no use.
fn lower_in_place(bytes: &mut [u8]) -> bool {
    let of_two_bytes = lower_of_two_bytes();
    let mut at = 0;
    while let Some(found) = next_non_ascii(bytes, at) {
        at = found;
        while at < bytes.len() && bytes[at] >= 0x80 {
            if let Some(pair) = bytes[at..].first_chunk_mut::<2>().filter(|pair| pair[0] < FIRST_OF_THREE) {
                let lowered = of_two_bytes[usize::from(pair[0] & 0x1f) << 6 | usize::from(pair[1] & 0x3f)];
                if lowered != [0, 0] {
                    *pair = lowered;
                    at += 2;
                    continue;
                }
            }
            let (c, n_bytes) = decode(&bytes[at..]);
            let mut class = Class::of(c);
            if class.is_cased() {
                let mut lowered = lower(c);
                let (Some(first), None) = (lowered.next(), lowered.next()) else { return false };
                if first.len_utf8() != n_bytes {
                    return false;
                }
                first.encode_utf8(&mut bytes[at..]);
                class = Class::of(first);
            }
            if class.is_unsettled() {
                return false;
            }
            at += n_bytes;
        }
    }
    true
}

/// First of the bytes that begin a character of three bytes.
const FIRST_OF_THREE: u8 = 0xe0;

/// The bytes of the lower-case form of each character below U+0800, by its code; zeros if that form has not two bytes, or a
/// text with it may not be in NFC.
fn lower_of_two_bytes() -> &'static [[u8; 2]; 0x800] {
    static FORMS: OnceLock<[[u8; 2]; 0x800]> = OnceLock::new();
    FORMS.get_or_init(|| {
        std::array::from_fn(|code| {
            let mut bytes = [0; 4];
            let mut lowered = char::from_u32(code as u32).into_iter().flat_map(lower);
            match (lowered.next(), lowered.next()) {
                (Some(c), None) if c.len_utf8() == 2 && !Class::of(c).is_unsettled() => {
                    c.encode_utf8(&mut bytes);
                    [bytes[0], bytes[1]]
                }
                _ => [0, 0],
            }
        })
    })
}

/// Position of the first byte from `start` on that is not ASCII.
pub(super) fn next_non_ascii(bytes: &[u8], start: usize) -> Option<usize> {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let mut at = start;
    for word in bytes[start..].chunks_exact(8) {
        let high = u64::from_le_bytes(word.try_into().unwrap_or_default()) & HIGH_BITS;
        if high != 0 {
            return Some(at + high.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| !byte.is_ascii()).map(|offset| at + offset)
}

/// The character that valid UTF-8 begins with, and its length in bytes.
pub(super) fn decode(bytes: &[u8]) -> (char, usize) {
    let tail = |index: usize| u32::from(bytes[index] & 0x3f);
    let first = u32::from(bytes[0]);
    let (code, n_bytes) = match bytes[0] {
        0..=0x7f => (first, 1),
        0x80..=0xdf => ((first & 0x1f) << 6 | tail(1), 2),
        0xe0..=0xef => ((first & 0x0f) << 12 | tail(1) << 6 | tail(2), 3),
        0xf0..=0xff => ((first & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4),
    };
    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), n_bytes)
}

fn even_out(text: &str, options: Normalize) -> String {
    let mut evened = text.to_owned();
    if options.diacritics {
        evened = evened.nfd().filter(|&c| !is_diacritic(c)).nfc().collect();
    }
    if options.digits {
        let zero_digit = |c: char| if c.general_category() == GeneralCategory::DecimalNumber { '0' } else { c };
        evened = evened.chars().map(zero_digit).collect();
    }
    if options.punctuation {
        let words: Vec<&str> = evened.split(is_punctuation).filter(|word| !word.is_empty()).collect();
        if !words.is_empty() {
            return words.join(" ");
        }
    }
    evened
}

fn is_punctuation(c: char) -> bool {
    c.is_whitespace() || c.general_category_group() == GeneralCategoryGroup::Punctuation && !Class::of(c).is_word()
}

fn is_diacritic(c: char) -> bool {
    matches!(c as u32,
        0x0300..=0x036F | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE20..=0xFE2F // combining diacritical marks
        | 0x0591..=0x05BD | 0x05BF | 0x05C1 | 0x05C2 | 0x05C4 | 0x05C5 | 0x05C7 // Hebrew points and accents
        | 0x064B..=0x065F | 0x0670) // Arabic short vowels
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn check(options: Normalize, text: &str, expect: &str) {
        let mut normalizer = Normalizer::new(options);
        assert_eq!(std::str::from_utf8(normalizer.normalize(text)).unwrap(), expect, "{text:?}");
    }

    #[test]
    fn lower_case_and_nfc() {
        let plain = Normalize::default();
        check(plain, "", "");
        check(plain, "Hello, World_9!\n\0", "hello, world_9!\n\0");
        check(plain, "ÄÖÜ ẞtraße ЖУК", "äöü ßtraße жук");
        check(plain, "A\u{308}O\u{308} e\u{301}", "äö é");
        check(plain, "İ Kelvin \u{212a} ΟΔΟΣ ς", "i\u{307} kelvin k οδοσ σ");
        check(plain, "각 각 가\u{11a8}", "각 각 각");
        check(plain, "日本語 ไทย 😀 ‍", "日本語 ไทย 😀 ‍");
        check(plain, "\u{1112}\u{1161}\u{11ab}", "한");
        check(plain, "a\u{323}\u{307} a\u{307}\u{323}", "ạ\u{307} ạ\u{307}");
    }

    #[test]
    fn in_place_equals_the_definition() {
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        for start in 0..7 {
            for chunk in all[start..].chunks(13) {
                let text: String = chunk.iter().collect();
                let expect: String = text.chars().flat_map(lower).collect::<String>().nfc().collect();
                check(Normalize::default(), &text, &expect);
            }
        }
    }

    #[test]
    fn segments_equal_the_definition() {
        let mut random = ChaCha8Rng::seed_from_u64(51);
        // Letters, marks of several classes, jamo, and characters that compose, decompose or lower-case to more than one.
        let alphabet: Vec<char> =
            "aEo\u{e9}\u{323}\u{301}\u{302}\u{308}\u{345}\u{ac00}\u{1100}\u{1161}\u{11a8}\u{130}\u{3a3}\u{937}\u{93e}\u{93c}\u{9c7}\u{9be}\u{bca}\u{bc6}\u{940}\u{3a9}\u{8c48}\u{a67f}\u{ac00}\u{1d15e}\u{f73}\u{345}\u{3099}\u{304b} ".chars().chain('\u{300}'..='\u{310}').collect();
        for _ in 0..20_000 {
            let n_chars = random.random_range(0..12);
            let text: String = (0..n_chars).map(|_| alphabet[random.random_range(0..alphabet.len())]).collect();
            let expect: String = text.chars().flat_map(lower).collect::<String>().nfc().collect();
            check(Normalize::default(), &text, &expect);
        }
    }

    #[test]
    fn options() {
        check(Normalize { diacritics: true, ..Normalize::default() }, "Élan naïve Й で किताब", "elan naive и で किताब");
        check(Normalize { digits: true, ..Normalize::default() }, "On 24.12.2025, ٣ or ３", "on 00.00.0000, 0 or 0");
        let punctuation = Normalize { punctuation: true, ..Normalize::default() };
        check(punctuation, "  Don't -- snake_case, \n\t(really)!  ", "don t snake_case really");
        check(punctuation, " ?! ", " ?! ");
        check(punctuation, "😀, 😀", "😀 😀");
    }
}
