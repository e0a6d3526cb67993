//! Runs on a cluster that are added to others, in turn with those of one machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::driver::{Driver, Place, Session};
use super::{comparable, config, every, rows};
use crate::append::{commits, delta};
use crate::support::s3::S3Server;
use crate::support::{command, files, finish, tamis};

/// Rows come in several files, so that they are named by their places.
const APPEND: &str = "input:id = \"\";mode = \"append\"\n[deduplicate]\nthreshold = 0.6";

/// Every so many lines of the sample data, as a new input of both engines.
fn arrives(dir: &Path, n: usize) {
    fs::create_dir_all(dir.join("in")).unwrap();
    every(n, &dir.join(format!("in/{n}.jsonl")));
}

fn by_cluster<'a>(dir: &'a Path, out: &str) -> Driver<'a> {
    Driver { n_parts: 2, ..Driver::new(Place::at(dir), dir.join(format!("{out}.toml")), 60_000) }
}

fn alone(dir: &Path, out: &str) -> Value {
    let run = tamis(dir, &format!("run {out}.toml --format json --footprint off"));
    assert!(run.code < 2, "{}", run.stderr);
    run.json()
}

/// What a session that has nothing to do says of it.
fn ended(dir: &Path, out: &str, flags: &[&str]) -> Value {
    let mut session = Session::start_with(Place::at(dir), &dir.join(format!("{out}.toml")), 60_000, flags);
    let units = session.read();
    assert_eq!((units.batch.num_rows(), session.end().0), (0, Some(0)));
    serde_json::from_str(&units.ended.expect("it says why")).unwrap()
}

/// Names of Parquet files that are there, and of those that the commits name.
fn found_and_named(out: &Path) -> [BTreeSet<String>; 2] {
    found_and_named_of(out, &commits(out))
}

fn found_and_named_of(out: &Path, commits: &[Value]) -> [BTreeSet<String>; 2] {
    let is_table = |name: &String| name.ends_with(".parquet") && !name.starts_with("_tamis");
    let found = files(out).into_keys().filter(is_table).collect();
    let mut named = BTreeSet::new();
    for commit in commits {
        let tables = commit["manifest"]["tables"].as_object().unwrap().values();
        let of_tables = tables.flat_map(|table| table["files"].as_array().unwrap().clone());
        named.extend(of_tables.map(|file| file["path"].as_str().unwrap().to_owned()));
    }
    [found, named]
}

/// Ids in a table as readers of Delta Lake tables see it.
fn live_ids(dir: &Path, out: &str, table: &str) -> Value {
    delta(dir, &[], &[format!("{out}/{table}")]).remove(0)["ids"].clone()
}

fn check_equal(dir: &Path, tables: &[&str]) {
    for table in tables {
        let [together, alone] = ["together", "alone"].map(|out| rows(&dir.join(out), table));
        assert!(together == alone, "{table}: {} rows, not {}", together.len(), alone.len());
    }
}

