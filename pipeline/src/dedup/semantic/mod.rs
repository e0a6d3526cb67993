//! Rows that say what a kept row says in other words: their embeddings have a large cosine.
//!
//! ```text
//! rows, keep columns, embeddings -> observe: a tape of vectors, keep keys, a sample
//! finish: sample -> k-means -> each row to its nearest centroid -> sorted by cluster and keep order -> a walk in each cluster
//! ```
//!
//! The walk is that of near-duplicates under star linkage: a row is dropped if and only if a row of its cluster that stays comes
//! before it and reaches the threshold, and for the most similar of those, the first one if several are. All such pairs of a
//! cluster are compared, however large it is; what clusters part is not, and counted.

mod sample;
#[cfg(test)]
mod tests;
mod vectors;
mod walk;

use arrow::array::{AsArray, FixedSizeListArray, RecordBatch, UInt64Array};
use arrow::datatypes::Float16Type;
use half::slice::HalfFloatSliceExt;
use tamis_schemas::columns::{EMBEDDING, ROW};

use super::assign::{Drop, Rule};
use super::columns::{column, malformed};
use super::edge::{Grouped, Method, Similarity, record_of_fields};
use super::handover::HandedDrop;
use super::keep::{KeepKeys, Ranks, keep_columns};
use super::measure::Measure;
use super::report::{MoreDrops, NearDuplicateResult};
use super::settings::KeepOrder;
use super::tape::RowTableWriter;
use crate::Result;
use crate::context::Context;
use crate::kmeans::k_means;
use crate::points::Points;
use crate::spill::{ExternalSorter, Sorted};

use sample::Sample;
use vectors::Vectors;
use walk::{Block, Member, Walk};

const STAGE: &str = "semantic duplicates";
/// Rows for each cluster, if nobody says how many there are to be: comparing a row with all that stay of its cluster takes a small
/// part of the time that embedding it took, and the fewer clusters there are, the fewer pairs they part.
const ROWS_PER_CLUSTER: u64 = 20_000;
/// Clusters at most: beyond, finding the nearest one of each row costs more than there is to gain.
pub const MAX_CLUSTERS: usize = 1024;
/// Rows that are taken from the tape at once.
const READ_ROWS: u64 = 4096;

/// How rows are compared by their embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct SemanticSettings {
    /// Cosine from which a row is dropped, above 0 to 1.
    pub threshold: f64,
    /// Clusters, 1 to [`MAX_CLUSTERS`]; by the number of rows if not given.
    pub n_clusters: Option<usize>,
    /// Who stays.
    pub keep: KeepOrder,
    /// Seed of the sample and of the first centroids.
    pub seed: u64,
}

impl SemanticSettings {
    /// The input columns that the keep order looks at.
    pub fn columns(&self) -> Vec<String> {
        keep_columns(&self.keep).into_iter().map(str::to_owned).collect()
    }
}

/// What was found, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SemanticReport {
    /// Clusters with a row.
    pub n_clusters: u64,
    /// Rows of the largest of them.
    pub largest_cluster_rows: u64,
    /// Rows dropped.
    pub n_dropped: u64,
    /// Rows that would be dropped, if nothing rested on them.
    pub n_spared: u64,
    /// Pairs of a row and one that stays, compared.
    pub n_compared_pairs: u64,
    /// Pairs of rows in different clusters.
    pub n_untested_pairs: u64,
}

/// Barrier: observes rows with their embeddings in row order, then decides about them.
///
/// # Memory
/// The vectors in half precision, once as they come and once sorted, and those that stay of one cluster: each in a file where
/// the budget refuses them. The sample of at most 16,384 vectors, and blocks of 1,024, are held.
///
/// # Determinism
/// A function of the rows, their positions and the settings. A verdict is of the exact cosine of two vectors in half precision; a
/// faster product of matrices only tells which pairs are worth it.
///
/// # Source
/// Abbas, Tirumala, Simig, Ganguli, Morcos: `SemDeDup`: Data-efficient learning at web-scale through semantic deduplication, 2023,
/// section 3. There the row of a group that is farthest from (or nearest to) the centroid stays; here the keep order says
/// which, and no row is dropped for one that is dropped itself.
#[derive(Debug)]
pub struct SemanticDuplicates {
    settings: SemanticSettings,
    dimensions: usize,
    keys: KeepKeys,
    sample: Sample,
    rows: RowTableWriter<u64>,
    vectors: RowTableWriter<u16>,
    n_rows: u64,
}

impl SemanticDuplicates {
    /// A search under `settings` among vectors of `dimensions`.
    pub fn new(settings: SemanticSettings, dimensions: usize, context: &Context) -> Self {
        Self {
            keys: KeepKeys::new(settings.keep.clone(), Measure::Jaccard, context),
            sample: Sample::new(settings.seed),
            rows: RowTableWriter::new(STAGE, context),
            vectors: RowTableWriter::of_width(dimensions, STAGE, context),
            n_rows: 0,
            settings,
            dimensions,
        }
    }

