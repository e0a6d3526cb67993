//! Which inputs earlier runs have read.

use std::collections::HashMap;

use tamis_schemas::commit::{Commit, CommittedInput};
use tamis_schemas::config::Changed;

use super::Dataset;
use crate::source::InputFile;
use crate::{Error, Result};

/// Which files of the inputs are new to an output.
#[derive(Debug, Default)]
pub(crate) struct NewInputs {
    /// Of each file, whether no earlier run has read it as it is.
    pub(crate) are_new: Vec<bool>,
    /// Of each file, whether it has changed since an earlier run has read it.
    pub(crate) are_changed: Vec<bool>,
}

impl Dataset<'_> {
    /// Looks the files up in the ledger.
    ///
    /// # Errors
    /// `Error::Config` for standard input, which nobody can tell from what was read before, and for a file that has changed
    /// since if that is to be refused.
    pub(crate) fn new_inputs(&self, files: &[InputFile], changed_files: Changed) -> Result<NewInputs> {
        let by_url: HashMap<&str, (&CommittedInput, &Commit)> = self
            .log
            .commits()
            .iter()
            .flat_map(|commit| commit.inputs.iter().map(move |input| (input.url.as_str(), (input, commit))))
            .collect();
        let mut found = NewInputs::default();
        let mut changed = Vec::new();
        for file in files {
            if file.url == "-" {
                return Err(Error::Config {
                    message: "standard input cannot be read by a run that is added to others: what is new in it?"
                        .into(),
                    hint: Some("write it to a file, or set output.mode to \"new\"".into()),
                });
            }
            let known = by_url.get(file.url.as_str());
            let in_other_version = known.filter(|(input, _)| **input != committed(file));
            found.are_new.push(known.is_none() || in_other_version.is_some());
            found.are_changed.push(in_other_version.is_some());
            changed.extend(in_other_version.map(|(_, commit)| (file, *commit)));
        }
        let Some((file, commit)) = changed.first().filter(|_| changed_files == Changed::Refuse) else {
            return Ok(found);
        };
        let others = match changed.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        Err(Error::Config {
            message: format!("`{}` has changed since run {} has read it{others}", file.name, commit.run),
            hint: Some(
                "set input.changed to \"replace\", or to \"read\" if it only grows; else give what is new a name of its own"
                    .into(),
            ),
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
