//! What is done with an output after its runs.

use super::*;

#[test]
fn all_runs_are_inspected_and_restored_together() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = licences(&dir.path().join("in"), 150);
    config(dir.path(), "in", "out");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(
        dir.path().join("run.toml"),
        text + "[repetition]\naction = \"cut\"\nunit = \"line\"\nmin_tokens = 1\n",
    )
    .unwrap();
    let later = dir.path().join("later.jsonl");
    std::fs::rename(dir.path().join("in").join(&names[1]), &later).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let commits = commits(&dir.path().join("out"));
    let n_cut: u64 = commits.iter().map(|commit| commit["manifest"]["grain"]["cut_spans"].as_u64().unwrap()).sum();
    assert!(commits.len() == 2 && n_cut > 0, "{n_cut} cuts");

    let seen = tamis(dir.path(), "inspect out --format json").expect_code(0).json();
    assert_eq!(seen["overview"]["rows"]["rows_in"].as_u64().unwrap(), sum(&commits, "rows_in"));
    assert_eq!(seen["overview"]["evidence_rows"].as_u64().unwrap(), sum(&commits, "dropped"));
    // A row of the second run that was dropped for one of the first, side by side.
    let first: BTreeSet<String> = ids(&table(&dir.path().join("out"), "kept").1, "tamis_id");
    let evidence = table(&dir.path().join("out"), "evidence").1;
    let pair = strings(&evidence, "dropped_id")
        .into_iter()
        .zip(strings(&evidence, "kept_id"))
        .find(|(_, kept)| first.contains(kept));
    let shown = tamis(dir.path(), &format!("inspect out --dropped {}", pair.unwrap().0)).expect_code(0).stdout;
    assert!(shown.lines().count() > 5, "{shown}");

    tamis(dir.path(), "restore out -o back").expect_code(0);
    let expect: BTreeMap<String, String> = json_lines(&sample("licences.jsonl"))
        .iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned()))
        .collect();
    let back = table(&dir.path().join("back"), "kept").1;
    let found: BTreeMap<String, String> = strings(&back, "id").into_iter().zip(strings(&back, "text")).collect();
    assert!(found == expect, "{} rows of {}", found.len(), expect.len());
}

#[test]
fn an_id_may_come_again_in_another_run() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    config(dir.path(), "in", "out");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    let cutting = text + "[repetition]\naction = \"cut\"\nunit = \"line\"\nmin_tokens = 1\n";
    std::fs::write(dir.path().join("run.toml"), cutting).unwrap();
    let rows = [
        "{\"id\":\"y\",\"text\":\"uncut words of the first\\nand more of them\"}",
        "{\"id\":\"y\",\"text\":\"red line\\nred line\\nblue line here\\nred line\",\"label\":\"new\"}",
        "{\"id\":\"y\",\"text\":\"other line\\nsome other text\\nother line\"}",
    ];
    let expect: BTreeSet<String> = rows
        .iter()
        .map(|row| serde_json::from_str::<Value>(row).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        for name in ["in", "out", "back"] {
            let _ = std::fs::remove_dir_all(dir.path().join(name));
        }
        std::fs::create_dir(dir.path().join("in")).unwrap();
        for row in order {
            std::fs::write(dir.path().join(format!("in/{row}.jsonl")), rows[row]).unwrap();
            tamis(dir.path(), "run run.toml").expect_code(0);
        }
        tamis(dir.path(), "restore out -o back").expect_code(0);
        assert_eq!(ids(&table(&dir.path().join("back"), "kept").1, "text"), expect, "{order:?}");
        let summary = tamis(dir.path(), "inspect out --by label").expect_code(0).stdout;
        assert!(summary.contains("no row was dropped for another"), "{summary}");
        let nobody = tamis(dir.path(), "inspect out --dropped y").expect_code(2).stderr;
        assert!(nobody.contains("no row was dropped for another so far"), "{nobody}");
    }
}

