//! What the real tools gave back (`tests/label_tools`, `tests/fixtures/label_tools/PROVENANCE.md`).

use std::fs;

use super::support::{CLASSES, ROWS, cell, fixtures, lines};
use crate::label_tools::{ImportSettings, Imported, import};

fn returned(name: &str) -> Imported {
    returned_with(name, &ImportSettings::default())
}

fn returned_with(name: &str, settings: &ImportSettings) -> Imported {
    let bytes = fs::read(fixtures().join("returned").join(name)).unwrap();
    let imported = import(name, &bytes, settings).unwrap();
    assert_eq!((imported.rejected.as_slice(), imported.unmatched), (&[][..], 0), "{name}");
    imported
}

/// An answer as `lines` writes it: row of the batch, annotator, class, status.
fn answer(row: usize, annotator: &str, class: Option<usize>, status: &str) -> String {
    let labels = match status {
        "submitted" | "draft" => format!("{:?}", class.map(|class| CLASSES[class]).into_iter().collect::<Vec<_>>()),
        _ => "-".into(),
    };
    format!("{} | {annotator} | {labels} | - | {status}", ROWS[row].0)
}

/// The row that has several labels.
fn several(annotator: &str) -> String {
    format!("{} | {annotator} | {:?} | - | submitted", ROWS[2].0, [CLASSES[2], CLASSES[0]])
}

/// Spans of the rows, found by their words.
fn spans(annotator: &str) -> Vec<String> {
    let words: [&[(&str, &str)]; 4] = [
        &[],
        &[("annotation", "TOPIC")],
        &[("firemen", "PERSON"), ("firetrucks", "THING")],
        &[("line two", "TOPIC"), ("<b>bold</b>", "THING")],
    ];
    let of_row = |(words, (id, text)): (&[(&str, &str)], &(&str, &str))| {
        let span = |(word, label): &(&str, &str)| {
            let start = text.find(word).unwrap();
            format!("{start}..{} {label}", start + word.len())
        };
        let spans: Vec<String> = words.iter().map(span).collect();
        format!("{id} | {annotator} | - | [{}] | submitted", spans.join(", "))
    };
    words.into_iter().zip(&ROWS).map(of_row).collect()
}

/// The order of answers, and of spans in them, is the tool's.
fn check(name: &str, imported: &Imported, mut expect: Vec<String>) {
    let sorted = |line: &str| {
        let mut parts: Vec<String> = line.split(" | ").map(str::to_owned).collect();
        if let Some(spans) = parts[3].strip_prefix('[').and_then(|spans| spans.strip_suffix(']')) {
            let mut spans: Vec<&str> = spans.split(", ").collect();
            spans.sort_unstable();
            parts[3] = spans.join(", ");
        }
        parts.join(" | ")
    };
    let mut found: Vec<String> = lines(&imported.labels).iter().map(|line| sorted(line)).collect();
    for line in &mut expect {
        *line = sorted(line);
    }
    found.sort_unstable();
    expect.sort_unstable();
    assert_eq!(found, expect, "{name}");
}

#[test]
fn label_studio() {
    let submitted = vec![
        answer(0, "1", Some(0), "submitted"),
        answer(1, "1", Some(1), "submitted"),
        answer(1, "2", Some(2), "submitted"),
        several("2"),
        answer(4, "1", None, "submitted"),
    ];
    let others = [answer(3, "1", None, "skipped"), answer(5, "1", Some(1), "draft")];
    check("JSON", &returned("label-studio/choices.json"), [&submitted[..], &others].concat());
    // Neither has these.
    check("JSON_MIN", &returned("label-studio/choices_min.json"), submitted.clone());
    check("CSV", &returned("label-studio/choices.csv"), submitted);
    for name in ["spans.json", "spans_min.json", "spans.csv"] {
        check(name, &returned(&format!("label-studio/{name}")), spans("1"));
    }
    let labels = returned("label-studio/choices.json").labels;
    let facts = ["round", "lead_time_s", "tool", "tool_task_id", "model_version", "suggestion", "suggestion_score"];
    assert_eq!(
        facts.map(|name| cell(&labels, name, 0)),
        ["3", "2.5", "label-studio", "1", "tamis-r003", "sport", "0.9"]
    );
    assert!(cell(&labels, "created_at", 0).starts_with("2026-"));
}

