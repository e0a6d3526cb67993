//! Formats that are read, tables that are written, folders and buckets.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use super::driver::{Driver, Place, Session, kernel, run, stream};
use super::records::summaries;
use super::{check, config, rows, samples};
use crate::support::s3::S3Server;
use crate::support::{command, files, finish, sample, tamis};

/// Rows in every format, some of them broken, and the same texts in several files.
pub(super) fn mixed(dir: &Path) -> Vec<String> {
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
    Driver::new(Place::at(dir.path()), together, 20_000).run();
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
fn some_tables_only() {
    let dir = tempfile::tempdir().unwrap();
    for tables in ["\"dropped\", \"evidence\"", "\"kept\"", "\"evidence\"", "\"rejected\"", "\"kept\", \"dropped\""] {
        // It stands right below the section of the output.
        check(dir.path(), &samples(), &format!("tables = [{tables}]\n[deduplicate]\nthreshold = 0.7"), 100_000, 2);
    }
}

#[test]
fn from_a_bucket_into_a_bucket() {
    let server = S3Server::start("tamis-test");
    let environment = server.environment();
    let dir = tempfile::tempdir().unwrap();
    server.put("in/laws.jsonl", Path::new(&sample("laws.jsonl")));
    let sections = "[deduplicate]\n[score]\nscorer = \"dsir\"\nreference = [\"REFERENCE\"]";
    let [here, there] = [sample("laws.jsonl"), server.url("in/laws.jsonl")];
    config(dir.path(), "alone", std::slice::from_ref(&here), &sections.replace("REFERENCE", &here));
    tamis(dir.path(), "run alone.toml --footprint off").expect_code(0);
    let sections = sections.replace("REFERENCE", &there);
    let path = config(dir.path(), "together", &[there], &sections);
    let text = fs::read_to_string(&path).unwrap().replace("\"together\"", &format!("\"{}\"", server.url("out")));
    fs::write(&path, text).unwrap();
    let place = Place { environment: &environment, ..Place::at(dir.path()) };
    let ended = Driver::new(place, path.clone(), 50_000).run();
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
        if ["kept", "dropped", "scores"].contains(&table.as_str()) {
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
    let driver = Driver { commits: false, ..Driver::new(place, path, 50_000) };
    assert!(driver.try_run().is_err());
    assert_eq!(keys("half/"), Vec::<String>::new());
}
