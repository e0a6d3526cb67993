//! Rounds of labelling: `tamis al`.

mod imports;
mod rounds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::s3::S3Server;
use crate::support::{Ended, command, files, finish, json_lines, root, sample, tamis};

/// A loop in a folder, and whoever knows the label of every row.
struct Loop {
    dir: tempfile::TempDir,
    truth: BTreeMap<String, String>,
    ledger: String,
    environment: Vec<(&'static str, String)>,
}

impl Loop {
    /// Over `rows` of id, text and label.
    fn over(rows: &[(String, String, String)], flags: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_rows(&dir.path().join("pool/1.jsonl"), rows);
        let truth = rows.iter().map(|(id, _, label)| (id.clone(), label.clone())).collect();
        let begun = Self { dir, truth, ledger: "loop".into(), environment: Vec::new() };
        begun.al(&format!("init loop pool {flags}")).expect_code(0);
        begun
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn al(&self, args: &str) -> Ended {
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        finish(command(self.dir.path()).arg("al").args(args.split_whitespace()).envs(environment))
    }

    fn select(&self, flags: &str) -> Value {
        self.al(&format!("select {} {flags} --format json", self.ledger)).expect_code(0).json()["round"].take()
    }

    fn status(&self) -> Value {
        self.al(&format!("status {} --format json", self.ledger)).expect_code(0).json()
    }

    /// Rows that a round hands out, as exported files have them.
    fn tasks(&self, round: u32) -> Vec<Value> {
        let ledger = &self.ledger;
        let args = format!("export {ledger} --tool jsonl --round {round} -o tasks-{round} --overwrite --format json");
        let exported = self.al(&args).expect_code(0).json();
        let files = exported["files"].as_array().unwrap();
        files.iter().flat_map(|file| json_lines(self.path(file.as_str().unwrap()).to_str().unwrap())).collect()
    }

    /// Their ids.
    fn handed_out(&self, round: u32) -> Vec<String> {
        self.tasks(round).iter().map(|row| row["tamis_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Writes labels as somebody who knows them all would give them.
    fn label(&self, ids: &[String], file: &str) {
        let lines = ids.iter().map(|id| json!({"tamis_id": id, "label": self.truth[id]}));
        write_lines(&self.path(file), lines);
    }

    fn import(&self, file: &str) -> Ended {
        self.al(&format!("import {} {file} --tool jsonl --format json", self.ledger))
    }

    /// One round: select, export, label, import.
    fn turn(&self, flags: &str) -> (Value, Vec<String>) {
        let round = self.select(flags);
        let ids = self.handed_out(round["round"].as_u64().unwrap() as u32);
        let file = format!("labels-{}.jsonl", round["round"]);
        self.label(&ids, &file);
        self.import(&file).expect_code(0);
        (round, ids)
    }
}

fn write_lines(path: &Path, lines: impl Iterator<Item = Value>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

fn write_rows(path: &Path, rows: &[(String, String, String)]) {
    write_lines(path, rows.iter().map(|(id, text, _)| json!({"id": id, "text": text})));
}

/// Questions of a bank's customers: those of some intents.
fn banking(n_intents: usize) -> Vec<(String, String, String)> {
    let field = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = json_lines(&sample("banking.jsonl"));
    let intents: BTreeSet<String> = rows.iter().map(|row| field(row, "label")).collect();
    let intents: BTreeSet<String> = intents.into_iter().take(n_intents).collect();
    let rows = rows.iter().map(|row| (field(row, "id"), field(row, "text"), field(row, "label")));
    rows.filter(|(_, _, label)| intents.contains(label)).collect()
}

/// Rows of two classes that a word tells apart.
fn fruit(n: usize) -> Vec<(String, String, String)> {
    let of = |n: usize| if n.is_multiple_of(2) { "apple" } else { "pear" };
    let places = ["the garden", "a shop", "my kitchen", "some orchard", "that old market"];
    (0..n)
        .map(|n| (format!("f{n}"), format!("number {n} is an {} from {}", of(n), places[n % 5]), of(n).into()))
        .collect()
}
