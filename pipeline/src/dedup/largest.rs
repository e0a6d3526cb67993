//! The largest clusters: what a reader wants to see when much was dropped.

/// Clusters told of.
const N_CLUSTERS: usize = 5;
/// Dropped rows told of in each.
const N_EXAMPLES: usize = 5;

/// A cluster of which rows are dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The row that the others are dropped for.
    pub kept: u64,
    /// Its rows, those that stay too.
    pub n_rows: u64,
    /// Its rows that are dropped.
    pub n_dropped: u64,
    /// The first of these in the keep order, and their similarities to the kept row.
    pub examples: Vec<(u64, f64)>,
}

impl Cluster {
    pub(super) fn new(kept: u64) -> Self {
        Self { kept, n_rows: 1, n_dropped: 0, examples: Vec::new() }
    }

    pub(super) fn drop(&mut self, row: u64, similarity: f64) {
        self.n_dropped += 1;
        if self.examples.len() < N_EXAMPLES {
            self.examples.push((row, similarity));
        }
    }
}

/// The largest clusters, and how many are too large.
#[derive(Debug, Clone, PartialEq)]
pub struct LargestClusters {
    /// Those of most rows, at most five; among equals, those whose kept rows come first.
    pub clusters: Vec<Cluster>,
    /// Clusters of more rows than [`Settings::max_cluster_rows`](super::Settings::max_cluster_rows).
    pub n_too_large: u64,
    max_rows: Option<u64>,
}

impl LargestClusters {
    pub(super) fn new(max_rows: Option<u64>) -> Self {
        Self { clusters: Vec::new(), n_too_large: 0, max_rows }
    }

    /// The same limit, and no cluster yet.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.max_rows)
    }

    /// Takes the next cluster, in the order of their kept rows.
    pub(super) fn add(&mut self, cluster: Cluster) {
        self.n_too_large += u64::from(self.max_rows.is_some_and(|max_rows| cluster.n_rows > max_rows));
        let place = self.clusters.partition_point(|other| other.n_rows >= cluster.n_rows);
        if place < N_CLUSTERS {
            self.clusters.insert(place, cluster);
            self.clusters.truncate(N_CLUSTERS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_clusters_stay_in_order() {
        let sizes = [3, 9, 2, 9, 4, 7, 3, 5, 2, 8];
        let mut largest = LargestClusters::new(Some(4));
        for (kept, &n_rows) in sizes.iter().enumerate() {
            let mut cluster = Cluster { n_rows, ..Cluster::new(kept as u64) };
            (1..n_rows).for_each(|row| cluster.drop(row, 1.0));
            largest.add(cluster);
        }
        let found: Vec<(u64, u64)> = largest.clusters.iter().map(|cluster| (cluster.n_rows, cluster.kept)).collect();
        assert_eq!(found, [(9, 1), (9, 3), (8, 9), (7, 5), (5, 7)]);
        assert_eq!(largest.n_too_large, 5);
        assert_eq!((largest.clusters[0].n_dropped, largest.clusters[0].examples.len()), (8, N_EXAMPLES));
    }
}
