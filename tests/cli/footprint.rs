//! What a run used, and what is said of it: `tamis footprint`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::python::python;
use crate::support::s3::S3Server;
use crate::support::{command, files, finish, json_lines, sample, tamis};

/// A folder in which `out` was written by a run with these flags.
fn ran(flags: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    tamis(dir.path(), &format!("dedup {} -o out {flags}", sample("banking.jsonl"))).expect_code(0);
    dir
}

fn again(dir: &Path, flags: &str) {
    tamis(dir, &format!("dedup {} -o out --overwrite {flags}", sample("banking.jsonl"))).expect_code(0);
}

fn rows(dir: &Path) -> Vec<Value> {
    json_lines(dir.join("out.footprint").to_str().unwrap())
}

/// Rows with other numbers, chained anew.
fn rewrite(dir: &Path, change: impl Fn(&mut Value)) {
    let mut previous = "0".repeat(64);
    let mut text = String::new();
    for mut row in rows(dir) {
        change(&mut row);
        row["prev_sha256"] = previous.into();
        row.as_object_mut().unwrap().shift_remove("sha256");
        let line = row.to_string();
        let start = &line[..line.len() - 1];
        previous = Sha256::digest(start.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{start},\"sha256\":\"{previous}\"}}\n");
    }
    std::fs::write(dir.join("out.footprint"), text).unwrap();
}

#[test]
fn every_run_is_accounted_for_and_its_output_is_what_it_was() {
    let dir = ran("--region FRA");
    let (of_first, output) = (rows(dir.path()), files(&dir.path().join("out")));
    let stages: Vec<&str> = of_first.iter().map(|row| row["stage"].as_str().unwrap()).collect();
    for stage in ["reading", "decoding", "fingerprinting", "comparing", "writing", "overhead"] {
        assert!(stages.contains(&stage), "{stages:?}");
    }
    let sum = |name: &str| of_first.iter().map(|row| row[name].as_f64().unwrap()).sum::<f64>();
    let report = tamis(dir.path(), "footprint report out --format json").expect_code(0).json();
    assert!((sum("cpu_seconds") - report["totals"]["cpu_seconds"].as_f64().unwrap()).abs() < 1e-9);
    for row in &of_first {
        assert_eq!((&row["run"]["docs_in"], &row["run"]["docs_out"]), (&json!(2800), &json!(2796)));
        assert_eq!((&row["intensity"]["zone"], &row["rows_of_run"]), (&json!("FRA"), &json!(of_first.len())));
        for component in row["components"].as_array().unwrap() {
            let joules = &component["provisioned_j"];
            let [low, mid, high] = ["low", "mid", "high"].map(|bound| joules[bound].as_f64().unwrap());
            assert!(0.0 <= low && low <= mid && mid <= high, "{component}");
        }
    }
    // Another run is added to the ledger, and the output has the same bytes.
    again(dir.path(), "--threads 1");
    let all = rows(dir.path());
    assert_eq!(all[..of_first.len()], of_first[..]);
    assert_eq!(files(&dir.path().join("out")), output);
    assert_eq!(all[of_first.len()]["prev_sha256"], of_first[of_first.len() - 1]["sha256"]);
    let verified = tamis(dir.path(), "footprint verify out --format json").expect_code(0).json();
    assert_eq!(verified["rows"], all.len());

    // A run can do without, and one that fails leaves nothing.
    again(dir.path(), "--footprint off");
    tamis(dir.path(), "dedup nowhere.jsonl -o other").expect_code(2);
    assert_eq!(rows(dir.path()), all);
    assert!(!dir.path().join("other.footprint").exists());
}

#[test]
fn a_row_that_was_changed_is_named() {
    let dir = ran("");
    let path = dir.path().join("out.footprint");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replacen("\"docs_in\":2800", "\"docs_in\":28000", 1);
    assert_ne!(changed, text);
    std::fs::write(&path, changed).unwrap();
    tamis(dir.path(), "footprint verify out").expect_code(2).expect_stderr("line 1: stage `");
    std::fs::write(&path, "{\"schema\": \"other/1\"}\n").unwrap();
    tamis(dir.path(), "footprint report out").expect_code(2).expect_stderr("line 1");
    tamis(dir.path(), "footprint report nothing").expect_code(2).expect_stderr("no footprint ledger");
}

