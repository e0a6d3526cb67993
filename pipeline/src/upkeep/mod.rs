//! Upkeep of an output that runs are added to: the same rows in fewer files, and rows whose time is over left out. Each is a
//! commit like that of a run, which reads no input.

mod compact;
mod expire;
mod rewrite;

use std::collections::BTreeMap;

use tamis_schemas::commit::{CommitKind, Replacement};
use tamis_schemas::config::{Config, OutputMode, Table};
use tamis_schemas::manifest::{FileRecord, MANIFEST_VERSION, Manifest};

pub use compact::{Compacted, compact};
pub use expire::{Expired, expire};
pub(crate) use rewrite::{OldFile, rewrite};

use crate::context::Context;
use crate::dataset::{Dataset, Lease, NewCommit, Sharing, Turn, delta};
use crate::dedup::index::Stamp;
use crate::finished::FinishedRun;
use crate::place::Place;
use crate::progress::Progress;
use crate::run::unique_columns;
use crate::sink::{Added, Existing, Output};
use crate::store::Stores;
use crate::tiers::{DEFAULT_TIER, least_days};
use crate::{Error, Result};

/// Of two commands at once one is first, and the other begins anew: so often at most.
const MOST_TRIES: usize = 8;

/// An output in the hands of upkeep.
#[derive(Debug)]
struct Upkeep<'a> {
    run: FinishedRun<'a>,
    dataset: Dataset<'a>,
    output: Output,
    config: Config,
    now: u64,
}

/// What all upkeep needs.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Folder or URL of the output.
    pub location: &'a str,
    /// When it is done, and a name of its own.
    pub stamp: &'a Stamp,
    /// How it gets along with runs.
    pub sharing: &'a Sharing,
    /// How stores are reached.
    pub stores: &'a Stores,
    /// What it may use.
    pub context: &'a Context,
    /// What it shows.
    pub progress: &'a Progress,
}

/// Does `work` on the output while no run adds to it, and commits what it changed, if anything; begins anew if a run is faster.
fn upkeep<T>(site: Site<'_>, kind: CommitKind, mut work: impl FnMut(&mut Upkeep<'_>) -> Result<T>) -> Result<T> {
    let location = || site.location.to_owned();
    let mut lease = None;
    for try_number in 0..MOST_TRIES {
        let stamp = Stamp { nonce: format!("{}-{try_number}", site.stamp.nonce), ..site.stamp.clone() };
        let mut upkeep = Upkeep::open(site, &stamp)?;
        if lease.is_none() {
            lease = match upkeep.dataset.turn(&upkeep.config.output, site.sharing, &site.context.cancel)? {
                Some(Turn::Ours(lease)) => Some(lease),
                Some(Turn::Theirs(holder)) => return Err(Error::Leased { location: location(), holder }),
                None => None,
            };
        }
        let done = work(&mut upkeep)?;
        if upkeep.commit(kind, site.sharing.run_id.clone(), lease.as_ref())? {
            return Ok(done);
        }
        tracing::info!("a run was added first: begin anew");
    }
    Err(Error::Overtaken { location: location() })
}

impl<'a> Upkeep<'a> {
    fn open(site: Site<'a>, stamp: &Stamp) -> Result<Self> {
        let Site { location, stores, context, progress, .. } = site;
        let run = FinishedRun::open(location, stores, context, progress)?;
        let config = config_of(&run)?;
        let runtime = context.runtime.handle();
        let dataset = Dataset::open(&config, stores, stamp, runtime)?;
        // A run that was added between the two looks is seen at the commit, as any later one is.
        let dataset = dataset.ok_or_else(|| Error::Invariant("upkeep of the output of one run".into()))?;
        let tables = dataset.tables();
        let names: Vec<Table> = tables.keys().copied().collect();
        let added = Added { run: dataset.run(), tables };
        let unique = unique_columns(&config)?;
        let output = Output::open(&config, &names, unique, Existing::Refuse, Some(added), stores, runtime)?;
        Ok(Self { run, dataset, output, config, now: stamp.now })
    }

