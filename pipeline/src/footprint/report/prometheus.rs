//! Reports as gauges for Prometheus; who writes the file puts them among its others.

use tamis_schemas::footprint::Interval;

use super::totals::Report;

/// One value of a gauge.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Name, with its unit.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Labels, by name.
    pub labels: Vec<(&'static str, String)>,
    /// Value.
    pub value: f64,
}

const ENERGY: (&str, &str) =
    ("tamis_footprint_energy_joules", "Energy of the last run with what the site adds, by stage and component.");
const ABSENT: (&str, &str) = ("tamis_footprint_absent", "1 for a component of the last run whose energy is not known.");
const TOTAL: (&str, &str) = ("tamis_footprint_run_energy_joules", "Energy of the last run with what the site adds.");
const CARBON: (&str, &str) =
    ("tamis_footprint_run_co2e_grams", "Emissions of the last run, embodied ones included in the provisioned view.");
const CPU: (&str, &str) = ("tamis_footprint_cpu_seconds", "CPU time of the last run, by stage.");
const LABELS: (&str, &str) =
    ("tamis_footprint_label_ratio", "Share of the energy of the last run that is measured, estimated or assumed.");
const INTENSITY: (&str, &str) =
    ("tamis_footprint_intensity_grams_per_kwh", "Carbon intensity that the last run went by.");

/// Gauges of a run. Values of one name follow each other, as the text format wants it. What is not known has none.
pub fn gauges(report: &Report) -> Vec<Gauge> {
    let joules = |kwh: f64| kwh * crate::footprint::J_PER_KWH;
    let view = super::text::view_name(report.view);
    let mut gauges = Vec::new();
    let mut push = |(name, help): (&'static str, &'static str), labels: Vec<(&'static str, String)>, value: f64| {
        gauges.push(Gauge { name, help, labels, value });
    };
    for stage in &report.stages {
        for total in &stage.totals.components {
            if let Some(kwh) = total.kwh {
                let labels = vec![
                    ("stage", stage.stage.clone()),
                    ("component", total.name.to_string()),
                    ("label", total.label.to_string()),
                    ("view", view.to_owned()),
                ];
                push(ENERGY, labels, joules(kwh.mid()));
            }
        }
    }
    for total in report.totals.components.iter().filter(|total| total.kwh.is_none()) {
        push(ABSENT, vec![("component", total.name.to_string())], 1.0);
    }
    for (bound, value) in report.totals.known_kwh().iter().flat_map(of_bounds) {
        push(TOTAL, vec![("bound", bound.to_owned()), ("view", view.to_owned())], joules(value));
    }
    for (bound, value) in report.totals.known_g().iter().flat_map(of_bounds) {
        push(CARBON, vec![("bound", bound.to_owned()), ("view", view.to_owned())], value);
    }
    for stage in &report.stages {
        push(CPU, vec![("stage", stage.stage.clone())], stage.totals.cpu_seconds);
    }
    for (label, ratio) in report.totals.known_label_ratios().into_iter().flat_map(labels) {
        push(LABELS, vec![("label", label.to_owned())], ratio);
    }
    push(INTENSITY, vec![("zone", report.row.intensity.zone.clone())], report.row.intensity.g_per_kwh.mid());
    gauges
}

fn of_bounds(interval: &Interval) -> [(&'static str, f64); 3] {
    [("low", interval.low()), ("mid", interval.mid()), ("high", interval.high())]
}

fn labels([measured, estimated, assumed]: [f64; 3]) -> [(&'static str, f64); 3] {
    [("measured", measured), ("estimated", estimated), ("assumed", assumed)]
}
