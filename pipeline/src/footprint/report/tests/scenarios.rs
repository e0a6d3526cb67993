//! Runs elsewhere, what they save, and what would measure them.

use super::*;

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
    assert_eq!(by_epochs.own_kwh, Some(report(&rows, None, PROVISIONED).unwrap().totals.kwh));
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
fn what_a_shift_saved() {
    // 2026-11-30, 10:00 in UTC, when the run began; it was asked for an hour before.
    let began = 1_796_032_800;
    let point = |start: i64, g_per_kwh| Point { start: began + start, end: began + start + 3600, g_per_kwh };
    let actuals = |points: Vec<Point>| Series::new("GB".into(), None, Signal::Average, points).unwrap();
    let cleaner = actuals(vec![point(-3600, 300.0), point(0, 100.0)]);
    let dirtier = actuals(vec![point(-3600, 100.0), point(0, 300.0)]);
    let of = |change: fn(&mut LedgerRow), actuals: &Series| {
        let mut rows = run("one", 1.0);
        for row in &mut rows {
            row.submitted_at = Some("2026-11-30T09:00:00Z".into());
            change(row);
        }
        let mut report = report(&rows, None, PROVISIONED).unwrap();
        report.shift = Some(shift(&report, actuals));
        report
    };
    let report = of(|_| (), &cleaner);
    let Some(Shift::Known(saved)) = report.shift else { panic!("{:?}", report.shift) };
    assert!(near(saved.g, 200.0 * report.totals.kwh.mid()));
    assert_eq!((saved.at_once_g_per_kwh, saved.as_was_g_per_kwh), (300.0, 100.0));
    assert!(near(json::of_report(&report)["shift"]["saved_g"].as_f64().unwrap(), saved.g));
    let line = "77.3 mg CO2e: 300 g/kWh at once, 100 g/kWh at the start that was chosen";
    assert!(text::of_report(&report).contains(&format!("shift saved                    {line}")));
    assert!(markdown::of_report(&report).contains(line));
    let Some(Shift::Known(lost)) = of(|_| (), &dirtier).shift else { panic!("it is not known") };
    assert!(near(lost.g, -saved.g) && text::of_shift(&Shift::Known(lost)).starts_with("-77.3 mg"));
    for (report, expect) in [
        (of(|row| row.submitted_at = None, &cleaner), Shift::NotFree),
        (of(|row| row.run_wall_seconds = 3601.0, &cleaner), Shift::NotCovered),
        (of(|row| absent(row, Component::Cpu), &cleaner), Shift::Unmetered),
    ] {
        assert_eq!(report.shift, Some(expect));
        assert!(json::of_report(&report)["shift"]["why"].is_string());
    }
    assert!(json::of_report(&super::report(&run("one", 1.0), None, PROVISIONED).unwrap())["shift"].is_null());
}

/// The sample by hand: what the larger scorer took more for 100 documents, for 5,000.
#[test]
fn what_a_small_scorer_saved() {
    let of = |is_smaller: bool| {
        let mut rows = run("one", 1.0);
        rows[0].stage = SAMPLE_BY_SMALLER.into();
        rows[1].stage = SAMPLE_BY_LARGER.into();
        let choice = ScorerChoiceRow {
            smaller: "builtin".into(),
            larger: "encoder abc".into(),
            is_smaller,
            sample_docs: 100,
            agreeing_docs: 97,
            scored_docs: 5000,
        };
        for row in &mut rows {
            row.scorer_choice = Some(choice.clone());
        }
        (report(&rows, None, PROVISIONED).unwrap(), rows)
    };
    let (found, rows) = of(true);
    let right_sized = found.right_sized.as_ref().unwrap();
    let saved = right_sized.saved.unwrap();
    let stage = |number: usize| Totals::of(&[&rows[number]], PROVISIONED);
    let more = |of: fn(&Totals) -> f64| (of(&stage(1)) - of(&stage(0))) * 50.0;
    assert!(more(|totals| totals.cpu_seconds).abs() > 1e-9);
    assert!(near(saved.cpu_seconds, more(|totals| totals.cpu_seconds)));
    assert!(near(saved.kwh, more(|totals| totals.kwh.mid())) && near(saved.g, more(|totals| totals.g().mid())));
    let line = "builtin in place of encoder abc: they say the same of 97 of 100 documents; ";
    assert!(text::of_report(&found).contains(line) && markdown::of_report(&found).contains(line));
    assert!(near(json::of_report(&found)["right_sized"]["saved"]["kwh"].as_f64().unwrap(), saved.kwh));
    let (larger, _) = of(false);
    assert_eq!(larger.right_sized.as_ref().unwrap().saved, None);
    assert!(
        text::of_report(&larger).contains("encoder abc, which builtin does not say enough of: they say the same of 97")
    );
    assert!(report(&run("one", 1.0), None, PROVISIONED).unwrap().right_sized.is_none());
}

#[test]
fn numbers_of_scenarios_that_cannot_be_are_refused() {
    let rows = run("one", 1.0);
    let training =
        TrainingQuestion { params: 1.0, epochs: 1.0, runs: 1.0, bound_by: BoundBy::Epochs, tokens_removed: Some(1.0) };
    let storage = StorageQuestion { tier: "local-hdd".into(), years: 1.0, is_deleted: true, bytes_removed: Some(1.0) };
    let labels = LabelQuestion { labels_avoided: 1.0, seconds_each: Some(1.0), watts: Some(1.0) };
    let whole = AvoidQuestion { training: Some(training), storage: Some(storage.clone()), labels: Some(labels) };
    assert!(avoid(&rows, &whole, Tables::shipped()).is_ok());
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        for (flag, question) in [
            (
                "--params",
                AvoidQuestion { training: Some(TrainingQuestion { params: bad, ..training }), ..whole.clone() },
            ),
            (
                "--tokens-removed",
                AvoidQuestion {
                    training: Some(TrainingQuestion { tokens_removed: Some(bad), ..training }),
                    ..whole.clone()
                },
            ),
            (
                "--bytes-removed",
                AvoidQuestion {
                    storage: Some(StorageQuestion { bytes_removed: Some(bad), ..storage.clone() }),
                    ..whole.clone()
                },
            ),
            (
                "--seconds-per-label",
                AvoidQuestion { labels: Some(LabelQuestion { seconds_each: Some(bad), ..labels }), ..whole.clone() },
            ),
            (
                "--workplace-watts",
                AvoidQuestion { labels: Some(LabelQuestion { watts: Some(bad), ..labels }), ..whole.clone() },
            ),
        ] {
            let message = avoid(&rows, &question, Tables::shipped()).unwrap_err().to_string();
            assert!(message.starts_with(flag), "{message}");
        }
    }
    // Without its own energy there is no payback.
    let mut blind = rows;
    for row in &mut blind {
        absent(row, Component::Cpu);
    }
    let avoided = avoid(&blind, &whole, Tables::shipped()).unwrap();
    assert_eq!((avoided.own_kwh, avoided.payback_ratio), (None, None));
    assert!(text::of_avoided(&avoided).starts_with("the run itself: not known\n"));
}
