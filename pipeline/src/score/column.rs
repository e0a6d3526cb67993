//! Embeddings that rows have already, in a column, and the head that learns from them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, SchemaRef};
use tamis_schemas::columns;

use super::append::{append_columns, append_fields};
use super::head::{Head, HeadSettings};
use super::saved::{self, Header, Tensors};
use crate::context::Context;
use crate::stage::MapStage;
use crate::{Error, Result};

/// A fitted scorer over a column of embeddings; a [`MapStage`] that appends what the [built-in scorer](crate::score::BuiltinScorer) appends.
#[derive(Debug)]
pub struct ColumnScorer {
    column: String,
    dimensions: usize,
    head: Head,
    n_labelled: usize,
}

impl ColumnScorer {
    /// Learns from the embeddings of labelled rows, which lie one after the other.
    ///
    /// # Errors
    /// Those of a head: a label that the task cannot have, an embedding that is not finite.
    pub fn fit(
        column: &str,
        (embeddings, dimensions): (&[f32], usize),
        labels: &[&str],
        settings: &HeadSettings,
        context: &Context,
    ) -> Result<Self> {
        let head = Head::fit(embeddings, dimensions, labels, settings, context)?;
        Ok(Self { column: column.to_owned(), dimensions, head, n_labelled: labels.len() })
    }

    /// Names of the classes, sorted.
    pub fn classes(&self) -> &[String] {
        self.head.names()
    }

    /// Number of labelled rows it was fitted on.
    pub fn n_labelled(&self) -> usize {
        self.n_labelled
    }

    /// Index of labelled texts, in the order in which they were given, and probability of each class, by models that had not seen the text; taken
    /// once. None for fewer than 50 labels, for what is no class, and for a text that is alone with its class.
    pub(crate) fn take_left_out(&mut self) -> Vec<(usize, Vec<f32>)> {
        self.head.take_left_out()
    }

    /// Whether the labels told anything apart.
    pub fn has_learnt(&self) -> bool {
        self.head.has_learnt()
    }

    /// The scorer as a file.
    ///
    /// # Errors
    /// `Error::Invariant`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let (column, dimensions) = (self.column.clone(), self.dimensions);
        self.head.to_bytes(self.n_labelled, |scale, [n_members, n_layers], committee| saved::Model::Column {
            column,
            dimensions,
            scale,
            n_members,
            n_layers,
            committee,
        })
    }

    /// The scorer that a file holds.
    ///
    /// # Errors
    /// `Error::Corrupt` if something is missing in it.
    pub(super) fn of_saved(header: Header, tensors: &Tensors) -> Result<Self> {
        let saved::Model::Column { column, dimensions, scale, n_members, n_layers, committee } = header.model.clone()
        else {
            return Err(tensors.corrupt("it is another scorer"));
        };
        let n_labelled = header.labelled_rows;
        let head = Head::of_saved(header, ([n_members, n_layers], committee), scale, dimensions, tensors)?;
        Ok(Self { column, dimensions, head, n_labelled })
    }

    fn fields(&self) -> Vec<FieldRef> {
        self.head.fields(self.dimensions).into_iter().map(Arc::new).collect()
    }
}

impl MapStage for ColumnScorer {
    fn name(&self) -> &'static str {
        "score"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(append_fields(input, &self.fields()))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let (vectors, dimensions) = embeddings_of(&batch, &self.column)?;
        if batch.num_rows() > 0 && dimensions != self.dimensions {
            return Err(other_length(&self.column, self.dimensions, "those of a batch", dimensions));
        }
        let arrays = self.head.columns(&vectors, self.dimensions)?;
        append_columns(&batch, &self.fields(), arrays)
    }
}

