//! Input files that change after they were read: the output holds what they hold now.

use std::collections::HashMap;

use super::*;
use crate::support::judge;

/// Id and text of every row of the files in a folder.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        for row in json_lines(entry.unwrap().path().to_str().unwrap()) {
            texts.insert(row["id"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned());
        }
    }
    texts
}

/// What the output holds is what the files hold, each row once, and every verdict on it is right.
fn check(dir: &Path) {
    std::thread::sleep(Duration::from_millis(1100));
    tamis(dir, "gc out --grace 0h").expect_code(0);
    let (out, expect) = (dir.join("out"), texts(&dir.join("in")));
    let (kept, dropped) = (table(&out, "kept").1, table(&out, "dropped").1);
    let all = [&kept, &dropped].map(|batch| strings(batch, "id").into_iter().zip(strings(batch, "text")));
    let all: Vec<(String, String)> = all.into_iter().flatten().collect();
    assert_eq!(all.len(), expect.len(), "a row is missing, or there twice");
    assert!(all.into_iter().collect::<BTreeMap<_, _>>() == expect);
    let kept_ids = ids(&kept, "tamis_id");
    let evidence = table(&out, "evidence").1;
    assert_eq!(ids(&evidence, "dropped_id"), ids(&dropped, "tamis_id"));
    assert!(
        strings(&evidence, "kept_id").iter().all(|id| kept_ids.contains(id)),
        "a row stands for others that is gone"
    );
    let texts: HashMap<String, String> = expect.clone().into_iter().collect();
    let verdicts = judge(&out, &texts, 0.7);
    assert_eq!((verdicts.false_drops, verdicts.missed_pairs), (Vec::new(), 0));

    let verified = tamis(dir, "verify out --format json").expect_code(0).json();
    assert_eq!(verified["orphans"].as_array().unwrap().len(), 0);
    tamis(dir, "index verify out/_tamis/index").expect_code(0);
    let seen = tamis(dir, "inspect out --format json").expect_code(0).json();
    let rows = &seen["overview"]["rows"];
    let counts = ["rows_in", "kept", "dropped"].map(|name| rows[name].as_u64().unwrap() as usize);
    assert_eq!(counts, [expect.len(), kept.num_rows(), dropped.num_rows()]);
    let runs = tamis(dir, "runs out --format json").expect_code(0).json();
    let sum =
        |of: fn(&Value) -> &Value| runs.as_array().unwrap().iter().map(|run| of(run).as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(|run| &run["rows"]["rows_in"]) - sum(|run| &run["withdrawn_rows"]), expect.len() as u64);
    assert_eq!(seen["overview"]["evidence_rows"].as_u64().unwrap() as usize, dropped.num_rows());
    for (name, batch) in [("kept", &kept), ("dropped", &dropped)] {
        assert_eq!(local_delta(dir, name)["rows"].as_u64().unwrap() as usize, batch.num_rows(), "{name}");
    }
    let back = dir.join("back");
    tamis(dir, "restore out -o back").expect_code(0);
    assert!(self::texts_of(&table(&back, "kept").1) == expect);
    std::fs::remove_dir_all(back).unwrap();
    assert!(tamis(dir, "run run.toml").expect_code(0).stdout.contains("nothing new"));
}

fn texts_of(batch: &arrow::array::RecordBatch) -> BTreeMap<String, String> {
    strings(batch, "id").into_iter().zip(strings(batch, "text")).collect()
}

/// Runs over files of the sample licences that come one after the other.
fn three_runs(dir: &Path, more: &str) -> Vec<String> {
    std::fs::create_dir(dir.join("store")).unwrap();
    std::fs::create_dir(dir.join("in")).unwrap();
    let names = licences(&dir.join("store"), 100);
    config(dir, "in", "out");
    let text = std::fs::read_to_string(dir.join("run.toml")).unwrap();
    let text = text.replace("threshold = 0.7\n", "threshold = 0.7\nrecall = 1.0\n");
    std::fs::write(dir.join("run.toml"), text + more).unwrap();
    for name in &names {
        std::fs::copy(dir.join("store").join(name), dir.join("in").join(name)).unwrap();
        tamis(dir, "run run.toml").expect_code(0);
    }
    names
}

