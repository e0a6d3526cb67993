//! `emissions.csv` as `CodeCarbon` 3.3.2 writes and reads it: 38 columns, one row a run; and its file of tasks, one row a stage.
//!
//! Its reader compares the header: one column more, and it puts the file away. So bounds and labels are not in it, nor are disks,
//! the network and embodied emissions, for which it has no column: `energy_consumed` is processor, devices and memory, by best
//! guess. Energy and power hold the PUE, as there. What is not known is an empty cell, which readers of CSV take for no number.

use tamis_schemas::footprint::{Component, LedgerRow, TASKS, ViewConfig};

use super::place::Place;
use super::totals::{Totals, rows_of_stages, runs};
use crate::footprint::J_PER_KWH;
use crate::footprint::tables::Tables;
use crate::{Error, Result};

/// Columns of `emissions.csv`, in order.
pub const COLUMNS: [&str; 38] = [
    "timestamp",
    "project_name",
    "run_id",
    "experiment_id",
    "duration",
    "emissions",
    "emissions_rate",
    "cpu_power",
    "gpu_power",
    "ram_power",
    "cpu_energy",
    "gpu_energy",
    "ram_energy",
    "energy_consumed",
    "water_consumed",
    "country_name",
    "country_iso_code",
    "region",
    "cloud_provider",
    "cloud_region",
    "os",
    "python_version",
    "codecarbon_version",
    "cpu_count",
    "cpu_model",
    "gpu_count",
    "gpu_model",
    "longitude",
    "latitude",
    "ram_total_size",
    "tracking_mode",
    "cpu_utilization_percent",
    "gpu_utilization_percent",
    "ram_utilization_percent",
    "ram_used_gb",
    "on_cloud",
    "pue",
    "wue",
];

/// Columns that rows of tasks lack; they have `task_name` before all others.
const NOT_OF_TASKS: [&str; 3] = ["experiment_id", "pue", "wue"];

/// The file with a row for the last run of `rows` at its end; `existing` is its text so far.
///
/// # Errors
/// `Error::Config` if there is no run, or if the file has other columns.
pub fn emissions_csv(existing: Option<&str>, rows: &[LedgerRow], project: &str, tables: &Tables) -> Result<String> {
    let run = last_run(rows)?;
    let row = line(values(&run, project, tables).into_iter().map(|(_, value)| value))?;
    continued(existing, &(COLUMNS.join(",") + "\n"), &row)
}

/// The file of tasks with those of the last run of `rows` at its end, its stages; `existing` is its text so far.
///
/// # Errors
/// As [`emissions_csv`].
pub fn tasks_csv(existing: Option<&str>, rows: &[LedgerRow], project: &str, tables: &Tables) -> Result<String> {
    let run = last_run(rows)?;
    let kept = |column: &str| !NOT_OF_TASKS.contains(&column);
    let columns = COLUMNS.into_iter().filter(|column| kept(column)).map(str::to_owned);
    let header = line(std::iter::once("task_name".to_owned()).chain(columns))?;
    let mut lines = String::new();
    for rows in rows_of_stages(&run) {
        let of_row = values(&rows, project, tables).into_iter();
        let of_row = of_row.filter(|(column, _)| kept(column)).map(|(_, value)| value);
        lines += &line(std::iter::once(rows[0].stage.clone()).chain(of_row))?;
    }
    continued(existing, &header, &lines)
}

