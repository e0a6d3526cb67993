//! From a text to what is compared of it: exact key, sketch and band keys, or the set of shingles itself.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, ListArray, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns::{ROW, TEXT};
use xxhash_rust::xxh3::xxh3_128;

use super::columns::{BAND_KEYS, EXACT_KEY, LENGTH, N_SHINGLES, SHINGLES, SKETCH, column, column_by_name};
use super::keep::{keep_columns, row_converter};
use super::normalize::Normalizer;
use super::settings::{KeepOrder, Search, Settings};
use super::shingle::{Shingler, to_set};
use super::sketch::{N_SLOTS, sketch};
use super::token::tokenize;
use super::widest::widest;
use crate::stage::MapStage;
use crate::{Error, Result};

/// Reads one text after the other, with buffers that are reused.
#[derive(Debug)]
pub struct Reader {
    normalizer: Normalizer,
    shingler: Shingler,
    tokens: Vec<u64>,
    shingles: Vec<u64>,
}

impl Reader {
    /// A reader of texts under `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self {
            normalizer: Normalizer::new(settings.normalize),
            shingler: Shingler::new(settings.n_tokens, settings.seed),
            tokens: Vec::new(),
            shingles: Vec::new(),
        }
    }

    /// The 128-bit hash of the normalized text, and its shingles in text order, repeats included.
    pub fn read(&mut self, text: &str) -> (u128, &mut Vec<u64>) {
        let exact_key = xxh3_128(self.normalizer.normalize(text));
        (exact_key, self.shingle())
    }

    /// The shingles of the text alone.
    fn read_shingles(&mut self, text: &str) -> &mut Vec<u64> {
        self.normalizer.normalize(text);
        self.shingle()
    }

    /// The shingles of the text normalized last.
    fn shingle(&mut self) -> &mut Vec<u64> {
        self.tokens.clear();
        tokenize(self.normalizer.normalized(), &mut self.tokens);
        self.shingler.shingle(&self.tokens, &mut self.shingles);
        &mut self.shingles
    }
}

/// Map stage: replaces `tamis_text` by its fingerprint.
///
/// In: `tamis_row`, `tamis_text` and the columns of the keep order. Out: `tamis_row`, `tamis_exact_key`,
/// `tamis_n_shingles`, `tamis_length`, then `tamis_sketch` and `tamis_band_keys` (or `tamis_shingles` when the search is
/// exhaustive), then the columns of the keep order.
#[derive(Debug)]
pub struct Fingerprint {
    settings: Settings,
    search: Search,
}

impl Fingerprint {
    /// Fingerprints under `settings`.
    ///
    /// # Errors
    /// `Error::Config` if the settings cannot work.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { settings: settings.clone(), search: settings.search()? })
    }

    /// The input columns that this stage needs beside `tamis_row` and `tamis_text`.
    pub fn keep_columns(&self) -> Vec<&str> {
        keep_columns(&self.settings.keep)
    }

    /// Computes the columns of the fingerprints of `texts`, without the row positions. A null text has no token.
    pub fn fingerprint(&self, texts: &StringArray) -> Result<Vec<ArrayRef>> {
        let n_rows = texts.len();
        let mut reader = Reader::new(&self.settings);
        let mut exact_keys = Vec::with_capacity(16 * n_rows);
        let mut n_shingles = Vec::with_capacity(n_rows);
        let mut lengths = Vec::with_capacity(n_rows);
        let mut features = Features::new(self.search, n_rows);
        for text in texts {
            let text = text.unwrap_or_default();
            let (exact_key, shingles) = reader.read(text);
            exact_keys.extend_from_slice(&exact_key.to_be_bytes());
            n_shingles.push(u32::try_from(shingles.len()).unwrap_or(u32::MAX));
            lengths.push(count_chars(text));
            features.push(shingles);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(exact_keys), None)?),
            Arc::new(UInt32Array::from(n_shingles)),
            Arc::new(UInt64Array::from(lengths)),
        ];
        columns.extend(features.into_columns()?);
        Ok(columns)
    }
}

