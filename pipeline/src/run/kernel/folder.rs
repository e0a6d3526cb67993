//! The folder that a run was started in: its tasks work in there if the config has paths that are relative to it.

use std::path::Path;

use tamis_schemas::config::Config;

use crate::score::GGUF;
use crate::sink::{is_local, local_folder};
use crate::{Error, Result};

/// The folder of this process, if a path in the config is relative to it.
///
/// # Errors
/// `Error::Unreadable` if the folder is not there any more.
pub(super) fn of_config(config: &Config) -> Result<Option<String>> {
    let is_relative = |url: &str| is_local(url) && local_folder(url).is_relative();
    // A scorer or an encoder may have a name that is no path.
    let is_model = |name: &str| match name.strip_prefix(GGUF) {
        Some(file) => is_relative(file),
        None => is_relative(name) && Path::new(name).is_dir(),
    };
    let score = config.score.iter();
    let files_of_score =
        score.clone().flat_map(|score| score.labels.iter().chain(&score.reference).chain(&score.cache));
    let mut urls = config
        .tiers
        .values()
        .filter_map(|tier| tier.url.as_ref())
        .chain(config.index.iter().map(|index| &index.url))
        .chain(config.decontaminate.iter().flat_map(|held_out| &held_out.paths))
        .chain(config.embed.iter().filter_map(|embed| embed.cache.as_ref()))
        .chain(files_of_score)
        .chain(config.select.iter().flat_map(|select| &select.labels))
        .chain(config.quality.iter().flat_map(|quality| &quality.reference))
        .chain([&config.output.path]);
    let of_quality = config.quality.iter().filter_map(|quality| quality.scorer.as_ref());
    let of_embed = config.embed.iter().map(|embed| &embed.model);
    let mut models = score.map(|score| &score.scorer).chain(of_quality).chain(of_embed);
    if !urls.any(|url| is_relative(url)) && !models.any(|name| is_model(name)) {
        return Ok(None);
    }
    let folder = std::env::current_dir()
        .map_err(|error| Error::Unreadable { location: "the working folder".into(), source: error.into() })?;
    Ok(Some(folder.to_string_lossy().into_owned()))
}

/// Goes to the folder of a run.
///
/// # Errors
/// `Error::Config` if this machine has no such folder.
pub(super) fn enter(folder: &str) -> Result<()> {
    std::env::set_current_dir(folder).map_err(|error| Error::Config {
        message: format!(
            "the folder `{folder}`, in which the run was started, cannot be entered on this machine: {error}"
        ),
        hint: Some("name all files of the config by URLs, or by whole paths that every machine reaches".into()),
    })
}
