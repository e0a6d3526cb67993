//! Dropped rows that are brought back: of some runs, with some ids, of some clusters.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::python::python;
use crate::support::{sample, strings, table, tamis};

/// Ids of dropped rows by run, and of the kept row of each, as another reader of Parquet sees them.
const DROPPED: &str = r#"
import glob, json, os, sys
import pyarrow.parquet as pq
found = []
for path in sorted(glob.glob(os.path.join(sys.argv[1], "dropped", "*.parquet"))):
    run = os.path.basename(path).rsplit("-", 1)[0]
    evidence = pq.read_table(path.replace("/dropped/", "/evidence/")).to_pylist()
    kept = {row["dropped_id"]: row["kept_id"] for row in evidence}
    for row in pq.read_table(path).to_pylist():
        found.append([run, row["tamis_id"], kept[row["tamis_id"]], row["text"]])
print(json.dumps(found))
"#;

#[derive(Debug, serde::Deserialize)]
struct Dropped(String, String, String, String);

fn dropped(out: &Path) -> Vec<Dropped> {
    serde_json::from_value(python(DROPPED, &[out])).unwrap()
}

fn fill(dir: &Path) {
    let rows = std::fs::read_to_string(sample("licences.jsonl")).unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    std::fs::create_dir(dir.join("in")).unwrap();
    let config =
        "[input]\npaths = [\"in\"]\n[deduplicate]\nthreshold = 0.6\n[output]\npath = \"out\"\nmode = \"append\"\n";
    std::fs::write(dir.join("run.toml"), config).unwrap();
    for (part, rows) in rows.chunks(rows.len().div_ceil(3)).enumerate() {
        std::fs::write(dir.join(format!("in/{part}.jsonl")), rows.join("\n") + "\n").unwrap();
        tamis(dir, "run run.toml").expect_code(0);
    }
}

/// Texts of the rows that a command brings back.
fn back(dir: &Path, selectors: &str) -> BTreeSet<String> {
    let summary =
        tamis(dir, &format!("restore out -o back --overwrite --format json {selectors}")).expect_code(0).json();
    let (schema, rows) = table(&dir.join("back"), "kept");
    assert_eq!(summary["manifest"]["rows"]["kept"], rows.num_rows());
    assert!(schema.fields().iter().all(|field| *field.name() != "tamis_reason"), "{schema}");
    let texts: BTreeSet<String> = strings(&rows, "text").into_iter().collect();
    assert_eq!(texts.len(), rows.num_rows());
    texts
}

#[test]
fn rows_match_one_of_each_kind_that_is_given() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let all = dropped(&dir.path().join("out"));
    let check = |selectors: &str, is_wanted: &dyn Fn(&Dropped) -> bool| {
        let expect: BTreeSet<String> = all.iter().filter(|row| is_wanted(row)).map(|row| row.3.clone()).collect();
        assert!(back(dir.path(), selectors) == expect, "{selectors}: not the {} rows", expect.len());
        expect.len()
    };
    let runs: BTreeSet<&str> = all.iter().map(|row| row.0.as_str()).collect();
    let runs: Vec<&str> = runs.into_iter().collect();
    assert_eq!(runs.len(), 3);
    // A cluster of which several runs dropped rows.
    let runs_of = |kept: &str| all.iter().filter(|row| row.2 == kept).map(|row| &row.0).collect::<BTreeSet<_>>().len();
    let wide = &all.iter().find(|row| runs_of(&row.2) > 1).unwrap().2;
    let (first, last) = (&all[0], &all[all.len() - 1]);
    let of = |row: &Dropped, name: &str| row.2 == name;

    assert!(check(&format!("--run {}", runs[1]), &|row| row.0 == runs[1]) > 1);
    check(&format!("--run {} --run {}", runs[0], runs[2]), &|row| row.0 != runs[1]);
    assert_eq!(check(&format!("--id {} --id {}", first.1, last.1), &|row| row.1 == first.1 || row.1 == last.1), 2);
    assert!(check(&format!("--cluster {wide}"), &|row| of(row, wide)) > 1);
    check(&format!("--cluster {wide} --cluster {}", last.2), &|row| of(row, wide) || of(row, &last.2));
    let of_wide = all.iter().find(|row| of(row, wide)).unwrap();
    check(&format!("--cluster {wide} --run {}", of_wide.0), &|row| of(row, wide) && row.0 == of_wide.0);
    let both = format!("--cluster {wide} --id {} --id {}", of_wide.1, last.1);
    check(&both, &|row| of(row, wide) && (row.1 == of_wide.1 || row.1 == last.1));
}

