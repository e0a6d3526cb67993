//! When a run starts, and what that saved.

use super::*;

fn clock() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// The ledger as if the run had taken so long, and about a kilowatt-hour.
fn as_if_much_was_used(dir: &Path, seconds: f64) {
    rewrite(dir, |row| {
        row["run_wall_seconds"] = json!(seconds);
        for component in row["components"].as_array_mut().unwrap() {
            component["provisioned_j"] = json!({"low": 3e5, "mid": 6e5, "high": 9e5});
        }
    });
}

/// A forecast by which a run waits so long, and saves much; when the grid is clean.
fn write_forecast(dir: &Path, seconds: u64) -> u64 {
    let (now, clean_at) = (clock(), clock() + seconds);
    let script = "
import datetime, json, sys
print(json.dumps([datetime.datetime.fromtimestamp(int(at), datetime.timezone.utc).isoformat() for at in sys.argv[1:]]))";
    let seconds = [now - 60, clean_at, now + 20_000].map(|at| at.to_string());
    let times = python(script, &[Path::new(&seconds[0]), Path::new(&seconds[1]), Path::new(&seconds[2])]);
    let points = json!([
        {"start": times[0], "end": times[1], "value": 400},
        {"start": times[1], "end": times[2], "value": 50},
    ]);
    let forecast = json!({"schema": "tamis.forecast/1", "zone": "X", "generated_at": times[0], "unit": "gCO2e/kWh", "points": points});
    std::fs::write(dir.join("forecast.json"), forecast.to_string()).unwrap();
    clean_at
}

#[test]
fn a_run_waits_for_a_cleaner_grid() {
    let dir = ran("");
    as_if_much_was_used(dir.path(), 3600.0);
    tamis(dir.path(), "footprint verify out").expect_code(0);
    let now = clock();
    let forecast = |low_at: u64, made_at: u64| {
        let time = |seconds: u64| {
            python(
                "import sys, json, datetime as d; print(json.dumps(d.datetime.fromtimestamp(int(sys.argv[1]), d.timezone.utc).isoformat()))",
                &[Path::new(&seconds.to_string())],
            )
        };
        let point = |hour: u64| {
            let start = now - 600 + hour * 3600;
            json!({"start": time(start), "end": time(start + 3600), "value": if hour == low_at { 50 } else { 400 }})
        };
        let points: Vec<Value> = (0..8).map(point).collect();
        let forecast = json!({"schema": "tamis.forecast/1", "zone": "X", "generated_at": time(made_at), "unit": "gCO2e/kWh", "points": points});
        std::fs::write(dir.path().join("forecast.json"), forecast.to_string()).unwrap();
    };
    let start = |within: &str| {
        let args = format!(
            "dedup {} -o out --overwrite --start-within {within} --forecast forecast.json --print-start --format json",
            sample("banking.jsonl")
        );
        let start = tamis(dir.path(), &args).expect_code(0).json();
        (start["start_at_seconds"].as_u64().unwrap() - now, start["why"].as_str().unwrap().to_owned())
    };
    forecast(3, now);
    let (after, why) = start("7h");
    assert_eq!(after, 3 * 3600 - 600, "{why}");
    let (after, why) = start("2h");
    let ended = clock();
    assert!(now + after <= ended, "the deadline wins, and it may start at once: {why}");
    forecast(3, now - 7 * 3600);
    assert!(start("7h").1.contains("7.0 h old"));
    std::fs::write(dir.path().join("forecast.json"), "nonsense").unwrap();
    assert!(start("7h").1.contains("there is no forecast"));
    // A wait is not of the run: it takes some seconds here, and the run less. A forecast of hours gains nothing by seconds: the run is short.
    rewrite(dir.path(), |row| row["run_wall_seconds"] = json!(10.0));
    let clean_at = write_forecast(dir.path(), 8);
    assert_eq!(
        rows(dir.path()).iter().map(|row| row["run_id"].to_string()).collect::<BTreeSet<_>>().len(),
        1,
        "nothing was run"
    );
    again(dir.path(), "--start-within 4h --forecast forecast.json");
    let all = rows(dir.path());
    let last = &all[all.len() - 1];
    assert!(last["run_wall_seconds"].as_f64().unwrap() < 3.0, "{last}");
    let ended = clock();
    assert!(clean_at <= ended, "it did not wait");
}

#[test]
fn what_a_start_saved_is_shown() {
    let dir = ran("--start-within 1h");
    assert!(rows(dir.path()).iter().all(|row| row["submitted_at"].is_string()), "it was free to wait");
    rewrite(dir.path(), |row| {
        row["submitted_at"] = json!("2026-11-30T08:00:00Z");
        row["start_at"] = json!("2026-11-30T10:00:00Z");
        row["run_wall_seconds"] = json!(1800.0);
    });
    let point = |hour: u32, value: u32| {
        let time = |hour: u32| format!("2026-11-30T{hour:02}:00:00Z");
        json!({"start": time(hour), "end": time(hour + 1), "value": value})
    };
    let file = |made_at: &str| {
        let actuals = json!({"schema": "tamis.forecast/1", "zone": "X", "generated_at": made_at, "unit": "gCO2e/kWh",
            "points": [point(8, 400), point(9, 300), point(10, 100)]});
        std::fs::write(dir.path().join("grid.json"), actuals.to_string()).unwrap();
    };
    file("2026-11-30T12:00:00Z");
    let report = tamis(dir.path(), "footprint report out --actuals grid.json --format json").expect_code(0).json();
    let kwh = report["totals"]["kwh"]["mid"].as_f64().unwrap();
    assert!((report["shift"]["saved_g"].as_f64().unwrap() / (300.0 * kwh) - 1.0).abs() < 1e-9, "{report}");
    let text = tamis(dir.path(), "footprint report out --actuals grid.json").expect_code(0).stdout;
    assert!(text.contains("400 g/kWh at once, 100 g/kWh at the start that was chosen"), "{text}");
    // A forecast is none, neither here nor for a run.
    file("2026-11-30T07:00:00Z");
    tamis(dir.path(), "footprint report out --actuals grid.json").expect_code(2).expect_stderr("it is a forecast");
    let args = format!("dedup {} -o never --actuals grid.json", sample("banking.jsonl"));
    tamis(dir.path(), &args).expect_code(2).expect_stderr("it is a forecast");
    again(dir.path(), "");
    file("2026-11-30T12:00:00Z");
    let text = tamis(dir.path(), "footprint report out --actuals grid.json").expect_code(0).stdout;
    assert!(text.contains("was not free to wait"), "{text}");
}

#[test]
fn an_output_is_refused_before_the_wait() {
    let dir = ran("");
    as_if_much_was_used(dir.path(), 10.0);
    write_forecast(dir.path(), 600);
    let before = files(&dir.path().join("out"));
    // Ten minutes, if it did wait.
    let args = format!("dedup {} -o out --start-within 4h --forecast forecast.json", sample("banking.jsonl"));
    let refused = tamis(dir.path(), &args).expect_code(2).expect_stderr("`out` is not empty");
    assert!(!refused.stderr.contains("start at"), "{}", refused.stderr);
    assert_eq!(files(&dir.path().join("out")), before);
    let would = tamis(dir.path(), &format!("{args} --overwrite --print-start")).expect_code(0).stdout;
    assert!(would.contains("start at"), "{would}");
    let lone = format!("dedup {} -o new --forecast forecast.json", sample("banking.jsonl"));
    tamis(dir.path(), &lone).expect_code(2).expect_stderr("--start-within 8h");
}
