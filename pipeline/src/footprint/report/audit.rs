//! Many runs: which way do they go?

use tamis_schemas::footprint::{LedgerRow, ViewConfig};

use super::compare::{not_counted, unlike};
use super::totals::{Totals, runs};
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
    /// Runs looked at, the oldest first.
    pub run_ids: Vec<String>,
    /// Runs left out, and why.
    pub left_out: Vec<String>,
    /// The run as a whole.
    pub total: Trend,
    /// Its stages, in the order of the last run.
    pub stages: Vec<Trend>,
}

/// A series of figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// Stage, or `run`.
    pub name: String,
    /// kWh for a unit of work, the oldest first; PUE is that of the last run.
    pub kwh_per_unit: Vec<f64>,
    /// Median of all.
    pub median: f64,
    /// Median of the slopes between any two (Theil-Sen), kWh for a unit from one run to the next. One wild run in four does not move it.
    pub slope: f64,
    /// The last one over the median of those before, less 1.
    pub last_rise_ratio: f64,
    /// What slope makes of the whole time, over the median.
    pub trend_ratio: f64,
    /// The last one, or the trend, rises by more than the limit.
    pub is_flagged: bool,
}

/// Looks at the last runs of a ledger. Those whose figures are made otherwise than the last run's are left out by name.
///
/// # Errors
/// `Error::Config` if there is no run or the last one did not count the unit.
pub fn audit(rows: &[LedgerRow], options: &AuditOptions) -> Result<Audit> {
    let all = runs(rows);
    let skipped = all.len().saturating_sub(options.last.max(1));
    let chosen = &all[skipped..];
    let last = chosen.last().ok_or_else(|| Error::config("the footprint ledger has no run"))?;
    options.unit.count(&last[0].run).ok_or_else(|| not_counted(options.unit, &last[0].run_id))?;
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for run in chosen {
        let unlike = unlike(last, run);
        let id = &run[0].run_id;
        match options.unit.count(&run[0].run) {
            _ if !unlike.is_empty() => left_out.push(format!("`{id}`: {}", unlike.join("; "))),
            None => left_out.push(format!("`{id}` did not count its {}", options.unit)),
            Some(_) if run.len() as u32 != run[0].rows_of_run => left_out.push(format!("`{id}` lacks rows")),
            Some(n_units) => kept.push((run, n_units)),
        }
    }
    let pue = &last[0].pue;
    let kwh = |rows: &[&LedgerRow], n_units: f64| {
        let pinned: Vec<LedgerRow> = rows.iter().map(|row| LedgerRow { pue: pue.clone(), ..(*row).clone() }).collect();
        Totals::of(&pinned.iter().collect::<Vec<_>>(), options.view).kwh.mid() / n_units
    };
    let total = kept.iter().map(|(run, n_units)| kwh(run, *n_units)).collect();
    let stages = last.iter().map(|row| {
        let of_stage = kept.iter().filter_map(|(run, n_units)| {
            let found: Vec<&LedgerRow> = run.iter().filter(|other| other.stage == row.stage).copied().collect();
            (!found.is_empty()).then(|| kwh(&found, *n_units))
        });
        trend(&row.stage, of_stage.collect(), options.max_rise_ratio)
    });
    Ok(Audit {
        unit: options.unit,
        run_ids: kept.iter().map(|(run, _)| run[0].run_id.clone()).collect(),
        left_out,
        stages: stages.collect(),
        total: trend("run", total, options.max_rise_ratio),
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
    let over = |value: f64, base: f64| if base > 0.0 { value / base } else { 0.0 };
    let before = &kwh_per_unit[..kwh_per_unit.len().saturating_sub(1)];
    let last = kwh_per_unit.last().copied().unwrap_or(0.0);
    let last_rise_ratio = if before.is_empty() { 0.0 } else { over(last, median(before)) - 1.0 };
    // Two runs are a comparison, not a trend.
    let n_steps = before.len();
    let trend_ratio = if n_steps < 2 { 0.0 } else { over(slope * n_steps as f64, middle) };
    Trend {
        name: name.to_owned(),
        median: middle,
        slope,
        last_rise_ratio,
        trend_ratio,
        is_flagged: last_rise_ratio > max_rise_ratio || trend_ratio > max_rise_ratio,
        kwh_per_unit,
    }
}

/// Middle of numbers, 0 if there are none.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
