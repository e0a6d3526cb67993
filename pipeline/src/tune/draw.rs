//! Which rows are compared: some at random, and their neighbours.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::context::Context;
use crate::dedup::{Bands, Reader, Settings, sketch};
use crate::spill::ExternalSorter;
use crate::{Error, Result, RowSet};

const STAGE: &str = "sample";
/// Keys by which neighbours are found: see the module's documentation for what they miss.
const NET: Bands = Bands { n_bands: 32, rows_per_band: 2 };
/// Keys that two neighbours share at least.
const LEAST_SHARED: usize = 2;
/// Rows of a key that are looked at, from the first one on.
const BUCKET_ROWS: usize = 64;
/// Keys of a row that may have more rows. A neighbour of similarity 0.5 shares two of the others in 99.3 % of the cases.
const MOST_CUT_KEYS: usize = 7;
/// Neighbours that a drawn row brings at most.
const MOST_NEIGHBOURS: usize = 8;
/// More rows than so many have too many pairs.
const MOST_ROWS: usize = 20_000;

/// Some rows with the keys of the net.
#[derive(Debug, Default)]
pub struct Netted {
    rows: Vec<u64>,
    /// Key and row.
    keys: Vec<(u64, u64)>,
}

impl Netted {
    /// Reads texts under `settings`.
    pub fn new<'a>(settings: &Settings, rows: &[u64], texts: impl Iterator<Item = &'a str>) -> Self {
        let mut reader = Reader::new(settings);
        let mut netted = Self { rows: rows.to_vec(), keys: Vec::with_capacity(NET.n_bands * rows.len()) };
        let mut keys = Vec::with_capacity(NET.n_bands);
        for (&row, text) in rows.iter().zip(texts) {
            let (exact_key, shingles) = reader.read(text);
            keys.clear();
            if shingles.is_empty() {
                // Without a token only equal text counts: as many keys of it as make a neighbour.
                keys.extend([exact_key as u64, (exact_key >> 64) as u64]);
            } else {
                NET.push_keys(&sketch(shingles), &mut keys);
            }
            netted.keys.extend(keys.iter().map(|&key| (key, row)));
        }
        netted
    }

    /// Number of rows.
    pub fn n_rows(&self) -> u64 {
        self.rows.len() as u64
    }
}

/// Draws rows while all of them go by, each with the same probability, by a hash of seed and row.
#[derive(Debug)]
pub struct Draw {
    n_wanted: usize,
    seed: u64,
    /// The least hashes so far, with their rows.
    drawn: BinaryHeap<(u64, u64)>,
    keys: ExternalSorter<(u64, u64)>,
    n_rows: u64,
}

/// The rows to compare.
#[derive(Debug)]
pub struct Chosen {
    /// Rows drawn at random.
    pub drawn: RowSet,
    /// Of these, rows that have more neighbours than they bring.
    pub cut: RowSet,
    /// The rows drawn and their neighbours.
    pub rows: RowSet,
    /// Rows that went by.
    pub n_rows: u64,
}

impl Draw {
    /// Draws `n_wanted` rows.
    ///
    /// # Errors
    /// `Error::Config` if so many rows cannot be compared.
    pub fn new(n_wanted: usize, seed: u64, context: &Context) -> Result<Self> {
        if !(2..=MOST_ROWS).contains(&n_wanted) {
            return Err(Error::Config {
                message: format!("a sample of {n_wanted} rows is not between 2 and {MOST_ROWS}"),
                hint: Some("all pairs of the sample are compared: 2000 rows make two million".into()),
            });
        }
        let keys = ExternalSorter::new(STAGE, &context.budget);
        Ok(Self { n_wanted, seed, drawn: BinaryHeap::new(), keys, n_rows: 0 })
    }

    /// Sees rows, each once, in any order.
    pub fn observe(&mut self, netted: Netted, context: &Context) -> Result<()> {
        self.n_rows += netted.n_rows();
        for row in netted.rows {
            let candidate = (self.hash(row), row);
            if self.drawn.len() < self.n_wanted {
                self.drawn.push(candidate);
            } else if let Some(mut last) = self.drawn.peek_mut()
                && candidate < *last
            {
                *last = candidate;
            }
        }
        netted.keys.into_iter().try_for_each(|key| self.keys.push(key, context))
    }

    fn hash(&self, row: u64) -> u64 {
        xxh3_64_with_seed(&row.to_le_bytes(), self.seed)
    }

    /// Ends the draw and looks the neighbours up.
    pub fn choose(self, context: &Context) -> Result<Chosen> {
        let drawn: RowSet = self.drawn.iter().map(|&(_, row)| row).collect();
        let mut chosen = Chosen { rows: drawn.clone(), drawn, cut: RowSet::new(), n_rows: self.n_rows };
        if chosen.n_rows == chosen.drawn.len() {
            return Ok(chosen);
        }
        let (n_most, seed) = (chosen.drawn.len() + self.n_wanted as u64, self.seed);
        let mut meetings = Meetings::new(&chosen.drawn, context);
        for record in self.keys.finish(context)? {
            let (key, row) = record?;
            meetings.add(key, row)?;
        }
        let mut neighbours = meetings.neighbours()?;
        chosen.cut = neighbours.cut;
        // The first neighbour of every row first, then the second of every row: nobody's are left out before another's.
        let hash = |row: u64| xxh3_64_with_seed(&row.to_le_bytes(), seed);
        neighbours.found.sort_by_key(|&(rank, drawn, row)| (rank, hash(drawn), row));
        for (_, drawn, row) in neighbours.found {
            if chosen.rows.contains(row) {
                continue;
            }
            if chosen.rows.len() < n_most {
                chosen.rows.insert(row);
            } else {
                chosen.cut.insert(drawn);
            }
        }
        Ok(chosen)
    }
}