    /// Sees one batch: `tamis_row`, `tamis_length`, the columns of the keep order, `tamis_embedding` (`FixedSizeList<Float16>`).
    pub fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        let rows: &UInt64Array = column(batch, ROW)?;
        self.keys.observe(batch, rows, context)?;
        let lists: &FixedSizeListArray = column(batch, EMBEDDING)?;
        let values = lists.values().as_primitive_opt::<Float16Type>().ok_or_else(|| malformed(EMBEDDING))?;
        if usize::try_from(lists.value_length()) != Ok(self.dimensions) || self.dimensions == 0 {
            return Err(malformed(EMBEDDING));
        }
        let vectors = values.values().chunks_exact(self.dimensions);
        for (&row, vector) in rows.values().iter().zip(vectors) {
            self.rows.push(self.n_rows, &row, context)?;
            self.vectors.push_record(self.n_rows, vector.reinterpret_cast(), context)?;
            self.sample.offer(row, self.n_rows);
            self.n_rows += 1;
        }
        Ok(())
    }

    /// All rows were seen: decides about those that `result` keeps. Rows that others were dropped for stay, and so do those that
    /// something `rests_on`.
    pub fn finish(
        self,
        result: NearDuplicateResult,
        rests_on: impl Fn(u64) -> bool,
        context: &Context,
    ) -> Result<(NearDuplicateResult, SemanticReport)> {
        let result = result.counting(context)?;
        let mut drops = MoreDrops::new(context);
        let stays = |row| result.evidence.names_as_kept(row) || rests_on(row);
        let report = self.decide(stays, context, |drop| drops.push_handed(drop, context))?;
        Ok((result.with(drops, context)?, report))
    }

    /// All rows were seen: tells which of them are dropped for which. A row that `stays` is not.
    pub(crate) fn decide(
        self,
        stays: impl Fn(u64) -> bool,
        context: &Context,
        mut to: impl FnMut(HandedDrop) -> Result<()>,
    ) -> Result<SemanticReport> {
        let (threshold, dimensions, n_rows) = (self.settings.threshold, self.dimensions, self.n_rows);
        let mut members = Grouped::new(self.into_clusters(context)?)?;
        let mut report = SemanticReport { n_untested_pairs: n_pairs(n_rows), ..SemanticReport::default() };
        while let Some(cluster) = members.peek().map(|placed| placed.cluster) {
            let mut walk = Walk::new(threshold, dimensions, context);
            let mut n_members = 0;
            while let Some(block) = next_block(&mut members, cluster)? {
                n_members += block.len() as u64;
                for found in walk.step(&block, &stays, context)? {
                    let Member { row: dropped, rank } = found.member;
                    let (similarity, kept) = (Similarity::new(found.cosine), found.kept);
                    let (method, rule) = (Method::Exact, Rule::Semantic);
                    let drop = Drop { kept, rank, dropped, similarity, method, rule, n_shared_bands: 0 };
                    to(HandedDrop::of(drop))?;
                    report.n_dropped += 1;
                }
            }
            report.n_clusters += 1;
            report.largest_cluster_rows = report.largest_cluster_rows.max(n_members);
            report.n_spared += walk.n_spared();
            report.n_compared_pairs += walk.n_compared_pairs();
            report.n_untested_pairs -= n_pairs(n_members);
        }
        Ok(report)
    }

    /// The rows by cluster, those of a cluster in the keep order.
    fn into_clusters(self, context: &Context) -> Result<Sorted<Placed>> {
        let Self { settings, dimensions, keys, sample, mut rows, mut vectors, n_rows } = self;
        let ranks: Ranks = keys.finish(context)?;
        rows.flush(context)?;
        vectors.flush(context)?;
        let by_size = n_rows.div_ceil(ROWS_PER_CLUSTER).clamp(1, MAX_CLUSTERS as u64) as usize;
        let n_clusters = settings.n_clusters.unwrap_or(by_size);
        let clusters = if n_clusters == 1 {
            None
        } else {
            let (values, _reservation) = sample.read(n_clusters, &vectors, dimensions, context)?;
            Some(k_means(Points::new(&values, dimensions), n_clusters, settings.seed, context)?)
        };
        let mut members = ExternalSorter::new(STAGE, &context.budget);
        for first in (0..n_rows).step_by(READ_ROWS as usize) {
            context.cancel.check()?;
            let n_read = READ_ROWS.min(n_rows - first) as usize;
            let halves = vectors.records(first, n_read, context)?;
            let assignment = match &clusters {
                Some(clusters) => {
                    let directions = Vectors::new(&halves, dimensions).into_directions();
                    clusters.assign(Points::new(&directions, dimensions), context)?
                }
                None => vec![0; n_read],
            };
            let of_rows = rows.records(first, n_read, context)?;
            for ((&row, cluster), vector) in of_rows.iter().zip(assignment).zip(halves.chunks_exact(dimensions)) {
                let (rank, vector) = (ranks.rank(row)?, bytemuck::cast_slice(vector).to_vec());
                members.push(Placed { cluster, rank, row, vector }, context)?;
            }
        }
        members.finish(context)
    }
}

/// A row with its cluster.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    cluster: u32,
    /// Its place in the keep order.
    rank: u64,
    row: u64,
    /// Bytes of the components in half precision.
    vector: Vec<u8>,
}

record_of_fields!(Placed { cluster, rank, row, vector });

/// The next rows of a cluster; `None` if there are no more.
fn next_block(members: &mut Grouped<Placed>, cluster: u32) -> Result<Option<Block>> {
    let mut block = Block::default();
    while let Some(Placed { rank, row, vector, .. }) =
        members.next_if(|placed| placed.cluster == cluster && !block.is_full())?
    {
        block.push(Member { row, rank }, &vector);
    }
    Ok((!block.is_empty()).then_some(block))
}

/// Pairs of `n` things.
fn n_pairs(n: u64) -> u64 {
    n * n.saturating_sub(1) / 2
}
