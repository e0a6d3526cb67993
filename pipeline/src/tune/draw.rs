//! Which rows are compared: some at random, and their neighbours.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

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
    /// These and their neighbours.
    pub rows: RowSet,
    /// Rows that went by.
    pub n_rows: u64,
    /// Neighbours that were left out because there are too many.
    pub n_left_out: u64,
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
        let mut chosen = Chosen { rows: drawn.clone(), drawn, n_rows: self.n_rows, n_left_out: 0 };
        if chosen.n_rows == chosen.drawn.len() {
            return Ok(chosen);
        }
        let (n_most, seed) = (self.n_wanted as u64, self.seed);
        let mut meetings = Meetings::new(&chosen.drawn, context);
        for record in self.keys.finish(context)? {
            let (key, row) = record?;
            meetings.add(key, row)?;
        }
        let mut neighbours = meetings.neighbours()?;
        chosen.n_left_out = neighbours.n_left_out;
        // The nearest neighbour of every row first, then the second of every row: nobody's are left out before another's.
        let hash = |row: u64| xxh3_64_with_seed(&row.to_le_bytes(), seed);
        neighbours.found.sort_by_key(|&(rank, drawn, row)| (rank, hash(drawn), row));
        for (_, _, row) in neighbours.found {
            if chosen.rows.contains(row) {
                continue;
            }
            if chosen.rows.len() < chosen.drawn.len() + n_most {
                chosen.rows.insert(row);
            } else {
                chosen.n_left_out += 1;
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
    key: u64,
    first_rows: Vec<u64>,
    drawn_rows: Vec<u64>,
}

/// Neighbours of drawn rows.
#[derive(Default)]
struct Neighbours {
    /// Place among the neighbours of a drawn row, that row, the neighbour.
    found: Vec<(usize, u64, u64)>,
    n_left_out: u64,
}

impl<'a> Meetings<'a> {
    fn new(drawn: &'a RowSet, context: &'a Context) -> Self {
        let met = ExternalSorter::new(STAGE, &context.budget);
        Self { drawn, context, met, key: 0, first_rows: Vec::new(), drawn_rows: Vec::new() }
    }

    /// Sees keys with their rows, in order.
    fn add(&mut self, key: u64, row: u64) -> Result<()> {
        if key != self.key {
            self.close_bucket()?;
            self.key = key;
        }
        if self.drawn.contains(row) {
            self.drawn_rows.push(row);
        } else if self.first_rows.len() < BUCKET_ROWS {
            self.first_rows.push(row);
        }
        Ok(())
    }

    fn close_bucket(&mut self) -> Result<()> {
        self.context.cancel.check()?;
        for &drawn in &self.drawn_rows {
            for &row in &self.first_rows {
                self.met.push((drawn, row), self.context)?;
            }
        }
        self.first_rows.clear();
        self.drawn_rows.clear();
        Ok(())
    }

    /// Those that met often enough: for each drawn row the ones that met it most often, earlier rows first.
    fn neighbours(mut self) -> Result<Neighbours> {
        self.close_bucket()?;
        let mut neighbours = Neighbours::default();
        let mut of_row: Vec<(Reverse<usize>, u64)> = Vec::new();
        let mut run = ((0, 0), 0);
        for met in self.met.finish(self.context)? {
            let met = met?;
            if met == run.0 {
                run.1 += 1;
                continue;
            }
            neighbours.end_run(run, &mut of_row);
            if met.0 != run.0.0 {
                neighbours.end_row(run.0.0, &mut of_row);
            }
            run = (met, 1);
        }
        neighbours.end_run(run, &mut of_row);
        neighbours.end_row(run.0.0, &mut of_row);
        Ok(neighbours)
    }
}

impl Neighbours {
    fn end_run(&mut self, ((_, row), n_shared): ((u64, u64), usize), of_row: &mut Vec<(Reverse<usize>, u64)>) {
        if LEAST_SHARED <= n_shared {
            of_row.push((Reverse(n_shared), row));
        }
    }

    fn end_row(&mut self, drawn: u64, of_row: &mut Vec<(Reverse<usize>, u64)>) {
        of_row.sort_unstable();
        self.n_left_out += of_row.len().saturating_sub(MOST_NEIGHBOURS) as u64;
        self.found
            .extend(of_row.drain(..).take(MOST_NEIGHBOURS).enumerate().map(|(rank, (_, row))| (rank, drawn, row)));
    }
}
