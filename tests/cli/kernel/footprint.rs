//! What runs by kernels used: each kernel says it of itself, and the session accounts for all.

use std::cell::RefCell;
use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use serde_json::Value;

use super::driver::{Driver, Ended, Place};
use super::records::usage_as_records;
use super::{config, samples};
use crate::support::{json_lines, tamis};

const SECTIONS: &str = "[deduplicate]\n[score]\n[select]\nbudget = 10\n[footprint]\nregion = \"FRA\"\n";

/// A run whose driver hands on what `hand_on` leaves of what the kernels said; and what they said.
fn run(dir: &std::path::Path, hand_on: impl Fn(&[String]) -> Vec<String>) -> (Ended, Vec<Value>) {
    let used = RefCell::new(Vec::new());
    let place = Place { used: Some(&used), ..Place::at(dir) };
    let driver = Driver::new(place, config(dir, "out", &samples(), SECTIONS), 100_000);
    let with_usage = |records: RecordBatch| {
        let usage = usage_as_records(&records, &hand_on(&used.borrow()));
        concat_batches(&records.schema(), [&records, &usage]).unwrap()
    };
    let ended = driver.try_run_and(with_usage).unwrap();
    let said = used.borrow().iter().map(|said| serde_json::from_str(said).unwrap()).collect();
    (ended, said)
}

fn sum(rows: &[Value], of: impl Fn(&Value) -> f64) -> f64 {
    rows.iter().map(of).sum()
}

#[test]
fn all_tasks_and_the_session_are_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, said) = run(dir.path(), <[String]>::to_vec);
    let rows = json_lines(dir.path().join("out.footprint").to_str().unwrap());
    let kernels: BTreeSet<&str> = said.iter().map(|said| said["stage"].as_str().unwrap()).collect();
    let expect = [
        "assign", "bucket", "choose", "gather", "learn", "pick", "prove", "prune", "scan", "score", "tabulate",
        "texts", "write",
    ];
    assert_eq!(kernels.into_iter().collect::<Vec<_>>(), expect);
    for kernel in expect {
        let of_kernel: Vec<&Value> = said.iter().filter(|said| said["stage"] == kernel).collect();
        let cpu_ns: u64 = of_kernel.iter().map(|said| said["cpu_ns"].as_u64().unwrap()).sum();
        let row = rows.iter().find(|row| row["stage"] == kernel).unwrap();
        assert!((row["cpu_seconds"].as_f64().unwrap() * 1e9 - cpu_ns as f64).abs() < 1.0, "{kernel}");
        assert!(0 < cpu_ns && 0.0 < row["wall_seconds"].as_f64().unwrap(), "{kernel}");
        let walls =
            of_kernel.iter().map(|said| said["ended_at"].as_f64().unwrap() - said["started_at"].as_f64().unwrap());
        // One after the other.
        assert!((row["wall_seconds"].as_f64().unwrap() - walls.sum::<f64>()).abs() < 1e-3, "{kernel}");
        let cpu = row["components"].as_array().unwrap().iter().find(|row| row["name"] == "cpu").unwrap();
        assert!(0.0 < cpu["provisioned_j"]["mid"].as_f64().unwrap(), "{kernel}: {row}");
    }
    assert_eq!(rows.last().unwrap()["stage"], "overhead");
    let of_session = sum(&rows, |row| row["cpu_seconds"].as_f64().unwrap())
        - sum(&said, |said| said["cpu_ns"].as_u64().unwrap() as f64 / 1e9);
    assert!(0.0 < of_session, "{of_session}");
    for (at, row) in rows.iter().enumerate() {
        assert_eq!((row["seq"].as_u64(), row["rows_of_run"].as_u64()), (Some(at as u64), Some(rows.len() as u64)));
        assert_eq!((&row["boundary"], &row["command"]), (&"tasks".into(), &"run".into()));
        assert_eq!(row["run"]["docs_in"], ended.manifest["rows"]["rows_in"]);
        assert_eq!(row["intensity"]["zone"], "FRA");
    }
    tamis(dir.path(), "footprint verify out").expect_code(0);
    let report = tamis(dir.path(), "footprint report out --format json");
    assert!(0.0 < report.json()["totals"]["kwh"]["mid"].as_f64().unwrap(), "{}", report.stdout);
    let words = tamis(dir.path(), "footprint report out").stdout;
    assert!(words.contains("the processes of all tasks and of the cluster that they ran in"), "{words}");
    // Another run of the config, on one machine, is not measured alike.
    config(dir.path(), "alone", &samples(), SECTIONS);
    tamis(dir.path(), "run alone.toml").expect_code(0);
    let compared = tamis(dir.path(), "footprint compare alone --baseline out");
    assert!(compared.code != 0 && compared.stderr.contains("boundary"), "{} {}", compared.stdout, compared.stderr);
}

#[test]
fn a_driver_that_hands_nothing_on_leaves_no_figures() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, _) = run(dir.path(), |_| Vec::new());
    assert_eq!(ended.code, 0);
    assert!(dir.path().join("out/manifest.json").is_file());
    assert!(!dir.path().join("out.footprint").exists());
    // Neither does one whose lines are none: a run that is done does not fail for it.
    for said in ["no JSON", "{\"stage\": 1}", "{}"] {
        let dir = tempfile::tempdir().unwrap();
        let (ended, _) = run(dir.path(), |_| vec![said.into()]);
        assert_eq!(ended.code, 0, "{said}");
        assert!(!dir.path().join("out.footprint").exists(), "{said}");
    }
}

#[test]
fn what_is_of_one_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (sections, flags, expect) in [
        ("[footprint]\npower_file = \"watts.csv\"", "", "a power file (footprint.power_file, --power-file)"),
        ("[footprint]\nmethod = \"powercap\"", "", "a meter of one machine (footprint.method, --method)"),
        ("[footprint]\nmax_g_per_mdoc = 1.0", "", "a budget of emissions (footprint.max_g, --max-g)"),
        ("", "--power-file watts.csv", "a power file"),
        ("", "--method powercap", "a meter of one machine"),
        ("", "--max-g 3", "a budget of emissions"),
        ("", "--start-within 3h", "--start-within does not work on a cluster"),
        ("", "--region atlantis", "atlantis"),
    ] {
        std::fs::write(dir.path().join("watts.csv"), "timestamp,watts\n").unwrap();
        config(dir.path(), "out", &samples(), sections);
        let ended = tamis(dir.path(), &format!("kernel session out.toml {flags}"));
        assert_eq!(ended.code, 2, "{flags} {sections}");
        assert!(ended.stderr.contains(expect), "{expect}: {}", ended.stderr);
    }
    // Where nobody accounts for it, and where a flag goes before it, it does not matter.
    for flags in ["--footprint off", "--method tdp"] {
        config(dir.path(), "out", &samples(), "[footprint]\nmethod = \"powercap\"");
        // Whoever started it is gone.
        let ended = tamis(dir.path(), &format!("kernel session out.toml {flags}"));
        assert!(!ended.stderr.contains("does not work"), "{flags}: {}", ended.stderr);
        assert!(ended.stdout.contains("tamis.job"), "{flags} {}", ended.stderr);
    }
}
