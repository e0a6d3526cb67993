//! Runs by kernels: the rows of a run in one process, whatever the units; errors; streams that are not whole.

mod driver;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::support::s3::S3Server;
use crate::support::{command, files, finish, sample, table, tamis};
use driver::{Driver, Place, Session, kernel, run, stream, summaries};

/// Writes the config of a run into `out`, which `sections` can name as `{out}`.
fn config(dir: &Path, out: &str, inputs: &[String], sections: &str) -> std::path::PathBuf {
    let path = dir.join(format!("{out}.toml"));
    let (input, sections) = match sections.strip_prefix("input:") {
        Some(rest) => rest.split_once(';').unwrap(),
        None => ("", sections),
    };
    let sections = sections.replace("{out}", out);
    let text = format!("[input]\npaths = {}\n{input}\n[output]\npath = \"{out}\"\n{sections}\n", json!(inputs));
    fs::write(&path, text).unwrap();
    path
}

/// The rows of a table with all their columns, sorted; its columns and types before.
fn rows(out: &Path, name: &str) -> Vec<String> {
    let (schema, batch) = table(out, name);
    let mut rows = as_text(&batch);
    rows.sort();
    let columns: Vec<String> = schema.fields().iter().map(|field| format!("{field:?}")).collect();
    [columns, rows].concat()
}

fn as_text(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| {
            columns.iter().fold(String::new(), |mut text, column| {
                write!(text, "{}\u{1f}", column.value(row)).unwrap();
                text
            })
        })
        .collect()
}

/// What a manifest says, without what depends on the files of a run.
fn comparable(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    for name in ["config", "config_sha256", "requests"] {
        manifest.as_object_mut().unwrap().remove(name);
    }
    // A hash of what was added, in however many segments.
    if let Some(index) = manifest.get_mut("index") {
        index.as_object_mut().unwrap().remove("run");
    }
    for table in manifest["tables"].as_object_mut().unwrap().values_mut() {
        table.as_object_mut().unwrap().remove("files");
    }
    manifest
}

/// Runs a config by kernels and in one process, and holds the tables against each other. Gives the number of units and of sets that were
/// asked for.
fn check(dir: &Path, inputs: &[String], sections: &str, unit_bytes: u64, units_at_once: usize) -> (usize, usize) {
    for out in ["alone", "together"] {
        let _ = fs::remove_dir_all(dir.join(out));
    }
    config(dir, "alone", inputs, sections);
    let alone = tamis(dir, "run alone.toml --format json --footprint off");
    assert!(alone.code < 2, "{}", alone.stderr);
    let config = config(dir, "together", inputs, sections);
    let together = Driver {
        place: Place::at(dir),
        config,
        unit_bytes,
        units_at_once,
        n_bucket_tasks: 1 + units_at_once as i64 % 7,
        commits: true,
    }
    .run();
    assert_eq!(together.code, alone.code);
    let expect = &alone.json()["manifest"];
    assert_eq!(comparable(&together.manifest), comparable(expect), "{sections}");
    let tables = expect["tables"].as_object().unwrap();
    for name in tables.keys() {
        let (found, expect) = (rows(&dir.join("together"), name), rows(&dir.join("alone"), name));
        assert!(found == expect, "{name} of {sections}: {} rows, not {}", found.len(), expect.len());
    }
    let mut left: Vec<String> = files(&dir.join("together")).into_keys().collect();
    left.retain(|name| name != "manifest.json" && !tables.keys().any(|table| name.starts_with(&format!("{table}/"))));
    assert!(left.is_empty(), "left behind: {left:?}");
    assert!(files(&dir.join("together")).keys().all(|name| !name.contains("lost")), "a try that was lost is visible");
    (together.n_units, together.n_proven_sets)
}

fn samples() -> Vec<String> {
    ["banking.jsonl", "laws.jsonl", "licences.jsonl"].map(sample).into()
}

