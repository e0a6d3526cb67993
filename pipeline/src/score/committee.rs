//! What the members of a committee disagree on.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array};
use arrow::datatypes::{DataType, Field};
use tamis_schemas::columns;

use super::answers::top_two;

/// Disagreement of the members about each row.
#[derive(Debug, Default)]
pub(super) struct Disagreement {
    bald: Vec<f32>,
    vote_entropy: Vec<f32>,
    min_margin: Vec<f32>,
}

impl Disagreement {
    /// Adds a row.
    ///
    /// # Shape
    /// `probabilities`: those of each member, one after the other, `n_outputs` each: of classes, which sum to 1, or else of labels that a
    /// row has or has not, of which each is a question of its own.
    ///
    /// # Source
    /// Houlsby et al.: Bayesian Active Learning for Classification and Preference Learning, 2011 (BALD); Dagan, Engelson: Committee-Based Sampling, ICML
    /// 1995 (vote entropy); Jiang, Gupta: Bootstrapping for Batch Active Sampling, KDD 2021 (the least margin).
    pub(super) fn push(&mut self, probabilities: &[f32], n_outputs: usize, is_exclusive: bool) {
        let members: Vec<&[f32]> = probabilities.chunks_exact(n_outputs).collect();
        if is_exclusive {
            self.add(&members);
        } else {
            let questions = (0..n_outputs).map(|label| {
                let answers: Vec<[f32; 2]> =
                    members.iter().map(|member| [member[label], 1.0 - member[label]]).collect();
                let mut one = Self::default();
                one.add(&answers.iter().map(<[f32; 2]>::as_slice).collect::<Vec<_>>());
                (one.bald[0], one.vote_entropy[0], one.min_margin[0])
            });
            let add = |sum: (f32, f32, f32), one: (f32, f32, f32)| (sum.0 + one.0, sum.1 + one.1, sum.2.min(one.2));
            let (bald, vote_entropy, min_margin) = questions.fold((0.0, 0.0, 1.0), add);
            self.bald.push(bald / n_outputs as f32);
            self.vote_entropy.push(vote_entropy / n_outputs as f32);
            self.min_margin.push(min_margin);
        }
    }

    fn add(&mut self, members: &[&[f32]]) {
        let n_classes = members[0].len();
        let share = 1.0 / members.len() as f32;
        let (mut mean, mut votes) = (vec![0.0; n_classes], vec![0.0; n_classes]);
        let (mut mean_entropy, mut min_margin) = (0.0, 1.0f32);
        for probabilities in members {
            let [first, second] = top_two(probabilities);
            votes[first] += share;
            min_margin = min_margin.min(probabilities[first] - probabilities[second]);
            mean_entropy += entropy(probabilities) * share;
            mean.iter_mut().zip(*probabilities).for_each(|(mean, p)| *mean += p * share);
        }
        self.bald.push((entropy(&mean) - mean_entropy).max(0.0));
        self.vote_entropy.push((entropy(&votes) / (n_classes as f32).ln()).clamp(0.0, 1.0));
        self.min_margin.push(min_margin);
    }

    /// The columns, in the order of [`fields`].
    pub(super) fn columns(self) -> Vec<ArrayRef> {
        let columns = [self.bald, self.vote_entropy, self.min_margin];
        columns.into_iter().map(|values| Arc::new(Float32Array::from(values)) as ArrayRef).collect()
    }
}

/// The columns that a committee adds.
pub(super) fn fields() -> [Field; 3] {
    [columns::BALD, columns::VOTE_ENTROPY, columns::MIN_MARGIN].map(|name| Field::new(name, DataType::Float32, true))
}

/// Entropy in nats.
fn entropy(probabilities: &[f32]) -> f32 {
    probabilities.iter().filter(|&&p| 0.0 < p).map(|p| -p * p.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(probabilities: &[f32], n_outputs: usize, is_exclusive: bool) -> [f32; 3] {
        let mut disagreement = Disagreement::default();
        disagreement.push(probabilities, n_outputs, is_exclusive);
        [disagreement.bald[0], disagreement.vote_entropy[0], disagreement.min_margin[0]]
    }

    fn near(found: [f32; 3], expect: [f32; 3]) {
        assert!(found.iter().zip(expect).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} {expect:?}");
    }

    #[test]
    fn by_hand() {
        // Of one mind: nothing to disagree on, however unsure.
        near(of(&[0.5, 0.5, 0.5, 0.5], 2, true), [0.0, 0.0, 0.0]);
        // Each sure, of another class: all of the entropy is disagreement.
        near(of(&[1.0, 0.0, 0.0, 1.0], 2, true), [2.0f32.ln(), 1.0, 1.0]);
        // Two to one among three classes.
        let votes = -(2.0 / 3.0 * (2.0f32 / 3.0).ln() + 1.0 / 3.0 * (1.0f32 / 3.0).ln()) / 3.0f32.ln();
        let h = |p: f32| -p * p.ln();
        let bald = h(2.0 / 3.0) + h(0.8 / 3.0) + h(0.2 / 3.0) - (h(0.8) + h(0.2)) / 3.0;
        near(of(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.8, 0.2], 3, true), [bald, votes, 0.6]);
        // Two labels: of one mind about the first, split about the second.
        near(of(&[0.9, 1.0, 0.9, 0.0], 2, false), [2.0f32.ln() / 2.0, 0.5, 0.8]);
    }
}
