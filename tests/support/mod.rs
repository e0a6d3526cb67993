//! What the tests share: running the binary, reading what it wrote, an independent Jaccard.

pub mod azurite;
pub mod moto;
pub mod objects;
pub mod proxy;
pub mod python;
pub mod s3;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// What a finished command left.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The same, if it said this on stderr.
    #[track_caller]
    pub fn expect_stderr(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        self
    }

    /// Fails unless the command ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// The summary of `--format json`.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("stdout is JSON")
    }
}

/// The `tamis` binary, in `dir`.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tamis"));
    command.current_dir(dir).stdin(Stdio::null()).env_remove("TAMIS_LOG");
    command
}

/// Runs `tamis` with arguments split at spaces.
pub fn tamis(dir: &Path, args: &str) -> Ended {
    finish(command(dir).args(args.split_whitespace()))
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Ended {
    let output = command.output().expect("the command starts");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// A file of the sample data.
pub fn sample(name: &str) -> String {
    root().join("sample-data").join(name).display().to_string()
}

/// All rows of a table, and its schema.
pub fn table(out: &Path, name: &str) -> (SchemaRef, RecordBatch) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(out.join(name))
        .unwrap_or_else(|error| panic!("no table {name} in {}: {error}", out.display()))
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "table {name} has no file");
    let mut batches = Vec::new();
    let mut schema = None;
    for file in files {
        let file = std::fs::File::open(file).expect("the file opens");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet").build().expect("it reads");
        schema = Some(arrow::array::RecordBatchReader::schema(&reader));
        batches.extend(reader.map(|batch| batch.expect("it reads")));
    }
    let schema = schema.expect("there is a file");
    let batch = concat_batches(&schema, &batches).expect("one schema");
    (schema, batch)
}

/// A text column as strings; nulls as empty strings.
pub fn strings(batch: &RecordBatch, column: &str) -> Vec<String> {
    let array = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column} in {:?}", batch.schema()));
    let array = arrow::compute::cast(array, &arrow::datatypes::DataType::Utf8).expect("the column casts to text");
    array.as_string::<i32>().iter().map(|value| value.unwrap_or_default().to_owned()).collect()
}

/// A float column.
pub fn floats(batch: &RecordBatch, column: &str) -> Vec<f64> {
    let numbers = cast(batch.column_by_name(column).expect("the column is there"), &DataType::Float64).unwrap();
    numbers.as_primitive::<Float64Type>().values().to_vec()
}

/// Every file under a folder with its bytes.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("the folder can be listed") {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("it lies inside").display().to_string();
                found.insert(name, std::fs::read(&path).expect("the file reads"));
            }
        }
    }
    found
}

/// The rows of a JSON Lines file.
pub fn json_lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the file reads");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Shingle sets as the notes define them, written once more: lower-case, runs of `\w`, sets of 5 consecutive tokens.
pub fn shingles(text: &str, ngram: usize) -> BTreeSet<Vec<String>> {
    let lower = text.to_lowercase();
    let tokens: Vec<String> = lower
        .split(|char: char| !(char.is_alphanumeric() || char == '_'))
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect();
    if tokens.is_empty() {
        return BTreeSet::new();
    }
    tokens.windows(ngram.min(tokens.len())).map(<[String]>::to_vec).collect()
}

/// Exact Jaccard similarity.
pub fn jaccard<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> f64 {
    let common = a.intersection(b).count();
    common as f64 / (a.len() + b.len() - common) as f64
}

/// Exact containment of the smaller set in the larger one.
pub fn containment<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> f64 {
    a.intersection(b).count() as f64 / a.len().min(b.len()).max(1) as f64
}

/// What a run of `tamis dedup` says of its input, checked against exact similarities of `texts` by id.
#[derive(Debug, PartialEq)]
pub struct Verdicts {
    /// Dropped rows whose named kept row is less similar than the threshold.
    pub false_drops: Vec<(String, String, f64)>,
    /// Pairs of kept rows at or above the threshold.
    pub missed_pairs: usize,
    /// Pairs of rows at or above the threshold.
    pub true_pairs: usize,
}

/// A set of shingles.
pub type Shingles = BTreeSet<Vec<String>>;

/// Compares every dropped row and every pair of kept rows with brute force, by Jaccard similarity.
pub fn judge(out: &Path, texts: &HashMap<String, String>, threshold: f64) -> Verdicts {
    judge_by(out, texts, threshold, |a, b| {
        let (small, large) = (a.len().min(b.len()), a.len().max(b.len()));
        if (small as f64) < threshold * large as f64 { 0.0 } else { jaccard(a, b) }
    })
}

/// Compares every dropped row and every pair of kept rows with brute force, by any similarity.
pub fn judge_by(
    out: &Path,
    texts: &HashMap<String, String>,
    threshold: f64,
    similarity: impl Fn(&Shingles, &Shingles) -> f64,
) -> Verdicts {
    let sets: HashMap<&str, Shingles> = texts.iter().map(|(id, text)| (id.as_str(), shingles(text, 5))).collect();
    let (_, evidence) = table(out, "evidence");
    let dropped = strings(&evidence, "dropped_id");
    let kept = strings(&evidence, "kept_id");
    let similarities = floats(&evidence, "similarity");
    let methods = strings(&evidence, "method");
    let mut false_drops = Vec::new();
    for row in 0..dropped.len() {
        let exact = similarity(&sets[dropped[row].as_str()], &sets[kept[row].as_str()]);
        let is_said_exactly = methods[row] == "estimated" || (exact - similarities[row]).abs() < 1e-9;
        if exact < threshold || !is_said_exactly {
            false_drops.push((dropped[row].clone(), kept[row].clone(), exact));
        }
    }
    let is_dropped: BTreeSet<&str> = dropped.iter().map(String::as_str).collect();
    let mut ids: Vec<&str> = texts.keys().map(String::as_str).collect();
    ids.sort_unstable();
    let (mut missed_pairs, mut true_pairs) = (0, 0);
    for (at, a) in ids.iter().enumerate() {
        for b in &ids[at + 1..] {
            if similarity(&sets[a], &sets[b]) < threshold {
                continue;
            }
            true_pairs += 1;
            missed_pairs += usize::from(!is_dropped.contains(a) && !is_dropped.contains(b));
        }
    }
    Verdicts { false_drops, missed_pairs, true_pairs }
}
