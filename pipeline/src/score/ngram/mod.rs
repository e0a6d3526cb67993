//! Bits per byte under a small model of a reference: how unlike the reference a text is.

mod model;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use rayon::prelude::*;
use tamis_schemas::columns;
use xxhash_rust::xxh3::xxh3_64;

use self::model::ByteModel;
use super::answers::Answers;
use super::append::{append_columns, append_fields, required_column};
use super::saved::{self, Tensors};
use crate::Result;
use crate::budget::Reservation;
use crate::context::Context;
use crate::stage::MapStage;

/// Bytes of a text that are looked at: its beginning tells.
const MOST_TEXT_BYTES: usize = 64 << 10;
/// Bytes for a text that was learnt, at most.
const LEARNT_BYTES: usize = 32;
/// Texts that a thread scores at a time.
const CHUNK_TEXTS: usize = 64;
/// Name of the tensor of texts that were learnt.
const LEARNT: &str = "learnt";

/// Appends `tamis_bits_per_byte`: how many bits a byte of the text takes under a byte n-gram model.
///
/// Low is like the reference, or boilerplate that repeats itself; high is unlike it: another language, noise, tables. Both
/// ends are worth a look, so that a rule over this column is a band.
///
/// | reference | what a text is compared with |
/// | --- | --- |
/// | given | all of its texts |
/// | the rows themselves | those of other rows that were drawn: no text predicts itself |
///
/// # Determinism
/// A function of the texts in their order; not of threads, batches and the rows around.
#[derive(Debug)]
pub struct NgramScorer {
    model: ByteModel,
    /// By the hash of a text, how often it was learnt; of a reference nothing.
    learnt: HashMap<u64, u32>,
    /// For the model.
    reservation: Reservation,
}

impl NgramScorer {
    /// Learns from reference texts.
    ///
    /// # Cost
    /// 80 MB of memory.
    ///
    /// # Errors
    /// `Error::OverBudget`.
    pub fn of_reference(texts: &[String], context: &Context) -> Result<Self> {
        let mut reservation = context.budget.reserve("scorer");
        reservation.grow(ByteModel::memory_bytes())?;
        let texts: Vec<&str> = texts.iter().map(|text| beginning(text)).collect();
        let model = context.pool.install(|| ByteModel::fit(&texts));
        Ok(Self { model, learnt: HashMap::new(), reservation })
    }

    /// Learns from the rows that it is to score.
    ///
    /// # Errors
    /// `Error::OverBudget`.
    pub fn of_pool(texts: &[String], context: &Context) -> Result<Self> {
        let mut scorer = Self::of_reference(texts, context)?;
        scorer.reservation.grow(texts.len() * LEARNT_BYTES)?;
        for text in texts {
            *scorer.learnt.entry(xxh3_64(beginning(text).as_bytes())).or_default() += 1;
        }
        Ok(scorer)
    }

    /// The scorer as a file, of 80 MB.
    ///
    /// # Errors
    /// `Error::Invariant`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors = Tensors::default();
        self.model.save(&mut tensors);
        let mut learnt: Vec<(u64, u32)> = self.learnt.iter().map(|(&hash, &n)| (hash, n)).collect();
        learnt.sort_unstable();
        let numbers = learnt.iter().flat_map(|&(hash, n)| [hash as u32, (hash >> 32) as u32, n]);
        tensors.add_integers(LEARNT, &numbers.collect::<Vec<_>>());
        saved::to_bytes(saved::Model::Ngram, &Answers::none(), 0, None, &tensors)
    }

    /// The scorer that a file holds.
    ///
    /// # Errors
    /// `Error::Corrupt` if a count is missing, `Error::OverBudget`.
    pub(super) fn of_saved(tensors: &Tensors, context: &Context) -> Result<Self> {
        let mut reservation = context.budget.reserve("scorer");
        let numbers = tensors.integers(LEARNT)?;
        let (texts, rest) = numbers.as_chunks();
        if !rest.is_empty() {
            return Err(tensors.corrupt("a text that was learnt has no count"));
        }
        reservation.grow(ByteModel::memory_bytes() + texts.len() * LEARNT_BYTES)?;
        let learnt = texts.iter().map(|&[low, high, n]| (u64::from(high) << 32 | u64::from(low), n)).collect();
        Ok(Self { model: ByteModel::of_saved(tensors)?, learnt, reservation })
    }

    fn fields() -> [FieldRef; 1] {
        [Arc::new(Field::new(columns::BITS_PER_BYTE, DataType::Float32, true))]
    }

    fn score(&self, text: &str) -> Option<f32> {
        let text = beginning(text).as_bytes();
        let n_learnt = if self.learnt.is_empty() { 0 } else { self.learnt.get(&xxh3_64(text)).copied().unwrap_or(0) };
        self.model.bits_per_byte(text, n_learnt)
    }
}

impl MapStage for NgramScorer {
    fn name(&self) -> &'static str {
        "score"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(append_fields(input, &Self::fields()))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let texts: &StringArray = required_column(&batch, columns::TEXT, &DataType::Utf8)?.as_string::<i32>();
        let rows: Vec<usize> = (0..texts.len()).collect();
        let scores: Vec<Option<f32>> = rows
            .par_chunks(CHUNK_TEXTS)
            .flat_map_iter(|rows| {
                rows.iter().map(|&row| self.score(if texts.is_null(row) { "" } else { texts.value(row) }))
            })
            .collect();
        append_columns(&batch, &Self::fields(), vec![Arc::new(Float32Array::from(scores))])
    }
}

/// The beginning of a text that is looked at.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_TEXT_BYTES)]
}
