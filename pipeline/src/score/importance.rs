//! How much likelier a text is in a target set than in the pool.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use rayon::prelude::*;
use tamis_schemas::columns;

use super::answers::Answers;
use super::append::{append_columns, append_fields, required_column};
use super::saved::{self, Tensors};
use crate::Result;
use crate::context::Context;
use crate::dedup::{Normalize, Normalizer, tokenize};
use crate::stage::MapStage;

/// Buckets that words and pairs of words are hashed into, as many as in the paper.
const N_BUCKETS: usize = 10_000;
/// Texts that a thread works on at a time.
const CHUNK_TEXTS: usize = 64;
/// Name of the tensor of what texts weigh.
const LOG_RATIOS: &str = "log_ratios";
const PAIR_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Appends `tamis_log_importance`: the natural logarithm of `p_target(text) / p_pool(text)`.
///
/// Both are products over the words of the text and its pairs of neighboring words, hashed into buckets, of how often those of
/// a bucket come in the target set and in the pool (one more each, so that none is 0). Longer texts have larger weights, of
/// either sign. To draw from the pool what is distributed like the target: `keep = "gumbel"` in `[quality]`.
///
/// # Shape
/// Float32, 0 for a text without a word.
///
/// # Determinism
/// A function of the texts; not of threads, batches and the rows around, nor of the order of the texts learnt from.
///
/// # Source
/// Xie, Santurkar, Ma, Liang: Data Selection for Language Models via Importance Resampling, 2023, section 3. There,
/// punctuation makes words, too; here words are those of near-duplicate removal.
#[derive(Debug)]
pub struct ImportanceScorer {
    /// By bucket.
    log_ratios: Vec<f32>,
}

impl ImportanceScorer {
    /// Learns what tells the texts of `target` from those of `pool`.
    pub fn fit(target: &[String], pool: &[String], context: &Context) -> Self {
        let (target, pool) = context.pool.install(|| rayon::join(|| counts(target), || counts(pool)));
        let total = |counts: &[u64]| (counts.iter().sum::<u64>() + N_BUCKETS as u64) as f64;
        let (n_target, n_pool) = (total(&target), total(&pool));
        let share = |count: u64, total: f64| (count + 1) as f64 / total;
        let ratios = target.iter().zip(&pool).map(|(&t, &p)| (share(t, n_target) / share(p, n_pool)).ln() as f32);
        Self { log_ratios: ratios.collect() }
    }

    /// The scorer as a file.
    ///
    /// # Errors
    /// `Error::Invariant`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors = Tensors::default();
        tensors.add(LOG_RATIOS, &[self.log_ratios.len()], &self.log_ratios);
        saved::to_bytes(saved::Model::Importance, &Answers::none(), 0, None, &tensors)
    }

    /// The scorer that a file holds.
    ///
    /// # Errors
    /// `Error::Corrupt` if a number is missing.
    pub(super) fn of_saved(tensors: &Tensors) -> Result<Self> {
        let log_ratios = tensors.vector(LOG_RATIOS)?;
        let fits = log_ratios.len() == N_BUCKETS;
        if fits { Ok(Self { log_ratios }) } else { Err(tensors.corrupt("it has no ratio for each bucket")) }
    }

    fn field() -> [FieldRef; 1] {
        [Arc::new(Field::new(columns::LOG_IMPORTANCE, DataType::Float32, false))]
    }
}

impl MapStage for ImportanceScorer {
    fn name(&self) -> &'static str {
        "score"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(append_fields(input, &Self::field()))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let texts: &StringArray = required_column(&batch, columns::TEXT, &DataType::Utf8)?.as_string::<i32>();
        let rows: Vec<usize> = (0..texts.len()).collect();
        let weights: Vec<f32> = rows
            .par_chunks(CHUNK_TEXTS)
            .flat_map_iter(|rows| {
                let mut words = Words::new();
                rows.iter().map(move |&row| {
                    let mut sum = 0.0;
                    let text = if texts.is_null(row) { "" } else { texts.value(row) };
                    words.for_each_bucket(text, |bucket| sum += f64::from(self.log_ratios[bucket]));
                    sum as f32
                })
            })
            .collect();
        append_columns(&batch, &Self::field(), vec![Arc::new(Float32Array::from(weights))])
    }
}

