//! A folder or a prefix of a bucket, and what is done with whole files there.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use sha2::{Digest, Sha256};
use tamis_schemas::config::CommitMode;
use tokio::runtime::Handle;

use crate::context::Cancel;
use crate::sink::{hex, is_local, local_folder, put_small};
use crate::store::{Stores, unreadable, unwritable};
use crate::{Error, Result};

/// Bytes of one request: a whole file would take longer than a request may.
const RANGE_BYTES: u64 = 8 << 20;
/// Requests under way at once.
const RANGES_AHEAD: usize = 2;

/// A folder or a prefix of a bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) runtime: Handle,
    /// The folder, if it is one of this machine.
    pub(crate) folder: Option<PathBuf>,
    prefix: Path,
    url: String,
    commits: CommitMode,
}

impl Place {
    /// The place that `url` names; connects to nothing.
    ///
    /// # Errors
    /// `Error::Config` for a URL that no store understands.
    pub fn new(url: &str, stores: &Stores, runtime: &Handle) -> Result<Self> {
        let trimmed = url.trim_end_matches('/');
        let url = if trimmed.is_empty() { url } else { trimmed };
        let (store, prefix) = stores.resolve(url)?;
        let folder = is_local(url).then(|| local_folder(url));
        let commits = CommitMode::default();
        Ok(Self { store, runtime: runtime.clone(), folder, prefix, url: url.to_owned(), commits })
    }

    /// The same place, where it is made sure like this that nobody else puts a file at the same time.
    pub(crate) fn with_commits(self, commits: CommitMode) -> Self {
        Self { commits, ..self }
    }

    /// How that is made sure.
    pub(crate) fn commits(&self) -> CommitMode {
        self.commits
    }

    #[cfg(test)]
    pub(crate) fn in_store(store: Arc<dyn ObjectStore>, runtime: Handle) -> Self {
        Self {
            store,
            runtime,
            folder: None,
            prefix: Path::from("index"),
            url: "memory://index".into(),
            commits: CommitMode::default(),
        }
    }

