//! Paragraphs and lines that several rows have, repetition, and the way back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::support::s3::S3Server;
use crate::support::{command, files, finish, floats, json_lines, sample, strings, table, tamis};

/// Rows whose texts share paragraphs and lines, with line breaks and blank lines of every kind.
fn rows() -> Vec<Value> {
    let footer = "All rights reserved by the publisher of this page";
    let notice = "Cookies make this page work, read more about all of them";
    let texts = [
        format!("Über Äpfel und Birnen im späten Herbst\r\n\r\n{footer}\r\n"),
        format!("{notice}\n\nThe second article is about bread and butter\n\n{footer}"),
        format!("\n\n{notice}\n \t\nThe third article is 日本語 with a few words more\n\n\n{footer}\n\n"),
        format!("{footer}\n\n{notice}"),
        format!("{}\n\nonly here you find these words\n{notice}\n\n{}", footer.to_uppercase(), "short one"),
        format!("one two three four five six\n\n{footer}\n\none two three four five six\n\n{footer}\n"),
        "no paragraph of this one is anywhere else".to_owned(),
        String::new(),
        " \n\n ".to_owned(),
        format!("say it again and again\n{}", "say it again and again\n".repeat(30)),
    ];
    let row = |(n, text): (usize, &String)| json!({"n": n, "id": format!("r{n}"), "text": text, "meta": {"tags": [n, null], "name": (n % 2 == 0).then_some("even")}});
    texts.iter().enumerate().map(row).collect()
}

