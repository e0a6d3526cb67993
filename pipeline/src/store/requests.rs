//! Counts the requests that object stores are asked, by what they ask for: what providers bill.
//!
//! Counted where they leave: each page of a listing, each part of an upload and each retry is one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// Hosts that are asked for credentials, not for objects.
const CREDENTIAL_HOSTS: [&str; 7] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "metadata.google.internal",
    "oauth2.googleapis.com",
    "iamcredentials.googleapis.com",
    "login.microsoftonline.com",
];

/// Numbers of requests by name. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Requests {
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(&name, &n)| (name.to_owned(), n)).collect()
    }

    fn add(&self, name: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }
}

impl HttpConnector for Requests {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Counted { client, requests: self.clone() }))
    }
}

#[derive(Debug)]
struct Counted {
    client: HttpClient,
    requests: Requests,
}

#[async_trait::async_trait]
impl HttpService for Counted {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri();
        self.requests.add(name(request.method().as_str(), uri.host().unwrap_or(""), uri.query().unwrap_or("")));
        self.client.execute(request).await
    }
}

/// What a request asks for. S3, Google's XML interface and Azure have the same words in their queries, or others.
fn name(method: &str, host: &str, query: &str) -> &'static str {
    if CREDENTIAL_HOSTS.contains(&host) || host.starts_with("sts.") {
        return "credentials";
    }
    let has = |wanted: &str| query.split('&').any(|pair| pair == wanted || pair.split('=').next() == Some(wanted));
    match method {
        "GET" if has("list-type") || has("comp=list") || has("uploads") => "list",
        "PROPFIND" => "list",
        "GET" => "get",
        "HEAD" => "head",
        "PUT" if has("partNumber") || has("comp=block") => "put_part",
        "PUT" if has("comp=blocklist") => "complete_multipart",
        "PUT" => "put",
        "POST" if has("uploads") => "create_multipart",
        "POST" if has("uploadId") => "complete_multipart",
        "POST" if has("delete") || has("comp=batch") => "delete",
        "DELETE" if has("uploadId") => "abort_multipart",
        "DELETE" => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_by_what_they_ask_for() {
        for (method, query, expect) in [
            ("GET", "", "get"),
            ("GET", "versionId=7", "get"),
            ("GET", "list-type=2&prefix=a", "list"),
            ("GET", "restype=container&comp=list", "list"),
            ("GET", "uploads=&prefix=a", "list"),
            ("HEAD", "", "head"),
            ("PUT", "", "put"),
            ("POST", "uploads=", "create_multipart"),
            ("PUT", "partNumber=1&uploadId=x", "put_part"),
            ("PUT", "comp=block&blockid=x", "put_part"),
            ("PUT", "comp=blocklist", "complete_multipart"),
            ("POST", "uploadId=x", "complete_multipart"),
            ("DELETE", "uploadId=x", "abort_multipart"),
            ("DELETE", "", "delete"),
            ("POST", "delete", "delete"),
            ("PATCH", "", "other"),
        ] {
            assert_eq!(name(method, "s3.example", query), expect, "{method} {query}");
        }
        assert_eq!(name("PUT", "169.254.169.254", ""), "credentials");
        assert_eq!(name("POST", "sts.eu-west-1.amazonaws.com", "Action=x"), "credentials");
    }
}
