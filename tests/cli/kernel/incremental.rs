//! Runs over an index: what earlier ones have kept, and what is left of tasks that were lost.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use serde_json::Value;

use super::driver::{Driver, Place};
use super::{check, config, every, records, rows};
use crate::support::s3::S3Server;
use crate::support::{command, finish, tamis};

/// Names of the segments that are there.
fn segments(index: &Path) -> Vec<String> {
    let entries = fs::read_dir(index.join("segments")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What befalls the segments of tasks before they are committed.
#[derive(Clone, Copy)]
enum Lose {
    Record,
    Files,
}

impl Lose {
    fn from(self, index: &Path, records: RecordBatch) -> RecordBatch {
        match self {
            Self::Record => records::without_kind(&records, 14),
            Self::Files => {
                let listed = fs::read_to_string(index.join("index.json")).unwrap();
                for segment in segments(index).iter().filter(|segment| !listed.contains(*segment)) {
                    fs::remove_file(index.join("segments").join(segment).join("keys.parquet")).unwrap();
                }
                records
            }
        }
    }
}

#[test]
fn runs_that_look_at_what_earlier_ones_have_kept() {
    for settings in
        ["threshold = 0.7", "threshold = 0.6\nkeep = \"longest\"\ncap_cluster = 2", "threshold = 0.6\nrecall = 1.0"]
    {
        let dir = tempfile::tempdir().unwrap();
        let inputs: Vec<String> =
            ["second.jsonl", "third.jsonl", "fifth.jsonl", "seventh.jsonl"].map(str::to_owned).into();
        for (n, name) in [2, 3, 5, 7].into_iter().zip(&inputs) {
            every(n, &dir.path().join(name));
        }
        let sections = format!("[deduplicate]\n{settings}\n[index]\nurl = \"{{out}}_index\"");
        check(dir.path(), &inputs[..1], &sections, 40_000, 2);
        let (n_units, _) = check(dir.path(), &inputs[1..2], &sections, 60_000, 3);
        assert!(n_units > 2);
        // What a lost try has added is gone, and the rest is whole.
        let index = dir.path().join("together_index");
        let listed: Value = serde_json::from_slice(&fs::read(index.join("index.json")).unwrap()).unwrap();
        let mut paths: Vec<&str> = listed["segments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|segment| segment["path"].as_str().unwrap().strip_prefix("segments/").unwrap())
            .collect();
        paths.sort_unstable();
        assert_eq!(segments(&index), paths);
        assert!(paths.len() > 3, "{paths:?}");
        tamis(dir.path(), "index verify together_index").expect_code(0);
        // One machine finds there what it finds in its own.
        for out in ["alone", "together"] {
            config(dir.path(), &format!("{out}_third"), &inputs[2..3], &sections.replace("{out}", out));
            tamis(dir.path(), &format!("run {out}_third.toml --footprint off")).expect_code(0);
        }
        for table in ["kept", "dropped", "evidence"] {
            let [together, alone] = ["together_third", "alone_third"].map(|out| rows(&dir.path().join(out), table));
            assert!(together == alone, "{table}");
        }
        // A segment that is lost on its way, or removed, ends the run.
        for (lose, expect) in [(Lose::Record, "went to the index"), (Lose::Files, "is not there any more")] {
            let config = config(dir.path(), "lossy", &inputs[3..], &sections.replace("{out}", "together"));
            let place = Place::at(dir.path());
            let driver = Driver::new(place, config, 60_000);
            let message = driver.try_run_and(|records| lose.from(&index, records)).map(|ended| ended.code).unwrap_err();
            assert!(message.contains(expect), "{message}");
            tamis(dir.path(), "index verify together_index").expect_code(0);
        }
        // What does not come to its end leaves nothing.
        let before = segments(&index);
        let config = config(dir.path(), "stopped", &inputs[3..], &sections.replace("{out}", "together"));
        let driver = Driver { commits: false, ..Driver::new(Place::at(dir.path()), config, 60_000) };
        assert!(driver.try_run().is_err());
        assert_eq!(segments(&index), before);
    }
}

/// As on one machine, a run that takes the place of another one takes its rows out of the index, too.
#[test]
fn an_output_is_replaced_and_an_index_in_a_bucket() {
    let server = S3Server::start("tamis-test");
    let environment = server.environment();
    let dir = tempfile::tempdir().unwrap();
    let inputs = ["second.jsonl", "third.jsonl"].map(str::to_owned);
    for (n, name) in [2, 3].into_iter().zip(&inputs) {
        every(n, &dir.path().join(name));
    }
    let place = Place { environment: &environment, ..Place::at(dir.path()) };
    let in_bucket = |args: &str| {
        let mut command = command(dir.path());
        finish(command.args(args.split_whitespace()).envs(environment.iter().cloned())).expect_code(0)
    };
    let sections = |out: &str| {
        format!("[deduplicate]\nthreshold = 0.6\n[index]\nurl = \"{}\"", server.url(&format!("{out}_index")))
    };
    // The second run looks at the rows of the first one; the third takes its place, and looks at those of the first one again.
    for (out, input, overwrite) in [("first", 0, false), ("second", 1, false), ("second", 1, true)] {
        let alone = config(dir.path(), &format!("alone_{out}"), &inputs[input..=input], &sections("alone"));
        let flag = if overwrite { "--overwrite" } else { "" };
        in_bucket(&format!("run {} --footprint off {flag}", alone.display()));
        let together = config(dir.path(), &format!("together_{out}"), &inputs[input..=input], &sections("together"));
        let ended = Driver { overwrite, ..Driver::new(place, together, 60_000) }.run();
        assert!(ended.n_units > 2);
        for table in ["kept", "dropped", "evidence"] {
            let [together, alone] =
                ["together", "alone"].map(|engine| rows(&dir.path().join(format!("{engine}_{out}")), table));
            assert!(together == alone, "{table} of {out}, {overwrite}");
        }
        let index = &ended.manifest["index"];
        assert_eq!(index["dropped_rows"].as_u64() > Some(0), out == "second", "{index}");
    }
    let rows_of = |engine: &str| {
        let index = server.url(&format!("{engine}_index"));
        in_bucket(&format!("index verify {index} --format json")).json()["rows"].clone()
    };
    assert_eq!(rows_of("together"), rows_of("alone"));
    assert!(rows_of("alone").as_u64() > Some(0));
}
