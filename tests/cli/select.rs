//! The labelling batch.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;

use serde_json::json;

use crate::support::{json_lines, sample, strings, table, tamis};

#[test]
fn a_cold_start_writes_what_its_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let pool = sample("banking.jsonl");
    let ended = tamis(dir.path(), &format!("select {pool} -o out --budget 50 --format json")).expect_code(0);
    let out = dir.path().join("out");
    let (schema, batch) = table(&out, "batch");
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "text", "label", "split", "tamis_id", "tamis_rank", "tamis_score", "tamis_reason"]);
    let ranks = batch.column_by_name("tamis_rank").unwrap().as_primitive::<Int32Type>().values().to_vec();
    assert_eq!(ranks, (1..=50).collect::<Vec<i32>>());
    assert!(strings(&batch, "tamis_reason").iter().all(|reason| !reason.is_empty()));
    assert_eq!(strings(&batch, "tamis_id").into_iter().collect::<BTreeSet<_>>().len(), 50);
    let manifest = &ended.json()["manifest"];
    assert_eq!(manifest["selection"]["batch_rows"], 50);
    assert_eq!(manifest["selection"]["random_rows"], 5);
    let intents: BTreeSet<String> = strings(&batch, "label").into_iter().collect();
    assert!(intents.len() >= 14, "50 typical rows cover {} of 20 intents", intents.len());
}

#[test]
fn labelled_rows_are_not_chosen_again() {
    let dir = tempfile::tempdir().unwrap();
    let pool = sample("banking.jsonl");
    let rows = json_lines(&pool);
    let labels: BTreeMap<String, String> = rows
        .iter()
        .step_by(23)
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["label"].as_str().unwrap().to_owned()))
        .collect();
    let lines: String =
        labels.iter().map(|(id, label)| format!("{}\n", serde_json::json!({"id": id, "label": label}))).collect();
    std::fs::write(dir.path().join("labels.jsonl"), lines + "{\"id\":\"elsewhere\",\"label\":\"x\"}\n").unwrap();
    for strategy in tamis_schemas::config::Strategy::ALL.map(tamis_schemas::config::Strategy::name) {
        let args = format!(
            "select {pool} -o out --overwrite --budget 30 --labels labels.jsonl --strategy {strategy} --format json"
        );
        let ended = tamis(dir.path(), &args).expect_code(0);
        let (_, batch) = table(&dir.path().join("out"), "batch");
        let chosen = strings(&batch, "tamis_id");
        assert_eq!(chosen.len(), 30, "{strategy}");
        let selection = &ended.json()["manifest"]["selection"];
        let n_again = chosen.iter().filter(|id| labels.contains_key(*id)).count();
        assert_eq!(json!(n_again), selection.get("relabelled_rows").cloned().unwrap_or(json!(0)), "{strategy}");
        assert!(n_again == 0 || strategy == "activelab", "{strategy}: a labelled row is chosen");
        assert_eq!(selection["unknown_labels"], 1, "{strategy}");
        if strategy == "auto" {
            assert_eq!(selection["strategy"], "uherding");
        }
    }
}

#[test]
fn one_row_for_each_cluster_of_near_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..40)
        .map(|n| format!("{}\n", serde_json::json!({"id": format!("{n}"), "text": format!("question {} about the weather in town", n % 8)})))
        .collect();
    std::fs::write(dir.path().join("pool.jsonl"), rows).unwrap();
    tamis(dir.path(), "select pool.jsonl -o out --budget 20").expect_code(0);
    let (_, batch) = table(&dir.path().join("out"), "batch");
    let texts: BTreeSet<String> = strings(&batch, "text").into_iter().collect();
    assert_eq!((batch.num_rows(), texts.len()), (8, 8));
}

#[test]
fn strata_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let pool = sample("banking.jsonl");
    let args = format!("select {pool} -o out --budget 40 --stratum-column split --stratum-max-ratio 0.5");
    tamis(dir.path(), &args).expect_code(0);
    let (_, batch) = table(&dir.path().join("out"), "batch");
    let n_train = strings(&batch, "split").iter().filter(|split| *split == "train").count();
    assert_eq!((batch.num_rows(), n_train), (40, 20));
}

#[test]
fn lengths_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let pool = sample("banking.jsonl");
    let largest = |flags: &str| {
        let args = format!("select {pool} -o out --overwrite --budget 40 {flags}");
        tamis(dir.path(), &args).expect_code(0);
        let (_, batch) = table(&dir.path().join("out"), "batch");
        assert_eq!(batch.num_rows(), 40);
        let mut of_class = std::collections::BTreeMap::new();
        for text in strings(&batch, "text") {
            *of_class.entry(text.len().ilog2()).or_insert(0) += 1;
        }
        of_class.into_values().max().unwrap()
    };
    assert!(14 < largest(""), "the pool has many texts of one length");
    assert_eq!(largest("--stratum-column tamis_length --stratum-max-ratio 0.35"), 14);
}

