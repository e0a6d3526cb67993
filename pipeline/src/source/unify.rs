//! One type for columns of the same name in several files, and the cast to it. No value is changed by it.
//!
//! | types | common type |
//! |---|---|
//! | null and T | T |
//! | integers | the smallest that holds both; none for `UInt64` with a signed one |
//! | integer and float | `Float64`; a value beyond 2^53 that it does not hold is an error |
//! | text types | `LargeUtf8`; binary types `LargeBinary` |
//! | dictionary and T | the common type of its values and T |
//! | lists, structs | of the common types of their fields, by name |
//! | dates and times | the finer unit, same time zone |
//! | anything else | none |

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, LargeListArray, ListArray, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Fields, Int64Type, UInt64Type};

use crate::{Error, Result};

/// Largest integer up to which every integer is a `Float64`.
const MAX_EXACT_FLOAT: u64 = 1 << 53;

/// The type that holds the values of both types, if there is one.
pub(super) fn common_type(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Decimal128, Dictionary, FixedSizeList, Float16, Float32, Float64,
        LargeBinary, LargeList, LargeUtf8, List, Null, Struct, Timestamp, Utf8, Utf8View,
    };
    if left == right {
        return Some(left.clone());
    }
    Some(match (left, right) {
        (Null, other) | (other, Null) => other.clone(),
        (Dictionary(left_key, left_value), Dictionary(right_key, right_value)) => {
            let key = common_type(left_key, right_key)?;
            Dictionary(Box::new(key), Box::new(common_type(left_value, right_value)?))
        }
        (Dictionary(_, value), other) | (other, Dictionary(_, value)) => common_type(value, other)?,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => LargeUtf8,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => LargeBinary,
        (left, right) if left.is_integer() && right.is_integer() => common_integer(left, right)?,
        (Float16, Float32) | (Float32, Float16) => Float32,
        (left, right) if left.is_floating() && right.is_numeric() && !right.is_decimal() => Float64,
        (left, right) if right.is_floating() && left.is_numeric() && !left.is_decimal() => Float64,
        (List(left), List(right)) => List(common_field(left, right)?),
        (List(left) | LargeList(left), List(right) | LargeList(right)) => LargeList(common_field(left, right)?),
        (FixedSizeList(left, left_size), FixedSizeList(right, right_size)) if left_size == right_size => {
            FixedSizeList(common_field(left, right)?, *left_size)
        }
        (FixedSizeList(left, _), List(right) | FixedSizeList(right, _)) | (List(left), FixedSizeList(right, _)) => {
            List(common_field(left, right)?)
        }
        (Struct(left), Struct(right)) => Struct(common_fields(left, right)?),
        (Timestamp(left, left_zone), Timestamp(right, right_zone)) if left_zone == right_zone => {
            // Units are ordered from the coarsest to the finest.
            Timestamp(*left.max(right), left_zone.clone())
        }
        (Date32, Date64) | (Date64, Date32) => Date64,
        (Decimal128(left, left_scale), Decimal128(right, right_scale)) if left_scale == right_scale => {
            Decimal128(*left.max(right), *left_scale)
        }
        _ => return None,
    })
}

fn common_integer(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{Int16, Int32, Int64, UInt16, UInt32, UInt64};
    let bits = |data_type: &DataType| data_type.primitive_width().map_or(64, |bytes| bytes * 8);
    let (left_signed, right_signed) = (left.is_signed_integer(), right.is_signed_integer());
    // A signed type needs one bit more than the unsigned values it is to hold.
    let needed = |data_type: &DataType, is_signed: bool| {
        if (left_signed || right_signed) && !is_signed { bits(data_type) + 1 } else { bits(data_type) }
    };
    let needed_bits = needed(left, left_signed).max(needed(right, right_signed));
    Some(match (left_signed || right_signed, needed_bits) {
        (false, ..=16) => UInt16,
        (false, ..=32) => UInt32,
        (false, _) => UInt64,
        (true, ..=16) => Int16,
        (true, ..=32) => Int32,
        (true, ..=64) => Int64,
        (true, _) => return None,
    })
}

