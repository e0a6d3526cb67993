//! Reading from and writing to a real S3 server.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::moto::Moto;
use crate::support::s3::S3Server;
use crate::support::{Ended, command, finish, sample, strings, table, tamis};

#[test]
fn from_bucket_to_bucket_in_storage_classes() {
    let server = S3Server::start("tamis-test");
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| finish(command(dir.path()).args(args).envs(server.environment()));
    for name in ["laws.jsonl", "licences.jsonl"] {
        server.put(&format!("in/{name}"), sample(name).as_ref());
    }
    let config = format!(
        "[input]\npaths = [\"{}\"]\n[deduplicate]\n[output]\npath = \"{}\"\n[tiers.cold]\nclass = \"cold\"\nzstd = 9\n[routes]\ndropped = \"cold\"\n",
        server.url("in/*.jsonl"),
        server.url("out")
    );
    std::fs::write(dir.path().join("c.toml"), config).unwrap();
    run(&["run", "c.toml"]).expect_code(0);

    let classes: BTreeMap<String, String> = server.list("out/").into_iter().collect();
    assert_eq!(classes.keys().filter(|key| key.ends_with("/manifest.json")).count(), 1, "{classes:?}");
    assert_eq!(classes["out/dropped/part-00000.parquet"], "GLACIER_IR");
    assert_eq!(classes["out/kept/part-00000.parquet"], "STANDARD");

    let (laws, licences) = (sample("laws.jsonl"), sample("licences.jsonl"));
    tamis(dir.path(), &format!("dedup {laws} {licences} -o local")).expect_code(0);
    for name in ["kept", "dropped"] {
        std::fs::create_dir_all(dir.path().join("remote").join(name)).unwrap();
        let file = format!("{name}/part-00000.parquet");
        server.get(&format!("out/{file}"), &dir.path().join("remote").join(file));
    }
    let ids_of = |out: &str, name: &str| strings(&table(&dir.path().join(out), name).1, "tamis_id");
    let ids = |out: &str| ids_of(out, "kept");
    assert_eq!(ids("remote"), ids("local"));
    // A cold tier has each cluster together, which the order of the input has not.
    let evidence = table(&dir.path().join("local"), "evidence").1;
    let cluster_of: BTreeMap<String, String> =
        strings(&evidence, "dropped_id").into_iter().zip(strings(&evidence, "cluster_id")).collect();
    let stretches = |out: &str| {
        let dropped = ids_of(out, "dropped");
        dropped.chunk_by(|left, right| cluster_of[left] == cluster_of[right]).count()
    };
    let n_clusters = cluster_of.values().collect::<BTreeSet<_>>().len();
    assert!(stretches("remote") == n_clusters && n_clusters < stretches("local"));
    let seen =
        |out: &str| run(&["inspect", out, "--format", "json"]).expect_code(0).json()["overview"]["clusters"].take();
    assert_eq!(seen(&server.url("out")), seen("local"));

    let again = run(&["run", "c.toml"]).expect_code(2);
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);
    run(&["run", "c.toml", "--overwrite"]).expect_code(0);
    run(&["dedup", &server.url("out/kept"), "-o", "back"]).expect_code(0);
    assert_eq!(ids("back"), ids("local"));
}

#[test]
fn an_output_is_seen_on_servers_that_take_prefixes_as_they_stand() {
    let server = Moto::start("tamis-literal");
    let dir = tempfile::tempdir().unwrap();
    let convert = |flags: &[&str]| {
        let mut command = command(dir.path());
        command.args(["convert", &sample("laws.jsonl"), "-o", &server.url("out")]).args(flags);
        finish(command.envs(server.environment()))
    };
    convert(&[]).expect_code(0);
    convert(&[]).expect_code(2).expect_stderr("not empty");
    convert(&["--overwrite"]).expect_code(0);
}

