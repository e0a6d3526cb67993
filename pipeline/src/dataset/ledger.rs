//! Which inputs earlier runs have read.

use std::collections::HashMap;

use tamis_schemas::commit::{Commit, CommittedInput};

use super::Dataset;
use crate::source::InputFile;
use crate::{Error, Result};

impl Dataset<'_> {
    /// Of each file, whether no earlier run has read it.
    ///
    /// # Errors
    /// `Error::Config` for standard input, which nobody can tell from what was read before, and for a file that has changed
    /// since.
    pub(crate) fn are_new(&self, files: &[InputFile]) -> Result<Vec<bool>> {
        let by_url: HashMap<&str, (&CommittedInput, &Commit)> = self
            .log
            .commits()
            .iter()
            .flat_map(|commit| commit.inputs.iter().map(move |input| (input.url.as_str(), (input, commit))))
            .collect();
        let mut changed = Vec::new();
        let mut are_new = Vec::with_capacity(files.len());
        for file in files {
            if file.url == "-" {
                return Err(Error::Config {
                    message: "standard input cannot be read by a run that is added to others: what is new in it?"
                        .into(),
                    hint: Some("write it to a file, or set output.mode to \"new\"".into()),
                });
            }
            let known = by_url.get(file.url.as_str());
            are_new.push(known.is_none());
            if let Some((input, commit)) = known
                && **input != committed(file)
            {
                changed.push((file, *commit));
            }
        }
        let Some((file, commit)) = changed.first() else { return Ok(are_new) };
        let others = match changed.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        Err(Error::Config {
            message: format!("`{}` has changed since run {} has read it{others}", file.name, commit.run),
            hint: Some("give what is new a name of its own, or write to a new output".into()),
        })
    }
}

/// What the ledger knows of a file.
pub(crate) fn committed(file: &InputFile) -> CommittedInput {
    CommittedInput {
        url: file.url.clone(),
        version: file.version.clone().or_else(|| file.e_tag.clone()),
        size_bytes: file.size_bytes,
    }
}
