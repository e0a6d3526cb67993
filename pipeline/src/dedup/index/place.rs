//! Where an index lies.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use tokio::runtime::Handle;

use super::blocks::missing_or_unreadable;
use crate::sink::{is_local, local_folder, put_small};
use crate::store::{Stores, unreadable, unwritable};
use crate::{Error, Result};

/// A folder or a prefix of a bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) runtime: Handle,
    /// The folder, if it is one of this machine.
    pub(super) folder: Option<PathBuf>,
    prefix: Path,
    url: String,
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
        Ok(Self { store, runtime: runtime.clone(), folder, prefix, url: url.to_owned() })
    }

    #[cfg(test)]
    pub(super) fn in_store(store: Arc<dyn ObjectStore>, runtime: Handle) -> Self {
        Self { store, runtime, folder: None, prefix: Path::from("index"), url: "memory://index".into() }
    }

    /// The URL, as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), Path::join)
    }

    pub(super) fn display(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    pub(super) fn unwritable(&self, name: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
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

    /// Bytes of a file that must be there.
    pub(super) fn size(&self, name: &str) -> Result<u64> {
        let found = self.runtime.block_on(self.store.head(&self.path(name)));
        found.map(|meta| meta.size).map_err(|error| missing_or_unreadable(&self.display(name), &error))
    }

    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        put_small(&self.store, &self.path(name), bytes, &self.runtime).map_err(|error| self.unwritable(name, error))
    }

    /// Tries whether the store heeds the conditions of a put: that of two commands only one replaces the manifest depends on
    /// them. `nonce` names an object that nobody else writes. A folder has a lock instead.
    ///
    /// # Errors
    /// `Error::Config` if the store ignores them or has none.
    pub(crate) fn probe(&self, nonce: &str) -> Result<()> {
        if self.folder.is_some() {
            return Ok(());
        }
        let name = format!("probe-{nonce}");
        let heeded = self.heeds_conditions(&name);
        self.delete([name.as_str()])?;
        match heeded {
            Ok(true) => Ok(()),
            Ok(false) | Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                Err(Error::Config {
                    message: format!("the store of `{}` does not heed the conditions of a put", self.url),
                    hint: Some(
                        "two runs at once could lose rows of the index there: keep it in a folder or in another store"
                            .into(),
                    ),
                })
            }
            Err(error) => Err(self.unwritable(&name, error)),
        }
    }

    fn heeds_conditions(&self, name: &str) -> object_store::Result<bool> {
        let path = self.path(name);
        let put = |text: &'static str, mode: PutMode| {
            self.runtime.block_on(self.store.put_opts(&path, text.into(), PutOptions::from(mode)))
        };
        let is_refused = |result| match result {
            Ok(_) => Ok(false),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(true),
            Err(error) => Err(error),
        };
        let first = UpdateVersion::from(put("first", PutMode::Create)?);
        if !is_refused(put("second", PutMode::Create))? {
            return Ok(false);
        }
        put("third", PutMode::Overwrite)?;
        is_refused(put("fourth", PutMode::Update(first)))
    }

    /// Removes files; one that is not there is no error.
    pub(crate) fn delete<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for name in names {
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
    pub(super) fn list(&self, name: &str) -> Result<Vec<(String, ObjectMeta)>> {
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

#[cfg(test)]
mod tests {
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetResult, ListResult, MultipartUpload, PutMultipartOptions, PutPayload, PutResult, Result,
    };

    use super::*;

    /// A store in memory that ignores one kind of condition.
    #[derive(Debug)]
    struct Careless {
        store: InMemory,
        ignores: fn(&PutMode) -> bool,
    }

    impl std::fmt::Display for Careless {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.store.fmt(formatter)
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Careless {
        async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
            if (self.ignores)(&options.mode) {
                options.mode = PutMode::Overwrite;
            }
            self.store.put_opts(path, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            path: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.store.put_multipart_opts(path, options).await
        }

        async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
            self.store.get_opts(path, options).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.store.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.store.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.store.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.store.copy_opts(from, to, options).await
        }
    }

    #[test]
    fn a_store_that_ignores_a_condition_is_found_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let check = |ignores: fn(&PutMode) -> bool, expect: bool| {
            let store = Arc::new(Careless { store: InMemory::new(), ignores });
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
