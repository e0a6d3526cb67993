//! The barrier: sees the fingerprint of every row, then decides which rows are dropped.

use std::sync::Arc;

use arrow::array::{Array, FixedSizeListArray, RecordBatch, UInt32Array, UInt64Array};
use tamis_schemas::columns::ROW;

use super::assign::{Drop, Rule, assign};
use super::candidates::{Features, Glances, compare};
use super::columns::{BAND_KEYS, EXACT_KEY, GLANCE, N_SHINGLES, SHINGLES, SKETCH, SOURCE, column, keys_of, malformed};
use super::compare::prefix_len;
use super::containment::Samples;
use super::duplicates::DuplicatesWriter;
use super::earlier::{Earlier, Pairing};
use super::edge::{Edge, GreyPair, Grouped, Method};
use super::evidence::Evidence;
use super::fingerprint::ShingleSets;
use super::identical::{Identical, group, link};
use super::index::Lookup;
use super::keep::{KeepKeys, Ranks};
use super::largest::{Cluster, LargestClusters};
use super::lists::lists;
use super::proof::Proof;
use super::prune::{OpenPairs, prune};
use super::report::{NearDuplicateReport, NearDuplicateResult, ResultHandle};
use super::scope::{Places, PlacesWriter, key_within};
use super::settings::{Gate, Linkage, Search, Settings};
use super::shingle_cache::{ShingleCache, Taking};
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
/// pass 2  shingle sets of the rows in open pairs -> exact similarities        (left out if no pair is open; nothing is read
///         again if there was memory for the shingles of all rows)
///         -> verdicts
/// ```
///
/// At a recall of 1.0 the first pass brings the shingle sets themselves, and no pair is left open. If the measure is
/// containment, the first pass brings samples, and the module `containment` says what follows.
#[derive(Debug)]
pub struct NearDuplicates {
    settings: Settings,
    search: Search,
    result: ResultHandle,
    exact_keys: ExternalSorter<(u128, u64)>,
    /// Keys of the texts alone, where rows of one text may differ in their source.
    text_keys: Option<ExternalSorter<(u128, u64)>>,
    places: PlacesWriter,
    keys: ExternalSorter<(u64, u64)>,
    features: FeatureWriter,
    keep: KeepKeys,
    n_rows: u64,
    n_without_tokens: u64,
    next_row: u64,
    lookup: Option<Lookup>,
    shingles: Option<ShingleCache>,
}

