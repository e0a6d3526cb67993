//! Errors of object stores, for people.

use crate::Error;

/// What went wrong in a store. It stands for a chain of causes of which each repeats the text of the next, with URLs and
/// the XML of the answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Explained(String);

/// The error of an input at `location`.
pub(crate) fn unreadable(location: &str, error: &object_store::Error) -> Error {
    Error::Unreadable { location: location.to_owned(), source: Box::new(explain(error)) }
}

/// What went wrong, in our words where we know them.
pub(crate) fn explain(error: &object_store::Error) -> Explained {
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
        Store::PermissionDenied { .. } => "access denied: check the credentials and what they allow",
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
