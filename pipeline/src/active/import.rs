//! Answers come in: files of a label tool, each row to the round that handed it out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Int32Type};
use tamis_schemas::columns;
use tamis_schemas::tables::labels_schema;

use super::{Answers, Known, Ledger, Verdict};
use crate::context::Context;
use crate::label_tools::{self, ImportSettings, Imported, LabelTool};
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
    /// Files without an answer: name, rows, and whose file it looks like.
    pub unanswered: Vec<(String, u64, Option<LabelTool>)>,
    /// Labels that are not among the loop's classes.
    pub new_classes: Vec<String>,
    /// Whether anything was written: not if all of it is there already.
    pub is_new: bool,
}

/// Ids that are named in a message.
const NAMED_IDS: usize = 5;

/// Adds the answers in files to the ledger, one file after the other. What changes nothing is not written: neither are the same files again.
///
/// # Errors
/// `Error::Unreadable` for a file that is not there, `Error::Corrupt` for one of another format; `Error::Config` if no row is of this
/// loop, or a file has no answer and does not look like one of the tool that was named. Nothing is written then.
pub fn import(ledger: &Ledger, request: &Import, stores: &Stores, context: &Context) -> Result<ImportedFiles> {
    let mut imported = ImportedFiles::default();
    let mut files = Vec::new();
    for location in &request.files {
        let bytes = read(location, stores, context)?;
        let found = label_tools::import(location, &bytes, &request.settings)?;
        let n_rows = found.labels.num_rows() as u64;
        imported.rows += n_rows;
        imported.unmatched += found.unmatched;
        if n_rows + found.unmatched == 0 && found.rejected.is_empty() {
            refuse_other_tool(location, &found, request.settings.tool)?;
            imported.unanswered.push((location.clone(), found.rows, found.looks_like));
        }
        imported.rejected.extend(found.rejected.into_iter().map(|(row, why)| (location.clone(), row, why)));
        files.push(found.labels);
    }
    let known = Known::of(ledger)?;
    let rounds = rounds_by_id(&known)?;
    let mut parts: BTreeMap<Option<u32>, Vec<RecordBatch>> = BTreeMap::new();
    for rows in &files {
        for (round, indices) in by_round(rows, &rounds, &known)? {
            parts.entry(round).or_default().push(take_record_batch(rows, &UInt32Array::from(indices))?);
        }
    }
    let n_read = imported.rows + imported.unmatched;
    if parts.keys().all(Option::is_none) && !request.outside && 0 < n_read {
        return Err(Error::Config {
            message: format!("none of the {n_read} label rows is of a row that `{}` handed out", ledger.location()),
            hint: Some(
                "rows are known by `tamis_id`, or the column that --id-column names; labels from before the loop are taken in \
                 with --outside"
                    .into(),
            ),
        });
    }
    for (round, parts) in parts {
        let n_rows = parts.iter().map(|part| part.num_rows() as u64).sum();
        match round {
            Some(round) => drop(imported.by_round.insert(round, n_rows)),
            None if request.outside => imported.outside = n_rows,
            None => {
                imported.unknown = n_rows;
                let mut unknown = BTreeSet::new();
                for part in &parts {
                    unknown.extend(ids(part)?.map(str::to_owned));
                }
                imported.unknown_ids = unknown.into_iter().take(NAMED_IDS).collect();
                continue;
            }
        }
        let parts = parts.iter().map(|part| canonical(part, round)).collect::<Result<Vec<_>>>()?;
        for part in &parts {
            imported.new_classes.extend(unexpected(part, &ledger.settings().classes)?);
        }
        for part in changing(known.answers(round), parts)? {
            ledger.add_labels(round, &part)?;
            imported.is_new = true;
        }
    }
    imported.new_classes.sort_unstable();
    imported.new_classes.dedup();
    Ok(imported)
}

/// Refuses a file that has no answer because it is read as what it is not.
fn refuse_other_tool(location: &str, found: &Imported, named: Option<LabelTool>) -> Result<()> {
    match (named, found.looks_like) {
        (Some(named), Some(seen)) if named != seen => Err(Error::Config {
            message: format!(
                "`{location}` has no answer as {} writes them: it looks like {}",
                named.name(),
                seen.name()
            ),
            hint: Some(format!("leave --tool out, or use --tool {}", seen.name())),
        }),
        _ => Ok(()),
    }
}

/// Those of `parts` that change `answers`, one after the other; none if all together change nothing.
fn changing(answers: &Answers, parts: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let mut after = answers.clone();
    let mut changing = Vec::new();
    for part in parts {
        let before = after.clone();
        after.add(&part)?;
        if after != before {
            changing.push(part);
        }
    }
    Ok(if after == *answers { Vec::new() } else { changing })
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

/// Rows of each round, in their order. A row that was handed out more than once is of the round that its tool names. If none is named, it is of the last
/// one, unless all of the file is known: the same file again changes nothing.
fn by_round(
    rows: &RecordBatch,
    rounds: &HashMap<&str, Vec<u32>>,
    known: &Known,
) -> Result<BTreeMap<Option<u32>, Vec<u32>>> {
    let named = required_column(rows, "round", &DataType::Int32)?.as_primitive::<Int32Type>();
    let mut parts: BTreeMap<Option<u32>, Vec<u32>> = BTreeMap::new();
    let mut all = Answers::default();
    all.add(rows)?;
    let of_rounds: Vec<&Answers> = known.rounds.iter().map(|round| &round.answers).collect();
    let is_known = all.are_known(&of_rounds, |id| rounds.contains_key(id));
    for (row, id) in ids(rows)?.enumerate() {
        let of_id = rounds.get(id).map_or(&[][..], Vec::as_slice);
        let named = named.is_valid(row).then(|| named.value(row).cast_unsigned()).filter(|round| of_id.contains(round));
        let round = match (named, of_id) {
            (Some(named), _) => Some(named),
            (None, [] | [_]) => of_id.first().copied(),
            (None, [.., last]) => {
                let mut answer = Answers::default();
                answer.add(&rows.slice(row, 1))?;
                let has = |round: &&u32| known.answers(Some(**round)).has_all_of(&answer);
                of_id.iter().find(|round| is_known && has(round)).or(Some(last)).copied()
            }
        };
        parts.entry(round).or_default().push(row as u32);
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

#[cfg(test)]
mod tests {
    use super::super::tests::answers::label_rows;
    use super::*;

    #[test]
    fn what_changes_nothing_is_not_written_and_a_correction_taken_back_is() {
        let rows = |label: &'static [&'static str]| label_rows(&[("1", "x", Some(label), "submitted", None, 0)]);
        let of = |labels: &[&'static [&'static str]]| {
            let mut answers = Answers::default();
            for label in labels {
                answers.add(&rows(label)).unwrap();
            }
            answers
        };
        let n_written = |before: &[&'static [&'static str]], parts: &[&'static [&'static str]]| {
            changing(&of(before), parts.iter().map(|label| rows(label)).collect()).unwrap().len()
        };
        assert_eq!(n_written(&[], &[&["a"]]), 1);
        assert_eq!(n_written(&[&["a"]], &[&["a"]]), 0);
        assert_eq!(n_written(&[&["a"], &["b"]], &[&["a"]]), 1, "the correction is taken back");
        assert_eq!(n_written(&[&["a"], &["b"]], &[&["a"], &["b"]]), 0, "both files again");
        assert_eq!(n_written(&[&["b"], &["a"]], &[&["a"], &["b"]]), 1);
    }
}
