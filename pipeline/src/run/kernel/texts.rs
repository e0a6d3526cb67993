//! A reading of units for what a scorer learns from.

use std::collections::HashSet;
use std::io::{Read, Write};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::Task;
use super::cuts::{Cuts, CutsOfBatch};
use super::fate::{verdicts_of, verdicts_so_far};
use super::lesson::Lesson;
use super::looked::LookedAt;
use super::record::{Kind, Record, RecordWriter};
use super::right_size::sample_code;
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use crate::Result;
use crate::run::grain::Grain;
use crate::run::ids::{ids_of, rows_of};
use crate::run::labels::read_labels;
use crate::run::training::{SAMPLE_ROWS, is_sampled};
use crate::run::verdict::Verdicts;
use crate::run::{pass, right_size, texts};
use crate::score::{ScorerChoice, Unlabelled};
use crate::source::{Decoded, Inputs, Request};

/// Reads the units of a stream, if there is anything in them that the scorer learns from.
pub(super) fn texts(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let lesson = Lesson::of_stream(task, input)?;
    let wanted = Wanted::new(task, &lesson)?;
    let mut writer = RecordWriter::begin(output)?;
    while let Some(batch) = input.next()? {
        let units = PlacedUnit::of_batch(&batch)?;
        let so_far = if lesson.is_of_quality { verdicts_so_far } else { verdicts_of };
        let cuts = CutsOfBatch::new(task, &batch)?;
        for (index, (unit, verdicts)) in units.iter().zip(so_far(task, &batch, &units)?).enumerate() {
            let (mut n_ids, mut n_texts, mut n_dropped) = (0, 0, 0);
            if wanted.anything() {
                let Cuts { grain, .. } = cuts.of_unit(task, unit, index)?;
                wanted.read_unit(task, unit, (&verdicts, &grain), |record| {
                    if record.kind == Kind::Id {
                        n_ids += 1;
                        n_dropped += u64::from(verdicts.is_near_duplicate(record.a));
                        if lesson.knows_drops(task) && unit.repeated.contains(record.a) {
                            // It stands for itself, and nobody else hands that on.
                            writer.push(&Record { a: record.a, b: record.a, ..Record::new(Kind::Drop) })?;
                        }
                    } else {
                        n_texts += 1;
                    }
                    writer.push(&record)
                })?;
            }
            let payload = unit.n_staying(&verdicts).to_le_bytes().to_vec();
            let of_unit = Record { a: n_dropped, b: n_ids, c: n_texts, payload, ..Record::new(Kind::TextsOfUnit) };
            writer.push(&Record { unit: Some(unit.number), ..of_unit })?;
        }
    }
    writer.finish()
}

/// What is wanted of rows.
struct Wanted {
    /// Of the rows that labels speak of; `None` without labels.
    ids: Option<HashSet<String>>,
    looked: LookedAt,
    sample: Sample,
    /// Rows of which there is a sample that two scorers are compared on.
    compared: Option<u64>,
    seed: u64,
}

/// Rows that are learnt from without a label.
#[derive(PartialEq)]
enum Sample {
    None,
    /// Of so many rows.
    Rows(u64),
    /// Of rows with so many bytes.
    Bytes(u64),
}

impl Wanted {
    fn new(task: Task<'_>, lesson: &Lesson) -> Result<Self> {
        let (score, inputs) = (&lesson.score, Inputs::none(&task.plan.source, task.with.context));
        let mut ids = None;
        for source in lesson.label_sources(task).into_iter().flatten() {
            let of_files = read_labels(task.run(&inputs), &source, task.with.stores)?.table.ids()?;
            ids.get_or_insert_with(HashSet::new).extend(of_files);
        }
        let mut sample = Sample::None;
        for choice in lesson.choices() {
            match choice {
                ScorerChoice::Builtin => sample = Sample::Rows(task.job.n_rows),
                ScorerChoice::Unlabelled(Unlabelled::Ngram) if !score.reference.is_empty() => {}
                ScorerChoice::Unlabelled(_) => sample = Sample::Bytes(task.job.text_bytes),
                ScorerChoice::Column(_) | ScorerChoice::Encoder(_) => {}
            }
        }
        let compared = lesson.larger.as_ref().map(|_| task.job.n_rows);
        Ok(Self { ids, looked: LookedAt::of(lesson.choices()), sample, compared, seed: score.seed })
    }

