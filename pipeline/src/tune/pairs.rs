//! All pairs of the sample, by brute force.

use rayon::prelude::*;

use super::sample::Sample;
use crate::Result;
use crate::budget::Reservation;
use crate::context::Context;

/// Less similar pairs are only counted.
pub(super) const NEAR: f64 = 0.45;
/// Parts of the similarity scale in which they are.
pub(super) const N_PARTS: usize = 1000;
/// Rows compared with all before them, before what was found is counted against the budget.
const WAVE_ROWS: usize = 64;

/// Two rows of the sample, by index, and their exact similarity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The earlier row.
    pub earlier: u32,
    /// The later row.
    pub later: u32,
    /// Jaccard similarity of their sets of shingles.
    pub similarity: f64,
}

/// Exact similarities of all pairs of a sample.
#[derive(Debug)]
pub struct Pairs {
    /// Pairs from [`NEAR`] on, in order of the later row, then of the earlier one.
    pub(super) near: Vec<Pair>,
    /// Less similar pairs of two drawn rows, by thousandths of similarity; those without a shared shingle are left out.
    pub(super) far: Vec<u64>,
    _reservation: Reservation,
}

/// What one row has with the rows before it.
#[derive(Default)]
struct Found {
    near: Vec<Pair>,
    far: Vec<u16>,
}

impl Pairs {
    /// Compares every row with every other, on all threads.
    pub fn compare(sample: &Sample, context: &Context) -> Result<Self> {
        let mut reservation = context.budget.reserve("comparing the sample");
        let mut pairs = (Vec::new(), vec![0; N_PARTS]);
        let rows: Vec<usize> = (0..sample.rows.len()).collect();
        for wave in rows.chunks(WAVE_ROWS) {
            context.cancel.check()?;
            let found: Vec<Found> = context
                .pool
                .install(|| wave.par_iter().with_max_len(1).map(|&later| Found::new(sample, later)).collect());
            for found in found {
                reservation.grow(found.near.len() * size_of::<Pair>())?;
                pairs.0.extend(found.near);
                for part in found.far {
                    pairs.1[usize::from(part)] += 1;
                }
            }
        }
        Ok(Self { near: pairs.0, far: pairs.1, _reservation: reservation })
    }
}

impl Found {
    fn new(sample: &Sample, later: usize) -> Self {
        let mut found = Self::default();
        let row = &sample.rows[later];
        for (earlier, other) in sample.rows[..later].iter().enumerate() {
            let similarity = if sample.roles[earlier].is_drawn() && sample.roles[later].is_drawn() {
                Some(row.similarity(other))
            } else {
                row.similarity_reaching(other, NEAR)
            };
            match similarity {
                Some(similarity) if NEAR <= similarity => {
                    found.near.push(Pair { earlier: earlier as u32, later: later as u32, similarity });
                }
                Some(similarity) if 0.0 < similarity => found.far.push((similarity * N_PARTS as f64) as u16),
                _ => {}
            }
        }
        found
    }
}
