//! What a selection knows before it has seen a row.

use serde::{Deserialize, Serialize};
use tamis_schemas::config::SelectConfig;

use super::fit::Fitted;
use super::select::settings;
use super::training::TrainingData;
use crate::score::Truncated;
use crate::select::{Anchors, Crowd, LabelledPool, Selection, Strategy};
use crate::{Result, RowSet};

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Known {
    labelled: Vec<u64>,
    /// Rows that annotators are split about.
    split: Vec<u64>,
    unknown_labels: u64,
    anchors: Anchors,
    crowd: Crowd,
}

impl Known {
    /// What labels and the scorer say; some strategies ask it of `data`, of which `keeps` tells the rows that stay.
    pub(super) fn new(
        select: &SelectConfig,
        fitted: &Fitted<'_>,
        keeps: impl Fn(u64) -> bool,
        data: &dyn TrainingData,
    ) -> Result<Self> {
        let mut known = Self::of_labels(&fitted.labels);
        // What is scored for it is no scoring of the run.
        let ask = || {
            match select.strategy {
                Strategy::Anchor => known.anchors = fitted.anchors(select.seed, data)?,
                Strategy::Activelab => known.crowd = fitted.crowd(keeps, data)?,
                _ => {}
            }
            Ok(known)
        };
        let known = match &fitted.encoder {
            Some(encoder) => encoder.uncounted(ask),
            None => ask(),
        }?;
        fitted.truncated.iter().for_each(Truncated::forget);
        Ok(known)
    }

    /// What labels say, for strategies that ask for no more.
    pub(super) fn of_labels(labels: &LabelledPool) -> Self {
        Self {
            labelled: labels.rows.iter().collect(),
            split: labels.split.iter().collect(),
            unknown_labels: labels.n_labels_unknown,
            ..Self::default()
        }
    }

    /// Whether a strategy asks the scorer of some rows.
    pub(super) fn asks_scorer(select: &SelectConfig) -> bool {
        matches!(select.strategy, Strategy::Anchor | Strategy::Activelab)
    }

    /// A selection that has seen no row.
    ///
    /// # Errors
    /// `Error::Config` for settings that cannot work.
    pub(super) fn selection(self, select: &SelectConfig) -> Result<Selection> {
        let Self { labelled, split, unknown_labels, anchors, crowd } = self;
        let labels = LabelledPool {
            rows: labelled.into_iter().collect(),
            split: split.into_iter().collect(),
            n_labels_unknown: unknown_labels,
            ..LabelledPool::default()
        };
        Ok(Selection::new(settings(select), &labels, RowSet::new())?.with_anchors(anchors).with_crowd(crowd))
    }
}
