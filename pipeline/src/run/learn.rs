//! Scorers that learn from labels, or have learnt.

use std::collections::HashMap;

use tamis_schemas::config::ScoreConfig;
use tamis_schemas::manifest::ScorerRecord;

use super::Run;
use super::fit::Fitted;
use super::training::{TrainingData, TrainingEmbeddings, TrainingTexts};
use super::unlabelled::Learnt;
use crate::score::agreement::Agreement;
use crate::score::device::{DeviceChoice, resolve};
use crate::score::encoder::{Encoder, EncoderOptions};
use crate::score::{
    BuiltinScorer, BuiltinSettings, ColumnScorer, EncoderScorer, HeadKind, HeadSettings, OpenedScorer, Projection,
    SavedScorer, ScorerChoice, SharedEncoder, Task,
};
use crate::select::LabelledPool;
use crate::store::Stores;
use crate::{Error, Result};

/// A scorer that has learnt from labels.
#[derive(Debug)]
pub(super) struct Learned<S> {
    pub(super) scorer: S,
    pub(super) record: ScorerRecord,
    /// See [`Fitted`].
    left_out: Vec<(u64, Vec<f32>)>,
}

/// Learns the scorer of a name; what the labels say is left to the caller.
pub(super) fn learn<'a>(
    run: Run<'a>,
    data: &dyn TrainingData,
    (choice, name): (&ScorerChoice, &str),
    (labels, task): (&LabelledPool, Task),
    score: &ScoreConfig,
    stores: &Stores,
) -> Result<Fitted<'a>> {
    let ready = |scorer, record| Fitted {
        scorer,
        record,
        labels: LabelledPool::default(),
        truncated: None,
        encoder: None,
        left_out: Vec::new(),
        stand_ins: HashMap::new(),
    };
    Ok(match choice {
        ScorerChoice::Builtin => {
            let Learned { scorer, record, left_out } = builtin(run, data, labels, task, score.seed)?;
            Fitted { left_out, ..ready(Box::new(scorer), record) }
        }
        ScorerChoice::Encoder(location) => {
            if let Some(saved) = SavedScorer::read(location, stores, run.context)? {
                let (opened, record) = distilled(run, saved, score, location, stores)?;
                let OpenedScorer { scorer, truncated, encoder, .. } = opened;
                Fitted { truncated, encoder, ..ready(scorer, record) }
            } else {
                let Learned { scorer, record, left_out } = encoder(run, data, labels, task, score, location, stores)?;
                let (truncated, encoder) = (Some(scorer.truncated()), Some(scorer.encoder()));
                Fitted { truncated, encoder, left_out, ..ready(Box::new(scorer), record) }
            }
        }
        ScorerChoice::Column(column) => {
            let Learned { scorer, record, left_out } = column_scorer(run, data, labels, task, score, column)?;
            Fitted { left_out, ..ready(Box::new(scorer), record) }
        }
        ScorerChoice::Unlabelled(choice) => {
            let (reference, device) = (&score.reference, run.plan.device);
            let learnt = Learnt::new(choice, reference, score.seed, device, run, data, stores)?;
            let record = learnt.record(name);
            ready(learnt.scorer.into_stage(), record)
        }
    })
}

/// A scorer that has learnt, as a file.
#[derive(Debug)]
pub(super) struct LearnedFile {
    pub(super) bytes: Vec<u8>,
    pub(super) record: ScorerRecord,
    /// How well it agrees with the labels of rows that it had not seen.
    pub(super) agreement: Option<Agreement>,
    /// Whether there was anything to learn.
    pub(super) has_learnt: bool,
    /// See [`Fitted`].
    pub(super) left_out: Vec<(u64, Vec<f32>)>,
}

