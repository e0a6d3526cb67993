mod figures;
mod forms;
mod judgements;
mod scenarios;

use tamis_schemas::footprint::{
    BoundConfig, Component, ComponentRow, Interval, Label, LedgerRow, SAMPLE_BY_LARGER, SAMPLE_BY_SMALLER,
    ScorerChoiceRow, Signal, ViewConfig,
};

use super::*;
use crate::footprint::J_PER_KWH;
use crate::footprint::forecast::{Point, Series};
use crate::footprint::meter::GpuMeter;
use crate::footprint::planner::{Plan, PlanQuestion, predict};
use crate::footprint::tables::Tables;
use crate::footprint::tests::{run, settings};
use crate::footprint::{fixture, intensity};

const PROVISIONED: ViewConfig = ViewConfig::Provisioned;

/// Rows of several runs, one after the other, with CPU times of one stage times a factor.
fn history(factors: &[f64]) -> Vec<LedgerRow> {
    let mut rows = Vec::new();
    for (number, factor) in factors.iter().enumerate() {
        let mut of_run = run(&format!("run {number}"), 1.0);
        scale(&mut of_run[1], *factor);
        rows.extend(of_run);
    }
    rows
}

fn scale(row: &mut LedgerRow, factor: f64) {
    for component in &mut row.components {
        component.provisioned_j = component.provisioned_j.map(|joules| joules.scale(factor));
        component.dynamic_j = component.dynamic_j.map(|joules| joules.scale(factor));
    }
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * other.abs().max(1e-12)
}

fn absent(row: &mut LedgerRow, name: Component) {
    let component = row.components.iter_mut().find(|component| component.name == name).unwrap();
    *component = ComponentRow { provisioned_j: None, dynamic_j: None, label: Label::Absent, ..component.clone() };
}
