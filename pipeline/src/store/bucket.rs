//! What is asked of a bucket itself, not of its objects: requests of our own, signed like those of the store.

use std::error::Error;
use std::time::Duration;

use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::Signer;
use url::Url;

/// An S3 bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: AmazonS3,
    region: String,
    client: HttpClient,
}

/// What the service says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Bucket {
    pub(super) fn new(store: AmazonS3, region: String, client: HttpClient) -> Self {
        Self { store, region, client }
    }

    /// Reads a setting of the bucket: `lifecycle`.
    ///
    /// # Errors
    /// If there are no credentials or no answer; an answer that refuses is one.
    pub(crate) async fn get(&self, setting: &str) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let mut url = self.url(&request).await?;
        url.set_query(Some(setting));
        *request.uri_mut() = url.as_str().parse()?;
        let credential = self.store.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region).authorize(&mut request, None);
        let answer = self.client.execute(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().bytes().await?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Where the bucket is, in the style that its store is configured for: only a signed URL tells.
    async fn url(&self, request: &HttpRequest) -> object_store::Result<Url> {
        self.store.signed_url(request.method().clone(), &Path::default(), Duration::from_mins(1)).await
    }
}
