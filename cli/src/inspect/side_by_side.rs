//! Two texts beside each other, or one after the other where there is no room.

use std::ops::Range;

use tamis_pipeline::inspect::{Change, Gap};

use super::compare::{Alone, Compared, Segment, Side};
use super::layout::{Atom, Line, padded, wrap};
use super::paint::{Ink, Paint};
use super::visible::visible;
use crate::number::count;

/// Columns below which the two texts become one.
const LEAST_COLUMNS: usize = 80;
/// Between the columns.
const RULE: &str = " │ ";

/// Where text goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) paint: Paint,
}

/// The lines that show two texts.
pub(super) fn compared(compared: &Compared<'_>, is_full: bool, canvas: Canvas) -> Vec<String> {
    let segments = compared.segments(is_full);
    let is_wide = canvas.width >= LEAST_COLUMNS;
    let side_width = (canvas.width - RULE.chars().count()) / 2;
    let mut lines = Vec::new();
    if is_wide {
        let title = |text: &str| canvas.paint.ink(Ink::Title, text);
        let kept = title(&padded("kept [-only here-]", side_width));
        lines.push(format!("{kept}{RULE}{}", title("dropped {+only here+}")));
    } else {
        lines.push(canvas.paint.ink(Ink::Title, "[-only kept-] {+only dropped+}"));
    }
    for (index, segment) in segments.iter().enumerate() {
        match segment {
            Segment::Omitted { kept, dropped, is_equal } => {
                lines.push(omitted(*kept, *dropped, *is_equal, canvas));
            }
            Segment::Shown { gap, changes } => {
                let has_empty_line = *gap == Gap::Paragraph && index > 0;
                if is_wide {
                    if has_empty_line {
                        lines.push(format!("{}{}", " ".repeat(side_width), RULE.trim_end()));
                    }
                    let left = wrap(&atoms(compared, changes, true, false), side_width);
                    let right = wrap(&atoms(compared, changes, false, true), side_width);
                    lines.extend(beside(&left, &right, side_width, canvas.paint));
                } else {
                    if has_empty_line {
                        lines.push(String::new());
                    }
                    let both = wrap(&atoms(compared, changes, true, true), canvas.width);
                    lines.extend(both.iter().map(|line| line.painted(canvas.paint)));
                }
            }
        }
    }
    lines
}

/// The lines that show one text.
pub(super) fn alone(alone: &Alone<'_>, canvas: Canvas) -> Vec<String> {
    let Range { start, end } = alone.shown;
    let mut atoms = Vec::new();
    push_run(&mut atoms, &alone.side, start..alone.marked.start.max(start), Ink::Plain, ("", ""));
    if alone.marked.is_empty() {
        push_run(&mut atoms, &alone.side, alone.marked.start.max(start)..end, Ink::Plain, ("", ""));
    } else {
        push_run(&mut atoms, &alone.side, alone.marked.clone(), Ink::Marked, (">>", "<<"));
        push_run(&mut atoms, &alone.side, alone.marked.end..end, Ink::Plain, ("", ""));
    }
    let mut lines = Vec::new();
    let note =
        |n_words: usize| canvas.paint.ink(Ink::Faint, format!("... {} words left out ...", count(n_words as u64)));
    if start > 0 {
        lines.push(note(start));
    }
    lines.extend(wrap(&atoms, canvas.width).iter().map(|line| line.painted(canvas.paint)));
    if end < alone.side.words.len() {
        lines.push(note(alone.side.words.len() - end));
    }
    lines
}

fn omitted(kept: usize, dropped: usize, is_equal: bool, canvas: Canvas) -> String {
    let count = |n: usize| count(n as u64);
    let note = if is_equal {
        format!("... {} equal words left out ...", count(kept))
    } else {
        format!("... {} words of kept and {} of dropped left out ...", count(kept), count(dropped))
    };
    canvas.paint.ink(Ink::Faint, note)
}

