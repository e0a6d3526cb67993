//! From a text to what is compared of it: exact key, and a sketch with its band keys, a sample of the shingles, or the set of
//! shingles itself.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns::{ROW, TEXT};
use xxhash_rust::xxh3::xxh3_128;

use super::band::Bands;
use super::columns::{
    BAND_KEYS, EXACT_KEY, LENGTH, N_SHINGLES, SAMPLE, SET_SIZE, SHINGLES, SKETCH, column, column_by_name,
};
use super::containment::least_distinct;
use super::keep::{keep_columns, row_converter};
use super::lists::{Lists, list_field, lists};
use super::near_duplicates::NearDuplicates;
use super::normalize::Normalizer;
use super::scope::{key_within, shift};
use super::settings::{KeepOrder, Search, Settings};
use super::shingle::{Shingler, to_set_with};
use super::shingle_cache::{Taking, with_shingles};
use super::sketch::{N_SLOTS, Sketch, sketch};
use super::token::tokenize;
use super::widest::widest;
use crate::Result;
use crate::stage::MapStage;

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
        let Self { normalizer, shingler, tokens, shingles } = self;
        shingles.clear();
        let normalized = normalizer.normalize(text);
        append_shingles(normalized, *shingler, tokens, shingles);
        (xxh3_128(normalized), shingles)
    }

    /// As [`read`](Self::read); adds the shingles to those of other texts.
    fn read_onto(&mut self, text: &str, shingles: &mut Vec<u64>) -> u128 {
        let normalized = self.normalizer.normalize(text);
        append_shingles(normalized, self.shingler, &mut self.tokens, shingles);
        xxh3_128(normalized)
    }

    /// The shingles of the text alone.
    pub(super) fn read_shingles(&mut self, text: &str) -> &mut Vec<u64> {
        self.shingles.clear();
        append_shingles(self.normalizer.normalize(text), self.shingler, &mut self.tokens, &mut self.shingles);
        &mut self.shingles
    }

    /// Normalizes a text, for [`read_normalized`](Self::read_normalized).
    pub(super) fn normalize(&mut self, text: &str) -> String {
        String::from_utf8_lossy(self.normalizer.normalize(text)).into_owned()
    }

    /// As [`read`](Self::read), of a text that was normalized before.
    pub(super) fn read_normalized(&mut self, normalized: &str) -> (u128, &mut Vec<u64>) {
        self.shingles.clear();
        append_shingles(normalized.as_bytes(), self.shingler, &mut self.tokens, &mut self.shingles);
        (xxh3_128(normalized.as_bytes()), &mut self.shingles)
    }
}

/// Adds the shingles of a normalized text; its tokens replace those of the text before.
fn append_shingles(normalized: &[u8], shingler: Shingler, tokens: &mut Vec<u64>, shingles: &mut Vec<u64>) {
    tokens.clear();
    tokenize(normalized, tokens);
    shingler.append(tokens, shingles);
}

/// Map stage: replaces `tamis_text` by its fingerprint.
///
/// In: `tamis_row`, `tamis_text`, the columns of the keep order and those of the scope. Out: `tamis_row`, `tamis_exact_key`,
/// `tamis_n_shingles`, `tamis_length`, then `tamis_sketch` and `tamis_band_keys` (`tamis_shingles` when the search is
/// exhaustive, `tamis_set_size` and `tamis_sample` when it is for containment), `tamis_group` and `tamis_source` where the
/// scope needs them, then the columns of the keep order.
#[derive(Debug)]
pub struct Fingerprint {
    settings: Settings,
    search: Search,
    cache: Taking,
}

