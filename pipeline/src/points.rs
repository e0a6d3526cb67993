//! Vectors, their distances and inner products.

/// Vectors of one length, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Points<'a> {
    values: &'a [f32],
    dimensions: usize,
}

impl<'a> Points<'a> {
    /// # Shape
    /// `values`: whole vectors of `dimensions`, which is not 0.
    pub(crate) fn new(values: &'a [f32], dimensions: usize) -> Self {
        Self { values, dimensions }
    }

    /// Number of vectors.
    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// A vector.
    pub(crate) fn get(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.dimensions..][..self.dimensions]
    }

    /// Components of a vector.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All components.
    pub(crate) fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The first `n` vectors.
    pub(crate) fn first(&self, n: usize) -> Self {
        Self { values: &self.values[..n * self.dimensions], ..*self }
    }
}

/// Squared lengths.
pub(crate) fn squares(points: Points<'_>) -> Vec<f32> {
    (0..points.len()).map(|index| points.get(index).iter().map(|x| x * x).sum()).collect()
}

/// Inner product.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |x, y| x * y)
}

/// Squared Euclidean distance.
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |x, y| (x - y) * (x - y))
}

/// Sums in eight lanes: it can be vectorized, and the order of the additions is fixed all the same.
fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0f32; 8];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&x, &y)| term(x, y)).sum::<f32>();
    lanes.iter().sum::<f32>() + rest
}