    fn anything(&self) -> bool {
        self.ids.is_some() || self.looked.has_columns() || self.sample != Sample::None || self.compared.is_some()
    }

    fn is_sampled(&self, row: u64) -> bool {
        match self.sample {
            Sample::None => false,
            Sample::Rows(n_rows) => is_sampled(row, n_rows, SAMPLE_ROWS, self.seed),
            Sample::Bytes(n_bytes) => texts::is_drawn(row, n_bytes, self.seed),
        }
    }

    fn is_compared(&self, row: u64) -> bool {
        self.compared.is_some_and(|n_rows| right_size::is_sampled(row, n_rows, self.seed))
    }

    fn read_unit(
        &self,
        task: Task<'_>,
        unit: &PlacedUnit,
        (verdicts, grain): (&Verdicts, &Grain),
        mut to: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let (inputs, schema) = unit.open(task)?;
        let id = self.ids.is_some().then(|| task.plan.id.clone());
        let request = Request { id, ..self.looked.request(&task.plan.text) };
        let scan = inputs.scan(&schema, &request)?;
        task.with.progress.watch(inputs.total_bytes(), scan.bytes_read());
        let mut has_length = false;
        pass::for_each(
            scan,
            task.with.context,
            |Decoded { batches, .. }| {
                let found = |batch| self.found(&grain.cut_batch(batch)?, verdicts);
                batches.into_iter().map(found).collect::<Result<Vec<_>>>()
            },
            |found| {
                for Found { n_rows, records, length } in found {
                    task.with.progress.add_rows(n_rows);
                    // One row that stays says how long embeddings are, labels or not.
                    let length = length.filter(|_| !std::mem::replace(&mut has_length, true));
                    for record in records.into_iter().chain(length) {
                        to(Record { unit: Some(unit.number), ..record })?;
                    }
                }
                Ok(())
            },
        )
    }

    /// What is wanted of the rows of a batch.
    fn found(&self, batch: &RecordBatch, verdicts: &Verdicts) -> Result<Found> {
        let mut records = Vec::new();
        let ids = self.ids.as_ref().map(|wanted| ids_of(batch).map(|ids| (wanted, ids))).transpose()?;
        let (mut is_wanted, mut marks, mut length) = (Vec::with_capacity(batch.num_rows()), Vec::new(), None);
        for (index, &row) in rows_of(batch)?.values().iter().enumerate() {
            let id = ids.as_ref().map(|(wanted, ids)| (wanted, ids.value(index)));
            let id = id.filter(|(wanted, id)| wanted.contains(*id)).map(|(_, id)| id);
            let keeps = verdicts.keeps(row);
            let (is_sampled, is_compared) = (keeps && self.is_sampled(row), keeps && self.is_compared(row));
            if let Some(id) = id {
                records.push(Record { a: row, payload: id.as_bytes().to_vec(), ..Record::new(Kind::Id) });
            }
            // Nothing is learnt from a row with a held-out item.
            let is_learnt = id.is_some() && !verdicts.is_contaminated(row) || is_sampled || is_compared;
            let is_length = !is_learnt && self.looked.has_columns() && keeps && length.is_none();
            if is_length {
                length = Some(row);
            }
            is_wanted.push(is_learnt || is_length);
            if is_learnt || is_length {
                marks.push((row, sample_code(is_sampled, is_compared)));
            }
        }
        let payloads = self.payloads(&filter_record_batch(batch, &BooleanArray::from(is_wanted))?)?;
        let mut length_record = None;
        for ((row, b), payload) in marks.into_iter().zip(payloads) {
            let c = u64::from(verdicts.keeps(row));
            let record = Record { a: row, b, c, payload, ..Record::new(Kind::Text) };
            if length == Some(row) { length_record = Some(record) } else { records.push(record) }
        }
        Ok(Found { n_rows: batch.num_rows() as u64, records, length: length_record })
    }

    /// What is handed on of all rows.
    fn payloads(&self, batch: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        // More than the beginning is learnt from only where there are labels.
        let is_part = matches!(self.sample, Sample::Bytes(_));
        self.looked.payloads(batch, |text| if is_part { texts::beginning(text) } else { text })
    }
}

/// What is learnt from of a batch.
struct Found {
    n_rows: u64,
    records: Vec<Record>,
    /// The embedding of a row that stays, labelled or not.
    length: Option<Record>,
}
