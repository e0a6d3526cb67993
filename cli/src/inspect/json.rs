//! For machines.

use serde_json::{Value, json};
use tamis_pipeline::inspect::{Cluster, Overview, Pair, Proof, Sources, Text};

use super::compare::Compared;
use super::{Found, View};

/// The same facts as the terminal shows, and all that was read of the texts.
pub(crate) fn value(view: &View<'_>) -> Value {
    let mut value = json!({ "command": "tamis inspect", "run": view.run.location() });
    let (key, found) = match &view.found {
        Found::Overview(found, _) => ("overview", overview(view, found)),
        Found::Cluster(found) => ("cluster", cluster(found)),
        Found::Dropped(found) => ("dropped", found.iter().map(pair).collect()),
    };
    value[key] = found;
    value
}

fn overview(view: &View<'_>, overview: &Overview) -> Value {
    let manifest = view.run.manifest();
    json!({
        "rows": manifest.rows,
        "dropped_by_reason": manifest.dropped_by_reason,
        "evidence_rows": overview.evidence_rows,
        "by_rule": overview.by_rule,
        "by_method": overview.by_method,
        "similarities": overview.similarities.iter().map(|bin| json!({
            "from": bin.from,
            "to": bin.to,
            "rows": bin.rows,
            "rows_at_least": bin.rows_at_least,
        })).collect::<Vec<_>>(),
        "without_similarity": overview.without_similarity,
        "without_cluster": overview.without_cluster,
        "n_clusters": overview.n_clusters,
        "cluster_sizes": overview.cluster_sizes.iter().map(|bin| json!({
            "from": bin.from,
            "to": bin.to,
            "clusters": bin.clusters,
            "dropped": bin.dropped,
        })).collect::<Vec<_>>(),
        "clusters": overview.clusters.iter().map(|cluster| json!({
            "id": cluster.id,
            "rows": cluster.rows,
            "dropped": cluster.dropped,
            "lowest_similarity": cluster.lowest,
            "mean_similarity": cluster.mean,
            "methods": cluster.methods,
            "source": cluster.source,
            "begins": cluster.text,
        })).collect::<Vec<_>>(),
        "sources": overview.sources.as_ref().map(sources),
    })
}

fn sources(sources: &Sources) -> Value {
    json!({
        "column": sources.column,
        "n_sources": sources.n_sources,
        "unknown_dropped": sources.unknown_dropped,
        "sources": sources.sources.iter().map(|source| json!({
            "name": source.name,
            "rows": source.rows,
            "dropped": source.dropped,
            "same_source": source.same_source,
        })).collect::<Vec<_>>(),
    })
}

fn cluster(cluster: &Cluster) -> Value {
    json!({
        "id": cluster.id,
        "rows": cluster.rows,
        "dropped": cluster.dropped,
        "pairs": cluster.pairs.iter().map(pair).collect::<Vec<_>>(),
    })
}

fn pair(pair: &Pair) -> Value {
    let mut value = proof(&pair.proof);
    let text = |text: &Text| json!({ "text": text.part, "start_byte": text.start, "bytes": text.bytes });
    value["kept"] = pair.kept.as_deref().map(text).into();
    value["dropped"] = pair.dropped.as_deref().map(text).into();
    if let (Some(kept), Some(dropped)) = (&pair.kept, &pair.dropped) {
        let compared = Compared::new(kept, dropped);
        let counts = compared.counts();
        value["words"] = json!({
            "equal": counts.equal,
            "only_kept": counts.only_kept,
            "only_dropped": counts.only_dropped,
        });
        value["changes"] = compared
            .changes
            .iter()
            .map(|change| {
                json!({
                    "is_equal": change.is_equal,
                    "kept": compared.kept.slice(&change.left),
                    "dropped": compared.dropped.slice(&change.right),
                })
            })
            .collect();
    }
    value
}

fn proof(proof: &Proof) -> Value {
    json!({
        "dropped_id": proof.dropped_id,
        "kept_id": proof.kept_id,
        "similarity": proof.similarity,
        "method": proof.method,
        "rule": proof.rule,
        "shared_bands": proof.shared_bands,
        "cluster_id": proof.cluster_id,
        "cluster_size": proof.cluster_size,
        "span": proof.span.as_ref().map(|span| [span.start, span.end]),
    })
}
