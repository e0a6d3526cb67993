//! All that is said of footprints in words.

use std::fmt::Write;

use tamis_schemas::footprint::{Amounts, BoundConfig, Interval, Label, ScorerChoiceRow, TASKS, ViewConfig};

use super::audit::{Audit, Trend};
use super::avoid::{Applies, Avoided};
use super::compare::{Comparison, Pair};
use super::doctor::Doctor;
use super::gate::Verdict;
use super::right_sized::RightSized;
use super::shift::Shift;
use super::totals::{Report, Totals};
use super::unit::Unit;
use crate::footprint::meter::SensorState;
use crate::footprint::planner::{Basis, Plan, Quantiles};

/// What every report ends with.
pub const STATEMENT: &str =
    "operational estimate with a share of embodied emissions, location-based; not an inventory statement";

/// What every scenario ends with.
pub const REBOUND: &str =
    "scenarios, not taken off what the run used; savings may be spent on larger models or more runs";

/// The report of a run.
pub fn of_report(report: &Report) -> String {
    let row = &report.row;
    let mut out =
        format!("run {}: {} to {}, {} view\n\n", row.run_id, row.start_at, row.end_at, view_name(report.view));
    let totals = &report.totals;
    line(&mut out, "energy", &energy_of(totals, totals));
    line(&mut out, "emissions", &grams_of(totals));
    if report.view == ViewConfig::Provisioned {
        line(&mut out, "  embodied", &grams(&totals.embodied_g));
    }
    let on = match row.boundary.as_str() {
        TASKS => "a cluster".to_owned(),
        _ => format!("{} threads", row.machine.threads),
    };
    line(&mut out, "CPU time", &format!("{:.1} s in {:.1} s on {on}", totals.cpu_seconds, row.run_wall_seconds));
    line(&mut out, "label", &label_line(totals));
    if let Some(shift) = &report.shift {
        line(&mut out, "shift saved", &of_shift(shift));
    }
    if let Some(right_sized) = &report.right_sized {
        line(&mut out, "scorer", &of_right_sized(right_sized));
    }
    for per_unit in &report.per_unit {
        let what = format!("per {}", per_unit.unit);
        line(&mut out, &what, &format!("{}; {}", energy(&per_unit.kwh), grams(&per_unit.g)));
    }
    out += "\ncomponents\n";
    for total in &totals.components {
        let figure = total.kwh.map_or_else(|| "absent".to_owned(), |kwh| energy_like(&kwh, totals.kwh.mid()));
        let _ =
            writeln!(out, "  {:<10} {figure:<38} {:<9}  {}: {}", total.name, total.label, total.method, total.source);
    }
    out += "\nstages\n";
    for stage in &report.stages {
        let share =
            ratio(&stage.totals, totals).map_or_else(|| "-".to_owned(), |share| format!("{:.1}", 100.0 * share));
        let cpu = format!("{:.1} CPU s", stage.totals.cpu_seconds);
        let (energy, moved) = (energy_of(&stage.totals, totals), moved(&stage.amounts));
        let _ = writeln!(out, "  {:<18} {share:>5} %  {cpu:>12}  {energy}{moved}", stage.stage);
    }
    let intensity = &row.intensity;
    let year = intensity.year.map_or_else(String::new, |year| format!(", {year}"));
    let _ = writeln!(
        out,
        "\nintensity {} g/kWh, {} signal: {}{year}, {} ({})",
        bounds(&intensity.g_per_kwh, 1.0, ""),
        intensity.signal.name(),
        intensity.zone,
        intensity.source,
        intensity.label
    );
    let _ = writeln!(out, "PUE {} ({}): {}", bounds(&row.pue.value, 1.0, ""), row.pue.label, row.pue.source);
    for note in notes(report) {
        let _ = writeln!(out, "note: {note}");
    }
    out + STATEMENT + "\n"
}

