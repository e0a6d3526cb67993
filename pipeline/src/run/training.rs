//! What scorers learn from: texts and embeddings of rows, wherever they come from.

use std::iter::Peekable;
use std::slice;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use tamis_schemas::columns;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ids::{column, rows_of};
use super::survey::Survey;
use super::texts::{self, DrawnTexts};
use super::{Run, pass};
use crate::budget::Reservation;
use crate::context::Context;
use crate::score::{LabelledText, embeddings_of};
use crate::select::LabelledPool;
use crate::source::{Columns, Request};
use crate::{Error, Result, RowSet};

/// Kept rows that a scorer without labels learns word frequencies from, at most.
pub(super) const SAMPLE_ROWS: u64 = 20_000;
/// Bytes of their texts, at most.
const SAMPLE_BYTES: usize = 32 << 20;

/// Rows of an input, as a scorer learns from them.
pub(super) trait TrainingData {
    /// Texts of the labelled rows, and of a sample of those that stay if it is wanted.
    fn texts(&self, labels: &LabelledPool, wants_sample: bool) -> Result<TrainingTexts>;

    /// Embeddings that the labelled rows have in a column.
    fn embeddings(&self, column: &str, labels: &LabelledPool) -> Result<TrainingEmbeddings>;

    /// Texts of rows that stay, drawn at random.
    fn drawn(&self) -> Result<DrawnTexts>;

    /// Calls `visit` on batches of some rows, with what scorers look at, in the order of the rows.
    fn read(&self, rows: RowSet, visit: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()>;
}

/// The rows of the input of a run, which are read for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputRows<'a> {
    pub(super) run: Run<'a>,
    pub(super) survey: &'a Survey,
    pub(super) seed: u64,
}

impl TrainingData for InputRows<'_> {
    fn texts(&self, labels: &LabelledPool, wants_sample: bool) -> Result<TrainingTexts> {
        let Self { run, survey, seed } = *self;
        let mut rows = labels.rows.clone();
        let sample = if wants_sample { sample_rows(survey, SAMPLE_ROWS, seed) } else { RowSet::new() };
        for row in sample.iter() {
            rows.insert(row);
        }
        let mut texts = TextCollector::new(labels, run.context);
        run.begin("learning");
        survey.read_texts(run, Vec::new(), rows, |batch| {
            let of_batch = column(&batch, columns::TEXT)?.as_string::<i32>();
            for (&row, text) in rows_of(&batch)?.values().iter().zip(of_batch) {
                texts.observe(row, text.unwrap_or_default(), sample.contains(row))?;
            }
            Ok(())
        })?;
        Ok(texts.finish())
    }

    fn embeddings(&self, column: &str, labels: &LabelledPool) -> Result<TrainingEmbeddings> {
        let Self { run, survey, .. } = *self;
        let verdicts = survey.verdicts();
        // The first row that stays says how long embeddings are, labels or not.
        let first = (0..survey.schema.n_rows()).find(|&row| verdicts.keeps(row));
        let rows: RowSet = labels.rows.iter().chain(first).collect();
        run.begin("learning");
        let request = Request {
            columns: Columns::Named(vec![column.to_owned()]),
            text: None,
            id: None,
            rows: Some(Arc::new(rows)),
        };
        let mut embeddings = EmbeddingCollector::new(labels, run.context);
        pass::for_each(run.scan(&survey.schema, &request)?, run.context, Ok, |decoded| {
            for batch in decoded.batches.iter().filter(|batch| batch.num_rows() > 0) {
                let (values, dimensions) = embeddings_of(batch, column)?;
                for (&row, embedding) in rows_of(batch)?.values().iter().zip(values.chunks_exact(dimensions)) {
                    embeddings.observe(row, embedding)?;
                }
            }
            Ok(())
        })?;
        embeddings.finish(column)
    }

    fn drawn(&self) -> Result<DrawnTexts> {
        texts::of_rows(self.run, self.survey, self.seed)
    }

    fn read(&self, rows: RowSet, visit: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let Self { run, survey, .. } = *self;
        survey.read_texts(run, run.plan.embedding_columns(), rows, visit)
    }
}

/// Texts to learn from.
#[derive(Debug)]
pub(super) struct TrainingTexts {
    pub(super) labelled: Vec<LabelledText>,
    /// Rows of `labelled`.
    pub(super) rows: Vec<u64>,
    /// Of rows that stay, labelled or not.
    pub(super) sample: Vec<String>,
    reservation: Reservation,
}

impl TrainingTexts {
    /// None at all.
    pub(super) fn none(context: &Context) -> Self {
        let reservation = context.budget.reserve("labelled texts");
        Self { labelled: Vec::new(), rows: Vec::new(), sample: Vec::new(), reservation }
    }
}

