//! The stop set: random rows of the first round's pool, and what each round predicts for them.

use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float32Type};
use tamis_schemas::active::Stability;
use tamis_schemas::columns;
use tamis_schemas::tables::stop_set_schema;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::stop;
use crate::Result;
use crate::score::append::required_column;

/// Keeps the draw independent of the order that breaks ties in selection.
const SALT: u64 = 0x5374_6f70;

/// Collects the predictions for the rows of a stop set out of all that are scored.
#[derive(Debug)]
pub(super) struct StopSet {
    rows: Rows,
    found: BinaryHeap<Prediction>,
}

/// Which rows.
#[derive(Debug)]
enum Rows {
    /// So many, first by hash, but those.
    Draw { n_rows: usize, seed: u64, but: HashSet<String> },
    /// These.
    Fixed(HashSet<String>),
}

/// In the order of the hash, which no two ids of a pool share by more than chance.
#[derive(Debug, Clone, PartialEq)]
struct Prediction {
    hash: u64,
    id: String,
    label: Option<String>,
    entropy: Option<f32>,
}

impl Eq for Prediction {}

impl Ord for Prediction {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.hash, &self.id).cmp(&(other.hash, &other.id))
    }
}

impl PartialOrd for Prediction {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl StopSet {
    /// Rows that are to be drawn: not those in `but`, which are labelled or handed out.
    pub(super) fn drawn(n_rows: u64, seed: u64, but: HashSet<String>) -> Self {
        Self { rows: Rows::Draw { n_rows: n_rows as usize, seed: seed ^ SALT, but }, found: BinaryHeap::new() }
    }

    /// The rows of an earlier round's set.
    pub(super) fn of(earlier: &RecordBatch) -> Result<Self> {
        let ids = required_column(earlier, columns::ID, &DataType::Utf8)?.as_string::<i32>();
        Ok(Self { rows: Rows::Fixed(ids.iter().flatten().map(str::to_owned).collect()), found: BinaryHeap::new() })
    }

    /// Sees scored rows.
    pub(super) fn observe(&mut self, scored: &RecordBatch) -> Result<()> {
        let ids = required_column(scored, columns::ID, &DataType::Utf8)?.as_string::<i32>();
        let labels = scored.column_by_name(columns::LABEL).and_then(|column| column.as_string_opt::<i32>());
        let entropies =
            scored.column_by_name(columns::ENTROPY).and_then(|column| column.as_primitive_opt::<Float32Type>());
        for (row, id) in ids.iter().enumerate() {
            let Some(id) = id else { continue };
            let (hash, n_rows) = match &self.rows {
                Rows::Draw { n_rows, seed, but } if !but.contains(id) => {
                    (xxh3_64_with_seed(id.as_bytes(), *seed), *n_rows)
                }
                Rows::Fixed(ids) if ids.contains(id) => (0, ids.len()),
                _ => continue,
            };
            let is_full = n_rows <= self.found.len();
            if is_full && self.found.peek().is_none_or(|last| (last.hash, last.id.as_str()) <= (hash, id)) {
                continue;
            }
            let label = labels.and_then(|labels| labels.is_valid(row).then(|| labels.value(row).to_owned()));
            let entropy = entropies.and_then(|entropies| entropies.is_valid(row).then(|| entropies.value(row)));
            self.found.push(Prediction { hash, id: id.to_owned(), label, entropy });
            if n_rows < self.found.len() {
                self.found.pop();
            }
        }
        Ok(())
    }

    /// The predictions, by id.
    pub(super) fn finish(self) -> Result<RecordBatch> {
        let mut found = self.found.into_vec();
        found.sort_by(|left, right| left.id.cmp(&right.id));
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(found.iter().map(|row| &row.id)));
        let labels = Arc::new(found.iter().map(|row| row.label.as_deref()).collect::<StringArray>());
        let entropies = Arc::new(found.iter().map(|row| row.entropy).collect::<Float32Array>());
        Ok(RecordBatch::try_new(stop_set_schema(), vec![ids, labels, entropies])?)
    }
}

/// What the predictions of a round say, by themselves and against those of the round before.
pub(super) fn stability(current: &RecordBatch, previous: Option<&RecordBatch>) -> Result<Stability> {
    let labels = labels_of(current)?;
    let earlier = previous.map(labels_of).transpose()?.unwrap_or_default();
    let pairs: Vec<(&str, &str)> = labels.iter().filter_map(|(id, label)| Some((*earlier.get(id)?, *label))).collect();
    let entropies = required_column(current, "entropy", &DataType::Float32)?.as_primitive::<Float32Type>();
    let entropies: Vec<f64> = entropies.iter().flatten().map(f64::from).collect();
    Ok(Stability {
        rows: current.num_rows() as u64,
        mean_entropy: stop::mean(&entropies),
        kappa: stop::kappa(&pairs),
        changed_ratio: stop::changed_ratio(&pairs),
    })
}

/// Predicted label by id, of rows that have one; in the order of the ids, so that sums are the same each time.
fn labels_of(table: &RecordBatch) -> Result<BTreeMap<&str, &str>> {
    let ids = required_column(table, columns::ID, &DataType::Utf8)?.as_string::<i32>();
    let labels = required_column(table, "label", &DataType::Utf8)?.as_string::<i32>();
    Ok(ids.iter().zip(labels).filter_map(|(id, label)| Some((id?, label?))).collect())
}
