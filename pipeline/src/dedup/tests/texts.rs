//! Texts of every kind: short, empty, in all scripts, identical, of one template.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn reasons(texts: &[&str], settings: &Settings) -> Vec<Option<String>> {
    run(&documents(texts.iter().copied()), settings).reasons
}

fn check(texts: &[&str], expect_dropped: &[(usize, &str)]) {
    for recall in [0.99, 1.0] {
        let found = reasons(texts, &Settings { recall, ..Settings::default() });
        let found: Vec<(usize, &str)> =
            found.iter().enumerate().filter_map(|(row, reason)| Some((row, reason.as_deref()?))).collect();
        assert_eq!(found, expect_dropped, "{texts:?}");
    }
}

#[test]
fn short_texts_are_one_shingle() {
    check(&["a", "b", "a b", "b a", "a b c d", "a b c e"], &[]);
    check(
        &["one", "ONE", "one!", " one", "one two"],
        &[(1, "identical"), (2, "near_duplicate"), (3, "near_duplicate")],
    );
    check(&["a b c", "a, b, c", "a b c d"], &[(1, "near_duplicate")]);
}

#[test]
fn texts_without_a_token_follow_the_exact_rule_only() {
    let texts = ["", " ", "\n", "", "😀", "😀😀", "😀", "❤\u{fe0f}", "☀\u{fe0f}", "!!", "??", "\u{301}", "!!"];
    check(&texts, &[(3, "identical"), (6, "identical"), (12, "identical")]);
    let outcome = run(&documents(texts), &Settings::default());
    assert_eq!((outcome.report.n_without_tokens, outcome.report.n_identical), (13, 3));
}

#[test]
fn every_script_is_compared_by_its_tokens() {
    // The sixth article of the Universal Declaration of Human Rights, roughly; the second of a pair has one token changed
    // at its end, the third is another sentence.
    let sentences = [
        (
            "Everyone has the right to recognition everywhere as a person before the law",
            "always",
            "No one shall be held in slavery",
        ),
        (
            "Каждый человек где бы он ни находился имеет право на признание его правосубъектности",
            "всегда",
            "Никто не должен содержаться в рабстве",
        ),
        (
            "لكل إنسان أينما وجد الحق في أن يعترف بشخصيته القانونية دائما وفي كل مكان",
            "أبدا",
            "لا يجوز استرقاق أو استعباد أي شخص",
        ),
        (
            "प्रत्येक व्यक्ति को हर कहीं कानून के समक्ष व्यक्ति के रूप में मान्यता पाने का अधिकार है",
            "सदा",
            "किसी को भी दासता में नहीं रखा जाएगा",
        ),
        ("人人在任何地方有权被承认在法律前的人格", "权", "任何人不得使为奴隶或奴役"),
        (
            "すべて人は、いかなる場所においても、法の下において、人として認められる",
            "権",
            "何人も、奴隷にされ、又は苦役に服することはない",
        ),
        ("ทุกคนมีสิทธิที่จะได้รับการยอมรับว่าเป็นบุคคลตามกฎหมายทุกแห่งหน", "ก", "บุคคลใดจะถูกบังคับให้เป็นทาสไม่ได้"),
        (
            "모든 사람은 어디에서나 법 앞에 인간으로서 인정받을 권리를 가진다 그리고 언제나 그러하다",
            "항상",
            "어느 누구도 노예 상태에 놓여지지 아니한다",
        ),
    ];
    for (sentence, word, other) in sentences {
        let first = [sentence; 4].join(" ");
        let second = format!("{first} {word}");
        let capital = first.to_uppercase();
        check(&[&first, &second, &capital, other], &[(1, "near_duplicate"), (2, "identical")]);
    }
}

#[test]
fn canonically_equivalent_texts_are_identical() {
    check(&["Müller trinkt Café", "Mu\u{308}ller trinkt Cafe\u{301}", "Muller trinkt Cafe"], &[(1, "identical")]);
}

#[test]
fn options_even_out_more() {
    let texts = ["Call 0171 now, José!", "call 0172 now jose", "call 99 now jose"];
    assert_eq!(reasons(&texts, &Settings::default()), [None, None, None]);
    let normalize = Normalize { diacritics: true, digits: true, punctuation: true };
    let found = reasons(&texts, &Settings { normalize, ..Settings::default() });
    assert_eq!(found, [None, Some("identical".to_owned()), None]);
}

#[test]
fn identical_copies_collapse_to_the_first() {
    let text = "the same text again and again, word for word";
    let mut texts = vec![text; 10_000];
    texts.insert(3, "another text");
    let outcome = run_with(&documents(texts), &Settings::default(), &resources(2, 1 << 20, 1000));
    assert_eq!((outcome.n_dropped(), outcome.report.n_identical, outcome.report.n_candidate_pairs), (9_999, 9_999, 0));
    assert!(outcome.evidence.iter().all(|row| row.kept_id == "doc-0" && row.cluster_size == 10_000));
}

