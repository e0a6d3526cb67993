//! The index over runs: many runs as one, upkeep, damage, crashes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::s3::S3Server;
use crate::support::{command, files, finish, jaccard, sample, shingles, strings, table, tamis};

/// Laws and licences, mixed, cut into `n_parts` files.
fn parts(dir: &Path, n_parts: usize) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(sample(name)).unwrap();
    let (laws, licences) = (read("laws.jsonl"), read("licences.jsonl"));
    let mut lines: Vec<(usize, &str)> = laws.lines().chain(licences.lines()).enumerate().collect();
    lines.sort_by_key(|(row, _)| row * 7919 % 1009);
    lines
        .chunks(lines.len().div_ceil(n_parts))
        .enumerate()
        .map(|(part, lines)| {
            let name = format!("part-{part:02}.jsonl");
            let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
            fs::write(dir.join(&name), text).unwrap();
            name
        })
        .collect()
}

fn kept(out: &Path) -> Vec<String> {
    strings(&table(out, "kept").1, "tamis_id")
}

fn kept_for(out: &Path) -> BTreeMap<String, String> {
    let (_, evidence) = table(out, "evidence");
    strings(&evidence, "dropped_id").into_iter().zip(strings(&evidence, "kept_id")).collect()
}

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

fn index_json(index: &Path) -> Value {
    serde_json::from_slice(&fs::read(index.join("index.json")).unwrap()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for (name, bytes) in files(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn twenty_runs_are_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let names = parts(dir.path(), 20);
    assert_eq!(names.len(), 20);
    let texts: HashMap<String, String> = names
        .iter()
        .flat_map(|name| crate::support::json_lines(&dir.path().join(name).display().to_string()))
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned()))
        .collect();
    for (recall, threshold) in [("0.99", 0.6), ("1.0", 0.7)] {
        let flags = format!("--recall {recall} --threshold {threshold}");
        tamis(dir.path(), &format!("dedup {} -o one {flags} --overwrite", names.join(" "))).expect_code(0);
        let mut all_kept = BTreeSet::new();
        let (mut n_for_earlier, mut n_added) = (0, 0);
        for (number, name) in names.iter().enumerate() {
            let resources = ["--threads 1", "--threads 8 --memory-limit 64MiB", "--batch-rows 7"][number % 3];
            let out = dir.path().join(format!("run-{recall}-{number}"));
            let args = format!("dedup {name} -o {} --index index-{recall} {flags} {resources}", out.display());
            tamis(dir.path(), &args).expect_code(0);
            let of_run = kept(&out);
            let record = &manifest(&out)["index"];
            assert_eq!(record["added_rows"], of_run.len());
            assert_eq!(record["indexed_rows"], n_added, "rows of all earlier runs");
            n_added += of_run.len();
            let reasons = kept_for(&out);
            let for_earlier = reasons.values().filter(|id| all_kept.contains(*id)).count();
            assert_eq!(record["dropped_rows"], for_earlier);
            n_for_earlier += for_earlier;
            for (dropped, stays) in &reasons {
                let similarity = jaccard(&shingles(&texts[dropped], 5), &shingles(&texts[stays], 5));
                assert!(similarity >= threshold, "{dropped} was dropped for {stays} at {similarity}");
                assert!(all_kept.contains(stays) || of_run.contains(stays), "{stays} is not kept");
            }
            all_kept.extend(of_run);
        }
        assert_eq!(all_kept, kept(&dir.path().join("one")).into_iter().collect(), "recall {recall}");
        assert!(n_for_earlier > 50, "{n_for_earlier} rows were dropped for earlier runs");
        let ended = tamis(dir.path(), &format!("index verify index-{recall}")).expect_code(0);
        assert!(ended.stdout.contains("20 segments"), "{}", ended.stdout);
    }
}

