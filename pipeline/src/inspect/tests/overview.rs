//! The overview, against sums over the same evidence.

use std::collections::{BTreeMap, HashMap};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tamis_schemas::config::Table;

use super::{Row, Written, proof};
use crate::inspect::{ClusterSort, Overview, OverviewSettings, Proof, SimilarityBin, overview};
use crate::{Error, Result};

fn look(run: &Written, limit_bytes: usize, top: usize, sort: ClusterSort, by: Option<&str>) -> Result<Overview> {
    run.open(limit_bytes, |run| overview(run, &OverviewSettings { top, sort, by: by.map(str::to_owned) }))
}

/// Evidence of clusters of random size and similarity, in random order.
fn random_evidence(n_clusters: usize, seed: u64) -> Vec<Proof> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut proofs = Vec::new();
    for cluster in 0..n_clusters {
        let n_dropped = random.random_range(1..8u64);
        let kept = format!("{}.jsonl#{cluster}", ["a", "b"][random.random_range(0..2)]);
        for member in 0..n_dropped {
            let dropped =
                format!("{}.jsonl#{}", ["a", "b", "c"][random.random_range(0..3)], cluster * 10 + member as usize);
            let similarity = f64::from(random.random_range(50..=100)) / 100.0;
            proofs.push(proof(&dropped, &kept, similarity, n_dropped + 1));
        }
    }
    for at in (1..proofs.len()).rev() {
        proofs.swap(at, random.random_range(0..=at));
    }
    proofs
}

#[test]
fn every_number_is_that_of_a_sum() {
    let proofs = random_evidence(3000, 1);
    let mut run = Written::new("text", &[("a.jsonl", 9000), ("b.jsonl", 9000), ("c.jsonl", 9000)]);
    run.evidence(&proofs);
    let found = look(&run, 64 << 20, 40, ClusterSort::Size, None).unwrap();

    assert_eq!(found.evidence_rows, proofs.len() as u64);
    assert_eq!(found.by_rule.values().sum::<u64>(), proofs.len() as u64);
    let n_identical = proofs.iter().filter(|proof| proof.method.as_deref() == Some("identical")).count() as u64;
    assert_eq!(found.by_method["identical"], n_identical);
    for SimilarityBin { from, to, rows, rows_at_least } in found.similarities {
        let count =
            |holds: &dyn Fn(f64) -> bool| proofs.iter().filter(|proof| holds(proof.similarity.unwrap())).count();
        assert_eq!(rows_at_least, count(&|similarity| from <= similarity) as u64, "{from}");
        assert_eq!(rows, count(&|similarity| from <= similarity && (similarity < to || from >= 1.0)) as u64, "{from}");
    }
    let mut clusters: HashMap<&str, Vec<f64>> = HashMap::new();
    for proof in &proofs {
        clusters.entry(proof.cluster_id.as_deref().unwrap()).or_default().push(proof.similarity.unwrap());
    }
    assert_eq!(found.n_clusters, clusters.len() as u64);
    for bin in &found.cluster_sizes {
        let inside: Vec<u64> = clusters
            .values()
            .map(|members| members.len() as u64)
            .filter(|n| (bin.from..=bin.to).contains(&(n + 1)))
            .collect();
        assert_eq!((bin.clusters, bin.dropped), (inside.len() as u64, inside.iter().sum()));
    }
    for cluster in &found.clusters {
        let members = &clusters[cluster.id.as_str()];
        assert_eq!((cluster.rows, cluster.dropped), (members.len() as u64 + 1, members.len() as u64));
        let lowest = members.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = members.iter().sum::<f64>() / members.len() as f64;
        assert!((cluster.lowest.unwrap() - lowest).abs() < 1e-12 && (cluster.mean.unwrap() - mean).abs() < 1e-12);
        assert_eq!(cluster.source.as_deref(), cluster.id.split_once('#').map(|(file, _)| file));
    }
    let sources = found.sources.unwrap();
    let mut expect: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for proof in &proofs {
        let file = |id: &str| id.split_once('#').unwrap().0.to_owned();
        let counts = expect.entry(file(&proof.dropped_id)).or_default();
        counts.0 += 1;
        counts.1 += u64::from(file(&proof.dropped_id) == file(proof.kept_id.as_deref().unwrap()));
    }
    assert_eq!(sources.sources.len(), 3);
    for source in sources.sources {
        let counts = expect[source.name.as_deref().unwrap()];
        assert_eq!((source.rows, source.dropped, source.same_source), (9000, counts.0, Some(counts.1)));
    }
}

