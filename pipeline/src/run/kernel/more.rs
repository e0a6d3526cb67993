//! What was decided after the search for near-duplicates, as the session hears of it: repetition, paragraphs and lines, embeddings.

use std::collections::BTreeMap;

use tamis_schemas::manifest::{GrainRecord, SemanticRecord};

use super::hold::Held;
use crate::context::Context;
use crate::dedup::{DropReason, HandedDrop, MoreDrops, NearDuplicateResult, Rule};
use crate::run::Run;
use crate::run::plan::max_cluster_rows;
use crate::{Error, Result, RowSet};

/// See the module.
#[derive(Debug)]
pub(super) struct MoreDropped {
    /// For what others hold.
    held: MoreDrops,
    /// For what others say.
    semantic: MoreDrops,
    of_grain: Option<Held>,
    /// Hashes of what those who write were told to cut.
    told: BTreeMap<u64, u64>,
    of_semantic: Option<SemanticRecord>,
}

/// All that was found.
#[derive(Debug)]
pub(super) struct More {
    /// `None` if no row can be dropped for another, or for itself.
    pub(super) found: Option<NearDuplicateResult>,
    /// What the manifest says.
    pub(super) grain: Option<GrainRecord>,
    pub(super) semantic: Option<SemanticRecord>,
}

impl MoreDropped {
    pub(super) fn new(context: &Context) -> Self {
        let (held, semantic) = (MoreDrops::new(context), MoreDrops::new(context));
        Self { held, semantic, of_grain: None, told: BTreeMap::new(), of_semantic: None }
    }

    /// Takes a row that is dropped.
    pub(super) fn push_drop(&mut self, drop: HandedDrop, context: &Context) -> Result<()> {
        let drops = if drop.rule == Rule::Semantic { &mut self.semantic } else { &mut self.held };
        drops.push_handed(drop, context)
    }

    /// Takes what was counted of paragraphs and lines.
    pub(super) fn push_grain(&mut self, held: Held) -> Result<()> {
        match self.of_grain.replace(held) {
            None => Ok(()),
            Some(_) => Err(Error::Invariant("who holds which paragraph was decided twice".into())),
        }
    }

    /// Takes the hash of what a task was told to cut out of a unit, 0 if that is nothing.
    pub(super) fn push_told(&mut self, unit: u64, hash: u64) {
        if hash != 0 {
            self.told.insert(unit, hash);
        }
    }

    /// Takes what was counted of embeddings.
    pub(super) fn push_semantic(&mut self, record: SemanticRecord) -> Result<()> {
        match self.of_semantic.replace(record) {
            None => Ok(()),
            Some(_) => Err(Error::Invariant("who says what others say was decided twice".into())),
        }
    }

    /// Adds it to what the search has `found`, and rows that repeat themselves; `cuts` are rows that something was cut out of,
    /// spans, and bytes.
    ///
    /// # Errors
    /// `Error::Invariant` if nothing was decided, or something that nobody asked for.
    pub(super) fn finish(
        self,
        run: Run<'_>,
        mut found: Option<NearDuplicateResult>,
        repeated: MoreDrops,
        cuts: [u64; 3],
    ) -> Result<More> {
        let Self { held, semantic, of_grain, told, of_semantic } = self;
        let (plan, context) = (run.plan, run.context);
        if of_grain.is_some() != plan.grain.as_ref().is_some_and(|plan| plan.duplicates.is_some()) {
            return Err(Error::Invariant("nothing is said of paragraphs, or of some that nobody asked for".into()));
        }
        let (of_grain, cuts_of_units) = of_grain.map(|Held { record, cuts }| (record, cuts)).unzip();
        if told != cuts_of_units.unwrap_or_default() {
            return Err(Error::Invariant("what was cut is not what was to be cut".into()));
        }
        if of_semantic.is_some() != plan.semantic.is_some() {
            return Err(Error::Invariant("nothing is said of embeddings, or of some that nobody asked for".into()));
        }
        let n_semantic = semantic.rows(DropReason::Semantic).map_or(0, RowSet::len);
        if n_semantic != of_semantic.as_ref().map_or(0, |record| record.dropped_rows) {
            return Err(Error::Invariant("rows that say what others say are not as many as were counted".into()));
        }
        if found.is_none() && (plan.grain.is_some() || plan.semantic.is_some()) {
            found = Some(NearDuplicateResult::none(max_cluster_rows(run.config), context)?);
        }
        if plan.grain.is_some() {
            found = found.map(|found| found.with(repeated, context)?.with(held, context)).transpose()?;
        }
        if plan.semantic.is_some() {
            found = found.map(|found| found.counting(context)?.with(semantic, context)).transpose()?;
        }
        let [cut_rows, cut_spans, cut_bytes] = cuts;
        let grain = GrainRecord { cut_rows, cut_spans, cut_bytes, ..of_grain.unwrap_or_default() };
        Ok(More { found, grain: plan.grain.as_ref().map(|_| grain), semantic: of_semantic })
    }
}
