//! Strings in JSON text, checked and unescaped in one pass over their bytes.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::string_x86;

/// The texts of strings, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Unescaped {
    /// What lies beyond `len` is free.
    bytes: Vec<u8>,
    len: usize,
}

impl Unescaped {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The text that was added there.
    pub(super) fn get(&self, range: Range<usize>) -> &str {
        simdutf8::basic::from_utf8(&self.bytes[range]).expect("unescaped UTF-8 is UTF-8")
    }

    /// Adds the text of the string whose first byte, behind the quote, is at `position` of JSON text, which is UTF-8.
    ///
    /// Returns the position behind the closing quote; `None` if this is no string of whole characters, or has no end.
    pub(super) fn push_string(&mut self, json: &[u8], mut position: usize) -> Option<usize> {
        let most = self.len + (json.len() - position);
        if self.bytes.len() < most {
            self.bytes.resize(most, 0);
        }
        loop {
            position += self.push_plain(&json[position..]);
            let escape = match json.get(position)? {
                b'"' => return Some(position + 1),
                b'\\' => json.get(position + 1)?,
                _ => return None,
            };
            position += 2;
            match escape {
                b'"' | b'\\' | b'/' => self.push(*escape),
                b'n' => self.push(b'\n'),
                b't' => self.push(b'\t'),
                b'r' => self.push(b'\r'),
                b'b' => self.push(0x8),
                b'f' => self.push(0xc),
                b'u' => {
                    let (character, n_digits) = escaped_character(&json[position..])?;
                    character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.push(byte));
                    position += n_digits;
                }
                _ => return None,
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Adds the bytes before the first one that is a quote, a backslash or a control character; returns their number.
    fn push_plain(&mut self, json: &[u8]) -> usize {
        let n_bytes = copy_plain(json, &mut self.bytes[self.len..]);
        self.len += n_bytes;
        n_bytes
    }
}

/// Copies the bytes before the first one that is a quote, a backslash or a control character; returns their number.
///
/// Writes no more than there are in `json`.
fn copy_plain(json: &[u8], out: &mut [u8]) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
            #[expect(unsafe_code, reason = "a function for some processors only")]
            // SAFETY: this processor has the features that the function is compiled for.
            return unsafe { string_x86::copy_plain_avx512(json, out) };
        }
        if is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "a function for some processors only")]
            // SAFETY: this processor has the feature that the function is compiled for.
            return unsafe { string_x86::copy_plain_avx2(json, out) };
        }
    }
    copy_plain_words(json, out)
}

/// As [`copy_plain`], `N` bytes at once.
///
/// `n_plain`: how many bytes of a block are before its first one that is not copied.
#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
pub(super) fn copy_plain_blocks<const N: usize>(
    json: &[u8],
    out: &mut [u8],
    n_plain: impl Fn(&[u8; N]) -> usize,
    copy_rest: impl Fn(&[u8], &mut [u8]) -> usize,
) -> usize {
    let (blocks, rest) = json.as_chunks::<N>();
    for (index, (block, out)) in blocks.iter().zip(out.as_chunks_mut::<N>().0).enumerate() {
        *out = *block;
        let n_plain = n_plain(block);
        if n_plain < N {
            return index * N + n_plain;
        }
    }
    let n_done = json.len() - rest.len();
    n_done + copy_rest(rest, &mut out[n_done..])
}

pub(super) fn copy_plain_words(json: &[u8], out: &mut [u8]) -> usize {
    let n_plain = |word: &[u8; size_of::<u64>()]| ends(u64::from_le_bytes(*word)).trailing_zeros() as usize / 8;
    copy_plain_blocks(json, out, n_plain, |rest, out| {
        let is_end = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        let n_plain = rest.iter().position(is_end).unwrap_or(rest.len());
        out[..n_plain].copy_from_slice(&rest[..n_plain]);
        n_plain
    })
}

