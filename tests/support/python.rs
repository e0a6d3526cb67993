//! Other programs' readers and clients, in Python.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs a script with the packages that the tests brought; it prints JSON.
pub fn python(script: &str, args: &[&Path]) -> Value {
    let args = args.iter().map(|arg| arg.display().to_string());
    run(Command::new("python3").args(["-c", script]).args(args))
}

/// The same, with `s3`, a client of the S3 server that `environment` leads a command to.
pub fn boto3(script: &str, args: &[&str], environment: &[(&'static str, String)]) -> Value {
    let endpoint = environment.iter().find(|(name, _)| *name == "AWS_ENDPOINT").expect("it names the server");
    let script = format!("import boto3, json, sys\ns3 = boto3.client('s3')\n{script}");
    let mut python = Command::new("python3");
    python.args(["-c", &script]).args(args).envs(environment.iter().cloned()).env("AWS_ENDPOINT_URL", &endpoint.1);
    run(&mut python)
}

fn run(python: &mut Command) -> Value {
    let peers = std::env::var("TAMIS_TEST_PEERS")
        .expect("run the tests with `bash tests/run.sh`, which brings what they compare with");
    let output = python.env("PYTHONPATH", peers).output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}
