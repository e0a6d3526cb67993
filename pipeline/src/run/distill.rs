//! A scorer that is learnt once from judged rows and kept: a teacher's judgement of a few thousand rows, for all others.

use std::path::Path;

use tamis_schemas::config::Config;
use tamis_schemas::manifest::{InputRecord, RowCounts, ScorerRecord};

use super::fit;
use super::labels::LabelSource;
use super::learn::{LearnedFile, learn_file};
use super::plan::Plan;
use super::training::InputRows;
use super::{Run, check, input_records, survey};
use crate::context::Context;
use crate::place::Place;
use crate::progress::Progress;
use crate::score::agreement::Agreement;
use crate::score::{SCORER_FILE, ScorerChoice};
use crate::sink::{Existing, Output};
use crate::source::Inputs;
use crate::store::{Stores, is_url};
use crate::{Error, Result};

/// What was learnt, and where it is.
#[derive(Debug)]
pub struct Distilled {
    /// The scorer.
    pub record: ScorerRecord,
    /// How well it agrees with the labels of rows that it had not seen; `None` for fewer than 50 labels.
    pub agreement: Option<Agreement>,
    /// Rows of the input.
    pub rows: RowCounts,
    /// Its files.
    pub inputs: Vec<InputRecord>,
    /// The file.
    pub location: String,
    /// Its length.
    pub n_bytes: u64,
}

/// A folder by a path that is right in other working folders, too; what else there is as it is.
pub(super) fn absolute(location: &str) -> String {
    let path = Path::new(location);
    let is_folder = !is_url(location) && path.is_dir();
    let absolute = is_folder.then(|| std::path::absolute(path).ok()?.into_os_string().into_string().ok()).flatten();
    absolute.unwrap_or_else(|| location.to_owned())
}

/// Refuses an output that has a scorer already, unless it may be replaced.
///
/// # Errors
/// `Error::Config`, and whatever stops the look at it.
pub fn check_distilled(output: &str, existing: Existing, stores: &Stores, context: &Context) -> Result<()> {
    let place = Place::new(output, stores, context.runtime.handle())?;
    if existing == Existing::Refuse && place.is_there(SCORER_FILE)? {
        return Err(Error::Config {
            message: format!("`{}` is there already", place.display(SCORER_FILE)),
            hint: Some("choose another output, or replace it with --overwrite".into()),
        });
    }
    Ok(())
}

/// Learns the scorer that `[score]` of `config` describes from the labels it names, and writes it to `output.path`.
///
/// # Errors
/// `Error::Config` if there is a scorer already and `existing` refuses it, if labels are missing, or tell nothing apart; whatever
/// stops a run. Nothing is visible at the output then.
pub fn distill(
    config: &Config,
    existing: Existing,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<Distilled> {
    let config = &config.resolved();
    if let Some(score) = &config.score
        && let ScorerChoice::Unlabelled(_) = score.scorer.parse()?
    {
        return Err(Error::Config {
            message: format!("the scorer `{}` learns without labels: there is nothing to distill", score.scorer),
            hint: Some("use `builtin`, or the folder or URL of an encoder".into()),
        });
    }
    check(config)?;
    let plan = &Plan::new(config)?;
    let missing = || Error::config("there is nothing to learn from: score.labels (--labels) names no file");
    let score = config.score.as_ref().ok_or_else(missing)?;
    let source = LabelSource::of_score(score).ok_or_else(missing)?;
    check_distilled(&config.output.path, existing, stores, context)?;
    let place = Place::new(&config.output.path, stores, context.runtime.handle())?;
    let inputs = &Inputs::discover(&config.input.paths, &plan.source, stores, context)?;
    let run = Run { config, plan, inputs, context, progress };
    let mut no_tables =
        Output::open(config, &[], Vec::new(), Existing::Overwrite, None, stores, context.runtime.handle())?;
    let survey = survey::survey(run, None, None, &mut no_tables)?;
    let (labels, kind) = fit::known(run, &survey, &source, stores)?;
    let task = fit::task(score.task, kind, &labels);
    let choice = match &plan.scorer {
        ScorerChoice::Encoder(location) => ScorerChoice::Encoder(absolute(location)),
        ScorerChoice::Column(_) => {
            return Err(Error::Config {
                message: format!(
                    "the scorer `{}` is a column, which texts that are scored later have not",
                    score.scorer
                ),
                hint: Some("distill the encoder that made the embeddings".into()),
            });
        }
        other => other.clone(),
    };
    let data = InputRows { run, survey: &survey, seed: score.seed };
    let LearnedFile { bytes, record, agreement, has_learnt, .. } =
        learn_file(run, &data, &choice, (&labels, task), score, stores)?;
    if !has_learnt {
        return Err(Error::Config {
            message: format!(
                "the labels tell nothing apart: {} of {} rows have one, all the same",
                labels.labelled.len(),
                survey.rows.rows_in
            ),
            hint: Some("name the column of the judgement with --label-column".into()),
        });
    }
    progress.begin("writing");
    let n_bytes = bytes.len() as u64;
    place.put(SCORER_FILE, bytes)?;
    Ok(Distilled {
        record,
        agreement,
        inputs: input_records(inputs, survey.schema.file_rows()),
        rows: survey.rows,
        location: place.display(SCORER_FILE),
        n_bytes,
    })
}
