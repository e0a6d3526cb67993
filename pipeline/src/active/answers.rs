//! What annotators said, summed up: one verdict for each row.
//!
//! ```text
//! label files in their order -> the newest state of each annotation -> votes of each row -> majority
//! ```

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use tamis_schemas::columns;

use super::ledger::Ledger;
use crate::Result;
use crate::score::append::required_column;

/// What an annotator did with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Submitted,
    Draft,
    /// Discarded or skipped.
    Declined,
}

/// One annotation, in its newest state.
#[derive(Debug, Clone, PartialEq)]
struct Annotation {
    id: String,
    annotator: Option<String>,
    labels: Option<Vec<String>>,
    status: Status,
    created_at: Option<i64>,
    lead_time_s: Option<f64>,
}

impl Annotation {
    /// Tool, annotator and row; `None` if nobody knows who it was.
    fn author<'a>(&'a self, key: &'a Key) -> Option<(&'a str, &'a str, &'a str)> {
        Some((key.tool(), self.annotator.as_deref()?, &self.id))
    }
}

/// What an annotation is known by from one import to the next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Tool, row, and task and annotation by the tool's own ids, which two servers may give alike to different rows.
    OfTool(String, String, Option<String>, String),
    /// Tool, row and annotator, where the tool gives annotations no ids.
    OfRow(String, String, Option<String>),
}

impl Key {
    fn tool(&self) -> &str {
        let (Self::OfTool(tool, ..) | Self::OfRow(tool, ..)) = self;
        tool
    }
}

/// What all answers to a row come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Most annotators gave this label, or these: sorted.
    Labelled(Vec<String>),
    /// Annotators disagree, and none of their answers has most votes.
    Disagreeing,
    /// Discarded, skipped, or submitted without a label.
    Skipped,
}

/// All answers of a loop.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// Several of a key only where the tool gives no ids, and the newest import has several.
    by_key: BTreeMap<Key, Vec<Annotation>>,
}

impl Answers {
    /// The answers to the rows of a round, or of `None`: to rows that no round handed out.
    ///
    /// # Errors
    /// `Error::Corrupt` for a label file that is damaged.
    pub fn of_round(ledger: &Ledger, round: Option<u32>) -> Result<Self> {
        let mut answers = Self::default();
        for name in ledger.label_files(round)? {
            answers.add(&ledger.labels(&name)?)?;
        }
        Ok(answers)
    }

