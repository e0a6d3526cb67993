//! Two texts, and which of their words are shown.

use std::ops::Range;

use tamis_pipeline::inspect::{Change, Gap, Text, Word, diff, words};

/// Equal words shown on each side of a change.
const CONTEXT_WORDS: usize = 15;
/// Equal words that are left out, at least: fewer are shown instead of a note that they are not.
const LEAST_OMITTED_WORDS: usize = 8;
/// Words shown of one change.
const MAX_CHANGE_WORDS: usize = 120;
/// Changes shown of one pair.
const MAX_CHANGES: usize = 40;
/// Words shown of a text that stands alone, or of two texts that are equal.
const MAX_ALONE_WORDS: usize = 120;
/// Words by which the sides of a change differ when they are aligned anew after it.
const DRIFT_WORDS: usize = 8;

/// A text and its words.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    pub(crate) text: &'a str,
    pub(crate) words: Vec<Word>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(text: &'a Text) -> Self {
        Self { text: &text.part, words: words(&text.part) }
    }

    /// A word as it stands in the text.
    pub(crate) fn word(&self, index: usize) -> &'a str {
        &self.text[self.words[index].range.clone()]
    }

    /// The text from the first to the last of some words.
    pub(crate) fn slice(&self, range: &Range<usize>) -> &'a str {
        match (self.words.get(range.start), range.end.checked_sub(1).and_then(|last| self.words.get(last))) {
            (Some(first), Some(last)) if !range.is_empty() => &self.text[first.range.start..last.range.end],
            _ => "",
        }
    }
}

/// Two texts with what differs.
#[derive(Debug)]
pub(crate) struct Compared<'a> {
    pub(crate) kept: Side<'a>,
    pub(crate) dropped: Side<'a>,
    pub(crate) changes: Vec<Change>,
}

/// A part of a comparison, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Stretches that stand beside each other and begin on one line.
    Shown {
        /// What stands before them.
        gap: Gap,
        changes: Vec<Change>,
    },
    /// Words that are left out.
    Omitted {
        /// In the kept text.
        kept: usize,
        /// In the dropped text.
        dropped: usize,
        is_equal: bool,
    },
}

/// Words of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WordCounts {
    pub(crate) equal: usize,
    pub(crate) only_kept: usize,
    pub(crate) only_dropped: usize,
}

impl<'a> Compared<'a> {
    pub(crate) fn new(kept: &'a Text, dropped: &'a Text) -> Self {
        let (kept, dropped) = (Side::new(kept), Side::new(dropped));
        let changes = diff(kept.text, &kept.words, dropped.text, &dropped.words);
        Self { kept, dropped, changes }
    }

    pub(crate) fn counts(&self) -> WordCounts {
        let mut counts = WordCounts { equal: 0, only_kept: 0, only_dropped: 0 };
        for change in &self.changes {
            if change.is_equal {
                counts.equal += change.left.len();
            } else {
                counts.only_kept += change.left.len();
                counts.only_dropped += change.right.len();
            }
        }
        counts
    }

    /// What is shown: every word if `is_full`, else the changes with some words around them.
    pub(crate) fn segments(&self, is_full: bool) -> Vec<Segment> {
        let mut segments = Segments { compared: self, done: Vec::new(), open: Vec::new(), gap: Gap::None };
        let mut n_changes = 0;
        for (index, change) in self.changes.iter().enumerate() {
            let is_last = index + 1 == self.changes.len();
            n_changes += usize::from(!change.is_equal);
            if is_full {
                segments.show(change.clone());
            } else if n_changes > MAX_CHANGES {
                segments.omit(change);
            } else if change.is_equal {
                let before = if index == 0 { 0 } else { CONTEXT_WORDS };
                let after = if is_last { 0 } else { CONTEXT_WORDS };
                let before = if index == 0 && is_last { MAX_ALONE_WORDS } else { before };
                segments.show_ends(change, before, after);
            } else {
                segments.show_ends(change, MAX_CHANGE_WORDS / 2, MAX_CHANGE_WORDS / 2);
            }
        }
        segments.finish()
    }
}

struct Segments<'c, 'a> {
    compared: &'c Compared<'a>,
    done: Vec<Segment>,
    open: Vec<Change>,
    /// What stands before the open ones.
    gap: Gap,
}

