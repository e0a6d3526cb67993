//! A simulation's figures by hand, and what must hold of every one.

use tamis_schemas::config::Strategy;

use super::curve::{Point, accuracy, area, labels_saved, macro_f1, mean_with_interval, up_to};
use super::inject::Injection;
use super::plot::plot;
use super::world::{Row, World};
use super::{Judged, SimulateSettings, Summary, simulate};
use crate::Error;
use crate::context::{Cancel, Context, Resources};
use crate::progress::Progress;
use crate::score::HeadKind;
use crate::score::builtin::tests::banking;

fn context(n_threads: usize) -> Context {
    Context::new(&Resources { n_threads, ..Resources::default() }, Cancel::default()).unwrap()
}

fn settings(strategies: &[Strategy]) -> SimulateSettings {
    SimulateSettings {
        strategies: strategies.to_vec(),
        n_init: 40,
        n_batch: 30,
        n_rounds: 3,
        n_seeds: 2,
        test_split: Some("test".into()),
        head: HeadKind::Linear,
        injection: Injection::default(),
    }
}

fn judged() -> Judged {
    let mut judged = Judged::default();
    for (index, (text, label, is_test)) in banking().into_iter().enumerate() {
        judged.ids.push(format!("question-{index}"));
        judged.texts.push(text);
        judged.labels.push(label);
        judged.splits.push(Some(if is_test { "test" } else { "train" }.into()));
    }
    judged
}

fn of(rows: &[(&str, &str)]) -> Judged {
    let mut judged = Judged::default();
    for (index, (text, label)) in rows.iter().enumerate() {
        judged.ids.push(format!("row-{index}"));
        judged.texts.push((*text).to_owned());
        judged.labels.push((*label).to_owned());
        judged.splits.push(Some(if index % 3 == 0 { "test" } else { "train" }.into()));
    }
    judged
}

#[test]
fn measures_by_hand() {
    let (truth, predicted) = ([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 3]);
    assert!((accuracy(&truth, &predicted) - 4.0 / 6.0).abs() < 1e-12);
    // F1: 2/3, 4/5, 2/3, and 0 of a class that was only ever predicted.
    let expect = (2.0 / 3.0 + 0.8 + 2.0 / 3.0 + 0.0) / 4.0;
    assert!((macro_f1(&truth, &predicted) - expect).abs() < 1e-12);
    assert!((macro_f1(&[1, 1], &[1, 1]) - 1.0).abs() < 1e-12, "one class");

    assert!((area(&[(0.0, 0.0), (10.0, 1.0), (30.0, 1.0)]) - 25.0 / 30.0).abs() < 1e-12);
    assert!((area(&[(25.0, 0.4)]) - 0.4).abs() < 1e-12);

    let (mean, interval) = mean_with_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]);
    let half = 2.776 * (2.5f64 / 5.0).sqrt();
    let [low, high] = interval.unwrap();
    assert!((mean - 3.0).abs() < 1e-12 && (low - 3.0 + half).abs() < 1e-9 && (high - 3.0 - half).abs() < 1e-9);
    assert_eq!(mean_with_interval(&[0.5]).1, None);
}

#[test]
fn labels_saved_by_hand() {
    let line = |slope: f64| (1..=20).map(|x| (f64::from(x) * 10.0, f64::from(x) * slope)).collect::<Vec<_>>();
    let same = labels_saved(&line(1.0), &line(1.0)).unwrap();
    assert!(same.abs() < 1e-9, "{same}");
    // Twice as fast: half of the labels; half as fast: random has its height with half of them.
    let fast = labels_saved(&line(1.0), &line(2.0)).unwrap();
    assert!((fast - 0.5).abs() < 0.02, "{fast}");
    let slow = labels_saved(&line(2.0), &line(1.0)).unwrap();
    assert!((slow - (1.0 - 200.0 / 97.5)).abs() < 1e-9, "{slow}: the mean of the last two rounds is 19.5");
    assert_eq!(labels_saved(&[], &[]), None);
    let flat = [(25.0, 0.5), (50.0, 0.9), (75.0, 0.9), (100.0, 0.9), (125.0, 0.9)];
    assert_eq!(labels_saved(&flat, &flat), Some(0.0), "a plateau saves nothing");
    assert_eq!(up_to(&[(0.0, 0.0), (10.0, 1.0), (30.0, 1.0)], 5.0), [(0.0, 0.0), (5.0, 0.5)]);
    assert_eq!(up_to(&flat, 125.0), flat);
}

#[test]
fn injections_do_what_they_say() {
    let rows: Vec<Row> = (0..900)
        .map(|index| Row {
            id: format!("{index}"),
            text: format!("text {index}"),
            label: index % 3,
            place: index as usize,
        })
        .collect();
    let counts = |rows: &[Row]| {
        let mut counts = [0; 3];
        for row in rows {
            counts[row.label as usize] += 1;
        }
        counts.sort_unstable();
        counts
    };
    let injected = Injection { imbalance: 100.0, ..Injection::default() }.apply(rows.clone(), 3);
    assert_eq!(counts(&injected), [3, 30, 300]);
    assert!(injected.iter().all(|row| rows.contains(row)), "no label was changed");

    let noisy = Injection { noise: 0.1, ..Injection::default() }.apply(rows.clone(), 3);
    assert_eq!(noisy.iter().zip(&rows).filter(|(a, b)| a.label != b.label).count(), 90);
    assert!(noisy.iter().zip(&rows).all(|(a, b)| a.id == b.id && a.label < 3));

    let tripled = Injection { duplicate: 3, ..Injection::default() }.apply(rows.clone(), 3);
    assert_eq!(tripled.len(), 2700);
    let mut ids: Vec<&str> = tripled.iter().map(|row| row.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2700, "ids are distinct");
    assert!(rows.iter().all(|row| tripled.iter().filter(|other| other.text == row.text).count() == 3));
}

