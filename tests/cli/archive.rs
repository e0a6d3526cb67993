//! Files that lie in an archive of a real server: asked for, waited for, restored.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::moto::{Moto, Thawing};
use crate::support::{Ended, command, finish, json_lines, sample, strings, table};

const CONFIG: &str = r#"
[input]
paths = ["INPUT"]
[deduplicate]
threshold = 0.7
[output]
path = "OUTPUT"
mode = "append"
[tiers.archive]
class = "archive"
[routes]
dropped = "archive"
"#;

/// A bucket, and a folder in which commands reach it.
struct Bucket {
    moto: Moto,
    dir: tempfile::TempDir,
}

impl Bucket {
    fn start(name: &str) -> Self {
        Self { moto: Moto::start(name), dir: tempfile::tempdir().unwrap() }
    }

    fn run(&self, args: &str) -> Ended {
        finish(command(self.dir.path()).args(args.split_whitespace()).envs(self.moto.environment()))
    }

    /// Adds a run for each part of the sample licences; gives the names of the runs.
    fn fill(&self, n_parts: usize, config: &str) -> Vec<String> {
        let rows = std::fs::read_to_string(sample("licences.jsonl")).unwrap();
        let rows: Vec<&str> = rows.lines().collect();
        let text = config.replace("INPUT", "in").replace("OUTPUT", &self.moto.url("out"));
        std::fs::write(self.dir.path().join("run.toml"), text).unwrap();
        std::fs::create_dir(self.dir.path().join("in")).unwrap();
        for (part, rows) in rows.chunks(rows.len().div_ceil(n_parts)).enumerate() {
            std::fs::write(self.dir.path().join(format!("in/{part}.jsonl")), rows.join("\n") + "\n").unwrap();
            self.run("run run.toml").expect_code(0);
        }
        let runs = self.run(&format!("runs {} --format json", self.moto.url("out"))).expect_code(0).json();
        runs.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
    }

    /// Keys of files that were asked for.
    fn asked_for(&self) -> BTreeSet<String> {
        self.moto.asked_for().into_iter().map(|(key, _)| key).collect()
    }

    fn files(&self, table: &str) -> BTreeSet<String> {
        let listed =
            self.run(&format!("export {} --files --table {table}", self.moto.url("out"))).expect_code(0).stdout;
        let bucket = self.moto.url("");
        listed.lines().map(|url| url.strip_prefix(&bucket).unwrap().to_owned()).collect()
    }
}

fn ids(out: &Path) -> BTreeSet<String> {
    strings(&table(out, "kept").1, "tamis_id").into_iter().collect()
}

