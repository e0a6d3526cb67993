//! A run that is killed leaves nothing that the same command, given again, minds; nor that lasts.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{command, files, strings, table, tamis};

const DEDUP: &str = "dedup in.jsonl -o out --temp-dir temp --memory-limit 64MiB --threads 2";
const N_KILLS: u32 = 10;
/// In the output while a run writes to it.
const LOCK: &str = "out/_tamis_staging/process";

/// Rows of which every third is a near-duplicate of the one before it.
fn input(dir: &Path) {
    let mut file = File::create(dir.join("in.jsonl")).unwrap();
    for row in 0..30_000u64 {
        let of = if row % 3 == 2 { row - 1 } else { row };
        let mut words: Vec<String> = (0..40).map(|word| (of * 31 + word * word * 7919).to_string()).collect();
        words.push(row.to_string());
        writeln!(file, "{{\"id\":{row},\"text\":\"{}\"}}", words.join(" ")).unwrap();
    }
    std::fs::create_dir(dir.join("temp")).unwrap();
}

#[test]
fn the_same_command_after_a_kill_writes_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    input(dir.path());
    let (out, temp) = (dir.path().join("out"), dir.path().join("temp"));
    let start = Instant::now();
    tamis(dir.path(), DEDUP).expect_code(0);
    let whole_run = start.elapsed();
    let expect = files(&out);
    assert!(expect.contains_key("dropped/part-00000.parquet"), "{:?}", expect.keys());
    let mut n_killed = 0;
    for kill in 0..N_KILLS {
        std::fs::remove_dir_all(&out).unwrap();
        let mut child =
            command(dir.path()).args(DEDUP.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while start.elapsed() < whole_run * (2 * kill + 1) / (2 * N_KILLS) && child.try_wait().unwrap().is_none() {
            // When it is killed is not what is tested; a thread that spins would slow down the run.
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        n_killed += u32::from(child.wait().unwrap().code().is_none());
        let left = files(&out);
        if !left.contains_key("manifest.json") {
            let is_half = left.contains_key("_tamis_staging/committing");
            let visible: Vec<_> = left.keys().filter(|name| !name.starts_with("_tamis_staging/")).collect();
            assert!(is_half || visible.is_empty(), "kill {kill}: {visible:?}");
            tamis(dir.path(), DEDUP).expect_code(0);
        }
        let mut found = files(&out);
        found.retain(|name, _| !name.starts_with("_tamis_staging/"));
        assert!(found == expect, "kill {kill}");
    }
    assert!(n_killed > 0, "no run was killed before its end");
    // Whatever the last of them left is removed by whoever spills to the same place next.
    std::fs::remove_dir_all(&out).unwrap();
    tamis(dir.path(), DEDUP).expect_code(0);
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "temporary files of killed runs stay behind");
}

/// Makes a file as a run with the output `out` leaves it that is killed while it commits.
fn leave(dir: &Path, name: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let out = dir.canonicalize().unwrap().join("out");
    let text = if name.ends_with("committing") { out.strip_prefix("/").unwrap().to_str().unwrap() } else { "half" };
    std::fs::write(path, text).unwrap();
}

#[test]
fn tables_of_a_run_killed_while_it_committed_are_replaced_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.jsonl"), "{\"id\":\"a\",\"text\":\"one two three\"}\n").unwrap();
    let out = dir.path().join("out");
    let leave = |names: &[&str]| {
        let _ = std::fs::remove_dir_all(&out);
        for name in names {
            leave(dir.path(), &format!("out/{name}"));
        }
    };
    let half = ["_tamis_staging/committing", "_tamis_staging/dropped/part-00000.parquet", "kept/part-00000.parquet"];
    leave(&half);
    tamis(dir.path(), "dedup in.jsonl -o out").expect_code(0);
    let expect = files(&out);
    leave(&[]);
    tamis(dir.path(), "dedup in.jsonl -o out").expect_code(0);
    assert!(files(&out) == expect);
    // Someone's data, a run that ended, and what no run of ours renames.
    for names in [&half[2..], &["_tamis_staging/committing", "manifest.json"], &[half[0], "mine/a.parquet"]] {
        leave(names);
        tamis(dir.path(), "dedup in.jsonl -o out").expect_code(2);
        let left = files(&out);
        assert!(names.iter().all(|name| left.contains_key(*name) || name.starts_with("_tamis_staging/")), "{names:?}");
    }
}

