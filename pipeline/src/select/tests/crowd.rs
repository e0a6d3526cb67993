//! Answers of annotators, against cleanlab; rows that are labelled once more.

use serde::Deserialize;

use super::super::{Answered, Crowd, LabelledPool, SelectSettings, Strategy};
use super::{Delivery, ONE_BATCH, chosen, pool, select_from, select_with};
use crate::RowSet;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    n_classes: usize,
    n_annotators: usize,
    votes: Vec<Vec<(usize, usize)>>,
    probabilities: Vec<Vec<f32>>,
    scores: Vec<f64>,
    unanswered_probabilities: Vec<Vec<f32>>,
    unanswered_scores: Vec<f64>,
}

fn answered(votes: &[Vec<(usize, usize)>], probabilities: &[Vec<f32>]) -> Vec<Answered> {
    let rows = votes.iter().zip(probabilities).zip(0..);
    rows.map(|((votes, of), row)| Answered { row, votes: votes.clone(), probabilities: of.clone() }).collect()
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|class| format!("class {class}")).collect()
}

#[test]
fn scores_are_those_of_cleanlab() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/select/activelab.json");
    let reference: Reference = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(reference.cases.len(), 5);
    for case in reference.cases {
        let rows = answered(&case.votes, &case.probabilities);
        let crowd = Crowd::new(&rows, case.n_annotators, names(case.n_classes));
        for (row, expected) in rows.iter().zip(&case.scores) {
            let score = crowd.opinion(row.row).unwrap().score;
            assert!((score - expected).abs() < 1e-6, "{}, row {}: {score}, by cleanlab {expected}", case.name, row.row);
        }
        for (probabilities, expected) in case.unanswered_probabilities.iter().zip(&case.unanswered_scores) {
            let most = probabilities.iter().copied().fold(0.0, f32::max);
            let score = f64::from(crowd.unanswered(most));
            assert!((score - expected).abs() < 1e-6, "{}: {score}, by cleanlab {expected}", case.name);
        }
    }
}

/// Three who agree but for one row, and one who is always wrong.
#[test]
fn the_crowd_sees_through_an_annotator_who_is_always_wrong() {
    let votes: Vec<Vec<(usize, usize)>> =
        (0..30).map(|row| vec![(0, row % 3), (1, if row == 4 { 2 } else { row % 3 }), (2, (row + 1) % 3)]).collect();
    let probabilities: Vec<Vec<f32>> =
        (0..30).map(|row| (0..3).map(|class| if class == row % 3 { 0.8 } else { 0.1 }).collect()).collect();
    let crowd = Crowd::new(&answered(&votes, &probabilities), 3, names(3));
    let opinion = |row: u64| *crowd.opinion(row).unwrap();
    assert!((0..30).all(|row| opinion(row).class == row as usize % 3), "the wrong one never wins");
    assert!((0..30).filter(|row| *row != 4).all(|row| opinion(4).score < opinion(row).score), "split rows come first");
}

#[test]
fn nothing_to_say_and_no_crash() {
    let none = Crowd::new(&[], 0, names(3));
    assert_eq!((none.opinion(0), none.is_empty()), (None, true));
    assert!((f64::from(none.unanswered(0.5)) - f64::midpoint(0.5, 1.0 / 3.0)).abs() < 1e-6);
    // All are of one class, which a guess has right, too.
    let rows = answered(&vec![vec![(0, 1), (1, 1)]; 4], &vec![vec![0.5, 0.5]; 4]);
    let crowd = Crowd::new(&rows, 2, names(2));
    assert!((0..4).all(|row| crowd.opinion(row).unwrap().score.is_finite()));
    // An annotator who never shares a row.
    let rows = answered(&[vec![(0, 1), (1, 0)], vec![(2, 0)]], &[vec![0.5, 0.5], vec![0.5, 0.5]]);
    let crowd = Crowd::new(&rows, 3, names(2));
    assert!((0..2).all(|row| crowd.opinion(row).unwrap().score.is_finite()));
}

/// One queue of new and labelled rows, against a sort; in any slicing.
#[test]
fn new_and_labelled_rows_are_of_one_queue() {
    let rows = pool(400, 9);
    let labelled: Vec<u64> = (0..400).step_by(4).collect();
    let votes: Vec<Vec<(usize, usize)>> = labelled
        .iter()
        .map(|row| (0..=row % 3).map(|who| (who as usize, ((row + who) % 2) as usize)).collect())
        .collect();
    let answered: Vec<Answered> = labelled
        .iter()
        .zip(&votes)
        .map(|(&row, votes)| Answered {
            row,
            votes: votes.clone(),
            probabilities: rows[row as usize].probabilities.to_vec(),
        })
        .collect();
    let crowd = Crowd::new(&answered, 3, names(3));
    let (split, certain): (RowSet, RowSet) = (
        labelled.iter().copied().filter(|row| row % 3 == 1).collect(),
        labelled.iter().copied().filter(|row| row % 3 != 1).collect(),
    );
    let mut queue: Vec<(f32, u64)> = rows
        .iter()
        .zip(0..)
        .map(|(row, number)| match crowd.opinion(number) {
            Some(opinion) => (opinion.score as f32, number),
            None => (crowd.unanswered(row.probabilities.iter().copied().fold(0.0, f32::max)), number),
        })
        .collect();
    queue.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Up to a budget that no tie crosses.
    let budget = (40..100).find(|&n| queue[n - 1].0 < queue[n].0).unwrap();
    let mut expected: Vec<&str> = queue[..budget].iter().map(|(_, row)| rows[*row as usize].id.as_str()).collect();
    let n_again = queue[..budget].iter().filter(|(_, row)| crowd.opinion(*row).is_some()).count();
    assert!(5 < n_again && n_again < budget - 5, "{n_again} of {budget}");
    expected.sort_unstable();
    let settings =
        SelectSettings { budget, strategy: Strategy::Activelab, random_ratio: 0.0, ..SelectSettings::default() };
    for delivery in [ONE_BATCH, Delivery { batch_rows: 7, n_threads: 1 }] {
        let known = LabelledPool { rows: certain.clone(), split: split.clone(), ..LabelledPool::default() };
        let outcome = select_with(&rows, &settings, &known, crowd.clone(), delivery).unwrap();
        let batch = chosen(&rows, &outcome);
        let mut ids: Vec<&str> = batch.iter().map(|(id, ..)| id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{delivery:?}");
        let said_again = batch.iter().filter(|(.., reason)| reason.starts_with("again: ")).count();
        let report = &outcome.report;
        assert_eq!((said_again as u64, report.n_relabelled), (n_again as u64, n_again as u64));
        assert_eq!((report.n_labelled, report.n_excluded), (certain.len(), split.len()));
    }
    let labelled = LabelledPool { rows: certain, split, ..LabelledPool::default() };
    let outcome =
        select_from(&rows, false, &SelectSettings { budget: 400, ..settings }, &labelled, RowSet::new(), ONE_BATCH);
    assert_eq!(outcome.unwrap().report.n_chosen, 300, "no opinion, no second label");
}
