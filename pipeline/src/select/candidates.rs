//! The best rows of a pool, held in bounded memory.

use half::f16;
use polars::prelude::*;

use crate::Result;
use crate::budget::{Budget, Reservation};

/// A row that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Lower is sooner; neither NaN nor a negative zero.
    pub(super) order: f32,
    /// Hash of the row's id: breaks ties.
    pub(super) key: u64,
    /// Position of the row; breaks ties of rows of one id.
    pub(super) row: u64,
    /// Number of the row's stratum.
    pub(super) stratum: u32,
    /// Hash of the row's near-duplicate cluster.
    pub(super) cluster: u64,
    /// What the strategy measures of the row, as the scorer says it.
    pub(super) value: f32,
    /// What gains are multiplied by: 1, or less for rows that cost more.
    pub(super) weight: f32,
    /// The two most probable classes.
    pub(super) best_classes: [u32; 2],
}

/// The first `capacity` rows by (order, key, row), one of each (stratum, cluster), at most `stratum_capacity` of each
/// stratum.
///
/// # Determinism
/// A function of the set of rows pushed: a row that pruning drops has `capacity` or `stratum_capacity` better rows of
/// other clusters before it, and every later row can only add to those.
///
/// # Cost
/// Memory for `5/4 * capacity` rows and their embeddings, asked from the budget as it grows.
#[derive(Debug)]
pub(super) struct Candidates {
    capacity: usize,
    stratum_capacity: usize,
    dimensions: usize,
    n_classes: usize,
    rows: Vec<Candidate>,
    embeddings: Vec<f16>,
    probabilities: Vec<f32>,
    /// Where the last row that can still be among the first ones stands.
    last: Option<(f32, u64)>,
    reservation: Reservation,
}

/// Rows by which a set may outgrow its capacity before it is pruned, at least.
const LEAST_SLACK_ROWS: usize = 1 << 12;

impl Candidates {
    /// An empty set; `dimensions` is 0 if no embeddings are held, and `n_classes` if no probabilities are.
    pub(super) fn new(
        capacity: usize,
        stratum_capacity: usize,
        [dimensions, n_classes]: [usize; 2],
        budget: &Budget,
    ) -> Self {
        Self {
            capacity,
            stratum_capacity,
            dimensions,
            n_classes,
            rows: Vec::new(),
            embeddings: Vec::new(),
            probabilities: Vec::new(),
            last: None,
            reservation: budget.reserve("selection"),
        }
    }

    /// Whether a row of this order and key may be among the first ones, as far as can be told.
    pub(super) fn may_hold(&self, order: f32, key: u64) -> bool {
        self.last.is_none_or(|last| order.total_cmp(&last.0).then(key.cmp(&last.1)).is_le())
    }

    /// Adds a row.
    pub(super) fn push(&mut self, candidate: Candidate, embedding: &[f16], probabilities: &[f32]) -> Result<()> {
        if !self.may_hold(candidate.order, candidate.key) {
            return Ok(());
        }
        let most_rows = self.capacity + (self.capacity / 4).max(LEAST_SLACK_ROWS);
        if most_rows <= self.rows.len() {
            self.prune()?;
        }
        if self.rows.len() == self.rows.capacity() {
            let more = self.rows.len().max(LEAST_SLACK_ROWS).min(most_rows - self.rows.len());
            self.reservation.grow(more * self.row_bytes())?;
            self.rows.reserve_exact(more);
            self.embeddings.reserve_exact(more * self.dimensions);
            self.probabilities.reserve_exact(more * self.n_classes);
        }
        self.rows.push(candidate);
        self.embeddings.extend_from_slice(&embedding[..self.dimensions]);
        self.probabilities.extend_from_slice(&probabilities[..self.n_classes]);
        Ok(())
    }

    /// Components of an embedding and probabilities that are held of a row.
    pub(super) fn widths(&self) -> [usize; 2] {
        [self.dimensions, self.n_classes]
    }

    fn row_bytes(&self) -> usize {
        size_of::<Candidate>() + self.dimensions * size_of::<f16>() + self.n_classes * size_of::<f32>()
    }

