use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tamis_schemas::footprint::Signal;

use super::*;

const T0: i64 = 1_796_032_800;

fn series(points: &[(i64, i64, f64)]) -> Series {
    let points = points.iter().map(|(start, end, value)| Point { start: T0 + start, end: T0 + end, g_per_kwh: *value });
    Series::new("GB".into(), Some(T0), Signal::Average, points.collect()).unwrap()
}

fn question(deadline: i64, duration: i64) -> Question {
    Question { now: T0, deadline: T0 + deadline, duration_seconds: Some(duration), energy_kwh: None }
}

/// The best start on the grid of minutes, by trying each: the earliest of the lowest means.
fn brute_force(question: &Question, forecast: &Series) -> Option<(i64, f64)> {
    let duration = question.duration_seconds?;
    let mean = |start: i64| {
        let mut sum = 0.0;
        for second in (start..start + duration).step_by(60) {
            let point = forecast.points().iter().find(|point| point.start <= second && second < point.end)?;
            sum += point.g_per_kwh;
        }
        Some(sum / (duration / 60) as f64)
    };
    let mut best: Option<(i64, f64)> = None;
    let mut start = question.now;
    while start + duration <= question.deadline {
        if let Some(mean) = mean(start)
            && best.is_none_or(|(_, lowest)| mean < lowest - 1e-9)
        {
            best = Some((start, mean));
        }
        start += 60;
    }
    best
}

#[test]
fn as_good_as_trying_every_minute() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut waited, mut stayed) = (0, 0);
    for _ in 0..400 {
        let mut points = Vec::new();
        let mut at = -60 * rng.random_range(0..40_i64);
        for _ in 0..rng.random_range(2..24) {
            let length = 60 * rng.random_range(1..90_i64);
            // Few values, so that many starts are equally good; and gaps.
            points.push((at, at + length, f64::from(rng.random_range(1..6_u32)) * 50.0));
            at += length + if rng.random_bool(0.1) { 600 } else { 0 };
        }
        let forecast = series(&points);
        let question = question(60 * rng.random_range(1..600_i64), 60 * rng.random_range(1..120_i64));
        let decision = choose(&question, Some(&forecast));
        let duration = question.duration_seconds.unwrap();
        if decision.reason == Reason::Cleaner {
            let (start, mean) = brute_force(&question, &forecast).unwrap();
            assert!((decision.chosen_g_per_kwh.unwrap() - mean).abs() < 1e-6, "{decision:?} {mean}");
            assert_eq!(decision.start_at, start, "{question:?} {forecast:?}");
            assert!(decision.start_at + duration <= question.deadline);
            waited += 1;
        } else {
            assert_eq!(decision.start_at, T0);
            if decision.reason == Reason::SmallGain {
                let (_, mean) = brute_force(&question, &forecast).unwrap();
                assert!(mean > 0.95 * decision.now_g_per_kwh.unwrap() - 1e-6, "{decision:?} {mean}");
            }
            stayed += 1;
        }
    }
    assert!(waited > 80 && stayed > 80, "{waited} {stayed}");
}

#[test]
fn why_a_run_starts_now() {
    let falling = series(&[(0, 3600, 300.0), (3600, 7200, 200.0), (7200, 10_800, 100.0)]);
    let at = |question: &Question| choose(question, Some(&falling));
    assert_eq!(at(&question(10_800, 3600)).start_at, T0 + 7200);
    // The deadline wins: half of the run would be in the best hour.
    let decision = at(&question(9000, 3600));
    assert_eq!((decision.start_at, decision.chosen_g_per_kwh), (T0 + 5400, Some(150.0)));
    for (question, reason) in [
        (question(3600, 3600), Reason::NoRoom),
        (question(0, 3600), Reason::NoRoom),
        (question(99_999, 20_000), Reason::Uncovered),
        (Question { duration_seconds: None, ..question(10_800, 0) }, Reason::UnknownDuration),
        (Question { energy_kwh: Some(0.02), ..question(10_800, 3600) }, Reason::SmallGain),
        (Question { now: T0 + 6 * 3600 + 1, ..question(99_999, 60) }, Reason::Stale(6 * 3600 + 1)),
    ] {
        let decision = at(&question);
        assert_eq!((decision.reason, decision.start_at), (reason, question.now), "{question:?}");
    }
    assert_eq!(choose(&question(10_800, 3600), None).reason, Reason::NoForecast);
    let enough = Question { energy_kwh: Some(0.03), ..question(10_800, 3600) };
    assert!((at(&enough).saved_g.unwrap() - 6.0).abs() < 1e-9);
    let flat = series(&[(0, 3600, 100.0), (3600, 7200, 96.0)]);
    assert_eq!(choose(&question(7200, 3600), Some(&flat)).reason, Reason::SmallGain);
    // One without a date is not stale.
    let undated = Series { generated_at: None, ..falling.clone() };
    let late = Question { now: T0 + 1, ..question(10_800, 3600) };
    assert_eq!(choose(&late, Some(&undated)).reason, Reason::Cleaner);
}

