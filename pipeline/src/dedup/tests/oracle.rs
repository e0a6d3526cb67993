//! The search against exact similarities of all pairs, computed from the definition.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::definition::Definition;
use super::*;

/// Exact similarities of all pairs, by index, of documents whose scripts have spaces.
pub(super) struct Oracle<'a> {
    documents: &'a [Document],
    measure: Measure,
    /// Sizes of sets.
    sizes: Vec<usize>,
    /// Sizes of the intersections that are not empty; the earlier document comes first.
    shared: BTreeMap<(usize, usize), usize>,
    index: HashMap<&'a str, usize>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(documents: &'a [Document], measure: Measure) -> Self {
        let sets: Vec<HashSet<String>> =
            documents.iter().map(|document| shingles_by_definition(&document.text)).collect();
        let mut rows_with: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut shared = BTreeMap::new();
        for (row, set) in sets.iter().enumerate() {
            for shingle in set {
                let others = rows_with.entry(shingle).or_default();
                for &other in others.iter() {
                    *shared.entry((other, row)).or_default() += 1;
                }
                others.push(row);
            }
        }
        let index = documents.iter().enumerate().map(|(row, document)| (document.id.as_str(), row)).collect();
        Self { documents, measure, sizes: sets.iter().map(HashSet::len).collect(), shared, index }
    }

    pub(super) fn row(&self, id: &str) -> usize {
        self.index[id]
    }

    /// The dropped document, and the one kept for it.
    pub(super) fn rows(&self, evidence: &EvidenceRow) -> (usize, usize) {
        (self.row(&evidence.dropped_id), self.row(&evidence.kept_id))
    }

    pub(super) fn size(&self, row: usize) -> usize {
        self.sizes[row]
    }

    /// Equal texts are alike even if they have no token.
    pub(super) fn similarity(&self, left: usize, right: usize) -> f64 {
        if self.documents[left].text == self.documents[right].text {
            return 1.0;
        }
        let n_shared = self.shared.get(&(left.min(right), left.max(right))).copied().unwrap_or(0);
        let (left, right) = (self.sizes[left], self.sizes[right]);
        let n_all = match self.measure {
            Measure::Jaccard => left + right - n_shared,
            Measure::Containment => left.min(right),
        };
        n_shared as f64 / n_all.max(1) as f64
    }

    /// Pairs of documents with tokens that are as similar as that.
    pub(super) fn pairs_at(&self, threshold: f64) -> Vec<(usize, usize)> {
        self.shared.keys().copied().filter(|&(left, right)| threshold <= self.similarity(left, right)).collect()
    }

    /// For which document each was dropped.
    pub(super) fn kept_for(&self, outcome: &Outcome) -> Vec<Option<usize>> {
        let mut kept_for = vec![None; self.documents.len()];
        for (dropped, kept) in outcome.evidence.iter().map(|row| self.rows(row)) {
            kept_for[dropped] = Some(kept);
        }
        kept_for
    }

    /// How many of `pairs` both stay.
    pub(super) fn n_missed(pairs: &[(usize, usize)], outcome: &Outcome) -> usize {
        let stays = |row: usize| outcome.reasons[row].is_none();
        pairs.iter().filter(|&&(left, right)| stays(left) && stays(right)).count()
    }
}

/// Sets of 5 consecutive tokens as text, tokens as runs of alphanumeric characters and `_`.
pub(super) fn shingles_by_definition(text: &str) -> HashSet<String> {
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
        let oracle = Oracle::new(&documents, Measure::Jaccard);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../sample-data/{name}_pairs.tsv"));
        let listed = std::fs::read_to_string(path).unwrap();
        assert_eq!(listed.lines().count(), oracle.pairs_at(0.5).len());
        let settings = Settings::default();
        let mut reader = Reader::new(&settings);
        for line in listed.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let expect: f64 = fields[2].parse().unwrap();
            let rows = [0, 1].map(|field| oracle.row(fields[field]));
            let [left, right] = rows.map(|row| {
                let mut set = reader.read(&documents[row].text).1.clone();
                to_set(&mut set);
                set
            });
            let similarity = jaccard(&left, &right);
            assert_eq!(similarity.to_bits(), oracle.similarity(rows[0], rows[1]).to_bits(), "{line}");
            assert!((similarity - expect).abs() <= 5e-5, "{line}: {similarity}");
        }
    }
}

