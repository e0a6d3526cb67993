//! Buckets that come in one after the other, each with the glances of its rows: what a search in one process looks up in a table.

use std::collections::{HashMap, HashSet};

use super::buckets::HotTags;
use super::candidates::{Comparison, Features, Found, Glances, HOT_BLOCK_ROWS, HotRow, Leaders, tasks};
use super::earlier::Pairing;
use super::handover::{Handed, SearchCounts, hand_rows_over};
use super::keep::Ranks;
use super::scope::Places;
use super::settings::{Gate, Settings};
use super::sketch_table::Glance;
use crate::context::Context;
use crate::{Error, Result};

/// Rows of buckets that are compared together, about.
const WAVE_ROWS: usize = 1 << 14;

/// Compares the rows of buckets as they come: sorted by key, then by position, which is the keep order.
#[derive(Debug)]
pub(crate) struct BucketStream {
    gate: Gate,
    hot_keys: HashSet<u64>,
    hot_tags: HotTags,
    places: Places,
    found: Option<Found>,
    /// Buckets that are whole, but for the last one.
    wave: Vec<(u64, Vec<u64>)>,
    glances: HashMap<u64, Glance<'static>>,
    /// A hot bucket that is being walked.
    hot: Option<HotBucket>,
    last: Option<(u64, u64)>,
}

#[derive(Debug)]
struct HotBucket {
    key: u64,
    leaders: Leaders,
    block: Vec<HotRow<'static>>,
}

impl BucketStream {
    /// `hot_keys`: those of all buckets of more than 1,000 rows, here or elsewhere.
    pub(crate) fn new(settings: &Settings, hot_keys: HashSet<u64>, context: &Context) -> Self {
        Self {
            gate: Gate::new(settings.threshold),
            hot_tags: HotTags::new(&hot_keys),
            hot_keys,
            places: Places::anywhere(),
            found: Some(Found::new(context)),
            wave: Vec::new(),
            glances: HashMap::new(),
            hot: None,
            last: None,
        }
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// `Error::Config` if it is not the next one.
    pub(crate) fn push(&mut self, key: u64, row: u64, glance: Vec<u32>, context: &Context) -> Result<()> {
        // Keys are compared as whoever sorts them does: as numbers with a sign.
        let place = (key.cast_signed(), row);
        if self.last.is_some_and(|(key, row)| place <= (key.cast_signed(), row)) {
            return Err(Error::config("the rows of buckets do not come sorted by key and row"));
        }
        self.last = Some((key, row));
        let glance =
            Glance::of_numbers(glance).ok_or_else(|| Error::config(format!("the sketch of row {row} is too short")))?;
        if self.hot.as_ref().is_some_and(|hot| hot.key != key) {
            self.end_hot_bucket(context)?;
        }
        if self.hot_keys.contains(&key) {
            let place = self.places.of(row, &Ranks::ByRow)?;
            let hot_row = HotRow::new(row, place, glance, &self.hot_tags);
            let hot = self.hot.get_or_insert_with(|| HotBucket { key, leaders: Leaders::default(), block: Vec::new() });
            hot.block.push(hot_row);
            return if hot.block.len() == HOT_BLOCK_ROWS { self.walk_hot_block(context) } else { Ok(()) };
        }
        match self.wave.last_mut() {
            Some((last, rows)) if *last == key => rows.push(row),
            _ => {
                if self.glances.len() >= WAVE_ROWS {
                    self.compare_wave(context)?;
                }
                self.wave.push((key, vec![row]));
            }
        }
        self.glances.insert(row, glance);
        Ok(())
    }

    /// Compares with the help of `features`.
    fn with(
        &mut self,
        features: &Features,
        context: &Context,
        work: impl FnOnce(&mut Comparison<'_>) -> Result<()>,
    ) -> Result<()> {
        let found = self.found.take().ok_or_else(|| Error::Invariant("a comparison has failed before".into()))?;
        let pairing = Pairing { first_new: 0, among_new: true };
        let (ranks, hot_tags, places) = (&Ranks::ByRow, &self.hot_tags, &self.places);
        let mut comparison = Comparison { features, ranks, pairing, hot_tags, places, context, found };
        work(&mut comparison)?;
        self.found = Some(comparison.found);
        Ok(())
    }

    fn compare_wave(&mut self, context: &Context) -> Result<()> {
        let wave = std::mem::take(&mut self.wave);
        let table = Glances::Some(std::mem::take(&mut self.glances));
        let features = Features::Sketches { table, gate: self.gate };
        let buckets = wave.iter().map(|(key, rows)| (*key, rows.as_slice())).filter(|(_, rows)| rows.len() > 1);
        self.with(&features, context, |comparison| comparison.run(&tasks(buckets)))
    }

    fn walk_hot_block(&mut self, context: &Context) -> Result<()> {
        let Some(HotBucket { key, mut leaders, block }) = self.hot.take() else { return Ok(()) };
        let gate = self.gate;
        let features = Features::Sketches { table: Glances::Some(HashMap::new()), gate };
        self.with(&features, context, |comparison| comparison.walk_block(block, &mut leaders, gate))?;
        self.hot = Some(HotBucket { key, leaders, block: Vec::new() });
        Ok(())
    }

    fn end_hot_bucket(&mut self, context: &Context) -> Result<()> {
        self.walk_hot_block(context)?;
        if let (Some(_), Some(found)) = (self.hot.take(), &mut self.found) {
            found.counts.hot_buckets += 1;
        }
        Ok(())
    }

    /// Hands on the pairs that are clear or open; those of a row that meets others in several tasks may come from each of them.
    pub(crate) fn finish(mut self, context: &Context, mut to: impl FnMut(Handed) -> Result<()>) -> Result<()> {
        self.end_hot_bucket(context)?;
        self.compare_wave(context)?;
        let Some(Found { edges, grey, counts }) = self.found else { return Ok(()) };
        to(Handed::Counts(SearchCounts::of_pairs(counts)))?;
        hand_rows_over(edges, grey, context, to)
    }
}
