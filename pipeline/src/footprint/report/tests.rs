use tamis_schemas::footprint::{BoundConfig, Component, ComponentRow, Interval, Label, LedgerRow, ViewConfig};

use super::*;
use crate::footprint::J_PER_KWH;
use crate::footprint::meter::GpuMeter;
use crate::footprint::planner::{Plan, PlanQuestion, predict};
use crate::footprint::tables::Tables;
use crate::footprint::tests::{run, settings};
use crate::footprint::{fixture, intensity};

const PROVISIONED: ViewConfig = ViewConfig::Provisioned;

/// Rows of several runs, one after the other, with CPU times of one stage times a factor.
fn history(factors: &[f64]) -> Vec<LedgerRow> {
    let mut rows = Vec::new();
    for (number, factor) in factors.iter().enumerate() {
        let mut of_run = run(&format!("run {number}"), 1.0);
        scale(&mut of_run[1], *factor);
        rows.extend(of_run);
    }
    rows
}

fn scale(row: &mut LedgerRow, factor: f64) {
    for component in &mut row.components {
        component.provisioned_j = component.provisioned_j.map(|joules| joules.scale(factor));
        component.dynamic_j = component.dynamic_j.map(|joules| joules.scale(factor));
    }
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * other.abs().max(1e-12)
}

#[test]
fn stages_add_up_to_the_run() {
    for view in [PROVISIONED, ViewConfig::Dynamic] {
        let report = report(&run("one", 1.0), None, view).unwrap();
        let sum: Interval = report.stages.iter().map(|stage| stage.totals.kwh).sum();
        let sum_g: Interval = report.stages.iter().map(|stage| stage.totals.g()).sum();
        assert!(near(sum.low(), report.totals.kwh.low()) && near(sum.high(), report.totals.kwh.high()));
        assert!(near(sum_g.mid(), report.totals.g().mid()));
        let [measured, estimated, assumed] = report.totals.label_ratios;
        assert!(near(measured + estimated + assumed, 1.0));
        assert!(report.stages[0].totals.kwh.mid() >= report.stages[1].totals.kwh.mid());
    }
}

#[test]
fn figures_of_a_run() {
    let rows = run("one", 1.0);
    let report = report(&rows, Some("one"), PROVISIONED).unwrap();
    let joules: f64 = rows
        .iter()
        .flat_map(|row| &row.components)
        .filter_map(|row| row.provisioned_j)
        .map(|joules| joules.mid())
        .sum();
    // PUE 1.58 and 44.18 g/kWh; the bounds are products of bounds.
    assert!(near(report.totals.kwh.mid(), joules * 1.58 / J_PER_KWH));
    assert!(near(report.totals.operational_g.mid(), report.totals.kwh.mid() * 44.18));
    assert!(near(report.totals.operational_g.low(), report.totals.kwh.low() * 44.18 * 0.8));
    assert_eq!(report.totals.label, Label::Assumed);
    let per: Vec<(Unit, f64)> = report.per_unit.iter().map(|of| (of.unit, of.n_units)).collect();
    assert_eq!(per, [(Unit::MillionDocs, 2.0), (Unit::Gigabyte, 4.0), (Unit::MillionSurvivorTokens, 600.0)]);
    assert!(near(report.per_unit[0].kwh.mid() * 2.0, report.totals.kwh.mid()));
    assert!(!report.is_incomplete);
    let dynamic = super::report(&rows, None, ViewConfig::Dynamic).unwrap();
    assert!(dynamic.totals.kwh.mid() < report.totals.kwh.mid());
    assert_eq!(dynamic.totals.embodied_g, Interval::ZERO);
}

#[test]
fn a_run_that_is_not_there() {
    let error = report(&run("one", 1.0), Some("two"), PROVISIONED).unwrap_err();
    assert!(matches!(&error, crate::Error::Config { hint: Some(hint), .. } if hint.contains("`one`")), "{error}");
    assert!(report(&[], None, PROVISIONED).is_err());
    let incomplete = report(&run("one", 1.0)[..3], None, PROVISIONED).unwrap();
    assert!(incomplete.is_incomplete && text::of_report(&incomplete).contains("rows of this run are missing"));
}

