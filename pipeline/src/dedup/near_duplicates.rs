//! The barrier: sees the fingerprint of every row, then decides which rows are dropped.

use arrow::array::{Array, FixedSizeBinaryArray, FixedSizeListArray, ListArray, RecordBatch, UInt32Array, UInt64Array};
use tamis_schemas::columns::ROW;

use super::assign::{Drop, Rule, assign};
use super::candidates::{Counts, Features, compare};
use super::columns::{BAND_KEYS, EXACT_KEY, N_SHINGLES, SHINGLES, SKETCH, column};
use super::compare::prefix_len;
use super::edge::{Edge, Grouped, Method};
use super::evidence::Evidence;
use super::fingerprint::ShingleSets;
use super::identical::{Identical, group};
use super::keep::{KeepKeys, Ranks};
use super::proof::Proof;
use super::prune::prune;
use super::report::{NearDuplicateReport, NearDuplicateResult, ResultHandle};
use super::settings::{Gate, Search, Settings};
use super::sketch::N_SLOTS;
use super::sketch_table::SketchTableWriter;
use super::tape::SetTableWriter;
use super::verdict::{DropReason, Verdict};
use super::what_if::WhatIf;
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::stage::{BarrierStage, Next};
use crate::{Error, Result, RowSet};

const STAGE: &str = "near-duplicates";

/// Barrier stage: observes [`Fingerprint`](super::Fingerprint)s and becomes a [`Verdict`].
///
/// ```text
/// pass 1  exact keys, sketches, band keys -> identical texts -> buckets -> pairs: clear edges and open (grey) pairs
/// pass 2  shingle sets of the rows in open pairs -> exact similarities        (left out if no pair is open)
///         -> verdicts
/// ```
///
/// At a recall of 1.0 the first pass brings the shingle sets themselves, and no pair is left open.
#[derive(Debug)]
pub struct NearDuplicates {
    settings: Settings,
    search: Search,
    result: ResultHandle,
    exact_keys: ExternalSorter<(u128, u64)>,
    keys: ExternalSorter<(u64, u64)>,
    features: FeatureWriter,
    keep: KeepKeys,
    n_rows: u64,
    n_without_tokens: u64,
    next_row: u64,
}

#[derive(Debug)]
enum FeatureWriter {
    Sketches(SketchTableWriter),
    Sets(SetTableWriter),
}

impl NearDuplicates {
    /// A search under `settings`; its result will be in the handle once [`Next::Done`] is returned.
    ///
    /// # Errors
    /// `Error::Config` if the settings cannot work.
    pub fn new(settings: &Settings, context: &Context) -> Result<(Self, ResultHandle)> {
        let search = settings.search()?;
        let features = match search {
            Search::Bands(bands) => FeatureWriter::Sketches(SketchTableWriter::new(bands, STAGE, context)),
            Search::Exhaustive => FeatureWriter::Sets(SetTableWriter::new(STAGE, context)),
        };
        let result = ResultHandle::default();
        let barrier = Self {
            settings: settings.clone(),
            search,
            result: result.clone(),
            exact_keys: ExternalSorter::new(STAGE, &context.budget),
            keys: ExternalSorter::new(STAGE, &context.budget),
            features,
            keep: KeepKeys::new(settings.keep.clone(), context),
            n_rows: 0,
            n_without_tokens: 0,
            next_row: 0,
        };
        Ok((barrier, result))
    }

    fn observe_sketches(&mut self, batch: &RecordBatch, rows: &UInt64Array, context: &Context) -> Result<()> {
        let FeatureWriter::Sketches(table) = &mut self.features else { return Ok(()) };
        let sketches: &FixedSizeListArray = column(batch, SKETCH)?;
        let slots = sketches.values().as_any().downcast_ref::<UInt32Array>().ok_or_else(|| malformed(SKETCH))?;
        let first_slot = sketches.value_offset(0) as usize;
        let sketches = slots.values()[first_slot..].as_chunks::<N_SLOTS>().0;
        for ((row, keys), sketch) in lists(batch, BAND_KEYS, rows)?.zip(sketches) {
            table.push(row, sketch, keys, context)?;
            for &key in keys {
                self.keys.push((key, row), context)?;
            }
        }
        Ok(())
    }