#[test]
fn an_output_is_looked_after() {
    let dir = tempfile::tempdir().unwrap();
    let later = all_but_one(dir.path(), 200);
    tamis(dir.path(), "run run.toml").expect_code(0);
    std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let out = dir.path().join("out");

    let runs = tamis(dir.path(), "runs out --format json").expect_code(0).json();
    assert_eq!(runs.as_array().unwrap().len(), 2);
    assert_eq!((runs[1]["version"].as_u64(), runs[1]["files"].as_u64()), (Some(1), Some(1)));
    let shown = tamis(dir.path(), "runs out").expect_code(0).stdout;
    assert_eq!((shown.lines().count(), shown.contains("20")), (3, true), "{shown}");
    let listed = tamis(dir.path(), "export out --files").expect_code(0).stdout;
    let on_disk: BTreeSet<String> =
        files(&out).into_keys().filter(|name| name.starts_with("kept/") && name.ends_with(".parquet")).collect();
    assert_eq!(
        listed.lines().map(|line| line.strip_prefix("out/").unwrap().to_owned()).collect::<BTreeSet<_>>(),
        on_disk
    );
    assert_eq!(tamis(dir.path(), "export out --files --table rejected").expect_code(0).stdout, "");

    assert!(tamis(dir.path(), "verify out").expect_code(0).stdout.contains("is sound"));
    let orphan = out.join("dropped/01a2279f-dead-7333-b36b-24df300a0c00-0-00000.parquet");
    // Others look after their own.
    std::fs::write(out.join("dropped/part-00000-dead-c000.zstd.parquet"), "of others").unwrap();
    std::fs::write(&orphan, "half a file").unwrap();
    let verified = tamis(dir.path(), "verify out").expect_code(0).stdout;
    assert!(verified.contains("1 file of runs that did not end") && verified.contains("01a2279f-dead"), "{verified}");
    let before = files(&out);
    assert!(tamis(dir.path(), "gc out").expect_code(0).stdout.contains("0 files removed"), "it is young");
    let planned = tamis(dir.path(), "gc out --grace 0h --dry-run --format json");
    // What is written in this second is not older than 0 hours.
    std::thread::sleep(Duration::from_millis(1100));
    assert!(files(&out) == before, "{}", planned.stdout);
    assert!(tamis(dir.path(), "gc out --grace 0h").expect_code(0).stdout.contains("1 file removed"));
    assert!(!orphan.exists());
    assert_eq!(files(&out).len() + 1, before.len());

    let kept = out.join(on_disk.first().unwrap());
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&kept, &bytes).unwrap();
    std::fs::remove_file(out.join("evidence/_delta_log/00000000000000000001.json")).unwrap();
    let verified = tamis(dir.path(), "verify out --format json").expect_code(2).json();
    let problems: Vec<&str> = verified["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("SHA-256 is not that") && problems[1].contains("Delta log lacks"), "{problems:?}");
    std::fs::write(&kept, &bytes[1..]).unwrap();
    assert!(tamis(dir.path(), "verify out").expect_code(2).stdout.contains("when it was written"));
    std::fs::remove_file(&kept).unwrap();
    assert!(tamis(dir.path(), "verify out").expect_code(2).stdout.contains("it is not there"));

    tamis(dir.path(), "dedup in -o single").expect_code(0);
    assert!(tamis(dir.path(), "verify single").expect_code(0).stdout.contains("is sound"));
    assert_eq!(tamis(dir.path(), "export single --files").expect_code(0).stdout, "single/kept/part-00000.parquet\n");
    assert!(tamis(dir.path(), "gc single --grace 0h").expect_code(0).stdout.contains("0 files removed"));
    for command in ["runs in", "verify in", "gc nowhere", "export in --files"] {
        let ended = tamis(dir.path(), command).expect_code(2);
        assert!(ended.stderr.contains("is no finished run"), "{command}: {}", ended.stderr);
    }
    std::fs::write(out.join("_tamis/commits/00000000000000000001.json"), "{\"commit_version\": 1, ").unwrap();
    assert!(tamis(dir.path(), "runs out").expect_code(2).stderr.contains("damaged"));
    std::fs::rename(
        out.join("_tamis/commits/00000000000000000001.json"),
        out.join("_tamis/commits/00000000000000000002.json"),
    )
    .unwrap();
    assert!(tamis(dir.path(), "run run.toml").expect_code(2).stderr.contains("damaged"));
}