#[test]
fn labels_that_contradict_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let pool = sample("banking.jsonl");
    let id = json_lines(&pool)[0]["id"].as_str().unwrap().to_owned();
    std::fs::write(dir.path().join("labels.csv"), format!("id,label\n{id},a\n{id},b\n")).unwrap();
    let ended = tamis(dir.path(), &format!("select {pool} -o out --budget 5 --labels labels.csv")).expect_code(2);
    assert!(ended.stderr.contains(&id), "{}", ended.stderr);
    let ended =
        tamis(dir.path(), &format!("select {pool} -o out --budget 5 --labels labels.csv --label-column intent"))
            .expect_code(2);
    assert!(ended.stderr.contains("intent"), "{}", ended.stderr);
}

/// Rows of ten intents with a label, one in fifteen of which is wrong.
#[test]
fn activelab_asks_again_for_labels_that_look_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let rows = json_lines(&sample("banking.jsonl"));
    let mut intents: BTreeSet<&str> = rows.iter().map(|row| row["label"].as_str().unwrap()).collect();
    intents = intents.into_iter().take(10).collect();
    let of_intents: Vec<_> = rows.iter().filter(|row| intents.contains(row["label"].as_str().unwrap())).collect();
    let mut wrong = BTreeSet::new();
    let mut lines = String::new();
    for (place, row) in of_intents.iter().step_by(2).enumerate() {
        let (id, truth) = (row["id"].as_str().unwrap(), row["label"].as_str().unwrap());
        let label = if place % 15 == 7 {
            wrong.insert(id.to_owned());
            intents.iter().find(|intent| **intent != truth).unwrap()
        } else {
            truth
        };
        lines += &format!("{}\n", json!({"id": id, "label": label, "who": "ann"}));
    }
    std::fs::write(dir.path().join("labels.jsonl"), &lines).unwrap();
    let pool: String = of_intents.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(dir.path().join("pool.jsonl"), pool).unwrap();
    let args = "select pool.jsonl -o out --budget 60 --random-ratio 0 --strategy activelab --labels labels.jsonl --format json";
    let ended = tamis(dir.path(), args).expect_code(0);
    let (_, batch) = table(&dir.path().join("out"), "batch");
    let (ids, reasons) = (strings(&batch, "tamis_id"), strings(&batch, "tamis_reason"));
    let again: Vec<&String> =
        ids.iter().zip(&reasons).filter(|(_, reason)| reason.starts_with("again: ")).map(|(id, _)| id).collect();
    assert_eq!(ended.json()["manifest"]["selection"]["relabelled_rows"], json!(again.len()));
    let n_found = again.iter().filter(|id| wrong.contains(**id)).count();
    assert!(
        2 * n_found > wrong.len() && n_found > again.len() / 2,
        "{n_found} of {} wrong, {} again",
        wrong.len(),
        again.len()
    );

    // A second annotator who is right settles them, and a label that nobody shares is asked for again.
    let right = |id: &String| rows.iter().find(|row| row["id"] == **id).unwrap()["label"].clone();
    let second: String =
        again.iter().map(|id| format!("{}\n", json!({"id": id, "label": right(id), "who": "bob"}))).collect();
    std::fs::write(dir.path().join("labels.jsonl"), lines + &second).unwrap();
    let refused = tamis(dir.path(), &args.replace("out", "out2")).expect_code(2);
    assert!(refused.stderr.contains("--annotator-column"), "{}", refused.stderr);
    let ended = tamis(dir.path(), &format!("{} --annotator-column who", args.replace("out", "out2"))).expect_code(0);
    let (_, batch) = table(&dir.path().join("out2"), "batch");
    let reasons = strings(&batch, "tamis_reason");
    assert!(reasons.iter().any(|reason| reason.contains("with 1 annotator and the model")), "{reasons:?}");
    let scorer = &ended.json()["manifest"]["scorer"];
    let n_labelled = of_intents.len().div_ceil(2);
    assert_eq!(scorer["labelled_rows"], json!(n_labelled - n_found), "split rows teach nothing");
}