#[test]
fn what_is_absent_is_not_zero() {
    let mut rows = run("one", 1.0);
    absent(&mut rows[2], Component::Ram);
    let report = report(&rows, None, PROVISIONED).unwrap();
    let ram = report.totals.components.iter().find(|total| total.name == Component::Ram).unwrap();
    assert_eq!((ram.kwh, ram.label, report.totals.label), (None, Label::Absent, Label::Absent));
    assert!(text::label_line(&report.totals).ends_with("absent, and not in the sum: ram"));
    assert!(text::of_report(&report).contains("ram        absent"));
}

fn absent(row: &mut LedgerRow, name: Component) {
    let component = row.components.iter_mut().find(|component| component.name == name).unwrap();
    *component = ComponentRow { provisioned_j: None, dynamic_j: None, label: Label::Absent, ..component.clone() };
}

#[test]
fn what_is_small_does_not_decide_the_label() {
    let mut rows = run("one", 1.0);
    let of_ram = |rows: &mut [LedgerRow], factor: f64| {
        for component in rows.iter_mut().flat_map(|row| &mut row.components) {
            if component.name != Component::Cpu {
                component.provisioned_j = component.provisioned_j.map(|joules| joules.scale(factor));
            }
        }
    };
    // 643 J beside 238 J of the processor: a 60th is 4.3 % of both together, a 40th is 6.3 %.
    of_ram(&mut rows, 1.0 / 60.0);
    assert_eq!(report(&rows, None, PROVISIONED).unwrap().totals.label, Label::Estimated);
    of_ram(&mut rows, 60.0 / 40.0);
    assert_eq!(report(&rows, None, PROVISIONED).unwrap().totals.label, Label::Assumed);
}

#[test]
fn the_text_of_a_report() {
    let text = text::of_report(&report(&run("one", 1.0), None, PROVISIONED).unwrap());
    for expect in [
        "run one: 2026-11-30T10:00:00Z to 2026-11-30T10:02:00Z, provisioned view",
        "0 % measured, 27 % estimated, 73 % assumed",
        "per million documents",
        "per million survivor tokens",
        "cpu ",
        "dedup ",
        "intensity 44.2 (35.3 to 55.2) g/kWh, average signal: FRA, 2024",
        "PUE 1.58 (1.10 to 2.00) (assumed)",
        text::STATEMENT,
    ] {
        assert!(text.contains(expect), "no `{expect}` in\n{text}");
    }
    assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
}

#[test]
fn numbers_have_three_digits_and_a_unit() {
    for (kwh, expect) in [
        (Interval::around(1e-7, 2e-7, 4e-7), "0.720 J (0.360 to 1.44)"),
        (Interval::exact(0.0), "0 J"),
        (Interval::around(0.001, 0.0123, 0.5), "12.3 Wh (1.00 to 500)"),
        (Interval::exact(2e-4), "0.200 Wh"),
        (Interval::exact(1234.0), "1234 kWh"),
    ] {
        assert_eq!(text::energy(&kwh), expect);
    }
    assert_eq!(text::grams(&Interval::exact(2500.0)), "2.50 kg CO2e");
    assert_eq!(text::grams(&Interval::exact(0.0)), "0 mg CO2e");
    assert_eq!(text::grams(&Interval::exact(0.012)), "12.0 mg CO2e");
}

