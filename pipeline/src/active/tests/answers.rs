//! Several annotators, corrections, and what is no answer.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Field};
use tamis_schemas::tables::labels_schema;

use super::super::{Answers, Verdict};

/// Row, annotator, labels, status, annotation id and time of a label row.
type Row = (&'static str, &'static str, Option<&'static [&'static str]>, &'static str, Option<&'static str>, i64);

pub(in crate::active) fn label_rows(rows: &[Row]) -> RecordBatch {
    let item = Field::new_list_field(DataType::Utf8, false);
    let mut labels = ListBuilder::new(StringBuilder::new()).with_field(item);
    for (_, _, given, ..) in rows {
        match given {
            Some(given) => labels.append_value(given.iter().map(|label| Some(*label))),
            None => labels.append(false),
        }
    }
    let text = |values: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let schema = labels_schema();
    let mut labels = Some(labels.finish());
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "tamis_id" => text(rows.iter().map(|row| Some(row.0)).collect()),
            "annotator" => text(rows.iter().map(|row| Some(row.1).filter(|name| !name.is_empty())).collect()),
            "labels" => Arc::new(labels.take().unwrap()),
            "status" => text(rows.iter().map(|row| Some(row.3)).collect()),
            "tool" => text(vec![Some("test"); rows.len()]),
            "tool_annotation_id" => text(rows.iter().map(|row| row.4).collect()),
            "created_at" => {
                let times = rows.iter().map(|row| Some(row.5).filter(|time| 0 < *time));
                Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
            }
            "lead_time_s" => Arc::new(Float64Array::from(vec![2.0; rows.len()])),
            _ => new_null_array(field.data_type(), rows.len()),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

fn verdicts(imports: &[&[Row]], multi_label: bool) -> Vec<(String, Verdict)> {
    let mut answers = Answers::default();
    for rows in imports {
        answers.add(&label_rows(rows)).unwrap();
    }
    answers.verdicts(multi_label).into_iter().map(|(id, verdict)| (id.to_owned(), verdict)).collect()
}

fn labelled(labels: &[&str]) -> Verdict {
    Verdict::Labelled(labels.iter().map(|&label| label.to_owned()).collect())
}

fn check(imports: &[&[Row]], expected: &[(&str, Verdict)]) {
    let expected: Vec<_> = expected.iter().map(|(id, verdict)| ((*id).to_owned(), verdict.clone())).collect();
    assert_eq!(verdicts(imports, false), expected, "{imports:?}");
}

const A: Option<&[&str]> = Some(&["a"]);
const B: Option<&[&str]> = Some(&["b"]);

#[test]
fn most_votes_count_and_ties_do_not() {
    check(
        &[&[
            ("1", "x", A, "submitted", None, 0),
            ("1", "y", A, "submitted", None, 0),
            ("1", "z", B, "submitted", None, 0),
            ("2", "x", A, "submitted", None, 0),
            ("2", "y", B, "submitted", None, 0),
            ("3", "", A, "submitted", None, 0),
            ("3", "", B, "submitted", None, 0),
        ]],
        &[("1", labelled(&["a"])), ("2", Verdict::Disagreeing), ("3", Verdict::Disagreeing)],
    );
}

#[test]
fn what_is_no_label() {
    check(
        &[&[
            ("discarded", "x", A, "discarded", None, 0),
            ("draft", "x", A, "draft", None, 0),
            ("empty", "x", Some(&[]), "submitted", None, 0),
            ("null", "x", None, "submitted", None, 0),
            ("skipped", "x", None, "skipped", None, 0),
            ("skipped, then labelled by another", "x", None, "skipped", None, 0),
            ("skipped, then labelled by another", "y", B, "submitted", None, 0),
        ]],
        &[
            ("discarded", Verdict::Skipped),
            ("empty", Verdict::Skipped),
            ("null", Verdict::Skipped),
            ("skipped", Verdict::Skipped),
            ("skipped, then labelled by another", labelled(&["b"])),
        ],
    );
}

#[test]
fn a_later_import_corrects_an_earlier_one() {
    check(
        &[&[("1", "x", A, "submitted", None, 0)], &[("1", "x", B, "submitted", None, 0)]],
        &[("1", labelled(&["b"]))],
    );
    let two = &[("1", "", A, "submitted", None, 0), ("1", "", B, "submitted", None, 0)];
    check(&[two, &[("1", "", B, "submitted", None, 0)]], &[("1", labelled(&["b"]))]);
    check(&[two, two], &[("1", Verdict::Disagreeing)]);
    check(
        &[&[("1", "x", A, "submitted", Some("7"), 0)], &[("1", "renamed", B, "submitted", Some("7"), 0)]],
        &[("1", labelled(&["b"]))],
    );
    check(
        &[&[("1", "x", A, "submitted", Some("7"), 0)], &[("1", "x", None, "discarded", Some("7"), 0)]],
        &[("1", Verdict::Skipped)],
    );
}

#[test]
fn the_newer_state_of_an_annotation_counts_in_any_order() {
    let (old, new) = (("1", "x", A, "submitted", Some("7"), 1), ("1", "x", B, "submitted", Some("7"), 2));
    for imports in [[&[old][..], &[new]], [&[new], &[old]], [&[old, new], &[]], [&[new, old], &[]]] {
        check(&imports, &[("1", labelled(&["b"]))]);
    }
}

#[test]
fn several_labels_are_a_set() {
    let rows: &[Row] = &[
        ("1", "x", Some(&["b", "a"]), "submitted", None, 0),
        ("1", "y", Some(&["a", "b", "b"]), "submitted", None, 0),
        ("1", "z", A, "submitted", None, 0),
        ("2", "x", Some(&[]), "submitted", None, 0),
    ];
    let found = verdicts(&[rows], true);
    assert_eq!(found, [("1".to_owned(), labelled(&["a", "b"])), ("2".to_owned(), labelled(&[]))]);
    let mut answers = Answers::default();
    answers.add(&label_rows(&rows[2..])).unwrap();
    assert!(!answers.is_multi_label());
    answers.add(&label_rows(rows)).unwrap();
    assert!(answers.is_multi_label());
    assert_eq!(answers.lead_times().collect::<Vec<_>>(), [("1", 2.0), ("1", 2.0), ("1", 2.0), ("2", 2.0)]);
}

#[test]
fn annotators_are_asked_again_in_later_rounds() {
    let mut of_rounds = Answers::default();
    let rounds: [&[Row]; 3] = [
        &[
            ("1", "x", A, "submitted", None, 1),
            ("1", "y", B, "submitted", None, 1),
            ("2", "", A, "submitted", None, 0),
            ("3", "x", A, "submitted", Some("7"), 1),
        ],
        // x has changed their mind, in another task; z is new; somebody says the same of 2.
        &[
            ("1", "x", B, "submitted", Some("8"), 2),
            ("2", "", A, "submitted", None, 0),
            ("3", "z", B, "submitted", Some("9"), 2),
        ],
        // The first annotation of 3 comes in once more.
        &[("3", "x", A, "submitted", Some("7"), 1)],
    ];
    for (round, rows) in (1..).zip(rounds) {
        let mut answers = Answers::default();
        answers.add(&label_rows(rows)).unwrap();
        of_rounds.absorb(round, &answers);
    }
    let verdicts: Vec<(&str, Verdict)> = of_rounds.verdicts(false).into_iter().collect();
    assert_eq!(verdicts, [("1", labelled(&["b"])), ("2", labelled(&["a"])), ("3", Verdict::Disagreeing)]);
    let votes: Vec<(&str, &[String])> = of_rounds.votes().map(|(id, _, labels)| (id, labels)).collect();
    let (a, b) = (["a".to_owned()], ["b".to_owned()]);
    assert_eq!(votes, [("1", &b[..]), ("1", &b), ("2", &a), ("2", &a), ("3", &a), ("3", &b)]);
    let annotators: std::collections::BTreeSet<String> = of_rounds.votes().map(|(_, who, _)| who).collect();
    assert!(annotators.len() >= 4 && annotators.contains("test x"), "{annotators:?}");
}
