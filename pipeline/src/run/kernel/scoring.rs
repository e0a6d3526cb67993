//! What scores the rows of a run, as far as all its processes have to know.

use serde::{Deserialize, Serialize};
use tamis_schemas::config::{Config, InputConfig, ScoreConfig};

use super::Surroundings;
use crate::run::embed::check_encoder;
use crate::run::fit;
use crate::run::learn::check_untaught;
use crate::run::plan::{Plan, source_options};
use crate::run::quality::{Judge, Source, read_distilled};
use crate::run::semantic::SemanticPlan;
use crate::score::device::{DeviceChoice, ResolvedDevice};
use crate::score::encoder::{Encoder, EncoderOptions};
use crate::score::{CausalScorer, SavedScorer, ScorerChoice, Unlabelled};
use crate::source::Inputs;
use crate::{Error, Result};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ScoringOfRun {
    /// Whether the scorer has to learn first.
    pub(super) learns: bool,
    /// Hash of the scorer's model, if it has one, and of the encoder that embeds.
    models: Vec<String>,
    /// Files that are learnt from, as they are now.
    files: Vec<String>,
}

impl ScoringOfRun {
    /// Looks at models and at what is learnt from; `None` if nothing is scored or embedded. `encoder` is the fingerprint of the one
    /// whose embeddings the output has.
    ///
    /// # Errors
    /// Whatever keeps a model from being used.
    pub(super) fn look(
        config: &Config,
        plan: &Plan,
        encoder: Option<&str>,
        with: Surroundings<'_>,
    ) -> Result<Option<Self>> {
        let score = fit::scoring_config(config);
        if score.is_none() && config.embed.is_none() {
            return Ok(None);
        }
        let mut found = Self::default();
        if let Some(embed) = &plan.embed {
            let fingerprint = fingerprint(&embed.model, &embed.options, with)?;
            check_encoder(&embed.model, &fingerprint, encoder)?;
            found.models.push(fingerprint);
        }
        if let Some(score) = &score {
            found.look_at_scorer(&plan.scorer, score, with)?;
            if let Some(larger) = &plan.larger {
                found.look_at_scorer(larger, score, with)?;
                // Which of the two scores is learnt.
                found.learns = true;
            }
            found.files = files(&paths_of_score(config, score), with)?;
        }
        Ok(Some(found))
    }

    /// The same of what judges quality; `None` if nothing does.
    ///
    /// # Errors
    /// Whatever keeps a model from being used.
    pub(super) fn look_at_quality(config: &Config, plan: &Plan, with: Surroundings<'_>) -> Result<Option<Self>> {
        let (Some(quality), Some(of_plan)) = (&config.quality, &plan.quality) else { return Ok(None) };
        let Surroundings { stores, context, .. } = with;
        let mut found = Self { files: files(&paths_of_quality(config), with)?, ..Self::default() };
        match &of_plan.source {
            Source::Column(_) => {}
            Source::Distilled(location) => {
                let saved = read_distilled(location, stores, context)?;
                found.models.push(saved.fingerprint().to_owned());
                Judge::of_distilled(saved, location, quality.class.as_deref(), DeviceChoice::Cpu, stores, context)?;
            }
            Source::Scorer(Unlabelled::Causal(file)) => found.models.push(CausalScorer::digest(file, stores, context)?),
            Source::Scorer(_) => found.learns = true,
        }
        Ok(Some(found))
    }

    /// The same of what embeds rows to compare them.
    ///
    /// # Errors
    /// Whatever keeps the encoder from being used.
    pub(super) fn look_at_semantic(plan: &Plan, with: Surroundings<'_>) -> Result<Option<Self>> {
        let Some(SemanticPlan { embed, .. }) = &plan.semantic else { return Ok(None) };
        Ok(Some(Self { models: vec![fingerprint(&embed.model, &embed.options, with)?], ..Self::default() }))
    }

    fn look_at_scorer(&mut self, choice: &ScorerChoice, score: &ScoreConfig, with: Surroundings<'_>) -> Result<()> {
        let Surroundings { stores, context, .. } = with;
        match choice {
            ScorerChoice::Encoder(location) => {
                if let Some(saved) = SavedScorer::read(location, stores, context)? {
                    check_untaught(score, location)?;
                    self.models.push(saved.fingerprint().to_owned());
                    saved.open(DeviceChoice::Cpu, None, stores, context)?;
                } else {
                    self.models.push(fingerprint(location, &EncoderOptions::default(), with)?);
                    self.learns = true;
                }
            }
            ScorerChoice::Unlabelled(Unlabelled::Causal(file)) => {
                self.models.push(CausalScorer::digest(file, stores, context)?);
            }
            ScorerChoice::Builtin | ScorerChoice::Column(_) | ScorerChoice::Unlabelled(_) => self.learns = true,
        }
        Ok(())
    }

    /// # Errors
    /// `Error::Config` if the scorer of this hash is not that of the run.
    pub(super) fn check_model(&self, location: &str, hash: &str) -> Result<()> {
        if self.models.iter().any(|model| model == hash) {
            return Ok(());
        }
        Err(Error::Config {
            message: format!("`{location}` is another scorer than when the run began"),
            hint: Some("put one scorer on all machines, or name it by a URL; begin again if it was changed".into()),
        })
    }

    /// # Errors
    /// `Error::Config` if files that are learnt from are not what they were when the run began.
    pub(super) fn check_files(&self, paths: &[&[String]], with: Surroundings<'_>) -> Result<()> {
        if files(paths, with)? == self.files {
            return Ok(());
        }
        Err(Error::Config {
            message: "files of labels or references are not what they were when the run began".into(),
            hint: Some("begin again if they were changed; every machine must reach the same files".into()),
        })
    }
}

/// Labels and references of `[score]` and `[select]`.
pub(super) fn paths_of_score<'a>(config: &'a Config, score: &'a ScoreConfig) -> Vec<&'a [String]> {
    let of_select = config.select.iter().map(|select| &*select.labels);
    [&*score.labels, &*score.reference].into_iter().chain(of_select).collect()
}

/// References of `[quality]`.
pub(super) fn paths_of_quality(config: &Config) -> Vec<&[String]> {
    config.quality.iter().map(|quality| &*quality.reference).collect()
}

/// Files that are learnt from, as they are.
fn files(paths: &[&[String]], with: Surroundings<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for &paths in paths.iter().filter(|paths| !paths.is_empty()) {
        if paths.iter().any(|path| path == "-") {
            return Err(Error::Config {
                message: "labels and references do not come from standard input on a cluster".into(),
                hint: Some("name files that every machine reaches".into()),
            });
        }
        let options = source_options(&InputConfig::new(paths.to_vec()))?;
        let inputs = Inputs::discover(paths, &options, with.stores, with.context)?;
        let files = inputs.files().iter();
        found.extend(
            files.map(|file| format!("{:?} {} {:?} {:?}", file.url, file.size_bytes, file.e_tag, file.version)),
        );
    }
    Ok(found)
}

/// Hash of an encoder, which can be used.
fn fingerprint(location: &str, options: &EncoderOptions, with: Surroundings<'_>) -> Result<String> {
    let encoder = Encoder::open(location, options, &ResolvedDevice::cpu(), with.stores, with.context)?;
    Ok(encoder.fingerprint().to_owned())
}