fn write_rows(path: &Path, rows: &[Value]) {
    fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

/// The rows of a table, sorted by a column, without the columns that tamis adds.
fn sorted(out: &Path, by: &str) -> RecordBatch {
    let (_, batch) = table(out, "kept");
    let order = sort_to_indices(batch.column_by_name(by).unwrap(), None, None).unwrap();
    let batch = take_record_batch(&batch, &order).unwrap();
    let wanted: Vec<usize> =
        (0..batch.num_columns()).filter(|&column| !batch.schema().field(column).name().starts_with("tamis_")).collect();
    batch.project(&wanted).unwrap()
}

/// Runs dedup with `flags`, restores, and compares with what `convert` makes of the same input.
#[track_caller]
fn round_trip(dir: &Path, inputs: &str, flags: &str) {
    tamis(dir, &format!("convert {inputs} -o whole --overwrite")).expect_code(0);
    tamis(dir, &format!("dedup {inputs} -o out --overwrite {flags}")).expect_code(0);
    tamis(dir, "restore out -o back --overwrite").expect_code(0);
    let (whole, back) = (sorted(&dir.join("whole"), "id"), sorted(&dir.join("back"), "id"));
    assert_eq!(whole.schema(), back.schema(), "{flags}");
    assert_eq!(whole, back, "{flags}");
    tamis(dir, "restore out -o stayed --kept-only --overwrite").expect_code(0);
    let ids = |out: &str| strings(&table(&dir.join(out), "kept").1, "tamis_id");
    assert_eq!(ids("stayed"), ids("out"), "{flags}");
}

const FLAGS: [&str; 7] = [
    "",
    "--grain paragraph",
    "--grain line --grain-action cut",
    "--grain paragraph --grain-action cut --repetition cut --threshold 0.95",
    "--grain paragraph --grain-action drop --repetition cut",
    "--grain line --grain-action cut --repetition drop",
    "--repetition drop",
];

#[test]
fn restore_brings_back_every_row() {
    let dir = tempfile::tempdir().unwrap();
    write_rows(&dir.path().join("in.jsonl"), &rows());
    let samples = format!("{} {}", sample("licences.jsonl"), sample("laws.jsonl"));
    for flags in FLAGS {
        round_trip(dir.path(), "in.jsonl", flags);
        round_trip(dir.path(), &samples, flags);
    }
}

#[test]
fn texts_of_every_type_are_cut_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let texts: Vec<String> = rows().iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
    let ids = StringArray::from_iter_values((0..texts.len()).map(|row| format!("r{row}")));
    let columns: [ArrayRef; 3] = [
        Arc::new(LargeStringArray::from_iter_values(&texts)),
        Arc::new(StringViewArray::from_iter_values(&texts)),
        Arc::new(texts.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>()),
    ];
    for (number, text) in columns.into_iter().enumerate() {
        let batch = RecordBatch::try_from_iter([("text", text), ("id", Arc::new(ids.clone()) as ArrayRef)]).unwrap();
        let name = format!("in{number}.parquet");
        let mut writer =
            ArrowWriter::try_new(fs::File::create(dir.path().join(&name)).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        round_trip(dir.path(), &name, "--grain paragraph --grain-action cut --repetition cut");
        assert!(table(&dir.path().join("out"), "spans").1.num_rows() > 5);
    }
}

#[test]
fn cut_paragraphs_are_recorded_and_stay_where_they_were_first() {
    let dir = tempfile::tempdir().unwrap();
    write_rows(&dir.path().join("in.jsonl"), &rows());
    let flags = "--grain paragraph --grain-action cut --repetition cut --format json";
    let ended = tamis(dir.path(), &format!("dedup in.jsonl -o out {flags}")).expect_code(0);
    let out = dir.path().join("out");
    let (schema, spans) = table(&out, "spans");
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "start", "end", "text", "rule", "first_id"]);
    let (_, kept) = table(&out, "kept");
    let texts: BTreeMap<String, String> = strings(&kept, "id").into_iter().zip(strings(&kept, "text")).collect();
    assert_eq!(kept.num_columns(), 6, "the columns of the input, tamis_id and tamis_duplicates");
    assert_eq!(texts["r0"], rows()[0]["text"].as_str().unwrap());
    assert_eq!(
        texts["r1"],
        "Cookies make this page work, read more about all of them\n\nThe second article is about bread and butter"
    );
    assert_eq!(texts["r2"], "\n\nThe third article is 日本語 with a few words more\n\n");
    assert_eq!(texts["r5"], "one two three four five six\n");
    assert_eq!(texts["r7"], "");
    let rules: Vec<(String, String, String)> = strings(&spans, "id")
        .into_iter()
        .zip(strings(&spans, "rule"))
        .zip(strings(&spans, "first_id"))
        .map(|((id, rule), first)| (id, rule, first))
        .collect();
    let expect = [
        ("r1", "duplicate_paragraphs", "r0"),
        ("r2", "duplicate_paragraphs", "r1"),
        ("r2", "duplicate_paragraphs", "r0"),
        ("r4", "duplicate_paragraphs", "r0"),
        ("r5", "duplicate_paragraphs", "r0"),
        ("r5", "repetition", "r5"),
        ("r5", "duplicate_paragraphs", "r0"),
    ];
    let rules: Vec<_> = rules.iter().map(|(id, rule, first)| (id.as_str(), rule.as_str(), first.as_str())).collect();
    assert_eq!(rules, expect);
    let number = |name: &str| spans.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec();
    for (((id, start), end), text) in
        strings(&spans, "id").iter().zip(number("start")).zip(number("end")).zip(strings(&spans, "text"))
    {
        let original = rows().iter().find(|row| row["id"] == **id).unwrap()["text"].as_str().unwrap().to_owned();
        assert_eq!(original[start as usize..end as usize], text);
    }
    // Nothing but paragraphs of r0 and r1: the row goes, with evidence.
    let (_, dropped) = table(&out, "dropped");
    assert_eq!(strings(&dropped, "id"), ["r3"]);
    assert_eq!(strings(&dropped, "tamis_reason"), ["duplicate_paragraphs"]);
    let (_, evidence) = table(&out, "evidence");
    assert_eq!(
        (strings(&evidence, "dropped_id"), strings(&evidence, "kept_id")),
        (vec!["r3".into()], vec!["r1".into()])
    );
    assert_eq!(
        (strings(&evidence, "rule"), strings(&evidence, "method")),
        (vec!["duplicate_paragraphs".into()], vec!["exact".into()])
    );
    assert_eq!(floats(&evidence, "similarity"), [1.0]);
    let manifest = &ended.json()["manifest"];
    assert_eq!(manifest["grain"]["cut_spans"], 7);
    assert_eq!(manifest["grain"]["cut_rows"], 4);
    assert_eq!(manifest["dropped_by_reason"], json!({"duplicate_paragraphs": 1}));
}

