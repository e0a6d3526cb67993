//! Clusters of a run: sorted by id within the memory budget, then looked at one after the other.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::evidence::ProofRef;
use super::overview::SizeBin;
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Error, Result};

/// Which clusters come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterSort {
    /// The largest.
    #[default]
    Size,
    /// Those with the least similar dropped row: where a threshold is too low, it shows here.
    Similarity,
    /// By the source of the kept row, the largest first within each.
    Source,
}

/// A kept row and what was dropped for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSummary {
    /// Id of the cluster: that of the kept row.
    pub id: String,
    /// Rows, the kept one included.
    pub rows: u64,
    /// Rows dropped in this run.
    pub dropped: u64,
    /// Least similarity of a dropped row.
    pub lowest: Option<f64>,
    /// Mean similarity of the dropped rows.
    pub mean: Option<f64>,
    /// Dropped rows by the method that proves them.
    pub methods: BTreeMap<String, u64>,
    /// Source of the kept row, where it is known.
    pub source: Option<String>,
    /// How the text of the kept row begins; `None` if it is not in this run's tables.
    pub text: Option<String>,
}

/// What [`ClusterCollector`] found.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) n_clusters: u64,
    /// By number of rows.
    pub(super) sizes: Vec<SizeBin>,
    /// The first clusters of the order asked for.
    pub(super) top: Vec<ClusterSummary>,
}

/// A dropped row: cluster, position, bits of the similarity, size of the cluster, code of the method.
type Member = (Vec<u8>, u64, u64, u64, u16);

/// In place of a similarity: after all others.
pub(super) const NO_SIMILARITY: u64 = u64::MAX;

/// A similarity as bits that sort like it.
pub(super) fn similarity_bits(similarity: Option<f64>) -> u64 {
    similarity.map_or(NO_SIMILARITY, |similarity| similarity.max(0.0).to_bits())
}

/// Collects the rows of evidence, in any order.
#[derive(Debug)]
pub(super) struct ClusterCollector {
    members: ExternalSorter<Member>,
    methods: Vec<String>,
}

impl ClusterCollector {
    pub(super) fn new(context: &Context) -> Self {
        Self { members: ExternalSorter::new("inspect: clusters", &context.budget), methods: Vec::new() }
    }

    /// Adds a row that belongs to a cluster.
    pub(super) fn push(&mut self, cluster: &str, row: &ProofRef<'_>, context: &Context) -> Result<()> {
        let method = row.method.unwrap_or("unknown");
        let code = self.methods.iter().position(|known| known == method).unwrap_or_else(|| {
            self.methods.push(method.to_owned());
            self.methods.len() - 1
        });
        let code = u16::try_from(code).map_err(|_| Error::Invariant("evidence has too many methods".into()))?;
        let size = row.cluster_size.unwrap_or(0);
        let similarity = similarity_bits(row.similarity);
        self.members.push((cluster.as_bytes().to_vec(), row.position, similarity, size, code), context)
    }

    /// Goes through the clusters; `source_of` names the source of one.
    ///
    /// # Memory
    /// What the sorter is granted, and `top` clusters.
    pub(super) fn finish(
        self,
        sort: ClusterSort,
        top: usize,
        source_of: impl Fn(&str) -> Option<String>,
        context: &Context,
    ) -> Result<Summary> {
        let mut first = First { sort, top, clusters: BTreeMap::new() };
        let mut sizes: BTreeMap<u32, SizeBin> = BTreeMap::new();
        let mut n_clusters = 0;
        let mut open: Option<Open> = None;
        let mut close = |cluster: Open| {
            n_clusters += 1;
            let rows = if cluster.size > 0 { cluster.size } else { cluster.dropped + 1 };
            let bin = (rows - 1).checked_ilog2().map_or(0, |log| log + 1);
            let bin = sizes.entry(bin).or_insert_with(|| SizeBin::new(bin));
            bin.clusters += 1;
            bin.dropped += cluster.dropped;
            first.offer(&cluster, rows, &self.methods, &source_of);
        };
        for member in self.members.finish(context)? {
            context.cancel.check()?;
            let (id, _, similarity, size, method) = member?;
            if let Some(other) = open.take_if(|open| open.id != id) {
                close(other);
            }
            let cluster = open.get_or_insert_with(|| Open::new(id, self.methods.len()));
            cluster.add(similarity, size, method);
        }
        open.map(close);
        Ok(Summary { n_clusters, sizes: sizes.into_values().collect(), top: first.clusters.into_values().collect() })
    }
}

/// The cluster whose rows are being read.
#[derive(Debug)]
struct Open {
    id: Vec<u8>,
    size: u64,
    dropped: u64,
    lowest: u64,
    sum: f64,
    n_similarities: u64,
    methods: Vec<u64>,
}

impl Open {
    fn new(id: Vec<u8>, n_methods: usize) -> Self {
        let methods = vec![0; n_methods];
        Self { id, size: 0, dropped: 0, lowest: NO_SIMILARITY, sum: 0.0, n_similarities: 0, methods }
    }

    fn add(&mut self, similarity: u64, size: u64, method: u16) {
        self.size = self.size.max(size);
        self.dropped += 1;
        self.lowest = self.lowest.min(similarity);
        if similarity != NO_SIMILARITY {
            self.sum += f64::from_bits(similarity);
            self.n_similarities += 1;
        }
        self.methods[usize::from(method)] += 1;
    }
}

/// Source, bits of the lowest similarity, rows, id; what the order does not ask for is left at its default.
type Key = (Option<(bool, String)>, u64, Reverse<u64>, String);

/// The first clusters of an order.
struct First {
    sort: ClusterSort,
    top: usize,
    clusters: BTreeMap<Key, ClusterSummary>,
}

impl First {
    fn offer(&mut self, cluster: &Open, rows: u64, methods: &[String], source_of: &impl Fn(&str) -> Option<String>) {
        let id = String::from_utf8_lossy(&cluster.id).into_owned();
        let source = source_of(&id);
        let by_source = || (source.is_none(), source.clone().unwrap_or_default());
        let key = match self.sort {
            ClusterSort::Size => (None, 0, Reverse(rows), id.clone()),
            ClusterSort::Similarity => (None, cluster.lowest, Reverse(rows), id.clone()),
            ClusterSort::Source => (Some(by_source()), 0, Reverse(rows), id.clone()),
        };
        let is_full = self.clusters.len() == self.top;
        if is_full && self.clusters.last_key_value().is_none_or(|(last, _)| *last < key) {
            return;
        }
        let n = cluster.n_similarities;
        let summary = ClusterSummary {
            id,
            rows,
            dropped: cluster.dropped,
            lowest: (n > 0).then(|| f64::from_bits(cluster.lowest)),
            mean: (n > 0).then(|| cluster.sum / n as f64),
            methods: methods.iter().cloned().zip(cluster.methods.iter().copied()).filter(|(_, n)| *n > 0).collect(),
            source,
            text: None,
        };
        self.clusters.insert(key, summary);
        if self.clusters.len() > self.top {
            self.clusters.pop_last();
        }
    }
}