fn beside(left: &[Line], right: &[Line], side_width: usize, paint: Paint) -> Vec<String> {
    let empty = Line::default();
    (0..left.len().max(right.len()))
        .map(|index| {
            let (left, right) = (left.get(index).unwrap_or(&empty), right.get(index).unwrap_or(&empty));
            let space = " ".repeat(side_width - left.width());
            let right = right.painted(paint);
            let rule = if right.is_empty() { RULE.trim_end() } else { RULE };
            format!("{}{space}{rule}{right}", left.painted(paint))
        })
        .collect()
}

/// The words of some stretches: of the kept text, of the dropped one, or of both, what is equal once.
fn atoms(compared: &Compared<'_>, changes: &[Change], with_kept: bool, with_dropped: bool) -> Vec<Atom> {
    let mut atoms = Vec::new();
    for change in changes {
        match (change.is_equal, with_kept) {
            (true, true) => push_run(&mut atoms, &compared.kept, change.left.clone(), Ink::Plain, ("", "")),
            (true, false) => push_run(&mut atoms, &compared.dropped, change.right.clone(), Ink::Plain, ("", "")),
            (false, _) => {
                if with_kept {
                    push_run(&mut atoms, &compared.kept, change.left.clone(), Ink::Kept, ("[-", "-]"));
                }
                if with_dropped {
                    push_run(&mut atoms, &compared.dropped, change.right.clone(), Ink::Dropped, ("{+", "+}"));
                }
            }
        }
    }
    atoms
}

/// Adds words of one ink, with marks before the first and after the last.
fn push_run(atoms: &mut Vec<Atom>, side: &Side<'_>, range: Range<usize>, ink: Ink, marks: (&str, &str)) {
    let (Some(last), start) = (range.clone().last(), range.start) else { return };
    atoms.extend(range.map(|index| {
        let opening = if index == start { marks.0 } else { "" };
        let closing = if index == last { marks.1 } else { "" };
        Atom { text: format!("{opening}{}{closing}", visible(side.word(index))), ink, gap: side.words[index].gap }
    }));
}

#[cfg(test)]
mod tests {
    use tamis_pipeline::inspect::Text;

    use super::*;
    use crate::args::When;
    use crate::inspect::layout::columns;

    fn show(kept: &str, dropped: &str, width: usize, color: When) -> Vec<String> {
        let text = |part: &str| Text { part: part.into(), start: 0, bytes: part.len() as u64 };
        let (kept, dropped) = (text(kept), text(dropped));
        let canvas = Canvas { width, paint: Paint::new(color, false) };
        compared(&Compared::new(&kept, &dropped), false, canvas)
    }

    #[test]
    fn two_columns_or_one() {
        let lines = show("the quick brown fox\n\njumps", "the quick red fox\n\njumps", 80, When::Never);
        assert_eq!(
            lines,
            [
                "kept [-only here-]                     │ dropped {+only here+}",
                "the quick [-brown-] fox                │ the quick {+red+} fox",
                "                                       │",
                "jumps                                  │ jumps",
            ]
        );
        let lines = show("the quick brown fox\n\njumps", "the quick red fox\n\njumps", 79, When::Never);
        assert_eq!(lines, ["[-only kept-] {+only dropped+}", "the quick [-brown-] {+red+} fox", "", "jumps"]);
    }

    #[test]
    fn columns_hold_in_every_script_and_in_color() {
        let (kept, dropped) = (
            "人人生而自由 ".repeat(30),
            "人人生而自由 ".repeat(20) + "hello 👍 \u{1b}[2J ไทย " + &"人人生而自由 ".repeat(9),
        );
        for width in [80, 81, 97, 140] {
            let plain = show(&kept, &dropped, width, When::Never);
            for line in &plain {
                assert!(columns(line) <= width, "{line}");
                let rule = line.split('│').next().filter(|left| left.len() < line.len());
                assert!(rule.is_none_or(|left| columns(left) == (width - 3) / 2 + 1), "{line}");
                assert!(!line.contains('\u{1b}'));
            }
            let colored = show(&kept, &dropped, width, When::Always);
            let stripped: Vec<String> = colored
                .iter()
                .map(|line| {
                    ["\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[2m", "\x1b[0m"]
                        .iter()
                        .fold(line.clone(), |line, code| line.replace(code, ""))
                })
                .collect();
            assert_eq!(stripped, plain);
        }
    }
}
