//! Scorers that learn from labels, or have learnt.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use tamis_schemas::columns;
use tamis_schemas::config::ScoreConfig;
use tamis_schemas::manifest::ScorerRecord;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Run;
use super::fit::Fitted;
use super::ids::{column, rows_of};
use super::pass;
use super::survey::Survey;
use super::unlabelled::Learnt;
use crate::score::device::{DeviceChoice, resolve};
use crate::score::encoder::{Encoder, EncoderOptions};
use crate::score::{
    BuiltinScorer, BuiltinSettings, ColumnScorer, EncoderScorer, HeadKind, HeadSettings, LabelledText, OpenedScorer,
    Projection, SavedScorer, ScorerChoice, SharedEncoder, Task, embeddings_of,
};
use crate::select::LabelledPool;
use crate::source::{Columns, Request};
use crate::store::Stores;
use crate::{Error, Result, RowSet};

/// Kept rows that a scorer without labels learns word frequencies from, at most.
const SAMPLE_ROWS: u64 = 20_000;
/// Bytes of their texts, at most.
const SAMPLE_BYTES: usize = 32 << 20;

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
    survey: &Survey,
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
            let Learned { scorer, record, left_out } = builtin(run, survey, labels, task, score.seed)?;
            Fitted { left_out, ..ready(Box::new(scorer), record) }
        }
        ScorerChoice::Encoder(location) => {
            if let Some(saved) = SavedScorer::read(location, stores, run.context)? {
                let (opened, record) = distilled(run, saved, score, location, stores)?;
                let OpenedScorer { scorer, truncated, encoder, .. } = opened;
                Fitted { truncated, encoder, ..ready(scorer, record) }
            } else {
                let Learned { scorer, record, left_out } = encoder(run, survey, labels, task, score, location, stores)?;
                let (truncated, encoder) = (Some(scorer.truncated()), Some(scorer.encoder()));
                Fitted { truncated, encoder, left_out, ..ready(Box::new(scorer), record) }
            }
        }
        ScorerChoice::Column(column) => {
            let Learned { scorer, record, left_out } = column_scorer(run, survey, labels, task, score, column)?;
            Fitted { left_out, ..ready(Box::new(scorer), record) }
        }
        ScorerChoice::Unlabelled(choice) => {
            let (reference, device) = (&score.reference, run.plan.device);
            let learnt = Learnt::new(choice, reference, score.seed, device, run, survey, stores)?;
            let record = ScorerRecord {
                name: name.to_owned(),
                device: learnt.device.description,
                device_note: learnt.device.fallback_reason,
                reference: learnt.reference,
                ..ScorerRecord::default()
            };
            ready(learnt.scorer, record)
        }
    })
}

/// Whether the strategy is one that asks a committee.
fn asks_committee(run: Run<'_>) -> bool {
    run.config.select.as_ref().is_some_and(|select| select.strategy.asks_committee())
}

