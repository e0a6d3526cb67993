//! Fingerprints on their way between processes, in types that other systems have.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, FixedSizeBinaryArray, FixedSizeListArray, Int64Array,
    ListArray, RecordBatch, UInt32Array, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int64Type, UInt32Type, UInt64Type};
use tamis_schemas::columns::ROW;

use super::band::Bands;
use super::columns::{
    BAND_KEYS, EXACT_KEY, GLANCE, GROUP, LENGTH, N_SHINGLES, ORDER, SHINGLES, SKETCH, SOURCE, column, malformed,
};
use super::fingerprint::slot_field;
use super::keep::order_of;
use super::lists::lists;
use super::settings::{KeepOrder, Search, Settings};
use super::sketch_table::Glance;
use crate::Result;

/// Columns of fingerprints: binary, 64-bit integers with a sign, lists of these.
#[derive(Debug)]
pub(crate) struct FingerprintsOnWire {
    pub(crate) row: Int64Array,
    pub(crate) exact_key: BinaryArray,
    pub(crate) n_shingles: Int64Array,
    pub(crate) length: Int64Array,
    /// What is kept of it to look at pairs; null at a recall of 1.
    pub(crate) sketch: BinaryArray,
    /// Of bands; at a recall of 1 the set of shingles.
    pub(crate) keys: ListArray,
    /// Null unless the scope has groups.
    pub(crate) group: BinaryArray,
    /// Null unless the scope has sources.
    pub(crate) source: BinaryArray,
    /// Null unless the keep order looks at columns.
    pub(crate) order: BinaryArray,
}

impl FingerprintsOnWire {
    /// Of a batch of [`Fingerprint`](super::Fingerprint)s.
    pub(crate) fn new(batch: &RecordBatch, settings: &Settings) -> Result<Self> {
        let rows: &UInt64Array = column(batch, ROW)?;
        let n_shingles: &UInt32Array = column(batch, N_SHINGLES)?;
        let (sketch, keys) = match settings.search()? {
            Search::Bands(bands) => (glances(batch, rows, bands)?, BAND_KEYS),
            _ => (BinaryArray::new_null(batch.num_rows()), SHINGLES),
        };
        let fields = settings.scope.fields();
        let key_if_there = |name: &str| {
            let is_there = fields.iter().any(|field| field.name() == name);
            if is_there { keys_to_binary(batch, name) } else { Ok(BinaryArray::new_null(batch.num_rows())) }
        };
        Ok(Self {
            row: with_sign(rows),
            exact_key: keys_to_binary(batch, EXACT_KEY)?,
            n_shingles: n_shingles.unary::<_, Int64Type>(i64::from),
            length: with_sign(column(batch, LENGTH)?),
            sketch,
            keys: lists_with_sign(column(batch, keys)?)?,
            group: key_if_there(GROUP)?,
            source: key_if_there(SOURCE)?,
            order: order_of(&settings.keep, batch)?,
        })
    }

    /// The batch of fingerprints.
    ///
    /// # Errors
    /// `Error::Invariant` for columns that are not what is said above.
    pub(crate) fn to_batch(&self, settings: &Settings) -> Result<RecordBatch> {
        let n_shingles = self.n_shingles.unary::<_, UInt32Type>(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            (ROW, Arc::new(self.row.unary::<_, UInt64Type>(i64::cast_unsigned))),
            (EXACT_KEY, Arc::new(keys_of_binary(&self.exact_key, EXACT_KEY)?)),
            (N_SHINGLES, Arc::new(n_shingles)),
            (LENGTH, Arc::new(self.length.unary::<_, UInt64Type>(i64::cast_unsigned))),
        ];
        let keys: ArrayRef = Arc::new(lists_without_sign(&self.keys)?);
        if let Search::Bands(_) = settings.search()? {
            columns.extend([(GLANCE, Arc::new(glances_of_bytes(&self.sketch)?) as ArrayRef), (BAND_KEYS, keys)]);
        } else {
            columns.push((SHINGLES, keys));
        }
        for field in settings.scope.fields() {
            let (name, keys) = if field.name() == GROUP { (GROUP, &self.group) } else { (SOURCE, &self.source) };
            columns.push((name, Arc::new(keys_of_binary(keys, name)?)));
        }
        if let KeepOrder::Columns(_) = settings.keep {
            columns.push((ORDER, Arc::new(self.order.clone())));
        }
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}

fn keys_to_binary(batch: &RecordBatch, name: &str) -> Result<BinaryArray> {
    let keys: &FixedSizeBinaryArray = column(batch, name)?;
    Ok(BinaryArray::from_iter_values(keys.iter().flatten()))
}

fn keys_of_binary(keys: &BinaryArray, name: &str) -> Result<FixedSizeBinaryArray> {
    let mut bytes = Vec::with_capacity(16 * keys.len());
    for key in keys {
        let key: &[u8; 16] = key.and_then(|key| key.try_into().ok()).ok_or_else(|| malformed(name))?;
        bytes.extend_from_slice(key);
    }
    Ok(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None)?)
}