#[test]
fn a_comparison_pins_intensity_and_pue() {
    let baseline = run("base", 1.0);
    let mut other = run("other", 1.0);
    for row in &mut other {
        // The same work on a grid that is said to be ten times cleaner is no saving of energy.
        row.intensity = intensity::given(4.4).unwrap();
        row.pue.value = Interval::exact(1.0);
        scale(row, 0.75);
    }
    let comparison = compare(&baseline, &other, Unit::MillionDocs, PROVISIONED, false).unwrap();
    assert!(near(comparison.change_ratio, -0.25), "{}", comparison.change_ratio);
    assert!(near(comparison.run.totals.operational_g.mid() / comparison.baseline.totals.operational_g.mid(), 0.75));
    assert!(comparison.notes.iter().any(|note| note.contains("intensity and PUE of the baseline")));
    let dedup = comparison.stages.iter().find(|stage| stage.stage == "dedup").unwrap();
    assert!(near(dedup.run_kwh.unwrap() / dedup.baseline_kwh.unwrap(), 0.75));
    assert!(text::of_comparison(&comparison).contains("-25.0 % of energy per million documents"));
}

#[test]
fn unlike_runs_are_not_compared() {
    let baseline = run("base", 1.0);
    for (change, expect) in [
        (
            (|row| row.method = "generic/1".into()) as fn(&mut LedgerRow),
            "method `generic/1` instead of `spec-family/1`",
        ),
        (|row| row.boundary = "machine".into(), "boundary `machine`"),
        (|row| row.tables_hash = "0".repeat(64), "tables of factors `00000000`"),
        (|row| drop(row.components.pop()), "components"),
    ] {
        let mut other = run("other", 1.0);
        for row in &mut other {
            change(row);
        }
        let message = compare(&baseline, &other, Unit::MillionDocs, PROVISIONED, false).unwrap_err().to_string();
        assert!(message.contains(expect) && message.contains("`other`") && message.contains("`base`"), "{message}");
        let forced = compare(&baseline, &other, Unit::MillionDocs, PROVISIONED, true).unwrap();
        assert!(text::of_comparison(&forced).contains("WARNING: not alike"));
    }
    let error = compare(&baseline, &run("other", 1.0), Unit::Label, PROVISIONED, false).unwrap_err();
    assert!(error.to_string().contains("did not count its label"), "{error}");
}

#[test]
fn an_audit_sees_a_fifth_more() {
    let options = AuditOptions::default();
    let wobble = [1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.02];
    let steady = audit(&history(&wobble), &options).unwrap();
    assert!(!steady.total.is_flagged && steady.stages.iter().all(|trend| !trend.is_flagged));
    // The last run's `dedup` takes a fifth more: the stage is flagged; the run as a whole rises by less than the limit.
    let jump = audit(&history(&[1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.2]), &options).unwrap();
    let dedup = jump.stages.iter().find(|trend| trend.name == "dedup").unwrap();
    assert!(dedup.is_flagged && (dedup.last_rise_ratio - 0.2).abs() < 0.01, "{dedup:?}");
    assert!(!jump.total.is_flagged, "{:?}", jump.total);
    assert!(text::of_audit(&jump).contains("regression: dedup;"));
    // Slowly, 4 % a run: no run is much above those before it in the end, but the trend is.
    let slow: Vec<f64> = (0..8).map(|number| 1.0 + 0.04 * f64::from(number)).collect();
    let creeping = audit(&history(&slow), &options).unwrap();
    let dedup = creeping.stages.iter().find(|trend| trend.name == "dedup").unwrap();
    assert!(dedup.is_flagged && dedup.trend_ratio > 0.2, "{dedup:?}");
    // One wild run among many is not the trend.
    let wild = audit(&history(&[1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0]), &options).unwrap();
    assert!(wild.stages.iter().all(|trend| !trend.is_flagged && trend.slope.abs() < 1e-12));
    assert_eq!(
        audit(&history(&slow), &AuditOptions { last: 3, ..options }).unwrap().run_ids,
        ["run 5", "run 6", "run 7"]
    );
}

