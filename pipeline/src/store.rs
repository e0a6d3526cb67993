//! Object stores by URL: one store for each bucket, kept for the run; local files are a store too.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::{Position, Url};

use crate::{Error, Result};

/// Time that one request may take. We ask for ranges and parts of a few MiB, never for whole files, so this is for a
/// connection that hangs; the store's own default of 30 s fails on slow lines.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
/// Time that the retries of one request may take together.
const RETRY_TIMEOUT: Duration = Duration::from_mins(5);
/// Variables that a store may be configured by. Without the prefix, keys like `REGION` or `TOKEN` would be taken for ours.
const VARIABLE_PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// The object stores of a run.
pub struct Stores {
    variables: Vec<(String, String)>,
    local: Arc<dyn ObjectStore>,
    opened: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Stores {
    /// Stores that take credentials, region and endpoint from `variables`: those of the environment, as the caller read
    /// them. Only names that start with `AWS_`, `AZURE_` or `GOOGLE_` are looked at.
    pub fn new<K: AsRef<str>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables = variables
            .into_iter()
            .filter(|(key, _)| VARIABLE_PREFIXES.iter().any(|prefix| key.as_ref().starts_with(prefix)))
            .map(|(key, value)| (key.as_ref().to_ascii_lowercase(), value.into()))
            .collect();
        Self { variables, local: Arc::new(LocalFileSystem::new()), opened: Mutex::default() }
    }

    /// The store of a URL or local path, and the place in it.
    ///
    /// Knows `s3:`, `gs:`, `az:`, `abfs:`, `http:`, `https:` and `file:` URLs; anything without `://` is a path. Connects
    /// to nothing.
    ///
    /// # Errors
    /// `Error::Config` for a URL that no store understands.
    pub fn resolve(&self, location: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        if !is_url(location) {
            return Ok((self.local.clone(), local_path(location, FilePath::new(location))?));
        }
        let url = parse_url(location)?;
        let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|_| unknown_url(location))?;
        if scheme == ObjectStoreScheme::Local {
            let file = url.to_file_path().map_err(|()| unknown_url(location))?;
            return Ok((self.local.clone(), local_path(location, &file)?));
        }
        // In some https URLs the bucket is the first part of the path: those stores are not shared.
        let bucket_in_path = url.path().trim_start_matches('/').split('/').count() != path.parts_count();
        let key = if bucket_in_path { url.as_str() } else { &url[..Position::BeforePath] };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(key) {
            return Ok((store.clone(), path));
        }
        let store = self.open(&scheme, &url).map_err(|source| Error::Config {
            message: format!("`{location}` cannot be opened: {source}"),
            hint: Some("check the bucket name and the AWS_*, GOOGLE_* or AZURE_* variables".into()),
        })?;
        opened.insert(key.to_owned(), store.clone());
        Ok((store, path))
    }

    fn open(&self, scheme: &ObjectStoreScheme, url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
        let client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT);
        let retry = RetryConfig { retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        macro_rules! build {
            ($builder:ty, $url:expr) => {{
                let builder = <$builder>::new().with_client_options(client).with_retry(retry).with_url($url);
                let with_variable = |builder: $builder, (key, value): &(String, String)| match key.parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                };
                Arc::new(self.variables.iter().fold(builder, with_variable).build()?)
            }};
        }
        Ok(match scheme {
            ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder, url.as_str()),
            ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder, url.as_str()),
            ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder, url.as_str()),
            ObjectStoreScheme::Http => {
                let client = client.with_allow_http(url.scheme() == "http");
                let root = &url[..Position::BeforePath];
                Arc::new(HttpBuilder::new().with_client_options(client).with_retry(retry).with_url(root).build()?)
            }
            other => {
                return Err(object_store::Error::NotSupported { source: format!("no store for {other:?}").into() });
            }
        })
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values of the variables are secrets.
        let names: Vec<_> = self.variables.iter().map(|(name, _)| name).collect();
        formatter.debug_struct("Stores").field("variables", &names).finish_non_exhaustive()
    }
}

/// Whether a location is a URL, not a local path.
pub fn is_url(location: &str) -> bool {
    location.contains("://")
}

/// A local path without `.`, empty and (where they name a folder of the path itself) `..` parts.
///
/// `./a//b` and `a/x/../b` become `a/b`; `../a` and `/a` stay. The empty path is `.`.
pub fn normalized(path: &FilePath) -> PathBuf {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(parts.components().next_back(), Some(Component::Normal(_))) => {
                parts.pop();
            }
            Component::ParentDir if parts.has_root() => {}
            other => parts.push(other),
        }
    }
    if parts.as_os_str().is_empty() { PathBuf::from(".") } else { parts }
}

