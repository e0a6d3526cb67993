//! Paragraphs and lines of a text, and the keys by which they are compared.

use std::collections::HashSet;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128;

use crate::dedup::fingerprint::count_chars;
use crate::dedup::normalize::{Normalize, Normalizer};
use crate::dedup::token::tokenize;

/// What a text is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Lines up to a blank one; blank is a line of nothing but white space.
    Paragraph,
    /// What stands between two line breaks, `\n` or `\r\n`.
    Line,
}

/// Which units are compared, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitSettings {
    /// What texts are divided into.
    pub unit: Unit,
    /// A unit of fewer tokens is not compared; at least 1.
    pub min_tokens: usize,
    /// What is evened out before units are compared.
    pub normalize: Normalize,
}

/// Finds the units of `text`: their bytes, the line break or the blank lines after them left out. Blank lines are units
/// where the unit is a line.
pub(super) fn find(text: &str, unit: Unit, units: &mut Vec<Range<usize>>) {
    units.clear();
    let mut start = 0;
    let mut is_open = false;
    loop {
        let line_break = memchr::memchr(b'\n', &text.as_bytes()[start..]).map(|at| start + at);
        let line = &text[start..line_break.unwrap_or(text.len())];
        let line = if line_break.is_some() { line.strip_suffix('\r').unwrap_or(line) } else { line };
        let end = start + line.len();
        match unit {
            Unit::Line => units.push(start..end),
            Unit::Paragraph => {
                let is_blank = line.trim().is_empty();
                match units.last_mut() {
                    _ if is_blank => {}
                    Some(paragraph) if is_open => paragraph.end = end,
                    _ => units.push(start..end),
                }
                is_open = !is_blank;
            }
        }
        match line_break {
            Some(at) => start = at + 1,
            None => break,
        }
    }
}

/// A unit that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitKey {
    /// Which unit of the text it is, from 0.
    pub(super) ordinal: u32,
    /// Characters, white space at both ends left out.
    pub(super) n_chars: u32,
    /// Hash of its normalized text, white space at both ends left out.
    pub(super) key: u128,
}

/// Reads one text after the other, with buffers that are reused.
#[derive(Debug)]
pub(super) struct UnitReader {
    settings: UnitSettings,
    normalizer: Normalizer,
    tokens: Vec<u64>,
    units: Vec<Range<usize>>,
    keys: Vec<UnitKey>,
    seen: HashSet<u128>,
}

impl UnitReader {
    pub(super) fn new(settings: UnitSettings) -> Self {
        Self {
            settings,
            normalizer: Normalizer::new(settings.normalize),
            tokens: Vec::new(),
            units: Vec::new(),
            keys: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// The units that are compared, in text order, and the characters of all units.
    pub(super) fn read(&mut self, text: &str) -> (&[UnitKey], u64) {
        self.keys.clear();
        find(text, self.settings.unit, &mut self.units);
        let mut total_chars = 0;
        for (ordinal, unit) in self.units.iter().enumerate() {
            let unit = text[unit.clone()].trim();
            let n_chars = count_chars(unit);
            total_chars += n_chars;
            if unit.len() < self.settings.min_tokens {
                continue;
            }
            let normalized = self.normalizer.normalize(unit);
            self.tokens.clear();
            tokenize(normalized, &mut self.tokens);
            if self.tokens.len() >= self.settings.min_tokens {
                self.keys.push(UnitKey { ordinal: ordinal as u32, n_chars: n_chars as u32, key: xxh3_128(normalized) });
            }
        }
        (&self.keys, total_chars)
    }

    /// The units that occur earlier in the same text, and the characters of all units.
    pub(super) fn read_repeats(&mut self, text: &str) -> (impl Iterator<Item = UnitKey>, u64) {
        let (_, total_chars) = self.read(text);
        let Self { keys, seen, .. } = self;
        seen.clear();
        (keys.iter().copied().filter(|unit| !seen.insert(unit.key)), total_chars)
    }
}
