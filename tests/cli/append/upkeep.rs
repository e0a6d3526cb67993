//! Compaction and retention of an output that runs are added to.

use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// An output of `n` runs, a file each.
fn runs(dir: &Path, n: usize, more: &str) -> usize {
    let (store, input) = (dir.join("store"), dir.join("in"));
    std::fs::create_dir(&store).unwrap();
    std::fs::create_dir(&input).unwrap();
    let names = licences(&store, 400usize.div_ceil(n));
    config(dir, "in", "out");
    let text = std::fs::read_to_string(dir.join("run.toml")).unwrap();
    std::fs::write(dir.join("run.toml"), text + more).unwrap();
    for name in &names {
        std::fs::copy(store.join(name), input.join(name)).unwrap();
        tamis(dir, "run run.toml").expect_code(0);
    }
    names.len()
}

/// The rows of a table as a list of texts, in their order.
fn rows(dir: &Path, name: &str) -> Vec<String> {
    let files = tamis(dir, &format!("export out --files --table {name}")).expect_code(0).stdout;
    let mut rows = Vec::new();
    for file in files.lines() {
        let file = std::fs::File::open(dir.join(file)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let value =
                |row: usize| batch.columns().iter().map(move |column| array_value_to_string(column, row).unwrap());
            rows.extend((0..batch.num_rows()).map(|row| value(row).collect::<Vec<_>>().join("\t")));
        }
    }
    rows
}

