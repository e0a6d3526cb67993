use super::*;
use crate::context::{Cancel, Resources};

fn context() -> Context {
    Context::new(&Resources::default(), Cancel::default()).unwrap()
}

fn stored(n: u64) -> Stored {
    // Values that half precision holds exactly.
    Stored { vector: (0..4).map(|i| ((n * 4 + i) % 2000) as f32 / 8.0).collect(), is_truncated: n.is_multiple_of(3) }
}

fn open(folder: &tempfile::TempDir, fingerprint: &str, item: EmbeddingType, context: &Context) -> EmbeddingCache {
    let stores = Stores::new::<&str, &str>([]);
    EmbeddingCache::open(folder.path().to_str().unwrap(), fingerprint, item, 4, &stores, context).unwrap()
}

fn add(cache: &EmbeddingCache, numbers: std::ops::Range<u64>, context: &Context) {
    let mut added = EmbeddingCache::adding(context);
    cache.add(&mut added, numbers.map(|n| (u128::from(n), stored(n))).collect()).unwrap();
    cache.flush(&mut added).unwrap();
}

#[test]
fn what_was_added_is_found_by_the_next() {
    let (folder, context) = (tempfile::tempdir().unwrap(), context());
    let first = open(&folder, "a", EmbeddingType::F16, &context);
    assert_eq!(first.find(&[1, 2]), [None, None]);
    add(&first, 0..3000, &context);
    add(&open(&folder, "a", EmbeddingType::F16, &context), 2500..5000, &context);
    let second = open(&folder, "a", EmbeddingType::F16, &context);
    let found = second.find(&[4999, 7000, 0, 2600, 1023, 1024, 4999]);
    let expect = [4999, 7000, 0, 2600, 1023, 1024, 4999].map(|n| (n < 5000).then(|| stored(n)));
    assert_eq!(found, expect);
    assert_eq!(open(&folder, "b", EmbeddingType::F16, &context).find(&[1]), [None], "another encoder");
    assert_eq!(open(&folder, "a", EmbeddingType::F32, &context).find(&[1]), [None], "single precision is asked for");
}

#[test]
fn each_type_keeps_its_precision() {
    let (folder, context) = (tempfile::tempdir().unwrap(), context());
    let fine = Stored { vector: vec![0.1, 0.2, 0.3, 1e-7], is_truncated: false };
    for item in [EmbeddingType::F16, EmbeddingType::F32] {
        let mut added = EmbeddingCache::adding(&context);
        let cache = open(&folder, "a", item, &context);
        cache.add(&mut added, vec![(7, fine.clone())]).unwrap();
        cache.flush(&mut added).unwrap();
        let found = open(&folder, "a", item, &context).find(&[7])[0].clone().unwrap();
        assert_eq!(found == fine, item == EmbeddingType::F32);
    }
}

#[test]
fn damage_is_as_good_as_nothing() {
    let (folder, context) = (tempfile::tempdir().unwrap(), context());
    add(&open(&folder, "a", EmbeddingType::F16, &context), 0..100, &context);
    let files = std::fs::read_dir(folder.path().join("a/f16")).unwrap();
    let path = files.map(|entry| entry.unwrap().path()).next().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let keys: Vec<u128> = (0..100).collect();
    for at in (0..bytes.len()).step_by(13) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&path, damaged).unwrap();
        for (found, key) in open(&folder, "a", EmbeddingType::F16, &context).find(&keys).into_iter().zip(0..) {
            assert!(found.is_none_or(|found| found == stored(key)), "byte {at}");
        }
    }
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(open(&folder, "a", EmbeddingType::F16, &context).find(&keys).iter().all(Option::is_none));
}

#[test]
fn little_memory_costs_no_more_than_hits() {
    let folder = tempfile::tempdir().unwrap();
    add(&open(&folder, "a", EmbeddingType::F16, &context()), 0..1000, &context());
    let resources = Resources { memory_limit_bytes: 1000, ..Resources::default() };
    let little = Context::new(&resources, Cancel::default()).unwrap();
    let cache = open(&folder, "a", EmbeddingType::F16, &little);
    assert_eq!(cache.find(&[1]), [None]);
    add(&cache, 1000..1100, &little);
    assert_eq!(open(&folder, "a", EmbeddingType::F16, &context()).find(&[1050]), [Some(stored(1050))]);
}
