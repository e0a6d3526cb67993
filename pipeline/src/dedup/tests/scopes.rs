//! Groups, sources and caps against their definitions over all pairs.

use std::collections::BTreeMap;

use arrow::array::FixedSizeBinaryArray;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::oracle::shingles_by_definition;
use super::*;

/// Documents of few words, many of them near or equal to another, some without a word, in three files and four groups.
fn corpus(random: &mut ChaCha8Rng, n_documents: usize) -> Vec<Document> {
    let words: Vec<String> = (0..40).map(|word| format!("w{word}")).collect();
    let mut texts: Vec<String> = Vec::new();
    while texts.len() < n_documents {
        let mut text: Vec<&str> = match texts.choose(random) {
            Some(earlier) if random.random_bool(0.7) => earlier.split(' ').collect(),
            _ => (0..random.random_range(0..40)).map(|_| words.choose(random).unwrap().as_str()).collect(),
        };
        if !text.is_empty() && random.random_bool(0.7) {
            let place = random.random_range(0..text.len());
            text[place] = words.choose(random).unwrap();
        }
        if random.random_bool(0.2) {
            text.push(words.choose(random).unwrap());
        }
        texts.push(if random.random_bool(0.05) { "!".to_owned() } else { text.join(" ") });
    }
    let mut documents = documents(texts.iter().map(String::as_str));
    for document in &mut documents {
        document.file = random.random_range(0..3);
        document.group = *[None, Some(""), Some("a"), Some("b")].choose(random).unwrap();
        document.score = Some(random.random_range(0..10));
    }
    documents
}

/// What is kept and what is dropped for whom, from similarities of all pairs.
struct Definition<'a> {
    documents: &'a [Document],
    settings: &'a Settings,
    similarities: &'a [Vec<f64>],
    /// Documents in keep order.
    order: Vec<usize>,
}

impl<'a> Definition<'a> {
    fn new(documents: &'a [Document], settings: &'a Settings, similarities: &'a [Vec<f64>]) -> Self {
        let mut order: Vec<usize> = (0..documents.len()).collect();
        match &settings.keep {
            KeepOrder::First => {}
            KeepOrder::Longest => order.sort_by_key(|&row| std::cmp::Reverse(documents[row].text.len())),
            KeepOrder::Columns(_) => order.sort_by_key(|&row| std::cmp::Reverse(documents[row].score)),
        }
        Self { documents, settings, similarities, order }
    }

    fn may_meet(&self, left: usize, right: usize) -> bool {
        let (left, right) = (&self.documents[left], &self.documents[right]);
        let in_one_group = self.settings.scope.by.is_none() || left.group == right.group;
        in_one_group
            && match self.settings.scope.sources {
                Sources::All => true,
                Sources::Within => left.file == right.file,
                Sources::Across => left.file != right.file,
            }
    }

    fn is_edge(&self, left: usize, right: usize) -> bool {
        self.similarities[left][right] >= self.settings.threshold && self.may_meet(left, right)
    }

    /// In keep order, a row is dropped if and only if it has an edge to a kept row before it.
    fn star(&self) -> Vec<bool> {
        let mut is_dropped = vec![false; self.documents.len()];
        for (place, &row) in self.order.iter().enumerate() {
            is_dropped[row] = self.order[..place].iter().any(|&other| !is_dropped[other] && self.is_edge(row, other));
        }
        is_dropped
    }

    /// For whom each row is dropped: for the most similar of the kept rows, the first of them, save that rows of equal text
    /// that meet the same rows go where the first of them goes.
    fn star_kept(&self) -> Vec<Option<usize>> {
        let mut kept_for: Vec<Option<usize>> = vec![None; self.documents.len()];
        for (place, &row) in self.order.iter().enumerate() {
            let before = &self.order[..place];
            let is_across = self.settings.scope.sources == Sources::Across;
            let is_same = |&&other: &&usize| {
                let (left, right) = (&self.documents[row], &self.documents[other]);
                let in_one_group = self.settings.scope.by.is_none() || left.group == right.group;
                let is_one =
                    if is_across { in_one_group && left.file == right.file } else { self.may_meet(row, other) };
                is_one && left.text == right.text
            };
            kept_for[row] = match before.iter().find(is_same) {
                Some(&first) if kept_for[first].is_some() || is_across => kept_for[first],
                Some(&first) => Some(first),
                None => {
                    let kept = before.iter().filter(|&&other| kept_for[other].is_none() && self.is_edge(row, other));
                    let best = kept.rev().max_by(|left, right| {
                        self.similarities[row][**left].total_cmp(&self.similarities[row][**right])
                    });
                    best.copied()
                }
            };
        }
        kept_for
    }

    /// The first row in keep order of everything that edges connect.
    fn connected_kept(&self) -> Vec<Option<usize>> {
        let mut kept_for: Vec<Option<usize>> = vec![None; self.documents.len()];
        let mut is_seen = vec![false; self.documents.len()];
        for &first in &self.order {
            let mut queue = if is_seen[first] { Vec::new() } else { vec![first] };
            is_seen[first] = true;
            while let Some(row) = queue.pop() {
                for other in 0..self.documents.len() {
                    if !is_seen[other] && self.is_edge(row, other) {
                        is_seen[other] = true;
                        kept_for[other] = Some(first);
                        queue.push(other);
                    }
                }
            }
        }
        kept_for
    }