    /// Takes the label rows of one import in, of `tamis_schemas::tables::labels_schema`. Annotations that are known are replaced,
    /// unless they are newer.
    ///
    /// # Errors
    /// `Error::Column` if a column is missing or of another type.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let text = |name| -> Result<&StringArray> { Ok(required_column(rows, name, &DataType::Utf8)?.as_string()) };
        let optional = |column: &StringArray, row| column.is_valid(row).then(|| column.value(row).to_owned());
        let (ids, annotators, statuses) = (text(columns::ID)?, text("annotator")?, text("status")?);
        let (tools, tasks, annotation_ids) = (text("tool")?, text("tool_task_id")?, text("tool_annotation_id")?);
        let labels = labels_of(rows)?;
        let times = rows.column_by_name("created_at").and_then(|of| of.as_primitive_opt::<TimestampMicrosecondType>());
        let lead = rows.column_by_name("lead_time_s").and_then(|of| of.as_primitive_opt::<Float64Type>());
        let mut imported: BTreeMap<Key, Vec<Annotation>> = BTreeMap::new();
        for (row, labels) in labels.into_iter().enumerate() {
            let (tool, id) = (source_of(tools.value(row)).to_owned(), ids.value(row).to_owned());
            let annotator = optional(annotators, row).map(|who| who.trim().to_owned()).filter(|who| !who.is_empty());
            let key = match optional(annotation_ids, row) {
                Some(annotation) => Key::OfTool(tool, id, optional(tasks, row), annotation),
                None => Key::OfRow(tool, id, annotator.clone()),
            };
            let annotation = Annotation {
                id: ids.value(row).to_owned(),
                annotator,
                labels,
                status: match statuses.value(row) {
                    "submitted" => Status::Submitted,
                    "draft" => Status::Draft,
                    _ => Status::Declined,
                },
                created_at: times
                    .and_then(|times: &TimestampMicrosecondArray| times.is_valid(row).then(|| times.value(row))),
                lead_time_s: lead.and_then(|lead: &Float64Array| lead.is_valid(row).then(|| lead.value(row))),
            };
            let has_id = matches!(key, Key::OfTool(..));
            let of_key = imported.entry(key).or_default();
            if has_id && is_newer(of_key, std::slice::from_ref(&annotation)) {
                continue;
            }
            if has_id {
                of_key.clear();
            }
            of_key.push(annotation);
        }
        for (key, annotations) in imported {
            let known = self.by_key.entry(key).or_default();
            if !is_newer(known, &annotations) {
                *known = annotations;
            }
        }
        Ok(())
    }

    /// Whether some round has each of these answers as it is, those of other rows aside.
    pub(super) fn are_known(&self, rounds: &[&Self], is_of_loop: impl Fn(&str) -> bool) -> bool {
        let of_loop = self.by_key.iter().filter(|(_, annotations)| annotations.iter().any(|one| is_of_loop(&one.id)));
        of_loop
            .into_iter()
            .all(|(key, annotations)| rounds.iter().any(|round| round.by_key.get(key) == Some(annotations)))
    }

    /// Whether there is an answer of everybody who has answered in `other`.
    pub(super) fn has_all_of(&self, other: &Self) -> bool {
        other.by_key.keys().all(|key| self.by_key.contains_key(key))
    }

    /// Takes the answers of a later round in. An annotation that is known by its ids is the same one, unless it is newer; of one without an annotator
    /// nobody knows, so it is another one.
    pub(super) fn absorb(&mut self, round: u32, answers: &Self) {
        for (key, annotations) in &answers.by_key {
            let key = match key {
                Key::OfRow(tool, id, None) => Key::OfRow(tool.clone(), id.clone(), Some(format!("round {round}"))),
                key => key.clone(),
            };
            let known = self.by_key.entry(key).or_default();
            if !is_newer(known, annotations) {
                known.clone_from(annotations);
            }
        }
    }

    /// Id, annotator and labels of each answer that counts; of an annotator one for each row.
    pub(super) fn votes(&self) -> impl Iterator<Item = (&str, String, &[String])> {
        let mut votes: BTreeMap<(&str, String), &[String]> = BTreeMap::new();
        // Of one row, and of one round: of several without a name the first ones are one annotator, the second ones another.
        let mut unnamed: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (key, annotation) in self.standing() {
            let Some(labels) = annotation.labels.as_deref().filter(|labels| !labels.is_empty()) else { continue };
            let who = if let Some(who) = &annotation.annotator {
                format!("{} {who}", key.tool())
            } else {
                let round = if let Key::OfRow(_, _, Some(round)) = key { round } else { "" };
                let group = format!("{}, {round}", key.tool());
                let n = unnamed.entry((&annotation.id, group.clone())).or_default();
                *n += 1;
                format!("{group}, number {n}")
            };
            votes.insert((&annotation.id, who), labels);
        }
        votes.into_iter().map(|((id, who), labels)| (id, who, labels))
    }

    /// Rows that somebody has answered, or declined to.
    pub(super) fn answered(&self) -> BTreeSet<&str> {
        self.annotations().filter(|one| one.status != Status::Draft).map(|one| one.id.as_str()).collect()
    }

    /// Submitted annotations, but for those that their annotator has replaced by later ones.
    fn standing(&self) -> impl Iterator<Item = (&Key, &Annotation)> {
        let mut newest: BTreeMap<(&str, &str, &str), i64> = BTreeMap::new();
        let submitted = self.by_key.iter().flat_map(|(key, of_key)| of_key.iter().map(move |one| (key, one)));
        let submitted: Vec<_> = submitted.filter(|(_, one)| one.status == Status::Submitted).collect();
        for (key, one) in &submitted {
            if let (Some(author), Some(time)) = (one.author(key), one.created_at) {
                let known = newest.entry(author).or_insert(time);
                *known = time.max(*known);
            }
        }
        submitted.into_iter().filter(move |(key, one)| {
            let last = one.author(key).and_then(|author| newest.get(&author).copied());
            one.created_at.zip(last).is_none_or(|(time, last)| last <= time)
        })
    }

    fn annotations(&self) -> impl Iterator<Item = &Annotation> {
        self.by_key.values().flatten()
    }

    /// Row and seconds of each submitted answer, where the tool says how long it took.
    pub fn lead_times(&self) -> impl Iterator<Item = (&str, f64)> {
        let submitted = self.annotations().filter(|annotation| annotation.status == Status::Submitted);
        let timed = submitted.filter_map(|annotation| Some((annotation.id.as_str(), annotation.lead_time_s?)));
        timed.filter(|(_, seconds)| seconds.is_finite())
    }

    /// Whether a row may have several labels: one has.
    pub fn is_multi_label(&self) -> bool {
        self.annotations().any(|annotation| annotation.labels.as_ref().is_some_and(|labels| 1 < labels.len()))
    }

    /// What the answers to each row come to, by id; rows that wait for an answer are not there.
    ///
    /// `multi_label`: no label is an answer too.
    pub fn verdicts(&self, multi_label: bool) -> BTreeMap<&str, Verdict> {
        let mut votes: BTreeMap<&str, BTreeMap<Vec<&str>, usize>> = BTreeMap::new();
        let mut declined: BTreeSet<&str> = BTreeSet::new();
        for annotation in self.annotations().filter(|annotation| annotation.status == Status::Declined) {
            declined.insert(&annotation.id);
        }
        for (_, annotation) in self.standing() {
            if let Some(labels) = annotation.labels.as_ref().filter(|labels| multi_label || !labels.is_empty()) {
                let set: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
                *votes.entry(&annotation.id).or_default().entry(set.into_iter().collect()).or_default() += 1;
            } else {
                declined.insert(&annotation.id);
            }
        }
        let mut verdicts: BTreeMap<&str, Verdict> = declined.into_iter().map(|id| (id, Verdict::Skipped)).collect();
        verdicts.extend(votes.into_iter().map(|(id, votes)| (id, majority(votes))));
        verdicts
    }
}

