//! Outputs that lie in inputs, and inputs in outputs.

use std::path::{Path, PathBuf};

use super::tier::{is_local, local_folder};
use crate::{Error, Result};

/// An output inside an input would be read by the next run; an input inside an output could be overwritten.
pub(crate) fn refuse_overlap(what: &str, output: &str, inputs: &[String]) -> Result<()> {
    for input in inputs.iter().filter(|input| *input != "-") {
        let overlaps = match (is_local(output), is_local(input)) {
            (true, true) => {
                let (output, input) = (absolute(&local_folder(output)), absolute(&fixed_part(&local_folder(input))));
                output.starts_with(&input) || input.starts_with(&output)
            }
            (false, false) => {
                let (output, input) =
                    (with_slash(output), with_slash(input.split(['*', '?', '[']).next().unwrap_or(input)));
                output.starts_with(&input) || input.starts_with(&output)
            }
            _ => false,
        };
        if overlaps {
            return Err(Error::Config {
                message: format!("the {what} `{}` and the input `{input}` overlap", output.trim_end_matches('/')),
                hint: Some("name a folder that is neither inside an input nor around one".into()),
            });
        }
    }
    Ok(())
}

fn with_slash(url: &str) -> String {
    format!("{}/", url.trim_end_matches('/'))
}

/// The part of a glob before its first wildcard component; a dot if there is none.
fn fixed_part(path: &Path) -> PathBuf {
    if path.exists() {
        return path.to_path_buf();
    }
    let is_wild = |part: &std::path::Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = path.components().take_while(|part| !is_wild(part)).collect();
    if fixed.as_os_str().is_empty() { PathBuf::from(".") } else { fixed }
}

/// The path with its links resolved as far as it exists.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut rest = Vec::new();
    let mut existing = path.as_path();
    loop {
        if let Ok(resolved) = existing.canonicalize() {
            return rest.iter().rev().fold(resolved, |path, part| path.join(part));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name.to_owned());
                existing = parent;
            }
            _ => return path,
        }
    }
}