fn with_sign(numbers: &UInt64Array) -> Int64Array {
    numbers.unary(u64::cast_signed)
}

fn lists_with_sign(lists: &ListArray) -> Result<ListArray> {
    let values: &UInt64Array = lists.values().as_primitive::<UInt64Type>();
    let item = Arc::new(Field::new_list_field(DataType::Int64, true));
    Ok(ListArray::try_new(item, lists.offsets().clone(), Arc::new(with_sign(values)), None)?)
}

fn glances(batch: &RecordBatch, rows: &UInt64Array, bands: Bands) -> Result<BinaryArray> {
    let sketches: &FixedSizeListArray = column(batch, SKETCH)?;
    let mut bytes = BinaryBuilder::with_capacity(sketches.len(), 0);
    for (slots, (_, keys)) in sketches.iter().zip(lists(batch, BAND_KEYS, rows)?) {
        let slots = slots.ok_or_else(|| malformed(SKETCH))?;
        let sketch = slots.as_primitive::<UInt32Type>().values().first_chunk().ok_or_else(|| malformed(SKETCH))?;
        let glance = Glance::new(sketch, keys, bands);
        bytes.append_value(glance.numbers().iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    }
    Ok(bytes.finish())
}

/// The numbers of a glance that was sent.
pub(crate) fn glance_of_bytes(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&number| u32::from_le_bytes(number)).collect()
}

fn lists_without_sign(lists: &ListArray) -> Result<ListArray> {
    let values: UInt64Array = lists.values().as_primitive::<Int64Type>().unary(i64::cast_unsigned);
    let item = Arc::new(Field::new_list_field(DataType::UInt64, false));
    Ok(ListArray::try_new(item, lists.offsets().clone(), Arc::new(values), None)?)
}

fn glances_of_bytes(sketches: &BinaryArray) -> Result<FixedSizeListArray> {
    let n_bytes = sketches.iter().flatten().next().map_or(size_of::<u32>(), <[u8]>::len);
    let mut numbers: Vec<u32> = Vec::with_capacity(sketches.len() * n_bytes / size_of::<u32>());
    for bytes in sketches {
        let bytes = bytes.filter(|bytes| bytes.len() == n_bytes).ok_or_else(|| malformed(SKETCH))?;
        numbers.extend(glance_of_bytes(bytes));
    }
    let width = n_bytes / size_of::<u32>();
    Ok(FixedSizeListArray::try_new(slot_field(), width as i32, Arc::new(UInt32Array::from(numbers)), None)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use tamis_schemas::columns::TEXT;

    use super::super::columns::column_by_name;
    use super::super::fingerprint::Fingerprint;
    use super::super::sketch::Sketch;
    use super::*;
    use crate::stage::MapStage;

    fn sent(batch: &RecordBatch, settings: &Settings) -> RecordBatch {
        FingerprintsOnWire::new(batch, settings).unwrap().to_batch(settings).unwrap()
    }

    #[test]
    fn fingerprints_come_back() {
        for recall in [0.99, 1.0] {
            let settings = Settings { recall, ..Settings::default() };
            let texts: StringArray =
                [Some("one two three four five six"), Some(""), None, Some("一二三四五六七")].into_iter().collect();
            let rows = UInt64Array::from(vec![0, 3, u64::from(u32::MAX) + 1, 1 << 62]);
            let columns: [(&str, ArrayRef); 2] = [(ROW, Arc::new(rows)), (TEXT, Arc::new(texts))];
            let stage = Fingerprint::new(&settings).unwrap();
            let batch = stage.apply(RecordBatch::try_from_iter(columns).unwrap()).unwrap();
            let back = sent(&batch, &settings);
            assert_eq!(sent(&batch.slice(0, 0), &settings).num_rows(), 0);
            let keys = if recall < 1.0 { BAND_KEYS } else { SHINGLES };
            for name in [ROW, EXACT_KEY, N_SHINGLES, LENGTH, keys] {
                assert_eq!(column_by_name(&back, name).unwrap(), column_by_name(&batch, name).unwrap(), "{name}");
            }
            if let Search::Bands(bands) = settings.search().unwrap() {
                let rows: &UInt64Array = column(&batch, ROW).unwrap();
                let glances: &FixedSizeListArray = column(&back, GLANCE).unwrap();
                let sketches: &FixedSizeListArray = column(&batch, SKETCH).unwrap();
                for (index, (_, keys)) in lists(&batch, BAND_KEYS, rows).unwrap().enumerate() {
                    let slots = sketches.value(index);
                    let sketch: &Sketch = slots.as_primitive::<UInt32Type>().values().first_chunk().unwrap();
                    let found = glances.value(index).as_primitive::<UInt32Type>().values().to_vec();
                    assert_eq!(found, Glance::new(sketch, keys, bands).numbers());
                }
            }
        }
    }
}
