//! Reports as Markdown, for a pull request or a data card.

use std::fmt::Write;

use super::text::{
    STATEMENT, energy, energy_like, energy_of, grams, grams_of, label_line, notes, of_right_sized, of_shift, view_name,
};
use super::totals::Report;

/// The report of a run.
pub fn of_report(report: &Report) -> String {
    let row = &report.row;
    let mut out = format!("### Footprint of run `{}`\n\n", cell(&row.run_id));
    let _ = writeln!(
        out,
        "View: {}. Energy {}, emissions {}. {}.\n",
        view_name(report.view),
        energy_of(&report.totals, &report.totals),
        grams_of(&report.totals),
        label_line(&report.totals)
    );
    if !report.per_unit.is_empty() {
        out += "| per | energy | emissions |\n| --- | --- | --- |\n";
        for per_unit in &report.per_unit {
            let _ = writeln!(out, "| {} | {} | {} |", per_unit.unit, energy(&per_unit.kwh), grams(&per_unit.g));
        }
        out.push('\n');
    }
    out += "| stage | CPU seconds | energy | emissions |\n| --- | ---: | --- | --- |\n";
    for stage in &report.stages {
        let totals = &stage.totals;
        let (energy, grams) = (energy_of(totals, &report.totals), grams_of(totals));
        let _ = writeln!(out, "| {} | {:.1} | {energy} | {grams} |", cell(&stage.stage), totals.cpu_seconds);
    }
    out += "\n| component | energy | label | by |\n| --- | --- | --- | --- |\n";
    for total in &report.totals.components {
        let figure = total.kwh.map_or_else(|| "absent".to_owned(), |kwh| energy_like(&kwh, report.totals.kwh.mid()));
        let _ = writeln!(
            out,
            "| {} | {figure} | {} | {}: {} |",
            total.name,
            total.label,
            total.method,
            cell(&total.source)
        );
    }
    let intensity = &row.intensity;
    let _ = writeln!(
        out,
        "\nIntensity {:.0} g/kWh ({}, {}), PUE {:.2} ({}).",
        intensity.g_per_kwh.mid(),
        cell(&intensity.zone),
        cell(&intensity.source),
        row.pue.value.mid(),
        cell(&row.pue.source)
    );
    if let Some(shift) = &report.shift {
        let _ = writeln!(out, "\nShift saved: {}.", of_shift(shift));
    }
    if let Some(right_sized) = &report.right_sized {
        let _ = writeln!(out, "\nScorer: {}.", cell(&of_right_sized(right_sized)));
    }
    for note in notes(report) {
        let _ = writeln!(out, "\nNote: {note}.");
    }
    let _ = writeln!(out, "\n_{STATEMENT}._");
    out
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
