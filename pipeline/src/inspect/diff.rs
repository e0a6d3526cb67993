//! How two texts differ, in words.
//!
//! White space is no word and is never a difference: near-duplicates are compared without it, too.

use std::ops::Range;

use gix_imara_diff::{Algorithm, Diff, InternedInput};

use crate::dedup::Class;

/// Columns of a line from which its end is taken for one that a line width made.
const FULL_LINE_CHARS: usize = 50;
/// Equal words between two changes that are shown as changed: a lone "the" between two new sentences helps no one.
const MAX_ABSORBED_WORDS: usize = 2;

/// A part of a text that is compared as a whole: a run of letters and digits, a character of a script without spaces, or
/// a run of one mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Where it lies in the text, in bytes.
    pub range: Range<usize>,
    /// What stands before it.
    pub gap: Gap,
}

/// White space between two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// None.
    None,
    /// Spaces, or the end of a full line.
    Space,
    /// The end of a line that is shorter than others.
    Line,
    /// An empty line.
    Paragraph,
}

/// The words of a text.
pub fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut last = Last::Nothing;
    let mut gap = Spaces::default();
    let mut line_chars = 0;
    for (start, char) in text.char_indices() {
        if char.is_whitespace() {
            gap.add(char, line_chars);
            line_chars = if is_line_end(char) { 0 } else { line_chars + 1 };
            last = Last::Nothing;
            continue;
        }
        line_chars += 1;
        let class = Class::of(char);
        let end = start + char.len_utf8();
        let kind = if class.is_alone() {
            Last::Alone
        } else if class.is_word() {
            Last::Letters
        } else {
            Last::Mark(char)
        };
        let continues = match last {
            Last::Nothing => false,
            // A combining mark belongs to what it stands on.
            _ if class.is_mark() => true,
            Last::Alone => false,
            last => last == kind,
        };
        match words.last_mut() {
            Some(word) if continues => word.range.end = end,
            _ => {
                words.push(Word { range: start..end, gap: gap.take() });
                last = kind;
            }
        }
    }
    words
}

/// What the last character was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Letters,
    Alone,
    Mark(char),
}

/// White space that was read since the last word.
#[derive(Debug, Default)]
struct Spaces {
    is_any: bool,
    n_line_ends: usize,
    is_full_line: bool,
}

impl Spaces {
    fn add(&mut self, char: char, line_chars: usize) {
        self.is_any = true;
        if is_line_end(char) {
            if self.n_line_ends == 0 {
                self.is_full_line = line_chars >= FULL_LINE_CHARS;
            }
            self.n_line_ends += 1;
        }
    }

    fn take(&mut self) -> Gap {
        let gap = match self {
            Self { is_any: false, .. } => Gap::None,
            Self { n_line_ends: 0, .. } | Self { n_line_ends: 1, is_full_line: true, .. } => Gap::Space,
            Self { n_line_ends: 1, .. } => Gap::Line,
            _ => Gap::Paragraph,
        };
        *self = Self::default();
        gap
    }
}

fn is_line_end(char: char) -> bool {
    matches!(char, '\n' | '\u{2028}' | '\u{2029}' | '\u{c}')
}

/// A stretch of two texts, by the indices of its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Words of the left text.
    pub left: Range<usize>,
    /// Words of the right text.
    pub right: Range<usize>,
    /// Whether they are the same words.
    pub is_equal: bool,
}

/// The stretches of which two texts consist, in order: all words of both, equal and changed by turns.
///
/// # Cost
/// About linear in the number of words, whatever they are (git's heuristics bound the search); so the number of changed
/// words is small, not always the least.
pub fn diff(left: &str, left_words: &[Word], right: &str, right_words: &[Word]) -> Vec<Change> {
    let mut input: InternedInput<&str> = InternedInput::default();
    input.update_before(left_words.iter().map(|word| &left[word.range.clone()]));
    input.update_after(right_words.iter().map(|word| &right[word.range.clone()]));
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_no_heuristic(&input);
    let mut changed: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for hunk in diff.hunks() {
        let before = hunk.before.start as usize..hunk.before.end as usize;
        let after = hunk.after.start as usize..hunk.after.end as usize;
        match changed.last_mut() {
            Some(last) if is_absorbed(last, &(before.clone(), after.clone())) => {
                last.0.end = before.end;
                last.1.end = after.end;
            }
            _ => changed.push((before, after)),
        }
    }
    let mut changes = Vec::with_capacity(2 * changed.len() + 1);
    let (mut left_at, mut right_at) = (0, 0);
    for (before, after) in changed {
        if left_at < before.start {
            changes.push(Change { left: left_at..before.start, right: right_at..after.start, is_equal: true });
        }
        (left_at, right_at) = (before.end, after.end);
        changes.push(Change { left: before, right: after, is_equal: false });
    }
    if left_at < left_words.len() {
        changes.push(Change { left: left_at..left_words.len(), right: right_at..right_words.len(), is_equal: true });
    }
    changes
}

