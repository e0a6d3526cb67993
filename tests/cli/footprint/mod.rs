//! What a run used, and what is said of it: `tamis footprint`.

mod account;
mod forms;
mod judgements;
mod start;

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
