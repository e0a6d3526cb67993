//! Sums over rows: of a run, of a stage.

use std::ops::Add;

use tamis_schemas::footprint::{Amounts, Component, Interval, Label, LedgerRow, ViewConfig};

use super::right_sized::{RightSized, right_sized};
use super::shift::Shift;
use super::unit::{PerUnit, Unit};
use crate::footprint::J_PER_KWH;
use crate::{Error, Result};

/// Below this share of the energy, a component does not decide how a sum is labelled.
const DECISIVE_RATIO: f64 = 0.05;

/// What some rows used together.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    /// Energy with what the site adds, kWh. Absent components are not in it: [`known_kwh`](Self::known_kwh) is all of it or none.
    pub kwh: Interval,
    /// Emissions of that energy, grams of `CO2e`.
    pub operational_g: Interval,
    /// Share of making the hardware, grams of `CO2e`; 0 in the dynamic view, which is about what was drawn because of us.
    pub embodied_g: Interval,
    /// CPU time, seconds.
    pub cpu_seconds: f64,
    /// By component, in the order of the first row.
    pub components: Vec<ComponentTotal>,
    /// Shares of the energy that are measured, estimated and assumed, 0 to 1.
    pub label_ratios: [f64; 3],
    /// The worst label of components with 5 % of the energy or more; absent if a component is.
    pub label: Label,
}

/// One component of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentTotal {
    /// Which.
    pub name: Component,
    /// kWh with what the site adds; none if it is absent.
    pub kwh: Option<Interval>,
    /// How it came about.
    pub label: Label,
    /// The rule.
    pub method: String,
    /// The meter or coefficient, or why it is absent.
    pub source: String,
}

/// What a run used.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One of its rows, for what all of them say alike.
    pub row: LedgerRow,
    /// Which energy it is about.
    pub view: ViewConfig,
    /// The run.
    pub totals: Totals,
    /// Its stages, the largest first.
    pub stages: Vec<StageReport>,
    /// For each unit of work that was counted; empty if the energy is not known.
    pub per_unit: Vec<PerUnit>,
    /// What its start saved, if the intensities that came to pass were given.
    pub shift: Option<Shift>,
    /// What choosing the smaller of two scorers saved, if two were held against each other.
    pub right_sized: Option<RightSized>,
    /// Rows are missing: figures are too low.
    pub is_incomplete: bool,
}

/// What a stage used.
#[derive(Debug, Clone, PartialEq)]
pub struct StageReport {
    /// Name.
    pub stage: String,
    /// Length, seconds.
    pub wall_seconds: f64,
    /// What went through.
    pub amounts: Amounts,
    /// What it used.
    pub totals: Totals,
}

impl StageReport {
    /// The stages of a run, in the order of their first rows.
    pub(in crate::footprint) fn of_run(run: &[&LedgerRow], view: ViewConfig) -> Vec<Self> {
        rows_of_stages(run).iter().filter_map(|rows| Self::of(rows, view)).collect()
    }

    /// What the rows of one stage say, if there are any. Machines of several kinds were at work at once.
    fn of(rows: &[&LedgerRow], view: ViewConfig) -> Option<Self> {
        Some(Self {
            stage: rows.first()?.stage.clone(),
            wall_seconds: rows.iter().map(|row| row.wall_seconds).reduce(f64::max)?,
            amounts: rows.iter().map(|row| row.amounts).reduce(Add::add)?,
            totals: Totals::of(rows, view),
        })
    }
}

impl Totals {
    /// Operational and embodied emissions, grams of `CO2e`.
    pub fn g(&self) -> Interval {
        self.operational_g + self.embodied_g
    }

    /// Components that are absent, and without which the sum is none. Disks and the network may be.
    pub fn missing(&self) -> impl Iterator<Item = &ComponentTotal> {
        self.components.iter().filter(|total| total.kwh.is_none() && must_be_known(total.name))
    }

    /// Whether the sum is one: a sum without the processor is not the energy of a run.
    pub fn is_known(&self) -> bool {
        !self.components.is_empty() && self.missing().next().is_none()
    }

    /// Energy, if it is known.
    pub fn known_kwh(&self) -> Option<Interval> {
        self.is_known().then_some(self.kwh)
    }

    /// Operational and embodied emissions, if the energy is known.
    pub fn known_g(&self) -> Option<Interval> {
        self.is_known().then(|| self.g())
    }

    /// Shares of the energy that are measured, estimated and assumed, if there is any.
    pub fn known_label_ratios(&self) -> Option<[f64; 3]> {
        (0.0 < self.kwh.mid()).then_some(self.label_ratios)
    }

