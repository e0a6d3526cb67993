//! Text as a bag of hashed n-grams: words and pairs of words, and the characters inside of words.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bits of a bucket number.
const BUCKET_BITS: u32 = 18;
/// Number of buckets that n-grams are hashed into.
pub(super) const N_BUCKETS: usize = 1 << BUCKET_BITS;
/// Lengths of the character n-grams, with the marks of the word's ends counted in.
const CHARACTER_NGRAMS: std::ops::RangeInclusive<usize> = 3..=5;

const WORD_SEED: u64 = 1;
const PAIR_SEED: u64 = 2;
const CHARACTER_SEED: u64 = 3;
const SKIP_SEED: u64 = 4;

/// Turns texts into bucket numbers, one text at a time, in buffers that it keeps.
///
/// A text is taken in NFC and lower case. A word is a run of letters, digits, marks and `_`; any other character but
/// space is a word of its own, and so is each character of a script that is written without spaces. Features, in the
/// order of the text: each word, each pair of neighboring words, each pair with one word between them, and for runs the pieces
/// of `<run>` that are 3 to 5 characters long.
///
/// # Determinism
/// A function of the text and `max_features`; equal on every platform.
///
/// # Source
/// Bojanowski, Grave, Joulin, Mikolov: Enriching Word Vectors with Subword Information, TACL 2017 (the pieces), and
/// Joulin et al.: Bag of Tricks for Efficient Text Classification, EACL 2017 (the pairs); Guthrie et al.: A Closer Look at
/// Skip-gram Modelling, LREC 2006 (those with a word between them).
#[derive(Debug)]
pub(super) struct FeatureHasher {
    max_features: usize,
    buckets: Vec<u32>,
    /// The word so far: `<`, its characters, and `>` once it is whole.
    word: String,
    /// Where each character of `word` begins.
    starts: Vec<u32>,
    /// The last word, and the one before it.
    previous_words: [Option<u64>; 2],
}

impl FeatureHasher {
    /// A hasher that stops after the first `max_features` features of a text.
    pub(super) fn new(max_features: usize) -> Self {
        Self { max_features, buckets: Vec::new(), word: String::new(), starts: Vec::new(), previous_words: [None; 2] }
    }

    /// Buckets of the features of `text`, with repetitions, in the order of the text.
    pub(super) fn buckets(&mut self, text: &str) -> &mut [u32] {
        self.buckets.clear();
        self.previous_words = [None; 2];
        self.begin_word();
        if text.is_ascii() {
            self.scan(text.chars());
        } else {
            self.scan(text.nfc());
        }
        self.buckets.truncate(self.max_features);
        &mut self.buckets
    }

    fn scan(&mut self, characters: impl Iterator<Item = char>) {
        for character in characters {
            match kind(character) {
                Kind::InWord => {
                    for lower in character.to_lowercase() {
                        self.push_character(lower);
                    }
                    continue;
                }
                Kind::Space => self.end_word(),
                Kind::Alone => {
                    self.end_word();
                    let mut bytes = [0; 4];
                    let hash = xxh3_64_with_seed(character.encode_utf8(&mut bytes).as_bytes(), WORD_SEED);
                    self.push_word(hash);
                }
            }
            if self.is_full() {
                return;
            }
        }
        self.end_word();
    }

    fn begin_word(&mut self) {
        self.word.clear();
        self.starts.clear();
        self.push_character('<');
    }

    fn push_character(&mut self, character: char) {
        self.starts.push(self.word.len() as u32);
        self.word.push(character);
    }

    /// Emits the features of the word, if there is one, and begins the next.
    fn end_word(&mut self) {
        if self.starts.len() == 1 {
            return;
        }
        self.push_word(xxh3_64_with_seed(&self.word.as_bytes()[1..], WORD_SEED));
        self.push_character('>');
        self.starts.push(self.word.len() as u32);
        let n_characters = self.starts.len() - 1;
        for start in 0..n_characters {
            if self.is_full() {
                break;
            }
            for length in CHARACTER_NGRAMS {
                let Some(&end) = self.starts.get(start + length) else { break };
                let piece = &self.word.as_bytes()[self.starts[start] as usize..end as usize];
                self.buckets.push(bucket(xxh3_64_with_seed(piece, CHARACTER_SEED)));
            }
        }
        self.begin_word();
    }

