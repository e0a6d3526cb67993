//! Speed of the fingerprint of a text, whole and step by step, in bytes of text per second of one core.
//!
//! Texts: `sample-data/laws.jsonl` (German) and `sample-data/licences.jsonl` (English). Then the sketch of N random shingles, in
//! seconds a set.

use std::hint::black_box;
use std::path::Path;

use arrow::array::StringArray;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tamis_pipeline::dedup::{Fingerprint, Normalize, Normalizer, Settings, Shingler, sketch, tokenize};

fn texts(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample-data").join(name);
    let lines = std::fs::read_to_string(path).expect("the sample data is in the repository");
    lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("the sample data is JSON Lines"))
        .map(|row| row["text"].as_str().expect("every row has a text").to_owned())
        .collect()
}

fn fingerprint(criterion: &mut Criterion) {
    for name in ["laws.jsonl", "licences.jsonl"] {
        let texts = texts(name);
        let n_bytes = texts.iter().map(|text| text.len() as u64).sum();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(n_bytes));

        let stage = Fingerprint::new(&Settings::default()).expect("the default settings work");
        let array = StringArray::from_iter_values(&texts);
        group.bench_function("fingerprint", |bencher| {
            bencher.iter(|| stage.fingerprint(black_box(&array)).expect("texts have fingerprints"));
        });

        let mut normalizer = Normalizer::new(Normalize::default());
        group.bench_function("normalize", |bencher| {
            bencher.iter(|| texts.iter().map(|text| normalizer.normalize(text).len()).sum::<usize>());
        });

        let normalized: Vec<Vec<u8>> = texts.iter().map(|text| normalizer.normalize(text).to_vec()).collect();
        let mut tokens = Vec::new();
        group.bench_function("tokenize", |bencher| {
            bencher.iter(|| {
                for text in &normalized {
                    tokens.clear();
                    tokenize(text, &mut tokens);
                    black_box(&tokens);
                }
            });
        });

        let tokenized: Vec<Vec<u64>> = normalized
            .iter()
            .map(|text| {
                let mut tokens = Vec::new();
                tokenize(text, &mut tokens);
                tokens
            })
            .collect();
        let shingler = Shingler::new(5, 0);
        let mut shingles = Vec::new();
        group.bench_function("shingle", |bencher| {
            bencher.iter(|| {
                for tokens in &tokenized {
                    shingler.shingle(tokens, &mut shingles);
                    black_box(&shingles);
                }
            });
        });

        let shingled: Vec<Vec<u64>> = tokenized
            .iter()
            .map(|tokens| {
                let mut shingles = Vec::new();
                shingler.shingle(tokens, &mut shingles);
                shingles
            })
            .collect();
        group.bench_function("sketch", |bencher| {
            bencher.iter(|| shingled.iter().map(|shingles| sketch(shingles)[0]).fold(0, u32::wrapping_add));
        });
        group.finish();
    }
}

/// Sets of 200,000 shingles in all, so that branches are not learnt by heart from one set.
fn sketches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sketch");
    for n_shingles in [10, 100, 1000, 10_000] {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let shingles: Vec<u64> = (0..200_000).map(|_| random.random()).collect();
        let mut sets = shingles.chunks_exact(n_shingles).cycle();
        group.bench_function(BenchmarkId::from_parameter(n_shingles), |bencher| {
            bencher.iter(|| sketch(black_box(sets.next().expect("a cycle has no end"))));
        });
    }
    group.finish();
}

criterion_group!(benches, fingerprint, sketches);
criterion_main!(benches);
