//! Tokens as bytes, where the rest of the crate needs only their hashes.

use crate::dedup::unicode::Class;

/// Stands between two tokens of a joined text, and is in none.
pub(super) const BETWEEN: u8 = b' ';
/// Ends an item.
pub(super) const ITEM_END: u8 = b'\n';
/// Ends a row. Not the end of an item, so that a comparison of both stops there.
pub(super) const ROW_END: u8 = 0;

/// Whether a byte of a joined text is in no token.
pub(super) fn is_separator(byte: u8) -> bool {
    matches!(byte, BETWEEN | ITEM_END | ROW_END)
}

/// Appends where each token of a normalized text lies.
///
/// This is the definition of a token that [`tokenize`](crate::dedup::tokenize) is the fast form of; a test holds the two
/// together. Only held-out items and rows with a likely match come here.
pub(super) fn token_spans(text: &str, spans: &mut Vec<(u32, u32)>) {
    let mut token: Option<(usize, bool)> = None;
    for (at, c) in text.char_indices() {
        let class = Class::of(c);
        if let Some((start, is_alone)) = token {
            if class.is_mark() || class.is_word() && !class.is_alone() && !is_alone {
                continue;
            }
            spans.push((start as u32, at as u32));
        }
        token = class.is_word().then(|| (at, class.is_alone()));
    }
    if let Some((start, _)) = token {
        spans.push((start as u32, text.len() as u32));
    }
}

/// Appends the tokens of a normalized text with one separator between two.
pub(super) fn join_tokens(text: &str, spans: &[(u32, u32)], end: u8, joined: &mut Vec<u8>) {
    for &(start, end) in spans {
        joined.extend_from_slice(&text.as_bytes()[start as usize..end as usize]);
        joined.push(BETWEEN);
    }
    if spans.is_empty() {
        joined.push(end);
    } else if let Some(last) = joined.last_mut() {
        *last = end;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rand::SeedableRng;
    use rand::seq::IndexedRandom;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::dedup::tokenize;

    /// The hashes of the tokens of a normalized text.
    pub(in crate::decontaminate) fn hashes(text: &[u8]) -> Vec<u64> {
        let mut hashes = Vec::new();
        tokenize(text, &mut hashes);
        hashes
    }

    #[test]
    fn spans_are_the_tokens_that_are_hashed() {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let alphabet: Vec<char> =
            "abcxyz019_  \n.,-äßж語กि\u{301}😀\u{fe0f}か\u{3099}\u{200d}한\u{1161}ๆ٣".chars().collect();
        for n_chars in 0..400 {
            let text: String = (0..n_chars).map(|_| *alphabet.choose(&mut random).unwrap()).collect();
            let mut spans = Vec::new();
            token_spans(&text, &mut spans);
            let each: Vec<u64> =
                spans.iter().flat_map(|&(start, end)| hashes(&text.as_bytes()[start as usize..end as usize])).collect();
            assert_eq!(each, hashes(text.as_bytes()), "{text:?}");
            let mut joined = Vec::new();
            join_tokens(&text, &spans, ITEM_END, &mut joined);
            assert_eq!(hashes(&joined), each, "{text:?}");
        }
    }
}
