//! Rounds of active learning on the banking questions: what selection is for.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use tamis_schemas::columns;

use super::super::{LabelledPool, SelectSettings, Selection, Strategy};
use super::context;
use crate::RowSet;
use crate::context::Context;
use crate::score::builtin::tests::banking;
use crate::score::{BuiltinScorer, BuiltinSettings, LabelledText};
use crate::stage::{BarrierStage, MapStage};

const BATCH_ROWS: usize = 40;

struct Questions {
    pool: Vec<(String, String)>,
    test: Vec<(String, String)>,
}

fn questions() -> Questions {
    let (test, pool): (Vec<_>, Vec<_>) = banking().into_iter().partition(|row| row.2);
    let pair = |rows: Vec<(String, String, bool)>| rows.into_iter().map(|row| (row.0, row.1)).collect();
    Questions { pool: pair(pool), test: pair(test) }
}

fn scored(scorer: &BuiltinScorer, texts: &[(String, String)]) -> RecordBatch {
    let rows: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..texts.len() as u64));
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..texts.len()).map(|row| format!("question-{row}"))));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts.iter().map(|row| &row.0)));
    let batch = RecordBatch::try_from_iter([(columns::ROW, rows), (columns::ID, ids), (columns::TEXT, texts)]);
    scorer.apply(batch.unwrap()).unwrap()
}

fn fit(questions: &Questions, labelled: &RowSet, seed: u64, context: &Context) -> BuiltinScorer {
    let known = (0..).zip(&questions.pool).filter(|(row, _)| labelled.contains(*row));
    let known: Vec<_> =
        known.map(|(_, (text, label))| LabelledText { text: text.clone(), label: label.clone() }).collect();
    let sample: Vec<String> = questions.pool.iter().map(|row| row.0.clone()).collect();
    let settings = BuiltinSettings { seed, ..BuiltinSettings::default() };
    BuiltinScorer::fit(&known, &sample, &settings, context).unwrap()
}

/// Rows of the next batch.
fn next_batch(questions: &Questions, labelled: &RowSet, strategy: Strategy, seed: u64, context: &Context) -> RowSet {
    let scorer = fit(questions, labelled, seed, context);
    let settings = SelectSettings { budget: BATCH_ROWS, strategy, seed, ..SelectSettings::default() };
    let known = LabelledPool { rows: labelled.clone(), ..LabelledPool::default() };
    let mut selection = Selection::new(settings, &known, RowSet::new()).unwrap();
    selection.observe(&scored(&scorer, &questions.pool), context).unwrap();
    selection.finish(context).unwrap().batch.rows()
}

fn union(a: &RowSet, b: &RowSet, n: u64) -> RowSet {
    (0..n).filter(|&row| a.contains(row) || b.contains(row)).collect()
}

/// Accuracy on the test questions after each round but the first.
fn accuracies(questions: &Questions, strategy: Strategy, n_rounds: usize, seed: u64) -> Vec<f64> {
    let context = context(2);
    let mut labelled = next_batch(questions, &RowSet::new(), Strategy::Random, seed, &context);
    (0..n_rounds)
        .map(|_| {
            let batch = next_batch(questions, &labelled, strategy, seed, &context);
            labelled = union(&labelled, &batch, questions.pool.len() as u64);
            let scorer = fit(questions, &labelled, seed, &context);
            let scored = scored(&scorer, &questions.test);
            let labels = scored.column_by_name(columns::LABEL).unwrap().as_string::<i32>();
            let n_right =
                labels.iter().zip(&questions.test).filter(|(label, row)| *label == Some(row.1.as_str())).count();
            n_right as f64 / questions.test.len() as f64
        })
        .collect()
}

/// Paired over seeds: same first batch, same model. The mean gain over random must not be below 0 by more than two
/// standard errors of its own, and the last model must be far above chance (0.05).
#[test]
fn margin_is_no_worse_than_random() {
    let questions = questions();
    let (n_rounds, n_seeds) = (3, 4u32);
    let gains: Vec<f64> = (0..u64::from(n_seeds))
        .map(|seed| {
            let [margin, random] =
                [Strategy::Margin, Strategy::Random].map(|strategy| accuracies(&questions, strategy, n_rounds, seed));
            assert!(0.5 < margin[n_rounds - 1], "{margin:?}");
            margin.iter().zip(&random).map(|(m, r)| m - r).sum::<f64>() / n_rounds as f64
        })
        .collect();
    let mean = gains.iter().sum::<f64>() / f64::from(n_seeds);
    let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / f64::from(n_seeds - 1);
    assert!(-2.0 * (variance / f64::from(n_seeds)).sqrt() <= mean, "{gains:?}");
}

/// Without labels a batch should meet more of the 20 classes than one at random does.
#[test]
fn typical_rows_cover_more_classes_than_random_ones() {
    let questions = questions();
    let context = context(2);
    let n_classes = |strategy, seed| {
        let rows = next_batch(&questions, &RowSet::new(), strategy, seed, &context);
        let labels = (0..).zip(&questions.pool).filter(|(row, _)| rows.contains(*row)).map(|(_, row)| &row.1);
        labels.collect::<HashSet<_>>().len()
    };
    let sum = |strategy| (0..10).map(|seed| n_classes(strategy, seed)).sum::<usize>();
    let (typical, random) = (sum(Strategy::Typiclust), sum(Strategy::Random));
    assert!(random < typical, "{typical} of 200, at random {random}");
}
