//! Dropped rows that are wanted back: of some runs, with some ids, of some clusters.
//!
//! ```text
//! runs by name -> evidence, if ids or clusters are asked for -> runs that dropped such rows -> their rows in `dropped`
//! ```
//!
//! What evidence rules out is not read, and not brought back from an archive.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use xxhash_rust::xxh3::xxh3_128;

use super::ids::{ids_of, rows_of};
use super::restore::missing;
use crate::budget::Reservation;
use crate::finished::{FinishedRun, TableReader, Waiting, bring_back, check_file};
use crate::inspect::evidence;
use crate::store::Thaw;
use crate::{Error, Result, RowSet};

/// Bytes that an id takes in a set of hashes, about.
const HASH_BYTES: usize = 40;

/// What a dropped row must be to be wanted: one of each kind that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Names of runs that were added to the output: one of them dropped it.
    pub runs: Vec<String>,
    /// Ids: it has one of them.
    pub ids: Vec<String>,
    /// Ids of kept rows: it was dropped for one of them.
    pub clusters: Vec<String>,
}

/// A run, and which of the rows that it dropped are wanted.
pub(super) struct Part<'a> {
    pub(super) run: FinishedRun<'a>,
    wanted: Wanted,
    /// Names of the inputs that it read, if its files may hold rows of other runs.
    sources: Option<HashSet<String>>,
}

/// Rows by the hashes of their ids.
enum Wanted {
    All,
    /// Those that the run's evidence names.
    Exactly(HashSet<u128>),
    /// Those that there are.
    AnyOf(HashSet<u128>),
}

/// What the search came to.
pub(super) enum Chosen<'a> {
    /// Evidence lies in an archive.
    Waiting(Waiting),
    /// Runs that dropped wanted rows.
    Parts(Vec<Part<'a>>),
}

/// A search, and what was not seen so far of that which was asked for.
pub(super) struct Search<'s> {
    selectors: &'s Selectors,
    ids: HashMap<u128, &'s str>,
    clusters: HashSet<&'s str>,
    unseen_ids: BTreeSet<&'s str>,
    unseen_clusters: BTreeSet<&'s str>,
    held: Reservation,
}

impl<'s> Search<'s> {
    pub(super) fn new(selectors: &'s Selectors, run: &FinishedRun<'_>) -> Self {
        let ids = selectors.ids.iter().map(String::as_str);
        let clusters = selectors.clusters.iter().map(String::as_str);
        Self {
            selectors,
            ids: ids.clone().map(|id| (xxh3_128(id.as_bytes()), id)).collect(),
            clusters: clusters.clone().collect(),
            unseen_ids: ids.collect(),
            unseen_clusters: clusters.collect(),
            held: run.context.budget.reserve("restore: ids of rows"),
        }
    }

