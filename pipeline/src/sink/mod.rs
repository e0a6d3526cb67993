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
mod occupied;
mod overlap;
mod parts;
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
use tamis_schemas::manifest::{Manifest, TableRecord};
use tamis_schemas::tier::{RowOrder, TierConfig};
use tokio::runtime::Handle;

pub(crate) use chunk::Chunker;
use claim::Claim;
pub(crate) use object::{ObjectWriter, hex, put_small};
pub(crate) use overlap::refuse_overlap;
pub(crate) use parts::part_writer;
pub use table::TableWriter;
use tier::Tier;
pub(crate) use tier::{is_local, local_folder};

use crate::dataset::DeltaSchema;
use crate::dataset::delta::LOG;
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
        self.expect(table, &schema)?;
        let tier = Arc::clone(&self.tiers[&self.routes[&table]]);
        let run = self.added.as_ref().map(|added| added.run.clone());
        self.begun.push((table, Arc::clone(&tier)));
        let replacements = self.replaced.get(&table).into_iter().flatten();
        let first_number = replacements.map(|replacement| replacement.added.len()).sum();
        TableWriter::new(table, tier, run, first_number, schema, &self.unique_columns, self.runtime.clone())
    }

    /// Adds the columns of a table to those of earlier runs.
    ///
    /// # Errors
    /// As of [`table`](Self::table).
    pub(crate) fn expect(&mut self, table: Table, schema: &Schema) -> Result<()> {
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
            added.begin(table, &tier, schema)?;
        }
        Ok(())
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
        for (&table, name) in self.parts.iter().flat_map(|_| &self.routes) {
            let (tier, prefix) = (&self.tiers[name], self.parts.as_deref().unwrap_or_default());
            if tier.folder.is_none() || self.added.is_some() {
                let _ = self.remove_objects(tier, table, prefix);
            }
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
