//! Random documents with planted edits: what the search finds, against all pairs.

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::oracle::{Oracle, check};
use super::*;

/// Edits of a text.
const EDITS: [fn(&mut ChaCha8Rng, &mut Vec<String>); 8] = [
    // Other words at the front, in the middle, at the end.
    |random, words| replace_at(random, words, 0.0),
    |random, words| replace_at(random, words, 0.5),
    |random, words| replace_at(random, words, 1.0),
    // One word more, in front.
    |random, words| {
        let first = word(random);
        words.insert(0, first);
    },
    // Two halves in the other order.
    |random, words| {
        let n_words = random.random_range(1..words.len());
        words.rotate_left(n_words);
    },
    // Blocks in any order.
    |random, words| {
        let mut blocks: Vec<Vec<String>> = words.chunks(words.len() / 4 + 1).map(<[String]>::to_vec).collect();
        blocks.shuffle(random);
        *words = blocks.concat();
    },
    // The end cut off.
    |random, words| {
        let n_words = words.len() * random.random_range(50..100) / 100;
        words.truncate(n_words);
    },
    // Words changed here and there.
    |random, words| {
        for _ in 0..random.random_range(1..5) {
            let at = random.random_range(0..words.len());
            words[at] = word(random);
        }
    },
];

fn word(random: &mut ChaCha8Rng) -> String {
    format!("w{}", random.random_range(0..3000))
}

/// Replaces up to a third of the words, around a place between 0 (front) and 1 (end).
fn replace_at(random: &mut ChaCha8Rng, words: &mut [String], place: f64) {
    let n = random.random_range(1..words.len() / 3 + 2).min(words.len());
    let start = ((words.len() - n) as f64 * place) as usize;
    for slot in &mut words[start..start + n] {
        *slot = word(random);
    }
}

/// Texts of all lengths, each with some edited copies; in any order.
fn edited_documents(seed: u64) -> Vec<Document> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut texts = Vec::new();
    for _ in 0..60 {
        let n_words = random.random_range(8..250);
        let words: Vec<String> = (0..n_words).map(|_| word(&mut random)).collect();
        for _ in 0..random.random_range(0..6) {
            let mut copy = words.clone();
            for _ in 0..random.random_range(1..3) {
                EDITS.choose(&mut random).unwrap()(&mut random, &mut copy);
            }
            texts.push(copy.join(" "));
        }
        texts.push(words.join(" "));
    }
    texts.shuffle(&mut random);
    documents(texts.iter().map(String::as_str))
}

#[test]
fn edits_are_found_and_nothing_else_is() {
    let mut n_pairs_seen = 0;
    for seed in 0..6 {
        let documents = edited_documents(seed);
        let oracle = Oracle::new(&documents, Measure::Jaccard);
        for threshold in [0.5, 0.7, 0.8, 0.9] {
            let at_threshold = oracle.pairs_at(threshold);
            n_pairs_seen += at_threshold.len();
            let mut n_pairs_of = vec![0; documents.len()];
            for &(left, right) in &at_threshold {
                n_pairs_of[left] += 1;
                n_pairs_of[right] += 1;
            }
            let most_of_row = n_pairs_of.iter().copied().max().unwrap_or(0);
            for recall in [0.99, 0.999, 1.0] {
                let settings = Settings { threshold, recall, seed, ..Settings::default() };
                let outcome = check(&documents, &oracle, &settings, 1.0);
                let n_missed = Oracle::n_missed(&at_threshold, &outcome);
                // Both rows of a pair stay only if no band is shared, or if the estimate is four standard errors too low.
                // Pairs that share a row are not independent: at most twice `most_of_row` hang together with any of them.
                let missed = 1.0 - settings.search().unwrap().probability(threshold) + 4e-5;
                let mean = at_threshold.len() as f64 * missed;
                let most = mean + 5.0 * (2.0 * f64::from(most_of_row) * mean).sqrt();
                let most = if recall < 1.0 { most as usize } else { 0 };
                assert!(n_missed <= most, "seed {seed}, {threshold}, recall {recall}: {n_missed} missed, not {most}");
            }
        }
    }
    assert!(n_pairs_seen > 3000, "{n_pairs_seen} pairs prove little");
}

#[test]
fn every_kind_of_edit_is_found_when_it_is_small() {
    let mut random = ChaCha8Rng::seed_from_u64(77);
    for (kind, edit) in EDITS.into_iter().enumerate() {
        let mut n_near = 0;
        for _ in 0..40 {
            let words: Vec<String> = (0..random.random_range(60..400)).map(|_| word(&mut random)).collect();
            let mut copy = words.clone();
            edit(&mut random, &mut copy);
            let documents = documents([words.join(" ").as_str(), copy.join(" ").as_str()]);
            let oracle = Oracle::new(&documents, Measure::Jaccard);
            let similarity = oracle.similarity(0, 1);
            n_near += usize::from(similarity >= 0.8);
            let outcome = run(&documents, &Settings { recall: 1.0, ..Settings::default() });
            assert_eq!(outcome.n_dropped(), usize::from(similarity >= 0.8), "edit {kind} at {similarity}");
        }
        assert!(n_near > 5, "edit {kind} is small {n_near} times only");
    }
}
