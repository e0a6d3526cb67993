//! Where the kernel's files are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder that stands for `/`: `proc` and `sys` are in it. Tests give one of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemRoot(PathBuf);

impl SystemRoot {
    /// A folder with `proc` and `sys`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// A file or folder below it, named as from `/`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name.trim_start_matches('/'))
    }

    /// The text of a file.
    pub(crate) fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.path(name))
    }

    /// The text of a file, if it can be read.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.read(name).ok()
    }

    /// The number that is all of a file.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// Names in a folder, sorted; none if there is no such folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }
}

impl Default for SystemRoot {
    fn default() -> Self {
        Self(Path::new("/").to_owned())
    }
}

/// The number after a key such as `read_bytes:` or `usage_usec`, in a text with one key a line.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}
