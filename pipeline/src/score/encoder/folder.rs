//! Where a model lies: a folder, a prefix of a bucket, or the hub's cache on this machine, and its files there.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::place::Place;
use crate::store::{Stores, is_url};
use crate::{Error, Result};

/// The folder of a model.
#[derive(Debug)]
pub(super) struct ModelFolder {
    place: Place,
}

impl ModelFolder {
    /// The folder that `location` names: a folder or URL with the files of a model, a folder `models--ORG--NAME` of the hub's
    /// cache, or `ORG/NAME`, which is looked for in that cache.
    pub(super) fn find(location: &str, stores: &Stores, context: &Context) -> Result<Self> {
        let open = |location: &str| Ok(Self { place: Place::new(location, stores, context.runtime.handle())? });
        if is_url(location) {
            return open(location);
        }
        let path = Path::new(location);
        if path.join("snapshots").is_dir() {
            return open(&text(snapshot(path)?)?);
        }
        if path.is_dir() {
            return open(location);
        }
        let Some((organisation, name)) = hub_id(location) else {
            return Err(Error::Config {
                message: format!("there is no model folder `{location}`"),
                hint: Some(
                    "name a folder or URL with model.safetensors, tokenizer.json and config.json, or a model of the hub: \
                     ORG/NAME"
                        .into(),
                ),
            });
        };
        let cached = context.hub_cache.as_ref().map(|cache| cache.join(format!("models--{organisation}--{name}")));
        match cached {
            Some(cached) if cached.join("snapshots").is_dir() => open(&text(snapshot(&cached)?)?),
            _ => Err(Error::Config {
                message: match &context.hub_cache {
                    Some(cache) => {
                        format!("the model `{location}` is not in `{}`, nor is it a folder", cache.display())
                    }
                    None => format!("there is no folder `{location}`, and no cache of the hub to look into"),
                },
                hint: Some(format!(
                    "fetch it once with `hf download {location}`, or name a folder that has it; nothing is downloaded here"
                )),
            }),
        }
    }

    /// Where the file `name` is, for people.
    pub(super) fn display(&self, name: &str) -> String {
        self.place.display(name)
    }

    /// The file `name`.
    pub(super) fn read(&self, name: &str, context: &Context) -> Result<Bytes> {
        self.read_if_there(name, context)?.ok_or_else(|| Error::Config {
            message: format!("there is no `{}`", self.display(name)),
            hint: Some("the folder of a model holds model.safetensors, tokenizer.json and config.json".into()),
        })
    }

    /// The file `name`; `None` if there is none.
    pub(super) fn read_if_there(&self, name: &str, context: &Context) -> Result<Option<Bytes>> {
        self.place.read_if_there(name, &context.cancel)
    }

    /// Bytes of the file `name`; 0 if there is none.
    pub(super) fn size(&self, name: &str) -> Result<u64> {
        self.place.size_if_there(name).map(Option::unwrap_or_default)
    }

    /// What the JSON `bytes` of the file `name` say.
    pub(super) fn parse<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|error| Error::Corrupt {
            location: self.display(name),
            format: "a file of an encoder's model",
            message: error.to_string(),
        })
    }
}

/// `ORG/NAME`, of the characters that the hub allows.
fn hub_id(location: &str) -> Option<(&str, &str)> {
    let (organisation, name) = location.split_once('/')?;
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
    };
    (is_name(organisation) && is_name(name)).then_some((organisation, name))
}

/// The snapshot of a folder of the hub's cache that `refs/main` names, or the only one.
fn snapshot(folder: &Path) -> Result<PathBuf> {
    let unreadable =
        |error: std::io::Error| Error::Unreadable { location: folder.display().to_string(), source: Box::new(error) };
    let snapshots = folder.join("snapshots");
    if let Ok(revision) = std::fs::read_to_string(folder.join("refs").join("main")) {
        let named = snapshots.join(revision.trim());
        if named.is_dir() {
            return Ok(named);
        }
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&snapshots).map_err(unreadable)? {
        found.push(entry.map_err(unreadable)?.path());
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(Error::Config {
            message: format!("`{}` has {} snapshots, and refs/main names none of them", folder.display(), found.len()),
            hint: Some("name the folder of one snapshot".into()),
        }),
    }
}

fn text(path: PathBuf) -> Result<String> {
    path.into_os_string()
        .into_string()
        .map_err(|path| Error::config(format!("the path `{}` is not UTF-8", Path::new(&path).display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_hub() {
        for (location, expect) in [
            ("intfloat/e5-small-v2", Some(("intfloat", "e5-small-v2"))),
            ("a/b.c_d", Some(("a", "b.c_d"))),
            ("./model", None),
            ("../model", None),
            ("/model", None),
            ("a/b/c", None),
            ("model", None),
            ("a b/c", None),
        ] {
            assert_eq!(hub_id(location), expect, "{location}");
        }
    }

    #[test]
    fn snapshots_of_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let revision = |name: &str| folder.path().join("snapshots").join(name);
        std::fs::create_dir_all(revision("aaa")).unwrap();
        assert_eq!(snapshot(folder.path()).unwrap(), revision("aaa"));
        std::fs::create_dir(revision("bbb")).unwrap();
        assert!(snapshot(folder.path()).is_err());
        std::fs::create_dir(folder.path().join("refs")).unwrap();
        std::fs::write(folder.path().join("refs/main"), "bbb\n").unwrap();
        assert_eq!(snapshot(folder.path()).unwrap(), revision("bbb"));
    }
}
