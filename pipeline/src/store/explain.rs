//! Errors of object stores, for people, and for callers that do not read messages.

use std::error::Error as StdError;

use object_store::client::{HttpError, HttpErrorKind};

use crate::{Error, ErrorKind};

/// Codes of answers that refuse to read an archived object: of S3, and of Azure.
const ARCHIVED: [&str; 3] = ["InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"];

/// What went wrong in a store. It stands for a chain of causes of which each repeats the text of the next, with URLs and
/// the XML of the answer.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Explained {
    words: String,
    kind: ErrorKind,
}

/// The error of an input at `location`.
pub(crate) fn unreadable(location: &str, error: &object_store::Error) -> Error {
    Error::Unreadable { location: location.to_owned(), source: Box::new(explain(error)) }
}

/// The error of an output at `location`. Whatever a store said of it may be wrapped in an error of I/O or of Parquet.
pub(crate) fn unwritable(location: String, error: Box<dyn StdError + Send + Sync>) -> Error {
    let explained = causes(error.as_ref()).find_map(|cause| cause.downcast_ref()).map(explain);
    let source = match explained {
        Some(explained) if explained.kind != ErrorKind::Other => Box::new(explained),
        _ => error,
    };
    Error::Unwritable { location, source }
}

/// What the first cause that is a store's says of `error`.
pub(crate) fn kind_of_cause(error: &Error) -> ErrorKind {
    let kind = causes(error).find_map(|cause| match cause.downcast_ref::<Explained>() {
        Some(explained) => Some(explained.kind),
        None => cause.downcast_ref().map(|error| explain(error).kind),
    });
    kind.unwrap_or(ErrorKind::Other)
}

/// The error and what it comes from. `io::Error::source` passes over the error that it was made of: it comes between.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        match error.downcast_ref::<std::io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

/// What went wrong, in our words where we know them.
pub(crate) fn explain(error: &object_store::Error) -> Explained {
    use object_store::Error as Store;
    let text = error.to_string();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let (kind, words) = match error {
        // The address that machines in a cloud get their credentials from, asked last.
        _ if has(&["169.254.169.254", "metadata.google.internal"]) => {
            (ErrorKind::Credentials, "there are no credentials: set the AWS_*, GOOGLE_* or AZURE_* variables")
        }
        _ if has(&["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]) => {
            (ErrorKind::Other, "there is no such bucket")
        }
        Store::NotFound { .. } => (ErrorKind::Other, "there is no such file"),
        _ if has(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "ExpiredToken"]) => {
            let words = "the store refuses the credentials: check the AWS_*, GOOGLE_* or AZURE_* variables";
            (ErrorKind::Credentials, words)
        }
        _ if has(&["RequestTimeTooSkewed", "RequestExpired"]) => {
            (ErrorKind::Credentials, "the store refuses requests of this time: check the clock of this machine")
        }
        _ if has(&ARCHIVED) => {
            let class = class_in(&text).map_or_else(String::new, |class| format!(" ({class})"));
            let words = format!("it lies in an archive{class}, and is not read before it is restored");
            return Explained { words, kind: ErrorKind::Archived };
        }
        // What lists a folder has no variant of its own for an answer.
        _ if status_of(&text) == Some(401) => {
            let words = "the store wants credentials: set the AWS_*, GOOGLE_* or AZURE_* variables";
            (ErrorKind::Credentials, words)
        }
        _ if status_of(&text) == Some(403) => {
            (ErrorKind::Credentials, "access denied: check the credentials and what they allow")
        }
        _ => match io_kind(error) {
            Some(std::io::ErrorKind::NotFound) => (ErrorKind::Other, "there is no such file"),
            Some(std::io::ErrorKind::PermissionDenied) => (ErrorKind::Other, "permission denied"),
            Some(std::io::ErrorKind::IsADirectory) => (ErrorKind::Other, "it is a folder"),
            _ => {
                let kind = if is_unavailable(error, &text) { ErrorKind::StoreUnavailable } else { ErrorKind::Other };
                return Explained { words: with_root_cause(error, text), kind };
            }
        },
    };
    Explained { words: words.to_owned(), kind }
}

/// Whether an object was not read because it lies in an archive.
pub(crate) fn is_archived(error: &object_store::Error) -> bool {
    explain(error).kind == ErrorKind::Archived
}

/// The storage class of an archived object: S3 names it in its answer, Azure has one.
fn class_in(text: &str) -> Option<&str> {
    match text.split_once("<StorageClass>") {
        Some((_, rest)) => rest.split_once('<').map(|(class, _)| class),
        None => text.contains("Blob").then_some("Archive"),
    }
}

