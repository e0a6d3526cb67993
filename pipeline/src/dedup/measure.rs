//! What the similarity of two sets is.

/// How similar two sets of shingles are, as a number in `0..=1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Measure {
    /// Elements in both sets among those in either: two texts say the same.
    #[default]
    Jaccard,
    /// Elements in both sets among those of the smaller one: a text says nothing that the other does not.
    ///
    /// Under this measure the larger set always comes first in the keep order, so that what is dropped lives on in what stays.
    Containment,
}

/// The least number of elements that a set of `n_elements` shares with one that it is contained in, `threshold` of it at
/// least: the least k with `k / n_elements >= threshold`, as that division rounds.
pub(super) fn least_overlap(n_elements: usize, threshold: f64) -> usize {
    let reaches = |n_shared: usize| n_shared as f64 / n_elements as f64 >= threshold;
    let mut n_shared = (threshold * n_elements as f64).ceil() as usize;
    while n_shared > 0 && reaches(n_shared - 1) {
        n_shared -= 1;
    }
    while n_shared < n_elements && !reaches(n_shared) {
        n_shared += 1;
    }
    n_shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_overlap_is_that_of_the_division() {
        for n_elements in 1..400 {
            for threshold in [0.05, 0.1, 0.3, 0.5, 0.55, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0, 1.0 / 3.0, 2.0 / 3.0] {
                let least = (0..=n_elements).find(|&n| n as f64 / n_elements as f64 >= threshold);
                assert_eq!(Some(least_overlap(n_elements, threshold)), least, "{n_elements} {threshold}");
            }
        }
        assert_eq!(least_overlap(0, 0.8), 0);
    }
}