#[test]
fn argilla() {
    let (ann, bob) = ("825f53d1-60da-5ab4-95da-2b95b2dea4b5", "42e62c2b-917a-5703-a63a-4636dfee9728");
    let submitted = [
        answer(0, ann, Some(0), "submitted"),
        answer(1, ann, Some(1), "submitted"),
        answer(1, bob, Some(2), "submitted"),
        several(bob),
    ];
    let others = [answer(3, ann, None, "discarded"), answer(5, ann, Some(1), "draft")];
    check("flattened", &returned("argilla/choices_flat.json"), [&submitted[..], &others].concat());
    // This form has no status.
    let taken_for_submitted = [answer(3, ann, None, "submitted"), answer(5, ann, Some(1), "submitted")];
    check("nested", &returned("argilla/choices.json"), [&submitted[..], &taken_for_submitted].concat());
    for name in ["argilla/spans.json", "argilla/spans_flat.json"] {
        check(name, &returned(name), spans(ann));
    }
    let labels = returned("argilla/choices_flat.json").labels;
    let facts = ["round", "tool", "tool_annotation_id", "model_version", "suggestion", "suggestion_score"];
    assert_eq!(facts.map(|name| cell(&labels, name, 0)), ["3", "argilla", ann, "tamis-r003", "sport", "0.9"]);
}

#[test]
fn doccano() {
    let approved = ImportSettings { is_approved_only: true, ..ImportSettings::default() };
    let individual = vec![
        answer(0, "ann", Some(0), "submitted"),
        answer(1, "ann", Some(1), "submitted"),
        answer(1, "bob", Some(2), "submitted"),
        several("bob"),
        answer(4, "ann", None, "submitted"),
    ];
    check("approved", &returned_with("doccano/choices.zip", &approved), individual.clone());
    check("CSV", &returned_with("doccano/choices_csv.zip", &approved), individual);
    // Suggestions belong to ann, who uploaded; what she did not change may not have been looked at.
    let unapproved = vec![
        answer(0, "ann", Some(0), "draft"),
        answer(1, "ann", Some(1), "draft"),
        answer(2, "ann", Some(2), "draft"),
        answer(5, "ann", Some(0), "submitted"),
        answer(6, "ann", Some(2), "draft"),
        answer(7, "ann", Some(0), "draft"),
        answer(1, "bob", Some(2), "submitted"),
        several("bob"),
    ];
    check("unapproved", &returned("doccano/choices_unapproved.zip"), unapproved);
    let together = vec![
        answer(0, "-", Some(0), "submitted"),
        answer(1, "-", Some(1), "submitted"),
        several("-"),
        answer(4, "-", None, "submitted"),
    ];
    check("together", &returned_with("doccano/choices_all.zip", &approved), together);
    check("spans", &returned_with("doccano/spans.zip", &approved), spans("ann"));
    let labels = returned_with("doccano/choices.zip", &approved).labels;
    let facts = ["round", "tool", "model_version", "suggestion", "suggestion_score"];
    assert_eq!(facts.map(|name| cell(&labels, name, 0)), ["3", "doccano", "tamis-r003", "sport", "0.9"]);
}

#[test]
fn prodigy() {
    let (ann, bob) = ("news-ann", "news-bob");
    let choices = vec![
        answer(0, ann, Some(0), "submitted"),
        answer(1, ann, Some(1), "submitted"),
        answer(1, bob, Some(2), "submitted"),
        several(bob),
        answer(3, ann, None, "skipped"),
        answer(4, ann, None, "submitted"),
        answer(5, ann, None, "discarded"),
    ];
    check("choices", &returned("prodigy/choices.jsonl"), choices);
    let binary =
        vec![answer(0, ann, Some(0), "submitted"), answer(1, ann, None, "submitted"), answer(2, ann, None, "skipped")];
    check("one label", &returned("prodigy/binary.jsonl"), binary);
    let rejected = format!("{} | {ann} | - | - | discarded", ROWS[4].0);
    check("spans", &returned("prodigy/spans.jsonl"), [spans(ann), vec![rejected]].concat());
    let labels = returned("prodigy/choices.jsonl").labels;
    let facts = ["round", "tool", "suggestion", "suggestion_score", "created_at"];
    assert_eq!(facts.map(|name| cell(&labels, name, 0)), ["3", "prodigy", "sport", "0.9", "2026-01-01 00:00:00"]);
}
