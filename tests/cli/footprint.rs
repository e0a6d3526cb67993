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
    let (after, why) = start("2h");
    let ended = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now + after <= ended, "the deadline wins, and it may start at once: {why}");
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
        // How long so short a run takes is chance.
        let audit = format!("footprint audit {name} --max-rise-ratio 1e9 --format json");
        let audit = tamis(dir.path(), &audit).expect_code(0).json();
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
    let audit = tamis(dir.path(), "footprint audit named --max-rise-ratio 1e9 --format json").expect_code(0).json();
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
    let audit = tamis(dir.path(), "footprint audit out --format json").expect_code(3).json();
    assert_eq!(audit["is_flagged"], true);
    tamis(dir.path(), "footprint audit out --max-rise-ratio 2").expect_code(0);
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
    let forms = ["text", "json", "md", "csv", "codecarbon-tasks", "boamps", "prometheus"];
    let help = say("report --help");
    let wrong = tamis(dir.path(), "footprint report out --format xml").expect_code(2).stderr;
    for form in forms {
        assert!(help.contains(&format!("- {form}:")) && wrong.contains(form), "{form}\n{help}\n{wrong}");
    }
    assert!(say("avoid --help").contains("local-hdd, local-ssd, s3-standard"));
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
fn rows_name_their_command_and_are_compared_with_those_of_the_same() {
    let dir = ran("");
    assert!(rows(dir.path()).iter().all(|row| row["command"] == "dedup"));
    let of = |args: &str, code: i32| tamis(dir.path(), &format!("footprint {args}")).expect_code(code);
    tamis(dir.path(), &format!("convert {} -o other", sample("banking.jsonl"))).expect_code(0);
    let refused = of("compare other --baseline out", 2);
    refused.expect_stderr("no run of `tamis convert` to compare with: its last one is of `tamis dedup`");
    assert!(of("compare other --baseline out --force", 0).stdout.contains("WARNING: not alike"));
    // One output, two commands.
    tamis(dir.path(), &format!("convert {} -o out --overwrite", sample("banking.jsonl"))).expect_code(0);
    let audit = of("audit out", 0).stdout;
    assert!(audit.contains("is of `tamis dedup`") && audit.contains("nothing to compare with"), "{audit}");
    assert!(!audit.contains('%'), "{audit}");
    assert!(of("compare out --baseline other", 0).stdout.contains("of energy per million documents"));
    // Rows of versions that did not name it are read, and are like each other.
    let config = format!("[input]\npaths = [{:?}]\n[output]\npath = \"out\"\n", sample("banking.jsonl"));
    std::fs::write(dir.path().join("tamis.toml"), config).unwrap();
    rewrite(dir.path(), |row| drop(row.as_object_mut().unwrap().shift_remove("command")));
    of("verify out", 0);
    tamis(dir.path(), "run tamis.toml --overwrite").expect_code(0);
    let all = rows(dir.path());
    assert_eq!((&all[0]["command"], &all[all.len() - 1]["command"]), (&Value::Null, &json!("run")));
    of("verify out", 0);
    assert!(of("audit out", 0).stdout.contains("is of a command that its rows do not name"));
}

#[test]
fn runs_without_rows_or_a_meter_fail_no_audit_by_2() {
    let dir = ran("");
    let audit = |code: i32| tamis(dir.path(), "footprint audit out --max-rise-ratio 1e9").expect_code(code).stdout;
    again(dir.path(), "--method powercap");
    let blind = audit(4);
    assert!(blind.contains("was not metered: cpu: there are no readings"), "{blind}");
    assert!(blind.contains("nothing to compare with"), "{blind}");
    rewrite(dir.path(), |row| row["run"]["docs_in"] = json!(0));
    again(dir.path(), "--method generic");
    rewrite(dir.path(), |row| {
        if row["method"] == "generic/1" {
            row["run"]["docs_in"] = json!(0);
        }
    });
    let empty = audit(0);
    assert!(empty.starts_with("0 runs") && empty.contains("read no rows"), "{empty}");
    let compared = tamis(dir.path(), "footprint compare out --baseline out").expect_code(0).stdout;
    assert!(compared.starts_with("nothing to compare") && compared.contains("read no rows"), "{compared}");
    for ratio in ["nan", "inf", "=-0.1"] {
        let args = format!("footprint audit out --max-rise-ratio {ratio}").replace(" =", "=");
        tamis(dir.path(), &args).expect_code(2).expect_stderr("a number, 0 or more");
    }
}

