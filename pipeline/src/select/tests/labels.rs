//! Labels joined with a pool.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use tamis_schemas::columns;

use super::super::{LabelJoin, LabelTable, LabelledPool};
use crate::Error;

fn table(rows: &[(Option<&str>, Option<&str>)]) -> crate::Result<LabelTable> {
    let batches: Vec<RecordBatch> = rows
        .chunks(2)
        .map(|rows| {
            let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
            let labels: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
            RecordBatch::try_from_iter([("id", ids), ("label", labels)]).unwrap()
        })
        .collect();
    LabelTable::from_batches(&batches, "id", "label", None)
}

fn join(table: &LabelTable, ids: &[&str], batch_rows: usize) -> LabelledPool {
    let mut join = LabelJoin::new(table.clone()).unwrap();
    for (index, ids) in ids.chunks(batch_rows).enumerate() {
        let first = (index * batch_rows) as u64;
        let rows: ArrayRef = Arc::new(UInt64Array::from_iter_values(first..first + ids.len() as u64));
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
        join.observe(&RecordBatch::try_from_iter([(columns::ROW, rows), (columns::ID, ids)]).unwrap()).unwrap();
    }
    join.finish().unwrap()
}

#[test]
fn finds_the_labelled_rows() {
    let table = table(&[
        (Some("b"), Some("x")),
        (Some("d"), Some("y")),
        (Some("c"), None),
        (Some("a"), Some(" ")),
        (None, Some("x")),
        (Some("elsewhere"), Some("z")),
        (Some("b"), Some("x")),
        (Some("b"), None),
    ])
    .unwrap();
    assert_eq!((table.len(), table.n_unlabelled()), (3, 4));
    for batch_rows in [1, 2, 100] {
        let pool = join(&table, &["a", "b", "c", "d", "b"], batch_rows);
        let labelled = vec![(1, "x".to_owned()), (3, "y".to_owned()), (4, "x".to_owned())];
        assert_eq!(pool.rows, [1, 3, 4].into_iter().collect());
        assert_eq!(pool.labelled, labelled);
        assert_eq!(pool.classes, [("x".to_owned(), 2), ("y".to_owned(), 1)]);
        assert_eq!((pool.n_pool, pool.n_labels_unknown), (5, 1));
    }
}

/// A join that is done in parts, against a map.
#[test]
fn a_large_pool_is_joined_in_parts() {
    let ids: Vec<String> = (0..150_000).map(|row| format!("id-{row}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let labels: Vec<_> = ids.iter().step_by(700).map(|&id| (Some(id), Some(&id[id.len() - 1..]))).collect();
    let pool = join(&table(&labels).unwrap(), &ids, 10_000);
    let expect: Vec<(u64, String)> =
        (0..150_000).step_by(700).map(|row| (row, ids[row as usize].chars().last().unwrap().to_string())).collect();
    assert_eq!(pool.labelled, expect);
    assert_eq!(pool.classes.iter().map(|class| class.1).sum::<u64>(), expect.len() as u64);
}

#[test]
fn nothing_labelled_is_nothing_found() {
    let table = LabelTable::from_batches(&[], "id", "label", None).unwrap();
    assert!(table.is_empty());
    assert_eq!(join(&table, &["a", "b"], 8), LabelledPool { n_pool: 2, ..LabelledPool::default() });
}

#[test]
fn two_labels_for_one_id_are_an_error_that_names_it() {
    let error = table(&[(Some("b"), Some("x")), (Some("a"), Some("x")), (Some("b"), Some("y"))]).unwrap_err();
    let Error::Config { message, .. } = error else { panic!("{error:?}") };
    assert_eq!(message, "the id `b` has the labels `x` and `y`");
}

#[test]
fn ids_and_labels_may_be_numbers_but_must_be_there() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(9)]));
    let batch = RecordBatch::try_from_iter([("id", numbers.clone()), ("label", numbers)]).unwrap();
    let table = LabelTable::from_batches(std::slice::from_ref(&batch), "id", "label", None).unwrap();
    assert_eq!(join(&table, &["9"], 1).labelled, [(0, "9".to_owned())]);
    let error = LabelTable::from_batches(&[batch], "id", "class", None).unwrap_err();
    assert!(matches!(&error, Error::Column { message, .. } if message.contains("class")), "{error:?}");
}

type Vote = (&'static str, &'static str, Option<&'static str>);

fn votes(rows: &[Vote]) -> crate::Result<LabelTable> {
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let who: ArrayRef =
        Arc::new(rows.iter().map(|row| Some(row.1).filter(|who| *who != "nobody")).collect::<StringArray>());
    let labels: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter([("id", ids), ("who", who), ("label", labels)]).unwrap();
    LabelTable::from_batches(&[batch], "id", "label", Some("who"))
}

#[test]
fn most_annotators_have_the_say() {
    let table = votes(&[
        ("a", "ann", Some("x")),
        ("a", "bob", Some("y")),
        ("a", "cat", Some("x")),
        ("b", "ann", Some("x")),
        ("b", "bob", Some("y")),
        ("c", "nobody", Some("z")),
        ("d", "bob", None),
        ("c", "nobody", Some("z")),
    ])
    .unwrap();
    assert_eq!(table.len(), 3);
    let pool = join(&table, &["d", "c", "b", "a"], 2);
    assert_eq!(pool.labelled, [(1, "z".to_owned()), (3, "x".to_owned())]);
    assert_eq!((pool.rows.clone(), pool.split.clone()), ([1, 3].into_iter().collect(), std::iter::once(2).collect()));
    assert_eq!(pool.classes, [("x".to_owned(), 1), ("z".to_owned(), 1)]);
    let of = |row: u64, who: &str, label: &str| (row, who.to_owned(), label.to_owned());
    let all =
        [of(1, "", "z"), of(2, "ann", "x"), of(2, "bob", "y"), of(3, "ann", "x"), of(3, "bob", "y"), of(3, "cat", "x")];
    assert_eq!(pool.votes, all);
    let mut fewer = pool;
    fewer.remove(&[2, 3].into_iter().collect());
    assert_eq!((fewer.labelled.len(), fewer.split.len(), fewer.votes.len()), (1, 0, 1));
}

#[test]
fn an_annotator_has_one_say() {
    let error = votes(&[("a", "ann", Some("x")), ("a", "bob", Some("y")), ("a", "ann", Some("y"))]).unwrap_err();
    let Error::Config { message, .. } = error else { panic!("{error:?}") };
    assert_eq!(message, "annotator `ann` gives the id `a` the labels `x` and `y`");
}
