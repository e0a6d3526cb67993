//! The stop set is drawn once, whatever the order of the rows, and stays.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};

use super::super::stop_set::{StopSet, stability};

fn scored(ids: &[String], label_of: impl Fn(&str) -> Option<&'static str>) -> RecordBatch {
    let labels: StringArray = ids.iter().map(|id| label_of(id)).collect();
    let entropies: Float32Array = ids.iter().map(|id| label_of(id).map(|_| 0.25)).collect();
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let columns =
        [("tamis_id", ids), ("tamis_label", Arc::new(labels) as _), ("tamis_entropy", Arc::new(entropies) as _)];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn ids(table: &RecordBatch) -> Vec<String> {
    use arrow::array::AsArray;
    table.column(0).as_string::<i32>().iter().map(|id| id.unwrap().to_owned()).collect()
}

#[test]
fn drawn_whatever_the_order() {
    let pool: Vec<String> = (0..1000).map(|n| format!("row {n}")).collect();
    let backwards: Vec<String> = pool.iter().rev().cloned().collect();
    let but: HashSet<String> = pool[..500].iter().cloned().collect();
    let draw = |pool: &[String], seed: u64, slice: usize| {
        let mut set = StopSet::drawn(50, seed, but.clone());
        pool.chunks(slice).for_each(|ids| set.observe(&scored(ids, |_| Some("a"))).unwrap());
        ids(&set.finish().unwrap())
    };
    let first = draw(&pool, 1, 1000);
    assert_eq!(first.len(), 50);
    assert!(first.iter().all(|id| !but.contains(id)));
    assert_eq!(draw(&backwards, 1, 7), first);
    assert_ne!(draw(&pool, 2, 1000), first);
    let mut all = StopSet::drawn(5000, 1, HashSet::new());
    all.observe(&scored(&pool, |_| None)).unwrap();
    assert_eq!(all.finish().unwrap().num_rows(), 1000);
}

#[test]
fn compared_with_the_round_before() {
    let pool: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let mut first = StopSet::drawn(10, 0, HashSet::new());
    first.observe(&scored(&pool, |_| None)).unwrap();
    let cold = first.finish().unwrap();
    let next = |before: &RecordBatch, pool: &[String], label_of: fn(&str) -> Option<&'static str>| {
        let mut set = StopSet::of(before).unwrap();
        set.observe(&scored(pool, label_of)).unwrap();
        set.finish().unwrap()
    };
    let nothing = stability(&cold, None).unwrap();
    assert_eq!((nothing.rows, nothing.kappa, nothing.mean_entropy), (10, None, None));
    let warm = next(&cold, &pool, |id| Some(if id < "5" { "a" } else { "b" }));
    let first = stability(&warm, Some(&cold)).unwrap();
    assert_eq!((first.kappa, first.mean_entropy), (None, Some(0.25)), "there was no prediction before");

    // The pool grows: new rows are no part of it. Row 4 changes from a to b: kappa by hand is (0.9 - 0.5) / (1 - 0.5).
    let grown: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let changed = next(&warm, &grown, |id| Some(if id < "4" { "a" } else { "b" }));
    assert_eq!(ids(&changed), ids(&warm));
    let then = stability(&changed, Some(&warm)).unwrap();
    assert_eq!(then.changed_ratio, Some(0.1));
    assert!((then.kappa.unwrap() - 0.8).abs() < 1e-12);
    // Rows that leave the pool are not compared.
    let shrunk = next(&warm, &pool[..5], |_| Some("a"));
    assert_eq!(stability(&shrunk, Some(&warm)).unwrap().changed_ratio, Some(0.0));
}