#[test]
fn so_are_those_in_other_tiers() {
    for cold in ["cold", "out/cold"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("in.jsonl"), "{\"id\":\"a\",\"text\":\"one two three\"}\n").unwrap();
        for out in ["out", "other"] {
            let config = format!(
                "[input]\npaths = [\"in.jsonl\"]\n[deduplicate]\n[output]\npath = \"{out}\"\n[tiers.cold]\nurl = \"{cold}\"\n[routes]\ndropped = \"cold\"\n"
            );
            std::fs::write(dir.path().join(format!("{out}.toml")), config).unwrap();
        }
        let written = || ["out", cold].map(|name| files(&dir.path().join(name)));
        tamis(dir.path(), "run out.toml").expect_code(0);
        let expect = written();
        assert_eq!(expect[1].keys().collect::<Vec<_>>(), ["dropped/part-00000.parquet"]);
        for name in ["out", cold] {
            let _ = std::fs::remove_dir_all(dir.path().join(name));
        }
        let committing = format!("{cold}/_tamis_staging/committing");
        let half = format!("{cold}/dropped/part-00000.parquet");
        for name in ["out/_tamis_staging/committing", &committing, &half] {
            leave(dir.path(), name);
        }
        // To a run with another output, they are not what it left itself.
        let ended = tamis(dir.path(), "run other.toml").expect_code(2);
        assert!(ended.stderr.contains(&format!("`{cold}` is not empty")), "{}", ended.stderr);
        tamis(dir.path(), "run out.toml").expect_code(0);
        assert!(written() == expect);
        // Nor are those of a run that ended.
        leave(dir.path(), &committing);
        tamis(dir.path(), "run out.toml").expect_code(2);
        assert!(dir.path().join(half).exists());
    }
}

/// A run that holds `out` and waits for its input.
fn start(dir: &Path, flags: &[&str]) -> Child {
    let mut child = command(dir)
        .args(["dedup", "-", "--input-format", "jsonl", "-o", "out"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // More than fits into a pipe: that it is taken says that the run reads. Blank lines are no rows.
    child.stdin.as_mut().unwrap().write_all(&vec![b'\n'; 1 << 20]).unwrap();
    assert_eq!(std::fs::read_to_string(dir.join(LOCK)).unwrap(), child.id().to_string());
    child
}

/// Gives a run its input and waits for its end.
fn end(mut child: Child) -> i32 {
    child.stdin.take().unwrap().write_all(b"{\"id\":\"a\",\"text\":\"one two three\"}\n").unwrap();
    child.wait().unwrap().code().unwrap()
}

#[test]
fn a_run_that_cannot_be_committed_leaves_no_table() {
    let dir = tempfile::tempdir().unwrap();
    let child = start(dir.path(), &[]);
    let in_the_way = dir.path().join("out/manifest.json/mine");
    std::fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    std::fs::write(&in_the_way, "mine").unwrap();
    assert_eq!(end(child), 2);
    assert_eq!(files(&dir.path().join("out")).keys().collect::<Vec<_>>(), ["manifest.json/mine"]);
}

#[test]
fn a_second_run_to_the_same_output_is_refused_while_the_first_one_lives() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.jsonl"), "{\"id\":\"b\",\"text\":\"other\"}\n").unwrap();
    let lock = dir.path().join(LOCK);
    let refused = |first: &Child, commands: &[&str]| {
        for command in commands {
            let ended = tamis(dir.path(), command).expect_code(75);
            assert!(ended.stderr.contains(&format!("process {}", first.id())), "{command}: {}", ended.stderr);
            assert!(lock.exists(), "{command}");
        }
    };
    let kept = |expect: &str| {
        let (_, kept) = table(&dir.path().join("out"), "kept");
        assert_eq!(strings(&kept, "id"), [expect]);
        assert!(!dir.path().join("out/_tamis_staging").exists());
    };
    for flags in [&[][..], &["--overwrite"]] {
        let first = start(dir.path(), flags);
        refused(&first, &["dedup in.jsonl -o out --overwrite", "convert in.jsonl -o ./out/ --overwrite"]);
        assert_eq!(end(first), 0);
        kept("a");
    }

    // What it held is free when it is killed.
    std::fs::remove_dir_all(dir.path().join("out")).unwrap();
    let mut first = start(dir.path(), &[]);
    refused(&first, &["dedup in.jsonl -o out", "dedup in.jsonl -o out --overwrite"]);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(lock.exists());
    tamis(dir.path(), "dedup in.jsonl -o out").expect_code(0);
    kept("b");
}
