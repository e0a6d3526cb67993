//! A pool that several selections see in parts, which one joins.

use arrow::array::RecordBatch;

use super::super::{Anchors, LabelledPool, Quota, Seen, SelectSettings, Selection, Strategy};
use super::{PoolRow, batch, chosen, context, pool};
use crate::context::Context;
use crate::stage::BarrierStage;
use crate::{Error, RowSet};

/// What a selection hands on, as it comes out of JSON.
fn handed(selection: Selection) -> (Seen, Vec<RecordBatch>) {
    let mut candidates = Vec::new();
    let seen = selection.hand_over(|batch| {
        candidates.push(batch.clone());
        Ok(())
    });
    (serde_json::from_str(&serde_json::to_string(&seen.unwrap()).unwrap()).unwrap(), candidates)
}

fn join(mut all: Selection, parts: Vec<(Seen, Vec<RecordBatch>)>, context: &Context) -> Selection {
    let (seen, candidates): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    for seen in seen {
        all.add_seen(seen, context).unwrap();
    }
    // They may come in any order.
    candidates.iter().flatten().rev().for_each(|batch| all.add_candidates(batch, context).unwrap());
    all
}

fn anchors(rows: &[PoolRow]) -> Anchors {
    Anchors::new([("a", 3), ("b", 7), ("a", 20)].iter().map(|&(label, row)| (label, &rows[row].embedding[..])))
}

#[test]
fn parts_of_a_pool_are_as_good_as_the_pool() {
    let rows = pool(9000, 21);
    let labels = LabelledPool {
        rows: (0..9000).filter(|row| row % 77 == 0).collect(),
        split: (0..9000).filter(|row| row % 500 == 1).collect(),
        n_labels_unknown: 2,
        ..LabelledPool::default()
    };
    let context = context(1);
    for strategy in Strategy::ALL {
        for (candidates, max_similarity) in [(None, None), (Some(60), Some(0.9))] {
            let settings = SelectSettings {
                budget: 30,
                strategy,
                quota: candidates.map(|_| Quota { column: "source".into(), max_ratio: 0.4 }),
                n_candidates: candidates,
                max_similarity: max_similarity.filter(|_| strategy != Strategy::Activelab),
                ..SelectSettings::default()
            };
            let new = || Selection::new(settings.clone(), &labels, RowSet::new()).unwrap().with_anchors(anchors(&rows));
            let part = |range: std::ops::Range<usize>| {
                let mut selection = new();
                if !range.is_empty() {
                    selection.observe(&batch(&rows[range.clone()], range.start as u64, false), &context).unwrap();
                }
                handed(selection)
            };
            let alone = join(new(), vec![], &context);
            let mut whole = alone;
            whole.observe(&batch(&rows, 0, false), &context).unwrap();
            let expect = whole.finish(&context).unwrap();
            let first = join(new(), vec![part(0..0), part(0..5000), part(5000..5001)], &context);
            let both = join(new(), vec![part(5001..9000), handed(first)], &context);
            let found = both.finish(&context).unwrap();
            assert_eq!(found.report, expect.report, "{strategy:?}");
            assert_eq!(chosen(&rows, &found), chosen(&rows, &expect), "{strategy:?} {candidates:?}");
            assert!(0 < expect.report.n_chosen);
        }
    }
}

#[test]
fn parts_that_do_not_fit_each_other_are_refused() {
    let rows = pool(40, 22);
    let context = context(1);
    let settings = SelectSettings { budget: 5, strategy: Strategy::KCenter, ..SelectSettings::default() };
    let new = || Selection::new(settings.clone(), &LabelledPool::default(), RowSet::new()).unwrap();
    let part = |is_cold| {
        let mut selection = new();
        selection.observe(&batch(&rows, 0, is_cold), &context).unwrap();
        handed(selection)
    };
    let ((warm, candidates), (cold, _)) = (part(false), part(true));
    let mut all = new();
    assert!(matches!(all.add_candidates(&candidates[0], &context), Err(Error::Invariant(_))), "nothing is known yet");
    all.add_seen(warm.clone(), &context).unwrap();
    let refused = all.add_seen(cold, &context).unwrap_err();
    assert!(refused.to_string().contains("different scorers"), "{refused}");
    let shorter = Seen { shape: Some((3, warm.shape.clone().unwrap().1)), ..warm };
    let mut all = new();
    all.add_seen(shorter, &context).unwrap();
    assert!(matches!(all.add_candidates(&candidates[0], &context), Err(Error::Invariant(_))), "longer embeddings");
}
