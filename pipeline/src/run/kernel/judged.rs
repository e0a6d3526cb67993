//! What was decided by quality, as the session has heard of it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tamis_schemas::manifest::ScorerRecord;

use super::scoring::ScoringOfRun;
use super::sift::Sifted;
use crate::run::quality::Quality;
use crate::source::schema_of_bytes;
use crate::{Error, Result, RowSet};

/// Of all units.
#[derive(Debug, Default)]
pub(super) struct JudgedRun {
    learnt: Option<Learnt>,
    sifted: Option<Sifted>,
}

#[derive(Debug)]
struct Learnt {
    record: ScorerRecord,
    /// Rows that stayed when it has learnt.
    n_rows: u64,
    /// Hash of the scorer.
    hash: u64,
}

impl JudgedRun {
    /// Takes what is said of the scorer of this hash that was learnt, when so many rows stayed.
    pub(super) fn push_learnt(&mut self, record: ScorerRecord, n_rows: u64, hash: u64) -> Result<()> {
        let earlier = self.learnt.replace(Learnt { record, n_rows, hash });
        earlier.map_or(Ok(()), |_| Err(Error::Invariant("a scorer of quality was learnt twice".into())))
    }

    pub(super) fn push(&mut self, sifted: Sifted) -> Result<()> {
        let earlier = self.sifted.replace(sifted);
        earlier.map_or(Ok(()), |_| Err(Error::Invariant("quality was decided twice".into())))
    }

    /// What the manifest says, of rows that tasks know, and the columns of the table `quality`; `n_rows` were to be judged, and `n_kept` stay
    /// in the end.
    ///
    /// # Errors
    /// `Error::Invariant` if something is missing, or others were judged.
    pub(super) fn finish(
        self,
        of_run: Option<&ScoringOfRun>,
        n_rows: u64,
        n_kept: u64,
    ) -> Result<Option<(Quality, SchemaRef)>> {
        let Self { learnt, sifted } = self;
        let learns = of_run.is_some_and(|of_run| of_run.learns);
        if sifted.is_some() != of_run.is_some() || learnt.is_some() != learns {
            return Err(Error::Invariant("nothing is said of quality, or of one that nobody asked for".into()));
        }
        let Some(Sifted { mut record, scorer, schema }) = sifted else { return Ok(None) };
        let judged = (record.judged_rows, record.kept_rows);
        let of_learnt = learnt.as_ref().map_or((n_rows, 0), |learnt| (learnt.n_rows, learnt.hash));
        if judged != (n_rows, n_kept) || of_learnt != (n_rows, scorer) {
            let (n_judged, n_good) = judged;
            return Err(Error::Invariant(format!(
                "{n_rows} rows were to be judged, and {n_kept} stay: {n_judged} were, {n_good} are to stay, and the scorer is that \
                 which has learnt from {}",
                of_learnt.0
            )));
        }
        record.reference = learnt.map(|learnt| learnt.record.reference).unwrap_or_default();
        let rows = Arc::new(RowSet::new());
        let quality = Quality { dropped: Arc::clone(&rows), control: rows, record };
        Ok(Some((quality, schema_of_bytes(&schema)?)))
    }
}
