//! Embeddings of earlier runs, by the hash of the text: what is there is not computed again.
//!
//! ```text
//! CACHE/<fingerprint of the encoder>/<f16 or f32>/<hash>.parquet     key, embedding, truncated
//! ```
//!
//! A file never changes, and what it says is true whoever wrote it: nothing has to be agreed on between runs. What cannot
//! be read, or is not what was written, is as good as not there.

mod encoder;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rayon::prelude::*;
use tamis_schemas::config::EmbeddingType;
use xxhash_rust::xxh3::xxh3_128;

use crate::budget::Reservation;
use crate::context::Context;
use crate::place::Place;
use crate::store::Stores;
use crate::{Error, Result};

pub use encoder::SharedEncoder;
pub(crate) use encoder::{CachedEncoder, Found};
use segment::Segment;
pub(crate) use segment::Stored;

/// Bytes of vectors in a file, about.
const SEGMENT_BYTES: usize = 32 << 20;

/// The embeddings that there are of one encoder, and those that are added.
#[derive(Debug)]
pub(crate) struct EmbeddingCache {
    place: Place,
    item: EmbeddingType,
    dimensions: usize,
    segments: Vec<Segment>,
    /// Key, segment and row of each embedding, sorted; of equal keys one.
    rows: Vec<(u128, u32, u32)>,
    /// For `rows`.
    _reservation: Reservation,
}

/// What is not yet written, in the order of the input.
#[derive(Debug)]
pub(crate) struct Added {
    rows: Vec<(u128, Stored)>,
    reservation: Reservation,
}

impl EmbeddingCache {
    /// Opens the part of the cache at `url` that is of this encoder and type; there need not be any.
    ///
    /// # Memory
    /// 32 bytes for each embedding, as far as the budget allows; others are not seen.
    pub(crate) fn open(
        url: &str,
        fingerprint: &str,
        item: EmbeddingType,
        dimensions: usize,
        stores: &Stores,
        context: &Context,
    ) -> Result<Self> {
        let folder = match item {
            EmbeddingType::F16 => "f16",
            EmbeddingType::F32 => "f32",
        };
        if url.trim().is_empty() {
            return Err(Error::config("the cache of embeddings (--cache) has no name"));
        }
        let url = format!("{}/{fingerprint}/{folder}", url.trim_end_matches('/'));
        let place = Place::new(&url, stores, context.runtime.handle())?;
        let mut names: Vec<(String, u64)> = place.list("")?.into_iter().map(|(name, meta)| (name, meta.size)).collect();
        names.retain(|(name, _)| name.ends_with(".parquet"));
        names.sort_unstable();
        let mut reservation = context.budget.reserve("embedding cache");
        let (mut segments, mut rows) = (Vec::new(), Vec::new());
        for (name, n_bytes) in names {
            context.cancel.check()?;
            let (segment, keys) = match Segment::open(&place, &name, n_bytes, item, dimensions) {
                Ok(opened) => opened,
                Err(error) => {
                    tracing::warn!(file = %place.display(&name), %error, "a file of the embedding cache is passed over");
                    continue;
                }
            };
            if !reservation.try_grow(keys.len() * size_of::<(u128, u32, u32)>()) {
                tracing::warn!("the memory limit leaves no room for the keys of the whole embedding cache");
                break;
            }
            let number = segments.len() as u32;
            rows.extend(keys.into_iter().enumerate().map(|(row, key)| (key, number, row as u32)));
            segments.push(segment);
        }
        rows.sort_unstable();
        rows.dedup_by_key(|(key, ..)| *key);
        Ok(Self { place, item, dimensions, segments, rows, _reservation: reservation })
    }

    /// The key of a text.
    pub(crate) fn key(text: &str) -> u128 {
        xxh3_128(text.as_bytes())
    }

    /// What there is of each of `keys`.
    pub(crate) fn find(&self, keys: &[u128]) -> Vec<Option<Stored>> {
        // Row groups to read, and for each the rows that are wanted: place in `keys` and row of the segment.
        let mut groups: BTreeMap<(u32, usize), Vec<(usize, u32)>> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            if let Ok(at) = self.rows.binary_search_by_key(key, |(key, ..)| *key) {
                let (_, segment, row) = self.rows[at];
                let group = self.segments[segment as usize].group_of(row);
                groups.entry((segment, group)).or_default().push((place, row));
            }
        }
        let read = groups.into_par_iter().map(|((segment, group), wanted)| {
            let segment = &self.segments[segment as usize];
            segment.read(group, &wanted).unwrap_or_else(|error| {
                tracing::warn!(file = %segment.location(), %error, "a file of the embedding cache is passed over");
                Vec::new()
            })
        });
        let mut found = vec![None; keys.len()];
        for (place, stored) in read.collect::<Vec<_>>().into_iter().flatten() {
            found[place] = Some(stored);
        }
        found
    }

    /// Nothing added yet.
    pub(crate) fn adding(context: &Context) -> Added {
        Added { rows: Vec::new(), reservation: context.budget.reserve("embedding cache") }
    }

    /// Adds embeddings; a file is written when there are enough for one, or no more memory for them.
    pub(crate) fn add(&self, added: &mut Added, rows: Vec<(u128, Stored)>) -> Result<()> {
        let row_bytes = self.dimensions * size_of::<f32>() + size_of::<(u128, Stored)>();
        for row in rows {
            let is_full = SEGMENT_BYTES <= added.rows.len() * row_bytes;
            if is_full || !added.reservation.try_grow(row_bytes) {
                self.flush(added)?;
                added.reservation.grow(row_bytes)?;
            }
            added.rows.push(row);
        }
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn flush(&self, added: &mut Added) -> Result<()> {
        let rows = std::mem::take(&mut added.rows);
        if !rows.is_empty() {
            let (name, bytes) = segment::write(&rows, self.item, self.dimensions)?;
            self.place.put(&name, bytes)?;
        }
        added.reservation.free();
        Ok(())
    }
}