#[test]
fn the_sample_data_in_units_of_any_size() {
    let dir = tempfile::tempdir().unwrap();
    let sections = "[deduplicate]\nthreshold = 0.7";
    let (few, n_sets) = check(dir.path(), &samples(), sections, 1 << 40, 1);
    let (many, n_sets_of_many) = check(dir.path(), &samples(), sections, 10_000, 3);
    assert!(few < many && n_sets > 0 && n_sets == n_sets_of_many, "{few} {many} {n_sets} {n_sets_of_many}");
    // Shorter than most rows.
    let lines = fs::read_to_string(sample("laws.jsonl"))
        .unwrap()
        .lines()
        .take(60)
        .fold(String::new(), |text, line| text + line + "\n");
    fs::write(dir.path().join("some.jsonl"), lines).unwrap();
    check(dir.path(), &["some.jsonl".into()], sections, 100, 100);
}

#[test]
fn settings_of_the_search() {
    let dir = tempfile::tempdir().unwrap();
    for settings in [
        "threshold = 0.5\nkeep = \"longest\"",
        "threshold = 0.6\nrecall = 1.0",
        "threshold = 0.6\nlinkage = \"connected\"",
        "threshold = 0.6\ncap_cluster = 2",
        "preset = \"loose\"\nkeep = \"longest\"\nlinkage = \"connected\"",
        "ignore_digits = true\nngram = 3",
    ] {
        check(dir.path(), &samples(), &format!("[deduplicate]\n{settings}"), 50_000, 2);
    }
}

/// Every so many lines of the sample data.
fn every(n: usize, path: &Path) {
    let all: String = samples().iter().map(|sample| fs::read_to_string(sample).unwrap()).collect();
    let some: String = all.lines().step_by(n).flat_map(|line| [line, "\n"]).collect();
    fs::write(path, some).unwrap();
}