#[test]
fn the_first_clusters_are_those_of_a_sort() {
    let proofs = random_evidence(500, 2);
    let mut run = Written::new("text", &[("a.jsonl", 9000), ("b.jsonl", 9000), ("c.jsonl", 9000)]);
    run.evidence(&proofs);
    for sort in [ClusterSort::Size, ClusterSort::Similarity, ClusterSort::Source] {
        let mut all = look(&run, 64 << 20, 10_000, sort, None).unwrap().clusters;
        assert_eq!(all.len(), 500);
        let first = look(&run, 64 << 20, 7, sort, None).unwrap().clusters;
        assert_eq!(first, all[..7], "{sort:?}");
        let shown = all.clone();
        match sort {
            ClusterSort::Size => all.sort_by_key(|cluster| (std::cmp::Reverse(cluster.rows), cluster.id.clone())),
            ClusterSort::Similarity => all.sort_by(|left, right| {
                left.lowest
                    .unwrap()
                    .total_cmp(&right.lowest.unwrap())
                    .then(right.rows.cmp(&left.rows))
                    .then(left.id.cmp(&right.id))
            }),
            ClusterSort::Source => {
                all.sort_by_key(|cluster| {
                    (cluster.source.clone(), std::cmp::Reverse(cluster.rows), cluster.id.clone())
                });
            }
        }
        assert_eq!(shown, all, "{sort:?}");
    }
}

#[test]
fn a_small_limit_changes_nothing() {
    let mut run = Written::new("text", &[("a.jsonl", 9), ("b.jsonl", 9)]);
    run.evidence(&random_evidence(30_000, 3));
    let large = look(&run, 512 << 20, 30, ClusterSort::Similarity, None).unwrap();
    let small = look(&run, 4 << 20, 30, ClusterSort::Similarity, None).unwrap();
    assert_eq!(large, small);
}

#[test]
fn sources_by_column() {
    let mut run = Written::new("text", &[("a.jsonl", 6)]);
    let kept: [Row; 3] = [("k1", "", "one", Some("de")), ("k2", "", "two", Some("fr")), ("k3", "", "three", None)];
    let dropped: [Row; 3] = [("d1", "", "one", Some("fr")), ("d2", "", "two", None), ("d3", "", "two", None)];
    run.rows(Table::Kept, &kept);
    run.rows(Table::Dropped, &dropped);
    run.evidence(&[proof("d1", "k1", 0.9, 2), proof("d2", "k2", 1.0, 3), proof("d3", "k2", 0.8, 3)]);
    let found = look(&run, 64 << 20, 10, ClusterSort::Source, Some("language")).unwrap();
    let sources = found.sources.unwrap();
    let counts: Vec<_> =
        sources.sources.iter().map(|source| (source.name.as_deref(), source.rows, source.dropped)).collect();
    assert_eq!(counts, [(None, 3, 2), (Some("fr"), 2, 1), (Some("de"), 1, 0)]);
    assert_eq!((sources.column.as_deref(), sources.n_sources), (Some("language"), 3));
    let clusters: Vec<_> =
        found.clusters.iter().map(|cluster| (cluster.id.as_str(), cluster.source.as_deref())).collect();
    assert_eq!(clusters, [("k1", Some("de")), ("k2", Some("fr"))]);
    assert_eq!(found.clusters[1].text.as_deref(), Some("two"));

    let without = look(&run, 64 << 20, 10, ClusterSort::Size, None).unwrap();
    assert_eq!(without.sources, None, "the ids do not tell a file");
    let error = look(&run, 64 << 20, 10, ClusterSort::Size, Some("langage")).unwrap_err();
    assert!(matches!(&error, Error::Column { hint: Some(hint), .. } if hint.contains("language")), "{error:?}");
}

#[test]
fn rules_without_similarity_or_cluster_are_counted_apart() {
    let mut run = Written::new("text", &[("a.jsonl", 6)]);
    let bare = |dropped: &str, rule: &str| Proof {
        kept_id: None,
        similarity: None,
        method: None,
        rule: Some(rule.into()),
        shared_bands: None,
        cluster_id: None,
        cluster_size: None,
        ..proof(dropped, "", 1.0, 0)
    };
    let itself = Proof { rule: Some("repetition".into()), ..proof("d4", "d4", 0.5, 1) };
    run.evidence(&[bare("d1", "repetition"), proof("d2", "k1", 0.9, 2), bare("d3", "repetition"), itself]);
    let found = look(&run, 64 << 20, 10, ClusterSort::Size, None).unwrap();
    assert_eq!((found.evidence_rows, found.without_similarity, found.without_cluster), (4, 2, 3));
    assert_eq!(found.by_rule["repetition"], 3);
    assert_eq!((found.n_clusters, found.clusters[0].text.as_deref()), (1, None));
}
