//! Files of an output that lie in an archive, asked back.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStoreExt, Result as StoreResult};
use tamis_schemas::manifest::FileRecord;

use super::FinishedRun;
use crate::store::{Archived, Bucket, Thaw, is_archived, unreadable};
use crate::{Error, ErrorKind, Result};

/// Requests under way at once.
const REQUESTS: usize = 16;

/// Archived files that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Those asked for now.
    pub asked: Pile,
    /// Those that were asked for before.
    pub coming: Pile,
    /// Their storage classes, in the provider's words.
    pub classes: BTreeSet<String>,
    /// Hours until all of those asked for now are back, at most.
    pub hours: u32,
}

/// A number of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pile {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Pile {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// A file that is not read as it lies, and its place in its bucket.
struct Found<'a> {
    url: &'a str,
    bytes: u64,
    path: Path,
    bucket: Bucket,
    archived: Archived,
}

/// Asks for every one of the files that lies in an archive and was not asked for; `None`: all of them can be read.
///
/// A file that is not there, or is damaged, is left to whoever reads it.
///
/// # Errors
/// `Error::Config` for a speed that a class does not have: then nothing was asked for. `Error::Unreadable` where the store
/// refuses.
pub fn bring_back<'f>(
    run: &FinishedRun<'_>,
    files: impl IntoIterator<Item = (String, &'f FileRecord)>,
    thaw: Thaw,
) -> Result<Option<Waiting>> {
    let files: Vec<(String, u64)> = files.into_iter().map(|(url, file)| (url, file.bytes)).collect();
    run.progress.begin("looking for archived files");
    let runtime = &run.context.runtime;
    let looked = stream::iter(&files).map(|(url, bytes)| look(run, url, *bytes)).buffered(REQUESTS);
    let found: Vec<Option<Found<'_>>> = runtime.block_on(looked.try_collect())?;
    let found: Vec<Found<'_>> = found.into_iter().flatten().collect();
    let mut waiting = Waiting::default();
    for Found { archived, bytes, .. } in &found {
        let hours = thaw.hours(&archived.class).ok_or_else(|| no_such_speed(&archived.class, thaw))?;
        waiting.classes.insert(archived.class.clone());
        if archived.is_coming {
            waiting.coming.add(*bytes);
        } else {
            waiting.asked.add(*bytes);
            waiting.hours = waiting.hours.max(hours);
        }
    }
    let asked = stream::iter(found.iter().filter(|found| !found.archived.is_coming)).map(|found| async move {
        run.context.cancel.check()?;
        let asked = found.bucket.bring_back(&found.path, &found.archived, thaw).await;
        asked.map_err(|error| unreadable(found.url, &error))
    });
    let _: Vec<()> = runtime.block_on(asked.buffered(REQUESTS).try_collect())?;
    Ok((!found.is_empty()).then_some(waiting))
}

/// Tries to read a byte of a file: some stores have classes of archives by name only.
async fn look<'f>(run: &FinishedRun<'_>, url: &'f str, bytes: u64) -> Result<Option<Found<'f>>> {
    run.context.cancel.check()?;
    let (store, path) = run.stores.resolve(url)?;
    match store.get_range(&path, 0..1).await {
        Ok(_) => Ok(None),
        Err(error) if is_archived(&error) => {
            let bucket = run.stores.bucket(url)?;
            let archived: StoreResult<Option<Archived>> = bucket.archived(&path).await;
            let archived = archived.map_err(|error| unreadable(url, &error))?;
            Ok(archived.map(|archived| Found { url, bytes, path, bucket, archived }))
        }
        Err(error) => match unreadable(url, &error) {
            // Whoever reads the file says what is wrong with it.
            error if error.kind() == ErrorKind::Other => Ok(None),
            error => Err(error),
        },
    }
}

fn no_such_speed(class: &str, thaw: Thaw) -> Error {
    Error::Config {
        message: format!("files in {class} do not come back at the speed `{}`", thaw.speed.name()),
        hint: Some("ask with --restore-tier standard, or bulk".into()),
    }
}
