//! What was decided after the search for near-duplicates, as the session hears of it: repetition, paragraphs and lines, embeddings.

use tamis_schemas::manifest::{GrainRecord, SemanticRecord};

use crate::context::Context;
use crate::dedup::{HandedDrop, MoreDrops, NearDuplicateResult, Rule};
use crate::run::Run;
use crate::run::plan::max_cluster_rows;
use crate::{Error, Result};

/// See the module.
#[derive(Debug)]
pub(super) struct MoreDropped {
    /// For what others hold.
    held: MoreDrops,
    /// For what others say.
    semantic: MoreDrops,
    of_grain: Option<GrainRecord>,
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
        Self { held, semantic, of_grain: None, of_semantic: None }
    }

    /// Takes a row that is dropped.
    pub(super) fn push_drop(&mut self, drop: HandedDrop, context: &Context) -> Result<()> {
        let drops = if drop.rule == Rule::Semantic { &mut self.semantic } else { &mut self.held };
        drops.push_handed(drop, context)
    }

    /// Takes what was counted of paragraphs and lines.
    pub(super) fn push_grain(&mut self, record: GrainRecord) -> Result<()> {
        match self.of_grain.replace(record) {
            None => Ok(()),
            Some(_) => Err(Error::Invariant("who holds which paragraph was decided twice".into())),
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
        let Self { held, semantic, of_grain, of_semantic } = self;
        let (plan, context) = (run.plan, run.context);
        if of_grain.is_some() != plan.grain.as_ref().is_some_and(|plan| plan.duplicates.is_some()) {
            return Err(Error::Invariant("nothing is said of paragraphs, or of some that nobody asked for".into()));
        }
        if of_semantic.is_some() != plan.semantic.is_some() {
            return Err(Error::Invariant("nothing is said of embeddings, or of some that nobody asked for".into()));
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
