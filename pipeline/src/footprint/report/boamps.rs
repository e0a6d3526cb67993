//! Reports in the schema of `BoAmps`, by which Boavizta gathers the energy of computing tasks.

use serde_json::{Value, json};
use tamis_schemas::footprint::{Component, Label, ViewConfig};

use super::text::label_line;
use super::totals::Report;

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

/// The report of a run. Its identity is that of the run, so that the same run is the same report.
pub fn of_report(report: &Report, task: &Task) -> Value {
    let row = &report.row;
    let totals = &report.totals;
    let has_cloud = row.intensity.zone.contains(':');
    let zone = row.intensity.zone.split(' ').next().unwrap_or_default();
    let mut infrastructure = json!({
        "infraType": if has_cloud { "publicCloud" } else { "onPremise" },
        "components": components(report),
    });
    if let Some((provider, _)) = zone.split_once(':') {
        infrastructure["cloudProvider"] = json!(if provider == "gcp" { "google" } else { provider });
    }
    let country = row.intensity.zone.split('(').next_back().unwrap_or_default().trim_end_matches(')');
    let dataset = |usage: &str, docs: Option<u64>, bytes: Option<u64>| {
        let mut value = json!({"dataUsage": usage, "dataType": "text"});
        if let Some(docs) = docs {
            value["dataQuantity"] = json!(docs);
        }
        if let Some(bytes) = bytes {
            value["dataSize"] = json!(bytes as f64 / 1e9);
        }
        value
    };
    json!({
        "header": {
            "licensing": "",
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
            "taskDescription": format!(
                "energy {} kWh (low {}, high {}); {}", totals.kwh.mid(), totals.kwh.low(), totals.kwh.high(), label_line(totals)
            ),
        },
        "measures": [{
            "measurementMethod": format!("tamis {}", row.method),
            "version": row.tamis_version,
            "cpuTrackingMode": row.method,
            "averageUtilizationCpu": utilization(report),
            // In kWh, in spite of the name; with what the site adds.
            "powerConsumption": totals.kwh.mid(),
            "measurementDuration": row.run_wall_seconds,
            "measurementDateTime": date_time(&row.start_at),
        }],
        "system": {"os": std::env::consts::OS},
        "software": {"language": "rust", "version": ""},
        "infrastructure": infrastructure,
        "environment": {
            "country": country,
            "powerSourceCarbonIntensity": row.intensity.g_per_kwh.mid(),
        },
        "quality": quality(report),
    })
}

/// `YYYY-MM-DD HH:MM:SS`.
fn date_time(rfc_3339: &str) -> String {
    rfc_3339.replace('T', " ").trim_end_matches('Z').to_owned()
}

fn components(report: &Report) -> Value {
    let machine = &report.row.machine;
    let mut components = vec![
        json!({"componentName": machine.cpu, "componentType": "cpu", "nbComponent": 1, "manufacturer": machine.cpu_vendor}),
        json!({"componentType": "ram", "nbComponent": 1, "memorySize": (machine.ram_bytes as f64 / 1e9).round() as u64}),
    ];
    components.extend(
        machine.gpus.iter().map(|name| json!({"componentName": name, "componentType": "gpu", "nbComponent": 1})),
    );
    Value::Array(components)
}

fn utilization(report: &Report) -> f64 {
    let capacity = f64::from(report.row.machine.threads) * report.row.run_wall_seconds;
    if capacity > 0.0 { (report.totals.cpu_seconds / capacity).min(1.0) } else { 0.0 }
}

/// `high` is within 10 %, `medium` within 25 %, `low` within 50 %; what is wider is low, too: there is no other word.
fn quality(report: &Report) -> &'static str {
    let kwh = &report.totals.kwh;
    let error = if kwh.mid() > 0.0 { (kwh.high() - kwh.mid()).max(kwh.mid() - kwh.low()) / kwh.mid() } else { 1.0 };
    let is_whole = report
        .totals
        .components
        .iter()
        .all(|total| total.label != Label::Absent || matches!(total.name, Component::Disk | Component::Network));
    match report.view {
        ViewConfig::Provisioned if is_whole && error <= 0.1 => "high",
        ViewConfig::Provisioned if is_whole && error <= 0.25 => "medium",
        _ => "low",
    }
}
