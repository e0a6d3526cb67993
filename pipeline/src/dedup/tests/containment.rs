//! The search by containment, against all pairs by the definition.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::definition::Definition;
use super::oracle::{Oracle, shingles_by_definition};
use super::*;

fn by_containment(threshold: f64, recall: f64) -> Settings {
    Settings { measure: Measure::Containment, threshold, recall, ..Settings::default() }
}

/// As [`oracle::check`], and every drop must be for a set that is no smaller, and compared set by set.
fn check(documents: &[Document], oracle: &Oracle, settings: &Settings, missed_share: f64) -> Outcome {
    let outcome = oracle::check(documents, oracle, settings, missed_share);
    for row in &outcome.evidence {
        let (dropped, kept) = oracle.rows(row);
        assert!(oracle.size(dropped) <= oracle.size(kept), "{row:?}");
        let method = if row.rule == "identical_text" { "identical" } else { "exact" };
        assert_eq!((row.method.as_str(), row.shared_bands), (method, 0), "{row:?}");
    }
    outcome
}

#[test]
fn nothing_is_dropped_without_proof_and_little_is_missed() {
    for name in ["laws.jsonl", "licences.jsonl", "banking.jsonl"] {
        let documents = sample(name);
        let oracle = Oracle::new(&documents, Measure::Containment);
        for threshold in [0.5, 0.7, 0.8, 0.9] {
            for (recall, missed_share) in [(0.99, 0.01), (0.999, 0.001), (1.0, 0.0)] {
                let outcome = check(&documents, &oracle, &by_containment(threshold, recall), missed_share);
                assert!(outcome.n_dropped() > 10);
                assert_eq!(outcome.report.n_untested_pairs, 0);
            }
        }
    }
}

#[test]
fn stars_are_those_of_the_definition() {
    for name in ["laws.jsonl", "licences.jsonl"] {
        let documents = sample(name);
        let oracle = Oracle::new(&documents, Measure::Containment);
        for threshold in [0.5, 0.65, 0.8, 0.95, 1.0] {
            let settings = by_containment(threshold, 1.0);
            let outcome = check(&documents, &oracle, &settings, 0.0);
            let is_dropped = Definition::new(&documents, &settings, &oracle).star();
            for (row, is_dropped) in is_dropped.into_iter().enumerate() {
                assert_eq!(outcome.reasons[row].is_some(), is_dropped, "{} at {threshold}", documents[row].id);
            }
        }
    }
}

#[test]
fn connected_rows_go_for_the_largest() {
    let documents = sample("licences.jsonl");
    let oracle = Oracle::new(&documents, Measure::Containment);
    let settings = Settings { linkage: Linkage::Connected, ..by_containment(0.8, 1.0) };
    let outcome = check(&documents, &oracle, &settings, 0.0);
    assert_eq!(oracle.kept_for(&outcome), Definition::new(&documents, &settings, &oracle).connected_kept());
    assert!(outcome.report.n_connected > 0, "the sample has chains");
}

/// Long texts of words that do not repeat, and short ones cut out of them with some words changed.
fn planted(seed: u64) -> Vec<Document> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut word = {
        let mut random = ChaCha8Rng::seed_from_u64(seed + 1);
        move || format!("w{}", random.random_range(0..3_000_000))
    };
    let long: Vec<Vec<String>> = (0..40)
        .map(|row| if row == 0 { 60_000 } else { random.random_range(500..3000) })
        .map(|n_words| (0..n_words).map(|_| word()).collect())
        .collect();
    let mut texts: Vec<String> = Vec::new();
    for index in 0..2400 {
        let source = &long[index % long.len()];
        let n_words = random.random_range(5..400usize);
        let start = match index % 3 {
            0 => 0,
            1 => random.random_range(0..source.len() - n_words),
            _ => source.len() - n_words,
        };
        let share_changed = random.random_range(0.0..0.08);
        let words = source[start..start + n_words].iter();
        let words = words.map(|kept| if random.random_bool(share_changed) { word() } else { kept.clone() });
        texts.push(words.collect::<Vec<_>>().join(" "));
    }
    texts.extend(long.iter().map(|words| words.join(" ")));
    documents(texts.iter().map(String::as_str))
}

#[test]
fn short_texts_are_found_in_long_ones_wherever_they_are() {
    let documents = planted(71);
    let oracle = Oracle::new(&documents, Measure::Containment);
    for (threshold, recall, missed_share) in
        [(0.5, 0.99, 0.01), (0.8, 0.99, 0.01), (0.8, 0.999, 0.001), (0.9, 0.99, 0.01), (0.8, 1.0, 0.0)]
    {
        assert!(oracle.pairs_at(threshold).len() > 1000);
        check(&documents, &oracle, &by_containment(threshold, recall), missed_share);
    }
}