#[test]
fn rows_of_nothing_new_are_dropped_with_evidence() {
    let dir = tempfile::tempdir().unwrap();
    write_rows(&dir.path().join("in.jsonl"), &rows());
    let config = "[input]\npaths = [\"in.jsonl\"]\n[grain]\nunit = \"line\"\nmax_duplicate_ratio = 0.4\n[repetition]\nmin_document_tokens = 40\n[output]\npath = \"out\"\n";
    fs::write(dir.path().join("c.toml"), config).unwrap();
    let ended = tamis(dir.path(), "run c.toml --format json").expect_code(0);
    let out = dir.path().join("out");
    let (_, evidence) = table(&out, "evidence");
    let of = |name: &str| strings(&evidence, name);
    let all: Vec<_> = of("dropped_id").into_iter().zip(of("kept_id")).zip(of("rule")).collect();
    let expect = [
        ("r2", "r1", "duplicate_lines"),
        ("r3", "r1", "duplicate_lines"),
        ("r4", "r1", "duplicate_lines"),
        ("r5", "r0", "duplicate_lines"),
        ("r9", "r9", "repetition"),
    ];
    let expect: Vec<_> = expect.map(|(id, kept, rule)| ((id.to_owned(), kept.to_owned()), rule.to_owned())).into();
    assert_eq!(all, expect);
    assert_eq!(of("cluster_id"), of("kept_id"));
    let sizes = evidence.column_by_name("cluster_size").unwrap().as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(sizes, [4, 4, 4, 2, 1]);
    let (kept, dropped) = (table(&out, "kept").1, table(&out, "dropped").1);
    assert_eq!(kept.num_rows() + dropped.num_rows(), rows().len());
    let kept_ids: BTreeSet<String> = strings(&kept, "id").into_iter().collect();
    for (id, rule) in of("kept_id").iter().zip(of("rule")) {
        assert!(kept_ids.contains(id) || rule == "repetition");
    }
    let manifest = &ended.json()["manifest"];
    assert_eq!(manifest["dropped_by_reason"], json!({"duplicate_lines": 4, "repetition": 1}));
    assert!(manifest.get("near_duplicates").is_none() && !out.join("spans").exists());
}

#[test]
fn bytes_depend_on_input_and_settings_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("in")).unwrap();
    for name in ["licences", "laws"] {
        let text = fs::read_to_string(sample(&format!("{name}.jsonl"))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (part, lines) in lines.chunks(lines.len() / 2 + 1).enumerate() {
            fs::write(dir.path().join(format!("in/{name}-{part}.jsonl")), lines.join("\n")).unwrap();
        }
    }
    for settings in
        ["--grain line --grain-action cut --repetition cut", "--grain paragraph --repetition drop --keep longest"]
    {
        let run = |inputs: &str, flags: &str| {
            tamis(dir.path(), &format!("dedup {inputs} -o out --overwrite {settings} {flags}")).expect_code(0);
            files(&dir.path().join("out"))
        };
        let expect = run("in", "--threads 2");
        for flags in ["--threads 1 --batch-rows 7", "--threads 8 --batch-rows 1", "--memory-limit 64MiB --threads 1"] {
            assert!(run("in", flags) == expect, "{settings} {flags}");
        }
        assert!(
            run("in/licences-1.jsonl in/laws-0.jsonl in/licences-0.jsonl in/laws-1.jsonl", "") == expect,
            "{settings}"
        );
    }
}

