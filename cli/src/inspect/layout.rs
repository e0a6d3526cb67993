//! Words into lines of a given width, in columns of a terminal: a Chinese character takes two of them.

use tamis_pipeline::inspect::Gap;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::paint::{Ink, Paint};

/// A word on its way into a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) text: String,
    pub(super) ink: Ink,
    pub(super) gap: Gap,
}

/// A line: pieces of one ink each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    pieces: Vec<(Ink, String)>,
    width: usize,
}

impl Line {
    fn push(&mut self, ink: Ink, text: &str, width: usize) {
        self.width += width;
        match self.pieces.last_mut() {
            Some((last, piece)) if *last == ink => piece.push_str(text),
            _ => self.pieces.push((ink, text.to_owned())),
        }
    }

    /// A space takes the ink of what it stands between, if that is one.
    fn push_space(&mut self, next: Ink) {
        let ink = match self.pieces.last() {
            Some((last, _)) if *last == next => next,
            _ => Ink::Plain,
        };
        self.push(ink, " ", 1);
    }

    /// Columns that the line takes.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The line in its colors.
    pub(super) fn painted(&self, paint: Paint) -> String {
        self.pieces.iter().map(|(ink, text)| paint.ink(*ink, text)).collect()
    }
}

/// Breaks words into lines of at most `width` columns.
///
/// Words without a gap between them stay together if they fit into a line; a word that does not fit into a line is broken.
pub(super) fn wrap(atoms: &[Atom], width: usize) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    for group in atoms.chunk_by(|_, next| next.gap == Gap::None) {
        let Some(first) = group.first() else { continue };
        let group_width: usize = group.iter().map(|atom| columns(&atom.text)).sum();
        let is_first = lines.len() == 1 && lines[0].width == 0;
        match first.gap {
            _ if is_first => {}
            Gap::Line => lines.push(Line::default()),
            Gap::Paragraph => lines.extend([Line::default(), Line::default()]),
            Gap::Space | Gap::None => {
                let line = lines.last_mut().expect("there is a line");
                let fits = line.width + 1 + group_width <= width;
                let begins_here = group_width > width && line.width + 1 + least_columns(&first.text, width) <= width;
                if line.width > 0 && (fits || begins_here) {
                    line.push_space(first.ink);
                } else if line.width > 0 {
                    lines.push(Line::default());
                }
            }
        }
        for atom in group {
            push_broken(&mut lines, atom, width);
        }
    }
    lines
}

/// Columns of the part of a word that is not broken in lines of `width`: all of it, or its first character.
fn least_columns(word: &str, width: usize) -> usize {
    match columns(word) {
        all if all <= width => all,
        _ => word.chars().next().and_then(UnicodeWidthChar::width).unwrap_or(0),
    }
}

/// Adds an atom to the last line, or to new ones where it does not fit.
fn push_broken(lines: &mut Vec<Line>, atom: &Atom, width: usize) {
    let line = lines.last_mut().expect("there is a line");
    let atom_width = columns(&atom.text);
    if line.width + atom_width <= width {
        line.push(atom.ink, &atom.text, atom_width);
        return;
    }
    if atom_width <= width && line.width > 0 {
        let mut line = Line::default();
        line.push(atom.ink, &atom.text, atom_width);
        lines.push(line);
        return;
    }
    let mut buffer = [0; 4];
    for char in atom.text.chars() {
        let char_width = char.width().unwrap_or(0);
        if lines.last().is_some_and(|line| line.width > 0 && line.width + char_width > width) {
            lines.push(Line::default());
        }
        let line = lines.last_mut().expect("there is a line");
        line.push(atom.ink, char.encode_utf8(&mut buffer), char_width);
    }
}

/// Columns of a text in a terminal.
pub(super) fn columns(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The beginning of a text in at most `width` columns.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut taken = 0;
    for char in text.chars() {
        let char_width = char.width().unwrap_or(0);
        if taken + char_width + 1 > width {
            break;
        }
        taken += char_width;
        short.push(char);
    }
    short.push('…');
    short
}

/// A text and spaces up to `width` columns.
pub(super) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atoms(words: &[(&str, Gap)]) -> Vec<Atom> {
        words.iter().map(|&(text, gap)| Atom { text: text.into(), ink: Ink::Plain, gap }).collect()
    }

    fn check(words: &[(&str, Gap)], width: usize, expect: &[&str]) {
        let lines = wrap(&atoms(words), width);
        let plain = Paint::new(crate::args::When::Never, false);
        let texts: Vec<String> = lines.iter().map(|line| line.painted(plain)).collect();
        assert_eq!(texts, expect, "{width} columns");
        for (line, text) in lines.iter().zip(&texts) {
            assert_eq!(line.width(), columns(text));
            assert!(line.width() <= width, "{text:?}");
        }
    }

    #[test]
    fn words_fill_lines() {
        use Gap::{Line, None, Paragraph, Space};
        let words = [("one", None), ("two", Space), ("three", Space), (",", None), ("four", Space)];
        check(&words, 80, &["one two three, four"]);
        check(&words, 10, &["one two", "three,", "four"]);
        check(&words, 5, &["one", "two", "three", ",", "four"]);
        check(&words, 3, &["one", "two", "thr", "ee,", "fou", "r"]);
        check(&[("a", Space), ("b", Line), ("c", Paragraph)], 9, &["a", "b", "", "c"]);
        check(&[], 9, &[""]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let han: Vec<(&str, Gap)> = ["人", "人", "生", "而", "自", "由"].map(|char| (char, Gap::None)).to_vec();
        check(&han, 12, &["人人生而自由"]);
        check(&han, 11, &["人人生而自", "由"]);
        check(&[("x", Gap::None), ("人人生而自由", Gap::Space)], 7, &["x 人人", "生而自", "由"]);
        check(&[("e\u{301}e\u{301}e\u{301}", Gap::None)], 3, &["e\u{301}e\u{301}e\u{301}"]);
        assert_eq!(
            (shortened("人人生而", 8), shortened("人人生而", 7), shortened("ab", 2)),
            ("人人生而".into(), "人人生…".into(), "ab".into())
        );
        assert_eq!(columns(&padded("人", 5)), 5);
    }

    #[test]
    fn colors_cross_spaces_of_one_ink() {
        let atom = |text: &str, ink| Atom { text: text.into(), ink, gap: Gap::Space };
        let lines = wrap(&[atom("a", Ink::Kept), atom("b", Ink::Kept), atom("c", Ink::Plain)], 80);
        let color = Paint::new(crate::args::When::Always, false);
        assert_eq!(lines[0].painted(color), "\x1b[31ma b\x1b[0m c");
    }
}