#[test]
fn an_audit_leaves_out_what_is_unlike() {
    let mut rows = history(&[1.0, 1.0, 1.0]);
    rows[1].run.docs_in = Some(1);
    for row in &mut rows[..4] {
        row.method = "generic/1".into();
    }
    let audit = audit(&rows, &AuditOptions::default()).unwrap();
    assert_eq!(audit.run_ids, ["run 1", "run 2"]);
    assert!(audit.left_out.len() == 1 && audit.left_out[0].contains("`run 0`: method"), "{:?}", audit.left_out);
    assert!(audit.total.trend_ratio.abs() < 1e-12);
}

#[test]
fn a_gate_has_three_answers() {
    let rows = run("one", 1.0);
    let g = report(&rows, None, PROVISIONED).unwrap().totals.g();
    let budget = |max_g, bound| Budget { max_g: Some(max_g), bound, ..Budget::default() };
    let between = f64::midpoint(g.mid(), g.high());
    for (budget, code) in [
        (budget(g.high() * 1.001, BoundConfig::High), 0),
        (budget(between, BoundConfig::High), 3),
        (budget(between, BoundConfig::Mid), 0),
        (budget(f64::midpoint(g.low(), g.mid()), BoundConfig::Mid), 3),
        (budget(g.low() * 0.999, BoundConfig::Low), 3),
        (Budget { max_g_per_mdoc: Some(g.high() / 2.0 * 1.001), ..Budget::default() }, 0),
        (Budget { max_g_per_mdoc: Some(g.high() / 2.0 * 0.999), ..Budget::default() }, 3),
        (Budget { require: Some(Label::Assumed), ..budget(1e9, BoundConfig::High) }, 0),
        (Budget { require: Some(Label::Estimated), ..budget(1e9, BoundConfig::High) }, 4),
        (Budget { view: ViewConfig::Dynamic, max_kwh: Some(0.0), ..Budget::default() }, 3),
    ] {
        let verdict = gate(&rows, &budget).unwrap();
        assert_eq!(verdict.exit_code(), code, "{budget:?} {verdict:?}");
        assert!(!text::of_verdict(&verdict).is_empty());
    }
    assert!(gate(&rows, &Budget::default()).is_err());
    assert!(gate(&rows, &budget(f64::NAN, BoundConfig::High)).is_err());
    assert!(gate(&[], &budget(1.0, BoundConfig::High)).is_err());
}

#[test]
fn a_gate_before_a_run() {
    let rows = run("one", 1.0);
    let row = &rows[0];
    let of_run = report(&rows, None, PROVISIONED).unwrap();
    let question = PlanQuestion {
        input_bytes: 8_000_000_000,
        config_hash: &row.config_hash,
        machine: &row.machine.fingerprint,
        view: PROVISIONED,
    };
    let plan = predict(&rows, &question);
    let code = |plan: &Plan, max_g: f64, docs_in| {
        let budget = Budget { max_g: Some(max_g), max_g_per_mdoc: Some(max_g / 2.0), ..Budget::default() };
        gate_plan(plan, &row.intensity, docs_in, &budget).unwrap().exit_code()
    };
    // Twice the bytes of the earlier run, embodied emissions included.
    let expect = 2.0 * of_run.totals.g().high();
    assert_eq!(code(&plan, expect * 1.001, Some(4_000_000)), 0);
    assert_eq!(code(&plan, expect * 0.999, Some(4_000_000)), 3);
    assert_eq!(code(&plan, expect * 1.001, None), 4);
    assert_eq!(code(&Plan::Unknown, 1e9, Some(4_000_000)), 4);
}

#[test]
fn a_gate_that_cannot_see_stays_shut() {
    let roomy = Budget { max_g: Some(1e9), ..Budget::default() };
    for (name, code) in [(Component::Cpu, 4), (Component::Ram, 4), (Component::Network, 0)] {
        let mut rows = run("one", 1.0);
        for row in &mut rows {
            absent(row, name);
        }
        assert_eq!(gate(&rows, &roomy).unwrap().exit_code(), code, "{name}");
        assert_eq!(gate(&rows, &Budget { require: Some(Label::Assumed), ..roomy }).unwrap().exit_code(), 4, "{name}");
    }
    assert_eq!(gate(&run("one", 1.0)[..2], &roomy).unwrap().exit_code(), 4);
    let mut rows = run("one", 1.0);
    for row in &mut rows {
        row.run.docs_in = None;
    }
    let per_doc = Budget { max_g_per_mdoc: Some(1e9), ..Budget::default() };
    assert_eq!(gate(&rows, &per_doc).unwrap().exit_code(), 4);
}

