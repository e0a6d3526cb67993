//! The smaller of two scorers, if it says what the larger one says.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use tamis_schemas::columns;
use tamis_schemas::config::ScoreConfig;
use tamis_schemas::footprint::{SAMPLE_BY_LARGER, SAMPLE_BY_SMALLER};
use tamis_schemas::manifest::{RightSizeRecord, ScorerRecord};

use super::Run;
use super::fit::Fitted;
use super::ids::column;
use super::survey::Survey;
use super::training::{self, sample_rows};
use crate::score::Task;
use crate::select::LabelledPool;
use crate::{Error, Result, RowSet};

/// Rows that both score, about.
const SAMPLE_ROWS: u64 = 1000;
/// Fewer say nothing.
const LEAST_ROWS: u64 = 30;

/// Chooses the smaller one if it agrees with the larger one on enough rows of a sample, of 30 or more.
///
/// # Errors
/// As [`check_classes`].
pub(super) fn right_size<'a>(
    run: Run<'a>,
    survey: &Survey,
    smaller: Fitted<'a>,
    larger: Fitted<'a>,
    score: &ScoreConfig,
    labels: &LabelledPool,
) -> Result<Fitted<'a>> {
    check_classes([&smaller, &larger])?;
    run.begin("reading a sample");
    let sample = read_sample(run, survey, labels, score.seed)?;
    let Compared { is_enough, record } = compare(run, &sample, &smaller, &larger, score.min_agreement)?;
    let (chosen, other) = if is_enough { (smaller, larger) } else { (larger, smaller) };
    // What it has embedded is worth keeping all the same.
    other.finish()?;
    let record = ScorerRecord { right_size: Some(record), ..chosen.record };
    Ok(Fitted { record, ..chosen })
}

/// Of two scorers.
#[derive(Debug)]
pub(super) struct Compared {
    /// Whether the smaller one says what the larger one says, often enough.
    pub(super) is_enough: bool,
    pub(super) record: RightSizeRecord,
}

/// Holds two scorers against each other.
pub(super) fn compare(
    run: Run<'_>,
    sample: &[RecordBatch],
    smaller: &Fitted<'_>,
    larger: &Fitted<'_>,
    min_agreement: f64,
) -> Result<Compared> {
    run.begin(SAMPLE_BY_SMALLER);
    let of_smaller = said(sample, smaller)?;
    run.begin(SAMPLE_BY_LARGER);
    let of_larger = said(sample, larger)?;
    let sample_rows: u64 = sample.iter().map(|batch| batch.num_rows() as u64).sum();
    let agreeing_rows = n_agreeing(&of_smaller, &of_larger)?;
    let is_enough = LEAST_ROWS <= sample_rows && min_agreement * sample_rows as f64 <= agreeing_rows as f64;
    let (smaller, larger) = (smaller.record.name.clone(), larger.record.name.clone());
    Ok(Compared { is_enough, record: RightSizeRecord { smaller, larger, sample_rows, agreeing_rows } })
}

/// # Errors
/// `Error::Config` if there are no labels to learn from, or they are numbers.
pub(super) fn check_classes(scorers: [&Fitted<'_>; 2]) -> Result<()> {
    for fitted in scorers {
        if fitted.task() == Task::Regression.name() || fitted.classes().len() < 2 {
            return Err(Error::Config {
                message: format!(
                    "the scorer `{}` has learnt no labels that another one could agree with: score.larger (--larger) needs two \
                     classes or more",
                    fitted.record.name
                ),
                hint: Some("leave it out, or name files with labels (--labels)".into()),
            });
        }
    }
    Ok(())
}

/// Whether a row is in the sample, if it stays and has no label.
pub(super) fn is_sampled(row: u64, n_rows: u64, seed: u64) -> bool {
    training::is_sampled(row, n_rows, SAMPLE_ROWS, seed)
}

/// Texts of rows that stay and have no label.
fn read_sample(run: Run<'_>, survey: &Survey, labels: &LabelledPool, seed: u64) -> Result<Vec<RecordBatch>> {
    let rows: RowSet =
        sample_rows(survey, SAMPLE_ROWS, seed).iter().filter(|row| !labels.rows.contains(*row)).collect();
    let mut reservation = run.context.budget.reserve("comparing scorers");
    let mut sample = Vec::new();
    survey.read_texts(run, run.plan.embedding_columns(), rows, |batch| {
        reservation.grow(batch.get_array_memory_size())?;
        sample.push(batch);
        Ok(())
    })?;
    Ok(sample)
}

/// What it says of each batch; that was no scoring of the run.
fn said(sample: &[RecordBatch], fitted: &Fitted<'_>) -> Result<Vec<StringArray>> {
    let label = |batch: &RecordBatch| {
        let scored = fitted.scorer.apply(batch.clone())?;
        Ok(column(&scored, columns::LABEL)?.as_string::<i32>().clone())
    };
    let say = || sample.iter().map(label).collect();
    let labels = match &fitted.encoder {
        Some(encoder) => encoder.uncounted(say),
        None => say(),
    };
    if let Some(truncated) = &fitted.truncated {
        truncated.forget();
    }
    labels
}

fn n_agreeing(left: &[StringArray], right: &[StringArray]) -> Result<u64> {
    let same = |(left, right): (&StringArray, &StringArray)| {
        if left.len() != right.len() {
            return Err(Error::Invariant("two scorers score different rows".into()));
        }
        Ok(left.iter().zip(right).filter(|(left, right)| left == right).count() as u64)
    };
    left.iter().zip(right).map(same).sum()
}
