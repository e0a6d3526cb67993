//! One vector out of those of a text's tokens.

use super::shape::Pooling;

/// Pools the rows of `tokens` into `vector`, and makes it 1 long.
pub(super) fn pool(tokens: &[f32], pooling: Pooling, vector: &mut [f32]) {
    match pooling {
        Pooling::Cls => vector.copy_from_slice(&tokens[..vector.len()]),
        Pooling::Mean => {
            vector.fill(0.0);
            let n = (tokens.len() / vector.len()) as f32;
            for row in tokens.chunks_exact(vector.len()) {
                vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            for sum in vector.iter_mut() {
                *sum /= n;
            }
        }
    }
    // In double precision: one pass in a fixed order, and no value that a model makes overflows.
    let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt().max(1e-12);
    for value in vector.iter_mut() {
        *value = (f64::from(*value) / length) as f32;
    }
}