#[test]
fn budgets_are_kept_before_between_and_after() {
    let dir = ran("");
    let gate =
        |flags: &str, code: i32| drop(tamis(dir.path(), &format!("footprint gate out {flags}")).expect_code(code));
    gate("--max-g 1000", 0);
    gate("--max-kwh 0.000000000001", 3);
    gate("--max-g 1000 --require measured", 4);
    gate("", 2);
    // Between stages: nothing is known of earlier runs to another output.
    let run = |out: &str| {
        let args = format!("dedup {} -o {out} --overwrite --max-g 0.000000001", sample("banking.jsonl"));
        tamis(dir.path(), &args).expect_code(3)
    };
    run("other").expect_stderr("stopped before the step");
    assert!(!dir.path().join("other/manifest.json").exists());
    assert!(!dir.path().join("other.footprint").exists(), "a run that was stopped is none to plan by");
    // What cannot be seen is not within, and what is no budget is none.
    let args = format!("dedup {} -o blind --method powercap --max-g 5", sample("banking.jsonl"));
    tamis(dir.path(), &args).expect_code(4).expect_stderr("stopped before the step");
    for budget in ["nan", "inf", "=-1"] {
        let flag = format!("--max-g {budget}").replace(" =", "=");
        let args = format!("dedup {} -o never {flag}", sample("banking.jsonl"));
        tamis(dir.path(), &args).expect_code(2).expect_stderr("a budget is 0 or more");
    }
    // Before: earlier runs to this one tell, and it stays as it is.
    let before = files(&dir.path().join("out"));
    run("out").expect_stderr("nothing was begun");
    assert_eq!(files(&dir.path().join("out")), before);
}

