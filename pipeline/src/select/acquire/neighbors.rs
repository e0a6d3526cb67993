//! Products of all rows with all others, in blocks, and the nearest neighbors that they give.

use rayon::prelude::*;

use crate::Result;
use crate::context::Context;
use crate::kmeans::Points;
use crate::score::{View, product};

/// Rows and columns of a block.
const BLOCK_ROWS: usize = 128;
const BLOCK_COLUMNS: usize = 1024;

/// Runs `visit` for each block of rows of `left`: first row, and for each block of `right` its first row and the inner products, a row
/// of them for each row of `left`. What it makes of a block is returned in the order of the blocks.
pub(super) fn products<T: Send>(
    left: Points<'_>,
    right: Points<'_>,
    context: &Context,
    visit: impl Fn(std::ops::Range<usize>, &mut dyn FnMut(&mut dyn FnMut(usize, &[f32]))) -> T + Sync,
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

/// Squared lengths.
pub(super) fn squares(points: Points<'_>) -> Vec<f32> {
    (0..points.len()).map(|index| points.get(index).iter().map(|x| x * x).sum()).collect()
}

/// For each row the `k` rows of the largest inner product, itself among them, and that; rows in ascending order.
///
/// # Cost
/// `rows^2 * dimensions` operations.
pub(super) fn most_similar(points: Points<'_>, k: usize, context: &Context) -> Result<Vec<Vec<(u32, f32)>>> {
    let blocks = products(points, points, context, |rows, each| {
        let mut nearest: Vec<Nearest> = rows.clone().map(|_| Nearest::new(k)).collect();
        each(&mut |start, products| {
            let n = products.len() / rows.len();
            for (nearest, products) in nearest.iter_mut().zip(products.chunks_exact(n)) {
                for (column, &similarity) in (start as u32..).zip(products) {
                    nearest.push(column, similarity);
                }
            }
        });
        nearest.into_iter().map(Nearest::finish).collect::<Vec<_>>()
    })?;
    Ok(blocks.into_iter().flatten().collect())
}

/// The `k` largest of what was pushed, of equals the first.
#[derive(Debug)]
struct Nearest {
    k: usize,
    least: f32,
    held: Vec<(u32, f32)>,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self { k, least: f32::NEG_INFINITY, held: Vec::with_capacity(2 * k) }
    }

    fn push(&mut self, column: u32, similarity: f32) {
        if similarity <= self.least {
            return;
        }
        if self.held.len() == 2 * self.k {
            self.prune();
            if similarity <= self.least {
                return;
            }
        }
        self.held.push((column, similarity));
    }

    fn prune(&mut self) {
        if self.k < self.held.len() {
            self.held.select_nth_unstable_by(self.k - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            self.least = self.held[self.k - 1].1;
            self.held.truncate(self.k);
        }
    }

    fn finish(mut self) -> Vec<(u32, f32)> {
        self.prune();
        self.held.sort_unstable_by_key(|&(column, _)| column);
        self.held
    }
}
