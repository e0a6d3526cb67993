//! A run in numbers: what went by which rule, how similar it was, in which clusters, from which sources.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tamis_schemas::config::Table;

use super::clusters::{ClusterCollector, ClusterSort, ClusterSummary};
use super::evidence::{self, ProofRef};
use super::sources::{ClusterSources, FileSources, Sources, by_column};
use crate::Result;
use crate::finished::FinishedRun;

/// Bins of a similarity histogram are so many to 1.
const BINS: usize = 20;
/// Characters of a kept text that a summary shows.
const BEGINNING_CHARS: usize = 240;

/// What an overview shows.
#[derive(Debug, Clone)]
pub struct OverviewSettings {
    /// Clusters and sources, at most.
    pub top: usize,
    /// Which clusters.
    pub sort: ClusterSort,
    /// The column whose values are the sources; the input files by default.
    pub by: Option<String>,
}

/// A run in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Rows of evidence.
    pub evidence_rows: u64,
    /// Of them, by rule.
    pub by_rule: BTreeMap<String, u64>,
    /// Of them, by how the similarity is known.
    pub by_method: BTreeMap<String, u64>,
    /// Of them, by similarity, the least first, from the first bin with a row.
    pub similarities: Vec<SimilarityBin>,
    /// Of them, those without a similarity.
    pub without_similarity: u64,
    /// Of them, those that belong to no cluster.
    pub without_cluster: u64,
    /// Clusters.
    pub n_clusters: u64,
    /// Clusters by number of rows.
    pub cluster_sizes: Vec<SizeBin>,
    /// Some clusters, in the order asked for.
    pub clusters: Vec<ClusterSummary>,
    /// Rows by source; `None` if nothing tells the input file.
    pub sources: Option<Sources>,
}

/// Dropped rows of similar similarity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimilarityBin {
    /// The least similarity.
    pub from: f64,
    /// The similarity from which the next bin begins; that of the last bin is 1, as is its `from`.
    pub to: f64,
    /// Rows in the bin.
    pub rows: u64,
    /// Rows in this bin and those after it: what a threshold of `from` would still prove.
    pub rows_at_least: u64,
}

/// Clusters of similar size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeBin {
    /// The least rows.
    pub from: u64,
    /// The most rows.
    pub to: u64,
    /// Clusters.
    pub clusters: u64,
    /// Rows dropped in them.
    pub dropped: u64,
}

impl SizeBin {
    /// The bin of 1, 2, 3 to 4, 5 to 8, ... rows.
    pub(super) fn new(bin: u32) -> Self {
        let to = 1u64.checked_shl(bin).unwrap_or(u64::MAX);
        Self { from: if bin == 0 { 1 } else { to / 2 + 1 }, to, clusters: 0, dropped: 0 }
    }
}

/// Reads the evidence of a run once, and what else the overview shows.
///
/// # Errors
/// `Error::Config` if the run has no evidence.
pub fn overview(run: &FinishedRun<'_>, settings: &OverviewSettings) -> Result<Overview> {
    let context = run.context;
    let evidence = evidence::find(run)?;
    let mut counts = Counts::default();
    let mut files = FileSources::new(run.manifest());
    let mut clusters = ClusterCollector::new(context);
    let needs_sources = settings.sort == ClusterSort::Source && settings.by.is_some();
    let mut cluster_sources = needs_sources.then(|| ClusterSources::new(context));
    let mut observe = |row: &ProofRef<'_>| {
        counts.observe(row);
        files.observe(row.dropped_id, row.kept_id);
        if let Some(cluster) = row.cluster_id {
            clusters.push(cluster, row, context)?;
            if let Some(sources) = &mut cluster_sources {
                sources.want(cluster)?;
            }
        } else {
            counts.without_cluster += 1;
        }
        Ok(ControlFlow::Continue(()))
    };
    evidence.map_or(Ok(()), |evidence| evidence::for_each(&evidence, &mut observe))?;
    if settings.by.is_none() {
        files.or_read(run)?;
    }
    let sources = match &settings.by {
        Some(column) => Some(by_column(run, column, settings.top, cluster_sources.as_mut())?),
        None => files.summary(settings.top),
    };
    let clusters = clusters.finish(
        settings.sort,
        settings.top,
        |id| match &cluster_sources {
            Some(sources) => sources.of(id),
            None if settings.by.is_none() => files.of(id).map(str::to_owned),
            None => None,
        },
        context,
    )?;
    let mut overview = Overview {
        evidence_rows: counts.rows,
        by_rule: counts.by_rule,
        by_method: counts.by_method,
        similarities: similarity_bins(&counts.by_similarity),
        without_similarity: counts.without_similarity,
        without_cluster: counts.without_cluster,
        n_clusters: clusters.n_clusters,
        cluster_sizes: clusters.sizes,
        clusters: clusters.top,
        sources,
    };
    add_beginnings(run, &mut overview.clusters)?;
    Ok(overview)
}