#[derive(Debug)]
enum FeatureWriter {
    Sketches(SketchTableWriter),
    Sets(SetTableWriter),
    Samples(Samples),
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
            Search::Samples(sampling) => FeatureWriter::Samples(Samples::new(sampling, context)),
        };
        let result = ResultHandle::default();
        let barrier = Self {
            settings: settings.clone(),
            search,
            result: result.clone(),
            exact_keys: ExternalSorter::new(STAGE, &context.budget),
            text_keys: settings.scope.has_sources().then(|| ExternalSorter::new(STAGE, &context.budget)),
            places: PlacesWriter::new(&settings.scope, context),
            keys: ExternalSorter::new(STAGE, &context.budget),
            features,
            keep: KeepKeys::new(settings.keep.clone(), settings.measure, context),
            n_rows: 0,
            n_without_tokens: 0,
            next_row: 0,
            lookup: None,
            shingles: matches!(search, Search::Bands(_)).then(|| ShingleCache::new(STAGE, context)),
        };
        Ok((barrier, result))
    }

    /// Compares the rows with those of earlier runs too: these come before all others, and stay.
    ///
    /// # Errors
    /// `Error::Config` under settings that do not work with an index.
    pub fn against(mut self, lookup: Lookup) -> Result<Self> {
        self.settings.check_for_index()?;
        self.lookup = Some(lookup);
        Ok(self)
    }

    /// All rows of the input were seen that are to be seen; its last ones may not have been. `n_rows`: all it has.
    #[must_use]
    pub fn at_end(mut self, n_rows: u64) -> Self {
        self.next_row = self.next_row.max(n_rows);
        self
    }

    /// Whether the shingles of all rows are taken too.
    pub(super) fn takes_shingles(&self) -> Taking {
        self.shingles.as_ref().map(ShingleCache::taking).unwrap_or_default()
    }

    /// What rows of this run and of earlier ones have in common.
    fn observe_fingerprints(&mut self, batch: &RecordBatch, rows: &UInt64Array, context: &Context) -> Result<()> {
        for &row in rows.values() {
            if row < self.next_row {
                return Err(Error::Invariant(format!("row {row} comes after row {}", self.next_row - 1)));
            }
            self.next_row = row + 1;
        }
        self.observe_exact_keys(batch, rows, context)?;
        match &mut self.features {
            FeatureWriter::Sketches(_) => self.observe_sketches(batch, rows, context),
            FeatureWriter::Sets(_) => self.observe_sets(batch, rows, context),
            FeatureWriter::Samples(samples) => samples.observe(batch, rows, context),
        }
    }

    /// Finds the rows of earlier runs, and takes them for rows that lie above all of this run.
    fn observe_earlier(&mut self, context: &Context) -> Result<Option<Earlier>> {
        let Some(lookup) = self.lookup.take() else { return Ok(None) };
        let earlier = Earlier::new(lookup.find(context)?, self.next_row);
        earlier.fingerprints(context, |batch| self.observe_fingerprints(&batch, column(&batch, ROW)?, context))?;
        Ok(Some(earlier))
    }

    fn observe_exact_keys(&mut self, batch: &RecordBatch, rows: &UInt64Array, context: &Context) -> Result<()> {
        let mut keys = keys_of(batch, EXACT_KEY)?.zip(rows.values().iter().copied());
        let Some(text_keys) = &mut self.text_keys else {
            return keys.try_for_each(|key| self.exact_keys.push(key, context));
        };
        for ((key, row), source) in keys.zip(keys_of(batch, SOURCE)?) {
            text_keys.push((key, row), context)?;
            self.exact_keys.push((key_within(key, source), row), context)?;
        }
        Ok(())
    }

    fn observe_sketches(&mut self, batch: &RecordBatch, rows: &UInt64Array, context: &Context) -> Result<()> {
        let FeatureWriter::Sketches(table) = &mut self.features else { return Ok(()) };
        if let Ok(glances) = column::<FixedSizeListArray>(batch, GLANCE) {
            for ((row, keys), glance) in lists(batch, BAND_KEYS, rows)?.zip(glances.iter()) {
                let glance = glance.ok_or_else(|| malformed(GLANCE))?;
                let numbers = glance.as_any().downcast_ref::<UInt32Array>().ok_or_else(|| malformed(GLANCE))?;
                table.push_glance(row, numbers.values(), context)?;
                for &key in keys {
                    self.keys.push((key, row), context)?;
                }
            }
            return Ok(());
        }
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
        let n_shingles: &UInt32Array = column(batch, N_SHINGLES)?;
        self.observe_fingerprints(batch, rows, context)?;
        if let Some(shingles) = self.shingles.take() {
            self.shingles = shingles.push(batch, context)?;
        }
        if let Some(lookup) = &mut self.lookup {
            lookup.observe(batch, context)?;
        }
        self.places.observe(batch, rows, context)?;
        self.n_rows += batch.num_rows() as u64;
        self.n_without_tokens += n_shingles.values().iter().filter(|&&n| n == 0).count() as u64;
        self.keep.observe(batch, rows, context)
    }

    fn end_of_pass(mut self: Box<Self>, context: &Context) -> Result<Next> {
        let shingles = self.shingles.take();
        match self.compared(context)? {
            Compared::Pairs { closing, open } => closing.prove_open(open, shingles, context),
            Compared::Samples { closing, samples } => samples.finish(*closing, context),
        }
    }
}

/// What is known once the fingerprints of all rows are.
#[derive(Debug)]
pub(super) enum Compared {
    /// All pairs but those that need a proof.
    Pairs { closing: Box<Closing>, open: OpenPairs },
    /// By containment, nothing yet.
    Samples { closing: Box<Closing>, samples: Samples },
}

impl NearDuplicates {
    /// Compares the rows that share a key.
    pub(super) fn compared(mut self, context: &Context) -> Result<Compared> {
        let earlier = self.observe_earlier(context)?;
        let ranks = self.keep.finish(context)?;
        let ranks = match &earlier {
            Some(earlier) => earlier.rows().ranks(ranks),
            None => ranks,
        };
        let pairing = Pairing::new(earlier.as_ref(), &self.settings.scope);
        let identical = group(self.exact_keys, &ranks, pairing, context)?;
        let mut linked = ExternalSorter::new(STAGE, &context.budget);
        if let Some(keys) = self.text_keys {
            link(keys, &identical.collapsed, &ranks, &mut linked, context)?;
        }
        let mut closing = Closing {
            report: NearDuplicateReport {
                recall_at_threshold: self.search.probability(self.settings.threshold),
                ..report(self.search, self.n_rows, self.n_without_tokens)
            },
            settings: self.settings,
            ranks,
            identical,
            places: Arc::new(self.places.finish(context)?),
            edges: linked,
            untested: ExternalSorter::new(STAGE, &context.budget),
            earlier,
            result: self.result,
        };
        let features = match (self.features, self.search) {
            (FeatureWriter::Samples(samples), _) => {
                return Ok(Compared::Samples { closing: Box::new(closing), samples });
            }
            (FeatureWriter::Sketches(table), Search::Bands(_)) => {
                let table = Glances::All(table.finish(context)?);
                Features::Sketches { table, gate: Gate::new(closing.settings.threshold) }
            }
            (FeatureWriter::Sets(table), Search::Exhaustive) => {
                Features::Sets { table: table.finish(context)?, threshold: closing.settings.threshold }
            }
            _ => return Err(malformed(SKETCH)),
        };
        let Closing { ranks, identical, places, .. } = &closing;
        let found = compare(self.keys, &features, ranks, pairing, &identical.collapsed, places, context)?;
        std::mem::drop(features);
        closing.report.n_candidate_pairs = found.counts.candidate_pairs;
        closing.report.n_untested_pairs = found.counts.untested_pairs;
        closing.report.n_hot_buckets = found.counts.hot_buckets;
        let open = closing.pruned(found.edges, found.grey, context)?;
        Ok(Compared::Pairs { closing: Box::new(closing), open })
    }
}

