//! `emissions.csv` as `CodeCarbon` 3.3.2 writes and reads it: 38 columns, one row a run; and its file of tasks, one row a stage.
//!
//! Its reader compares the header: one column more, and it puts the file away. So bounds and labels are not in it, nor are disks,
//! the network and embodied emissions, for which it has no column: `energy_consumed` is processor, devices and memory, by best
//! guess. Energy and power hold the PUE, as there.

use tamis_schemas::footprint::{Component, LedgerRow, ViewConfig};

use super::totals::{Totals, runs};
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
    let header = COLUMNS.join(",");
    let existing = existing.filter(|text| !text.trim().is_empty());
    let mut text = match existing {
        Some(text) => {
            if text.lines().next().is_some_and(|line| line.trim_end() != header) {
                return Err(Error::Config {
                    message: "the emissions file has other columns than CodeCarbon 3.3".into(),
                    hint: Some("name another file".into()),
                });
            }
            text.to_owned()
        }
        None => header + "\n",
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text + &line(values(&run, project, tables).into_iter().map(|(_, value)| value))?)
}

/// The file of tasks of the last run of `rows`: its stages.
///
/// # Errors
/// `Error::Config` if there is no run.
pub fn tasks_csv(rows: &[LedgerRow], project: &str, tables: &Tables) -> Result<String> {
    let run = last_run(rows)?;
    let kept = |column: &str| !NOT_OF_TASKS.contains(&column);
    let columns = COLUMNS.into_iter().filter(|column| kept(column)).map(str::to_owned);
    let mut text = line(std::iter::once("task_name".to_owned()).chain(columns))?;
    for row in run {
        let of_row = values(&[row], project, tables).into_iter();
        let of_row = of_row.filter(|(column, _)| kept(column)).map(|(_, value)| value);
        text += &line(std::iter::once(row.stage.clone()).chain(of_row))?;
    }
    Ok(text)
}

/// Name that `CodeCarbon` gives to a file of tasks.
pub fn tasks_file_name(experiment: &str, run_id: &str) -> String {
    format!("emissions_{experiment}_{run_id}.csv")
}

fn last_run(rows: &[LedgerRow]) -> Result<Vec<&LedgerRow>> {
    runs(rows).pop().ok_or_else(|| Error::config("the footprint ledger has no run"))
}

fn values(rows: &[&LedgerRow], project: &str, tables: &Tables) -> Vec<(&'static str, String)> {
    let row = rows[0];
    let totals = Totals::of(rows, ViewConfig::Provisioned);
    let kwh = |names: &[Component]| {
        let found = totals.components.iter().filter(|total| names.contains(&total.name));
        found.filter_map(|total| total.kwh).map(|kwh| kwh.mid()).sum::<f64>()
    };
    let cpu = kwh(&[Component::Cpu, Component::Machine]);
    let (gpu, ram) = (kwh(&[Component::Gpu]), kwh(&[Component::Ram]));
    let consumed = cpu + gpu + ram;
    let emissions_kg = consumed * row.intensity.g_per_kwh.mid() / 1e3;
    let duration = if rows.len() == 1 && row.rows_of_run > 1 { row.wall_seconds } else { row.run_wall_seconds };
    let watts = |kwh: f64| if duration > 0.0 { kwh * J_PER_KWH / duration } else { 0.0 };
    let place = Place::of(row, tables);
    let threads = f64::from(row.machine.threads);
    let capacity = threads * duration;
    let ram_gb = row.machine.ram_bytes as f64 / 1e9;
    let used_gb = row.machine.rss_peak_bytes.unwrap_or(0) as f64 / 1e9;
    let percent = |part: f64, whole: f64| if whole > 0.0 { 100.0 * (part / whole).min(1.0) } else { 0.0 };
    let gpus = row.machine.gpus.len();
    let values = [
        row.end_at.trim_end_matches('Z').to_owned(),
        project.to_owned(),
        row.run_id.clone(),
        String::new(),
        number(duration),
        number(emissions_kg),
        number(if duration > 0.0 { emissions_kg / duration } else { 0.0 }),
        number(watts(cpu)),
        number(watts(gpu)),
        number(watts(ram)),
        number(cpu),
        number(gpu),
        number(ram),
        number(consumed),
        number(0.0),
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
        if gpus > 0 { number(gpus as f64) } else { String::new() },
        row.machine.gpus.join("; "),
        String::new(),
        String::new(),
        number(ram_gb),
        "process".to_owned(),
        number(percent(totals.cpu_seconds, capacity)),
        number(0.0),
        number(percent(used_gb, ram_gb)),
        number(used_gb),
        if place.provider.is_empty() { "N" } else { "Y" }.to_owned(),
        number(row.pue.value.mid()),
        number(0.0),
    ];
    COLUMNS.into_iter().zip(values).collect()
}

/// Where a run was, in the words of the file.
struct Place {
    country: String,
    iso3: String,
    provider: String,
    region: String,
}

impl Place {
    fn of(row: &LedgerRow, tables: &Tables) -> Self {
        let zone = row.intensity.zone.as_str();
        let name = zone.split(' ').next().unwrap_or(zone);
        let (provider, region) = name.split_once(':').unwrap_or(("", ""));
        let of_gcp = || Some(tables.gcp_regions.iter().find(|row| row.region == region)?.iso3.as_str());
        let of_cloud = || {
            let found = tables.cloud_regions.iter().find(|row| row.provider == provider && row.region == region);
            found.map(|row| row.iso3.as_str())
        };
        let iso3 = match provider {
            "" => name,
            "gcp" => of_gcp().unwrap_or_default(),
            _ => of_cloud().unwrap_or_default(),
        };
        let country = tables.country(iso3);
        Self {
            country: country.map(|row| row.country.clone()).unwrap_or_default(),
            iso3: country.map(|row| row.iso3.clone()).unwrap_or_default(),
            provider: provider.to_owned(),
            region: region.to_owned(),
        }
    }
}

fn number(value: f64) -> String {
    // The sum of nothing is -0.
    format!("{:?}", value + 0.0)
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