/// Rows that meet drawn ones under a key.
struct Meetings<'a> {
    drawn: &'a RowSet,
    context: &'a Context,
    /// Drawn row and other row, once for each key.
    met: ExternalSorter<(u64, u64)>,
    /// Drawn rows by keys of which not all rows were looked at.
    n_cut_keys: HashMap<u64, usize>,
    key: u64,
    n_others: usize,
    first_others: Vec<u64>,
    drawn_rows: Vec<u64>,
}

impl<'a> Meetings<'a> {
    fn new(drawn: &'a RowSet, context: &'a Context) -> Self {
        Self {
            drawn,
            context,
            met: ExternalSorter::new(STAGE, &context.budget),
            n_cut_keys: HashMap::new(),
            key: 0,
            n_others: 0,
            first_others: Vec::new(),
            drawn_rows: Vec::new(),
        }
    }

    /// Sees keys with their rows, in order.
    fn add(&mut self, key: u64, row: u64) -> Result<()> {
        if key != self.key {
            self.close_bucket()?;
            self.key = key;
        }
        if self.drawn.contains(row) {
            self.drawn_rows.push(row);
        } else {
            self.n_others += 1;
            if self.first_others.len() < BUCKET_ROWS {
                self.first_others.push(row);
            }
        }
        Ok(())
    }

    fn close_bucket(&mut self) -> Result<()> {
        self.context.cancel.check()?;
        for &drawn in &self.drawn_rows {
            for &row in &self.first_others {
                self.met.push((drawn, row), self.context)?;
            }
            if self.first_others.len() < self.n_others {
                *self.n_cut_keys.entry(drawn).or_default() += 1;
            }
        }
        self.first_others.clear();
        self.drawn_rows.clear();
        self.n_others = 0;
        Ok(())
    }

    /// Those that met often enough.
    fn neighbours(mut self) -> Result<Neighbours> {
        self.close_bucket()?;
        let many_cut_keys = self.n_cut_keys.iter().filter(|(_, n_keys)| MOST_CUT_KEYS < **n_keys);
        let mut neighbours = Neighbours { found: Vec::new(), cut: many_cut_keys.map(|(row, _)| *row).collect() };
        let mut of_row: Vec<(Reverse<usize>, u64)> = Vec::new();
        let mut run = ((0, 0), 0);
        for met in self.met.finish(self.context)? {
            let met = met?;
            if met == run.0 {
                run.1 += 1;
                continue;
            }
            end_run(run, &mut of_row);
            if met.0 != run.0.0 {
                neighbours.add(run.0.0, &mut of_row);
            }
            run = (met, 1);
        }
        end_run(run, &mut of_row);
        neighbours.add(run.0.0, &mut of_row);
        Ok(neighbours)
    }
}

/// A drawn row and another one met under so many keys.
fn end_run(((_, row), n_shared): ((u64, u64), usize), of_row: &mut Vec<(Reverse<usize>, u64)>) {
    if LEAST_SHARED <= n_shared {
        of_row.push((Reverse(n_shared), row));
    }
}

/// Neighbours of drawn rows.
struct Neighbours {
    /// Place among the neighbours of a drawn row, that row, the neighbour.
    found: Vec<(usize, u64, u64)>,
    /// Drawn rows with more neighbours than are found.
    cut: RowSet,
}

impl Neighbours {
    /// Of the rows that met a drawn one: by turns the one that met it most often, and the earliest one of those that met it
    /// half as often or more. The nearest say how near they are, the earliest are those that stay.
    fn add(&mut self, drawn: u64, of_row: &mut Vec<(Reverse<usize>, u64)>) {
        if MOST_NEIGHBOURS < of_row.len() {
            self.cut.insert(drawn);
        }
        of_row.sort_unstable();
        let half = of_row.first().map_or(0, |(n_shared, _)| n_shared.0.div_ceil(2));
        let mut by_row: Vec<u64> =
            of_row.iter().filter(|(n_shared, _)| half <= n_shared.0).map(|(_, row)| *row).collect();
        by_row.sort_unstable();
        let mut earliest = by_row.into_iter();
        let mut nearest = of_row.drain(..).map(|(_, row)| row);
        let mut taken: Vec<u64> = Vec::with_capacity(MOST_NEIGHBOURS);
        while taken.len() < MOST_NEIGHBOURS {
            let next = if taken.len().is_multiple_of(2) {
                nearest.find(|row| !taken.contains(row))
            } else {
                earliest.find(|row| !taken.contains(row)).or_else(|| nearest.find(|row| !taken.contains(row)))
            };
            let Some(row) = next else { break };
            taken.push(row);
        }
        self.found.extend(taken.into_iter().enumerate().map(|(rank, row)| (rank, drawn, row)));
    }
}
