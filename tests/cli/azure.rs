//! Azure's interface, by Azurite: runs that are added up, classes of tiers, archived blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::azurite::Azurite;
use crate::support::{Ended, command, finish, json_lines, sample, strings, table};

const CONFIG: &str = r#"
[input]
paths = ["in"]
[deduplicate]
threshold = 0.7
[output]
path = "OUTPUT"
mode = "append"
[tiers.cold]
class = "cold"
[tiers.archive]
class = "archive"
[routes]
evidence = "cold"
dropped = "archive"
"#;

/// Writes the config, and the sample licences in files of 100 rows; gives their ids.
fn fill(dir: &Path, output: &str) -> BTreeSet<String> {
    std::fs::write(dir.join("run.toml"), CONFIG.replace("OUTPUT", output)).unwrap();
    std::fs::create_dir(dir.join("in")).unwrap();
    let text = std::fs::read_to_string(sample("licences.jsonl")).unwrap();
    let rows: Vec<&str> = text.lines().collect();
    for (part, rows) in rows.chunks(100).enumerate() {
        std::fs::write(dir.join(format!("in/{part}.jsonl")), rows.join("\n") + "\n").unwrap();
    }
    json_lines(&sample("licences.jsonl")).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn runs_are_added_and_archived_rows_restored() {
    let azure = Azurite::start("tamis-azure");
    let dir = tempfile::tempdir().unwrap();
    let run =
        |args: &str| -> Ended { finish(command(dir.path()).args(args.split_whitespace()).envs(azure.environment())) };
    let out = azure.url("out");
    let ids = fill(dir.path(), &out);
    let checked = run("tiers check run.toml").expect_code(0).stdout;
    assert!(checked.contains("an object that is there is not created again"), "{checked}");
    let later = dir.path().join("later.jsonl");
    std::fs::rename(dir.path().join("in/1.jsonl"), &later).unwrap();
    run("run run.toml").expect_code(0);
    assert!(run("run run.toml").expect_code(0).stdout.contains("nothing new"));
    std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
    run("run run.toml").expect_code(0);

    let tiers = |table: &str| -> BTreeSet<String> {
        let prefix = format!("out/{table}/");
        let is_file = |name: &str| name.starts_with(&prefix) && name.ends_with(".parquet");
        azure.list().into_iter().filter(|(name, _)| is_file(name)).map(|(_, tier)| tier).collect()
    };
    let classes: BTreeMap<&str, BTreeSet<String>> =
        ["kept", "evidence", "dropped"].map(|table| (table, tiers(table))).into();
    let expect = |class: &str| BTreeSet::from([class.to_owned()]);
    assert_eq!(classes, [("kept", expect("Hot")), ("evidence", expect("Cold")), ("dropped", expect("Archive"))].into());

    run(&format!("inspect {out}")).expect_code(0);
    let verified = run(&format!("verify {out}")).expect_code(0).stdout;
    assert!(verified.contains("is sound") && verified.contains("2 files in an archive"), "{verified}");
    let dropped = run(&format!("export {out} --files --table dropped")).expect_code(0).stdout;
    let told = run(&format!("convert {} -o converted", dropped.lines().next().unwrap())).expect_code(2).stderr;
    assert!(told.contains("archive (Archive)") && told.contains("tamis restore"), "{told}");

    let restore = |rest: &str| run(&format!("restore {out} -o back {rest}"));
    let asked = restore("--restore-tier expedited --format json").expect_code(75).json();
    assert_eq!((&asked["waiting"]["asked"]["files"], &asked["waiting"]["hours"]), (&2.into(), &1.into()), "{asked:#}");
    // Here, what is asked for is back at once.
    assert_eq!(tiers("dropped"), expect("Hot"));
    restore("").expect_code(0);
    let back: BTreeSet<String> = strings(&table(&dir.path().join("back"), "kept").1, "tamis_id").into_iter().collect();
    assert_eq!(back, ids);
    assert!(run(&format!("gc {out} --grace 0h")).expect_code(0).stdout.contains("0 files removed"));
}

#[test]
fn of_two_runs_at_once_each_input_is_in_one() {
    let azure = Azurite::start("tamis-two");
    let dir = tempfile::tempdir().unwrap();
    let out = azure.url("out");
    fill(dir.path(), &out);
    let start = || {
        let mut tamis = command(dir.path());
        tamis.args(["run", "run.toml"]).envs(azure.environment()).stdout(std::process::Stdio::null());
        tamis.spawn().unwrap()
    };
    let workers = [start(), start()];
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    let mut tamis = command(dir.path());
    let runs = finish(tamis.args(["runs", &out, "--format", "json"]).envs(azure.environment())).expect_code(0).json();
    let n_files: u64 = runs.as_array().unwrap().iter().map(|run| run["files"].as_u64().unwrap()).sum();
    assert_eq!(n_files, 4, "{runs:#}");
}
