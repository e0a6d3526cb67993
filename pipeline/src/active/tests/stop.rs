//! Measures against cases from the literature and by hand; rules over made-up rounds.

use super::super::stop::*;

fn check_near(value: Option<f64>, expected: f64, what: &str) {
    let value = value.unwrap_or_else(|| panic!("{what}: there is no value"));
    assert!((value - expected).abs() < 6e-5, "{what}: {value} instead of {expected}");
}

#[test]
fn kappa_by_hand() {
    let pairs = |cells: &[(&'static str, &'static str, usize)]| -> Vec<(&str, &str)> {
        cells.iter().flat_map(|&(first, second, n)| std::iter::repeat_n((first, second), n)).collect()
    };
    // 35 of 50 agree; chance alone gives 25/50 * 30/50 + 25/50 * 20/50 = 0.5.
    let one = pairs(&[("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15)]);
    check_near(kappa(&one), 0.4, "two classes");
    // 75 of 100 agree; chance gives 0.6 * 0.5 + 0.3 * 0.3 + 0.1 * 0.2 = 0.41.
    let three = pairs(&[("a", "a", 45), ("a", "b", 10), ("a", "c", 5), ("b", "a", 5), ("b", "b", 20), ("b", "c", 5)]);
    let three = [three, pairs(&[("c", "c", 10)])].concat();
    check_near(kappa(&three), (0.75 - 0.41) / (1.0 - 0.41), "three classes");
    check_near(kappa(&pairs(&[("a", "a", 7), ("b", "b", 3)])), 1.0, "perfect agreement");
    check_near(kappa(&pairs(&[("a", "a", 9)])), 1.0, "one class");
    check_near(kappa(&pairs(&[("a", "b", 9)])), 0.0, "each predicts one class, another one");
    check_near(kappa(&pairs(&[("a", "b", 5), ("b", "a", 5)])), -1.0, "the opposite");
    check_near(kappa(&pairs(&[("a", "a", 9), ("a", "b", 1)])), 0.0, "one of them predicts one class");
    assert_eq!(kappa(&[]), None);
}

#[test]
fn changed_predictions_by_hand() {
    assert_eq!(changed_ratio(&[("a", "a"), ("a", "b"), ("b", "b"), ("b", "a")]), Some(0.5));
    assert_eq!(changed_ratio(&[("a", "a")]), Some(0.0));
    assert_eq!(changed_ratio(&[]), None);
}

#[test]
fn medians_and_means() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    assert_eq!((median(Vec::new()), mean(&[])), (None, None));
    assert_eq!(mean(&[1.0, 2.0]), Some(1.5));
}

/// Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
#[test]
fn wilson_intervals_as_published() {
    for (right, of, low, high) in
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
    {
        let interval = Share { right, of }.wilson();
        check_near(interval.map(|of| of.low), low, "low");
        check_near(interval.map(|of| of.high), high, "high");
    }
    assert_eq!(Share::default().wilson(), None);
}

/// Newcombe 1998, "Interval estimation for the difference between independent proportions", table II, method 10.
#[test]
fn intervals_of_differences_as_published() {
    let cases = [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ];
    for (after, before, low, high) in cases {
        let share = |(right, of)| Share { right, of };
        let interval = gain(share(before), share(after));
        check_near(interval.map(|of| of.low), low, "low");
        check_near(interval.map(|of| of.high), high, "high");
    }
    assert_eq!(gain(Share::default(), Share { right: 1, of: 2 }), None);
}

fn round(kappa: f64, right: u64, of: u64) -> RoundMeasures {
    RoundMeasures {
        kappa: Some(kappa),
        changed_ratio: Some(1.0 - kappa),
        mean_entropy: Some(0.2),
        random: Share { right, of },
    }
}

fn says(rounds: &[RoundMeasures], n_labelled: u64, max_labels: Option<u64>) -> Vec<&'static str> {
    rules(rounds, n_labelled, max_labels).into_iter().filter(|rule| rule.says_stop).map(|rule| rule.name).collect()
}

#[test]
fn each_rule_at_its_threshold() {
    let nothing = RoundMeasures::default();
    assert_eq!(says(&[], 0, None), Vec::<&str>::new());
    assert_eq!(says(&[nothing; 5], 0, Some(1)), Vec::<&str>::new());
    assert_eq!(says(&[nothing], 7, Some(7)), ["budget"]);
    assert_eq!(says(&[nothing], 6, Some(7)), Vec::<&str>::new());

    let kappas = |values: &[f64]| {
        values.iter().map(|&kappa| RoundMeasures { kappa: Some(kappa), ..nothing }).collect::<Vec<_>>()
    };
    assert_eq!(says(&kappas(&[0.99, 0.99, 0.99]), 0, None), ["kappa"]);
    assert_eq!(says(&kappas(&[1.0, 1.0, 0.96]), 0, None), Vec::<&str>::new(), "the mean counts");
    assert_eq!(says(&kappas(&[0.0, 1.0, 1.0, 1.0]), 0, None), ["kappa"], "older rounds do not count");
    assert_eq!(says(&kappas(&[1.0, 1.0]), 0, None), Vec::<&str>::new(), "two rounds are too few");

    let changed = |ratio| RoundMeasures { changed_ratio: Some(ratio), ..nothing };
    assert_eq!(says(&[changed(0.005)], 0, None), ["changed-predictions"]);
    assert_eq!(says(&[changed(0.0), changed(0.006)], 0, None), Vec::<&str>::new(), "the last round counts");
    let unsure = |entropy| RoundMeasures { mean_entropy: Some(entropy), ..nothing };
    assert_eq!(says(&[unsure(0.049)], 0, None), ["uncertainty"]);
    assert_eq!(says(&[unsure(0.05)], 0, None), Vec::<&str>::new());
}

#[test]
fn the_gain_needs_rows_enough_to_rule_it_out() {
    let rounds = |before: (u64, u64), after: (u64, u64)| -> Vec<RoundMeasures> {
        let of = |(right, of)| RoundMeasures { random: Share { right, of }, ..RoundMeasures::default() };
        [[of(before); 3], [of(after); 3]].concat()
    };
    assert_eq!(says(&rounds((9, 10), (9, 10)), 0, None), Vec::<&str>::new(), "30 rows say nothing about 1 %");
    assert_eq!(says(&rounds((9000, 10_000), (9000, 10_000)), 0, None), ["accuracy-gain"]);
    assert_eq!(says(&rounds((8000, 10_000), (9000, 10_000)), 0, None), Vec::<&str>::new());
    assert_eq!(says(&rounds((9, 10), (9, 10))[..3], 0, None), Vec::<&str>::new(), "nothing to compare with");
}

#[test]
fn advice_for_people() {
    let usual = Situation { left_in_pool: Some(100), n_open: 0, n_classes: 2 };
    let check = |rounds: &[RoundMeasures], max_labels: Option<u64>, situation: Situation, stop: bool, words: &str| {
        let said = advice(rounds, &rules(rounds, 50, max_labels), situation);
        assert!(said.stop == stop && said.why.contains(words), "{said:?}");
    };
    let stable = [round(1.0, 9, 10); 6];
    check(&stable, None, usual, true, "hardly change any more");
    check(&[round(0.9, 9, 10); 6], None, usual, false, "still change");
    check(&[], None, Situation { left_in_pool: None, n_open: 0, n_classes: 0 }, false, "no class");
    check(&stable, None, Situation { n_classes: 1, ..usual }, false, "only one class");
    check(&stable, None, Situation { n_open: 7, ..usual }, false, "label the 7 rows");
    check(&[], Some(50), Situation { n_open: 7, ..usual }, true, "budget");
    check(&[], None, Situation { left_in_pool: Some(0), ..usual }, true, "every row");
    let rising = [[round(1.0, 50, 100); 3], [round(1.0, 90, 100); 3]].concat();
    check(&rising, None, usual, false, "still rises");
}
