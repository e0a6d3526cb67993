//! Rows that contain a held-out item go, and only those: against brute force over token windows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use serde_json::{Value, json};

use crate::support::{files, floats, json_lines, sample, strings, table, tamis};

/// Tokens by a definition of their own: lower-case runs of letters, digits and `_`; each ideograph by itself.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut is_open = false;
    for char in text.chars().flat_map(char::to_lowercase) {
        let is_ideograph = ('\u{3040}'..='\u{9fff}').contains(&char) && char.is_alphanumeric();
        match tokens.last_mut() {
            Some(token) if is_open && char.is_alphanumeric() && !is_ideograph || is_open && char == '_' => {
                token.push(char);
            }
            _ if char.is_alphanumeric() || char == '_' => tokens.push(char.to_string()),
            _ => {}
        }
        is_open = (char.is_alphanumeric() || char == '_') && !is_ideograph;
    }
    tokens
}

/// Length of the longest run that both have.
fn longest_run(row: &[String], item: &[String]) -> usize {
    let starts: HashMap<&str, Vec<usize>> = item.iter().enumerate().fold(HashMap::new(), |mut starts, (at, token)| {
        starts.entry(token.as_str()).or_insert_with(Vec::new).push(at);
        starts
    });
    let run = |at: usize, start: usize| row[at..].iter().zip(&item[start..]).take_while(|(a, b)| a == b).count();
    let of = |at: usize| starts.get(row[at].as_str()).into_iter().flatten().map(move |&start| run(at, start)).max();
    (0..row.len()).filter_map(of).max().unwrap_or(0)
}

fn text(row: &Value) -> &str {
    row["text"].as_str().unwrap()
}

fn id(row: &Value) -> &str {
    row["id"].as_str().unwrap()
}