fn all_ids() -> BTreeSet<String> {
    json_lines(&sample("licences.jsonl")).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn all_files_that_are_needed_are_asked_for_at_once() {
    let bucket = Bucket::start("tamis-archive");
    let n_runs = bucket.fill(3, CONFIG).len();
    let (out, back) = (bucket.moto.url("out"), bucket.dir.path().join("back"));
    let restore = |rest: &str| bucket.run(&format!("restore {out} -o back {rest}"));
    let dropped = bucket.files("dropped");
    assert_eq!((n_runs, dropped.len()), (3, 3));

    let refused = restore("--restore-tier expedited").expect_code(2).stderr;
    assert!(refused.contains("DEEP_ARCHIVE") && refused.contains("--restore-tier standard"), "{refused}");
    std::fs::create_dir(&back).unwrap();
    std::fs::write(back.join("mine"), "x").unwrap();
    assert!(restore("").expect_code(2).stderr.contains("is not empty"));
    assert_eq!(bucket.asked_for(), BTreeSet::new(), "what is refused asks for nothing");
    std::fs::remove_dir_all(&back).unwrap();
    restore("--kept-only").expect_code(0);
    assert_eq!(bucket.asked_for(), BTreeSet::new(), "kept rows lie in no archive");

    let asked = restore("--overwrite --restore-days 3 --restore-tier bulk --format json").expect_code(75).json();
    assert_eq!(asked["waiting"]["asked"]["files"], 3, "{asked:#}");
    assert_eq!(asked["waiting"]["coming"]["files"], 0);
    assert_eq!((&asked["waiting"]["hours"], &asked["waiting"]["days"]), (&48.into(), &3.into()));
    assert_eq!(asked["waiting"]["classes"], serde_json::json!(["DEEP_ARCHIVE"]));
    bucket.moto.set_thawing(Thawing::Never);
    assert_eq!(bucket.asked_for(), dropped);
    let again = restore("--overwrite").expect_code(75).stdout;
    assert!(again.contains("asked for before: 3 files") && !again.contains("asked for now"), "{again}");
    assert_eq!(ids(&back).len() as u64, bucket_rows(&bucket, "kept"), "what was there stays");

    bucket.moto.set_thawing(Thawing::AtOnce);
    restore("--overwrite").expect_code(0);
    assert_eq!(ids(&back), all_ids());
}

/// Rows of all runs.
fn bucket_rows(bucket: &Bucket, what: &str) -> u64 {
    let runs = bucket.run(&format!("runs {} --format json", bucket.moto.url("out"))).expect_code(0).json();
    runs.as_array().unwrap().iter().map(|run| run["rows"][what].as_u64().unwrap()).sum()
}

#[test]
fn only_runs_that_dropped_wanted_rows_are_asked_for() {
    let bucket = Bucket::start("tamis-selected");
    let runs = bucket.fill(3, CONFIG);
    let out = bucket.moto.url("out");
    let asked = |rest: &str| -> Value {
        bucket.run(&format!("restore {out} -o back --format json {rest}")).expect_code(75).json()["waiting"].take()
    };
    let of_run = |run: &str| -> BTreeSet<String> {
        bucket.files("dropped").into_iter().filter(|key| key.contains(run)).collect()
    };
    assert_eq!(asked(&format!("--run {}", runs[1]))["asked"]["files"], 1);
    assert_eq!(bucket.asked_for(), of_run(&runs[1]));

    bucket.run(&format!("restore {out} -o second --run {}", runs[1])).expect_code(0);
    let second = ids(&bucket.dir.path().join("second"));
    // Evidence, which is not archived, says which run dropped a row.
    let evidence = bucket.run(&format!("inspect {out} --format json --top 1000 --limit 1000")).expect_code(0).json();
    let cluster = evidence["overview"]["clusters"][0]["id"].as_str().unwrap().to_owned();
    let id = second.first().unwrap();
    bucket.run(&format!("restore {out} -o one --id {id}")).expect_code(0);
    assert_eq!(ids(&bucket.dir.path().join("one")), BTreeSet::from([id.clone()]));
    assert_eq!(bucket.asked_for(), of_run(&runs[1]));
    for wrong in ["--id no-such-row", "--cluster no-such-row", "--run no-such-run"] {
        let ended = bucket.run(&format!("restore {out} -o none {wrong}")).expect_code(2);
        assert!(ended.stderr.contains(wrong), "{}", ended.stderr);
    }
    assert_eq!(bucket.asked_for(), of_run(&runs[1]), "what is not there is not asked for");
    let waiting = asked(&format!("--cluster {cluster}"));
    bucket.run(&format!("restore {out} -o cluster --cluster {cluster}")).expect_code(0);
    assert!(waiting["asked"]["files"].as_u64().unwrap() <= 2, "one of three files was back: {waiting}");
}

#[test]
fn whoever_reads_an_archived_file_is_told() {
    let bucket = Bucket::start("tamis-told");
    bucket.fill(1, &format!("{CONFIG}evidence = \"archive\"\n"));
    let out = bucket.moto.url("out");
    let (evidence, dropped) = (bucket.files("evidence"), bucket.files("dropped"));
    let dropped_url = bucket.moto.url(dropped.first().unwrap());
    for (args, key) in [
        (format!("inspect {out}"), evidence.first().unwrap()),
        (format!("convert {dropped_url} -o converted"), dropped.first().unwrap()),
        (format!("dedup {dropped_url} -o deduplicated"), dropped.first().unwrap()),
    ] {
        let told = bucket.run(&args).expect_code(2).stderr;
        for expect in [key, "archive (DEEP_ARCHIVE)", "tamis restore OUT --ask-for"] {
            assert!(told.contains(expect), "{args}: {told}");
        }
    }
    let verified = bucket.run(&format!("verify {out}")).expect_code(0).stdout;
    assert!(verified.contains("is sound") && verified.contains("2 files in an archive: not read"), "{verified}");
    let verified = bucket.run(&format!("verify {out} --format json")).expect_code(0).json();
    assert_eq!(verified["archived"].as_array().map(Vec::len), Some(2));

    assert!(bucket.run(&format!("restore {out} --ask-for kept")).expect_code(0).stdout.contains("no file"));
    let asked = bucket.run(&format!("restore {out} --ask-for evidence")).expect_code(75).stdout;
    assert!(asked.contains("1 file ") && asked.contains("standard: back in 12 hours"), "{asked}");
    assert_eq!(bucket.asked_for(), evidence);
    bucket.run(&format!("inspect {out}")).expect_code(0);
    assert_eq!(
        bucket.run(&format!("verify {out} --format json")).expect_code(0).json()["archived"].as_array().map(Vec::len),
        Some(1)
    );
}
