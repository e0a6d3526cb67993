//! Tests of the whole search, through a small driver that plays the executor.

mod containment;
mod definition;
mod edits;
mod invariance;
mod oracle;
mod scopes;
mod statistics;
mod texts;
mod what_if;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use tamis_schemas::columns::{FILE, REASON, ROW, TEXT};

use super::columns::column;
use super::*;
use crate::RowSet;
use crate::context::{Cancel, Context, Resources};
use crate::stage::{BarrierStage, MapStage, Next};

/// A document of a test.
#[derive(Debug, Clone, PartialEq)]
struct Document {
    id: String,
    text: String,
    score: Option<i64>,
    file: u64,
    group: Option<&'static str>,
}

impl Document {
    fn new(id: String, text: String) -> Self {
        Self { id, text, score: None, file: 0, group: None }
    }
}

fn documents<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Document> {
    texts.into_iter().enumerate().map(|(row, text)| Document::new(format!("doc-{row}"), text.to_owned())).collect()
}

/// Documents of a file of `sample-data`.
fn sample(name: &str) -> Vec<Document> {
    read_documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample-data").join(name))
}

fn read_documents(path: &Path) -> Vec<Document> {
    let lines = std::fs::read_to_string(path).unwrap();
    lines
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| value[name].as_str().unwrap().to_owned();
            Document::new(field("id"), field("text"))
        })
        .collect()
}

/// A row of the evidence table.
#[derive(Debug, Clone, PartialEq)]
struct EvidenceRow {
    dropped_id: String,
    kept_id: String,
    similarity: f64,
    method: String,
    rule: String,
    shared_bands: u32,
    cluster_id: String,
    cluster_size: u64,
}

/// What a run of the driver gives.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    /// Reason of each document, `None` if it stays.
    reasons: Vec<Option<String>>,
    evidence: Vec<EvidenceRow>,
    report: NearDuplicateReport,
}

impl Outcome {
    fn kept<'a>(&self, documents: &'a [Document]) -> Vec<&'a Document> {
        documents
            .iter()
            .zip(&self.reasons)
            .filter(|(_, reason)| reason.is_none())
            .map(|(document, _)| document)
            .collect()
    }

    /// The dropped documents, by index.
    fn dropped(&self) -> Vec<usize> {
        (0..self.reasons.len()).filter(|&row| self.reasons[row].is_some()).collect()
    }

    fn n_dropped(&self) -> usize {
        self.reasons.iter().flatten().count()
    }
}

fn resources(n_threads: usize, memory_limit_bytes: usize, batch_rows: usize) -> Resources {
    Resources { n_threads, memory_limit_bytes, batch_rows, ..Resources::default() }
}

fn run(documents: &[Document], settings: &Settings) -> Outcome {
    run_with(documents, settings, &Resources::default())
}

fn run_with(documents: &[Document], settings: &Settings, resources: &Resources) -> Outcome {
    run_passes(documents, settings, resources).0
}

/// Runs all passes over `documents`, and counts them. Row positions have gaps, as rejected rows leave them.
fn run_passes(documents: &[Document], settings: &Settings, resources: &Resources) -> (Outcome, usize) {
    let context = Context::new(resources, Cancel::default()).unwrap();
    let rows: Vec<u64> = (0..documents.len() as u64).map(|index| index + index / 10).collect();
    let batches: Vec<RecordBatch> = rows
        .chunks(resources.batch_rows)
        .zip(documents.chunks(resources.batch_rows))
        .map(|(rows, documents)| batch(rows, documents))
        .collect();

    let (barrier, handle) = NearDuplicates::new(settings, &context).unwrap();
    let mut map: Box<dyn MapStage> = Box::new(Fingerprint::new(settings).unwrap().before(&barrier));
    let mut barrier: Box<dyn BarrierStage> = Box::new(barrier);
    let mut wanted: Option<RowSet> = None;
    let mut n_passes = 0;
    let answer = loop {
        n_passes += 1;
        for batch in &batches {
            let batch = match &wanted {
                Some(wanted) => only(batch, wanted),
                None => batch.clone(),
            };
            let schema = map.output_schema(batch.schema_ref()).unwrap();
            let mapped = map.apply(batch).unwrap();
            assert_eq!(mapped.schema().fields()[..schema.fields().len()], schema.fields()[..]);
            barrier.observe(&mapped, &context).unwrap();
        }
        match barrier.end_of_pass(&context).unwrap() {
            Next::Again { rows, map: next_map, barrier: next_barrier } => {
                assert!(!rows.is_empty());
                (wanted, map, barrier) = (Some(rows), next_map, next_barrier);
            }
            Next::Done(answer) => break answer,
        }
    };

    let NearDuplicateResult { verdict, mut evidence, duplicates, report, .. } = handle.take().unwrap();
    let mut reasons = Vec::new();
    for batch in &batches {
        let marked = answer.apply(batch.clone()).unwrap();
        assert_eq!(marked.schema(), answer.output_schema(batch.schema_ref()).unwrap());
        let column_of_reasons: &StringArray = column(&marked, REASON).unwrap();
        reasons.extend(column_of_reasons.iter().map(|reason| reason.map(str::to_owned)));
        evidence.observe_ids(column(batch, ROW).unwrap(), column(batch, "id").unwrap(), &context).unwrap();
    }
    for (&row, reason) in rows.iter().zip(&reasons) {
        assert_eq!(verdict.keeps(row), reason.is_none());
    }
    let evidence = evidence.finish(&context).unwrap().flat_map(|batch| evidence_rows(&batch.unwrap())).collect();
    let outcome = Outcome { reasons, evidence, report };
    check_consistency(documents, &outcome, settings.cap_cluster);
    let counts = duplicates.unwrap().count();
    let mut n_dropped: HashMap<&str, u64> = HashMap::new();
    outcome.evidence.iter().for_each(|row| *n_dropped.entry(&row.kept_id).or_default() += 1);
    for (&row, document) in rows.iter().zip(documents) {
        assert_eq!(counts.dropped_for(row).unwrap(), n_dropped.get(document.id.as_str()).copied().unwrap_or(0));
    }
    (outcome, n_passes)
}

