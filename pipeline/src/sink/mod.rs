//! Rows go out: Parquet tables in tiers, and a manifest that is written last.
//!
//! ```text
//! Output::open -> prepare -> table(...) -> TableWriter::write ... -> finish_table -> commit(manifest)
//!   local:  OUT/_tamis_staging/kept/part-00000.parquet --rename--> OUT/kept/part-00000.parquet, then OUT/manifest.json
//!   bucket: uploads become visible when they end; the manifest makes them a run
//!   runs that are added to others: files of their own names, which the commit log makes a run (see `dataset`)
//! ```

mod chunk;
mod claim;
mod encoding;
mod object;
mod table;
mod tier;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};
use tamis_schemas::commit::{CommittedTable, Replacement};
use tamis_schemas::config::{Config, Table};
use tamis_schemas::manifest::{FileRecord, Manifest, TableRecord};
use tamis_schemas::tier::{RowOrder, TierConfig};
use tokio::runtime::Handle;

pub(crate) use chunk::Chunker;
use claim::Claim;
pub(crate) use object::{ObjectWriter, hex, put_small};
pub use table::TableWriter;
use tier::Tier;
pub(crate) use tier::{is_local, local_folder};

use crate::dataset::delta::LOG;
use crate::dataset::{COMMITS, DeltaSchema};
use crate::store::{Stores, unreadable};
use crate::tiers::DEFAULT_TIER;
use crate::{Error, Result};

/// Name of the manifest in the output.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Name of the file in a staging folder that says of which output tables were being renamed into place there.
const COMMITTING: &str = "committing";

/// What to do with an output location that holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Refuse,
    /// Replace the tables and the manifest of an earlier run; leave all else alone.
    Overwrite,
}

/// A run that is added to others.
#[derive(Debug)]
pub(crate) struct Added {
    /// Name of the run: the names of its files begin with it.
    pub(crate) run: String,
    /// The tables of the output so far.
    pub(crate) tables: BTreeMap<Table, CommittedTable>,
}

/// The output of one run. Dropped without [`commit`](Self::commit), it takes back what it wrote.
#[derive(Debug)]
pub struct Output {
    home: Arc<Tier>,
    tiers: BTreeMap<String, Arc<Tier>>,
    routes: BTreeMap<Table, String>,
    unique_columns: Vec<String>,
    records: BTreeMap<Table, TableRecord>,
    /// Files that take the place of those of earlier runs.
    replaced: BTreeMap<Table, Vec<Replacement>>,
    begun: Vec<(Table, Arc<Tier>)>,
    claims: Vec<Claim>,
    runtime: Handle,
    existing: Existing,
    /// If runs are added to the output: this one, and the tables with it.
    added: Option<Added>,
    /// What the names of files begin with that other processes write for this run.
    parts: Option<String>,
    is_committed: bool,
}

impl Output {
    /// Checks every tier that `tables` go to and takes hold of local ones; what is there stays as it is. `unique_columns`
    /// hold long texts. `added`: the run is added to others.
    ///
    /// # Errors
    /// `Error::Config` if a location holds something and `existing` is [`Existing::Refuse`], if another run is writing to
    /// it, or if it lies inside an input or an input inside it; `Error::Unwritable` if it cannot be written to.
    pub(crate) fn open(
        config: &Config,
        tables: &[Table],
        unique_columns: Vec<String>,
        existing: Existing,
        added: Option<Added>,
        stores: &Stores,
        runtime: &Handle,
    ) -> Result<Self> {
        let home_url = &config.output.path;
        let resolve = |name: &str, tier: &TierConfig| Tier::resolve(name, tier, home_url, added.is_none(), stores);
        let default = config.tiers.get(DEFAULT_TIER).cloned().unwrap_or_default();
        let home = Arc::new(resolve(DEFAULT_TIER, &TierConfig { url: None, ..default.clone() })?);
        let mut tiers = BTreeMap::new();
        let mut routes = BTreeMap::new();
        for &table in tables {
            let (name, tier) = tier_of(config, table)?;
            if !tiers.contains_key(name) {
                tiers.insert(name.to_owned(), Arc::new(resolve(name, &tier)?));
            }
            routes.insert(table, name.to_owned());
        }
        let mut output = Self {
            home,
            tiers,
            routes,
            unique_columns,
            records: BTreeMap::new(),
            replaced: BTreeMap::new(),
            begun: Vec::new(),
            claims: Vec::new(),
            runtime: runtime.clone(),
            existing,
            added,
            parts: None,
            is_committed: false,
        };
        for place in output.places() {
            refuse_overlap("output", &place.display(""), &config.input.paths)?;
            if let Some(held_out) = &config.decontaminate {
                refuse_overlap("output", &place.display(""), &held_out.paths)?;
            }
        }
        if output.added.is_some() {
            output.refuse_single_run()?;
        } else {
            output.refuse_added_runs()?;
            for place in output.places() {
                output.claim(&place)?;
            }
        }
        Ok(output)
    }

