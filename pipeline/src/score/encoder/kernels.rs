//! What an encoder does between matrix products, for the vectors of whatever processor it runs on.
//!
//! Sums go over [`LANES`] partial sums in a fixed order, so that a result depends on the values of its row only, and is the
//! same with AVX-512 and with AVX2.

#![expect(clippy::inline_always, reason = "a function for some processors is compiled for them with all that it calls")]

use crate::processor::for_this_processor;

/// Partial sums of a row, and what rows of attention scores are padded to.
pub(super) const LANES: usize = 16;

for_this_processor! {
    /// Adds `bias` to every row of `values` and applies GELU, exact to 2e-7.
    pub(super) fn bias_gelu(values: &mut [f32], bias: &[f32]) = bias_gelu_body
}
for_this_processor! {
    /// Adds `bias` to every row of `values`.
    pub(super) fn add_bias(values: &mut [f32], bias: &[f32]) = add_bias_body
}
for_this_processor! {
    /// Adds `bias` and the rows of `residual` to the rows of `values`, and normalises each: mean 0, variance 1, then
    /// `scale` and `shift`. The result replaces `residual`.
    pub(super) fn add_and_normalize(values: &[f32], bias: &[f32], residual: &mut [f32], norm: &LayerNorm) = add_and_normalize_body
}
for_this_processor! {
    /// Normalises each row of `values` as [`add_and_normalize`] does.
    pub(super) fn normalize_rows(values: &mut [f32], norm: &LayerNorm) = normalize_rows_body
}
for_this_processor! {
    /// Softmax of each row of `scores`, rows of `width` values that a multiple of [`LANES`] holds; what is beyond them counts as
    /// minus infinity.
    pub(super) fn softmax_rows(scores: &mut [f32], width: usize) = softmax_rows_body
}

/// Scale and shift of a normalisation over the components of a row.
#[derive(Debug)]
pub(super) struct LayerNorm {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) epsilon: f32,
}

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, `mul_add` calls a function of the C library.
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e to the power of `x`, relative error 2e-7; `x` at most 0 or near it, e^-87 below that.
///
/// The power of two nearest to it times a polynomial (minimax of degree 5 on half a power of two, as in Cephes' `expf`).
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fma::<FMA>(p, r, coefficient);
    }
    let p = fma::<FMA>(p * r, r, r) + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// `x * Phi(x)`, with the error function of Abramowitz and Stegun, 7.1.26 (error 1.5e-7).
#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / fma::<FMA>(z, 0.327_591_1, 1.0);
    let mut p = 1.061_405_4;
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = fma::<FMA>(p, t, coefficient);
    }
    let erf = 1.0 - p * t * exp::<FMA>(-z * z);
    0.5 * x * (1.0 + erf.copysign(x))
}

#[inline(always)]
fn bias_gelu_body<const FMA: bool>(values: &mut [f32], bias: &[f32]) {
    for row in values.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value = gelu::<FMA>(*value + bias);
        }
    }
}

#[inline(always)]
fn add_bias_body<const FMA: bool>(values: &mut [f32], bias: &[f32]) {
    for row in values.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}

#[inline(always)]
fn add_and_normalize_body<const FMA: bool>(values: &[f32], bias: &[f32], residual: &mut [f32], norm: &LayerNorm) {
    for (row, residual) in values.chunks_exact(bias.len()).zip(residual.chunks_exact_mut(bias.len())) {
        for ((value, bias), residual) in row.iter().zip(bias).zip(residual.iter_mut()) {
            *residual += value + bias;
        }
        normalize::<FMA>(residual, norm);
    }
}

#[inline(always)]
fn normalize_rows_body<const FMA: bool>(values: &mut [f32], norm: &LayerNorm) {
    for row in values.chunks_exact_mut(norm.scale.len()) {
        normalize::<FMA>(row, norm);
    }
}

