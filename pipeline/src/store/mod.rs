//! Object stores by URL: one store for each bucket, kept for the run; local files are a store too.

mod access;
mod archive;
mod bucket;
#[cfg(test)]
mod careless;
mod explain;
mod profile;
mod requests;
mod variables;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::HttpConnector;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use tamis_schemas::config::Config;
use url::{Position, Url};

use access::Access;
pub(crate) use archive::Archived;
pub use archive::{Speed, Thaw};
use bucket::Service;
pub(crate) use bucket::{Answer, Ask, Bucket};
#[cfg(test)]
pub(crate) use careless::{Careless, Fault};
pub(crate) use explain::{explain, is_archived, kind_of_cause, unreadable, unwritable};
use requests::Requests;
use variables::Variables;

use crate::tiers::Provider;
use crate::{Error, Result};

/// Time that one request may take. We ask for ranges and parts of a few MiB, never for whole files, so this is for a
/// connection that hangs; the store's own default of 30 s fails on slow lines.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
/// Retries of one request: they go on for about ten seconds, those of the store's own default of 10 for two.
const MOST_RETRIES: usize = 20;
/// Time that the retries of one request may take together.
const RETRY_TIMEOUT: Duration = Duration::from_mins(5);

/// A builder of one provider's store with every variable that it knows.
macro_rules! configured {
    ($builder:ty, $requests:expr, $url:expr, $variables:expr) => {{
        let builder = <$builder>::new()
            .with_client_options(client_options())
            .with_retry(retries())
            .with_http_connector($requests.clone())
            .with_url($url);
        $variables.iter().fold(builder, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        })
    }};
}
/// The object stores of a run.
pub struct Stores {
    variables: Variables,
    /// How places are reached that are not reached as usual, the innermost first.
    places: Vec<Access>,
    requests: Requests,
    local: Arc<dyn ObjectStore>,
    opened: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Stores {
    /// Stores that take credentials, region and endpoint from `variables`: those of the environment, as the caller read
    /// them. Names that start with `AWS_`, `AZURE_` or `GOOGLE_` are looked at; without keys among them, the profile files
    /// of the AWS command line, which `HOME` and `AWS_PROFILE` lead to.
    pub fn new<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        Self {
            variables: Variables::new(variables),
            places: Vec::new(),
            requests: Requests::default(),
            local: Arc::new(LocalFileSystem::new()),
            opened: Mutex::default(),
        }
    }

    /// The same, reaching the places of tiers as these say.
    ///
    /// # Errors
    /// `Error::Config` if two tiers contradict each other. Credentials are looked at when a store is opened.
    pub fn with_tiers(self, config: &Config) -> Result<Self> {
        Ok(Self { places: Access::of_tiers(config)?, ..self })
    }