/// The built-in scorer computes on the CPU, whatever else there is; a device that is asked for must be there all the same.
pub(super) fn builtin(
    run: Run<'_>,
    survey: &Survey,
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
    let Texts { labelled, rows, sample } = read_texts(run, survey, labels, seed)?;
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
fn distilled<'a>(
    run: Run<'a>,
    saved: SavedScorer,
    score: &ScoreConfig,
    location: &str,
    stores: &Stores,
) -> Result<(OpenedScorer<'a>, ScorerRecord)> {
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

/// The head that the labels teach, on embeddings that rows have.
fn column_scorer(
    run: Run<'_>,
    survey: &Survey,
    labels: &LabelledPool,
    task: Task,
    score: &ScoreConfig,
    name: &str,
) -> Result<Learned<ColumnScorer>> {
    let verdicts = survey.verdicts();
    // The first row that stays says how long embeddings are, labels or not.
    let first = (0..survey.schema.n_rows()).find(|&row| verdicts.keeps(row));
    let rows: RowSet = labels.rows.iter().chain(first).collect();
    run.begin("learning");
    let request =
        Request { columns: Columns::Named(vec![name.to_owned()]), text: None, id: None, rows: Some(Arc::new(rows)) };
    let mut reservation = run.context.budget.reserve("scorer");
    let (mut vectors, mut n_components) = (Vec::new(), 0);
    let (mut of_labels, mut labelled_rows) = (Vec::new(), Vec::new());
    let mut next_label = labels.labelled.iter().peekable();
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, Ok, |decoded| {
        for batch in &decoded.batches {
            let (values, dimensions) = embeddings_of(batch, name)?;
            n_components = if batch.num_rows() == 0 { n_components } else { dimensions };
            for (&row, embedding) in rows_of(batch)?.values().iter().zip(values.chunks_exact(dimensions.max(1))) {
                while next_label.next_if(|(labelled_row, _)| *labelled_row < row).is_some() {}
                if let Some((_, label)) = next_label.next_if(|(labelled_row, _)| *labelled_row == row) {
                    reservation.grow(size_of_val(embedding))?;
                    vectors.extend_from_slice(embedding);
                    of_labels.push(label.as_str());
                    labelled_rows.push(row);
                }
            }
        }
        Ok(())
    })?;
    if n_components == 0 {
        return Err(Error::Column { message: format!("no row has an embedding in column `{name}`"), hint: None });
    }
    let settings = HeadSettings {
        kind: head_kind(score),
        task,
        seed: score.seed,
        committee: asks_committee(run),
        ..HeadSettings::default()
    };
    let mut scorer = ColumnScorer::fit(name, (&vectors, n_components), &of_labels, &settings, run.context)?;
    let left_out = by_row(scorer.take_left_out(), &labelled_rows);
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
    survey: &Survey,
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
    let texts =
        if labels.labelled.is_empty() { Texts::default() } else { read_texts(run, survey, labels, score.seed)? };
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

/// What a scorer learns from.
#[derive(Debug, Default)]
struct Texts {
    labelled: Vec<LabelledText>,
    /// Rows of `labelled`.
    rows: Vec<u64>,
    sample: Vec<String>,
}

/// Texts of the labelled rows, and of a sample of the kept ones if there is no label, or a batch is chosen.
fn read_texts(run: Run<'_>, survey: &Survey, labels: &LabelledPool, seed: u64) -> Result<Texts> {
    let needs_sample = labels.classes.len() < 2 || run.config.select.is_some();
    let mut rows = labels.rows.clone();
    let sample = if needs_sample { sample_rows(survey, SAMPLE_ROWS, seed) } else { RowSet::new() };
    for row in sample.iter() {
        rows.insert(row);
    }
    let mut texts = Texts::default();
    let mut sample_bytes = 0;
    let mut reservation = run.context.budget.reserve("labelled texts");
    let mut next_label = labels.labelled.iter().peekable();
    run.begin("learning");
    let request = Request {
        columns: Columns::Named(Vec::new()),
        text: Some(run.plan.text.clone()),
        id: None,
        rows: Some(Arc::new(rows)),
    };
    pass::for_each(
        run.scan(&survey.schema, &request)?,
        run.context,
        |decoded| survey.cut(decoded),
        |decoded| {
            for batch in &decoded.batches {
                let batch_texts = column(batch, columns::TEXT)?.as_string::<i32>();
                for (&row, text) in rows_of(batch)?.values().iter().zip(batch_texts) {
                    let text = text.unwrap_or_default();
                    while next_label.next_if(|(labelled_row, _)| *labelled_row < row).is_some() {}
                    if let Some((_, label)) = next_label.next_if(|(labelled_row, _)| *labelled_row == row) {
                        reservation.grow(text.len())?;
                        texts.labelled.push(LabelledText { text: text.to_owned(), label: label.clone() });
                        texts.rows.push(row);
                    }
                    if sample.contains(row) && sample_bytes + text.len() <= SAMPLE_BYTES {
                        sample_bytes += text.len();
                        texts.sample.push(text.to_owned());
                    }
                }
            }
            Ok(())
        },
    )?;
    Ok(texts)
}

/// About so many rows of the input, by their hash; not those that were rejected or dropped.
pub(super) fn sample_rows(survey: &Survey, n_wanted: u64, seed: u64) -> RowSet {
    let n_rows = survey.schema.n_rows();
    let share = if n_rows <= n_wanted { u64::MAX } else { (u64::MAX / n_rows).saturating_mul(n_wanted) };
    let verdicts = survey.verdicts();
    (0..n_rows)
        .filter(|row| xxh3_64_with_seed(&row.to_le_bytes(), seed) <= share)
        .filter(|&row| verdicts.keeps(row))
        .collect()
}
