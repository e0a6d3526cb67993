//! A run that was written earlier: its manifest, and its tables as inputs.

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{FileRecord, MANIFEST_VERSION, Manifest};

use super::pass;
use crate::context::Context;
use crate::progress::Progress;
use crate::sink::{MANIFEST, hex};
use crate::source::{Columns, Format, InputSchema, Inputs, Request, SourceOptions, Types};
use crate::store::{Stores, unreadable};
use crate::{Error, Result};

/// An earlier run.
#[derive(Debug)]
pub(super) struct FinishedRun<'a> {
    pub(super) location: &'a str,
    pub(super) manifest: Manifest,
    stores: &'a Stores,
}

/// A table of an earlier run, whose files are what its manifest says.
#[derive(Debug)]
pub(super) struct FinishedTable {
    pub(super) inputs: Inputs,
    pub(super) schema: InputSchema,
    pub(super) n_rows: u64,
}

impl<'a> FinishedRun<'a> {
    /// Reads the manifest in the folder or at the URL `location`.
    ///
    /// # Errors
    /// `Error::Config` if there is none, or none that this version can read.
    pub(super) fn open(location: &'a str, stores: &'a Stores, context: &Context) -> Result<Self> {
        let location = location.trim_end_matches('/');
        let name = format!("{location}/{MANIFEST}");
        let (store, path) = stores.resolve(&name)?;
        let got = context.runtime.block_on(async { store.get(&path).await?.bytes().await });
        let bytes = got.map_err(|error| match error {
            object_store::Error::NotFound { .. } => Error::Config {
                message: format!("`{location}` holds no run: there is no {MANIFEST}"),
                hint: Some("name the folder or URL that a finished run was written to".into()),
            },
            error => unreadable(&name, &error),
        })?;
        let damaged = |message: String| Error::Corrupt { location: name.clone(), format: "a manifest", message };
        let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if json["manifest_version"] != MANIFEST_VERSION {
            return Err(Error::config(format!(
                "`{name}` has version {}, this tamis reads version {MANIFEST_VERSION}",
                json["manifest_version"]
            )));
        }
        let manifest = serde_json::from_value(json).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { location, manifest, stores })
    }

    /// A setting of the run's config; null if it was not given.
    pub(super) fn setting(&self, section: &str, key: &str) -> &serde_json::Value {
        &self.manifest.config[section][key]
    }

    /// Whether its config has a section.
    pub(super) fn has_section(&self, section: &str) -> bool {
        self.manifest.config.get(section).is_some_and(|value| !value.is_null())
    }

    /// Opens a table, once its files are found to have the SHA-256 that the manifest says; `None` if the run did not
    /// write it.
    ///
    /// # Errors
    /// `Error::Unreadable` for a file that is not there, `Error::Corrupt` for one that is another.
    pub(super) fn table(&self, table: Table, context: &Context, progress: &Progress) -> Result<Option<FinishedTable>> {
        let Some(record) = self.manifest.tables.get(&table) else { return Ok(None) };
        let locations: Vec<String> = record.files.iter().map(|file| self.locate(table, file)).collect();
        for (file, location) in record.files.iter().zip(&locations) {
            self.verify(file, location, context)?;
        }
        let options = SourceOptions { format: Some(Format::Parquet), ..SourceOptions::default() };
        let inputs = Inputs::discover(&locations, &options, self.stores, context)?;
        let nothing = Request { columns: Columns::Named(Vec::new()), text: None, id: None, rows: None };
        let mut types = Types::default();
        let survey = inputs.survey(&nothing)?;
        progress.watch(inputs.total_bytes(), survey.bytes_read());
        pass::for_each(survey, context, Ok, |decoded| {
            types.merge(decoded.types);
            Ok(())
        })?;
        let schema = inputs.resolve(types)?;
        Ok(Some(FinishedTable { inputs, schema, n_rows: record.rows }))
    }

    /// Where a file lies. The manifest names it relative to itself, or, in a tier that has a URL, by that URL: a local one
    /// is relative to the folder that the run was started in.
    fn locate(&self, table: Table, file: &FileRecord) -> String {
        let in_table = file.path.strip_prefix(table.name()).and_then(|rest| rest.strip_prefix('/'));
        match in_table {
            Some(name) if !name.contains('/') => format!("{}/{}", self.location, file.path),
            _ => file.path.clone(),
        }
    }

    fn verify(&self, file: &FileRecord, location: &str, context: &Context) -> Result<()> {
        let (store, path) = self.stores.resolve(location)?;
        let mut digest = Sha256::new();
        let read = context.runtime.block_on(async {
            let mut parts = store.get(&path).await?.into_stream();
            while let Some(part) = parts.try_next().await? {
                if context.cancel.is_cancelled() {
                    break;
                }
                digest.update(&part);
            }
            Ok(())
        });
        read.map_err(|error| unreadable(location, &error))?;
        context.cancel.check()?;
        if hex(&digest.finalize()) == file.sha256 {
            return Ok(());
        }
        Err(Error::Corrupt {
            location: location.to_owned(),
            format: "the file that the run wrote",
            message: "its SHA-256 is not that of the manifest".into(),
        })
    }
}
