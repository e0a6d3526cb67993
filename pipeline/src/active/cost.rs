//! What labelling a text costs, as answers so far show it.

use std::collections::HashMap;

use tamis_schemas::columns;

use super::export::with_text;
use super::stop::median;
use super::{Answers, Ledger, Round};
use crate::Result;
use crate::run::parse_text;
use crate::select::text_column;

/// Answers that it takes to say what a byte costs.
const LEAST_ANSWERS: usize = 20;
/// Answers that slopes are taken of, at most: their pairs are looked at.
const MOST_ANSWERS: usize = 1000;
/// What every text costs where its length does not tell: so much that bytes do not count.
const LENGTH_IS_NOTHING: f64 = 1e12;

/// What the shortest text takes, in bytes that take as long; `None` if tools have not said how long enough answers took.
pub(super) fn measured_base(ledger: &Ledger, rounds: &[Round]) -> Result<Option<f64>> {
    let text = parse_text(&ledger.settings().pool.text)?;
    let mut answers: Vec<(usize, f64)> = Vec::new();
    for round in rounds {
        let (batch, name) = with_text(round.batch.clone(), &text)?;
        let (ids, texts) = (text_column(&batch, columns::ID)?, text_column(&batch, &name)?);
        let lengths: HashMap<&str, usize> =
            ids.iter().flatten().zip(texts.iter().map(|text| text.map_or(0, str::len))).collect();
        let timed = Answers::lead_times(&round.answers);
        answers.extend(timed.filter_map(|(id, seconds)| Some((*lengths.get(id)?, seconds))));
    }
    Ok(base_of(&answers))
}

/// Intercept over slope of the line through (bytes, seconds) by Theil and Sen, which a coffee break does not bend.
fn base_of(answers: &[(usize, f64)]) -> Option<f64> {
    if answers.len() < LEAST_ANSWERS {
        return None;
    }
    let step = answers.len().div_ceil(MOST_ANSWERS);
    let some: Vec<(usize, f64)> = answers.iter().copied().step_by(step).collect();
    let mut slopes = Vec::new();
    for (place, (bytes, seconds)) in some.iter().enumerate() {
        let pairs = some[place + 1..].iter().filter(|(other, _)| other != bytes);
        slopes.extend(pairs.map(|(other, their)| (their - seconds) / (*other as f64 - *bytes as f64)));
    }
    let slope = median(slopes).filter(|slope| 0.0 < *slope);
    let Some(slope) = slope else { return Some(LENGTH_IS_NOTHING) };
    let intercept = median(some.iter().map(|(bytes, seconds)| seconds - slope * *bytes as f64).collect())?;
    Some((intercept / slope).clamp(0.0, LENGTH_IS_NOTHING))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(seconds: impl Fn(f64) -> f64) -> Vec<(usize, f64)> {
        (0..40).map(|n| (10 * n, seconds(10.0 * n as f64))).collect()
    }

    #[test]
    fn a_line_is_found_although_somebody_went_for_a_coffee() {
        let mut timed = answers(|bytes| 3.0 + 0.02 * bytes);
        timed[7].1 = 900.0;
        timed[31].1 = 1200.0;
        assert!((base_of(&timed).unwrap() - 150.0).abs() < 1e-6);
        assert_eq!(base_of(&answers(|bytes| 0.02 * bytes - 1.0)), Some(0.0));
    }

    #[test]
    fn length_that_tells_nothing_weighs_nothing() {
        assert_eq!(base_of(&answers(|_| 4.0)), Some(LENGTH_IS_NOTHING));
        assert_eq!(base_of(&answers(|bytes| 9.0 - 0.01 * bytes)), Some(LENGTH_IS_NOTHING));
        assert_eq!(base_of(&vec![(10, 4.0); 30]), Some(LENGTH_IS_NOTHING));
        assert_eq!(base_of(&answers(|bytes| bytes)[..LEAST_ANSWERS - 1]), None);
    }
}
