//! One run against another.

use tamis_schemas::footprint::{Interval, LedgerRow, ViewConfig};

use super::comparable::{check_counted, command_of, units, unlike};
use super::totals::{Report, report_of, runs};
use super::unit::Unit;
use crate::{Error, Result};

/// Two runs by the same measure, if there are two.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What both are divided by.
    pub unit: Unit,
    /// Later runs that are in no ratio, and why.
    pub left_out: Vec<String>,
    /// The runs; none if all of one side are left out.
    pub pair: Option<Pair>,
}

/// Two runs: intensity and PUE are those of the baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// What is compared with.
    pub baseline: Report,
    /// What is compared.
    pub run: Report,
    /// kWh for a unit, of the baseline and of the run.
    pub kwh_per_unit: [Interval; 2],
    /// Grams of `CO2e` for a unit, of the baseline and of the run.
    pub g_per_unit: [Interval; 2],
    /// Change of kWh for a unit: -0.25 is a quarter less. None if the baseline used nothing.
    pub change_ratio: Option<f64>,
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

/// Compares the last run of `rows` with the last run of the same command in `baseline`, for a unit of work. Runs that read no rows or
/// were not metered are passed over by name.
///
/// Intensity and PUE are pinned to the baseline's: the mean of a grid moves by up to a fifth between two editions of one table,
/// which is enough to look like a saving.
///
/// # Errors
/// `Error::Config` if there is no run, if the unit was not counted, or if the runs are unlike or of different commands and
/// `is_forced` does not say to go on.
pub fn compare(
    baseline: &[LedgerRow],
    rows: &[LedgerRow],
    unit: Unit,
    view: ViewConfig,
    is_forced: bool,
) -> Result<Comparison> {
    let newest = |rows: &[LedgerRow], what: &str| -> Result<LedgerRow> {
        let last = runs(rows).pop().ok_or_else(|| Error::config(format!("the {what} has no run")))?;
        check_counted(&last, unit)?;
        Ok(last[0].clone())
    };
    let (row, row_of_baseline) = (newest(rows, "ledger to compare")?, newest(baseline, "baseline")?);
    let is_alike = |run: &Vec<&LedgerRow>| run[0].command == row.command;
    let (mut of_rows, mut of_baseline) = (runs(rows), runs(baseline));
    of_rows.retain(is_alike);
    if of_baseline.iter().any(is_alike) {
        of_baseline.retain(is_alike);
    } else if !is_forced {
        let (own, other) = (command_of(&row), command_of(&row_of_baseline));
        return Err(Error::Config {
            message: format!("the baseline has no run of {own} to compare with: its last one is of {other}"),
            hint: Some(FORCE.into()),
        });
    }
    let mut left_out = Vec::new();
    let run = last_in_ratio(of_rows, unit, view, &mut left_out);
    let baseline = last_in_ratio(of_baseline, unit, view, &mut left_out);
    let pair = match (baseline, run) {
        (Some(baseline), Some(run)) => Some(pair(baseline, run, view, is_forced)?),
        _ => None,
    };
    Ok(Comparison { unit, left_out, pair })
}

const FORCE: &str = "measure both in the same way; --force compares them nevertheless, and says so";

/// The last run that can be in a ratio, and its units of work.
fn last_in_ratio<'a>(
    runs: Vec<Vec<&'a LedgerRow>>,
    unit: Unit,
    view: ViewConfig,
    left_out: &mut Vec<String>,
) -> Option<(Vec<&'a LedgerRow>, f64)> {
    runs.into_iter().rev().find_map(|run| match units(&run, unit, view) {
        Ok(n_units) => Some((run, n_units)),
        Err(why) => {
            left_out.push(why);
            None
        }
    })
}

fn pair(
    (baseline, n_baseline): (Vec<&LedgerRow>, f64),
    (run, n_run): (Vec<&LedgerRow>, f64),
    view: ViewConfig,
    is_forced: bool,
) -> Result<Pair> {
    let first = baseline[0];
    let unlike = unlike(&baseline, &run);
    if !unlike.is_empty() && !is_forced {
        return Err(Error::Config {
            message: format!("run `{}` is not like run `{}`: {}", run[0].run_id, first.run_id, unlike.join("; ")),
            hint: Some(FORCE.into()),
        });
    }
    let pinned: Vec<LedgerRow> = run
        .iter()
        .map(|row| LedgerRow { pue: first.pue.clone(), intensity: first.intensity.clone(), ..(*row).clone() })
        .collect();
    let pinned: Vec<&LedgerRow> = pinned.iter().collect();
    let (baseline_report, run_report) = (report_of(&baseline, view), report_of(&pinned, view));
    let kwh_per_unit = [baseline_report.totals.kwh.scale(1.0 / n_baseline), run_report.totals.kwh.scale(1.0 / n_run)];
    let g_per_unit = [baseline_report.totals.g().scale(1.0 / n_baseline), run_report.totals.g().scale(1.0 / n_run)];
    let [before, after] = kwh_per_unit.map(|kwh| kwh.mid());
    Ok(Pair {
        change_ratio: (0.0 < before).then(|| after / before - 1.0),
        kwh_per_unit,
        g_per_unit,
        stages: stages(&baseline_report, n_baseline, &run_report, n_run),
        unlike,
        notes: notes(first, run[0]),
        baseline: baseline_report,
        run: run_report,
    })
}

fn notes(first: &LedgerRow, second: &LedgerRow) -> Vec<String> {
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
    for row in [first, second] {
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