#[test]
fn a_run_elsewhere() {
    let rows = run("one", 1.0);
    let rows: Vec<&LedgerRow> = rows.iter().collect();
    let of = |change: &Change| {
        let changed = what_if(&rows, change, Tables::shipped()).unwrap();
        report(&changed, None, PROVISIONED).unwrap()
    };
    let before = of(&Change::default());
    assert_eq!(before.totals, totals::report_of(&rows, PROVISIONED).totals);
    let elsewhere = of(&Change { region: Some("POL".into()), ..Change::default() });
    let intensity_of = |iso3: &str| Tables::shipped().country(iso3).unwrap().g_per_kwh;
    let ratio = elsewhere.totals.operational_g.mid() / before.totals.operational_g.mid();
    assert!(near(ratio, intensity_of("POL") / 44.18));
    assert_eq!(elsewhere.totals.kwh, before.totals.kwh);
    let cloud = of(&Change { region: Some("gcp:europe-west9".into()), ..Change::default() });
    assert!(near(cloud.totals.kwh.mid() / before.totals.kwh.mid(), 1.1 / 1.58));
    let older = of(&Change { cpu_family: Some("EPYC 7xx1".into()), ..Change::default() });
    let cpu = |report: &Report| {
        report.totals.components.iter().find(|total| total.name == Component::Cpu).unwrap().kwh.unwrap()
    };
    let expect = 200.0 * 1.58 + 200.0 / 220.0 * 240.0 * 0.74;
    assert!(near(cpu(&older).mid() * J_PER_KWH / 1.58, expect));
    let error = what_if(&rows, &Change { cpu_family: Some("8086".into()), ..Change::default() }, Tables::shipped());
    assert!(error.unwrap_err().to_string().contains("`8086`"));
}

#[test]
fn another_processor_is_recomputed_exactly() {
    let rows = run("one", 1.0);
    let same = Change { cpu_family: Some("EPYC 9xx5".into()), ..Change::default() };
    let changed = what_if(&rows.iter().collect::<Vec<_>>(), &same, Tables::shipped()).unwrap();
    for (row, changed) in rows.iter().zip(&changed) {
        let mid = |row: &LedgerRow| row.components.iter().map(|row| row.provisioned_j.unwrap().mid()).sum::<f64>();
        assert!(near(mid(row), mid(changed)));
    }
}

#[test]
fn avoided_training_has_the_floor_0() {
    let mut rows = run("one", 1.0);
    for row in &mut rows {
        row.run.tokens_in = Some(1_600_000_000);
    }
    let question = |bound_by| AvoidQuestion {
        training: Some(TrainingQuestion { params: 1e9, epochs: 1.0, runs: 1.0, bound_by, tokens_removed: None }),
        ..AvoidQuestion::default()
    };
    let of = |bound_by| avoid(&rows, &question(bound_by), Tables::shipped()).unwrap();
    let by_epochs = of(BoundBy::Epochs);
    // 10^9 parameters and 10^9 tokens: 5.8 kWh (2.8 to 11.7), times PUE.
    let kwh = by_epochs.items[0].kwh;
    assert!((kwh.mid() / 1.2 - 5.833).abs() < 0.01 && (kwh.low() / 1.1 - 2.833).abs() < 0.01, "{kwh:?}");
    assert!(by_epochs.payback_ratio.unwrap() < 1.0);
    assert!(text::of_avoided(&by_epochs).contains("and 0 if an assumption fails"));
    let by_tokens = of(BoundBy::Tokens);
    assert_eq!((by_tokens.items[0].kwh, by_tokens.payback_ratio), (Interval::ZERO, None));
    assert!(text::of_avoided(&by_tokens).contains("training: nothing"));
    let unknown = of(BoundBy::Unknown);
    assert_eq!(json::of_avoided(&unknown)["items"][0]["applies"], "unknown");
    assert_eq!(unknown.payback_ratio, None);
    let text = text::of_avoided(&unknown);
    assert!(
        text.contains("training: 0 to") && text.contains("payback: none that is sure") && text.contains(text::REBOUND)
    );
    // What a run used is what it used.
    assert_eq!(by_epochs.own_kwh, report(&rows, None, PROVISIONED).unwrap().totals.kwh);
    for row in &mut rows {
        row.run.tokens_in = None;
    }
    assert!(avoid(&rows, &question(BoundBy::Epochs), Tables::shipped()).unwrap_err().to_string().contains("tokens"));
}

