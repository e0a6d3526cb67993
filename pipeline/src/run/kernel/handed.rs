//! What tasks have handed on of rows, for those who learn from them.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use tamis_schemas::columns;

use super::Task;
use super::lesson::Lesson;
use super::looked::{LookedAt, NO_TEXT};
use super::record::{Kind, Record, for_each_record};
use super::right_size::samples_of_code;
use super::stream::Incoming;
use crate::budget::Reservation;
use crate::context::Context;
use crate::run::texts::DrawnTexts;
use crate::run::training::{
    EmbeddingCollector, SampleBytes, TextCollector, TrainingData, TrainingEmbeddings, TrainingTexts,
};
use crate::score::ScorerChoice;
use crate::select::LabelledPool;
use crate::{Error, Result, RowSet};

/// Rows that are scored together.
const BATCH_ROWS: usize = 1024;

/// Rows in their order.
pub(super) struct HandedRows<'a> {
    rows: Vec<Handed>,
    /// Rows that labels speak of, in their order, and their ids.
    named: (Vec<u64>, Vec<String>),
    /// Rows of these that go.
    gone: RowSet,
    /// The row that each of those is dropped for that are.
    dropped: HashMap<u64, u64>,
    /// Rows of all units that stay.
    pub(super) n_staying: u64,
    looked: LookedAt,
    /// Of the built-in scorer, whose sample has an end.
    sample: Option<SampleBytes>,
    reservation: Reservation,
    context: &'a Context,
}

/// What is handed on of a row.
struct Handed {
    row: u64,
    /// Whether it is learnt from without a label.
    is_sampled: bool,
    /// Whether two scorers are compared on it.
    is_compared: bool,
    payload: Vec<u8>,
}

impl<'a> HandedRows<'a> {
    /// Takes the records of a stream.
    ///
    /// # Errors
    /// `Error::Invariant` if they are out of order, or some were lost on their way.
    pub(super) fn read_all(task: Task<'a>, lesson: &Lesson, input: &mut Incoming<impl Read>) -> Result<Self> {
        let context = task.with.context;
        let mut rows = Self {
            rows: Vec::new(),
            named: (Vec::new(), Vec::new()),
            gone: RowSet::new(),
            dropped: HashMap::new(),
            n_staying: 0,
            looked: LookedAt::of(lesson.choices()),
            sample: lesson.choices().any(|choice| *choice == ScorerChoice::Builtin).then(SampleBytes::default),
            reservation: context.budget.reserve("texts to learn from"),
            context,
        };
        let mut found = Found::default();
        for_each_record(input, |record| {
            found.count(&record)?;
            match record.kind {
                Kind::Drop => rows.push_drop(&record),
                Kind::Id => rows.push_id(record),
                Kind::Text => rows.push(record),
                Kind::TextsOfUnit => Ok(()),
                kind => Err(Error::Invariant(format!("nothing is learnt from records of kind {}", kind as u8))),
            }
        })?;
        found.check(task.job.starts.len(), lesson.knows_drops(task))?;
        rows.n_staying = found.n_staying;
        Ok(rows)
    }

    fn push_drop(&mut self, record: &Record) -> Result<()> {
        match self.dropped.insert(record.b, record.a) {
            None => Ok(()),
            Some(_) => Err(Error::Invariant(format!("row {} was dropped twice", record.b))),
        }
    }

    fn push_id(&mut self, record: Record) -> Result<()> {
        if self.named.0.last().is_some_and(|&last| last >= record.a) {
            return Err(Error::Invariant(format!("the id of row {} comes twice, or out of order", record.a)));
        }
        self.named.0.push(record.a);
        self.named.1.push(owned_text(record.payload)?);
        Ok(())
    }

    fn push(&mut self, record: Record) -> Result<()> {
        let Record { a: row, b, c, payload, .. } = record;
        if self.rows.last().is_some_and(|last| last.row >= row) {
            return Err(Error::Invariant(format!("row {row} was read twice, or comes out of order")));
        }
        let (is_sampled, is_compared) = samples_of_code(b)?;
        let is_sampled = is_sampled
            && match &mut self.sample {
                Some(sample) => sample.take(self.looked.text(&payload)?.len()),
                None => true,
            };
        let is_learnt = is_sampled || is_compared || b == 0 || self.named.0.binary_search(&row).is_ok();
        if c == 0 {
            self.gone.insert(row);
        }
        if is_learnt {
            self.reservation.grow(payload.len())?;
            self.rows.push(Handed { row, is_sampled, is_compared, payload });
        }
        Ok(())
    }

    /// Whether there is anything to learn from of a row.
    pub(super) fn have(&self, row: u64) -> bool {
        self.rows.binary_search_by_key(&row, |handed| handed.row).is_ok()
    }

    /// Whether a row that labels speak of, without a held-out item, stays.
    pub(super) fn keep(&self, row: u64) -> bool {
        !self.gone.contains(row)
    }

    /// The rows that stand for those of `rows` that are dropped, but for rows of earlier runs, which lie behind the `n_rows` of the pool.
    pub(super) fn stand_ins(&self, rows: &RowSet, n_rows: u64) -> HashMap<u64, u64> {
        let of_pool = self.dropped.iter().filter(|(dropped, kept)| rows.contains(**dropped) && **kept < n_rows);
        of_pool.map(|(&dropped, &kept)| (dropped, kept)).collect()
    }

