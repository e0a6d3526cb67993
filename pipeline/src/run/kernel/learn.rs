//! One scorer for all tasks, learnt from what these have found in their units.

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
use crate::run::training::{EmbeddingCollector, TextCollector, TrainingData, TrainingEmbeddings, TrainingTexts};
use crate::select::{LabelJoin, LabelledPool};
use crate::source::Inputs;
use crate::{Error, Result};

/// Learns from the records of a stream.
pub(super) fn learn(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let (score, context) = (of_score(task)?, task.with.context);
    let inputs = Inputs::none(&task.plan.source, context);
    let run = task.run(&inputs);
    let mut rows = HandedRows::new(context);
    let mut ids = (Vec::new(), Vec::new());
    for_each_record(input, |record| match record.kind {
        Kind::Id => {
            ids.0.push(record.a);
            ids.1.push(text_of(record.payload)?);
            Ok(())
        }
        Kind::Text => rows.push(record),
        kind => Err(Error::Invariant(format!("nothing is learnt from records of kind {}", kind as u8))),
    })?;
    let (labels, kind) = match LabelSource::of_score(score) {
        Some(source) => {
            let (table, kind) = read_labels(run, &source, task.with.stores)?;
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

fn text_of(payload: Vec<u8>) -> Result<String> {
    String::from_utf8(payload).map_err(|_| Error::config("a record that is text is not UTF-8"))
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
    reservation: Reservation,
    context: &'a Context,
}

impl<'a> HandedRows<'a> {
    fn new(context: &'a Context) -> Self {
        Self { rows: Vec::new(), reservation: context.budget.reserve("texts to learn from"), context }
    }

    fn push(&mut self, record: Record) -> Result<()> {
        if self.rows.last().is_some_and(|(row, ..)| *row >= record.a) {
            return Err(Error::Invariant(format!("row {} was read twice, or comes out of order", record.a)));
        }
        self.reservation.grow(record.payload.len())?;
        self.rows.push((record.a, record.b > 0, record.payload));
        Ok(())
    }

    fn have(&self, row: u64) -> bool {
        self.rows.binary_search_by_key(&row, |(row, ..)| *row).is_ok()
    }

    fn for_each_text(&self, mut visit: impl FnMut(u64, bool, &str) -> Result<()>) -> Result<()> {
        self.rows.iter().try_for_each(|(row, is_sampled, text)| {
            let text = str::from_utf8(text).map_err(|_| Error::config("a record that is text is not UTF-8"))?;
            visit(*row, *is_sampled, text)
        })
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