#[test]
fn resources_change_neither_output_nor_segments() {
    let dir = tempfile::tempdir().unwrap();
    let names = parts(dir.path(), 3);
    for recall in ["0.99", "1.0"] {
        let run = |flags: &str| {
            let _ = fs::remove_dir_all(dir.path().join("index"));
            let mut bytes = Vec::new();
            for name in &names {
                let args = format!("dedup {name} -o out --overwrite --index index --threshold 0.6 --recall {recall}");
                let _ = fs::remove_dir_all(dir.path().join("out"));
                tamis(dir.path(), &format!("{args} {flags}")).expect_code(0);
                bytes.push(files(&dir.path().join("out")));
            }
            let segments = files(&dir.path().join("index/segments"));
            let mut contents: Vec<Vec<u8>> = segments.into_values().collect();
            contents.sort();
            assert_eq!(contents.len(), 9);
            (bytes, contents)
        };
        let expect = run("--threads 1");
        for flags in ["--threads 8 --batch-rows 3", "--memory-limit 64MiB --threads 2"] {
            assert!(run(flags) == expect, "{recall} {flags}");
        }
    }
}

#[test]
fn other_parameters_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let name = &parts(dir.path(), 4)[0];
    tamis(dir.path(), &format!("dedup {name} -o first --index index")).expect_code(0);
    let before = files(&dir.path().join("index"));
    for (flags, expect) in [
        ("--ngram 4", "ngram is 5 in the index and 4 in this run"),
        ("--seed 7", "seed is 0 in the index and 7 in this run"),
        ("--threshold 0.7", "threshold is 0.8 in the index and 0.7 in this run"),
        ("--recall 1.0", "recall is 0.99 in the index and 1.0 in this run"),
        ("--recall 0.9", "bands is 32 in the index and"),
        ("--ignore-diacritics", "ignore_diacritics is false in the index and true in this run"),
        ("--ignore-digits", "ignore_digits"),
        ("--ignore-punctuation", "ignore_punctuation"),
        ("--linkage connected", "linkage connected"),
        ("--measure containment", "measure containment"),
        ("--by id", "by `id`"),
        ("--scope within-source", "scope within-source"),
        ("--scope across-sources --source-column id", "scope across-sources"),
    ] {
        let ended = tamis(dir.path(), &format!("dedup {name} -o other --index index {flags}")).expect_code(2);
        assert!(ended.stderr.contains(expect), "{flags}: {}", ended.stderr);
        assert!(!dir.path().join("other").exists(), "{flags}");
    }
    for (args, expect) in [
        (format!("dedup {name} -o other --scope index"), "--index"),
        (format!("dedup {name} -o other --index ."), "overlap"),
        ("index show nowhere".to_owned(), "no index"),
        ("index delete index".to_owned(), "--yes"),
        ("index delete index --run nobody".to_owned(), "nobody"),
        ("index expire index".to_owned(), "--older-than"),
    ] {
        let ended = tamis(dir.path(), &args).expect_code(2);
        assert!(ended.stderr.contains(expect), "{args}: {}", ended.stderr);
    }
    assert!(files(&dir.path().join("index")) == before);
    assert!(!dir.path().join("other").exists());
}

#[test]
fn a_damaged_index_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let names = parts(dir.path(), 2);
    tamis(dir.path(), &format!("dedup {} -o first --index index", names[0])).expect_code(0);
    let id = &kept(&dir.path().join("first"))[3];
    tamis(dir.path(), &format!("index expire index --id {id}")).expect_code(0);
    let index = dir.path().join("index");
    let whole = dir.path().join("whole");
    copy(&index, &whole);
    let of_index = files(&index);
    assert_eq!(of_index.len(), 5, "{:?}", of_index.keys());
    for (name, bytes) in &of_index {
        let path = index.join(name);
        let mut damages: Vec<(&str, Option<Vec<u8>>)> =
            vec![("is cut", Some(bytes[..bytes.len() / 2].to_vec())), ("is empty", Some(Vec::new()))];
        if name != "index.json" {
            for at in [0, bytes.len() / 2, bytes.len() - 1] {
                let mut broken = bytes.clone();
                broken[at] ^= 4;
                damages.push(("has a wrong bit", Some(broken)));
            }
            damages.push(("is longer", Some([bytes.as_slice(), b"x"].concat())));
            damages.push(("is gone", None));
        }
        for (what, damaged) in damages {
            match damaged {
                Some(damaged) => fs::write(&path, damaged).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            for args in [format!("dedup {} -o out --index index", names[1]), "index verify index".to_owned()] {
                let ended = tamis(dir.path(), &args).expect_code(2);
                assert!(ended.stderr.contains(name), "{name} {what}: {}", ended.stderr);
                assert!(!dir.path().join("out").exists(), "{name} {what}");
            }
            fs::write(&path, bytes).unwrap();
        }
    }
    assert!(files(&index) == of_index, "a refused run changes nothing");
    tamis(dir.path(), "index verify index").expect_code(0);
}