impl MapStage for Fingerprint {
    fn name(&self) -> &'static str {
        "fingerprint"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        if let KeepOrder::Columns(columns) = &self.settings.keep {
            row_converter(columns, input)?;
        }
        let mut fields = vec![
            Field::new(ROW, DataType::UInt64, false),
            Field::new(EXACT_KEY, DataType::FixedSizeBinary(16), false),
            Field::new(N_SHINGLES, DataType::UInt32, false),
            Field::new(LENGTH, DataType::UInt64, false),
        ];
        fields.extend(Features::fields(self.search));
        for name in self.keep_columns() {
            fields.push(input.field_with_name(name)?.clone());
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let schema = self.output_schema(batch.schema_ref())?;
        let mut columns = vec![Arc::clone(column_by_name(&batch, ROW)?)];
        columns.extend(self.fingerprint(column(&batch, TEXT)?)?);
        for name in self.keep_columns() {
            columns.push(Arc::clone(column_by_name(&batch, name)?));
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

/// Map stage: replaces `tamis_text` by the set of its shingles. Out: `tamis_row`, `tamis_shingles`.
#[derive(Debug)]
pub(super) struct ShingleSets {
    settings: Settings,
}

impl ShingleSets {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone() }
    }
}

impl MapStage for ShingleSets {
    fn name(&self) -> &'static str {
        "shingle sets"
    }

    fn output_schema(&self, _input: &SchemaRef) -> Result<SchemaRef> {
        let mut fields = vec![Field::new(ROW, DataType::UInt64, false)];
        fields.extend(Features::fields(Search::Exhaustive));
        Ok(Arc::new(Schema::new(fields)))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let texts: &StringArray = column(&batch, TEXT)?;
        let mut reader = Reader::new(&self.settings);
        let mut sets = Features::new(Search::Exhaustive, texts.len());
        for text in texts {
            sets.push(reader.read_shingles(text.unwrap_or_default()));
        }
        let mut columns = vec![Arc::clone(column_by_name(&batch, ROW)?)];
        columns.extend(sets.into_columns()?);
        Ok(RecordBatch::try_new(self.output_schema(batch.schema_ref())?, columns)?)
    }
}

/// What is found in a text, column by column.
#[derive(Debug)]
struct Features {
    search: Search,
    sketches: Vec<u32>,
    lists: Vec<u64>,
    ends: Vec<usize>,
}

impl Features {
    fn new(search: Search, n_rows: usize) -> Self {
        let n_slots = if search == Search::Exhaustive { 0 } else { N_SLOTS * n_rows };
        Self { search, sketches: Vec::with_capacity(n_slots), lists: Vec::new(), ends: Vec::with_capacity(n_rows) }
    }

    fn fields(search: Search) -> Vec<Field> {
        let list = |name| Field::new(name, DataType::List(item(DataType::UInt64)), false);
        match search {
            Search::Exhaustive => vec![list(SHINGLES)],
            Search::Bands(_) => {
                let sketch = DataType::FixedSizeList(item(DataType::UInt32), N_SLOTS as i32);
                vec![Field::new(SKETCH, sketch, false), list(BAND_KEYS)]
            }
        }
    }

    fn push(&mut self, shingles: &mut Vec<u64>) {
        match self.search {
            Search::Exhaustive => {
                to_set(shingles);
                self.lists.extend_from_slice(shingles);
            }
            Search::Bands(bands) => {
                let slots = sketch(shingles);
                if !shingles.is_empty() {
                    bands.push_keys(&slots, &mut self.lists);
                }
                self.sketches.extend_from_slice(&slots);
            }
        }
        self.ends.push(self.lists.len());
    }

