//! Groups, sources and caps against their definitions over all pairs.

use std::collections::BTreeMap;

use arrow::array::FixedSizeBinaryArray;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::definition::Definition;
use super::oracle::Oracle;
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
        let oracle = Oracle::new(&rows, Measure::Jaccard);
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
            let definition = Definition::new(&rows, &settings, &oracle);
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
            for evidence in &outcome.evidence {
                let (dropped, kept) = oracle.rows(evidence);
                if evidence.rule != "connected" {
                    assert!(definition.may_meet(dropped, kept) || evidence.rule == "near_duplicate", "{evidence:?}");
                    assert_eq!(
                        evidence.similarity.to_bits(),
                        oracle.similarity(dropped, kept).to_bits(),
                        "{evidence:?}"
                    );
                }
            }
            assert_eq!(oracle.kept_for(&outcome), expect, "round {round}, {settings:?}");
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
        let oracle = Oracle::new(&rows, Measure::Jaccard);
        for scope in scopes() {
            let settings = Settings { threshold: 0.5, keep: by_score(), scope, ..Settings::default() };
            let outcome = run(&rows, &settings);
            let definition = Definition::new(&rows, &settings, &oracle);
            for evidence in &outcome.evidence {
                let (dropped, kept) = oracle.rows(evidence);
                assert!(definition.is_edge(dropped, kept), "{evidence:?}");
            }
            let n_expect = definition.star().into_iter().filter(|&is_dropped| is_dropped).count();
            assert!(outcome.n_dropped() * 20 >= n_expect * 19, "{} of {n_expect} found", outcome.n_dropped());
        }
    }
}

#[test]
fn containment_keeps_to_the_scope_too() {
    let mut random = ChaCha8Rng::seed_from_u64(54);
    let mut n_dropped = BTreeMap::new();
    for round in 0..15 {
        let rows = corpus(&mut random, 70);
        let oracle = Oracle::new(&rows, Measure::Containment);
        for scope in scopes() {
            let settings = Settings {
                measure: Measure::Containment,
                threshold: *[0.3, 0.5, 0.8].choose(&mut random).unwrap(),
                recall: *[0.99, 1.0].choose(&mut random).unwrap(),
                keep: [KeepOrder::First, KeepOrder::Longest, by_score()].choose(&mut random).unwrap().clone(),
                linkage: *[Linkage::Star, Linkage::Connected].choose(&mut random).unwrap(),
                scope,
                ..Settings::default()
            };
            let outcome = run(&rows, &settings);
            let definition = Definition::new(&rows, &settings, &oracle);
            for evidence in outcome.evidence.iter().filter(|evidence| evidence.rule != "connected") {
                let (dropped, kept) = oracle.rows(evidence);
                assert!(definition.is_edge(dropped, kept), "{evidence:?}");
            }
            // Sets as small as these are their own samples: nothing is missed.
            let expect = match settings.linkage {
                Linkage::Star => definition.star(),
                Linkage::Connected => definition.connected_kept().iter().map(Option::is_some).collect(),
            };
            let found: Vec<bool> = outcome.reasons.iter().map(Option::is_some).collect();
            assert_eq!(found, expect, "round {round}, {settings:?}");
            *n_dropped.entry(format!("{:?}", settings.scope)).or_default() += outcome.n_dropped();
        }
    }
    assert!(n_dropped.values().all(|&n_rows: &usize| n_rows > 20), "{n_dropped:?}");
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
