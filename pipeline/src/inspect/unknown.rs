//! What an id is, if it is not what was asked for.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use tamis_schemas::config::Table;

use super::evidence;
use crate::finished::{FinishedRun, TableReader};
use crate::{Error, Result};

/// Ids that a hint names.
const MAX_SUGGESTIONS: usize = 3;
/// Similarity of two ids from which one may be meant by the other, 0 to 1.
const LEAST_LIKENESS: f64 = 0.6;
/// That of an id and a part of it.
const PART_LIKENESS: f64 = 0.9;

/// The error of an id that has no cluster.
pub(super) fn cluster(run: &FinishedRun<'_>, evidence: &TableReader<'_>, id: &str) -> Result<Error> {
    let seen = Seen::find(evidence, id, |row| row.cluster_id)?;
    let (message, hint) = if let Some((_, cluster)) = seen.dropped {
        let also = cluster.map_or_else(String::new, |cluster| format!(", or --cluster '{cluster}'"));
        (format!("`{id}` is no cluster: the row was dropped"), format!("ask for --dropped '{id}'{also}"))
    } else if is_kept(run, id)? {
        (format!("`{id}` is no cluster: the row is kept, and none was dropped for it"), seen.hint(run))
    } else {
        (format!("no row of `{}` has the id `{id}`", run.location()), seen.hint(run))
    };
    Ok(Error::Config { message, hint: Some(hint) })
}

/// The error of an id that was not dropped.
pub(super) fn dropped(run: &FinishedRun<'_>, evidence: &TableReader<'_>, id: &str) -> Result<Error> {
    let seen = Seen::find(evidence, id, |row| Some(row.dropped_id))?;
    let (message, hint) = if run.manifest().quality.is_some() && is_in(run, Table::Dropped, id)? {
        (
            format!("`{id}` was dropped by its quality: no row stands for it"),
            format!(
                "its score is in the table `quality`; `tamis restore {} -o OUT --id '{id}'` brings it back",
                run.location()
            ),
        )
    } else if seen.is_cluster {
        (format!("`{id}` was not dropped: others were dropped for it"), format!("ask for --cluster '{id}'"))
    } else if is_kept(run, id)? {
        (format!("`{id}` was not dropped: the row is kept"), seen.hint(run))
    } else {
        (format!("no row of `{}` has the id `{id}`", run.location()), seen.hint(run))
    };
    Ok(Error::Config { message, hint: Some(hint) })
}

fn is_kept(run: &FinishedRun<'_>, id: &str) -> Result<bool> {
    is_in(run, Table::Kept, id)
}

fn is_in(run: &FinishedRun<'_>, table: Table, id: &str) -> Result<bool> {
    Ok(match run.table(table)? {
        Some(rows) => !rows.rows_of_ids([id])?.is_empty(),
        None => false,
    })
}

/// How likely `id` stands for `other`: a part of it, or written in another way.
fn likeness(id: &str, other: &str) -> f64 {
    let is_part = !id.is_empty() && other.contains(id);
    strsim::normalized_levenshtein(id, other).max(if is_part { PART_LIKENESS } else { 0.0 })
}

/// Where an id was seen in the evidence, and ids that are like it.
#[derive(Debug, Default)]
struct Seen {
    /// The row that was dropped, with its cluster.
    dropped: Option<(u64, Option<String>)>,
    is_cluster: bool,
    /// The likest first.
    alike: Vec<(f64, String)>,
}

impl Seen {
    fn find(
        evidence: &TableReader<'_>,
        id: &str,
        candidate: impl for<'r> Fn(&evidence::ProofRef<'r>) -> Option<&'r str>,
    ) -> Result<Self> {
        let mut seen = Self::default();
        evidence::for_each(evidence, |row| {
            if row.dropped_id == id {
                seen.dropped = Some((row.position, row.cluster_id.map(str::to_owned)));
            }
            seen.is_cluster |= row.cluster_id == Some(id);
            if let Some(other) = candidate(row) {
                seen.offer(likeness(id, other), other);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(seen)
    }

    fn offer(&mut self, likeness: f64, id: &str) {
        if likeness < LEAST_LIKENESS || self.alike.iter().any(|(_, known)| known == id) {
            return;
        }
        let is_liker = |(other, _): &(f64, String)| other.total_cmp(&likeness) != Ordering::Less;
        let at = self.alike.iter().take_while(|entry| is_liker(entry)).count();
        if at < MAX_SUGGESTIONS {
            self.alike.insert(at, (likeness, id.to_owned()));
            self.alike.truncate(MAX_SUGGESTIONS);
        }
    }

    fn hint(&self, run: &FinishedRun<'_>) -> String {
        if self.alike.is_empty() {
            return format!("tamis inspect {} lists the clusters", run.location());
        }
        let ids: Vec<String> = self.alike.iter().map(|(_, id)| format!("`{id}`")).collect();
        format!("did you mean {}?", ids.join(" or "))
    }
}
