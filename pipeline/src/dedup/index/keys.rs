//! The keys of a run, sorted, to be joined with those of one segment after the other.

use crate::Result;
use crate::context::Context;
use crate::dedup::tape::{RowTable, RowTableWriter};
use crate::spill::ExternalSorter;

/// Keys read at once.
const BLOCK_KEYS: usize = 512;
const STAGE: &str = "index: keys";

/// Distinct keys in order, in memory or in a file, with the first key of every block at hand.
#[derive(Debug)]
pub(super) struct KeyTable {
    blocks: RowTable<[u64; BLOCK_KEYS]>,
    firsts: Vec<u64>,
    n_keys: usize,
}

impl KeyTable {
    /// Sorts keys, repeats left out.
    pub(super) fn new(keys: ExternalSorter<u64>, context: &Context) -> Result<Self> {
        let mut blocks = RowTableWriter::new(STAGE, context);
        let mut firsts = Vec::new();
        let mut block = [0; BLOCK_KEYS];
        let (mut n_keys, mut last) = (0, None);
        for key in keys.finish(context)? {
            let key = key?;
            if last == Some(key) {
                continue;
            }
            last = Some(key);
            if n_keys % BLOCK_KEYS == 0 {
                firsts.push(key);
            }
            block[n_keys % BLOCK_KEYS] = key;
            n_keys += 1;
            if n_keys % BLOCK_KEYS == 0 {
                blocks.push((n_keys / BLOCK_KEYS - 1) as u64, &block, context)?;
            }
        }
        if n_keys % BLOCK_KEYS > 0 {
            blocks.push((n_keys / BLOCK_KEYS) as u64, &block, context)?;
        }
        Ok(Self { blocks: blocks.finish(context)?, firsts, n_keys })
    }

    /// Whether a key lies in `first..=last`.
    pub(super) fn intersects(&self, first: u64, last: u64) -> Result<bool> {
        let mut cursor = self.cursor();
        Ok(cursor.seek(first)?.is_some_and(|key| key <= last))
    }

    /// A cursor before the first key.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor { table: self, block: [0; BLOCK_KEYS], block_number: None, at: 0 }
    }
}

/// A place among the keys that only moves forward.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    table: &'a KeyTable,
    block: [u64; BLOCK_KEYS],
    block_number: Option<usize>,
    at: usize,
}

impl Cursor<'_> {
    /// Moves to the first key that is not below `key`, which must not be below an earlier one.
    pub(super) fn seek(&mut self, key: u64) -> Result<Option<u64>> {
        // The last block that begins at or below the key, or the first one.
        let number = self.table.firsts.partition_point(|&first| first <= key).saturating_sub(1);
        if self.block_number.is_none_or(|current| current < number) {
            self.load(number)?;
        }
        loop {
            let Some(number) = self.block_number else { return Ok(None) };
            let in_block = (self.table.n_keys - number * BLOCK_KEYS).min(BLOCK_KEYS);
            self.at += self.block[self.at..in_block].partition_point(|&candidate| candidate < key);
            if self.at < in_block {
                return Ok(Some(self.block[self.at]));
            }
            if (number + 1) * BLOCK_KEYS >= self.table.n_keys {
                return Ok(None);
            }
            self.load(number + 1)?;
        }
    }

    fn load(&mut self, number: usize) -> Result<()> {
        if number * BLOCK_KEYS < self.table.n_keys {
            self.block = self.table.blocks.get(number as u64)?;
            (self.block_number, self.at) = (Some(number), 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::context::{Cancel, Resources};

    #[test]
    fn seeks_as_a_binary_search_does() {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        for (n_keys, limit_bytes) in [(0, 1 << 30), (1, 1 << 30), (1024, 1 << 30), (50_000, 1 << 30), (50_000, 1)] {
            let resources = Resources { memory_limit_bytes: limit_bytes, ..Resources::default() };
            let context = Context::new(&resources, Cancel::default()).unwrap();
            let mut sorter = ExternalSorter::new("test", &context.budget);
            let mut keys: Vec<u64> = (0..n_keys).map(|_| random.random_range(0..100_000)).collect();
            for &key in &keys {
                sorter.push(key, &context).unwrap();
            }
            let table = KeyTable::new(sorter, &context).unwrap();
            keys.sort_unstable();
            keys.dedup();
            let mut wanted: Vec<u64> = (0..3000).map(|_| random.random_range(0..110_000)).collect();
            wanted.sort_unstable();
            let mut cursor = table.cursor();
            for key in wanted {
                let expect = keys.get(keys.partition_point(|&other| other < key)).copied();
                assert_eq!(cursor.seek(key).unwrap(), expect, "{key} of {n_keys}");
                let is_hit = expect.is_some_and(|next| next <= key + 3);
                assert_eq!(table.intersects(key, key + 3).unwrap(), is_hit);
            }
        }
    }
}
