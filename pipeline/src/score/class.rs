//! The probability of one class, as a score of its own.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, SchemaRef};
use tamis_schemas::columns;

use super::append::{append_columns, append_fields};
use crate::stage::MapStage;
use crate::{Error, Result};

/// A scorer that appends `tamis_probability`, too: that of the class at `index` of its classes.
#[derive(Debug)]
pub(crate) struct ClassScorer<'a> {
    pub(crate) scorer: Box<dyn MapStage + 'a>,
    pub(crate) index: usize,
}

impl ClassScorer<'_> {
    fn fields() -> [FieldRef; 1] {
        [Arc::new(Field::new(columns::PROBABILITY, DataType::Float32, false))]
    }
}

impl MapStage for ClassScorer<'_> {
    fn name(&self) -> &'static str {
        self.scorer.name()
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(append_fields(&self.scorer.output_schema(input)?, &Self::fields()))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let batch = self.scorer.apply(batch)?;
        let missing = || Error::Invariant(format!("the scorer made no column `{}`", columns::PROBABILITIES));
        let lists = batch.column_by_name(columns::PROBABILITIES).ok_or_else(missing)?;
        let lists = lists.as_fixed_size_list_opt().ok_or_else(missing)?;
        let width = lists.value_length() as usize;
        let values = lists.values().as_primitive::<Float32Type>().values();
        // A slice of a batch begins somewhere in the values.
        let first = lists.value_offset(0) as usize;
        let of_class = (0..lists.len()).map(|row| values[first + row * width + self.index]);
        let probabilities = Arc::new(Float32Array::from_iter_values(of_class));
        append_columns(&batch, &Self::fields(), vec![probabilities])
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, FixedSizeListArray, StringArray};

    use super::*;

    /// Says the text's length in all ways: class `i` of 3 has `length + i`.
    #[derive(Debug)]
    struct Lengths;

    impl Lengths {
        fn fields() -> [FieldRef; 1] {
            let item = Arc::new(Field::new_list_field(DataType::Float32, false));
            [Arc::new(Field::new(columns::PROBABILITIES, DataType::FixedSizeList(item, 3), false))]
        }
    }

    impl MapStage for Lengths {
        fn name(&self) -> &'static str {
            "lengths"
        }

        fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
            Ok(append_fields(input, &Self::fields()))
        }

        fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
            let texts = batch.column(0).as_string::<i32>();
            let values = texts.iter().flatten().flat_map(|text| (0..3).map(|class| (text.len() + class) as f32));
            let values: ArrayRef = Arc::new(Float32Array::from_iter_values(values));
            let item = Arc::new(Field::new_list_field(DataType::Float32, false));
            let lists = FixedSizeListArray::try_new(item, 3, values, None)?;
            append_columns(&batch, &Self::fields(), vec![Arc::new(lists)])
        }
    }

    #[test]
    fn the_class_that_was_asked_for() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "bcd", "", "xy"]));
        let batch = RecordBatch::try_from_iter([(columns::TEXT, texts)]).unwrap();
        for index in 0..3 {
            let stage = ClassScorer { scorer: Box::new(Lengths), index };
            for (first, length) in [(0, 4), (1, 2), (3, 1), (2, 0)] {
                let scored = stage.apply(batch.slice(first, length)).unwrap();
                assert_eq!(scored.schema(), stage.output_schema(&batch.schema()).unwrap());
                let got = scored.column_by_name(columns::PROBABILITY).unwrap().as_primitive::<Float32Type>();
                let expect: Vec<f32> = [1, 3, 0, 2][first..first + length].iter().map(|n| (n + index) as f32).collect();
                assert_eq!(got.values(), &expect[..]);
            }
        }
    }
}
