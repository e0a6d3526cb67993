//! Clusters and rows by id, and what is said of an id or a run that is not there.

use tamis_schemas::config::Table;

use super::{Row, Written, open, proof};
use crate::inspect::{Cluster, OverviewSettings, Pair, Proof, clusters, dropped, overview};
use crate::{Error, Result};

const KEPT: [Row; 2] = [("k1", "One", "a b c d e f", None), ("k2", "Two", "g h i", None)];
const DROPPED: [Row; 4] = [
    ("d1", "Eins", "a b c d e x", None),
    ("d2", "Zwei", "a b c d e f", None),
    ("d3", "Drei", "a b c d y z", None),
    ("d4", "Vier", "the eval item is in here", None),
];

fn run() -> Written {
    let mut run = Written::new("text", &[("a.jsonl", 6)]);
    run.rows(Table::Kept, &KEPT);
    run.rows(Table::Dropped, &DROPPED);
    let contaminated = Proof {
        method: Some("exact".into()),
        rule: Some("contaminated".into()),
        cluster_id: None,
        cluster_size: None,
        span: Some(4..13),
        ..proof("d4", "eval/7", 1.0, 0)
    };
    run.evidence(&[proof("d1", "k1", 0.9, 4), proof("d2", "k1", 1.0, 4), proof("d3", "k1", 0.8, 4), contaminated]);
    run
}

fn cluster(run: &Written, id: &str, limit: usize) -> Result<Cluster> {
    run.open(64 << 20, |run| Ok(clusters(run, &[id], limit, 1000)?.remove(0)))
}

fn text_of(pair: &Pair) -> (Option<&str>, Option<&str>) {
    (pair.kept.as_ref().map(|text| text.part.as_str()), pair.dropped.as_ref().map(|text| text.part.as_str()))
}

#[test]
fn a_cluster_shows_its_least_similar_rows_first() {
    let found = cluster(&run(), "k1", 2).unwrap();
    assert_eq!((found.rows, found.dropped), (4, 3));
    let ids: Vec<&str> = found.pairs.iter().map(|pair| pair.proof.dropped_id.as_str()).collect();
    assert_eq!(ids, ["d3", "d1"]);
    assert_eq!(text_of(&found.pairs[0]), (Some("a b c d e f"), Some("a b c d y z")));
    assert_eq!(cluster(&run(), "k1", 99).unwrap().pairs.len(), 3);
}

#[test]
fn a_text_may_be_a_template() {
    let mut run = run();
    run.manifest.config["input"]["text"] = "{title}: {text}".into();
    let pairs = run.open(64 << 20, |run| dropped(run, "d1", 1000)).unwrap();
    assert_eq!(text_of(&pairs[0]), (Some("One: a b c d e f"), Some("Eins: a b c d e x")));
}

#[test]
fn who_stands_for_a_row_may_lie_elsewhere() {
    let mut run = run();
    let pairs = run.open(64 << 20, |run| dropped(run, "d4", 12)).unwrap();
    assert_eq!(text_of(&pairs[0]), (None, Some("the eval ite")));
    assert_eq!(pairs[0].proof.span, Some(4..13));
    assert_eq!(pairs[0].dropped.as_ref().unwrap().missing_bytes(), 12);
    run.manifest.tables.remove(&Table::Dropped);
    let pairs = run.open(64 << 20, |run| dropped(run, "d1", 1000)).unwrap();
    assert_eq!(text_of(&pairs[0]), (Some("a b c d e f"), None));
}

#[test]
fn ids_that_are_something_else_are_explained() {
    let run = run();
    let check = |error: Error, message: &str, hint: &str| {
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{:?}", error.hint());
    };
    let dropped = |id: &str| run.open(64 << 20, |run| dropped(run, id, 1000)).unwrap_err();
    check(cluster(&run, "d1", 2).unwrap_err(), "the row was dropped", "--dropped 'd1', or --cluster 'k1'");
    check(cluster(&run, "k2", 2).unwrap_err(), "none was dropped for it", "lists the clusters");
    check(cluster(&run, "nowhere", 2).unwrap_err(), "no row", "lists the clusters");
    check(dropped("k1"), "others were dropped for it", "--cluster 'k1'");
    check(dropped("k2"), "the row is kept", "");
    let mut run = Written::new("text", &[("a.jsonl", 6)]);
    run.evidence(&[proof("report-17", "report-3", 0.9, 2)]);
    check(cluster(&run, "report3", 2).unwrap_err(), "no row", "did you mean `report-3`?");
    check(cluster(&run, "rep", 2).unwrap_err(), "no row", "did you mean `report-3`?");
}

#[test]
fn what_is_no_run_is_refused() {
    let nothing = tempfile::tempdir().unwrap();
    let at = |path: &std::path::Path| open(path.to_str().unwrap(), 64 << 20, |_| Ok(())).unwrap_err().to_string();
    assert!(at(nothing.path()).contains("no finished run"));
    assert!(at(&nothing.path().join("deeper")).contains("no finished run"));
    std::fs::write(nothing.path().join("manifest.json"), "{\"manifest_version\": 99}").unwrap();
    assert!(at(nothing.path()).contains("layout 99"));
    std::fs::write(nothing.path().join("manifest.json"), "{\"manifest_version\"").unwrap();
    assert!(at(nothing.path()).contains("manifest"));

    let see = |run: &Written| {
        let settings = OverviewSettings { top: 5, sort: crate::inspect::ClusterSort::Size, by: None };
        run.open(64 << 20, |run| overview(run, &settings)).unwrap_err()
    };
    let mut written = run();
    written.manifest.tables.remove(&Table::Evidence);
    assert!(see(&written).hint().unwrap().contains("output.tables"));
    written.manifest.config["deduplicate"] = serde_json::Value::Null;
    assert!(see(&written).to_string().contains("did not remove near-duplicates"));

    let written = run();
    let file = written.path().join("evidence/part-00001.parquet");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
    assert!(matches!(see(&written), Error::Corrupt { .. }));
    let mut other = bytes.clone();
    other.extend(&bytes);
    std::fs::write(&file, other).unwrap();
    assert!(matches!(see(&written), Error::Corrupt { .. }));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(see(&written), Error::Unreadable { .. }));
}

#[test]
fn a_run_is_named_in_many_ways() {
    let run = run();
    run.open(64 << 20, |_| Ok(())).unwrap();
    let folder = run.path().to_str().unwrap();
    for location in [format!("{folder}/"), format!("{folder}/manifest.json"), format!("file://{folder}")] {
        let opened = open(&location, 64 << 20, |run| Ok(run.location().to_owned())).unwrap();
        assert!(opened.ends_with(folder), "{opened}");
    }
}
