//! What becomes of the rows of units.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::Task;
use super::columns::{binaries, int64_lists, numbers_of};
use super::units::PlacedUnit;
use crate::dedup::{DropReason, Rule, Verdict};
use crate::run::verdict::Verdicts;
use crate::{Error, Result, RowSet};

/// The verdicts about the rows of each unit of a batch, once their quality is judged.
pub(super) fn verdicts_of(task: Task<'_>, batch: &RecordBatch, units: &[PlacedUnit]) -> Result<Vec<Verdicts>> {
    let mut verdicts = verdicts_so_far(task, batch, units)?;
    if task.plan.quality.is_some() {
        let unfit = rows_of_units(batch, "unfit")?;
        verdicts.iter_mut().zip(unfit).for_each(|(of_unit, unfit)| of_unit.quality = Some(Arc::new(unfit)));
    }
    Ok(verdicts)
}

/// The rows that payloads of a column name, of each unit of a batch.
pub(super) fn rows_of_units(batch: &RecordBatch, column: &str) -> Result<Vec<RowSet>> {
    let payloads = binaries(batch, column)?;
    let of_unit = |payload: Option<&[u8]>| {
        let (rows, rest) = payload.unwrap_or_default().as_chunks();
        if !rest.is_empty() {
            return Err(Error::config(format!("`{column}` of a unit ends in the middle of a number")));
        }
        Ok(rows.iter().map(|&row| u64::from_le_bytes(row)).collect())
    };
    payloads.iter().map(of_unit).collect()
}

/// The verdicts before that.
pub(super) fn verdicts_so_far(task: Task<'_>, batch: &RecordBatch, units: &[PlacedUnit]) -> Result<Vec<Verdicts>> {
    let (dropped, rules) = (int64_lists(batch, "dropped")?, int64_lists(batch, "rules")?);
    let of_unit = |(index, unit): (usize, &PlacedUnit)| {
        let verdict = verdict(&numbers_of(&dropped, index), &numbers_of(&rules, index))?;
        let verdict = verdict.with(DropReason::Repetition, unit.repeated.clone());
        let plan = task.plan;
        let drops_duplicates = plan.deduplicate.is_some() || plan.grain.is_some() || plan.semantic.is_some();
        Ok(Verdicts {
            contaminated: task.plan.decontaminate.is_some().then(|| Arc::new(unit.contaminated.clone())),
            near_duplicates: drops_duplicates.then_some(verdict),
            quality: None,
        })
    };
    units.iter().enumerate().map(of_unit).collect()
}

fn verdict(dropped: &[u64], rules: &[u64]) -> Result<Verdict> {
    let mut by_reason: BTreeMap<&str, (DropReason, RowSet)> = BTreeMap::new();
    if dropped.len() != rules.len() {
        return Err(Error::config("`dropped` and `rules` of a unit are not equally long"));
    }
    for (&row, &code) in dropped.iter().zip(rules) {
        let rule = u8::try_from(code).ok().and_then(Rule::of_code);
        let reason = rule.ok_or_else(|| Error::config(format!("no rule has the number {code}")))?.reason();
        by_reason.entry(reason.name()).or_insert_with(|| (reason, RowSet::new())).1.insert(row);
    }
    Ok(by_reason.into_values().fold(Verdict::default(), |verdict, (reason, rows)| verdict.with(reason, rows)))
}
