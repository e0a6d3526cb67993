//! What a run used.

use super::*;

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
fn units_by_name() {
    for unit in Unit::ALL {
        assert_eq!(Unit::parse(unit.name()).unwrap(), unit);
    }
    assert!(Unit::parse("row").is_err());
}
