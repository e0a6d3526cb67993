//! Errors for people: what happened, why, what to do next.

use std::io::Write;

/// Prints an error, its causes and a hint to stderr.
pub(crate) fn print(error: &anyhow::Error) {
    let mut err = std::io::stderr().lock();
    let mut last = error.to_string();
    // stderr is the last resort: if it is closed, there is no one to tell.
    let _ = writeln!(err, "error: {last}");
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some libraries repeat the message of their cause in their own.
        if !last.contains(&text) {
            let _ = writeln!(err, "  caused by: {text}");
        }
        last = text;
    }
    let hint = error.chain().find_map(|cause| cause.downcast_ref::<tamis_pipeline::Error>()?.hint());
    if let Some(hint) = hint {
        let _ = writeln!(err, "\nhint: {hint}");
    }
}

/// Prints what the user should look at, and a hint, to stderr.
pub(crate) fn warn(message: &str, hint: &str) {
    let _ = writeln!(std::io::stderr().lock(), "warning: {message}\nhint: {hint}\n");
}

/// Prints what the user should know to stderr.
pub(crate) fn note(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "note: {message}");
}

/// Whether the reader of our output went away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