/// Learns the scorer of a name, for others to score with.
///
/// # Errors
/// `Error::Config` for a scorer that has learnt already.
pub(super) fn learn_file(
    run: Run<'_>,
    data: &dyn TrainingData,
    choice: &ScorerChoice,
    (labels, task): (&LabelledPool, Task),
    score: &ScoreConfig,
    stores: &Stores,
) -> Result<LearnedFile> {
    Ok(match choice {
        ScorerChoice::Builtin => {
            let Learned { scorer, record, left_out } = builtin(run, data, labels, task, score.seed)?;
            let (agreement, has_learnt) = (scorer.agreement(), scorer.has_learnt());
            LearnedFile { bytes: scorer.to_bytes()?, record, agreement, has_learnt, left_out }
        }
        ScorerChoice::Encoder(location) => {
            let Learned { scorer, record, left_out } = encoder(run, data, labels, task, score, location, stores)?;
            // What it has embedded is worth keeping.
            let cached_rows = scorer.encoder().finish()?;
            let record = ScorerRecord { truncated_rows: scorer.n_labelled_truncated(), cached_rows, ..record };
            let (agreement, has_learnt) = (scorer.agreement(), scorer.has_learnt());
            LearnedFile { bytes: scorer.to_bytes()?, record, agreement, has_learnt, left_out }
        }
        ScorerChoice::Column(name) => {
            let Learned { scorer, record, left_out } = column_scorer(run, data, labels, task, score, name)?;
            let has_learnt = scorer.has_learnt();
            LearnedFile { bytes: scorer.to_bytes()?, record, agreement: None, has_learnt, left_out }
        }
        ScorerChoice::Unlabelled(choice) => {
            let learnt = Learnt::new(choice, &score.reference, score.seed, run.plan.device, run, data, stores)?;
            let bytes = learnt.scorer.to_bytes()?;
            let record = learnt.record(&score.scorer);
            LearnedFile { bytes, record, agreement: None, has_learnt: true, left_out: Vec::new() }
        }
    })
}

/// Whether the strategy is one that asks a committee.
fn asks_committee(run: Run<'_>) -> bool {
    run.config.select.as_ref().is_some_and(|select| select.strategy.asks_committee())
}

/// Whether the built-in scorer looks at rows without labels: there is nothing else to learn from, or it embeds a pool.
fn wants_sample(run: Run<'_>, labels: &LabelledPool) -> bool {
    labels.classes.len() < 2 || run.config.select.is_some()
}

/// The built-in scorer computes on the CPU, whatever else there is; a device that is asked for must be there all the same.
pub(super) fn builtin(
    run: Run<'_>,
    data: &dyn TrainingData,
    labels: &LabelledPool,
    task: Task,
    seed: u64,
) -> Result<Learned<BuiltinScorer>> {
    let device_note = match run.plan.device {
        DeviceChoice::Cuda(_) => {
            resolve(run.plan.device)?;
            Some("the built-in scorer needs no other device".to_owned())
        }
        DeviceChoice::Auto | DeviceChoice::Cpu => None,
    };
    let TrainingTexts { labelled, rows, sample, .. } = data.texts(labels, wants_sample(run, labels))?;
    let settings = BuiltinSettings { task, seed, committee: asks_committee(run), ..BuiltinSettings::default() };
    let mut scorer = BuiltinScorer::fit(&labelled, &sample, &settings, run.context)?;
    let left_out = by_row(scorer.take_left_out(), &rows);
    let scorer = match run.config.select {
        Some(_) => scorer.embedding_by(Projection::of(&sample, &settings)),
        None => scorer,
    };
    let record = ScorerRecord {
        name: "builtin".into(),
        device: "cpu".into(),
        device_note,
        task: task.name().into(),
        classes: scorer.classes().to_vec(),
        labelled_rows: scorer.n_labelled() as u64,
        ..ScorerRecord::default()
    };
    Ok(Learned { scorer, record, left_out })
}

/// A scorer that `tamis distill` made: it has learnt what it knows.
pub(super) fn distilled<'a>(
    run: Run<'a>,
    saved: SavedScorer,
    score: &ScoreConfig,
    location: &str,
    stores: &Stores,
) -> Result<(OpenedScorer<'a>, ScorerRecord)> {
    check_untaught(score, location)?;
    let (name, task, classes) = (saved.name(), saved.answers().task(), saved.answers().names().to_vec());
    let labelled_rows = saved.n_labelled() as u64;
    let opened = saved.open(run.plan.device, score.cache.as_deref(), stores, run.context)?;
    let device = opened.device.clone();
    let record = ScorerRecord {
        name,
        device: device.description,
        device_note: device.fallback_reason,
        task: task.name().into(),
        classes,
        labelled_rows,
        ..ScorerRecord::default()
    };
    Ok((opened, record))
}

