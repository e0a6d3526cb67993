//! `index.json`: read as it is now, replaced only if it still is.

use bytes::Bytes;
use object_store::{ObjectStore, PutMode, PutOptions, UpdateVersion};
use tamis_schemas::config::CommitMode;
use tamis_schemas::index::{INDEX_VERSION, IndexManifest, IndexParameters};

use super::blocks::damaged;
use super::parameters;
use crate::place::Place;
use crate::{Error, Result};

const CATALOG: &str = "index.json";

/// What an index holds, and the version of that.
#[derive(Debug, Clone)]
pub struct Catalog {
    place: Place,
    manifest: Option<IndexManifest>,
    stored: Option<(Bytes, UpdateVersion)>,
}

impl Catalog {
    /// Reads the manifest at `place`, where there may be none yet.
    ///
    /// # Errors
    /// `Error::Corrupt` if what is there is no manifest, `Error::Config` if a later version wrote it.
    pub fn load(place: &Place) -> Result<Self> {
        let stored = place.get_if_there(CATALOG)?;
        let manifest = stored.as_ref().map(|(bytes, _)| parse(bytes, &place.display(CATALOG))).transpose()?;
        Ok(Self { place: place.clone(), manifest, stored })
    }

    /// Reads the manifest at `place`, which must be there.
    ///
    /// # Errors
    /// `Error::Config` if there is no index.
    pub fn load_existing(place: &Place) -> Result<Self> {
        let catalog = Self::load(place)?;
        if catalog.manifest.is_none() {
            return Err(Error::Config {
                message: format!("there is no index at `{}`", place.url()),
                hint: Some("the first `tamis dedup --index URL` makes one".into()),
            });
        }
        Ok(catalog)
    }

    /// What the index holds; `None` if there is none yet.
    pub fn manifest(&self) -> Option<&IndexManifest> {
        self.manifest.as_ref()
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// # Errors
    /// `Error::Config` naming every parameter that differs.
    pub fn check(&self, parameters: &IndexParameters) -> Result<()> {
        match &self.manifest {
            Some(manifest) => parameters::check(&manifest.parameters, parameters, self.place.url()),
            None => Ok(()),
        }
    }

    /// # Errors
    /// `Error::Config` if the index was changed since it was read.
    pub fn check_unchanged(&self) -> Result<()> {
        if self.is_unchanged()? { Ok(()) } else { Err(self.lost()) }
    }

    /// Whether the index is as it was read.
    pub(crate) fn is_unchanged(&self) -> Result<bool> {
        let now = self.place.get_if_there(CATALOG)?.map(|(bytes, _)| bytes);
        Ok(now == self.stored.as_ref().map(|(bytes, _)| bytes.clone()))
    }

    /// Replaces the manifest, if it is still the one that was read.
    ///
    /// In a folder, which has no conditional put, the check and the renaming happen under a lock on it that ends with the
    /// process.
    ///
    /// # Errors
    /// `Error::Config` if somebody else was faster.
    pub fn replace(&self, manifest: &IndexManifest) -> Result<()> {
        if self.try_replace(manifest)? { Ok(()) } else { Err(self.lost()) }
    }

    /// As [`replace`](Self::replace); `false` if somebody else was faster.
    pub(crate) fn try_replace(&self, manifest: &IndexManifest) -> Result<bool> {
        let mut json = serde_json::to_vec_pretty(manifest)
            .map_err(|error| Error::Invariant(format!("the manifest of the index is not JSON: {error}")))?;
        json.push(b'\n');
        if let Some(folder) = &self.place.folder {
            let unwritable = |error: std::io::Error| self.place.unwritable(CATALOG, error);
            std::fs::create_dir_all(folder).map_err(unwritable)?;
            let lock = std::fs::File::open(folder).map_err(unwritable)?;
            lock.lock().map_err(unwritable)?;
            if !self.is_unchanged()? {
                return Ok(false);
            }
            return self.place.put(CATALOG, json).map(|()| true);
        }
        if self.place.commits() == CommitMode::UnsafeSingleWriter {
            return if self.is_unchanged()? { self.place.put(CATALOG, json).map(|()| true) } else { Ok(false) };
        }
        let mode = match &self.stored {
            Some((_, version)) => PutMode::Update(version.clone()),
            None => PutMode::Create,
        };
        let json = Bytes::from(json);
        let path = self.place.path(CATALOG);
        let put = self.place.store.put_opts(&path, json.clone().into(), PutOptions::from(mode));
        match self.place.runtime.block_on(put) {
            Ok(_) => Ok(true),
            // A put that was repeated after a lost answer meets its own result.
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(self.place.get_if_there(CATALOG)?.is_some_and(|(bytes, _)| bytes == json))
            }
            Err(error) => Err(self.place.unwritable(CATALOG, error)),
        }
    }

