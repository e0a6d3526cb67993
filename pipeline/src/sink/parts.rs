//! Files of a run that other processes write: each try of a task under a name of its own, and one process takes those that count.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use tamis_schemas::config::{Config, OutputMode, Table};
use tamis_schemas::manifest::{FileRecord, TableRecord};
use tokio::runtime::Handle;

use super::tier::Tier;
use super::{Output, TableWriter, tier_of};
use crate::store::Stores;
use crate::{Error, Result};

impl Output {
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
        self.expect(table, &schema)?;
        let rows = files.iter().map(|file| file.rows).sum();
        let storage_class = tier.storage_class.map(str::to_owned);
        self.records.insert(table, TableRecord { tier: tier.name.clone(), storage_class, rows, files });
        self.begun.push((table, tier));
        Ok(())
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
    let is_staged = config.output.mode != OutputMode::Append;
    let tier = Arc::new(Tier::resolve(name, &tier, &config.output.path, is_staged, stores)?);
    TableWriter::new(table, tier, Some(stem.to_owned()), 0, schema, unique_columns, runtime.clone())
}
