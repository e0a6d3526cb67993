//! The index over runs follows the commit log: a run's rows are in it once the run is committed.

use std::collections::BTreeMap;

use tamis_schemas::commit::Commit;
use tamis_schemas::index::{INDEX_VERSION, IndexManifest, IndexParameters, SegmentRecord};

use crate::Result;
use crate::dedup::index::Catalog;
use crate::place::Place;

/// Adds the segments of runs that the index at `place` lacks. It keeps count of them, so that what has expired since stays away.
pub(super) fn follow(place: &Place, parameters: &IndexParameters, commits: &[Commit]) -> Result<()> {
    let Some(dataset) = commits.first().map(|commit| &commit.run) else { return Ok(()) };
    loop {
        let catalog = Catalog::load(place)?;
        let mut manifest = catalog.manifest().cloned().unwrap_or_else(|| IndexManifest {
            index_version: INDEX_VERSION,
            parameters: parameters.clone(),
            segments: Vec::new(),
            followed: BTreeMap::new(),
        });
        let last = manifest.followed.get(dataset).copied();
        let later = commits.iter().filter(|commit| last.is_none_or(|last| last < commit.version));
        let missing: Vec<(u64, &SegmentRecord)> =
            later.filter_map(|commit| Some((commit.version, commit.segment.as_ref()?))).collect();
        let Some(&(newest, _)) = missing.last() else { return Ok(()) };
        for (_, segment) in missing {
            if place.is_there(&segment.rows_file.path)? {
                manifest.segments.push(segment.clone());
            } else {
                tracing::warn!(
                    segment = segment.path,
                    "a run's rows are not at the index: it was deleted, or is another"
                );
            }
        }
        manifest.followed.insert(dataset.clone(), newest);
        if catalog.try_replace(&manifest)? {
            return Ok(());
        }
    }
}
