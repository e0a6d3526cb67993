//! The search against exact similarities of all pairs, computed from the definition.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::*;

/// Exact Jaccard similarities of 0.5 and more, by index, of documents whose scripts have spaces.
pub(super) struct Oracle {
    pub(super) pairs: BTreeMap<(usize, usize), f64>,
    index: HashMap<String, usize>,
}

impl Oracle {
    pub(super) fn new(documents: &[Document]) -> Self {
        let sets: Vec<HashSet<String>> =
            documents.iter().map(|document| shingles_by_definition(&document.text)).collect();
        let mut pairs = BTreeMap::new();
        for (right, right_set) in sets.iter().enumerate() {
            for (left, left_set) in sets.iter().enumerate().take(right) {
                let n_shared = left_set.intersection(right_set).count();
                let similarity = n_shared as f64 / (left_set.len() + right_set.len() - n_shared).max(1) as f64;
                if similarity >= 0.5 {
                    pairs.insert((left, right), similarity);
                }
            }
        }
        let index = documents.iter().enumerate().map(|(index, document)| (document.id.clone(), index)).collect();
        Self { pairs, index }
    }

    pub(super) fn similarity(&self, left: &str, right: &str) -> f64 {
        let (left, right) = (self.index[left], self.index[right]);
        *self.pairs.get(&(left.min(right), left.max(right))).unwrap_or(&0.0)
    }
}

/// Sets of 5 consecutive tokens as text, tokens as runs of alphanumeric characters and `_`.
fn shingles_by_definition(text: &str) -> HashSet<String> {
    let lowered = text.to_lowercase();
    let tokens: Vec<&str> =
        lowered.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|token| !token.is_empty()).collect();
    if tokens.is_empty() {
        return HashSet::new();
    }
    tokens.windows(tokens.len().min(5)).map(|window| window.join(" ")).collect()
}

#[test]
fn similarities_are_those_of_the_sample_oracles() {
    for name in ["laws", "licences"] {
        let documents = sample(&format!("{name}.jsonl"));
        let oracle = Oracle::new(&documents);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../sample-data/{name}_pairs.tsv"));
        let listed = std::fs::read_to_string(path).unwrap();
        assert_eq!(listed.lines().count(), oracle.pairs.len());
        let settings = Settings::default();
        let mut reader = Reader::new(&settings);
        for line in listed.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let expect: f64 = fields[2].parse().unwrap();
            let mut set = |id: &str| {
                let mut set = reader.read(&documents[oracle.index[id]].text).1.clone();
                to_set(&mut set);
                set
            };
            let similarity = jaccard(&set(fields[0]), &set(fields[1]));
            assert_eq!(similarity.to_bits(), oracle.similarity(fields[0], fields[1]).to_bits(), "{line}");
            assert!((similarity - expect).abs() <= 5e-5, "{line}: {similarity}");
        }
    }
}

/// Every drop must be proven; of all pairs at or above the threshold, at most `missed_share` may both stay.
fn check(documents: &[Document], oracle: &Oracle, settings: &Settings, missed_share: f64) -> Outcome {
    let outcome = run(documents, settings);
    for row in &outcome.evidence {
        let exact = oracle.similarity(&row.dropped_id, &row.kept_id);
        if row.rule == "connected" {
            continue;
        }
        assert!(exact >= settings.threshold, "{} was dropped for {} at {exact}", row.dropped_id, row.kept_id);
        match row.method.as_str() {
            "exact" => assert_eq!(row.similarity.to_bits(), exact.to_bits(), "{row:?}"),
            "identical" => assert!((exact - 1.0).abs() < 1e-12, "{row:?}"),
            "estimated" => assert!((row.similarity - exact).abs() < 0.15, "{row:?}"),
            _ => {}
        }
    }
    let at_threshold: Vec<_> =
        oracle.pairs.iter().filter(|(_, similarity)| **similarity >= settings.threshold).collect();
    let n_missed = at_threshold
        .iter()
        .filter(|((left, right), _)| outcome.reasons[*left].is_none() && outcome.reasons[*right].is_none())
        .count();
    assert!(
        n_missed as f64 <= missed_share * at_threshold.len() as f64,
        "{n_missed} of {} pairs at {} both stay",
        at_threshold.len(),
        settings.threshold
    );
    outcome
}

#[test]
fn nothing_is_dropped_without_proof_and_little_is_missed() {
    for name in ["laws.jsonl", "licences.jsonl"] {
        let documents = sample(name);
        let oracle = Oracle::new(&documents);
        for threshold in [0.5, 0.7, 0.8, 0.9] {
            for keep in [KeepOrder::First, KeepOrder::Longest] {
                let settings = Settings { threshold, keep, ..Settings::default() };
                let outcome = check(&documents, &oracle, &settings, 0.01);
                assert!(outcome.n_dropped() > 10);
            }
        }
    }
}

