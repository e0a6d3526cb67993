//! One scorer for all tasks, learnt from what these have found in their units.

use std::collections::HashMap;
use std::io::{Read, Write};

use xxhash_rust::xxh3::xxh3_64;

use super::Task;
use super::handed::HandedRows;
use super::lesson::Lesson;
use super::record::{Kind, Record, RecordWriter};
use super::right_size::right_sized;
use super::scorer::Scorer;
use super::stream::{Incoming, Outgoing};
use crate::Result;
use crate::run::Run;
use crate::run::fit::{self, Fitted};
use crate::run::known::Known;
use crate::run::labels::{LabelSource, joined, read_labels};
use crate::run::learn::learn_file;
use crate::score::{LabelKind, OpenedScorer};
use crate::select::{LabelJoin, LabelledPool};
use crate::source::Inputs;

/// Learns from the records of a stream, and says what selections know.
pub(super) fn learn(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let inputs = Inputs::none(&task.plan.source, task.with.context);
    let lesson = Lesson::of_stream(task, input)?;
    let rows = HandedRows::read_all(task, &lesson, input)?;
    let [of_select, of_score] = lesson.label_sources(task).map(|source| pool(task.run(&inputs), source, &rows, task));
    let (of_select, of_score) = (of_select?, of_score?);
    let mut writer = RecordWriter::begin(output)?;
    let mut learnt = None;
    if lesson.learns(task) {
        let nothing = Default::default();
        let (labels, kind) = of_score.as_ref().or(of_select.as_ref()).unwrap_or(&nothing);
        let labels = (labels, fit::task(lesson.score.task, *kind, labels));
        let mut file = match &lesson.larger {
            Some(larger) => right_sized(task, &inputs, &rows, &lesson, larger, labels)?,
            None => learn_file(task.run(&inputs), &rows, &lesson.choice, labels, &lesson.score, task.with.stores)?,
        };
        let record = Record { payload: std::mem::take(&mut file.bytes), ..Record::new(Kind::Scorer) };
        writer.push(&record)?;
        file.bytes = record.payload;
        let (a, c) = (lesson.is_of_quality.into(), xxh3_64(&file.bytes));
        writer.push(&Record { a, b: rows.n_staying, c, ..Record::json(Kind::Learnt, &file.record)? })?;
        learnt = Some(file);
    }
    if let Some(select) = task.config.select.as_ref().filter(|_| !lesson.is_of_quality) {
        let mut labels = fit::all_labels(of_select.map(|(labels, _)| labels), of_score.map(|(labels, _)| labels));
        let stand_ins = rows.stand_ins(&fit::answered(&labels), task.job.n_rows);
        let known = if Known::asks_scorer(select) {
            let scorer = Scorer::open(task, &inputs, learnt.as_ref().map(|file| &*file.bytes))?;
            let (record, left_out) = learnt.map_or((scorer.record, Vec::new()), |file| (file.record, file.left_out));
            let OpenedScorer { scorer, truncated, encoder, .. } = scorer.opened;
            let fitted = Fitted { scorer, record, labels, truncated, encoder, left_out, stand_ins: HashMap::new() };
            Known::new(select, &fitted.standing_in(stand_ins), |row| rows.keep(row), &rows)?
        } else {
            labels.stand_in(&stand_ins);
            Known::of_labels(&labels)
        };
        writer.push(&Record::json(Kind::Known, &known)?)?;
    }
    writer.finish()
}

/// The labels of the pool, but for those of rows with a held-out item, of which nothing is said.
fn pool(
    run: Run<'_>,
    source: Option<LabelSource<'_>>,
    rows: &HandedRows<'_>,
    task: Task<'_>,
) -> Result<Option<(LabelledPool, LabelKind)>> {
    let Some(source) = source else { return Ok(None) };
    let labels = read_labels(run, &source, task.with.stores)?;
    labels.warn();
    let (table, kind) = (labels.table, labels.kind);
    let n_labels = table.len();
    let mut join = LabelJoin::new(table)?;
    join.observe(&rows.named()?)?;
    let mut pool = joined(n_labels, join)?;
    let named = pool.rows.iter().chain(pool.split.iter());
    pool.remove(&named.filter(|row| !rows.have(*row)).collect());
    Ok(Some((pool, kind)))
}
