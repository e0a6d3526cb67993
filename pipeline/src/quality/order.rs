//! Scores as integers of the same order.

/// A number that orders as `score` does; every number is below that of no score.
pub(super) fn key_of(score: Option<f64>) -> u64 {
    let Some(score) = score.filter(|score| !score.is_nan()) else { return u64::MAX };
    // 0 and -0 are one score.
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { bits | (1 << 63) } else { !bits }
}

/// The score of a key.
pub(super) fn score_of(key: u64) -> Option<f64> {
    if key == u64::MAX {
        return None;
    }
    Some(f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_scores() {
        let scores =
            [f64::NEG_INFINITY, -1e300, -1.5, -1e-300, 0.0, f64::MIN_POSITIVE, 1.0, 1.0 + f64::EPSILON, f64::INFINITY];
        assert!(scores.windows(2).all(|pair| key_of(Some(pair[0])) < key_of(Some(pair[1]))));
        assert!(scores.iter().all(|&score| score_of(key_of(Some(score))) == Some(score)));
        assert!(scores.iter().all(|&score| key_of(Some(score)) < key_of(None)));
        assert_eq!(key_of(Some(-0.0)), key_of(Some(0.0)));
        assert_eq!(key_of(Some(f64::NAN)), key_of(None));
        assert_eq!(score_of(key_of(None)), None);
    }
}
