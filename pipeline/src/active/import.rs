//! Answers come in: files of a label tool, each row to the round that handed it out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Int32Type};
use tamis_schemas::columns;
use tamis_schemas::tables::labels_schema;

use super::{Answers, Known, Ledger, Verdict};
use crate::context::Context;
use crate::label_tools::{self, ImportSettings};
use crate::place::Place;
use crate::score::append::required_column;
use crate::store::Stores;
use crate::{Error, Result};

/// What is imported.
#[derive(Debug, Clone)]
pub struct Import {
    /// Files or URLs.
    pub files: Vec<String>,
    /// How they are read.
    pub settings: ImportSettings,
    /// Whether labels of rows that no round handed out are taken in, too.
    pub outside: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportedFiles {
    /// Label rows that were read.
    pub rows: u64,
    /// Of these, rows of each round.
    pub by_round: BTreeMap<u32, u64>,
    /// Of these, rows of ids that no round handed out, and that were taken in.
    pub outside: u64,
    /// Of these, rows of ids that no round handed out, and that were left out.
    pub unknown: u64,
    /// The first of those ids.
    pub unknown_ids: Vec<String>,
    /// Rows that could not be read: file, ordinal and reason.
    pub rejected: Vec<(String, u64, String)>,
    /// Rows without an id.
    pub unmatched: u64,
    /// Labels that are not among the loop's classes.
    pub new_classes: Vec<String>,
    /// Whether anything was written: not if all of it is there already.
    pub is_new: bool,
}

/// Ids that are named in a message.
const NAMED_IDS: usize = 5;

/// Adds the answers in files to the ledger. The same files again add nothing.
///
/// # Errors
/// `Error::Unreadable` for a file that is not there, `Error::Corrupt` for one of another format; `Error::Config` if no row of it is of
/// this loop. Nothing is written then.
pub fn import(ledger: &Ledger, request: &Import, stores: &Stores, context: &Context) -> Result<ImportedFiles> {
    let mut imported = ImportedFiles::default();
    let mut batches = Vec::new();
    for location in &request.files {
        let bytes = read(location, stores, context)?;
        let found = label_tools::import(location, &bytes, &request.settings)?;
        imported.rejected.extend(found.rejected.into_iter().map(|(row, why)| (location.clone(), row, why)));
        imported.unmatched += found.unmatched;
        batches.push(found.labels);
    }
    let rows = concat_batches(&labels_schema(), &batches)?;
    imported.rows = rows.num_rows() as u64;
    let known = Known::of(ledger)?;
    let parts = by_round(&rows, &rounds_by_id(&known)?)?;
    let n_known: usize = parts.iter().filter(|(round, _)| round.is_some()).map(|(_, rows)| rows.len()).sum();
    if n_known == 0 && !request.outside && 0 < imported.rows + imported.unmatched {
        return Err(Error::Config {
            message: format!(
                "none of the {} label rows is of a row that `{}` handed out",
                imported.rows + imported.unmatched,
                ledger.location()
            ),
            hint: Some(
                "rows are known by `tamis_id`, or the column that --id-column names; labels from before the loop are taken in \
                 with --outside"
                    .into(),
            ),
        });
    }
    for (round, indices) in parts {
        let n_rows = indices.len() as u64;
        let part = take_record_batch(&rows, &UInt32Array::from(indices))?;
        match round {
            Some(round) => drop(imported.by_round.insert(round, n_rows)),
            None if request.outside => imported.outside = n_rows,
            None => {
                imported.unknown = n_rows;
                let ids: BTreeSet<&str> = ids(&part)?.collect();
                imported.unknown_ids = ids.into_iter().take(NAMED_IDS).map(str::to_owned).collect();
                continue;
            }
        }
        let part = canonical(&part, round)?;
        imported.new_classes.extend(unexpected(&part, &ledger.settings().classes)?);
        imported.is_new |= ledger.add_labels(round, &part)?;
    }
    imported.new_classes.sort_unstable();
    imported.new_classes.dedup();
    Ok(imported)
}

fn read(location: &str, stores: &Stores, context: &Context) -> Result<bytes::Bytes> {
    let (folder, name) = location.rsplit_once('/').unwrap_or((".", location));
    let folder = if folder.is_empty() { "/" } else { folder };
    let place = Place::new(folder, stores, context.runtime.handle())?;
    let found = place.read_if_there(name, &context.cancel)?;
    found.ok_or_else(|| Error::Unreadable { location: location.to_owned(), source: "there is no such file".into() })
}

/// The rounds that handed a row out, by its id.
fn rounds_by_id(known: &Known) -> Result<HashMap<&str, Vec<u32>>> {
    let mut by_id: HashMap<&str, Vec<u32>> = HashMap::new();
    for (number, round) in (1..).zip(&known.rounds) {
        round.ids()?.for_each(|id| by_id.entry(id).or_default().push(number));
    }
    Ok(by_id)
}

fn ids(rows: &RecordBatch) -> Result<impl Iterator<Item = &str>> {
    Ok(required_column(rows, columns::ID, &DataType::Utf8)?.as_string::<i32>().iter().map(Option::unwrap_or_default))
}

/// Rows of each round, in their order. A row that was handed out more than once is of the round that its tool names, or else of the last.
fn by_round(rows: &RecordBatch, rounds: &HashMap<&str, Vec<u32>>) -> Result<BTreeMap<Option<u32>, Vec<u32>>> {
    let named = required_column(rows, "round", &DataType::Int32)?.as_primitive::<Int32Type>();
    let mut parts: BTreeMap<Option<u32>, Vec<u32>> = BTreeMap::new();
    for (row, id) in ids(rows)?.enumerate() {
        let of_id = rounds.get(id).map_or(&[][..], Vec::as_slice);
        let named = named.is_valid(row).then(|| named.value(row).cast_unsigned()).filter(|round| of_id.contains(round));
        parts.entry(named.or_else(|| of_id.last().copied())).or_default().push(row as u32);
    }
    Ok(parts)
}

/// The same rows in an order that the tool's own does not change, with their round: equal answers are equal bytes.
fn canonical(rows: &RecordBatch, round: Option<u32>) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    let index = rows.schema_ref().index_of("round")?;
    let numbers: Int32Array = vec![round.map(u32::cast_signed); rows.num_rows()].into();
    columns[index] = Arc::new(numbers);
    let rows = RecordBatch::try_new(labels_schema(), columns)?;
    let names = [columns::ID, "tool", "tool_task_id", "tool_annotation_id", "annotator", "created_at", "status"];
    let place: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32));
    let keys = names.map(|name| rows.column_by_name(name).cloned()).into_iter().flatten().chain([place]);
    let keys: Vec<_> = keys.map(|values| SortColumn { values, options: None }).collect();
    let order = lexsort_to_indices(&keys, None)?;
    Ok(take_record_batch(&rows, &order)?)
}

/// Labels that are not among `classes`; none if every label is welcome.
fn unexpected(rows: &RecordBatch, classes: &[String]) -> Result<BTreeSet<String>> {
    if classes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut answers = Answers::default();
    answers.add(rows)?;
    let given = answers.verdicts(true).into_values().filter_map(|verdict| match verdict {
        Verdict::Labelled(labels) => Some(labels),
        Verdict::Disagreeing | Verdict::Skipped => None,
    });
    Ok(given.flatten().filter(|label| !classes.contains(label)).collect())
}