impl Fingerprint {
    /// Fingerprints under `settings`.
    ///
    /// # Errors
    /// `Error::Config` if the settings cannot work.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { settings: settings.clone(), search: settings.search()?, cache: Taking::default() })
    }

    /// Hands on `tamis_all_shingles` too, after all other columns, as long as the barrier takes it.
    #[must_use]
    pub fn before(self, barrier: &NearDuplicates) -> Self {
        Self { cache: barrier.takes_shingles(), ..self }
    }

    /// The columns of the keep order, which are handed on.
    fn keep_columns(&self) -> Vec<&str> {
        keep_columns(&self.settings.keep)
    }

    /// Computes the columns of the fingerprints of `texts`, without the row positions. A null text has no token.
    pub fn fingerprint(&self, texts: &StringArray) -> Result<Vec<ArrayRef>> {
        Ok(self.fingerprint_groups(texts, None, false)?.0)
    }

    /// Computes the columns of the fingerprints of texts that are each in a group, and if they are to be kept, all shingles.
    fn fingerprint_groups(
        &self,
        texts: &StringArray,
        groups: Option<&[u128]>,
        keeps_shingles: bool,
    ) -> Result<(Vec<ArrayRef>, Lists)> {
        let n_rows = texts.len();
        let mut reader = Reader::new(&self.settings);
        let mut exact_keys = Vec::with_capacity(16 * n_rows);
        let mut n_shingles = Vec::with_capacity(n_rows);
        let mut lengths = Vec::with_capacity(n_rows);
        let mut features = Features::new(self.search, n_rows);
        let mut all_shingles = if keeps_shingles { shingle_lists(texts) } else { Lists::default() };
        for (index, text) in texts.iter().enumerate() {
            let text = text.unwrap_or_default();
            if !keeps_shingles {
                all_shingles.clear();
            }
            let mut exact_key = all_shingles.push_with(|all| reader.read_onto(text, all));
            let shingles = all_shingles.last_mut();
            if let Some(groups) = groups {
                exact_key = key_within(exact_key, groups[index]);
                shift(shingles, groups[index]);
            }
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
        Ok((columns, all_shingles))
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
        fields.extend(self.settings.scope.fields());
        for name in self.keep_columns() {
            fields.push(input.field_with_name(name)?.clone());
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let schema = self.output_schema(batch.schema_ref())?;
        let mut columns = vec![Arc::clone(column_by_name(&batch, ROW)?)];
        let groups = self.settings.scope.groups(&batch)?;
        let texts: &StringArray = column(&batch, TEXT)?;
        let keeps_shingles = self.cache.takes(text_bytes(texts));
        let (fingerprints, shingles) = self.fingerprint_groups(texts, groups.as_deref(), keeps_shingles)?;
        columns.extend(fingerprints);
        columns.extend(self.settings.scope.columns_of(&batch, groups)?);
        for name in self.keep_columns() {
            columns.push(Arc::clone(column_by_name(&batch, name)?));
        }
        let fingerprints = RecordBatch::try_new(schema, columns)?;
        if keeps_shingles { with_shingles(&fingerprints, shingles.into_column()?) } else { Ok(fingerprints) }
    }
}

/// Bytes that a token of natural text takes, with what parts it from the next: not many texts have more tokens.
const BYTES_PER_TOKEN: usize = 6;

/// Lists with room for the shingles of texts.
fn shingle_lists(texts: &StringArray) -> Lists {
    Lists::with_capacity(texts.len(), text_bytes(texts) / BYTES_PER_TOKEN)
}

fn text_bytes(texts: &StringArray) -> usize {
    let offsets = texts.value_offsets();
    (offsets[texts.len()] - offsets[0]) as usize
}

/// Map stage: replaces `tamis_text` by the set of its shingles. Out: `tamis_row`, `tamis_shingles`.
#[derive(Debug)]
pub(crate) struct ShingleSets {
    settings: Settings,
}

impl ShingleSets {
    pub(crate) fn new(settings: &Settings) -> Self {
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
        let mut sets = shingle_lists(texts);
        let mut sorted = Vec::new();
        for text in texts {
            let shingles = reader.read_shingles(text.unwrap_or_default());
            to_set_with(shingles, &mut sorted);
            sets.push(shingles);
        }
        let columns = vec![Arc::clone(column_by_name(&batch, ROW)?), sets.into_column()?];
        Ok(RecordBatch::try_new(self.output_schema(batch.schema_ref())?, columns)?)
    }
}

/// The sets in a batch of [`ShingleSets`], by row.
pub(crate) fn sets_of(batch: &RecordBatch) -> Result<impl Iterator<Item = (u64, &[u64])>> {
    lists(batch, SHINGLES, column(batch, ROW)?)
}

/// What is found in a text, column by column.
#[derive(Debug)]
pub(super) struct Features {
    search: Search,
    sketches: Vec<u32>,
    set_sizes: Vec<u64>,
    lists: Lists,
    /// Reused from text to text, as is the table.
    list: Vec<u64>,
    table: Vec<u64>,
}

impl Features {
    pub(super) fn new(search: Search, n_rows: usize) -> Self {
        let n_slots = if matches!(search, Search::Bands(_)) { N_SLOTS * n_rows } else { 0 };
        Self {
            search,
            sketches: Vec::with_capacity(n_slots),
            set_sizes: Vec::new(),
            lists: Lists::with_capacity(n_rows, 0),
            list: Vec::new(),
            table: Vec::new(),
        }
    }

    pub(super) fn fields(search: Search) -> Vec<Field> {
        match search {
            Search::Exhaustive => vec![list_field(SHINGLES)],
            Search::Samples(_) => vec![Field::new(SET_SIZE, DataType::UInt64, false), list_field(SAMPLE)],
            Search::Bands(_) => {
                let sketch = DataType::FixedSizeList(slot_field(), N_SLOTS as i32);
                vec![Field::new(SKETCH, sketch, false), list_field(BAND_KEYS)]
            }
        }
    }

    /// Adds a row with these shingles, in any order, repeats included.
    pub(super) fn push(&mut self, shingles: &[u64]) {
        if let Search::Bands(bands) = self.search {
            return self.push_sketch(&sketch(shingles), bands, shingles.is_empty());
        }
        self.list.clear();
        self.list.extend_from_slice(shingles);
        if let Search::Samples(sampling) = self.search {
            self.set_sizes.push(least_distinct(&mut self.list, &mut self.table, sampling) as u64);
        } else {
            to_set_with(&mut self.list, &mut self.table);
        }
        self.lists.push(&self.list);
    }

    /// Adds a row whose sketch is known.
    pub(super) fn push_sketch(&mut self, slots: &Sketch, bands: Bands, is_empty: bool) {
        self.lists.push_with(|keys| {
            if !is_empty {
                bands.push_keys(slots, keys);
            }
        });
        self.sketches.extend_from_slice(slots);
    }

    pub(super) fn into_columns(self) -> Result<Vec<ArrayRef>> {
        let lists = self.lists.into_column()?;
        match self.search {
            Search::Exhaustive => Ok(vec![lists]),
            Search::Samples(_) => Ok(vec![Arc::new(UInt64Array::from(self.set_sizes)), lists]),
            Search::Bands(_) => {
                let slots = Arc::new(UInt32Array::from(self.sketches));
                let sketches = FixedSizeListArray::try_new(slot_field(), N_SLOTS as i32, slots, None)?;
                Ok(vec![Arc::new(sketches), lists])
            }
        }
    }
}

pub(super) fn slot_field() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::UInt32, false))
}