/// Which of two scorers was chosen, and what that saved.
pub fn of_right_sized(right_sized: &RightSized) -> String {
    let ScorerChoiceRow { smaller, larger, is_smaller, sample_docs, agreeing_docs, .. } = &right_sized.choice;
    let agreement = format!("they say the same of {agreeing_docs} of {sample_docs} documents");
    match &right_sized.saved {
        Some(saved) => {
            let (verb, sign) = if saved.kwh < 0.0 { ("costs", -1.0) } else { ("saves", 1.0) };
            format!(
                "{smaller} in place of {larger}: {agreement}; {verb} about {:.1} CPU s, {}, {}",
                sign * saved.cpu_seconds,
                energy_mid(sign * saved.kwh),
                grams_mid(sign * saved.g)
            )
        }
        None if *is_smaller => format!("{smaller} in place of {larger}: {agreement}"),
        None => format!("{larger}, which {smaller} does not say enough of: {agreement}"),
    }
}

/// What a start saved, or why that is not known.
pub fn of_shift(shift: &Shift) -> String {
    match shift {
        Shift::Known(saved) => {
            let sign = if saved.g < 0.0 { "-" } else { "" };
            format!(
                "{sign}{}: {:.0} g/kWh at once, {:.0} g/kWh at the start that was chosen, as it came to pass ({} signal)",
                grams_mid(saved.g.abs()),
                saved.at_once_g_per_kwh,
                saved.as_was_g_per_kwh,
                saved.signal.name()
            )
        }
        Shift::NotFree => "nothing: the run was not free to wait (--start-within)".into(),
        Shift::NotCovered => {
            "not known: the actual intensities do not cover the run, and the same run if it had started at once".into()
        }
        Shift::Unmetered => "not known: neither is the energy of the run".into(),
    }
}

/// `0 % measured, 34 % estimated, 66 % assumed`, and what is absent.
pub fn label_line(totals: &Totals) -> String {
    let [measured, estimated, assumed] = percents(&totals.label_ratios);
    let mut text = format!("{measured} % measured, {estimated} % estimated, {assumed} % assumed");
    let absent: Vec<&str> =
        totals.components.iter().filter(|total| total.label == Label::Absent).map(|total| total.name.name()).collect();
    if !absent.is_empty() {
        text += &format!("; absent, and not in the sum: {}", absent.join(", "));
    }
    text
}

/// What to bear in mind about a run.
pub fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if report.is_incomplete {
        notes.push("rows of this run are missing: figures are too low".to_owned());
    }
    if report.row.contended {
        notes.push("others used the CPUs: wall times are too long, CPU times are not".to_owned());
    }
    if report.row.boundary == TASKS {
        notes.push("the processes of all tasks and of the cluster that they ran in; tasks that failed and what else the cluster has are not in it".to_owned());
    }
    if report.view == ViewConfig::Dynamic {
        notes.push("what was drawn beyond idle; without embodied emissions".to_owned());
    }
    notes
}

/// A comparison.
pub fn of_comparison(comparison: &Comparison) -> String {
    let mut out = match &comparison.pair {
        Some(pair) => of_pair(pair, comparison.unit),
        None => {
            format!("nothing to compare: a side has no run whose energy can be divided by its {}\n", comparison.unit)
        }
    };
    left_out(&mut out, &comparison.left_out);
    out
}

