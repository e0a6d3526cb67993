//! What is accounted for, where it is kept, and budgets.

use super::*;

#[test]
fn every_run_is_accounted_for_and_its_output_is_what_it_was() {
    let dir = ran("--region FRA");
    let (of_first, output) = (rows(dir.path()), files(&dir.path().join("out")));
    let stages: Vec<&str> = of_first.iter().map(|row| row["stage"].as_str().unwrap()).collect();
    for stage in ["reading", "decoding", "fingerprinting", "comparing", "writing", "overhead"] {
        assert!(stages.contains(&stage), "{stages:?}");
    }
    let sum = |name: &str| of_first.iter().map(|row| row[name].as_f64().unwrap()).sum::<f64>();
    let report = tamis(dir.path(), "footprint report out --format json").expect_code(0).json();
    assert!((sum("cpu_seconds") - report["totals"]["cpu_seconds"].as_f64().unwrap()).abs() < 1e-9);
    // Bytes are of the stage that moved them; a folder in memory has none.
    for name in ["read_bytes", "written_bytes"] {
        let moved = |row: &Value| row[name].as_u64().unwrap_or(0);
        let (of_stages, of_run) =
            (of_first.iter().map(moved).sum::<u64>(), of_first[0]["run"][name].as_u64().unwrap_or(0));
        assert!(of_stages <= of_run && of_run <= of_stages + (64 << 10), "{name}: {of_stages} of {of_run}");
    }
    for row in &of_first {
        assert_eq!((&row["run"]["docs_in"], &row["run"]["docs_out"]), (&json!(2800), &json!(2796)));
        assert_eq!((&row["intensity"]["zone"], &row["rows_of_run"]), (&json!("FRA"), &json!(of_first.len())));
        for component in row["components"].as_array().unwrap() {
            let joules = &component["provisioned_j"];
            let [low, mid, high] = ["low", "mid", "high"].map(|bound| joules[bound].as_f64().unwrap());
            assert!(0.0 <= low && low <= mid && mid <= high, "{component}");
        }
    }
    // Another run is added to the ledger, and the output has the same bytes.
    again(dir.path(), "--threads 1");
    let all = rows(dir.path());
    assert_eq!(all[..of_first.len()], of_first[..]);
    assert_eq!(files(&dir.path().join("out")), output);
    assert_eq!(all[of_first.len()]["prev_sha256"], of_first[of_first.len() - 1]["sha256"]);
    let verified = tamis(dir.path(), "footprint verify out --format json").expect_code(0).json();
    assert_eq!(verified["rows"], all.len());

    // A run can do without, and one that fails leaves nothing.
    again(dir.path(), "--footprint off");
    tamis(dir.path(), "dedup nowhere.jsonl -o other").expect_code(2);
    assert_eq!(rows(dir.path()), all);
    assert!(!dir.path().join("other.footprint").exists());
}

#[test]
fn a_row_that_was_changed_is_named() {
    let dir = ran("");
    let path = dir.path().join("out.footprint");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replacen("\"docs_in\":2800", "\"docs_in\":28000", 1);
    assert_ne!(changed, text);
    std::fs::write(&path, changed).unwrap();
    tamis(dir.path(), "footprint verify out").expect_code(2).expect_stderr("line 1: stage `");
    std::fs::write(&path, "{\"schema\": \"other/1\"}\n").unwrap();
    tamis(dir.path(), "footprint report out").expect_code(2).expect_stderr("line 1");
    tamis(dir.path(), "footprint report nothing").expect_code(2).expect_stderr("no footprint ledger");
}

#[test]
fn budgets_are_kept_before_between_and_after() {
    let dir = ran("");
    let gate =
        |flags: &str, code: i32| drop(tamis(dir.path(), &format!("footprint gate out {flags}")).expect_code(code));
    gate("--max-g 1000", 0);
    gate("--max-kwh 0.000000000001", 3);
    gate("--max-g 1000 --require measured", 4);
    gate("", 2);
    // Between stages: nothing is known of earlier runs to another output.
    let run = |out: &str| {
        let args = format!("dedup {} -o {out} --overwrite --max-g 0.000000001", sample("banking.jsonl"));
        tamis(dir.path(), &args).expect_code(3)
    };
    run("other").expect_stderr("stopped before the step");
    assert!(!dir.path().join("other/manifest.json").exists());
    assert!(!dir.path().join("other.footprint").exists(), "a run that was stopped is none to plan by");
    // What cannot be seen is not within, and what is no budget is none.
    let args = format!("dedup {} -o blind --method powercap --max-g 5", sample("banking.jsonl"));
    tamis(dir.path(), &args).expect_code(4).expect_stderr("stopped before the step");
    for budget in ["nan", "inf", "=-1"] {
        let flag = format!("--max-g {budget}").replace(" =", "=");
        let args = format!("dedup {} -o never {flag}", sample("banking.jsonl"));
        tamis(dir.path(), &args).expect_code(2).expect_stderr("a budget is 0 or more");
    }
    // Before: earlier runs to this one tell, and it stays as it is.
    let before = files(&dir.path().join("out"));
    run("out").expect_stderr("nothing was begun");
    assert_eq!(files(&dir.path().join("out")), before);
}

