//! Rows that pairs connect.

use std::collections::HashMap;

use crate::Result;
use crate::budget::Reservation;
use crate::context::Context;

/// Union-find over the rows with an edge; the root of a tree is its least row.
///
/// Held in memory, about 48 bytes for each row that is not a root: the one thing in the search that cannot spill.
#[derive(Debug)]
pub(super) struct Forest {
    parents: HashMap<u64, u64>,
    reservation: Reservation,
}

impl Forest {
    const BYTES_PER_ROW: usize = 48;
    const GROW_ROWS: usize = 1 << 12;

    pub(super) fn new(stage: &'static str, context: &Context) -> Self {
        Self { parents: HashMap::new(), reservation: context.budget.reserve(stage) }
    }

    /// The least row that is connected to `row`.
    pub(super) fn root(&mut self, row: u64) -> u64 {
        let mut at = row;
        while let Some(&parent) = self.parents.get(&at) {
            if let Some(&grandparent) = self.parents.get(&parent) {
                self.parents.insert(at, grandparent);
            }
            at = parent;
        }
        at
    }

    /// Connects two rows.
    ///
    /// # Errors
    /// `Error::OverBudget`; the forest is as before then.
    pub(super) fn join(&mut self, left: u64, right: u64) -> Result<()> {
        let (left, right) = (self.root(left), self.root(right));
        if left == right {
            return Ok(());
        }
        if self.parents.len() * Self::BYTES_PER_ROW >= self.reservation.bytes() {
            self.reservation.grow(Self::GROW_ROWS * Self::BYTES_PER_ROW)?;
        }
        self.parents.insert(left.max(right), left.min(right));
        Ok(())
    }

    /// Each row but the roots with the root of its tree, by row; the forest is empty then.
    pub(super) fn take(&mut self) -> Vec<(u64, u64)> {
        let mut rows: Vec<u64> = self.parents.keys().copied().collect();
        rows.sort_unstable();
        let links = rows.into_iter().map(|row| (row, self.root(row))).collect();
        self.parents.clear();
        links
    }
}
