//! What makes a batch of proposals: who is let in, where the random slice goes, what is said of each row.

use std::collections::{HashMap, HashSet};

use super::Strategy;
use super::candidates::Candidate;
use super::strategy::Proposal;

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

/// Score of a row that a strategy has chosen, and the reason for people.
pub(super) fn explain(strategy: Strategy, row: &Candidate, proposal: &Proposal, classes: &[String]) -> (f64, String) {
    let class = |place: usize| classes.get(row.best_classes[place] as usize).map_or("", String::as_str);
    let order = f64::from(row.order);
    match strategy {
        Strategy::Margin => (1.0 - order, format!("margin {order:.2} between `{}` and `{}`", class(0), class(1))),
        Strategy::LeastConfidence => (1.0 - order, format!("at most {order:.2} sure, of `{}`", class(0))),
        Strategy::Entropy => (-order, format!("entropy {:.2}, `{}` or `{}` first", -order, class(0), class(1))),
        Strategy::Auto | Strategy::Random | Strategy::Typiclust => {
            let Proposal { typicality, cluster, cluster_size, .. } = *proposal;
            let rows = if cluster_size == 1 { "row" } else { "rows" };
            (typicality, format!("typical of cluster {cluster} ({cluster_size} {rows})"))
        }
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