widest! {
    /// Number of characters: bytes that do not continue one.
    pub(super) fn count_chars(text: &str) -> u64 = count_chars_body
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn count_chars_body(text: &str) -> u64 {
    let mut n_chars = 0;
    // Sums of up to 128 ones fit into a byte.
    for chunk in text.as_bytes().chunks(128) {
        let mut n_of_chunk = 0;
        for &byte in chunk {
            n_of_chunk += u8::from(byte as i8 >= -64);
        }
        n_chars += u64::from(n_of_chunk);
    }
    n_chars
}

#[cfg(test)]
mod tests {
    use arrow::array::ListArray;

    use super::super::measure::Measure;
    use super::*;

    fn batch(texts: Vec<Option<&str>>) -> RecordBatch {
        let rows = UInt64Array::from_iter_values(0..texts.len() as u64);
        let texts = StringArray::from(texts);
        RecordBatch::try_from_iter([(ROW, Arc::new(rows) as ArrayRef), (TEXT, Arc::new(texts))]).unwrap()
    }

    #[test]
    fn declared_columns_are_produced() {
        let texts = vec![Some("One two three four five six."), Some(""), None, Some("😀 !"), Some("word")];
        for (measure, recall) in [(Measure::Jaccard, 0.99), (Measure::Jaccard, 1.0), (Measure::Containment, 0.99)] {
            let stage = Fingerprint::new(&Settings { measure, recall, ..Settings::default() }).unwrap();
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
                Search::Samples(_) => (SAMPLE, [2, 1]),
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