/// Writes a file of rows with an id and a text each.
fn write_rows(dir: &Path, name: &str, rows: &[(&str, &str)]) {
    let rows = rows.iter().map(|(id, text)| serde_json::json!({"id": id, "text": text}).to_string() + "\n");
    std::fs::write(dir.join("in").join(name), rows.collect::<String>()).unwrap();
}

/// Replaces a file by some of its rows and others.
fn change(dir: &Path, name: &str, keeps: impl Fn(usize) -> bool, new: &[(&str, &str)]) {
    let path = dir.join("in").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> =
        text.lines().enumerate().filter(|(row, _)| keeps(*row)).map(|(_, line)| line.to_owned()).collect();
    lines.extend(new.iter().map(|(id, text)| serde_json::json!({"id": id, "text": text}).to_string()));
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
}

#[test]
fn the_output_holds_what_the_files_hold_now() {
    let dir = tempfile::tempdir().unwrap();
    let names = three_runs(dir.path(), "");
    check(dir.path());
    let n_runs = commits(&dir.path().join("out")).len();

    // Rows that stood for rows of other runs are gone: those come back, one of them for the others.
    let evidence = table(&dir.path().join("out"), "evidence").1;
    let first: BTreeSet<String> = json_lines(dir.path().join("in").join(&names[0]).to_str().unwrap())
        .iter()
        .map(|row| row["id"].to_string())
        .collect();
    let pairs = strings(&evidence, "dropped_id").into_iter().zip(strings(&evidence, "kept_id"));
    let of_first = |id: &str| first.contains(&format!("\"{id}\""));
    let orphans = pairs.filter(|(dropped, kept)| of_first(kept) && !of_first(dropped)).count();
    assert!(orphans > 3, "{orphans} rows of other files were dropped for rows of the first");
    change(dir.path(), &names[0], |row| row % 3 == 0, &[("new", "words that no other row has, one two three four")]);
    let ended = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(ended["manifest"]["inputs"].as_array().unwrap().len(), 1);
    check(dir.path());
    assert_eq!(commits(&dir.path().join("out")).len(), n_runs + 1);

    // The same file again, another one, and a new one that holds what both held.
    change(dir.path(), &names[0], |row| row % 2 == 0, &[]);
    change(dir.path(), &names[2], |row| row > 20, &[("newer", "words that no other row has, one two three four")]);
    std::fs::copy(dir.path().join("store").join(&names[0]), dir.path().join("in/copy.jsonl")).unwrap();
    let text = std::fs::read_to_string(dir.path().join("in/copy.jsonl")).unwrap();
    std::fs::write(
        dir.path().join("in/copy.jsonl"),
        text.replace("\"id\": \"", "\"id\": \"copy-").replace("\"id\":\"", "\"id\":\"copy-"),
    )
    .unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    check(dir.path());

    // After a compaction, back to how it was.
    tamis(dir.path(), "compact out").expect_code(0);
    check(dir.path());
    std::fs::copy(dir.path().join("store").join(&names[0]), dir.path().join("in").join(&names[0])).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    check(dir.path());

    // Nothing is left of a file.
    std::fs::write(dir.path().join("in").join(&names[1]), "").unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    check(dir.path());
}

#[test]
fn rows_that_are_named_by_their_place_and_other_tables_follow() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let write = |name: &str, rows: &[&str]| {
        std::fs::write(dir.path().join("in").join(name), rows.join("\n") + "\n").unwrap();
    };
    let row = |text: &str| format!("{{\"text\":\"{text}\"}}");
    let (a, b, c) = ("one two three four five six", "red green blue white black grey", "a line that stands alone here");
    write("1.jsonl", &[&row(a), "{\"text\":", &row(b)]);
    write("2.jsonl", &[&row(b), &row(a), "not json", &row(c)]);
    config(dir.path(), "in", "out");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(dir.path().join("run.toml"), text + "[score]\n[select]\nbudget = 100\n").unwrap();
    tamis(dir.path(), "run run.toml").expect_code(1);
    write("1.jsonl", &[&row(c), &row(b)]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::thread::sleep(Duration::from_millis(1100));
    tamis(dir.path(), "gc out --grace 0h").expect_code(0);
    let out = dir.path().join("out");
    let rows = |name: &str| {
        let batch = table(&out, name).1;
        strings(&batch, "tamis_id").into_iter().collect::<BTreeSet<_>>()
    };
    // Rows of the second file that were dropped for those of the first came back by the names that they had there, before what
    // the first has now.
    assert_eq!(rows("kept"), ["in/2.jsonl#0", "in/2.jsonl#1", "in/2.jsonl#3"].map(str::to_owned).into());
    assert_eq!(rows("dropped"), ["in/1.jsonl#0", "in/1.jsonl#1"].map(str::to_owned).into());
    assert_eq!(rows("scores"), rows("kept"));
    assert_eq!(rows("batch"), rows("kept"));
    let rejected = table(&out, "rejected").1;
    assert_eq!(strings(&rejected, "source"), ["in/2.jsonl"]);
    let dropped = table(&out, "dropped").1;
    let sources: Vec<String> = strings(&dropped, "tamis_source");
    let own: Vec<String> =
        strings(&dropped, "tamis_id").iter().map(|id| id.split('#').next().unwrap().to_owned()).collect();
    assert_eq!(sources, own);
    tamis(dir.path(), "verify out").expect_code(0);
}