fn write_lines(path: &Path, rows: &[Value]) {
    fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

/// What contamination is planted: held-out items in texts of other rows, as people quote them.
fn planted(dir: &Path) -> (Vec<Value>, Vec<Value>) {
    let mut rows = [json_lines(&sample("laws.jsonl")), json_lines(&sample("licences.jsonl"))].concat();
    let mut items: Vec<Value> = json_lines(&sample("banking.jsonl"))
        .iter()
        .step_by(40)
        .map(|row| json!({"id": format!("bank-{}", id(row)), "text": text(row)}))
        .collect();
    // Pieces of rows: the front, the middle, the end; a run too short; in other letter case, across lines.
    for (index, row) in rows.iter().enumerate().step_by(11) {
        let words: Vec<&str> = text(row).split_whitespace().collect();
        if words.len() < 60 {
            continue;
        }
        let piece = match index % 5 {
            0 => words[..20].join(" "),
            1 => words[words.len() / 2..words.len() / 2 + 25].join("\n").to_uppercase(),
            2 => words[words.len() - 18..].join("  "),
            3 => words[20..26].join(" "),
            _ => format!("Is it true? {} Yes or no.", words[30..50].join(" ")),
        };
        items.push(json!({"id": format!("piece-{index}"), "text": piece}));
    }
    let question = text(&items[3]).to_owned();
    for (index, more) in [
        "Gemäß der Verfügung über die Öffnung süßer Getränke dürfen Bürger früh am Morgen größere Mengen äußern, Straße für Straße",
        "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
        "自由と平等の国",
    ]
    .into_iter()
    .enumerate()
    {
        items.push(json!({"id": format!("unicode-{index}"), "text": more}));
        let quoted = format!("Erstens: ÀÉ — {} … 终.", more.to_uppercase());
        rows.push(json!({"id": format!("quote-{index}"), "text": quoted}));
    }
    rows.push(
        json!({"id": "asks", "text": format!("As someone asked: {}\nThe answer is known.", question.to_uppercase())}),
    );
    items.push(json!({"id": "short", "text": "and or"}));
    items.push(json!({"id": "none", "text": "…!"}));
    write_lines(&dir.join("in.jsonl"), &rows);
    write_lines(&dir.join("held.jsonl"), &items);
    (rows, items)
}

fn spans(evidence: &RecordBatch) -> Vec<Option<(usize, usize)>> {
    let column = |name: &str| evidence.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
    let (starts, ends) = (column("span_start"), column("span_end"));
    (0..evidence.num_rows())
        .map(|row| starts.is_valid(row).then(|| (starts.value(row) as usize, ends.value(row) as usize)))
        .collect()
}

#[test]
fn planted_items_are_found_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (rows, items) = planted(dir.path());
    for (ngram, min_tokens) in [(13, 4), (8, 4), (13, 1), (3, 2)] {
        let args = format!(
            "dedup in.jsonl -o out --overwrite --against held.jsonl --against-ngram {ngram} --against-min-tokens {min_tokens} --format json"
        );
        let manifest = tamis(dir.path(), &args).expect_code(0).json()["manifest"].clone();
        let out = dir.path().join("out");
        let (_, evidence) = table(&out, "evidence");
        let column = |name: &str| strings(&evidence, name);
        let (dropped_ids, kept_ids, rules, methods) =
            (column("dropped_id"), column("kept_id"), column("rule"), column("method"));
        let (shares, sizes, spans) = (floats(&evidence, "similarity"), column("cluster_size"), spans(&evidence));
        let said: HashMap<&str, usize> = (0..evidence.num_rows())
            .filter(|&at| rules[at] == "contaminated")
            .map(|at| (dropped_ids[at].as_str(), at))
            .collect();

        let item_tokens: Vec<(&str, Vec<String>)> = items
            .iter()
            .map(|item| (id(item), tokens(text(item))))
            .filter(|(_, tokens)| tokens.len() >= min_tokens)
            .collect();
        let mut n_rows_of: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &rows {
            let row_tokens = tokens(text(row));
            let mut best: Option<(usize, &(&str, Vec<String>))> = None;
            for item in &item_tokens {
                let n_needed = ngram.min(item.1.len());
                let n = longest_run(&row_tokens, &item.1);
                if n >= n_needed && best.is_none_or(|(most, _)| n > most) {
                    best = Some((n, item));
                }
            }
            let at = said.get(id(row)).copied();
            assert_eq!(at.is_some(), best.is_some(), "{ngram}: {} {best:?}", id(row));
            let (Some(at), Some((n_tokens, (item_id, of_item)))) = (at, best) else { continue };
            *n_rows_of.entry(item_id).or_default() += 1;
            assert_eq!(kept_ids[at], *item_id, "{ngram}: {}", id(row));
            assert_eq!(methods[at], "exact");
            let n_needed = ngram.min(of_item.len());
            let windows: BTreeSet<&[String]> = row_tokens.windows(n_needed).collect();
            let n_shared = of_item.windows(n_needed).filter(|window| windows.contains(window)).count();
            let share = n_shared as f64 / (of_item.len() - n_needed + 1) as f64;
            assert!((shares[at] - share).abs() < 1e-12, "{} is said to share {}, not {share}", id(row), shares[at]);
            let (start, end) = spans[at].unwrap();
            let shared = tokens(&text(row)[start..end]);
            assert_eq!(shared.len(), n_tokens, "{}: {:?}", id(row), &text(row)[start..end]);
            assert!(of_item.windows(n_tokens).any(|window| window == shared), "{}: {shared:?}", id(row));
        }
        for (row, &at) in &said {
            assert_eq!(sizes[at], n_rows_of[kept_ids[at].as_str()].to_string(), "{row}");
        }
        assert!(said.len() >= 30 && said.len() < rows.len(), "{ngram}: {} rows", said.len());
        assert!((0..evidence.num_rows()).all(|at| spans[at].is_some() == (rules[at] == "contaminated")));

        let dropped = table(&out, "dropped").1;
        let reasons = strings(&dropped, "tamis_reason");
        assert_eq!(reasons.iter().filter(|reason| *reason == "contaminated").count(), said.len());
        assert_eq!(manifest["dropped_by_reason"]["contaminated"], said.len());
        let record = &manifest["decontamination"];
        assert_eq!(record["contaminated_rows"], said.len());
        assert_eq!(record["found_items"], n_rows_of.len());
        assert_eq!(record["items"], item_tokens.len());
        assert_eq!(record["items_without_tokens"], 1);
        assert_eq!(record["items_too_short"], items.len() - item_tokens.len() - 1);
        assert_eq!(record["files"][0]["rows"], items.len());
        assert_eq!(record["files"][0]["size_bytes"], fs::metadata(dir.path().join("held.jsonl")).unwrap().len());

        // The others are judged as if the contaminated ones had never been there.
        let clean: Vec<Value> = rows.iter().filter(|row| !said.contains_key(id(row))).cloned().collect();
        write_lines(&dir.path().join("clean.jsonl"), &clean);
        tamis(dir.path(), "dedup clean.jsonl -o alone --overwrite").expect_code(0);
        let alone = dir.path().join("alone");
        assert_eq!(strings(&table(&out, "kept").1, "tamis_id"), strings(&table(&alone, "kept").1, "tamis_id"));
        let of_alone = table(&alone, "evidence").1;
        assert_eq!(evidence.slice(said.len(), evidence.num_rows() - said.len()), of_alone);
    }
}

