//! The what-if table against runs at the higher thresholds.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Dropped rows with the rows kept for them.
fn dropped(outcome: &Outcome) -> BTreeMap<&str, &EvidenceRow> {
    outcome.evidence.iter().map(|row| (row.dropped_id.as_str(), row)).collect()
}

fn check(documents: &[Document], settings: &Settings) -> usize {
    let outcome = run(documents, settings);
    let mut n_counted = 0;
    assert_eq!(outcome.report.what_if.len(), ((1.0 - settings.threshold) * 20.0).round() as usize);
    for &(threshold, n_rows) in &outcome.report.what_if {
        let counted: Vec<&EvidenceRow> =
            outcome.evidence.iter().filter(|row| row.similarity >= threshold && row.rule != "connected").collect();
        assert_eq!(counted.len() as u64, n_rows, "the table counts the evidence at {threshold}");
        n_counted += counted.len();

        let rerun = run(documents, &Settings { threshold, ..settings.clone() });
        let dropped_again = dropped(&rerun);
        let is_lost = |kept: &str| dropped_again.contains_key(kept);
        let lost: Vec<&&EvidenceRow> = counted.iter().filter(|row| is_lost(&row.kept_id)).collect();
        let kept_now_and_lost: BTreeSet<&str> = lost.iter().map(|row| row.kept_id.as_str()).collect();
        if settings.linkage == Linkage::Connected {
            let stays = counted.iter().find(|row| !dropped_again.contains_key(row.dropped_id.as_str()));
            assert!(stays.is_none(), "{stays:?} stays at {threshold}");
            continue;
        }
        for row in &counted {
            let goes = dropped_again.contains_key(row.dropped_id.as_str());
            assert!(goes || is_lost(&row.kept_id), "{row:?} stays at {threshold}, and so does the row kept for it");
        }
        let least = counted.len() - lost.len() + kept_now_and_lost.len();
        assert!(rerun.n_dropped() >= least, "{} rows go at {threshold}, not {least}", rerun.n_dropped());
    }
    n_counted
}

#[test]
fn what_would_go_at_higher_thresholds_goes_there() {
    let mut n_counted = 0;
    for name in ["laws.jsonl", "licences.jsonl"] {
        let documents = sample(name);
        for threshold in [0.5, 0.65, 0.8] {
            for linkage in [Linkage::Star, Linkage::Connected] {
                n_counted += check(&documents, &Settings { threshold, recall: 1.0, linkage, ..Settings::default() });
            }
        }
    }
    assert!(n_counted > 1000, "{n_counted} rows prove little");
}

/// A chain in which the row kept for others is itself dropped at a higher threshold: the table is no bound then.
#[test]
fn a_kept_row_may_be_lost_at_a_higher_threshold() {
    let words: Vec<String> = (0..200).map(|word| format!("w{word}")).collect();
    let without = |skipped: std::ops::Range<usize>| {
        let kept = words.iter().enumerate().filter(|(at, _)| !skipped.contains(at)).map(|(_, word)| word.as_str());
        kept.collect::<Vec<_>>().join(" ")
    };
    // Neighbours in the chain are more similar than 0.9, rows two steps apart less than 0.85.
    let texts = [1, 16, 32, 47, 61].map(|n| without(0..n));
    let documents = documents(texts.iter().map(String::as_str));
    let settings = Settings { threshold: 0.83, recall: 1.0, ..Settings::default() };
    let outcome = run(&documents, &settings);
    let ids = |outcome: &Outcome| dropped(outcome).keys().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&outcome), ["doc-1", "doc-2", "doc-4"], "doc-4 goes for doc-3");
    assert_eq!(outcome.report.what_if[1], (0.9, 2), "doc-1 and doc-4");
    let rerun = run(&documents, &Settings { threshold: 0.9, ..settings });
    assert_eq!(ids(&rerun), ["doc-1", "doc-3"], "doc-2 stays now and takes doc-3, and with it what doc-4 went for");
}
