//! An output that runs are added to: each run reads what is new in the inputs, and is visible whole or not at all.
//!
//! ```text
//! OUT/_tamis/commits/<version>.json     a run each, created only if it is not there: this is the commit
//! OUT/<table>/<run>-00000.parquet       files of its own, written before
//! OUT/<table>/_delta_log/<version>.json the same runs, for readers of Delta Lake tables, written after
//! OUT/_tamis/withdrawn/<run>.arrow      ids of rows that left the output with a run: files have changed
//! OUT/_tamis/index                      what the runs kept, unless [index] names another place
//! OUT/_tamis/lease/<epoch>.json         who works on it now, so that others wait instead of losing at their commit
//! ```
//!
//! Of two runs at once, one gets the next version; the other begins anew with what is left to read. What a run that was
//! killed left before its commit, no one reads; what it could not write after it, the next run writes.

pub(crate) mod delta;
mod index;
mod lease;
mod ledger;
mod live;
mod log;
mod withdrawn;

use std::collections::{BTreeMap, HashSet};

use tamis_schemas::commit::{
    COMMIT_VERSION, Commit, CommitKind, CommittedInput, CommittedTable, Replacement, Withdrawn,
};
use tamis_schemas::config::{Config, OutputMode, Table};
use tamis_schemas::index::{IndexParameters, SegmentRecord};
use tamis_schemas::manifest::{FileRecord, Manifest};
use tokio::runtime::Handle;

pub(crate) use delta::DeltaSchema;
pub use lease::{IfLocked, Sharing};
pub(crate) use lease::{Lease, Turn, holder};
pub(crate) use ledger::{NewInputs, committed};
pub(crate) use live::{files_of, live_files, removed_files, run_of_file};
pub(crate) use log::{COMMITS, CommitLog};
pub(crate) use withdrawn::WITHDRAWN;

use crate::context::Context;
use crate::dedup::index::Stamp;
use crate::finished::FinishedRun;
use crate::place::Place;
use crate::progress::Progress;
use crate::store::Stores;
use crate::{Error, Result};

/// Where the index lies if the config does not say.
pub(crate) const INDEX: &str = "_tamis/index";

/// What a commit adds and takes away.
#[derive(Debug, Default)]
pub(crate) struct NewCommit {
    pub(crate) kind: CommitKind,
    /// What logs call the run, if that is not its name.
    pub(crate) run_id: Option<String>,
    /// That of the lease.
    pub(crate) epoch: u64,
    /// Files that were read.
    pub(crate) inputs: Vec<CommittedInput>,
    /// Tables that have other files or columns now.
    pub(crate) tables: BTreeMap<Table, CommittedTable>,
    /// Rows for the index.
    pub(crate) segments: Vec<SegmentRecord>,
    pub(crate) replaced: BTreeMap<Table, Vec<Replacement>>,
    pub(crate) withdrawn: Option<Withdrawn>,
}

/// An output that a run is to be added to.
#[derive(Debug)]
pub(crate) struct Dataset<'a> {
    home: Place,
    log: CommitLog,
    stores: &'a Stores,
    stamp: Stamp,
}

impl<'a> Dataset<'a> {
    /// Opens the output that `config` names, and completes what an earlier run could not; `None` if runs are not added there.
    ///
    /// # Errors
    /// `Error::Config` if the store does not heed the conditions of a put; `Error::Corrupt` for a damaged log.
    pub(crate) fn open(config: &Config, stores: &'a Stores, stamp: &Stamp, runtime: &Handle) -> Result<Option<Self>> {
        if config.output.mode != OutputMode::Append {
            return Ok(None);
        }
        let home = Place::new(&config.output.path, stores, runtime)?.with_commits(config.output.commit);
        home.probe(&format!("_tamis/probe-{}", stamp.nonce))?;
        let log = CommitLog::load(&home)?;
        let dataset = Self { home, log, stores, stamp: stamp.clone() };
        dataset.check(config)?;
        dataset.follow_tables()?;
        Ok(Some(dataset))
    }