#[test]
fn a_keep_order_by_column_and_its_own_pass_leave_them_out_too() {
    let dir = tempfile::tempdir().unwrap();
    let words: Vec<String> = (0..40).map(|n| format!("word{n}")).collect();
    let text = words.join(" ");
    let row = |id: &str, text: &str, q: u32| json!({"id": id, "text": text, "q": q});
    let quoted = format!("{text} as asked in the exam");
    write_lines(&dir.path().join("in.jsonl"), &[row("a", &text, 1), row("b", &text, 2), row("c", &quoted, 3)]);
    write_lines(&dir.path().join("held.jsonl"), &[json!({"text": "Word39, as asked in the exam"})]);
    tamis(dir.path(), "dedup in.jsonl -o out --keep q:desc --against held.jsonl").expect_code(0);
    let out = dir.path().join("out");
    assert_eq!(strings(&table(&out, "kept").1, "id"), ["b"]);
    let (_, evidence) = table(&out, "evidence");
    assert_eq!(strings(&evidence, "dropped_id"), ["c", "a"]);
    assert_eq!(strings(&evidence, "kept_id"), ["held.jsonl#0", "b"]);
    let (start, end) = spans(&evidence)[0].unwrap();
    assert_eq!(&quoted[start..end], "word39 as asked in the exam");
}

#[test]
fn held_out_files_of_any_format_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("held/deep")).unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("held/a.csv"), "key,q,answer\nc1,Which river runs through the old town?,1\n").unwrap();
    // The same columns with types that do not go together.
    write_lines(
        &at("held/b.jsonl"),
        &[json!({"key": "j1", "q": "Who wrote the seventh book?", "answer": {"is": "me"}})],
    );
    write_lines(&at("p.jsonl"), &[json!({"key": 7, "q": "When does the last train leave?", "answer": [1]})]);
    tamis(dir.path(), "convert p.jsonl -o parquet").expect_code(0);
    fs::rename(at("parquet/kept/part-00000.parquet"), at("held/deep/p.parquet")).unwrap();
    fs::write(at("held/LICENSE"), "not data").unwrap();
    let rows = [
        "which river runs through the old town",
        "Who wrote the seventh book, he asked",
        "when does the last train leave",
        "when does the first train leave",
    ];
    write_lines(&at("in.jsonl"), &rows.map(|text| json!({"body": text})));
    let run = |against: &str| {
        let args = format!(
            "dedup in.jsonl -o out --overwrite --text-column body --against-text-column q --against-id-column key --format json {against}"
        );
        let ended = tamis(dir.path(), &args).expect_code(0);
        (ended.json()["manifest"]["decontamination"].clone(), files(&at("out")))
    };
    let (record, expect) = run("--against held");
    let evidence = table(&at("out"), "evidence").1;
    assert_eq!(strings(&evidence, "kept_id"), ["c1", "j1", "7"]);
    assert_eq!(strings(&table(&at("out"), "kept").1, "body"), ["when does the first train leave"]);
    assert_eq!(record["skipped_files"], json!(["held/LICENSE"]));
    let names: Vec<&str> =
        record["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["held/a.csv", "held/b.jsonl", "held/deep/p.parquet"]);
    let (_, named) =
        run("--against held/deep/p.parquet --against held/b.jsonl --against held/a.csv --against held/?.csv");
    let tables = |files: &BTreeMap<String, Vec<u8>>| -> Vec<Vec<u8>> {
        files.iter().filter(|(name, _)| name.ends_with(".parquet")).map(|(_, bytes)| bytes.clone()).collect()
    };
    assert_eq!(tables(&expect), tables(&named));
}

#[test]
fn output_depends_on_rows_and_items_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_, items) = planted(dir.path());
    let (front, back) = items.split_at(items.len() / 2);
    fs::create_dir(dir.path().join("h")).unwrap();
    write_lines(&dir.path().join("h/0.jsonl"), front);
    write_lines(&dir.path().join("h/1.jsonl"), back);
    let run = |flags: &str| {
        tamis(dir.path(), &format!("dedup in.jsonl -o out --overwrite --threshold 0.6 {flags}")).expect_code(0);
        files(&dir.path().join("out"))
    };
    let expect = run("--against h/0.jsonl --against h/1.jsonl --threads 2");
    for flags in [
        "--against h/1.jsonl --against h/0.jsonl --threads 1 --batch-rows 7",
        "--against h/?.jsonl --threads 8 --batch-rows 1",
        "--against h/0.jsonl --against h/1.jsonl --memory-limit 64MiB",
        "--against h/0.jsonl --against h/1.jsonl --memory-limit 4GiB --threads 8",
    ] {
        assert!(run(flags) == expect, "{flags}");
    }
    assert!(run("") != expect);
}

