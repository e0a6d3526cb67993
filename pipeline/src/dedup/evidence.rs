//! Evidence: one row for each dropped row, with the row that stays for it and what proves it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringArray, StringBuilder, UInt64Array,
    new_null_array,
};
use arrow::datatypes::{DataType, SchemaRef};
use tamis_schemas::tables::evidence_schema;

use super::assign::{Drop, Rule};
use super::edge::{Grouped, Method, Similarity, record_of_fields};
use super::handover::{Handed, HandedDrop};
use super::largest::{Cluster, LargestClusters};
use crate::context::Context;
use crate::spill::{ExternalSorter, Sorted};
use crate::{Error, Result, RowSet};

const STAGE: &str = "near-duplicates: evidence";

/// Collects the ids of the rows that evidence names.
#[derive(Debug)]
pub struct Evidence {
    /// Sorted by kept row.
    drops: Grouped<Drop>,
    /// Kept row and number of rows in its cluster, sorted.
    clusters: Grouped<(u64, u64)>,
    dropped_rows: RowSet,
    kept_rows: RowSet,
    dropped_ids: ExternalSorter<(u64, Vec<u8>)>,
    kept_ids: ExternalSorter<(u64, Vec<u8>)>,
}

impl Evidence {
    pub(super) fn new(
        drops: Sorted<Drop>,
        clusters: Sorted<(u64, u64)>,
        dropped_rows: RowSet,
        kept_rows: RowSet,
        context: &Context,
    ) -> Result<Self> {
        Ok(Self {
            drops: Grouped::new(drops)?,
            clusters: Grouped::new(clusters)?,
            dropped_rows,
            kept_rows,
            dropped_ids: ExternalSorter::new(STAGE, &context.budget),
            kept_ids: ExternalSorter::new(STAGE, &context.budget),
        })
    }

    /// Evidence of no dropped row.
    pub(super) fn none(context: &Context) -> Result<Self> {
        let nothing = ExternalSorter::new(STAGE, &context.budget).finish(context)?;
        let no_clusters = ExternalSorter::new(STAGE, &context.budget).finish(context)?;
        Self::new(nothing, no_clusters, RowSet::new(), RowSet::new(), context)
    }

    /// Also of these drops. A row that is dropped for itself is its own cluster. Takes down the `largest` of all clusters, as far
    /// as rows stand for whole rows.
    pub(super) fn with(
        mut self,
        more: ExternalSorter<Drop>,
        largest: &mut LargestClusters,
        context: &Context,
    ) -> Result<Self> {
        let mut by_kept = ExternalSorter::new(STAGE, &context.budget);
        let mut clusters = ExternalSorter::new(STAGE, &context.budget);
        let (mut dropped_rows, mut kept_rows) = (RowSet::new(), RowSet::new());
        let mut more = Grouped::new(more.finish(context)?)?;
        while let Some(kept) = self.drops.peek().into_iter().chain(more.peek()).map(|drop| drop.kept).min() {
            context.cancel.check()?;
            let mut n_rows = self.clusters.next_if(|(row, _)| *row == kept)?.map_or(1, |(_, n_rows)| n_rows);
            let (mut cluster, mut n_others) = (Cluster::new(kept), 0);
            let mut add = |drop: Drop| {
                if drop.rule.reason().is_duplicate() {
                    cluster.drop(drop.dropped, drop.similarity.value());
                } else {
                    n_others += u64::from(drop.dropped != kept);
                }
                dropped_rows.insert(drop.dropped);
                by_kept.push(drop, context)
            };
            while let Some(drop) = self.drops.next_if(|drop| drop.kept == kept)? {
                add(drop)?;
            }
            while let Some(drop) = more.next_if(|drop| drop.kept == kept)? {
                n_rows += u64::from(drop.dropped != kept);
                add(drop)?;
            }
            if cluster.n_dropped > 0 {
                largest.add(Cluster { n_rows: n_rows - n_others, ..cluster });
            }
            kept_rows.insert(kept);
            clusters.push((kept, n_rows), context)?;
        }
        let Self { dropped_ids, kept_ids, .. } = self;
        let joined = Self::new(by_kept.finish(context)?, clusters.finish(context)?, dropped_rows, kept_rows, context)?;
        Ok(Self { dropped_ids, kept_ids, ..joined })
    }

