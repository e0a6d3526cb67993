//! How large rows are, whatever batches and buffers they lie in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::DataType;

/// Uncompressed bytes of each row: a function of its values alone.
pub(crate) fn row_bytes(batch: &RecordBatch) -> Vec<u64> {
    let mut bytes = vec![0; batch.num_rows()];
    for column in batch.columns() {
        add_row_bytes(column, &mut bytes);
    }
    bytes
}

/// Adds to each row the bytes of its value in `array`: a function of the values, not of the buffers they lie in.
fn add_row_bytes(array: &ArrayRef, bytes: &mut [u64]) {
    match array.data_type() {
        DataType::Utf8 => add_lengths(array.as_string::<i32>().value_offsets(), bytes, |_, length| length),
        DataType::LargeUtf8 => add_lengths(array.as_string::<i64>().value_offsets(), bytes, |_, length| length),
        DataType::Binary => add_lengths(array.as_binary::<i32>().value_offsets(), bytes, |_, length| length),
        DataType::LargeBinary => add_lengths(array.as_binary::<i64>().value_offsets(), bytes, |_, length| length),
        DataType::Utf8View => {
            let lengths = array.as_string_view().lengths();
            lengths.zip(bytes).for_each(|(length, total)| *total += 4 + u64::from(length));
        }
        DataType::BinaryView => {
            let lengths = array.as_binary_view().lengths();
            lengths.zip(bytes).for_each(|(length, total)| *total += 4 + u64::from(length));
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            add_children(list.value_offsets(), list.values(), bytes);
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            add_children(list.value_offsets(), list.values(), bytes);
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            add_children(map.value_offsets(), &entries, bytes);
        }
        DataType::FixedSizeList(_, width) => {
            let list = array.as_fixed_size_list();
            let offsets: Vec<i32> = (0..=list.len() as i32).map(|row| row * width).collect();
            add_children(&offsets, list.values(), bytes);
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().for_each(|column| add_row_bytes(column, bytes));
        }
        DataType::Dictionary(key, _) => add_width(key.primitive_width().unwrap_or(4), bytes),
        DataType::FixedSizeBinary(width) => add_width(*width as usize, bytes),
        other => add_width(other.primitive_width().unwrap_or(1), bytes),
    }
}

fn add_width(width: usize, bytes: &mut [u64]) {
    for total in bytes {
        *total += width as u64;
    }
}

fn add_lengths<O: OffsetSizeTrait>(offsets: &[O], bytes: &mut [u64], size: impl Fn(usize, u64) -> u64) {
    for (row, (pair, total)) in offsets.windows(2).zip(bytes).enumerate() {
        *total += 4 + size(row, (pair[1] - pair[0]).as_usize() as u64);
    }
}

fn add_children<O: OffsetSizeTrait>(offsets: &[O], values: &ArrayRef, bytes: &mut [u64]) {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return };
    let base = first.as_usize();
    let used = values.slice(base, last.as_usize() - base);
    let mut bytes_of_value = vec![0; used.len()];
    add_row_bytes(&used, &mut bytes_of_value);
    for (pair, total) in offsets.windows(2).zip(bytes) {
        let range = pair[0].as_usize() - base..pair[1].as_usize() - base;
        *total += 4 + bytes_of_value[range].iter().sum::<u64>();
    }
}
