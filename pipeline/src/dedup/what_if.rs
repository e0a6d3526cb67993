//! What would be left of the dropped rows at higher thresholds, from their evidence alone.

use super::assign::{Drop, Rule};

/// Steps of the similarity scale: thresholds are its multiples of 0.05.
const N_STEPS: u32 = 20;

/// Counts the rows whose proven similarity to the row kept for them reaches each higher threshold.
///
/// Under star linkage a rerun at such a threshold T drops every row counted whose kept row it keeps as well: the two are a
/// pair of that run too. With W rows counted, and L of these counted for kept rows that the rerun drops (X in number), a rerun
/// drops at least `W - L + X` rows. Under connected linkage it drops at least W, since a direct pair with an earlier row is
/// enough. In both it may drop more, for rows that are dropped now. Sketch estimates count as they are, and a row's proof
/// stops at the first pair that suffices, so that its similarity to a better row may be higher than the evidence says.
#[derive(Debug)]
pub(super) struct WhatIf {
    points: Vec<(f64, u64)>,
}

impl WhatIf {
    /// Counters for the multiples of 0.05 above `threshold`, up to 1.
    pub(super) fn above(threshold: f64) -> Self {
        let steps = (1..=N_STEPS).map(|step| f64::from(step) / f64::from(N_STEPS));
        Self { points: steps.filter(|&step| threshold < step).map(|step| (step, 0)).collect() }
    }

    /// Sees a dropped row. A chain of pairs proves nothing at a higher threshold.
    pub(super) fn count(&mut self, drop: &Drop) {
        if drop.rule == Rule::Connected {
            return;
        }
        for (threshold, n_rows) in &mut self.points {
            *n_rows += u64::from(*threshold <= drop.similarity.value());
        }
    }

    /// Thresholds and counts.
    pub(super) fn into_points(self) -> Vec<(f64, u64)> {
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_the_multiples_above() {
        let above = |threshold| WhatIf::above(threshold).points.iter().map(|point| point.0).collect::<Vec<_>>();
        assert_eq!(above(0.8), [0.85, 0.9, 0.95, 1.0]);
        assert_eq!(above(0.849), [0.85, 0.9, 0.95, 1.0]);
        assert_eq!(above(1.0), [] as [f64; 0]);
        assert_eq!(above(0.01).len(), 20);
    }
}
