//! From a normalized text to the hashes of its tokens.

use std::ops::RangeInclusive;

use xxhash_rust::xxh3::xxh3_64;

use super::normalize::decode;
use super::unicode::Class;
use super::widest::widest;

/// Bytes looked at together: one bit each in a word.
pub(super) const BLOCK_BYTES: usize = 64;
/// Blocks that are classified together.
const STRETCH_BLOCKS: usize = 64;
/// Longest token that is hashed in one step.
const SHORT_BYTES: usize = 16;

widest! {
    /// Appends the hash of every token of `text` (valid UTF-8, lower-cased) to `hashes`, in order.
    ///
    /// A token is a maximal run of word characters (Unicode `\w`: alphanumeric, marks, connectors, zero-width joiners). In
    /// scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) each character, with the marks after it, is a
    /// token. Marks that follow no word character (emoji selectors, stray accents) make no token.
    pub fn tokenize(text: &[u8], hashes: &mut Vec<u64>) = tokenize_body
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn tokenize_body(text: &[u8], hashes: &mut Vec<u64>) {
    let mut masks = [Masks::default(); STRETCH_BLOCKS];
    let mut open_since = None;
    for (index, stretch) in text.chunks(STRETCH_BLOCKS * BLOCK_BYTES).enumerate() {
        let n_blocks = stretch.len().div_ceil(BLOCK_BYTES);
        classify(stretch, &mut masks[..n_blocks]);
        for (block, masks) in masks[..n_blocks].iter().enumerate() {
            let base = (index * STRETCH_BLOCKS + block) * BLOCK_BYTES;
            open_since = push_block(text, base, *masks, open_since, hashes);
        }
    }
    if let Some(start) = open_since {
        push_run(text, start, text.len(), hashes);
    }
}

/// A bit for each byte of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// ASCII word characters (capitals aside) and the bytes of other characters.
    pub(super) words: u64,
    /// Bytes that are not ASCII.
    pub(super) high: u64,
    /// First bytes of [letters of two bytes](LEADS) that no token ends before or behind because of them; not the last byte
    /// of the block.
    pub(super) leads: u64,
}

/// First bytes of characters that are all letters of words: U+00C0 to U+027F, U+0400 to U+047F, U+04C0 to U+04FF. But
/// [two of them](SIGNS) are none.
pub(super) const LEADS: [RangeInclusive<u8>; 3] = [0xc3..=0xc9, 0xd0..=0xd1, 0xd3..=0xd3];
/// Second bytes, behind [`SIGN_LEAD`], of U+00D7 and U+00F7: × and ÷.
pub(super) const SIGNS: [u8; 2] = [0x97, 0xb7];
pub(super) const SIGN_LEAD: u8 = 0xc3;

/// Pushes the tokens that end in a block; returns where a run begins that the block does not end.
#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn push_block(
    text: &[u8],
    base: usize,
    masks: Masks,
    open_since: Option<usize>,
    hashes: &mut Vec<u64>,
) -> Option<usize> {
    let Masks { words, high, leads } = masks;
    // Bytes of characters that may part a run, or be no part of it.
    let unclear = high & !(leads | leads << 1);
    // A bit is set where a run begins or ends.
    let mut edges = words ^ (words << 1 | u64::from(open_since.is_some()));
    let mut next_edge = || {
        let at = edges.trailing_zeros() as usize;
        let is_edge = edges != 0;
        edges &= edges.wrapping_sub(1);
        is_edge.then_some(at)
    };
    if let Some(start) = open_since {
        let Some(end) = next_edge() else { return Some(start) };
        push_run(text, start, base + end, hashes);
    }
    // The block and what a token of it is loaded with.
    let window: Option<&[u8; BLOCK_BYTES + SHORT_BYTES]> = text[base..].first_chunk();
    let Some(window) = window.filter(|_| unclear == 0) else {
        loop {
            let start = next_edge()?;
            let Some(end) = next_edge() else { return Some(base + start) };
            if unclear >> start << start & !(u64::MAX << end) == 0 {
                hashes.push(hash(text, base + start, base + end));
            } else {
                push_unicode_run(text, base + start, base + end, hashes);
            }
        }
    };
    let mut found = [0; BLOCK_BYTES / 2];
    let mut n_found = 0;
    let open_since = loop {
        let Some(start) = next_edge() else { break None };
        let Some(end) = next_edge() else { break Some(base + start) };
        found[n_found % (BLOCK_BYTES / 2)] = if end - start <= SHORT_BYTES {
            window[start % BLOCK_BYTES..].first_chunk().map_or(0, |bytes| hash_short(first_bytes(bytes, end - start)))
        } else {
            xxh3_64(&window[start..end])
        };
        n_found += 1;
    };
    // As many at a time always: a copy of any length begins with a branch that is guessed wrong.
    hashes.extend_from_slice(&found);
    hashes.truncate(hashes.len() - (found.len() - n_found));
    open_since
}