    fn observe_sets(&mut self, batch: &RecordBatch, rows: &UInt64Array, context: &Context) -> Result<()> {
        let FeatureWriter::Sets(table) = &mut self.features else { return Ok(()) };
        for (row, set) in lists(batch, SHINGLES, rows)? {
            table.push(row, set, context)?;
            for &shingle in &set[..prefix_len(set.len(), self.settings.threshold)] {
                self.keys.push((shingle, row), context)?;
            }
        }
        Ok(())
    }
}

impl BarrierStage for NearDuplicates {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let rows: &UInt64Array = column(batch, ROW)?;
        let exact_keys: &FixedSizeBinaryArray = column(batch, EXACT_KEY)?;
        let n_shingles: &UInt32Array = column(batch, N_SHINGLES)?;
        for (index, &row) in rows.values().iter().enumerate() {
            if row < self.next_row {
                return Err(Error::Invariant(format!("row {row} comes after row {}", self.next_row - 1)));
            }
            self.next_row = row + 1;
            let key = exact_keys.value(index).try_into().map_err(|_| malformed(EXACT_KEY))?;
            self.exact_keys.push((u128::from_be_bytes(key), row), context)?;
        }
        self.n_rows += batch.num_rows() as u64;
        self.n_without_tokens += n_shingles.values().iter().filter(|&&n| n == 0).count() as u64;
        self.keep.observe(batch, rows, context)?;
        match self.search {
            Search::Bands(_) => self.observe_sketches(batch, rows, context),
            Search::Exhaustive => self.observe_sets(batch, rows, context),
        }
    }

    fn end_of_pass(self: Box<Self>, context: &Context) -> Result<Next> {
        let ranks = self.keep.finish(context)?;
        let identical = group(self.exact_keys, &ranks, context)?;
        let features = match (self.features, self.search) {
            (FeatureWriter::Sketches(table), Search::Bands(_)) => {
                Features::Sketches { table: table.finish(context)?, gate: Gate::new(self.settings.threshold) }
            }
            (FeatureWriter::Sets(table), Search::Exhaustive) => {
                Features::Sets { table: table.finish(context)?, threshold: self.settings.threshold }
            }
            _ => return Err(malformed(SKETCH)),
        };
        let found = compare(self.keys, &features, &ranks, &identical.collapsed, context)?;
        std::mem::drop(features);
        let pruned = prune(found.edges, found.grey, self.settings.linkage, context)?;
        let closing = Closing {
            report: NearDuplicateReport {
                recall_at_threshold: self.search.probability(self.settings.threshold),
                ..report(self.search, self.n_rows, self.n_without_tokens, found.counts)
            },
            settings: self.settings,
            ranks,
            identical,
            edges: pruned.edges,
            result: self.result,
        };
        if pruned.open.is_empty() {
            return closing.close(context);
        }
        let map = Box::new(ShingleSets::new(&closing.settings));
        let (barrier, rows) = Proof::new(closing, pruned.open, context)?;
        Ok(Next::Again { rows, map, barrier: Box::new(barrier) })
    }
}

/// What is left to do once every pair is decided.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) settings: Settings,
    pub(super) ranks: Ranks,
    pub(super) edges: ExternalSorter<Edge>,
    identical: Identical,
    report: NearDuplicateReport,
    result: ResultHandle,
}

impl Closing {
    /// Takes the edges found so far.
    pub(super) fn take_edges(&mut self, context: &Context) -> ExternalSorter<Edge> {
        std::mem::replace(&mut self.edges, ExternalSorter::new(STAGE, &context.budget))
    }

