//! From a place in a normalized text back to the text as it was written.

use std::iter::once;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;

use crate::dedup::Normalizer;
use crate::dedup::unicode::{Class, lower};

/// Characters of a segment in which a place is looked for; in a longer one (no language has any) its border is taken.
const MAX_SEGMENT_CHARS: usize = 64;

/// The bytes of `text` that the bytes `normalized` of its normalized form come from.
///
/// Normalization works on segments: a character that composes with none before it, and those after it that may compose.
/// Whole segments are mapped by adding up their lengths; a border inside of one, by normalizing its beginnings.
pub(super) fn original_span(text: &str, normalized: Range<usize>, normalizer: &mut Normalizer) -> Range<usize> {
    if text.is_ascii() {
        return normalized;
    }
    let (mut original_start, mut normalized_at) = (0, 0);
    for segment in Segments(text) {
        let (segment_start, n_before) = (text.len() - segment.rest.len() - segment.text.len(), normalized_at);
        normalized_at += normalizer.normalize(segment.text).len();
        if (n_before..normalized_at).contains(&normalized.start) {
            original_start = segment_start + start_in_segment(segment.text, normalized.start - n_before, normalizer);
        }
        if normalized.end <= normalized_at {
            return original_start..segment_start + end_in_segment(segment.text, normalized.end - n_before, normalizer);
        }
    }
    original_start..text.len()
}

/// The longest beginning of the segment whose normalized form is the first `offset` bytes of the segment's.
fn start_in_segment(segment: &str, offset: usize, normalizer: &mut Normalizer) -> usize {
    let whole = normalizer.normalize(segment).to_vec();
    borders(segment).rev().find(|&border| normalizer.normalize(&segment[..border]) == &whole[..offset]).unwrap_or(0)
}

/// The shortest beginning of the segment whose normalized form begins with the first `offset` bytes of the segment's.
fn end_in_segment(segment: &str, offset: usize, normalizer: &mut Normalizer) -> usize {
    let whole = normalizer.normalize(segment).to_vec();
    borders(segment)
        .find(|&border| normalizer.normalize(&segment[..border]).starts_with(&whole[..offset]))
        .unwrap_or(segment.len())
}

/// The borders of the characters of a segment, its own included.
fn borders(segment: &str) -> impl DoubleEndedIterator<Item = usize> {
    let is_long = segment.chars().nth(MAX_SEGMENT_CHARS).is_some();
    let inner = segment.char_indices().map(|(at, _)| at).filter(move |&at| !is_long || at == 0);
    inner.chain(once(segment.len()))
}

/// The segments of a text.
struct Segments<'a>(&'a str);

struct Segment<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let mut chars = self.0.char_indices();
        chars.next()?;
        let end = chars.find(|&(_, c)| begins_segment(c)).map_or(self.0.len(), |(at, _)| at);
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(Segment { text, rest })
    }
}

/// Whether the normalized form of `c` begins with a character that composes with none before it.
fn begins_segment(c: char) -> bool {
    c.is_ascii() || once(c).flat_map(lower).nfc().next().is_some_and(|first| !Class::of(first).is_unsettled())
}

#[cfg(test)]
mod tests {
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::decontaminate::tokens::tests::hashes;
    use crate::decontaminate::tokens::token_spans;
    use crate::dedup::Normalize;

    #[test]
    fn examples() {
        let check = |text: &str, token: usize, expect: &str| {
            let mut normalizer = Normalizer::new(Normalize::default());
            let normalized = String::from_utf8(normalizer.normalize(text).to_vec()).unwrap();
            let mut spans = Vec::new();
            token_spans(&normalized, &mut spans);
            let (start, end) = spans[token];
            let span = original_span(text, start as usize..end as usize, &mut normalizer);
            assert_eq!(&text[span], expect, "token {token} of {text:?}");
        };
        check("İstanbul'da A\u{308}rger, naïve", 2, "A\u{308}rger");
        check("İstanbul'da A\u{308}rger, naïve", 1, "da");
        check("İstanbul'da A\u{308}rger, naïve", 0, "İstanbul");
        check("ÅÅÅ K\u{212a}K end", 1, "K\u{212a}K");
        check("日\u{f900}本", 1, "\u{f900}");
        check("!\u{1161}x", 0, "\u{1161}x");
        check("\u{1112}\u{1161}\u{11ab} \u{958}", 1, "\u{958}");
        check("…→ e\u{301}", 0, "e\u{301}");
    }

    /// Any run of tokens, mapped back and normalized again, gives those tokens and no other.
    #[test]
    fn any_run_comes_back() {
        let mut random = ChaCha8Rng::seed_from_u64(9);
        let alphabet: Vec<char> = "aEoZ  .,!_09\u{e9}\u{323}\u{301}\u{308}\u{345}\u{ac00}\u{1100}\u{1161}\u{11a8}\u{130}\u{3a3}\u{1e9e}\u{212a}\u{93e}\u{93c}\u{958}\u{9c7}\u{9be}\u{bc6}日\u{f900}\u{2f800}か\u{3099}ไ๑๒\u{e31}\u{200d}😀\u{fe0f}≠\u{338}=Ⓐ\u{37e}"
            .chars()
            .collect();
        let options = [Normalize::default(), Normalize { diacritics: true, digits: true, ..Normalize::default() }];
        for round in 0..20_000 {
            let mut normalizer = Normalizer::new(options[round % 2]);
            let n_chars = random.random_range(1..14);
            let text: String = (0..n_chars).map(|_| *alphabet.choose(&mut random).unwrap()).collect();
            let normalized = String::from_utf8(normalizer.normalize(&text).to_vec()).unwrap();
            let mut spans = Vec::new();
            token_spans(&normalized, &mut spans);
            if spans.is_empty() {
                continue;
            }
            let first = random.random_range(0..spans.len());
            let last = random.random_range(first..spans.len());
            let run = spans[first].0 as usize..spans[last].1 as usize;
            let span = original_span(&text, run, &mut normalizer);
            let again = hashes(normalizer.normalize(&text[span.clone()]));
            let expect = &hashes(normalized.as_bytes())[first..=last];
            assert_eq!(again, expect, "{text:?} {span:?}: tokens {first} to {last}");
        }
    }

    /// Punctuation evened out changes no token.
    #[test]
    fn punctuation_is_in_no_token() {
        let mut random = ChaCha8Rng::seed_from_u64(10);
        let alphabet: Vec<char> =
            "aE  .,!-_0\u{e9}\u{301}\u{308}日か\u{3099}ไ\u{200d}‿😀\u{fe0f}\u{a0}’。".chars().collect();
        for _ in 0..5000 {
            let n_chars = random.random_range(0..14);
            let text: String = (0..n_chars).map(|_| *alphabet.choose(&mut random).unwrap()).collect();
            let tokens = |punctuation| {
                hashes(Normalizer::new(Normalize { punctuation, ..Normalize::default() }).normalize(&text))
            };
            assert_eq!(tokens(true), tokens(false), "{text:?}");
        }
    }
}
