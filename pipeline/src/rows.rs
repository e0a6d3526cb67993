//! Row positions and sets of them.

/// Set of row positions of one run, as sorted distinct `u64`s in compressed form.
///
/// A row position is the ordinal of the row in the whole input, files in their order, rejected rows counted too.
/// Held as a bitmap in pages of 65,536 rows: at most one bit per row, nothing for pages without a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowSet {
    pages: std::collections::BTreeMap<u64, Box<[u64; PAGE_WORDS]>>,
}

const PAGE_WORDS: usize = 1024;
const PAGE_BITS: u64 = 16;

impl RowSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `row`; `true` if it was not in the set.
    pub fn insert(&mut self, row: u64) -> bool {
        let page = self.pages.entry(row >> PAGE_BITS).or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let word = &mut page[(row as usize & 0xffff) >> 6];
        let bit = 1u64 << (row & 63);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether `row` is in the set.
    pub fn contains(&self, row: u64) -> bool {
        self.pages
            .get(&(row >> PAGE_BITS))
            .is_some_and(|page| page[(row as usize & 0xffff) >> 6] >> (row & 63) & 1 == 1)
    }

    /// Rows of the set before `row`.
    pub fn rank(&self, row: u64) -> u64 {
        let count = |words: &[u64]| words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        let before: u64 = self.pages.range(..row >> PAGE_BITS).map(|(_, page)| count(page.as_slice())).sum();
        let in_page = self.pages.get(&(row >> PAGE_BITS)).map_or(0, |page| {
            let word = (row as usize & 0xffff) >> 6;
            count(&page[..word]) + u64::from((page[word] & ((1 << (row & 63)) - 1)).count_ones())
        });
        before + in_page
    }

    /// Whether a row in `start..end` is in the set.
    pub fn intersects(&self, start: u64, end: u64) -> bool {
        start < end
            && self.pages.range(start >> PAGE_BITS..=(end - 1) >> PAGE_BITS).any(|(&page, words)| {
                let base = page << PAGE_BITS;
                (start.max(base)..end.min(base + (1 << PAGE_BITS)))
                    .any(|row| words[(row as usize & 0xffff) >> 6] >> (row & 63) & 1 == 1)
            })
    }

    /// The rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages.iter().flat_map(|(&page, words)| {
            words.iter().enumerate().flat_map(move |(index, &word)| {
                let base = (page << PAGE_BITS) + index as u64 * 64;
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| base + bit)
            })
        })
    }

    /// Number of rows in the set.
    pub fn len(&self) -> u64 {
        self.pages.values().flat_map(|page| page.iter()).map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether the set has no row.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.pages.len() * (PAGE_WORDS * 8 + 32)
    }
}

impl FromIterator<u64> for RowSet {
    fn from_iter<I: IntoIterator<Item = u64>>(rows: I) -> Self {
        let mut set = Self::new();
        for row in rows {
            set.insert(row);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_the_rows_before() {
        let rows: RowSet = [0, 1, 63, 64, 65_535, 65_536, 200_000].into_iter().collect();
        for (rank, row) in rows.iter().enumerate() {
            assert_eq!((rows.rank(row), rows.rank(row + 1)), (rank as u64, rank as u64 + 1), "{row}");
        }
        assert_eq!((rows.rank(130_000), rows.rank(u64::MAX)), (6, 7));
    }
}