/// # Errors
/// `Error::Config` if something is to be taught to the scorer at `location`, which has learnt what it knows.
pub(super) fn check_untaught(score: &ScoreConfig, location: &str) -> Result<()> {
    let set = [
        // What is given beside it is for the larger one.
        ("labels", !score.labels.is_empty() && score.larger.is_none()),
        ("head", score.head.is_some() && score.larger.is_none()),
        ("task", score.task != tamis_schemas::config::Task::Auto),
    ];
    if let Some((name, _)) = set.into_iter().find(|(_, is_set)| *is_set) {
        return Err(Error::Config {
            message: format!("score.{name} is set, but the scorer in `{location}` has learnt what it knows"),
            hint: Some("leave it out, or learn another scorer with `tamis distill`".into()),
        });
    }
    Ok(())
}

/// The head that the labels teach, on embeddings that rows have.
pub(super) fn column_scorer(
    run: Run<'_>,
    data: &dyn TrainingData,
    labels: &LabelledPool,
    task: Task,
    score: &ScoreConfig,
    name: &str,
) -> Result<Learned<ColumnScorer>> {
    let learnt_from = data.embeddings(name, labels)?;
    let TrainingEmbeddings { vectors, n_components, labels, rows, .. } = &learnt_from;
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let settings = HeadSettings {
        kind: head_kind(score),
        task,
        seed: score.seed,
        committee: asks_committee(run),
        ..HeadSettings::default()
    };
    let mut scorer = ColumnScorer::fit(name, (vectors, *n_components), &labels, &settings, run.context)?;
    let left_out = by_row(scorer.take_left_out(), rows);
    let record = ScorerRecord {
        name: format!("column:{name}"),
        device: "cpu".into(),
        task: task.name().into(),
        classes: scorer.classes().to_vec(),
        labelled_rows: scorer.n_labelled() as u64,
        ..ScorerRecord::default()
    };
    Ok(Learned { scorer, record, left_out })
}

fn head_kind(score: &ScoreConfig) -> HeadKind {
    match score.head {
        None | Some(tamis_schemas::config::Head::Linear) => HeadKind::Linear,
        Some(tamis_schemas::config::Head::Mlp) => HeadKind::Mlp,
    }
}

/// The head that the labels teach, on the encoder at `location`.
pub(super) fn encoder<'a>(
    run: Run<'a>,
    data: &dyn TrainingData,
    labels: &LabelledPool,
    task: Task,
    score: &ScoreConfig,
    location: &str,
    stores: &Stores,
) -> Result<Learned<EncoderScorer<'a>>> {
    let device = resolve(run.plan.device)?;
    let encoder = Encoder::open(location, &EncoderOptions::default(), &device, stores, run.context)?;
    let name = format!("encoder {}", encoder.fingerprint());
    let kind = head_kind(score);
    let nothing = labels.labelled.is_empty();
    let texts = if nothing { TrainingTexts::none(run.context) } else { data.texts(labels, false)? };
    let committee = asks_committee(run);
    let settings = HeadSettings { kind, task, seed: score.seed, committee, ..HeadSettings::default() };
    let encoder = SharedEncoder::open(encoder, score.cache.as_deref(), stores, run.context)?;
    let mut scorer = EncoderScorer::fit(encoder, location, &texts.labelled, &settings, run.context)?;
    let left_out = by_row(scorer.take_left_out(), &texts.rows);
    let record = ScorerRecord {
        name,
        device: device.description,
        device_note: device.fallback_reason,
        task: task.name().into(),
        classes: scorer.classes().to_vec(),
        labelled_rows: scorer.n_labelled() as u64,
        ..ScorerRecord::default()
    };
    Ok(Learned { scorer, record, left_out })
}

/// What of labelled texts, by their places, is of rows.
fn by_row(of_texts: Vec<(usize, Vec<f32>)>, rows: &[u64]) -> Vec<(u64, Vec<f32>)> {
    of_texts.into_iter().map(|(place, probabilities)| (rows[place], probabilities)).collect()
}