    /// The URL, as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path of a file, or of a folder; of the place itself if `name` is empty.
    pub(crate) fn path(&self, name: &str) -> Path {
        name.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), Path::join)
    }

    pub(crate) fn display(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    pub(crate) fn unwritable(&self, name: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        unwritable(self.display(name), error.into())
    }

    /// The object `name` with its version; `None` if there is none.
    pub(crate) fn get_if_there(&self, name: &str) -> Result<Option<(Bytes, UpdateVersion)>> {
        let got = self.runtime.block_on(async {
            let got = self.store.get_opts(&self.path(name), GetOptions::default()).await?;
            let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
            Ok::<_, object_store::Error>((got.bytes().await?, version))
        });
        match got {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unreadable(&self.display(name), &error)),
        }
    }

    /// The file `name`, read whole in ranges; `None` if there is none.
    pub(crate) fn read_if_there(&self, name: &str, cancel: &Cancel) -> Result<Option<Bytes>> {
        let path = self.path(name);
        let read = self.runtime.block_on(async {
            let size = self.store.head(&path).await?.size;
            let ranges = (0..size.div_ceil(RANGE_BYTES)).map(|n| n * RANGE_BYTES..size.min((n + 1) * RANGE_BYTES));
            let parts = ranges.map(|range| self.store.get_range(&path, range));
            let (mut parts, mut bytes) =
                (stream::iter(parts).buffered(RANGES_AHEAD), Vec::with_capacity(size as usize));
            while let Some(part) = parts.try_next().await? {
                if cancel.is_cancelled() {
                    break;
                }
                bytes.extend_from_slice(&part);
            }
            Ok::<_, object_store::Error>(Bytes::from(bytes))
        });
        cancel.check()?;
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unreadable(&self.display(name), &error)),
        }
    }

    /// Bytes of a file.
    pub(crate) fn size(&self, name: &str) -> object_store::Result<u64> {
        self.runtime.block_on(self.store.head(&self.path(name))).map(|meta| meta.size)
    }

    /// Bytes of a file; `None` if there is none.
    pub(crate) fn size_if_there(&self, name: &str) -> Result<Option<u64>> {
        match self.size(name) {
            Ok(size) => Ok(Some(size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unreadable(&self.display(name), &error)),
        }
    }

    /// Whether there is a file of this name.
    pub(crate) fn is_there(&self, name: &str) -> Result<bool> {
        self.size_if_there(name).map(|size| size.is_some())
    }

    /// Bytes and SHA-256 of the file `name`, read to its end; `None` if there is none.
    pub(crate) fn digest(&self, name: &str, cancel: &Cancel) -> Result<Option<(u64, String)>> {
        let path = self.path(name);
        let digest = self.runtime.block_on(async {
            let size = self.store.head(&path).await?.size;
            let ranges = (0..size.div_ceil(RANGE_BYTES)).map(|n| n * RANGE_BYTES..size.min((n + 1) * RANGE_BYTES));
            let parts = ranges.map(|range| self.store.get_range(&path, range));
            let (mut parts, mut digest) = (stream::iter(parts).buffered(RANGES_AHEAD), Sha256::new());
            while let Some(part) = parts.try_next().await? {
                if cancel.is_cancelled() {
                    break;
                }
                digest.update(&part);
            }
            Ok::<_, object_store::Error>((size, hex(&digest.finalize())))
        });
        cancel.check()?;
        match digest {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unreadable(&self.display(name), &error)),
        }
    }

    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        put_small(&self.store, &self.path(name), bytes, &self.runtime).map_err(|error| self.unwritable(name, error))
    }

    /// Puts a file that nobody may have put before. `false`: somebody has put another.
    ///
    /// A put whose answer was lost is repeated by the store's client and meets its own result, and Amazon S3 refuses a put for a
    /// delete at the same moment, too: what counts is what is there afterwards.
    pub(crate) fn put_new(&self, name: &str, bytes: &Bytes) -> Result<bool> {
        const TRIES: usize = 5;
        if self.commits == CommitMode::UnsafeSingleWriter {
            return match self.get_if_there(name)? {
                Some((found, _)) => Ok(found == *bytes),
                None => self.put(name, bytes.to_vec()).map(|()| true),
            };
        }
        let path = self.path(name);
        for _ in 1..TRIES {
            let put = self.store.put_opts(&path, bytes.clone().into(), PutOptions::from(PutMode::Create));
            let Err(error) = self.runtime.block_on(put) else { return Ok(true) };
            match self.get_if_there(name) {
                Ok(Some((found, _))) => return Ok(found == *bytes),
                Ok(None) if is_refused(&error) => {}
                _ => return Err(self.unwritable(name, error)),
            }
        }
        Err(self.unwritable(name, "the store says that it is there, and that it is not"))
    }

    /// Tries whether the store heeds the conditions of a put: that of two commands only one replaces the manifest depends on
    /// them. `name` is that of an object that nobody else writes. A folder has locks and links instead.
    ///
    /// # Errors
    /// `Error::Config` if the store ignores them or has none.
    pub(crate) fn probe(&self, name: &str) -> Result<()> {
        if self.folder.is_some() || self.commits == CommitMode::UnsafeSingleWriter {
            return Ok(());
        }
        let heeded = self.heeds_conditions(name);
        self.delete([name])?;
        match heeded {
            Ok(true) => Ok(()),
            Ok(false) | Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                Err(Error::Config {
                    message: format!("the store of `{}` does not heed the conditions of a put", self.url),
                    hint: Some(
                        "two runs at once could lose rows there: use a folder or another store; or see to it that there is one \
                         at a time, and set output.commit to \"unsafe-single-writer\""
                            .into(),
                    ),
                })
            }
            Err(error) => Err(self.unwritable(name, error)),
        }
    }

    fn heeds_conditions(&self, name: &str) -> object_store::Result<bool> {
        let path = self.path(name);
        let put = |text: &'static str, mode: PutMode| {
            self.runtime.block_on(self.store.put_opts(&path, text.into(), PutOptions::from(mode)))
        };
        let refuses = |result| match result {
            Ok(_) => Ok(false),
            Err(error) if is_refused(&error) => Ok(true),
            Err(error) => Err(error),
        };
        let first = match put("first", PutMode::Create) {
            Ok(result) => UpdateVersion::from(result),
            // Nobody else writes it: the answer was lost, the client put it again and met its own result.
            Err(error) if is_refused(&error) => {
                let found = self.runtime.block_on(self.store.head(&path))?;
                UpdateVersion { e_tag: found.e_tag, version: found.version }
            }
            Err(error) => return Err(error),
        };
        if !refuses(put("second", PutMode::Create))? {
            return Ok(false);
        }
        put("third", PutMode::Overwrite)?;
        refuses(put("fourth", PutMode::Update(first)))
    }

    /// Removes files; one that is not there is no error.
    pub(crate) fn delete<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for name in names {
            if let (Some(folder), true) = (&self.folder, is_unfinished(name)) {
                match std::fs::remove_file(folder.join(name)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.unwritable(name, error)),
                    _ => continue,
                }
            }
            match self.runtime.block_on(self.store.delete(&self.path(name))) {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.unwritable(name, error)),
            }
            if let (Some(folder), Some((parent, _))) = (&self.folder, name.rsplit_once('/')) {
                // Fails as long as the folder holds something.
                let _ = std::fs::remove_dir(folder.join(parent));
            }
        }
        Ok(())
    }

    /// Every file below the folder `name`, by its name here.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<(String, ObjectMeta)>> {
        let found: Vec<ObjectMeta> = self
            .runtime
            .block_on(self.store.list(Some(&self.path(name))).try_collect())
            .map_err(|error| unreadable(&self.display(name), &error))?;
        let n_parts = self.prefix.parts_count();
        let named = found.into_iter().map(|meta| {
            let parts: Vec<String> = meta.location.parts().skip(n_parts).map(|part| part.as_ref().to_owned()).collect();
            (parts.join("/"), meta)
        });
        Ok(named.collect())
    }
}

