//! What the stores' own interface does not offer: requests of ours to a bucket or container, signed like those of the store.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::azure::{AzureAuthorizer, MicrosoftAzure};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::Signer;
use url::Url;

/// How often a request is tried that the service cannot answer now.
const TRIES: u32 = 6;
/// Wait before the second try; doubled before each that follows.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// A bucket or container.
pub(crate) struct Bucket {
    service: Service,
    client: HttpClient,
}

/// Whose it is, and what a signature needs.
pub(super) enum Service {
    /// S3.
    Amazon { store: AmazonS3, region: String },
    /// Azure; `url` is that of the container.
    Azure { store: MicrosoftAzure, account: String, url: Url },
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask<'a> {
    /// `GET` if it is empty.
    pub(crate) method: &'a str,
    /// The object; none: the bucket itself.
    pub(crate) path: Path,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: &'a str,
}

/// What the service says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same as an error of the store, which says what the status is as errors of the store do.
    pub(crate) fn into_error(self) -> object_store::Error {
        failed(format!("the service answers with status code: {}: {}", self.status, self.body))
    }
}

impl Bucket {
    pub(super) fn new(service: Service, client: HttpClient) -> Self {
        Self { service, client }
    }

    /// Whether it is one of Azure's containers.
    pub(super) fn is_azure(&self) -> bool {
        matches!(self.service, Service::Azure { .. })
    }

    /// Asks, again and again if the service cannot answer now: ask for nothing that may not be done twice.
    ///
    /// # Errors
    /// If there are no credentials or no answer; an answer that refuses is one.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> object_store::Result<Answer> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            let request = self.signed(ask).await?;
            match self.answer(request).await {
                Ok(answer) if !matches!(answer.status, 408 | 429 | 500..=599) => return Ok(answer),
                _ => tokio::time::sleep(wait).await,
            }
            wait *= 2;
        }
        self.answer(self.signed(ask).await?).await
    }

    async fn answer(&self, request: HttpRequest) -> object_store::Result<Answer> {
        let answer = self.client.execute(request).await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
        let body = answer.into_body().bytes().await.map_err(failed)?;
        Ok(Answer { status, headers, body: text(&body) })
    }

    async fn signed(&self, ask: &Ask<'_>) -> object_store::Result<HttpRequest> {
        let mut request = HttpRequest::new(HttpRequestBody::from(ask.body.to_owned()));
        if !ask.method.is_empty() {
            *request.method_mut() = ask.method.parse().map_err(failed)?;
        }
        for (name, value) in ask.headers {
            request.headers_mut().insert(*name, value.parse().map_err(failed)?);
        }
        let mut url = match &self.service {
            // In the style that the store is configured for: only a signed URL tells.
            Service::Amazon { store, .. } => {
                store.signed_url(request.method().clone(), &ask.path, Duration::from_mins(1)).await?
            }
            Service::Azure { url, .. } => blob_url(url, &ask.path),
        };
        url.set_query(None);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        *request.uri_mut() = url.as_str().parse().map_err(failed)?;
        match &self.service {
            Service::Amazon { store, region } => {
                let credential = store.credentials().get_credential().await?;
                AwsAuthorizer::new(&credential, "s3", region).authorize(&mut request, None);
            }
            Service::Azure { store, account, .. } => {
                request.headers_mut().insert("content-length", ask.body.len().into());
                let credential = store.credentials().get_credential().await?;
                AzureAuthorizer::new(&credential, account).authorize(&mut request);
            }
        }
        Ok(request)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The stores hold credentials, and Azure's would show its key.
        let (name, value) = match &self.service {
            Service::Amazon { region, .. } => ("region", region.as_str()),
            Service::Azure { url, .. } => ("container", url.as_str()),
        };
        formatter.debug_struct("Bucket").field(name, &value).finish_non_exhaustive()
    }
}

fn blob_url(container: &Url, path: &Path) -> Url {
    let mut url = container.clone();
    if let Ok(mut parts) = url.path_segments_mut() {
        parts.extend(path.parts());
    }
    url
}

fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: "bucket", source: source.into() }
}
