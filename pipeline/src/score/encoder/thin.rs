//! What can be left out of a long text without changing its first tokens.
//!
//! A model sees a few hundred tokens, and a text may have megabytes, in one word too. The tokenizer would make tokens of all of it
//! before it cuts them off.

use std::borrow::Cow;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Texts of so many bytes are tokenised whole, for each token that the model sees.
const WHOLE_BYTES_PER_TOKEN: usize = 8;

/// Leaves out of a text what comes after enough tokens, and what is inside of runs that no tokenizer of the BERT family makes more
/// tokens of.
///
/// | characters | what is certain of them |
/// | --- | --- |
/// | blanks | end a word; more of them are one |
/// | punctuation | ends a word, and is a token |
/// | Han characters | each is a token, or part of a word |
/// | marks, controls | part of a word, or left out |
/// | others | part of a word, which has a token at least |
///
/// A word of more than `max_word_chars` characters is the unknown token however long it is, so that of
/// runs of one class `limit` characters say all: either that makes the word too long, or these are enough tokens.
#[derive(Debug)]
pub(super) struct Thinner {
    limit: usize,
    /// Tokens that are certainly enough. A special token may be written in several pieces of a text: `[`, `MASK`, `]`.
    enough: usize,
    whole_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Blank,
    Punctuation,
    Han,
    Mark,
    Other,
}

fn class(char: char) -> Class {
    if char.is_ascii() {
        return match char {
            ' ' | '\t' | '\n' | '\r' => Class::Blank,
            _ if char.is_ascii_punctuation() => Class::Punctuation,
            _ if char.is_ascii_control() => Class::Mark,
            _ => Class::Other,
        };
    }
    if char.is_whitespace() && !char.is_control() {
        return Class::Blank;
    }
    let is_han = matches!(u32::from(char),
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2FA1F | 0x30000..=0x323AF);
    match char.general_category_group() {
        _ if is_han => Class::Han,
        _ if char == char::REPLACEMENT_CHARACTER => Class::Mark,
        GeneralCategoryGroup::Punctuation => Class::Punctuation,
        GeneralCategoryGroup::Mark | GeneralCategoryGroup::Other | GeneralCategoryGroup::Separator => Class::Mark,
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number | GeneralCategoryGroup::Symbol => Class::Other,
    }
}

impl Thinner {
    /// For a model that sees `max_tokens`, words of up to `max_word_chars` characters, and the special tokens `added`.
    pub(super) fn new<'a>(max_tokens: usize, max_word_chars: usize, added: impl Iterator<Item = &'a str>) -> Self {
        let pieces = added.map(|token| token.chars().filter(|&char| class(char) != Class::Mark).count()).max();
        Self {
            limit: max_tokens + max_word_chars + 1,
            enough: (max_tokens + 1) * pieces.unwrap_or(1).max(1),
            whole_bytes: WHOLE_BYTES_PER_TOKEN * max_tokens,
        }
    }

    /// A text with the same first tokens.
    pub(super) fn thin<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if text.len() <= self.whole_bytes {
            return Cow::Borrowed(text);
        }
        let mut kept = Kept { text, thinned: None, end: 0 };
        // Characters of each class since the last one that ends the run.
        let (mut blanks, mut marks, mut others, mut hans) = (0, 0, 0, 0);
        let mut n_tokens = 0;
        for (start, char) in text.char_indices() {
            let class = class(char);
            let is_kept = match class {
                Class::Blank if blanks < self.limit => {
                    (marks, others, hans) = (0, 0, 0);
                    blanks += 1;
                    true
                }
                Class::Punctuation => {
                    (blanks, marks, others, hans) = (0, 0, 0, 0);
                    n_tokens += 1;
                    true
                }
                Class::Han => {
                    n_tokens += usize::from(others == 0 && hans == 0);
                    (blanks, marks, others) = (0, 0, 0);
                    hans += 1;
                    hans <= self.limit
                }
                Class::Mark => {
                    marks += 1;
                    marks <= self.limit
                }
                Class::Other if hans <= self.limit && others < self.limit => {
                    n_tokens += usize::from(others == 0 && hans == 0);
                    (blanks, marks) = (0, 0);
                    others += 1;
                    true
                }
                Class::Blank | Class::Other => false,
            };
            // A word that has begun may not be cut.
            if self.enough < n_tokens && matches!(class, Class::Blank | Class::Punctuation) {
                kept.stop(start);
                break;
            }
            kept.push(start, char, is_kept);
        }
        kept.finish()
    }
}

/// A text without what was left out; the text itself while that is its beginning.
struct Kept<'a> {
    text: &'a str,
    thinned: Option<String>,
    end: usize,
}

impl<'a> Kept<'a> {
    fn push(&mut self, start: usize, char: char, is_kept: bool) {
        match &mut self.thinned {
            Some(thinned) if is_kept => thinned.push(char),
            Some(_) => {}
            None if is_kept => self.end = start + char.len_utf8(),
            None => self.thinned = Some(self.text[..self.end].to_owned()),
        }
    }

    fn stop(&mut self, start: usize) {
        if self.thinned.is_none() {
            self.end = start;
        }
    }

    fn finish(self) -> Cow<'a, str> {
        match self.thinned {
            Some(thinned) => Cow::Owned(thinned),
            None => Cow::Borrowed(&self.text[..self.end]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay() {
        let thinner = Thinner::new(8, 10, ["[MASK]"].into_iter());
        assert!(matches!(thinner.thin("a b c"), Cow::Borrowed("a b c")));
    }

    #[test]
    fn long_texts_end_after_a_word() {
        let thinner = Thinner::new(4, 10, std::iter::empty());
        let text = "word ".repeat(1000);
        let thin = thinner.thin(&text);
        assert_eq!(thin.as_ref(), "word word word word word word");
        assert!(matches!(thin, Cow::Borrowed(_)));
    }

    #[test]
    fn runs_are_thinned() {
        let thinner = Thinner::new(4, 10, std::iter::empty());
        for (unit, most) in [("x", 15), (" ", 15), ("中", 15), ("\u{301}", 15), ("\0", 15), ("a\u{301}", 45), (".", 5)]
        {
            let text = format!("{} end", unit.repeat(100_000));
            let thin = thinner.thin(&text);
            assert!(thin.chars().count() <= most + 4, "{unit:?}: {}", thin.chars().count());
        }
    }
}
