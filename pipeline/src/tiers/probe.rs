//! Tries whether a place takes objects, and refuses to replace one that is to be new: that of two runs one commits depends
//! on it.

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutResult};

use super::check::Finding;
use crate::context::Context;
use crate::sink::{is_local, local_folder};
use crate::store::{Stores, explain};

const SUBJECT: &str = "conditional_put";
/// Folder of what is neither table nor manifest.
const FOLDER: &str = "_tamis";

/// Creates an object twice, and removes it.
pub(super) fn conditional_put(url: &str, nonce: &str, stores: &Stores, context: &Context) -> Finding {
    let (store, prefix) = match stores.resolve(url) {
        Ok(found) => found,
        Err(error) => return Finding::of(SUBJECT, &error),
    };
    let folder = local_folder(url).join(FOLDER);
    let made = if is_local(url) { missing_folders(&folder) } else { Vec::new() };
    let found = try_twice(&store, &prefix.join(FOLDER).join(format!("probe-{nonce}")), context);
    for folder in made {
        // One that something was put into meanwhile stays.
        let _ = std::fs::remove_dir(folder);
    }
    found
}

fn try_twice(store: &Arc<dyn ObjectStore>, path: &Path, context: &Context) -> Finding {
    use object_store::Error as Store;
    let create = |text: &'static str| -> object_store::Result<PutResult> {
        context.runtime.block_on(store.put_opts(path, text.into(), PutOptions::from(PutMode::Create)))
    };
    if let Err(error) = create("first") {
        return match error {
            Store::NotImplemented { .. } | Store::NotSupported { .. } => careless(),
            error => Finding::error(SUBJECT, format!("nothing can be written here: {}", explain(&error)), None),
        };
    }
    let second = create("second");
    if let Err(error) = context.runtime.block_on(store.delete(path)) {
        return Finding::warning(
            SUBJECT,
            format!("`{path}` cannot be removed again: {}", explain(&error)),
            "a run that is stopped, and --overwrite, need the right to delete objects",
        );
    }
    match second {
        Err(Store::AlreadyExists { .. } | Store::Precondition { .. }) => {
            Finding::ok(SUBJECT, "can be written; an object that is there is not created again")
        }
        Ok(_) | Err(Store::NotImplemented { .. } | Store::NotSupported { .. }) => careless(),
        Err(error) => Finding::error(SUBJECT, format!("a second put failed: {}", explain(&error)), None),
    }
}

fn careless() -> Finding {
    Finding::error(
        SUBJECT,
        "this store replaces an object that was to be new: two runs at once would undo each other",
        Some("use a store that heeds If-None-Match, or never let two runs write here at the same time".into()),
    )
}

/// The folder and those around it that are not there, the innermost first.
fn missing_folders(folder: &FilePath) -> Vec<&FilePath> {
    folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::context::{Cancel, Resources};
    use crate::store::Careless;
    use crate::tiers::Level;

    #[test]
    fn a_store_that_replaces_what_was_to_be_new_is_found_out() {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let check = |ignores: fn(&PutMode) -> bool, expect: Level| {
            let store: Arc<dyn ObjectStore> = Arc::new(Careless::new(ignores));
            let found = try_twice(&store, &Path::from("out/_tamis/probe-x"), &context);
            assert_eq!(found.level, expect, "{found:?}");
            let left: Vec<_> = context.runtime.block_on(store.list(None).try_collect()).unwrap();
            assert_eq!(left, [], "the probe stays behind");
        };
        check(|_| false, Level::Ok);
        check(|mode| matches!(mode, PutMode::Create), Level::Error);
    }
}