#[test]
fn shapes_of_others() {
    let uk = r#"{"data":[
        {"from":"2026-11-30T10:00Z","to":"2026-11-30T10:30Z","intensity":{"forecast":266,"actual":263,"index":"moderate"}},
        {"from":"2026-11-30T10:30Z","to":"2026-11-30T11:00Z","intensity":{"forecast":200,"actual":null,"index":"low"}}]}"#;
    let uk_region = r#"{"data":{"regionid":13,"shortname":"London","data":[
        {"from":"2026-11-30T10:00Z","to":"2026-11-30T10:30Z","intensity":{"forecast":266}},
        {"from":"2026-11-30T10:30Z","to":"2026-11-30T11:00Z","intensity":{"forecast":200}}]}}"#;
    let maps = r#"{"zone":"DE","forecast":[{"carbonIntensity":266,"datetime":"2026-11-30T10:00:00.000Z"},
        {"carbonIntensity":200,"datetime":"2026-11-30T10:30:00.000Z"}],"updatedAt":"2026-11-30T09:58:00.000Z"}"#;
    let sdk = r#"{"Emissions":[
        {"Location":"eastus","Time":"2026-11-30T10:30:00+00:00","Rating":"200","Duration":"00:30:00"},
        {"Location":"eastus","Time":"2026-11-30T10:00:00+00:00","Rating":266,"Duration":"0.00:30:00"}]}"#;
    let sdk_api = r#"[{"generatedAt":"2026-11-30T09:58:00Z","location":"eastus","forecastData":[
        {"location":"EASTUS_GRID","timestamp":"2026-11-30T10:00:00Z","duration":30,"value":266.0},
        {"location":"EASTUS_GRID","timestamp":"2026-11-30T10:30:00Z","duration":30,"value":200.0}]}]"#;
    let generated = Some(T0 - 120);
    for (text, zone, generated_at) in [
        (uk, "GB", None),
        (uk_region, "London", None),
        (maps, "DE", generated),
        (sdk, "eastus", None),
        (sdk_api, "eastus", generated),
    ] {
        let found = parse(text, "forecast.json", Prefer::Forecast).unwrap();
        assert_eq!((found.zone.as_str(), found.generated_at, found.signal), (zone, generated_at, Signal::Average));
        assert_eq!(found.points(), series(&[(0, 1800, 266.0), (1800, 3600, 200.0)]).points(), "{text}");
        let again = serde_json::to_string(&found.canonical()).unwrap();
        assert_eq!(parse(&again, "again.json", Prefer::Forecast).unwrap(), found);
    }
    let actual = parse(uk, "uk.json", Prefer::Actual).unwrap();
    assert_eq!(actual.points()[0], Point { start: T0, end: T0 + 1800, g_per_kwh: 263.0 });
    let now =
        r#"{"zone":"FR","carbonIntensity":25,"datetime":"2026-11-30T10:00:00Z","updatedAt":"2026-11-30T09:58:00Z"}"#;
    assert_eq!(parse(now, "now.json", Prefer::Actual).unwrap().points(), series(&[(0, 3600, 25.0)]).points());
}

#[test]
fn pounds_per_megawatt_hour_are_marginal() {
    let text = r#"{"data":[{"point_time":"2026-11-30T10:00:00+00:00","value":1000.0},
        {"point_time":"2026-11-30T10:05:00+00:00","value":500.0}],
        "meta":{"region":"CAISO_NORTH","signal_type":"co2_moer","units":"lbs_co2_per_mwh","data_point_period_seconds":300,
        "generated_at":"2026-11-30T09:55:00+00:00"}}"#;
    let found = parse(text, "watttime.json", Prefer::Forecast).unwrap();
    assert_eq!(
        (found.zone.as_str(), found.signal, found.generated_at),
        ("CAISO_NORTH", Signal::Marginal, Some(T0 - 300))
    );
    assert!((found.points()[0].g_per_kwh - 453.592_37).abs() < 1e-9);
    assert_eq!(found.points()[1].end, T0 + 600);
    let kilograms = text.replace("lbs_co2_per_mwh", "kg");
    assert!(parse(&kilograms, "w", Prefer::Forecast).unwrap_err().to_string().contains("`kg`"));
}