#[test]
fn expiry_and_compaction_change_nothing_for_what_stays() {
    let dir = tempfile::tempdir().unwrap();
    let names = parts(dir.path(), 5);
    let flags = "--threshold 0.6";
    for (number, name) in names[..4].iter().enumerate() {
        tamis(dir.path(), &format!("dedup {name} -o run-{number} --index index {flags}")).expect_code(0);
    }
    let index = dir.path().join("index");
    let probe = || {
        copy(&index, &dir.path().join("probed"));
        let _ = fs::remove_dir_all(dir.path().join("out"));
        tamis(dir.path(), &format!("dedup {} -o out --index probed {flags}", names[4])).expect_code(0);
        files(&dir.path().join("out"))
    };
    let all = probe();
    let reasons = kept_for(&dir.path().join("out"));
    let of_earlier: BTreeSet<String> = (0..4).flat_map(|run| kept(&dir.path().join(format!("run-{run}")))).collect();
    let expired: BTreeSet<&String> = reasons.values().filter(|id| of_earlier.contains(*id)).take(3).collect();
    assert_eq!(expired.len(), 3);

    let compacted = tamis(dir.path(), "index compact index --format json").expect_code(0).json();
    assert_eq!((&compacted["segments_before"], &compacted["segments"]), (&4.into(), &1.into()));
    assert_eq!(files(&index).len(), 4, "old segments are gone");
    assert!(probe() == all, "compaction alone");
    tamis(dir.path(), "index compact index").expect_code(0);
    assert_eq!(index_json(&index)["segments"][0]["runs"].as_array().unwrap().len(), 4);

    let ids: Vec<&str> = expired.iter().map(|id| id.as_str()).collect();
    fs::write(dir.path().join("ids.txt"), ids[1..].join("\n")).unwrap();
    let ended = tamis(dir.path(), &format!("index expire index --id {} --ids ids.txt --format json", ids[0]));
    assert_eq!(ended.expect_code(0).json()["expired_rows"], 3);
    let without = probe();
    assert!(without != all);
    assert!(kept_for(&dir.path().join("out")).values().all(|id| !expired.contains(id)), "an expired row is named");
    tamis(dir.path(), "index verify index").expect_code(0);
    let removed = tamis(dir.path(), "index compact index --format json").expect_code(0).json();
    assert_eq!(removed["removed_rows"], 3);
    assert!(probe() == without, "compaction after expiry");
    tamis(dir.path(), "index verify index").expect_code(0);

    // By age, inside of a segment that also has rows that expired by id.
    let second = manifest(&dir.path().join("run-1"))["index"]["run"].as_str().unwrap().to_owned();
    let mut json = index_json(&index);
    let runs = json["segments"][0]["runs"].as_array_mut().unwrap();
    let old_rows = runs.iter().find(|run| run["run"] == *second).unwrap()["rows"].as_u64().unwrap();
    runs.iter_mut().filter(|run| run["run"] == *second).for_each(|run| run["added_at"] = 1000.into());
    fs::write(index.join("index.json"), json.to_string()).unwrap();
    let stays = kept(&dir.path().join("run-2")).into_iter().find(|id| !expired.contains(id)).unwrap();
    let of_second = kept(&dir.path().join("run-1")).into_iter().find(|id| !expired.contains(id)).unwrap();
    tamis(dir.path(), &format!("index expire index --id {stays} --id {of_second}")).expect_code(0);
    let ended = tamis(dir.path(), "index expire index --older-than 90d --format json").expect_code(0).json();
    assert_eq!(ended["expired_rows"], old_rows - 1);
    let after_age = probe();
    let of_second: BTreeSet<String> = kept(&dir.path().join("run-1")).into_iter().collect();
    assert!(kept_for(&dir.path().join("out")).values().all(|id| !of_second.contains(id)));
    tamis(dir.path(), "index compact index").expect_code(0);
    assert!(probe() == after_age);
    tamis(dir.path(), "index verify index").expect_code(0);

    let last = manifest(&dir.path().join("run-3"))["index"]["run"].as_str().unwrap().to_owned();
    tamis(dir.path(), &format!("index delete index --run {last}")).expect_code(0);
    let shown = tamis(dir.path(), "index show index").expect_code(0).stdout;
    assert!(!shown.contains(&last) && shown.contains("ngram"), "{shown}");
    tamis(dir.path(), "index expire index --older-than 0h").expect_code(0);
    fs::write(index.join("segments/mine.txt"), "mine").unwrap();
    tamis(dir.path(), "index delete index --yes").expect_code(0);
    assert_eq!(
        files(&index).keys().collect::<Vec<_>>(),
        ["segments/mine.txt"],
        "what is not ours stays, the rest goes"
    );
}