#[test]
fn what_codecarbon_is_not_told_is_an_empty_cell() {
    let dir = ran("--method powercap");
    tamis(dir.path(), "footprint report out --format csv -o emissions.csv").expect_code(0);
    let script = "
import json, pandas, pathlib, sys
from codecarbon.output_methods.emissions_data import EmissionsData
from codecarbon.output_methods.file import FileOutput
folder = pathlib.Path(sys.argv[1])
import csv, dataclasses
header, row = csv.reader((folder / 'emissions.csv').read_text().splitlines())
types = {field.name: field.type for field in dataclasses.fields(EmissionsData)}
values = {name: float(text or 0) if types[name] is float else text for name, text in zip(header, row, strict=True)}
record = EmissionsData(**values | {'run_id': 'theirs'})
FileOutput('emissions.csv', str(folder), on_csv_write='update').out(record, None)
table = pandas.read_csv(folder / 'emissions.csv')
print(json.dumps({'ids': list(table.run_id), 'unknown': [bool(pandas.isna(table[name][0])) for name in ('cpu_energy', 'energy_consumed', 'emissions')],
                  'ram': float(table.ram_energy[0])}))
";
    let read = python(script, &[dir.path()]);
    assert_eq!(read["unknown"], json!([true, true, true]), "{read}");
    assert!(read["ids"][1] == "theirs" && 0.0 < read["ram"].as_f64().unwrap(), "{read}");
    let report = tamis(dir.path(), "footprint report out --format json").expect_code(0).json();
    assert_eq!((&report["totals"]["kwh"], &report["per_unit"]), (&Value::Null, &json!([])));
    assert!(tamis(dir.path(), "footprint report out").expect_code(0).stdout.contains("not known"));
}

#[test]
fn files_of_reports_are_added_to() {
    let dir = ran("");
    let report = |flags: &str, code: i32| tamis(dir.path(), &format!("footprint report out {flags}")).expect_code(code);
    let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    report("--format csv -o emissions.csv", 0);
    assert_eq!(text("emissions.csv"), report("--format csv", 0).stdout);
    report("--format csv -o emissions.csv", 2).expect_stderr("is there already");
    again(dir.path(), "");
    report("--format csv -o emissions.csv --append", 0);
    let ids: BTreeSet<String> =
        text("emissions.csv").lines().skip(1).map(|line| line.split(',').nth(2).unwrap().to_owned()).collect();
    assert_eq!((ids.len(), text("emissions.csv").lines().count()), (2, 3));
    report("--format codecarbon-tasks -o tasks.csv --append", 0);
    let all = rows(dir.path());
    let stages = all.iter().filter(|row| row["run_id"] == all[all.len() - 1]["run_id"]).count();
    assert_eq!(text("tasks.csv").lines().count(), 1 + stages);
    assert!(text("tasks.csv").starts_with("task_name,timestamp,"));
    // Other columns, and the file stays.
    let before = text("emissions.csv");
    report("--format codecarbon-tasks -o emissions.csv --append", 2)
        .expect_stderr("`emissions.csv` cannot be added to");
    assert_eq!(text("emissions.csv"), before);
    report("--format md -o emissions.csv --append", 2).expect_stderr("--append is for");
    report("--format csv --view dynamic", 2).expect_stderr("provisioned");
    report("--append", 2);
    report("--format md -o report.md", 0);
    assert!(text("report.md").starts_with("### Footprint"));
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

/// A forecast by which a run waits ten minutes, and saves much.
fn write_forecast(dir: &Path) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let script = "
import datetime, json, sys
print(json.dumps([datetime.datetime.fromtimestamp(int(at), datetime.timezone.utc).isoformat() for at in sys.argv[1:]]))";
    let seconds = [now - 60, now + 600, now + 20_000].map(|at| at.to_string());
    let times = python(script, &[Path::new(&seconds[0]), Path::new(&seconds[1]), Path::new(&seconds[2])]);
    let points = json!([
        {"start": times[0], "end": times[1], "value": 400},
        {"start": times[1], "end": times[2], "value": 50},
    ]);
    let forecast = json!({"schema": "tamis.forecast/1", "zone": "X", "generated_at": times[0], "unit": "gCO2e/kWh", "points": points});
    std::fs::write(dir.join("forecast.json"), forecast.to_string()).unwrap();
}

