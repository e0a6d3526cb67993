//! What is counted on the way.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::dedup::candidates::Counts;
use crate::dedup::earlier::EarlierRows;
use crate::dedup::near_duplicates::report;
use crate::dedup::report::NearDuplicateReport;
use crate::dedup::settings::Settings;

/// Numbers of the report that only who counts them knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SearchCounts {
    pub(super) n_rows: u64,
    n_without_tokens: u64,
    n_candidate_pairs: u64,
    n_untested_pairs: u64,
    n_hot_buckets: u64,
    n_proven_pairs: u64,
    n_spared: u64,
    n_dropped_for_earlier: u64,
    pub(super) earlier: Option<EarlierRows>,
}

impl SearchCounts {
    /// Of rows alone.
    pub(crate) fn of_rows(n_rows: u64, n_without_tokens: u64) -> Self {
        Self { n_rows, n_without_tokens, ..Self::default() }
    }

    pub(in crate::dedup) fn of_pairs(counts: Counts) -> Self {
        let Counts { candidate_pairs, untested_pairs, hot_buckets } = counts;
        Self {
            n_candidate_pairs: candidate_pairs,
            n_untested_pairs: untested_pairs,
            n_hot_buckets: hot_buckets,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.n_rows += other.n_rows;
        self.n_without_tokens += other.n_without_tokens;
        self.n_candidate_pairs += other.n_candidate_pairs;
        self.n_untested_pairs += other.n_untested_pairs;
        self.n_hot_buckets += other.n_hot_buckets;
        self.n_proven_pairs += other.n_proven_pairs;
        self.n_spared += other.n_spared;
        self.n_dropped_for_earlier += other.n_dropped_for_earlier;
        self.earlier = self.earlier.or(other.earlier);
    }

    pub(super) fn of(report: &NearDuplicateReport) -> Self {
        Self {
            n_rows: report.n_rows,
            n_without_tokens: report.n_without_tokens,
            n_candidate_pairs: report.n_candidate_pairs,
            n_untested_pairs: report.n_untested_pairs,
            n_hot_buckets: report.n_hot_buckets,
            n_proven_pairs: report.n_proven_pairs,
            n_spared: report.n_spared,
            n_dropped_for_earlier: report.n_dropped_for_earlier,
            earlier: None,
        }
    }

    /// Against these rows of earlier runs.
    pub(super) fn against(self, earlier: Option<EarlierRows>) -> Self {
        Self { earlier, ..self }
    }

    pub(super) fn into_report(self, settings: &Settings) -> Result<NearDuplicateReport> {
        let search = settings.search()?;
        Ok(NearDuplicateReport {
            recall_at_threshold: search.probability(settings.threshold),
            n_candidate_pairs: self.n_candidate_pairs,
            n_untested_pairs: self.n_untested_pairs,
            n_hot_buckets: self.n_hot_buckets,
            n_proven_pairs: self.n_proven_pairs,
            n_spared: self.n_spared,
            n_dropped_for_earlier: self.n_dropped_for_earlier,
            n_earlier: self.earlier.map_or(0, EarlierRows::n_rows),
            n_earlier_matched: self.earlier.map_or(0, EarlierRows::n_matched),
            ..report(search, self.n_rows, self.n_without_tokens)
        })
    }
}