    /// Drops what cannot be among the first ones any more, and sorts the rest.
    fn prune(&mut self) -> Result<()> {
        let of = |field: fn(&Candidate) -> u64| self.rows.iter().map(field).collect::<Vec<u64>>();
        let frame = df!(
            "order" => self.rows.iter().map(|row| row.order).collect::<Vec<f32>>(),
            "key" => of(|row| row.key),
            "row" => of(|row| row.row),
            "stratum" => self.rows.iter().map(|row| row.stratum).collect::<Vec<u32>>(),
            "cluster" => of(|row| row.cluster),
            "index" => (0..self.rows.len() as u32).collect::<Vec<u32>>(),
        )?;
        let cluster = cols(["stratum", "cluster"]);
        let place = RankOptions { method: RankMethod::Ordinal, descending: false };
        let first = frame
            .lazy()
            .sort(["order", "key", "row"], SortMultipleOptions::default())
            .unique_stable(Some(cluster), UniqueKeepStrategy::First)
            .with_row_index("place", None)
            .filter(
                col("place")
                    .rank(place, None)
                    .over([col("stratum")])?
                    .lt_eq(lit(self.stratum_capacity.min(u32::MAX as usize) as u32)),
            )
            .limit(self.capacity.min(u32::MAX as usize) as IdxSize)
            .select([col("index")])
            .collect()?;
        let kept: Vec<usize> = first.column("index")?.u32()?.into_no_null_iter().map(|index| index as usize).collect();
        self.embeddings = taken(&self.embeddings, self.dimensions, &kept);
        self.probabilities = taken(&self.probabilities, self.n_classes, &kept);
        let mut rows = Vec::with_capacity(self.rows.capacity());
        rows.extend(kept.iter().map(|&index| self.rows[index]));
        self.rows = rows;
        if self.rows.len() == self.capacity {
            self.last = self.rows.last().map(|row| (row.order, row.key));
        }
        Ok(())
    }

    /// The first rows, in order, and their embeddings one after the other.
    pub(super) fn finish(mut self) -> Result<Finished> {
        self.prune()?;
        Ok(Finished {
            rows: self.rows,
            embeddings: self.embeddings,
            probabilities: self.probabilities,
            dimensions: self.dimensions,
            reservation: self.reservation,
            others: Vec::new(),
        })
    }
}

/// Rows of `width` values, in a vector of the same capacity.
fn taken<T: Copy>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    let mut taken = Vec::with_capacity(values.len());
    for &row in rows {
        taken.extend_from_slice(&values[row * width..][..width]);
    }
    taken
}

/// What [`Candidates`] found.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) rows: Vec<Candidate>,
    embeddings: Vec<f16>,
    /// Row by row; none if they are not held.
    pub(super) probabilities: Vec<f32>,
    dimensions: usize,
    reservation: Reservation,
    /// Of sets that were added.
    others: Vec<Reservation>,
}

impl Finished {
    /// The embeddings of all rows, one after the other, in single precision; they are no longer held in half.
    pub(super) fn take_points(&mut self) -> Result<Vec<f32>> {
        self.reservation.grow(self.embeddings.len() * size_of::<f32>())?;
        let points = self.embeddings.iter().map(|x| x.to_f32()).collect();
        self.embeddings = Vec::new();
        Ok(points)
    }

    /// Adds rows that are not there yet.
    pub(super) fn add(&mut self, other: Self) {
        let known: std::collections::HashSet<u64> = self.rows.iter().map(|row| row.row).collect();
        let new: Vec<usize> = (0..other.rows.len()).filter(|&index| !known.contains(&other.rows[index].row)).collect();
        self.rows.extend(new.iter().map(|&index| other.rows[index]));
        self.embeddings.extend(taken(&other.embeddings, other.dimensions, &new));
        self.others.push(other.reservation);
    }

    /// The embedding of a row, until it is [taken](Self::take_points).
    pub(super) fn embedding(&self, index: usize) -> &[f16] {
        &self.embeddings[index * self.dimensions..][..self.dimensions]
    }

    /// The probabilities of a row.
    pub(super) fn probabilities_of(&self, index: usize) -> &[f32] {
        let n_classes = self.probabilities.len() / self.rows.len();
        &self.probabilities[index * n_classes..][..n_classes]
    }

    /// Components of an embedding; 0 if none are held.
    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }
}