impl Segments<'_, '_> {
    /// Shows the first and the last words of a stretch, all if there are few more.
    fn show_ends(&mut self, change: &Change, first: usize, last: usize) {
        let split = |range: &Range<usize>| {
            if range.len() < first + last + LEAST_OMITTED_WORDS {
                (range.end, range.end)
            } else {
                (range.start + first, range.end - last)
            }
        };
        let ((left_end, left_again), (right_end, right_again)) = (split(&change.left), split(&change.right));
        let part = |left: Range<usize>, right: Range<usize>| Change { left, right, is_equal: change.is_equal };
        self.show(part(change.left.start..left_end, change.right.start..right_end));
        self.omit(&part(left_end..left_again, right_end..right_again));
        self.show(part(left_again..change.left.end, right_again..change.right.end));
    }

    fn omit(&mut self, change: &Change) {
        let (n_kept, n_dropped) = (change.left.len(), change.right.len());
        if n_kept + n_dropped == 0 {
            return;
        }
        self.close(Gap::None);
        match self.done.last_mut() {
            Some(Segment::Omitted { kept, dropped, is_equal }) => {
                *kept += n_kept;
                *dropped += n_dropped;
                *is_equal &= change.is_equal;
            }
            _ => self.done.push(Segment::Omitted { kept: n_kept, dropped: n_dropped, is_equal: change.is_equal }),
        }
    }

    fn show(&mut self, change: Change) {
        if change.left.is_empty() && change.right.is_empty() {
            return;
        }
        if !change.is_equal {
            self.open.push(change);
            return;
        }
        // Both sides begin anew where both texts do, and where one ran ahead of the other.
        let has_drifted = self.open.last().is_some_and(|last| last.left.len().abs_diff(last.right.len()) > DRIFT_WORDS);
        if has_drifted {
            self.close(self.gap_at(&change, 0));
        }
        let mut start = 0;
        for offset in 0..change.left.len() {
            let gap = self.gap_at(&change, offset);
            if matches!(gap, Gap::Line | Gap::Paragraph) && (offset > 0 || !self.open.is_empty()) {
                self.push_equal(&change, start..offset);
                self.close(gap);
                start = offset;
            }
        }
        self.push_equal(&change, start..change.left.len());
    }

    fn push_equal(&mut self, change: &Change, range: Range<usize>) {
        if !range.is_empty() {
            let of = |side: &Range<usize>| side.start + range.start..side.start + range.end;
            self.open.push(Change { left: of(&change.left), right: of(&change.right), is_equal: true });
        }
    }

    /// What stands before a word in both texts: the lesser of the two.
    fn gap_at(&self, change: &Change, offset: usize) -> Gap {
        let kept = self.compared.kept.words[change.left.start + offset].gap;
        let dropped = self.compared.dropped.words[change.right.start + offset].gap;
        let rank = |gap: Gap| match gap {
            Gap::None => 0,
            Gap::Space => 1,
            Gap::Line => 2,
            Gap::Paragraph => 3,
        };
        if rank(kept) <= rank(dropped) { kept } else { dropped }
    }

    fn close(&mut self, gap: Gap) {
        if !self.open.is_empty() {
            let changes = std::mem::take(&mut self.open);
            self.done.push(Segment::Shown { gap: self.gap, changes });
        }
        self.gap = gap;
    }

    fn finish(mut self) -> Vec<Segment> {
        self.close(Gap::None);
        self.done
    }
}

/// A text that stands alone: the words shown, and those of them that a rule is about.
#[derive(Debug)]
pub(crate) struct Alone<'a> {
    pub(crate) side: Side<'a>,
    pub(crate) shown: Range<usize>,
    pub(crate) marked: Range<usize>,
}

