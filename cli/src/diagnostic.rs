//! Errors for people: what happened, why, what to do next.

use std::io::Write;

use serde_json::json;

use crate::exit::Exit;
use crate::log;

/// Prints an error, its causes and a hint to stderr.
pub(crate) fn print(error: &anyhow::Error) {
    let message = error.to_string();
    let causes = causes(error);
    let hint = error.chain().find_map(|cause| cause.downcast_ref::<tamis_pipeline::Error>()?.hint());
    if log::is_json() {
        let exit_code = Exit::of(error).code();
        let fields = json!({"message": message, "causes": causes, "hint": hint, "exit_code": exit_code});
        return log::line("ERROR", &fields);
    }
    let mut err = std::io::stderr().lock();
    // stderr is the last resort: if it is closed, there is no one to tell.
    let _ = writeln!(err, "error: {message}");
    for cause in causes {
        let _ = writeln!(err, "  caused by: {cause}");
    }
    if let Some(hint) = hint {
        let _ = writeln!(err, "\nhint: {hint}");
    }
}

fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut last = error.to_string();
    let mut causes = Vec::new();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some libraries repeat the message of their cause in their own.
        if !last.contains(&text) {
            causes.push(text.clone());
        }
        last = text;
    }
    causes
}

/// Prints what is wrong with the command line, or the help that was asked for, and ends.
pub(crate) fn print_usage(error: &clap::Error) -> Exit {
    if error.use_stderr() && log::is_json() {
        let text = error.render().to_string();
        log::line("ERROR", &json!({"message": text.trim_end(), "exit_code": Exit::Failed.code()}));
    } else {
        // A closed pipe is no reason to fail.
        let _ = error.print();
    }
    if error.use_stderr() { Exit::Failed } else { Exit::Clean }
}

/// Prints what the user should look at, and a hint, to stderr.
pub(crate) fn warn(message: &str, hint: &str) {
    if log::is_json() {
        log::line("WARN", &json!({"message": message, "hint": hint}));
    } else {
        let _ = writeln!(std::io::stderr().lock(), "warning: {message}\nhint: {hint}\n");
    }
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