#[test]
fn an_output_is_refused_before_the_wait() {
    let dir = ran("");
    rewrite(dir.path(), |row| {
        row["run_wall_seconds"] = json!(10.0);
        for component in row["components"].as_array_mut().unwrap() {
            component["provisioned_j"] = json!({"low": 3e5, "mid": 6e5, "high": 9e5});
        }
    });
    write_forecast(dir.path());
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

#[test]
fn simulating_distilling_and_choosing_rounds_are_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = sample("banking.jsonl");
    let simulate = format!("simulate {data} --init 20 --batch 20 --rounds 1 --seeds 1 --strategy margin -o sim");
    let distill = format!("distill {data} -o scorer");
    tamis(dir.path(), &format!("al init loop {data} --budget 10")).expect_code(0);
    for (args, out, command, labels) in [
        (simulate.as_str(), "sim", "simulate", Value::Null),
        (&distill, "scorer", "distill", Value::Null),
        ("al select loop", "loop", "al select", json!(10)),
    ] {
        // A budget stops it between two steps, and leaves nothing.
        let stopped = tamis(dir.path(), &format!("{args} --max-g 0.000000001")).expect_code(3);
        assert!(stopped.stderr.contains("stopped before the step"), "{}", stopped.stderr);
        assert!(!dir.path().join(format!("{out}.footprint")).exists());
        let ended = tamis(dir.path(), &format!("{args} --region FRA --format json")).expect_code(0).json();
        let rows = json_lines(dir.path().join(format!("{out}.footprint")).to_str().unwrap());
        assert!(rows.iter().all(|row| row["command"] == command), "{command}");
        assert_eq!((&rows[0]["run"]["docs_in"], &rows[0]["run"]["labels"]), (&json!(2800), &labels), "{command}");
        assert_eq!(rows[0]["run"]["bytes_in"], json!(std::fs::metadata(&data).unwrap().len()));
        assert_eq!((&rows[0]["intensity"]["zone"], &ended["footprint"]["run_id"]), (&json!("FRA"), &rows[0]["run_id"]));
        let stages: BTreeSet<&str> = rows.iter().map(|row| row["stage"].as_str().unwrap()).collect();
        assert!(stages.len() > 2 && stages.contains("overhead"), "{stages:?}");
        let report = tamis(dir.path(), &format!("footprint report {out} --format json")).expect_code(0).json();
        assert_eq!(report["command"], command);
    }
    // It can be done without; and what is there is refused before it is accounted for.
    let before = std::fs::read(dir.path().join("scorer.footprint")).unwrap();
    tamis(dir.path(), &format!("{distill} --overwrite --footprint off")).expect_code(0);
    tamis(dir.path(), &format!("{distill} --start-within 1h")).expect_code(2).expect_stderr("is there already");
    tamis(dir.path(), "al select loop --start-within 1h").expect_code(2).expect_stderr("has an answer yet");
    assert_eq!(std::fs::read(dir.path().join("scorer.footprint")).unwrap(), before);
    let start = tamis(dir.path(), "al select loop --start-within 1h --print-start").expect_code(0).stdout;
    assert!(start.contains("start now"), "{start}");
}

#[test]
fn what_does_not_count_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = |flags: &str, code: i32| {
        let args = format!("dedup {} -o out --overwrite {flags}", sample("banking.jsonl"));
        tamis(dir.path(), &args).expect_code(code)
    };
    dedup("--region FRA --intensity 100", 0)
        .expect_stderr("the region `FRA` is not used: the intensity given goes before it");
    std::fs::write(dir.path().join("power.csv"), "timestamp,watts\n1000,50\n1010,50\n").unwrap();
    let old =
        dedup("--power-file power.csv", 0).expect_stderr("the power file `power.csv` does not cover half of this run");
    assert!(old.stderr.contains("its readings are from 1970-01-01T00:16:40Z"), "{}", old.stderr);
    dedup("--power-file power.csv --method tdp", 0).expect_stderr("the power file `power.csv` is not used");
    assert!(!dedup("--region FRA", 0).stderr.contains("warning"));
    for (flags, said) in [
        ("--params 1e9 --tokens-removed=-1", "--tokens-removed is -1"),
        ("--storage-tier local-hdd --bytes-removed nan", "--bytes-removed is NaN"),
        ("--labels-avoided 1 --seconds-per-label inf", "--seconds-per-label is inf"),
        ("--params 1e9 --workplace-watts 5", "--labels-avoided"),
        ("--storage-tier tape", "local-hdd"),
    ] {
        tamis(dir.path(), &format!("footprint avoid out {flags}")).expect_code(2).expect_stderr(said);
    }
    let elsewhere = tamis(dir.path(), "footprint what-if out --region FRA --intensity 1").expect_code(0);
    elsewhere.expect_stderr("the region `FRA` is not used");
    // A damaged ledger is to be moved away, and the error says so before the run.
    std::fs::write(dir.path().join("out.footprint"), "nonsense\n").unwrap();
    let damaged = dedup("--max-g 1000", 2).expect_stderr("line 1");
    assert!(
        damaged.stderr.contains("hint: move `") && damaged.stderr.contains("out.footprint` away"),
        "{}",
        damaged.stderr
    );
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
    let audit = run(&format!("footprint audit {out} --max-rise-ratio 1e9 --format json")).json();
    assert_eq!(audit["runs"].as_array().unwrap().len(), 2, "{audit}");
    assert!(10 <= verified["rows"].as_u64().unwrap());
}
