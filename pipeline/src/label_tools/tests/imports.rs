use std::io::{Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::support::{cell, lines, read};
use crate::Error;
use crate::label_tools::{ImportSettings, LabelTool, import};

fn check(text: &str, expect: &[&str]) {
    check_with(text, &ImportSettings::default(), expect);
}

fn check_with(text: &str, settings: &ImportSettings, expect: &[&str]) {
    let imported = read("export", text, settings);
    assert_eq!(imported.rejected, [], "{text}");
    assert_eq!(lines(&imported.labels), expect, "{text}");
}

/// Reasons of the rows that are refused.
fn refused(text: &str) -> Vec<(u64, String)> {
    read("export", text, &ImportSettings::default()).rejected
}

fn of_question(name: &str) -> ImportSettings {
    ImportSettings { question: Some(name.into()), ..ImportSettings::default() }
}

/// A task of Label Studio with these annotations.
fn task(text: &str, annotations: &str) -> String {
    format!(r#"[{{"id": 5, "data": {{"tamis_id": "a", "text": "{text}"}}, "annotations": [{annotations}]}}]"#)
}

fn labels(start: u64, end: u64, text: &str) -> String {
    format!(
        r#"{{"id": 1, "completed_by": 2, "result": [{{"from_name": "ner", "type": "labels",
           "value": {{"start": {start}, "end": {end}, "labels": ["X"]{text}}}}}]}}"#
    )
}

