//! `tamis tiers`: looks at a real store, and prints rules that it takes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::moto::Moto;
use crate::support::s3::{S3Server, put_lifecycle};
use crate::support::{Ended, command, files, finish, tamis};

fn config(dir: &Path, output: &str, rest: &str) {
    let text = format!("[input]\npaths = [\"in.jsonl\"]\n[deduplicate]\n[output]\npath = \"{output}\"\n{rest}");
    fs::write(dir.join("c.toml"), text).unwrap();
}

/// Level and message of a finding.
fn finding(report: &Value, tier: &str, subject: &str) -> (String, String) {
    let tiers = report["tiers"].as_array().unwrap();
    let tier = tiers.iter().find(|found| found["tier"] == tier).unwrap_or_else(|| panic!("no tier {tier}: {report:#}"));
    let findings = tier["findings"].as_array().unwrap();
    let found = findings.iter().find(|found| found["subject"] == subject);
    let found = found.unwrap_or_else(|| panic!("nothing about {subject}: {report:#}"));
    (found["level"].as_str().unwrap().to_owned(), found["message"].as_str().unwrap().to_owned())
}

#[track_caller]
fn expect(report: &Value, tier: &str, subject: &str, level: &str, message: &str) {
    let (found, text) = finding(report, tier, subject);
    assert!(found == level && text.contains(message), "{tier}, {subject}: {found}: {text}");
}

#[test]
fn a_real_bucket_is_checked_and_takes_the_rules() {
    let server = S3Server::start("tamis-tiers");
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &str, more: &[(&str, &str)]| -> Ended {
        finish(command(dir.path()).args(args.split_whitespace()).envs(server.environment()).envs(more.iter().copied()))
    };
    let url = server.url("out/run");
    let trash = format!(
        "[tiers.trash]\nurl = \"{}\"\nclass = \"cold\"\nretention = \"90d\"\n[routes]\ndropped = \"trash\"\nevidence = \"trash\"\n",
        server.url("trash")
    );
    config(dir.path(), &url, &trash);

    let report = run("tiers check c.toml --format json", &[]).expect_code(0).json();
    for tier in ["default", "trash"] {
        expect(&report, tier, "conditional_put", "ok", "not created again");
        expect(&report, tier, "incomplete_uploads", "warning", "no rule");
    }
    expect(&report, "trash", "retention", "ok", "90 days");
    assert_eq!((&report["level"], &report["tiers"][1]["class"]), (&"warning".into(), &"GLACIER_IR".into()));
    assert_eq!(server.list("out/"), [], "the probe stays behind");

    let printed = run("tiers lifecycle c.toml --format aws", &[]).expect_code(0);
    assert!(printed.stderr.contains("replaces every rule"), "{}", printed.stderr);
    fs::write(dir.path().join("rules.json"), &printed.stdout).unwrap();
    let rules = put_lifecycle("tamis-tiers", &dir.path().join("rules.json"), &server.environment());
    let other = Moto::start("tamis-tiers");
    let by_other = put_lifecycle("tamis-tiers", &dir.path().join("rules.json"), &other.environment());
    assert_eq!(by_other.as_array().map(Vec::len), rules.as_array().map(Vec::len), "{by_other:#}");
    let mut taken: Vec<(&str, i64, i64)> = rules
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            let prefix = rule["Filter"]["Prefix"].as_str().or(rule["Prefix"].as_str()).unwrap();
            assert_eq!(rule["Status"], "Enabled");
            let days = |action: &str, field: &str| rule[action][field].as_i64().unwrap_or(0);
            (prefix, days("Expiration", "Days"), days("AbortIncompleteMultipartUpload", "DaysAfterInitiation"))
        })
        .collect();
    taken.sort_unstable();
    let expected = [("out/run/", 0, 3), ("trash/", 0, 3), ("trash/dropped/", 90, 0), ("trash/evidence/", 90, 0)];
    assert_eq!(taken, expected, "{rules:#}");

    let report = run("tiers check c.toml --format json", &[]).expect_code(0).json();
    for tier in ["default", "trash"] {
        expect(&report, tier, "incomplete_uploads", "ok", "after 3 days");
    }
    let text = run("tiers check c.toml", &[]).expect_code(0).stdout;
    assert!(
        text.contains("trash at s3://tamis-tiers/trash, GLACIER_IR") && text.contains("0 errors, 0 warnings"),
        "{text}"
    );

    let wrong = [("AWS_SECRET_ACCESS_KEY", "not-the-secret")];
    let ended = run("tiers check c.toml --format json", &wrong).expect_code(2);
    assert!(!ended.stdout.contains("not-the-secret"), "{}", ended.stdout);
    expect(&ended.json(), "default", "conditional_put", "error", "credentials");
}

