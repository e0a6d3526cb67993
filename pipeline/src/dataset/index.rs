//! The index over runs follows the commit log: a run's rows are in it once the run is committed.

use std::collections::{BTreeMap, HashSet};

use tamis_schemas::commit::Commit;
use tamis_schemas::index::{INDEX_VERSION, IndexManifest, IndexParameters, RunRecord};
use tamis_schemas::manifest::FileRecord;

use super::{Dataset, withdrawn};
use crate::Result;
use crate::context::Context;
use crate::dedup::index::{Catalog, Stamp, maintain};
use crate::place::Place;

/// Brings the index at `place` up to the commits: rows that one withdrew expire, then its own are added. The index keeps count
/// of commits, so that what has expired since stays away.
pub(super) fn follow(
    dataset: &Dataset<'_>,
    place: &Place,
    parameters: &IndexParameters,
    context: &Context,
) -> Result<()> {
    let commits = dataset.log.commits();
    let Some(first) = commits.first().map(|commit| &commit.run) else { return Ok(()) };
    loop {
        let catalog = Catalog::load(place)?;
        let mut manifest = catalog.manifest().cloned().unwrap_or_else(|| IndexManifest {
            index_version: INDEX_VERSION,
            parameters: parameters.clone(),
            segments: Vec::new(),
            followed: BTreeMap::new(),
        });
        let last = manifest.followed.get(first).copied();
        let changes = |commit: &&Commit| !commit.segments.is_empty() || withdrawn_ids(commit).is_some();
        let later = commits.iter().filter(|commit| last.is_none_or(|last| last < commit.version)).filter(changes);
        let missing: Vec<&Commit> = later.collect();
        let Some(newest) = missing.last().map(|commit| commit.version) else { return Ok(()) };
        for commit in missing {
            if let Some(record) = withdrawn_ids(commit) {
                let ids = withdrawn::read(&dataset.home, record)?;
                let runs = runs_before(commits, commit.version);
                let is_ours = |run: &RunRecord| runs.contains(run.run.as_str());
                let stamp =
                    Stamp { nonce: format!("{}-{}", dataset.stamp.nonce, commit.version), ..dataset.stamp.clone() };
                let (old, parameters) = (std::mem::take(&mut manifest.segments), &manifest.parameters);
                manifest.segments = maintain::without_ids(place, old, parameters, &ids, is_ours, &stamp, context)?;
            }
            for segment in &commit.segments {
                if place.is_there(&segment.rows_file.path)? {
                    manifest.segments.push(segment.clone());
                } else {
                    tracing::warn!(
                        segment = segment.path,
                        "a run's rows are not at the index: it was deleted, or is another"
                    );
                }
            }
        }
        manifest.followed.insert(first.clone(), newest);
        if catalog.try_replace(&manifest)? {
            return Ok(());
        }
    }
}

fn withdrawn_ids(commit: &Commit) -> Option<&FileRecord> {
    commit.withdrawn.as_ref()?.ids.as_ref()
}

/// Names, in the index, of what commits before that of `version` added to it.
pub(super) fn runs_before(commits: &[Commit], version: u64) -> HashSet<&str> {
    let before = commits.iter().take_while(|commit| commit.version < version);
    let runs = before.flat_map(|commit| &commit.segments).flat_map(|segment| &segment.runs);
    runs.map(|run| run.run.as_str()).collect()
}
