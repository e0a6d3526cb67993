//! A run and the index over runs: what is looked up before, what is added after.
//!
//! ```text
//! open: index.json, the run that is replaced -> look-up -> rows kept are staged as a segment
//! -> manifest of the run, which names it -> index.json
//! ```
//!
//! A run that stops between the last two left a complete output whose rows the index does not know: the same command with
//! `--overwrite` puts that right.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};
use tamis_schemas::config::Config;
use tamis_schemas::index::{INDEX_VERSION, IndexManifest, RunRecord, SegmentRecord};
use tamis_schemas::manifest::Manifest;

use crate::context::Context;
use crate::dataset::Dataset;
use crate::dedup::Settings;
use crate::dedup::index::{Addition, Catalog, IndexRows, Lookup, StagedSegment, Stamp, maintain, parameters};
use crate::place::Place;
use crate::sink::{Existing, MANIFEST, refuse_overlap};
use crate::store::Stores;
use crate::{Error, Result};

/// In the output while a run is replaced whose rows the index has: the manifest that names it is gone by then.
const REPLACED: &str = "_tamis_replaced.json";

/// See [`REPLACED`].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Replaced {
    runs: BTreeSet<String>,
}

/// The index of a run.
#[derive(Debug)]
pub(super) struct IndexRun {
    catalog: Catalog,
    /// What is looked up.
    segments: Vec<SegmentRecord>,
    output: Place,
    settings: Settings,
    /// Runs whose output this one replaces: their rows are not looked up, and leave the index.
    superseded: Vec<String>,
    stamp: Stamp,
}

impl IndexRun {
    /// Opens the index that `config` names.
    ///
    /// # Errors
    /// `Error::Config` if its parameters are not those of this run, or if it lies among the inputs.
    pub(super) fn open(
        config: &Config,
        settings: Option<&Settings>,
        existing: Existing,
        dataset: Option<&Dataset<'_>>,
        stores: &Stores,
        stamp: &Stamp,
        context: &Context,
    ) -> Result<Option<Self>> {
        let (Some(index), Some(settings)) = (&config.index, settings) else { return Ok(None) };
        refuse_overlap("index", &index.url, &config.input.paths)?;
        let runtime = context.runtime.handle();
        let place = Place::new(&index.url, stores, runtime)?.with_commits(config.output.commit);
        let parameters = parameters(settings)?;
        dataset.map_or(Ok(()), |dataset| dataset.follow_index(&place, &parameters, context))?;
        let catalog = Catalog::load(&place)?;
        catalog.check(&parameters)?;
        place.probe(&format!("probe-{}", stamp.nonce))?;
        let output = Place::new(&config.output.path, stores, runtime)?;
        let superseded = match existing {
            Existing::Refuse => Vec::new(),
            Existing::Overwrite => superseded(&output, &catalog)?,
        };
        for run in &superseded {
            tracing::warn!(run, "the run whose output is overwritten leaves the index");
        }
        let segments = catalog.manifest().map(|manifest| manifest.segments.clone()).unwrap_or_default();
        Ok(Some(Self { catalog, segments, output, settings: settings.clone(), superseded, stamp: stamp.clone() }))
    }

    /// The rows of earlier runs.
    pub(super) fn lookup(&self, context: &Context) -> Result<Lookup> {
        Lookup::new(&self.catalog, &self.segments, &self.settings, &self.superseded, context)
    }

    /// Looks up none of the rows that have these ids and are of the output itself: they leave it with this run.
    pub(super) fn withdraw(&mut self, ids: &HashSet<String>, dataset: &Dataset<'_>, context: &Context) -> Result<()> {
        let Some(manifest) = self.catalog.manifest() else { return Ok(()) };
        let (runs, place) = (dataset.index_runs(), self.catalog.place());
        let is_ours = |run: &RunRecord| runs.contains(run.run.as_str());
        let (segments, parameters) = (std::mem::take(&mut self.segments), &manifest.parameters);
        self.segments = maintain::without_ids(place, segments, parameters, ids, is_ours, &self.stamp, context)?;
        Ok(())
    }

    /// A segment for what this run keeps, and how its rows are made.
    pub(super) fn adding(&self, context: &Context) -> Result<Adding> {
        let addition = Addition::new(self.catalog.place(), self.settings.search()?, &self.stamp, context);
        Ok(Adding { rows: IndexRows::new(&self.settings)?, addition })
    }