    /// Makes ready to write: removes what a run that was killed left, and objects that are to be overwritten.
    pub fn prepare(&self) -> Result<()> {
        if self.added.is_some() {
            return Ok(());
        }
        for place in self.places() {
            match &place.folder {
                Some(folder) => {
                    let failed = |error| place.unwritable("", error);
                    self.half_tables(&place)?.iter().try_for_each(|table| remove_folder(table)).map_err(failed)?;
                    let claim = self.claims.iter().find(|claim| claim.is_of(folder));
                    claim.map_or(Ok(()), Claim::clear).map_err(failed)?;
                }
                None if self.existing == Existing::Overwrite => self.remove_tables(&place)?,
                None => {}
            }
        }
        Ok(())
    }

    /// The order in which the tier of a table wants dropped rows.
    pub(crate) fn order(&self, table: Table) -> RowOrder {
        self.tiers[&self.routes[&table]].order
    }

    /// Begins a table.
    ///
    /// # Errors
    /// `Error::Config` or `Error::Column` if earlier runs that this one is added to have the table elsewhere, or columns of
    /// other types in it.
    pub fn table(&mut self, table: Table, schema: SchemaRef) -> Result<TableWriter> {
        let tier = Arc::clone(&self.tiers[&self.routes[&table]]);
        if let Some(added) = &mut self.added {
            if !added.tables.contains_key(&table) {
                let log = tier.final_path(&format!("{}/{LOG}", table.name()));
                let found = self.runtime.block_on(async { tier.store.list(Some(&log)).try_next().await });
                if found.map_err(|error| unreadable(&tier.display(table.name()), &error))?.is_some() {
                    return Err(Error::Config {
                        message: format!("`{}` is the table of another output", tier.display(table.name())),
                        hint: Some("give each output its own place in a tier: tiers.NAME.url".into()),
                    });
                }
            }
            added.begin(table, &tier, &schema)?;
        }
        let run = self.added.as_ref().map(|added| added.run.clone());
        self.begun.push((table, Arc::clone(&tier)));
        let replacements = self.replaced.get(&table).into_iter().flatten();
        let first_number = replacements.map(|replacement| replacement.added.len()).sum();
        TableWriter::new(table, tier, run, first_number, schema, &self.unique_columns, self.runtime.clone())
    }

    /// Ends a table of which the files take the place of others that earlier runs wrote. It may be begun again.
    pub(crate) fn finish_replacement(&mut self, table: Table, removed: Vec<String>, writer: TableWriter) -> Result<()> {
        let added = writer.finish()?.files;
        self.replaced.entry(table).or_default().push(Replacement { removed, added });
        Ok(())
    }

    /// Takes files that earlier runs wrote out of a table.
    pub(crate) fn remove_files(&mut self, table: Table, removed: Vec<String>) {
        self.replaced.entry(table).or_default().push(Replacement { removed, added: Vec::new() });
    }

    /// What takes the place of files that earlier runs wrote.
    pub(crate) fn replaced(&self) -> &BTreeMap<Table, Vec<Replacement>> {
        &self.replaced
    }