/// A file with this header, and lines at its end.
fn continued(existing: Option<&str>, header: &str, lines: &str) -> Result<String> {
    let Some(text) = existing.filter(|text| !text.trim().is_empty()) else { return Ok(format!("{header}{lines}")) };
    let first = text.lines().next().unwrap_or_default().trim_end();
    if first != header.trim_end() {
        let n_columns = header.split(',').count();
        return Err(Error::Config {
            message: format!("its columns are not the {n_columns} of CodeCarbon 3.3, in their order: `{first}`"),
            hint: Some("name another file; this one stays as it is".into()),
        });
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{text}{end}{lines}"))
}

fn last_run(rows: &[LedgerRow]) -> Result<Vec<&LedgerRow>> {
    runs(rows).pop().ok_or_else(|| Error::config("the footprint ledger has no run"))
}

fn values(rows: &[&LedgerRow], project: &str, tables: &Tables) -> Vec<(&'static str, String)> {
    let row = rows[0];
    let totals = Totals::of(rows, ViewConfig::Provisioned);
    let Energies { cpu, gpu, ram } = Energies::of(&totals);
    // Memory is in what a meter at the socket reads.
    let consumed = totals.known_kwh().and_then(|_| Some(cpu? + gpu? + ram.unwrap_or(0.0)));
    let emissions_kg = consumed.map(|kwh| kwh * row.intensity.g_per_kwh.mid() / 1e3);
    let is_run = rows.iter().any(|other| other.stage != row.stage) || row.rows_of_run == 1;
    let longest = rows.iter().map(|row| row.wall_seconds).fold(0.0, f64::max);
    let seconds = if is_run { row.run_wall_seconds } else { longest };
    let duration = known(seconds);
    let watts = |kwh: Option<f64>| Some(kwh? * J_PER_KWH / duration?);
    let place = Place::of(row, tables);
    let threads = known(f64::from(row.machine.threads));
    let ram_gb = known(row.machine.ram_bytes as f64 / 1e9);
    let used_gb = row.machine.rss_peak_bytes.map(|bytes| bytes as f64 / 1e9);
    let percent = |part: f64, whole: f64| 100.0 * (part / whole).min(1.0);
    // Of a cluster it is not known how many threads there were.
    let threads_of_run = threads.filter(|_| row.boundary != TASKS);
    let cpu_percent =
        threads_of_run.zip(duration).map(|(threads, seconds)| percent(totals.cpu_seconds, threads * seconds));
    let gpus = row.machine.gpus.len();
    let uses_gpu = totals.components.iter().any(|total| total.name == Component::Gpu);
    let values = [
        row.end_at.trim_end_matches('Z').to_owned(),
        project.to_owned(),
        row.run_id.clone(),
        String::new(),
        number(duration),
        number(emissions_kg),
        number(emissions_kg.zip(duration).map(|(kg, seconds)| kg / seconds)),
        number(watts(cpu)),
        number(watts(gpu)),
        number(watts(ram)),
        number(cpu),
        number(gpu),
        number(ram),
        number(consumed),
        // Water is not looked at.
        String::new(),
        place.country,
        place.iso3,
        String::new(),
        place.provider.clone(),
        place.region,
        std::env::consts::OS.to_owned(),
        String::new(),
        format!("tamis-{} (compat 3.3.2)", row.tamis_version),
        number(threads),
        row.machine.cpu.clone(),
        number(known(gpus as f64)),
        row.machine.gpus.join("; "),
        String::new(),
        String::new(),
        number(ram_gb),
        "process".to_owned(),
        number(cpu_percent),
        number((!uses_gpu).then_some(0.0)),
        number(used_gb.zip(ram_gb).map(|(used, whole)| percent(used, whole))),
        number(used_gb),
        if place.provider.is_empty() { "N" } else { "Y" }.to_owned(),
        number(Some(row.pue.value.mid())),
        String::new(),
    ];
    COLUMNS.into_iter().zip(values).collect()
}

/// What the file has columns for, kWh; none if it is not known.
struct Energies {
    cpu: Option<f64>,
    /// 0 if no device was used.
    gpu: Option<f64>,
    ram: Option<f64>,
}

impl Energies {
    fn of(totals: &Totals) -> Self {
        let find = |name: Component| totals.components.iter().find(|total| total.name == name);
        let kwh = |name: Component| Some(find(name)?.kwh?.mid());
        Self {
            cpu: kwh(Component::Cpu).or_else(|| kwh(Component::Machine)),
            gpu: find(Component::Gpu).map_or(Some(0.0), |gpu| Some(gpu.kwh?.mid())),
            ram: kwh(Component::Ram),
        }
    }
}

/// A figure that is never 0 where it is known.
fn known(value: f64) -> Option<f64> {
    (0.0 < value).then_some(value)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:?}"))
}

fn line(values: impl Iterator<Item = String>) -> Result<String> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let written = writer.write_record(values.collect::<Vec<_>>());
    let bytes = written
        .map_err(|error| error.to_string())
        .and_then(|()| writer.into_inner().map_err(|error| error.to_string()));
    let bytes = bytes.map_err(|error| Error::Invariant(format!("a row is not CSV: {error}")))?;
    String::from_utf8(bytes).map_err(|error| Error::Invariant(format!("a row is not text: {error}")))
}
