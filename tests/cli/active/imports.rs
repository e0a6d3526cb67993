//! Answers that come in.

use super::*;

#[test]
fn labels_are_imported_again_and_corrected() {
    let begun = Loop::over(&fruit(100), "--budget 10");
    begun.turn("");
    let (before, status) = (files(&begun.path("loop")), begun.status());
    let again = begun.import("labels-1.jsonl").expect_code(0).json();
    assert_eq!((&again["new"], &again["rows"]), (&json!(false), &json!(10)));
    assert_eq!(files(&begun.path("loop")), before);

    // The same rows in another order, too.
    let text = std::fs::read_to_string(begun.path("labels-1.jsonl")).unwrap();
    let backwards: Vec<&str> = text.lines().rev().collect();
    std::fs::write(begun.path("backwards.jsonl"), backwards.join("\n")).unwrap();
    assert_eq!(begun.import("backwards.jsonl").expect_code(0).json()["new"], false);
    assert_eq!(begun.status(), status);

    let ids = begun.handed_out(1);
    write_lines(&begun.path("other.jsonl"), [json!({"tamis_id": ids[0], "label": "quince"})].into_iter());
    assert_eq!(begun.import("other.jsonl").expect_code(0).json()["new"], true);
    let corrected = begun.status();
    assert_eq!(corrected["labelled"], 10);
    assert!(
        corrected["classes"].as_array().unwrap().contains(&json!({"label": "quince", "rows": 1, "expected": true}))
    );
    // No file was changed.
    let after = files(&begun.path("loop"));
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
    assert_eq!(after.len(), before.len() + 1);

    // The correction is taken back; both files in their order change nothing then.
    assert_eq!(begun.import("labels-1.jsonl").expect_code(0).json()["new"], true);
    assert_eq!(begun.status()["classes"], status["classes"]);
    assert_eq!(begun.import("other.jsonl labels-1.jsonl").expect_code(0).json()["new"], false);
    assert_eq!(files(&begun.path("loop")).len(), after.len() + 1);
}

#[test]
fn answers_of_several_files_count_alike_in_one_command_and_in_several() {
    let given = |begun: &Loop| -> Value { begun.status()["classes"].take() };
    let answers = |begun: &Loop| {
        begun.select("");
        let ids = begun.handed_out(1);
        write_lines(&begun.path("a.jsonl"), [json!({"tamis_id": ids[0], "label": "apple"})].into_iter());
        write_lines(&begun.path("b.jsonl"), [json!({"tamis_id": ids[0], "label": " pear "})].into_iter());
    };
    let (together, apart) = (Loop::over(&fruit(100), "--budget 10"), Loop::over(&fruit(100), "--budget 10"));
    answers(&together);
    answers(&apart);
    together.import("a.jsonl b.jsonl").expect_code(0);
    apart.import("a.jsonl").expect_code(0);
    apart.import("b.jsonl").expect_code(0);
    assert_eq!(given(&together), json!([{"label": "pear", "rows": 1, "expected": true}]), "the later file counts");
    assert_eq!(given(&together), given(&apart));
}

#[test]
fn files_without_an_answer_are_told() {
    let begun = Loop::over(&fruit(100), "--budget 10");
    begun.select("");
    let untouched = begun.al("import loop tasks-1 --format json");
    assert_eq!(untouched.code, 2, "a folder is no file");
    let ids = begun.handed_out(1);
    let told = |file: &str, flags: &str, code: i32, said: &str| {
        let ended = begun.al(&format!("import loop {file} {flags} --format json")).expect_code(code);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    };
    let name = std::fs::read_dir(begun.path("tasks-1")).unwrap().next().unwrap().unwrap().file_name();
    told(&format!("tasks-1/{}", name.to_str().unwrap()), "", 0, "has 10 rows and no answer");
    std::fs::write(begun.path("empty.jsonl"), "").unwrap();
    told("empty.jsonl", "", 0, "has no row");
    begun.label(&ids, "labels.jsonl");
    told("labels.jsonl", "--tool label-studio", 2, "it looks like jsonl");
    // What doccano has imported and nobody has looked at, and what it exports without comments.
    begun.al("export loop --tool doccano -o doccano").expect_code(0);
    told("doccano/r001-00001.jsonl", "", 0, "no answer");
    let row = json!({"id": 7, "text": "t", "label": ["pear"], "tamis_id": ids[0], "tamis_round": 1});
    write_lines(&begun.path("exported.jsonl"), [row].into_iter());
    let imported = begun.al("import loop exported.jsonl --format json").expect_code(0).json();
    assert_eq!(imported["by_round"], json!({"1": 1}));
    assert_eq!(begun.status()["labelled"], 1);
}