/// The first so many bytes of a load, in two words.
static FIRST_BYTES: [[u64; 2]; SHORT_BYTES + 1] = {
    let mut masks = [[0; 2]; SHORT_BYTES + 1];
    let mut n_bytes = 1;
    while n_bytes <= SHORT_BYTES {
        let [low, high] = masks[n_bytes - 1];
        masks[n_bytes] = if n_bytes <= 8 { [low << 8 | 0xff, 0] } else { [low, high << 8 | 0xff] };
        n_bytes += 1;
    }
    masks
};

/// The masks of the blocks of a text; past its end no bit is set.
fn classify(text: &[u8], masks: &mut [Masks]) {
    let (blocks, rest) = text.as_chunks();
    let (masks, last) = masks.split_at_mut(blocks.len());
    classify_blocks(blocks, masks);
    if let Some(last) = last.first_mut() {
        let mut padded = [0; BLOCK_BYTES];
        padded[..rest.len()].copy_from_slice(rest);
        classify_blocks(&[padded], std::slice::from_mut(last));
    }
}

fn classify_blocks(blocks: &[[u8; BLOCK_BYTES]], masks: &mut [Masks]) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::token_x86::{classify_avx2, classify_avx512};
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw") {
            #[expect(unsafe_code, reason = "a function for some processors only")]
            // SAFETY: this processor has the features that the function is compiled for.
            return unsafe { classify_avx512(blocks, masks) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "a function for some processors only")]
            // SAFETY: this processor has the feature that the function is compiled for.
            return unsafe { classify_avx2(blocks, masks) };
        }
    }
    classify_portable(blocks, masks);
}
/// Eight bytes at a time, in one word.
fn classify_portable(blocks: &[[u8; BLOCK_BYTES]], masks: &mut [Masks]) {
    for (block, masks) in blocks.iter().zip(masks) {
        *masks = Masks::default();
        for (index, bytes) in block.as_chunks().0.iter().enumerate() {
            let bytes = u64::from_le_bytes(*bytes);
            masks.words |= gather(word_bits(bytes)) << (8 * index);
            masks.high |= gather(bytes & HIGH_BITS) << (8 * index);
        }
        if masks.high != 0 {
            let is_lead = |pair: &[u8]| {
                LEADS.iter().any(|leads| leads.contains(&pair[0]))
                    && (pair[0] != SIGN_LEAD || !SIGNS.contains(&pair[1]))
            };
            masks.leads = (0..).zip(block.windows(2)).map(|(at, pair)| u64::from(is_lead(pair)) << at).sum();
        }
    }
}

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte, side by side.
fn gather(high_bits: u64) -> u64 {
    (high_bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The high bit of each byte that is part of a word: sums that carry into the high bit of each byte compare them all at once.
#[inline]
fn word_bits(bytes: u64) -> u64 {
    const EVERY: u64 = 0x0101_0101_0101_0101;
    let low = bytes & !HIGH_BITS;
    let from = |byte: u8| low + EVERY * u64::from(0x80 - byte);
    let letters = from(b'a') ^ from(b'z' + 1);
    let digits = from(b'0') ^ from(b'9' + 1);
    let underscore = from(b'_') ^ from(b'_' + 1);
    (bytes | letters | digits | underscore) & HIGH_BITS
}

/// Pushes the tokens of a run of bytes that [`classify`] did not part.
#[inline]
fn push_run(text: &[u8], start: usize, end: usize, hashes: &mut Vec<u64>) {
    if end - start <= SHORT_BYTES {
        let bytes = load(text, start, end);
        if (bytes[0] | bytes[1]) & HIGH_BITS == 0 {
            return hashes.push(hash_short(bytes));
        }
    } else if text[start..end].is_ascii() {
        return hashes.push(xxh3_64(&text[start..end]));
    }
    push_unicode_run(text, start, end, hashes);
}

#[inline(never)]
fn push_unicode_run(text: &[u8], start: usize, end: usize, hashes: &mut Vec<u64>) {
    let mut token_start = None;
    let mut is_alone = false;
    let mut at = start;
    while at < end {
        if text[at].is_ascii() && token_start.is_some() && !is_alone {
            at += 1;
            continue;
        }
        let (c, n_bytes) = decode(&text[at..end]);
        let class = Class::of(c);
        let continues = token_start.is_some() && (class.is_mark() || class.is_word() && !class.is_alone() && !is_alone);
        if !continues {
            if let Some(token_start) = token_start.take() {
                hashes.push(hash(text, token_start, at));
            }
            if class.is_word() {
                token_start = Some(at);
                is_alone = class.is_alone();
            }
        }
        at += n_bytes;
    }
    if let Some(token_start) = token_start {
        hashes.push(hash(text, token_start, end));
    }
}

#[inline]
fn hash(text: &[u8], start: usize, end: usize) -> u64 {
    if end - start <= SHORT_BYTES { hash_short(load(text, start, end)) } else { xxh3_64(&text[start..end]) }
}

/// The 1 to 16 bytes from `start` to `end`, zeros after them.
#[inline]
fn load(text: &[u8], start: usize, end: usize) -> [u64; 2] {
    if let Some(bytes) = text[start..].first_chunk() {
        return first_bytes(bytes, end - start);
    }
    let mut bytes = [0; SHORT_BYTES];
    bytes[..end - start].copy_from_slice(&text[start..end]);
    first_bytes(&bytes, end - start)
}

/// So many bytes, zeros after them.
#[inline]
fn first_bytes(bytes: &[u8; SHORT_BYTES], n_bytes: usize) -> [u64; 2] {
    let [low, high] = FIRST_BYTES[n_bytes];
    let bytes: &[[u8; 8]; 2] = bytemuck::cast_ref(bytes);
    [u64::from_le_bytes(bytes[0]) & low, u64::from_le_bytes(bytes[1]) & high]
}

/// Hash of a token of up to 16 bytes, zeros after it: no token has a zero byte, so its length need not be mixed in.
///
/// The 128-bit product of both halves, folded: the step that wyhash and xxh3 are made of, without their branches on the
/// length, which are guessed wrong on natural text. Tokenizing is 2.5 to 3.5 times as fast as with xxh3 for every token.
#[inline]
fn hash_short([low, high]: [u64; 2]) -> u64 {
    const LOW: u64 = 0xa076_1d64_78bd_642f;
    const HIGH: u64 = 0xe703_7ed1_a0b4_28db;
    let product = u128::from(low ^ LOW) * u128::from(high ^ HIGH);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let mut hashes = Vec::new();
        tokenize(text.as_bytes(), &mut hashes);
        let expect_hashes: Vec<u64> = expect.iter().map(|token| hash(token.as_bytes(), 0, token.len())).collect();
        assert_eq!(hashes, expect_hashes, "{text:?} should be {expect:?}");
    }

    /// The definition, character by character.
    fn reference(text: &str) -> Vec<String> {
        let mut tokens: Vec<String> = Vec::new();
        let mut previous: Option<Class> = None;
        let mut in_token = false;
        for c in text.chars() {
            let class = Class::of(c);
            let base_is_alone = previous.is_some_and(Class::is_alone);
            if in_token && (class.is_mark() || class.is_word() && !class.is_alone() && !base_is_alone) {
                tokens.last_mut().unwrap().push(c);
            } else {
                in_token = class.is_word();
                if in_token {
                    tokens.push(c.into());
                }
            }
            if !class.is_mark() {
                previous = Some(class);
            }
        }
        tokens
    }

    #[test]
    fn tokens_by_example() {
        check("", &[]);
        check(" \n\t!?", &[]);
        check("a", &["a"]);
        check("don't stop_it 3.14", &["don", "t", "stop_it", "3", "14"]);
        check("§ 18 straße, öl-öl", &["18", "straße", "öl", "öl"]);
        check("日本語 is 日本x語", &["日", "本", "語", "is", "日", "本", "x", "語"]);
        check("か\u{3099}き", &["か\u{3099}", "き"]);
        check("ที่นี่", &["ที่", "นี่"]);
        check("किताब के", &["किताब", "के"]);
        check("می\u{200c}خواهم", &["می\u{200c}خواهم"]);
        check("❤\u{fe0f}☀\u{fe0f} 👨\u{200d}👩", &[]);
        check("1\u{fe0f}\u{20e3}", &["1\u{fe0f}\u{20e3}"]);
    }

    #[test]
    fn leads_are_of_letters_of_words() {
        let mut n_letters = 0;
        for c in '\u{80}'..='\u{7ff}' {
            let mut bytes = [0; BLOCK_BYTES];
            c.encode_utf8(&mut bytes);
            let mut masks = [Masks::default()];
            classify_portable(&[bytes], &mut masks);
            let class = Class::of(c);
            if masks[0].leads != 0 {
                n_letters += 1;
                assert!(class.is_word() && !class.is_mark() && !class.is_alone(), "{c:?}");
            }
        }
        assert_eq!(n_letters, (7 + 2 + 1) * 64 - 2);
    }

    #[test]
    fn every_instruction_set_gives_the_same_masks() {
        let mut random = ChaCha8Rng::seed_from_u64(13);
        let mut blocks: Vec<[u8; BLOCK_BYTES]> = (0..100).map(|_| random.random()).collect();
        blocks.extend((0..4).map(|quarter| std::array::from_fn(|index| 64 * quarter + index as u8)));
        let leads_and_signs = [0xc3, 0x97, 0xb7, 0xc4, 0xd3, 0xd2, b'a'];
        blocks.extend((0..100).map(|_| std::array::from_fn(|_| *leads_and_signs.choose(&mut random).unwrap())));
        let by_definition: Vec<Masks> = blocks
            .iter()
            .map(|block| {
                let bits = |is_set: fn(u8) -> bool| {
                    block.iter().rev().fold(0, |mask, &byte| mask << 1 | u64::from(is_set(byte)))
                };
                let is_word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | 0x80..);
                let leads = block.windows(2).rev().fold(0, |mask, pair| {
                    let is_lead = match pair[0] {
                        0xc3 => !matches!(pair[1], 0x97 | 0xb7),
                        0xc4..=0xc9 | 0xd0 | 0xd1 | 0xd3 => true,
                        _ => false,
                    };
                    mask << 1 | u64::from(is_lead)
                });
                Masks { words: bits(is_word), high: bits(|byte| byte >= 0x80), leads }
            })
            .collect();
        let mut masks = vec![Masks::default(); blocks.len()];
        classify_blocks(&blocks, &mut masks);
        assert_eq!(masks, by_definition);
        classify_portable(&blocks, &mut masks);
        assert_eq!(masks, by_definition);
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "a function for some processors only")]
            // SAFETY: this processor has the feature that the function is compiled for.
            unsafe {
                super::super::token_x86::classify_avx2(&blocks, &mut masks);
            }
            assert_eq!(masks, by_definition);
        }
    }

    #[test]
    fn runs_over_block_borders() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let alphabet: Vec<char> = "abcxyz019_  \n.,-äß×ж語กि\u{301}😀\u{fe0f}".chars().collect();
        for n_chars in 0..600 {
            let is_ascii = random.random_bool(0.3);
            let text: String = (0..n_chars)
                .map(|_| *alphabet.choose(&mut random).unwrap())
                .filter(|c| !is_ascii || c.is_ascii())
                .collect();
            let expect = reference(&text);
            check(&text, &expect.iter().map(String::as_str).collect::<Vec<_>>());
        }
        check(&"x".repeat(64), &[&"x".repeat(64)]);
        check(&format!("{} {}", "x".repeat(63), "y".repeat(64)), &[&"x".repeat(63), &"y".repeat(64)]);
    }
}
