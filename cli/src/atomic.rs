//! Files that are there whole or not at all.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file that will take the place of another, which may be there or not.
#[derive(Debug)]
pub(crate) struct Replacement {
    file: NamedTempFile,
    path: PathBuf,
}

impl Replacement {
    /// Makes a hidden file beside `path`. Whoever may read files of ours may read it.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let permissions = Permissions::from_mode(0o666);
        let file = tempfile::Builder::new().prefix(".tamis-").permissions(permissions).tempfile_in(folder)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Puts it in place with `text` in it.
    pub(crate) fn finish(mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.as_file().sync_all()?;
        self.file.persist(self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Writes `text` to `path`: a reader sees what was there before, or all of it.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    Replacement::new(path)?.finish(text)
}
