//! What a small scorer saved against the larger one that it was held against.

use tamis_schemas::footprint::{LedgerRow, SAMPLE_BY_LARGER, SAMPLE_BY_SMALLER, ScorerChoiceRow, ViewConfig};

use super::totals::Totals;

/// A choice between two scorers, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RightSized {
    /// The choice.
    pub choice: ScorerChoiceRow,
    /// What scoring all documents with the larger one instead would have taken more, by what both took for the sample; negative if
    /// it would have taken less. None if the larger one was chosen, or the sample is too small to tell.
    pub saved: Option<LessWork>,
}

/// Work that was not done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LessWork {
    /// CPU time, seconds.
    pub cpu_seconds: f64,
    /// Energy with what the site adds, kWh.
    pub kwh: f64,
    /// Grams of `CO2e`.
    pub g: f64,
}

/// What the rows of a run say of a choice between two scorers, if there was one.
pub(super) fn right_sized(run: &[&LedgerRow], view: ViewConfig) -> Option<RightSized> {
    let choice = run.first()?.scorer_choice.clone()?;
    let of = |stage: &str| run.iter().find(|row| row.stage == stage).map(|row| Totals::of(&[*row], view));
    let saved = of(SAMPLE_BY_SMALLER).zip(of(SAMPLE_BY_LARGER)).filter(|_| choice.is_smaller && 0 < choice.sample_docs);
    let saved = saved.map(|(smaller, larger)| {
        let factor = choice.scored_docs as f64 / choice.sample_docs as f64;
        let more = |of: fn(&Totals) -> f64| (of(&larger) - of(&smaller)) * factor;
        LessWork {
            cpu_seconds: more(|totals| totals.cpu_seconds),
            kwh: more(|totals| totals.kwh.mid()),
            g: more(|totals| totals.g().mid()),
        }
    });
    Some(RightSized { choice, saved })
}