#[test]
fn by_config_without_and_with_the_other_stages() {
    let dir = tempfile::tempdir().unwrap();
    let pool = json_lines(&sample("banking.jsonl"));
    let items: Vec<Value> = pool.iter().step_by(5).cloned().collect();
    write_lines(&dir.path().join("held.jsonl"), &items);
    let labels: Vec<String> =
        pool.iter().step_by(13).map(|row| format!("{},{}", id(row), row["label"].as_str().unwrap())).collect();
    fs::write(dir.path().join("labels.csv"), format!("id,label\n{}\n", labels.join("\n"))).unwrap();
    let config = |more: &str| {
        format!(
            "[input]\npaths = [{:?}]\n[decontaminate]\npaths = [\"held.jsonl\"]\n[output]\npath = \"out\"\n{more}",
            sample("banking.jsonl")
        )
    };
    let run = |more: &str| {
        fs::write(dir.path().join("c.toml"), config(more)).unwrap();
        tamis(dir.path(), "config check c.toml").expect_code(0);
        tamis(dir.path(), "run c.toml --overwrite --format json").expect_code(0).json()["manifest"].clone()
    };
    let manifest = run("");
    let n_contaminated = manifest["decontamination"]["contaminated_rows"].as_u64().unwrap();
    assert!(n_contaminated >= 540, "{n_contaminated}");
    assert_eq!(manifest["rows"]["dropped"], n_contaminated);
    assert!(manifest["near_duplicates"].is_null() && manifest["config"]["decontaminate"]["paths"].is_null());
    let out = dir.path().join("out");
    assert_eq!(table(&out, "evidence").1.num_rows() as u64, n_contaminated);
    assert_eq!(table(&out, "kept").1.num_rows() as u64, 2800 - n_contaminated);
    let contaminated: BTreeSet<String> = strings(&table(&out, "evidence").1, "dropped_id").into_iter().collect();

    let manifest = run("[deduplicate]\n[select]\nbudget = 30\nlabels = [\"labels.csv\"]\n");
    for name in ["kept", "scores", "batch"] {
        let ids = strings(&table(&out, name).1, "tamis_id");
        assert!(ids.iter().all(|id| !contaminated.contains(id)), "{name}");
    }
    let n_learned = labels.iter().filter(|line| !contaminated.contains(line.split(',').next().unwrap())).count();
    assert_eq!(manifest["scorer"]["labelled_rows"], n_learned);
    assert!(n_learned < labels.len());
}

#[test]
fn the_summary_says_so() {
    let dir = tempfile::tempdir().unwrap();
    write_lines(&dir.path().join("in.jsonl"), &[json!({"text": "one two three four five"}), json!({"text": "six"})]);
    write_lines(&dir.path().join("held.jsonl"), &[json!({"text": "Two three four FIVE"}), json!({"text": "yes"})]);
    let ended = tamis(dir.path(), "dedup in.jsonl -o out --against held.jsonl").expect_code(0);
    for line in [
        "1 contaminated",
        "held out: 1 item of 1 file, by runs of 13 tokens",
        "1 rows contain one",
        "1 items are too short",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
    }
}