    /// Where a table goes, however it is spelled.
    pub(crate) fn table_url(&self, table: Table) -> String {
        self.tiers[&self.routes[&table]].display(table.name())
    }

    /// Ends a table.
    pub fn finish_table(&mut self, table: Table, writer: TableWriter) -> Result<()> {
        self.records.insert(table, writer.finish()?);
        Ok(())
    }

    /// Other processes write files whose names begin so, by [`part_writer`].
    pub(crate) fn expect_parts(&mut self, prefix: &str) {
        self.parts = Some(prefix.to_owned());
    }

    /// Takes the files of a table that other processes have written, by [`part_writer`], and removes what else they have left there.
    ///
    /// # Errors
    /// `Error::Invariant` if a file is not there.
    pub(crate) fn adopt(&mut self, table: Table, schema: SchemaRef, mut files: Vec<FileRecord>) -> Result<()> {
        let tier = Arc::clone(&self.tiers[&self.routes[&table]]);
        let mut expected = BTreeMap::new();
        for file in &mut files {
            // Who wrote it may name the place by another path.
            let name = file.path.rsplit('/').next().unwrap_or_default().to_owned();
            file.path = tier.public_name(&format!("{}/{name}", table.name()));
            expected.insert(name, file.bytes);
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        let mut n_found = 0;
        let is_of_run = |name: &str, bytes: u64| expected.get(name) == Some(&bytes);
        let failed = |error| tier.unwritable(table.name(), error);
        if let Some(staging) = tier.staging_folder() {
            let folder = staging.join(table.name());
            let entries = if folder.exists() { Some(std::fs::read_dir(&folder).map_err(failed)?) } else { None };
            for entry in entries.into_iter().flatten() {
                let entry = entry.map_err(failed)?;
                // A try that is not wanted any more may be taking back its own.
                let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                if is_of_run(&entry.file_name().to_string_lossy(), bytes) {
                    n_found += 1;
                    continue;
                }
                match std::fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                    _ => {}
                }
            }
        } else {
            let prefix = tier.final_path(table.name());
            let list = async { tier.store.list(Some(&prefix)).try_collect::<Vec<_>>().await };
            let unwritable = |error: object_store::Error| tier.unwritable(table.name(), error);
            for object in self.runtime.block_on(list).map_err(unwritable)? {
                let name = object.location.filename().unwrap_or_default();
                if is_of_run(name, object.size) {
                    n_found += 1;
                } else if self.parts.as_deref().is_some_and(|prefix| name.starts_with(prefix)) {
                    self.runtime.block_on(tier.store.delete(&object.location)).map_err(unwritable)?;
                }
            }
        }
        if n_found != files.len() {
            let message = format!("{n_found} of {} files of `{}` are there", files.len(), tier.display(table.name()));
            return Err(Error::Invariant(message));
        }
        if files.is_empty() {
            let writer = self.table(table, schema)?;
            return self.finish_table(table, writer);
        }
        let rows = files.iter().map(|file| file.rows).sum();
        let storage_class = tier.storage_class.map(str::to_owned);
        self.records.insert(table, TableRecord { tier: tier.name.clone(), storage_class, rows, files });
        self.begun.push((table, tier));
        Ok(())
    }

    /// The finished tables.
    pub fn records(&self) -> &BTreeMap<Table, TableRecord> {
        &self.records
    }

    /// The tables of the run that is added to others, with the columns of all runs.
    pub(crate) fn added_tables(&self) -> BTreeMap<Table, CommittedTable> {
        let begun = |table: &Table| self.begun.iter().any(|(begun, _)| begun == table);
        let tables = self.added.iter().flat_map(|added| added.tables.clone());
        tables.filter(|(table, _)| begun(table)).collect()
    }

    /// Leaves what was written where it is: the run was added to others.
    pub(crate) fn keep(mut self) {
        self.is_committed = true;
    }