/// The URL in `location`, if it is a URL at all.
pub(crate) fn parse_url(location: &str) -> Result<Url> {
    Url::parse(location).map_err(|error| Error::config(format!("`{location}` is not a URL: {error}")))
}

fn unknown_url(location: &str) -> Error {
    Error::Config {
        message: format!("no object store for `{location}`"),
        hint: Some("use a path, or a URL that starts with s3://, gs://, az://, https:// or file://".into()),
    }
}

fn local_path(location: &str, file: &FilePath) -> Result<Path> {
    let unusable = |source| Error::Unreadable { location: location.to_owned(), source };
    let absolute = std::path::absolute(file).map_err(|error| unusable(Box::new(error)))?;
    Path::from_absolute_path(normalized(&absolute)).map_err(|error| unusable(Box::new(error)))
}

/// What went wrong in a store. It stands for a chain of causes of which each repeats the text of the next, with URLs and
/// the XML of the answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Explained(String);

/// The error of an input at `location`.
pub(crate) fn unreadable(location: &str, error: &object_store::Error) -> Error {
    Error::Unreadable { location: location.to_owned(), source: Box::new(explain(error)) }
}

fn explain(error: &object_store::Error) -> Explained {
    use object_store::Error as Store;
    let text = error.to_string();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let words = match error {
        // The address that machines in a cloud get their credentials from, asked last.
        _ if has(&["169.254.169.254", "metadata.google.internal"]) => {
            "there are no credentials: set the AWS_*, GOOGLE_* or AZURE_* variables"
        }
        _ if has(&["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]) => "there is no such bucket",
        Store::NotFound { .. } => "there is no such file",
        _ if has(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "ExpiredToken"]) => {
            "the store refuses the credentials: check the AWS_*, GOOGLE_* or AZURE_* variables"
        }
        Store::Unauthenticated { .. } => "the store wants credentials: set the AWS_*, GOOGLE_* or AZURE_* variables",
        Store::PermissionDenied { .. } if has(&["InvalidObjectState"]) => "the object is archived: restore it first",
        Store::PermissionDenied { .. } => "access denied: check the credentials and what they may read",
        _ => match io_kind(error) {
            Some(std::io::ErrorKind::NotFound) => "there is no such file",
            Some(std::io::ErrorKind::PermissionDenied) => "permission denied",
            Some(std::io::ErrorKind::IsADirectory) => "it is a folder",
            _ => return Explained(with_root_cause(error, text)),
        },
    };
    Explained(words.to_owned())
}

fn with_root_cause(error: &object_store::Error, text: String) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let root = root.to_string();
    if text.contains(&root) { text } else { format!("{text}: {root}") }
}

fn io_kind(error: &object_store::Error) -> Option<std::io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use object_store::GetOptions;

    use super::*;

    #[test]
    fn normalizes_lexically() {
        let cases = [
            ("./a//b", "a/b"),
            ("a/x/../b", "a/b"),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/../a/", "/a"),
            (".", "."),
            ("a/..", "."),
        ];
        for (path, expected) in cases {
            assert_eq!(normalized(FilePath::new(path)), FilePath::new(expected), "{path}");
        }
    }

    #[test]
    fn local_names_survive() {
        let stores = Stores::new::<&str, &str>([]);
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for name in ["plain", "a b", "100%", "a%20b", "é#?*[x]{y}", "数据", "~x", "a\"b'c\\d"] {
            let file = folder.path().join(name);
            std::fs::write(&file, name).unwrap();
            let url = Url::from_file_path(&file).unwrap();
            for location in [file.to_str().unwrap(), url.as_str()] {
                let (store, path) = stores.resolve(location).unwrap();
                let read =
                    runtime.block_on(async { store.get_opts(&path, GetOptions::default()).await?.bytes().await });
                assert_eq!(read.unwrap(), name, "{location}");
            }
        }
    }

    #[test]
    fn one_store_for_each_bucket() {
        let stores = Stores::new([("AWS_REGION", "eu-west-1"), ("TOKEN", "not ours")]);
        let (first, path) = stores.resolve("s3://bucket/a/b%20c").unwrap();
        assert_eq!(path.as_ref(), "a/b c");
        let (second, _) = stores.resolve("s3://bucket/x").unwrap();
        let (other, _) = stores.resolve("s3://another/x").unwrap();
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        assert!(!format!("{stores:?}").contains("eu-west-1") && !format!("{stores:?}").contains("token"));
    }

    #[test]
    fn unknown_urls_are_refused() {
        let stores = Stores::new::<&str, &str>([]);
        for location in ["ftp://host/x", "s3://", "://"] {
            assert!(matches!(stores.resolve(location), Err(Error::Config { .. })), "{location}");
        }
    }
}
