//! Reading a line: the checks that make a row a reject, and its entries.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::value::RawValue;

use super::cursor::Cursor;
use super::string::Unescaped;
use super::value::try_for_each_entry;
use crate::source::special::Special;

/// Reads lines of one block; knows the keys it has seen.
#[derive(Debug)]
pub(super) struct LineReader<'a> {
    special: &'a Special,
    keys: Keys,
    n_lines: u64,
    /// JSON text of the value of each entry of the line, by index of its key.
    pub(super) entries: Vec<(usize, &'a str)>,
    /// Values of the columns of [`Special::columns`]; `None`: null or missing.
    cells: Vec<Option<Cell<'a>>>,
    unescaped: Unescaped,
    /// A key that the line has twice.
    duplicate: Option<usize>,
}

/// A value that is not null.
#[derive(Debug, Clone)]
enum Cell<'a> {
    /// Where its text is.
    String(Range<usize>),
    /// JSON text that stands for itself.
    Other(&'a str),
}

/// The keys in order of their first line, valid or not.
#[derive(Debug, Default)]
struct Keys {
    all: Vec<Key>,
    index_of: HashMap<Box<str>, usize>,
    /// Key at each place of the line before: lines mostly have the same keys in the same order.
    last_line: Vec<usize>,
}

#[derive(Debug)]
struct Key {
    name: Box<str>,
    /// Number of the last line that has it.
    line: u64,
    /// Index in [`Special::columns`].
    special: Option<usize>,
}

impl Keys {
    /// Index of the key at a place of a line.
    fn index(&mut self, place: usize, name: &str, special: &Special) -> usize {
        if let Some(&index) = self.last_line.get(place)
            && *self.all[index].name == *name
        {
            return index;
        }
        let index = self.index_of.get(name).copied().unwrap_or_else(|| {
            let special = special.columns.iter().position(|column| column == name);
            self.index_of.insert(name.into(), self.all.len());
            self.all.push(Key { name: name.into(), line: 0, special });
            self.all.len() - 1
        });
        self.last_line.resize(self.last_line.len().max(place + 1), index);
        self.last_line[place] = index;
        index
    }
}

impl<'a> LineReader<'a> {
    pub(super) fn new(special: &'a Special) -> Self {
        Self {
            special,
            keys: Keys::default(),
            n_lines: 0,
            entries: Vec::new(),
            cells: Vec::new(),
            unescaped: Unescaped::default(),
            duplicate: None,
        }
    }

    /// The name of a key in [`entries`](Self::entries).
    pub(super) fn key(&self, index: usize) -> &str {
        &self.keys.all[index].name
    }

    /// Number of keys seen.
    pub(super) fn n_keys(&self) -> usize {
        self.keys.all.len()
    }

    /// Index of a key in [`Special::columns`].
    pub(super) fn special(&self, index: usize) -> Option<usize> {
        self.keys.all[index].special
    }

    /// Number of columns of [`Special::columns`].
    pub(super) fn n_special(&self) -> usize {
        self.special.columns.len()
    }

    /// Text of the value of a column of [`Special::columns`]; `None`: null or missing.
    pub(super) fn cell(&self, column: usize) -> Option<&str> {
        Some(match self.cells[column].as_ref()? {
            Cell::String(range) => self.unescaped.get(range.clone()),
            Cell::Other(text) => text,
        })
    }

    /// Whether the line has text, if text is asked for.
    pub(super) fn has_text(&self) -> bool {
        self.special.has_text(|column| self.cells[column].is_some())
    }

    /// Reads a line into `entries` and the cells.
    ///
    /// # Errors
    /// Why the line is not a row, for people. A row without text is one.
    pub(super) fn read(&mut self, line: &'a str) -> Result<(), String> {
        self.n_lines += 1;
        self.entries.clear();
        self.cells.clear();
        self.cells.resize(self.special.columns.len(), None);
        self.unescaped.clear();
        self.duplicate = None;
        self.walk(line).ok_or_else(|| explain(line))?;
        match self.duplicate {
            Some(index) => Err(format!("the key `{}` is there twice", self.key(index))),
            None => Ok(()),
        }
    }

    /// Goes through the entries of a line; `None` if it is no object or has half a character.
    fn walk(&mut self, line: &'a str) -> Option<()> {
        let mut cursor = Cursor::new(line);
        cursor.take(b'{')?;
        let mut is_open = cursor.take(b'}').is_none();
        while is_open {
            let name = cursor.string(&mut self.unescaped)?;
            let index = self.keys.index(self.entries.len(), self.unescaped.get(name), self.special);
            let key = &mut self.keys.all[index];
            if key.line == self.n_lines {
                self.duplicate.get_or_insert(index);
            }
            key.line = self.n_lines;
            cursor.take(b':')?;
            let (value, cell) = if cursor.peek()? == b'"' {
                let (start, length) = (cursor.position(), self.unescaped.len());
                let text = cursor.string(&mut self.unescaped)?;
                if key.special.is_none() {
                    self.unescaped.truncate(length);
                }
                (&line[start..cursor.position()], Some(Cell::String(text)))
            } else {
                let value = cursor.value()?;
                (value, (value != "null").then_some(Cell::Other(value)))
            };
            if let Some(special) = key.special {
                self.cells[special] = cell;
            }
            self.entries.push((index, value));
            is_open = cursor.take(b',').is_some();
            if !is_open {
                cursor.take(b'}')?;
            }
        }
        cursor.peek().is_none().then_some(())
    }
}

