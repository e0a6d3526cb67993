//! Reports as JSON, schema `tamis.footprint-report/1`.

use serde_json::{Value, json};
use tamis_schemas::footprint::Interval;

use super::audit::{Audit, Trend};
use super::avoid::{Applies, Avoided, AvoidedItem};
use super::compare::{Comparison, Pair, StageChange};
use super::doctor::Doctor;
use super::gate::{Breach, Verdict};
use super::right_sized::RightSized;
use super::shift::Shift;
use super::text::{self, REBOUND, STATEMENT, notes, view_name};
use super::totals::{ComponentTotal, Report, Totals};
use crate::footprint::planner::{Basis, Plan, Quantiles, StagePrediction};

/// The report of a run: energies in kWh, emissions in grams of `CO2e`; an absent one is null.
pub fn of_report(report: &Report) -> Value {
    let row = &report.row;
    let stages: Vec<Value> = report
        .stages
        .iter()
        .map(|stage| {
            let mut value = of_totals(&stage.totals);
            value["stage"] = json!(stage.stage);
            value["wall_seconds"] = json!(stage.wall_seconds);
            value["amounts"] = json!(stage.amounts);
            value
        })
        .collect();
    let per_unit: Vec<Value> = report
        .per_unit
        .iter()
        .map(|of| json!({"unit": of.unit.name(), "n_units": of.n_units, "kwh": of.kwh, "g": of.g}))
        .collect();
    json!({
        "schema": "tamis.footprint-report/1",
        "run_id": row.run_id,
        "command": row.command,
        "view": view_name(report.view),
        "submitted_at": row.submitted_at,
        "start_at": row.start_at,
        "end_at": row.end_at,
        "wall_seconds": row.run_wall_seconds,
        "totals": of_totals(&report.totals),
        "per_unit": per_unit,
        "stages": stages,
        "amounts": row.run,
        "intensity": row.intensity,
        "pue": row.pue,
        "machine": row.machine,
        "method": row.method,
        "boundary": row.boundary,
        "contended": row.contended,
        "is_incomplete": report.is_incomplete,
        "shift": report.shift.as_ref().map(of_shift),
        "right_sized": report.right_sized.as_ref().map(of_right_sized),
        "tables_hash": row.tables_hash,
        "notes": notes(report),
        "statement": STATEMENT,
    })
}

/// A choice between two scorers; what it saved is null if the larger one was chosen.
fn of_right_sized(right_sized: &RightSized) -> Value {
    let saved =
        right_sized.saved.map(|saved| json!({"cpu_seconds": saved.cpu_seconds, "kwh": saved.kwh, "g": saved.g}));
    json!({"choice": right_sized.choice, "saved": saved})
}

/// What a start saved, grams of `CO2e`; or why that is not known.
fn of_shift(shift: &Shift) -> Value {
    let Shift::Known(saved) = shift else { return json!({"saved_g": null, "why": text::of_shift(shift)}) };
    json!({
        "saved_g": saved.g,
        "at_once_g_per_kwh": saved.at_once_g_per_kwh,
        "as_was_g_per_kwh": saved.as_was_g_per_kwh,
        "signal": saved.signal.name(),
    })
}

/// A comparison; its sides and ratio are null if there is nothing to compare.
pub fn of_comparison(comparison: &Comparison) -> Value {
    let stage = |stage: &StageChange| json!({"stage": stage.stage, "baseline_kwh": stage.baseline_kwh, "run_kwh": stage.run_kwh});
    let side = |report: &Report, kwh: &Interval, g: &Interval| json!({"run_id": report.row.run_id, "totals": of_totals(&report.totals), "kwh_per_unit": kwh, "g_per_unit": g});
    let pair = comparison.pair.as_ref();
    let baseline = |pair: &Pair| side(&pair.baseline, &pair.kwh_per_unit[0], &pair.g_per_unit[0]);
    let run = |pair: &Pair| side(&pair.run, &pair.kwh_per_unit[1], &pair.g_per_unit[1]);
    json!({
        "unit": comparison.unit.name(),
        "left_out": comparison.left_out,
        "baseline": pair.map(baseline),
        "run": pair.map(run),
        "change_ratio": pair.and_then(|pair| pair.change_ratio),
        "stages": pair.map_or_else(Vec::new, |pair| pair.stages.iter().map(stage).collect()),
        "unlike": pair.map_or(&[][..], |pair| &pair.unlike),
        "notes": pair.map_or(&[][..], |pair| &pair.notes),
    })
}

