//! A row of an index: what is stored of it, the keys it is found by, and back to what is compared.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns::{ID, ROW, TEXT};

use crate::dedup::columns::{EXACT_KEY, N_SHINGLES, column};
use crate::dedup::compare::prefix_len;
use crate::dedup::fingerprint::{Features, Reader};
use crate::dedup::settings::{Search, Settings};
use crate::dedup::shingle::to_set;
use crate::dedup::sketch::{N_SLOTS, Sketch, sketch};
use crate::stage::MapStage;
use crate::{Error, Result};

/// Columns of `rows.parquet`.
pub(super) const STORED_ID: &str = "id";
pub(super) const STORED_EXACT_KEY: &str = "exact_key";
pub(super) const STORED_N_SHINGLES: &str = "n_shingles";
pub(super) const STORED_SKETCH: &str = "sketch";
pub(super) const STORED_TEXT: &str = "text";
/// Beside them while rows are added: the keys of a row.
pub(super) const KEYS: &str = "keys";

const SKETCH_BYTES: usize = 4 * N_SLOTS;

/// Columns of `rows.parquet`; at a recall of 1.0 there is no sketch.
pub(super) fn stored_schema(search: Search) -> SchemaRef {
    let sketch = match search {
        Search::Bands(_) => Some(Field::new(STORED_SKETCH, DataType::FixedSizeBinary(SKETCH_BYTES as i32), false)),
        Search::Exhaustive | Search::Samples(_) => None,
    };
    let before = [
        Field::new(STORED_ID, DataType::Utf8, false),
        Field::new(STORED_EXACT_KEY, DataType::FixedSizeBinary(16), false),
        Field::new(STORED_N_SHINGLES, DataType::UInt32, false),
    ];
    let text = Field::new(STORED_TEXT, DataType::Utf8, false);
    Arc::new(Schema::new(before.into_iter().chain(sketch).chain([text]).collect::<Vec<_>>()))
}

/// The key by which a text is found whatever its shingles: part of its exact key. Those who share it by chance are told
/// apart by the whole of it.
pub(super) fn key_of_text(exact_key: u128) -> u64 {
    exact_key as u64
}

/// Map stage: what an index stores of a row, and its keys. Needs `tamis_id` and `tamis_text`.
#[derive(Debug)]
pub struct IndexRows {
    settings: Settings,
    search: Search,
}

impl IndexRows {
    /// Rows of an index under `settings`.
    ///
    /// # Errors
    /// `Error::Config` if the settings cannot work.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { settings: settings.clone(), search: settings.search()? })
    }

    pub(super) fn search(&self) -> Search {
        self.search
    }

    /// Stored rows with their keys.
    pub(super) fn with_keys(&self, stored: &RecordBatch) -> Result<RecordBatch> {
        let mut reader = Reader::new(&self.settings);
        let mut keys = KeyLists::default();
        let exact_keys: &FixedSizeBinaryArray = column(stored, STORED_EXACT_KEY)?;
        match self.search {
            Search::Bands(bands) => {
                let n_shingles: &UInt32Array = column(stored, STORED_N_SHINGLES)?;
                for (row, slots) in sketches(stored)?.enumerate() {
                    keys.values.push(key_of_text(exact_key(exact_keys.value(row))?));
                    if n_shingles.value(row) > 0 {
                        bands.push_keys(&slots, &mut keys.values);
                    }
                    keys.end_row();
                }
            }
            Search::Exhaustive | Search::Samples(_) => {
                for (row, text) in column::<StringArray>(stored, STORED_TEXT)?.iter().enumerate() {
                    keys.values.push(key_of_text(exact_key(exact_keys.value(row))?));
                    let set = reader.read_normalized(text.unwrap_or_default()).1;
                    to_set(set);
                    keys.values.extend_from_slice(&set[..prefix_len(set.len(), self.settings.threshold)]);
                    keys.end_row();
                }
            }
        }
        keys.append_to(stored)
    }

    /// Stored rows as fingerprints of rows at the positions `rows`.
    pub(super) fn fingerprints(&self, stored: &RecordBatch, rows: UInt64Array) -> Result<RecordBatch> {
        let n_shingles: &UInt32Array = column(stored, STORED_N_SHINGLES)?;
        let exact_keys: &FixedSizeBinaryArray = column(stored, STORED_EXACT_KEY)?;
        let mut fields = vec![
            Field::new(ROW, DataType::UInt64, false),
            Field::new(EXACT_KEY, DataType::FixedSizeBinary(16), false),
            Field::new(N_SHINGLES, DataType::UInt32, false),
        ];
        let features = match self.search {
            Search::Bands(bands) => {
                let mut features = Features::new(self.search, stored.num_rows());
                for (slots, &n_shingles) in sketches(stored)?.zip(n_shingles.values()) {
                    features.push_sketch(&slots, bands, n_shingles == 0);
                }
                features
            }
            Search::Exhaustive | Search::Samples(_) => self.set_features(stored)?,
        };
        fields.extend(Features::fields(self.search));
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(rows), Arc::new(exact_keys.clone()), Arc::new(n_shingles.clone())];
        columns.extend(features.into_columns()?);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// The sets of shingles of stored rows, as of rows at the positions `rows`.
    pub(super) fn sets(&self, stored: &RecordBatch, rows: UInt64Array) -> Result<RecordBatch> {
        let mut fields = vec![Field::new(ROW, DataType::UInt64, false)];
        fields.extend(Features::fields(Search::Exhaustive));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(rows)];
        columns.extend(self.set_features(stored)?.into_columns()?);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    fn set_features(&self, stored: &RecordBatch) -> Result<Features> {
        let mut reader = Reader::new(&self.settings);
        let mut features = Features::new(Search::Exhaustive, stored.num_rows());
        for text in column::<StringArray>(stored, STORED_TEXT)? {
            features.push(reader.read_normalized(text.unwrap_or_default()).1);
        }
        Ok(features)
    }
}