    /// Sums rows of one run.
    pub fn of(rows: &[&LedgerRow], view: ViewConfig) -> Self {
        let mut components: Vec<ComponentTotal> = Vec::new();
        let mut operational_g = Interval::ZERO;
        for row in rows {
            for component in &row.components {
                let joules = match view {
                    ViewConfig::Provisioned => component.provisioned_j,
                    ViewConfig::Dynamic => component.dynamic_j,
                };
                let kwh = joules.map(|joules| joules.times(&row.pue.value).scale(1.0 / J_PER_KWH));
                if let Some(kwh) = &kwh {
                    operational_g = operational_g + kwh.times(&row.intensity.g_per_kwh);
                }
                let at = components.iter().position(|total| total.name == component.name);
                let Some(total) = at.map(|at| &mut components[at]) else {
                    components.push(ComponentTotal {
                        name: component.name,
                        kwh,
                        label: component.label,
                        method: component.method.clone(),
                        source: component.source.clone(),
                    });
                    continue;
                };
                // One that is absent in one row is absent in the sum.
                total.kwh = total.kwh.zip(kwh).map(|(sum, kwh)| sum + kwh);
                if component.label > total.label {
                    total.label = component.label;
                    total.source.clone_from(&component.source);
                }
            }
        }
        let kwh: Interval = components.iter().filter_map(|total| total.kwh).sum();
        let embodied = rows.iter().map(|row| row.embodied_g).sum();
        let (label, label_ratios) = labels(&components, kwh.mid());
        Self {
            kwh,
            operational_g,
            embodied_g: if view == ViewConfig::Provisioned { embodied } else { Interval::ZERO },
            cpu_seconds: rows.iter().map(|row| row.cpu_seconds).sum(),
            components,
            label_ratios,
            label,
        }
    }
}

fn labels(components: &[ComponentTotal], sum_kwh: f64) -> (Label, [f64; 3]) {
    let mid = |total: &ComponentTotal| total.kwh.map_or(0.0, |kwh| kwh.mid());
    let ratio = |total: &ComponentTotal| if sum_kwh > 0.0 { mid(total) / sum_kwh } else { 0.0 };
    // The sum of nothing is -0.
    let of = |label: Label| components.iter().filter(|total| total.label == label).map(ratio).sum::<f64>() + 0.0;
    let is_decisive = |total: &&ComponentTotal| total.kwh.is_none() || ratio(total) >= DECISIVE_RATIO;
    let worst = components.iter().filter(is_decisive).map(|total| total.label).max();
    (worst.unwrap_or(Label::Absent), [of(Label::Measured), of(Label::Estimated), of(Label::Assumed)])
}

/// Whether the energy of a run is not known without that of this component.
pub(super) fn must_be_known(name: Component) -> bool {
    !matches!(name, Component::Disk | Component::Network)
}

/// Rows by run, in the order of each run's first row.
pub fn runs(rows: &[LedgerRow]) -> Vec<Vec<&LedgerRow>> {
    let mut runs: Vec<Vec<&LedgerRow>> = Vec::new();
    for row in rows {
        match runs.iter_mut().find(|run| run[0].run_id == row.run_id) {
            Some(run) => run.push(row),
            None => runs.push(vec![row]),
        }
    }
    runs
}

/// Rows of a run by stage, in the order of each stage's first row: there is one for each kind of machine.
pub(super) fn rows_of_stages<'a>(run: &[&'a LedgerRow]) -> Vec<Vec<&'a LedgerRow>> {
    let mut stages: Vec<Vec<&LedgerRow>> = Vec::new();
    for row in run {
        match stages.iter_mut().find(|rows| rows[0].stage == row.stage) {
            Some(rows) => rows.push(row),
            None => stages.push(vec![row]),
        }
    }
    stages
}

/// What a run used: that with this id, or the last one.
///
/// # Errors
/// `Error::Config` if there is no such run.
pub fn report(rows: &[LedgerRow], run_id: Option<&str>, view: ViewConfig) -> Result<Report> {
    let runs = runs(rows);
    let found = match run_id {
        Some(run_id) => runs.iter().find(|run| run[0].run_id == run_id),
        None => runs.last(),
    };
    let Some(run) = found else {
        let message = run_id.map_or_else(
            || "the footprint ledger has no run".to_owned(),
            |run_id| format!("the footprint ledger has no run `{run_id}`"),
        );
        let last = runs.last().map(|run| format!("the last one is `{}`", run[0].run_id));
        return Err(Error::Config { message, hint: last });
    };
    Ok(report_of(run, view))
}

/// What the rows of one run say.
pub(super) fn report_of(run: &[&LedgerRow], view: ViewConfig) -> Report {
    let totals = Totals::of(run, view);
    let mut stages = StageReport::of_run(run, view);
    stages.sort_by(|one, other| other.totals.kwh.mid().total_cmp(&one.totals.kwh.mid()));
    let per_unit = Unit::ALL.into_iter().filter(|_| totals.is_known()).filter_map(|unit| {
        let n_units = unit.count(&run[0].run)?;
        Some(PerUnit { unit, n_units, kwh: totals.kwh.scale(1.0 / n_units), g: totals.g().scale(1.0 / n_units) })
    });
    Report {
        row: run[0].clone(),
        view,
        per_unit: per_unit.collect(),
        shift: None,
        right_sized: right_sized(run, view),
        stages,
        totals,
        is_incomplete: run.len() as u32 != run[0].rows_of_run,
    }
}
