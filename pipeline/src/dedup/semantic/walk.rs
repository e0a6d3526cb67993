//! The walk through the rows of one cluster, in keep order and block by block.
//!
//! ```text
//! block of rows x chunks of vectors that stay so far   (all threads)  -> the most similar of each row
//! block of rows x itself                               (all threads)  -> in order: stays, or is dropped for whom
//! ```

use rayon::prelude::*;

use super::STAGE;
use super::vectors::Vectors;
use crate::Result;
use crate::context::Context;
use crate::dedup::tape::RowTableWriter;

/// Rows of a block.
const BLOCK_ROWS: usize = 1024;
/// Vectors that stay which a thread takes at once.
const CHUNK_ROWS: u64 = 512;
/// Rows of a block that a thread compares with the block at once.
const SLICE_ROWS: usize = 128;

/// A row of a cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) row: u64,
    /// Its place in the keep order.
    pub(super) rank: u64,
}

/// Rows that follow each other in the keep order.
#[derive(Debug, Default)]
pub(super) struct Block {
    members: Vec<Member>,
    halves: Vec<u16>,
}

impl Block {
    /// Adds a row, with the bytes of its vector in half precision.
    pub(super) fn push(&mut self, member: Member, vector: &[u8]) {
        self.members.push(member);
        self.halves.extend(vector.as_chunks::<2>().0.iter().map(|&bytes| u16::from_ne_bytes(bytes)));
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.members.len() == BLOCK_ROWS
    }
}

/// A row that is dropped, and for which.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) member: Member,
    pub(super) kept: u64,
    pub(super) cosine: f64,
}

/// The row that stays with the largest cosine so far.
#[derive(Debug, Clone, Copy)]
struct Nearest {
    row: u64,
    cosine: f64,
}

/// What stays of a cluster.
#[derive(Debug)]
pub(super) struct Walk {
    threshold: f64,
    dimensions: usize,
    rows: RowTableWriter<u64>,
    vectors: RowTableWriter<u16>,
    n_kept: u64,
    n_spared: u64,
    n_compared_pairs: u64,
}

impl Walk {
    pub(super) fn new(threshold: f64, dimensions: usize, context: &Context) -> Self {
        Self {
            threshold,
            dimensions,
            rows: RowTableWriter::new(STAGE, context),
            vectors: RowTableWriter::of_width(dimensions, STAGE, context),
            n_kept: 0,
            n_spared: 0,
            n_compared_pairs: 0,
        }
    }

    /// Rows so far that stay only because they must.
    pub(super) fn n_spared(&self) -> u64 {
        self.n_spared
    }

    /// Pairs so far of a row and one that stays.
    pub(super) fn n_compared_pairs(&self) -> u64 {
        self.n_compared_pairs
    }

    /// Decides about the next rows; those that `must_stay` do. What is dropped comes in their order.
    pub(super) fn step(
        &mut self,
        block: &Block,
        must_stay: impl Fn(u64) -> bool,
        context: &Context,
    ) -> Result<Vec<Found>> {
        let vectors = Vectors::new(&block.halves, self.dimensions);
        self.rows.flush(context)?;
        self.vectors.flush(context)?;
        let nearest = self.nearest_kept(&vectors, context)?;
        let products = context.pool.install(|| products_within(&vectors));
        let n_before = self.n_kept;
        let (mut staying, mut found) = (Vec::new(), Vec::new());
        for (index, (&member, mut nearest)) in block.members.iter().zip(nearest).enumerate() {
            context.cancel.check()?;
            let of_row = &products[index * vectors.len()..][..vectors.len()];
            let least = vectors.least_product(index, self.threshold);
            self.n_compared_pairs += n_before + staying.len() as u64;
            for &other in &staying {
                if least <= of_row[other] * vectors.scale(other) {
                    let row = block.members[other].row;
                    improve(&mut nearest, Nearest { row, cosine: vectors.cosine(index, &vectors, other) });
                }
            }
            match nearest.filter(|nearest| self.threshold <= nearest.cosine) {
                Some(Nearest { row, cosine }) if !must_stay(member.row) => {
                    found.push(Found { member, kept: row, cosine });
                    continue;
                }
                Some(_) => self.n_spared += 1,
                None => {}
            }
            if vectors.has_direction(index) {
                staying.push(index);
            }
        }
        for index in staying {
            self.rows.push(self.n_kept, &block.members[index].row, context)?;
            let halves = &block.halves[index * self.dimensions..][..self.dimensions];
            self.vectors.push_record(self.n_kept, halves, context)?;
            self.n_kept += 1;
        }
        Ok(found)
    }

    /// For each row of a block, the most similar one of those that stay of earlier blocks, if one may reach the threshold.
    fn nearest_kept(&self, block: &Vectors, context: &Context) -> Result<Vec<Option<Nearest>>> {
        let nobody = || vec![None; block.len()];
        let of_chunk = |chunk: u64| {
            context.cancel.check()?;
            let first = chunk * CHUNK_ROWS;
            let n_rows = CHUNK_ROWS.min(self.n_kept - first) as usize;
            let kept = Vectors::new(&self.vectors.records(first, n_rows, context)?, self.dimensions);
            let rows = self.rows.records(first, n_rows, context)?;
            let mut products = vec![0.0; block.len() * n_rows];
            block.products(0, block.len(), &kept, &mut products);
            let mut nearest = nobody();
            for (index, of_row) in products.chunks_exact(n_rows).enumerate() {
                let least = block.least_product(index, self.threshold);
                for (other, product) in of_row.iter().enumerate() {
                    if least <= product * kept.scale(other) {
                        let cosine = block.cosine(index, &kept, other);
                        improve(&mut nearest[index], Nearest { row: rows[other], cosine });
                    }
                }
            }
            Ok(nearest)
        };
        let join = |mut earlier: Vec<Option<Nearest>>, later: Vec<Option<Nearest>>| {
            for (nearest, other) in earlier.iter_mut().zip(later) {
                if let Some(other) = other {
                    improve(nearest, other);
                }
            }
            Ok(earlier)
        };
        let n_chunks = self.n_kept.div_ceil(CHUNK_ROWS);
        context.pool.install(|| (0..n_chunks).into_par_iter().map(of_chunk).try_reduce(nobody, join))
    }
}

/// Takes `other` if it is more similar: of equals, whoever came first stays.
fn improve(nearest: &mut Option<Nearest>, other: Nearest) {
    if nearest.is_none_or(|nearest| nearest.cosine < other.cosine) {
        *nearest = Some(other);
    }
}

/// Products of all vectors with each other.
fn products_within(vectors: &Vectors) -> Vec<f32> {
    let n = vectors.len();
    let mut products = vec![0.0; n * n];
    products.par_chunks_mut(SLICE_ROWS * n).enumerate().for_each(|(slice, out)| {
        vectors.products(slice * SLICE_ROWS, out.len() / n, vectors, out);
    });
    products
}