#[test]
fn what_is_wrong_is_said_and_nothing_half_written_stays() {
    let server = S3Server::start("tamis-errors");
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str], more: &[(&'static str, String)]| {
        finish(command(dir.path()).args(args).envs(server.environment()).envs(more.iter().cloned()))
    };
    let laws = sample("laws.jsonl");
    let wrong = [("AWS_SECRET_ACCESS_KEY", "not-the-secret".to_owned())];
    let ended = run(&["convert", &laws, "-o", &server.url("x")], &wrong).expect_code(77);
    assert!(ended.stderr.contains("tamis-errors/x") && !ended.stderr.contains("not-the-secret"), "{}", ended.stderr);
    let ended = run(&["convert", "s3://no-such-bucket/a.jsonl", "-o", "out"], &[]).expect_code(2);
    assert!(ended.stderr.contains("no-such-bucket"), "{}", ended.stderr);
    let ended = run(&["convert", &server.url("none.jsonl"), "-o", "out"], &[]).expect_code(2);
    assert!(ended.stderr.contains("none.jsonl"), "{}", ended.stderr);
    assert!(!dir.path().join("out").exists());
    std::fs::write(dir.path().join("a.jsonl"), "{\"id\":1,\"text\":\"a\"}\n{\"id\":1,\"text\":\"b\"}\n").unwrap();
    run(&["dedup", "a.jsonl", "-o", &server.url("y")], &[]).expect_code(2);
    assert_eq!(server.list("y/"), [], "a failed run left objects");
}

#[test]
fn requests_are_counted_and_few() {
    let server = S3Server::start("tamis-requests");
    let dir = tempfile::tempdir().unwrap();
    // Five requests of 8 MiB and a bit, in rows of 4 KiB that do not repeat.
    let mut rows = String::new();
    for row in 0..10_600_u64 {
        let words: Vec<String> =
            (0..400_u64).map(|word| format!("{:09}", (row * 400 + word) * 2_654_435_761 % 999_999_937)).collect();
        rows += &format!("{{\"id\":{row},\"text\":\"{}\"}}\n", words.join(" "));
    }
    let size = rows.len() as u64;
    assert!(size > 40 << 20, "{size}");
    std::fs::write(dir.path().join("big.jsonl"), rows).unwrap();
    server.put("in/big.jsonl", &dir.path().join("big.jsonl"));
    let run = |args: &[&str]| finish(command(dir.path()).args(args).envs(server.environment()));
    let requests = |ended: Ended| ended.expect_code(0).json()["manifest"]["requests"].take();

    let ended = run(&["convert", &server.url("in/big.jsonl"), "-o", "local", "--format", "json"]);
    let found = requests(ended);
    // One scan for the types, one for the rows.
    let most = 2 * (size / (8 << 20) + 2);
    let gets = found["get"].as_u64().unwrap();
    assert!((2 * size.div_ceil(8 << 20)..=most).contains(&gets), "{gets} GETs, not {most}: {found}");
    assert!(found["put"].is_null() && found["head"].as_u64().unwrap_or(0) <= 2, "{found}");

    let ended = run(&["convert", "big.jsonl", "-o", &server.url("out"), "--format", "json"]);
    let found = requests(ended);
    let n_files = server.list("out/").iter().filter(|(key, _)| key.ends_with(".parquet")).count();
    assert_eq!(found["create_multipart"], n_files, "{found}");
    assert_eq!(found["complete_multipart"], n_files, "{found}");
    let parts = found["put_part"].as_u64().unwrap();
    let bytes: u64 = std::fs::metadata(dir.path().join("local/kept/part-00000.parquet")).unwrap().len();
    assert_eq!(parts, bytes.div_ceil(8 << 20) + n_files as u64 - 1, "{found}");

    // A run that asks no store has no such record, so that equal runs have equal manifests.
    let found = requests(run(&["convert", "big.jsonl", "-o", "again", "--format", "json"]));
    assert!(found.is_null(), "{found}");
}