#[test]
fn what_costs_too_much_or_cannot_be_read_is_found() {
    let server = S3Server::start("tamis-classes");
    let dir = tempfile::tempdir().unwrap();
    let check = |tier: &str, code: i32| {
        let rest = format!("[tiers.cold]\nurl = \"{}\"\n{tier}\n[routes]\ndropped = \"cold\"\n", server.url("cold"));
        config(dir.path(), &server.url("out"), &rest);
        let mut tamis = command(dir.path());
        finish(tamis.args(["tiers", "check", "c.toml", "--format", "json"]).envs(server.environment()))
            .expect_code(code)
            .json()
    };
    let report = check("class = \"cold\"\nretention = \"30d\"\nfile_size = \"64KiB\"", 0);
    expect(&report, "cold", "retention", "warning", "30 days are kept, 90 are billed");
    expect(&report, "cold", "file_size", "warning", "billed as 128 KiB");
    let report = check("class = \"archive\"\nfile_size = \"64MiB\"", 0);
    expect(&report, "cold", "class", "ok", "180 days");
    expect(&report, "cold", "file_size", "warning", "64MiB");
    let report = check("native = \"GLACIAL\"", 2);
    expect(&report, "cold", "settings", "error", "GLACIAL");
    let report = check("credentials = \"env:NOBODY_\"", 2);
    expect(&report, "cold", "settings", "error", "NOBODY_AWS_");
    let report = check("[tiers.spare]\n[tiers.default]\nclass = \"archive\"", 2);
    expect(&report, "default", "class", "error", "cannot be read");
    expect(&report, "spare", "tables", "warning", "no table");
}

#[test]
fn folders_are_checked_too_and_left_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let trash = "[tiers.trash]\nurl = \"a/b/trash\"\nretention = \"30d\"\n[routes]\ndropped = \"trash\"\n";
    config(dir.path(), "out", trash);
    let report = tamis(dir.path(), "tiers check c.toml --format json").expect_code(0).json();
    expect(&report, "default", "conditional_put", "ok", "");
    expect(&report, "trash", "conditional_put", "ok", "");
    expect(&report, "trash", "retention", "warning", "folder");
    assert_eq!(files(dir.path()).keys().collect::<Vec<_>>(), ["c.toml"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "folders of the probe stay behind");

    fs::create_dir_all(dir.path().join("out/_tamis")).unwrap();
    tamis(dir.path(), "tiers check c.toml").expect_code(0);
    assert!(dir.path().join("out/_tamis").is_dir(), "a folder that was there is gone");
    config(dir.path(), "c.toml/out", "");
    let ended = tamis(dir.path(), "tiers check c.toml --format json").expect_code(2);
    expect(&ended.json(), "default", "conditional_put", "error", "nothing can be written here");
}

#[test]
fn formats_are_for_whom_they_are_for() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), "gs://bucket/out", "[tiers.default]\nretention = \"1y\"\n");
    let lifecycle = |rest: &str| tamis(dir.path(), &format!("tiers lifecycle c.toml {rest}"));
    let rules: Value = lifecycle("--format gcs").expect_code(0).json();
    assert!(rules["lifecycle"]["rule"].as_array().unwrap().len() > 1);
    assert!(lifecycle("--format terraform").expect_code(0).stdout.contains("google_storage_bucket"));
    for (rest, expect) in [
        ("", "--format aws"),
        ("--format json", "--format aws"),
        ("--format azure", "--format gcs"),
        ("--format gcs --bucket other", "`other`"),
    ] {
        let ended = lifecycle(rest).expect_code(2);
        assert!(ended.stderr.contains(expect) && ended.stdout.is_empty(), "{rest}: {}", ended.stderr);
    }
    let ended = tamis(dir.path(), "config show c.toml --format gcs").expect_code(2);
    assert!(ended.stderr.contains("tiers lifecycle"), "{}", ended.stderr);
}