/// Takes the texts of rows, in their order.
#[derive(Debug)]
pub(super) struct TextCollector<'a> {
    labels: Labels<'a>,
    texts: TrainingTexts,
    sample: SampleBytes,
}

/// Bytes of a sample, which has an end: longer texts are left out, shorter ones that come later are not.
#[derive(Debug, Default)]
pub(super) struct SampleBytes(usize);

impl SampleBytes {
    /// Whether a text still fits, which is taken then.
    pub(super) fn take(&mut self, n_bytes: usize) -> bool {
        let fits = self.0 + n_bytes <= SAMPLE_BYTES;
        if fits {
            self.0 += n_bytes;
        }
        fits
    }
}

impl<'a> TextCollector<'a> {
    pub(super) fn new(labels: &'a LabelledPool, context: &Context) -> Self {
        Self { labels: Labels::new(labels), texts: TrainingTexts::none(context), sample: SampleBytes::default() }
    }

    /// Takes the text of a row if it is labelled, and once more if it is in the sample.
    pub(super) fn observe(&mut self, row: u64, text: &str, is_sampled: bool) -> Result<()> {
        if let Some(label) = self.labels.of(row) {
            self.texts.reservation.grow(text.len())?;
            self.texts.labelled.push(LabelledText { text: text.to_owned(), label: label.to_owned() });
            self.texts.rows.push(row);
        }
        if is_sampled && self.sample.take(text.len()) {
            self.texts.sample.push(text.to_owned());
        }
        Ok(())
    }

    pub(super) fn finish(self) -> TrainingTexts {
        self.texts
    }
}

/// Embeddings to learn from, which lie one after the other.
#[derive(Debug)]
pub(super) struct TrainingEmbeddings {
    pub(super) vectors: Vec<f32>,
    /// Length of each.
    pub(super) n_components: usize,
    pub(super) labels: Vec<String>,
    pub(super) rows: Vec<u64>,
    reservation: Reservation,
}

/// Takes the embeddings of rows, in their order.
#[derive(Debug)]
pub(super) struct EmbeddingCollector<'a> {
    labels: Labels<'a>,
    embeddings: TrainingEmbeddings,
}

impl<'a> EmbeddingCollector<'a> {
    pub(super) fn new(labels: &'a LabelledPool, context: &Context) -> Self {
        let embeddings = TrainingEmbeddings {
            vectors: Vec::new(),
            n_components: 0,
            labels: Vec::new(),
            rows: Vec::new(),
            reservation: context.budget.reserve("scorer"),
        };
        Self { labels: Labels::new(labels), embeddings }
    }

    /// Takes the embedding of a row if it is labelled; of others it takes the length.
    pub(super) fn observe(&mut self, row: u64, embedding: &[f32]) -> Result<()> {
        self.embeddings.n_components = embedding.len();
        if let Some(label) = self.labels.of(row) {
            self.embeddings.reservation.grow(size_of_val(embedding))?;
            self.embeddings.vectors.extend_from_slice(embedding);
            self.embeddings.labels.push(label.to_owned());
            self.embeddings.rows.push(row);
        }
        Ok(())
    }

    /// # Errors
    /// `Error::Column` if no row has an embedding.
    pub(super) fn finish(self, column: &str) -> Result<TrainingEmbeddings> {
        if self.embeddings.n_components == 0 {
            return Err(Error::Column { message: format!("no row has an embedding in column `{column}`"), hint: None });
        }
        Ok(self.embeddings)
    }
}

/// The labels of rows that come in their order.
#[derive(Debug)]
struct Labels<'a>(Peekable<slice::Iter<'a, (u64, String)>>);

impl<'a> Labels<'a> {
    fn new(pool: &'a LabelledPool) -> Self {
        Self(pool.labelled.iter().peekable())
    }

    fn of(&mut self, row: u64) -> Option<&'a str> {
        while self.0.next_if(|(labelled_row, _)| *labelled_row < row).is_some() {}
        self.0.next_if(|(labelled_row, _)| *labelled_row == row).map(|(_, label)| label.as_str())
    }
}

/// About so many rows of the input, by their hash; not those that were rejected or dropped.
pub(super) fn sample_rows(survey: &Survey, n_wanted: u64, seed: u64) -> RowSet {
    let n_rows = survey.schema.n_rows();
    let verdicts = survey.verdicts();
    (0..n_rows).filter(|&row| is_sampled(row, n_rows, n_wanted, seed)).filter(|&row| verdicts.keeps(row)).collect()
}

/// Whether a row is among about so many of all rows.
pub(super) fn is_sampled(row: u64, n_rows: u64, n_wanted: u64, seed: u64) -> bool {
    let share = if n_rows <= n_wanted { u64::MAX } else { (u64::MAX / n_rows).saturating_mul(n_wanted) };
    xxh3_64_with_seed(&row.to_le_bytes(), seed) <= share
}
