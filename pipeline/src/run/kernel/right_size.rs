//! The smaller of two scorers for all tasks, if it says what the larger one says.

use std::collections::HashMap;

use super::Task;
use super::handed::HandedRows;
use super::lesson::Lesson;
use crate::run::fit::Fitted;
use crate::run::learn::{LearnedFile, distilled, learn_file};
use crate::run::right_size::{Compared, check_classes, compare};
use crate::score::{OpenedScorer, SavedScorer, ScorerChoice, Task as Kind};
use crate::select::LabelledPool;
use crate::source::Inputs;
use crate::{Error, Result};

/// What a record says of the samples that a row is in.
pub(super) fn sample_code(is_sampled: bool, is_compared: bool) -> u64 {
    u64::from(is_sampled) + 2 * u64::from(is_compared)
}

/// Whether a row is learnt from without a label, and whether scorers are compared on it.
///
/// # Errors
/// `Error::Config` for a code that says something else.
pub(super) fn samples_of_code(code: u64) -> Result<(bool, bool)> {
    match code {
        0..=3 => Ok((code & 1 > 0, code & 2 > 0)),
        _ => Err(Error::config(format!("a text is of the samples {code}, and there are two"))),
    }
}

/// Learns both, and keeps one.
///
/// # Errors
/// As `check_classes`.
pub(super) fn right_sized(
    task: Task<'_>,
    inputs: &Inputs,
    rows: &HandedRows<'_>,
    lesson: &Lesson,
    larger: &ScorerChoice,
    labels: (&LabelledPool, Kind),
) -> Result<LearnedFile> {
    let (run, stores) = (task.run(inputs), task.with.stores);
    // The scorer of a name, which has learnt by then.
    let file_of = |choice: &ScorerChoice| {
        if let ScorerChoice::Encoder(location) = choice
            && let Some((bytes, saved)) = SavedScorer::read_file(location, stores, run.context)?
        {
            // It may be another one than when the run began.
            task.job.scoring.as_ref().map_or(Ok(()), |scoring| scoring.check_model(location, saved.fingerprint()))?;
            let record = distilled(run, saved, &lesson.score, location, stores)?.1;
            return Ok(LearnedFile { bytes, record, agreement: None, has_learnt: true, left_out: Vec::new() });
        }
        learn_file(run, rows, choice, labels, &lesson.score, stores)
    };
    let (smaller, larger) = (file_of(&lesson.choice)?, file_of(larger)?);
    let (of_smaller, of_larger) = (fitted(task, lesson, &smaller)?, fitted(task, lesson, &larger)?);
    check_classes([&of_smaller, &of_larger])?;
    let (sample, _held) = rows.compared(labels.0)?;
    let compared = compare(run, &sample, &of_smaller, &of_larger, lesson.score.min_agreement)?;
    // What they have embedded is worth keeping.
    for scorer in [of_smaller, of_larger] {
        scorer.finish()?;
    }
    let Compared { is_enough, record } = compared;
    let mut chosen = if is_enough { smaller } else { larger };
    chosen.record.right_size = Some(record);
    Ok(chosen)
}

fn fitted<'a>(task: Task<'a>, lesson: &Lesson, file: &LearnedFile) -> Result<Fitted<'a>> {
    let saved = SavedScorer::from_bytes(&file.bytes, "the scorer that was learnt".into())?;
    let (stores, cache) = (task.with.stores, lesson.score.cache.as_deref());
    let OpenedScorer { scorer, truncated, encoder, .. } =
        saved.open(task.plan.device, cache, stores, task.with.context)?;
    Ok(Fitted {
        scorer,
        record: file.record.clone(),
        labels: LabelledPool::default(),
        truncated,
        encoder,
        left_out: Vec::new(),
        stand_ins: HashMap::new(),
    })
}