#[test]
fn what_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let all = dropped(&dir.path().join("out"));
    let (first, last) = (&all[0], &all[all.len() - 1]);
    let refused = |args: &str, words: &str| {
        let ended = tamis(dir.path(), args).expect_code(2);
        assert!(ended.stderr.contains(words), "{args}: {}", ended.stderr);
        assert!(!dir.path().join("back").exists(), "{args} left something behind");
    };
    refused("restore out -o back --run none", "--run none");
    refused(&format!("restore out -o back --id none --id {}", first.1), "--id none");
    refused(&format!("restore out -o back --cluster {} --cluster none", first.2), "--cluster none");
    refused(&format!("restore out -o back --id {}", first.2), &format!("--id {}", first.2));
    refused(&format!("restore out -o back --run {} --id {}", last.0, first.1), &format!("--id {}", first.1));
    refused(&format!("restore out -o back --cluster {} --id {}", first.2, last.1), "is all that was asked for");
    refused(&format!("restore out -o back --kept-only --id {}", first.1), "cannot be used with");

    // An output of one run; one without evidence.
    tamis(dir.path(), "dedup in -o one").expect_code(0);
    refused("restore one -o back --run x", "is the output of one run");
    let config =
        "[input]\npaths = [\"in\"]\n[deduplicate]\n[output]\npath = \"bare\"\ntables = [\"kept\", \"dropped\"]\n";
    std::fs::write(dir.path().join("bare.toml"), config).unwrap();
    tamis(dir.path(), "run bare.toml").expect_code(0);
    let bare = strings(&table(&dir.path().join("bare"), "dropped").1, "tamis_id");
    refused(&format!("restore bare -o back --cluster {}", first.2), "wrote no table `evidence`");
    refused(&format!("restore bare -o back --id {} --id none", bare[1]), "--id none");
    for out in ["one", "bare"] {
        let restored = tamis(dir.path(), &format!("restore {out} -o {out}-back --id {}", bare[1])).expect_code(0);
        let found: Value = restored.stdout.lines().next().unwrap().into();
        assert_eq!(
            strings(&table(&dir.path().join(format!("{out}-back")), "kept").1, "tamis_id"),
            [bare[1].clone()],
            "{found}"
        );
    }
}

#[test]
fn they_are_found_where_files_were_written_again() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let expect = dropped(&dir.path().join("out"));
    let runs: BTreeSet<&str> = expect.iter().map(|row| row.0.as_str()).collect();
    let texts = |is_meant: &dyn Fn(&Dropped) -> bool| -> BTreeSet<String> {
        expect.iter().filter(|row| is_meant(row)).map(|row| row.3.clone()).collect()
    };
    tamis(dir.path(), "compact out").expect_code(0);
    for run in &runs {
        assert_eq!(back(dir.path(), &format!("--run {run}")), texts(&|row| row.0 == *run), "{run}");
    }
    for row in expect.iter().step_by(7) {
        let Dropped(run, id, kept, text) = row;
        assert_eq!(back(dir.path(), &format!("--id {id}")), [text.clone()].into());
        assert_eq!(back(dir.path(), &format!("--cluster {kept}")), texts(&|row| row.2 == *kept), "{kept}");
        let both = back(dir.path(), &format!("--cluster {kept} --run {run}"));
        assert_eq!(both, texts(&|row| row.2 == *kept && row.0 == *run));
    }
    let other = expect.iter().find(|row| row.0 != expect[0].0).unwrap();
    let none = tamis(dir.path(), &format!("restore out -o none --id {} --run {}", expect[0].1, other.0)).expect_code(2);
    assert!(none.stderr.contains("no row of this id") || none.stderr.contains("no dropped row"), "{}", none.stderr);
    assert!(!dir.path().join("none").exists());
}
