//! The rows that are compared, with all that is compared of them.

use super::draw::Chosen;
use crate::budget::Reservation;
use crate::context::Context;
use crate::dedup::{Reader, Settings, Sketch, jaccard, jaccard_reaching, sketch, to_set};
use crate::{Error, Result};

/// Characters of a text that are kept for people.
const OPENING_CHARS: usize = 100;

/// A row with all that is compared of it.
#[derive(Debug, Clone)]
pub struct SampledRow {
    /// Position in the input.
    pub row: u64,
    /// Its id.
    pub id: String,
    /// First words of its text.
    pub opening: String,
    pub(super) exact_key: u128,
    pub(super) set: Vec<u64>,
    pub(super) sketch: Sketch,
}

impl SampledRow {
    /// Reads a text with `reader`.
    pub fn new(reader: &mut Reader, row: u64, id: &str, text: &str) -> Self {
        let (exact_key, shingles) = reader.read(text);
        let sketch = sketch(shingles);
        to_set(shingles);
        Self { row, id: id.to_owned(), opening: opening(text), exact_key, set: shingles.clone(), sketch }
    }

    fn n_bytes(&self) -> usize {
        size_of::<Self>() + 8 * self.set.len() + self.id.len() + self.opening.len()
    }

    /// Exact similarity to another row; equal texts are alike even without a token.
    pub(super) fn similarity(&self, other: &Self) -> f64 {
        if self.exact_key == other.exact_key { 1.0 } else { jaccard(&self.set, &other.set) }
    }

    /// The same, if it reaches `least`.
    pub(super) fn similarity_reaching(&self, other: &Self, least: f64) -> Option<f64> {
        if self.exact_key == other.exact_key { Some(1.0) } else { jaccard_reaching(&self.set, &other.set, least) }
    }
}

/// The first words, white space evened out.
fn opening(text: &str) -> String {
    let mut chars = text.split_whitespace().flat_map(|word| std::iter::once(' ').chain(word.chars())).skip(1);
    let mut opening: String = chars.by_ref().take(OPENING_CHARS).collect();
    if chars.next().is_some() {
        opening.push('…');
    }
    opening
}

/// Why a row is in the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It was drawn, and all its neighbours are there.
    Drawn,
    /// It was drawn, and has more neighbours than are there.
    DrawnOfMany,
    /// It came as a neighbour.
    Neighbour,
}

impl Role {
    pub(super) fn is_drawn(self) -> bool {
        self != Self::Neighbour
    }
}

/// Rows of an input: some drawn at random, and their neighbours. In input order.
#[derive(Debug)]
pub struct Sample {
    pub(super) settings: Settings,
    pub(super) rows: Vec<SampledRow>,
    /// Why each row is there.
    pub(super) roles: Vec<Role>,
    chosen: Chosen,
    n_drawn: usize,
    reservation: Reservation,
}

impl Sample {
    /// Nothing yet of the rows chosen. `settings` say how texts are read, and which recall bands must have.
    pub fn new(settings: Settings, chosen: Chosen, context: &Context) -> Self {
        let reservation = context.budget.reserve("reading the sample");
        Self { settings, rows: Vec::new(), roles: Vec::new(), chosen, n_drawn: 0, reservation }
    }

    /// Adds a chosen row, which comes after all added before.
    pub fn push(&mut self, row: SampledRow) -> Result<()> {
        self.reservation.grow(row.n_bytes())?;
        let role = match (self.chosen.drawn.contains(row.row), self.chosen.cut.contains(row.row)) {
            (true, false) => Role::Drawn,
            (true, true) => Role::DrawnOfMany,
            (false, _) => Role::Neighbour,
        };
        self.n_drawn += usize::from(role.is_drawn());
        self.roles.push(role);
        self.rows.push(row);
        Ok(())
    }

    /// # Errors
    /// `Error::Invariant` if rows are missing: the input changed.
    pub fn check(&self) -> Result<()> {
        let n_missing = self.chosen.rows.len().saturating_sub(self.rows.len() as u64);
        if n_missing == 0 {
            return Ok(());
        }
        Err(Error::Invariant(format!("{n_missing} rows were not there when the input was read again")))
    }

    /// A row of the sample, by its index in a [`Pair`](super::Pair).
    pub fn row(&self, index: u32) -> &SampledRow {
        &self.rows[index as usize]
    }

    /// Rows of the input.
    pub fn n_rows(&self) -> u64 {
        self.chosen.n_rows
    }

    /// Rows drawn at random.
    pub fn n_drawn(&self) -> usize {
        self.n_drawn
    }

    /// Rows that came as neighbours.
    pub fn n_neighbours(&self) -> usize {
        self.rows.len() - self.n_drawn
    }

    /// Rows drawn that have more neighbours than are in the sample.
    pub fn n_cut(&self) -> u64 {
        self.chosen.cut.len()
    }

    /// Whether every row of the input is in the sample.
    pub fn is_whole_input(&self) -> bool {
        self.n_drawn as u64 == self.chosen.n_rows
    }

    /// Shingles of the middle one of the rows drawn.
    pub fn median_shingles(&self) -> usize {
        let drawn = self.rows.iter().zip(&self.roles).filter(|(_, role)| role.is_drawn());
        let mut lengths: Vec<usize> = drawn.map(|(row, _)| row.set.len()).collect();
        lengths.sort_unstable();
        lengths.get(lengths.len() / 2).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_one_short_line() {
        assert_eq!(opening("  One\n\ttwo  three "), "One two three");
        assert_eq!(opening(""), "");
        let long = "äbc ".repeat(60);
        let cut = opening(&long);
        assert!(cut.ends_with('…') && cut.chars().count() == OPENING_CHARS + 1, "{cut}");
        assert_eq!(opening(&"x".repeat(OPENING_CHARS)).chars().count(), OPENING_CHARS);
    }
}