impl Place {
    /// Files below the folder `name` whose writing never ended or still goes on, each by its name here, and when it was last
    /// written to, in seconds since 1970. Buckets show none.
    pub(crate) fn unfinished(&self, name: &str) -> Result<Vec<(String, u64)>> {
        let Some(folder) = &self.folder else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut left = vec![name.to_owned()];
        while let Some(name) = left.pop() {
            let unreadable =
                |error: std::io::Error| Error::Unreadable { location: self.display(&name), source: error.into() };
            let entries = match std::fs::read_dir(folder.join(&name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(unreadable)?,
            };
            for entry in entries {
                let entry = entry.map_err(unreadable)?;
                let Ok(of_entry) = entry.file_name().into_string() else { continue };
                let path = if name.is_empty() { of_entry } else { format!("{name}/{of_entry}") };
                // What is gone by now has come to its end.
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    left.push(path);
                } else if is_unfinished(&path) {
                    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                    found.push((path, modified.unwrap_or_default().as_secs()));
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Whether a file of a folder is not complete: its store adds `#` and a number to the name, and lists no such file.
fn is_unfinished(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a condition of a put does not hold.
fn is_refused(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Careless, Fault};

    #[test]
    fn what_is_there_afterwards_says_who_was_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let put = |faults: &[Fault], before: Option<&'static str>| {
            let store = Arc::new(Careless::new(|_| false));
            let place = Place::in_store(store.clone(), runtime.handle().clone());
            if let Some(before) = before {
                place.put("x", before.into()).unwrap();
            }
            store.fail(faults);
            let outcome = place.put_new("x", &Bytes::from("mine"));
            (outcome.ok(), place.get_if_there("x").unwrap().map(|(bytes, _)| bytes))
        };
        let (mine, other) = (Some(Bytes::from("mine")), Some(Bytes::from("other")));
        assert_eq!(put(&[], None), (Some(true), mine.clone()));
        assert_eq!(put(&[Fault::AnswerLost], None), (Some(true), mine.clone()));
        assert_eq!(put(&[], Some("mine")), (Some(true), mine.clone()), "a repeated put meets its own result");
        assert_eq!(put(&[], Some("other")), (Some(false), other.clone()));
        assert_eq!(put(&[Fault::AnswerLost], Some("other")), (Some(false), other.clone()));
        assert_eq!(put(&[Fault::Down], Some("other")), (Some(false), other));
        assert_eq!(put(&[Fault::Conflict, Fault::Conflict], None), (Some(true), mine.clone()));
        assert_eq!(put(&[Fault::AnswerLost, Fault::Conflict], None), (Some(true), mine));
        assert_eq!(put(&[Fault::Conflict; 9], None), (None, None));
        assert_eq!(put(&[Fault::Down], None), (None, None));
    }

    #[test]
    fn who_is_alone_needs_no_conditions() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let place = Place::in_store(Arc::new(Careless::new(|_| true)), runtime.handle().clone());
        assert!(place.probe("x").is_err());
        let alone = place.with_commits(CommitMode::UnsafeSingleWriter);
        alone.probe("x").unwrap();
        assert!(alone.put_new("x", &Bytes::from("mine")).unwrap());
        assert!(alone.put_new("x", &Bytes::from("mine")).unwrap(), "a repeated put meets its own result");
        assert!(!alone.put_new("x", &Bytes::from("other")).unwrap());
        assert_eq!(alone.get_if_there("x").unwrap().unwrap().0, "mine");
    }

    #[test]
    fn a_store_that_ignores_a_condition_is_found_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let check = |ignores: fn(&PutMode) -> bool, expect: bool| {
            let store = Arc::new(Careless::new(ignores));
            let place = Place::in_store(store, runtime.handle().clone());
            match place.probe("x") {
                Ok(()) => assert!(expect),
                Err(error) => assert!(!expect && error.to_string().contains("conditions of a put"), "{error}"),
            }
            assert_eq!(place.list("").unwrap(), [], "the probe stays behind");
        };
        check(|_| false, true);
        check(|_| true, false);
        check(|mode| matches!(mode, PutMode::Create), false);
        check(|mode| matches!(mode, PutMode::Update(_)), false);
    }
}