#[test]
fn the_same_command_again_gives_the_same_output() {
    let dir = tempfile::tempdir().unwrap();
    let names = parts(dir.path(), 3);
    tamis(dir.path(), &format!("dedup {} -o first --index index", names[0])).expect_code(0);
    let command = format!("dedup {} -o second --index index --overwrite", names[1]);
    let index = dir.path().join("index");
    let before = fs::read(index.join("index.json")).unwrap();
    tamis(dir.path(), &command).expect_code(0);
    let expect = files(&dir.path().join("second"));
    let run = manifest(&dir.path().join("second"))["index"]["run"].clone();
    assert!(kept(&dir.path().join("second")).len() > 10);
    let again = tamis(dir.path(), &command).expect_code(0);
    assert!(
        again.stderr.contains("leaves the index") && again.stderr.contains(run.as_str().unwrap()),
        "{}",
        again.stderr
    );
    assert!(files(&dir.path().join("second")) == expect);
    let json = index_json(&index);
    let names_of = |json: &Value| -> Vec<Value> {
        let segments = json["segments"].as_array().unwrap().iter();
        segments.flat_map(|segment| segment["runs"].as_array().unwrap().clone()).map(|run| run["run"].clone()).collect()
    };
    assert_eq!(names_of(&json).len(), 2);
    assert_eq!(names_of(&json)[1], run);
    assert_eq!(files(&index).len(), 7, "the replaced segment is gone");

    // Killed between the two commits: the output is complete, the index does not know of it.
    fs::write(index.join("index.json"), &before).unwrap();
    tamis(dir.path(), &command).expect_code(0);
    assert!(files(&dir.path().join("second")) == expect);
    assert_eq!(names_of(&index_json(&index)), names_of(&json));
    assert_eq!(files(&index).len(), 10, "the files of the killed run are there");
    tamis(dir.path(), "index compact index --orphans 1d").expect_code(0);
    let removed = tamis(dir.path(), "index compact index --orphans 0h --format json").expect_code(0).json();
    assert_eq!(removed["removed_orphans"], 3);
    tamis(dir.path(), "index verify index").expect_code(0);

    // Killed while other rows replaced those of an earlier run: the index still has these, no manifest names them.
    let input = fs::read_to_string(dir.path().join(&names[1])).unwrap();
    let half: Vec<&str> = input.lines().take(input.lines().count() / 2).collect();
    let before = files(&index);
    fs::write(dir.path().join(&names[1]), half.join("\n")).unwrap();
    tamis(dir.path(), &command).expect_code(0);
    let expect = files(&dir.path().join("second"));
    copy(&index, &dir.path().join("after"));
    let _ = fs::remove_dir_all(&index);
    for (name, bytes) in &before {
        fs::create_dir_all(index.join(name).parent().unwrap()).unwrap();
        fs::write(index.join(name), bytes).unwrap();
    }
    fs::write(dir.path().join("second/_tamis_replaced.json"), format!("{{\"runs\":[{run}]}}")).unwrap();
    tamis(dir.path(), &command).expect_code(0);
    assert!(files(&dir.path().join("second")) == expect);
    assert_eq!(names_of(&index_json(&index)), names_of(&index_json(&dir.path().join("after"))));

    // A run that fails takes its word back, and leaves no file.
    let before = (files(&index), files(&dir.path().join("second")));
    fs::write(dir.path().join("bad.jsonl"), "{\"id\":1,\"text\":\"a\"}\n{\"id\":1,\"text\":\"b\"}\n").unwrap();
    tamis(dir.path(), "dedup bad.jsonl -o second --index index --overwrite").expect_code(2);
    assert!((files(&index), files(&dir.path().join("second"))) == before);
}

