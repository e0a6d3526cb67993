//! Inputs of many objects, and large ones.

use std::ops::Range;

use super::*;
use crate::support::objects::Objects;

const N_KEYS: u64 = 10_000;

fn row_of(key: &str) -> String {
    format!("{{\"id\":\"{key}\",\"text\":\"what is in {key}\"}}\n")
}

fn keys() -> impl Iterator<Item = String> {
    (0..N_KEYS).map(|number| format!("in/{:02}/{number:05}.jsonl", number / 100))
}

#[test]
fn ten_thousand_keys_are_listed_once() {
    let keys = keys().map(|key| (key.clone(), row_of(&key).len() as u64)).collect();
    let bytes =
        |key: &str, range: Range<u64>| row_of(key).as_bytes()[range.start as usize..range.end as usize].to_vec();
    let objects = Objects::serve(keys, bytes);
    check_many("many", &S3Server::environment_at(objects.port()));
}

/// As above, where the objects are real: they take longer to put than to read. `TAMIS_TEST_FULL=1` does it.
#[test]
fn ten_thousand_objects_of_a_server_are_listed_once() {
    if std::env::var_os("TAMIS_TEST_FULL").is_none() {
        return;
    }
    let server = S3Server::start("really");
    let dir = tempfile::tempdir().unwrap();
    let script = "import boto3, concurrent.futures, sys\n\
        s3 = boto3.client('s3')\n\
        put = lambda line: s3.put_object(Bucket='really', Key=line.split('\"')[3], Body=line)\n\
        list(concurrent.futures.ThreadPoolExecutor(16).map(put, open(sys.argv[1])))";
    std::fs::write(dir.path().join("rows"), keys().map(|key| row_of(&key)).collect::<String>()).unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(dir.path().join("rows")).envs(server.environment());
    python.env("AWS_ENDPOINT_URL", server.endpoint()).env("PYTHONPATH", std::env::var("TAMIS_TEST_PEERS").unwrap());
    finish(&mut python).expect_code(0);
    check_many("really", &server.environment());
}

/// Reads all keys of a bucket in three parts, and again.
fn check_many(bucket: &str, environment: &[(&'static str, String)]) {
    let dir = tempfile::tempdir().unwrap();
    config_with(dir.path(), &format!("s3://{bucket}/in/"), "out", "commit_files = 4000");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(dir.path().join("run.toml"), text.replace("[deduplicate]\nthreshold = 0.7\n", "")).unwrap();
    let run = || {
        let mut command = command(dir.path());
        command.args(["run", "run.toml", "--format", "json"]).envs(environment.iter().cloned());
        finish(&mut command).expect_code(0).json()
    };
    let summary = run();
    assert_eq!((summary["parts"].as_u64(), summary["manifest"]["rows"]["kept"].as_u64()), (Some(3), Some(N_KEYS)));
    assert_eq!(summary["manifest"]["requests"]["list"], N_KEYS / 1000, "{}", summary["manifest"]["requests"]);
    assert!(summary["manifest"]["requests"]["get"].as_u64().unwrap() <= 2 * N_KEYS, "a file is read twice");
    let commits = commits(&dir.path().join("out"));
    let urls = commits.iter().flat_map(|commit| commit["inputs"].as_array().unwrap());
    let urls: BTreeSet<&str> = urls.map(|input| input["url"].as_str().unwrap()).collect();
    assert_eq!(urls.len() as u64, N_KEYS);
    println!("{} in {} s", summary["manifest"]["requests"], summary["seconds"]);
    let nothing_new = run();
    assert_eq!((&nothing_new["nothing_new"], nothing_new["files"].as_u64()), (&true.into(), Some(N_KEYS)));
}

/// `TAMIS_TEST_FULL=1` makes it as large as docs/reliability.md says.
#[test]
fn a_large_object_is_read_in_few_requests_and_little_memory() {
    const ROW_BYTES: u64 = 1024;
    const MEMORY_MIB: u64 = 128;
    let n_mib = if std::env::var_os("TAMIS_TEST_FULL").is_some() { 2048 } else { 200 };
    let n_bytes = n_mib << 20;
    let row = |number: u64| {
        let words = (0..).map(|word: u64| format!("{:x} ", (number + word).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40));
        let mut text = format!("{{\"id\":\"{number:012}\",\"text\":\"");
        text.extend(words.take(200));
        text.truncate(ROW_BYTES as usize - 3);
        text + "\"}\n"
    };
    let make = move |_: &str, range: Range<u64>| {
        let first = range.start / ROW_BYTES;
        let rows: String = (first..range.end.div_ceil(ROW_BYTES)).map(row).collect();
        let skipped = (range.start - first * ROW_BYTES) as usize;
        rows.into_bytes()[skipped..skipped + (range.end - range.start) as usize].to_vec()
    };
    let objects = Objects::serve(vec![("large.jsonl".to_owned(), n_bytes)], make);
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    command.args(["convert", "s3://large/large.jsonl", "-o", "out", "--format", "json", "--threads", "2"]);
    command.args(["--memory-limit", &format!("{MEMORY_MIB}MiB")]).envs(S3Server::environment_at(objects.port()));
    let summary = finish(&mut command).expect_code(0).json();
    assert_eq!(summary["manifest"]["rows"]["kept"], n_bytes / ROW_BYTES);
    // Types first, rows then.
    let most = 2 * (n_bytes.div_ceil(8 << 20) + 2);
    let n_reads = summary["manifest"]["requests"]["get"].as_u64().unwrap();
    let peak_mib = summary["peak_memory_bytes"].as_u64().unwrap() >> 20;
    println!("{n_reads} reads of {n_bytes} bytes, peak memory {peak_mib} MiB, {} s", summary["seconds"]);
    assert!(n_reads <= most, "{n_reads} reads, {most} at most");
    assert!(peak_mib <= MEMORY_MIB, "{peak_mib} MiB");
}