    /// Lets the first of each cluster stay.
    fn cap(&self, mut kept_for: Vec<Option<usize>>) -> Vec<Option<usize>> {
        let mut n_stay: BTreeMap<usize, u64> = BTreeMap::new();
        for &row in &self.order {
            let Some(kept) = kept_for[row] else { continue };
            let n_stay = n_stay.entry(kept).or_insert(1);
            if *n_stay < self.settings.cap_cluster {
                *n_stay += 1;
                kept_for[row] = None;
            }
        }
        kept_for
    }
}

fn similarities(documents: &[Document]) -> Vec<Vec<f64>> {
    let sets: Vec<HashSet<String>> = documents.iter().map(|document| shingles_by_definition(&document.text)).collect();
    let similarity = |left: usize, right: usize| {
        let n_shared = sets[left].intersection(&sets[right]).count();
        let n_all = sets[left].len() + sets[right].len() - n_shared;
        let is_same = documents[left].text == documents[right].text;
        if is_same { 1.0 } else { n_shared as f64 / n_all.max(1) as f64 }
    };
    (0..sets.len()).map(|left| (0..sets.len()).map(|right| similarity(left, right)).collect()).collect()
}

fn scopes() -> Vec<Scope> {
    let all = [Sources::All, Sources::Within, Sources::Across];
    let by = [None, Some("group".to_owned())];
    let scopes = all.into_iter().flat_map(|sources| by.clone().map(|by| Scope { sources, source_column: None, by }));
    scopes.collect()
}

fn by_score() -> KeepOrder {
    KeepOrder::Columns(vec![("score".into(), Direction::Descending)])
}

#[test]
fn every_scope_and_cap_is_that_of_its_definition() {
    let mut random = ChaCha8Rng::seed_from_u64(51);
    let mut n_dropped = BTreeMap::new();
    for round in 0..30 {
        let rows = corpus(&mut random, 70);
        let similarities = similarities(&rows);
        let index: HashMap<&str, usize> =
            rows.iter().enumerate().map(|(index, document)| (document.id.as_str(), index)).collect();
        for scope in scopes() {
            let settings = Settings {
                threshold: *[0.3, 0.5, 0.8].choose(&mut random).unwrap(),
                recall: 1.0,
                keep: [KeepOrder::First, KeepOrder::Longest, by_score()].choose(&mut random).unwrap().clone(),
                linkage: *[Linkage::Star, Linkage::Star, Linkage::Connected].choose(&mut random).unwrap(),
                cap_cluster: *[1, 1, 2, 3, 1000].choose(&mut random).unwrap(),
                scope,
                ..Settings::default()
            };
            let outcome = run(&rows, &settings);
            let definition = Definition::new(&rows, &settings, &similarities);
            let (expect, is_dropped) = match settings.linkage {
                Linkage::Star => (definition.star_kept(), definition.star()),
                Linkage::Connected => {
                    let kept_for = definition.connected_kept();
                    let is_dropped = kept_for.iter().map(Option::is_some).collect();
                    (kept_for, is_dropped)
                }
            };
            assert!(expect.iter().map(Option::is_some).eq(is_dropped), "the two definitions differ");
            let expect = definition.cap(expect);
            let mut found = vec![None; rows.len()];
            for evidence in &outcome.evidence {
                let (dropped, kept) = (index[evidence.dropped_id.as_str()], index[evidence.kept_id.as_str()]);
                found[dropped] = Some(kept);
                if evidence.rule != "connected" {
                    assert!(definition.may_meet(dropped, kept) || evidence.rule == "near_duplicate", "{evidence:?}");
                    assert_eq!(evidence.similarity.to_bits(), similarities[dropped][kept].to_bits(), "{evidence:?}");
                }
            }
            assert_eq!(found, expect, "round {round}, {settings:?}");
            *n_dropped.entry(format!("{:?} {:?}", settings.scope, settings.linkage)).or_default() +=
                outcome.n_dropped();
        }
    }
    assert_eq!(n_dropped.len(), 12);
    assert!(n_dropped.values().all(|&n_rows: &usize| n_rows > 20), "{n_dropped:?}");
}

#[test]
fn sketches_keep_to_the_scope_too() {
    let mut random = ChaCha8Rng::seed_from_u64(52);
    for _ in 0..10 {
        let rows = corpus(&mut random, 100);
        let similarities = similarities(&rows);
        let index: HashMap<&str, usize> =
            rows.iter().enumerate().map(|(index, document)| (document.id.as_str(), index)).collect();
        for scope in scopes() {
            let settings = Settings { threshold: 0.5, keep: by_score(), scope, ..Settings::default() };
            let outcome = run(&rows, &settings);
            let definition = Definition::new(&rows, &settings, &similarities);
            for evidence in &outcome.evidence {
                let (dropped, kept) = (index[evidence.dropped_id.as_str()], index[evidence.kept_id.as_str()]);
                assert!(definition.is_edge(dropped, kept), "{evidence:?}");
            }
            let n_expect = definition.star().into_iter().filter(|&is_dropped| is_dropped).count();
            assert!(outcome.n_dropped() * 20 >= n_expect * 19, "{} of {n_expect} found", outcome.n_dropped());
        }
    }
}

