//! Object stores that fail: a run ends well, or with an error that says why, and what is there stays whole.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::proxy::{Fault, Proxy};
use crate::support::s3::S3Server;
use crate::support::{Ended, command, finish, root, sample};

/// Rows of each of the two input files.
const N_ROWS: usize = 60;

/// What is done to which requests: number, method, path.
type Harm = fn(u32, &str, &str) -> Option<Fault>;

fn every(fault: Fault, nth: u32, number: u32) -> Option<Fault> {
    (number % nth == nth - 1).then_some(fault)
}

/// A run of one file through faults, then a run of another without: what the first did is whole.
struct Trial<'a> {
    server: &'a S3Server,
    dir: &'a Path,
    name: String,
}

impl<'a> Trial<'a> {
    fn new(server: &'a S3Server, dir: &'a Path, name: &str) -> Self {
        let trial = Self { server, dir, name: name.to_owned() };
        let config = format!(
            "[input]\npaths = [\"{}\"]\n[deduplicate]\nthreshold = 0.7\n[output]\npath = \"{}\"\nmode = \"append\"\n",
            server.url(&format!("{name}/in/")),
            trial.out(),
        );
        std::fs::write(dir.join(format!("{name}.toml")), config).unwrap();
        trial.put(0);
        trial
    }

    fn out(&self) -> String {
        self.server.url(&format!("{}/out", self.name))
    }

    fn put(&self, file: usize) {
        let text = std::fs::read_to_string(sample("licences.jsonl")).unwrap();
        let lines: Vec<&str> = text.lines().skip(file * N_ROWS).take(N_ROWS).collect();
        let path = self.dir.join("part.jsonl");
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        self.server.put(&format!("{}/in/{file}.jsonl", self.name), &path);
    }

    fn tamis(&self, args: &str, environment: Vec<(&'static str, String)>) -> Ended {
        finish(command(self.dir).args(args.split(' ')).envs(environment))
    }

    /// The run through faults, and the faults that were done.
    fn run_with(&self, harm: Harm) -> (Ended, Vec<Fault>) {
        let proxy = Proxy::start(self.server.port(), harm);
        let ended = self.tamis(&format!("run {}.toml", self.name), S3Server::environment_at(proxy.port()));
        assert!(!ended.stderr.contains("panicked"), "{}: {}", self.name, ended.stderr);
        (ended, proxy.done())
    }

    /// Whether the output is whole after another run without faults; gives the number of runs.
    fn check(&self) -> usize {
        self.put(1);
        let environment = || self.server.environment();
        self.tamis(&format!("run {}.toml", self.name), environment()).expect_code(0);
        self.tamis(&format!("verify {}", self.out()), environment()).expect_code(0);
        let runs = self.tamis(&format!("runs {} --format json", self.out()), environment()).expect_code(0).json();
        let runs = runs.as_array().unwrap();
        let sum = |of: &str| runs.iter().map(|run| run["rows"][of].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("rows_in"), 2 * N_ROWS as u64, "{}: every input is read once", self.name);
        let tables = ["kept", "dropped"];
        let mut python = Command::new("python3");
        python.arg(root().join("tests/support/read_delta.py"));
        python.args(tables.map(|table| format!("{}/{table}", self.out()))).envs(environment());
        python.env("PYTHONPATH", std::env::var("TAMIS_TEST_PEERS").unwrap());
        let seen = finish(&mut python).expect_code(0).stdout;
        for (line, table) in seen.lines().zip(tables) {
            let seen: Value = serde_json::from_str(line).unwrap();
            assert_eq!(seen["rows"], sum(table), "{}: {table}", self.name);
        }
        runs.len()
    }
}

fn is_commit(path: &str) -> bool {
    path.contains("/_tamis/commits/")
}

#[test]
fn faults_that_pass_are_survived() {
    let server = S3Server::start("faults");
    let dir = tempfile::tempdir().unwrap();
    let harms: [(&str, Harm); 8] = [
        ("slow-down", |number, _, _| every(Fault::SlowDown, 5, number)),
        ("storm", |number, _, _| (10..22).contains(&number).then_some(Fault::SlowDown)),
        ("internal", |number, _, _| every(Fault::Internal, 4, number)),
        ("get-reset", |number, method, _| every(Fault::Reset, 3, number).filter(|_| method == "GET")),
        ("get-cut", |number, method, path| {
            every(Fault::CutBody, 2, number).filter(|_| method == "GET" && path.contains(".jsonl"))
        }),
        ("commit-answer-lost", |_, method, path| (method == "PUT" && is_commit(path)).then_some(Fault::AnswerLost)),
        ("commit-done-but-failed", |_, method, path| {
            (method == "PUT" && is_commit(path)).then_some(Fault::DoneButFailed)
        }),
        ("put-done-but-failed", |number, method, path| {
            every(Fault::DoneButFailed, 3, number).filter(|_| method == "PUT" && path.contains("/_delta_log/"))
        }),
    ];
    for (name, harm) in harms {
        let trial = Trial::new(&server, dir.path(), name);
        let (ended, done) = trial.run_with(harm);
        assert!(!done.is_empty(), "{name}: no fault was done");
        assert_eq!(ended.code, 0, "{name}: {done:?}\n{}", ended.stderr);
        assert_eq!(trial.check(), 2, "{name}");
    }
}

#[test]
fn what_fails_for_good_leaves_the_output_whole() {
    let server = S3Server::start("failures");
    let dir = tempfile::tempdir().unwrap();
    let harms: [(&str, Harm, i32, &str); 6] = [
        ("denied", |_, _, _| Some(Fault::Denied), 77, "access denied"),
        ("expired", |number, _, _| (number > 12).then_some(Fault::Expired), 77, "credentials"),
        ("skewed", |_, _, _| Some(Fault::Skewed), 77, "clock"),
        ("put-denied", |_, method, _| (method == "PUT").then_some(Fault::Denied), 77, "access denied"),
        (
            "multipart-answer-lost",
            |_, method, path| (method == "POST" && path.contains("uploadId")).then_some(Fault::AnswerLost),
            69,
            "could not write",
        ),
        (
            "commit-denied",
            |_, method, path| (method == "PUT" && is_commit(path)).then_some(Fault::Denied),
            77,
            "could not write",
        ),
    ];
    for (name, harm, code, words) in harms {
        let trial = Trial::new(&server, dir.path(), name);
        let (ended, done) = trial.run_with(harm);
        assert!(!done.is_empty(), "{name}: no fault was done");
        assert_eq!(ended.code, code, "{name}: {done:?}\n{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{name}: {}", ended.stderr);
        assert_eq!(trial.check(), 1, "{name}: the run that failed was added");
    }
}

#[test]
fn a_commit_of_which_nobody_knows_keeps_its_files() {
    let server = S3Server::start("unknown");
    let dir = tempfile::tempdir().unwrap();
    let trial = Trial::new(&server, dir.path(), "unknown");
    let (ended, done) = trial.run_with(|_, method, path| match method {
        _ if !is_commit(path) => None,
        "PUT" => Some(Fault::AnswerLost),
        "GET" => Some(Fault::Reset),
        _ => None,
    });
    assert_eq!(ended.code, 69, "{done:?}\n{}", ended.stderr);
    assert_eq!(trial.check(), 2, "the commit is there, and so is what it names");
}