    /// Rows that labels speak of, and their ids, as the pool has them.
    pub(super) fn named(&self) -> Result<RecordBatch> {
        let schema = Schema::new(vec![row_field(), Field::new(columns::ID, DataType::Utf8, false)]);
        let rows: ArrayRef = Arc::new(UInt64Array::from(self.named.0.clone()));
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(&self.named.1));
        Ok(RecordBatch::try_new(Arc::new(schema), vec![rows, ids])?)
    }

    fn for_each_text(&self, mut visit: impl FnMut(u64, bool, &str) -> Result<()>) -> Result<()> {
        self.rows.iter().try_for_each(|handed| visit(handed.row, handed.is_sampled, self.looked.text(&handed.payload)?))
    }

    /// Rows as scorers look at them.
    fn to_batch(&self, rows: &[&Handed]) -> Result<RecordBatch> {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|handed| Some(handed.row)).collect::<UInt64Array>());
        let (mut fields, mut arrays) = (vec![row_field()], vec![numbers]);
        let payloads: Vec<&[u8]> = rows.iter().map(|handed| handed.payload.as_slice()).collect();
        for (name, values) in self.looked.columns(&payloads)? {
            fields.push(Field::new(name, values.data_type().clone(), false));
            arrays.push(values);
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }

    /// Rows that two scorers are compared on: those of a sample that have no label.
    pub(super) fn compared(&self, labels: &LabelledPool) -> Result<(Vec<RecordBatch>, Reservation)> {
        let rows = self.rows.iter().filter(|handed| handed.is_compared && !labels.rows.contains(handed.row));
        let rows: Vec<&Handed> = rows.collect();
        let mut reservation = self.context.budget.reserve("comparing scorers");
        reservation.grow(rows.iter().map(|handed| handed.payload.len()).sum())?;
        let batches = rows.chunks(BATCH_ROWS).map(|some| self.to_batch(some)).collect::<Result<_>>()?;
        Ok((batches, reservation))
    }
}

fn row_field() -> Field {
    Field::new(columns::ROW, DataType::UInt64, false)
}

fn owned_text(payload: Vec<u8>) -> Result<String> {
    String::from_utf8(payload).map_err(|_| Error::config(NO_TEXT))
}

/// How many records of each kind there are, and must be.
#[derive(Debug, Default)]
struct Found {
    /// Drops, ids and texts.
    counts: [u64; 3],
    /// As many as the units say.
    expected: [u64; 3],
    units: BTreeSet<u64>,
    n_staying: u64,
}

impl Found {
    fn count(&mut self, record: &Record) -> Result<()> {
        match record.kind {
            Kind::Drop => self.counts[0] += 1,
            Kind::Id => self.counts[1] += 1,
            Kind::Text => self.counts[2] += 1,
            Kind::TextsOfUnit => {
                let unit = record.unit.ok_or_else(|| Error::Invariant("texts of no unit".into()))?;
                if !self.units.insert(unit) {
                    return Err(Error::Invariant(format!(
                        "unit {unit} was read twice for what is in it to learn from"
                    )));
                }
                let n_staying = record.payload.as_slice().try_into();
                let n_staying = n_staying.map_err(|_| Error::config("a unit does not say how many rows stay"))?;
                self.n_staying += u64::from_le_bytes(n_staying);
                let of_unit = [record.a, record.b, record.c];
                self.expected.iter_mut().zip(of_unit).for_each(|(expected, n)| *expected += n);
            }
            _ => {}
        }
        Ok(())
    }

    /// # Errors
    /// `Error::Invariant` if something was lost on its way.
    fn check(&self, n_units: usize, has_drops: bool) -> Result<()> {
        let Self { counts, expected, units, .. } = self;
        let n_drops = if has_drops { expected[0] } else { 0 };
        if units.len() == n_units && *counts == [n_drops, expected[1], expected[2]] {
            return Ok(());
        }
        let ([drops, ids, texts], n_read) = (counts, units.len());
        Err(Error::Invariant(format!(
            "{n_read} of {n_units} units were read for what is in them to learn from, with {ids} of {} ids, {drops} of {n_drops} drops \
             and {texts} of {} texts",
            expected[1], expected[2]
        )))
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
        for handed in &self.rows {
            embeddings.observe(handed.row, &self.looked.embedding(&handed.payload, column)?)?;
        }
        embeddings.finish(column)
    }

    fn drawn(&self) -> Result<DrawnTexts> {
        let mut texts = DrawnTexts::new(self.context);
        self.for_each_text(|_, is_sampled, text| if is_sampled { texts.push(text) } else { Ok(()) })?;
        Ok(texts)
    }

    fn read(&self, rows: RowSet, visit: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let wanted: Vec<&Handed> = self.rows.iter().filter(|row| rows.contains(row.row)).collect();
        if wanted.len() as u64 != rows.len() {
            let message = format!("{} of {} rows were read", wanted.len(), rows.len());
            return Err(Error::Invariant(message));
        }
        wanted.chunks(BATCH_ROWS).try_for_each(|some| visit(self.to_batch(some)?))
    }
}