/// Names of the segments that are there.
fn segments(index: &Path) -> Vec<String> {
    let entries = fs::read_dir(index.join("segments")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What befalls the segments of tasks before they are committed.
#[derive(Clone, Copy)]
enum Lose {
    Record,
    Files,
}

impl Lose {
    fn from(self, index: &Path, records: RecordBatch) -> RecordBatch {
        match self {
            Self::Record => driver::without_kind(&records, 14),
            Self::Files => {
                let listed = fs::read_to_string(index.join("index.json")).unwrap();
                for segment in segments(index).iter().filter(|segment| !listed.contains(*segment)) {
                    fs::remove_file(index.join("segments").join(segment).join("keys.parquet")).unwrap();
                }
                records
            }
        }
    }
}

#[test]
fn runs_that_look_at_what_earlier_ones_have_kept() {
    for settings in
        ["threshold = 0.7", "threshold = 0.6\nkeep = \"longest\"\ncap_cluster = 2", "threshold = 0.6\nrecall = 1.0"]
    {
        let dir = tempfile::tempdir().unwrap();
        let inputs: Vec<String> =
            ["second.jsonl", "third.jsonl", "fifth.jsonl", "seventh.jsonl"].map(str::to_owned).into();
        for (n, name) in [2, 3, 5, 7].into_iter().zip(&inputs) {
            every(n, &dir.path().join(name));
        }
        let sections = format!("[deduplicate]\n{settings}\n[index]\nurl = \"{{out}}_index\"");
        check(dir.path(), &inputs[..1], &sections, 40_000, 2);
        let (n_units, _) = check(dir.path(), &inputs[1..2], &sections, 60_000, 3);
        assert!(n_units > 2);
        // What a lost try has added is gone, and the rest is whole.
        let index = dir.path().join("together_index");
        let listed: Value = serde_json::from_slice(&fs::read(index.join("index.json")).unwrap()).unwrap();
        let mut paths: Vec<&str> = listed["segments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|segment| segment["path"].as_str().unwrap().strip_prefix("segments/").unwrap())
            .collect();
        paths.sort_unstable();
        assert_eq!(segments(&index), paths);
        assert!(paths.len() > 3, "{paths:?}");
        tamis(dir.path(), "index verify together_index").expect_code(0);
        // One machine finds there what it finds in its own.
        for out in ["alone", "together"] {
            config(dir.path(), &format!("{out}_third"), &inputs[2..3], &sections.replace("{out}", out));
            tamis(dir.path(), &format!("run {out}_third.toml --footprint off")).expect_code(0);
        }
        for table in ["kept", "dropped", "evidence"] {
            let [together, alone] = ["together_third", "alone_third"].map(|out| rows(&dir.path().join(out), table));
            assert!(together == alone, "{table}");
        }
        // A segment that is lost on its way, or removed, ends the run.
        for (lose, expect) in [(Lose::Record, "went to the index"), (Lose::Files, "is not there any more")] {
            let config = config(dir.path(), "lossy", &inputs[3..], &sections.replace("{out}", "together"));
            let place = Place::at(dir.path());
            let driver =
                Driver { place, config, unit_bytes: 60_000, units_at_once: 1, n_bucket_tasks: 1, commits: true };
            let message = driver.try_run_and(|records| lose.from(&index, records)).map(|ended| ended.code).unwrap_err();
            assert!(message.contains(expect), "{message}");
            tamis(dir.path(), "index verify together_index").expect_code(0);
        }
        // What does not come to its end leaves nothing.
        let before = segments(&index);
        let config = config(dir.path(), "stopped", &inputs[3..], &sections.replace("{out}", "together"));
        let driver = Driver {
            place: Place::at(dir.path()),
            config,
            unit_bytes: 60_000,
            units_at_once: 1,
            n_bucket_tasks: 1,
            commits: false,
        };
        assert!(driver.try_run().is_err());
        assert_eq!(segments(&index), before);
    }
}

#[test]
fn settings_that_look_at_columns() {
    let dir = tempfile::tempdir().unwrap();
    for scope in ["within-source", "across-sources"] {
        // The same rows in several files, and a column that few rows have.
        let inputs: Vec<String> = ["x.jsonl", "y.jsonl", "z.jsonl"].map(str::to_owned).into();
        for (n, name) in (1..).zip(&inputs) {
            every(n, &dir.path().join(name));
        }
        let numbered = format!("input:id = \"\";[deduplicate]\nthreshold = 0.7\nscope = \"{scope}\"");
        check(dir.path(), &inputs, &numbered, 60_000, 3);
        let by_column = format!("input:source = \"label\";[deduplicate]\nthreshold = 0.6\nscope = \"{scope}\"");
        check(dir.path(), &samples(), &by_column, 60_000, 2);
    }
    for settings in [
        "keep = \"id:desc\"",
        "keep = \"label:desc,id:asc\"",
        "by = \"label\"",
        "by = \"label\"\nkeep = \"longest\"\nrecall = 1.0",
    ] {
        check(dir.path(), &samples(), &format!("[deduplicate]\nthreshold = 0.6\n{settings}"), 60_000, 3);
    }
    check(dir.path(), &mixed(dir.path())[..4], "input:id = \"\";[deduplicate]\nkeep = \"n:desc\"", 500, 50);
    config(dir.path(), "unknown", &samples(), "[deduplicate]\nkeep = \"nowhere:asc\"");
    let driver = Driver {
        place: Place::at(dir.path()),
        config: dir.path().join("unknown.toml"),
        unit_bytes: 1 << 30,
        units_at_once: 1,
        n_bucket_tasks: 1,
        commits: true,
    };
    let message = driver.try_run().map(|ended| ended.code).unwrap_err();
    assert!(message.contains("`nowhere`"), "{message}");
}

#[test]
fn held_out_items() {
    let dir = tempfile::tempdir().unwrap();
    // Of a file in another folder than tasks may run in, named by its relative path; an item in part, one whole, one in no row.
    let laws = fs::read_to_string(sample("laws.jsonl")).unwrap();
    let texts: Vec<Value> = laws.lines().take(40).map(|line| serde_json::from_str(line).unwrap()).collect();
    let items: String = texts
        .iter()
        .step_by(3)
        .map(|row| row["text"].as_str().unwrap().split_inclusive(' ').skip(3).take(60).collect::<String>())
        .chain(["these words are in none of all the rows of the sample data at all".into()])
        .map(|text| format!("{}\n", json!({"text": text})))
        .collect();
    fs::write(dir.path().join("held_out.jsonl"), items).unwrap();
    let held_out = "[decontaminate]\npaths = [\"held_out.jsonl\"]\n";
    for others in [
        "[deduplicate]\nthreshold = 0.7",
        "[deduplicate]\nthreshold = 0.7\nkeep = \"id:desc\"",
        "[deduplicate]\nthreshold = 0.7\nkeep = \"longest\"\n[index]\nurl = \"{out}_index\"\n[guards]\nmax_dropped_ratio = 0.9",
        "",
    ] {
        let sections = format!("{held_out}{others}");
        check(dir.path(), &samples(), &sections, 40_000, 3);
        let manifest: Value =
            serde_json::from_slice(&fs::read(dir.path().join("together/manifest.json")).unwrap()).unwrap();
        assert!(manifest["dropped_by_reason"]["contaminated"].as_u64() > Some(10), "{}", manifest["dropped_by_reason"]);
    }
    // The id of a row that is dropped for what it contains counts as any other.
    let ids = laws.lines().chain(laws.lines().take(1)).fold(String::new(), |text, line| text + line + "\n");
    fs::write(dir.path().join("twice.jsonl"), ids).unwrap();
    let config = config(dir.path(), "twice", &["twice.jsonl".into()], held_out);
    let mut session = Session::start(Place::at(dir.path()), &config, 1 << 30);
    let units = session.read();
    assert_eq!(units.stages, ["ids"]);
    let scanned = run(Place::at(dir.path()), "scan", &units.batch, &units.job.unwrap(), "x");
    assert_eq!(driver::n_given_ids(&scanned), laws.lines().count() + 1);
    session.end();
}

#[test]
fn loss_guards() {
    let dir = tempfile::tempdir().unwrap();
    let guards = "[deduplicate]\nthreshold = 0.7\n[guards]\n";
    check(dir.path(), &samples(), &format!("{guards}max_dropped_ratio = 0.9\nmax_cluster_rows = 500"), 50_000, 3);
    let strict = "max_dropped_ratio = 0.05\nmax_cluster_rows = 3";
    check(dir.path(), &samples(), &format!("{guards}{strict}\nallow_loss = true"), 50_000, 3);
    // By a column, of which few rows have a value.
    let by_column = "input:source = \"label\";[deduplicate]\nthreshold = 0.7\n[guards]\nallow_loss = true\n";
    check(dir.path(), &samples(), &format!("{by_column}{strict}"), 50_000, 3);

    config(dir.path(), "stopped", &samples(), &format!("{guards}{strict}"));
    let alone = tamis(dir.path(), "run stopped.toml --log-format json --footprint off").expect_code(2);
    let config = dir.path().join("stopped.toml");
    let driver = Driver {
        place: Place::at(dir.path()),
        config,
        unit_bytes: 50_000,
        units_at_once: 3,
        n_bucket_tasks: 2,
        commits: true,
    };
    let together = driver.try_run().map(|ended| ended.code).unwrap_err();
    let message = |stderr: &str| {
        let last = stderr.lines().rfind(|line| line.contains("\"message\"")).unwrap();
        serde_json::from_str::<Value>(last).unwrap()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(message(&together), message(&alone.stderr));
    assert!(!dir.path().join("stopped").exists());
}

/// Rows in every format, some of them broken, and the same texts in several files.
fn mixed(dir: &Path) -> Vec<String> {
    let text = |n: usize| format!("row {} speaks of one thing and of another and of {} more things", n % 40, n % 7);
    let mut lines = Vec::new();
    for n in 0..200 {
        match n {
            17 => lines.extend(b"{\"id\": \"broken\n"),
            31 => lines.extend(b"{\"id\":\"utf8\",\"text\":\"\xff\xfe\"}\n"),
            44 => lines.extend(b"{\"id\":\"none\",\"text\":null}\n"),
            60 => lines.extend(b"\n  \n"),
            90 => lines.extend(b"[1, 2]\n"),
            _ => writeln!(
                lines,
                "{}",
                json!({"id": format!("a{n}"), "text": text(n), "n": n, "tags": ["x", n.to_string()]})
            )
            .unwrap(),
        }
    }
    fs::write(dir.join("a.jsonl"), &lines).unwrap();
    let mut csv = "id,text,n\n".to_owned();
    (0..80).for_each(|n| writeln!(csv, "b{n},\"{},\n\"\"quoted\"\"\",{}.5", text(n), n).unwrap());
    fs::write(dir.join("b.csv"), csv).unwrap();
    let plain: Vec<u8> =
        (0..50).flat_map(|n| format!("{}\n", json!({"id": format!("c{n}"), "text": text(n)})).into_bytes()).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let whole = gzip.finish().unwrap();
    fs::write(dir.join("c.jsonl.gz"), &whole).unwrap();
    fs::write(dir.join("d.jsonl.gz"), &whole[..whole.len() / 2]).unwrap();
    // Its name says nothing of the compression.
    fs::write(dir.join("e.jsonl"), &whole).unwrap();
    fs::write(dir.join("f.jsonl"), "").unwrap();
    ["a.jsonl", "b.csv", "c.jsonl.gz", "d.jsonl.gz", "e.jsonl", "f.jsonl"].map(str::to_owned).into()
}

#[test]
fn formats_rejects_and_ids() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = mixed(dir.path());
    // Ids are given twice, so that rows are named after their places.
    let numbered = "input:id = \"\";";
    for unit_bytes in [37, 500, 1 << 30] {
        check(dir.path(), &inputs, &format!("{numbered}[deduplicate]"), unit_bytes, 1000);
        check(dir.path(), &inputs, numbered, unit_bytes, 1000);
    }
    check(dir.path(), &inputs[..3], "[deduplicate]", 300, 50);
    // Rows without an id, and an object on a line of its own.
    let lines: String = (0..100).map(|n| format!("{}\n", json!({"text": format!("text number {}", n % 30)}))).collect();
    fs::write(dir.path().join("g.json"), lines + "[3]\n").unwrap();
    check(dir.path(), &["g.json".into()], "[deduplicate]", 64, 100);
    fs::write(dir.path().join("h.txt"), "one two three\n\nfour\r\none two three\nlast").unwrap();
    for unit_bytes in 1..20 {
        check(dir.path(), &["h.txt".into()], "[deduplicate]", unit_bytes, 100);
    }
    check(dir.path(), &["h.txt".into()], "input:text_documents = \"file\";[deduplicate]", 5, 100);
}

/// Writes rows in row groups of so many.
fn write_parquet(path: &Path, rows: std::ops::Range<i32>, group_rows: usize) {
    let text =
        |n: i32| (n % 11 != 5).then(|| format!("row {} speaks of one thing, of another and of {} more", n % 40, n % 7));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(rows.clone().map(|n| Some(format!("p{n}"))).collect::<StringArray>()) as ArrayRef),
        ("text", Arc::new(rows.clone().map(text).collect::<StringArray>())),
        ("n", Arc::new(Int32Array::from_iter_values(rows))),
    ])
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn row_groups_of_parquet_are_units() {
    let dir = tempfile::tempdir().unwrap();
    let inputs: Vec<String> = ["a.parquet", "b.parquet", "c.parquet", "d.jsonl"].map(str::to_owned).into();
    write_parquet(&dir.path().join(&inputs[0]), 0..200, 13);
    write_parquet(&dir.path().join(&inputs[1]), 200..201, 13);
    write_parquet(&dir.path().join(&inputs[2]), 201..350, 1000);
    fs::write(
        dir.path().join(&inputs[3]),
        "{\"id\":\"j\",\"text\":\"row 3 speaks of one thing, of another and of 3 more\"}\n",
    )
    .unwrap();
    let (n_files, _) = check(dir.path(), &inputs, "[deduplicate]", 1 << 30, 2);
    assert_eq!(n_files, 4);
    // Several row groups in a unit, and units without any.
    for unit_bytes in [300, 2000, 5000] {
        let (n_units, _) = check(dir.path(), &inputs, "[deduplicate]\nthreshold = 0.6", unit_bytes, 1000);
        assert!(n_units > n_files, "{n_units} units of {unit_bytes}");
        check(dir.path(), &inputs, "", unit_bytes, 3);
    }
    // Tables for which no column is read.
    for tables in ["\"rejected\"", "\"evidence\", \"rejected\"", "\"evidence\""] {
        let sections = format!("input:id = \"\";tables = [{tables}]\n[deduplicate]");
        check(dir.path(), &inputs[..1], &sections, 2000, 3);
    }
    let whole = fs::read(dir.path().join(&inputs[0])).unwrap();
    fs::write(dir.path().join("half.parquet"), &whole[..whole.len() / 2]).unwrap();
    let config = config(dir.path(), "half", &["half.parquet".into()], "[deduplicate]");
    let mut session = Session::start(Place::at(dir.path()), &config, 1000);
    let units = session.read();
    let done = kernel(Place::at(dir.path()), "scan", stream(&units.batch, &units.job.unwrap()), "x");
    assert!(done.code == Some(2) && done.stderr.contains("half.parquet"), "{:?} {}", done.code, done.stderr);
    session.end();
}

#[test]
fn tables_tiers_and_parquet() {
    let dir = tempfile::tempdir().unwrap();
    let tiers =
        "[tiers.hot]\n[tiers.cold]\nurl = \"elsewhere\"\nzstd = 9\norder = \"cluster\"\n[routes]\ndropped = \"cold\"\n";
    let alone = config(dir.path(), "alone", &samples(), &format!("[deduplicate]\n{tiers}"));
    fs::write(&alone, fs::read_to_string(&alone).unwrap().replace("elsewhere", "alone_cold")).unwrap();
    tamis(dir.path(), "run alone.toml --footprint off").expect_code(0);
    let together = config(dir.path(), "together", &samples(), &format!("[deduplicate]\n{tiers}"));
    fs::write(&together, fs::read_to_string(&together).unwrap().replace("elsewhere", "together_cold")).unwrap();
    Driver {
        place: Place::at(dir.path()),
        config: together,
        unit_bytes: 20_000,
        units_at_once: 2,
        n_bucket_tasks: 2,
        commits: true,
    }
    .run();
    assert_eq!(rows(&dir.path().join("together_cold"), "dropped"), rows(&dir.path().join("alone_cold"), "dropped"));
    assert_eq!(files(&dir.path().join("together_cold")).keys().filter(|name| !name.starts_with("dropped/")).count(), 0);
    // What it wrote is read again, with counts that nobody asks for.
    fs::rename(dir.path().join("together/kept"), dir.path().join("read_again")).unwrap();
    let kept = "read_again".to_owned();
    check(dir.path(), std::slice::from_ref(&kept), "", 1 << 20, 1);
    let config = config(dir.path(), "again", &[kept], "[deduplicate]");
    let mut session = Session::start(Place::at(dir.path()), &config, 1 << 20);
    let units = session.read();
    session.write(&summaries(&run(Place::at(dir.path()), "scan", &units.batch, &units.job.unwrap(), "x")));
    let (code, stderr) = session.end();
    assert!(code == Some(2) && stderr.contains("tamis_duplicates"), "{code:?} {stderr}");
}

#[test]
fn from_a_bucket_into_a_bucket() {
    let server = S3Server::start("tamis-test");
    let environment = server.environment();
    let dir = tempfile::tempdir().unwrap();
    server.put("in/laws.jsonl", Path::new(&sample("laws.jsonl")));
    config(dir.path(), "alone", &samples()[1..2], "[deduplicate]");
    tamis(dir.path(), "run alone.toml --footprint off").expect_code(0);
    let path = config(dir.path(), "together", &[server.url("in/laws.jsonl")], "[deduplicate]");
    let text = fs::read_to_string(&path).unwrap().replace("\"together\"", &format!("\"{}\"", server.url("out")));
    fs::write(&path, text).unwrap();
    let place = Place { dir: dir.path(), environment: &environment };
    let ended =
        Driver { place, config: path.clone(), unit_bytes: 50_000, units_at_once: 2, n_bucket_tasks: 3, commits: true }
            .run();
    assert!(ended.n_units > 2);
    let mut named: Vec<String> = vec!["out/manifest.json".into()];
    for (table, record) in ended.manifest["tables"].as_object().unwrap() {
        let folder = dir.path().join("fetched").join(table);
        fs::create_dir_all(&folder).unwrap();
        for file in record["files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            server.get(&format!("out/{path}"), &dir.path().join("fetched").join(path));
            named.push(format!("out/{path}"));
        }
        if ["kept", "dropped"].contains(&table.as_str()) {
            // Ids are those of a column, whatever the place of the input.
            assert_eq!(rows(&dir.path().join("fetched"), table), rows(&dir.path().join("alone"), table), "{table}");
        }
    }
    let keys = |prefix: &str| -> Vec<String> { server.list(prefix).into_iter().map(|(key, _)| key).collect() };
    let mut found = keys("out/");
    named.sort();
    found.sort();
    assert_eq!(found, named, "what a lost try wrote is removed");

    // Nobody writes there again unless told to, and who does not come to an end takes back what it has written.
    let again = finish(command(dir.path()).args(["kernel", "session"]).arg(&path).envs(environment.iter().cloned()));
    assert!(again.expect_code(2).stderr.contains("is not empty"));
    assert_eq!(keys("out/").len(), named.len());
    let text = fs::read_to_string(&path).unwrap().replace("/out\"", "/half\"");
    fs::write(&path, text).unwrap();
    let driver =
        Driver { place, config: path, unit_bytes: 50_000, units_at_once: 2, n_bucket_tasks: 3, commits: false };
    assert!(driver.try_run().is_err());
    assert_eq!(keys("half/"), Vec::<String>::new());
}

#[test]
fn what_a_cluster_does_not_do_is_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for (sections, expect) in [
        ("[deduplicate]\nmeasure = \"containment\"", "containment"),
        ("[score]", "[score]"),
        ("[deduplicate]\n[footprint]\nmax_g = 1.0", "max_g"),
    ] {
        let config = config(dir.path(), "out", &["nowhere.jsonl".into()], sections);
        let ended = finish(command(dir.path()).args(["kernel", "session"]).arg(config)).expect_code(2);
        assert!(ended.stderr.contains(expect) && ended.stderr.contains("cluster yet"), "{}", ended.stderr);
        assert!(ended.stdout.is_empty() && !dir.path().join("out").exists());
    }
    let config = config(dir.path(), "out", &["-".into()], "[deduplicate]");
    let ended = finish(command(dir.path()).args(["kernel", "session"]).arg(config)).expect_code(2);
    assert!(ended.stderr.contains("standard input"), "{}", ended.stderr);
}