#[test]
fn label_files_with_other_things_in_them() {
    let begun = Loop::over(&fruit(100), "--budget 10 --classes apple,pear");
    begun.select("");
    let ids = begun.handed_out(1);
    let nothing = files(&begun.path("loop"));

    std::fs::write(begun.path("empty.jsonl"), "").unwrap();
    assert_eq!(begun.import("empty.jsonl").expect_code(0).json()["rows"], 0);
    let missing = begun.import("missing.jsonl").expect_code(2);
    assert!(missing.stderr.contains("missing.jsonl"), "{}", missing.stderr);
    write_lines(&begun.path("unknown.jsonl"), [json!({"tamis_id": "elsewhere", "label": "apple"})].into_iter());
    let unknown = begun.import("unknown.jsonl").expect_code(2);
    assert!(unknown.stderr.contains("--id-column") && unknown.stderr.contains("--outside"), "{}", unknown.stderr);
    assert_eq!(files(&begun.path("loop")), nothing);

    let lines = [
        json!({"tamis_id": ids[0], "label": "apple"}),
        json!({"tamis_id": ids[1], "label": "quince"}),
        json!({"tamis_id": "elsewhere", "label": "apple"}),
    ];
    write_lines(&begun.path("mixed.jsonl"), lines.into_iter());
    let ended = begun.import("mixed.jsonl").expect_code(1);
    assert!(ended.stderr.contains("elsewhere") && ended.stderr.contains("quince"), "{}", ended.stderr);
    let imported = ended.json();
    assert_eq!((&imported["unknown"], &imported["new_classes"]), (&json!(1), &json!(["quince"])));
    let status = begun.status();
    assert_eq!((&status["labelled"], &status["outside"]), (&json!(2), &json!(0)));
    let quince = status["classes"].as_array().unwrap().iter().find(|class| class["label"] == "quince").unwrap();
    assert_eq!(quince["expected"], false);
    assert_eq!(begun.select("")["model"]["scorer"]["classes"], json!(["apple", "quince"]));
}

#[test]
fn labels_from_before_the_loop() {
    let begun = Loop::over(&fruit(100), "--budget 10 --threshold 1.0");
    let known: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    begun.label(&known, "known.jsonl");
    begun.al("import loop known.jsonl --tool jsonl --outside").expect_code(0);
    begun.al("import loop known.jsonl --tool jsonl --outside").expect_code(0);
    let record = begun.select("");
    assert_eq!(record["model"]["scorer"]["labelled_rows"], 20);
    assert_eq!(record["selection"]["strategy"], "uherding");
    assert!(begun.handed_out(1).iter().all(|id| !known.contains(id)));
    let status = begun.status();
    assert_eq!((&status["labelled"], &status["outside"], &status["open"]), (&json!(20), &json!(20), &json!(10)));
}

#[test]
fn labels_from_outside_can_end_a_loop() {
    let begun = Loop::over(&fruit(30), "--budget 10 --threshold 1.0");
    begun.turn("");
    assert_eq!(begun.status()["left_in_pool"], 20);
    let all: Vec<String> = begun.truth.keys().cloned().collect();
    begun.label(&all, "all.jsonl");
    begun.al("import loop all.jsonl --outside").expect_code(0);
    let status = begun.status();
    assert_eq!((&status["left_in_pool"], &status["labelled"]), (&json!(0), &json!(30)));
    assert_eq!(status["advice"]["stop"], true, "{status}");
}

#[test]
fn measured_time_weighs_rows() {
    // Long texts take long: of rows that are worth the same, short ones come first.
    let text = |n: usize, words: usize| format!("number {n} is {}", "a word or another ".repeat(words));
    let rows: Vec<(String, String, String)> = (0..120)
        .map(|n| (format!("r{n}"), text(n, 1 + n % 12), if n % 2 == 0 { "even" } else { "odd" }.into()))
        .collect();
    let mean_length = |flags: &str| {
        let begun =
            Loop::over(&rows, &format!("--budget 30 --threshold 1.0 --strategy margin --random-ratio 0 {flags}"));
        begun.select("");
        let ids = begun.handed_out(1);
        let of = |id: &String| rows.iter().find(|row| row.0 == *id).unwrap().1.len();
        let answer =
            |id: &String| json!({"tamis_id": id, "label": begun.truth[id], "lead_time_s": 1.0 + 0.05 * of(id) as f64});
        write_lines(&begun.path("timed.jsonl"), ids.iter().map(answer));
        begun.import("timed.jsonl").expect_code(0);
        begun.select("");
        let chosen = begun.handed_out(2);
        chosen.iter().map(|id| of(id) as f64).sum::<f64>() / chosen.len() as f64
    };
    let (free, weighed) = (mean_length(""), mean_length("--cost-exponent 2"));
    assert!(weighed < 0.8 * free, "{weighed} bytes against {free}");
}
