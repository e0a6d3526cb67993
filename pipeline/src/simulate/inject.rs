//! What makes a pool harder than it was.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::world::Row;
use crate::{Error, Result};

/// Changes of the pool; test rows stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Injection {
    /// How often each row is there: 1 leaves them as they are.
    pub duplicate: usize,
    /// How many times as many rows the largest class has as the smallest, the others in between: 1 leaves them as they are.
    pub imbalance: f64,
    /// Share of the rows whose label is another one.
    pub noise: f64,
    /// Seed of what is left out and of the wrong labels.
    pub seed: u64,
}

impl Default for Injection {
    fn default() -> Self {
        Self { duplicate: 1, imbalance: 1.0, noise: 0.0, seed: 0 }
    }
}

impl Injection {
    pub(super) fn validate(&self) -> Result<()> {
        if self.duplicate == 0 {
            return Err(Error::config("duplicate must be at least 1: how often each row is there"));
        }
        if !(self.imbalance.is_finite() && 1.0 <= self.imbalance) {
            return Err(Error::config("imbalance must be 1 or more: how many times larger the largest class is"));
        }
        if !(0.0..=1.0).contains(&self.noise) {
            return Err(Error::config("noise must be 0 to 1: the share of wrong labels"));
        }
        Ok(())
    }

    /// The pool as it is replayed: fewer rows of most classes, then wrong labels, then copies.
    pub(super) fn apply(&self, mut rows: Vec<Row>, n_classes: usize) -> Vec<Row> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        if 1.0 < self.imbalance {
            rows = self.unbalance(&rows, n_classes, &mut random);
        }
        if 0.0 < self.noise && 1 < n_classes {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.shuffle(&mut random);
            for &row in order.iter().take((self.noise * rows.len() as f64).round() as usize) {
                let other = random.random_range(1..n_classes as u32);
                rows[row].label = (rows[row].label + other) % n_classes as u32;
            }
        }
        let copy = |row: &Row, number: usize| Row { id: format!("{}#{number}", row.id), ..row.clone() };
        let copies = |number: usize| rows.iter().map(move |row| (number, row));
        let more: Vec<Row> = (2..=self.duplicate).flat_map(copies).map(|(number, row)| copy(row, number)).collect();
        rows.extend(more);
        rows
    }

    /// Classes in the order of their sizes, each smaller than the one before by the same ratio, the largest as large as it was.
    fn unbalance(&self, rows: &[Row], n_classes: usize, random: &mut ChaCha8Rng) -> Vec<Row> {
        let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); n_classes];
        for (index, row) in rows.iter().enumerate() {
            of_class[row.label as usize].push(index);
        }
        of_class.sort_by_key(|members| std::cmp::Reverse(members.len()));
        let largest = of_class[0].len() as f64;
        let mut kept = Vec::new();
        for (place, members) in of_class.iter_mut().enumerate() {
            let exponent = place as f64 / (n_classes.max(2) - 1) as f64;
            let wanted = (largest * self.imbalance.powf(-exponent)).round().max(1.0) as usize;
            members.shuffle(random);
            kept.extend(members.iter().copied().take(wanted));
        }
        kept.sort_unstable();
        kept.into_iter().map(|index| rows[index].clone()).collect()
    }
}