#[test]
fn rows_of_the_index_come_first_and_scope_says_who_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let base = "the quick brown fox jumps over the lazy dog and runs away into the deep dark forest near the river";
    let write = |name: &str, rows: &[(&str, String)]| {
        let lines: Vec<String> =
            rows.iter().map(|(id, text)| serde_json::json!({"id": id, "text": text}).to_string()).collect();
        fs::write(dir.path().join(name), lines.join("\n")).unwrap();
    };
    write("a.jsonl", &[("short", base.to_owned()), ("blank", String::new())]);
    let other = "something else entirely is written in this row, and nothing of it is said elsewhere at all";
    write(
        "b.jsonl",
        &[
            ("long", format!("{base} today")),
            ("same", base.to_uppercase()),
            ("blank-2", String::new()),
            ("new", other.to_owned()),
            ("new-again", other.to_owned()),
            ("new-near", format!("{other} indeed")),
        ],
    );
    for recall in ["0.99", "1.0"] {
        let run = |args: &str| {
            let _ = fs::remove_dir_all(dir.path().join("index"));
            tamis(dir.path(), &format!("dedup a.jsonl -o a --overwrite --index index --recall {recall}"))
                .expect_code(0);
            let _ = fs::remove_dir_all(dir.path().join("b"));
            let args = format!("dedup b.jsonl -o b --index index --recall {recall} {args}");
            tamis(dir.path(), &args).expect_code(0);
            (kept(&dir.path().join("b")), kept_for(&dir.path().join("b")))
        };
        let (stays, reasons) = run("--keep longest");
        assert_eq!(stays, ["new-near"]);
        assert_eq!((reasons["long"].as_str(), reasons["same"].as_str()), ("short", "short"));
        assert_eq!((reasons["blank-2"].as_str(), reasons["new"].as_str()), ("blank", "new-near"));
        let (stays, reasons) = run("--scope index");
        assert_eq!(stays, ["new", "new-again", "new-near"]);
        assert_eq!(reasons.len(), 3);
        let (_, evidence) = table(&dir.path().join("b"), "evidence");
        assert_eq!(strings(&evidence, "rule"), ["near_duplicate", "identical_text", "identical_text"]);
        // Two of the three are of one text in the index now: later rows are dropped for the first.
        tamis(dir.path(), &format!("dedup b.jsonl -o c --overwrite --index index --recall {recall}")).expect_code(0);
        let reasons = kept_for(&dir.path().join("c"));
        assert_eq!((reasons.len(), reasons["new-again"].as_str()), (6, "new"));
        assert_eq!(manifest(&dir.path().join("c"))["index"].get("run"), None, "nothing is added");
    }
}