fn common_field(left: &FieldRef, right: &FieldRef) -> Option<FieldRef> {
    let data_type = common_type(left.data_type(), right.data_type())?;
    let is_nullable = left.is_nullable() || right.is_nullable();
    Some(Arc::new(left.as_ref().clone().with_data_type(data_type).with_nullable(is_nullable)))
}

fn common_fields(left: &Fields, right: &Fields) -> Option<Fields> {
    let mut fields: Vec<FieldRef> = Vec::with_capacity(left.len());
    for field in left {
        fields.push(match right.find(field.name()) {
            Some((_, other)) => common_field(field, other)?,
            None => Arc::new(field.as_ref().clone().with_nullable(true)),
        });
    }
    let missing = right.iter().filter(|field| left.find(field.name()).is_none());
    fields.extend(missing.map(|field| Arc::new(field.as_ref().clone().with_nullable(true))));
    Some(fields.into())
}

/// Casts a column to a type that [`common_type`] found for it.
///
/// # Errors
/// `Error::Arrow` if a value does not fit: an integer beyond 2^53 as a float, a time beyond the range of the finer unit.
pub(super) fn adapt(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    use DataType::{FixedSizeList, Float64, Int64, LargeList, List, Null, Struct, UInt64};
    if array.data_type() == target {
        return Ok(array.clone());
    }
    Ok(match (array.data_type(), target) {
        (Null, _) => new_null_array(target, array.len()),
        (Struct(_), Struct(fields)) => adapt_struct(array.as_struct(), fields)?,
        (List(_), List(field)) => {
            let list = array.as_list::<i32>();
            let values = adapt(list.values(), field.data_type())?;
            Arc::new(ListArray::try_new(field.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (LargeList(_), LargeList(field)) => {
            let list = array.as_list::<i64>();
            let values = adapt(list.values(), field.data_type())?;
            Arc::new(LargeListArray::try_new(field.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (FixedSizeList(_, _), FixedSizeList(field, size)) => {
            let list = array.as_fixed_size_list();
            let values = adapt(list.values(), field.data_type())?;
            Arc::new(FixedSizeListArray::try_new(field.clone(), *size, values, list.nulls().cloned())?)
        }
        (List(own), LargeList(_)) => adapt(&strict_cast(array, &LargeList(own.clone()))?, target)?,
        (FixedSizeList(own, _), List(_)) => adapt(&strict_cast(array, &List(own.clone()))?, target)?,
        (Int64 | UInt64, Float64) => {
            check_exact(array)?;
            strict_cast(array, target)?
        }
        _ => strict_cast(array, target)?,
    })
}

fn adapt_struct(array: &StructArray, fields: &Fields) -> Result<ArrayRef> {
    let columns = fields.iter().map(|field| match array.fields().find(field.name()) {
        Some((index, _)) => adapt(array.column(index), field.data_type()),
        None => Ok(new_null_array(field.data_type(), array.len())),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())?))
}

fn strict_cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() })?)
}

fn check_exact(array: &ArrayRef) -> Result<()> {
    let inexact = match array.data_type() {
        DataType::Int64 => array
            .as_primitive::<Int64Type>()
            .iter()
            .flatten()
            .find(|value| value.unsigned_abs() > MAX_EXACT_FLOAT)
            .map(|value| value.to_string()),
        _ => array
            .as_primitive::<UInt64Type>()
            .iter()
            .flatten()
            .find(|&value| value > MAX_EXACT_FLOAT)
            .map(|value| value.to_string()),
    };
    match inexact {
        Some(value) => Err(Error::Column {
            message: format!("the column is Float64 in another file, which does not hold {value}"),
            hint: Some("write the column with one type in every file".into()),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Float64Array, Int32Array, Int64Array, LargeStringArray, StringArray};
    use arrow::datatypes::{Field, Int32Type, TimeUnit};

    use super::*;

    #[test]
    fn common_types() {
        use DataType::*;
        let dictionary = |value: DataType| Dictionary(Box::new(Int32), Box::new(value));
        let list = |value: DataType| List(Arc::new(Field::new_list_field(value, true)));
        let structure = |fields: &[(&str, DataType)]| {
            Struct(fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect())
        };
        let cases = [
            (Int32, Int64, Some(Int64)),
            (Int8, UInt8, Some(Int16)),
            (UInt32, Int32, Some(Int64)),
            (UInt64, Int8, None),
            (UInt8, UInt64, Some(UInt64)),
            (Int64, Float64, Some(Float64)),
            (Int8, Float32, Some(Float64)),
            (Null, Utf8, Some(Utf8)),
            (Utf8, LargeUtf8, Some(LargeUtf8)),
            (Utf8, Int64, None),
            (Boolean, Int64, None),
            (dictionary(Utf8), Utf8, Some(Utf8)),
            (dictionary(Utf8), dictionary(LargeUtf8), Some(dictionary(LargeUtf8))),
            (list(Int32), list(Int64), Some(list(Int64))),
            (list(Int32), Int32, None),
            (
                structure(&[("a", Int32), ("b", Utf8)]),
                structure(&[("c", Null), ("a", Int64)]),
                Some(structure(&[("a", Int64), ("b", Utf8), ("c", Null)])),
            ),
            (
                Timestamp(TimeUnit::Second, None),
                Timestamp(TimeUnit::Nanosecond, None),
                Some(Timestamp(TimeUnit::Nanosecond, None)),
            ),
            (Timestamp(TimeUnit::Second, None), Timestamp(TimeUnit::Second, Some("UTC".into())), None),
            (Decimal128(5, 2), Decimal128(9, 2), Some(Decimal128(9, 2))),
            (Decimal128(5, 2), Float64, None),
        ];
        for (left, right, expected) in cases {
            assert_eq!(common_type(&left, &right), expected, "{left} and {right}");
            let reversed = common_type(&right, &left);
            assert_eq!(reversed.is_some(), expected.is_some(), "{right} and {left}");
        }
    }

    #[test]
    fn adapts_values() {
        let check = |array: ArrayRef, expected: ArrayRef| {
            let target = common_type(array.data_type(), expected.data_type()).unwrap();
            assert_eq!(&target, expected.data_type());
            assert_eq!(&adapt(&array, &target).unwrap(), &expected);
        };
        check(Arc::new(Int32Array::from(vec![Some(1), None])), Arc::new(Int64Array::from(vec![Some(1), None])));
        check(Arc::new(Int64Array::from(vec![1 << 53])), Arc::new(Float64Array::from(vec![(1u64 << 53) as f64])));
        check(
            Arc::new(DictionaryArray::<Int32Type>::from_iter(["a", "b", "a"])),
            Arc::new(StringArray::from(vec!["a", "b", "a"])),
        );
        check(Arc::new(StringArray::from(vec!["x"])), Arc::new(LargeStringArray::from(vec!["x"])));
        let inexact: ArrayRef = Arc::new(Int64Array::from(vec![(1 << 53) + 1]));
        assert!(adapt(&inexact, &DataType::Float64).is_err());
    }

    #[test]
    fn adapts_structs_by_name() {
        let old = Fields::from(vec![Field::new("a", DataType::Int32, true)]);
        let new = Fields::from(vec![Field::new("b", DataType::Utf8, true), Field::new("a", DataType::Int64, true)]);
        let array = StructArray::new(old, vec![Arc::new(Int32Array::from(vec![7]))], None);
        let adapted = adapt(&(Arc::new(array) as ArrayRef), &DataType::Struct(new)).unwrap();
        assert!(adapted.as_struct().column(0).is_null(0));
        assert_eq!(adapted.as_struct().column(1).as_primitive::<Int64Type>().value(0), 7);
    }
}
