//! A place for tables: a folder or a prefix of a bucket, with a storage class and a compression.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use tamis_schemas::tier::{RowOrder, TierConfig};

use crate::store::{Stores, unwritable};
use crate::tiers::{Provider, row_order, storage_class};
use crate::{Error, Result};

/// Tables are written here before a local run is committed.
const STAGING: &str = "_tamis_staging";

/// A resolved tier.
#[derive(Debug)]
pub(super) struct Tier {
    pub(super) name: String,
    pub(super) config: TierConfig,
    pub(super) store: Arc<dyn ObjectStore>,
    /// Storage class in the provider's words; `None` where there are none.
    pub(super) storage_class: Option<&'static str>,
    /// Order of dropped rows.
    pub(super) order: RowOrder,
    /// The folder, if the tier is local.
    pub(super) folder: Option<PathBuf>,
    prefix: Path,
    url: String,
    is_home: bool,
    is_staged: bool,
}

impl Tier {
    /// Resolves the tier; `home` is where the manifest goes, and where a tier without a URL lies. `is_staged`: what is written
    /// to a folder gets its place at the commit.
    pub(super) fn resolve(
        name: &str,
        config: &TierConfig,
        home: &str,
        is_staged: bool,
        stores: &Stores,
    ) -> Result<Self> {
        let mut url = config.url.as_deref().unwrap_or(home).trim_end_matches('/').to_owned();
        if !is_staged && config.url.is_some() && is_local(&url) && !url.starts_with("file:") {
            // The commit log names the place: later runs may have another working folder.
            let absolute = std::path::absolute(&url)
                .map_err(|error| Error::Unwritable { location: url.clone(), source: error.into() })?;
            url = absolute.to_string_lossy().into_owned();
        }
        let (store, prefix) = stores.resolve(&url)?;
        let provider = Provider::of(&url);
        let class = storage_class(provider, config)?;
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            store,
            storage_class: class.map(|class| class.name),
            order: row_order(class, config),
            folder: (provider == Provider::Local).then(|| local_folder(&url)),
            prefix,
            is_staged,
            is_home: config.url.is_none() || url == home.trim_end_matches('/'),
            url,
        })
    }

    /// Folder in which a local tier is written before the commit.
    pub(super) fn staging_folder(&self) -> Option<PathBuf> {
        self.folder.as_ref().filter(|_| self.is_staged).map(|folder| folder.join(STAGING))
    }

    /// Where a file is written: one that is staged is renamed later, others are invisible until they are complete.
    pub(super) fn writing_path(&self, name: &str) -> Path {
        let base = if self.folder.is_some() && self.is_staged {
            self.prefix.clone().join(STAGING)
        } else {
            self.prefix.clone()
        };
        join(&base, name)
    }

    /// Where a file lies after the commit.
    pub(super) fn final_path(&self, name: &str) -> Path {
        join(&self.prefix, name)
    }

    /// How the manifest names a file: relative to itself where it can.
    pub(super) fn public_name(&self, name: &str) -> String {
        if self.is_home { name.to_owned() } else { format!("{}/{name}", self.url) }
    }

    /// Where its tables lie, if not beneath the output.
    pub(super) fn own_url(&self) -> Option<&str> {
        (!self.is_home).then_some(self.url.as_str())
    }

    /// What tells this place from any other, however it is spelled.
    pub(super) fn identity(&self) -> &str {
        if self.folder.is_some() { self.prefix.as_ref() } else { &self.url }
    }

    /// The URL or folder, as given.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How messages name a file.
    pub(super) fn display(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    pub(super) fn unwritable(&self, name: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        unwritable(self.display(name), error.into())
    }
}

fn join(base: &Path, name: &str) -> Path {
    let parts = name.split('/').filter(|part| !part.is_empty());
    parts.fold(base.clone(), object_store::path::Path::join)
}

/// A local path or `file:` URL as a path.
pub(crate) fn local_folder(url: &str) -> PathBuf {
    if url.starts_with("file:")
        && let Some(path) = url::Url::parse(url).ok().and_then(|url| url.to_file_path().ok())
    {
        return path;
    }
    PathBuf::from(url)
}

/// Whether `location` names a place of this machine.
pub(crate) fn is_local(location: &str) -> bool {
    Provider::of(location) == Provider::Local
}
