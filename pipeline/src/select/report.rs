//! What a selection did, in numbers.

use std::collections::HashMap;

use polars::prelude::*;

use super::Strategy;
use crate::Result;

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
    /// Rows by value of the quota's column, most frequent first; empty without a quota.
    pub strata: Vec<StratumCount>,
}

/// Rows of one value of the quota's column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StratumCount {
    /// The value as text.
    pub value: Option<String>,
    /// Rows that could be chosen.
    pub n_unlabelled: u64,
    /// Rows chosen.
    pub n_chosen: u64,
}

/// The values of the quota's column, numbered as they are met.
#[derive(Debug, Default)]
pub(super) struct Strata {
    numbers: HashMap<String, u32>,
    null: Option<u32>,
    values: Vec<Option<String>>,
    n_unlabelled: Vec<u64>,
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
        self.n_unlabelled.push(0);
        (number, 2 * (value.map_or(0, str::len) + 48))
    }

    /// Counts rows that could be chosen.
    pub(super) fn count(&mut self, number: u32, n_rows: u64) {
        self.n_unlabelled[number as usize] += n_rows;
    }

    /// The values by their numbers, and how many rows of each could be chosen.
    pub(super) fn into_parts(self) -> (Vec<Option<String>>, Vec<u64>) {
        (self.values, self.n_unlabelled)
    }

    /// Rows of each value; `chosen` has the number of each chosen row's value.
    pub(super) fn counts(&self, chosen: Vec<u32>) -> Result<Vec<StratumCount>> {
        let strata = df!(
            "stratum" => (0..self.values.len() as u32).collect::<Vec<_>>(),
            "value" => self.values.iter().map(Option::as_deref).collect::<Vec<_>>(),
            "n_unlabelled" => self.n_unlabelled.clone(),
        )?;
        let chosen = df!("stratum" => chosen)?
            .lazy()
            .group_by([col("stratum")])
            .agg([len().cast(DataType::UInt64).alias("n_chosen")]);
        let most_first = SortMultipleOptions::default().with_order_descending_multi([true, false]);
        let counts = strata
            .lazy()
            .join(chosen, [col("stratum")], [col("stratum")], JoinArgs::new(JoinType::Left))
            .sort(["n_unlabelled", "value"], most_first)
            .collect()?;
        let values = counts.column("value")?.str()?;
        let n_unlabelled = counts.column("n_unlabelled")?.u64()?;
        let n_chosen = counts.column("n_chosen")?.u64()?;
        let rows = values.iter().zip(n_unlabelled.iter()).zip(n_chosen.iter());
        Ok(rows
            .map(|((value, n_unlabelled), n_chosen)| StratumCount {
                value: value.map(str::to_owned),
                n_unlabelled: n_unlabelled.unwrap_or(0),
                n_chosen: n_chosen.unwrap_or(0),
            })
            .collect())
    }
}
