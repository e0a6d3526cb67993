//! The rows of the table `evidence`.

use std::ops::{ControlFlow, Range};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, UInt64Type};
use tamis_schemas::config::Table;

use crate::dedup::DropReason;
use crate::finished::{FinishedRun, TableReader, request};
use crate::{Error, Result};

/// Columns that are looked at; rules have some of them only.
const COLUMNS: [&str; 10] = [
    "dropped_id",
    "kept_id",
    "similarity",
    "method",
    "rule",
    "shared_bands",
    "cluster_id",
    "cluster_size",
    "span_start",
    "span_end",
];

/// Why a row was dropped: a row of `evidence`. What a rule does not give is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Id of the dropped row.
    pub dropped_id: String,
    /// Id of the row, or of the held-out item, that stands for it.
    pub kept_id: Option<String>,
    /// Similarity of the two, 0 to 1.
    pub similarity: Option<f64>,
    /// How the similarity is known: `identical`, `exact`, `estimated`.
    pub method: Option<String>,
    /// The rule that dropped it.
    pub rule: Option<String>,
    /// Bands in which the two met.
    pub shared_bands: Option<u64>,
    /// Id of the cluster.
    pub cluster_id: Option<String>,
    /// The kept row of the cluster and all that were dropped for it.
    pub cluster_size: Option<u64>,
    /// Bytes of the dropped text that the rule is about.
    pub span: Option<Range<u64>>,
}

/// A row of `evidence` where it lies.
#[derive(Debug, Clone)]
pub(crate) struct ProofRef<'a> {
    /// Ordinal in the table.
    pub(super) position: u64,
    pub(crate) dropped_id: &'a str,
    pub(super) kept_id: Option<&'a str>,
    pub(super) similarity: Option<f64>,
    pub(super) method: Option<&'a str>,
    pub(super) rule: Option<&'a str>,
    pub(super) shared_bands: Option<u64>,
    pub(crate) cluster_id: Option<&'a str>,
    pub(super) cluster_size: Option<u64>,
    pub(super) span: Option<Range<u64>>,
}

impl ProofRef<'_> {
    pub(super) fn to_owned(&self) -> Proof {
        let text = |value: Option<&str>| value.map(str::to_owned);
        Proof {
            dropped_id: self.dropped_id.to_owned(),
            kept_id: text(self.kept_id),
            similarity: self.similarity,
            method: text(self.method),
            rule: text(self.rule),
            shared_bands: self.shared_bands,
            cluster_id: text(self.cluster_id),
            cluster_size: self.cluster_size,
            span: self.span.clone(),
        }
    }
}

/// The evidence of a run; `None` if its runs, which were added one by one, dropped no row for another so far.
///
/// # Errors
/// `Error::Config` if the run has none.
pub(super) fn find<'a>(run: &'a FinishedRun<'_>) -> Result<Option<TableReader<'a>>> {
    if let Some(table) = run.table(Table::Evidence)? {
        return Ok(Some(table));
    }
    if run.manifest().tables.contains_key(&Table::Evidence) {
        return Ok(None);
    }
    let has_dedup = !run.manifest().config["deduplicate"].is_null();
    let (why, hint) = if has_dedup {
        ("its evidence was not written", "add `evidence` to output.tables, or use tamis dedup")
    } else {
        ("it did not remove near-duplicates", "look at a run of tamis dedup, or of a config with [deduplicate]")
    };
    Err(nothing(run, why, hint))
}

/// The evidence of a run, of which rows are asked for.
///
/// # Errors
/// `Error::Config` if the run has none, or no row of it.
pub(super) fn open<'a>(run: &'a FinishedRun<'_>) -> Result<TableReader<'a>> {
    let (why, hint) = ("no row was dropped for another so far", "`tamis runs` says what its runs read and kept");
    find(run)?.ok_or_else(|| nothing(run, why, hint))
}

fn nothing(run: &FinishedRun<'_>, why: &str, hint: &str) -> Error {
    Error::Config { message: format!("`{}` has nothing to inspect: {why}", run.location()), hint: Some(hint.into()) }
}