fn batch(rows: &[u64], documents: &[Document]) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("id", Arc::new(StringArray::from_iter_values(documents.iter().map(|document| &document.id))) as ArrayRef),
        ("score", Arc::new(documents.iter().map(|document| document.score).collect::<Int64Array>())),
        (FILE, Arc::new(UInt64Array::from_iter_values(documents.iter().map(|document| document.file)))),
        ("group", Arc::new(documents.iter().map(|document| document.group).collect::<StringArray>())),
        (ROW, Arc::new(UInt64Array::from(rows.to_vec()))),
        (TEXT, Arc::new(StringArray::from_iter_values(documents.iter().map(|document| &document.text)))),
    ])
    .unwrap()
}

fn only(batch: &RecordBatch, wanted: &RowSet) -> RecordBatch {
    let rows: &UInt64Array = column(batch, ROW).unwrap();
    let mask = rows.values().iter().map(|&row| Some(wanted.contains(row))).collect();
    arrow::compute::filter_record_batch(batch, &mask).unwrap()
}

fn evidence_rows(batch: &RecordBatch) -> Vec<EvidenceRow> {
    assert_eq!(batch.schema(), Evidence::schema());
    let text = |name: &str, index: usize| column::<StringArray>(batch, name).unwrap().value(index).to_owned();
    (0..batch.num_rows())
        .map(|index| EvidenceRow {
            dropped_id: text("dropped_id", index),
            kept_id: text("kept_id", index),
            similarity: column::<Float64Array>(batch, "similarity").unwrap().value(index),
            method: text("method", index),
            rule: text("rule", index),
            shared_bands: column::<Int32Array>(batch, "shared_bands").unwrap().value(index).cast_unsigned(),
            cluster_id: text("cluster_id", index),
            cluster_size: column::<Int64Array>(batch, "cluster_size").unwrap().value(index).cast_unsigned(),
        })
        .collect()
}

/// What must hold of every outcome: reasons, evidence and report say the same.
fn check_consistency(documents: &[Document], outcome: &Outcome, cap_cluster: u64) {
    let kept: HashSet<&str> = outcome.kept(documents).iter().map(|document| document.id.as_str()).collect();
    let dropped: Vec<(&str, &str)> = documents
        .iter()
        .zip(&outcome.reasons)
        .filter_map(|(document, reason)| Some((document.id.as_str(), reason.as_deref()?)))
        .collect();
    let evidence = &outcome.evidence;
    assert_eq!(outcome.reasons.len(), documents.len());
    assert_eq!(evidence.len(), dropped.len(), "one row of evidence for each dropped row");
    let mut clusters: HashMap<&str, u64> = HashMap::new();
    for row in evidence {
        *clusters.entry(&row.kept_id).or_default() += 1;
    }
    for (row, (id, reason)) in evidence.iter().zip(dropped) {
        assert_eq!(row.dropped_id, id, "in order of the dropped row");
        assert!(kept.contains(row.kept_id.as_str()), "{row:?}");
        assert_eq!(row.cluster_id, row.kept_id);
        assert_eq!(row.cluster_size, cap_cluster + clusters[row.kept_id.as_str()]);
        assert_eq!(reason == "identical", row.rule == "identical_text");
        let has_same_text = row.rule == "identical_text" || (row.rule == "connected" && row.method == "identical");
        assert_eq!(row.method == "identical", has_same_text);
        assert!(row.method != "identical" || (row.similarity - 1.0).abs() < f64::EPSILON);
    }
    let report = &outcome.report;
    let count = |method: &str| evidence.iter().filter(|row| row.method == method).count() as u64;
    assert_eq!(report.n_rows, documents.len() as u64);
    assert_eq!(
        (report.n_identical, report.n_near_exact, report.n_near_estimated),
        (count("identical"), count("exact"), count("estimated"))
    );
    assert_eq!(report.n_connected, evidence.iter().filter(|row| row.rule == "connected").count() as u64);
    assert_eq!(report.n_clusters, clusters.len() as u64);
    assert_eq!(report.largest_cluster_rows, evidence.iter().map(|row| row.cluster_size).max().unwrap_or(0));
}
