//! Runs against others, against themselves, against a budget.

use super::*;

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
    let pair = comparison.pair.as_ref().unwrap();
    assert!(near(pair.change_ratio.unwrap(), -0.25), "{:?}", pair.change_ratio);
    assert!(near(pair.run.totals.operational_g.mid() / pair.baseline.totals.operational_g.mid(), 0.75));
    assert!(pair.notes.iter().any(|note| note.contains("intensity and PUE of the baseline")));
    let dedup = pair.stages.iter().find(|stage| stage.stage == "dedup").unwrap();
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
    assert!(dedup.is_flagged && (dedup.last_rise_ratio.unwrap() - 0.2).abs() < 0.01, "{dedup:?}");
    assert!(!jump.total.is_flagged, "{:?}", jump.total);
    assert!(text::of_audit(&jump).contains("regression: dedup;"));
    // Slowly, 4 % a run: no run is much above those before it in the end, but the trend is.
    let slow: Vec<f64> = (0..8).map(|number| 1.0 + 0.04 * f64::from(number)).collect();
    let creeping = audit(&history(&slow), &options).unwrap();
    let dedup = creeping.stages.iter().find(|trend| trend.name == "dedup").unwrap();
    assert!(dedup.is_flagged && dedup.trend_ratio.unwrap() > 0.2, "{dedup:?}");
    // One wild run among many is not the trend.
    let wild = audit(&history(&[1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0]), &options).unwrap();
    assert!(wild.stages.iter().all(|trend| !trend.is_flagged && trend.slope.unwrap().abs() < 1e-12));
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
    assert!(audit.total.last_rise_ratio.unwrap().abs() < 1e-12);
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
        command: row.command.as_deref(),
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

/// Rows of a run of another command.
fn run_of(command: Option<&str>, run_id: &str, factor: f64) -> Vec<LedgerRow> {
    let mut rows = run(run_id, factor);
    for row in &mut rows {
        row.command = command.map(str::to_owned);
    }
    rows
}

#[test]
fn runs_are_compared_with_those_of_the_same_command() {
    let baseline = [run("one", 1.0), run_of(Some("select"), "chosen", 3.0)].concat();
    let compared = |rows: &[LedgerRow]| compare(&baseline, rows, Unit::MillionDocs, PROVISIONED, false);
    let pair = compared(&run("two", 0.5)).unwrap().pair.unwrap();
    assert_eq!((pair.baseline.row.run_id.as_str(), pair.run.row.run_id.as_str()), ("one", "two"));
    for (command, expect) in [
        (Some("score"), "no run of `tamis score` to compare with: its last one is of `tamis select`"),
        (None, "no run of a command that its rows do not name to compare with"),
    ] {
        let other = run_of(command, "two", 1.0);
        let error = compared(&other).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--force")), "{error}");
        let forced = compare(&baseline, &other, Unit::MillionDocs, PROVISIONED, true).unwrap();
        let text = text::of_comparison(&forced);
        assert!(text.contains("WARNING: not alike") && text.contains("instead of `tamis select`"), "{text}");
    }
    // Rows that do not name their command are like each other.
    let old = |run_id| run_of(None, run_id, 1.0);
    assert!(compare(&old("a"), &old("b"), Unit::MillionDocs, PROVISIONED, false).unwrap().pair.is_some());

    let rows = [baseline, run("three", 1.0)].concat();
    let audit = audit(&rows, &AuditOptions::default()).unwrap();
    assert_eq!(audit.run_ids, ["one", "three"]);
    assert_eq!(audit.left_out, ["`chosen` is of `tamis select`"]);
    assert_eq!((audit.total.last_rise_ratio, audit.command.as_deref()), (Some(0.0), Some("dedup")));
}

/// A run that found no row, with the energy that it took.
fn empty(run_id: &str) -> Vec<LedgerRow> {
    let mut rows = run(run_id, 0.01);
    for row in &mut rows {
        (row.run.docs_in, row.run.docs_out, row.run.tokens_out) = (Some(0), Some(0), None);
    }
    rows
}