fn of_pair(pair: &Pair, unit: Unit) -> String {
    let Pair { baseline, run, kwh_per_unit, g_per_unit, .. } = pair;
    let mut out = format!("run {} against {}, per {unit}\n\n", run.row.run_id, baseline.row.run_id);
    for why in &pair.unlike {
        let _ = writeln!(out, "WARNING: not alike, compared because it was forced: {why}");
    }
    line(&mut out, "baseline", &format!("{}; {}", energy(&kwh_per_unit[0]), grams(&g_per_unit[0])));
    line(&mut out, "run", &format!("{}; {}", energy(&kwh_per_unit[1]), grams(&g_per_unit[1])));
    let change = pair.change_ratio.map_or_else(
        || "not known: the baseline used nothing".to_owned(),
        |ratio| format!("{:+.1} % of energy per {unit}", 100.0 * ratio),
    );
    line(&mut out, "change", &change);
    line(&mut out, "in total", &format!("{} instead of {}", energy(&run.totals.kwh), energy(&baseline.totals.kwh)));
    out += "\nstages\n";
    for stage in &pair.stages {
        let like_kwh = kwh_per_unit[0].mid();
        let figure = |kwh: Option<f64>| kwh.map_or_else(|| "-".to_owned(), |kwh| energy_mid_like(kwh, like_kwh));
        let change = match (stage.baseline_kwh, stage.run_kwh) {
            (Some(before), Some(after)) if before > 0.0 => format!("{:+.1} %", 100.0 * (after / before - 1.0)),
            _ => String::new(),
        };
        let _ = writeln!(
            out,
            "  {:<18} {:>12} -> {:>12}  {change}",
            stage.stage,
            figure(stage.baseline_kwh),
            figure(stage.run_kwh)
        );
    }
    for note in &pair.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn left_out(out: &mut String, why: &[String]) {
    for why in why {
        let _ = writeln!(out, "left out: {why}");
    }
}

/// An audit.
pub fn of_audit(audit: &Audit) -> String {
    let n_runs = audit.run_ids.len();
    let runs = if n_runs == 1 { "run" } else { "runs" };
    let mut out = format!("{n_runs} {runs}, energy per {}\n\n", audit.unit);
    if let Some(like_kwh) = audit.total.median {
        let _ = writeln!(out, "  {:<18} {:>12} {:>12} {:>9} {:>9}", "stage", "median", "last", "rise", "trend");
        for trend in audit.trends() {
            out += &trend_line(trend, like_kwh);
        }
    }
    left_out(&mut out, &audit.left_out);
    match &audit.run_ids[..] {
        [] => out += "nothing to compare: no run is left\n",
        [run_id] => {
            let _ = writeln!(out, "nothing to compare with: `{run_id}` is the only run");
        }
        _ => {}
    }
    let flagged: Vec<&str> = audit.trends().filter(|trend| trend.is_flagged).map(|trend| trend.name.as_str()).collect();
    if !flagged.is_empty() {
        let _ = writeln!(
            out,
            "regression: {}; `tamis footprint compare` with an earlier run shows where",
            flagged.join(", ")
        );
    }
    out
}

fn trend_line(trend: &Trend, like_kwh: f64) -> String {
    let figure = |kwh: Option<f64>| kwh.map_or_else(|| "-".to_owned(), |kwh| energy_mid_like(kwh, like_kwh));
    let percent = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:+.1} %", 100.0 * ratio));
    let flag = if trend.is_flagged { "  !" } else { "" };
    format!(
        "  {:<18} {:>12} {:>12} {:>9} {:>9}{flag}\n",
        trend.name,
        figure(trend.median),
        figure(trend.kwh_per_unit.last().copied()),
        percent(trend.last_rise_ratio),
        percent(trend.trend_ratio)
    )
}

/// What a gate says.
pub fn of_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Within => "within the budget\n".to_owned(),
        Verdict::OverBudget(breaches) => {
            let mut out = String::new();
            for breach in breaches {
                let bound = match breach.bound {
                    BoundConfig::Low => "lower bound",
                    BoundConfig::Mid => "best guess",
                    BoundConfig::High => "upper bound",
                };
                let was = bounds(&breach.was, 1.0, "");
                let _ = writeln!(
                    out,
                    "over budget: {was} {}, and the {bound} may be {} at most",
                    breach.limit_of, breach.limit
                );
            }
            out
        }
        Verdict::Unmetered(reasons) => {
            let mut out = String::new();
            for reason in reasons {
                let _ = writeln!(out, "unmetered: {reason}");
            }
            out + "`tamis footprint doctor` says which meters there are\n"
        }
    }
}

/// Scenarios.
pub fn of_avoided(avoided: &Avoided) -> String {
    let own = avoided.own_kwh.zip(avoided.own_g);
    let own = own.map_or_else(|| "not known".to_owned(), |(kwh, g)| format!("{}; {}", energy(&kwh), grams(&g)));
    let mut out = format!("the run itself: {own}\n");
    for item in &avoided.items {
        let figure = match item.applies {
            Applies::No => "nothing".to_owned(),
            Applies::Unknown => format!("0 to {}; 0 to {}", energy_mid(item.kwh.high()), grams_mid(item.g.high())),
            Applies::Yes => format!("{}; {}, and 0 if an assumption fails", energy(&item.kwh), grams(&item.g)),
        };
        let _ = writeln!(out, "\n{}: {figure}", item.name);
        if let Some(hours) = item.hours {
            let _ = writeln!(out, "  {hours:.1} hours of work");
        }
        for assumption in &item.assumptions {
            let _ = writeln!(out, "  assumed: {assumption}");
        }
    }
    match avoided.payback_ratio {
        Some(ratio) => {
            let _ = writeln!(out, "\npayback: the run used {} of the least that sure scenarios save", times(ratio));
        }
        None => out += "\npayback: none that is sure\n",
    }
    out + REBOUND + "\n"
}

