//! What holds of every selection.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type};
use tamis_schemas::columns;

use super::super::{Cost, LabelledPool, Quota, SelectSettings, Selection, Strategy};
use super::{Delivery, ONE_BATCH, batch, chosen, context, pool, select, select_from, shuffled, type_of};
use crate::stage::{BarrierStage, Next};
use crate::{Error, RowSet};

/// All but those that need more than a pool's scores.
fn strategies() -> impl Iterator<Item = Strategy> {
    Strategy::ALL.into_iter().filter(|strategy| !matches!(strategy, Strategy::Auto | Strategy::Anchor))
}

fn limits(strategy: Strategy) -> SelectSettings {
    SelectSettings {
        budget: 50,
        strategy,
        quota: Some(Quota { column: "source".into(), max_ratio: 0.3 }),
        cluster_column: Some("cluster".into()),
        ..SelectSettings::default()
    }
}

#[test]
fn neither_slicing_nor_threads_nor_the_order_of_rows_matter() {
    let rows = pool(6000, 11);
    let labelled = |rows: &[super::PoolRow]| LabelledPool {
        rows: (0..).zip(rows).filter(|(_, row)| row.id.ends_with("77")).map(|(index, _)| index).collect(),
        ..LabelledPool::default()
    };
    for strategy in strategies() {
        let settings = SelectSettings { budget: 30, ..limits(strategy) };
        let expect = select_from(&rows, false, &settings, &labelled(&rows), RowSet::new(), ONE_BATCH).unwrap();
        assert_eq!(expect.report.n_chosen, 30);
        for (batch_rows, n_threads, seed) in [(1, 1, None), (7, 8, None), (8192, 1, Some(1)), (100, 2, Some(2))] {
            let other_rows = seed.map_or_else(|| rows.clone(), |seed| shuffled(&rows, seed));
            let delivery = Delivery { batch_rows, n_threads };
            let other = labelled(&other_rows);
            let other = select_from(&other_rows, false, &settings, &other, RowSet::new(), delivery).unwrap();
            assert_eq!(other.report, expect.report);
            assert_eq!(chosen(&other_rows, &other), chosen(&rows, &expect), "{strategy:?} {delivery:?}");
        }
        let other_seed = SelectSettings { seed: 1, ..settings };
        let other = select(&rows, false, &other_seed).unwrap();
        assert_ne!(chosen(&rows, &other), chosen(&rows, &expect), "the seed changes something");
    }
}

#[test]
fn labelled_excluded_and_duplicate_rows_are_not_chosen_and_quotas_hold() {
    let rows = pool(400, 12);
    let labelled = LabelledPool { rows: (0..40).collect(), n_labels_unknown: 3, ..LabelledPool::default() };
    let excluded: RowSet = (20..120).collect();
    for strategy in strategies() {
        let outcome = select_from(&rows, false, &limits(strategy), &labelled, excluded.clone(), ONE_BATCH).unwrap();
        let report = &outcome.report;
        let counts = (report.n_pool, report.n_labelled, report.n_excluded, report.n_labels_unknown);
        assert_eq!(counts, (400, 40, 80, 3));
        let chosen: Vec<&super::PoolRow> = outcome.batch.chosen().iter().map(|one| &rows[one.row as usize]).collect();
        assert_eq!(chosen.len(), 50, "{strategy:?}");
        assert_eq!(outcome.batch.rows().len(), 50);
        assert!(outcome.batch.chosen().iter().all(|one| 120 <= one.row));
        let clusters: Vec<&String> = chosen.iter().filter_map(|row| row.cluster.as_ref()).collect();
        assert_eq!(clusters.iter().collect::<HashSet<_>>().len(), clusters.len(), "one row of each cluster");

        let mut sources: HashMap<&Option<String>, u64> = HashMap::new();
        for row in &chosen {
            *sources.entry(&row.source).or_default() += 1;
        }
        assert!(sources.values().all(|&n_chosen| n_chosen <= 15), "{sources:?}");
    }
}

#[test]
fn auto_takes_what_the_labels_allow() {
    let rows = pool(60, 13);
    let settings = SelectSettings { budget: 10, ..SelectSettings::default() };
    let warm = select(&rows, false, &settings).unwrap();
    assert_eq!(warm.report.strategy, Strategy::Uherding);
    let large = SelectSettings { budget: 1_001, ..settings.clone() };
    assert_eq!(select(&rows, false, &large).unwrap().report.strategy, Strategy::ClusterMargin);
    let cold = select(&rows, true, &settings).unwrap();
    assert_eq!(cold.report.strategy, Strategy::Typiclust);
    for strategy in [Strategy::LeastConfidence, Strategy::Margin, Strategy::Entropy] {
        let error = select(&rows, true, &SelectSettings { strategy, ..settings.clone() }).unwrap_err();
        assert!(matches!(error, Error::Config { hint: Some(_), .. }), "{error:?}");
    }
    for (outcome, reason) in [(warm, "stands for unsure rows ("), (cold, "typical of cluster ")] {
        assert_eq!(outcome.report.n_random, 1);
        let chosen = outcome.batch.chosen();
        assert_eq!((chosen[5].reason.as_str(), chosen[5].score), ("random slice", None), "in the middle of ten");
        let others = chosen.iter().filter(|one| one.reason != "random slice");
        assert!(others.clone().all(|one| one.reason.starts_with(reason) && one.score.is_some()), "{chosen:?}");
        assert_eq!(others.count(), 9);
    }
}

