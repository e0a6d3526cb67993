//! Reading a line: the checks that make a row a reject, and its entries.

use std::collections::HashMap;

use memchr::memmem::Finder;
use serde_json::value::RawValue;

use super::value::{has_lone_surrogate, try_for_each_entry};
use crate::source::special::{Cell, Special};

/// Reads lines of one block; knows the keys it has seen.
#[derive(Debug)]
pub(super) struct LineReader<'a> {
    special: &'a Special,
    /// Keys in order of their first line, valid or not.
    keys: Vec<Key>,
    index_of: HashMap<Box<str>, usize>,
    /// Key at each place of the line before: lines mostly have the same keys in the same order.
    last_line: Vec<usize>,
    n_lines: u64,
    unicode_escape: Finder<'static>,
    /// Key and value of each entry of the line.
    pub(super) entries: Vec<(usize, &'a RawValue)>,
    /// Values of the columns of [`Special::columns`]; `None`: null or missing.
    pub(super) cells: Vec<Option<Cell<'a>>>,
}

#[derive(Debug)]
struct Key {
    name: Box<str>,
    /// Number of the last line that has it.
    line: u64,
    /// Index in [`Special::columns`].
    special: Option<usize>,
}

impl<'a> LineReader<'a> {
    pub(super) fn new(special: &'a Special) -> Self {
        Self {
            special,
            keys: Vec::new(),
            index_of: HashMap::new(),
            last_line: Vec::new(),
            n_lines: 0,
            unicode_escape: Finder::new("\\u"),
            entries: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// The name of a key in [`entries`](Self::entries).
    pub(super) fn key(&self, index: usize) -> &str {
        &self.keys[index].name
    }

    /// Number of keys seen.
    pub(super) fn n_keys(&self) -> usize {
        self.keys.len()
    }

    /// Index of a key in [`Special::columns`].
    pub(super) fn special(&self, index: usize) -> Option<usize> {
        self.keys[index].special
    }

    /// Whether the line has text, if text is asked for.
    pub(super) fn has_text(&self) -> bool {
        self.special.has_text(|column| self.cells[column].is_some())
    }

    /// Reads a line into `entries` and `cells`.
    ///
    /// # Errors
    /// Why the line is not a row, for people. A row without text is one.
    pub(super) fn read(&mut self, line: &'a str) -> Result<(), String> {
        self.n_lines += 1;
        self.entries.clear();
        self.cells.clear();
        self.cells.resize(self.special.columns.len(), None);
        let mut duplicate = None;
        let parsed = try_for_each_entry(line, |name, value| {
            let index = self.key_index(&name);
            let key = &mut self.keys[index];
            if key.line == self.n_lines {
                duplicate.get_or_insert(index);
            }
            key.line = self.n_lines;
            if let Some(special) = key.special {
                self.cells[special] = (value.get() != "null").then_some(Cell::Json(value));
            }
            self.entries.push((index, value));
        });
        parsed.map_err(|error| explain(line, &error))?;
        if let Some(index) = duplicate {
            return Err(format!("the key `{}` is there twice", self.key(index)));
        }
        if self.unicode_escape.find(line.as_bytes()).is_some() && has_lone_surrogate(line) {
            return Err("a \\u escape is half of a surrogate pair".into());
        }
        Ok(())
    }

    fn key_index(&mut self, name: &str) -> usize {
        let place = self.entries.len();
        if let Some(&index) = self.last_line.get(place)
            && *self.keys[index].name == *name
        {
            return index;
        }
        let index = self.index_of.get(name).copied().unwrap_or_else(|| {
            let special = self.special.columns.iter().position(|column| column == name);
            self.index_of.insert(name.into(), self.keys.len());
            self.keys.push(Key { name: name.into(), line: 0, special });
            self.keys.len() - 1
        });
        self.last_line.resize(self.last_line.len().max(place + 1), index);
        self.last_line[place] = index;
        index
    }
}

fn explain(line: &str, error: &serde_json::Error) -> String {
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
    use super::*;

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
        let entries: Vec<_> = reader.entries.iter().map(|(key, value)| (reader.key(*key), value.get())).collect();
        assert_eq!(entries, [("b", "1"), ("a", "2")]);
    }
}