impl<'a> Alone<'a> {
    /// Shows every word if `is_full`, else some around `span` (in bytes of the whole text), or the first.
    pub(crate) fn new(text: &'a Text, span: Option<&Range<u64>>, is_full: bool) -> Self {
        let side = Side::new(text);
        let marked = span.map_or(0..0, |span| {
            let at = |position: u64| position.saturating_sub(text.start) as usize;
            let (start, end) = (at(span.start), at(span.end));
            let first = side.words.partition_point(|word| word.range.end <= start);
            first..side.words.partition_point(|word| word.range.start < end).max(first)
        });
        let shown = if is_full {
            0..side.words.len()
        } else {
            let spare = MAX_ALONE_WORDS.saturating_sub(marked.len());
            let start = marked.start.saturating_sub(spare / 2);
            start..(start + MAX_ALONE_WORDS).min(side.words.len())
        };
        let marked = marked.start.max(shown.start)..marked.end.min(shown.end);
        Self { side, shown, marked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(part: &str) -> Text {
        Text { part: part.into(), start: 0, bytes: part.len() as u64 }
    }

    /// Words of both texts that segments show or count as left out, in order.
    fn check_complete(kept: &str, dropped: &str, is_full: bool) -> Vec<Segment> {
        let (kept, dropped) = (text(kept), text(dropped));
        let compared = Compared::new(&kept, &dropped);
        let segments = compared.segments(is_full);
        let (mut n_kept, mut n_dropped) = (0, 0);
        for segment in &segments {
            match segment {
                Segment::Omitted { kept, dropped, .. } => {
                    assert!(!is_full);
                    n_kept += kept;
                    n_dropped += dropped;
                }
                Segment::Shown { changes, .. } => {
                    for change in changes {
                        assert_eq!((change.left.start, change.right.start), (n_kept, n_dropped));
                        (n_kept, n_dropped) = (change.left.end, change.right.end);
                    }
                }
            }
        }
        assert_eq!((n_kept, n_dropped), (compared.kept.words.len(), compared.dropped.words.len()));
        segments
    }

    fn numbered(n: usize) -> String {
        (0..n).map(|word| format!("w{word} ")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn every_word_is_shown_or_counted() {
        let long = numbered(1000);
        let edited = long.replace("w500 ", "new words ").replace("w700 ", "");
        let rewritten = numbered(500).replace('w', "v");
        let scattered = long.replace("9 ", "9 x ");
        let paragraphs = "one two\n\nthree four\n\nfive";
        for kept in [&*long, &*edited, &*rewritten, &*scattered, paragraphs, "", "a"] {
            for dropped in [&*long, &*edited, &*rewritten, &*scattered, paragraphs, "", "a"] {
                for is_full in [false, true] {
                    check_complete(kept, dropped, is_full);
                }
            }
        }
    }

    #[test]
    fn only_what_is_around_a_change_is_shown() {
        let long = numbered(1000);
        let segments = check_complete(&long, &long.replace("w500 ", "new "), false);
        let omitted = |kept: usize| Segment::Omitted { kept, dropped: kept, is_equal: true };
        assert_eq!((segments.len(), &segments[0], &segments[2]), (3, &omitted(485), &omitted(484)));
        let segments = check_complete(&long, &long, false);
        assert_eq!(segments[1..], [omitted(1000 - MAX_ALONE_WORDS)]);
        assert_eq!(check_complete(&long, &long.replace("w10 ", "new "), false).len(), 2, "few words are not left out");
    }

    #[test]
    fn paragraphs_of_both_texts_are_aligned() {
        let segments = check_complete("one two\n\nthree four", "one 2\n\nthree four", true);
        assert!(matches!(&segments[1], Segment::Shown { gap: Gap::Paragraph, changes } if changes[0].left == (2..4)));
        let segments = check_complete("one two\n\nthree four", "one two three four", true);
        assert_eq!(segments.len(), 1, "only one of the texts has a paragraph there");
    }

    #[test]
    fn spans_are_words() {
        let whole = text("zero one two three four");
        let alone = Alone::new(&whole, Some(&(5..12)), false);
        assert_eq!(alone.side.slice(&alone.marked), "one two");
        let part = Text { part: "two three".into(), start: 9, bytes: 23 };
        assert_eq!(Alone::new(&part, Some(&(5..12)), false).marked, 0..1);
        assert_eq!(Alone::new(&part, Some(&(900..999)), false).marked, 2..2);
        let long = text(&numbered(1000));
        let alone = Alone::new(&long, Some(&(2000..2004)), false);
        assert!(alone.shown.start < alone.marked.start && alone.marked.end < alone.shown.end);
        assert_eq!(Alone::new(&long, None, false).shown, 0..MAX_ALONE_WORDS);
        assert_eq!(Alone::new(&long, None, true).shown, 0..1000);
    }
}
