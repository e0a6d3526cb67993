//! A folder that one run writes to, and no other as long as its process lives.
//!
//! ```text
//! OUT/_tamis_staging/process   locked, with the id of the process that holds it
//!                    ...       what the run writes; of a run that was killed, what the next one removes
//! ```
//!
//! The lock is the operating system's: it ends with the process, whatever ends that. Where the file system has no locks,
//! nobody is kept out.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::tier::Tier;
use crate::{Error, Result};

/// Name of the locked file in the staging folder.
const LOCK: &str = "process";
/// Each further try follows upon somebody else's end: so many at once there are not.
const TRIES: usize = 100;

/// A folder, held. Dropped, it has no staging folder, and is gone if it was made for this and is empty.
#[derive(Debug)]
pub(super) struct Claim {
    folder: PathBuf,
    staging: PathBuf,
    created: Vec<PathBuf>,
    lock: Option<File>,
}

impl Claim {
    /// Takes hold of the folder of a local tier, and makes it if it is not there.
    ///
    /// # Errors
    /// `Error::Locked` naming the process that holds it; `Error::Unwritable` if it cannot be written to.
    pub(super) fn take(place: &Tier, folder: &Path, staging: &Path) -> Result<Self> {
        let missing = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let created = missing.map(Path::to_path_buf).collect();
        let mut claim = Self { folder: folder.to_path_buf(), staging: staging.to_path_buf(), created, lock: None };
        let path = staging.join(LOCK);
        for _ in 0..TRIES {
            match claim.lock(&path) {
                Ok(true) => {
                    claim.folder = folder.canonicalize().map_err(|error| place.unwritable("", error))?;
                    return Ok(claim);
                }
                Ok(false) => {}
                Err(TryLockError::WouldBlock) => return Err(held(place, &path)),
                Err(TryLockError::Error(error)) => return Err(place.unwritable("", error)),
            }
        }
        Err(held(place, &path))
    }

    /// `false` if the folder or the file that was locked is gone: who had it has just ended.
    fn lock(&mut self, path: &Path) -> Result<bool, TryLockError> {
        std::fs::create_dir_all(&self.staging).map_err(TryLockError::Error)?;
        let mut file = match File::options().read(true).write(true).create(true).truncate(false).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(TryLockError::Error)?,
        };
        match file.try_lock() {
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            locked => locked?,
        }
        let process = std::process::id().to_string();
        file.set_len(0).and_then(|()| file.write_all(process.as_bytes())).map_err(TryLockError::Error)?;
        let is_there = std::fs::read_to_string(path).is_ok_and(|found| found == process);
        self.lock = is_there.then_some(file);
        Ok(is_there)
    }

    /// Whether it is of this folder, under whatever name.
    pub(super) fn is_of(&self, folder: &Path) -> bool {
        folder.canonicalize().is_ok_and(|folder| folder == self.folder)
    }

    /// Removes what was written to the staging folder.
    pub(super) fn clear(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.staging)? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else if !path.ends_with(LOCK) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = self.clear();
            // From here on the folder may be another's: it stays if it holds something.
            let _ = std::fs::remove_file(self.staging.join(LOCK));
            let _ = std::fs::remove_dir(&self.staging);
        }
        for folder in &self.created {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn held(place: &Tier, lock: &Path) -> Error {
    let process = std::fs::read_to_string(lock).ok().filter(|process| !process.is_empty());
    Error::Locked { location: place.display("").trim_end_matches('/').to_owned(), process }
}
