//! The scorer's columns, as selection reads them.

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Float16Type, Float32Type};
use half::f16;
use tamis_schemas::columns;

use super::Strategy;
use crate::score::append::required_column;
use crate::score::top_two;
use crate::{Error, Result};

/// The scorer's columns of one batch.
pub(super) struct Scores<'a> {
    /// What the strategy looks at.
    uncertainties: Option<&'a Float32Array>,
    probabilities: Option<&'a [f32]>,
    n_classes: usize,
    embeddings: &'a [f16],
    dimensions: usize,
}

impl<'a> Scores<'a> {
    /// Looks the columns up that the strategy needs.
    pub(super) fn of(batch: &'a RecordBatch, strategy: Strategy, n_classes: usize, dimensions: usize) -> Result<Self> {
        let float =
            |name| Ok::<_, Error>(required_column(batch, name, &DataType::Float32)?.as_primitive::<Float32Type>());
        let uncertainties = match (measure(strategy), n_classes) {
            (Some(name), 2..) => Some(float(name)?),
            _ => None,
        };
        let probabilities = if 2 <= n_classes {
            let values = list_items(batch, columns::PROBABILITIES, n_classes, &DataType::Float32)?;
            Some(&values.as_primitive::<Float32Type>().values()[..])
        } else {
            None
        };
        let embeddings: &[f16] = match dimensions {
            0 => &[],
            dimensions => list_items(batch, columns::EMBEDDING, dimensions, &DataType::Float16)?
                .as_primitive::<Float16Type>()
                .values(),
        };
        Ok(Self { uncertainties, probabilities, n_classes, embeddings, dimensions })
    }

    /// The embedding of a row.
    pub(super) fn embedding(&self, index: usize) -> &[f16] {
        &self.embeddings[index * self.dimensions..][..self.dimensions]
    }

    /// The probabilities of a row.
    pub(super) fn probabilities(&self, index: usize) -> &[f32] {
        self.probabilities.map_or(&[], |values| &values[index * self.n_classes..][..self.n_classes])
    }

    /// The two most probable classes of a row.
    pub(super) fn best_classes(&self, index: usize) -> [u32; 2] {
        top_two(self.probabilities(index)).map(|class| class as u32)
    }

    /// What the strategy measures of a row; of one without a measure what the surest rows have.
    pub(super) fn value(&self, strategy: Strategy, index: usize) -> f32 {
        let value = match strategy {
            Strategy::LeastConfidence | Strategy::Activelab => {
                self.probabilities(index).iter().copied().fold(f32::NAN, f32::max)
            }
            _ => match self.uncertainties {
                Some(values) if values.is_null(index) => f32::NAN,
                Some(values) => values.value(index),
                None => return 0.0,
            },
        };
        match (value.is_nan(), small_is_unsure(strategy)) {
            (false, _) => value,
            (true, true) => 1.0,
            (true, false) => 0.0,
        }
    }
}

/// The column that a strategy looks at.
fn measure(strategy: Strategy) -> Option<&'static str> {
    match strategy {
        Strategy::Margin | Strategy::ClusterMargin | Strategy::Uherding | Strategy::Anchor => Some(columns::MARGIN),
        Strategy::Entropy => Some(columns::ENTROPY),
        Strategy::Bald => Some(columns::BALD),
        Strategy::VoteEntropy => Some(columns::VOTE_ENTROPY),
        Strategy::MinMargin => Some(columns::MIN_MARGIN),
        _ => None,
    }
}

/// Whether the rows with the smallest values are those that the model is unsure of.
pub(super) fn small_is_unsure(strategy: Strategy) -> bool {
    !matches!(strategy, Strategy::Entropy | Strategy::Bald | Strategy::VoteEntropy)
}

/// Length of the lists of a column; 0 if it is not one of lists of one length.
pub(super) fn list_length(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::FixedSizeList(_, length) => *length as usize,
        _ => 0,
    }
}

/// Items of a column of lists of one length, without nulls.
pub(super) fn list_items<'a>(
    batch: &'a RecordBatch,
    name: &str,
    length: usize,
    item: &DataType,
) -> Result<&'a ArrayRef> {
    let wrong = |message| Error::Column { message, hint: None };
    let array = batch.column_by_name(name).ok_or_else(|| wrong(format!("there is no column `{name}`")))?;
    match array.as_fixed_size_list_opt() {
        Some(lists)
            if list_length(array) == length && lists.values().data_type() == item && lists.null_count() == 0 =>
        {
            Ok(lists.values())
        }
        _ => Err(wrong(format!("column `{name}` has type {}, expected lists of {length} {item}", array.data_type()))),
    }
}

/// Names of the classes of `tamis_probabilities`; none if there is no such column.
pub(super) fn classes_of(batch: &RecordBatch) -> Result<Vec<String>> {
    let Some((_, field)) = batch.schema_ref().fields().find(columns::PROBABILITIES) else { return Ok(Vec::new()) };
    let names = field.metadata().get(columns::CLASSES_KEY).and_then(|names| serde_json::from_str(names).ok());
    names.ok_or_else(|| Error::Column {
        message: format!("column `{}` does not name its classes", columns::PROBABILITIES),
        hint: None,
    })
}
