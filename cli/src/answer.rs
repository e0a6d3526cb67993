//! What a command that only looks or tidies up prints to stdout.

use std::io::{self, Write};

use serde_json::Value;

use crate::args::Format;

/// Prints the text for people, or the same for machines.
pub(crate) fn print(text: &str, json: &Value, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => writeln!(out, "{json:#}")?,
        _ => out.write_all(text.as_bytes())?,
    }
    out.flush()
}