#[test]
fn members_of_a_dropped_group_go_where_its_first_row_went() {
    let long = numbered_words(60);
    let near = format!("{long} more");
    let texts = [long.as_str(), &near, "unrelated words stand here all alone", &near];
    let outcome = run(&documents(texts), &Settings::default());
    let evidence: Vec<(&str, &str, &str)> =
        outcome.evidence.iter().map(|row| (row.dropped_id.as_str(), row.kept_id.as_str(), row.rule.as_str())).collect();
    assert_eq!(evidence, [("doc-1", "doc-0", "near_duplicate"), ("doc-3", "doc-0", "near_duplicate")]);
    assert_eq!(outcome.evidence[0].similarity.to_bits(), outcome.evidence[1].similarity.to_bits());
    let longest = run(&documents(texts), &Settings { keep: KeepOrder::Longest, ..Settings::default() });
    let evidence: Vec<(&str, &str, &str)> =
        longest.evidence.iter().map(|row| (row.dropped_id.as_str(), row.kept_id.as_str(), row.rule.as_str())).collect();
    assert_eq!(evidence, [("doc-0", "doc-1", "near_duplicate"), ("doc-3", "doc-1", "identical_text")]);
}

#[test]
fn the_best_score_stays() {
    let base = numbered_words(80);
    let mut rows = documents([&*base, &format!("{base}a"), &format!("{base}b"), &format!("{base}c"), "something else"]);
    for (row, score) in rows.iter_mut().zip([Some(3), None, Some(9), Some(9), None]) {
        row.score = score;
    }
    let kept = |direction| {
        let keep = KeepOrder::Columns(vec![("score".into(), direction)]);
        let outcome = run(&rows, &Settings { keep, ..Settings::default() });
        outcome.kept(&rows).iter().map(|row| row.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(kept(Direction::Descending), ["doc-2", "doc-4"]);
    assert_eq!(kept(Direction::Ascending), ["doc-0", "doc-4"]);
}

fn numbered_words(n_words: usize) -> String {
    (0..n_words).flat_map(|n| ["word".to_owned(), n.to_string(), " ".to_owned()]).collect()
}

/// A template of words in which each document replaces a few.
fn template_documents(n_documents: usize, n_words: usize, n_replaced: usize, seed: u64) -> Vec<Document> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let texts: Vec<String> = (0..n_documents)
        .map(|row| {
            let mut words: Vec<String> = (0..n_words).map(|word| format!("word{word}")).collect();
            for _ in 0..n_replaced {
                words[random.random_range(0..n_words)] = format!("x{row}y{}", random.random::<u32>());
            }
            words.join(" ")
        })
        .collect();
    documents(texts.iter().map(String::as_str))
}

#[test]
fn a_hot_bucket_costs_linear_work_and_says_what_it_left_out() {
    let rows = template_documents(5_000, 500, 1, 21);
    let outcome = run(&rows, &Settings::default());
    assert!(outcome.report.n_hot_buckets > 0);
    assert!(outcome.n_dropped() >= 4_950, "{} dropped", outcome.n_dropped());
    let all_pairs = 5_000 * 4_999 / 2;
    assert!(outcome.report.n_candidate_pairs < all_pairs / 10, "{:?}", outcome.report.n_candidate_pairs);
    assert_eq!(outcome.report.n_untested_pairs, 0, "near-identical rows leave few to compare with");

    // Half of each document is the template: rows meet in hot buckets, are far below the threshold, and all stay.
    let template = numbered_words(110);
    let unique = |row: usize| (0..90).flat_map(move |n| [format!(" u{row}"), format!("v{n}")]).take(90);
    let texts: Vec<String> =
        (0..7_500).map(|row| template.clone() + &unique(row).collect::<Vec<_>>().join(" ")).collect();
    let rows = documents(texts.iter().map(String::as_str));
    let report = run(&rows, &Settings { threshold: 0.5, recall: 0.3, ..Settings::default() }).report;
    assert!(report.n_hot_buckets > 0 && report.n_untested_pairs > 0, "{report:?}");
    assert!(report.n_candidate_pairs < report.n_bands as u64 * 7_500 * 1_000);
}

#[test]
fn an_exhaustive_search_has_no_hot_buckets() {
    let rows = template_documents(1_500, 200, 1, 23);
    let outcome = run(&rows, &Settings { recall: 1.0, ..Settings::default() });
    assert_eq!((outcome.report.n_hot_buckets, outcome.report.n_untested_pairs), (0, 0));
    let kept: Vec<Document> = outcome.kept(&rows).into_iter().cloned().collect();
    assert_eq!(run(&kept, &Settings { recall: 1.0, ..Settings::default() }).n_dropped(), 0);
}