#[test]
fn what_is_in_a_longer_row_goes_whoever_is_first() {
    let long = (0..200).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
    let head = (0..100).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
    let texts =
        [&head, &long, "word3 word4 word5 word6 word7", "word3 word4 word5", "", "word50 word51 word52 word53 word55"];
    for recall in [0.99, 1.0] {
        let outcome = run(&documents(texts), &by_containment(0.8, recall));
        let dropped: Vec<(&str, &str)> =
            outcome.evidence.iter().map(|row| (row.dropped_id.as_str(), row.kept_id.as_str())).collect();
        // Three tokens are one shingle of three, which no longer text has.
        assert_eq!(dropped, [("doc-0", "doc-1"), ("doc-2", "doc-1")]);
        assert_eq!(outcome.report.n_without_tokens, 1);
    }
}

#[test]
fn the_keep_order_decides_among_sets_of_one_size() {
    let base: Vec<String> = (0..100).map(|n| format!("word{n}")).collect();
    let text = |n: usize, last: &str| [&base[..n], &[last.to_owned()]].concat().join(" ");
    let mut rows = documents([&*text(100, "a"), &text(100, "b"), &text(100, "c"), &text(99, "d")]);
    for (row, score) in rows.iter_mut().zip([Some(1), Some(3), Some(2), Some(9)]) {
        row.score = score;
    }
    let keep = KeepOrder::Columns(vec![("score".into(), Direction::Descending)]);
    for (keep, expect) in [(KeepOrder::First, "doc-0"), (keep, "doc-1")] {
        let outcome = run(&rows, &Settings { keep, ..by_containment(0.8, 0.99) });
        assert_eq!(outcome.kept(&rows).iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), [expect]);
    }
}

#[test]
fn threads_batches_memory_and_order_do_not_matter() {
    let mut documents = planted(72);
    documents.extend(sample("licences.jsonl"));
    documents.extend_from_within(40..60);
    for (row, document) in documents.iter_mut().enumerate() {
        document.id = format!("{row}-{}", document.id);
    }
    for recall in [0.99, 1.0] {
        let settings = by_containment(0.7, recall);
        let expect = run_with(&documents, &settings, &resources(1, 4 << 30, 8192));
        for other in [resources(8, 4 << 30, 7), resources(2, 1 << 20, 8192), resources(1, 1 << 10, 64)] {
            let outcome = run_with(&documents, &settings, &other);
            assert!(outcome == expect, "{other:?} changes the result");
        }
    }
}

#[test]
fn a_template_of_all_rows_costs_linear_work_and_says_what_it_left_out() {
    let mut random = ChaCha8Rng::seed_from_u64(73);
    let n_rows = 5_000;
    let texts: Vec<String> = (0..n_rows)
        .map(|row| {
            let mut words: Vec<String> = (0..200).map(|word| format!("word{word}")).collect();
            words[random.random_range(0..200)] = format!("x{row}");
            words.join(" ")
        })
        .collect();
    let report = run(&documents(texts.iter().map(String::as_str)), &by_containment(0.8, 0.99)).report;
    assert_eq!((report.n_clusters, report.largest_cluster_rows), (1, n_rows), "{report:?}");
    // Each of the rows but one is dropped, so that it does not matter whom else it could have been dropped for.
    assert_eq!((report.n_hot_buckets, report.n_untested_pairs), (0, 0));
}

#[test]
fn rows_that_stay_say_what_they_were_not_compared_with() {
    // Three quarters of each row are the template: enough for a candidate, too little for a near-duplicate.
    let template: Vec<String> = (0..79).map(|word| format!("word{word}")).collect();
    let n_rows = 4_300;
    let own = |row: usize| (0..25).map(move |word| format!("r{row}w{word}"));
    let texts: Vec<String> =
        (0..n_rows).map(|row| template.iter().cloned().chain(own(row)).collect::<Vec<_>>().join(" ")).collect();
    let outcome = run(&documents(texts.iter().map(String::as_str)), &by_containment(0.8, 0.99));
    assert_eq!(outcome.n_dropped(), 0);
    let report = &outcome.report;
    assert!(report.n_hot_buckets > 0 && report.n_untested_pairs > 0, "{report:?}");
    assert!(report.n_untested_pairs < report.n_candidate_pairs / 10, "{report:?}");
}