#[test]
fn without_near_duplicate_removal_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 100);
    std::fs::write(
        dir.path().join("run.toml"),
        "[input]\npaths = [\"in\"]\n[output]\npath = \"out\"\nmode = \"append\"\n",
    )
    .unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    change(dir.path(), "001.jsonl", |row| row < 7, &[("new", "x")]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::thread::sleep(Duration::from_millis(1100));
    tamis(dir.path(), "gc out --grace 0h").expect_code(0);
    assert!(texts_of(&table(&dir.path().join("out"), "kept").1) == texts(&dir.path().join("in")));
    tamis(dir.path(), "verify out").expect_code(0);
}

#[test]
fn a_run_that_dies_after_its_commit_is_completed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let names = three_runs(dir.path(), "");
    let out = dir.path().join("out");
    let index = std::fs::read(out.join("_tamis/index/index.json")).unwrap();
    change(dir.path(), &names[0], |row| row % 3 == 0, &[]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    let (expect, version) = (files(&out), commits(&out).len() - 1);
    // As if killed right after the commit; meanwhile somebody compacts the index.
    std::fs::write(out.join("_tamis/index/index.json"), index).unwrap();
    for name in ["kept", "dropped", "evidence"] {
        std::fs::remove_file(out.join(format!("{name}/_delta_log/{version:020}.json"))).unwrap();
    }
    tamis(dir.path(), "index compact out/_tamis/index").expect_code(0);
    assert!(tamis(dir.path(), "run run.toml").expect_code(0).stdout.contains("nothing new"));
    for (name, bytes) in &expect {
        if !name.starts_with("_tamis/index/") {
            assert!(std::fs::read(out.join(name)).unwrap() == *bytes, "{name}");
        }
    }
    check(dir.path());
    // The index knows the rows that are there, and no others.
    let known = tamis(dir.path(), "index show out/_tamis/index --format json").expect_code(0).json();
    let rows = |segment: &Value| {
        let of_runs: u64 = segment["runs"].as_array().unwrap().iter().map(|run| run["rows"].as_u64().unwrap()).sum();
        of_runs - segment["expired"]["rows"].as_u64().unwrap_or_default()
    };
    let live: u64 = known["segments"].as_array().unwrap().iter().map(rows).sum();
    assert_eq!(live, table(&out, "kept").1.num_rows() as u64);
}

#[test]
fn on_s3_too() {
    let server = S3Server::start("changed");
    let environment = server.environment();
    let dir = tempfile::tempdir().unwrap();
    let names = licences(dir.path(), 150);
    config(dir.path(), &server.url("in/"), &server.url("out"));
    let run = |command_line: &str| {
        let mut tamis = command(dir.path());
        finish(tamis.args(command_line.split(' ')).envs(environment.iter().cloned())).expect_code(0)
    };
    for name in &names {
        server.put(&format!("in/{name}"), &dir.path().join(name));
        run("run run.toml");
    }
    std::fs::create_dir(dir.path().join("in")).unwrap();
    for name in &names {
        std::fs::copy(dir.path().join(name), dir.path().join("in").join(name)).unwrap();
    }
    change(dir.path(), &names[0], |row| row % 3 == 0, &[("new", "words that no other row has, one two three four")]);
    server.put(&format!("in/{}", names[0]), &dir.path().join("in").join(&names[0]));
    run("run run.toml");
    assert!(run("run run.toml").stdout.contains("nothing new"));
    let out = server.url("out");
    run(&format!("verify {out}"));
    run(&format!("restore {out} -o back"));
    assert!(texts_of(&table(&dir.path().join("back"), "kept").1) == texts(&dir.path().join("in")));
    let seen = run(&format!("inspect {out} --format json")).json();
    let tables = ["kept", "dropped"].map(|name| server.url(&format!("out/{name}")));
    for (found, name) in delta(dir.path(), &environment, &tables).iter().zip(["kept", "dropped"]) {
        assert_eq!(found["rows"], seen["overview"]["rows"][name]);
    }
    run(&format!("compact {out}"));
    run(&format!("verify {out}"));
    std::thread::sleep(Duration::from_millis(1100));
    run(&format!("gc {out} --grace 0h"));
    let n_files = server.list("out/kept/").iter().filter(|(key, _)| key.ends_with(".parquet")).count();
    assert_eq!(n_files, 1);
}