    /// Makes the run visible: renames local tables into place, then writes the manifest.
    pub fn commit(mut self, manifest: &Manifest) -> Result<()> {
        for place in self.places() {
            if let Some(staging) = place.staging_folder() {
                std::fs::write(staging.join(COMMITTING), self.home.identity())
                    .map_err(|error| place.unwritable("", error))?;
            }
        }
        if self.existing == Existing::Overwrite {
            self.forget_manifest()?;
            for folder in self.places().iter().filter_map(|place| place.folder.clone()) {
                for table in Table::ALL {
                    remove_folder(&folder.join(table.name()))
                        .map_err(|error| self.home.unwritable(table.name(), error))?;
                }
            }
        }
        for (table, tier) in &self.begun {
            let Some(staging) = tier.staging_folder() else { continue };
            let (from, folder) = (staging.join(table.name()), tier.folder.clone().unwrap_or_default());
            let to = folder.join(table.name());
            std::fs::rename(&from, &to).map_err(|error| tier.unwritable(table.name(), error))?;
        }
        let mut json = serde_json::to_vec_pretty(manifest)
            .map_err(|error| Error::Invariant(format!("the manifest is not JSON: {error}")))?;
        json.push(b'\n');
        object::put_small(&self.home.store, &self.home.final_path(MANIFEST), json, &self.runtime)
            .map_err(|error| self.home.unwritable(MANIFEST, error))?;
        self.is_committed = true;
        Ok(())
    }

    /// # Errors
    /// `Error::Config` if the output holds a run that nothing can be added to.
    fn refuse_single_run(&self) -> Result<()> {
        if !self.has(MANIFEST)? {
            return Ok(());
        }
        Err(Error::Config {
            message: format!("the output `{}` is that of one run, to which none can be added", self.home.url()),
            hint: Some("choose another output.path, or set output.mode to \"new\"".into()),
        })
    }

    /// # Errors
    /// `Error::Config` if the output holds runs that were added one by one: none of them is to be overwritten.
    fn refuse_added_runs(&self) -> Result<()> {
        if self.existing != Existing::Overwrite || !self.has(&format!("{COMMITS}/{:020}.json", 0))? {
            return Ok(());
        }
        Err(Error::Config {
            message: format!("the output `{}` holds runs that were added one by one", self.home.url()),
            hint: Some("choose another output.path, set output.mode to \"append\", or remove it yourself".into()),
        })
    }

    /// Every distinct place, the manifest's first.
    fn places(&self) -> Vec<Arc<Tier>> {
        let mut places = vec![Arc::clone(&self.home)];
        for tier in self.tiers.values() {
            if places.iter().all(|place| place.display("") != tier.display("")) {
                places.push(Arc::clone(tier));
            }
        }
        places
    }

    fn claim(&mut self, place: &Tier) -> Result<()> {
        let (Some(folder), Some(staging)) = (&place.folder, place.staging_folder()) else {
            return self.check_unused(place);
        };
        if !self.claims.iter().any(|claim| claim.is_of(folder)) {
            // Nothing is written to a folder that is not ours.
            self.check_unused(place)?;
            let claim = Claim::take(place, folder, &staging)?;
            self.claims.push(claim);
        }
        self.check_unused(place)
    }

    /// # Errors
    /// `Error::Config` if a place holds something that is not to be overwritten.
    fn check_unused(&self, place: &Tier) -> Result<()> {
        if self.existing == Existing::Overwrite {
            return Ok(());
        }
        let is_used = match &place.folder {
            Some(folder) => self.is_folder_used(place, folder)?,
            None => self.is_prefix_used(place)?,
        };
        if is_used {
            return Err(Error::Config {
                message: format!("the output `{}` is not empty", place.display("").trim_end_matches('/')),
                hint: Some(
                    "choose another with -o (output.path), or pass --overwrite to replace an earlier run there".into(),
                ),
            });
        }
        Ok(())
    }

