//! The commit log of an output that runs are added to.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::GetOptions;
use tamis_schemas::commit::{COMMIT_VERSION, Commit};

use crate::place::Place;
use crate::store::unreadable;
use crate::{Error, Result};

/// Folder of the commits.
pub(crate) const COMMITS: &str = "_tamis/commits";
/// Commits read at once.
const READS_AHEAD: usize = 16;

/// Every run that was added, in order.
#[derive(Debug)]
pub(crate) struct CommitLog {
    place: Place,
    commits: Vec<Commit>,
}

impl CommitLog {
    /// Reads the log of the output at `place`; empty where no run was added yet.
    ///
    /// # Errors
    /// `Error::Corrupt` for a commit that is damaged or missing among others, `Error::Config` for one of a later version of
    /// tamis.
    pub(crate) fn load(place: &Place) -> Result<Self> {
        let mut names: Vec<String> = place.list(COMMITS)?.into_iter().map(|(name, _)| name).collect();
        names.retain(|name| name.strip_suffix(".json").is_some());
        names.sort_unstable();
        let read = futures::stream::iter(&names).map(|name| async move {
            let bytes = async { place.store.get_opts(&place.path(name), GetOptions::default()).await?.bytes().await };
            bytes.await.map_err(|error| unreadable(&place.display(name), &error))
        });
        let read: Vec<Bytes> = place.runtime.block_on(read.buffered(READS_AHEAD).try_collect())?;
        let commits = names.iter().zip(read).map(|(name, bytes)| parse(&bytes, &place.display(name)));
        let commits: Vec<Commit> = commits.collect::<Result<_>>()?;
        for ((commit, name), version) in commits.iter().zip(&names).zip(0..) {
            if commit.version != version || *name != file_name(version) {
                let missing = place.display(&file_name(version));
                return Err(damaged(&missing, "it is missing, but there are later ones"));
            }
        }
        Ok(Self { place: place.clone(), commits })
    }

    /// The runs, the first one first.
    pub(super) fn commits(&self) -> &[Commit] {
        &self.commits
    }

    /// The runs, the first one first.
    pub(crate) fn into_commits(self) -> Vec<Commit> {
        self.commits
    }

    /// Version of the next run.
    pub(super) fn next_version(&self) -> u64 {
        self.commits.len() as u64
    }

    /// Whether no other run was added since it was read.
    pub(super) fn is_newest(&self) -> Result<bool> {
        Ok(!self.place.is_there(&file_name(self.next_version()))?)
    }

    /// Adds a run of [`next_version`](Self::next_version): from here on it is part of the output. `false`: another run was
    /// faster, and this one is not.
    pub(super) fn append(&mut self, commit: Commit) -> Result<bool> {
        let mut json = serde_json::to_vec_pretty(&commit)
            .map_err(|error| Error::Invariant(format!("a commit is not JSON: {error}")))?;
        json.push(b'\n');
        let is_added = self.place.put_new(&file_name(commit.version), &json.into())?;
        if is_added {
            self.commits.push(commit);
        }
        Ok(is_added)
    }
}

fn file_name(version: u64) -> String {
    format!("{COMMITS}/{version:020}.json")
}

fn parse(bytes: &[u8], location: &str) -> Result<Commit> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| damaged(location, error.to_string()))?;
    let version = value.get("commit_version").and_then(serde_json::Value::as_u64);
    if let Some(version) = version.filter(|&version| version > u64::from(COMMIT_VERSION)) {
        return Err(Error::Config {
            message: format!("`{location}` has layout {version}, and this version of tamis knows {COMMIT_VERSION}"),
            hint: Some("use the version of tamis that wrote it".into()),
        });
    }
    serde_json::from_value(value).map_err(|error| damaged(location, error.to_string()))
}

fn damaged(location: &str, message: impl Into<String>) -> Error {
    Error::Corrupt { location: location.to_owned(), format: "a commit", message: message.into() }
}