#[test]
fn avoided_storage_and_labels() {
    let rows = run("one", 1.0);
    let of = |is_deleted| {
        let storage = StorageQuestion { tier: "s3-standard".into(), years: 2.0, is_deleted, bytes_removed: Some(1e12) };
        let question = AvoidQuestion { storage: Some(storage), ..AvoidQuestion::default() };
        avoid(&rows, &question, Tables::shipped()).unwrap()
    };
    let kwh = of(true).items[0].kwh;
    assert!((kwh.mid() - 2.0 * 17.082 * 1.58).abs() < 1e-6, "{kwh:?}");
    // Embodied: 0.4 kg a terabyte and year, three replicas.
    let g = of(true).items[0].g;
    assert!(near(g.mid(), kwh.mid() * 44.18 + 2.0 * 3.0 * 400.0));
    assert_eq!(of(false).items[0].kwh, Interval::ZERO);
    let labels = LabelQuestion { labels_avoided: 1000.0, seconds_each: Some(18.0), watts: None };
    let question = AvoidQuestion { labels: Some(labels), ..AvoidQuestion::default() };
    let avoided = avoid(&rows, &question, Tables::shipped()).unwrap();
    assert_eq!((avoided.items[0].hours, avoided.items[0].kwh), (Some(5.0), Interval::ZERO));
    let with_watts = AvoidQuestion { labels: Some(LabelQuestion { watts: Some(60.0), ..labels }), ..question };
    assert!(near(avoid(&rows, &with_watts, Tables::shipped()).unwrap().items[0].kwh.mid(), 0.3));
}

#[test]
fn what_the_doctor_says() {
    let doctor = doctor(&fixture("guest-cgroup-v1"), &GpuMeter::none(), &settings(), 2026, Tables::shipped()).unwrap();
    assert_eq!((doctor.method, doctor.cpu_family.as_deref()), ("spec-family/1", Some("EPYC 7xx3")));
    assert_eq!(json::of_doctor(&doctor)["method"], "spec-family/1");
    let text = text::of_doctor(&doctor);
    for expect in
        ["powercap", "a guest has none", "a guest", "there is no meter", "99 % of the time", "old factors: country"]
    {
        assert!(text.contains(expect), "no `{expect}` in\n{text}");
    }
    let metered =
        super::doctor(&fixture("powercap-two-sockets"), &GpuMeter::none(), &settings(), 2026, Tables::shipped());
    assert_eq!(metered.unwrap().method, "powercap/1");
}