fn times(ratio: f64) -> String {
    if ratio < 1.0 { format!("{:.2} %", 100.0 * ratio) } else { format!("{ratio:.1} times") }
}

/// Meters.
pub fn of_doctor(doctor: &Doctor) -> String {
    let mut out = String::from("meters\n");
    for sensor in &doctor.sensors {
        let _ = writeln!(out, "  {:<10} {}: {}", sensor.name, sensor.measures, sensor.state);
        if let Some(fix) = &sensor.fix {
            let _ = writeln!(out, "  {:<10} {fix}", "");
        }
    }
    let machine = &doctor.machine;
    let name = if machine.cpu.name.is_empty() { "unknown processor" } else { &machine.cpu.name };
    let guest = if machine.is_guest { ", a guest" } else { "" };
    let _ = writeln!(
        out,
        "\nmachine\n  {name}, family {} model {}, {} threads, {:.1} GB{guest}",
        machine.cpu.family,
        machine.cpu.model,
        machine.threads,
        machine.ram_bytes as f64 / 1e9
    );
    let family = doctor.cpu_family.as_deref().unwrap_or("not in the tables");
    let _ = writeln!(out, "  processor family: {family}");
    let tdp = doctor.tdp_w.map_or_else(|| "not in the tables".to_owned(), |watts| format!("{watts} W"));
    let _ = writeln!(out, "  thermal design power: {tdp}");
    if let Some(percent) = doctor.contention_percent {
        let _ = writeln!(out, "  some task waits for a CPU in {percent:.0} % of the time");
    }
    out += "\ncounters\n";
    for (name, is_there) in &doctor.counters {
        let _ = writeln!(out, "  {name}: {}", if *is_there { "yes" } else { "absent" });
    }
    let _ = writeln!(out, "\na run goes by: {}", doctor.method);
    let has_meter = doctor.sensors.iter().any(|sensor| sensor.state == SensorState::Usable);
    if !has_meter {
        out += "there is no meter: energy is estimated, and never measured\n";
    }
    for line in &doctor.old_rows {
        let _ = writeln!(out, "old factors: {line}");
    }
    out
}

/// What a run will use.
pub fn of_plan(plan: &Plan) -> String {
    let Plan::Known(prediction) = plan else {
        return "what the run will use is not known: no earlier run in the ledger counted its bytes\n".to_owned();
    };
    let basis = match prediction.basis {
        Basis::SameConfig => "with this config on this machine",
        Basis::SameMachine => "with other configs on this machine",
        Basis::Other => "on other machines (times may be far off)",
    };
    let runs = if prediction.n_runs == 1 { "run" } else { "runs" };
    let growth = if prediction.is_in_proportion {
        "in proportion to the bytes of input"
    } else {
        "of several sizes, which tell what grows with the input"
    };
    let mut out = format!("by {} earlier {runs} {basis}, {growth}; p50, p90\n\n", prediction.n_runs);
    let _ = writeln!(out, "  {:<18} {:>18} {:>18} {:>24}", "stage", "seconds", "CPU seconds", "energy");
    for stage in prediction.stages.iter().chain([&prediction.run]) {
        let pair = |of: &Quantiles| format!("{:.1}, {:.1}", of.p50, of.p90);
        let like_kwh = prediction.run.kwh_p50.mid();
        let of = |kwh: &Interval| energy_mid_like(kwh.mid(), like_kwh);
        let energy = format!("{}, {}", of(&stage.kwh_p50), of(&stage.kwh_p90));
        let (wall, cpu) = (pair(&stage.wall_seconds), pair(&stage.cpu_seconds));
        let _ = writeln!(out, "  {:<18} {wall:>18} {cpu:>18} {energy:>24}", stage.name);
    }
    out
}

/// Energy of some rows, in the unit that suits those of the whole; or that it is not known, and what the rest used.
pub fn energy_of(totals: &Totals, whole: &Totals) -> String {
    let figure = energy_like(&totals.kwh, whole.kwh.mid());
    if totals.is_known() {
        figure
    } else if 0.0 < totals.kwh.high() {
        format!("not known; {figure} without what is absent")
    } else {
        "not known".to_owned()
    }
}