#[test]
fn held_out_files_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_lines(&at("in.jsonl"), &[json!({"text": "one two three four five"})]);
    write_lines(&at("good.jsonl"), &[json!({"text": "one two three four five"})]);
    write_lines(&at("other.jsonl"), &[json!({"question": "one two three four five"})]);
    write_lines(&at("null.jsonl"), &[json!({"text": "one two three four"}), json!({"text": null})]);
    write_lines(&at("short.jsonl"), &[json!({"text": "yes"}), json!({"text": "!"})]);
    write_lines(&at("number.jsonl"), &[json!({"text": 12})]);
    fs::write(at("broken.jsonl"), "{\"text\":\"one two three four\"}\n{\"text\":\n{\n").unwrap();
    fs::create_dir(at("nothing")).unwrap();
    fs::write(at("empty.jsonl"), "").unwrap();
    fs::write(at("header.csv"), "text\n").unwrap();
    fs::write(at("half.parquet"), "PAR1 not parquet").unwrap();
    for (flags, expect) in [
        ("--against none.jsonl", &["none.jsonl", "could not read"][..]),
        ("--against good.jsonl --against no*.csv", &["no*.csv"]),
        ("--against other.jsonl", &["other.jsonl", "`text`", "question", "--against-text-column"]),
        ("--against number.jsonl", &["held-out items", "`text`", "Int64"]),
        ("--against good.jsonl --against-text-column body", &["`body`", "good.jsonl"]),
        ("--against good.jsonl --against-id-column key", &["`key`", "--against-id-column"]),
        ("--against good.jsonl --against broken.jsonl", &["2 held-out rows", "row 1 of `broken.jsonl`", "hint: "]),
        ("--against null.jsonl", &["1 held-out row ", "null.jsonl", "null"]),
        ("--against good.jsonl --against empty.jsonl", &["`empty.jsonl` is empty"]),
        ("--against header.csv", &["`header.csv` is empty"]),
        ("--against half.parquet", &["half.parquet", "Parquet"]),
        ("--against nothing", &["held-out items: there are no input files"]),
        ("--against short.jsonl", &["no held-out item", "fewer than 4 tokens", "--against-min-tokens"]),
        ("--against good.jsonl --against-ngram 0", &["ngram is 0"]),
        ("--against good.jsonl --against-ngram 1000", &["ngram is 1000"]),
        ("--against good.jsonl --against-min-tokens 0", &["min_tokens is 0"]),
        ("--against-ngram 5", &["--against"]),
        ("--against good.jsonl --memory-limit 1KiB", &["memory limit", "--memory-limit"]),
        ("--against out/good.jsonl", &["overlap"]),
    ] {
        let ended = tamis(dir.path(), &format!("dedup in.jsonl -o out {flags}")).expect_code(2);
        for part in expect {
            assert!(ended.stderr.contains(part), "`{flags}` does not say `{part}`:\n{}", ended.stderr);
        }
        assert!(!at("out").exists(), "`{flags}` left an output");
    }
}

/// `--against held/*.jsonl`, as a shell hands it over: the second file must not be sieved as an input in silence.
#[test]
fn held_out_files_of_a_glob_that_the_shell_expanded_are_no_inputs() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("held")).unwrap();
    for name in ["in.jsonl", "held/0.jsonl", "held/1.jsonl", "held/2.jsonl"] {
        write_lines(&dir.path().join(name), &[json!({"text": format!("the text of {name} and nothing more")})]);
    }
    for args in
        ["in.jsonl -o out --against held/0.jsonl held/1.jsonl", "--against held/0.jsonl held/1.jsonl in.jsonl -o out"]
    {
        let ended = tamis(dir.path(), &format!("dedup {args}")).expect_code(2);
        assert!(ended.stderr.contains("`held/1.jsonl`") && ended.stderr.contains("quote the glob"), "{}", ended.stderr);
        assert!(!dir.path().join("out").exists(), "{args}");
    }
    let run = |args: &str| tamis(dir.path(), &format!("dedup --overwrite --format json {args}")).expect_code(0);
    let ended = run("--against held/0.jsonl in.jsonl -o out");
    assert_eq!((ended.json()["manifest"]["rows"]["rows_in"].as_u64(), ended.stderr.as_str()), (Some(1), ""));
    let ended = run("--against held/0.jsonl held/1.jsonl held/2.jsonl -o out");
    assert_eq!(ended.json()["manifest"]["rows"]["rows_in"], 2);
    assert!(ended.stderr.starts_with("warning: `held/1.jsonl` behind `--against held/0.jsonl`"), "{}", ended.stderr);
    assert_eq!(run("in.jsonl -o out --against held/?.jsonl").json()["manifest"]["decontamination"]["items"], 3);
}

#[test]
fn rejected_rows_are_accounted_for_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("in.jsonl"),
        "{\"text\":\"one two three four five\"}\n{\"text\":\n{\"text\":\"six\"}\n{\"text\":\"Six\"}\n",
    )
    .unwrap();
    write_lines(&dir.path().join("held.jsonl"), &[json!({"text": "two three four five"})]);
    let ended = tamis(dir.path(), "dedup in.jsonl -o out --against held.jsonl --format json").expect_code(1);
    let rows = &ended.json()["manifest"]["rows"];
    assert_eq!(
        (&rows["rows_in"], &rows["kept"], &rows["dropped"], &rows["rejected"]),
        (&json!(4), &json!(1), &json!(2), &json!(1))
    );
}
