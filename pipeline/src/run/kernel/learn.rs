//! One scorer for all tasks, learnt from what these have found in their units.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use tamis_schemas::columns;

use super::Task;
use super::record::{Kind, Record, RecordWriter, for_each_record};
use super::stream::{Incoming, Outgoing};
use super::texts::of_score;
use crate::budget::Reservation;
use crate::context::Context;
use crate::run::fit;
use crate::run::labels::{LabelSource, joined, read_labels};
use crate::run::learn::{LearnedFile, learn_file};
use crate::run::texts::DrawnTexts;
use crate::run::training::{
    EmbeddingCollector, SampleBytes, TextCollector, TrainingData, TrainingEmbeddings, TrainingTexts,
};
use crate::score::ScorerChoice;
use crate::select::{LabelJoin, LabelledPool};
use crate::source::Inputs;
use crate::{Error, Result};

/// Learns from the records of a stream.
pub(super) fn learn(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let (score, context) = (of_score(task)?, task.with.context);
    let inputs = Inputs::none(&task.plan.source, context);
    let run = task.run(&inputs);
    task.job.scoring.as_ref().map_or(Ok(()), |scoring| scoring.check_files(score, task.with))?;
    let mut rows = HandedRows::new(task);
    let (mut ids, mut found) = ((Vec::new(), Vec::new()), Found::default());
    for_each_record(input, |record| match record.kind {
        Kind::Id => {
            found.n_ids += 1;
            ids.0.push(record.a);
            ids.1.push(text_of(&record.payload)?.to_owned());
            Ok(())
        }
        Kind::Text => {
            found.n_texts += 1;
            rows.push(record, &ids.0)
        }
        Kind::TextsOfUnit => found.take(&record),
        kind => Err(Error::Invariant(format!("nothing is learnt from records of kind {}", kind as u8))),
    })?;
    found.check(task.job.starts.len())?;
    let (labels, kind) = match LabelSource::of_score(score) {
        Some(source) => {
            let labels = read_labels(run, &source, task.with.stores)?;
            labels.warn();
            let (table, kind) = (labels.table, labels.kind);
            let n_labels = table.len();
            let mut join = LabelJoin::new(table)?;
            join.observe(&as_batch(ids)?)?;
            let mut pool = joined(n_labels, join)?;
            // Rows with a held-out item are named, but nothing is said of them.
            pool.remove(&pool.rows.iter().filter(|row| !rows.have(*row)).collect());
            (pool, kind)
        }
        None => Default::default(),
    };
    let what = fit::task(score.task, kind, &labels);
    let LearnedFile { bytes, record, .. } =
        learn_file(run, &rows, &task.plan.scorer, (&labels, what), score, task.with.stores)?;
    let mut writer = RecordWriter::begin(output)?;
    writer.push(&Record { payload: bytes, ..Record::new(Kind::Scorer) })?;
    writer.push(&Record::json(Kind::Learnt, &record)?)?;
    writer.finish()
}

fn text_of(payload: &[u8]) -> Result<&str> {
    str::from_utf8(payload).map_err(|_| Error::config("a record that is text is not UTF-8"))
}

/// What all tasks together have found.
#[derive(Debug, Default)]
struct Found {
    n_ids: u64,
    n_texts: u64,
    units: BTreeSet<u64>,
    /// As many as their units have.
    expected: (u64, u64),
}

impl Found {
    fn take(&mut self, record: &Record) -> Result<()> {
        if !self.units.insert(record.a) {
            return Err(Error::Invariant(format!("unit {} was read twice for what is in it to learn from", record.a)));
        }
        self.expected = (self.expected.0 + record.b, self.expected.1 + record.c);
        Ok(())
    }

