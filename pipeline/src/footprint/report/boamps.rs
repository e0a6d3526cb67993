//! Reports in the schema of `BoAmps`, by which Boavizta gathers the energy of computing tasks.

use serde_json::{Value, json};
use tamis_schemas::footprint::{TASKS, ViewConfig};

use super::place::Place;
use super::text::label_line;
use super::totals::Report;
use crate::footprint::tables::Tables;

const SPECIFICATION: &str = "https://github.com/Boavizta/BoAmps/tree/main/model";

/// What a ledger does not know of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Who publishes it: `public`, `internal`, `confidential` or `secret`.
    pub confidentiality: String,
    /// Name of the project.
    pub project: String,
}

impl Default for Task {
    fn default() -> Self {
        Self { confidentiality: "internal".into(), project: "tamis".into() }
    }
}

/// The report of a run. Its identity is that of the run, so that the same run is the same report. What is not known is left out,
/// also the energy, which the schema wants: none is better than one that is too low.
pub fn of_report(report: &Report, task: &Task, tables: &Tables) -> Value {
    let row = &report.row;
    let totals = &report.totals;
    let place = Place::of(row, tables);
    let provider = if place.provider == "gcp" { "google" } else { &place.provider };
    let infrastructure = known(json!({
        "infraType": if place.provider.is_empty() { "onPremise" } else { "publicCloud" },
        "cloudProvider": text(provider),
        "components": components(report),
    }));
    let dataset = |usage: &str, docs: Option<u64>, bytes: Option<u64>| {
        known(json!({
            "dataUsage": usage,
            "dataType": "text",
            "dataQuantity": docs,
            "dataSize": bytes.map(|bytes| bytes as f64 / 1e9),
        }))
    };
    let energy = totals.known_kwh().map_or_else(
        || "energy not known".to_owned(),
        |kwh| format!("energy {} kWh (low {}, high {})", kwh.mid(), kwh.low(), kwh.high()),
    );
    json!({
        "header": {
            "formatVersion": "0.1",
            "formatVersionSpecificationUri": SPECIFICATION,
            "reportId": row.run_id,
            "reportDatetime": date_time(&row.end_at),
            "reportStatus": "final",
            "publisher": {"projectName": task.project, "confidentialityLevel": task.confidentiality},
        },
        "task": {
            "taskStage": "preprocessing",
            "taskFamily": "text deduplication and selection",
            "algorithms": [{"algorithmType": "data preparation", "algorithmName": "tamis", "framework": "tamis",
                "frameworkVersion": row.tamis_version}],
            "dataset": [
                dataset("input", row.run.docs_in, row.run.bytes_in),
                dataset("output", row.run.docs_out, row.run.bytes_out),
            ],
            "taskDescription": format!("{energy}; {}", label_line(totals)),
        },
        "measures": [known(json!({
            "measurementMethod": format!("tamis {}", row.method),
            "version": row.tamis_version,
            "cpuTrackingMode": row.method,
            "averageUtilizationCpu": utilization(report),
            // In kWh, in spite of the name; with what the site adds.
            "powerConsumption": totals.known_kwh().map(|kwh| kwh.mid()),
            "measurementDuration": row.run_wall_seconds,
            "measurementDateTime": date_time(&row.start_at),
        }))],
        "system": {"os": std::env::consts::OS},
        "software": {"language": "rust"},
        "infrastructure": infrastructure,
        "environment": known(json!({
            "country": text(&place.iso3),
            "powerSourceCarbonIntensity": row.intensity.g_per_kwh.mid(),
        })),
        "quality": quality(report),
    })
}

/// An object without the fields that are null.
fn known(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

/// A text; null if it is empty.
fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// `YYYY-MM-DD HH:MM:SS`.
fn date_time(rfc_3339: &str) -> String {
    rfc_3339.replace('T', " ").trim_end_matches('Z').to_owned()
}

fn components(report: &Report) -> Value {
    let machine = &report.row.machine;
    let memory_gb = (0 < machine.ram_bytes).then(|| (machine.ram_bytes as f64 / 1e9).round() as u64);
    let (name, vendor) = (text(&machine.cpu), text(&machine.cpu_vendor));
    let mut components = vec![
        known(json!({"componentName": name, "componentType": "cpu", "nbComponent": 1, "manufacturer": vendor})),
        known(json!({"componentType": "ram", "nbComponent": 1, "memorySize": memory_gb})),
    ];
    components.extend(
        machine.gpus.iter().map(|name| json!({"componentName": name, "componentType": "gpu", "nbComponent": 1})),
    );
    Value::Array(components)
}

fn utilization(report: &Report) -> Option<f64> {
    let capacity = f64::from(report.row.machine.threads) * report.row.run_wall_seconds;
    // Of a cluster it is not known how many threads there were.
    (0.0 < capacity && report.row.boundary != TASKS).then(|| (report.totals.cpu_seconds / capacity).min(1.0))
}

/// `high` is within 10 %, `medium` within 25 %, `low` within 50 %; what is wider is low, too: there is no other word.
fn quality(report: &Report) -> &'static str {
    let kwh = &report.totals.kwh;
    let error = if kwh.mid() > 0.0 { (kwh.high() - kwh.mid()).max(kwh.mid() - kwh.low()) / kwh.mid() } else { 1.0 };
    let is_whole = report.totals.is_known();
    match report.view {
        ViewConfig::Provisioned if is_whole && error <= 0.1 => "high",
        ViewConfig::Provisioned if is_whole && error <= 0.25 => "medium",
        _ => "low",
    }
}