#[test]
fn what_killed_runs_leave_in_a_bucket_is_removed() {
    let server = S3Server::start("tamis-uploads");
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &str| finish(command(dir.path()).args(args.split_whitespace()).envs(server.environment()));
    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 200);
    let (out, one) = (server.url("out"), server.url("one"));
    config(dir.path(), "in", &out);
    run("run run.toml").expect_code(0);
    run(&format!("dedup in -o {one}")).expect_code(0);

    let run_name = "01a2279f-dead-7333-b36b-24df300a0c00-0";
    let of_runs = [format!("out/dropped/{run_name}-00000.parquet"), format!("out/kept/{run_name}-00001.parquet")];
    let of_one = ["one/kept/part-00001.parquet".to_owned()];
    let of_others = ["out/dropped/mine.parquet".to_owned(), format!("elsewhere/{run_name}-00000.parquet")];
    let begin = "for key in sys.argv[2:]:\n  \
        upload = s3.create_multipart_upload(Bucket=sys.argv[1], Key=key)['UploadId']\n  \
        s3.upload_part(Bucket=sys.argv[1], Key=key, UploadId=upload, PartNumber=1, Body=b'x' * 6000000)\nprint(1)";
    let keys = of_runs.iter().chain(&of_one).chain(&of_others);
    let args: Vec<&str> = std::iter::once("tamis-uploads").chain(keys.map(String::as_str)).collect();
    boto3(begin, &args, &server.environment());
    let left = || -> BTreeSet<String> {
        let list =
            "print(json.dumps([u['Key'] for u in s3.list_multipart_uploads(Bucket=sys.argv[1]).get('Uploads', [])]))";
        serde_json::from_value(boto3(list, &["tamis-uploads"], &server.environment())).unwrap()
    };
    let all = left();
    assert_eq!(all.len(), 5);

    let orphan = format!("out/kept/{run_name}-00000.parquet");
    server.put(&orphan, &dir.path().join("run.toml"));
    let verified = run(&format!("verify {out}")).expect_code(0).stdout;
    assert!(verified.contains("1 file of runs that did not end") && verified.contains(&orphan), "{verified}");

    let young = run(&format!("gc {out} --format json")).expect_code(0).json();
    assert_eq!((&young["aborted"], left()), (&serde_json::json!([]), all.clone()), "they are young");
    // What is begun in this second is not older than 0 hours.
    std::thread::sleep(Duration::from_millis(1100));
    let planned = run(&format!("gc {out} --grace 0h --dry-run")).expect_code(0).stdout;
    assert!(planned.contains("2 uploads that never ended would be aborted") && left() == all, "{planned}");
    let done = run(&format!("gc {out} --grace 0h")).expect_code(0).stdout;
    assert!(done.contains("2 uploads that never ended aborted") && done.contains(&of_runs[0]), "{done}");
    assert!(done.contains("1 file removed") && server.list(&orphan).is_empty(), "{done}");
    assert!(left().iter().eq(all.iter().filter(|key| !of_runs.contains(key))), "{:?}", left());
    run(&format!("gc {one} --grace 0h")).expect_code(0);
    assert_eq!(left(), of_others.into_iter().collect());
    run(&format!("verify {out}")).expect_code(0);
}