#[test]
fn each_run_adds_what_is_new() {
    for (more, tables) in [
        ("", &["kept", "dropped", "evidence"][..]),
        ("keep = \"longest\"\n[score]\n[select]\nbudget = 9", &["kept", "dropped", "evidence", "scores", "batch"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        for out in ["alone", "together"] {
            config(dir.path(), out, &["in".into()], &format!("{APPEND}\n{more}"));
        }
        for (version, arriving) in [&[2, 3][..], &[5], &[7]].into_iter().enumerate() {
            for &n in arriving {
                arrives(dir.path(), n);
            }
            let expect = &alone(dir.path(), "alone")["manifest"];
            let found = by_cluster(dir.path(), "together").run();
            assert!(found.n_units > arriving.len());
            assert_eq!(comparable(&found.manifest), comparable(expect), "{version} of {more}");
            assert_eq!(commits(&dir.path().join("together")).len(), version + 1);
            check_equal(dir.path(), tables);
        }
        assert_eq!(ended(dir.path(), "together", &[]), serde_json::json!({"nothing_new": 4}));
        for table in ["kept", "dropped"] {
            let expect = live_ids(dir.path(), "alone", table);
            assert!(expect.as_array().unwrap().len() > 10);
            assert_eq!(live_ids(dir.path(), "together", table), expect);
        }
        let [found, named] = found_and_named(&dir.path().join("together"));
        assert_eq!(found, named);
        tamis(dir.path(), "verify together").expect_code(0);
        tamis(dir.path(), "index verify together/_tamis/index").expect_code(0);
        let rows_of = |index: &str| -> u64 {
            let shown = tamis(dir.path(), &format!("index show {index} --format json")).json();
            shown["segments"].as_array().unwrap().iter().map(|segment| segment["rows"].as_u64().unwrap()).sum()
        };
        assert!(rows_of("alone/_tamis/index") > 10);
        assert_eq!(rows_of("together/_tamis/index"), rows_of("alone/_tamis/index"));
        // What a run that was killed behind its commit has left undone, the next one does, be there new files or not.
        let index = dir.path().join("together/_tamis/index/index.json");
        let whole = fs::read(&index).unwrap();
        let mut behind: Value = serde_json::from_slice(&whole).unwrap();
        let before: Vec<Value> = behind["segments"].as_array().unwrap()[..1].to_vec();
        behind["segments"] = before.into();
        behind["followed"].as_object_mut().unwrap().values_mut().for_each(|version| *version = 0.into());
        fs::write(&index, behind.to_string()).unwrap();
        ended(dir.path(), "together", &[]);
        let listed =
            |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["segments"].as_array().unwrap().len();
        assert!(listed(&whole) > 3 && listed(&fs::read(&index).unwrap()) > 1);
    }
}

#[test]
fn one_machine_goes_on_where_a_cluster_was() {
    let dir = tempfile::tempdir().unwrap();
    for out in ["alone", "together"] {
        config(dir.path(), out, &["in".into()], APPEND);
    }
    for (n, is_cluster) in [(2, true), (3, false), (5, true)] {
        arrives(dir.path(), n);
        alone(dir.path(), "alone");
        if is_cluster {
            by_cluster(dir.path(), "together").run();
        } else {
            alone(dir.path(), "together");
        }
        check_equal(dir.path(), &["kept", "dropped", "evidence"]);
    }
    // A file of the first run has changed: only one machine puts its rows in the place of the earlier ones.
    every(11, &dir.path().join("in/2.jsonl"));
    let refused = by_cluster(dir.path(), "together");
    let mut session = Session::start(refused.place, &refused.config, refused.unit_bytes);
    let told = session.try_read().map(|stream| stream.batch.num_rows()).unwrap_err();
    assert!(told.contains("2.jsonl` has changed") && told.contains("without --engine spark"), "{told}");
    for out in ["alone", "together"] {
        assert_ne!(alone(dir.path(), out)["withdrawn_rows"], 0);
    }
    arrives(dir.path(), 7);
    alone(dir.path(), "alone");
    by_cluster(dir.path(), "together").run();
    for table in ["kept", "dropped"] {
        assert_eq!(live_ids(dir.path(), "together", table), live_ids(dir.path(), "alone", table), "{table}");
    }
    tamis(dir.path(), "verify together").expect_code(0);
}

#[test]
fn who_is_overtaken_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for out in ["alone", "together"] {
        config(dir.path(), out, &["in".into()], &APPEND.replace(';', ";lease = \"0s\"\n"));
    }
    arrives(dir.path(), 2);
    arrives(dir.path(), 3);
    alone(dir.path(), "alone");
    let driver = by_cluster(dir.path(), "together");
    // The other one reads the same files.
    driver.expect_refusal(
        |records| {
            alone(dir.path(), "together");
            records
        },
        "other runs were added",
    );
    let [found, named] = found_and_named(&dir.path().join("together"));
    assert_eq!(found, named);
    assert_eq!(ended(dir.path(), "together", &[]), serde_json::json!({"nothing_new": 2}));
    arrives(dir.path(), 5);
    alone(dir.path(), "alone");
    driver.run();
    check_equal(dir.path(), &["kept", "dropped", "evidence"]);
    tamis(dir.path(), "index verify together/_tamis/index").expect_code(0);
}

#[test]
fn whose_lease_is_taken_over_says_so() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), "together", &["in".into()], &APPEND.replace(';', ";lease = \"3s\"\n"));
    arrives(dir.path(), 5);
    by_cluster(dir.path(), "together").expect_refusal(
        |records| {
            let leases = dir.path().join("together/_tamis/lease");
            let held = fs::read_dir(&leases).unwrap().next().unwrap().unwrap().path();
            let mut record: Value = serde_json::from_slice(&fs::read(&held).unwrap()).unwrap();
            record["epoch"] = 2.into();
            fs::write(leases.join(format!("{:020}.json", 2)), record.to_string()).unwrap();
            std::thread::sleep(std::time::Duration::from_secs(4));
            records
        },
        "taken over",
    );
    let [found, _] = found_and_named_of(&dir.path().join("together"), &[]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), "together", &["in".into()], &APPEND.replace(';', ";lease = \"3s\"\n"));
    arrives(dir.path(), 5);
    let driver = by_cluster(dir.path(), "together");
    let records_of_others = |records| {
        assert!(ended(dir.path(), "together", &["--if-locked", "skip"])["skipped"].is_string());
        let late = tamis(dir.path(), "run together.toml --if-locked skip --footprint off").expect_code(0);
        assert!(late.stdout.contains("another run is adding"), "{}", late.stdout);
        let mut late = Session::start(driver.place, &driver.config, driver.unit_bytes);
        assert!(late.try_read().err().unwrap().contains("is adding to"), "it waits");
        assert_eq!(late.end().0, Some(75));
        records
    };
    driver.try_run_and(records_of_others).map(|ended| assert!(ended.n_units > 2)).unwrap();
    assert_eq!(commits(&dir.path().join("together")).len(), 1);
    // What does not come to its end leaves nothing, and nobody has to wait for it.
    arrives(dir.path(), 7);
    let [before, _] = found_and_named(&dir.path().join("together"));
    let segments = files(&dir.path().join("together/_tamis/index/segments")).into_keys().collect::<Vec<_>>();
    assert!(Driver { commits: false, ..by_cluster(dir.path(), "together") }.try_run().is_err());
    assert_eq!(found_and_named(&dir.path().join("together"))[0], before);
    let left = files(&dir.path().join("together/_tamis/index/segments")).into_keys().collect::<Vec<_>>();
    assert_eq!(left, segments);
    driver.run();
    let wrong = tamis(dir.path(), "kernel session together.toml --overwrite");
    assert!(wrong.code == 2 && wrong.stderr.contains("nothing to overwrite"), "{}", wrong.stderr);
}