    /// Whether a folder holds more than what a run that was killed left, and folders of other tiers: those are looked at too.
    fn is_folder_used(&self, place: &Tier, folder: &Path) -> Result<bool> {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            entries => entries.map_err(|error| place.unwritable("", error))?,
        };
        let mut known = self.half_tables(place)?;
        known.extend(place.staging_folder());
        known.extend(self.places().iter().filter_map(|other| other.folder.clone()));
        Ok(entries.flatten().any(|entry| !known.contains(&entry.path())))
    }

    fn is_prefix_used(&self, place: &Tier) -> Result<bool> {
        let prefix = place.final_path("");
        let first = self.runtime.block_on(async { place.store.list(Some(&prefix)).try_next().await });
        Ok(first.map_err(|error| place.unwritable("", error))?.is_some())
    }

    /// Tables in a folder that are not data yet: those of a run with this output that was killed while it renamed them.
    fn half_tables(&self, place: &Tier) -> Result<Vec<PathBuf>> {
        let (Some(folder), Some(staging)) = (&place.folder, place.staging_folder()) else { return Ok(Vec::new()) };
        let is_of_this = std::fs::read_to_string(staging.join(COMMITTING)).is_ok_and(|of| of == self.home.identity());
        let is_half = is_of_this && !self.has(MANIFEST)?;
        Ok(if is_half { Table::ALL.map(|table| folder.join(table.name())).into() } else { Vec::new() })
    }

    /// Whether the output holds a file.
    fn has(&self, name: &str) -> Result<bool> {
        match self.runtime.block_on(self.home.store.head(&self.home.final_path(name))) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(unreadable(&self.home.display(name), &error)),
        }
    }

    /// Removes the objects of the tables that go to a place.
    fn remove_tables(&self, place: &Tier) -> Result<()> {
        self.forget_manifest()?;
        for (&table, tier) in &self.routes {
            if self.tiers[tier].display("") == place.display("") {
                self.remove_objects(place, table, "")?;
            }
        }
        Ok(())
    }

    /// Removes the objects of a table whose names begin so.
    fn remove_objects(&self, tier: &Tier, table: Table, beginning: &str) -> Result<()> {
        let prefix = tier.final_path(table.name());
        self.runtime
            .block_on(async {
                let objects: Vec<_> = tier.store.list(Some(&prefix)).try_collect().await?;
                let is_meant =
                    |object: &&ObjectMeta| object.location.filename().is_some_and(|name| name.starts_with(beginning));
                for object in objects.iter().filter(is_meant) {
                    tier.store.delete(&object.location).await?;
                }
                Ok::<_, object_store::Error>(())
            })
            .map_err(|error| tier.unwritable(table.name(), error))
    }

    /// An overwritten run stops being one before the first of its tables changes.
    fn forget_manifest(&self) -> Result<()> {
        match self.runtime.block_on(self.home.store.delete(&self.home.final_path(MANIFEST))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.home.unwritable(MANIFEST, error)),
        }
    }
}

/// The tier that a table goes to.
fn tier_of(config: &Config, table: Table) -> Result<(&str, TierConfig)> {
    let name = config.routes.get(&table).map_or(DEFAULT_TIER, String::as_str);
    match config.tiers.get(name) {
        Some(tier) => Ok((name, tier.clone())),
        None if name == DEFAULT_TIER => Ok((name, TierConfig::default())),
        None => Err(Error::Config {
            message: format!("routes send `{}` to tier `{name}`, which is not defined", table.name()),
            hint: Some(format!("add a section [tiers.{name}]")),
        }),
    }
}

/// Writes some rows of a table for a run that another process commits, by [`Output::adopt`]. The names of its files begin with
/// `stem`; without a row there is none.
pub(crate) fn part_writer(
    config: &Config,
    table: Table,
    stem: &str,
    schema: SchemaRef,
    unique_columns: &[String],
    stores: &Stores,
    runtime: &Handle,
) -> Result<TableWriter> {
    let (name, tier) = tier_of(config, table)?;
    let tier = Arc::new(Tier::resolve(name, &tier, &config.output.path, true, stores)?);
    TableWriter::new(table, tier, Some(stem.to_owned()), 0, schema, unique_columns, runtime.clone())
}