#[test]
fn a_run_waits_for_a_cleaner_grid() {
    let dir = ran("");
    // As if an hour and a kilowatt-hour were used.
    rewrite(dir.path(), |row| {
        row["run_wall_seconds"] = json!(3600.0);
        for component in row["components"].as_array_mut().unwrap() {
            component["provisioned_j"] = json!({"low": 3e5, "mid": 6e5, "high": 9e5});
        }
    });
    tamis(dir.path(), "footprint verify out").expect_code(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
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
    assert!(start("2h").0 < 60, "the deadline wins");
    forecast(3, now - 7 * 3600);
    assert!(start("7h").1.contains("7.0 h old"));
    std::fs::write(dir.path().join("forecast.json"), "nonsense").unwrap();
    assert!(start("7h").1.contains("there is no forecast"));
    // A wait is not of the run: it takes some seconds here, and the run less. A forecast of hours gains nothing by seconds: the run is short.
    rewrite(dir.path(), |row| row["run_wall_seconds"] = json!(10.0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let clean_at = now + 8;
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
    std::fs::write(dir.path().join("forecast.json"), forecast.to_string()).unwrap();
    assert_eq!(
        rows(dir.path()).iter().map(|row| row["run_id"].to_string()).collect::<BTreeSet<_>>().len(),
        1,
        "nothing was run"
    );
    again(dir.path(), "--start-within 4h --forecast forecast.json");
    let all = rows(dir.path());
    let last = &all[all.len() - 1];
    assert!(last["run_wall_seconds"].as_f64().unwrap() < 3.0, "{last}");
    let ended = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(clean_at <= ended, "it did not wait");
}

#[test]
fn standard_input_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let run = |flags: &str| {
        let input = std::fs::File::open(sample("banking.jsonl")).unwrap();
        let args = format!("dedup - -o out --overwrite --format json {flags}");
        let mut tamis = command(dir.path());
        let ended = finish(tamis.args(args.split_whitespace()).stdin(input)).expect_code(0);
        assert_eq!(ended.json()["manifest"]["rows"]["rows_in"], 2800, "{flags}");
        ended.stderr
    };
    run("");
    run("--max-g 1000");
    assert!(run("--start-within 1h").contains("there is no forecast"));
}

#[test]
fn ledgers_are_found_whatever_the_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(sample("banking.jsonl"), dir.path().join("rows.jsonl")).unwrap();
    for name in ["é", "a#b", "a%20b", "[x]", "日本"] {
        for _ in 0..2 {
            tamis(dir.path(), &format!("dedup rows.jsonl -o {name} --overwrite")).expect_code(0);
        }
        let audit = tamis(dir.path(), &format!("footprint audit {name} --format json")).expect_code(0).json();
        assert_eq!(audit["runs"].as_array().unwrap().len(), 2, "{name}");
        tamis(dir.path(), &format!("footprint verify {name}.footprint")).expect_code(0);
    }
    tamis(dir.path(), "footprint verify typo.footprint").expect_code(2);
    // Runs that are given one id are told apart.
    for _ in 0..2 {
        let mut tamis = command(dir.path());
        finish(tamis.args("dedup rows.jsonl -o named --overwrite".split(' ')).env("TAMIS_RUN_ID", "nightly"))
            .expect_code(0);
    }
    let audit = tamis(dir.path(), "footprint audit named --format json").expect_code(0).json();
    assert_eq!(audit["runs"].as_array().unwrap().len(), 2, "{audit}");
    assert!(audit["runs"][0].as_str().unwrap().starts_with("nightly@"), "{audit}");
}

#[test]
fn a_regression_is_flagged_and_named() {
    let dir = ran("");
    for _ in 0..4 {
        again(dir.path(), "");
    }
    let ids: Vec<Value> = rows(dir.path()).iter().map(|row| row["run_id"].clone()).collect();
    let last = ids[ids.len() - 1].clone();
    rewrite(dir.path(), |row| {
        let is_worse = row["run_id"] == last && row["stage"] == "writing";
        for component in row["components"].as_array_mut().unwrap() {
            let mid = if is_worse { 2.0 } else { 1.0 };
            component["provisioned_j"] = json!({"low": 0.5, "mid": mid, "high": 3.0});
        }
    });
    let audit = tamis(dir.path(), "footprint audit out --format json").expect_code(0).json();
    let flagged: BTreeMap<&str, bool> = audit["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| (stage["name"].as_str().unwrap(), stage["is_flagged"].as_bool().unwrap()))
        .collect();
    assert_eq!(flagged.iter().filter(|(_, flagged)| **flagged).map(|(name, _)| *name).collect::<Vec<_>>(), ["writing"]);
}

#[test]
fn codecarbon_reads_what_is_written_and_goes_on() {
    let dir = ran("--region DEU");
    let csv = tamis(dir.path(), "footprint report out --format csv").expect_code(0).stdout;
    std::fs::write(dir.path().join("emissions.csv"), csv).unwrap();
    let script = "
import csv, dataclasses, json, pathlib, sys
from codecarbon.output_methods.emissions_data import EmissionsData
from codecarbon.output_methods.file import FileOutput
folder = pathlib.Path(sys.argv[1])
header, row = csv.reader((folder / 'emissions.csv').read_text().splitlines())
types = {field.name: field.type for field in dataclasses.fields(EmissionsData)}
values = {name: float(text or 0) if types[name] is float else text for name, text in zip(header, row, strict=True)}
record = EmissionsData(**values)
output = FileOutput('emissions.csv', str(folder))
accepts = output.has_valid_headers(record)
record.run_id = 'theirs'
output.out(record, None)
rows = list(csv.DictReader((folder / 'emissions.csv').open()))
print(json.dumps({'accepts': accepts, 'files': sorted(p.name for p in folder.glob('emissions*')), 'ids': [row['run_id'] for row in rows],
                  'country': rows[0]['country_iso_code'], 'energy': float(rows[0]['energy_consumed'])}))
";
    let read = python(script, &[dir.path()]);
    let ours = rows(dir.path())[0]["run_id"].clone();
    assert_eq!((&read["accepts"], &read["files"]), (&json!(true), &json!(["emissions.csv"])));
    assert_eq!((&read["ids"], &read["country"]), (&json!([ours, "theirs"]), &json!("DEU")));
    let report = tamis(dir.path(), "footprint report out --format json").expect_code(0).json();
    // It knows no disks and no network.
    let components = report["totals"]["components"].as_array().unwrap().iter();
    let theirs = components.filter(|one| ["cpu", "gpu", "ram"].contains(&one["name"].as_str().unwrap()));
    let kwh: f64 = theirs.map(|one| one["kwh"]["mid"].as_f64().unwrap()).sum();
    assert!((read["energy"].as_f64().unwrap() / kwh - 1.0).abs() < 1e-9, "{read} and {kwh} kWh");
}

#[test]
fn other_forms_and_scenarios() {
    let dir = ran("--region FRA --intensity 100 --pue 1.5");
    let say = |args: &str| tamis(dir.path(), &format!("footprint {args}")).expect_code(0).stdout;
    assert!(say("report out --format md").starts_with("### Footprint of run `"));
    assert!(say("report out --format prometheus").contains("tamis_footprint_cpu_seconds{stage=\"writing\"}"));
    let boamps: Value = serde_json::from_str(&say("report out --format boamps")).unwrap();
    assert!(boamps["measures"].is_array(), "{boamps}");
    let report: Value = serde_json::from_str(&say("report out --format json")).unwrap();
    let what_if: Value = serde_json::from_str(&say("what-if out --intensity 200 --format json")).unwrap();
    let operational = |report: &Value| report["totals"]["operational_g"]["mid"].as_f64().unwrap();
    assert!((operational(&what_if["would_be"]) / operational(&report) - 2.0).abs() < 1e-9);
    let avoided = |flags: &str| -> Value {
        let json = say(&format!("avoid out --params 1e9 {flags} --format json"));
        serde_json::from_str::<Value>(&json).unwrap()["items"][0].take()
    };
    assert_eq!(avoided("--bound-by tokens")["kwh"]["high"], 0.0, "other data takes the place of what was dropped");
    assert!(0.0 < avoided("--bound-by epochs")["kwh"]["low"].as_f64().unwrap());
    assert!(say("plan out").contains("by 1 earlier run"));
    assert!(say("doctor").contains("a run goes by:"));
    tamis(dir.path(), "convert nothing --format csv -o x").expect_code(2).expect_stderr("footprint report");
    for (flags, said) in [("--region XYZ", "XYZ"), ("--pue 0.5", "0.5"), ("--intensity nan", "NaN")] {
        let args = format!("dedup {} -o never {flags}", sample("banking.jsonl"));
        tamis(dir.path(), &args).expect_code(2).expect_stderr(said);
    }
    assert!(!dir.path().join("never").exists());
}

#[test]
fn a_meter_at_the_socket_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let readings: String = (0..120).map(|n| format!("{},10\n", now - 60 + n)).collect();
    std::fs::write(dir.path().join("power.csv"), format!("timestamp,watts\n{readings}")).unwrap();
    tamis(dir.path(), &format!("dedup {} -o out --power-file power.csv", sample("banking.jsonl"))).expect_code(0);
    assert_eq!(rows(dir.path())[0]["method"], "power-file/1");
    let report = tamis(dir.path(), "footprint report out --format json").expect_code(0).json();
    assert!(0.9 < report["totals"]["label_ratios"]["measured"].as_f64().unwrap(), "{report}");
    std::fs::write(dir.path().join("power.csv"), "time,power\n1,2\n").unwrap();
    let args = format!("dedup {} -o out --overwrite --power-file power.csv", sample("banking.jsonl"));
    tamis(dir.path(), &args).expect_code(2).expect_stderr("timestamp,watts");
}

#[test]
fn a_ledger_in_a_bucket_grows() {
    let server = S3Server::start("tamis-footprint");
    let dir = tempfile::tempdir().unwrap();
    let environment = server.environment();
    let environment = || environment.iter().map(|(name, value)| (name, value));
    let run = |args: &str| finish(command(dir.path()).args(args.split_whitespace()).envs(environment())).expect_code(0);
    let out = server.url("runs/out");
    for _ in 0..2 {
        run(&format!("dedup {} -o {out} --overwrite", sample("banking.jsonl")));
    }
    let keys: Vec<String> = server.list("runs/").into_iter().map(|(key, _)| key).collect();
    assert!(keys.contains(&"runs/out.footprint".to_owned()), "{keys:?}");
    let verified = run(&format!("footprint verify {out} --format json")).json();
    let audit = run(&format!("footprint audit {out} --format json")).json();
    assert_eq!(audit["runs"].as_array().unwrap().len(), 2, "{audit}");
    assert!(10 <= verified["rows"].as_u64().unwrap());
}
