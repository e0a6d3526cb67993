//! Many runs: which way do they go?

use tamis_schemas::footprint::{LedgerRow, ViewConfig};

use super::comparable::{check_counted, command_of, units, unlike, unmetered};
use super::totals::{Totals, rows_of_stages, runs};
use super::unit::Unit;
use crate::{Error, Result};

/// What an audit looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AuditOptions {
    /// So many runs at the end of the ledger.
    pub last: usize,
    /// What energy is divided by.
    pub unit: Unit,
    /// Which energy.
    pub view: ViewConfig,
    /// A rise of more than this share is flagged.
    pub max_rise_ratio: f64,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self { last: 20, unit: Unit::MillionDocs, view: ViewConfig::Provisioned, max_rise_ratio: 0.15 }
    }
}

/// How runs went.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// What energy is divided by.
    pub unit: Unit,
    /// What was run, if rows say it.
    pub command: Option<String>,
    /// Runs looked at, the oldest first.
    pub run_ids: Vec<String>,
    /// Runs left out, and why.
    pub left_out: Vec<String>,
    /// The run as a whole.
    pub total: Trend,
    /// Its stages, in the order of the last run.
    pub stages: Vec<Trend>,
    /// The energy of the last run of the ledger is not known: nothing is said of it.
    pub is_last_unmetered: bool,
}

/// A series of figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// Stage, or `run`.
    pub name: String,
    /// kWh for a unit of work, the oldest first; PUE is that of the last run.
    pub kwh_per_unit: Vec<f64>,
    /// Median of all; none of none.
    pub median: Option<f64>,
    /// Median of the slopes between any two (Theil-Sen), kWh for a unit from one run to the next; none of fewer than two. One wild
    /// run in four does not move it.
    pub slope: Option<f64>,
    /// The last one over the median of those before, less 1; none if there is nothing before.
    pub last_rise_ratio: Option<f64>,
    /// What slope makes of the whole time, over the median; none of fewer than three: two runs are a comparison, not a trend.
    pub trend_ratio: Option<f64>,
    /// The last one, or the trend, rises by more than the limit.
    pub is_flagged: bool,
}

impl Audit {
    /// The run and its stages.
    pub fn trends(&self) -> impl Iterator<Item = &Trend> {
        std::iter::once(&self.total).chain(&self.stages)
    }

    /// The run or a stage rises by more than the limit.
    pub fn is_flagged(&self) -> bool {
        self.trends().any(|trend| trend.is_flagged)
    }
}

/// Looks at the last runs of a ledger, those of the command that was run last. Runs whose figures are made otherwise than the last
/// one's, that read no rows or were not metered are left out by name.
///
/// # Errors
/// `Error::Config` if there is no run, the last one did not count the unit, or the limit is no share.
pub fn audit(rows: &[LedgerRow], options: &AuditOptions) -> Result<Audit> {
    let AuditOptions { unit, view, max_rise_ratio, .. } = *options;
    if !max_rise_ratio.is_finite() || max_rise_ratio < 0.0 {
        return Err(Error::Config {
            message: format!("a limit of {max_rise_ratio} for a rise: it is a number, 0 or more"),
            hint: Some("0.15 flags what rises by more than 15 %".into()),
        });
    }
    let all = runs(rows);
    let newest = all.last().ok_or_else(|| Error::config("the footprint ledger has no run"))?;
    check_counted(newest, unit)?;
    let (alike, others): (Vec<_>, Vec<_>) = all.iter().partition(|run| run[0].command == newest[0].command);
    let of_others = |run: &&Vec<&LedgerRow>| format!("`{}` is of {}", run[0].run_id, command_of(run[0]));
    let mut left_out: Vec<String> = others.iter().map(of_others).collect();
    let mut kept = Vec::new();
    for run in &alike[alike.len().saturating_sub(options.last.max(1))..] {
        match units(run, unit, view) {
            Ok(n_units) => kept.push((*run, n_units)),
            Err(why) => left_out.push(why),
        }
    }
    if let Some((last, _)) = kept.last().copied() {
        kept.retain(|(run, _)| {
            let unlike = unlike(last, run);
            if !unlike.is_empty() {
                left_out.push(format!("`{}`: {}", run[0].run_id, unlike.join("; ")));
            }
            unlike.is_empty()
        });
    }
    let last = kept.last().map(|(run, _)| *run);
    let kwh = |rows: &[&LedgerRow], n_units: f64| {
        let pue = last.map_or(&rows[0].pue, |last| &last[0].pue);
        let pinned: Vec<LedgerRow> = rows.iter().map(|row| LedgerRow { pue: pue.clone(), ..(*row).clone() }).collect();
        Totals::of(&pinned.iter().collect::<Vec<_>>(), view).kwh.mid() / n_units
    };
    let total = kept.iter().map(|(run, n_units)| kwh(run, *n_units)).collect();
    let stages = last.into_iter().flat_map(|run| rows_of_stages(run)).map(|rows| {
        let stage = &rows[0].stage;
        let of_stage = kept.iter().filter_map(|(run, n_units)| {
            let found: Vec<&LedgerRow> = run.iter().filter(|other| other.stage == *stage).copied().collect();
            (!found.is_empty()).then(|| kwh(&found, *n_units))
        });
        trend(stage, of_stage.collect(), max_rise_ratio)
    });
    Ok(Audit {
        unit,
        command: newest[0].command.clone(),
        run_ids: kept.iter().map(|(run, _)| run[0].run_id.clone()).collect(),
        stages: stages.collect(),
        total: trend("run", total, max_rise_ratio),
        is_last_unmetered: unmetered(newest, view).is_some(),
        left_out,
    })
}

fn trend(name: &str, kwh_per_unit: Vec<f64>, max_rise_ratio: f64) -> Trend {
    let middle = median(&kwh_per_unit);
    let mut slopes = Vec::new();
    for (at, one) in kwh_per_unit.iter().enumerate() {
        let later = kwh_per_unit[at + 1..].iter().zip(1..);
        slopes.extend(later.map(|(other, distance)| (other - one) / f64::from(distance)));
    }
    let slope = median(&slopes);
    let over = |value: f64, base: Option<f64>| base.filter(|base| 0.0 < *base).map(|base| value / base);
    let before = &kwh_per_unit[..kwh_per_unit.len().saturating_sub(1)];
    let n_steps = before.len();
    let last = kwh_per_unit.last().copied();
    let last_rise_ratio = last.and_then(|last| Some(over(last, median(before))? - 1.0));
    let trend_ratio = slope.filter(|_| 2 <= n_steps).and_then(|slope| over(slope * n_steps as f64, middle));
    let is_above = |ratio: Option<f64>| ratio.is_some_and(|ratio| ratio > max_rise_ratio);
    Trend {
        name: name.to_owned(),
        median: middle,
        slope,
        last_rise_ratio,
        trend_ratio,
        is_flagged: is_above(last_rise_ratio) || is_above(trend_ratio),
        kwh_per_unit,
    }
}

/// Middle of numbers, if there are any.
pub(in crate::footprint) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}