#[inline(always)]
fn normalize<const FMA: bool>(row: &mut [f32], norm: &LayerNorm) {
    let n = row.len() as f32;
    let mean = fold(row, 0.0, |sum, value| sum + value, |a, b| a + b) / n;
    let variance = fold(row, 0.0, |sum, value| fma::<FMA>(value - mean, value - mean, sum), |a, b| a + b) / n;
    let factor = 1.0 / (variance + norm.epsilon).sqrt();
    for ((value, scale), shift) in row.iter_mut().zip(&norm.scale).zip(&norm.shift) {
        *value = fma::<FMA>((*value - mean) * factor, *scale, *shift);
    }
}

#[inline(always)]
fn softmax_rows_body<const FMA: bool>(scores: &mut [f32], width: usize) {
    for row in scores.chunks_exact_mut(width.next_multiple_of(LANES)) {
        row[width..].fill(f32::NEG_INFINITY);
        let most = fold(row, f32::NEG_INFINITY, f32::max, f32::max);
        for value in row.iter_mut() {
            *value = exp::<FMA>(*value - most);
        }
        row[width..].fill(0.0);
        let factor = 1.0 / fold(row, 0.0, |sum, value| sum + value, |a, b| a + b);
        for value in row.iter_mut() {
            *value *= factor;
        }
    }
}

/// Folds a row lane by lane, and then the lanes.
#[inline(always)]
fn fold(row: &[f32], start: f32, step: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in whole {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, value);
    }
    let mut n = LANES;
    while 1 < n {
        n /= 2;
        for lane in 0..n {
            lanes[lane] = join(lanes[lane], lanes[lane + n]);
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from -10 to 10, the same in every row but for a shift.
    fn rows(n_rows: usize, width: usize) -> Vec<f32> {
        (0..n_rows * width).map(|i| (i * 37 % 401) as f32 / 20.0 - 10.0).collect()
    }

    /// Complementary error function by its continued fraction or series, in double precision.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        (sum * 2.0 / std::f64::consts::PI.sqrt()).clamp(-1.0, 1.0)
    }

    #[test]
    fn gelu_is_exact_enough() {
        for i in -600..=600 {
            let x = i as f32 / 100.0;
            let expect = 0.5
                * f64::from(x)
                * (1.0 + if x.abs() < 5.0 { erf(f64::from(x) / 2f64.sqrt()) } else { f64::from(x.signum()) });
            let mut both = [x - 0.5, x - 0.5];
            bias_gelu(&mut both, &[0.5]);
            assert!((f64::from(both[0]) - expect).abs() < 2e-6, "{x}: {} {expect}", both[0]);
            assert!((gelu::<false>(x) - gelu::<true>(x)).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn exponentials() {
        for i in -870..=10 {
            let x = i as f32 / 10.0;
            let expect = f64::from(x).exp();
            for got in [exp::<true>(x), exp::<false>(x)] {
                assert!((f64::from(got) / expect - 1.0).abs() < 4e-7, "{x}: {got} {expect}");
            }
        }
        assert!(exp::<true>(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn softmax_sums_to_one_for_every_width() {
        for width in [1usize, 2, 15, 16, 17, 31, 100] {
            let stride = width.next_multiple_of(LANES);
            let mut scores = rows(3, stride);
            let before = scores.clone();
            softmax_rows(&mut scores, width);
            for (row, before) in scores.chunks(stride).zip(before.chunks(stride)) {
                let total: f64 = before[..width].iter().map(|&x| f64::from(x).exp()).sum();
                for (got, x) in row[..width].iter().zip(before) {
                    assert!((f64::from(*got) - f64::from(*x).exp() / total).abs() < 1e-6, "{width}");
                }
                assert!(row[width..].iter().all(|&x| x == 0.0), "{width}");
            }
        }
    }

    #[test]
    fn normalized_rows_have_mean_and_variance() {
        for width in [3, 16, 40, 384] {
            let norm = LayerNorm { scale: vec![2.0; width], shift: vec![1.0; width], epsilon: 1e-12 };
            let values = rows(2, width);
            let (bias, mut residual) = (vec![0.25; width], vec![-3.0; 2 * width]);
            add_and_normalize(&values, &bias, &mut residual, &norm);
            for row in residual.chunks(width) {
                let mean = row.iter().sum::<f32>() / width as f32;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
                assert!((mean - 1.0).abs() < 1e-4 && (variance - 4.0).abs() < 1e-3, "{width}: {mean} {variance}");
            }
        }
    }
}