/// Whether what is known was made after what comes in; not if one of them does not say.
fn is_newer(known: &[Annotation], imported: &[Annotation]) -> bool {
    let newest = |of: &[Annotation]| of.iter().filter_map(|annotation| annotation.created_at).max();
    newest(known).zip(newest(imported)).is_some_and(|(known, imported)| imported < known)
}

/// Who gives annotations their ids: a tool, or whoever writes files of rows, whatever their format.
fn source_of(tool: &str) -> &str {
    if matches!(tool, "csv" | "jsonl" | "parquet") { "rows" } else { tool }
}

fn majority(votes: BTreeMap<Vec<&str>, usize>) -> Verdict {
    let most = votes.values().copied().max().unwrap_or(0);
    let mut best = votes.into_iter().filter(|(_, n)| *n == most).map(|(labels, _)| labels);
    match (best.next(), best.next()) {
        (Some(labels), None) => Verdict::Labelled(labels.into_iter().map(str::to_owned).collect()),
        _ => Verdict::Disagreeing,
    }
}

/// The lists of labels; `None` where there is no answer.
fn labels_of(rows: &RecordBatch) -> Result<Vec<Option<Vec<String>>>> {
    let wrong = || crate::Error::Column { message: "column `labels` holds no lists of texts".into(), hint: None };
    let lists = rows.column_by_name("labels").and_then(|column| column.as_list_opt::<i32>()).ok_or_else(wrong)?;
    lists
        .iter()
        .map(|list| {
            let Some(list) = list else { return Ok(None) };
            let items = list.as_string_opt::<i32>().ok_or_else(wrong)?;
            Ok(Some(items.iter().flatten().map(str::to_owned).collect()))
        })
        .collect()
}
