//! Rows that repeat themselves: templates gone wrong, menus, generated text.

use arrow::array::{BooleanArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::filter_record_batch;
use bytemuck::cast_slice;
use tamis_schemas::columns::{ROW, TEXT};
use xxhash_rust::xxh3::xxh3_64;

use super::unit::{Unit, UnitReader, UnitSettings};
use crate::Result;
use crate::dedup::columns::column;
use crate::dedup::normalize::{Normalize, Normalizer};
use crate::dedup::token::tokenize;

/// Tokens of the n-grams of which the most frequent one counts.
const TOP_TOKENS: usize = 2;
/// Tokens of the n-grams of which every repeated one counts.
const REPEATED_TOKENS: usize = 10;

/// How much of a text may be repetition.
///
/// | share | of | default |
/// | --- | --- | --- |
/// | of the characters in lines that occur earlier in the text | all lines | 0.2 |
/// | of the characters in paragraphs that do | all paragraphs | 0.2 |
/// | of the tokens in the occurrences of one pair of tokens | all tokens | 0.2 |
/// | of the tokens in 10-grams that occur earlier in the text | all tokens | 0.1 |
///
/// # Source
/// Gopher (Rae et al. 2021, arXiv 2112.11446, table A1), the shares of characters; of its three most-frequent and six
/// repeated n-grams the ends of the scale: short phrases many times, and long passages twice. Where we differ: n-grams are
/// measured in tokens, which mean the same in every script, and overlapping occurrences count once. Gopher looks at
/// documents of 50 words or more: in shorter ones, one phrase said twice is above every limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RepetitionLimits {
    /// What is evened out before anything is compared.
    pub normalize: Normalize,
    /// A line or paragraph of fewer tokens is not compared; at least 1.
    pub min_tokens: usize,
    /// A text of fewer tokens is not looked at.
    pub min_document_tokens: usize,
    /// Largest share in repeated lines.
    pub max_line_ratio: f64,
    /// Largest share in repeated paragraphs.
    pub max_paragraph_ratio: f64,
    /// Largest share of one pair of tokens.
    pub max_top_bigram_ratio: f64,
    /// Largest share in repeated 10-grams.
    pub max_tengram_ratio: f64,
}

impl Default for RepetitionLimits {
    fn default() -> Self {
        Self {
            normalize: Normalize::default(),
            min_tokens: 5,
            min_document_tokens: 50,
            max_line_ratio: 0.2,
            max_paragraph_ratio: 0.2,
            max_top_bigram_ratio: 0.2,
            max_tengram_ratio: 0.1,
        }
    }
}

/// Finds the rows that repeat themselves too much. Row-local.
#[derive(Debug, Clone)]
pub struct Repetition {
    limits: RepetitionLimits,
}

impl Repetition {
    /// A search under `limits`.
    pub fn new(limits: RepetitionLimits) -> Self {
        Self { limits }
    }

    /// The first share that is above its limit, in the order of the table; `None`: the text stays.
    pub fn excesses(&self, texts: &StringArray) -> Vec<Option<f64>> {
        let mut meter = Meter::new(&self.limits);
        texts.iter().map(|text| meter.excess(text.unwrap_or_default(), &self.limits)).collect()
    }

    /// Parts a batch with `tamis_row` and `tamis_text` into the rows that stay and, of the others, position and share.
    pub fn split(&self, batch: RecordBatch) -> Result<(RecordBatch, Vec<(u64, f64)>)> {
        let rows: &UInt64Array = column(&batch, ROW)?;
        let excesses = self.excesses(column(&batch, TEXT)?);
        let dropped: Vec<(u64, f64)> =
            rows.values().iter().zip(&excesses).filter_map(|(&row, excess)| Some((row, (*excess)?))).collect();
        if dropped.is_empty() {
            return Ok((batch, dropped));
        }
        let stays: BooleanArray = excesses.iter().map(|excess| Some(excess.is_none())).collect();
        Ok((filter_record_batch(&batch, &stays)?, dropped))
    }
}

