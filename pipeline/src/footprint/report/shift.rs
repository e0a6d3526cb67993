//! What a chosen start saved against starting at once, by what the grid's intensity was in the end.

use tamis_schemas::footprint::{LedgerRow, Signal};

use super::totals::Report;
use crate::footprint::forecast::{Series, time_seconds};

/// What came of a start that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shift {
    /// It saved something, or cost more.
    Known(Saved),
    /// The run was not free to wait.
    NotFree,
    /// The intensities do not cover the run, and the same run if it had started at once.
    NotCovered,
    /// The energy of the run is not known.
    Unmetered,
}

/// What a chosen start saved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saved {
    /// Grams of `CO2e`; negative if it was the wrong way.
    pub g: f64,
    /// Mean intensity of the run if it had started at once, grams of `CO2e` per kWh.
    pub at_once_g_per_kwh: f64,
    /// Mean intensity of the run as it was.
    pub as_was_g_per_kwh: f64,
    /// What the intensity is a mean of.
    pub signal: Signal,
}

/// Holds the start of a run against starting when it was asked for: energy times the difference of the means.
pub fn shift(report: &Report, actuals: &Series) -> Shift {
    let Some((submitted, started)) = times(&report.row) else { return Shift::NotFree };
    let Some(kwh) = report.totals.known_kwh() else { return Shift::Unmetered };
    let seconds = (report.row.run_wall_seconds.ceil() as i64).max(1);
    let mean = |start: i64| actuals.mean(start, start + seconds);
    match (mean(submitted), mean(started)) {
        (Some(at_once), Some(as_was)) => Shift::Known(Saved {
            g: kwh.mid() * (at_once - as_was),
            at_once_g_per_kwh: at_once,
            as_was_g_per_kwh: as_was,
            signal: actuals.signal,
        }),
        _ => Shift::NotCovered,
    }
}

fn times(row: &LedgerRow) -> Option<(i64, i64)> {
    Some((time_seconds(row.submitted_at.as_deref()?)?, time_seconds(&row.start_at)?))
}