/// Runs with groups that are not mixed into keys and shingles, as if their hashes there were all equal.
fn run_colliding(groups: [u128; 3], recall: f64) -> usize {
    let text = "every word of this text stands in the other one as well save for the very last of them all which is ";
    let rows = documents([&*format!("{text}one"), &*format!("{text}two"), &*format!("{text}three")]);
    let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
    let plain = Settings { recall, ..Settings::default() };
    let grouped = Settings { scope: Scope { by: Some("group".into()), ..Scope::default() }, ..plain.clone() };
    let (mut barrier, handle) = NearDuplicates::new(&grouped, &context).unwrap();
    let rows = batch(&[0, 1, 2], &rows);
    let fingerprints = Fingerprint::new(&plain).unwrap().apply(rows.clone()).unwrap();
    let groups = FixedSizeBinaryArray::try_from_iter(groups.iter().map(|group| group.to_be_bytes())).unwrap();
    let names = fingerprints.schema();
    let columns = names.fields().iter().map(|field| field.name().as_str()).zip(fingerprints.columns().iter().cloned());
    let columns = columns.chain([(GROUP, Arc::new(groups) as ArrayRef)]);
    barrier.observe(&RecordBatch::try_from_iter(columns).unwrap(), &context).unwrap();
    let mut next = Box::new(barrier).end_of_pass(&context).unwrap();
    while let Next::Again { rows: wanted, map, mut barrier } = next {
        barrier.observe(&map.apply(only(&rows, &wanted)).unwrap(), &context).unwrap();
        next = barrier.end_of_pass(&context).unwrap();
    }
    handle.take().unwrap().verdict.dropped().len() as usize
}

#[test]
fn groups_whose_hashes_collide_in_shingles_drop_nothing_of_each_other() {
    for recall in [0.99, 1.0] {
        assert_eq!(run_colliding([7, 7, 7], recall), 2);
        // Equal in the 64 bits that are mixed in.
        assert_eq!(run_colliding([7, 7 + (1 << 64), 7 + (2 << 64)], recall), 0);
        assert_eq!(run_colliding([7, 8, 7], recall), 1);
    }
}

#[test]
fn a_file_may_repeat_itself_across_sources() {
    let text = "the same few words again and again";
    let mut rows = documents([text; 6]);
    for (document, file) in rows.iter_mut().zip([0, 0, 1, 2, 0, 1]) {
        document.file = file;
    }
    let scope = Scope { sources: Sources::Across, ..Scope::default() };
    for recall in [0.99, 1.0] {
        let outcome = run(&rows, &Settings { recall, scope: scope.clone(), ..Settings::default() });
        let dropped: Vec<&str> = outcome.evidence.iter().map(|row| row.dropped_id.as_str()).collect();
        assert_eq!(dropped, ["doc-2", "doc-3", "doc-5"]);
        assert!(outcome.evidence.iter().all(|row| row.kept_id == "doc-0" && row.rule == "identical_text"));
    }
}

#[test]
fn a_hot_bucket_of_one_source_hides_nothing_from_another() {
    // Every row of the first file is clearly near every other, and may not be dropped for it. Each of the second is near one of
    // the last rows of the first, and no other.
    const N_NEAR: usize = 3_000;
    let mut random = ChaCha8Rng::seed_from_u64(53);
    let words: Vec<String> = (0..300).map(|word| format!("word{word}")).collect();
    let replace = |words: &[String], n_words: usize, random: &mut ChaCha8Rng| {
        let mut words = words.to_vec();
        let start = random.random_range(0..words.len() - n_words);
        (start..start + n_words).for_each(|place| words[place] = format!("x{}", random.random::<u32>()));
        words
    };
    let near: Vec<Vec<String>> = (0..N_NEAR).map(|_| replace(&words, 6, &mut random)).collect();
    let nearer: Vec<Vec<String>> = near[N_NEAR - 300..].iter().map(|words| replace(words, 25, &mut random)).collect();
    let texts: Vec<String> = near.iter().chain(&nearer).map(|words| words.join(" ")).collect();
    let mut rows = documents(texts.iter().map(String::as_str));
    rows[N_NEAR..].iter_mut().for_each(|document| document.file = 1);
    let scope = Scope { sources: Sources::Across, ..Scope::default() };
    let settings = Settings { threshold: 0.8, recall: 0.6, scope, ..Settings::default() };
    let outcome = run(&rows, &settings);
    assert!(outcome.report.n_hot_buckets > 0);
    assert!(outcome.reasons[..N_NEAR].iter().all(Option::is_none));
    assert!(outcome.n_dropped() >= 270, "{} of 300 found", outcome.n_dropped());
}
