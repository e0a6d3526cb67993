//! Rows go out: Parquet tables in tiers, and a manifest that is written last.
//!
//! ```text
//! Output::open -> table(...) -> TableWriter::write ... -> finish_table -> commit(manifest)
//!   local:  OUT/_tamis_staging/kept/part-00000.parquet --rename--> OUT/kept/part-00000.parquet, then OUT/manifest.json
//!   bucket: uploads become visible when they end; the manifest makes them a run
//! ```

mod chunk;
mod encoding;
mod object;
mod table;
mod tier;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use tamis_schemas::config::{Config, Table, TierConfig};
use tamis_schemas::manifest::{Manifest, TableRecord};
use tokio::runtime::Handle;

pub(crate) use chunk::Chunker;
pub(crate) use object::{ObjectWriter, hex, put_small};
pub use table::TableWriter;
use tier::Tier;
pub(crate) use tier::{is_local, local_folder};

use crate::store::Stores;
use crate::{Error, Result};

/// Name of the manifest in the output.
pub(crate) const MANIFEST: &str = "manifest.json";
const DEFAULT_TIER: &str = "default";
/// Name of the file in the staging folder that says that tables were being renamed into place.
const COMMITTING: &str = "committing";

/// What to do with an output location that holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Refuse,
    /// Replace the tables and the manifest of an earlier run; leave all else alone.
    Overwrite,
}

/// The output of one run. Dropped without [`commit`](Self::commit), it takes back what it wrote.
#[derive(Debug)]
pub struct Output {
    home: Arc<Tier>,
    tiers: BTreeMap<String, Arc<Tier>>,
    routes: BTreeMap<Table, String>,
    unique_columns: Vec<String>,
    records: BTreeMap<Table, TableRecord>,
    begun: Vec<(Table, Arc<Tier>)>,
    created_folders: Vec<PathBuf>,
    runtime: Handle,
    existing: Existing,
    is_committed: bool,
}

impl Output {
    /// Checks every tier that `tables` go to and makes ready to write. `unique_columns` hold long texts.
    ///
    /// # Errors
    /// `Error::Config` if a location holds something and `existing` is [`Existing::Refuse`], or if it lies inside an
    /// input or an input inside it; `Error::Unwritable` if it cannot be written to.
    pub fn open(
        config: &Config,
        tables: &[Table],
        unique_columns: Vec<String>,
        existing: Existing,
        stores: &Stores,
        runtime: &Handle,
    ) -> Result<Self> {
        let home_url = &config.output.path;
        let default = config.tiers.get(DEFAULT_TIER).cloned().unwrap_or_default();
        let home =
            Arc::new(Tier::resolve(DEFAULT_TIER, &TierConfig { url: None, ..default.clone() }, home_url, stores)?);
        let mut tiers = BTreeMap::new();
        let mut routes = BTreeMap::new();
        for &table in tables {
            let name = config.routes.get(&table).map_or(DEFAULT_TIER, String::as_str);
            if !tiers.contains_key(name) {
                let tier = match config.tiers.get(name) {
                    Some(tier) => tier,
                    None if name == DEFAULT_TIER => &default,
                    None => {
                        return Err(Error::Config {
                            message: format!("routes send `{}` to tier `{name}`, which is not defined", table.name()),
                            hint: Some(format!("add a section [tiers.{name}]")),
                        });
                    }
                };
                tiers.insert(name.to_owned(), Arc::new(Tier::resolve(name, tier, home_url, stores)?));
            }
            routes.insert(table, name.to_owned());
        }
        let mut output = Self {
            home,
            tiers,
            routes,
            unique_columns,
            records: BTreeMap::new(),
            begun: Vec::new(),
            created_folders: Vec::new(),
            runtime: runtime.clone(),
            existing,
            is_committed: false,
        };
        for place in output.places() {
            refuse_overlap("output", &place.display(""), &config.input.paths)?;
            if let Some(held_out) = &config.decontaminate {
                refuse_overlap("output", &place.display(""), &held_out.paths)?;
            }
        }
        output.prepare()?;
        Ok(output)
    }