    /// # Errors
    /// `Error::Config` for settings under which rows would not be compared with those of earlier runs.
    fn check(&self, config: &Config) -> Result<()> {
        if config.grain.is_some() {
            return Err(Error::Config {
                message:
                    "[grain] does not work where runs are added: paragraphs are not compared with those of earlier runs"
                        .into(),
                hint: Some("leave it out, or set output.mode to \"new\"; [repetition] works".into()),
            });
        }
        if config.quality.is_some() {
            // Nor would a near-duplicate of a row that quality has dropped come back where that row changes.
            return Err(Error::Config {
                message: "[quality] looks at all rows at once, and output.mode = \"append\" at those of each run"
                    .into(),
                hint: Some("judge what the runs kept by a config of its own, which reads the table `kept`".into()),
            });
        }
        if config.semantic.is_some() {
            return Err(Error::Config {
                message:
                    "[semantic] compares the rows of one run, and output.mode = \"append\" adds runs to each other"
                        .into(),
                hint: Some("run it on what the runs kept by a config of its own, which reads the table `kept`".into()),
            });
        }
        let compared = self.log.commits().last().map(|commit| !commit.manifest.config["deduplicate"].is_null());
        match compared {
            Some(compared) if compared != config.deduplicate.is_some() => Err(Error::Config {
                message: format!(
                    "earlier runs of `{}` {} near-duplicates, and this one would {}",
                    self.home.url(),
                    if compared { "removed" } else { "did not remove" },
                    if compared { "not" } else { "" },
                )
                .trim_end()
                .to_owned(),
                hint: Some("keep the section [deduplicate] as it was, or write to a new output".into()),
            }),
            _ => Ok(()),
        }
    }

    /// Begins another run, when and under which name.
    pub(crate) fn begin(&mut self, stamp: Stamp) {
        self.stamp = stamp;
    }

    /// The runs that were added, the first one first.
    pub(crate) fn commits(&self) -> &[Commit] {
        self.log.commits()
    }

    /// The encoder whose embeddings are in the output, by its fingerprint.
    pub(crate) fn encoder(&self) -> Option<&str> {
        let records = self.commits().iter().rev().filter_map(|commit| commit.manifest.embedding.as_ref());
        records.map(|record| record.fingerprint.as_str()).next()
    }

    /// Whether no other run was added since it was opened.
    pub(crate) fn is_newest(&self) -> Result<bool> {
        self.log.is_newest()
    }

    /// The newest lease that a run was added under.
    pub(crate) fn epoch(&self) -> u64 {
        self.log.commits().iter().map(|commit| commit.epoch).max().unwrap_or_default()
    }

    /// When the run began, and its own name.
    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Name of the run: the names of its files begin with it.
    pub(crate) fn run(&self) -> String {
        self.stamp.nonce.clone()
    }

    /// Version of the next commit.
    pub(crate) fn next_version(&self) -> u64 {
        self.log.next_version()
    }

    /// The tables of the output, as the last run left each.
    pub(crate) fn tables(&self) -> BTreeMap<Table, CommittedTable> {
        self.log.commits().iter().flat_map(|commit| commit.tables.clone()).collect()
    }

    /// Brings the index at `place` up to the runs that were added.
    pub(crate) fn follow_index(&self, place: &Place, parameters: &IndexParameters, context: &Context) -> Result<()> {
        index::follow(self, place, parameters, context)
    }

    /// Names, in the index, of what the runs added to it.
    pub(crate) fn index_runs(&self) -> HashSet<&str> {
        index::runs_before(self.log.commits(), self.next_version())
    }

    /// The runs, to be read.
    pub(crate) fn finished(&self, context: &'a Context, progress: &'a Progress) -> Result<FinishedRun<'a>> {
        FinishedRun::of_commits(self.home.url(), self.log.commits().to_vec(), self.stores, context, progress)
    }

    /// Writes the ids of kept rows that leave the index with this run.
    pub(crate) fn write_withdrawn(&self, ids: &HashSet<String>) -> Result<FileRecord> {
        withdrawn::write(&self.home, &self.run(), ids)
    }

    /// Adds a run, or upkeep, under a lease if it has one. `false`: another was added meanwhile, and this one is not.
    pub(crate) fn commit(&mut self, new: NewCommit, manifest: &Manifest) -> Result<bool> {
        let NewCommit { kind, run_id, epoch, inputs, tables, segments, replaced, withdrawn } = new;
        self.log.append(Commit {
            commit_version: COMMIT_VERSION,
            version: self.log.next_version(),
            run: self.run(),
            run_id,
            kind,
            committed_at: self.stamp.now,
            epoch,
            inputs,
            tables,
            segments,
            replaced,
            withdrawn,
            manifest: manifest.clone(),
        })
    }

    /// Brings the Delta logs of all tables up to the runs that were added.
    pub(crate) fn follow_tables(&self) -> Result<()> {
        for (table, committed) in self.tables() {
            let base = committed.url.as_deref().unwrap_or(self.home.url());
            let place = Place::new(&format!("{base}/{}", table.name()), self.stores, &self.home.runtime)?;
            let place = place.with_commits(self.home.commits());
            delta::follow(&place, table, self.log.commits())?;
        }
        Ok(())
    }

    /// The error of a run that cannot be added since another one was.
    pub(crate) fn overtaken(&self) -> Error {
        Error::Overtaken { location: self.home.url().to_owned() }
    }

    /// The error of what goes wrong after the commit.
    pub(crate) fn behind(&self, error: Error) -> Error {
        Error::Behind { location: self.home.url().to_owned(), source: Box::new(error) }
    }
}