    fn into_columns(self) -> Result<Vec<ArrayRef>> {
        if i32::try_from(self.lists.len()).is_err() {
            let message = format!("a batch of {} rows has {} shingles", self.ends.len(), self.lists.len());
            let hint = Some("a smaller batch of rows".into());
            return Err(Error::Config { message, hint });
        }
        let lengths =
            std::iter::once(0).chain(self.ends.iter().copied()).zip(&self.ends).map(|(start, &end)| end - start);
        let offsets = OffsetBuffer::from_lengths(lengths);
        let lists = Arc::new(UInt64Array::from(self.lists));
        let lists: ArrayRef = Arc::new(ListArray::try_new(item(DataType::UInt64), offsets, lists, None)?);
        if self.search == Search::Exhaustive {
            return Ok(vec![lists]);
        }
        let slots = Arc::new(UInt32Array::from(self.sketches));
        let sketches = FixedSizeListArray::try_new(item(DataType::UInt32), N_SLOTS as i32, slots, None)?;
        Ok(vec![Arc::new(sketches), lists])
    }
}

fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(kind, false))
}

widest! {
    /// Number of characters: bytes that do not continue one.
    pub(super) fn count_chars(text: &str) -> u64 = count_chars_body
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn count_chars_body(text: &str) -> u64 {
    // Sums of up to 128 ones fit into a byte.
    let (chunks, rest) = text.as_bytes().as_chunks::<128>();
    let begins = |byte: &u8| u8::from(*byte as i8 >= -64);
    let count = |bytes: &[u8]| u64::from(bytes.iter().map(begins).sum::<u8>());
    chunks.iter().map(|chunk| count(chunk)).sum::<u64>() + count(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(texts: Vec<Option<&str>>) -> RecordBatch {
        let rows = UInt64Array::from_iter_values(0..texts.len() as u64);
        let texts = StringArray::from(texts);
        RecordBatch::try_from_iter([(ROW, Arc::new(rows) as ArrayRef), (TEXT, Arc::new(texts))]).unwrap()
    }

    #[test]
    fn declared_columns_are_produced() {
        let texts = vec![Some("One two three four five six."), Some(""), None, Some("😀 !"), Some("word")];
        for recall in [0.99, 1.0] {
            let stage = Fingerprint::new(&Settings { recall, ..Settings::default() }).unwrap();
            for input in [batch(texts.clone()), batch(Vec::new())] {
                let schema = stage.output_schema(input.schema_ref()).unwrap();
                let output = stage.apply(input.clone()).unwrap();
                assert_eq!((output.schema(), output.num_rows()), (schema, input.num_rows()));
            }
            let output = stage.apply(batch(texts.clone())).unwrap();
            let n_shingles: &UInt32Array = column(&output, N_SHINGLES).unwrap();
            assert_eq!(n_shingles.values().as_ref(), [2, 0, 0, 0, 1]);
            let lengths: &UInt64Array = column(&output, LENGTH).unwrap();
            assert_eq!(lengths.values().as_ref(), [28, 0, 0, 3, 4]);
            let (name, n_first) = match stage.search {
                Search::Bands(bands) => (BAND_KEYS, [bands.n_bands, bands.n_bands]),
                Search::Exhaustive => (SHINGLES, [2, 1]),
            };
            let list: &ListArray = column(&output, name).unwrap();
            let list_lengths: Vec<usize> = list.offsets().lengths().collect();
            assert_eq!(list_lengths, [n_first[0], 0, 0, 0, n_first[1]]);
        }
    }

    #[test]
    fn batch_borders_do_not_matter() {
        let texts: Vec<String> = (0..50).map(|row| format!("Text {row} ÄÖ ").repeat(row * row % 97)).collect();
        let input = batch(texts.iter().map(|text| Some(text.as_str())).collect());
        let stage = Fingerprint::new(&Settings::default()).unwrap();
        let whole = stage.apply(input.clone()).unwrap();
        for row in 0..texts.len() {
            assert_eq!(stage.apply(input.slice(row, 1)).unwrap(), whole.slice(row, 1));
        }
    }

    #[test]
    fn characters_are_counted() {
        for text in ["", "abc", "äöü", "日本語😀", &"ä".repeat(1000)] {
            assert_eq!(count_chars(text), text.chars().count() as u64);
        }
    }
}
