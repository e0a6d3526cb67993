//! What scores the rows of a run, as far as its session has to know.

use std::collections::BTreeMap;

use serde::Serialize;
use tamis_schemas::config::{Config, InputConfig, ScoreConfig};
use tamis_schemas::manifest::ScorerRecord;

use super::Surroundings;
use super::elsewhere::path_elsewhere;
use crate::run::plan::{Plan, source_options};
use crate::score::device::ResolvedDevice;
use crate::score::encoder::{Encoder, EncoderOptions};
use crate::score::{CausalScorer, GGUF, SavedScorer, ScorerChoice, Unlabelled};
use crate::source::Inputs;
use crate::{Error, Result};

/// See the module.
#[derive(Debug, Default, Serialize)]
pub(super) struct ScoringOfRun {
    /// Whether the scorer has to learn first.
    pub(super) learns: bool,
    /// All that scores depend on besides the config: hashes of models, files that are learnt from.
    content: Vec<String>,
    /// Of files that are learnt from, the name that tasks know them by, and that of the config.
    #[serde(skip)]
    names: BTreeMap<String, String>,
}

impl ScoringOfRun {
    /// Looks at models and at what is learnt from; `None` if nothing is scored or embedded.
    ///
    /// # Errors
    /// Whatever keeps a model from being used.
    pub(super) fn look(config: &Config, plan: &Plan, with: Surroundings<'_>) -> Result<Option<Self>> {
        if config.score.is_none() && config.embed.is_none() {
            return Ok(None);
        }
        let mut found = Self::default();
        if let Some(embed) = &plan.embed {
            found.content.push(fingerprint(&embed.model, &embed.options, with)?);
        }
        if let Some(score) = &config.score {
            found.look_at_scorer(&plan.scorer, with)?;
            found.look_at_files(score, with)?;
        }
        Ok(Some(found))
    }

    fn look_at_scorer(&mut self, choice: &ScorerChoice, with: Surroundings<'_>) -> Result<()> {
        let Surroundings { stores, context, .. } = with;
        match choice {
            ScorerChoice::Encoder(location) => {
                if let Some(saved) = SavedScorer::read(location, stores, context)? {
                    self.content.push(saved.fingerprint().to_owned());
                } else {
                    self.content.push(fingerprint(location, &EncoderOptions::default(), with)?);
                    self.learns = true;
                }
            }
            ScorerChoice::Unlabelled(Unlabelled::Causal(file)) => {
                self.content.push(CausalScorer::digest(file, stores, context)?);
            }
            ScorerChoice::Builtin | ScorerChoice::Column(_) | ScorerChoice::Unlabelled(_) => self.learns = true,
        }
        Ok(())
    }

    fn look_at_files(&mut self, score: &ScoreConfig, with: Surroundings<'_>) -> Result<()> {
        for paths in [&score.labels, &score.reference].into_iter().filter(|paths| !paths.is_empty()) {
            if paths.iter().any(|path| path == "-") {
                return Err(Error::Config {
                    message: "labels and references do not come from standard input on a cluster".into(),
                    hint: Some("name files that every machine reaches".into()),
                });
            }
            let options = source_options(&InputConfig::new(paths.clone()))?;
            let discover = |paths: &[String]| Inputs::discover(paths, &options, with.stores, with.context);
            let elsewhere = paths.iter().map(|path| path_elsewhere(path)).collect::<Result<Vec<_>>>()?;
            let (inputs, elsewhere) = (discover(paths)?, discover(&elsewhere)?);
            let by_url: BTreeMap<&str, &str> = elsewhere.files().iter().map(|file| (&*file.url, &*file.name)).collect();
            for file in inputs.files() {
                self.content.push(format!("{:?} {} {:?} {:?}", file.url, file.size_bytes, file.e_tag, file.version));
                if let Some(name) = by_url.get(&*file.url) {
                    self.names.insert((*name).to_owned(), file.name.clone());
                }
            }
        }
        Ok(())
    }

    /// What the manifest says of the scorer, by the names that the config gives.
    pub(super) fn named(&self, mut record: ScorerRecord, config: &Config) -> ScorerRecord {
        if let Some(name) = config.score.as_ref().map(|score| &score.scorer).filter(|name| name.starts_with(GGUF)) {
            record.name.clone_from(name);
        }
        for file in &mut record.reference {
            if let Some(name) = self.names.get(&file.name) {
                file.name.clone_from(name);
            }
        }
        record
    }
}

/// Hash of an encoder, which can be used.
fn fingerprint(location: &str, options: &EncoderOptions, with: Surroundings<'_>) -> Result<String> {
    let encoder = Encoder::open(location, options, &ResolvedDevice::cpu(), with.stores, with.context)?;
    Ok(encoder.fingerprint().to_owned())
}