#[test]
fn the_batch_and_the_scores_are_of_the_cut_texts() {
    let dir = tempfile::tempdir().unwrap();
    let shared = "this line is below every question that is asked";
    let rows: Vec<Value> = json_lines(&sample("banking.jsonl"))
        .into_iter()
        .take(200)
        .map(|row| json!({"id": row["id"], "text": format!("{}\n{shared}", row["text"].as_str().unwrap())}))
        .collect();
    write_rows(&dir.path().join("in.jsonl"), &rows);
    let config = "[input]\npaths = [\"in.jsonl\"]\n[grain]\nunit = \"line\"\naction = \"cut\"\n[select]\nbudget = 30\n[output]\npath = \"out\"\n";
    fs::write(dir.path().join("c.toml"), config).unwrap();
    tamis(dir.path(), "run c.toml").expect_code(0);
    let by_id = |name: &str| -> BTreeMap<String, String> {
        let (_, batch) = table(&dir.path().join("out"), name);
        strings(&batch, "id").into_iter().zip(strings(&batch, "text")).collect()
    };
    let (kept, batch) = (by_id("kept"), by_id("batch"));
    assert_eq!(kept.values().filter(|text| text.contains(shared)).count(), 1);
    assert_eq!(batch.len(), 30);
    for (id, text) in &batch {
        assert_eq!(text, &kept[id]);
    }
}

#[test]
fn tables_may_lie_in_other_tiers() {
    let dir = tempfile::tempdir().unwrap();
    write_rows(&dir.path().join("in.jsonl"), &rows());
    let config = "[input]\npaths = [\"in.jsonl\"]\n[deduplicate]\n[grain]\naction = \"cut\"\n[output]\npath = \"out\"\n\
                  [tiers.cold]\nurl = \"cold\"\n[routes]\ndropped = \"cold\"\nspans = \"cold\"\n";
    fs::write(dir.path().join("c.toml"), config).unwrap();
    tamis(dir.path(), "run c.toml").expect_code(0);
    assert!(dir.path().join("cold/spans/part-00000.parquet").exists());
    tamis(dir.path(), "convert in.jsonl -o whole").expect_code(0);
    tamis(dir.path(), "restore ./out/ -o back").expect_code(0);
    assert_eq!(sorted(&dir.path().join("whole"), "id"), sorted(&dir.path().join("back"), "id"));
    // A restored run is a run: it can be restored, and read, again.
    tamis(dir.path(), "restore back -o again").expect_code(0);
    assert_eq!(sorted(&dir.path().join("whole"), "id"), sorted(&dir.path().join("again"), "id"));
}

#[test]
fn columns_that_a_run_replaced_are_named_and_no_others_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let row = |id: &str, text: &str| {
        let added = "\"tamis_duplicates\":3,\"tamis_reason\":\"mine\",\"tamis_source\":\"mine\"";
        format!("{{\"id\":\"{id}\",\"text\":\"{text}\",{added}}}\n")
    };
    let repeats = "again and ".repeat(60);
    fs::write(dir.path().join("in.jsonl"), [row("a", "same"), row("b", "same"), row("c", &repeats)].concat()).unwrap();
    let base = "[input]\npaths = [\"in.jsonl\"]\n[output]\npath = \"out\"\n";
    for (stages, flags, lost) in [
        ("[deduplicate]\n", "", &["tamis_duplicates", "tamis_reason", "tamis_source"][..]),
        ("[deduplicate]\n", "--kept-only", &["tamis_duplicates"]),
        ("[repetition]\n", "", &["tamis_reason", "tamis_source"]),
        ("[repetition]\n", "--kept-only", &[]),
        ("[repetition]\naction = \"cut\"\n", "", &[]),
    ] {
        fs::write(dir.path().join("c.toml"), format!("{base}{stages}")).unwrap();
        tamis(dir.path(), "run c.toml --overwrite").expect_code(0);
        let ended = tamis(dir.path(), &format!("restore out -o back --overwrite {flags}")).expect_code(0);
        let (schema, back) = table(&dir.path().join("back"), "kept");
        for name in ["tamis_duplicates", "tamis_reason", "tamis_source"] {
            let is_lost = lost.contains(&name);
            assert_eq!(ended.stderr.contains(name), is_lost, "{stages}{flags}: {}", ended.stderr);
            assert_eq!(schema.field_with_name(name).is_err(), is_lost, "{stages}{flags}: {name}");
            let value = if name == "tamis_duplicates" { "3" } else { "mine" };
            assert!(is_lost || strings(&back, name).iter().all(|found| found == value), "{stages}{flags}: {name}");
        }
    }
}

