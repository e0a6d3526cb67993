//! Nearest neighbors, by the products of all rows with all others.

use crate::Result;
use crate::context::Context;
use crate::points::{Points, squares};
use crate::products::{nearest, products};

/// For each of `left` the squared distance to the nearest of `right`, up to rounding; infinite if there is none.
pub(super) fn nearest_distances(left: Points<'_>, right: Points<'_>, context: &Context) -> Result<Vec<f32>> {
    let (left_squares, right_squares) = (squares(left), squares(right));
    let distances = products(left, right, context, |rows, each| {
        let mut nearest = vec![f32::INFINITY; rows.len()];
        each(&mut |start, products| {
            let n = products.len() / rows.len();
            for (nearest, products) in nearest.iter_mut().zip(products.chunks_exact(n)) {
                for (product, square) in products.iter().zip(&right_squares[start..]) {
                    *nearest = nearest.min(square - 2.0 * product);
                }
            }
        });
        nearest.iter().zip(&left_squares[rows]).map(|(nearest, square)| nearest + square).collect::<Vec<f32>>()
    })?;
    Ok(distances.into_iter().flatten().collect())
}

/// For each row the `k` rows of the largest inner product, itself among them, and that; rows in ascending order.
///
/// # Cost
/// `rows^2 * dimensions` operations.
pub(super) fn most_similar(points: Points<'_>, k: usize, context: &Context) -> Result<Vec<Vec<(u32, f32)>>> {
    nearest(points, (points, &vec![0.0; points.len()]), (k, |_| 0.0), |_, near| near, context)
}
