//! Budgets.

use tamis_schemas::footprint::{
    Amounts, BoundConfig, Component, FootprintConfig, IntensityRow, Interval, Label, LedgerRow, ViewConfig,
};

use super::totals::{Report, must_be_known, report_of, runs};
use super::unit::Unit;
use crate::footprint::planner::Plan;
use crate::{Error, Result};

/// What a run may use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// Grams of `CO2e`.
    pub max_g: Option<f64>,
    /// kWh.
    pub max_kwh: Option<f64>,
    /// Grams of `CO2e` for a million input documents.
    pub max_g_per_mdoc: Option<f64>,
    /// Which bound must be within.
    pub bound: BoundConfig,
    /// Which energy.
    pub view: ViewConfig,
    /// The worst label that counts as metered, of components with 5 % of the energy or more.
    pub require: Option<Label>,
}

impl Budget {
    /// The budget of a config.
    pub fn of(config: &FootprintConfig) -> Self {
        Self {
            max_g: config.max_g,
            max_kwh: None,
            max_g_per_mdoc: config.max_g_per_mdoc,
            bound: config.bound,
            view: config.view,
            require: None,
        }
    }
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// All limits are kept.
    Within,
    /// Some are not.
    OverBudget(Vec<Breach>),
    /// What the limits are about is not known, one reason a line: a gate that cannot see stays shut.
    Unmetered(Vec<String>),
}

/// A limit that is not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// Of what, with its unit.
    pub limit_of: &'static str,
    /// The limit.
    pub limit: f64,
    /// What it was, with bounds.
    pub was: Interval,
    /// Which bound is above the limit.
    pub bound: BoundConfig,
}

impl Verdict {
    /// Exit code of a command: 0, 3 over budget, 4 unmetered.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Within => 0,
            Self::OverBudget(_) => 3,
            Self::Unmetered(_) => 4,
        }
    }
}

/// Judges a run, the last one of `rows`: after it, or during it by the rows of what it used so far.
///
/// # Errors
/// `Error::Config` if there is no run, or a budget without a limit.
pub fn gate(rows: &[LedgerRow], budget: &Budget) -> Result<Verdict> {
    let run = runs(rows).pop().ok_or_else(|| Error::config("the footprint ledger has no run"))?;
    let report = report_of(&run, budget.view);
    let unmetered = unmetered(&report, budget);
    if !unmetered.is_empty() {
        return Ok(Verdict::Unmetered(unmetered));
    }
    judge(report.totals.kwh, report.totals.g(), &run[0].run, budget)
}

/// Judges a run before it starts, by what it will use in nine cases of ten on a grid of this intensity.
///
/// # Errors
/// `Error::Config` for a budget without a limit.
pub fn gate_plan(plan: &Plan, intensity: &IntensityRow, docs_in: Option<u64>, budget: &Budget) -> Result<Verdict> {
    let Plan::Known(prediction) = plan else {
        return Ok(Verdict::Unmetered(vec!["no earlier run says what this one will use".into()]));
    };
    let run = &prediction.run;
    let g = run.kwh_p90.times(&intensity.g_per_kwh) + run.embodied_g_p90;
    judge(run.kwh_p90, g, &Amounts { docs_in, ..Amounts::default() }, budget)
}

/// Judges energy and emissions that may still be predictions, kWh and grams of `CO2e`.
///
/// # Errors
/// `Error::Config` for a budget without a limit.
pub fn judge(kwh: Interval, g: Interval, run: &Amounts, budget: &Budget) -> Result<Verdict> {
    let mut limits: Vec<(&'static str, f64, Interval)> = Vec::new();
    if let Some(limit) = budget.max_g {
        limits.push(("g of CO2e", limit, g));
    }
    if let Some(limit) = budget.max_kwh {
        limits.push(("kWh", limit, kwh));
    }
    if let Some(limit) = budget.max_g_per_mdoc {
        let Some(n_mdocs) = Unit::MillionDocs.count(run) else {
            return Ok(Verdict::Unmetered(vec!["input documents were not counted".into()]));
        };
        limits.push(("g of CO2e for a million documents", limit, g.scale(1.0 / n_mdocs)));
    }
    if limits.is_empty() {
        return Err(Error::Config {
            message: "the gate has no limit".into(),
            hint: Some("give --max-g, --max-kwh or --max-g-per-mdoc".into()),
        });
    }
    // A limit that is no number must not let everything pass.
    if let Some((limit_of, limit, _)) = limits.iter().find(|(_, limit, _)| !limit.is_finite() || *limit < 0.0) {
        return Err(Error::config(format!("a limit of {limit} {limit_of}: it is a number, 0 or more")));
    }
    let of_bound = |was: &Interval| match budget.bound {
        BoundConfig::Low => was.low(),
        BoundConfig::Mid => was.mid(),
        BoundConfig::High => was.high(),
    };
    let breaches: Vec<Breach> = limits
        .into_iter()
        .filter(|(_, limit, was)| of_bound(was) > *limit)
        .map(|(limit_of, limit, was)| Breach { limit_of, limit, was, bound: budget.bound })
        .collect();
    Ok(if breaches.is_empty() { Verdict::Within } else { Verdict::OverBudget(breaches) })
}

/// Why the energy of a run is not known well enough.
fn unmetered(report: &Report, budget: &Budget) -> Vec<String> {
    let is_required = |name: Component| budget.require.is_some() || must_be_known(name);
    let mut reasons = Vec::new();
    for total in &report.totals.components {
        if total.label == Label::Absent && is_required(total.name) {
            reasons.push(format!("{}: {}", total.name, total.source));
        }
    }
    if report.totals.components.is_empty() {
        reasons.push("the run has no components".into());
    }
    if report.is_incomplete {
        reasons.push("the run lacks rows".into());
    }
    let worst = report.totals.label;
    if let Some(require) = budget.require
        && worst > require
        && reasons.is_empty()
    {
        let who = report.totals.components.iter().filter(|total| total.label > require);
        let names: Vec<&str> = who.map(|total| total.name.name()).collect();
        reasons.push(format!("{} required, and it is {worst}: {}", require, names.join(", ")));
    }
    reasons
}