#[test]
fn emissions_have_the_columns_of_codecarbon() {
    let rows = run("one", 1.0);
    let first = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    let both = codecarbon::emissions_csv(Some(&first), &run("two", 1.0), "tamis", Tables::shipped()).unwrap();
    let mut reader = csv::Reader::from_reader(both.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), codecarbon::COLUMNS);
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 2);
    let value = |record: &csv::StringRecord, name: &str| {
        record[codecarbon::COLUMNS.iter().position(|column| *column == name).unwrap()].to_owned()
    };
    let number = |name: &str| value(&records[0], name).parse::<f64>().unwrap();
    assert_eq!(value(&records[1], "run_id"), "two");
    assert_eq!(value(&records[0], "country_iso_code"), "FRA");
    assert_eq!(value(&records[0], "tracking_mode"), "process");
    assert!(near(number("cpu_energy") + number("gpu_energy") + number("ram_energy"), number("energy_consumed")));
    assert!(near(number("emissions") / number("energy_consumed"), 0.04418));
    assert!(near(number("cpu_power") * number("duration") / J_PER_KWH, number("cpu_energy")));
    let other = first.replacen("wue", "wue,more", 1);
    assert!(codecarbon::emissions_csv(Some(&other), &rows, "tamis", Tables::shipped()).is_err());
}

/// The files that `tests/footprint/codecarbon_reads.py` has CodeCarbon read.
#[test]
fn emissions_are_what_codecarbon_was_given() {
    let rows = run("one", 1.0);
    let first = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    let both = codecarbon::emissions_csv(Some(&first), &run("two", 1.0), "tamis", Tables::shipped()).unwrap();
    let tasks = codecarbon::tasks_csv(&rows, "tamis", Tables::shipped()).unwrap();
    golden("codecarbon", "emissions.csv", &both);
    golden("codecarbon", "tasks.csv", &tasks);
    let boamps = boamps::of_report(&report(&rows, None, PROVISIONED).unwrap(), &boamps::Task::default());
    golden("codecarbon", "boamps.json", &format!("{boamps:#}\n"));
}

/// Compares with a file of the fixtures.
fn golden(folder: &str, name: &str, text: &str) {
    let expect = std::fs::read_to_string(fixture(folder).path(name)).unwrap_or_default();
    assert_eq!(text, expect, "`{folder}/{name}` of the fixtures is another; look at the change, then replace it");
}

#[test]
fn words_are_what_they_were() {
    let rows = run("one", 1.0);
    let of_run = report(&rows, None, PROVISIONED).unwrap();
    golden("words", "report.txt", &text::of_report(&of_run));
    golden("words", "report.md", &markdown::of_report(&of_run));
    let faster = compare(&rows, &run("two", 0.8), Unit::MillionDocs, PROVISIONED, false).unwrap();
    golden("words", "compare.txt", &text::of_comparison(&faster));
    let worse = audit(&history(&[1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.2]), &AuditOptions::default()).unwrap();
    golden("words", "audit.txt", &text::of_audit(&worse));
    let question = AvoidQuestion {
        training: Some(TrainingQuestion {
            params: 1.2e9,
            epochs: 1.0,
            runs: 1.0,
            bound_by: BoundBy::Unknown,
            tokens_removed: Some(2e8),
        }),
        storage: Some(StorageQuestion {
            tier: "s3-standard".into(),
            years: 1.0,
            is_deleted: true,
            bytes_removed: None,
        }),
        labels: None,
    };
    golden("words", "avoid.txt", &text::of_avoided(&avoid(&rows, &question, Tables::shipped()).unwrap()));
    let over = gate(&rows, &Budget { max_g: Some(0.01), max_kwh: Some(1e-4), ..Budget::default() }).unwrap();
    golden("words", "gate.txt", &text::of_verdict(&over));
    let guest = doctor(&fixture("guest-cgroup-v1"), &GpuMeter::none(), &settings(), 2026, Tables::shipped()).unwrap();
    golden("words", "doctor.txt", &text::of_doctor(&guest));
}

#[test]
fn tasks_add_up_to_the_run() {
    let rows = run("one", 1.0);
    let tasks = codecarbon::tasks_csv(&rows, "tamis", Tables::shipped()).unwrap();
    let mut reader = csv::Reader::from_reader(tasks.as_bytes());
    let headers = reader.headers().unwrap().clone();
    assert_eq!((headers.len(), &headers[0], &headers[1]), (36, "task_name", "timestamp"));
    let at = headers.iter().position(|name| name == "energy_consumed").unwrap();
    let sum: f64 = reader.records().map(|record| record.unwrap()[at].parse::<f64>().unwrap()).sum();
    let run = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    let of_run: f64 = run.lines().nth(1).unwrap().split(',').nth(13).unwrap().parse().unwrap();
    assert!(near(sum, of_run));
    assert_eq!(codecarbon::tasks_file_name("x", "one"), "emissions_x_one.csv");
}