#[test]
fn the_report_says_how_it_searched() {
    let report = |recall| run(&documents(["a b c", "d e f"]), &by_containment(0.8, recall)).report;
    let sampled = report(0.99);
    let (n_sampled, least_shared) = sampled.sample.unwrap();
    assert!(least_shared < n_sampled && sampled.n_bands == 0);
    assert!(sampled.s_curve[16].1 >= 0.997 && sampled.s_curve[8].1 < 0.05, "{:?}", sampled.s_curve);
    let exhaustive = report(1.0);
    assert_eq!((exhaustive.sample, exhaustive.s_curve[0]), (None, (0.0, 1.0)));
}

/// Groups of two rows that share nothing but a long template with all others. The smaller row has more or less of its own
/// words from the larger one.
fn grouped(random: &mut ChaCha8Rng, n_groups: usize) -> Vec<Document> {
    const N_TEMPLATE: usize = 200;
    let template: Vec<String> = (0..N_TEMPLATE).map(|word| format!("word{word}")).collect();
    let mut texts = Vec::new();
    for group in 0..n_groups {
        let large: Vec<String> =
            template.iter().cloned().chain((0..40).map(|word| format!("g{group}w{word}"))).collect();
        let mut small = large[..N_TEMPLATE + 30].to_vec();
        let n_changed = random.random_range(0..30);
        small[N_TEMPLATE..N_TEMPLATE + n_changed].iter_mut().for_each(|word| word.push('x'));
        texts.extend([large.join(" "), small.join(" ")]);
    }
    let mut rows = documents(texts.iter().map(String::as_str));
    for (row, document) in rows.iter_mut().enumerate() {
        (document.file, document.score) = (row as u64 / 2, Some(row as i64 / 2));
    }
    rows
}

/// Whether the smaller row of a group is in the larger one.
fn is_near(group: &[Document], threshold: f64) -> bool {
    let [large, small] = [0, 1].map(|row: usize| shingles_by_definition(&group[row].text));
    small.intersection(&large).count() as f64 / small.len() as f64 >= threshold
}

#[test]
fn what_groups_share_with_each_other_hides_no_pair_of_a_group() {
    let rows = grouped(&mut ChaCha8Rng::seed_from_u64(74), 6_000);
    let threshold = 0.9;
    let expect: Vec<bool> = rows.chunks(2).map(|group| is_near(group, threshold)).collect();
    let n_expect = expect.iter().filter(|is_near| **is_near).count();
    assert!((2000..5000).contains(&n_expect), "{n_expect} pairs");
    let by_column = Scope { by: Some("score".into()), ..Scope::default() };
    let within = Scope { sources: Sources::Within, ..Scope::default() };
    for (scope, recall, most_missed) in
        [(by_column.clone(), 0.99, n_expect / 100), (within, 0.99, n_expect / 100), (by_column, 1.0, 0)]
    {
        let outcome = run(&rows, &Settings { scope, ..by_containment(threshold, recall) });
        let dropped = outcome.dropped();
        assert!(dropped.iter().all(|row| row % 2 == 1 && expect[row / 2]), "a row was dropped without proof");
        assert!(dropped.len() + most_missed >= n_expect, "{} of {n_expect} found", dropped.len());
        assert_eq!((outcome.report.n_untested_pairs, outcome.report.n_hot_buckets), (0, 0));
        assert!(outcome.report.n_candidate_pairs <= rows.len() as u64 / 2, "{:?}", outcome.report);
    }
}

/// Across sources, rows of one's own source are no candidates, however many they are.
#[test]
fn what_is_alike_in_one_source_hides_no_pair_of_two() {
    let mut rows = grouped(&mut ChaCha8Rng::seed_from_u64(75), 6_000);
    // A few of the larger rows are in another source than all others.
    let is_other = |row: usize| row.is_multiple_of(80);
    rows.iter_mut().enumerate().for_each(|(row, document)| document.file = u64::from(is_other(row)));
    let scope = Scope { sources: Sources::Across, ..Scope::default() };
    let outcome = run(&rows, &Settings { scope, ..by_containment(0.9, 0.99) });
    let expect: Vec<usize> = (0..rows.len())
        .step_by(2)
        .filter(|&row| is_other(row) && is_near(&rows[row..row + 2], 0.9))
        .map(|row| row + 1)
        .collect();
    assert!(expect.len() > 50, "{} pairs", expect.len());
    let dropped = outcome.dropped();
    assert!(dropped.iter().all(|row| expect.contains(row)), "a row was dropped without proof");
    assert!(dropped.len() + expect.len() / 50 >= expect.len(), "{} of {} found", dropped.len(), expect.len());
    let n_other = rows.iter().filter(|document| document.file == 1).count();
    let n_pairs = n_other * (rows.len() - n_other);
    assert!(outcome.report.n_candidate_pairs <= n_pairs as u64, "{:?}", outcome.report);
}