/// What is left to do once every pair is decided.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) settings: Settings,
    pub(super) ranks: Ranks,
    pub(super) places: Arc<Places>,
    pub(super) edges: ExternalSorter<Edge>,
    pub(super) earlier: Option<Earlier>,
    pub(super) identical: Identical,
    pub(super) report: NearDuplicateReport,
    /// Ranks that were not compared with all their candidates, and how many they left out.
    pub(super) untested: ExternalSorter<(u64, u64)>,
    result: ResultHandle,
}

impl Closing {
    /// Nothing was compared yet.
    pub(super) fn new(
        settings: Settings,
        ranks: Ranks,
        identical: Identical,
        report: NearDuplicateReport,
        context: &Context,
    ) -> (Self, ResultHandle) {
        let result = ResultHandle::default();
        let closing = Self {
            settings,
            ranks,
            places: Arc::new(Places::anywhere()),
            edges: ExternalSorter::new(STAGE, &context.budget),
            earlier: None,
            identical,
            report,
            untested: ExternalSorter::new(STAGE, &context.budget),
            result: result.clone(),
        };
        (closing, result)
    }

    /// Asks for the sets of the rows in open pairs, if the answer depends on any.
    pub(super) fn prove(
        mut self,
        edges: ExternalSorter<Edge>,
        grey: ExternalSorter<GreyPair>,
        context: &Context,
    ) -> Result<Next> {
        let open = self.pruned(edges, grey, context)?;
        self.prove_open(open, None, context)
    }

    /// Takes the edges in, and leaves out what the answer does not depend on.
    fn pruned(
        &mut self,
        mut edges: ExternalSorter<Edge>,
        grey: ExternalSorter<GreyPair>,
        context: &Context,
    ) -> Result<OpenPairs> {
        for edge in self.take_edges(context).finish(context)? {
            edges.push(edge?, context)?;
        }
        let pruned = prune(edges, grey, self.settings.linkage, (&self.places, &self.ranks), context)?;
        self.edges = pruned.edges;
        Ok(pruned.open)
    }

    /// Asks for the sets of the rows in these pairs, if there are any.
    pub(super) fn prove_open(self, open: OpenPairs, shingles: Option<ShingleCache>, context: &Context) -> Result<Next> {
        if open.is_empty() {
            return self.close(context);
        }
        let map = Box::new(ShingleSets::new(&self.settings));
        let (barrier, rows) = Proof::new(self, open, context)?;
        let barrier = Box::new(barrier);
        match shingles {
            Some(shingles) => shingles.replay(&rows, barrier, context),
            None => Ok(Next::Again { rows, map, barrier }),
        }
    }

    /// Takes the edges found so far.
    pub(super) fn take_edges(&mut self, context: &Context) -> ExternalSorter<Edge> {
        std::mem::replace(&mut self.edges, ExternalSorter::new(STAGE, &context.budget))
    }