/// Embeddings of a batch, one after the other, and how long they are; 0 if there is none.
///
/// # Errors
/// `Error::Column` if the column is not there or holds no lists of numbers, all of one length and finite.
pub(crate) fn embeddings_of(batch: &RecordBatch, column: &str) -> Result<(Vec<f32>, usize)> {
    let wrong = |message: String| Error::Column { message, hint: None };
    let array =
        batch.column_by_name(column).ok_or_else(|| wrong(format!("there is no column `{column}` of embeddings")))?;
    let lists: ArrayRef = match array.data_type() {
        DataType::List(_) => Arc::clone(array),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => cast(array, &DataType::List(item.clone()))?,
        other => return Err(wrong(format!("column `{column}` has type {other}, expected lists of numbers"))),
    };
    let lists = lists.as_list::<i32>();
    let item = lists.value_type();
    if !item.is_numeric() {
        return Err(wrong(format!("column `{column}` has lists of {item}, expected numbers")));
    }
    let as_floats = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
    let floats = cast(lists, &as_floats)?;
    let lists = floats.as_list::<i32>();
    let ids = batch.column_by_name(columns::ID).and_then(|ids| ids.as_string_opt::<i32>());
    let row_name = |row: usize| ids.map_or_else(|| "a row".into(), |ids| format!("row `{}`", ids.value(row)));
    let (mut vectors, mut dimensions) = (Vec::new(), 0);
    for row in 0..lists.len() {
        let values = lists.value(row);
        let values = values.as_primitive::<Float32Type>();
        if lists.is_null(row) || values.is_empty() || values.null_count() > 0 {
            return Err(wrong(format!("{} has no embedding in column `{column}`, or one with nulls", row_name(row))));
        }
        if row > 0 && values.len() != dimensions {
            return Err(other_length(column, dimensions, &row_name(row), values.len()));
        }
        if values.values().iter().any(|x| !x.is_finite()) {
            let name = row_name(row);
            return Err(wrong(format!(
                "the embedding of {name} in column `{column}` has a component that is not finite"
            )));
        }
        dimensions = values.len();
        vectors.extend_from_slice(values.values());
    }
    Ok((vectors, dimensions))
}

fn other_length(column: &str, expected: usize, whose: &str, found: usize) -> Error {
    Error::Column {
        message: format!("embeddings in column `{column}` have {expected} components, and {whose} {found}"),
        hint: Some("all must come from one model".into()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{FixedSizeListArray, Float16Array, Float64Array, ListArray, StringArray};
    use arrow::datatypes::Float64Type;
    use half::f16;

    use super::*;

    fn batch(array: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("e", array)]).unwrap()
    }

    fn lists(rows: Vec<Option<Vec<Option<f64>>>>) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows))
    }

    #[test]
    fn lists_of_any_numbers_are_embeddings() {
        let expect = (vec![1.0f32, 2.0, -0.5, 0.25], 2);
        let of_doubles = lists(vec![Some(vec![Some(1.0), Some(2.0)]), Some(vec![Some(-0.5), Some(0.25)])]);
        assert_eq!(embeddings_of(&batch(of_doubles), "e").unwrap(), expect);
        let item = Arc::new(Field::new_list_field(DataType::Float16, false));
        let halves = Float16Array::from_iter_values([1.0, 2.0, -0.5, 0.25].map(f16::from_f32));
        let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, Arc::new(halves), None));
        assert_eq!(embeddings_of(&batch(Arc::clone(&fixed)), "e").unwrap(), expect);
        assert_eq!(embeddings_of(&batch(fixed.slice(1, 1)), "e").unwrap(), (vec![-0.5, 0.25], 2), "a slice");
    }

    #[test]
    fn all_else_is_refused() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        for (array, expect) in [
            (numbers, "expected lists of numbers"),
            (texts, "expected lists of numbers"),
            (lists(vec![Some(vec![Some(1.0)]), None]), "no embedding"),
            (lists(vec![Some(vec![])]), "no embedding"),
            (lists(vec![Some(vec![Some(1.0), None])]), "with nulls"),
            (lists(vec![Some(vec![Some(f64::NAN)])]), "not finite"),
            (lists(vec![Some(vec![Some(1.0)]), Some(vec![Some(1.0), Some(2.0)])]), "1 components, and a row 2"),
        ] {
            let error = embeddings_of(&batch(array), "e").unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
        assert!(embeddings_of(&batch(lists(vec![])), "f").unwrap_err().to_string().contains("`f`"));
    }
}