/// Why a line is no object of whole characters.
fn explain(line: &str) -> String {
    match try_for_each_entry(line, |_, _| ()) {
        Err(error) => explain_error(line, &error),
        Ok(()) => "a \\u escape is half of a surrogate pair".into(),
    }
}

fn explain_error(line: &str, error: &serde_json::Error) -> String {
    if error.is_data() || !line.trim_start().starts_with('{') {
        let is_json = serde_json::from_str::<&RawValue>(line).is_ok();
        return if is_json { "not a JSON object".into() } else { "not JSON".into() };
    }
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
    format!("not valid JSON at byte {}: {what}", error.column())
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::value::has_lone_surrogate;
    use super::*;
    use crate::source::{Columns, Request, TextExpression};

    #[test]
    fn reasons() {
        let special = Special::default();
        let cases = [
            ("{}", None),
            (r#" {"a":1,"b":{"a":1,"a":2}} "#, None),
            ("1", Some("not a JSON object")),
            ("[{}]", Some("not a JSON object")),
            ("hello", Some("not JSON")),
            (r#"{"a":1"#, Some("not valid JSON at byte 6: EOF while parsing an object")),
            (r#"{"a":1} x"#, Some("not valid JSON at byte 9: trailing characters")),
            (r#"{"a":1,"\u0061":2}"#, Some("the key `a` is there twice")),
            (r#"{"a":["\ud800"]}"#, Some("a \\u escape is half of a surrogate pair")),
            (r#"{"\ud800":1}"#, Some("not valid JSON at byte 9: unexpected end of hex escape")),
        ];
        let mut reader = LineReader::new(&special);
        for (line, expected) in cases {
            assert_eq!(reader.read(line).err().as_deref(), expected, "{line}");
        }
        assert_eq!(reader.read(r#"{"b":1,"a":2}"#), Ok(()));
        let entries: Vec<_> = reader.entries.iter().map(|(key, value)| (reader.key(*key), *value)).collect();
        assert_eq!(entries, [("b", "1"), ("a", "2")]);
    }

    /// What is a row, and what is in it, is what `serde_json` says.
    #[test]
    fn rows_are_those_of_serde_json() {
        let mut random = ChaCha8Rng::seed_from_u64(13);
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            " ",
            "\t",
            "\"",
            "\"a\"",
            "\"b\"",
            "\"\\u0061\"",
            "\"é\\n\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "1",
            "-2.5e3",
            "01",
            "true",
            "null",
            "nul",
            "[1,{\"c\":\"\\udead\"}]",
            "{\"a\":{},\"a\":[]}",
        ];
        let text = Some(TextExpression::column("a"));
        let request = Request { columns: Columns::All, text, id: None, rows: None };
        let special = Special::new(&request).unwrap();
        let mut n_rows = 0;
        for _ in 0..50_000 {
            let mut parts = vec!["{", "\"a\"", ":", "1", ",", "\"b\"", " ", ":", "\"x\"", "}"];
            for _ in 0..random.random_range(0..4) {
                let place = random.random_range(0..parts.len());
                parts[place] = pieces[random.random_range(0..pieces.len())];
            }
            let line = parts.concat();
            let mut expected = Vec::new();
            let is_object = try_for_each_entry(&line, |key, value| expected.push((key.into_owned(), value))).is_ok();
            let mut keys: Vec<&String> = expected.iter().map(|(key, _)| key).collect();
            keys.sort_unstable();
            let has_duplicate = keys.windows(2).any(|keys| keys[0] == keys[1]);
            let is_row = is_object && !has_duplicate && !has_lone_surrogate(&line);
            let mut reader = LineReader::new(&special);
            assert_eq!(reader.read(&line).is_ok(), is_row, "{line}");
            if !is_row {
                continue;
            }
            n_rows += 1;
            let entries: Vec<_> =
                reader.entries.iter().map(|(key, value)| (reader.key(*key).to_owned(), *value)).collect();
            assert_eq!(entries, expected, "{line}");
            let text = expected
                .iter()
                .find(|(key, value)| key == "a" && *value != "null")
                .map(|(_, value)| serde_json::from_str::<String>(value).unwrap_or_else(|_| (*value).to_owned()));
            assert_eq!(reader.cell(0), text.as_deref(), "{line}");
        }
        assert!((5_000..45_000).contains(&n_rows), "{n_rows}");
    }
}