/// How many words and pairs of all texts are in each bucket.
fn counts(texts: &[String]) -> Vec<u64> {
    let of_chunk = |texts: &[String]| {
        let (mut words, mut counts) = (Words::new(), vec![0; N_BUCKETS]);
        for text in texts {
            words.for_each_bucket(text, |bucket| counts[bucket] += 1);
        }
        counts
    };
    let add = |mut left: Vec<u64>, right: Vec<u64>| {
        left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
        left
    };
    texts.par_chunks(CHUNK_TEXTS).map(of_chunk).reduce(|| vec![0; N_BUCKETS], add)
}

/// Finds the words of texts, in buffers that it keeps.
struct Words {
    normalizer: Normalizer,
    hashes: Vec<u64>,
}

impl Words {
    fn new() -> Self {
        Self { normalizer: Normalizer::new(Normalize::default()), hashes: Vec::new() }
    }

    /// Calls `visit` with the bucket of each word and each pair of neighboring words.
    fn for_each_bucket(&mut self, text: &str, mut visit: impl FnMut(usize)) {
        self.hashes.clear();
        tokenize(self.normalizer.normalize(text), &mut self.hashes);
        let mut previous = None;
        for &word in &self.hashes {
            visit(bucket(word));
            if let Some(previous) = previous.replace(word) {
                visit(bucket(previous.wrapping_mul(PAIR_FACTOR).rotate_left(32) ^ word.wrapping_mul(PAIR_FACTOR)));
            }
        }
    }
}

/// The bucket of a hash, by its high bits.
fn bucket(hash: u64) -> usize {
    ((u128::from(hash) * N_BUCKETS as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::context::{Cancel, Resources};

    /// The formula over words that are split at spaces.
    fn oracle(target: &[&str], pool: &[&str], text: &str) -> f64 {
        let buckets = |text: &str| {
            let words: Vec<u64> = text.split(' ').map(|word| xxh3_64(word.as_bytes())).collect();
            let pairs = words
                .windows(2)
                .map(|pair| pair[0].wrapping_mul(PAIR_FACTOR).rotate_left(32) ^ pair[1].wrapping_mul(PAIR_FACTOR));
            words.iter().copied().chain(pairs).map(bucket).collect::<Vec<_>>()
        };
        let counts = |texts: &[&str]| {
            let mut counts: HashMap<usize, f64> = HashMap::new();
            texts.iter().flat_map(|text| buckets(text)).for_each(|bucket| *counts.entry(bucket).or_default() += 1.0);
            counts
        };
        let probability = |counts: &HashMap<usize, f64>, bucket: usize| {
            (counts.get(&bucket).unwrap_or(&0.0) + 1.0) / (counts.values().sum::<f64>() + N_BUCKETS as f64)
        };
        let (target, pool) = (counts(target), counts(pool));
        buckets(text).into_iter().map(|at| (probability(&target, at) / probability(&pool, at)).ln()).sum()
    }

    #[test]
    fn weights_are_those_of_the_formula() {
        let target = ["the court finds for the plaintiff", "the plaintiff appeals"];
        let pool = ["buy cheap shoes now", "the shoes of the court", "cheap cheap cheap"];
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let scorer = ImportanceScorer::fit(&owned(&target), &owned(&pool), &context);
        let texts = ["the plaintiff buys shoes", "cheap shoes", "the court finds"];
        let schema = arrow::datatypes::Schema::new(vec![Field::new(columns::TEXT, DataType::Utf8, true)]);
        let column = texts.map(Some).into_iter().chain([Some("?!"), None]).collect::<StringArray>();
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).unwrap();
        let scored = scorer.apply(batch).unwrap();
        let found = scored[columns::LOG_IMPORTANCE].as_primitive::<arrow::datatypes::Float32Type>();
        for (found, text) in found.values().iter().zip(texts) {
            let expect = oracle(&target, &pool, text);
            assert!((f64::from(*found) - expect).abs() < 1e-5, "{text}: {found} and not {expect}");
        }
        assert_eq!(found.values()[3..], [0.0, 0.0]);
    }
}