#[test]
fn what_is_no_forecast_says_why() {
    for (text, expect) in [
        ("nonsense", "expected"),
        ("{}", "none of the shapes"),
        (r#"{"schema":"tamis.forecast/9","zone":"x","unit":"gCO2e/kWh","points":[]}"#, "tamis.forecast/9"),
        (r#"{"schema":"tamis.forecast/1","zone":"x","unit":"kg","points":[]}"#, "`kg`"),
        (r#"{"schema":"tamis.forecast/1","zone":"x","unit":"gCO2e/kWh","points":[]}"#, "no points"),
        (
            r#"{"schema":"tamis.forecast/1","zone":"x","unit":"gCO2e/kWh","points":[
            {"start":"2026-11-30T10:00:00Z","end":"2026-11-30T09:00:00Z","value":1}]}"#,
            "ends before it starts",
        ),
        (
            r#"{"schema":"tamis.forecast/1","zone":"x","unit":"gCO2e/kWh","points":[
            {"start":"2026-11-30T10:00:00Z","end":"2026-11-30T11:00:00Z","value":1},
            {"start":"2026-11-30T10:30:00Z","end":"2026-11-30T11:30:00Z","value":1}]}"#,
            "overlaps",
        ),
        (
            r#"{"Emissions":[{"Location":"a","Time":"2026-11-30T10:00:00Z","Rating":1,"Duration":"01:00:00"},
            {"Location":"b","Time":"2026-11-30T11:00:00Z","Rating":1,"Duration":"01:00:00"}]}"#,
            "2 locations (a, b)",
        ),
        (r#"{"data":[{"from":"soon","to":"later","intensity":{"forecast":1}}]}"#, "`soon` is no time"),
    ] {
        let message = parse(text, "forecast.json", Prefer::Forecast).unwrap_err().to_string();
        assert!(message.contains(expect) && message.contains("`forecast.json`"), "{message}");
    }
}

#[test]
fn a_forecast_is_not_what_came_to_pass() {
    let uk_region = r#"{"data":{"regionid":13,"shortname":"London","data":[
        {"from":"2026-11-30T10:00Z","to":"2026-11-30T10:30Z","intensity":{"forecast":266}}]}}"#;
    let uk = r#"{"data":[{"from":"2026-11-30T10:00Z","to":"2026-11-30T10:30Z","intensity":{"forecast":266,"actual":null}}]}"#;
    let maps = r#"{"zone":"DE","forecast":[{"carbonIntensity":266,"datetime":"2026-11-30T10:00:00Z"}],"updatedAt":"2026-11-30T09:58:00Z"}"#;
    let watttime = r#"{"data":[{"point_time":"2026-11-30T10:00:00Z","value":900.0}],
        "meta":{"region":"X","units":"lbs_co2_per_mwh","generated_at":"2026-11-30T09:55:00Z"}}"#;
    let sdk_api = r#"[{"generatedAt":"2026-11-30T09:58:00Z","location":"eastus","forecastData":[
        {"timestamp":"2026-11-30T10:00:00Z","duration":30,"value":266.0}]}]"#;
    let ours = serde_json::to_string(&series(&[(0, 3600, 100.0), (3600, 7200, 200.0)]).canonical()).unwrap();
    for text in [uk_region, uk, maps, watttime, sdk_api, &ours] {
        assert!(parse(text, "f.json", Prefer::Forecast).is_ok(), "{text}");
        let message = parse(text, "f.json", Prefer::Actual).unwrap_err().to_string();
        assert!(message.contains("`f.json`") && message.contains("it is a forecast"), "{message}");
    }
    // Made an hour later, its first hour is of the past.
    let later = ours.replacen("2026-11-30T10:00:00Z", "2026-11-30T11:00:00Z", 1);
    assert_eq!(parse(&later, "f.json", Prefer::Actual).unwrap().points(), series(&[(0, 3600, 100.0)]).points());
    let history = maps.replace("\"forecast\"", "\"history\"");
    assert_eq!(parse(&history, "f.json", Prefer::Actual).unwrap().points().len(), 1);
    // A slot without an actual value has none.
    let mixed = r#"{"data":[{"from":"2026-11-30T10:00Z","to":"2026-11-30T10:30Z","intensity":{"forecast":266,"actual":263}},
        {"from":"2026-11-30T10:30Z","to":"2026-11-30T11:00Z","intensity":{"forecast":200,"actual":null}}]}"#;
    assert_eq!(parse(mixed, "f.json", Prefer::Actual).unwrap().points(), series(&[(0, 1800, 263.0)]).points());
}