#[test]
fn some_tables_only() {
    let dir = tempfile::tempdir().unwrap();
    for tables in ["\"dropped\", \"evidence\"", "\"kept\"", "\"evidence\"", "\"rejected\"", "\"kept\", \"dropped\""] {
        // It stands right below the section of the output.
        check(dir.path(), &samples(), &format!("tables = [{tables}]\n[deduplicate]\nthreshold = 0.7"), 100_000, 2);
    }
}

#[test]
fn a_session_that_nobody_ends_takes_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "out", &samples(), "[deduplicate]");
    let mut session = Session::start(Place::at(dir.path()), &config, 1 << 20);
    session.read();
    fs::create_dir_all(dir.path().join("out/_tamis_staging/kept")).unwrap();
    fs::write(dir.path().join("out/_tamis_staging/kept/part-00000-x-00000.parquet"), "half").unwrap();
    // Nobody else may write there meanwhile.
    let other = finish(command(dir.path()).args(["kernel", "session"]).arg(&config));
    assert_eq!(other.code, 75, "{}", other.stderr);
    let (code, stderr) = session.end();
    assert_eq!(code, Some(74), "{stderr}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_run_has_its_name_from_config_and_inputs() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in.jsonl"), "{\"text\":\"a b c\"}\n").unwrap();
    let name = |sections: &str| {
        let config = config(dir.path(), "out", &["in.jsonl".into()], sections);
        let mut session = Session::start(Place::at(dir.path()), &config, 1 << 20);
        let name = session.read().run.unwrap();
        session.end();
        name
    };
    let first = name("[deduplicate]");
    assert_eq!(name("[deduplicate]"), first);
    assert_ne!(name("[deduplicate]\nthreshold = 0.7"), first);
    fs::write(dir.path().join("in.jsonl"), "{\"text\":\"a b d\"}\n").unwrap();
    assert_ne!(name("[deduplicate]"), first);
}

