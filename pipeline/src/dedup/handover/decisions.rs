//! What was decided, for who writes evidence and manifest.

use super::{Handed, STAGE, SearchCounts};
use crate::context::Context;
use crate::dedup::assign::Drop;
use crate::dedup::near_duplicates::conclude;
use crate::dedup::report::NearDuplicateResult;
use crate::dedup::settings::Settings;
use crate::spill::ExternalSorter;
use crate::{Error, Result};

/// The verdicts of all rows, as the second part has handed them on, in any order.
#[derive(Debug)]
pub(crate) struct Decisions {
    settings: Settings,
    /// Rows that were compared.
    n_rows: u64,
    /// Of all parts together.
    counts: SearchCounts,
    drops: ExternalSorter<Drop>,
    clusters: ExternalSorter<(u64, u64)>,
}

impl Decisions {
    pub(crate) fn new(settings: &Settings, n_rows: u64, context: &Context) -> Self {
        Self {
            settings: settings.clone(),
            n_rows,
            counts: SearchCounts::default(),
            drops: ExternalSorter::new(STAGE, &context.budget),
            clusters: ExternalSorter::new(STAGE, &context.budget),
        }
    }

    pub(crate) fn push(&mut self, handed: &Handed, context: &Context) -> Result<()> {
        match *handed {
            Handed::Counts(counts) => self.counts.add(counts),
            Handed::Cluster { kept, n_rows, .. } => self.clusters.push((kept, n_rows), context)?,
            Handed::Drop(drop) => self.drops.push(drop.into(), context)?,
            _ => return Err(Error::Invariant(format!("{handed:?} is no decision"))),
        }
        Ok(())
    }

    /// # Errors
    /// `Error::Invariant` if what was counted is not there, or there twice.
    pub(crate) fn finish(self, context: &Context) -> Result<NearDuplicateResult> {
        if self.counts.n_rows != self.n_rows {
            let (found, expected) = (self.counts.n_rows, self.n_rows);
            return Err(Error::Invariant(format!("{found} of {expected} rows were compared, as far as was counted")));
        }
        let report = self.counts.into_report(&self.settings)?;
        conclude(self.drops, self.clusters, &self.settings, report, context)
    }
}