#[test]
fn mistakes_and_damage_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write_rows(&dir.path().join("in.jsonl"), &rows());
    let fails = |args: &str, expect: &[&str]| {
        let ended = tamis(dir.path(), args).expect_code(2);
        for part in expect {
            assert!(ended.stderr.contains(part), "`{args}` does not say `{part}`:\n{}", ended.stderr);
        }
        assert!(!dir.path().join("x").exists(), "`{args}` left an output");
    };
    fails("dedup in.jsonl -o x --grain-action cut", &["--grain"]);
    let template = ["dedup", "in.jsonl", "-o", "x", "--text-column", "{id} {text}", "--grain", "line"];
    let ended = finish(command(dir.path()).args(template).args(["--grain-action", "cut"])).expect_code(2);
    assert!(ended.stderr.contains("one input column"), "{}", ended.stderr);
    finish(command(dir.path()).args(template)).expect_code(0);
    fs::remove_dir_all(dir.path().join("x")).unwrap();
    let base = "[input]\npaths = [\"in.jsonl\"]\n[output]\npath = \"x\"\n";
    for (more, expect) in [
        ("[grain]\nmin_tokens = 0\n", "min_tokens"),
        ("[grain]\nmax_duplicate_ratio = 1.5\n", "max_duplicate_ratio"),
        ("[grain]\nunit = \"sentence\"\n", "sentence"),
        ("[repetition]\nmax_line_ratio = -1\n", "max_line_ratio"),
        ("[grain]\naction = \"cut\"\nunit = \"line\"\n[repetition]\naction = \"cut\"\n", "repetition.unit"),
    ] {
        fs::write(dir.path().join("c.toml"), format!("{base}{more}")).unwrap();
        fails("config check c.toml", &[expect]);
    }

    fails("restore none -o x", &["none", "manifest.json"]);
    tamis(dir.path(), "dedup in.jsonl -o out --grain paragraph --grain-action cut").expect_code(0);
    fails("restore out -o out", &["overlap"]);
    fails("restore out -o out --overwrite", &["overlap"]);
    let no_spans =
        "[input]\npaths = [\"in.jsonl\"]\n[grain]\naction = \"cut\"\n[output]\npath = \"lossy\"\ntables = [\"kept\"]\n";
    fs::write(dir.path().join("c.toml"), no_spans).unwrap();
    tamis(dir.path(), "run c.toml").expect_code(0);
    fails("restore lossy -o x", &["spans"]);
    fs::write(dir.path().join("c.toml"), no_spans.replace("\"cut\"", "\"drop\"")).unwrap();
    tamis(dir.path(), "run c.toml --overwrite").expect_code(0);
    fails("restore lossy -o x", &["dropped", "--kept-only"]);
    tamis(dir.path(), "restore lossy -o x --kept-only").expect_code(0);
    fs::remove_dir_all(dir.path().join("x")).unwrap();

    let at = |name: &str| dir.path().join("out").join(name);
    let spans = at("spans/part-00000.parquet");
    let bytes = fs::read(&spans).unwrap();
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    fs::write(&spans, damaged).unwrap();
    fails("restore out -o x", &["spans/part-00000.parquet", "SHA-256"]);
    fs::remove_file(&spans).unwrap();
    fails("restore out -o x", &["spans/part-00000.parquet"]);
    fs::write(&spans, bytes).unwrap();
    let manifest = fs::read_to_string(at("manifest.json")).unwrap();
    fs::write(at("manifest.json"), manifest.replace("\"manifest_version\": 1", "\"manifest_version\": 99")).unwrap();
    fails("restore out -o x", &["99"]);
    fs::write(at("manifest.json"), &manifest[..manifest.len() / 2]).unwrap();
    fails("restore out -o x", &["manifest.json"]);
}

