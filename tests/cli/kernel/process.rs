//! Kernels as processes: streams that are not whole, errors, and who ends with whom.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::driver::{Place, Session, kernel, stream};
use super::{config, samples};
use crate::support::{command, finish};

#[test]
fn a_session_that_nobody_ends_takes_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "out", &samples(), "[deduplicate]");
    let mut session = Session::start(Place::at(dir.path()), &config, 1 << 20);
    session.read();
    fs::create_dir_all(dir.path().join("out/_tamis_staging/kept")).unwrap();
    fs::write(dir.path().join("out/_tamis_staging/kept/part-00000-x-00000.parquet"), "half").unwrap();
    // Nobody else may write there meanwhile.
    let other = finish(command(dir.path()).args(["kernel", "session"]).arg(&config));
    assert_eq!(other.code, 75, "{}", other.stderr);
    let (code, stderr) = session.end();
    assert_eq!(code, Some(74), "{stderr}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_run_has_its_name_from_config_and_inputs() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in.jsonl"), "{\"text\":\"a b c\"}\n").unwrap();
    let name = |sections: &str| {
        let config = config(dir.path(), "out", &["in.jsonl".into()], sections);
        let mut session = Session::start(Place::at(dir.path()), &config, 1 << 20);
        let name = session.read().run.unwrap();
        session.end();
        name
    };
    let first = name("[deduplicate]");
    assert_eq!(name("[deduplicate]"), first);
    assert_ne!(name("[deduplicate]\nthreshold = 0.7"), first);
    fs::write(dir.path().join("in.jsonl"), "{\"text\":\"a b d\"}\n").unwrap();
    assert_ne!(name("[deduplicate]"), first);
}

/// The stream of units, and what a scan makes of it.
fn scanned(dir: &Path) -> (Vec<u8>, usize) {
    let config = config(dir, "out", &samples(), "[deduplicate]");
    let mut session = Session::start(Place::at(dir), &config, 1 << 30);
    let units = session.read();
    let input = stream(&units.batch, &units.job.unwrap());
    let done = kernel(Place::at(dir), "scan", input.clone(), "x");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    session.end();
    (input, done.output.len())
}

#[test]
fn a_stream_that_is_not_whole_is_told_from_one_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, n_bytes) = scanned(dir.path());
    for cut in [0, 5, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
        let done = kernel(Place::at(dir.path()), "scan", whole[..cut].to_vec(), "x");
        assert_eq!(done.code, Some(74), "{cut}: {}", done.stderr);
        assert!(done.output.len() < n_bytes && !done.output.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
        let said: Value =
            serde_json::from_str(done.stderr.lines().rfind(|line| line.contains("message")).unwrap()).unwrap();
        assert!(said["message"].as_str().unwrap().contains("died"), "{said}");
    }
}

#[test]
fn an_error_in_the_data_says_where_and_is_not_to_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in.jsonl"), "{\"txt\":\"a\"}\n{\"text\":3}\n").unwrap();
    let config = config(dir.path(), "out", &["in.jsonl".into()], "[deduplicate]");
    let mut session = Session::start(Place::at(dir.path()), &config, 1 << 30);
    let units = session.read();
    let input = stream(&units.batch, &units.job.unwrap());
    // The file is replaced while the run goes on.
    fs::write(dir.path().join("in.jsonl"), "{}\n").unwrap();
    let done = kernel(Place::at(dir.path()), "scan", input, "x");
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("in.jsonl"), "{}", done.stderr);
    session.end();
}

#[test]
fn a_kernel_ends_with_who_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    // A parent that is not the one.
    let ended = finish(command(dir.path()).args(["kernel", "scan"]).env("TAMIS_PARENT", "1")).expect_code(2);
    assert!(ended.stderr.contains("not its parent"), "{}", ended.stderr);
    let script = "TAMIS_PARENT=$$ \"$0\" kernel scan <fifo & echo $!; exec 9>fifo; sleep 600";
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("fifo")).status().unwrap();
    assert!(made.success());
    let mut shell = std::process::Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_tamis")])
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
    let kernel = Path::new("/proc").join(line.trim());
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(kernel.exists(), "it waits for its input");
    shell.kill().unwrap();
    shell.wait().unwrap();
    let is_gone =
        || !kernel.exists() || fs::read_to_string(kernel.join("stat")).is_ok_and(|stat| stat.contains(") Z "));
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        is_gone()
    });
    assert!(gone, "the kernel {} is still there", line.trim());
}
