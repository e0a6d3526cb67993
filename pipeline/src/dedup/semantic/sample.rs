//! The vectors that centroids are learnt from: a sample by the hash of the row.

use std::collections::BinaryHeap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::STAGE;
use super::vectors::Vectors;
use crate::Result;
use crate::budget::Reservation;
use crate::context::Context;
use crate::dedup::tape::RowTableWriter;

/// Vectors at most.
const MOST_ROWS: usize = 16_384;
/// Vectors for each centroid, as long as there are no more of them than that.
const ROWS_PER_CLUSTER: usize = 64;

/// The rows of the least hashes.
#[derive(Debug)]
pub(super) struct Sample {
    seed: u64,
    /// Hash, and place on the tape.
    rows: BinaryHeap<(u64, u64)>,
}

impl Sample {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, rows: BinaryHeap::new() }
    }

    /// Takes the row at `place` of the tape, if its hash is low enough.
    pub(super) fn offer(&mut self, row: u64, place: u64) {
        let hash = xxh3_64_with_seed(&row.to_le_bytes(), self.seed);
        if self.rows.len() == MOST_ROWS && self.rows.peek().is_some_and(|greatest| *greatest < (hash, place)) {
            return;
        }
        self.rows.push((hash, place));
        if self.rows.len() > MOST_ROWS {
            self.rows.pop();
        }
    }

    /// Vectors of length 1 for `n_clusters`, in the order of the hashes, and what is reserved for them.
    pub(super) fn read(
        self,
        n_clusters: usize,
        vectors: &RowTableWriter<u16>,
        dimensions: usize,
        context: &Context,
    ) -> Result<(Vec<f32>, Reservation)> {
        let mut rows = self.rows.into_sorted_vec();
        rows.truncate(n_clusters.saturating_mul(ROWS_PER_CLUSTER));
        let mut values = Vec::new();
        let mut reservation = context.budget.reserve(STAGE);
        reservation.grow(rows.len() * dimensions * size_of::<f32>())?;
        for (_, place) in rows {
            values.extend(Vectors::new(&vectors.records(place, 1, context)?, dimensions).into_directions());
        }
        Ok((values, reservation))
    }
}
