//! Inner products of all vectors with all others, in blocks: many times as fast as one by one, but rounded otherwise on each processor.
//!
//! Clusters, k-center and typicality are decided by them where rounding cannot matter, and else by [`dot`](crate::points::dot) or
//! [`squared_distance`](crate::points::squared_distance), which round alike everywhere.

use std::ops::Range;

use rayon::prelude::*;

use crate::Result;
use crate::context::Context;
use crate::points::Points;
use crate::score::{View, product};

/// Rows and columns of a block.
const BLOCK_ROWS: usize = 128;
const BLOCK_COLUMNS: usize = 1024;

/// Runs `visit` for each block of rows of `left`: these, and for each block of `right` its first row and the inner products, a row
/// of them for each row of `left`. What it makes of a block is returned in the order of the blocks.
pub(crate) fn products<T: Send>(
    left: Points<'_>,
    right: Points<'_>,
    context: &Context,
    visit: impl Fn(Range<usize>, &mut dyn FnMut(&mut dyn FnMut(usize, &[f32]))) -> T + Sync,
) -> Result<Vec<T>> {
    let dimensions = left.dimensions();
    let of_block = |block: usize| {
        context.cancel.check()?;
        let rows = block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(left.len());
        let mut out = vec![0.0; rows.len() * BLOCK_COLUMNS];
        let mut each = |see: &mut dyn FnMut(usize, &[f32])| {
            for start in (0..right.len()).step_by(BLOCK_COLUMNS) {
                let n = BLOCK_COLUMNS.min(right.len() - start);
                let transposed = View { start: start * dimensions, row_stride: 1, column_stride: dimensions };
                let of_left = View { start: rows.start * dimensions, row_stride: dimensions, column_stride: 1 };
                product(
                    [rows.len(), dimensions, n],
                    (left.values(), of_left),
                    (right.values(), transposed),
                    (&mut out, View::rows(n)),
                );
                see(start, &out[..rows.len() * n]);
            }
        };
        Ok(visit(rows.clone(), &mut each))
    };
    context.pool.install(|| (0..left.len().div_ceil(BLOCK_ROWS)).into_par_iter().map(of_block).collect())
}

/// For each of `left` what `finish` makes of the `k` of `right` whose inner product less `offsets` is largest, and of those that are less than a `tolerance` below
/// the last one of these: positions and these differences, in ascending order of the positions.
pub(crate) fn nearest<T: Send>(
    left: Points<'_>,
    (right, offsets): (Points<'_>, &[f32]),
    (k, tolerance): (usize, impl Fn(usize) -> f32 + Sync),
    finish: impl Fn(usize, Vec<(u32, f32)>) -> T + Sync,
    context: &Context,
) -> Result<Vec<T>> {
    let blocks = products(left, right, context, |rows, each| {
        let mut nearest: Vec<Nearest> = rows.clone().map(|row| Nearest::new(k, tolerance(row))).collect();
        each(&mut |start, products| {
            let n = products.len() / rows.len();
            for (nearest, products) in nearest.iter_mut().zip(products.chunks_exact(n)) {
                for ((column, offset), product) in (start as u32..).zip(&offsets[start..]).zip(products) {
                    nearest.push(column, product - offset);
                }
            }
        });
        rows.zip(nearest).map(|(row, nearest)| finish(row, nearest.finish())).collect::<Vec<_>>()
    })?;
    Ok(blocks.into_iter().flatten().collect())
}

/// By how much the squared distance of two vectors that is computed of products differs at most from the one that is computed at once; `squares` is the sum of
/// their squared lengths.
///
/// A sum of `d` products is off by less than `d / 2 * EPSILON` of the sum of their sizes, in whatever order it is added: those of both lengths, that of the product,
/// twice which is no larger than these together, and that of the distance, which is no larger than twice these.
/// Where numbers are too small to be normal, it is what such a product is off by instead.
pub(crate) fn rounding(dimensions: usize, squares: f32) -> f32 {
    f32::EPSILON * (2 * dimensions + 8) as f32 * squares.max(2.0 * f32::MIN_POSITIVE)
}

/// The `k` largest of what was pushed, of equals the first, and what is less than `tolerance` below the last one of these.
#[derive(Debug)]
struct Nearest {
    k: usize,
    tolerance: f32,
    least: f32,
    /// When to leave some out.
    n_full: usize,
    held: Vec<(u32, f32)>,
}

impl Nearest {
    /// If `tolerance` is not finite, all that will be pushed.
    fn new(k: usize, tolerance: f32) -> Self {
        // Nothing is less than what is no number.
        let least = if tolerance.is_finite() { f32::NEG_INFINITY } else { f32::NAN };
        Self { k, tolerance, least, n_full: 2 * k, held: Vec::with_capacity(2 * k) }
    }

    fn push(&mut self, column: u32, similarity: f32) {
        if similarity <= self.least {
            return;
        }
        if self.held.len() == self.n_full {
            self.prune();
            self.n_full = 2 * self.held.len();
            if similarity <= self.least {
                return;
            }
        }
        self.held.push((column, similarity));
    }

    fn prune(&mut self) {
        if self.held.len() <= self.k || !self.tolerance.is_finite() {
            return;
        }
        self.held.select_nth_unstable_by(self.k - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        self.least = self.held[self.k - 1].1 - self.tolerance;
        let mut place = 0;
        self.held.retain(|&(_, similarity)| {
            place += 1;
            place <= self.k || self.least < similarity
        });
    }

    /// In ascending order of the columns.
    fn finish(mut self) -> Vec<(u32, f32)> {
        self.prune();
        self.held.sort_unstable_by_key(|&(column, _)| column);
        self.held
    }
}
