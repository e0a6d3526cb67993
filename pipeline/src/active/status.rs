//! Where a loop stands: what was handed out and answered, how good the model is on random rows, and whether to go on.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use serde::Serialize;
use tamis_schemas::active::{LoopSettings, RoundRecord, Stability};
use tamis_schemas::columns;

use super::stop::{self, Advice, Interval, RoundMeasures, Rule, Share, Situation};
use super::{Answers, Known, Ledger, Round, Verdict};
use crate::Result;

/// What there is to know of a loop, without reading its pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The ledger.
    pub ledger: String,
    /// What all rounds have in common.
    pub settings: LoopSettings,
    /// The rounds, the first one first.
    pub rounds: Vec<RoundStatus>,
    /// Rows with a label, those outside of rounds too.
    pub labelled: u64,
    /// Rows that were handed out and wait for an answer.
    pub open: u64,
    /// Rows that annotators skipped or discarded.
    pub skipped: u64,
    /// Rows that annotators disagree about: nothing is learned from them.
    pub disagreeing: u64,
    /// Labelled rows that no round handed out.
    pub outside: u64,
    /// Rows of the pool that no round handed out and nobody else labelled since, as far as labels from outside are of the pool; none
    /// before the first round.
    pub left_in_pool: Option<u64>,
    /// Labels, most frequent first.
    pub classes: Vec<ClassCount>,
    /// Accuracy on the random slices of the last rounds.
    pub accuracy: Option<Interval>,
    /// Rows that it was measured on.
    pub accuracy_rows: u64,
    /// Seconds that an answer took, the median; none if no tool says.
    pub median_seconds: Option<f64>,
    /// Seconds that all answers took, as far as tools say.
    pub spent_seconds: f64,
    /// Seconds that the open rows and one more round will take, with as many answers to a row as so far.
    pub next_seconds: Option<f64>,
    /// What the stop rules say.
    pub rules: Vec<Rule>,
    /// What they say together.
    pub advice: Advice,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoundStatus {
    /// Its number.
    pub round: u32,
    /// When it was chosen, in seconds since 1970.
    pub selected_at: u64,
    /// Acquisition function.
    pub strategy: String,
    /// Rows handed out.
    pub rows: u64,
    /// Of these, chosen at random.
    pub random: u64,
    /// Of these, with a label.
    pub labelled: u64,
    /// Of these, without an answer.
    pub open: u64,
    /// Of these, labelled before: another label was asked for.
    pub again: u64,
    /// Of these, skipped or discarded.
    pub skipped: u64,
    /// Of these, with answers that disagree.
    pub disagreeing: u64,
    /// Labelled rows that its model learned from.
    pub learned_from: u64,
    /// Predictions for its random rows, made before they were labelled, that are right.
    pub right: Share,
    /// The same as a share.
    pub accuracy: Option<Interval>,
    /// What changed since the round before.
    pub stability: Stability,
}

/// A class and how many rows have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its name.
    pub label: String,
    /// Rows.
    pub rows: u64,
    /// Whether the loop expects it; so are all if it expects none.
    pub expected: bool,
}

/// Sums a ledger up.
///
/// # Errors
/// `Error::Corrupt` for a file of it that is damaged.
pub fn status(ledger: &Ledger) -> Result<Status> {
    let known = Known::of(ledger)?;
    let verdicts = known.verdicts();
    let handed_out = known.handed_out()?;
    let open_ids = known.open_ids(&verdicts)?;
    let rounds = ledger.rounds().iter().zip(&known.rounds).zip(&open_ids);
    let rounds = rounds
        .map(|((record, round), open)| of_round(record, round, open, known.is_multi_label, &verdicts))
        .collect::<Result<Vec<_>>>()?;
    let settings = ledger.settings();

    let counted = count(verdicts.values());
    let open = rounds.iter().map(|round| round.open).sum();
    let is_outside =
        |(id, verdict): &(&&str, &Verdict)| matches!(verdict, Verdict::Labelled(_)) && !handed_out.contains(**id);
    let outside = verdicts.iter().filter(is_outside).count() as u64;
    let left_in_pool = match ledger.rounds().last() {
        Some(last) => {
            let taken = last.selection.batch_rows - last.selection.relabelled_rows.min(last.selection.batch_rows);
            let left = last.selection.pool_rows.saturating_sub(taken);
            let known = labelled_outside(ledger, Some(&last.labels), &handed_out)?;
            let now = labelled_outside(ledger, None, &handed_out)?;
            Some(left.saturating_sub(now.saturating_sub(known)))
        }
        None => None,
    };
    let classes = classes(&verdicts, settings);
    let measures: Vec<RoundMeasures> = rounds.iter().map(measures).collect();
    let recent = rounds.iter().rev().map(|round| round.right).filter(|right| 0 < right.of).take(stop::WINDOW);
    let right = recent.fold(Share::default(), Share::plus);
    let all_answers = known.rounds.iter().map(|round| &round.answers).chain([&known.outside]);
    let (timed_rows, lead_times): (BTreeSet<&str>, Vec<f64>) = all_answers.flat_map(Answers::lead_times).unzip();
    let answers_per_row = lead_times.len() as f64 / timed_rows.len().max(1) as f64;
    let spent_seconds = lead_times.iter().sum();
    let median_seconds = stop::median(lead_times);
    let n_spent = outside + rounds.iter().map(|round| round.rows - round.open).sum::<u64>();
    let rules = stop::rules(&measures, n_spent, settings.max_labels);
    let situation =
        Situation { left_in_pool, n_open: open, n_classes: classes.iter().filter(|class| 0 < class.rows).count() };
    Ok(Status {
        ledger: ledger.location().to_owned(),
        settings: settings.clone(),
        labelled: counted.labelled,
        open,
        skipped: counted.skipped,
        disagreeing: counted.disagreeing,
        outside,
        left_in_pool,
        classes,
        accuracy: right.wilson(),
        accuracy_rows: right.of,
        median_seconds,
        spent_seconds,
        next_seconds: median_seconds.map(|median| median * answers_per_row * (open + settings.budget) as f64),
        advice: stop::advice(&measures, &rules, situation),
        rules,
        rounds,
    })
}

