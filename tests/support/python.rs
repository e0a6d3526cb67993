//! Other programs' readers, in Python.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs a script with the packages that the tests brought; it prints JSON.
pub fn python(script: &str, args: &[&Path]) -> Value {
    let peers = std::env::var("TAMIS_TEST_PEERS")
        .expect("run the tests with `bash tests/run.sh`, which brings what they compare with");
    let output = Command::new("python3")
        .env("PYTHONPATH", peers)
        .args(["-c", script])
        .args(args)
        .output()
        .expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}