    /// Begins a table.
    pub fn table(&mut self, table: Table, schema: SchemaRef) -> Result<TableWriter> {
        let tier = Arc::clone(&self.tiers[&self.routes[&table]]);
        self.begun.push((table, Arc::clone(&tier)));
        TableWriter::new(table, tier, schema, &self.unique_columns, self.runtime.clone())
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

    /// Makes the run visible: renames local tables into place, then writes the manifest.
    pub fn commit(mut self, manifest: &Manifest) -> Result<()> {
        if let Some(staging) = self.home.staging_folder() {
            std::fs::write(staging.join(COMMITTING), "").map_err(|error| self.home.unwritable("", error))?;
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

    fn prepare(&mut self) -> Result<()> {
        for place in self.places() {
            match (&place.folder, place.staging_folder()) {
                (Some(folder), Some(staging)) => self.prepare_folder(&place, folder, &staging)?,
                _ => self.prepare_prefix(&place)?,
            }
        }
        Ok(())
    }

    fn prepare_folder(&mut self, place: &Tier, folder: &Path, staging: &Path) -> Result<()> {
        let failed = |error| place.unwritable("", error);
        match std::fs::read_dir(folder) {
            Ok(entries) => {
                // Of a run that was killed while it renamed its tables, they are not data yet.
                let is_home = self.home.folder.as_deref() == Some(folder);
                let is_half = is_home && staging.join(COMMITTING).exists() && !folder.join(MANIFEST).exists();
                let half: Vec<PathBuf> =
                    if is_half { Table::ALL.map(|table| folder.join(table.name())).into() } else { Vec::new() };
                let is_used = entries.flatten().any(|entry| entry.path() != *staging && !half.contains(&entry.path()));
                if is_used && self.existing == Existing::Refuse {
                    return Err(not_empty(&place.display("")));
                }
                half.iter().try_for_each(|table| remove_folder(table)).map_err(failed)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let missing = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
                self.created_folders.extend(missing.map(Path::to_path_buf));
                std::fs::create_dir_all(folder).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        remove_folder(staging).and_then(|()| std::fs::create_dir(staging)).map_err(failed)
    }

    fn prepare_prefix(&self, place: &Tier) -> Result<()> {
        let prefix = place.final_path("");
        let first = self
            .runtime
            .block_on(async { place.store.list(Some(&prefix)).try_next().await })
            .map_err(|error| place.unwritable("", error))?;
        if first.is_some() && self.existing == Existing::Refuse {
            return Err(not_empty(&place.display("")));
        }
        if self.existing == Existing::Overwrite {
            self.forget_manifest()?;
            for &table in self.routes.keys() {
                if self.tiers[&self.routes[&table]].display("") == place.display("") {
                    self.remove_objects(place, table)?;
                }
            }
        }
        Ok(())
    }

    fn remove_objects(&self, tier: &Tier, table: Table) -> Result<()> {
        let prefix = tier.final_path(table.name());
        self.runtime
            .block_on(async {
                let objects: Vec<_> = tier.store.list(Some(&prefix)).try_collect().await?;
                for object in objects {
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

impl Drop for Output {
    /// Removes the staging folders, and everything else if the run was not committed.
    fn drop(&mut self) {
        for place in self.places() {
            if let Some(staging) = place.staging_folder() {
                let _ = remove_folder(&staging);
            }
        }
        if self.is_committed {
            return;
        }
        for (table, tier) in &self.begun {
            if tier.folder.is_none() {
                let _ = self.remove_objects(tier, *table);
            }
        }
        for folder in &self.created_folders {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn not_empty(location: &str) -> Error {
    Error::Config {
        message: format!("the output `{}` is not empty", location.trim_end_matches('/')),
        hint: Some("choose another with -o (output.path), or pass --overwrite to replace an earlier run there".into()),
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

/// The part of a glob before its first wildcard component.
fn fixed_part(path: &Path) -> PathBuf {
    if path.exists() {
        return path.to_path_buf();
    }
    let is_wild = |part: &std::path::Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    path.components().take_while(|part| !is_wild(part)).collect()
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