/// Calls `visit` on every row in order, until it breaks.
pub(crate) fn for_each(
    evidence: &TableReader<'_>,
    mut visit: impl FnMut(&ProofRef<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let present: Vec<&str> =
        COLUMNS.into_iter().filter(|name| evidence.schema().field_with_name(name).is_ok()).collect();
    let mut position = 0;
    evidence.scan("reading evidence", &request(&present), |batch| {
        let rows = Rows::of(batch)?;
        for index in 0..batch.num_rows() {
            if visit(&rows.row(index, position))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            position += 1;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// A batch, its columns in the types that are worked with.
struct Rows {
    dropped_id: StringArray,
    kept_id: Option<StringArray>,
    similarity: Option<Float64Array>,
    method: Option<StringArray>,
    rule: Option<StringArray>,
    shared_bands: Option<UInt64Array>,
    cluster_id: Option<StringArray>,
    cluster_size: Option<UInt64Array>,
    span_start: Option<UInt64Array>,
    span_end: Option<UInt64Array>,
}

impl Rows {
    fn of(batch: &RecordBatch) -> Result<Self> {
        let column = |name: &str, data_type: &DataType| -> Result<Option<ArrayRef>> {
            Ok(batch.column_by_name(name).map(|column| cast(column, data_type)).transpose()?)
        };
        let text = |name: &str| -> Result<_> {
            Ok(column(name, &DataType::Utf8)?.map(|array| array.as_string::<i32>().clone()))
        };
        let number = |name: &str| -> Result<_> {
            Ok(column(name, &DataType::UInt64)?.map(|array| array.as_primitive::<UInt64Type>().clone()))
        };
        Ok(Self {
            dropped_id: text("dropped_id")?
                .ok_or_else(|| Error::Column { message: "evidence has no column `dropped_id`".into(), hint: None })?,
            kept_id: text("kept_id")?,
            similarity: column("similarity", &DataType::Float64)?
                .map(|array| array.as_primitive::<Float64Type>().clone()),
            method: text("method")?,
            rule: text("rule")?,
            shared_bands: number("shared_bands")?,
            cluster_id: text("cluster_id")?,
            cluster_size: number("cluster_size")?,
            span_start: number("span_start")?,
            span_end: number("span_end")?,
        })
    }

    fn row(&self, index: usize, position: u64) -> ProofRef<'_> {
        let similarity = self.similarity.as_ref().filter(|array| array.is_valid(index));
        let span = number(self.span_start.as_ref(), index).zip(number(self.span_end.as_ref(), index));
        let dropped_id = text(Some(&self.dropped_id), index).unwrap_or_default();
        let rule = text(self.rule.as_ref(), index);
        // A rule that looks at a row alone names the row itself: no other stands for it. Under other rules a row of an
        // earlier run or a held-out item may have the same id.
        let is_other = |id: &&str| rule != Some(DropReason::Repetition.name()) || *id != dropped_id;
        ProofRef {
            position,
            dropped_id,
            kept_id: text(self.kept_id.as_ref(), index).filter(is_other),
            similarity: similarity.map(|array| array.value(index)).filter(|value| value.is_finite()),
            method: text(self.method.as_ref(), index),
            rule,
            shared_bands: number(self.shared_bands.as_ref(), index),
            cluster_id: text(self.cluster_id.as_ref(), index).filter(is_other),
            cluster_size: number(self.cluster_size.as_ref(), index),
            span: span.map(|(start, end)| start..end),
        }
    }
}

/// A value that is neither null nor empty.
fn text(array: Option<&StringArray>, index: usize) -> Option<&str> {
    array.filter(|array| array.is_valid(index)).map(|array| array.value(index)).filter(|text| !text.is_empty())
}

fn number(array: Option<&UInt64Array>, index: usize) -> Option<u64> {
    array.filter(|array| array.is_valid(index)).map(|array| array.value(index))
}