#[test]
fn standard_input_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let run = |flags: &str| {
        let input = std::fs::File::open(sample("banking.jsonl")).unwrap();
        let args = format!("dedup - -o out --overwrite --format json {flags}");
        let mut tamis = command(dir.path());
        let ended = finish(tamis.args(args.split_whitespace()).stdin(input)).expect_code(0);
        assert_eq!(ended.json()["manifest"]["rows"]["rows_in"], 2800, "{flags}");
        ended.stderr
    };
    run("");
    run("--max-g 1000");
    assert!(run("--start-within 1h").contains("there is no forecast"));
}

#[test]
fn ledgers_are_found_whatever_the_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(sample("banking.jsonl"), dir.path().join("rows.jsonl")).unwrap();
    for name in ["é", "a#b", "a%20b", "[x]", "日本"] {
        for _ in 0..2 {
            tamis(dir.path(), &format!("dedup rows.jsonl -o {name} --overwrite")).expect_code(0);
        }
        // How long so short a run takes is chance.
        let audit = format!("footprint audit {name} --max-rise-ratio 1e9 --format json");
        let audit = tamis(dir.path(), &audit).expect_code(0).json();
        assert_eq!(audit["runs"].as_array().unwrap().len(), 2, "{name}");
        tamis(dir.path(), &format!("footprint verify {name}.footprint")).expect_code(0);
    }
    tamis(dir.path(), "footprint verify typo.footprint").expect_code(2);
    // Runs that are given one id are told apart.
    for _ in 0..2 {
        let mut tamis = command(dir.path());
        finish(tamis.args("dedup rows.jsonl -o named --overwrite".split(' ')).env("TAMIS_RUN_ID", "nightly"))
            .expect_code(0);
    }
    let audit = tamis(dir.path(), "footprint audit named --max-rise-ratio 1e9 --format json").expect_code(0).json();
    assert_eq!(audit["runs"].as_array().unwrap().len(), 2, "{audit}");
    assert!(audit["runs"][0].as_str().unwrap().starts_with("nightly@"), "{audit}");
}

#[test]
fn a_meter_at_the_socket_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let readings: String = (0..120).map(|n| format!("{},10\n", now - 60 + n)).collect();
    std::fs::write(dir.path().join("power.csv"), format!("timestamp,watts\n{readings}")).unwrap();
    tamis(dir.path(), &format!("dedup {} -o out --power-file power.csv", sample("banking.jsonl"))).expect_code(0);
    assert_eq!(rows(dir.path())[0]["method"], "power-file/1");
    let report = tamis(dir.path(), "footprint report out --format json").expect_code(0).json();
    assert!(0.9 < report["totals"]["label_ratios"]["measured"].as_f64().unwrap(), "{report}");
    std::fs::write(dir.path().join("power.csv"), "time,power\n1,2\n").unwrap();
    let args = format!("dedup {} -o out --overwrite --power-file power.csv", sample("banking.jsonl"));
    tamis(dir.path(), &args).expect_code(2).expect_stderr("timestamp,watts");
}

