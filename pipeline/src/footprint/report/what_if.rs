//! A run that was, elsewhere or otherwise.

use tamis_schemas::footprint::{Component, ComponentRow, FootprintConfig, Interval, LedgerRow, MethodConfig, TASKS};

use crate::footprint::activity::{Cpu, Machine};
use crate::footprint::intensity::{intensity, pue};
use crate::footprint::meter::{Load, ModelSettings, Readings, energy};
use crate::footprint::tables::Tables;
use crate::{Error, Result};

/// What is otherwise. What is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Another region, as in a config: its intensity, and the PUE of its cloud.
    pub region: Option<String>,
    /// Another intensity, grams of `CO2e` per kWh.
    pub intensity_g_per_kwh: Option<f64>,
    /// Another PUE.
    pub pue: Option<f64>,
    /// Another processor family, by its name in the tables, such as `EPYC 9xx5`. CPU seconds stay what they were: a newer processor
    /// needs fewer, and that is not in it.
    pub cpu_family: Option<String>,
}

/// Rows of one run as they would have been.
///
/// # Errors
/// `Error::Config` for a region or a family that is in no table.
pub fn what_if(run: &[&LedgerRow], change: &Change, tables: &Tables) -> Result<Vec<LedgerRow>> {
    let mut rows: Vec<LedgerRow> = run.iter().map(|row| (*row).clone()).collect();
    let settings = FootprintConfig {
        region: change.region.clone(),
        intensity_g_per_kwh: change.intensity_g_per_kwh,
        pue: change.pue,
        ..FootprintConfig::default()
    };
    if change.region.is_some() || change.intensity_g_per_kwh.is_some() {
        let intensity = intensity(&settings, None, (0, 1), tables)?;
        for row in &mut rows {
            row.intensity = intensity.clone();
        }
    }
    let is_cloud = change.region.as_deref().is_some_and(|region| region.contains(':'));
    if change.pue.is_some() || is_cloud {
        let pue = pue(&settings, tables)?;
        for row in &mut rows {
            row.pue = pue.clone();
        }
    }
    if let Some(family) = &change.cpu_family {
        change_cpu(&mut rows, family, tables)?;
    }
    Ok(rows)
}

fn change_cpu(rows: &mut [LedgerRow], family: &str, tables: &Tables) -> Result<()> {
    let found = tables.cpu_families.iter().find(|row| row.name == family).ok_or_else(|| {
        let names: Vec<&str> = tables.cpu_families.iter().map(|row| row.name.as_str()).collect();
        Error::Config {
            message: format!("there is no processor family `{family}` in the tables"),
            hint: Some(format!("one of {}", names.join(", "))),
        }
    })?;
    let Some(first) = rows.first() else { return Ok(()) };
    if first.boundary == TASKS {
        return Err(Error::Config {
            message: format!(
                "run `{}` was on a cluster, of which another processor cannot be put in place",
                first.run_id
            ),
            hint: Some("ask for another region, intensity or PUE, or take a run on one machine".into()),
        });
    }
    let cpu = Cpu {
        vendor: found.vendor.clone(),
        family: found.family,
        model: found.model_first,
        name: found.check_part.clone(),
    };
    let machine = Machine { cpu, ..Machine::of(&first.machine) };
    let load = Load {
        cpu_seconds: rows.iter().map(|row| row.cpu_seconds).sum(),
        machine_cpu_seconds: first.machine_cpu_seconds,
        wall_seconds: first.run_wall_seconds,
        rss_peak_bytes: first.machine.rss_peak_bytes,
        ..Load::default()
    };
    let settings = ModelSettings { method: Some(MethodConfig::SpecFamily), ..ModelSettings::default() };
    let energy = energy(&load, &Readings::default(), &machine, &settings, tables)?;
    let changed = energy.components.iter().filter(|row| matches!(row.name, Component::Cpu | Component::Ram));
    let changed: Vec<&ComponentRow> = changed.collect();
    for row in rows {
        let share = if load.cpu_seconds > 0.0 { row.cpu_seconds / load.cpu_seconds } else { 0.0 };
        let scale = |joules: Option<Interval>| joules.map(|joules| joules.scale(share));
        let part = |of_run: &&ComponentRow| ComponentRow {
            provisioned_j: scale(of_run.provisioned_j),
            dynamic_j: scale(of_run.dynamic_j),
            ..(*of_run).clone()
        };
        let is_other = |row: &ComponentRow| !matches!(row.name, Component::Machine | Component::Cpu | Component::Ram);
        let others: Vec<ComponentRow> = row.components.iter().filter(|row| is_other(row)).cloned().collect();
        row.components = changed.iter().map(part).chain(others).collect();
        row.method = energy.method.into();
        row.machine = machine.row(&row.machine.gpus);
        row.machine.rss_peak_bytes = load.rss_peak_bytes;
    }
    Ok(())
}
