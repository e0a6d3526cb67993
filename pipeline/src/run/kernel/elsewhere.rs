//! A config as tasks can use it, which run in other folders: what is local gets its whole path.

use tamis_schemas::config::Config;

use crate::run::distill::absolute;
use crate::score::GGUF;
use crate::sink::{is_local, local_folder};
use crate::{Error, Result};

/// # Errors
/// `Error::Unwritable` for a path that cannot be one.
pub(super) fn config_elsewhere(config: &Config) -> Result<Config> {
    let mut config = config.clone();
    let held_out = config.decontaminate.iter_mut().flat_map(|held_out| &mut held_out.paths);
    let tiers = config.tiers.values_mut().filter_map(|tier| tier.url.as_mut());
    let index = config.index.as_mut().map(|index| &mut index.url);
    let (mut of_score, mut of_embed) = (Vec::new(), Vec::new());
    if let Some(score) = &mut config.score {
        score.scorer = model_elsewhere(&score.scorer);
        of_score.extend(score.labels.iter_mut().chain(&mut score.reference).chain(&mut score.cache));
    }
    if let Some(embed) = &mut config.embed {
        embed.model = model_elsewhere(&embed.model);
        of_embed.extend(&mut embed.cache);
    }
    let urls = tiers.chain(index).chain(held_out).chain(of_score).chain(of_embed).chain(&mut config.input.paths);
    for url in urls.chain([&mut config.output.path]) {
        *url = path_elsewhere(url)?;
    }
    Ok(config)
}

/// A path or URL.
///
/// # Errors
/// See [`config_elsewhere`].
pub(super) fn path_elsewhere(url: &str) -> Result<String> {
    if !is_local(url) {
        return Ok(url.to_owned());
    }
    let absolute = std::path::absolute(local_folder(url));
    let absolute = absolute.map_err(|error| Error::Unwritable { location: url.to_owned(), source: error.into() })?;
    Ok(absolute.to_string_lossy().into_owned())
}

/// A scorer or an encoder, which may have a name that is no path.
fn model_elsewhere(name: &str) -> String {
    match name.strip_prefix(GGUF) {
        Some(file) => format!("{GGUF}{}", path_elsewhere(file).unwrap_or_else(|_| file.to_owned())),
        None => absolute(name),
    }
}