fn blind(run_id: &str) -> Vec<LedgerRow> {
    let mut rows = run(run_id, 1.0);
    for row in &mut rows {
        absent(row, Component::Cpu);
    }
    rows
}

#[test]
fn runs_without_rows_or_without_a_meter_are_in_no_ratio() {
    let options = AuditOptions::default();
    let rows = [run("one", 1.0), empty("two"), blind("three"), run("four", 1.0), empty("five")].concat();
    let audited = audit(&rows, &options).unwrap();
    assert_eq!(audited.run_ids, ["one", "four"]);
    assert!(audited.total.last_rise_ratio.unwrap().abs() < 1e-12 && !audited.is_last_unmetered);
    let text = text::of_audit(&audited);
    for expect in
        ["left out: `two` read no rows", "left out: `three` was not metered: cpu: ", "left out: `five` read no rows"]
    {
        assert!(text.contains(expect), "no `{expect}` in\n{text}");
    }
    // The word for the newest run is that it cannot be seen.
    let unseen = audit(&[run("one", 1.0), run("two", 1.0), blind("three")].concat(), &options).unwrap();
    assert!(unseen.is_last_unmetered && unseen.run_ids == ["one", "two"], "{unseen:?}");
    for unit in Unit::ALL {
        let none = audit(&empty("one"), &AuditOptions { unit, ..options }).unwrap();
        assert!(none.run_ids.is_empty() && text::of_audit(&none).contains("no run is left"), "{none:?}");
        assert_eq!(json::of_audit(&none)["total"]["median"], serde_json::Value::Null);
    }

    let compared = |baseline: &[LedgerRow], rows: &[LedgerRow]| {
        compare(baseline, rows, Unit::MillionDocs, PROVISIONED, false).unwrap()
    };
    let later = compared(&[run("a", 1.0), blind("b")].concat(), &[run("c", 2.0), empty("d")].concat());
    let pair = later.pair.as_ref().unwrap();
    assert_eq!((pair.baseline.row.run_id.as_str(), pair.run.row.run_id.as_str()), ("a", "c"));
    assert!(text::of_comparison(&later).contains("left out: `d` read no rows\nleft out: `b` was not metered"));
    let none = compared(&run("a", 1.0), &blind("b"));
    assert_eq!((&none.pair, json::of_comparison(&none)["change_ratio"].is_null()), (&None, true));
    assert!(text::of_comparison(&none).starts_with("nothing to compare"), "{}", text::of_comparison(&none));
}

#[test]
fn one_run_has_nothing_to_be_compared_with() {
    let one = audit(&run("one", 1.0), &AuditOptions::default()).unwrap();
    assert_eq!((one.total.last_rise_ratio, one.total.trend_ratio, one.is_flagged()), (None, None, false));
    let text = text::of_audit(&one);
    assert!(text.starts_with("1 run,") && text.contains("nothing to compare with: `one`"), "{text}");
    assert!(!text.contains('%'), "{text}");
    // Two are a comparison, and no trend.
    let two = audit(&history(&[1.0, 1.5]), &AuditOptions::default()).unwrap();
    assert!(two.is_flagged() && two.total.trend_ratio.is_none(), "{two:?}");
}

#[test]
fn a_limit_that_is_no_share_is_refused() {
    for max_rise_ratio in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1] {
        let options = AuditOptions { max_rise_ratio, ..AuditOptions::default() };
        let error = audit(&history(&[1.0, 2.0]), &options).unwrap_err();
        assert!(error.to_string().contains("a number, 0 or more") && error.hint().is_some(), "{error}");
    }
    let none = AuditOptions { max_rise_ratio: 0.0, ..AuditOptions::default() };
    assert!(audit(&history(&[1.0, 1.01]), &none).unwrap().is_flagged());
}