fn run(judged: Judged, settings: &SimulateSettings, n_threads: usize) -> (Vec<Point>, Summary) {
    simulate(judged, None, settings, &context(n_threads), &Progress::default()).unwrap()
}

fn without_seconds(points: Vec<Point>) -> Vec<Point> {
    points.into_iter().map(|point| Point { seconds: 0.0, memory_bytes: None, ..point }).collect()
}

/// Every strategy begins with the same labels, has the same number of them, learns, and does so again.
#[test]
fn curves_are_paired_and_repeat() {
    let settings = settings(&[Strategy::Auto, Strategy::Margin, Strategy::MinMargin, Strategy::Anchor]);
    let (points, summary) = run(judged(), &settings, 2);
    assert_eq!(points.len(), 5 * 2 * 4);
    for point in &points {
        assert_eq!(point.labels, 40 + 30 * point.round, "{point:?}");
        let first = points.iter().find(|other| other.round == 0 && other.seed == point.seed).unwrap();
        let is_committee = point.strategy == "min-margin";
        assert!(point.round > 0 || is_committee || point.accuracy.to_bits() == first.accuracy.to_bits(), "{point:?}");
    }
    let (one_thread, _) = run(judged(), &settings, 1);
    assert_eq!(without_seconds(one_thread), without_seconds(points.clone()));
    let random = &summary.strategies["random"];
    assert_eq!((random.wins, random.losses, random.delta_vs_random.to_bits()), (0, 0, 0));
    assert!(random.final_accuracy > 0.3, "{random:?}");
    assert!(summary.verdict.contains("auto"), "{}", summary.verdict);
    let picture = plot(&points).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("min-margin"));
}

/// With each text three times, `auto` asks about none twice.
#[test]
fn copies_are_near_duplicates() {
    let mut settings = settings(&[]);
    settings.injection.duplicate = 3;
    let world = World::new(judged(), &settings, &context(2)).unwrap();
    let n_rows = world.pool.len() as u64;
    assert!(world.near_duplicates.len() * 3 >= n_rows * 2, "{} of {n_rows}", world.near_duplicates.len());
}

#[test]
fn awkward_data_is_no_reason_to_panic() {
    let can_be_replayed = |strategy: &Strategy| *strategy != Strategy::Activelab;
    let strategies: Vec<Strategy> = Strategy::ALL.into_iter().filter(can_be_replayed).collect();
    let small = SimulateSettings { n_init: 2, n_batch: 4, n_rounds: 3, n_seeds: 1, ..settings(&strategies) };
    let texts: [&[(&str, &str)]; 3] = [
        // A class with one row, empty texts.
        &[("", "a"), ("", "b"), ("", "a"), ("x", "a"), ("", "c"), ("y z", "a"), ("y", "b"), ("z", "b"), ("", "a")],
        // All texts equal.
        &[("same", "a"), ("same", "b"), ("same", "a"), ("same", "b"), ("same", "a"), ("same", "b")],
        // The first labels are of one class, and there are fewer rows than labels asked for.
        &[("a", "a"), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "a"), ("f", "a")],
    ];
    for rows in texts {
        let (points, summary) = run(of(rows), &small, 2);
        assert!(points.iter().all(|point| point.accuracy.is_finite() && point.macro_f1.is_finite()));
        assert!(summary.strategies.values().all(|report| report.aulc_accuracy.is_finite()), "{summary:?}");
        let n_pool = rows.len() - rows.len().div_ceil(3);
        assert!(points.iter().all(|point| point.labels as usize <= n_pool));
    }
    let one_class = simulate(of(&[("a", "x"), ("b", "x")]), None, &small, &context(1), &Progress::default());
    assert!(matches!(one_class.unwrap_err(), Error::Config { hint: Some(_), .. }));
    let no_test = SimulateSettings { test_split: Some("nowhere".into()), ..small.clone() };
    let no_test = simulate(of(texts[0]), None, &no_test, &context(1), &Progress::default());
    assert!(no_test.unwrap_err().to_string().contains("0 test rows of the split `nowhere`"));
    for refused in [
        SimulateSettings { n_batch: 0, ..small.clone() },
        SimulateSettings { injection: Injection { noise: 1.5, ..Injection::default() }, ..small.clone() },
        SimulateSettings { injection: Injection { imbalance: 0.5, ..Injection::default() }, ..small.clone() },
        SimulateSettings { injection: Injection { duplicate: 0, ..Injection::default() }, ..small },
    ] {
        let error = simulate(of(texts[0]), None, &refused, &context(1), &Progress::default()).unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{refused:?}");
    }
}