/// Whether the equal words between two changes are fewer than what is changed on both of its sides.
fn is_absorbed(first: &(Range<usize>, Range<usize>), second: &(Range<usize>, Range<usize>)) -> bool {
    let n_equal = second.0.start - first.0.end;
    let n_changed = |change: &(Range<usize>, Range<usize>)| change.0.len().max(change.1.len());
    n_equal <= MAX_ABSORBED_WORDS && 2 * n_equal < n_changed(first).min(n_changed(second)) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts<'t>(text: &'t str, words: &[Word]) -> Vec<&'t str> {
        words.iter().map(|word| &text[word.range.clone()]).collect()
    }

    #[test]
    fn words_of_every_script() {
        let check = |text: &str, expect: &[&str]| assert_eq!(texts(text, &words(text)), expect, "{text:?}");
        check("", &[]);
        check(" \n\t", &[]);
        check("Don't stop_now, x2!", &["Don", "'", "t", "stop_now", ",", "x2", "!"]);
        check("----- ==", &["-----", "=="]);
        check("e\u{301}te\u{301}", &["e\u{301}te\u{301}"]);
        check("人人生而自由。", &["人", "人", "生", "而", "自", "由", "。"]);
        check("ที่นี่", &["ที่", "นี่"]);
        check("한국어 텍스트", &["한국어", "텍스트"]);
        check("<script>\0</script>", &["<", "script", ">", "\0", "<", "/", "script", ">"]);
    }

    #[test]
    fn gaps_tell_lines_from_paragraphs() {
        let full = "a".repeat(60);
        let text = format!("one two\nthree\n\nfour{full} \nfive");
        let gaps: Vec<Gap> = words(&text).iter().map(|word| word.gap).collect();
        assert_eq!(gaps, [Gap::None, Gap::Space, Gap::Line, Gap::Paragraph, Gap::Space]);
        assert_eq!(words(" a-b").iter().map(|word| word.gap).collect::<Vec<_>>(), [Gap::Space, Gap::None, Gap::None]);
    }

    #[test]
    fn only_what_differs_is_changed() {
        let check = |left: &str, right: &str, expect: &[(&str, &str)]| {
            let (left_words, right_words) = (words(left), words(right));
            let shown: Vec<(String, String)> = diff(left, &left_words, right, &right_words)
                .into_iter()
                .filter(|change| !change.is_equal)
                .map(|change| {
                    let left = texts(left, &left_words[change.left]).join(" ");
                    (left, texts(right, &right_words[change.right]).join(" "))
                })
                .collect();
            let shown: Vec<(&str, &str)> = shown.iter().map(|(left, right)| (left.as_str(), right.as_str())).collect();
            assert_eq!(shown, expect);
        };
        check("a b c", "a  b\nc", &[]);
        check("", "", &[]);
        check("", "a b", &[("", "a b")]);
        check("the quick brown fox", "the quick red fox", &[("brown", "red")]);
        check("一二三四五", "一二六四五", &[("三", "六")]);
        check("p q r the s t u end", "v w x the y z w end", &[("p q r the s t u", "v w x the y z w")]);
        check("x a y b z", "x c y d z", &[("a", "c"), ("b", "d")]);
    }

    proptest! {
        /// Equal and removed words are the left text, equal and added ones the right; equal ones are equal.
        #[test]
        fn nothing_is_lost(
            left in "([a-e]{1,2}|[.,人生]|[ \n]){0,60}",
            right in "([a-e]{1,2}|[.,人生]|[ \n]){0,60}",
        ) {
            let (left_words, right_words) = (words(&left), words(&right));
            let changes = diff(&left, &left_words, &right, &right_words);
            let (mut left_at, mut right_at) = (0, 0);
            let mut was_equal = None;
            for change in changes {
                prop_assert_eq!((change.left.start, change.right.start), (left_at, right_at));
                prop_assert!(!change.left.is_empty() || !change.right.is_empty());
                prop_assert_ne!(was_equal, Some(change.is_equal));
                was_equal = Some(change.is_equal);
                (left_at, right_at) = (change.left.end, change.right.end);
                if change.is_equal {
                    prop_assert_eq!(
                        texts(&left, &left_words[change.left]),
                        texts(&right, &right_words[change.right])
                    );
                }
            }
            prop_assert_eq!((left_at, right_at), (left_words.len(), right_words.len()));
        }

        /// A text is its words and white space.
        #[test]
        fn words_cover_what_is_no_space(text in "\\PC{0,40}|[a-c \n\u{0}\u{301}人]{0,40}") {
            let all: String = words(&text).into_iter().map(|word| text[word.range].to_owned()).collect();
            prop_assert_eq!(all, text.split_whitespace().collect::<String>());
        }

        /// Texts of which one differs from the other in one word differ in that word.
        #[test]
        fn one_new_word_is_one_change(n_words in 1usize..200, at in 0usize..200) {
            let at = at % n_words;
            let left: Vec<String> = (0..n_words).map(|word| format!("w{}", word % 37)).collect();
            let mut right = left.clone();
            right[at] = "new".into();
            let (left, right) = (left.join(" "), right.join(" "));
            let changes = diff(&left, &words(&left), &right, &words(&right));
            let changed: Vec<&Change> = changes.iter().filter(|change| !change.is_equal).collect();
            prop_assert_eq!(changed, [&Change { left: at..at + 1, right: at..at + 1, is_equal: false }]);
        }
    }
}
