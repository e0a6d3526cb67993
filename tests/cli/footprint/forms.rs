//! Reports in the forms of other tools, and scenarios.

use super::*;

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