    fn push_word(&mut self, hash: u64) {
        self.buckets.push(bucket(hash));
        for (previous, seed) in self.previous_words.into_iter().zip([PAIR_SEED, SKIP_SEED]) {
            let Some(previous) = previous else { break };
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&previous.to_le_bytes());
            bytes[8..].copy_from_slice(&hash.to_le_bytes());
            self.buckets.push(bucket(xxh3_64_with_seed(&bytes, seed)));
        }
        self.previous_words = [Some(hash), self.previous_words[0]];
    }

    fn is_full(&self) -> bool {
        self.max_features <= self.buckets.len()
    }
}

fn bucket(hash: u64) -> u32 {
    (hash >> (64 - BUCKET_BITS)) as u32
}

enum Kind {
    Space,
    InWord,
    Alone,
}

fn kind(character: char) -> Kind {
    if character.is_ascii() {
        return if character.is_ascii_alphanumeric() || character == '_' {
            Kind::InWord
        } else if character.is_ascii_whitespace() || character.is_ascii_control() {
            Kind::Space
        } else {
            Kind::Alone
        };
    }
    if is_written_without_spaces(character) {
        Kind::Alone
    } else if character.is_alphanumeric() || character.general_category_group() == GeneralCategoryGroup::Mark {
        Kind::InWord
    } else if character.is_whitespace() || character.general_category_group() == GeneralCategoryGroup::Other {
        Kind::Space
    } else {
        Kind::Alone
    }
}

/// Thai, Lao, Myanmar, Khmer, kana and Han.
fn is_written_without_spaces(character: char) -> bool {
    matches!(u32::from(character),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x31f0..=0x31ff | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff | 0xa9e0..=0xa9ff | 0xaa60..=0xaa7f | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> u64 {
        xxh3_64_with_seed(text.as_bytes(), WORD_SEED)
    }

    fn pair(first: &str, second: &str) -> u64 {
        xxh3_64_with_seed(&[word(first).to_le_bytes(), word(second).to_le_bytes()].concat(), PAIR_SEED)
    }

    fn skip(first: &str, second: &str) -> u64 {
        xxh3_64_with_seed(&[word(first).to_le_bytes(), word(second).to_le_bytes()].concat(), SKIP_SEED)
    }

    fn pieces(texts: &[&str]) -> Vec<u64> {
        texts.iter().map(|text| xxh3_64_with_seed(text.as_bytes(), CHARACTER_SEED)).collect()
    }

    fn check(text: &str, expect: &[u64]) {
        let expect: Vec<u32> = expect.iter().map(|&hash| bucket(hash)).collect();
        assert_eq!(FeatureHasher::new(4096).buckets(text), expect, "{text:?}");
    }

    #[test]
    fn emits_words_pairs_and_pieces_in_order() {
        check("", &[]);
        check(" \n\t ", &[]);
        check("a", &[&[word("a")], &pieces(&["<a>"])[..]].concat());
        check(
            "My Cat",
            &[
                &[word("my")],
                &pieces(&["<my", "<my>", "my>"])[..],
                &[word("cat"), pair("my", "cat")],
                &pieces(&["<ca", "<cat", "<cat>", "cat", "cat>", "at>"]),
            ]
            .concat(),
        );
        check("?!", &[word("?"), word("!"), pair("?", "!")]);
        check(
            "a, a",
            &[
                &[word("a")],
                &pieces(&["<a>"])[..],
                &[word(","), pair("a", ","), word("a"), pair(",", "a"), skip("a", "a")],
                &pieces(&["<a>"]),
            ]
            .concat(),
        );
        check("字典", &[word("字"), word("典"), pair("字", "典")]);
        check("ÉÀ", &[&[word("éà")], &pieces(&["<éà", "<éà>", "éà>"])[..]].concat());
    }

    #[test]
    fn composed_and_decomposed_text_are_equal() {
        let mut hasher = FeatureHasher::new(4096);
        let composed = hasher.buckets("caf\u{e9} h\u{e4}lt").to_vec();
        assert_eq!(hasher.buckets("cafe\u{301} ha\u{308}lt"), composed);
    }

    #[test]
    fn the_cap_keeps_the_first_features() {
        let text = "the quick brown fox jumps over the lazy dog";
        let all = FeatureHasher::new(4096).buckets(text).to_vec();
        for max_features in 0..=all.len() + 2 {
            let first = &all[..max_features.min(all.len())];
            assert_eq!(FeatureHasher::new(max_features).buckets(text), first, "{max_features}");
        }
        let long_word = "x".repeat(100_000);
        assert_eq!(FeatureHasher::new(64).buckets(&long_word).len(), 64);
    }
}
