//! What a selection did, in numbers.

use std::collections::HashMap;

use super::Strategy;

/// What a selection did.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectionReport {
    /// The strategy that was used; never `Auto`.
    pub strategy: Strategy,
    /// Why that one, for people.
    pub strategy_reason: String,
    /// Rows asked for.
    pub budget: u64,
    /// Rows seen.
    pub n_pool: u64,
    /// Rows seen that have a label.
    pub n_labelled: u64,
    /// Ids with a label that no row of the pool has.
    pub n_labels_unknown: u64,
    /// Rows without a label that were excluded beforehand, as near-duplicates are.
    pub n_excluded: u64,
    /// Rows that the strategy compared: the best by its score, or for typiclust a sample of the pool.
    pub n_candidates: u64,
    /// Rows chosen.
    pub n_chosen: u64,
    /// Rows chosen at random, of those.
    pub n_random: u64,
    /// Rows chosen that have a label, of those: another one is asked for.
    pub n_relabelled: u64,
    /// Why fewer rows were chosen than asked for.
    pub shortfall: Option<String>,
}

/// The values of the quota's column, numbered as they are met.
#[derive(Debug, Default)]
pub(super) struct Strata {
    numbers: HashMap<String, u32>,
    null: Option<u32>,
    values: Vec<Option<String>>,
}

impl Strata {
    /// Number of a value, and the bytes that it takes if it is new.
    pub(super) fn number(&mut self, value: Option<&str>) -> (u32, usize) {
        let known = value.map_or(self.null, |value| self.numbers.get(value).copied());
        if let Some(number) = known {
            return (number, 0);
        }
        let number = self.values.len() as u32;
        match value {
            Some(value) => drop(self.numbers.insert(value.to_owned(), number)),
            None => self.null = Some(number),
        }
        self.values.push(value.map(str::to_owned));
        (number, 2 * (value.map_or(0, str::len) + 48))
    }

    /// The values by their numbers.
    pub(super) fn into_values(self) -> Vec<Option<String>> {
        self.values
    }
}
