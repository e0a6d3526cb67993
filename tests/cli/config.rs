//! Config files: written by `init`, checked, shown, run.

use std::fs;

use crate::support::{sample, table, tamis};

#[test]
fn init_writes_a_config_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let pool = sample("banking.jsonl");
    tamis(dir.path(), &format!("init {pool}")).expect_code(0);
    let text = fs::read_to_string(dir.path().join("tamis.toml")).unwrap();
    assert!(text.contains("text = \"text\"") && text.contains("id = \"id\""), "{text}");
    tamis(dir.path(), &format!("init {pool}")).expect_code(2);
    tamis(dir.path(), "config check tamis.toml").expect_code(0);
    tamis(dir.path(), "run tamis.toml").expect_code(0);
    let (_, kept) = table(&dir.path().join("tamis-out"), "kept");
    assert!(kept.num_rows() > 2000);
}

#[test]
fn what_init_comments_out_is_a_config_of_every_section() {
    let dir = tempfile::tempdir().unwrap();
    let text = tamis(dir.path(), &format!("init {} -o -", sample("banking.jsonl"))).expect_code(0).stdout;
    let is_setting = |line: &str| {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        line.starts_with('[') || (!key.is_empty() && key.chars().all(|char| char.is_ascii_lowercase() || char == '_'))
    };
    let uncommented: Vec<&str> =
        text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line)).collect();
    fs::write(dir.path().join("c.toml"), uncommented.join("\n")).unwrap();
    tamis(dir.path(), "config check c.toml").expect_code(0);
    let config: toml::Table = uncommented.join("\n").parse().unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(&tamis(dir.path(), "config schema").expect_code(0).stdout).unwrap();
    let mut sections: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    sections.sort_unstable();
    let mut named: Vec<&str> = config.keys().map(String::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, sections, "{text}");
}

#[test]
fn run_does_every_stage() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "[input]\npaths = [{:?}]\n[deduplicate]\nthreshold = 0.7\n[score]\n[select]\nbudget = 20\n[output]\npath = \"out\"\n\
         [tiers.cold]\nurl = \"cold\"\nzstd = 9\n[routes]\ndropped = \"cold\"\n",
        sample("banking.jsonl")
    );
    fs::write(dir.path().join("c.toml"), config).unwrap();
    let ended = tamis(dir.path(), "run c.toml --format json").expect_code(0);
    let rows = |base: &str, name: &str| table(&dir.path().join(base), name).1.num_rows();
    assert_eq!(rows("out", "kept"), rows("out", "scores"));
    assert_eq!(rows("out", "batch"), 20);
    assert_eq!(rows("cold", "dropped"), rows("out", "evidence"));
    assert_eq!(rows("out", "kept") + rows("cold", "dropped"), 2800);
    let manifest = &ended.json()["manifest"];
    assert_eq!(manifest["tables"]["dropped"]["tier"], "cold");
    assert!(manifest["tables"]["dropped"]["files"][0]["path"].as_str().unwrap().starts_with("cold/dropped/"));
}

#[test]
fn show_says_where_each_value_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[input]\npaths = [\"x.jsonl\"]\n[deduplicate]\nthreshold = 0.7\n[output]\npath = \"out\"\n";
    fs::write(dir.path().join("c.toml"), config).unwrap();
    let shown = tamis(dir.path(), "config show c.toml").expect_code(0).stdout;
    assert!(shown.contains("threshold = 0.7  # c.toml"), "{shown}");
    assert!(shown.contains("recall = 0.99  # default"), "{shown}");
    let again: toml::Table = shown.parse().unwrap();
    assert_eq!(again["deduplicate"]["ngram"].as_integer(), Some(5));

    let names = "[tiers.\"my \\\"cold\\\" one\"]\nzstd = 9\n[routes]\ndropped = 'my \"cold\" one'\n[input.schema]\n\"a.b\\n\" = \"utf8\"\n";
    fs::write(dir.path().join("c.toml"), format!("{config}{names}")).unwrap();
    let shown = tamis(dir.path(), "config show c.toml").expect_code(0).stdout;
    let again: toml::Table = shown.parse().unwrap();
    assert_eq!(again["tiers"]["my \"cold\" one"]["zstd"].as_integer(), Some(9), "{shown}");
    assert_eq!(again["input"]["schema"]["a.b\n"].as_str(), Some("utf8"), "{shown}");
}

#[test]
fn mistakes_in_a_config_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = "[input]\npaths = [\"x.jsonl\"]\n[output]\npath = \"out\"\n";
    for (more, expect) in [
        ("[deduplicate]\ntreshold = 0.7\n", "treshold"),
        ("[deduplicate]\nthreshold = \"high\"\n", "threshold"),
        ("[routes]\nkept = \"lukewarm\"\n", "lukewarm"),
        ("[tiers.cold]\nzstd = 40\n", "zstd"),
        ("[select]\nbudget = 0\n", "budget"),
        ("[score]\ndevice = \"tpu\"\n", "tpu"),
        ("[schedule]\n", "cron"),
        ("[schedule]\ncron = \"61 * * * *\"\n", "61 * * * *"),
        ("[schedule]\ncron = \"0 3 30 2 *\"\n", "never comes"),
        ("[schedule]\ncron = \"@daily\"\ntimezone = \"Mars\"\n", "Mars"),
        ("[schedule]\ncron = \"@daily\"\njitter = \"5\"\n", "5m"),
        ("[schedule]\ncron = \"@daily\"\nretries = 3\n", "retries"),
    ] {
        fs::write(dir.path().join("c.toml"), format!("{base}{more}")).unwrap();
        let ended = tamis(dir.path(), "config check c.toml").expect_code(2);
        assert!(ended.stderr.contains(expect), "{more}: {}", ended.stderr);
    }
    let ended = tamis(dir.path(), "run none.toml").expect_code(2);
    assert!(ended.stderr.contains("none.toml"));
}

#[test]
fn schema_and_completions_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(&tamis(dir.path(), "config schema").expect_code(0).stdout).unwrap();
    assert!(schema["properties"]["deduplicate"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(tamis(dir.path(), &format!("completions {shell}")).expect_code(0).stdout.contains("dedup"));
    }
}
