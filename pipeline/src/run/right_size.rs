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
use super::training::sample_rows;
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
/// `Error::Config` if there are no labels to learn from, or they are numbers.
pub(super) fn right_size<'a>(
    run: Run<'a>,
    survey: &Survey,
    smaller: Fitted<'a>,
    larger: Fitted<'a>,
    score: &ScoreConfig,
    labels: &LabelledPool,
) -> Result<Fitted<'a>> {
    for fitted in [&smaller, &larger] {
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
    run.begin("reading a sample");
    let sample = read_sample(run, survey, labels, score.seed)?;
    run.begin(SAMPLE_BY_SMALLER);
    let of_smaller = said(&sample, &smaller)?;
    run.begin(SAMPLE_BY_LARGER);
    let of_larger = said(&sample, &larger)?;
    let sample_rows: u64 = sample.iter().map(|batch| batch.num_rows() as u64).sum();
    let agreeing_rows = n_agreeing(&of_smaller, &of_larger)?;
    let record = RightSizeRecord {
        smaller: smaller.record.name.clone(),
        larger: larger.record.name.clone(),
        sample_rows,
        agreeing_rows,
    };
    let is_enough = LEAST_ROWS <= sample_rows && score.min_agreement * sample_rows as f64 <= agreeing_rows as f64;
    let (chosen, other) = if is_enough { (smaller, larger) } else { (larger, smaller) };
    // What it has embedded is worth keeping all the same.
    other.finish()?;
    let record = ScorerRecord { right_size: Some(record), ..chosen.record };
    Ok(Fitted { record, ..chosen })
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
    let labels = sample.iter().map(label).collect();
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