/// The stream of units, and what a scan makes of it.
fn scanned(dir: &Path) -> (Vec<u8>, usize) {
    let config = config(dir, "out", &samples(), "[deduplicate]");
    let mut session = Session::start(Place::at(dir), &config, 1 << 30);
    let units = session.read();
    let input = stream(&units.batch, &units.job.unwrap());
    let done = kernel(Place::at(dir), "scan", input.clone(), "x");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    session.end();
    (input, done.output.len())
}

#[test]
fn a_stream_that_is_not_whole_is_told_from_one_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, n_bytes) = scanned(dir.path());
    for cut in [0, 5, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
        let done = kernel(Place::at(dir.path()), "scan", whole[..cut].to_vec(), "x");
        assert_eq!(done.code, Some(74), "{cut}: {}", done.stderr);
        assert!(done.output.len() < n_bytes && !done.output.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
        let said: Value =
            serde_json::from_str(done.stderr.lines().rfind(|line| line.contains("message")).unwrap()).unwrap();
        assert!(said["message"].as_str().unwrap().contains("died"), "{said}");
    }
}

#[test]
fn an_error_in_the_data_says_where_and_is_not_to_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in.jsonl"), "{\"txt\":\"a\"}\n{\"text\":3}\n").unwrap();
    let config = config(dir.path(), "out", &["in.jsonl".into()], "[deduplicate]");
    let mut session = Session::start(Place::at(dir.path()), &config, 1 << 30);
    let units = session.read();
    let input = stream(&units.batch, &units.job.unwrap());
    // The file is replaced while the run goes on.
    fs::write(dir.path().join("in.jsonl"), "{}\n").unwrap();
    let done = kernel(Place::at(dir.path()), "scan", input, "x");
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("in.jsonl"), "{}", done.stderr);
    session.end();
}

#[test]
fn a_kernel_ends_with_who_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    // A parent that is not the one.
    let ended = finish(command(dir.path()).args(["kernel", "scan"]).env("TAMIS_PARENT", "1")).expect_code(2);
    assert!(ended.stderr.contains("not its parent"), "{}", ended.stderr);
    let script = "TAMIS_PARENT=$$ \"$0\" kernel scan <fifo & echo $!; exec 9>fifo; sleep 600";
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("fifo")).status().unwrap();
    assert!(made.success());
    let mut shell = std::process::Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_tamis")])
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
    let kernel = Path::new("/proc").join(line.trim());
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(kernel.exists(), "it waits for its input");
    shell.kill().unwrap();
    shell.wait().unwrap();
    let is_gone =
        || !kernel.exists() || fs::read_to_string(kernel.join("stat")).is_ok_and(|stat| stat.contains(") Z "));
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        is_gone()
    });
    assert!(gone, "the kernel {} is still there", line.trim());
}