/// The status that a store answered with. The type that holds it is private: only its text tells.
fn status_of(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

/// Whether a store could not be reached, or said that it cannot answer now.
fn is_unavailable(error: &object_store::Error, text: &str) -> bool {
    let is_unreached = causes(error).filter_map(|cause| cause.downcast_ref::<HttpError>()).any(|error| {
        use HttpErrorKind::{Connect, Interrupted, Request, Timeout};
        matches!(error.kind(), Connect | Request | Timeout | Interrupted)
    });
    // Some stores fail in the body of an answer with status 200.
    let is_failure_in_body = ["<Code>SlowDown", "<Code>InternalError"].iter().any(|code| text.contains(code));
    is_unreached || matches!(status_of(text), Some(408 | 429 | 500..=599)) || is_failure_in_body
}

fn with_root_cause(error: &object_store::Error, text: String) -> String {
    let root = causes(error).last().map_or_else(String::new, ToString::to_string);
    if text.contains(&root) { text } else { format!("{text}: {root}") }
}

fn io_kind(error: &object_store::Error) -> Option<std::io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::aws::AmazonS3Builder;
    use object_store::path::Path;
    use object_store::{ClientOptions, GetOptions, ObjectStore, PutOptions, RetryConfig};

    use super::super::Stores;
    use super::*;

    /// Answers every request with `answer`, and with nothing if there is none, until the test ends.
    fn serve(answer: Option<&'static str>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if let Some(answer) = answer {
                    let _ = stream.read(&mut [0; 8192]);
                    let _ = stream.write_all(answer.as_bytes());
                } else {
                    held.push(stream);
                }
            }
        });
        port
    }

    #[test]
    fn what_can_be_done_about_a_failure_is_known() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let status = |status: &'static str, body: &str| {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            serve(Some(answer.leak()))
        };
        let code = |code: &str| format!("<Error><Code>{code}</Code></Error>");
        let cases = [
            (closed, ErrorKind::StoreUnavailable),
            (serve(None), ErrorKind::StoreUnavailable),
            (serve(Some("")), ErrorKind::StoreUnavailable),
            (status("500 Internal Server Error", ""), ErrorKind::StoreUnavailable),
            (status("503 Slow Down", &code("SlowDown")), ErrorKind::StoreUnavailable),
            (status("429 Too Many Requests", ""), ErrorKind::StoreUnavailable),
            (status("403 Forbidden", &code("AccessDenied")), ErrorKind::Credentials),
            (status("403 Forbidden", &code("InvalidAccessKeyId")), ErrorKind::Credentials),
            (status("401 Unauthorized", ""), ErrorKind::Credentials),
            (status("400 Bad Request", &code("ExpiredToken")), ErrorKind::Credentials),
            (status("403 Forbidden", &code("RequestTimeTooSkewed")), ErrorKind::Credentials),
            (status("403 Forbidden", &code("InvalidObjectState")), ErrorKind::Archived),
            (status("409 Conflict", &code("BlobArchived")), ErrorKind::Archived),
            (status("404 Not Found", &code("NoSuchKey")), ErrorKind::Other),
            (status("404 Not Found", &code("NoSuchBucket")), ErrorKind::Other),
            (status("400 Bad Request", &code("EntityTooLarge")), ErrorKind::Other),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (at, (port, expect)) in cases.into_iter().enumerate() {
            let client = ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_millis(500));
            let store: Arc<dyn ObjectStore> = Arc::new(
                AmazonS3Builder::new()
                    .with_client_options(client)
                    .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
                    .with_endpoint(format!("http://127.0.0.1:{port}"))
                    .with_access_key_id("key")
                    .with_secret_access_key("secret")
                    .with_bucket_name("bucket")
                    .build()
                    .unwrap(),
            );
            let path = Path::from("file");
            let got = runtime.block_on(store.get_opts(&path, GetOptions::default())).unwrap_err();
            assert_eq!(unreadable("s3://bucket/file", &got).kind(), expect, "case {at}: {got}");
            let listed = runtime.block_on(store.list_with_delimiter(None)).unwrap_err();
            // What is not there is an empty folder to some, and an error of its own to others.
            if expect != ErrorKind::Other {
                assert_eq!(unreadable("s3://bucket", &listed).kind(), expect, "case {at}: {listed}");
            }
            let put = || runtime.block_on(store.put_opts(&path, "x".into(), PutOptions::default())).unwrap_err();
            // As the writers of tables wrap it.
            let wrapped = parquet::errors::ParquetError::from(std::io::Error::other(put()));
            for error in [Box::new(put()) as Box<dyn StdError + Send + Sync>, Box::new(wrapped)] {
                let text = error.to_string();
                let kind = unwritable("s3://bucket/file".into(), error).kind();
                assert_eq!(kind, expect, "case {at}: {text}");
            }
        }
        // Nobody answers where machines in a cloud get their credentials from: this is not the store's absence.
        let source = "Error performing PUT http://169.254.169.254/latest/api/token in 1s".into();
        let nowhere = object_store::Error::Generic { store: "S3", source };
        assert_eq!(unreadable("s3://bucket/file", &nowhere).kind(), ErrorKind::Credentials);
        let stores = Stores::new::<&str, &str>([]);
        let (store, path) = stores.resolve("/no/such/file").unwrap();
        let error = runtime.block_on(store.get_opts(&path, GetOptions::default())).unwrap_err();
        assert_eq!(unreadable("/no/such/file", &error).kind(), ErrorKind::Other);
        assert_eq!(Error::Interrupted.kind(), ErrorKind::Interrupted);
    }
}
