//! The metrics file, read by Prometheus' own parser.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::python::python;
use crate::support::{command, finish, sample, tamis};

const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families
families = text_string_to_metric_families(open(sys.argv[1]).read())
print(json.dumps({f.name: {'type': f.type, 'help': f.documentation, 'samples': [[s.name, s.labels, s.value] for s in f.samples]} for f in families}))
";

/// Families by name.
pub fn families(file: &Path) -> Value {
    python(PARSE, &[file])
}

fn value(families: &Value, name: &str) -> Option<f64> {
    let samples = families[name]["samples"].as_array()?;
    assert_eq!((samples.len(), &samples[0][1]["run"]), (1, &"nightly".into()), "{samples:?}");
    samples[0][2].as_f64()
}

#[test]
fn a_run_leaves_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let laws = sample("laws.jsonl");
    let text = fs::read_to_string(&laws).unwrap() + "{\"id\": \"bad\", \"text\": \"no end\n";
    fs::write(dir.path().join("in.jsonl"), text).unwrap();
    let file = dir.path().join("nightly.prom");
    let run = |more: &str| tamis(dir.path(), &format!("dedup in.jsonl -o out --metrics-file nightly.prom {more}"));
    let manifest = run("--format json").expect_code(1).json()["manifest"].take();
    let first = families(&file);
    let rows = |name: &str| manifest["rows"][name].as_f64();
    assert!(rows("dropped").unwrap() > 0.0 && rows("rejected") == Some(1.0), "{manifest}");
    for (name, of) in [
        ("tamis_run_docs_read", "rows_in"),
        ("tamis_run_docs_kept", "kept"),
        ("tamis_run_docs_removed", "dropped"),
        ("tamis_run_docs_rejected", "rejected"),
    ] {
        assert_eq!(value(&first, name), rows(of), "{name}");
    }
    assert_eq!(value(&first, "tamis_run_exit_code"), Some(1.0));
    let size = fs::metadata(dir.path().join("in.jsonl")).unwrap().len() as f64;
    assert_eq!(value(&first, "tamis_run_input_bytes"), Some(size));
    let written = manifest["tables"].as_object().unwrap().values();
    let written = written.flat_map(|table| table["files"].as_array().unwrap());
    let written: f64 = written.map(|file| file["bytes"].as_f64().unwrap()).sum();
    assert_eq!(value(&first, "tamis_run_output_bytes"), Some(written));
    assert!(value(&first, "tamis_run_peak_memory_bytes").unwrap() > 1e6);
    assert!(value(&first, "tamis_run_duration_seconds").unwrap() > 0.0);
    let success = value(&first, "tamis_run_last_success_timestamp_seconds").unwrap();
    assert!(success > 1.7e9, "{success}");
    for family in first.as_object().unwrap().values() {
        assert!(family["type"] == "gauge" && family["help"].as_str().is_some_and(|help| !help.is_empty()), "{family}");
    }

    run("").expect_code(2);
    let failed = families(&file);
    assert_eq!(value(&failed, "tamis_run_exit_code"), Some(2.0));
    assert_eq!(value(&failed, "tamis_run_last_success_timestamp_seconds"), Some(success));
    assert_eq!(value(&failed, "tamis_run_docs_read"), None);
    // The numbers, the output, its ledger, and the input.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "temporary files stay behind");
}

#[test]
fn a_run_without_a_config_counts_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nightly.prom");
    finish(command(dir.path()).args(["run", "none.toml"]).env("TAMIS_METRICS_FILE", &file)).expect_code(2);
    assert_eq!(value(&families(&file), "tamis_run_exit_code"), Some(2.0));
}

#[test]
fn a_metrics_file_that_cannot_be_written_stops_the_run_before_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let laws = sample("laws.jsonl");
    let ended = tamis(dir.path(), &format!("convert {laws} -o out --metrics-file no/such/folder.prom")).expect_code(2);
    assert!(ended.stderr.contains("no/such/folder.prom"), "{}", ended.stderr);
    assert!(!dir.path().join("out").exists());
}
