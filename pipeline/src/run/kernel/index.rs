//! The index over runs, where many processes look at it and add to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tamis_schemas::index::SegmentRecord;

use super::Task;
use crate::dedup::index::{Addition, Catalog, Lookup, Stamp, remove_other_segments};
use crate::place::Place;
use crate::run::index::IndexRun;
use crate::sink::hex;
use crate::{Error, Result};

/// What all kernels of a run know of it: the index is to them as it was when the run began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IndexOfRun {
    /// Hash of what it holds.
    content: String,
    /// Runs whose output this one replaces.
    superseded: Vec<String>,
    /// When the run began, in seconds since 1970.
    now: u64,
}

impl IndexOfRun {
    pub(super) fn new(index: &IndexRun, now: u64) -> Result<Self> {
        Ok(Self { content: hash_of(index.catalog())?, superseded: index.superseded().to_vec(), now })
    }

    /// The rows of earlier runs.
    ///
    /// # Errors
    /// `Error::Config` if it was changed since the run began.
    pub(super) fn lookup(&self, task: Task<'_>) -> Result<Lookup> {
        let catalog = Catalog::load(&place(task)?)?;
        if hash_of(&catalog)? != self.content {
            return Err(catalog.lost());
        }
        let segments = catalog.manifest().map_or(&[][..], |manifest| &manifest.segments);
        Lookup::new(&catalog, segments, task.deduplicate()?, &self.superseded, task.with.context)
    }

    /// A segment for what a unit keeps. `name` is one that no other try has.
    pub(super) fn addition(&self, name: &str, task: Task<'_>) -> Result<Addition> {
        let stamp = Stamp { now: self.now, nonce: name.to_owned() };
        Ok(Addition::new(&place(task)?, task.deduplicate()?.search()?, &stamp, task.with.context))
    }

    /// All that the result depends on.
    pub(super) fn content(&self) -> impl Serialize {
        (&self.content, &self.superseded)
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }
}

fn hash_of(catalog: &Catalog) -> Result<String> {
    let content = serde_json::to_vec(&catalog.manifest());
    let content = content.map_err(|error| Error::Invariant(format!("what an index holds is not JSON: {error}")))?;
    Ok(hex(&Sha256::digest(content)))
}

fn place(task: Task<'_>) -> Result<Place> {
    let index = task.config.index.as_ref().ok_or_else(|| Error::Invariant("this run has no index".into()))?;
    Place::new(&index.url, task.with.stores, task.with.context.runtime.handle())
}

/// Segments that the tasks of a run write. Dropped before [`keep`](Self::keep), all that are there are removed.
#[derive(Debug)]
pub(super) struct TaskSegments {
    place: Place,
    /// What the names of their folders begin with, and those of no other run.
    prefix: String,
    by_unit: BTreeMap<u64, SegmentRecord>,
    is_kept: bool,
}

impl TaskSegments {
    pub(super) fn new(place: &Place, now: u64, file_prefix: &str) -> Self {
        let prefix = format!("{now}-{file_prefix}");
        Self { place: place.clone(), prefix, by_unit: BTreeMap::new(), is_kept: false }
    }

    /// A segment that counts, of the rows of a unit.
    pub(super) fn push(&mut self, unit: u64, segment: SegmentRecord) {
        self.by_unit.insert(unit, segment);
    }

    /// Those that count, in the order of the rows; they were added by one run, which has its name from the rows. Others are removed.
    ///
    /// # Errors
    /// `Error::Invariant` if they have not so many rows as were kept; `Error::Config` if a file of them is not there.
    pub(super) fn finish(&mut self, n_kept: u64) -> Result<Vec<SegmentRecord>> {
        let n_rows: u64 = self.by_unit.values().map(|segment| segment.rows).sum();
        if n_rows != n_kept {
            return Err(Error::Invariant(format!("{n_kept} rows were kept, and {n_rows} went to the index")));
        }
        remove_other_segments(&self.place, &self.prefix, &self.by_unit.values().collect::<Vec<_>>())?;
        let segments = || self.by_unit.values();
        let runs = segments().flat_map(|segment| &segment.runs);
        let digest = runs.clone().fold(Sha256::new(), |hash, run| hash.chain_update(&run.run)).finalize();
        // Of one segment, the name that it would have on one machine.
        let name = match runs.map(|run| &run.run).collect::<Vec<_>>()[..] {
            [only] => only.clone(),
            _ => hex(&digest[..16]),
        };
        Ok(segments()
            .map(|segment| {
                let mut segment = segment.clone();
                segment.runs.iter_mut().for_each(|run| run.run.clone_from(&name));
                segment
            })
            .collect())
    }

    /// Leaves them where they are: a manifest names them now.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for TaskSegments {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = remove_other_segments(&self.place, &self.prefix, &[]);
        }
    }
}