#[test]
fn simulating_distilling_and_choosing_rounds_are_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = sample("banking.jsonl");
    let simulate = format!("simulate {data} --init 20 --batch 20 --rounds 1 --seeds 1 --strategy margin -o sim");
    let distill = format!("distill {data} -o scorer");
    tamis(dir.path(), &format!("al init loop {data} --budget 10")).expect_code(0);
    for (args, out, command, labels) in [
        (simulate.as_str(), "sim", "simulate", Value::Null),
        (&distill, "scorer", "distill", Value::Null),
        ("al select loop", "loop", "al select", json!(10)),
    ] {
        // A budget stops it between two steps, and leaves nothing.
        let stopped = tamis(dir.path(), &format!("{args} --max-g 0.000000001")).expect_code(3);
        assert!(stopped.stderr.contains("stopped before the step"), "{}", stopped.stderr);
        assert!(!dir.path().join(format!("{out}.footprint")).exists());
        let ended = tamis(dir.path(), &format!("{args} --region FRA --format json")).expect_code(0).json();
        let rows = json_lines(dir.path().join(format!("{out}.footprint")).to_str().unwrap());
        assert!(rows.iter().all(|row| row["command"] == command), "{command}");
        assert_eq!((&rows[0]["run"]["docs_in"], &rows[0]["run"]["labels"]), (&json!(2800), &labels), "{command}");
        assert_eq!(rows[0]["run"]["bytes_in"], json!(std::fs::metadata(&data).unwrap().len()));
        assert_eq!((&rows[0]["intensity"]["zone"], &ended["footprint"]["run_id"]), (&json!("FRA"), &rows[0]["run_id"]));
        let stages: BTreeSet<&str> = rows.iter().map(|row| row["stage"].as_str().unwrap()).collect();
        assert!(stages.len() > 2 && stages.contains("overhead"), "{stages:?}");
        let report = tamis(dir.path(), &format!("footprint report {out} --format json")).expect_code(0).json();
        assert_eq!(report["command"], command);
    }
    // It can be done without; and what is there is refused before it is accounted for.
    let before = std::fs::read(dir.path().join("scorer.footprint")).unwrap();
    tamis(dir.path(), &format!("{distill} --overwrite --footprint off")).expect_code(0);
    tamis(dir.path(), &format!("{distill} --start-within 1h")).expect_code(2).expect_stderr("is there already");
    tamis(dir.path(), "al select loop --start-within 1h").expect_code(2).expect_stderr("has an answer yet");
    assert_eq!(std::fs::read(dir.path().join("scorer.footprint")).unwrap(), before);
    let start = tamis(dir.path(), "al select loop --start-within 1h --print-start").expect_code(0).stdout;
    assert!(start.contains("start now"), "{start}");
}

#[test]
fn what_does_not_count_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = |flags: &str, code: i32| {
        let args = format!("dedup {} -o out --overwrite {flags}", sample("banking.jsonl"));
        tamis(dir.path(), &args).expect_code(code)
    };
    dedup("--region FRA --intensity 100", 0)
        .expect_stderr("the region `FRA` is not used: the intensity given goes before it");
    std::fs::write(dir.path().join("power.csv"), "timestamp,watts\n1000,50\n1010,50\n").unwrap();
    let old =
        dedup("--power-file power.csv", 0).expect_stderr("the power file `power.csv` does not cover half of this run");
    assert!(old.stderr.contains("its readings are from 1970-01-01T00:16:40Z"), "{}", old.stderr);
    dedup("--power-file power.csv --method tdp", 0).expect_stderr("the power file `power.csv` is not used");
    assert!(!dedup("--region FRA", 0).stderr.contains("warning"));
    for (flags, said) in [
        ("--params 1e9 --tokens-removed=-1", "--tokens-removed is -1"),
        ("--storage-tier local-hdd --bytes-removed nan", "--bytes-removed is NaN"),
        ("--labels-avoided 1 --seconds-per-label inf", "--seconds-per-label is inf"),
        ("--params 1e9 --workplace-watts 5", "--labels-avoided"),
        ("--storage-tier tape", "local-hdd"),
    ] {
        tamis(dir.path(), &format!("footprint avoid out {flags}")).expect_code(2).expect_stderr(said);
    }
    let elsewhere = tamis(dir.path(), "footprint what-if out --region FRA --intensity 1").expect_code(0);
    elsewhere.expect_stderr("the region `FRA` is not used");
    // A damaged ledger is to be moved away, and the error says so before the run.
    std::fs::write(dir.path().join("out.footprint"), "nonsense\n").unwrap();
    let damaged = dedup("--max-g 1000", 2).expect_stderr("line 1");
    assert!(
        damaged.stderr.contains("hint: move `") && damaged.stderr.contains("out.footprint` away"),
        "{}",
        damaged.stderr
    );
}

#[test]
fn a_ledger_in_a_bucket_grows() {
    let server = S3Server::start("tamis-footprint");
    let dir = tempfile::tempdir().unwrap();
    let environment = server.environment();
    let environment = || environment.iter().map(|(name, value)| (name, value));
    let run = |args: &str| finish(command(dir.path()).args(args.split_whitespace()).envs(environment())).expect_code(0);
    let out = server.url("runs/out");
    for _ in 0..2 {
        run(&format!("dedup {} -o {out} --overwrite", sample("banking.jsonl")));
    }
    let keys: Vec<String> = server.list("runs/").into_iter().map(|(key, _)| key).collect();
    assert!(keys.contains(&"runs/out.footprint".to_owned()), "{keys:?}");
    let verified = run(&format!("footprint verify {out} --format json")).json();
    let audit = run(&format!("footprint audit {out} --max-rise-ratio 1e9 --format json")).json();
    assert_eq!(audit["runs"].as_array().unwrap().len(), 2, "{audit}");
    assert!(10 <= verified["rows"].as_u64().unwrap());
}