#[test]
fn others_may_compact_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let later = all_but_one(dir.path(), 100);
    tamis(dir.path(), "run run.toml").expect_code(0);
    let peers = std::env::var("TAMIS_TEST_PEERS").unwrap();
    let compact = "from deltalake import DeltaTable; t = DeltaTable('out/kept'); t.optimize.compact(); \
                   t.alter.set_table_properties({'delta.appendOnly': 'false'}); t.create_checkpoint()";
    let mut python = Command::new("python3");
    finish(python.args(["-c", compact]).current_dir(dir.path()).env("PYTHONPATH", peers)).expect_code(0);
    std::fs::rename(&later, dir.path().join("in/later.jsonl")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let kept = local_delta(dir.path(), "kept");
    assert_eq!(kept["rows"], sum(&commits(&dir.path().join("out")), "kept"));
    assert!(kept["version"].as_u64().unwrap() > 1, "{}", kept["version"]);
}

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let to = to.join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
}

#[test]
fn an_output_of_the_first_version_is_read_and_added_to() {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("tests/data/output-v1"), &dir.path().join("out"));
    let runs = tamis(dir.path(), "runs out --format json").expect_code(0).json();
    assert_eq!((runs[0]["rows"]["rows_in"].as_u64(), runs[1]["rows"]["rejected"].as_u64()), (Some(40), Some(1)));
    assert_eq!(runs.as_array().unwrap().len(), 2);
    tamis(dir.path(), "verify out").expect_code(0);
    tamis(dir.path(), "index verify out/_tamis/index").expect_code(0);
    let kept = local_delta(dir.path(), "kept");
    assert_eq!((kept["rows"].as_u64(), kept["nulls"]["stars"].as_u64()), (Some(24), Some(23)));

    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 40);
    config(dir.path(), "in/000.jsonl", "out");
    let summary = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(summary["manifest"]["rows"]["kept"], 0, "all of it is known");
    assert_eq!(summary["manifest"]["index"]["indexed_rows"], 24);
    config(dir.path(), "in", "out");
    tamis(dir.path(), "run run.toml").expect_code(0);
    assert_eq!(local_delta(dir.path(), "kept")["rows"], sum(&commits(&dir.path().join("out")), "kept"));
    // The first version did not write this column.
    let (dropped, first) = (local_delta(dir.path(), "dropped"), &commits(&dir.path().join("out"))[..2]);
    assert_eq!(dropped["nulls"]["tamis_source"], sum(first, "dropped"));
    assert!(dropped["rows"].as_u64() > dropped["nulls"]["tamis_source"].as_u64());
    tamis(dir.path(), "inspect out").expect_code(0);
    tamis(dir.path(), "restore out -o back").expect_code(0);
    assert!(table(&dir.path().join("back"), "kept").0.field_with_name("tamis_source").is_err());
}

#[test]
fn dropped_rows_come_back_where_no_run_kept_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    config(dir.path(), "in", "out");
    let text = std::fs::read_to_string(dir.path().join("run.toml")).unwrap();
    std::fs::write(dir.path().join("run.toml"), text + "[decontaminate]\npaths = [\"held-out.jsonl\"]\n").unwrap();
    let row = "{\"id\":\"y\",\"n\":7,\"text\":\"words that are held out, all of them\"}\n";
    std::fs::write(dir.path().join("held-out.jsonl"), row).unwrap();
    std::fs::write(dir.path().join("in/empty.jsonl"), "").unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let refused = tamis(dir.path(), "restore out -o back").expect_code(2).stderr;
    assert!(refused.contains("`out` has no row to restore: 0 kept, 0 dropped"), "{refused}");
    assert!(!dir.path().join("back").exists());

    std::fs::write(dir.path().join("in/contaminated.jsonl"), row).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    tamis(dir.path(), "restore out -o back").expect_code(0);
    let back = table(&dir.path().join("back"), "kept").1;
    assert_eq!(strings(&back, "id"), ["y"]);
    let names: Vec<&str> = back.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "n", "text", "tamis_id"]);
    tamis(dir.path(), "restore out -o kept --kept-only").expect_code(2);
}