#[test]
fn a_recall_of_one_misses_nothing_and_is_idempotent() {
    for name in ["laws.jsonl", "licences.jsonl"] {
        let documents = sample(name);
        let oracle = Oracle::new(&documents);
        for threshold in [0.5, 0.7, 0.8, 0.9, 1.0] {
            let settings = Settings { threshold, recall: 1.0, ..Settings::default() };
            let outcome = check(&documents, &oracle, &settings, 0.0);
            let kept: Vec<Document> = outcome.kept(&documents).into_iter().cloned().collect();
            assert_eq!(run(&kept, &settings).n_dropped(), 0);
        }
    }
}

/// The star rule by its definition, over all pairs: which rows are dropped, and for whom.
fn star_by_definition(documents: &[Document], oracle: &Oracle, threshold: f64) -> Vec<Option<usize>> {
    let mut dropped_for: Vec<Option<usize>> = Vec::new();
    for row in 0..documents.len() {
        let mut best: Option<(usize, f64)> = None;
        for (earlier, fate) in dropped_for.iter().enumerate() {
            let similarity = oracle.pairs.get(&(earlier, row)).copied().unwrap_or(0.0);
            let is_better = best.is_none_or(|(_, best)| similarity > best);
            if fate.is_none() && similarity >= threshold && is_better {
                best = Some((earlier, similarity));
            }
        }
        dropped_for.push(best.map(|(earlier, _)| earlier));
    }
    dropped_for
}

#[test]
fn stars_are_those_of_the_definition() {
    for name in ["laws.jsonl", "licences.jsonl"] {
        let documents = sample(name);
        let oracle = Oracle::new(&documents);
        for threshold in [0.5, 0.65, 0.8, 0.95] {
            let settings = Settings { threshold, recall: 1.0, ..Settings::default() };
            let outcome = run(&documents, &settings);
            let expect = star_by_definition(&documents, &oracle, threshold);
            let dropped_for = |row: usize| {
                let evidence = outcome.evidence.iter().find(|evidence| evidence.dropped_id == documents[row].id);
                evidence.map(|evidence| oracle.index[&evidence.kept_id])
            };
            let found: Vec<Option<usize>> = (0..documents.len()).map(dropped_for).collect();
            for (row, (found, expect)) in found.iter().zip(&expect).enumerate() {
                assert_eq!(found.is_some(), expect.is_some(), "{} at {threshold}", documents[row].id);
                // Texts that differ in white space only are as similar as identical ones: the exact rule looks first.
                if let (Some(found), Some(expect)) = (found, expect)
                    && found != expect
                {
                    let similarity = |other: usize| oracle.similarity(&documents[row].id, &documents[other].id);
                    assert!((similarity(*found) - similarity(*expect)).abs() < 1e-12);
                }
            }
        }
    }
}

#[test]
fn connected_rows_are_those_of_a_breadth_first_search() {
    let documents = sample("licences.jsonl");
    let oracle = Oracle::new(&documents);
    for recall in [1.0, 0.999] {
        let threshold = 0.8;
        let settings = Settings { threshold, recall, linkage: Linkage::Connected, ..Settings::default() };
        let outcome = check(&documents, &oracle, &settings, 0.0);
        let mut component: Vec<Option<usize>> = vec![None; documents.len()];
        for start in 0..documents.len() {
            let mut queue = vec![start];
            while let Some(row) = queue.pop().filter(|&row| component[row].is_none() || row == start) {
                if component[row].is_some() {
                    break;
                }
                component[row] = Some(start);
                let near = |other: &usize| {
                    let pair = (row.min(*other), row.max(*other));
                    component[*other].is_none() && oracle.pairs.get(&pair).is_some_and(|&s| s >= threshold)
                };
                let mut found: Vec<usize> = (0..documents.len()).filter(near).collect();
                found.retain(|other| !queue.contains(other));
                queue.extend(found);
            }
        }
        for (row, document) in documents.iter().enumerate() {
            let kept = outcome.evidence.iter().find(|evidence| evidence.dropped_id == document.id);
            let found = kept.map_or(row, |evidence| oracle.index[&evidence.kept_id]);
            assert_eq!(Some(found), component[row], "{}", document.id);
        }
        assert!(outcome.report.n_connected > 0, "the sample has chains");
        for row in outcome.evidence.iter().filter(|row| row.rule == "connected") {
            assert!(row.similarity >= threshold && oracle.similarity(&row.dropped_id, &row.kept_id) < threshold);
        }
    }
}
