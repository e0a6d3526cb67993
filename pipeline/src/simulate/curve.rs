//! Learning curves, and what can be said of them.

/// What a model knows after a round.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Name of the strategy.
    pub strategy: String,
    /// Replay.
    pub seed: u64,
    /// 0: the first labels alone.
    pub round: u32,
    /// Labels that the model has learnt from.
    pub labels: u32,
    /// Share of the test rows that it is right about.
    pub accuracy: f64,
    /// Mean over the classes of their F1.
    pub macro_f1: f64,
    /// Wall time of the round: choosing the rows, learning, and scoring pool and test rows.
    pub seconds: f64,
    /// Memory of the process at the end of the round; none where the kernel does not say.
    pub memory_bytes: Option<u64>,
}

/// Share that is right.
pub(super) fn accuracy(truth: &[u32], predicted: &[u32]) -> f64 {
    let n_right = truth.iter().zip(predicted).filter(|(a, b)| a == b).count();
    n_right as f64 / truth.len() as f64
}

/// Mean F1 of the classes that occur in either.
pub(super) fn macro_f1(truth: &[u32], predicted: &[u32]) -> f64 {
    let n_classes = truth.iter().chain(predicted).max().map_or(0, |&class| class as usize + 1);
    let (mut n_right, mut n_true, mut n_predicted) =
        (vec![0u32; n_classes], vec![0u32; n_classes], vec![0u32; n_classes]);
    for (&is, &said) in truth.iter().zip(predicted) {
        n_true[is as usize] += 1;
        n_predicted[said as usize] += 1;
        n_right[is as usize] += u32::from(is == said);
    }
    let counts = n_right.iter().zip(n_true.iter().zip(&n_predicted)).map(|(&right, (&is, &said))| (right, is + said));
    let scores: Vec<f64> =
        counts.filter(|&(_, both)| 0 < both).map(|(right, both)| 2.0 * f64::from(right) / f64::from(both)).collect();
    scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

/// Area under a curve by trapezoids, over the width of the labels: the mean height.
pub(super) fn area(curve: &[(f64, f64)]) -> f64 {
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else { return f64::NAN };
    if last.0 <= first.0 {
        return last.1;
    }
    let trapezoids = curve.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0);
    trapezoids.sum::<f64>() / (last.0 - first.0)
}

/// A curve up to a number of labels.
pub(super) fn up_to(curve: &[(f64, f64)], most: f64) -> Vec<(f64, f64)> {
    let n = curve.partition_point(|point| point.0 <= most);
    let mut part = curve[..n].to_vec();
    if let (Some(&before), Some(&after)) = (part.last(), curve.get(n))
        && before.0 < most
    {
        let share = (most - before.0) / (after.0 - before.0);
        part.push((most, before.1 + share * (after.1 - before.1)));
    }
    part
}

/// Mean over seeds, round by round, of curves that may end early.
pub(super) fn mean_curve(curves: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let n = curves.iter().map(Vec::len).max().unwrap_or(0);
    let at = |round: usize| {
        let points: Vec<(f64, f64)> = curves.iter().filter_map(|curve| curve.get(round)).copied().collect();
        let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
    };
    (0..n).map(at).collect()
}

/// Share of the labels that `random` needs to be as high as at its end, and that the other curve does not need; below 0 if it needs more. If
/// the other is never as high, it is the same of the height that the other ends with; none if `random` is never there.
///
/// Of both the mean of three rounds is taken, and the first labels at which it is reached.
pub(super) fn labels_saved(random: &[(f64, f64)], other: &[(f64, f64)]) -> Option<f64> {
    let (random, other) = (smooth(random), smooth(other));
    let (height, other_height) = (random.last()?.1, other.last()?.1);
    let height = if reaches(&other, height).is_some() { height } else { other_height };
    Some(1.0 - reaches(&other, height)? / reaches(&random, height)?)
}

fn smooth(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let at = |index: usize| {
        let near = &curve[index.saturating_sub(1)..(index + 2).min(curve.len())];
        (curve[index].0, near.iter().map(|point| point.1).sum::<f64>() / near.len() as f64)
    };
    (0..curve.len()).map(at).collect()
}

/// Labels at which a curve is first as high as `height`.
fn reaches(curve: &[(f64, f64)], height: f64) -> Option<f64> {
    let first = curve.iter().position(|point| height <= point.1)?;
    let Some(before) = first.checked_sub(1).map(|index| curve[index]) else { return Some(curve[first].0) };
    let after = curve[first];
    Some(before.0 + (after.0 - before.0) * (height - before.1) / (after.1 - before.1))
}

/// Mean and the ends of its interval of 95 % by Student's distribution; no interval for one value.
pub(super) fn mean_with_interval(values: &[f64]) -> (f64, Option<[f64; 2]>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let interval = (1 < values.len()).then(|| {
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = student_quantile(values.len() - 1) * (variance / n).sqrt();
        [mean - half, mean + half]
    });
    (mean, interval)
}

/// The 97.5 % quantile.
fn student_quantile(degrees_of_freedom: usize) -> f64 {
    const QUANTILES: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    QUANTILES.get(degrees_of_freedom - 1).copied().unwrap_or(1.96)
}
