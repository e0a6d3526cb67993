//! A place for tables: a folder or a prefix of a bucket, with a storage class and a compression.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use tamis_schemas::config::{TierClass, TierConfig};

use crate::store::{Stores, unwritable};
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
    /// The folder, if the tier is local.
    pub(super) folder: Option<PathBuf>,
    prefix: Path,
    url: String,
    is_home: bool,
}

impl Tier {
    /// Resolves the tier; `home` is where the manifest goes, and where a tier without a URL lies.
    pub(super) fn resolve(name: &str, config: &TierConfig, home: &str, stores: &Stores) -> Result<Self> {
        let url = config.url.as_deref().unwrap_or(home).trim_end_matches('/').to_owned();
        let (store, prefix) = stores.resolve(&url)?;
        let provider = Provider::of(&url);
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            store,
            storage_class: storage_class(provider, config)?,
            folder: (provider == Provider::Local).then(|| local_folder(&url)),
            prefix,
            is_home: config.url.is_none() || url == home.trim_end_matches('/'),
            url,
        })
    }

    /// Folder in which a local tier is written before the commit.
    pub(super) fn staging_folder(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(STAGING))
    }

    /// Where a file is written: a local one is renamed later, an object is invisible until its upload ends.
    pub(super) fn writing_path(&self, name: &str) -> Path {
        let base = if self.folder.is_some() { self.prefix.clone().join(STAGING) } else { self.prefix.clone() };
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

    /// What tells this place from any other, however it is spelled.
    pub(super) fn identity(&self) -> &str {
        if self.folder.is_some() { self.prefix.as_ref() } else { &self.url }
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
    name.split('/').fold(base.clone(), object_store::path::Path::join)
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    Local,
    Amazon,
    Google,
    Azure,
}

impl Provider {
    fn of(url: &str) -> Self {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("s3" | "s3a") => Self::Amazon,
            Some("gs") => Self::Google,
            Some("az" | "adl" | "azure" | "abfs" | "abfss") => Self::Azure,
            _ => Self::Local,
        }
    }
}

/// The provider's word for a storage class.
///
/// # Errors
/// `Error::Config` for a class that the provider does not have.
fn storage_class(provider: Provider, config: &TierConfig) -> Result<Option<&'static str>> {
    const AMAZON: [&str; 8] = [
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER_IR",
        "GLACIER",
        "DEEP_ARCHIVE",
    ];
    const GOOGLE: [&str; 4] = ["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"];
    const AZURE: [&str; 4] = ["Hot", "Cool", "Cold", "Archive"];
    let by_temperature = |hot, warm, cold, archive| match config.class {
        TierClass::Hot => hot,
        TierClass::Warm => warm,
        TierClass::Cold => cold,
        TierClass::Archive => archive,
    };
    let (known, default): (&[&'static str], _) = match provider {
        Provider::Local => return Ok(None),
        Provider::Amazon => (&AMAZON, by_temperature("STANDARD", "STANDARD_IA", "GLACIER_IR", "DEEP_ARCHIVE")),
        Provider::Google => (&GOOGLE, by_temperature("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")),
        Provider::Azure => (&AZURE, by_temperature("Hot", "Cool", "Cold", "Archive")),
    };
    let Some(native) = &config.native else { return Ok(Some(default)) };
    known.iter().copied().find(|class| class == native).map(Some).ok_or_else(|| Error::Config {
        message: format!("storage class `{native}` is not one of this provider's"),
        hint: Some(format!("one of {}", known.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_classes_in_each_providers_words() {
        let check = |url: &str, class: TierClass, native: Option<&str>| {
            let config = TierConfig { class, native: native.map(str::to_owned), ..TierConfig::default() };
            storage_class(Provider::of(url), &config).map_err(|error| error.hint().unwrap_or_default())
        };
        assert_eq!(check("out/run", TierClass::Cold, None), Ok(None));
        assert_eq!(check("file:///out", TierClass::Cold, None), Ok(None));
        assert_eq!(check("s3://b/p", TierClass::Cold, None), Ok(Some("GLACIER_IR")));
        assert_eq!(check("gs://b/p", TierClass::Warm, None), Ok(Some("NEARLINE")));
        assert_eq!(check("az://b/p", TierClass::Hot, None), Ok(Some("Hot")));
        assert_eq!(check("s3://b/p", TierClass::Hot, Some("ONEZONE_IA")), Ok(Some("ONEZONE_IA")));
        assert!(check("gs://b/p", TierClass::Hot, Some("GLACIER")).is_err_and(|hint| hint.contains("COLDLINE")));
    }
}