#[test]
fn label_studio_counts_utf16() {
    // HumanSignal/label-studio#1347
    let pile = "💩This is an annotation.";
    check(&task(pile, &labels(13, 23, "")), &["a | 2 | - | [15..25 X] | submitted"]);
    check(&task(pile, &labels(13, 23, r#", "text": "annotation""#)), &["a | 2 | - | [15..25 X] | submitted"]);
    // A program wrote code points: the covered text tells.
    check(&task(pile, &labels(12, 22, r#", "text": "annotation""#)), &["a | 2 | - | [15..25 X] | submitted"]);
    // The browser's text of a region has other white space.
    check(&task("one\\ntwo", &labels(0, 7, r#", "text": "one\\ntwo""#)), &["a | 2 | - | [0..7 X] | submitted"]);
    assert_eq!(
        refused(&task(pile, &labels(3, 9, r#", "text": "annotation""#))),
        [(0, "the span 3..9 of `X` does not cover the text that it says it does".to_owned())]
    );
    let reason = "the span 1..4 of `X` is not one of whole characters in a text of 24 UTF-16 code units";
    assert_eq!(refused(&task(pile, &labels(1, 4, ""))), [(0, reason.to_owned())]);
}

#[test]
fn label_studio_tells_of_each_annotator_and_of_what_was_skipped() {
    let choice = |id: u32, by: &str, label: &str, more: &str| {
        format!(
            r#"{{"id": {id}, "completed_by": {by}, "result": [{{"from_name": "c", "to_name": "text", "type": "choices",
               "value": {{"choices": [{label}]}}}}]{more}}}"#
        )
    };
    let ann = r#"{"id": 1, "email": "ann@example.com"}"#;
    let annotations = [
        choice(1, ann, r#""x""#, r#", "was_cancelled": false"#),
        choice(2, "7", r#""x", "y""#, ""),
        choice(3, "8", r#""x""#, r#", "was_cancelled": true"#),
        r#"{"id": 4, "completed_by": 9, "result": []}"#.into(),
    ];
    check(
        &task("t", &annotations.join(",")),
        &[
            r#"a | ann@example.com | ["x"] | - | submitted"#,
            r#"a | 7 | ["x", "y"] | - | submitted"#,
            "a | 8 | - | - | skipped",
            "a | 9 | [] | - | submitted",
        ],
    );
    // Exports have had the same annotation several times (#764, #1289): the last change counts.
    let times =
        |hour: u32| format!(r#", "created_at": "2026-01-02T03:04:05.5Z", "updated_at": "2026-01-02T{hour:02}:00:00Z""#);
    let again = [choice(1, "7", r#""new""#, &times(9)), choice(1, "7", r#""old""#, &times(8))].join(",");
    let imported = read("export", &task("t", &again), &ImportSettings::default());
    assert_eq!(lines(&imported.labels), [r#"a | 7 | ["new"] | - | submitted"#]);
    assert_eq!(cell(&imported.labels, "created_at", 0), "2026-01-02 03:04:05.500");
    assert_eq!(
        ["tool", "tool_task_id", "tool_annotation_id"].map(|name| cell(&imported.labels, name, 0)),
        ["label-studio", "5", "1"]
    );
    // A file of a target storage: one annotation, with its task.
    check(
        r#"{"id": 1, "completed_by": 3, "result": [], "task": {"id": 5, "data": {"tamis_id": "a", "text": "t"}}}"#,
        &["a | 3 | [] | - | submitted"],
    );
    // The prediction that the annotator was shown.
    let shown = r#"{"id": 1, "completed_by": 3, "result": [], "prediction": {"model_version": "m", "score": 0.25,
        "result": [{"type": "choices", "value": {"choices": ["x"]}}]}}"#;
    let shown = read("export", &task("t", shown), &ImportSettings::default()).labels;
    assert_eq!(
        ["suggestion", "suggestion_score", "model_version"].map(|name| cell(&shown, name, 0)),
        ["x", "0.25", "m"]
    );
    // Drafts, or only the ids of some.
    let drafts = r#"[{"id": 5, "data": {"tamis_id": "a"}, "annotations": [], "drafts": [4, {"id": 4, "user": "ann",
        "result": [{"from_name": "c", "type": "choices", "value": {"choices": ["x"]}}]}]}]"#;
    check(drafts, &[r#"a | ann | ["x"] | - | draft"#]);
}

#[test]
fn label_studio_of_several_questions_needs_one() {
    let result = |name: &str, kind: &str, value: &str| {
        format!(r#"{{"from_name": "{name}", "type": "{kind}", "value": {{"{kind}": {value}}}}}"#)
    };
    let annotation =
        |results: &[String]| format!(r#"{{"id": 1, "completed_by": 2, "result": [{}]}}"#, results.join(","));
    let both = task(
        "t",
        &annotation(&[
            result("topic", "choices", r#"["x"]"#),
            result("stars", "rating", "4"),
            result("note", "textarea", r#"["n"]"#),
        ]),
    );
    let error = import("export", both.as_bytes(), &ImportSettings::default()).unwrap_err();
    // What cannot be read as a label is no reason to refuse the row when another question is asked for.
    assert!(
        matches!(&error, Error::Config { message, .. } if message == "the file answers several questions: `note`, `stars`, `topic`"),
        "{error:?}"
    );
    check_with(&both, &of_question("topic"), &[r#"a | 2 | ["x"] | - | submitted"#]);
    check_with(&both, &of_question("stars"), &[r#"a | 2 | ["4"] | - | submitted"#]);
    let error = import("export", both.as_bytes(), &of_question("topics")).unwrap_err();
    assert_eq!(error.hint().unwrap(), "it answers `note`, `stars`, `topic`");
    let taxonomy = task("t", &annotation(&[result("tree", "taxonomy", r#"[["a", "b"], ["c"]]"#)]));
    check(&taxonomy, &[r#"a | 2 | ["a > b", "c"] | - | submitted"#]);
}

#[test]
fn label_studio_without_nesting() {
    let row = |label: &str| {
        format!(
            r#"[{{"text": "💩 b", "tamis_id": "a", "tamis_round": 2, "id": 5, "label": {label}, "annotator": 1, "annotation_id": 9,
                "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z", "lead_time": 1.5}}]"#
        )
    };
    check(&row(r#""x""#), &[r#"a | 1 | ["x"] | - | submitted"#]);
    check(&row(r#"{"choices": ["x", "y"]}"#), &[r#"a | 1 | ["x", "y"] | - | submitted"#]);
    check(&row(r#"[{"rating": 3}]"#), &[r#"a | 1 | ["3"] | - | submitted"#]);
    check(&row("[]"), &["a | 1 | [] | - | submitted"]);
    check(&row(r#"[{"start": 3, "end": 4, "labels": ["X"], "text": "b"}]"#), &["a | 1 | - | [5..6 X] | submitted"]);
    let csv = "annotation_id,annotator,created_at,id,label,lead_time,tamis_id,text,updated_at\n\
               9,1,2026-01-02T03:04:05Z,5,\"{\"\"choices\"\": [\"\"x\"\", \"\"y\"\"]}\",2.5,a,t,\n\
               10,2,2026-01-02T03:04:05Z,5,x,2.5,a,t,\n\
               ,,,6,,,b,u,\n";
    check(csv, &[r#"a | 1 | ["x", "y"] | - | submitted"#, r#"a | 2 | ["x"] | - | submitted"#]);
    let tsv = "annotation_id\tannotator\tid\tlabel\tlead_time\ttamis_id\n9\t1\t5\tx\t2.5\ta\n";
    check(tsv, &[r#"a | 1 | ["x"] | - | submitted"#]);
    let error = import("export", csv.as_bytes(), &of_question("topic")).unwrap_err();
    assert_eq!(error.to_string(), "no row of the file has an answer");
}

#[test]
fn argilla_in_both_forms() {
    let nested = r#"[{"id": "a", "_server_id": "s1", "fields": {"text": "💩 b"}, "metadata": {"tamis_id": "a", "tamis_round": 4},
        "suggestions": {"label": {"value": "x", "score": 0.5, "agent": "m"}},
        "responses": {"label": [{"value": "x", "user_id": "u1"}, {"value": ["x", "y"], "user_id": "u2"}, {"value": [], "user_id": "u3"}]}}]"#;
    check(
        nested,
        &[r#"a | u1 | ["x"] | - | submitted"#, r#"a | u2 | ["x", "y"] | - | submitted"#, "a | u3 | [] | - | submitted"],
    );
    let imported = read("export", nested, &ImportSettings::default());
    let facts =
        ["round", "tool", "tool_task_id", "tool_annotation_id", "model_version", "suggestion", "suggestion_score"];
    assert_eq!(facts.map(|name| cell(&imported.labels, name, 0)), ["4", "argilla", "s1", "u1", "m", "x", "0.5"]);

    let flat = |responses: &str, more: &str| {
        format!(
            r#"[{{"id": "a", "_server_id": "s1", "text": "💩 b", "tamis_id": "a", "label.responses": {responses}{more}}}]"#
        )
    };
    check(
        &flat(
            r#"["x", "y", null, 4]"#,
            r#", "label.responses.users": ["u1", "u2", "u3", "u4"],
               "label.responses.status": ["submitted", "draft", "discarded", "submitted"]"#,
        ),
        &[
            r#"a | u1 | ["x"] | - | submitted"#,
            r#"a | u2 | ["y"] | - | draft"#,
            "a | u3 | - | - | discarded",
            r#"a | u4 | ["4"] | - | submitted"#,
        ],
    );
    // Code points.
    check(&flat(r#"[[{"start": 2, "end": 3, "label": "X"}]]"#, ""), &["a | - | - | [5..6 X] | submitted"]);
    check(r#"[{"id": "a", "_server_id": "s1", "text": "t", "label.responses": null}]"#, &[]);
    let two = flat(r#"["x"]"#, r#", "other.responses": ["z"]"#);
    assert!(import("export", two.as_bytes(), &ImportSettings::default()).is_err());
    check_with(&two, &of_question("other"), &[r#"a | - | ["z"] | - | submitted"#]);
}

#[test]
fn doccano_counts_utf16_and_names_annotators_by_file() {
    // doccano/doccano#2290
    let firemen = "👨🏻\u{200d}🚒 firemen drive firetrucks";
    let row =
        |label: &str| format!(r#"{{"id": 1, "text": "{firemen}", "tamis_id": "a", "label": {label}, "Comments": []}}"#);
    let settings = ImportSettings::default();
    let at = firemen.find("firetrucks").unwrap();
    let lines_of = |name: &str, text: &str| lines(&read(name, text, &settings).labels);
    assert_eq!(
        lines_of("x/bob.jsonl", &row(r#"[[22, 32, "X"]]"#)),
        [format!("a | bob | - | [{at}..{} X] | submitted", at + 10)]
    );
    assert_eq!(lines_of("all.jsonl", &row(r#"["x", "y"]"#)), [r#"a | - | ["x", "y"] | - | submitted"#]);
    let entity = r#"{"id": 1, "text": "💩 b", "tamis_id": "a", "entities": [{"id": 1, "start_offset": 3, "end_offset": 4, "label": "X"}], "relations": []}"#;
    assert_eq!(lines_of("all.jsonl", entity), ["a | - | - | [5..6 X] | submitted"]);
    let intent = r#"{"id": 1, "text": "ab", "tamis_id": "a", "entities": [[0, 1, "X"]], "cats": ["y"]}"#;
    assert_eq!(lines_of("all.jsonl", intent), [r#"a | - | ["y"] | [0..1 X] | submitted"#]);
}

#[test]
fn doccano_does_not_say_who_has_looked() {
    let rows = |label: &str| {
        format!(r#"{{"id": 1, "text": "t", "tamis_id": "a", "tamis_label": "y;x", "label": {label}, "Comments": []}}"#)
    };
    let approved = ImportSettings { is_approved_only: true, ..ImportSettings::default() };
    for (label, of_all, of_approved) in [
        ("[]", None, r"a | export | [] | - | submitted"),
        (r#"["x", "y"]"#, Some(r#"a | export | ["x", "y"] | - | draft"#), r#"a | export | ["x", "y"] | - | submitted"#),
        (r#"["x"]"#, Some(r#"a | export | ["x"] | - | submitted"#), r#"a | export | ["x"] | - | submitted"#),
    ] {
        let of_all: Vec<&str> = of_all.into_iter().collect();
        check(&rows(label), &of_all);
        check_with(&rows(label), &approved, &[of_approved]);
    }
}

#[test]
fn a_zip_has_a_file_for_each_annotator() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, label) in [("ann.jsonl", "x"), ("bob.jsonl", "y")] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        writeln!(zip, r#"{{"id": 1, "text": "t", "tamis_id": "a", "label": ["{label}"]}}"#).unwrap();
        writeln!(zip, "not JSON").unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let imported = import("export.zip", &bytes, &ImportSettings::default()).unwrap();
    assert_eq!(lines(&imported.labels), [r#"a | ann | ["x"] | - | submitted"#, r#"a | bob | ["y"] | - | submitted"#]);
    let places: Vec<&str> = imported.rejected.iter().map(|(_, reason)| &reason[..19]).collect();
    assert_eq!(places, ["ann.jsonl: not JSON", "bob.jsonl: not JSON"]);
    let error = import("export.zip", &bytes[..bytes.len() / 2], &ImportSettings::default()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[test]
fn prodigy_rejects_an_answer_or_a_row() {
    let row = |fields: &str| {
        format!(
            r#"{{"text": "💩 b", "meta": {{"tamis_id": "a"}}, "_task_hash": -4, "_session_id": "d-ann", {fields}}}"#
        )
    };
    let choice = r#""options": [{"id": "x", "text": "X"}, {"id": 2, "text": "Y"}]"#;
    for (fields, expect) in [
        (format!(r#"{choice}, "accept": ["x"], "answer": "accept""#), r#"a | d-ann | ["x"] | - | submitted"#),
        (format!(r#"{choice}, "accept": ["x", 2], "answer": "accept""#), r#"a | d-ann | ["x", "2"] | - | submitted"#),
        (format!(r#"{choice}, "answer": "accept""#), "a | d-ann | [] | - | submitted"),
        (format!(r#"{choice}, "accept": ["x"], "answer": "reject""#), "a | d-ann | - | - | discarded"),
        (format!(r#"{choice}, "accept": ["x"], "answer": "ignore""#), "a | d-ann | - | - | skipped"),
        (r#""label": "x", "answer": "accept""#.into(), r#"a | d-ann | ["x"] | - | submitted"#),
        (r#""label": "x", "answer": "reject""#.into(), "a | d-ann | [] | - | submitted"),
        (r#""label": "x", "answer": "ignore""#.into(), "a | d-ann | - | - | skipped"),
        (
            r#""spans": [{"start": 2, "end": 3, "label": "X"}], "answer": "accept""#.into(),
            "a | d-ann | - | [5..6 X] | submitted",
        ),
        (r#""spans": [], "answer": "accept""#.into(), "a | d-ann | - | [] | submitted"),
        (r#""_view_id": "ner_manual", "answer": "accept""#.into(), "a | d-ann | - | [] | submitted"),
        (r#""_view_id": "ner_manual", "answer": "reject""#.into(), "a | d-ann | - | - | discarded"),
    ] {
        check(&row(&fields), &[expect]);
    }
    check(r#"{"text": "t", "tamis_id": "a", "_task_hash": 1, "options": []}"#, &[]);
    assert_eq!(
        refused(&row(r#""answer": "maybe""#)),
        [(0, "the answer `maybe` is none of accept, reject and ignore".to_owned())]
    );
}

#[test]
fn plain_rows() {
    check(
        "tamis_id,text,label\na,t,x\nb,u,\nc,v,\"[\"\"x\"\", \"\"y\"\"]\"\n",
        &[r#"a | - | ["x"] | - | submitted"#, r#"c | - | ["x", "y"] | - | submitted"#],
    );
    check(
        r#"{"id": 7, "label": 3, "annotator": "ann"}
           {"id": "b", "label": ["x"], "status": "draft"}
           {"id": "c", "label": null, "status": "skipped"}
           {"id": "d", "label": null}
           {"id": "f", "spans": [{"start": 5, "end": 6, "label": "X"}]}
           {"id": "e", "text": "💩 b", "spans": [{"start": 5, "end": 6, "label": "X"}]}"#,
        &[
            r#"7 | ann | ["3"] | - | submitted"#,
            r#"b | - | ["x"] | - | draft"#,
            "c | - | - | - | skipped",
            "f | - | - | [5..6 X] | submitted",
            "e | - | - | [5..6 X] | submitted",
        ],
    );
    // Of one annotator the last answer counts; votes without a name are all kept.
    check(
        "id,label,annotator\na,x,ann\na,y,ann\nb,x,\nb,y,\nb,y,\n",
        &[
            r#"a | ann | ["y"] | - | submitted"#,
            r#"b | - | ["x"] | - | submitted"#,
            r#"b | - | ["y"] | - | submitted"#,
            r#"b | - | ["y"] | - | submitted"#,
        ],
    );
    let named = ImportSettings { label_column: "topic".into(), id_column: "key".into(), ..ImportSettings::default() };
    check_with("key\ttopic\na\tx\n", &named, &[r#"a | - | ["x"] | - | submitted"#]);
    check_with("key;topic\na;x,y\n", &named, &[r#"a | - | ["x,y"] | - | submitted"#]);
    // Whose `answer` is not that of Prodigy.
    check(r#"{"id": "a", "text": "q", "answer": "42", "label": "x"}"#, &[r#"a | - | ["x"] | - | submitted"#]);
    let error = import("labels.csv", b"id,text\n1,t\n", &ImportSettings::default()).unwrap_err();
    assert_eq!(error.to_string(), "no row has the label column `label`");
}

#[test]
fn what_is_no_answer_of_ours_is_told() {
    let rows = "{\"id\": 1, \"label\": \"x\"}\n{\"label\": \"y\"}\nnope\n[1]\n{\"id\": 2, \"label\": {\"a\": 1}}\n{\"id\": 3, \"label\": \"z\", \"status\": \"done\"}\n";
    let imported = read("export", rows, &ImportSettings::default());
    assert_eq!(lines(&imported.labels), [r#"1 | - | ["x"] | - | submitted"#]);
    assert_eq!(imported.unmatched, 1);
    let rejected: Vec<u64> = imported.rejected.iter().map(|(row, _)| *row).collect();
    assert_eq!(rejected, [2, 3, 4, 5], "{:?}", imported.rejected);
    let task = r#"[{"id": 1, "data": {"text": "t"}, "annotations": [{"id": 1, "completed_by": 1, "result": []}]}]"#;
    assert_eq!(read("export", task, &ImportSettings::default()).unmatched, 1);
    // Ragged CSV, and lists that end early.
    let ragged = read("export", "id,label\n1,x\n2\n", &ImportSettings::default());
    assert_eq!((ragged.labels.num_rows(), ragged.rejected.len()), (1, 1));
    for bytes in [&b"[{\"id\": 1}"[..], b"[{\"id\": 1}] x", b"PAR1xx", b"PK\x03\x04xx"] {
        let error = import("export", bytes, &ImportSettings::default()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    }
    for bytes in [&b""[..], b"\n", b"[]", b"\xef\xbb\xbf[]"] {
        let imported = import("export", bytes, &ImportSettings::default()).unwrap();
        assert_eq!((imported.labels.num_rows(), imported.rejected.len()), (0, 0));
    }
}

#[test]
fn names_are_those_of_tools() {
    for tool in LabelTool::ALL {
        assert_eq!(tool.name().parse::<LabelTool>().unwrap(), tool);
    }
    let error = "labelbox".parse::<LabelTool>().unwrap_err();
    assert_eq!(error.hint().unwrap(), "those known are label-studio, argilla, doccano, prodigy, csv, jsonl, parquet");
}