#[test]
fn a_config_names_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let name = &parts(dir.path(), 4)[0];
    let base = format!("[input]\npaths = [{name:?}]\n[output]\npath = \"out\"\n");
    fs::write(dir.path().join("c.toml"), format!("{base}[index]\nurl = \"index\"\n")).unwrap();
    let ended = tamis(dir.path(), "config check c.toml").expect_code(2);
    assert!(ended.stderr.contains("[deduplicate]"), "{}", ended.stderr);
    fs::write(dir.path().join("c.toml"), format!("{base}[deduplicate]\n[index]\nurl = \"index\"\n")).unwrap();
    tamis(dir.path(), "run c.toml").expect_code(0);
    assert!(dir.path().join("index/index.json").exists());
    let text = fs::read_to_string(dir.path().join("out/manifest.json")).unwrap();
    assert!(!text.contains("added_at") && !text.contains("\"url\""), "{text}");
}

#[test]
fn an_index_in_a_bucket() {
    let server = S3Server::start("tamis-index");
    let dir = tempfile::tempdir().unwrap();
    let names = parts(dir.path(), 3);
    let run = |args: &str| finish(command(dir.path()).args(args.split_whitespace()).envs(server.environment()));
    let (url, out) = (server.url("index"), server.url("out"));
    for (number, name) in names.iter().enumerate() {
        run(&format!("dedup {name} -o {out}/{number} --index {url} --threshold 0.6")).expect_code(0);
        tamis(dir.path(), &format!("dedup {name} -o local-{number} --index index --threshold 0.6")).expect_code(0);
        server.get(&format!("out/{number}/evidence/part-00000.parquet"), &dir.path().join("evidence"));
        let local = dir.path().join(format!("local-{number}/evidence/part-00000.parquet"));
        assert!(fs::read(dir.path().join("evidence")).unwrap() == fs::read(local).unwrap());
    }
    run(&format!("dedup {} -o {out}/2 --index {url} --threshold 0.6 --overwrite", names[2])).expect_code(0);
    assert_eq!(server.list("index/").len(), 10);
    assert!(server.list("out/2/").iter().all(|(key, _)| !key.contains("_tamis_replaced")));
    run(&format!("index verify {url}")).expect_code(0);
    run(&format!("index compact {url}")).expect_code(0);
    run(&format!("index verify {url}")).expect_code(0);
    assert_eq!(server.list("index/").len(), 4);
    run(&format!("index delete {url} --yes")).expect_code(0);
    assert_eq!(server.list("index/"), []);
}

#[test]
fn a_cluster_has_its_share_in_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let text = "a text of more than five words that comes again and again";
    for run in 0..3 {
        let rows: String = (0..4).map(|row| format!("{{\"id\":\"{run}-{row}\",\"text\":\"{text}\"}}\n")).collect();
        fs::write(dir.path().join("in.jsonl"), rows).unwrap();
        tamis(dir.path(), &format!("dedup in.jsonl -o out{run} --index index --cap-cluster 2")).expect_code(0);
        let stay: &[&str] = if run == 0 { &["0-0", "0-1"] } else { &[] };
        assert_eq!(kept(&dir.path().join(format!("out{run}"))), stay);
    }
}

#[test]
fn rows_of_the_index_are_told_from_rows_that_are_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let row = |id: &str, text: &str| format!("{{\"id\":\"{id}\",\"text\":\"{text}\"}}\n");
    let (kept_before, held_out) = ("a text of more than five words", "a held out item of several words");
    let repeats = "again and ".repeat(60);
    fs::write(dir.path().join("old.jsonl"), row("old", kept_before)).unwrap();
    fs::write(dir.path().join("held.jsonl"), row("held", held_out)).unwrap();
    let new = [row("new", kept_before), row("bad", held_out), row("worse", &repeats)].concat();
    fs::write(dir.path().join("new.jsonl"), new).unwrap();
    tamis(dir.path(), "dedup old.jsonl -o first --index index").expect_code(0);
    for flags in ["--against held.jsonl", "--repetition drop", "--against held.jsonl --repetition drop --keep id:desc"]
    {
        fs::remove_dir_all(dir.path().join("copy")).ok();
        copy(&dir.path().join("index"), &dir.path().join("copy"));
        tamis(dir.path(), &format!("dedup new.jsonl -o out --overwrite --index copy {flags}")).expect_code(0);
        assert_eq!(kept_for(&dir.path().join("out"))["new"], "old", "{flags}");
    }
}
