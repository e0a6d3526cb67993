//! Runs by kernels: the rows of a run in one process, whatever the units.

mod added;
mod driver;
mod footprint;
mod grain;
mod incremental;
mod process;
mod quality;
mod records;
mod scores;
mod selections;
mod semantic;
mod settings;
mod started;
mod tables;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Value, json};

use crate::support::{files, sample, table, tamis};
use driver::{Driver, Place};

/// Writes the config of a run into `out`, which `sections` can name as `{out}`.
fn config(dir: &Path, out: &str, inputs: &[String], sections: &str) -> std::path::PathBuf {
    let path = dir.join(format!("{out}.toml"));
    let (input, sections) = match sections.strip_prefix("input:") {
        Some(rest) => rest.split_once(';').unwrap(),
        None => ("", sections),
    };
    let sections = sections.replace("{out}", out);
    let text = format!("[input]\npaths = {}\n{input}\n[output]\npath = \"{out}\"\n{sections}\n", json!(inputs));
    fs::write(&path, text).unwrap();
    path
}

/// The rows of a table with all their columns, sorted; its columns and types before.
fn rows(out: &Path, name: &str) -> Vec<String> {
    let (schema, batch) = table(out, name);
    let mut rows = as_text(&batch);
    rows.sort();
    let columns: Vec<String> = schema.fields().iter().map(|field| format!("{field:?}")).collect();
    [columns, rows].concat()
}

fn as_text(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| {
            columns.iter().fold(String::new(), |mut text, column| {
                write!(text, "{}\u{1f}", column.value(row)).unwrap();
                text
            })
        })
        .collect()
}

/// What a manifest says, without what depends on the files of a run.
fn comparable(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    for name in ["config", "config_sha256", "requests"] {
        manifest.as_object_mut().unwrap().remove(name);
    }
    // A hash of what was added, in however many segments.
    if let Some(index) = manifest.get_mut("index") {
        index.as_object_mut().unwrap().remove("run");
    }
    for table in manifest["tables"].as_object_mut().unwrap().values_mut() {
        table.as_object_mut().unwrap().remove("files");
    }
    manifest
}

/// Runs a config by kernels and in one process, and holds the tables against each other. Gives the number of units and of sets that were
/// asked for.
fn check(dir: &Path, inputs: &[String], sections: &str, unit_bytes: u64, units_at_once: usize) -> (usize, usize) {
    for out in ["alone", "together"] {
        let _ = fs::remove_dir_all(dir.join(out));
    }
    config(dir, "alone", inputs, sections);
    let alone = tamis(dir, "run alone.toml --format json --footprint off");
    assert!(alone.code < 2, "{}", alone.stderr);
    let config = config(dir, "together", inputs, sections);
    let together = Driver {
        units_at_once,
        n_bucket_tasks: 1 + units_at_once as i64 % 7,
        n_parts: 1 + units_at_once as i64 % 4,
        ..Driver::new(Place::at(dir), config, unit_bytes)
    }
    .run();
    assert_eq!(together.code, alone.code);
    let expect = &alone.json()["manifest"];
    assert_eq!(comparable(&together.manifest), comparable(expect), "{sections}");
    let tables = expect["tables"].as_object().unwrap();
    for name in tables.keys() {
        let (found, expect) = (rows(&dir.join("together"), name), rows(&dir.join("alone"), name));
        let other = found.iter().zip(&expect).find(|(found, expect)| found != expect);
        assert!(found == expect, "{name} of {sections}: {} rows, not {}; {other:?}", found.len(), expect.len());
    }
    let mut left: Vec<String> = files(&dir.join("together")).into_keys().collect();
    left.retain(|name| name != "manifest.json" && !tables.keys().any(|table| name.starts_with(&format!("{table}/"))));
    assert!(left.is_empty(), "left behind: {left:?}");
    assert!(files(&dir.join("together")).keys().all(|name| !name.contains("lost")), "a try that was lost is visible");
    (together.n_units, together.n_proven_sets)
}

fn samples() -> Vec<String> {
    ["banking.jsonl", "laws.jsonl", "licences.jsonl"].map(sample).into()
}

fn write_lines(path: &Path, rows: &[Value]) {
    fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

/// Every so many lines of the sample data.
fn every(n: usize, path: &Path) {
    let all: String = samples().iter().map(|sample| fs::read_to_string(sample).unwrap()).collect();
    let some: String = all.lines().step_by(n).flat_map(|line| [line, "\n"]).collect();
    fs::write(path, some).unwrap();
}