impl Added {
    /// Adds the columns of a table.
    fn begin(&mut self, table: Table, tier: &Tier, schema: &Schema) -> Result<()> {
        let url = tier.own_url().map(str::to_owned);
        let mut columns = DeltaSchema::of(schema);
        if let Some(before) = self.tables.get(&table) {
            if before.url != url {
                let place =
                    |url: Option<&str>| url.map_or_else(|| "the output itself".to_owned(), |url| format!("`{url}`"));
                return Err(Error::Config {
                    message: format!(
                        "table `{}` lies in {} since earlier runs, and routes send it to {} now",
                        table.name(),
                        place(before.url.as_deref()),
                        place(url.as_deref())
                    ),
                    hint: Some("route it to the tier of earlier runs, or write to a new output".into()),
                });
            }
            let mut all = DeltaSchema::from_json(&before.schema)?;
            all.merge(&columns, table.name())?;
            columns = all;
        }
        columns.check_names(table.name())?;
        self.tables.insert(table, CommittedTable { url, schema: columns.to_json()? });
        Ok(())
    }
}

impl Drop for Output {
    /// Removes what a run that was not committed has made visible; the claims remove the rest.
    fn drop(&mut self) {
        if self.is_committed {
            return;
        }
        if let Some(added) = &self.added {
            for (table, tier) in &self.begun {
                let _ = self.remove_objects(tier, *table, &format!("{}-", added.run));
            }
            return;
        }
        for (table, tier) in &self.begun {
            if tier.folder.is_none() && self.parts.is_none() {
                let _ = self.remove_objects(tier, *table, "");
            }
        }
        for (&table, name) in self.parts.iter().flat_map(|_| &self.routes) {
            let (tier, prefix) = (&self.tiers[name], self.parts.as_deref().unwrap_or_default());
            if tier.folder.is_none() {
                let _ = self.remove_objects(tier, table, prefix);
            }
        }
        for table in self.places().iter().filter_map(|place| self.half_tables(place).ok()).flatten() {
            let _ = remove_folder(&table);
        }
    }
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// An output inside an input would be read by the next run; an input inside an output could be overwritten.
pub(crate) fn refuse_overlap(what: &str, output: &str, inputs: &[String]) -> Result<()> {
    for input in inputs.iter().filter(|input| *input != "-") {
        let overlaps = match (is_local(output), is_local(input)) {
            (true, true) => {
                let (output, input) = (absolute(&local_folder(output)), absolute(&fixed_part(&local_folder(input))));
                output.starts_with(&input) || input.starts_with(&output)
            }
            (false, false) => {
                let (output, input) =
                    (with_slash(output), with_slash(input.split(['*', '?', '[']).next().unwrap_or(input)));
                output.starts_with(&input) || input.starts_with(&output)
            }
            _ => false,
        };
        if overlaps {
            return Err(Error::Config {
                message: format!("the {what} `{}` and the input `{input}` overlap", output.trim_end_matches('/')),
                hint: Some("name a folder that is neither inside an input nor around one".into()),
            });
        }
    }
    Ok(())
}

fn with_slash(url: &str) -> String {
    format!("{}/", url.trim_end_matches('/'))
}

/// The part of a glob before its first wildcard component; a dot if there is none.
fn fixed_part(path: &Path) -> PathBuf {
    if path.exists() {
        return path.to_path_buf();
    }
    let is_wild = |part: &std::path::Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = path.components().take_while(|part| !is_wild(part)).collect();
    if fixed.as_os_str().is_empty() { PathBuf::from(".") } else { fixed }
}

/// The path with its links resolved as far as it exists.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut rest = Vec::new();
    let mut existing = path.as_path();
    loop {
        if let Ok(resolved) = existing.canonicalize() {
            return rest.iter().rev().fold(resolved, |path, part| path.join(part));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name.to_owned());
                existing = parent;
            }
            _ => return path,
        }
    }
}
