//! Vectors in half precision, made ready for products.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::score::encoder::product::{View, product};

/// Some vectors of one length, one after the other.
#[derive(Debug)]
pub(super) struct Vectors {
    values: Vec<f32>,
    dimensions: usize,
    /// Of each, the sum of its squares.
    squares: Vec<f64>,
    /// Of each, what makes its length 1; 0 of a vector that has none.
    scales: Vec<f32>,
}

impl Vectors {
    /// # Shape
    /// `halves`: bits of whole vectors of `dimensions`, which is not 0.
    pub(super) fn new(halves: &[u16], dimensions: usize) -> Self {
        let mut values = vec![0.0; halves.len()];
        halves.reinterpret_cast::<f16>().convert_to_f32_slice(&mut values);
        let squares: Vec<f64> = values.chunks_exact(dimensions).map(|vector| dot(vector, vector)).collect();
        let scales =
            squares.iter().map(|&square| if has_direction(square) { square.sqrt().recip() as f32 } else { 0.0 });
        Self { scales: scales.collect(), values, dimensions, squares }
    }

    pub(super) fn len(&self) -> usize {
        self.squares.len()
    }

    fn get(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..][..self.dimensions]
    }

    /// Whether the vector at `index` has a cosine with others.
    pub(super) fn has_direction(&self, index: usize) -> bool {
        has_direction(self.squares[index])
    }

    /// The same, of length 1.
    pub(super) fn into_directions(mut self) -> Vec<f32> {
        for (vector, scale) in self.values.chunks_exact_mut(self.dimensions).zip(&self.scales) {
            for x in vector {
                *x *= scale;
            }
        }
        self.values
    }

    /// The exact cosine of a vector and one of `others`, but for the rounding of a sum in double precision; 0 if one of them has
    /// no direction. Of a vector with itself it is 1.
    pub(super) fn cosine(&self, index: usize, others: &Self, other: usize) -> f64 {
        let squares = self.squares[index] * others.squares[other];
        if has_direction(squares) { (dot(self.get(index), others.get(other)) / squares.sqrt()).min(1.0) } else { 0.0 }
    }

    /// Products of the `n_rows` vectors from `first` on with all `others`, a row of `out` for each.
    pub(super) fn products(&self, first: usize, n_rows: usize, others: &Self, out: &mut [f32]) {
        let d = self.dimensions;
        let left = &self.values[first * d..][..n_rows * d];
        let transposed = View { start: 0, row_stride: 1, column_stride: d };
        let (right, to) = ((others.values.as_slice(), transposed), (out, View::rows(others.len())));
        product([n_rows, d, others.len()], (left, View::rows(d)), right, to);
    }

    /// What a product with the vector at `index`, scaled by [`scale`](Self::scale) of the other one, reaches wherever the cosine
    /// reaches `threshold`.
    pub(super) fn least_product(&self, index: usize, threshold: f64) -> f32 {
        // The error of a sum in single precision is at most so many roundings of what its terms come to together, and that is
        // at most the product of the lengths.
        let margin = (self.dimensions + 8) as f64 * f64::from(f32::EPSILON);
        ((threshold - margin) * self.squares[index].sqrt()) as f32
    }

    /// What makes the length of the vector at `index` 1.
    pub(super) fn scale(&self, index: usize) -> f32 {
        self.scales[index]
    }
}

/// Whether a sum of squares is that of a vector that points somewhere.
fn has_direction(square: f64) -> bool {
    0.0 < square && square.is_finite()
}

/// Inner product in double precision, in eight lanes: the order of the additions is fixed, and it can be vectorized.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0f64; 8];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            lanes[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    lanes.iter().sum::<f64>() + rest
}
