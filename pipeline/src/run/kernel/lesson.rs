//! What is learnt, and for which section of the config.

use std::io::Read;

use tamis_schemas::config::ScoreConfig;

use super::Task;
use super::scoring::{ScoringOfRun, paths_of_quality, paths_of_score};
use super::stream::Incoming;
use crate::run::fit::scoring_config;
use crate::run::labels::LabelSource;
use crate::run::quality::{QualityPlan, Source};
use crate::score::ScorerChoice;
use crate::{Error, Result};

/// Key of the metadata that names the section.
const SECTION_KEY: &str = "tamis.section";
const QUALITY: &str = "quality";

/// See the module.
pub(super) struct Lesson {
    pub(super) choice: ScorerChoice,
    /// What is held against it, and scores if they do not agree.
    pub(super) larger: Option<ScorerChoice>,
    pub(super) score: ScoreConfig,
    /// For `[quality]`, of rows that it may drop; or else for what rows that stay are scored by.
    pub(super) is_of_quality: bool,
}

impl Lesson {
    /// What the stream is about.
    ///
    /// # Errors
    /// `Error::Config` if files that are learnt from are not what they were when the run began.
    pub(super) fn of_stream(task: Task<'_>, input: &Incoming<impl Read>) -> Result<Self> {
        let is_of_quality = match input.metadata(SECTION_KEY) {
            None => false,
            Some(QUALITY) => true,
            Some(other) => {
                return Err(Error::config(format!("`{SECTION_KEY}` is `{other}`, and only `{QUALITY}` is known")));
            }
        };
        let lesson = if is_of_quality { Self::of_quality(task)? } else { Self::of_score(task)? };
        let check = |of_run: &Option<ScoringOfRun>, paths: &[&[String]]| {
            of_run.as_ref().map_or(Ok(()), |of_run| of_run.check_files(paths, task.with))
        };
        if is_of_quality {
            check(&task.job.quality, &paths_of_quality(task.config))?;
        } else {
            check(&task.job.scoring, &paths_of_score(task.config, &lesson.score))?;
        }
        Ok(lesson)
    }

    /// Whether it matters which row stands for one that is dropped.
    pub(super) fn knows_drops(&self, task: Task<'_>) -> bool {
        task.config.select.is_some() && !self.is_of_quality
    }

    fn of_score(task: Task<'_>) -> Result<Self> {
        let (choice, larger) = (task.plan.scorer.clone(), task.plan.larger.clone());
        Ok(Self { choice, larger, score: of_score(task)?, is_of_quality: false })
    }

    fn of_quality(task: Task<'_>) -> Result<Self> {
        match (&task.config.quality, &task.plan.quality) {
            (Some(config), Some(QualityPlan { source: Source::Scorer(scorer), .. })) => {
                let (reference, seed) = (config.reference.clone(), config.seed);
                let score = ScoreConfig { reference, seed, ..ScoreConfig::default() };
                let choice = ScorerChoice::Unlabelled(scorer.clone());
                Ok(Self { choice, larger: None, score, is_of_quality: true })
            }
            _ => Err(Error::Invariant("this run learns nothing of quality".into())),
        }
    }

    pub(super) fn choices(&self) -> impl Iterator<Item = &ScorerChoice> {
        std::iter::once(&self.choice).chain(&self.larger)
    }

    /// Whether the run has something that learns.
    pub(super) fn learns(&self, task: Task<'_>) -> bool {
        let of_run = if self.is_of_quality { &task.job.quality } else { &task.job.scoring };
        of_run.as_ref().is_some_and(|of_run| of_run.learns)
    }

    /// Labels of rows that are not to be selected, and those that are learnt from.
    pub(super) fn label_sources<'a>(&'a self, task: Task<'a>) -> [Option<LabelSource<'a>>; 2] {
        let select = task.config.select.as_ref().filter(|_| !self.is_of_quality);
        [select.and_then(LabelSource::of_select), LabelSource::of_score(&self.score)]
    }
}

/// How rows are scored.
///
/// # Errors
/// `Error::Invariant` if they are not: nobody should have asked.
pub(super) fn of_score(task: Task<'_>) -> Result<ScoreConfig> {
    scoring_config(task.config).ok_or_else(|| Error::Invariant("this run has no scorer".into()))
}