    /// `false`: a run was added meanwhile, and nothing has changed.
    fn commit(self, kind: CommitKind, run_id: Option<String>, lease: Option<&Lease>) -> Result<bool> {
        let Self { run, mut dataset, output, .. } = self;
        if output.replaced().is_empty() {
            return Ok(true);
        }
        if dataset.next_version() != run.commits().len() as u64 {
            return Ok(false);
        }
        lease.map_or(Ok(()), |lease| lease.check(dataset.epoch()))?;
        let manifest = Manifest {
            manifest_version: MANIFEST_VERSION,
            tamis_version: env!("CARGO_PKG_VERSION").to_owned(),
            config_sha256: run.manifest().config_sha256.clone(),
            config: run.manifest().config.clone(),
            ..Manifest::default()
        };
        let tables = dataset.tables().into_iter().filter(|(table, _)| output.replaced().contains_key(table)).collect();
        let new = NewCommit {
            kind,
            run_id,
            epoch: lease.map_or(0, Lease::epoch),
            tables,
            replaced: output.replaced().clone(),
            ..NewCommit::default()
        };
        let is_added = dataset.commit(new, &manifest);
        if let Ok(false) = is_added {
            return Ok(false);
        }
        // Nor is anything removed if nobody knows whether the commit is there: it may name these files.
        output.keep();
        is_added?;
        dataset.follow_tables().map_err(|error| dataset.behind(error))?;
        Ok(true)
    }

    /// The files of a table as they are now, each with the moment of its commit, in seconds since 1970.
    fn files(&self, table: Table) -> Vec<(String, FileRecord, u64)> {
        let commits = self.run.commits();
        let committed_at: BTreeMap<&str, u64> = commits
            .iter()
            .flat_map(|commit| {
                let of_run = commit.manifest.tables.get(&table).into_iter().flat_map(|record| &record.files);
                let replacements = commit.replaced.get(&table).into_iter().flatten();
                let all = of_run.chain(replacements.flat_map(|replacement| &replacement.added));
                all.map(|file| (file.path.as_str(), commit.committed_at))
            })
            .collect();
        let time_of = |file: &FileRecord| committed_at.get(file.path.as_str()).copied().unwrap_or_default();
        self.run.files(table).map(|(url, file)| (url, file.clone(), time_of(file))).collect()
    }

    /// Seconds that an object of a table is billed at least.
    fn least_seconds(&self, table: Table) -> u64 {
        let class = self.run.manifest().tables.get(&table).and_then(|record| record.storage_class.as_deref());
        class.map_or(0, |class| least_days(&self.output.table_url(table), class) * 24 * 3600)
    }

    /// # Errors
    /// `Error::Config` if others have rewritten files of a table that are to be replaced.
    fn check_untouched(&self, table: Table, removed: &[String]) -> Result<()> {
        let place = Place::new(&self.output.table_url(table), self.run.stores(), self.run.context.runtime.handle())?;
        delta::check_untouched(&place, removed, self.run.commits())
    }
}

/// The config of the last run, with the tables where they lie.
fn config_of(run: &FinishedRun<'_>) -> Result<Config> {
    if run.commits().is_empty() {
        return Err(Error::Config {
            message: format!("`{}` is the output of one run", run.location()),
            hint: Some("only outputs that runs are added to (output.mode = \"append\") are looked after".into()),
        });
    }
    let mut value = run.manifest().config.clone();
    value["output"]["path"] = run.location().into();
    value["input"]["paths"] = serde_json::Value::Array(Vec::new());
    // Nothing is read, so nothing is compared; and the manifest does not say with which files.
    value["decontaminate"] = serde_json::Value::Null;
    if value["index"].is_object() {
        value["index"]["url"] = "".into();
    }
    if value["embed"].is_object() {
        value["embed"]["model"] = "".into();
    }
    let mut config: Config = serde_json::from_value(value).map_err(|error| Error::Corrupt {
        location: run.location().to_owned(),
        format: "an output of this version of tamis",
        message: format!("the settings of its last run: {error}"),
    })?;
    config.output.mode = OutputMode::Append;
    for (table, committed) in run.commits().iter().flat_map(|commit| &commit.tables) {
        let tier = config.routes.get(table).map_or(DEFAULT_TIER, String::as_str);
        if let (Some(url), Some(tier)) = (&committed.url, config.tiers.get_mut(tier)) {
            tier.url = Some(url.clone());
        }
    }
    Ok(config)
}

/// Files that are gone and files in their place, over all tables.
fn count(replaced: &BTreeMap<Table, Vec<Replacement>>) -> (u64, u64) {
    let all = || replaced.values().flatten();
    let removed = all().map(|replacement| replacement.removed.len() as u64).sum();
    (removed, all().map(|replacement| replacement.added.len() as u64).sum())
}
