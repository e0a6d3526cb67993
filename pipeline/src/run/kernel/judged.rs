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
    learnt: Option<ScorerRecord>,
    sifted: Option<Sifted>,
}

impl JudgedRun {
    /// Takes what is said of the scorer that was learnt.
    pub(super) fn push_learnt(&mut self, record: ScorerRecord) -> Result<()> {
        let earlier = self.learnt.replace(record);
        earlier.map_or(Ok(()), |_| Err(Error::Invariant("a scorer of quality was learnt twice".into())))
    }

    pub(super) fn push(&mut self, sifted: Sifted) -> Result<()> {
        let earlier = self.sifted.replace(sifted);
        earlier.map_or(Ok(()), |_| Err(Error::Invariant("quality was decided twice".into())))
    }

    /// What the manifest says, of rows that tasks know, and the columns of the table `quality`.
    ///
    /// # Errors
    /// `Error::Invariant` if something is missing.
    pub(super) fn finish(self, of_run: Option<&ScoringOfRun>) -> Result<Option<(Quality, SchemaRef)>> {
        let Self { learnt, sifted } = self;
        let learns = of_run.is_some_and(|of_run| of_run.learns);
        if sifted.is_some() != of_run.is_some() || learnt.is_some() != learns {
            return Err(Error::Invariant("nothing is said of quality, or of one that nobody asked for".into()));
        }
        let Some(Sifted { mut record, schema }) = sifted else { return Ok(None) };
        record.reference = learnt.map(|learnt| learnt.reference).unwrap_or_default();
        let rows = Arc::new(RowSet::new());
        let quality = Quality { dropped: Arc::clone(&rows), control: rows, record };
        Ok(Some((quality, schema_of_bytes(&schema)?)))
    }
}