/// An audit; a ratio that there is nothing for is null.
pub fn of_audit(audit: &Audit) -> Value {
    let trend = |trend: &Trend| {
        json!({
            "name": trend.name,
            "kwh_per_unit": trend.kwh_per_unit,
            "median": trend.median,
            "slope": trend.slope,
            "last_rise_ratio": trend.last_rise_ratio,
            "trend_ratio": trend.trend_ratio,
            "is_flagged": trend.is_flagged,
        })
    };
    let stages: Vec<Value> = audit.stages.iter().map(trend).collect();
    json!({
        "unit": audit.unit.name(),
        "command": audit.command,
        "runs": audit.run_ids,
        "left_out": audit.left_out,
        "is_last_unmetered": audit.is_last_unmetered,
        "is_flagged": audit.is_flagged(),
        "total": trend(&audit.total),
        "stages": stages,
    })
}

/// What a gate says.
pub fn of_verdict(verdict: &Verdict) -> Value {
    let breach = |breach: &Breach| json!({"limit_of": breach.limit_of, "limit": breach.limit, "was": breach.was, "bound": breach.bound});
    match verdict {
        Verdict::Within => json!({"verdict": "within"}),
        Verdict::OverBudget(breaches) => {
            json!({"verdict": "over_budget", "breaches": breaches.iter().map(breach).collect::<Vec<_>>()})
        }
        Verdict::Unmetered(reasons) => json!({"verdict": "unmetered", "reasons": reasons}),
    }
}

/// Scenarios; the floor of each is 0.
pub fn of_avoided(avoided: &Avoided) -> Value {
    let item = |item: &AvoidedItem| {
        let applies = match item.applies {
            Applies::Yes => "yes",
            Applies::No => "no",
            Applies::Unknown => "unknown",
        };
        json!({
            "name": item.name,
            "applies": applies,
            "floor_kwh": 0,
            "kwh": item.kwh,
            "g": item.g,
            "hours": item.hours,
            "assumptions": item.assumptions,
        })
    };
    json!({
        "own_kwh": avoided.own_kwh,
        "own_g": avoided.own_g,
        "items": avoided.items.iter().map(item).collect::<Vec<_>>(),
        "payback_ratio": avoided.payback_ratio,
        "statement": REBOUND,
    })
}

/// Meters.
pub fn of_doctor(doctor: &Doctor) -> Value {
    let sensors = doctor.sensors.iter().map(|sensor| {
        let state = sensor.state.to_string();
        json!({"name": sensor.name, "measures": sensor.measures, "state": state, "fix": sensor.fix})
    });
    let counters = doctor.counters.iter().map(|(name, is_there)| json!({"name": name, "is_there": is_there}));
    json!({
        "sensors": sensors.collect::<Vec<_>>(),
        "machine": doctor.machine.row(&[]),
        "cpu_family": doctor.cpu_family,
        "tdp_w": doctor.tdp_w,
        "method": doctor.method,
        "counters": counters.collect::<Vec<_>>(),
        "contention_percent": doctor.contention_percent,
        "old_rows": doctor.old_rows,
    })
}

fn of_totals(totals: &Totals) -> Value {
    let component = |total: &ComponentTotal| {
        json!({
            "name": total.name,
            "kwh": total.kwh,
            "label": total.label,
            "method": total.method,
            "source": total.source,
        })
    };
    let label_ratios = |[measured, estimated, assumed]: [f64; 3]| json!({"measured": measured, "estimated": estimated, "assumed": assumed});
    json!({
        "kwh": totals.known_kwh(),
        "g": totals.known_g(),
        "operational_g": totals.known_kwh().map(|_| totals.operational_g),
        "embodied_g": totals.embodied_g,
        "cpu_seconds": totals.cpu_seconds,
        "label": totals.label,
        "label_ratios": totals.known_label_ratios().map(label_ratios),
        "components": totals.components.iter().map(component).collect::<Vec<_>>(),
    })
}

/// What a run will use.
pub fn of_plan(plan: &Plan) -> Value {
    let Plan::Known(prediction) = plan else { return json!({"known": false}) };
    let quantiles = |of: Quantiles| json!({"p50": of.p50, "p90": of.p90});
    let stage = |stage: &StagePrediction| {
        json!({
            "name": stage.name,
            "wall_seconds": quantiles(stage.wall_seconds),
            "cpu_seconds": quantiles(stage.cpu_seconds),
            "disk_bytes": stage.disk_bytes.map(quantiles),
            "kwh_p50": stage.kwh_p50,
            "kwh_p90": stage.kwh_p90,
            "embodied_g_p90": stage.embodied_g_p90,
        })
    };
    let basis = match prediction.basis {
        Basis::SameConfig => "same config, same machine",
        Basis::SameMachine => "same machine",
        Basis::Other => "other machines",
    };
    json!({
        "known": true,
        "basis": basis,
        "runs": prediction.n_runs,
        "in_proportion": prediction.is_in_proportion,
        "run": stage(&prediction.run),
        "stages": prediction.stages.iter().map(stage).collect::<Vec<_>>(),
    })
}