#[test]
fn what_killed_runs_leave_in_a_folder_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    licences(&dir.path().join("in"), 200);
    config(dir.path(), "in", "out");
    tamis(dir.path(), "run run.toml").expect_code(0);
    let before = files(&dir.path().join("out"));
    let run_name = "01a2279f-dead-7333-b36b-24df300a0c00-0";
    let (segment, out) = (format!("_tamis/index/segments/1795980390-{run_name}"), dir.path().join("out"));
    std::fs::create_dir(out.join(&segment)).unwrap();
    let left = [
        format!("kept/{run_name}-00000.parquet#1"),
        format!("dropped/{run_name}-00000.parquet"),
        format!("{segment}/keys.parquet"),
        format!("{segment}/rows.parquet#1"),
    ];
    for name in &left {
        std::fs::write(out.join(name), "half").unwrap();
    }
    // Those of others are theirs.
    std::fs::write(out.join("kept/mine.parquet#1"), "mine").unwrap();
    let verified = tamis(dir.path(), "verify out").expect_code(0).stdout;
    assert!(verified.contains("4 files of runs that did not end"), "{verified}");
    assert!(tamis(dir.path(), "gc out").expect_code(0).stdout.contains("0 files removed"), "they are young");
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(100);
    for name in &left {
        std::fs::File::options().append(true).open(out.join(name)).unwrap().set_modified(long_ago).unwrap();
    }
    let found = tamis(dir.path(), "gc out --grace 2d --dry-run --format json").expect_code(0).json();
    let removed: BTreeSet<&str> =
        found["removed"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let expect: BTreeSet<String> = left.iter().map(|name| format!("out/{name}")).collect();
    assert!(removed.iter().copied().eq(expect.iter().map(String::as_str)), "{removed:?}");
    assert!(tamis(dir.path(), "gc out --grace 2d").expect_code(0).stdout.contains("4 files removed"));
    std::fs::remove_file(out.join("kept/mine.parquet#1")).unwrap();
    assert!(files(&out) == before);
    tamis(dir.path(), "index verify out/_tamis/index").expect_code(0);
}

#[test]
fn files_that_were_read_may_be_moved_away() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    config(dir.path(), "in", "out");
    let empty = tamis(dir.path(), "run run.toml").expect_code(2).stderr;
    assert!(empty.contains("there are no input files"), "{empty}");
    let names = licences(&dir.path().join("in"), 300);
    let mut run = command(dir.path());
    finish(run.args(["run", "run.toml"]).env("TAMIS_RUN_ID", "nightly 1")).expect_code(0);
    for name in names {
        std::fs::remove_file(dir.path().join("in").join(name)).unwrap();
    }
    assert!(tamis(dir.path(), "run run.toml").expect_code(0).stdout.contains("nothing new"));
    tamis(dir.path(), "run run.toml --exit-empty 10").expect_code(10);
    std::fs::remove_dir(dir.path().join("in")).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(2);

    // From the log of a run to its commit.
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/more.jsonl"), "{\"id\":\"more\",\"text\":\"one row of few words\"}\n").unwrap();
    let log = tamis(dir.path(), "run run.toml -v --log-format json").expect_code(0).stderr;
    let line: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let runs = tamis(dir.path(), "runs out --format json").expect_code(0).json();
    assert_eq!(runs[0]["run_id"], "nightly 1");
    assert_eq!(runs[1]["run"], format!("{}-0", line["run_id"].as_str().unwrap()));
}

/// Before its first commit there is nothing to look at, but somebody to wait for.
#[test]
fn the_first_run_may_be_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let lease = dir.path().join("out/_tamis/lease");
    std::fs::create_dir_all(&lease).unwrap();
    let held = r#"{"epoch":1,"owner":"process 7 on host","nonce":"x","beat":3,"ttl_seconds":60,"released":false}"#;
    std::fs::write(lease.join("00000000000000000001.json"), held).unwrap();
    for command in ["gc out", "compact out", "verify out"] {
        let waits = tamis(dir.path(), command).expect_code(75).stderr;
        assert!(waits.contains("process 7 on host"), "{command}: {waits}");
    }
    std::fs::write(lease.join("00000000000000000001.json"), held.replace("false", "true")).unwrap();
    assert!(tamis(dir.path(), "verify out").expect_code(2).stderr.contains("no run was added to it"));
}