    /// # Errors
    /// `Error::Invariant` if something was lost on its way.
    fn check(&self, n_units: usize) -> Result<()> {
        let Self { n_ids, n_texts, units, expected: (ids, texts) } = self;
        if units.len() == n_units && (n_ids, n_texts) == (ids, texts) {
            return Ok(());
        }
        let n_read = units.len();
        Err(Error::Invariant(format!(
            "{n_read} of {n_units} units were read for what is in them to learn from, with {n_ids} of {ids} ids and {n_texts} of \
             {texts} texts"
        )))
    }
}

/// Rows and ids as the pool has them.
fn as_batch((rows, ids): (Vec<u64>, Vec<String>)) -> Result<RecordBatch> {
    let schema = Schema::new(vec![
        Field::new(columns::ROW, DataType::UInt64, false),
        Field::new(columns::ID, DataType::Utf8, false),
    ]);
    let ids: ArrayRef = Arc::new(StringArray::from(ids));
    Ok(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(UInt64Array::from(rows)), ids])?)
}

/// What tasks have handed on of rows, in the order of these.
struct HandedRows<'a> {
    /// Row, whether it is in the sample, and its text or embedding.
    rows: Vec<(u64, bool, Vec<u8>)>,
    last: Option<u64>,
    /// Of the built-in scorer, whose sample has an end.
    sample: Option<SampleBytes>,
    reservation: Reservation,
    context: &'a Context,
}

impl<'a> HandedRows<'a> {
    fn new(task: Task<'a>) -> Self {
        let context = task.with.context;
        let sample = (task.plan.scorer == ScorerChoice::Builtin).then(SampleBytes::default);
        Self {
            rows: Vec::new(),
            last: None,
            sample,
            reservation: context.budget.reserve("texts to learn from"),
            context,
        }
    }

    /// Takes what is learnt from of a row; `labelled` are the rows that labels speak of, in their order.
    fn push(&mut self, record: Record, labelled: &[u64]) -> Result<()> {
        if self.last.replace(record.a).is_some_and(|last| last >= record.a) {
            return Err(Error::Invariant(format!("row {} was read twice, or comes out of order", record.a)));
        }
        let fits = |sample: &mut SampleBytes| sample.take(record.payload.len());
        let is_sampled = record.b > 0 && self.sample.as_mut().is_none_or(fits);
        let is_learnt = is_sampled || record.b == 0 || labelled.binary_search(&record.a).is_ok();
        if is_learnt {
            self.reservation.grow(record.payload.len())?;
            self.rows.push((record.a, is_sampled, record.payload));
        }
        Ok(())
    }

    fn have(&self, row: u64) -> bool {
        self.rows.binary_search_by_key(&row, |(row, ..)| *row).is_ok()
    }

    fn for_each_text(&self, mut visit: impl FnMut(u64, bool, &str) -> Result<()>) -> Result<()> {
        self.rows.iter().try_for_each(|(row, is_sampled, text)| visit(*row, *is_sampled, text_of(text)?))
    }
}

impl TrainingData for HandedRows<'_> {
    fn texts(&self, labels: &LabelledPool, wants_sample: bool) -> Result<TrainingTexts> {
        let mut texts = TextCollector::new(labels, self.context);
        self.for_each_text(|row, is_sampled, text| texts.observe(row, text, wants_sample && is_sampled))?;
        Ok(texts.finish())
    }

    fn embeddings(&self, column: &str, labels: &LabelledPool) -> Result<TrainingEmbeddings> {
        let mut embeddings = EmbeddingCollector::new(labels, self.context);
        for (row, _, bytes) in &self.rows {
            let (numbers, _) = bytes.as_chunks();
            let embedding: Vec<f32> = numbers.iter().map(|&number| f32::from_le_bytes(number)).collect();
            embeddings.observe(*row, &embedding)?;
        }
        embeddings.finish(column)
    }

    fn drawn(&self) -> Result<DrawnTexts> {
        let mut texts = DrawnTexts::new(self.context);
        self.for_each_text(|_, is_sampled, text| if is_sampled { texts.push(text) } else { Ok(()) })?;
        Ok(texts)
    }
}
