//! What a search for near-duplicates hands back beside its verdicts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::assign::{Drop, Rule};
use super::duplicates::Duplicates;
use super::edge::{Method, Similarity};
use super::evidence::Evidence;
use super::handover::HandedDrop;
use super::largest::LargestClusters;
use super::verdict::{DropReason, Verdict};
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Error, Result, RowSet};

/// What was found, in numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NearDuplicateReport {
    /// Shingles sampled of a row, and how many of them a candidate to contain it has. `None` unless the measure is
    /// containment, at a recall below 1.
    pub sample: Option<(usize, usize)>,
    /// Bands of a sketch; 0 when the search was exhaustive or by samples.
    pub n_bands: usize,
    /// Slots of a band; 0 where there is none.
    pub rows_per_band: usize,
    /// Similarity and probability that a pair so similar is found, from 0 to 1 in steps of 0.05.
    pub s_curve: Vec<(f64, f64)>,
    /// Probability that a pair at the threshold is found.
    pub recall_at_threshold: f64,
    /// Rows seen.
    pub n_rows: u64,
    /// Rows without a token: only the exact rule applies to them.
    pub n_without_tokens: u64,
    /// Rows dropped because their normalized text is that of a kept row.
    pub n_identical: u64,
    /// Rows dropped for a similarity that their sets of shingles prove.
    pub n_near_exact: u64,
    /// Rows dropped for a similarity that is clear from their sketches.
    pub n_near_estimated: u64,
    /// Of the rows dropped, those without a proven similarity to the row that stays for them: a chain leads to it.
    pub n_connected: u64,
    /// Rows that would be dropped, but stay beside the first of their cluster: [`Settings::cap_cluster`](super::Settings).
    pub n_spared: u64,
    /// Kept rows for which others are dropped.
    pub n_clusters: u64,
    /// Rows of the largest cluster, those that stay included; 0 without a cluster.
    pub largest_cluster_rows: u64,
    /// Rows of earlier runs in the index.
    pub n_earlier: u64,
    /// Of these, rows that share a key with a row of this run.
    pub n_earlier_matched: u64,
    /// Rows dropped for a row of an earlier run.
    pub n_dropped_for_earlier: u64,
    /// Pairs of rows compared.
    pub n_candidate_pairs: u64,
    /// Pairs whose similarity is proven to reach the threshold, where a verdict could depend on it.
    pub n_proven_pairs: u64,
    /// Pairs in hot buckets that were not compared; one that also meets elsewhere may have been. By containment: pairs
    /// that rows with too many candidates left out and that stay.
    pub n_untested_pairs: u64,
    /// Buckets of more than 1,000 rows, in which comparisons are bounded. By containment: such rows.
    pub n_hot_buckets: u64,
    /// Higher thresholds, and how many of the dropped rows reach them.
    pub what_if: Vec<(f64, u64)>,
}

/// What a search for near-duplicates found.
#[derive(Debug)]
pub struct NearDuplicateResult {
    /// The verdict on each row.
    pub verdict: Verdict,
    /// Collects ids in the final pass and gives the evidence table.
    pub evidence: Evidence,
    /// How many rows each kept row stands for; to be taken by whom it concerns.
    pub duplicates: Option<Duplicates>,
    /// The largest clusters.
    pub largest: LargestClusters,
    /// What was found, in numbers.
    pub report: NearDuplicateReport,
}

impl NearDuplicateReport {
    /// Rows dropped.
    pub fn n_dropped(&self) -> u64 {
        self.n_identical + self.n_near_exact + self.n_near_estimated
    }
}

impl NearDuplicateResult {
    /// The result where no search was asked for: every row stays. Clusters that other rules make are too large above
    /// `max_cluster_rows`.
    pub fn none(max_cluster_rows: Option<u64>, context: &Context) -> Result<Self> {
        Ok(Self {
            verdict: Verdict::default(),
            evidence: Evidence::none(context)?,
            duplicates: None,
            largest: LargestClusters::new(max_cluster_rows),
            report: NearDuplicateReport::default(),
        })
    }

    /// Also drops rows by other rules.
    pub fn with(self, more: MoreDrops, context: &Context) -> Result<Self> {
        let MoreDrops { drops, duplicates, rows } = more;
        if drops.is_empty() {
            return Ok(self);
        }
        let verdict = rows.into_iter().fold(self.verdict, |verdict, (reason, rows)| verdict.with(reason, rows));
        let mut largest = self.largest.emptied();
        let evidence = self.evidence.with(drops, &mut largest, context)?;
        let duplicates = match self.duplicates {
            Some(counted) if !duplicates.is_empty() => Some(counted.with(duplicates, context)?),
            counted => counted,
        };
        Ok(Self { verdict, evidence, duplicates, largest, ..self })
    }

    /// Also counts the rows that each kept one stands for.
    pub(crate) fn counting(mut self, context: &Context) -> Result<Self> {
        if self.duplicates.is_none() {
            self.duplicates = Some(Duplicates::none(context)?);
        }
        Ok(self)
    }
}

/// Rows that rules beside near-duplicates drop.
#[derive(Debug)]
pub struct MoreDrops {
    drops: ExternalSorter<Drop>,
    /// Of these, rows that another stands for: kept row, dropped row.
    duplicates: ExternalSorter<(u64, u64)>,
    rows: BTreeMap<DropReason, RowSet>,
}

impl MoreDrops {
    /// No row.
    pub fn new(context: &Context) -> Self {
        const STAGE: &str = "dropped rows";
        Self {
            drops: ExternalSorter::new(STAGE, &context.budget),
            duplicates: ExternalSorter::new(STAGE, &context.budget),
            rows: BTreeMap::new(),
        }
    }

    /// Drops a row that repeats itself: `ratio` of it is repetition.
    pub fn push_repetition(&mut self, row: u64, ratio: f64, context: &Context) -> Result<()> {
        let (similarity, method, rule) = (Similarity::new(ratio), Method::Exact, Rule::Repetition);
        self.push(Drop { kept: row, rank: row, dropped: row, similarity, method, rule, n_shared_bands: 0 }, context)
    }

    /// Drops a row for what another process has found.
    pub(crate) fn push_handed(&mut self, drop: HandedDrop, context: &Context) -> Result<()> {
        self.push(drop.into(), context)
    }

    /// The rows that one reason drops.
    pub(crate) fn rows(&self, reason: DropReason) -> Option<&RowSet> {
        self.rows.get(&reason)
    }

    pub(super) fn push(&mut self, drop: Drop, context: &Context) -> Result<()> {
        self.rows.entry(drop.rule.reason()).or_default().insert(drop.dropped);
        if drop.rule.reason().is_duplicate() {
            self.duplicates.push((drop.kept, drop.dropped), context)?;
        }
        self.drops.push(drop, context)
    }
}

/// Where the result of a search will be once its barrier is done.
#[derive(Debug, Clone, Default)]
pub struct ResultHandle(Arc<Mutex<Option<NearDuplicateResult>>>);

impl ResultHandle {
    pub(super) fn set(&self, result: NearDuplicateResult) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    /// Takes the result, once.
    ///
    /// # Errors
    /// `Error::Invariant` if the search is not done, or its result was taken before.
    pub fn take(&self) -> Result<NearDuplicateResult> {
        let result = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.ok_or_else(|| Error::Invariant("the search for near-duplicates has no result to take".into()))
    }
}