    /// Tells who is dropped for whom, cluster by cluster.
    pub(super) fn hand_over(mut self, mut to: impl FnMut(Handed) -> Result<()>) -> Result<()> {
        while let Some(&(kept, n_rows)) = self.clusters.peek() {
            let mut n_dropped = 0;
            while let Some(drop) = self.drops.next_if(|drop| drop.kept == kept)? {
                n_dropped += 1;
                to(Handed::Drop(HandedDrop::of(drop)))?;
            }
            to(Handed::Cluster { kept, n_rows, n_dropped })?;
            self.clusters.next()?;
        }
        Ok(())
    }

    /// Whether rows are dropped for `row`.
    pub(super) fn names_as_kept(&self, row: u64) -> bool {
        self.kept_rows.contains(row)
    }

    /// Columns of the evidence table.
    pub fn schema() -> SchemaRef {
        evidence_schema()
    }

    /// Sees the ids of rows; of the whole input, in any order, each row once.
    pub fn observe_ids(&mut self, rows: &UInt64Array, ids: &StringArray, context: &Context) -> Result<()> {
        for (&row, id) in rows.values().iter().zip(ids) {
            let id = || id.unwrap_or_default().as_bytes().to_vec();
            if self.dropped_rows.contains(row) {
                self.dropped_ids.push((row, id()), context)?;
            }
            if self.kept_rows.contains(row) {
                self.kept_ids.push((row, id()), context)?;
            }
        }
        Ok(())
    }

    /// For which row each row is dropped.
    pub(crate) fn clusters(&mut self, context: &Context) -> Result<RowClusters> {
        let mut by_kept = ExternalSorter::new(STAGE, &context.budget);
        let mut by_dropped = ExternalSorter::new(STAGE, &context.budget);
        while let Some(drop) = self.drops.next()? {
            context.cancel.check()?;
            by_dropped.push((drop.dropped, drop.kept), context)?;
            by_kept.push(drop, context)?;
        }
        self.drops = Grouped::new(by_kept.finish(context)?)?;
        Ok(RowClusters(Grouped::new(by_dropped.finish(context)?)?))
    }

    /// The row that each of `rows` is dropped for, of those that are.
    pub(crate) fn stand_ins(&mut self, rows: &RowSet, context: &Context) -> Result<HashMap<u64, u64>> {
        let mut clusters = self.clusters(context)?;
        let mut stand_ins = HashMap::new();
        while let Some((dropped, kept)) = clusters.0.next()? {
            if rows.contains(dropped) {
                stand_ins.insert(dropped, kept);
            }
        }
        Ok(stand_ins)
    }

    /// The kept rows whose ids it waits for.
    pub(super) fn kept_rows(&self) -> &RowSet {
        &self.kept_rows
    }

    /// Joins ids and verdicts. The batches come in order of the dropped row.
    pub fn finish(mut self, context: &Context) -> Result<EvidenceBatches> {
        let mut proofs = ExternalSorter::new(STAGE, &context.budget);
        for kept_id in self.kept_ids.finish(context)? {
            context.cancel.check()?;
            let (kept, kept_id) = kept_id?;
            let Some((_, n_rows)) = self.clusters.next_if(|(row, _)| *row == kept)? else {
                return Err(unmatched(kept));
            };
            while let Some(drop) = self.drops.next_if(|drop| drop.kept == kept)? {
                let Drop { kept, dropped, similarity, method, rule, n_shared_bands, .. } = drop;
                let kept_id = kept_id.clone();
                let proof = Proof { dropped, kept, kept_id, similarity, method, rule, n_shared_bands, n_rows };
                proofs.push(proof, context)?;
            }
        }
        if let Some(drop) = self.drops.peek() {
            return Err(unmatched(drop.kept));
        }
        Ok(EvidenceBatches {
            proofs: Grouped::new(proofs.finish(context)?)?,
            dropped_ids: self.dropped_ids.finish(context)?,
            batch_rows: context.batch_rows,
            rows: Vec::new(),
            clusters: Vec::new(),
        })
    }
}

