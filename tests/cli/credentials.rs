//! Credentials by reference: those that are named are used, no others, and none is ever shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::s3::S3Server;
use crate::support::{Ended, command, finish, sample, tamis};

const SECRET: &str = "AKIA0123456789SECRET";

/// Writes a file that only its owner may read.
fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn each_tier_is_reached_by_its_own() {
    let server = S3Server::start("tamis-keys");
    let dir = tempfile::tempdir().unwrap();
    // The usual variables are wrong: whoever took them would fail.
    let wrong =
        [("AWS_ACCESS_KEY_ID", "wrong"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")];
    let run = |args: &[&str], hot: &str| -> Ended {
        let hot = S3Server::keys_below(hot);
        let ended = finish(command(dir.path()).args(args).envs(wrong).envs(hot));
        assert!(!ended.stderr.contains(SECRET) && !ended.stdout.contains(SECRET), "{}{}", ended.stdout, ended.stderr);
        ended
    };
    let endpoint = server.endpoint();
    let config = format!(
        "[input]\npaths = [{:?}]\n[deduplicate]\n[output]\npath = \"{}\"\n\
         [tiers.default]\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\ncredentials = \"env:HOT_\"\n\
         [tiers.cold]\nurl = \"{}\"\nendpoint = \"{endpoint}\"\ncredentials = \"file:cold.env\"\nclass = \"cold\"\nretention = \"90d\"\n\
         [routes]\ndropped = \"cold\"\n",
        sample("licences.jsonl"),
        server.url("hot"),
        server.url("cold"),
    );
    fs::write(dir.path().join("c.toml"), config).unwrap();
    let keys: Vec<String> = S3Server::keys_below("").iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    private(&dir.path().join("cold.env"), &keys.concat());

    let ended = run(&["run", "c.toml", "--format", "json", "-vv"], "HOT_").expect_code(0);
    let manifest = ended.json()["manifest"].take();
    assert_eq!(manifest["config"]["tiers"]["default"]["credentials"], "env:HOT_");
    assert_eq!(manifest["config"]["tiers"]["cold"]["credentials"], "file:cold.env");
    server.get("hot/manifest.json", &dir.path().join("manifest.json"));
    let written = fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    for (_, value) in S3Server::keys_below("") {
        assert!(!written.contains(&value) && !ended.stdout.contains(&value) && !ended.stderr.contains(&value));
    }
    assert_eq!(server.list("cold/dropped/").len(), 1);

    run(&["inspect", &server.url("hot"), "--tiers", "c.toml"], "HOT_").expect_code(0);
    run(&["restore", &server.url("hot"), "-o", "back", "--tiers", "c.toml"], "HOT_").expect_code(0);

    // What is not there is named before anything is read or written.
    let ended = run(&["run", "c.toml", "--overwrite"], "OTHER_").expect_code(2);
    assert!(
        ended.stderr.contains("tier `default`") && ended.stderr.contains("HOT_AWS_ACCESS_KEY_ID"),
        "{}",
        ended.stderr
    );
    fs::set_permissions(dir.path().join("cold.env"), fs::Permissions::from_mode(0o644)).unwrap();
    let ended = run(&["run", "c.toml", "--overwrite"], "HOT_").expect_code(2);
    assert!(ended.stderr.contains("tier `cold`") && ended.stderr.contains("chmod 600"), "{}", ended.stderr);
    private(&dir.path().join("cold.env"), &format!("AWS_ACCESS_KEY_ID=wrong\nAWS_SECRET_ACCESS_KEY={SECRET}\n"));
    run(&["run", "c.toml", "--overwrite"], "HOT_").expect_code(77);
}

#[test]
fn profiles_of_the_aws_command_line() {
    let server = S3Server::start("tamis-profile");
    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join(".aws");
    fs::create_dir(&aws).unwrap();
    let keys: Vec<String> =
        S3Server::keys_below("").iter().map(|(name, value)| format!("{} = {value}\n", name.to_lowercase())).collect();
    private(&aws.join("credentials"), &format!("[default]\naws_access_key_id = wrong\n[work]\n{}", keys.concat()));
    private(
        &aws.join("config"),
        &format!(
            "[profile work]\nregion = us-east-1\nendpoint_url = {}\n[profile corp]\nsso_session = corp\n",
            server.endpoint()
        ),
    );
    let run = |profile: &str, more: &[(&str, &str)]| {
        let mut tamis = command(home.path());
        tamis.args(["convert", &sample("laws.jsonl"), "-o", &server.url("out"), "--overwrite"]);
        tamis.envs([("HOME", home.path().to_str().unwrap()), ("AWS_PROFILE", profile), ("AWS_ALLOW_HTTP", "true")]);
        finish(tamis.envs(more.iter().copied()))
    };
    run("work", &[]).expect_code(0);
    assert_eq!(server.list("out/kept/").len(), 1);
    let ended = run("corp", &[]).expect_code(2);
    assert!(ended.stderr.contains("sso_session") && ended.stderr.contains("export-credentials"), "{}", ended.stderr);
    let ended = run("none", &[]).expect_code(2);
    assert!(ended.stderr.contains("`none`"), "{}", ended.stderr);
    // Keys in the variables go first, right or wrong.
    let ended = run(
        "work",
        &[("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_ENDPOINT", &server.endpoint())],
    );
    assert!(!ended.expect_code(77).stderr.contains(SECRET));
}

#[test]
fn secrets_in_a_config_are_refused_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let base = "[input]\npaths = [\"x.jsonl\"]\n[output]\npath = \"s3://bucket/out\"\n";
    for (tier, expect) in [
        (format!("credentials = \"{SECRET}\""), "tier `cold`"),
        (format!("credentials = \"env:{SECRET}/+=\""), "tier `cold`"),
        (format!("secret_access_key = \"{SECRET}\""), "secret_access_key"),
        (format!("credentials = \"env:COLD_\"\naws_secret = \"{SECRET}\""), "line 7, aws_secret"),
        (format!("endpoint = \"https://user:{SECRET}@host\""), "endpoint"),
    ] {
        fs::write(dir.path().join("c.toml"), format!("{base}[tiers.cold]\n{tier}\n")).unwrap();
        for command in
            ["config check c.toml", "config show c.toml", "run c.toml", "tiers lifecycle c.toml --format aws"]
        {
            let ended = tamis(dir.path(), command).expect_code(2);
            let shown = ended.stdout + &ended.stderr;
            assert!(shown.contains(expect) && !shown.contains(SECRET), "{command}, {tier}: {shown}");
        }
    }
    fs::write(dir.path().join("c.toml"), format!("{base}[tiers.cold]\ncredentials = \"env:COLD_\"\n")).unwrap();
    let ended =
        finish(command(dir.path()).args(["config", "show", "c.toml"]).env("COLD_AWS_SECRET_ACCESS_KEY", SECRET));
    let shown = ended.expect_code(0).stdout;
    assert!(shown.contains("credentials = \"env:COLD_\"") && !shown.contains(SECRET), "{shown}");
}
