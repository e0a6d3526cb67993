//! What a selection has seen of some rows, for one that joins it with what others have seen of other rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float32Array, RecordBatch, StringArray, UInt8Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Float32Type, UInt8Type, UInt32Type, UInt64Type};
use half::f16;
use serde::{Deserialize, Serialize};

use super::Selection;
use super::candidates::{Candidate, Finished};
use super::plan::Plan;
use crate::context::Context;
use crate::score::append::required_column;
use crate::{Error, Result};

/// Candidates that are handed on together, at most.
const BATCH_ROWS: usize = 1024;

/// What a selection has seen, but for its candidates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(super) n_pool: u64,
    pub(super) n_labelled: u64,
    pub(super) n_excluded: u64,
    pub(super) n_again: u64,
    /// Components of the embeddings that the strategy looks at, and names of the classes, if it has seen a row.
    pub(super) shape: Option<(usize, Vec<String>)>,
}

impl Selection {
    /// Gives what it has seen, and `to` the candidates, in batches. Memory does not grow with the rows that were seen, nor does this.
    ///
    /// # Errors
    /// Those of `to`.
    pub(crate) fn hand_over(self, mut to: impl FnMut(&RecordBatch) -> Result<()>) -> Result<Seen> {
        let values = self.strata.into_values();
        let mut seen = Seen {
            n_pool: self.n_pool,
            n_labelled: self.n_labelled,
            n_excluded: self.n_excluded,
            n_again: self.n_again,
            shape: None,
        };
        let Some(plan) = self.plan else { return Ok(seen) };
        let Plan { classes, dimensions, best, random, labelled, .. } = plan;
        seen.shape = Some((dimensions, classes));
        let best = best.into_iter().enumerate().map(|(set, best)| (Set::Best(set), best));
        for (set, candidates) in best.chain([(Set::Random, random), (Set::Labelled, labelled)]) {
            let found = candidates.finish()?;
            for start in (0..found.rows.len()).step_by(BATCH_ROWS) {
                to(&to_batch(set, &found, start, &values)?)?;
            }
        }
        Ok(seen)
    }

    /// Adds what another selection of the same settings has seen, of other rows.
    ///
    /// # Errors
    /// `Error::Config` if its rows have other classes, or embeddings of another length; what keeps a strategy from working.
    pub(crate) fn add_seen(&mut self, seen: Seen, context: &Context) -> Result<()> {
        let Seen { n_pool, n_labelled, n_excluded, n_again, shape } = seen;
        self.n_pool += n_pool;
        self.n_labelled += n_labelled;
        self.n_excluded += n_excluded;
        self.n_again += n_again;
        let Some((dimensions, classes)) = shape else { return Ok(()) };
        match &self.plan {
            None => self.begin(dimensions, classes, context),
            Some(plan) if (plan.dimensions, &plan.classes) == (dimensions, &classes) => Ok(()),
            Some(_) => Err(Error::Config {
                message: "rows were scored by different scorers".into(),
                hint: Some("every machine must reach the scorer by the same path or URL".into()),
            }),
        }
    }

    /// Adds candidates of another selection, [of which is known](Self::add_seen) what it has seen.
    ///
    /// # Errors
    /// `Error::Invariant` if they are none of such a selection.
    pub(crate) fn add_candidates(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        let columns = Columns::of(batch)?;
        let has_strata = self.settings.quota.is_some();
        let mut numbers: BTreeMap<Option<&str>, u32> = BTreeMap::new();
        for index in 0..batch.num_rows() {
            let set = columns.set(index)?;
            let value = (!columns.strata.is_null(index)).then(|| columns.strata.value(index));
            let stratum = match (set, numbers.get(&value)) {
                (Set::Labelled, _) => 0,
                (_, Some(&number)) => number,
                (_, None) => {
                    let number = if has_strata { self.stratum(value, context)? } else { 0 };
                    numbers.insert(value, number);
                    number
                }
            };
            let (candidate, embedding, probabilities) = columns.candidate(index, stratum);
            let plan = self.plan.as_mut().ok_or_else(|| wrong("candidates of a pool without rows"))?;
            let candidates = match set {
                Set::Best(set) => {
                    plan.best.get_mut(set).ok_or_else(|| wrong("candidates of a class that is not there"))?
                }
                Set::Random => &mut plan.random,
                Set::Labelled => &mut plan.labelled,
            };
            if [embedding.len(), probabilities.len()] != candidates.widths() {
                return Err(wrong("an embedding, or probabilities, of another length"));
            }
            candidates.push(candidate, &embedding, &probabilities)?;
        }
        Ok(())
    }
}

/// Which of a selection's sets candidates are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Best(usize),
    Random,
    Labelled,
}

