//! Pieces of units that must all come, each once.

use std::collections::BTreeMap;
use std::ops::Range;

/// Of each unit, the pieces that have not come yet. They come in their order.
#[derive(Debug, Default)]
pub(super) struct Expected(BTreeMap<u64, Range<u64>>);

impl Expected {
    /// A unit has so many pieces. `false`: it was said before.
    pub(super) fn expect(&mut self, unit: u64, n_pieces: u64) -> bool {
        self.0.insert(unit, 0..n_pieces).is_none()
    }

    /// A piece has come. `false`: it is not the next one of its unit.
    pub(super) fn take(&mut self, unit: u64, piece: u64) -> bool {
        self.0.get_mut(&unit).is_some_and(|left| left.next() == Some(piece))
    }

    /// Units of which it was said how many pieces they have.
    pub(super) fn n_units(&self) -> usize {
        self.0.len()
    }

    /// Unit and number of a piece that has not come.
    pub(super) fn missing(&self) -> Option<(u64, u64)> {
        self.0.iter().find(|(_, left)| !left.is_empty()).map(|(unit, left)| (*unit, left.start))
    }
}
