//! Exit codes that schedulers act on; 75 is tested where runs are kept from each other, in `kill.rs`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use crate::support::s3::S3Server;
use crate::support::{command, finish, sample, tamis};

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A store that answers every request with this status and code.
fn failing_store(status: &'static str, code: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while request.read_line(&mut line).unwrap_or(0) > 2 {
                line.clear();
            }
            let body = format!("<Error><Code>{code}</Code></Error>");
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
            let _ = request.read(&mut [0; 1 << 12]);
        }
    });
    port
}

#[test]
fn a_store_that_does_not_answer_is_69() {
    let dir = tempfile::tempdir().unwrap();
    let laws = sample("laws.jsonl");
    let run = |port: u16, args: &[&str]| {
        let mut command = command(dir.path());
        command.args(args).envs([("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
        finish(command.env("AWS_ENDPOINT", format!("http://127.0.0.1:{port}")).env("AWS_ALLOW_HTTP", "true"))
    };
    // Each is tried ten times, with growing pauses: at the same time.
    std::thread::scope(|scope| {
        let busy = failing_store("503 Slow Down", "SlowDown");
        let broken = failing_store("500 Internal Server Error", "InternalError");
        let runs = [
            scope.spawn(|| run(closed_port(), &["convert", "s3://bucket/in.jsonl", "-o", "out"])),
            scope.spawn(|| run(closed_port(), &["convert", &laws, "-o", "s3://bucket/out"])),
            scope.spawn(move || run(busy, &["convert", "s3://bucket/in.jsonl", "-o", "other"])),
            scope.spawn(move || run(broken, &["index", "show", "s3://bucket/index"])),
        ];
        for run in runs {
            let ended = run.join().unwrap().expect_code(69);
            assert!(ended.stderr.contains("bucket/") && ended.stderr.contains("\nhint: "), "{}", ended.stderr);
        }
    });
    assert!(!dir.path().join("out").exists());
}

#[test]
fn credentials_that_a_store_refuses_are_77() {
    let server = S3Server::start("tamis-credentials");
    let dir = tempfile::tempdir().unwrap();
    let laws = sample("laws.jsonl");
    server.put("in.jsonl", laws.as_ref());
    let (input, output) = (server.url("in.jsonl"), server.url("out"));
    let run = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = command(dir.path());
        command.args(args).envs(server.environment());
        finish(command.envs(variables.iter().copied()))
    };
    for variables in [
        &[("AWS_SECRET_ACCESS_KEY", "not-the-secret")][..],
        &[("AWS_ACCESS_KEY_ID", "nobody")],
        &[("AWS_SKIP_SIGNATURE", "true")],
    ] {
        for args in [["convert", input.as_str(), "-o", "out"], ["convert", laws.as_str(), "-o", output.as_str()]] {
            let ended = run(variables, &args).expect_code(77);
            let said = ["credentials", "AWS_"].iter().any(|word| ended.stderr.contains(word));
            assert!(said && !ended.stderr.contains("not-the-secret"), "{variables:?}: {}", ended.stderr);
        }
    }
    let denied = run(&[], &["convert", "s3://tamis-credentials/none.jsonl", "-o", "out"]).expect_code(2);
    assert!(denied.stderr.contains("none.jsonl"), "what is not there is no matter of credentials: {}", denied.stderr);
    run(&[], &["convert", &input, "-o", "out"]).expect_code(0);
}

#[test]
fn the_help_lists_them() {
    let dir = tempfile::tempdir().unwrap();
    let help = tamis(dir.path(), "--help").expect_code(0).stdout;
    for code in ["0", "1", "2", "69", "75", "77", "130"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))), "{code}: {help}");
    }
}