/// Rows and the rows that they are dropped for, by position.
#[derive(Debug)]
pub(crate) struct RowClusters(Grouped<(u64, u64)>);

impl RowClusters {
    /// The row that `row` is dropped for; `None` if no row stands for it. To be asked in the order of the rows, of each that is
    /// dropped.
    pub(crate) fn of(&mut self, row: u64) -> Result<Option<u64>> {
        if let Some((passed, _)) = self.0.next_if(|(dropped, _)| *dropped < row)? {
            return Err(unmatched(passed));
        }
        Ok(self.0.next_if(|(dropped, _)| *dropped == row)?.map(|(_, kept)| kept))
    }
}

pub(super) fn unmatched(row: u64) -> Error {
    Error::Invariant(format!("row {row} was seen in one pass over the input and not in another"))
}

/// A row of evidence, its own id aside.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Proof {
    dropped: u64,
    kept: u64,
    kept_id: Vec<u8>,
    similarity: Similarity,
    method: Method,
    rule: Rule,
    n_shared_bands: u16,
    n_rows: u64,
}

record_of_fields!(Proof { dropped, kept, kept_id, similarity, method, rule, n_shared_bands, n_rows });

/// Evidence in batches of [`Evidence::schema`].
#[derive(Debug)]
pub struct EvidenceBatches {
    proofs: Grouped<Proof>,
    dropped_ids: Sorted<(u64, Vec<u8>)>,
    batch_rows: usize,
    rows: Vec<u64>,
    clusters: Vec<u64>,
}

impl EvidenceBatches {
    /// The dropped rows that the last batch tells of, by position.
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// The rows that these are dropped for.
    pub fn clusters(&self) -> &[u64] {
        &self.clusters
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut dropped_ids = StringBuilder::new();
        let mut kept_ids = StringBuilder::new();
        let mut similarities = Float64Builder::new();
        let mut methods = StringBuilder::new();
        let mut rules = StringBuilder::new();
        let mut shared_bands = Int32Builder::new();
        let mut cluster_sizes = Int64Builder::new();
        self.rows.clear();
        self.clusters.clear();
        while self.rows.len() < self.batch_rows {
            let Some(proof) = self.proofs.next()? else { break };
            let (row, dropped_id) = self.dropped_ids.next().ok_or_else(|| unmatched(proof.dropped))??;
            if row != proof.dropped {
                return Err(unmatched(row.min(proof.dropped)));
            }
            dropped_ids.append_value(String::from_utf8_lossy(&dropped_id));
            kept_ids.append_value(String::from_utf8_lossy(&proof.kept_id));
            similarities.append_value(proof.similarity.value());
            methods.append_value(proof.method.name());
            rules.append_value(proof.rule.name());
            shared_bands.append_value(i32::from(proof.n_shared_bands));
            cluster_sizes.append_value(proof.n_rows.cast_signed());
            self.rows.push(row);
            self.clusters.push(proof.kept);
        }
        if self.rows.is_empty() {
            return Ok(None);
        }
        let kept_ids: ArrayRef = Arc::new(kept_ids.finish());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(dropped_ids.finish()),
            Arc::clone(&kept_ids),
            Arc::new(similarities.finish()),
            Arc::new(methods.finish()),
            Arc::new(rules.finish()),
            Arc::new(shared_bands.finish()),
            kept_ids,
            Arc::new(cluster_sizes.finish()),
            new_null_array(&DataType::Int64, self.rows.len()),
            new_null_array(&DataType::Int64, self.rows.len()),
        ];
        Ok(Some(RecordBatch::try_new(Evidence::schema(), columns)?))
    }
}

impl Iterator for EvidenceBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