    /// Leaves word of what is replaced, before the manifest that says so is removed.
    pub(super) fn announce(&self) -> Result<()> {
        if self.superseded.is_empty() {
            return Ok(());
        }
        let replaced = Replaced { runs: self.superseded.iter().cloned().collect() };
        let json = serde_json::to_vec(&replaced)
            .map_err(|error| Error::Invariant(format!("a list of runs is not JSON: {error}")))?;
        self.output.put(REPLACED, json)
    }

    /// # Errors
    /// `Error::Config` if another run changed the index: this one was not compared with what that one kept.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        self.catalog.check_unchanged()
    }

    /// Whether the index is as it was when this run was compared with it.
    pub(super) fn is_unchanged(&self) -> Result<bool> {
        self.catalog.is_unchanged()
    }

    /// Brings the index up to the runs that were added to an output.
    pub(super) fn follow(&self, dataset: &Dataset<'_>, context: &Context) -> Result<()> {
        dataset.follow_index(self.catalog.place(), &parameters(&self.settings)?, context)
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Runs whose output this one replaces.
    pub(super) fn superseded(&self) -> &[String] {
        &self.superseded
    }

    /// Adds the segment, in place of what this run replaces.
    pub(super) fn commit(&self, staged: Option<StagedSegment>) -> Result<()> {
        let record = staged.as_ref().map(|staged| staged.record(self.stamp.now));
        self.commit_segments(record, || staged.into_iter().for_each(StagedSegment::keep))
    }

    /// As [`commit`](Self::commit), of segments that others have written; `keep` is called as soon as the index has them.
    pub(super) fn commit_segments(
        &self,
        added: impl IntoIterator<Item = SegmentRecord>,
        keep: impl FnOnce(),
    ) -> Result<()> {
        let place = self.catalog.place();
        let old = match self.catalog.manifest() {
            Some(manifest) => manifest.clone(),
            None => IndexManifest {
                index_version: INDEX_VERSION,
                parameters: parameters(&self.settings)?,
                segments: Vec::new(),
                followed: BTreeMap::new(),
            },
        };
        let keeps = |run: &tamis_schemas::index::RunRecord| !self.superseded.contains(&run.run);
        let first_replaced = old.segments.iter().position(|segment| !segment.runs.iter().all(keeps));
        let after = old.segments.len() - first_replaced.unwrap_or(old.segments.len());
        let (before, after) = old.segments.split_at(old.segments.len() - after);
        let mut segments = before.to_vec();
        segments.extend(added);
        segments.extend(maintain::without_runs(place, after.to_vec(), keeps, &self.stamp)?);
        let manifest = IndexManifest { segments, ..old };
        if self.catalog.manifest() != Some(&manifest) {
            maintain::replace(&self.catalog, &manifest)?;
        }
        keep();
        self.output.delete([REPLACED])
    }
}

/// The runs of the index that the output holds, or held when they began to be replaced.
fn superseded(output: &Place, catalog: &Catalog) -> Result<Vec<String>> {
    let mut runs = BTreeSet::new();
    runs.extend(run_of(output)?);
    if let Some((bytes, _)) = output.get_if_there(REPLACED)? {
        runs.extend(serde_json::from_slice::<Replaced>(&bytes).unwrap_or_default().runs);
    }
    let segments = catalog.manifest().iter().flat_map(|manifest| &manifest.segments).collect::<Vec<_>>();
    runs.retain(|name| segments.iter().flat_map(|segment| &segment.runs).any(|run| run.run == *name));
    Ok(runs.into_iter().collect())
}

/// The run that the manifest of an output names.
fn run_of(output: &Place) -> Result<Option<String>> {
    let Some((bytes, _)) = output.get_if_there(MANIFEST)? else { return Ok(None) };
    // An output that is not ours has no run of ours.
    let manifest = serde_json::from_slice::<Manifest>(&bytes).ok();
    Ok(manifest.and_then(|manifest| manifest.index?.run))
}

impl Drop for IndexRun {
    /// Takes the word back if the output is still the one that was to be replaced.
    fn drop(&mut self) {
        if !self.superseded.is_empty()
            && let Ok(Some(run)) = run_of(&self.output)
            && self.superseded.contains(&run)
        {
            let _ = self.output.delete([REPLACED]);
        }
    }
}

/// What a run keeps, on its way into the index.
#[derive(Debug)]
pub(super) struct Adding {
    pub(super) rows: IndexRows,
    pub(super) addition: Addition,
}