#[test]
fn a_run_in_a_bucket_is_restored_into_a_bucket() {
    let server = S3Server::start("tamis-restore");
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| finish(command(dir.path()).args(args).envs(server.environment()));
    write_rows(&dir.path().join("in.jsonl"), &rows());
    let (out, back) = (server.url("out"), server.url("back"));
    run(&["dedup", "in.jsonl", "-o", &out, "--grain", "paragraph", "--grain-action", "cut"]).expect_code(0);
    run(&["restore", &out, "-o", &back]).expect_code(0);
    fs::create_dir_all(dir.path().join("back/kept")).unwrap();
    server.get("back/kept/part-00000.parquet", &dir.path().join("back/kept/part-00000.parquet"));
    tamis(dir.path(), "convert in.jsonl -o whole").expect_code(0);
    assert_eq!(sorted(&dir.path().join("whole"), "id"), sorted(&dir.path().join("back"), "id"));
    let ended = run(&["restore", &server.url("none"), "-o", &back]).expect_code(2);
    assert!(ended.stderr.contains("none"), "{}", ended.stderr);
}

/// Three rows of two paragraphs each, the later ones of which begin with the first row's.
fn overlapping() -> Vec<Value> {
    let words = |letter: char| (0..20).map(|n| format!("{letter}{n}")).collect::<Vec<_>>().join(" ");
    let [a, b, c] = ['a', 'b', 'c'].map(words);
    let texts = [format!("{a}\n\n{b}"), format!("{a}\n\n{b}"), format!("{a}\n\n{c}"), b];
    let row = |(n, text)| json!({"id": format!("r{n}"), "text": text, "tamis_duplicates": n + 2});
    texts.into_iter().enumerate().map(row).collect()
}

#[test]
fn counts_of_an_earlier_run_are_summed_for_whole_rows_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = overlapping();
    rows.push(json!({"id": "again", "text": "again and ".repeat(60), "tamis_duplicates": 9}));
    write_rows(&dir.path().join("in.jsonl"), &rows);
    tamis(dir.path(), "dedup in.jsonl -o out --grain paragraph --repetition drop").expect_code(0);
    let (_, kept) = table(&dir.path().join("out"), "kept");
    assert_eq!(strings(&kept, "tamis_id"), ["r0", "r2"]);
    let counts = kept.column_by_name("tamis_duplicates").unwrap().as_primitive::<Int64Type>();
    assert_eq!(counts.values(), &[5, 4], "r1 is r0; r3 is a paragraph of it");
}

#[test]
fn an_index_has_the_texts_that_were_read() {
    let dir = tempfile::tempdir().unwrap();
    let rows = overlapping();
    write_rows(&dir.path().join("in.jsonl"), &rows[..3]);
    write_rows(&dir.path().join("next.jsonl"), &[json!({"id": "later", "text": rows[2]["text"]})]);
    let flags = "--grain paragraph --grain-action cut --index index";
    tamis(dir.path(), &format!("dedup in.jsonl -o out {flags}")).expect_code(0);
    assert_eq!(strings(&table(&dir.path().join("out"), "spans").1, "id"), ["r2"]);
    tamis(dir.path(), &format!("dedup next.jsonl -o next {flags}")).expect_code(0);
    let (_, evidence) = table(&dir.path().join("next"), "evidence");
    assert_eq!(
        (strings(&evidence, "dropped_id"), strings(&evidence, "kept_id")),
        (vec!["later".into()], vec!["r2".into()])
    );
}
