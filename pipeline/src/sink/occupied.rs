//! What lies where a run wants to write: another run, or what is nobody's of ours.

use std::path::Path;

use futures::TryStreamExt;

use super::claim::Claim;
use super::tier::Tier;
use super::{Existing, MANIFEST, Output};
use crate::dataset::COMMITS;
use crate::{Error, Result};

impl Output {
    /// # Errors
    /// `Error::Config` if the output holds a run that nothing can be added to.
    pub(super) fn refuse_single_run(&self) -> Result<()> {
        if !self.has(MANIFEST)? {
            return Ok(());
        }
        Err(Error::Config {
            message: format!("the output `{}` is that of one run, to which none can be added", self.home.url()),
            hint: Some("choose another output.path, or set output.mode to \"new\"".into()),
        })
    }

    /// # Errors
    /// `Error::Config` if the output holds runs that were added one by one: none of them is to be overwritten.
    pub(super) fn refuse_added_runs(&self) -> Result<()> {
        if self.existing != Existing::Overwrite || !self.has(&format!("{COMMITS}/{:020}.json", 0))? {
            return Ok(());
        }
        Err(Error::Config {
            message: format!("the output `{}` holds runs that were added one by one", self.home.url()),
            hint: Some("choose another output.path, set output.mode to \"append\", or remove it yourself".into()),
        })
    }

    /// Takes hold of a local place, and checks that nothing is there that is not to be overwritten.
    pub(super) fn claim(&mut self, place: &Tier) -> Result<()> {
        let (Some(folder), Some(staging)) = (&place.folder, place.staging_folder()) else {
            return self.check_unused(place);
        };
        if !self.claims.iter().any(|claim| claim.is_of(folder)) {
            // Nothing is written to a folder that is not ours.
            self.check_unused(place)?;
            let claim = Claim::take(place, folder, &staging)?;
            self.claims.push(claim);
        }
        self.check_unused(place)
    }

    /// # Errors
    /// `Error::Config` if a place holds something that is not to be overwritten.
    fn check_unused(&self, place: &Tier) -> Result<()> {
        if self.existing == Existing::Overwrite {
            return Ok(());
        }
        let is_used = match &place.folder {
            Some(folder) => self.is_folder_used(place, folder)?,
            None => self.is_prefix_used(place)?,
        };
        if is_used {
            return Err(Error::Config {
                message: format!("the output `{}` is not empty", place.display("").trim_end_matches('/')),
                hint: Some(
                    "choose another with -o (output.path), or pass --overwrite to replace an earlier run there".into(),
                ),
            });
        }
        Ok(())
    }

    /// Whether a folder holds more than what a run that was killed left, and folders of other tiers: those are looked at too.
    fn is_folder_used(&self, place: &Tier, folder: &Path) -> Result<bool> {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            entries => entries.map_err(|error| place.unwritable("", error))?,
        };
        let mut known = self.half_tables(place)?;
        known.extend(place.staging_folder());
        known.extend(self.places().iter().filter_map(|other| other.folder.clone()));
        Ok(entries.flatten().any(|entry| !known.contains(&entry.path())))
    }

    fn is_prefix_used(&self, place: &Tier) -> Result<bool> {
        let prefix = place.final_path("");
        let first = self.runtime.block_on(async { place.store.list(Some(&prefix)).try_next().await });
        Ok(first.map_err(|error| place.unwritable("", error))?.is_some())
    }
}