fn wrong(what: &str) -> Error {
    Error::Invariant(format!("a selection was handed {what}"))
}

/// Some candidates from `start` on.
fn to_batch(set: Set, found: &Finished, start: usize, strata: &[Option<String>]) -> Result<RecordBatch> {
    let rows = &found.rows[start..found.rows.len().min(start + BATCH_ROWS)];
    let (kind, of_class) = match set {
        Set::Best(class) => (0, class as u32),
        Set::Random => (1, 0),
        Set::Labelled => (2, 0),
    };
    let numbers = |number: &dyn Fn(&Candidate) -> u64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(number(row))).collect::<UInt64Array>())
    };
    let floats = |number: &dyn Fn(&Candidate) -> f32| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(number(row))).collect::<Float32Array>())
    };
    let classes = |place: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(row.best_classes[place])).collect::<UInt32Array>())
    };
    let stratum = |row: &Candidate| strata.get(row.stratum as usize).and_then(Option::as_deref);
    let indexes = start..start + rows.len();
    let embeddings = indexes.clone().map(|index| le_bytes(found.embedding(index), f16::to_le_bytes));
    let probabilities = indexes.map(|index| le_bytes(found.probabilities_of(index), f32::to_le_bytes));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("set", Arc::new(UInt8Array::from(vec![kind; rows.len()])) as ArrayRef, false),
        ("class", Arc::new(UInt32Array::from(vec![of_class; rows.len()])), false),
        ("order", floats(&|row| row.order), false),
        ("key", numbers(&|row| row.key), false),
        ("row", numbers(&|row| row.row), false),
        ("stratum", Arc::new(rows.iter().map(stratum).collect::<StringArray>()), true),
        ("cluster", numbers(&|row| row.cluster), false),
        ("value", floats(&|row| row.value), false),
        ("weight", floats(&|row| row.weight), false),
        ("first", classes(0), false),
        ("second", classes(1), false),
        ("embedding", Arc::new(BinaryArray::from_iter_values(embeddings)), false),
        ("probabilities", Arc::new(BinaryArray::from_iter_values(probabilities)), false),
    ])?)
}

fn le_bytes<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| bytes(value)).collect()
}

/// The columns of [`to_batch`].
struct Columns<'a> {
    sets: &'a UInt8Array,
    classes: [&'a UInt32Array; 3],
    floats: [&'a Float32Array; 3],
    numbers: [&'a UInt64Array; 3],
    strata: &'a StringArray,
    vectors: [&'a BinaryArray; 2],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let column = |name: &str, data_type| required_column(batch, name, &data_type);
        let class = |name: &str| Ok::<_, Error>(column(name, DataType::UInt32)?.as_primitive::<UInt32Type>());
        let float = |name: &str| Ok::<_, Error>(column(name, DataType::Float32)?.as_primitive::<Float32Type>());
        let number = |name: &str| Ok::<_, Error>(column(name, DataType::UInt64)?.as_primitive::<UInt64Type>());
        let vector = |name: &str| Ok::<_, Error>(column(name, DataType::Binary)?.as_binary::<i32>());
        Ok(Self {
            sets: column("set", DataType::UInt8)?.as_primitive::<UInt8Type>(),
            classes: [class("class")?, class("first")?, class("second")?],
            floats: [float("order")?, float("value")?, float("weight")?],
            numbers: [number("key")?, number("row")?, number("cluster")?],
            strata: column("stratum", DataType::Utf8)?.as_string::<i32>(),
            vectors: [vector("embedding")?, vector("probabilities")?],
        })
    }

    fn set(&self, index: usize) -> Result<Set> {
        match self.sets.value(index) {
            0 => Ok(Set::Best(self.classes[0].value(index) as usize)),
            1 => Ok(Set::Random),
            2 => Ok(Set::Labelled),
            _ => Err(wrong("candidates of a set that is not there")),
        }
    }

    fn candidate(&self, index: usize, stratum: u32) -> (Candidate, Vec<f16>, Vec<f32>) {
        let [_, first, second] = self.classes.map(|column| column.value(index));
        let [order, value, weight] = self.floats.map(|column| column.value(index));
        let [key, row, cluster] = self.numbers.map(|column| column.value(index));
        let [embedding, probabilities] = self.vectors.map(|column| column.value(index));
        let candidate = Candidate { order, key, row, stratum, cluster, value, weight, best_classes: [first, second] };
        let (embedding, _) = embedding.as_chunks();
        let (probabilities, _) = probabilities.as_chunks();
        (
            candidate,
            embedding.iter().map(|&bytes| f16::from_le_bytes(bytes)).collect(),
            probabilities.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        )
    }
}
