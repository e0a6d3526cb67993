//! Rounds, from the first to the last.

use super::*;

#[test]
fn rounds_from_a_cold_start() {
    let begun = Loop::over(&banking(4), "--budget 30 --stop-set-rows 200 --seed 7");
    let mut seen = BTreeSet::new();
    let mut records = Vec::new();
    for round in 1..=3 {
        let (record, ids) = begun.turn("");
        assert_eq!((ids.len(), record["round"].as_u64()), (30, Some(round)));
        assert!(ids.iter().all(|id| seen.insert(id.clone())), "round {round} hands a row out again");
        assert_eq!(record["model"]["scorer"]["labelled_rows"], (round - 1) * 30);
        records.push(record);
    }
    assert_eq!(records[0]["selection"]["strategy"], "typiclust");
    assert_eq!(records[2]["selection"]["strategy"], "uherding");
    let distinct = |key: &str| records.iter().map(|record| record[key].to_string()).collect::<BTreeSet<_>>().len();
    assert_eq!((distinct("seed"), distinct("model")), (3, 3));
    assert_eq!(records[0]["pool"]["inputs"][0]["rows"], 560);

    let status = begun.status();
    let counts = |of: &Value| ["labelled", "open", "skipped", "disagreeing"].map(|name| of[name].as_u64().unwrap());
    assert_eq!(counts(&status), [90, 0, 0, 0]);
    assert_eq!(status["classes"].as_array().unwrap().len(), 4);
    let rounds = status["rounds"].as_array().unwrap();
    assert_eq!(rounds.iter().map(|round| counts(round)[0]).collect::<Vec<_>>(), [30, 30, 30]);
    // The cold start predicts nothing; later random slices were predicted before they were labelled.
    assert_eq!(rounds.iter().map(|round| round["right"]["of"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 3, 3]);
    assert_eq!(status["accuracy_rows"], 6);
    assert!(rounds[1]["stability"]["kappa"].is_null() && rounds[1]["stability"]["mean_entropy"].is_number());
    let kappa = rounds[2]["stability"]["kappa"].as_f64().unwrap();
    assert!((0.3..1.0).contains(&kappa), "kappa {kappa}");
    assert_eq!(status["advice"]["stop"], false);

    // Another command sees the same, and the same commands choose the same.
    assert_eq!(begun.status(), status);
    let again = Loop::over(&banking(4), "--budget 30 --stop-set-rows 200 --seed 7");
    for record in &records {
        let (other, _) = again.turn("");
        for key in ["seed", "model", "selection", "stability", "batch", "stop_set", "pool", "labels"] {
            assert_eq!(other[key], record[key], "{key} of round {}", record["round"]);
        }
    }
}

#[test]
fn predictions_of_the_random_slice_are_checked_by_hand() {
    let begun = Loop::over(&fruit(200), "--budget 20 --random-ratio 0.5 --threshold 1.0");
    begun.turn("");
    let (record, _) = begun.turn("");
    let rows = begun.tasks(2);
    let at_random: Vec<&Value> = rows.iter().filter(|row| row["tamis_score"].is_null()).collect();
    assert_eq!((at_random.len() as u64, record["selection"]["random_rows"].as_u64().unwrap()), (10, 10));
    let is_right = |row: &&&Value| row["tamis_label"] == begun.truth[row["tamis_id"].as_str().unwrap()];
    let n_right = at_random.iter().filter(is_right).count();
    assert_eq!(begun.status()["rounds"][1]["right"], json!({"right": n_right, "of": 10}));
    assert!(rows.iter().all(|row| (0.5..=1.0).contains(&row["tamis_probability"].as_f64().unwrap())));
}

#[test]
fn a_round_that_waits_for_answers() {
    let begun = Loop::over(&fruit(100), "--budget 10");
    begun.select("");
    let refused = begun.al("select loop").expect_code(2);
    assert!(refused.stderr.contains("round 1") && refused.stderr.contains("--anyway"), "{}", refused.stderr);
    begun.select("--anyway --budget 5");
    let (first, second) = (begun.handed_out(1), begun.handed_out(2));
    assert_eq!((first.len(), second.len()), (10, 5));
    assert!(second.iter().all(|id| !first.contains(id)), "an open row is handed out again");

    // Answers to a part of each round are enough to go on.
    begun.label(&[&first[..3], &second[..1]].concat(), "some.jsonl");
    let imported = begun.import("some.jsonl").expect_code(0).json();
    assert_eq!(imported["by_round"], json!({"1": 3, "2": 1}));
    let third = begun.select("");
    assert_eq!(third["model"]["scorer"]["labelled_rows"], 4);
    let third = begun.handed_out(3);
    assert!(third.iter().all(|id| !first.contains(id) && !second.contains(id)));
    assert_eq!(begun.status()["open"], 11 + 10);
}

#[test]
fn a_strategy_that_asks_a_model_waits_for_one() {
    let begun = Loop::over(&fruit(100), "--budget 10 --strategy margin");
    assert_eq!(begun.turn("").0["selection"]["strategy"], "typiclust");
    assert_eq!(begun.turn("").0["selection"]["strategy"], "margin");
}

#[test]
fn what_a_crash_leaves_is_no_round() {
    let begun = Loop::over(&fruit(100), "--budget 10");
    begun.turn("");
    let whole = begun.status();
    let record = begun.select("");
    let second = begun.path("loop/rounds/000002");
    let kept = files(&second);
    let of = |name: &str| kept.keys().find(|file| file.starts_with(name)).unwrap().clone();
    // Killed before the record, before the second table, and before the first one.
    for removed in [vec!["round.json".into()], vec![of("stop_set")], vec![of("batch")]] {
        removed
            .iter()
            .filter(|name| second.join(name).exists())
            .for_each(|name| std::fs::remove_file(second.join(name)).unwrap());
        let _ = std::fs::remove_file(second.join("round.json"));
        assert_eq!(begun.status(), whole);
        let again = begun.select("");
        assert_eq!(again["batch"], record["batch"]);
        assert_eq!(files(&second).keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    }
    // Labels came meanwhile: the round is chosen anew, and what the killed command left is no harm.
    std::fs::remove_file(second.join("round.json")).unwrap();
    write_lines(&begun.path("more.jsonl"), [json!({"tamis_id": begun.handed_out(1)[0], "label": "pear?"})].into_iter());
    begun.import("more.jsonl").expect_code(0);
    let other = begun.select("");
    assert_ne!(other["model"]["sha256"], record["model"]["sha256"]);
    begun.label(&begun.handed_out(2), "labels-2.jsonl");
    begun.import("labels-2.jsonl").expect_code(0);
    assert_eq!(begun.status()["rounds"].as_array().unwrap().len(), 2);
}

#[test]
fn the_pool_grows() {
    let rows = fruit(200);
    let mut begun = Loop::over(&rows[..40], "--budget 40 --threshold 1.0");
    begun.truth = rows.iter().map(|(id, _, label)| (id.clone(), label.clone())).collect();
    begun.turn("");
    assert_eq!(begun.status()["left_in_pool"], 0);
    assert!(begun.status()["advice"]["why"].as_str().unwrap().contains("every row"));
    // Before the rows that were handed out, in the order of the files.
    write_rows(&begun.path("pool/0.jsonl"), &rows[40..]);
    let (record, ids) = begun.turn("");
    assert_eq!(record["pool"]["inputs"].as_array().unwrap().len(), 2);
    assert_eq!(
        (record["pool"]["rows"]["rows_in"].as_u64(), record["selection"]["pool_rows"].as_u64()),
        (Some(200), Some(160))
    );
    assert_eq!(record["model"]["scorer"]["labelled_rows"], 40);
    assert!(ids.iter().all(|id| rows[40..].iter().any(|row| row.0 == *id)));
    // The stop set stays that of the first round.
    assert_eq!(record["stability"]["rows"], 40);
}

#[test]
fn a_budget_above_the_pool_and_an_empty_pool() {
    let begun = Loop::over(&fruit(12), "--budget 500 --threshold 1.0");
    let (record, ids) = begun.turn("");
    assert_eq!(ids.len(), 12);
    assert!(record["selection"]["shortfall"].is_string());
    let before = files(&begun.path("loop"));
    assert!(begun.select("").is_null());
    let said = begun.al("select loop").expect_code(0);
    assert!(said.stdout.contains("no row of the pool is left"), "{}", said.stdout);
    assert_eq!(files(&begun.path("loop")), before);
}

#[test]
fn one_class_only_and_a_class_with_one_row() {
    let mut begun = Loop::over(&fruit(100), "--budget 10");
    begun.truth.values_mut().for_each(|label| *label = "fruit".into());
    for _ in 0..4 {
        begun.turn("");
    }
    let status = begun.status();
    let kappas = status["rounds"].as_array().unwrap()[2..].iter().map(|round| &round["stability"]["kappa"]);
    assert!(kappas.into_iter().all(|kappa| kappa == 1.0), "{status:#}");
    assert_eq!(status["advice"]["stop"], false);
    assert!(status["advice"]["why"].as_str().unwrap().contains("only one class"));
    let ids = begun.handed_out(1);
    write_lines(&begun.path("rare.jsonl"), [json!({"tamis_id": ids[0], "label": "rare"})].into_iter());
    begun.import("rare.jsonl").expect_code(0);
    begun.turn("");
    let text = begun.status().to_string();
    assert!(!text.contains("NaN") && text.contains("\"rare\""));
}

#[test]
fn what_cannot_work_is_told_before_a_loop_begins() {
    let dir = tempfile::tempdir().unwrap();
    write_rows(&dir.path().join("pool.jsonl"), &fruit(10));
    let check = |args: &str, said: &str| {
        let ended = tamis(dir.path(), args).expect_code(2);
        assert!(ended.stderr.contains(said), "{args}: {}", ended.stderr);
    };
    check("al init loop pool.jsonl --text-column body", "`body`");
    check("al init loop pool.jsonl --id-column key", "`key`");
    check("al init loop nothing.jsonl", "nothing.jsonl");
    check("al init loop pool.jsonl --budget 0", "budget is 0");
    check("al init loop pool.jsonl --random-ratio 2", "random_ratio");
    check("al init loop -", "standard input");
    check("al init loop pool.jsonl --scorer column:embedding", "no column `embedding`");
    check("al init loop pool.jsonl --scorer column:text", "expected lists of numbers");
    check("al init loop pool.jsonl --classes a,,b", "without a name");
    check("al init loop pool.jsonl --cost-exponent nan", "cost_exponent");
    check("al init loop pool.jsonl --max-similarity 2", "max_similarity");
    check("al init loop pool.jsonl --stratum-column nope --stratum-max-ratio 0.5", "`nope`");
    check("al init loop pool.jsonl --stratum-column tamis_length --stratum-max-ratio 0", "max_ratio");
    check("al init loop pool.jsonl --classes b,a,b", "`b` twice");
    check("al status loop", "al init");
    assert!(!dir.path().join("loop").exists());
    tamis(dir.path(), "al init loop pool.jsonl").expect_code(0);
    tamis(dir.path(), "al init loop pool.jsonl").expect_code(0);
    check("al init loop pool.jsonl --budget 7", "other settings");
    check("al export loop --tool jsonl -o tasks", "no round yet");
    tamis(dir.path(), "al select loop").expect_code(0);
    check("al export loop --tool jsonl -o tasks --round 2", "no round 2");
    tamis(dir.path(), "al export loop --tool jsonl -o tasks").expect_code(0);
    tamis(dir.path(), "al export loop --tool jsonl -o tasks").expect_code(0);
}

#[test]
fn a_loop_in_a_bucket() {
    let server = S3Server::start("tamis-al");
    let mut begun = Loop::over(&fruit(60), "--budget 10");
    server.put("pool/1.jsonl", &begun.path("pool/1.jsonl"));
    begun.ledger = server.url("loop");
    begun.environment = server.environment();
    let (ledger, pool) = (server.url("loop"), server.url("pool/"));
    begun.al(&format!("init {ledger} {pool} --budget 10")).expect_code(0);
    let (record, ids) = begun.turn("");
    assert!(record["pool"]["inputs"][0]["version"].is_string(), "{record}");
    begun.import("labels-1.jsonl").expect_code(0);
    let (second, _) = begun.turn("");
    assert_eq!((ids.len(), &second["model"]["scorer"]["labelled_rows"]), (10, &json!(10)));
    let keys: BTreeSet<String> = server.list("loop/").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.iter().filter(|key| key.ends_with("round.json")).count(), 2);
    assert_eq!(keys.iter().filter(|key| key.contains("/labels/")).count(), 2, "{keys:?}");
    assert!(keys.iter().all(|key| !key.contains("probe")), "{keys:?}");
    let status = begun.status();
    assert_eq!((&status["labelled"], &status["open"]), (&json!(20), &json!(0)));
    begun.al(&format!("init {ledger} {pool} --budget 11")).expect_code(2);
}

#[test]
fn the_walkthrough_works() {
    let docs = std::fs::read_to_string(root().join("docs/active-learning.md")).unwrap();
    let block = docs.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sample-data")).unwrap();
    std::fs::copy(sample("banking.jsonl"), dir.path().join("sample-data/banking.jsonl")).unwrap();
    let codes = block.lines().map(|line| {
        let args = line.strip_prefix("tamis ").unwrap().split('#').next().unwrap();
        tamis(dir.path(), args).code
    });
    assert_eq!(codes.collect::<Vec<_>>(), [0, 0, 0, 1, 0]);
    let status = tamis(dir.path(), "al status loop --format json").expect_code(0).json();
    assert_eq!((&status["labelled"], &status["open"]), (&json!(60), &json!(0)));
}

/// Answers, some of them wrong, are asked for again, and second opinions settle them.
#[test]
fn labels_are_asked_for_again() {
    let begun = Loop::over(&banking(3), "--budget 60 --random-ratio 0.1 --strategy activelab --threshold 1.0");
    let answer = |ids: &[String], who: &str, wrong: &dyn Fn(usize) -> bool, file: &str| {
        let other = |label: &String| begun.truth.values().find(|other| *other != label).unwrap().clone();
        let label = |place: usize, id: &String| match &begun.truth[id] {
            truth if wrong(place) => other(truth),
            truth => truth.clone(),
        };
        let lines = ids
            .iter()
            .enumerate()
            .map(|(place, id)| json!({"tamis_id": id, "label": label(place, id), "annotator": who}));
        write_lines(&begun.path(file), lines);
        begun.import(file).expect_code(0);
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut again = Vec::new();
    for round in 1..=3 {
        let record = begun.select("");
        let ids = begun.handed_out(round);
        again = ids.iter().filter(|id| seen.contains(*id)).cloned().collect();
        assert_eq!(record["selection"].get("relabelled_rows").cloned().unwrap_or(json!(0)), json!(again.len()));
        if round < 3 {
            answer(&ids, "ann", &|place| place % 10 == 3, &format!("labels-{round}.jsonl"));
            seen.extend(ids);
        }
    }
    assert!(5 <= again.len(), "{} rows are asked for again", again.len());
    let status = begun.status();
    let third = &status["rounds"][2];
    assert_eq!((&third["again"], &third["open"], &third["labelled"]), (&json!(again.len()), &json!(60), &json!(0)));
    let refused = begun.al("select loop").expect_code(2);
    assert!(refused.stderr.contains("none of the 60 rows of round 3"), "{}", refused.stderr);
    // What waits for an answer is not handed out once more.
    begun.select("--anyway --budget 20");
    let waiting: BTreeSet<String> = begun.handed_out(3).into_iter().collect();
    assert!(begun.handed_out(4).iter().all(|id| !waiting.contains(id)));

    // The same file again changes nothing: its answers are of the rounds that have them.
    let before = begun.status();
    assert_eq!(begun.import("labels-1.jsonl").expect_code(0).json()["new"], false);
    assert_eq!(begun.status(), before);
    answer(&again, "bob", &|_| false, "second.jsonl");
    let status = begun.status();
    let settled = status["rounds"][2]["labelled"].as_u64().unwrap();
    let split = status["rounds"][2]["disagreeing"].as_u64().unwrap();
    assert_eq!(settled + split, again.len() as u64);
    assert!(0 < split, "bob contradicts ann where she was wrong");
    answer(&again, "cat", &|_| false, "third.jsonl");
    let status = begun.status();
    assert_eq!((&status["rounds"][2]["disagreeing"], &status["disagreeing"]), (&json!(0), &json!(0)));
}

#[test]
fn an_encoder_embeds_the_pool_once() {
    let begun =
        Loop::over(&fruit(40), &format!("--budget 5 --threshold 1.0 --scorer {} --cache cache", crate::embed::model()));
    let (first, _) = begun.turn("");
    assert!(first["model"]["scorer"]["cached_rows"].is_null());
    let (second, _) = begun.turn("");
    // The labelled rows to learn from, the pool, and the chosen rows once more for what the model says of them.
    assert_eq!(second["model"]["scorer"]["cached_rows"], 5 + 40 + 5);
}

#[test]
fn of_two_commands_at_once_one_chooses() {
    let begun = Loop::over(&fruit(200), "--budget 10");
    let select = |budget: &&str| {
        let mut command = command(begun.dir.path());
        command.args(["al", "select", "loop", "--budget", budget]).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    // Rounds that differ: equal ones would be the same round.
    let budgets = ["10", "11", "12"];
    let running = budgets.each_ref().map(select);
    let ended: Vec<_> = running.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let n_chosen = ended.iter().filter(|output| output.status.code() == Some(0)).count();
    let said: Vec<String> = ended.iter().map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).collect();
    assert_eq!(n_chosen, 1, "{said:?}");
    for (output, said) in ended.iter().zip(&said).filter(|(output, _)| output.status.code() != Some(0)) {
        let is_told = said.contains("another command has chosen round 1") || said.contains("round 1 has an answer yet");
        assert!(output.status.code() == Some(2) && is_told, "{said}");
    }
    let chose = ended.iter().position(|output| output.status.code() == Some(0)).unwrap();
    let expected: usize = budgets[chose].parse().unwrap();
    assert_eq!((begun.status()["rounds"].as_array().unwrap().len(), begun.handed_out(1).len()), (1, expected));
}

#[test]
fn answers_that_name_nobody_confirm_a_label() {
    let begun = Loop::over(&banking(3), "--budget 60 --random-ratio 0.1 --strategy activelab --threshold 1.0");
    let (_, first) = begun.turn("");
    let (record, second) = begun.turn("");
    let again: Vec<String> = second.iter().filter(|id| first.contains(id)).cloned().collect();
    assert_eq!(record["selection"]["relabelled_rows"], json!(again.len()));
    assert!(!again.is_empty());
    // All were given the label that they had, by somebody without a name, in a file that names no round.
    let status = begun.status();
    assert_eq!((&status["rounds"][1]["open"], &status["open"]), (&json!(0), &json!(0)));
    assert_eq!(begun.import("labels-1.jsonl").expect_code(0).json()["new"], false);
    assert_eq!(begun.import("labels-2.jsonl").expect_code(0).json()["new"], false);
    // So does it with rows that are not of the loop.
    let more =
        std::fs::read_to_string(begun.path("labels-1.jsonl")).unwrap() + "{\"tamis_id\":\"other\",\"label\":\"x\"}\n";
    std::fs::write(begun.path("more.jsonl"), more).unwrap();
    assert_eq!(begun.import("more.jsonl").expect_code(1).json()["new"], false);
    assert_eq!(begun.status(), status);

    // Who is asked again and skips is not asked once more.
    let record = begun.select("");
    let third = begun.handed_out(3);
    let known: BTreeSet<String> = first.iter().chain(&second).cloned().collect();
    let again: Vec<String> = third.iter().filter(|id| known.contains(*id)).cloned().collect();
    assert_eq!(record["selection"]["relabelled_rows"], json!(again.len()));
    assert!(!again.is_empty());
    let (skipped, labelled) = (json!("skipped"), json!("submitted"));
    let answers = third.iter().map(|id| {
        let label = (!again.contains(id)).then(|| &begun.truth[id]);
        let status = if label.is_none() { &skipped } else { &labelled };
        json!({"tamis_id": id, "label": label, "status": status, "annotator": "ann"})
    });
    write_lines(&begun.path("third.jsonl"), answers);
    begun.import("third.jsonl").expect_code(0);
    assert_eq!(begun.status()["rounds"][2]["skipped"], json!(again.len()));
    begun.select("");
    let fourth = begun.handed_out(4);
    assert!(fourth.iter().all(|id| !again.contains(id)));
}

/// A file that sorts before the pool has copies of what was handed out.
#[test]
fn copies_of_what_was_handed_out_are_not_handed_out() {
    let rows = fruit(60);
    let begun = Loop::over(&rows, "--budget 20");
    begun.select("");
    let first = begun.handed_out(1);
    let text_of = |id: &String| rows.iter().find(|(other, ..)| other == id).unwrap().1.clone();
    let copies: Vec<_> = first.iter().map(|id| (format!("copy of {id}"), text_of(id), String::new())).collect();
    write_rows(&begun.path("pool/0.jsonl"), &copies);
    begun.select("--anyway --budget 30");
    assert!(begun.handed_out(2).iter().all(|id| !id.starts_with("copy of ")));
}