#[test]
fn small_files_become_one_and_no_row_changes() {
    let dir = tempfile::tempdir().unwrap();
    let n_runs = runs(dir.path(), 5, "[score]\n");
    let tables = ["kept", "dropped", "evidence", "scores"];
    let before = tables.map(|name| rows(dir.path(), name));
    let restored = |to: &str| {
        tamis(dir.path(), &format!("restore out -o {to}")).expect_code(0);
        ids(&table(&dir.path().join(to), "kept").1, "tamis_id")
    };
    let all = restored("back");

    let done = tamis(dir.path(), "compact out --format json").expect_code(0).json();
    assert_eq!((done["added_files"].as_u64(), done["removed_files"].as_u64()), (Some(4), Some(4 * n_runs as u64)));
    for (name, before) in tables.iter().zip(&before) {
        assert!(rows(dir.path(), name) == *before, "{name} has other rows, or in another order");
        if *name == "scores" {
            continue; // polars does not read embeddings of fixed size as what the table says they are
        }
        let seen = local_delta(dir.path(), name);
        assert_eq!((seen["rows"].as_u64(), seen["files"].as_u64()), (Some(before.len() as u64), Some(1)), "{name}");
        assert_eq!(seen["version"].as_u64(), Some(n_runs as u64));
    }
    assert_eq!(restored("again"), all);
    tamis(dir.path(), "verify out").expect_code(0);
    tamis(dir.path(), "inspect out").expect_code(0);
    assert!(tamis(dir.path(), "compact out").expect_code(0).stdout.contains("nothing to compact"));
    assert!(tamis(dir.path(), "run run.toml").expect_code(0).stdout.contains("nothing new"));

    // The old files are there until their grace is over, and readers of what they read before see them.
    let kept = |dir: &Path| files(&dir.join("out/kept")).keys().filter(|name| name.ends_with(".parquet")).count();
    assert!(tamis(dir.path(), "gc out").expect_code(0).stdout.contains("0 files removed"));
    assert_eq!(kept(dir.path()), n_runs + 1);
    std::thread::sleep(Duration::from_millis(1100));
    tamis(dir.path(), "gc out --grace 0h").expect_code(0);
    assert_eq!(kept(dir.path()), 1);
    let verified = tamis(dir.path(), "verify out --format json").expect_code(0).json();
    assert_eq!(verified["orphans"].as_array().unwrap().len(), 0);

    // A later run goes on from there.
    std::fs::copy(dir.path().join("store/000.jsonl"), dir.path().join("in/copy.jsonl")).unwrap();
    let copied = tamis(dir.path(), "run run.toml --format json").expect_code(0).json();
    assert_eq!(copied["manifest"]["rows"]["kept"], 0);
    tamis(dir.path(), "verify out").expect_code(0);
    let listed = tamis(dir.path(), "runs out --format json").expect_code(0).json();
    let kinds: Vec<&str> = listed.as_array().unwrap().iter().map(|run| run["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[n_runs - 1..], ["run", "compact", "run"]);
}

#[test]
fn what_others_compacted_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    runs(dir.path(), 3, "");
    let peers = std::env::var("TAMIS_TEST_PEERS").unwrap();
    let script = "import deltalake; deltalake.DeltaTable('out/kept').optimize.compact()";
    let mut python = Command::new("python3");
    finish(python.args(["-c", script]).current_dir(dir.path()).env("PYTHONPATH", peers)).expect_code(0);
    let before = local_delta(dir.path(), "kept");
    let done = tamis(dir.path(), "compact out").expect_code(0).stdout;
    assert!(done.contains("left as it is: kept") && done.contains("which tamis did not write"), "{done}");
    assert_eq!(local_delta(dir.path(), "kept")["rows"], before["rows"]);
    assert_eq!(local_delta(dir.path(), "dropped")["files"], 1);
    tamis(dir.path(), "verify out").expect_code(0);
}

#[test]
fn rows_past_their_retention_leave_the_output_and_kept_ones_never() {
    let dir = tempfile::tempdir().unwrap();
    let tier = "[tiers.cold]\nurl = \"cold\"\nretention = \"1d\"\n[tiers.default]\nretention = \"1d\"\n\
        [routes]\ndropped = \"cold\"\n";
    let n_runs = runs(dir.path(), 3, tier);
    let count = |name: &str| rows(dir.path(), name).len();
    let (kept, dropped) = (count("kept"), count("dropped"));
    let early = tamis(dir.path(), "gc out --format json").expect_code(0).json();
    assert_eq!(early["expired"]["rows"], 0);
    // As if all but the last run had been two days earlier.
    for version in 0..n_runs - 1 {
        let path = dir.path().join(format!("out/_tamis/commits/{version:020}.json"));
        let mut commit: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        commit["committed_at"] = (commit["committed_at"].as_u64().unwrap() - 2 * 24 * 3600).into();
        std::fs::write(&path, commit.to_string()).unwrap();
    }
    let trial = tamis(dir.path(), "gc out --dry-run --format json").expect_code(0).json();
    assert_eq!(count("dropped"), dropped, "a trial changes nothing");
    let done = tamis(dir.path(), "gc out --format json").expect_code(0).json();
    assert_eq!(trial["expired"], done["expired"]);
    let left = count("dropped");
    assert!(0 < left && left < dropped, "{left} of {dropped}");
    assert_eq!(count("kept"), kept);
    assert_eq!(delta(dir.path(), &[], &["cold/dropped".into()])[0]["rows"], left as u64);
    assert_eq!(local_delta(dir.path(), "kept")["rows"], kept as u64);
    std::thread::sleep(Duration::from_millis(1100));
    tamis(dir.path(), "gc out --grace 0h").expect_code(0);
    for command in ["verify out", "inspect out"] {
        tamis(dir.path(), command).expect_code(0);
    }
    let back = tamis(dir.path(), "restore out -o back").expect_code(0);
    assert!(back.stderr.contains("past their retention"), "{}", back.stderr);
    assert_eq!(table(&dir.path().join("back"), "kept").1.num_rows(), kept + left);
    assert!(tamis(dir.path(), "compact out").expect_code(0).stdout.contains("it has a retention"));
}

#[test]
fn upkeep_needs_no_held_out_items() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("held.jsonl"), "{\"text\": \"what no licence says of a held-out item\"}\n").unwrap();
    runs(dir.path(), 2, "[decontaminate]\npaths = [\"held.jsonl\"]\n");
    std::fs::remove_file(dir.path().join("held.jsonl")).unwrap();
    let before = rows(dir.path(), "kept");
    tamis(dir.path(), "gc out --dry-run").expect_code(0);
    tamis(dir.path(), "compact out").expect_code(0);
    assert_eq!(rows(dir.path(), "kept"), before);
}
