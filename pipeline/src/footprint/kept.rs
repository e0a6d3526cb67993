//! Where the ledger of an output is.

use std::path::PathBuf;

use bytes::Bytes;
use object_store::{PutMode, PutOptions};
use tamis_schemas::footprint::LedgerRow;
use tokio::runtime::Handle;

use super::ledger;
use crate::place::Place;
use crate::store::Stores;
use crate::{Error, Result};

/// End of the name of a ledger beside its output.
const BESIDE: &str = ".footprint";
/// Name of a ledger inside an output.
const INSIDE: &str = "footprint.jsonl";
/// How often an object is read and put again because somebody else was faster.
const TRIES: usize = 20;

/// A ledger in a folder or a store.
///
/// That of an output lies beside it, `OUT.footprint` (JSON Lines, by a name that no pattern for data has): what a run writes into its output is a function of what it reads, and a
/// ledger is not. Only a bucket's root, and an output that runs are added to, have theirs inside.
#[derive(Debug)]
pub struct KeptLedger {
    place: Place,
    name: String,
}

impl KeptLedger {
    /// That of an output; connects to nothing.
    ///
    /// # Errors
    /// `Error::Config` for a URL that no store understands.
    pub fn of_output(output: &str, is_added_to: bool, stores: &Stores, runtime: &Handle) -> Result<Self> {
        match beside(output).filter(|_| !is_added_to) {
            Some((folder, name)) => Ok(Self { place: Place::new(&folder, stores, runtime)?, name }),
            None => Ok(Self { place: Place::new(output, stores, runtime)?, name: INSIDE.to_owned() }),
        }
    }

    /// The one that `name` means: a ledger's file or URL, or an output that has one.
    ///
    /// # Errors
    /// `Error::Unreadable` if there is none.
    pub fn find(name: &str, stores: &Stores, runtime: &Handle) -> Result<Self> {
        let (folder, file) = name.rsplit_once('/').unwrap_or((".", name));
        let folder = if folder.is_empty() { "/" } else { folder };
        let extension = std::path::Path::new(file).extension().and_then(|extension| extension.to_str());
        let is_ledger = matches!(extension, Some("footprint" | "jsonl"));
        let itself = || Ok::<_, Error>(Self { place: Place::new(folder, stores, runtime)?, name: file.to_owned() });
        for is_added_to in [false, true] {
            let found = Self::of_output(name, is_added_to, stores, runtime)?;
            if found.is_there()? {
                return Ok(found);
            }
        }
        if is_ledger && itself()?.is_there()? {
            return itself();
        }
        Err(Error::Unreadable {
            location: format!("{}{BESIDE}", name.trim_end_matches('/')),
            source: "there is no footprint ledger for this output".into(),
        })
    }

    /// Where it is.
    pub fn location(&self) -> String {
        self.local().map_or_else(|| self.place.display(&self.name), |path| path.display().to_string())
    }

    /// Its text; empty if there is none yet.
    ///
    /// # Errors
    /// `Error::Unreadable`; `Error::Corrupt` if it is no text.
    pub fn text(&self) -> Result<String> {
        if let Some(path) = self.local() {
            return match std::fs::read(&path) {
                Ok(bytes) => self.text_of(&bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
                Err(error) => Err(Error::Unreadable { location: self.location(), source: Box::new(error) }),
            };
        }
        match self.place.get_if_there(&self.name)? {
            Some((bytes, _)) => self.text_of(&bytes),
            None => Ok(String::new()),
        }
    }

    fn is_there(&self) -> Result<bool> {
        // A local name is taken as it is: stores have some characters in other ways.
        self.local().map_or_else(|| self.place.is_there(&self.name), |path| Ok(path.is_file()))
    }

    /// Its rows, if no row was changed.
    ///
    /// # Errors
    /// As [`text`](Self::text); `Error::Corrupt` with the line that is no row, or the row that was changed.
    pub fn verified_rows(&self) -> Result<Vec<LedgerRow>> {
        let text = self.text()?;
        ledger::verify_text(&text, &self.location())?;
        ledger::parse(&text, &self.location())
    }

    /// Adds rows, after those that others add meanwhile.
    ///
    /// # Errors
    /// `Error::Unwritable`; `Error::Corrupt` if the last row has no hash.
    pub fn append(&self, rows: &[LedgerRow]) -> Result<()> {
        if let Some(path) = self.local() {
            if path.exists() && !path.is_file() {
                return Err(self.place.unwritable(&self.name, "it is no regular file"));
            }
            return ledger::append(&path, rows).map(drop);
        }
        let path = self.place.path(&self.name);
        for _ in 0..TRIES {
            let found = self.place.get_if_there(&self.name)?;
            let (text, mode) = match found {
                Some((bytes, version)) => (self.text_of(&bytes)?, PutMode::Update(version)),
                None => (String::new(), PutMode::Create),
            };
            let text = ledger::with_rows(&text, &self.location(), rows)?;
            let put = self.place.store.put_opts(&path, Bytes::from(text).into(), PutOptions::from(mode));
            match self.place.runtime.block_on(put) {
                Ok(_) => return Ok(()),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
                Err(error) => return Err(self.place.unwritable(&self.name, error)),
            }
        }
        Err(self.place.unwritable(&self.name, "others add to it all the time"))
    }

    fn local(&self) -> Option<PathBuf> {
        self.place.folder.as_ref().map(|folder| folder.join(&self.name))
    }

    fn text_of(&self, bytes: &[u8]) -> Result<String> {
        String::from_utf8(bytes.to_vec()).map_err(|_| Error::Corrupt {
            location: self.location(),
            format: ledger::FORMAT,
            message: "it is no UTF-8".into(),
        })
    }
}

/// Folder and name of the ledger beside an output; `None` for the root of a bucket.
fn beside(output: &str) -> Option<(String, String)> {
    let output = output.trim_end_matches('/');
    let (scheme, path) = output.split_once("://").map_or((None, output), |(scheme, path)| (Some(scheme), path));
    let named = |folder: &str, name: &str| (folder.to_owned(), format!("{name}{BESIDE}"));
    match (scheme, path.rsplit_once('/')) {
        (None, None) if path.is_empty() || path == "." || path == ".." => None,
        (None, None) => Some(named(".", path)),
        (None, Some((_, "." | ".."))) | (Some(_), None) => None,
        (None, Some(("", name))) => Some(named("/", name)),
        (None, Some((folder, name))) => Some(named(folder, name)),
        (Some(scheme), Some((folder, name))) => Some(named(&format!("{scheme}://{folder}"), name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_lies_beside_its_output() {
        let at = |output: &str| beside(output).map(|(folder, name)| format!("{folder} {name}"));
        for (output, expect) in [
            ("out", Some(". out.footprint")),
            ("a/out/", Some("a out.footprint")),
            ("/out", Some("/ out.footprint")),
            ("s3://bucket/a/out", Some("s3://bucket/a out.footprint")),
            ("s3://bucket/out", Some("s3://bucket out.footprint")),
            ("s3://bucket", None),
            (".", None),
            ("a/..", None),
        ] {
            assert_eq!(at(output).as_deref(), expect, "{output}");
        }
    }
}