    /// Turns edges into verdicts and leaves the result in the handle.
    pub(super) fn close(self, context: &Context) -> Result<Next> {
        let Self { settings, ranks, edges, identical, mut report, result } = self;
        let verdicts = assign(edges, identical.members, settings.linkage, &ranks, context)?;
        report.n_proven_pairs = verdicts.n_proven_pairs;
        let mut by_kept = ExternalSorter::new(STAGE, &context.budget);
        let mut clusters = ExternalSorter::new(STAGE, &context.budget);
        let (mut identical_rows, mut near_rows) = (RowSet::new(), RowSet::new());
        let (mut dropped_rows, mut kept_rows) = (RowSet::new(), RowSet::new());
        let mut what_if = WhatIf::above(settings.threshold);
        let mut drops = Grouped::new(verdicts.drops.finish(context)?)?;
        while let Some(kept) = drops.peek().map(|drop| drop.kept) {
            context.cancel.check()?;
            let mut n_rows = 1;
            while let Some(drop) = drops.next_if(|drop| drop.kept == kept)? {
                n_rows += 1;
                dropped_rows.insert(drop.dropped);
                let reason_rows = if drop.rule == Rule::IdenticalText { &mut identical_rows } else { &mut near_rows };
                reason_rows.insert(drop.dropped);
                report.count(&drop);
                what_if.count(&drop);
                by_kept.push(drop, context)?;
            }
            kept_rows.insert(kept);
            clusters.push((kept, n_rows), context)?;
            report.n_clusters += 1;
            report.largest_cluster_rows = report.largest_cluster_rows.max(n_rows);
        }
        report.what_if = what_if.into_points();
        let verdict =
            Verdict::default().with(DropReason::Identical, identical_rows).with(DropReason::NearDuplicate, near_rows);
        let evidence =
            Evidence::new(by_kept.finish(context)?, clusters.finish(context)?, dropped_rows, kept_rows, context)?;
        result.set(NearDuplicateResult { verdict: verdict.clone(), evidence, report });
        Ok(Next::Done(Box::new(verdict)))
    }
}

impl NearDuplicateReport {
    fn count(&mut self, drop: &Drop) {
        match drop.method {
            Method::Identical => self.n_identical += 1,
            Method::Exact => self.n_near_exact += 1,
            Method::Estimated => self.n_near_estimated += 1,
        }
        self.n_connected += u64::from(drop.rule == Rule::Connected);
    }
}

fn report(search: Search, n_rows: u64, n_without_tokens: u64, counts: Counts) -> NearDuplicateReport {
    let (n_bands, rows_per_band, s_curve) = match search {
        Search::Bands(bands) => (bands.n_bands, bands.rows_per_band, bands.s_curve()),
        Search::Exhaustive => (0, 0, (0..=20).map(|step| (f64::from(step) / 20.0, 1.0)).collect()),
    };
    NearDuplicateReport {
        n_bands,
        rows_per_band,
        s_curve,
        n_rows,
        n_without_tokens,
        n_candidate_pairs: counts.candidate_pairs,
        n_untested_pairs: counts.untested_pairs,
        n_hot_buckets: counts.hot_buckets,
        ..NearDuplicateReport::default()
    }
}

/// The lists of a `List<UInt64>` column, row by row.
pub(super) fn lists<'a>(
    batch: &'a RecordBatch,
    name: &str,
    rows: &'a UInt64Array,
) -> Result<impl Iterator<Item = (u64, &'a [u64])>> {
    let lists: &ListArray = column(batch, name)?;
    let values = lists.values().as_any().downcast_ref::<UInt64Array>().ok_or_else(|| malformed(name))?;
    let slices = lists.offsets().windows(2).map(|ends| &values.values()[ends[0] as usize..ends[1] as usize]);
    Ok(rows.values().iter().copied().zip(slices))
}

fn malformed(name: &str) -> Error {
    Error::Invariant(format!("column `{name}` is malformed between two stages"))
}