/// The highest bit of each byte that is a quote, a backslash or a control character; right up to the first one.
fn ends(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    let quote = word ^ (EACH * u64::from(b'"'));
    let backslash = word ^ (EACH * u64::from(b'\\'));
    let is_less = |bytes: u64, than: u64| bytes.wrapping_sub(EACH * than) & !bytes;
    (is_less(quote, 1) | is_less(backslash, 1) | is_less(word, 0x20)) & (EACH * 0x80)
}

/// The character of `\u` escapes, given what stands behind the first `\u`, and the number of bytes read.
fn escaped_character(json: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        json.get(at..at + 4)?.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    };
    let first = unit(0)?;
    if (0xd800..0xdc00).contains(&first) {
        let second = unit(6).filter(|second| json[4..6] == *b"\\u" && (0xdc00..0xe000).contains(second))?;
        return Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))?, 10));
    }
    Some((char::from_u32(first)?, 4))
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The text of a JSON string with its quotes, followed by something else.
    fn unescape(json: &str) -> Option<String> {
        let mut unescaped = Unescaped::default();
        unescaped.push_string(b"\"before\"", 1)?;
        let start = unescaped.len();
        let end = unescaped.push_string(json.as_bytes(), 1)?;
        (end == json.len()).then(|| unescaped.get(start..unescaped.len()).to_owned())
    }

    /// Every kind of byte at every place of a block.
    #[test]
    fn every_instruction_set_copies_the_same() {
        type Copy = fn(&[u8], &mut [u8]) -> usize;
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut versions: Vec<(&str, Copy)> = vec![("widest", copy_plain), ("words", copy_plain_words)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "a function for some processors only")]
            // SAFETY: this processor has the feature that the function is compiled for.
            versions.push(("avx2", |json, out| unsafe { string_x86::copy_plain_avx2(json, out) }));
        }
        for byte in 0..=u8::MAX {
            for place in 0..200 {
                let mut json: Vec<u8> = (0..200).map(|index| b'A' + index % 24).collect();
                json[place] = byte;
                let is_end = byte < 0x20 || byte == b'"' || byte == b'\\';
                let n_plain = if is_end { place } else { json.len() };
                for (name, copy) in &versions {
                    let mut out = vec![0; json.len()];
                    assert_eq!(copy(&json, &mut out), n_plain, "{name}: {byte} at {place}");
                    assert_eq!(out[..n_plain], json[..n_plain], "{name}: {byte} at {place}");
                }
            }
        }
    }

    #[test]
    fn as_serde_json_does() {
        let all: String = (0..0x2_0000).step_by(7).filter_map(char::from_u32).collect();
        let escaped: Vec<String> = all.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        let plain = ["", "plain", "é\n\"\\\u{0}\u{1F600}", "\\", "\\\\u0041", "\u{8}\u{c}\r\t", all.as_str()];
        let cases = plain.iter().map(|text| serde_json::to_string(text).unwrap());
        let escapes = [r#""\ud83d\ude00\/\u00e9x""#.to_owned(), format!("\"{}\"", escaped.concat())];
        for json in cases.chain(escapes) {
            assert_eq!(unescape(&json), Some(serde_json::from_str(&json).unwrap()));
        }
    }

    #[test]
    fn as_serde_json_does_for_any_bytes() {
        let mut random = ChaCha8Rng::seed_from_u64(12);
        let pieces = [
            "a",
            "bc",
            "long enough to fill words",
            "\"",
            "\\",
            "\\n",
            "\\u",
            "d83d",
            "\\ude00",
            "\u{1f}",
            " ",
            "é",
            "\u{7f}",
            "€",
        ];
        let mut n_valid = 0;
        for _ in 0..50_000 {
            let inner: String =
                (0..random.random_range(0..7)).map(|_| pieces[random.random_range(0..pieces.len())]).collect();
            let json = format!("\"{inner}\"");
            let expected = serde_json::from_str::<String>(&json).ok();
            n_valid += usize::from(expected.is_some());
            assert_eq!(unescape(&json), expected, "{json}");
        }
        assert!((5_000..45_000).contains(&n_valid), "{n_valid}");
    }
}