/// Every drop must be proven, and be for a row that stays; of all pairs at or above the threshold, at most `missed_share` may both stay.
pub(super) fn check(documents: &[Document], oracle: &Oracle, settings: &Settings, missed_share: f64) -> Outcome {
    let outcome = run(documents, settings);
    for row in &outcome.evidence {
        let (dropped, kept) = oracle.rows(row);
        assert!(outcome.reasons[kept].is_none(), "{row:?}");
        if row.rule == "connected" {
            continue;
        }
        let exact = oracle.similarity(dropped, kept);
        assert!(exact >= settings.threshold, "{} was dropped for {} at {exact}", row.dropped_id, row.kept_id);
        match row.method.as_str() {
            "exact" => assert_eq!(row.similarity.to_bits(), exact.to_bits(), "{row:?}"),
            "identical" => assert!((exact - 1.0).abs() < 1e-12, "{row:?}"),
            _ => assert!((row.similarity - exact).abs() < 0.15, "{row:?}"),
        }
    }
    let pairs = oracle.pairs_at(settings.threshold);
    let n_missed = Oracle::n_missed(&pairs, &outcome);
    let most = missed_share * pairs.len() as f64;
    assert!(n_missed as f64 <= most, "{n_missed} of {} pairs at {} both stay", pairs.len(), settings.threshold);
    outcome
}

#[test]
fn nothing_is_dropped_without_proof_and_little_is_missed() {
    for name in ["laws.jsonl", "licences.jsonl"] {
        let documents = sample(name);
        let oracle = Oracle::new(&documents, Measure::Jaccard);
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
        let oracle = Oracle::new(&documents, Measure::Jaccard);
        for threshold in [0.5, 0.7, 0.8, 0.9, 1.0] {
            let settings = Settings { threshold, recall: 1.0, ..Settings::default() };
            let outcome = check(&documents, &oracle, &settings, 0.0);
            let kept: Vec<Document> = outcome.kept(&documents).into_iter().cloned().collect();
            assert_eq!(run(&kept, &settings).n_dropped(), 0);
        }
    }
}

#[test]
fn stars_are_those_of_the_definition() {
    for name in ["laws.jsonl", "licences.jsonl"] {
        let documents = sample(name);
        let oracle = Oracle::new(&documents, Measure::Jaccard);
        for threshold in [0.5, 0.65, 0.8, 0.95] {
            let settings = Settings { threshold, recall: 1.0, ..Settings::default() };
            let outcome = run(&documents, &settings);
            let expect = Definition::new(&documents, &settings, &oracle).star_kept();
            let found = oracle.kept_for(&outcome);
            for (row, (found, expect)) in found.into_iter().zip(expect).enumerate() {
                assert_eq!(found.is_some(), expect.is_some(), "{} at {threshold}", documents[row].id);
                // Texts that differ in white space only are as similar as identical ones: the exact rule looks first.
                if let (Some(found), Some(expect)) = (found, expect) {
                    assert!((oracle.similarity(row, found) - oracle.similarity(row, expect)).abs() < 1e-12);
                }
            }
        }
    }
}

#[test]
fn connected_rows_are_those_of_a_breadth_first_search() {
    let documents = sample("licences.jsonl");
    let oracle = Oracle::new(&documents, Measure::Jaccard);
    for recall in [1.0, 0.999] {
        let threshold = 0.8;
        let settings = Settings { threshold, recall, linkage: Linkage::Connected, ..Settings::default() };
        let outcome = check(&documents, &oracle, &settings, 0.0);
        assert_eq!(oracle.kept_for(&outcome), Definition::new(&documents, &settings, &oracle).connected_kept());
        assert!(outcome.report.n_connected > 0, "the sample has chains");
        for row in outcome.evidence.iter().filter(|row| row.rule == "connected") {
            let (dropped, kept) = oracle.rows(row);
            assert!(row.similarity >= threshold && oracle.similarity(dropped, kept) < threshold);
        }
    }
}