/// Emissions of some rows, or that they are not known.
pub fn grams_of(totals: &Totals) -> String {
    totals.known_g().map_or_else(|| "not known".to_owned(), |g| grams(&g))
}

/// Energy with bounds, in the unit that suits it.
pub fn energy(kwh: &Interval) -> String {
    energy_like(kwh, kwh.mid())
}

/// Energy with bounds, in the unit that suits another one: parts have the unit of the whole.
pub fn energy_like(kwh: &Interval, like_kwh: f64) -> String {
    let (factor, unit) = energy_unit(like_kwh);
    bounds(kwh, factor, unit)
}

fn energy_mid(kwh: f64) -> String {
    energy_mid_like(kwh, kwh)
}

fn energy_mid_like(kwh: f64, like_kwh: f64) -> String {
    let (factor, unit) = energy_unit(like_kwh);
    format!("{}{unit}", digits(kwh * factor))
}

fn energy_unit(kwh: f64) -> (f64, &'static str) {
    if kwh >= 1.0 {
        (1.0, " kWh")
    } else if kwh >= 1e-4 {
        (1e3, " Wh")
    } else {
        (super::super::J_PER_KWH, " J")
    }
}

/// Emissions with bounds, in the unit that suits them.
pub fn grams(g: &Interval) -> String {
    let (factor, unit) = gram_unit(g.mid());
    bounds(g, factor, unit)
}

fn grams_mid(g: f64) -> String {
    let (factor, unit) = gram_unit(g);
    format!("{}{unit}", digits(g * factor))
}

fn gram_unit(g: f64) -> (f64, &'static str) {
    if g >= 1e6 {
        (1e-6, " t CO2e")
    } else if g >= 1e3 {
        (1e-3, " kg CO2e")
    } else if g >= 0.1 {
        (1.0, " g CO2e")
    } else {
        (1e3, " mg CO2e")
    }
}

fn bounds(interval: &Interval, factor: f64, unit: &str) -> String {
    let [low, mid, high] = [interval.low(), interval.mid(), interval.high()].map(|value| digits(value * factor));
    if low == high { format!("{mid}{unit}") } else { format!("{mid}{unit} ({low} to {high})") }
}

/// Three significant digits.
fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    format!("{value:.*}", (2 - magnitude).clamp(0, 9) as usize)
}

/// Whole percents that add up to 100, or to 0: the remainder goes to the largest.
fn percents(ratios: &[f64; 3]) -> [i64; 3] {
    let mut percents = ratios.map(|ratio| (100.0 * ratio).round() as i64);
    let sum: i64 = percents.iter().sum();
    let largest = (0..3).max_by(|one, other| ratios[*one].total_cmp(&ratios[*other])).unwrap_or(0);
    if sum != 0 {
        percents[largest] += 100 - sum;
    }
    percents
}

/// Bytes that are told of: less would be 0.0 MB.
const LEAST_BYTES: u64 = 50_000;

/// Bytes that a stage has moved, if any: `; 12.3 MB read, 4.0 MB written`.
fn moved(amounts: &Amounts) -> String {
    let Amounts { read_bytes, written_bytes, net_bytes, .. } = *amounts;
    let parts = [(read_bytes, "read"), (written_bytes, "written"), (net_bytes, "on the network")];
    let some = parts.into_iter().filter_map(|(bytes, what)| Some((bytes.filter(|bytes| LEAST_BYTES <= *bytes)?, what)));
    let said: Vec<String> = some.map(|(bytes, what)| format!("{:.1} MB {what}", bytes as f64 / 1e6)).collect();
    if said.is_empty() { String::new() } else { format!("; {}", said.join(", ")) }
}

/// Share of a part, if both are known.
fn ratio(part: &Totals, whole: &Totals) -> Option<f64> {
    let (part, whole) = (part.known_kwh()?.mid(), whole.known_kwh()?.mid());
    (0.0 < whole).then(|| part / whole)
}

/// As in `--view`.
pub fn view_name(view: ViewConfig) -> &'static str {
    match view {
        ViewConfig::Provisioned => "provisioned",
        ViewConfig::Dynamic => "dynamic",
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name:<30} {value}");
}