#[test]
fn a_cloud_has_a_country() {
    let mut rows = run("one", 1.0);
    let settings = tamis_schemas::footprint::FootprintConfig { region: Some("aws:eu-west-3".into()), ..settings() };
    let row = intensity::intensity(&settings, None, (0, 1), Tables::shipped()).unwrap();
    for of_run in &mut rows {
        of_run.intensity = row.clone();
    }
    let text = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    assert!(text.contains(",France,FRA,,aws,eu-west-3,"), "{text}");
    let boamps = boamps::of_report(&report(&rows, None, PROVISIONED).unwrap(), &boamps::Task::default());
    assert_eq!(boamps["environment"]["country"], "FRA");
    assert_eq!(boamps["infrastructure"]["cloudProvider"], "aws");
}

#[test]
fn boamps_has_what_its_schema_requires() {
    let report = report(&run("one", 1.0), None, PROVISIONED).unwrap();
    let value = boamps::of_report(&report, &boamps::Task::default());
    for path in [
        "/header/reportDatetime",
        "/header/publisher/confidentialityLevel",
        "/task/taskStage",
        "/task/taskFamily",
        "/task/algorithms/0",
        "/task/dataset/0/dataUsage",
        "/task/dataset/0/dataType",
        "/measures/0/measurementMethod",
        "/measures/0/powerConsumption",
        "/infrastructure/infraType",
        "/infrastructure/components/0/componentType",
        "/infrastructure/components/0/nbComponent",
        "/system/os",
        "/software/language",
        "/environment/country",
    ] {
        assert!(value.pointer(path).is_some(), "no {path}");
    }
    assert_eq!(value["quality"], "low");
    assert_eq!(value["header"]["reportDatetime"], "2026-11-30 10:02:00");
}

#[test]
fn json_markdown_and_gauges_have_the_same_figures() {
    let report = report(&run("one", 1.0), None, PROVISIONED).unwrap();
    let value = json::of_report(&report);
    assert!(near(value["totals"]["kwh"]["mid"].as_f64().unwrap(), report.totals.kwh.mid()));
    assert_eq!(value["totals"]["label"], "assumed");
    assert_eq!(value["stages"].as_array().unwrap().len(), 4);
    let markdown = markdown::of_report(&report);
    assert!(markdown.contains("| dedup | 90.0 |") && markdown.contains("73 % assumed"), "{markdown}");
    let gauges = prometheus::gauges(&report);
    let joules = gauges.iter().filter(|gauge| gauge.name == "tamis_footprint_energy_joules").map(|gauge| gauge.value);
    assert!(near(joules.sum::<f64>(), report.totals.kwh.mid() * J_PER_KWH));
    // Values of one name follow each other.
    let mut names: Vec<&str> = gauges.iter().map(|gauge| gauge.name).collect();
    names.dedup();
    let n_blocks = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n_blocks);
    assert_eq!(json::of_verdict(&Verdict::Within)["verdict"], "within");
    let audit = json::of_audit(&audit(&history(&[1.0, 1.0]), &AuditOptions::default()).unwrap());
    assert_eq!(audit["runs"].as_array().unwrap().len(), 2);
    let comparison = compare(&run("a", 1.0), &run("b", 1.0), Unit::Gigabyte, PROVISIONED, false).unwrap();
    assert_eq!(json::of_comparison(&comparison)["unit"], "gb");
}

#[test]
fn units_by_name() {
    for unit in Unit::ALL {
        assert_eq!(Unit::parse(unit.name()).unwrap(), unit);
    }
    assert!(Unit::parse("row").is_err());
}