#[test]
fn ids_that_come_in_several_files_cannot_be_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let write = |name: &str, rows: &[(&str, &str)]| write_rows(dir.path(), name, rows);
    config(dir.path(), "in", "out");
    let (a, b) = ("one two three four five six", "red green blue white black grey");
    write("1.jsonl", &[("1", a), ("2", b)]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    write("2.jsonl", &[("1", "a line that stands alone here"), ("2", a)]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    let before = files(&dir.path().join("out/_tamis/commits"));
    write("1.jsonl", &[("1", a)]);
    let refused = tamis(dir.path(), "run run.toml").expect_code(2);
    assert!(refused.stderr.contains("the id `1` comes in several files"), "{}", refused.stderr);
    assert!(files(&dir.path().join("out/_tamis/commits")) == before);
    // A row that was dropped in two files.
    std::fs::remove_dir_all(dir.path().join("out")).unwrap();
    std::fs::remove_file(dir.path().join("in/2.jsonl")).unwrap();
    write("1.jsonl", &[("1", a), ("2", a)]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    write("2.jsonl", &[("2", a)]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    write("1.jsonl", &[("1", b)]);
    let refused = tamis(dir.path(), "run run.toml").expect_code(2);
    assert!(refused.stderr.contains("the id `2` comes in several files"), "{}", refused.stderr);
    tamis(dir.path(), "verify out").expect_code(0);
}

#[test]
fn what_was_cut_goes_on_with_its_text() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let write = |name: &str, rows: &[(&str, &str)]| write_rows(dir.path(), name, rows);
    config(dir.path(), "in", "out");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    let cutting = "[repetition]\naction = \"cut\"\nunit = \"line\"\nmin_tokens = 1\n";
    std::fs::write(dir.path().join("run.toml"), text + cutting).unwrap();
    let cut = "a red line\nanother line of words\na red line\nthe end of it";
    write("a.jsonl", &[("p", "words that come once and never again")]);
    write("b.jsonl", &[("q", cut), ("r", "the rest stands here for itself alone")]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    let restored = || {
        tamis(dir.path(), "restore out -o back --overwrite").expect_code(0);
        assert!(texts_of(&table(&dir.path().join("back"), "kept").1) == texts(&dir.path().join("in")));
        tamis(dir.path(), "verify out").expect_code(0);
    };
    restored();
    write("a.jsonl", &[("s", "other words than those before, and more of them")]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    restored();
    // None of what was cut is left.
    write("b.jsonl", &[("r", "the rest stands here for itself alone")]);
    tamis(dir.path(), "run run.toml").expect_code(0);
    restored();
}

#[test]
fn a_run_that_left_out_a_table_that_is_needed_stops_the_change() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let write = |name: &str, id: &str, text: &str| write_rows(dir.path(), name, &[(id, text)]);
    config(dir.path(), "in", "out");
    let all = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    write("1.jsonl", "x", "one two three four five six");
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::fs::write(dir.path().join("run.toml"), all.clone() + "tables = [\"kept\"]\n").unwrap();
    write("2.jsonl", "y", "one two three four five six");
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::fs::write(dir.path().join("run.toml"), all).unwrap();
    write("1.jsonl", "z", "seven eight nine ten eleven twelve");
    let stopped = tamis(dir.path(), "run run.toml").expect_code(2);
    assert!(stopped.stderr.contains("an earlier run wrote no table `dropped`"), "{}", stopped.stderr);
}
