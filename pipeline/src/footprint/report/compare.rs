//! One run against another.

use tamis_schemas::footprint::{Interval, LedgerRow, ViewConfig};

use super::totals::{Report, report_of, runs};
use super::unit::Unit;
use crate::{Error, Result};

/// Two runs by the same measure: intensity and PUE are those of the baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What is compared with.
    pub baseline: Report,
    /// What is compared.
    pub run: Report,
    /// What both are divided by.
    pub unit: Unit,
    /// kWh for a unit, of the baseline and of the run.
    pub kwh_per_unit: [Interval; 2],
    /// Grams of `CO2e` for a unit, of the baseline and of the run.
    pub g_per_unit: [Interval; 2],
    /// Change of kWh for a unit: -0.25 is a quarter less.
    pub change_ratio: f64,
    /// By stage, in kWh for a unit.
    pub stages: Vec<StageChange>,
    /// In what the runs are unlike; not empty only if the comparison was forced.
    pub unlike: Vec<String>,
    /// What to bear in mind.
    pub notes: Vec<String>,
}

/// A stage of two runs; none where a run lacks it.
#[derive(Debug, Clone, PartialEq)]
pub struct StageChange {
    /// Name.
    pub stage: String,
    /// kWh for a unit in the baseline.
    pub baseline_kwh: Option<f64>,
    /// kWh for a unit in the run.
    pub run_kwh: Option<f64>,
}

/// Compares the last run of `rows` with the last run of `baseline`, for a unit of work.
///
/// Intensity and PUE are pinned to the baseline's: the mean of a grid moves by up to a fifth between two editions of one table,
/// which is enough to look like a saving.
///
/// # Errors
/// `Error::Config` if there is no run, if the unit was not counted, or if the runs are unlike and `is_forced` does not say to go on.
pub fn compare(
    baseline: &[LedgerRow],
    rows: &[LedgerRow],
    unit: Unit,
    view: ViewConfig,
    is_forced: bool,
) -> Result<Comparison> {
    let (baseline, run) = (last_run(baseline, "baseline")?, last_run(rows, "ledger to compare")?);
    let first = baseline[0];
    let unlike = unlike(&baseline, &run);
    if !unlike.is_empty() && !is_forced {
        return Err(Error::Config {
            message: format!("run `{}` is not like run `{}`: {}", run[0].run_id, first.run_id, unlike.join("; ")),
            hint: Some("measure both in the same way; --force compares them nevertheless, and says so".into()),
        });
    }
    let pinned: Vec<LedgerRow> = run
        .iter()
        .map(|row| LedgerRow { pue: first.pue.clone(), intensity: first.intensity.clone(), ..(*row).clone() })
        .collect();
    let pinned: Vec<&LedgerRow> = pinned.iter().collect();
    let of = |run: &[&LedgerRow]| {
        let n_units = unit.count(&run[0].run).ok_or_else(|| not_counted(unit, &run[0].run_id))?;
        Ok::<_, Error>((report_of(run, view), n_units))
    };
    let ((baseline_report, n_baseline), (run_report, n_run)) = (of(&baseline)?, of(&pinned)?);
    let kwh_per_unit = [baseline_report.totals.kwh.scale(1.0 / n_baseline), run_report.totals.kwh.scale(1.0 / n_run)];
    let g_per_unit = [baseline_report.totals.g().scale(1.0 / n_baseline), run_report.totals.g().scale(1.0 / n_run)];
    let stages = stages(&baseline_report, n_baseline, &run_report, n_run);
    Ok(Comparison {
        change_ratio: kwh_per_unit[1].mid() / kwh_per_unit[0].mid() - 1.0,
        kwh_per_unit,
        g_per_unit,
        stages,
        unlike,
        notes: notes(first, run[0], &baseline_report, &run_report),
        baseline: baseline_report,
        run: run_report,
        unit,
    })
}

pub(super) fn not_counted(unit: Unit, run_id: &str) -> Error {
    Error::Config {
        message: format!("run `{run_id}` did not count its {unit}"),
        hint: Some("choose another unit with --per".into()),
    }
}

fn last_run<'a>(rows: &'a [LedgerRow], what: &str) -> Result<Vec<&'a LedgerRow>> {
    runs(rows).pop().ok_or_else(|| Error::config(format!("the {what} has no run")))
}

/// In what the figures of two runs are not made alike.
pub(super) fn unlike(one: &[&LedgerRow], other: &[&LedgerRow]) -> Vec<String> {
    let (first, second) = (one[0], other[0]);
    let mut unlike = Vec::new();
    let mut check = |what: &str, one: &str, other: &str| {
        if one != other {
            unlike.push(format!("{what} `{other}` instead of `{one}`"));
        }
    };
    check("method", &first.method, &second.method);
    check("boundary", &first.boundary, &second.boundary);
    check("signal", first.intensity.signal.name(), second.intensity.signal.name());
    let short = |hash: &str| hash.get(..8).unwrap_or(hash).to_owned();
    check("tables of factors", &short(&first.tables_hash), &short(&second.tables_hash));
    let components = |row: &LedgerRow| {
        let names = row.components.iter().map(|row| format!("{} {}", row.name, row.method));
        names.collect::<Vec<_>>().join(", ")
    };
    check("components", &components(first), &components(second));
    unlike
}

fn notes(first: &LedgerRow, second: &LedgerRow, baseline: &Report, run: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if first.machine.fingerprint != second.machine.fingerprint {
        notes.push(format!("another machine: `{}` instead of `{}`", second.machine.cpu, first.machine.cpu));
    }
    if first.input_hash != second.input_hash {
        notes.push("other inputs: only figures for a unit of work can be compared".into());
    }
    if (&first.intensity, &first.pue) != (&second.intensity, &second.pue) {
        notes.push(format!(
            "intensity and PUE of the baseline stand for both: {:.0} g/kWh ({}), {:.2}",
            first.intensity.g_per_kwh.mid(),
            first.intensity.zone,
            first.pue.value.mid()
        ));
    }
    for (report, row) in [(baseline, first), (run, second)] {
        if report.is_incomplete {
            notes.push(format!("run `{}` lacks rows: its figures are too low", row.run_id));
        }
        if row.contended {
            notes.push(format!("others used the CPUs during run `{}`: its idle share is less sure", row.run_id));
        }
    }
    notes
}

fn stages(baseline: &Report, n_baseline: f64, run: &Report, n_run: f64) -> Vec<StageChange> {
    let kwh = |report: &Report, stage: &str, n_units: f64| {
        let of_stage = report.stages.iter().filter(|report| report.stage == stage);
        let sum: Vec<f64> = of_stage.map(|report| report.totals.kwh.mid() / n_units).collect();
        (!sum.is_empty()).then(|| sum.iter().sum())
    };
    let mut names: Vec<&str> = Vec::new();
    for stage in baseline.stages.iter().chain(&run.stages) {
        if !names.contains(&stage.stage.as_str()) {
            names.push(&stage.stage);
        }
    }
    let change = |name: &&str| StageChange {
        stage: (*name).to_owned(),
        baseline_kwh: kwh(baseline, name, n_baseline),
        run_kwh: kwh(run, name, n_run),
    };
    names.iter().map(change).collect()
}