#[test]
fn outputs_in_a_bucket() {
    let server = S3Server::start("tamis-test");
    let environment = server.environment();
    let dir = tempfile::tempdir().unwrap();
    let out = server.url("out");
    for name in ["alone", "together"] {
        let path = config(dir.path(), name, &["in".into()], APPEND);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("path = \"together\"", &format!("path = \"{out}\""))).unwrap();
    }
    let in_bucket = |args: &str| {
        let mut command = command(dir.path());
        finish(command.args(args.split_whitespace()).envs(environment.iter().cloned())).expect_code(0)
    };
    let place = Place { environment: &environment, ..Place::at(dir.path()) };
    for (n, is_cluster) in [(2, true), (3, false), (5, true)] {
        arrives(dir.path(), n);
        alone(dir.path(), "alone");
        if is_cluster {
            Driver { place, ..by_cluster(dir.path(), "together") }.run();
        } else {
            in_bucket("run together.toml --footprint off");
        }
    }
    for table in ["kept", "dropped"] {
        let found = delta(dir.path(), &environment, &[format!("{out}/{table}")]).remove(0)["ids"].clone();
        assert_eq!(found, live_ids(dir.path(), "alone", table), "{table}");
    }
    assert_eq!(in_bucket(&format!("verify {out} --format json")).json()["orphans"], serde_json::json!([]));
    // A session that ends early takes back what its tasks have put there.
    arrives(dir.path(), 7);
    assert!(Driver { place, commits: false, ..by_cluster(dir.path(), "together") }.try_run().is_err());
    assert_eq!(in_bucket(&format!("verify {out} --format json")).json()["orphans"], serde_json::json!([]));
}
