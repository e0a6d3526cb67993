//! Which runs can be held against each other, and why others cannot.

use tamis_schemas::footprint::{LedgerRow, ViewConfig};

use super::totals::Totals;
use super::unit::Unit;
use crate::{Error, Result};

/// Units of work of a run, which its energy can be divided by; or why it is in no ratio.
pub(super) fn units(run: &[&LedgerRow], unit: Unit, view: ViewConfig) -> Result<f64, String> {
    let first = run[0];
    let id = &first.run_id;
    if read_nothing(run) {
        return Err(format!("`{id}` read no rows"));
    }
    if let Some(why) = unmetered(run, view) {
        return Err(format!("`{id}` {why}"));
    }
    match unit.counted(&first.run) {
        Some(n_units) if 0.0 < n_units => Ok(n_units),
        Some(_) => Err(format!("`{id}` has 0 of its {unit}")),
        None => Err(format!("`{id}` did not count its {unit}")),
    }
}

/// Why the energy of a run is not known.
pub(super) fn unmetered(run: &[&LedgerRow], view: ViewConfig) -> Option<String> {
    if run.len() as u32 != run[0].rows_of_run {
        return Some("lacks rows".into());
    }
    let totals = Totals::of(run, view);
    let why: Vec<String> = totals.missing().map(|total| format!("{}: {}", total.name, total.source)).collect();
    match &why[..] {
        [] if totals.is_known() => None,
        [] => Some("was not metered: it has no components".into()),
        _ => Some(format!("was not metered: {}", why.join("; "))),
    }
}

/// A run that counts no such unit at all is asked for the wrong one.
///
/// # Errors
/// `Error::Config` with a word about `--per`.
pub(super) fn check_counted(run: &[&LedgerRow], unit: Unit) -> Result<()> {
    if read_nothing(run) || unit.counted(&run[0].run).is_some() {
        return Ok(());
    }
    Err(Error::Config {
        message: format!("run `{}` did not count its {unit}", run[0].run_id),
        hint: Some("choose another unit with --per".into()),
    })
}

fn read_nothing(run: &[&LedgerRow]) -> bool {
    run[0].run.docs_in == Some(0)
}

/// What was run, for people.
pub(super) fn command_of(row: &LedgerRow) -> String {
    row.command.as_ref().map_or_else(|| "a command that its rows do not name".into(), |name| format!("`tamis {name}`"))
}

/// In what the figures of two runs are not made alike.
pub(super) fn unlike(one: &[&LedgerRow], other: &[&LedgerRow]) -> Vec<String> {
    let (first, second) = (one[0], other[0]);
    let mut unlike = Vec::new();
    if first.command != second.command {
        unlike.push(format!("{} instead of {}", command_of(second), command_of(first)));
    }
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