    /// The store of a URL or local path, and the place in it.
    ///
    /// Knows `s3:`, `gs:`, `az:`, `abfs:`, `http:`, `https:` and `file:` URLs; anything without `://` is a path. Connects
    /// to nothing.
    ///
    /// # Errors
    /// `Error::Config` for a URL that no store understands, and for credentials that are not there.
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
        let bucket = if bucket_in_path { url.as_str() } else { &url[..Position::BeforePath] };
        let place = self.places.iter().position(|place| place.holds(location));
        let key = place.map_or_else(|| bucket.to_owned(), |place| format!("{place} {bucket}"));
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(&key) {
            return Ok((store.clone(), path));
        }
        let store = self.open(location, &scheme, &url, place.map(|place| &self.places[place]))?;
        opened.insert(key, store.clone());
        Ok((store, path))
    }

    /// How many requests went to object stores so far, by what they asked for.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.requests.counts()
    }

    /// The S3 bucket or Azure container of a URL.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); `Error::Config` if requests are not to be signed, or if it is neither.
    pub(crate) fn bucket(&self, location: &str) -> Result<Bucket> {
        let access = self.places.iter().find(|place| place.holds(location));
        let url = parse_url(location)?;
        let service = match Provider::of(location) {
            Provider::Amazon => self.amazon_service(&url, access)?,
            Provider::Azure => self.azure_service(&url, access)?,
            Provider::Google | Provider::Local => {
                return Err(Error::config(format!("`{location}` is in no bucket of S3 or container of Azure")));
            }
        };
        let client = self.requests.connect(&client_options().with_allow_http(true));
        Ok(Bucket::new(service, client.map_err(|error| unopened(location, &error))?))
    }

    fn amazon_service(&self, url: &Url, access: Option<&Access>) -> Result<Service> {
        let builder = self.amazon(url, access)?;
        if builder.get_config_value(&AmazonS3ConfigKey::SkipSignature).as_deref() == Some("true") {
            return Err(Error::config("requests are not signed (AWS_SKIP_SIGNATURE)"));
        }
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
        let store = builder.build().map_err(|error| unopened(url.as_str(), &error))?;
        Ok(Service::Amazon { store, region })
    }

    fn azure_service(&self, url: &Url, access: Option<&Access>) -> Result<Service> {
        let builder = self.azure(url, access)?;
        let value = |key: AzureConfigKey| builder.get_config_value(&key);
        for (key, name) in [
            (AzureConfigKey::SkipSignature, "AZURE_SKIP_SIGNATURE"),
            (AzureConfigKey::UseEmulator, "AZURE_STORAGE_USE_EMULATOR"),
        ] {
            if value(key).as_deref() == Some("true") {
                return Err(Error::config(format!("requests are not signed, or are for an emulator ({name})")));
            }
        }
        // `abfss://<container>@<account>.dfs.core.windows.net`, or `az://<container>` and the account in a variable.
        let host = url.host_str().unwrap_or_default();
        let in_url = (!url.username().is_empty()).then(|| (url.username(), host.split('.').next().unwrap_or_default()));
        let account = in_url.map(|(_, account)| account.to_owned()).or_else(|| value(AzureConfigKey::AccountName));
        let account = account.ok_or_else(|| Error::config("no Azure account is named (AZURE_STORAGE_ACCOUNT_NAME)"))?;
        let is_fabric = host.ends_with(".fabric.microsoft.com")
            || value(AzureConfigKey::UseFabricEndpoint).as_deref() == Some("true");
        let suffix = if is_fabric { "blob.fabric.microsoft.com" } else { "blob.core.windows.net" };
        let service = value(AzureConfigKey::Endpoint).unwrap_or_else(|| format!("https://{account}.{suffix}"));
        let container = in_url.map_or(host, |(container, _)| container);
        let container = parse_url(&format!("{}/{container}", service.trim_end_matches('/')))?;
        let store = builder.build().map_err(|error| unopened(url.as_str(), &error))?;
        Ok(Service::Azure { store, account, url: container })
    }

    fn open(
        &self,
        location: &str,
        scheme: &ObjectStoreScheme,
        url: &Url,
        access: Option<&Access>,
    ) -> Result<Arc<dyn ObjectStore>> {
        let opened: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
            ObjectStoreScheme::AmazonS3 => self.amazon(url, access)?.build().map(|store| Arc::new(store) as _),
            ObjectStoreScheme::GoogleCloudStorage => {
                let variables = access::variables(access, Provider::Google, &self.variables)?;
                let builder = configured!(GoogleCloudStorageBuilder, self.requests, url.as_str(), variables);
                builder.build().map(|store| Arc::new(store) as _)
            }
            ObjectStoreScheme::MicrosoftAzure => self.azure(url, access)?.build().map(|store| Arc::new(store) as _),
            ObjectStoreScheme::Http => {
                let builder = HttpBuilder::new()
                    .with_client_options(client_options().with_allow_http(url.scheme() == "http"))
                    .with_retry(retries())
                    .with_http_connector(self.requests.clone())
                    .with_url(&url[..Position::BeforePath]);
                builder.build().map(|store| Arc::new(store) as _)
            }
            other => Err(object_store::Error::NotSupported { source: format!("no store for {other:?}").into() }),
        };
        opened.map_err(|error| unopened(location, &error))
    }

    fn amazon(&self, url: &Url, access: Option<&Access>) -> Result<AmazonS3Builder> {
        let variables = access::variables(access, Provider::Amazon, &self.variables)?;
        Ok(configured!(AmazonS3Builder, self.requests, url.as_str(), variables))
    }

    fn azure(&self, url: &Url, access: Option<&Access>) -> Result<MicrosoftAzureBuilder> {
        let variables = access::variables(access, Provider::Azure, &self.variables)?;
        Ok(configured!(MicrosoftAzureBuilder, self.requests, url.as_str(), variables))
    }
}

fn client_options() -> ClientOptions {
    ClientOptions::new().with_timeout(REQUEST_TIMEOUT)
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: MOST_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

fn unopened(location: &str, error: &object_store::Error) -> Error {
    Error::Config {
        message: format!("`{location}` cannot be opened: {error}"),
        hint: Some("check the bucket name and the AWS_*, GOOGLE_* or AZURE_* variables".into()),
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values of the variables are secrets, and open stores hold them.
        let variables = self.variables.of_stores();
        formatter
            .debug_struct("Stores")
            .field("variables", &variables)
            .field("places", &self.places)
            .finish_non_exhaustive()
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
    fn containers_are_found_however_they_are_named() {
        let key = ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0");
        let check = |variables: &[(&str, &str)], location: &str, expect: &str| {
            let stores = Stores::new(variables.iter().copied().chain([key]));
            let found = stores.bucket(location).map_or_else(|error| error.to_string(), |bucket| format!("{bucket:?}"));
            assert!(found.contains(expect) && !found.contains("115, 101, 99"), "{location}: {found}");
        };
        let account = [("AZURE_STORAGE_ACCOUNT_NAME", "acme")];
        check(&account, "az://train/out", "https://acme.blob.core.windows.net/train\"");
        check(&[], "abfss://train@acme.dfs.core.windows.net/out", "https://acme.blob.core.windows.net/train\"");
        check(&[], "abfss://train@acme.dfs.fabric.microsoft.com/out", "https://acme.blob.fabric.microsoft.com/train\"");
        let local = [account[0], ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/acme/")];
        check(&local, "az://train/out", "http://127.0.0.1:1/acme/train\"");
        check(&[], "az://train/out", "no Azure account is named");
        check(&[account[0], ("AZURE_SKIP_SIGNATURE", "true")], "az://train/out", "AZURE_SKIP_SIGNATURE");
        check(&[("AWS_REGION", "eu-west-1")], "s3://train/out", "eu-west-1");
        check(&[("AWS_SKIP_SIGNATURE", "true")], "s3://train/out", "AWS_SKIP_SIGNATURE");
        check(&[], "gs://train/out", "in no bucket of S3");
    }

    #[test]
    fn unknown_urls_are_refused() {
        let stores = Stores::new::<&str, &str>([]);
        for location in ["ftp://host/x", "s3://", "://"] {
            assert!(matches!(stores.resolve(location), Err(Error::Config { .. })), "{location}");
        }
    }
}