/// Measures one text after the other, with buffers that are reused.
#[derive(Debug)]
struct Meter {
    normalizer: Normalizer,
    lines: UnitReader,
    paragraphs: UnitReader,
    tokens: Vec<u64>,
    /// Hash and position of every n-gram, sorted.
    ngrams: Vec<(u64, u32)>,
    positions: Vec<u32>,
}

impl Meter {
    fn new(limits: &RepetitionLimits) -> Self {
        let &RepetitionLimits { normalize, min_tokens, .. } = limits;
        let reader = |unit| UnitReader::new(UnitSettings { unit, min_tokens, normalize });
        Self {
            normalizer: Normalizer::new(normalize),
            lines: reader(Unit::Line),
            paragraphs: reader(Unit::Paragraph),
            tokens: Vec::new(),
            ngrams: Vec::new(),
            positions: Vec::new(),
        }
    }

    fn excess(&mut self, text: &str, limits: &RepetitionLimits) -> Option<f64> {
        self.tokens.clear();
        tokenize(self.normalizer.normalize(text), &mut self.tokens);
        if self.tokens.len() < limits.min_document_tokens {
            return None;
        }
        let above = |share: f64, limit: f64| (share > limit).then_some(share);
        above(repeated_units(&mut self.lines, text), limits.max_line_ratio)
            .or_else(|| above(repeated_units(&mut self.paragraphs, text), limits.max_paragraph_ratio))
            .or_else(|| above(self.top_ngram(TOP_TOKENS), limits.max_top_bigram_ratio))
            .or_else(|| above(self.repeated_ngrams(REPEATED_TOKENS), limits.max_tengram_ratio))
    }

    fn find_ngrams(&mut self, n_tokens: usize) {
        self.ngrams.clear();
        let hashes = self.tokens.windows(n_tokens).map(|ngram| xxh3_64(cast_slice(ngram)));
        self.ngrams.extend(hashes.zip(0..));
        self.ngrams.sort_unstable();
    }

    /// Share of the tokens that lie in occurrences of one n-gram, the one for which it is largest; 0 if none occurs twice.
    fn top_ngram(&mut self, n_tokens: usize) -> f64 {
        self.find_ngrams(n_tokens);
        let groups = self.ngrams.chunk_by(|(left, _), (right, _)| left == right).filter(|group| group.len() > 1);
        let most = groups.map(|group| covered(group.iter().map(|&(_, at)| at), n_tokens)).max().unwrap_or(0);
        ratio(most, self.tokens.len() as u64)
    }

    /// Share of the tokens that lie in n-grams that occur earlier in the text.
    fn repeated_ngrams(&mut self, n_tokens: usize) -> f64 {
        self.find_ngrams(n_tokens);
        self.positions.clear();
        for group in self.ngrams.chunk_by(|(left, _), (right, _)| left == right) {
            self.positions.extend(group[1..].iter().map(|&(_, at)| at));
        }
        self.positions.sort_unstable();
        ratio(covered(self.positions.iter().copied(), n_tokens), self.tokens.len() as u64)
    }
}

/// Share of the characters that lie in units that occur earlier in the text.
fn repeated_units(reader: &mut UnitReader, text: &str) -> f64 {
    let (repeats, total_chars) = reader.read_repeats(text);
    ratio(repeats.map(|unit| u64::from(unit.n_chars)).sum(), total_chars)
}

/// Tokens in n-grams that begin at these positions, ascending; those in several count once.
fn covered(positions: impl Iterator<Item = u32>, n_tokens: usize) -> u64 {
    let (mut n_covered, mut done) = (0, 0);
    for at in positions.map(u64::from) {
        let end = at + n_tokens as u64;
        n_covered += end - at.max(done);
        done = end;
    }
    n_covered
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