    /// Turns edges into verdicts and leaves the result in the handle.
    pub(super) fn close(self, context: &Context) -> Result<Next> {
        let Self { settings, ranks, edges, earlier, identical, mut report, untested, result, .. } = self;
        let verdicts = assign(edges, identical.members, &settings, &ranks, context)?;
        report.n_proven_pairs = verdicts.n_proven_pairs;
        let is_earlier = |row| earlier.as_ref().is_some_and(|earlier: &Earlier| earlier.rows().contains(row));
        let mut by_kept = ExternalSorter::new(STAGE, &context.budget);
        let mut clusters = ExternalSorter::new(STAGE, &context.budget);
        let mut drops = Grouped::new(verdicts.drops.finish(context)?)?;
        while let Some(kept) = drops.peek().map(|drop| drop.kept) {
            context.cancel.check()?;
            let (mut n_rows, mut n_dropped) = (1, 0);
            while let Some(drop) = drops.next_if(|drop| drop.kept == kept)? {
                n_rows += 1;
                if n_rows <= settings.cap_cluster && !is_earlier(kept) {
                    report.n_spared += 1;
                    continue;
                }
                n_dropped += 1;
                report.n_dropped_for_earlier += u64::from(is_earlier(kept));
                if is_earlier(drop.dropped) {
                    return Err(Error::Invariant("a row of an earlier run was dropped".into()));
                }
                by_kept.push(drop, context)?;
            }
            if n_dropped > 0 {
                clusters.push((kept, n_rows), context)?;
            }
        }
        let found = conclude(by_kept, clusters, &settings, report, context)?;
        let NearDuplicateResult { verdict, mut evidence, duplicates, largest, mut report } = found;
        for record in untested.finish(context)? {
            let (rank, n_untested) = record?;
            // A star has one center: what else a dropped row could have been dropped for does not matter.
            if settings.linkage == Linkage::Connected || verdict.reason(ranks.row(rank)?).is_none() {
                report.n_untested_pairs += n_untested;
                report.n_hot_buckets += 1;
            }
        }
        if let Some(earlier) = earlier {
            earlier.name_rows(&mut evidence, context)?;
            (report.n_earlier, report.n_earlier_matched) = (earlier.rows().n_rows(), earlier.rows().n_matched());
        }
        result.set(NearDuplicateResult { verdict: verdict.clone(), evidence, duplicates, largest, report });
        Ok(Next::Done(Box::new(verdict)))
    }
}

/// The result, once it is known which rows are dropped for which. `clusters`: kept row, and rows of its cluster.
pub(super) fn conclude(
    drops: ExternalSorter<Drop>,
    clusters: ExternalSorter<(u64, u64)>,
    settings: &Settings,
    mut report: NearDuplicateReport,
    context: &Context,
) -> Result<NearDuplicateResult> {
    let mut by_kept = ExternalSorter::new(STAGE, &context.budget);
    let mut sizes = ExternalSorter::new(STAGE, &context.budget);
    let mut duplicates = DuplicatesWriter::new(context);
    let mut largest = LargestClusters::new(settings.max_cluster_rows);
    let (mut identical_rows, mut near_rows) = (RowSet::new(), RowSet::new());
    let (mut dropped_rows, mut kept_rows) = (RowSet::new(), RowSet::new());
    let mut what_if = WhatIf::above(settings.threshold);
    let mut drops = Grouped::new(drops.finish(context)?)?;
    for size in clusters.finish(context)? {
        let (kept, n_rows) = size?;
        context.cancel.check()?;
        let mut cluster = Cluster { n_rows, ..Cluster::new(kept) };
        while let Some(drop) = drops.next_if(|drop| drop.kept == kept)? {
            cluster.drop(drop.dropped, drop.similarity.value());
            duplicates.push(drop.dropped, kept, context)?;
            dropped_rows.insert(drop.dropped);
            let reason_rows = if drop.rule == Rule::IdenticalText { &mut identical_rows } else { &mut near_rows };
            reason_rows.insert(drop.dropped);
            report.count(&drop);
            what_if.count(&drop);
            by_kept.push(drop, context)?;
        }
        kept_rows.insert(kept);
        sizes.push((kept, n_rows), context)?;
        duplicates.count(kept, cluster.n_dropped, context)?;
        report.n_clusters += 1;
        report.largest_cluster_rows = report.largest_cluster_rows.max(n_rows);
        largest.add(cluster);
    }
    if let Some(drop) = drops.peek() {
        return Err(Error::Invariant(format!("row {} is dropped for a row without a cluster", drop.dropped)));
    }
    report.what_if = what_if.into_points();
    let verdict =
        Verdict::default().with(DropReason::Identical, identical_rows).with(DropReason::NearDuplicate, near_rows);
    let evidence = Evidence::new(by_kept.finish(context)?, sizes.finish(context)?, dropped_rows, kept_rows, context)?;
    let duplicates = Some(duplicates.finish(context)?);
    Ok(NearDuplicateResult { verdict, evidence, duplicates, largest, report })
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

/// What is known of a search before it begins, and of its rows.
pub(super) fn report(search: Search, n_rows: u64, n_without_tokens: u64) -> NearDuplicateReport {
    let rows = NearDuplicateReport { n_rows, n_without_tokens, ..NearDuplicateReport::default() };
    match search {
        Search::Bands(bands) => NearDuplicateReport {
            n_bands: bands.n_bands,
            rows_per_band: bands.rows_per_band,
            s_curve: bands.s_curve(),
            ..rows
        },
        Search::Exhaustive => {
            NearDuplicateReport { s_curve: (0..=20).map(|step| (f64::from(step) / 20.0, 1.0)).collect(), ..rows }
        }
        Search::Samples(sampling) => {
            NearDuplicateReport { sample: sampling.sizes(), s_curve: sampling.s_curve(), ..rows }
        }
    }
}