type ScoreOf = fn(&super::PoolRow) -> f64;

/// One row without limits: the one that the strategy's definition puts first.
#[test]
fn scores_are_those_of_the_strategy() {
    let rows = pool(200, 14);
    let by_definition: [(Strategy, ScoreOf); 3] = [
        (Strategy::Margin, |row| 1.0 - f64::from(row.margin)),
        (Strategy::Entropy, |row| f64::from(row.entropy)),
        (Strategy::LeastConfidence, |row| 1.0 - f64::from(row.probabilities.iter().copied().fold(0.0, f32::max))),
    ];
    for (strategy, score) in by_definition {
        let settings = SelectSettings { budget: 1, strategy, random_ratio: 0.0, ..SelectSettings::default() };
        let outcome = select(&rows, false, &settings).unwrap();
        let [one] = outcome.batch.chosen() else { panic!("one row was asked for") };
        let highest = rows.iter().map(score).max_by(f64::total_cmp);
        assert_eq!(one.score, highest, "{strategy:?}");
        assert_eq!(Some(score(&rows[one.row as usize])), highest, "{strategy:?}");
    }
}

#[test]
fn a_budget_above_the_pool_takes_all_and_says_so() {
    let rows = pool(25, 15);
    for strategy in strategies() {
        let settings = SelectSettings { budget: 100, strategy, ..SelectSettings::default() };
        let outcome = select(&rows, false, &settings).unwrap();
        assert_eq!(outcome.batch.rows(), (0..25).collect(), "{strategy:?}");
        assert!(outcome.report.shortfall.unwrap().contains("all 25 rows"));
        let empty = select(&[], false, &settings).unwrap();
        assert_eq!((empty.batch.chosen().len(), empty.report.n_pool), (0, 0));
    }
    let tight = SelectSettings {
        budget: 20,
        quota: Some(Quota { column: "source".into(), max_ratio: 0.05 }),
        ..SelectSettings::default()
    };
    let outcome = select(&rows, false, &tight).unwrap();
    let n_sources = rows.iter().map(|row| &row.source).collect::<HashSet<_>>().len();
    assert_eq!(outcome.batch.chosen().len(), n_sources);
    assert!(outcome.report.shortfall.unwrap().contains("the quota on `source`"));
}

#[test]
fn becomes_a_stage_that_marks_the_batch() {
    let rows = pool(90, 16);
    let context = context(1);
    let settings = SelectSettings { budget: 12, ..SelectSettings::default() };
    let mut selection = Selection::new(settings, &LabelledPool::default(), RowSet::new()).unwrap();
    let handle = selection.outcome();
    let whole = batch(&rows, 0, false);
    selection.observe(&whole, &context).unwrap();
    assert!(handle.get().is_none());
    let Next::Done(stage) = Box::new(selection).end_of_pass(&context).unwrap() else { panic!("one pass is enough") };
    let marked = stage.apply(whole.clone()).unwrap();
    assert_eq!(stage.output_schema(&whole.schema()).unwrap(), marked.schema());
    let slices: Vec<_> = (0..9).map(|slice| stage.apply(whole.slice(slice * 10, 10)).unwrap()).collect();
    assert_eq!(arrow::compute::concat_batches(&marked.schema(), &slices).unwrap(), marked);

    let ranks = marked.column_by_name(columns::RANK).unwrap().as_primitive::<Int32Type>();
    let scores = marked.column_by_name(columns::SCORE).unwrap().as_primitive::<Float64Type>();
    let reasons = marked.column_by_name(columns::REASON).unwrap().as_string::<i32>();
    assert_eq!(ranks.len() - ranks.null_count(), 12);
    for one in handle.get().unwrap().batch.chosen() {
        let row = one.row as usize;
        assert_eq!((ranks.value(row), reasons.value(row)), (one.rank.cast_signed(), one.reason.as_str()));
        assert_eq!(scores.is_valid(row).then(|| scores.value(row)), one.score);
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let quota = |max_ratio| Some(Quota { column: "source".into(), max_ratio });
    for settings in [
        SelectSettings { budget: 0, ..SelectSettings::default() },
        SelectSettings { random_ratio: 1.5, ..SelectSettings::default() },
        SelectSettings { random_ratio: f64::NAN, ..SelectSettings::default() },
        SelectSettings { quota: quota(0.0), ..SelectSettings::default() },
        SelectSettings { quota: quota(1.1), ..SelectSettings::default() },
        SelectSettings { n_candidates: Some(0), ..SelectSettings::default() },
        SelectSettings { max_similarity: Some(1.5), ..SelectSettings::default() },
        SelectSettings { cost: Cost { exponent: -1.0, base: 0.0 }, ..SelectSettings::default() },
        SelectSettings { cost: Cost { exponent: f64::NAN, base: 0.0 }, ..SelectSettings::default() },
        SelectSettings {
            cost: Cost { exponent: 1.0, base: 0.0 },
            strategy: Strategy::KCenter,
            ..SelectSettings::default()
        },
    ] {
        let error = Selection::new(settings.clone(), &LabelledPool::default(), RowSet::new()).unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{settings:?}: {error:?}");
    }

    let column = SelectSettings { cluster_column: Some("nowhere".into()), ..SelectSettings::default() };
    let error = select(&pool(5, 0), false, &column).unwrap_err();
    assert!(matches!(&error, Error::Column { message, .. } if message.contains("nowhere")), "{error:?}");
    assert_ne!(type_of(columns::EMBEDDING), type_of(columns::PROBABILITIES));
}