/// Counts over all rows of evidence.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    by_rule: BTreeMap<String, u64>,
    by_method: BTreeMap<String, u64>,
    by_similarity: [u64; BINS + 1],
    without_similarity: u64,
    without_cluster: u64,
}

impl Counts {
    fn observe(&mut self, row: &ProofRef<'_>) {
        self.rows += 1;
        for (counts, name) in [(&mut self.by_rule, row.rule), (&mut self.by_method, row.method)] {
            let Some(name) = name else { continue };
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(counts.insert(name.to_owned(), 1)),
            }
        }
        match row.similarity {
            Some(similarity) => self.by_similarity[similarity_bin(similarity)] += 1,
            None => self.without_similarity += 1,
        }
    }
}

/// Lower bound of a bin: a similarity that is given as a ratio with this value is in it, exactly.
fn bin_start(bin: usize) -> f64 {
    bin as f64 / BINS as f64
}

fn similarity_bin(similarity: f64) -> usize {
    (1..=BINS).rev().find(|&bin| bin_start(bin) <= similarity).unwrap_or(0)
}

fn similarity_bins(counts: &[u64; BINS + 1]) -> Vec<SimilarityBin> {
    let first = counts.iter().position(|&rows| rows > 0).unwrap_or(counts.len());
    (first..counts.len())
        .map(|bin| SimilarityBin {
            from: bin_start(bin),
            to: bin_start(bin + 1).min(1.0),
            rows: counts[bin],
            rows_at_least: counts[bin..].iter().sum(),
        })
        .collect()
}

/// Reads how the kept texts of some clusters begin.
fn add_beginnings(run: &FinishedRun<'_>, clusters: &mut [ClusterSummary]) -> Result<()> {
    // A row that stood for others may have gone by its quality.
    let tables = [Some(Table::Kept), run.manifest().quality.as_ref().map(|_| Table::Dropped)];
    for table in tables.into_iter().flatten() {
        let Some(rows) = run.table(table)? else { continue };
        let ids = clusters.iter().filter(|cluster| cluster.text.is_none()).map(|cluster| cluster.id.as_str());
        let mut texts = rows.texts(ids, |_, text| Ok(beginning(text)))?;
        for cluster in &mut *clusters {
            cluster.text = cluster.text.take().or_else(|| texts.remove(&cluster.id));
        }
    }
    Ok(())
}

/// The first words of a text, with one space between them.
fn beginning(text: &str) -> String {
    text.split_whitespace().flat_map(|word| [" ", word]).flat_map(str::chars).skip(1).take(BEGINNING_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_their_lower_bound() {
        for (similarity, from) in [
            (0.0, 0.0),
            (0.049, 0.0),
            (7.0 / 20.0, 0.35),
            (11.0 / 20.0, 0.55),
            (4.0 / 5.0, 0.8),
            (0.85 - f64::EPSILON, 0.8),
            (17.0 / 20.0, 0.85),
            (0.9999, 0.95),
            (1.0, 1.0),
        ] {
            assert!((bin_start(similarity_bin(similarity)) - from).abs() < 1e-12, "{similarity}");
        }
        let mut counts = [0; BINS + 1];
        (counts[16], counts[18], counts[20]) = (3, 2, 1);
        let bins = similarity_bins(&counts);
        assert_eq!(bins.len(), 5);
        assert_eq!(bins.iter().map(|bin| bin.rows_at_least).collect::<Vec<_>>(), [6, 3, 3, 1, 1]);
    }

    #[test]
    fn size_bins_touch() {
        let bounds: Vec<_> = (0..5).map(SizeBin::new).map(|bin| (bin.from, bin.to)).collect();
        assert_eq!(bounds, [(1, 1), (2, 2), (3, 4), (5, 8), (9, 16)]);
    }

    #[test]
    fn beginnings_are_words() {
        assert_eq!(beginning("  a\n\n b\tc "), "a b c");
        assert_eq!(beginning(&"word ".repeat(100)).chars().count(), BEGINNING_CHARS);
        assert_eq!(beginning(" \n"), "");
    }
}