/// Copies of labelled rows, before these or after them, are as good as labelled.
#[test]
fn what_says_the_same_as_a_labelled_row_is_not_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<_> = json_lines(&sample("banking.jsonl")).into_iter().step_by(7).collect();
    let labelled = &rows[..100];
    let copies: Vec<_> =
        labelled.iter().map(|row| json!({"id": format!("copy of {}", row["id"]), "text": row["text"]})).collect();
    let plain: Vec<_> = rows.iter().map(|row| json!({"id": row["id"], "text": row["text"]})).collect();
    let lines = |rows: Vec<serde_json::Value>| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    std::fs::write(dir.path().join("first.jsonl"), lines([copies.clone(), plain.clone()].concat())).unwrap();
    std::fs::write(dir.path().join("last.jsonl"), lines([plain, copies].concat())).unwrap();
    std::fs::write(dir.path().join("labels.jsonl"), lines(labelled.to_vec())).unwrap();
    for strategy in ["auto", "activelab"] {
        let mut chosen = Vec::new();
        for pool in ["first", "last"] {
            let args = format!(
                "select {pool}.jsonl -o {pool}-{strategy} --budget 60 --random-ratio 0 --labels labels.jsonl --strategy {strategy}"
            );
            tamis(dir.path(), &args).expect_code(0);
            let (_, batch) = table(&dir.path().join(format!("{pool}-{strategy}")), "batch");
            let texts: BTreeSet<String> = strings(&batch, "text").into_iter().collect();
            let n_labelled = labelled.iter().filter(|row| texts.contains(row["text"].as_str().unwrap())).count();
            let n_again = strings(&batch, "tamis_reason").iter().filter(|reason| reason.starts_with("again: ")).count();
            assert_eq!(n_labelled, n_again, "{strategy}, copies {pool}");
            assert!((strategy == "activelab") == (0 < n_again), "{strategy}, copies {pool}: {n_again} again");
            chosen.push(texts);
        }
        assert_eq!(chosen[0], chosen[1], "{strategy}: it does not matter where the copies are");
    }
}

#[test]
fn the_cost_of_a_byte_is_a_cost_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let word = |n: usize| ["apple", "pear"][n % 2];
    let lines = |rows: Vec<serde_json::Value>| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let labels = (0..60)
        .map(|n| json!({"id": format!("l{n}"), "text": format!("a {} of number {n}", word(n)), "label": word(n)}))
        .collect();
    std::fs::write(dir.path().join("labels.jsonl"), lines(labels)).unwrap();
    let short = (0..9).map(|n| json!({"id": format!("s{n}"), "text": char::from(b'a' + n).to_string()}));
    let long = (0..60).map(|n| json!({"id": format!("p{n}"), "text": format!("one {} and more of {n}", word(n))}));
    std::fs::write(dir.path().join("pool.jsonl"), lines(short.chain(long).collect())).unwrap();
    let args = "select pool.jsonl labels.jsonl -o out --budget 9 --random-ratio 0 --threshold 1 --labels labels.jsonl --strategy margin --cost-exponent 1";
    tamis(dir.path(), args).expect_code(0);
    let ids = strings(&table(&dir.path().join("out"), "batch").1, "tamis_id");
    assert!(ids.iter().all(|id| id.starts_with('s')), "{ids:?}");
}

/// Annotators who disagree about a class that nobody agrees on yet.
#[test]
fn a_disputed_class_that_is_new_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<_> = json_lines(&sample("banking.jsonl")).into_iter().take(280).collect();
    let vote = |row: &serde_json::Value, who: &str, label: &str| {
        format!("{}\n", json!({"id": row["id"], "who": who, "label": label}))
    };
    let mut lines = String::new();
    for row in &rows[..80] {
        let label = row["label"].as_str().unwrap();
        lines += &(vote(row, "ann", label) + &vote(row, "bob", label));
    }
    for row in &rows[140..220] {
        lines += &vote(row, "ann", row["label"].as_str().unwrap());
    }
    for row in &rows[100..110] {
        lines += &(vote(row, "ann", "never seen") + &vote(row, "bob", "nor this"));
    }
    std::fs::write(dir.path().join("labels.jsonl"), lines).unwrap();
    std::fs::write(dir.path().join("pool.jsonl"), rows.iter().map(|row| format!("{row}\n")).collect::<String>())
        .unwrap();
    let args = "select pool.jsonl -o out --budget 280 --random-ratio 0 --threshold 1 --labels labels.jsonl --annotator-column who --strategy activelab";
    tamis(dir.path(), args).expect_code(0);
    let (_, batch) = table(&dir.path().join("out"), "batch");
    let reasons: BTreeMap<String, String> =
        strings(&batch, "tamis_id").into_iter().zip(strings(&batch, "tamis_reason")).collect();
    for row in &rows[100..110] {
        let reason = &reasons[row["id"].as_str().unwrap()];
        assert!(reason.starts_with("again: ") && reason.contains("2 annotators"), "{reason}");
    }
}