    /// The runs that may have dropped wanted rows; archived evidence is asked for.
    ///
    /// # Errors
    /// `Error::Config` for a run or a cluster that is not there.
    pub(super) fn choose<'a>(&mut self, run: &FinishedRun<'a>, thaw: Thaw) -> Result<Chosen<'a>> {
        let names: Vec<&str> = self.selectors.runs.iter().map(String::as_str).collect();
        let is_rewritten = run.is_rewritten();
        let mut sources = None;
        let mut runs = match (names.as_slice(), is_rewritten) {
            ([], false) => run.each()?,
            ([], true) => vec![run.only(&run.commits().iter().map(|commit| commit.run.as_str()).collect::<Vec<_>>())?],
            (names, false) => run.only(names)?.each()?,
            (names, true) => {
                let runs = run.only(names)?;
                sources = Some(runs.manifest().inputs.iter().map(|input| input.name.clone()).collect());
                vec![runs]
            }
        };
        runs.retain(|run| run.manifest().rows.dropped > 0);
        if self.ids.is_empty() && self.clusters.is_empty() {
            let part = |run| Part { run, wanted: Wanted::All, sources: sources.clone() };
            let parts: Vec<Part<'a>> = runs.into_iter().map(part).collect();
            return if parts.is_empty() { Err(none_wanted()) } else { Ok(Chosen::Parts(parts)) };
        }
        if let Some(waiting) = bring_back(run, runs.iter().flat_map(|run| run.files(Table::Evidence)), thaw)? {
            return Ok(Chosen::Waiting(waiting));
        }
        let mut parts = Vec::new();
        for run in runs {
            run.files(Table::Evidence).try_for_each(|(url, record)| check_file(&run, &url, record))?;
            let wanted = match run.table(Table::Evidence)? {
                // What quality drops has no evidence.
                Some(_) if self.clusters.is_empty() && run.manifest().quality.is_some() => {
                    Wanted::AnyOf(self.ids.keys().copied().collect())
                }
                Some(evidence) => {
                    let wanted = self.by_evidence(&evidence)?;
                    if is_rewritten { Wanted::AnyOf(wanted) } else { Wanted::Exactly(wanted) }
                }
                None if self.clusters.is_empty() => Wanted::AnyOf(self.ids.keys().copied().collect()),
                None => return Err(missing(&run, Table::Evidence)),
            };
            if !matches!(&wanted, Wanted::Exactly(ids) | Wanted::AnyOf(ids) if ids.is_empty()) {
                parts.push(Part { run, wanted, sources: sources.clone() });
            }
        }
        if let Some(cluster) = self.unseen_clusters.first() {
            return Err(unknown(run, &format!("--cluster {cluster}: no row was dropped for one of this id")));
        }
        let is_known = parts.iter().all(|part| matches!(part.wanted, Wanted::Exactly(_)));
        if is_known {
            self.check_ids(run)?;
        }
        if parts.is_empty() { Err(none_wanted()) } else { Ok(Chosen::Parts(parts)) }
    }

    /// The wanted rows that a run's evidence names.
    fn by_evidence(&mut self, evidence: &TableReader<'_>) -> Result<HashSet<u128>> {
        let mut wanted = HashSet::new();
        evidence::for_each(evidence, |row| {
            let id = xxh3_128(row.dropped_id.as_bytes());
            let has_id = self.ids.is_empty() || self.ids.contains_key(&id);
            let has_cluster = self.clusters.is_empty() || row.cluster_id.is_some_and(|id| self.clusters.contains(id));
            if has_id {
                self.unseen_ids.remove(row.dropped_id);
            }
            if let Some(cluster) = row.cluster_id {
                self.unseen_clusters.remove(cluster);
            }
            if has_id && has_cluster && wanted.insert(id) {
                self.held.grow(HASH_BYTES)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(wanted)
    }

    /// Positions of a run's wanted rows in its table `dropped`; `None`: all.
    ///
    /// # Errors
    /// `Error::Corrupt` if the table lacks a row that evidence names.
    pub(super) fn rows(&mut self, part: &Part<'_>, dropped: &TableReader<'_>) -> Result<Option<RowSet>> {
        let wanted = match (&part.wanted, &part.sources) {
            (Wanted::Exactly(wanted) | Wanted::AnyOf(wanted), _) => Some(wanted),
            (Wanted::All, Some(_)) => None,
            (Wanted::All, None) => return Ok(None),
        };
        let names_sources = dropped.schema().field_with_name(columns::SOURCE).is_ok();
        let columns: &[&str] = if part.sources.is_some() && names_sources { &[columns::SOURCE] } else { &[] };
        let mut rows = RowSet::new();
        dropped.scan("finding dropped rows", &TableReader::request_with_ids(columns), |batch| {
            let sources =
                batch.column_by_name(columns::SOURCE).map(|sources| cast(sources, &DataType::Utf8)).transpose()?;
            let sources = sources.as_ref().map(AsArray::as_string::<i32>);
            let is_of_run = |at: usize| match (&part.sources, sources) {
                (Some(of_run), Some(sources)) => of_run.contains(sources.value(at)),
                _ => true,
            };
            for (at, (&row, id)) in rows_of(batch)?.values().iter().zip(ids_of(batch)?.iter().flatten()).enumerate() {
                if is_of_run(at) && wanted.is_none_or(|wanted| wanted.contains(&xxh3_128(id.as_bytes()))) {
                    rows.insert(row);
                    self.unseen_ids.remove(id);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Wanted::Exactly(wanted) = &part.wanted
            && rows.len() != wanted.len() as u64
        {
            return Err(Error::Corrupt {
                location: part.run.location().to_owned(),
                format: "an output of tamis",
                message: format!("evidence names {} of these rows, `dropped` has {}", wanted.len(), rows.len()),
            });
        }
        Ok(Some(rows))
    }

    /// # Errors
    /// `Error::Config` for an id that was asked for and not seen.
    pub(super) fn check_ids(&self, run: &FinishedRun<'_>) -> Result<()> {
        match self.unseen_ids.first() {
            Some(id) => Err(unknown(run, &format!("--id {id}: no row of this id was dropped"))),
            None => Ok(()),
        }
    }
}

fn unknown(run: &FinishedRun<'_>, what: &str) -> Error {
    let hint = format!("`tamis inspect {}` lists clusters and the rows dropped for them", run.location());
    Error::Config { message: format!("{what} (of the runs asked for)"), hint: Some(hint) }
}

pub(super) fn none_wanted() -> Error {
    Error::Config {
        message: "no dropped row is all that was asked for".into(),
        hint: Some("a row must match one of each kind: --run, --id, --cluster".into()),
    }
}