#[derive(Debug, Default)]
struct Counts {
    labelled: u64,
    skipped: u64,
    disagreeing: u64,
}

fn count<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Counts {
    let mut counts = Counts::default();
    for verdict in verdicts {
        *match verdict {
            Verdict::Labelled(_) => &mut counts.labelled,
            Verdict::Skipped => &mut counts.skipped,
            Verdict::Disagreeing => &mut counts.disagreeing,
        } += 1;
    }
    counts
}

fn of_round(
    record: &RoundRecord,
    round: &Round,
    open: &BTreeSet<&str>,
    is_multi_label: bool,
    verdicts: &BTreeMap<&str, Verdict>,
) -> Result<RoundStatus> {
    let own = round.answers.verdicts(is_multi_label);
    let declined = |id: &str| own.get(id).filter(|verdict| **verdict == Verdict::Skipped);
    let answered = round.ids()?.filter(|id| !open.contains(id));
    let counts = count(answered.filter_map(|id| declined(id).or_else(|| verdicts.get(id))));
    let right = right(round, verdicts)?;
    Ok(RoundStatus {
        round: record.round,
        selected_at: record.selected_at,
        strategy: record.selection.strategy.clone(),
        rows: record.selection.batch_rows,
        random: record.selection.random_rows,
        labelled: counts.labelled,
        open: open.len() as u64,
        again: record.selection.relabelled_rows,
        skipped: counts.skipped,
        disagreeing: counts.disagreeing,
        learned_from: record.model.scorer.labelled_rows,
        right,
        accuracy: right.wilson(),
        stability: record.stability,
    })
}

/// Rows that no round handed out and that have a label all the same, after all files of labels or after these alone.
fn labelled_outside(ledger: &Ledger, files: Option<&[String]>, handed_out: &BTreeSet<&str>) -> Result<u64> {
    let mut answers = Answers::default();
    for name in ledger.label_files(None)? {
        if files.is_none_or(|files| files.contains(&name)) {
            answers.add(&ledger.labels(&name)?)?;
        }
    }
    let verdicts = answers.verdicts(false);
    let is_outside =
        |(id, verdict): &(&&str, &Verdict)| matches!(verdict, Verdict::Labelled(_)) && !handed_out.contains(**id);
    Ok(verdicts.iter().filter(is_outside).count() as u64)
}

/// Right predictions among the rows of a round that were chosen at random (those without a score) and have a label now.
fn right(round: &Round, verdicts: &BTreeMap<&str, Verdict>) -> Result<Share> {
    let batch = &round.batch;
    let text = |name| batch.column_by_name(name).filter(|column| *column.data_type() == DataType::Utf8);
    let (Some(predicted), Some(scores)) = (text(columns::LABEL), batch.column_by_name(columns::SCORE)) else {
        return Ok(Share::default());
    };
    let predicted = predicted.as_string::<i32>();
    let mut share = Share::default();
    for (row, id) in round.ids()?.enumerate() {
        if scores.is_valid(row) || predicted.is_null(row) {
            continue;
        }
        if let Some(Verdict::Labelled(labels)) = verdicts.get(id) {
            share.of += 1;
            share.right += u64::from(labels.join(";") == predicted.value(row));
        }
    }
    Ok(share)
}

fn classes(verdicts: &BTreeMap<&str, Verdict>, settings: &LoopSettings) -> Vec<ClassCount> {
    let mut counts: BTreeMap<&str, u64> = settings.classes.iter().map(|class| (class.as_str(), 0)).collect();
    for verdict in verdicts.values() {
        if let Verdict::Labelled(labels) = verdict {
            for label in labels {
                *counts.entry(label).or_default() += 1;
            }
        }
    }
    let is_expected = |label: &str| settings.classes.is_empty() || settings.classes.iter().any(|class| class == label);
    let counts = counts.into_iter();
    let mut classes: Vec<ClassCount> = counts
        .map(|(label, rows)| ClassCount { label: label.to_owned(), rows, expected: is_expected(label) })
        .collect();
    classes.sort_by(|left, right| right.rows.cmp(&left.rows).then_with(|| left.label.cmp(&right.label)));
    classes
}

fn measures(round: &RoundStatus) -> RoundMeasures {
    let Stability { mean_entropy, kappa, changed_ratio, .. } = round.stability;
    RoundMeasures { kappa, changed_ratio, mean_entropy, random: round.right }
}
