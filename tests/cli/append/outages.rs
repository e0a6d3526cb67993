//! Stores that go away, and stores that do not do what they are asked.

use super::*;
use crate::support::Ended;
use crate::support::proxy::{Fault, Proxy};

fn run(dir: &Path, environment: impl IntoIterator<Item = (&'static str, String)>) -> Ended {
    finish(command(dir).args(["run", "run.toml"]).envs(environment))
}

/// The output at `url` is sound, every input was read once, and readers of Delta Lake tables see its rows.
pub(super) fn check_sound(dir: &Path, environment: &[(&'static str, String)], url: &str, n_inputs: usize) {
    let tamis =
        |args: &str| finish(command(dir).args(args.split(' ')).envs(environment.iter().cloned())).expect_code(0);
    assert!(tamis(&format!("verify {url}")).stdout.contains("is sound"));
    tamis(&format!("index verify {url}/_tamis/index"));
    let runs = tamis(&format!("runs {url} --format json")).json();
    let of = |name: &str| runs.as_array().unwrap().iter().map(|run| run[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(of("files"), n_inputs as u64);
    let rows = |name: &str| runs.as_array().unwrap().iter().map(|run| run["rows"][name].as_u64().unwrap()).sum::<u64>();
    let tables = ["kept", "dropped"].map(|name| format!("{url}/{name}"));
    for (seen, name) in delta(dir, environment, &tables).iter().zip(["kept", "dropped"]) {
        assert_eq!(seen["rows"], rows(name), "{name}");
    }
}

#[test]
fn a_server_that_is_killed_and_started_again_loses_nothing() {
    let mut server = S3Server::start("outage");
    let environment = server.environment();
    let dir = tempfile::tempdir().unwrap();
    let names = licences(dir.path(), 20);
    for name in &names {
        server.put(&format!("in/{name}"), &dir.path().join(name));
    }
    config_with(dir.path(), &server.url("in/"), &server.url("out"), "commit_files = 1\nlease = \"1s\"");
    let mut codes = Vec::new();
    for n_commits in [1, 4, 8] {
        let child = command(dir.path())
            .args(["run", "run.toml"])
            .envs(environment.iter().cloned())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while server.list("out/_tamis/commits/").len() < n_commits {
            std::thread::yield_now();
        }
        server.kill_and_start_again();
        let output = child.wait_with_output().unwrap();
        let (code, stderr) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
        assert!([Some(0), Some(69)].contains(&code), "{code:?}: {stderr}");
        codes.push(code);
    }
    run(dir.path(), environment.clone()).expect_code(0);
    check_sound(dir.path(), &environment, &server.url("out"), names.len());
    println!("exit codes {codes:?}");
}

#[test]
fn a_store_that_heeds_no_condition_is_refused_unless_the_user_insists() {
    let server = S3Server::start_for_all("unconditional");
    let dir = tempfile::tempdir().unwrap();
    let names = licences(dir.path(), 100);
    let proxy = Proxy::start(server.port(), |_, method, _| (method == "PUT").then_some(Fault::Unconditional));
    let unsigned = || {
        let environment = S3Server::environment_at(proxy.port());
        environment.into_iter().chain([("AWS_SKIP_SIGNATURE", "true".to_owned())]).collect::<Vec<_>>()
    };
    config(dir.path(), &server.url("in/"), &server.url("out"));
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    for (index, name) in names.iter().enumerate() {
        server.put(&format!("in/{name}"), &dir.path().join(name));
        std::fs::write(dir.path().join("run.toml"), &text).unwrap();
        let refused = run(dir.path(), unsigned()).expect_code(2);
        assert!(refused.stderr.contains("does not heed the conditions of a put"), "{}", refused.stderr);
        assert!(refused.stderr.contains("\"unsafe-single-writer\""), "{}", refused.stderr);
        std::fs::write(dir.path().join("run.toml"), text.clone() + "commit = \"unsafe-single-writer\"\n").unwrap();
        let added = run(dir.path(), unsigned()).expect_code(0);
        assert!(added.stderr.contains("if two runs write at once"), "{}", added.stderr);
        assert_eq!(server.list("out/_tamis/commits/").len(), index + 1);
    }
    assert!(run(dir.path(), unsigned()).expect_code(0).stdout.contains("nothing new"));
    assert!(server.list("out/_tamis/lease/").is_empty());
    check_sound(dir.path(), &server.environment(), &server.url("out"), names.len());

    // Where the store heeds them, runs can be added as usual afterwards.
    std::fs::write(dir.path().join("run.toml"), &text).unwrap();
    assert!(run(dir.path(), server.environment()).expect_code(0).stdout.contains("nothing new"));
    let odd = text.replace("mode = \"append\"", "commit = \"unsafe-single-writer\"");
    std::fs::write(dir.path().join("run.toml"), odd).unwrap();
    assert!(run(dir.path(), server.environment()).expect_code(2).stderr.contains("neither added to others"));
}