    /// Removes the manifest: there is no index then.
    pub(super) fn remove(&self) -> Result<()> {
        self.place.delete([CATALOG])
    }

    /// Of an index that somebody else has changed.
    pub(crate) fn lost(&self) -> Error {
        Error::Config {
            message: format!("another command changed the index `{}` in the meantime", self.place.url()),
            hint: Some("run the same command again; a run whose output is there already needs --overwrite".into()),
        }
    }
}

fn parse(bytes: &[u8], location: &str) -> Result<IndexManifest> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| damaged(location, format!("it is not JSON: {error}")))?;
    let version = value.get("index_version").and_then(serde_json::Value::as_u64);
    if let Some(version) = version.filter(|&version| version != u64::from(INDEX_VERSION)) {
        return Err(Error::Config {
            message: format!("`{location}` has layout {version}, and this version of tamis knows {INDEX_VERSION}"),
            hint: Some("use the version of tamis that wrote it".into()),
        });
    }
    let manifest: IndexManifest =
        serde_json::from_value(value).map_err(|error| damaged(location, error.to_string()))?;
    for segment in &manifest.segments {
        let ends = segment.runs.iter().map(|run| run.first_row.saturating_add(run.rows));
        let is_sorted = segment.runs.windows(2).all(|runs| runs[0].first_row + runs[0].rows <= runs[1].first_row);
        if !is_sorted || ends.max().is_some_and(|end| end > segment.rows) {
            return Err(damaged(location, format!("the row ranges of {} do not lie inside of it", segment.path)));
        }
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::memory_place;
    use super::*;
    use crate::dedup::Settings;

    #[test]
    fn only_one_of_two_writers_wins() {
        let (runtime, bucket) = memory_place();
        let folder = tempfile::tempdir().unwrap();
        let stores = crate::store::Stores::new::<&str, &str>([]);
        let local = Place::new(folder.path().join("a/b").to_str().unwrap(), &stores, runtime.handle()).unwrap();
        for place in [bucket, local] {
            let parameters = super::super::parameters(&Settings::default()).unwrap();
            let empty = IndexManifest {
                index_version: INDEX_VERSION,
                parameters,
                segments: Vec::new(),
                followed: BTreeMap::new(),
            };
            let mut other = empty.clone();
            other.parameters.seed = 9;
            let (first, second) = (Catalog::load(&place).unwrap(), Catalog::load(&place).unwrap());
            first.replace(&empty).unwrap();
            assert!(second.replace(&other).unwrap_err().to_string().contains("meantime"));
            let (first, second) = (Catalog::load(&place).unwrap(), Catalog::load(&place).unwrap());
            assert_eq!(first.manifest(), Some(&empty));
            second.replace(&other).unwrap();
            assert!(first.check_unchanged().is_err());
            assert!(first.replace(&empty).is_err());
            place.put(CATALOG, b"{\"index_version\": 1, \"par".to_vec()).unwrap();
            assert!(matches!(Catalog::load(&place), Err(Error::Corrupt { .. })));
            place.put(CATALOG, b"{\"index_version\": 2}".to_vec()).unwrap();
            assert!(matches!(Catalog::load(&place), Err(Error::Config { .. })));
        }
    }
}
