//! Sets of shingles that can be asked for a few elements without being read whole.

use super::super::measure::least_overlap;
use super::super::shingle::count_shared;
use super::super::tape::{RowTable, RowTableWriter, SetTable, SetTableWriter};
use crate::Result;
use crate::context::Context;

/// Elements of a part, about.
const PART_ELEMENTS: usize = 1024;

/// Sets by row, in the making.
///
/// A set is cut by the values of its elements into parts of about 1,024: a short text in a long one meets few of them, so
/// that a document of a hundred megabytes is not read whole for each of the thousands of short ones it is compared with.
#[derive(Debug)]
pub(in super::super) struct PartedSetsWriter {
    parts: SetTableWriter,
    index: RowTableWriter<[u64; 2]>,
    n_parts: u64,
}

impl PartedSetsWriter {
    /// No sets.
    pub(in super::super) fn new(stage: &'static str, context: &Context) -> Self {
        Self { parts: SetTableWriter::new(stage, context), index: RowTableWriter::new(stage, context), n_parts: 0 }
    }

    /// Sets the set (sorted, distinct) of `row`, which must be above all earlier rows.
    pub(in super::super) fn push(&mut self, row: u64, set: &[u64], context: &Context) -> Result<()> {
        let n_parts = set.len().div_ceil(PART_ELEMENTS) as u64;
        self.index.push(row, &[self.n_parts, n_parts], context)?;
        let mut rest = set;
        for part in 0..n_parts {
            let (elements, later) = split_off(rest, part, n_parts);
            self.parts.push(self.n_parts + part, elements, context)?;
            rest = later;
        }
        self.n_parts += n_parts;
        Ok(())
    }

    /// Ends writing.
    pub(in super::super) fn finish(self, context: &Context) -> Result<PartedSets> {
        Ok(PartedSets { parts: self.parts.finish(context)?, index: self.index.finish(context)? })
    }
}

/// Sets by row.
#[derive(Debug)]
pub(in super::super) struct PartedSets {
    parts: SetTable,
    /// First part and number of parts, by row.
    index: RowTable<[u64; 2]>,
}

impl PartedSets {
    /// The set of `row`; empty if the row has none.
    pub(in super::super) fn get(&self, row: u64) -> Result<Vec<u64>> {
        let [first, n_parts] = self.index.get(row)?;
        let mut set = Vec::new();
        for part in 0..n_parts {
            set.append(&mut self.parts.get(first + part)?);
        }
        Ok(set)
    }

    /// The containment of `set` in the set of `row`, if it reaches `threshold`; a pair that cannot is given up as soon as
    /// a part shows it.
    pub(in super::super) fn containment_reaching(&self, set: &[u64], row: u64, threshold: f64) -> Result<Option<f64>> {
        let [first, n_parts] = self.index.get(row)?;
        let least_shared = least_overlap(set.len(), threshold);
        let mut n_shared = 0;
        let mut rest = set;
        while let Some(&element) = rest.first() {
            if n_parts == 0 || n_shared + rest.len() < least_shared {
                return Ok(None);
            }
            let part = part_of(element, n_parts);
            let (elements, later) = split_off(rest, part, n_parts);
            n_shared += count_shared(elements, &self.parts.get(first + part)?);
            rest = later;
        }
        let is_reached = !set.is_empty() && least_shared <= n_shared;
        Ok(is_reached.then(|| n_shared as f64 / set.len() as f64))
    }
}

/// The part that an element lies in: parts are equal ranges of values.
fn part_of(element: u64, n_parts: u64) -> u64 {
    ((u128::from(element) * u128::from(n_parts)) >> u64::BITS) as u64
}

/// The elements up to the end of `part`, and those after it.
fn split_off(set: &[u64], part: u64, n_parts: u64) -> (&[u64], &[u64]) {
    set.split_at(set.partition_point(|&element| part_of(element, n_parts) <= part))
}

#[cfg(test)]
mod tests {
    use rand::seq::IteratorRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::super::shingle::to_set;
    use super::*;
    use crate::context::{Cancel, Resources};

    #[test]
    fn containment_equals_hash_sets() {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(62);
        let mut writer = PartedSetsWriter::new("test", &context);
        let mut sets: Vec<Vec<u64>> = Vec::new();
        for (row, n_elements) in [0, 1, 5, 1023, 1024, 1025, 3000, 20_000].into_iter().enumerate() {
            let mut set: Vec<u64> = (0..n_elements).map(|_| random.random()).collect();
            to_set(&mut set);
            writer.push(3 * row as u64, &set, &context).unwrap();
            sets.push(set);
        }
        let table = writer.finish(&context).unwrap();
        for (index, large) in sets.iter().enumerate() {
            let row = 3 * index as u64;
            assert!(&table.get(row).unwrap() == large);
            for n_elements in [1, 7, 100, 900] {
                let n_shared = random.random_range(0..=n_elements).min(large.len());
                let mut small: Vec<u64> = large.iter().copied().choose_multiple(&mut random, n_shared);
                small.extend((0..n_elements - n_shared).map(|_| random.random::<u64>()));
                to_set(&mut small);
                let expect = n_shared as f64 / n_elements as f64;
                for threshold in [0.1, 0.5, expect.max(0.01), (expect + 1e-9).min(1.0), 1.0] {
                    let found = table.containment_reaching(&small, row, threshold).unwrap();
                    assert_eq!(found, (expect >= threshold).then_some(expect), "{n_elements} in {}", large.len());
                }
            }
            assert_eq!(table.containment_reaching(&[], row, 0.5).unwrap(), None);
        }
        assert!(table.get(1).unwrap().is_empty() && table.get(1000).unwrap().is_empty());
    }
}
