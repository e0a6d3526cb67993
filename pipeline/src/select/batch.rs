//! What makes a batch of proposals: who is let in, where the random slice goes, what is said of each row.

use std::collections::{HashMap, HashSet};

use super::acquire::Proposal;
use super::candidates::Candidate;
use super::{Opinion, Strategy};
use crate::points::{Points, dot};

/// Lets a row in if its near-duplicate cluster has none yet and its stratum has room.
#[derive(Debug)]
pub(super) struct Admission {
    max_per_stratum: usize,
    n_of_stratum: HashMap<u32, usize>,
    clusters: HashSet<u64>,
}

impl Admission {
    /// Lets in at most `max_per_stratum` rows of each stratum.
    pub(super) fn new(max_per_stratum: usize) -> Self {
        Self { max_per_stratum, n_of_stratum: HashMap::new(), clusters: HashSet::new() }
    }

    /// Whether the row is let in; it then counts.
    pub(super) fn admit(&mut self, row: &Candidate) -> bool {
        let n_of_stratum = self.n_of_stratum.entry(row.stratum).or_default();
        let is_let_in = *n_of_stratum < self.max_per_stratum && self.clusters.insert(row.cluster);
        *n_of_stratum += usize::from(is_let_in);
        is_let_in
    }
}

/// Both lists in one, each in its order, `few` at even distances.
pub(super) fn spread<T>(many: Vec<T>, few: Vec<T>) -> Vec<T> {
    let (n, n_few) = (many.len() + few.len(), few.len());
    let (mut many, mut few) = (many.into_iter(), few.into_iter());
    let mut n_placed = 0;
    (0..n)
        .filter_map(|place| {
            // The i-th of `few` is due at the middle of the i-th of `n_few` equal parts.
            if n_placed < n_few && (2 * n_placed + 1) * n / (2 * n_few) <= place {
                n_placed += 1;
                few.next()
            } else {
                many.next()
            }
        })
        .collect()
}

/// Lets no row in whose embedding is too close to one that is labelled or chosen.
#[derive(Debug)]
pub(super) struct Distance<'a> {
    /// Most cosine.
    most: f32,
    points: Points<'a>,
    /// What is labelled or chosen, each of length 1.
    near: Vec<f32>,
}

impl<'a> Distance<'a> {
    /// With nothing chosen yet.
    pub(super) fn new(most: f64, points: Points<'a>, labelled: Points<'_>) -> Self {
        let near = (0..labelled.len()).flat_map(|index| direction(labelled.get(index))).collect();
        Self { most: most as f32, points, near }
    }

    /// Whether the row is far enough from all others.
    pub(super) fn allows(&self, index: usize) -> bool {
        let row = direction(self.points.get(index));
        self.near.chunks_exact(row.len()).all(|other| dot(other, &row) <= self.most)
    }

    /// The row is chosen.
    pub(super) fn choose(&mut self, index: usize) {
        self.near.extend(direction(self.points.get(index)));
    }
}

fn direction(vector: &[f32]) -> Vec<f32> {
    let length = dot(vector, vector).sqrt();
    vector.iter().map(|x| if 0.0 < length { x / length } else { 0.0 }).collect()
}

/// Score of a row that is to be labelled once more, and the reason for people.
pub(super) fn explain_again(opinion: &Opinion, classes: &[String]) -> (f64, String) {
    let class = classes.get(opinion.class).map_or("", String::as_str);
    let answers = match opinion.n_votes {
        1 => "1 annotator".to_owned(),
        n => format!("{n} annotators"),
    };
    (1.0 - opinion.score, format!("again: `{class}`, with {answers} and the model {:.2} sure", opinion.quality))
}

/// Score of a row that a strategy has chosen, and the reason for people.
pub(super) fn explain(strategy: Strategy, row: &Candidate, proposal: &Proposal, classes: &[String]) -> (f64, String) {
    let class = |place: usize| classes.get(row.best_classes[place] as usize).map_or("", String::as_str);
    let (value, score) = (f64::from(row.value), proposal.score);
    let margin = || format!("margin {value:.2} between `{}` and `{}`", class(0), class(1));
    let cluster = || match proposal.cluster {
        Some((number, 1)) => format!("cluster {number} (1 row)"),
        Some((number, n_rows)) => format!("cluster {number} ({n_rows} rows)"),
        None => "no cluster".to_owned(),
    };
    match strategy {
        Strategy::Margin | Strategy::Anchor => (1.0 - value, margin()),
        Strategy::ClusterMargin => (1.0 - value, format!("{}, of {}", margin(), cluster())),
        Strategy::Activelab => (1.0 - value, format!("no label yet; the model takes it for `{}`", class(0))),
        Strategy::LeastConfidence => (1.0 - value, format!("at most {value:.2} sure, of `{}`", class(0))),
        Strategy::Entropy => (value, format!("entropy {value:.2}, `{}` or `{}` first", class(0), class(1))),
        Strategy::Bald => (value, format!("the committee disagrees, by {value:.3} nats")),
        Strategy::VoteEntropy => (value, format!("the committee is split, with an entropy of {value:.2}")),
        Strategy::MinMargin => (1.0 - value, format!("margin {value:.2} for the least sure of the committee")),
        Strategy::Typiclust => (score, format!("typical of {}", cluster())),
        Strategy::KMeans => (score, format!("in the middle of {}", cluster())),
        Strategy::KCenter => (score, format!("{score:.2} away from all that is labelled or chosen")),
        Strategy::Probcover => (score, format!("close to {score:.0} rows that nothing else is close to")),
        Strategy::FacilityLocation | Strategy::StochasticFacilityLocation => {
            (score, format!("stands for others, with {score:.2} of similarity that nothing else has"))
        }
        Strategy::Uherding if classes.len() < 2 => (score, format!("stands for {score:.1} rows of a sample")),
        Strategy::Uherding => (score, format!("stands for unsure rows ({score:.1} of a sample); {}", margin())),
        Strategy::Badge => {
            let gradient = score.sqrt();
            (score, format!("a label would change the model by {gradient:.2}, unlike any other; of `{}`?", class(0)))
        }
        Strategy::Auto | Strategy::Random => (score, "random".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_few_are_spread_evenly() {
        for (n_many, n_few, expect) in [
            (0, 0, ""),
            (3, 0, "mmm"),
            (0, 2, "ff"),
            (9, 1, "mmmmmfmmmm"),
            (8, 2, "mmfmmmmfmm"),
            (1, 3, "fmff"),
            (2, 2, "mfmf"),
        ] {
            let spread: String = spread(vec!["m"; n_many], vec!["f"; n_few]).concat();
            assert_eq!(spread, expect, "{n_many} and {n_few}");
        }
    }
}