impl MapStage for IndexRows {
    fn name(&self) -> &'static str {
        "index rows"
    }

    fn output_schema(&self, _input: &SchemaRef) -> Result<SchemaRef> {
        Ok(with_keys_field(&stored_schema(self.search)))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let ids: &StringArray = column(&batch, ID)?;
        let mut reader = Reader::new(&self.settings);
        let (mut exact_keys, mut n_shingles) = (Vec::new(), Vec::new());
        let (mut sketches, mut texts) = (Vec::new(), Vec::new());
        for text in column::<StringArray>(&batch, TEXT)? {
            let text = reader.normalize(text.unwrap_or_default());
            let (exact_key, shingles) = reader.read_normalized(&text);
            exact_keys.extend_from_slice(&exact_key.to_be_bytes());
            n_shingles.push(u32::try_from(shingles.len()).unwrap_or(u32::MAX));
            if matches!(self.search, Search::Bands(_)) {
                sketches.extend(sketch(shingles).iter().flat_map(|slot| slot.to_le_bytes()));
            }
            texts.push(text);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(ids.clone()),
            Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(exact_keys), None)?),
            Arc::new(UInt32Array::from(n_shingles)),
        ];
        if matches!(self.search, Search::Bands(_)) {
            let sketches = FixedSizeBinaryArray::try_new(SKETCH_BYTES as i32, Buffer::from_vec(sketches), None)?;
            columns.push(Arc::new(sketches));
        }
        columns.push(Arc::new(StringArray::from(texts)));
        self.with_keys(&RecordBatch::try_new(stored_schema(self.search), columns)?)
    }
}

/// The 128 bits that were written as bytes.
pub(super) fn exact_key(bytes: &[u8]) -> Result<u128> {
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| Error::Invariant("an exact key has not 16 bytes".into()))
}

fn sketches(stored: &RecordBatch) -> Result<impl Iterator<Item = Sketch>> {
    let sketches: &FixedSizeBinaryArray = column(stored, STORED_SKETCH)?;
    Ok(sketches.iter().map(|bytes| {
        let mut sketch = [0; N_SLOTS];
        for (slot, bytes) in sketch.iter_mut().zip(bytes.unwrap_or_default().as_chunks::<4>().0) {
            *slot = u32::from_le_bytes(*bytes);
        }
        sketch
    }))
}

fn with_keys_field(stored: &SchemaRef) -> SchemaRef {
    let item = Arc::new(Field::new_list_field(DataType::UInt64, false));
    let keys = Arc::new(Field::new(KEYS, DataType::List(item), false));
    Arc::new(Schema::new(stored.fields().iter().cloned().chain([keys]).collect::<Vec<_>>()))
}

/// Keys row by row.
#[derive(Debug, Default)]
struct KeyLists {
    values: Vec<u64>,
    lengths: Vec<usize>,
    n_ended: usize,
}

impl KeyLists {
    fn end_row(&mut self) {
        self.lengths.push(self.values.len() - self.n_ended);
        self.n_ended = self.values.len();
    }

    fn append_to(self, stored: &RecordBatch) -> Result<RecordBatch> {
        if i32::try_from(self.values.len()).is_err() {
            let message = format!("a batch of {} rows has {} keys", self.lengths.len(), self.values.len());
            return Err(Error::Config { message, hint: Some("pass a smaller --batch-rows".into()) });
        }
        let item = Arc::new(Field::new_list_field(DataType::UInt64, false));
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let keys = ListArray::try_new(item, offsets, Arc::new(UInt64Array::from(self.values)), None)?;
        let columns = stored.columns().iter().cloned().chain([Arc::new(keys) as ArrayRef]).collect();
        Ok(RecordBatch::try_new(with_keys_field(&stored.schema()), columns)?)
    }
}
