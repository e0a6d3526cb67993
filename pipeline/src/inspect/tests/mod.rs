//! Runs written by hand, so that every rule has its evidence, and what inspection says of them.

mod found;
mod overview;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use parquet::arrow::ArrowWriter;
use serde_json::json;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{FileRecord, InputRecord, MANIFEST_VERSION, Manifest, TableRecord};
use tempfile::TempDir;

use super::Proof;
use crate::Result;
use crate::context::{Cancel, Context, Resources};
use crate::finished::FinishedRun;
use crate::progress::Progress;
use crate::store::Stores;

/// A row of `kept` or `dropped`: id, title, text, language.
type Row = (&'static str, &'static str, &'static str, Option<&'static str>);

/// A run on disk.
struct Written {
    dir: TempDir,
    manifest: Manifest,
}

impl Written {
    /// A run with an empty table of each kind but evidence.
    fn new(text: &str, inputs: &[(&str, u64)]) -> Self {
        let manifest = Manifest {
            manifest_version: MANIFEST_VERSION,
            tamis_version: "0".into(),
            config_sha256: String::new(),
            config: json!({"input": {"text": text}, "deduplicate": {"threshold": 0.8, "ngram": 5}}),
            inputs: inputs
                .iter()
                .map(|&(name, rows)| InputRecord {
                    name: name.into(),
                    format: "jsonl".into(),
                    size_bytes: 1,
                    version: None,
                    rows,
                })
                .collect(),
            ..Manifest::default()
        };
        let mut written = Self { dir: tempfile::tempdir().unwrap(), manifest };
        written.rows(Table::Kept, &[]);
        written.rows(Table::Dropped, &[]);
        written
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn rows(&mut self, table: Table, rows: &[Row]) {
        let text = |get: fn(&Row) -> Option<&str>| Arc::new(rows.iter().map(get).collect::<StringArray>()) as ArrayRef;
        self.table(
            table,
            &[
                ("tamis_id", text(|row| Some(row.0))),
                ("title", text(|row| Some(row.1))),
                ("text", text(|row| Some(row.2))),
                ("language", text(|row| row.3)),
            ],
        );
    }

    fn evidence(&mut self, proofs: &[Proof]) {
        let text =
            |get: fn(&Proof) -> Option<&str>| Arc::new(proofs.iter().map(get).collect::<StringArray>()) as ArrayRef;
        let number =
            |get: fn(&Proof) -> Option<u64>| Arc::new(proofs.iter().map(get).collect::<UInt64Array>()) as ArrayRef;
        let similarity = proofs.iter().map(|proof| proof.similarity).collect::<Float64Array>();
        self.table(
            Table::Evidence,
            &[
                ("dropped_id", text(|proof| Some(&proof.dropped_id))),
                ("kept_id", text(|proof| proof.kept_id.as_deref())),
                ("similarity", Arc::new(similarity)),
                ("method", text(|proof| proof.method.as_deref())),
                ("rule", text(|proof| proof.rule.as_deref())),
                ("shared_bands", number(|proof| proof.shared_bands)),
                ("cluster_id", text(|proof| proof.cluster_id.as_deref())),
                ("cluster_size", number(|proof| proof.cluster_size)),
                ("span_start", number(|proof| proof.span.as_ref().map(|span| span.start))),
                ("span_end", number(|proof| proof.span.as_ref().map(|span| span.end))),
            ],
        );
    }

    /// Writes a table into two files.
    fn table(&mut self, table: Table, columns: &[(&str, ArrayRef)]) {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true)))
                .unwrap();
        let folder = self.path().join(table.name());
        std::fs::create_dir_all(&folder).unwrap();
        let half = batch.num_rows() / 2;
        let files = [batch.slice(0, half), batch.slice(half, batch.num_rows() - half)];
        let files = files.iter().enumerate().map(|(index, part)| {
            let name = format!("part-{index:05}.parquet");
            let file = std::fs::File::create(folder.join(&name)).unwrap();
            let mut writer = ArrowWriter::try_new(file, part.schema(), None).unwrap();
            writer.write(part).unwrap();
            writer.close().unwrap();
            FileRecord {
                path: format!("{}/{name}", table.name()),
                rows: part.num_rows() as u64,
                bytes: std::fs::metadata(folder.join(&name)).unwrap().len(),
                ..FileRecord::default()
            }
        });
        let record = TableRecord {
            tier: "default".into(),
            storage_class: None,
            rows: batch.num_rows() as u64,
            files: files.collect(),
        };
        self.manifest.tables.insert(table, record);
    }

    /// Writes the manifest and opens the run.
    fn open<T>(&self, limit_bytes: usize, look: impl FnOnce(&FinishedRun<'_>) -> Result<T>) -> Result<T> {
        std::fs::write(self.path().join("manifest.json"), serde_json::to_vec(&self.manifest).unwrap()).unwrap();
        open(self.path().to_str().unwrap(), limit_bytes, look)
    }
}

fn open<T>(location: &str, limit_bytes: usize, look: impl FnOnce(&FinishedRun<'_>) -> Result<T>) -> Result<T> {
    let resources = Resources { memory_limit_bytes: limit_bytes, ..Resources::default() };
    let context = Context::new(&resources, Cancel::default()).unwrap();
    let (stores, progress) = (Stores::new::<&str, &str>([]), Progress::default());
    look(&FinishedRun::open(location, &stores, &context, &progress)?)
}

/// A near-duplicate.
fn proof(dropped: &str, kept: &str, similarity: f64, cluster_size: u64) -> Proof {
    let is_identical = (similarity - 1.0).abs() < f64::EPSILON;
    Proof {
        dropped_id: dropped.into(),
        kept_id: Some(kept.into()),
        similarity: Some(similarity),
        method: Some(if is_identical { "identical" } else { "exact" }.into()),
        rule: Some(if is_identical { "identical_text" } else { "near_duplicate" }.into()),
        shared_bands: Some(3),
        cluster_id: Some(kept.into()),
        cluster_size: Some(cluster_size),
        span: None,
    }
}
