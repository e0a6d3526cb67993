//! Upkeep of an index: show, expire, delete, compact, verify. Each replaces `index.json` as a whole or leaves it alone.

use std::collections::HashSet;

use arrow::array::{AsArray, FixedSizeBinaryArray, RecordBatch, StringArray};
use arrow::datatypes::UInt64Type;
use sha2::{Digest, Sha256};
use tamis_schemas::index::{IndexManifest, IndexParameters, RunRecord, SegmentRecord};
use tamis_schemas::manifest::FileRecord;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::blocks::damaged;
use super::catalog::Catalog;
use super::parameters::settings;
use super::rows::{IndexRows, STORED_EXACT_KEY, STORED_ID, STORED_TEXT, exact_key, stored_schema};
use super::segment::{Segment, expired_bytes, read_expired_of};
use super::write::{Addition, SEGMENTS, Stamp};
use crate::context::Context;
use crate::dedup::columns::column;
use crate::place::Place;
use crate::sink::hex;
use crate::{Error, Result, RowSet};

/// Segments of fewer bytes are merged with their neighbours.
const SMALL_BYTES: u64 = 256 << 20;
/// Bytes of memory that an id to expire takes, beside its own.
const BYTES_PER_ID: usize = 64;

/// What the index at `place` holds.
///
/// # Errors
/// `Error::Config` if there is none.
pub fn show(place: &Place) -> Result<IndexManifest> {
    Ok(existing(&Catalog::load_existing(place)?)?.clone())
}

/// Which rows expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expire {
    /// Those that were added before this moment, in seconds since 1970.
    AddedBefore(u64),
    /// Those with these ids.
    Ids(HashSet<String>),
    /// Those that this run added.
    Run(String),
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Rows that expired.
    pub expired_rows: u64,
    /// Rows that stay.
    pub rows: u64,
}

/// Lets rows expire: no later run is compared with them.
///
/// # Errors
/// `Error::Config` if there is no index, or no run of that name, or if another command changed the index meanwhile.
pub fn expire(place: &Place, what: &Expire, stamp: &Stamp, context: &Context) -> Result<Expired> {
    let catalog = Catalog::load_existing(place)?;
    place.probe(&stamp.nonce)?;
    let mut manifest = existing(&catalog)?.clone();
    let before = live_rows(&manifest);
    match what {
        Expire::AddedBefore(moment) => {
            let keeps = |run: &RunRecord| *moment <= run.added_at;
            manifest.segments = without_runs(place, manifest.segments, keeps, stamp)?;
        }
        Expire::Run(name) => {
            if !manifest.segments.iter().flat_map(|segment| &segment.runs).any(|run| run.run == *name) {
                return Err(Error::Config {
                    message: format!("the index `{}` has no rows of a run `{name}`", place.url()),
                    hint: Some("`tamis index show` lists the runs".into()),
                });
            }
            manifest.segments = without_runs(place, manifest.segments, |run| run.run != *name, stamp)?;
        }
        Expire::Ids(ids) => {
            let mut held = context.budget.reserve("index: ids to expire");
            held.grow(ids.iter().map(|id| id.len() + BYTES_PER_ID).sum())?;
            let parameters = manifest.parameters.clone();
            manifest.segments = without_ids(place, manifest.segments, &parameters, ids, |_| true, stamp, context)?;
        }
    }
    let rows = live_rows(&manifest);
    if rows < before {
        replace(&catalog, &manifest)?;
    }
    Ok(Expired { expired_rows: before - rows, rows })
}

/// Removes the whole index, and nothing else that lies there.
///
/// # Errors
/// `Error::Config` if there is none.
pub fn delete(place: &Place) -> Result<IndexManifest> {
    let catalog = Catalog::load_existing(place)?;
    let manifest = existing(&catalog)?.clone();
    catalog.remove()?;
    let left: Vec<String> = place.list(SEGMENTS)?.into_iter().map(|(name, _)| name).collect();
    place.delete(left.iter().map(String::as_str).filter(|name| is_ours(name)))?;
    if let Some(folder) = &place.folder {
        // They stay if they hold something that is not ours.
        let _ = std::fs::remove_dir(folder.join(SEGMENTS));
        let _ = std::fs::remove_dir(folder);
    }
    Ok(manifest)
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Segments before.
    pub segments_before: u64,
    /// Segments now.
    pub segments: u64,
    /// Expired rows that were left out.
    pub removed_rows: u64,
    /// Files of runs that ended early, removed.
    pub orphans: u64,
}

/// Merges small segments with their neighbours and leaves out what has expired; removes files that nobody names and that
/// are at least `orphan_seconds` old.
///
/// # Errors
/// `Error::Config` if there is no index, or if another command changed it meanwhile.
pub fn compact(place: &Place, orphan_seconds: u64, stamp: &Stamp, context: &Context) -> Result<Compacted> {
    let catalog = Catalog::load_existing(place)?;
    place.probe(&stamp.nonce)?;
    let old = existing(&catalog)?;
    let rows = IndexRows::new(&settings(&old.parameters, place.url())?)?;
    let has_dead = |segment: &SegmentRecord| segment.live_rows() < segment.rows;
    let is_loose = |segment: &SegmentRecord| segment.bytes() < SMALL_BYTES || has_dead(segment);
    let mut manifest = IndexManifest { segments: Vec::new(), ..old.clone() };
    let mut staged = Vec::new();
    for group in old.segments.chunk_by(|left, right| is_loose(left) && is_loose(right)) {
        if group.len() == 1 && !has_dead(&group[0]) {
            manifest.segments.push(group[0].clone());
            continue;
        }
        let part = Stamp { nonce: format!("{}-{}", stamp.nonce, staged.len()), ..stamp.clone() };
        let mut addition = Addition::new(place, rows.search(), &part, context);
        let mut runs: Vec<RunRecord> = Vec::new();
        for record in group {
            copy_live_rows(place, record, &rows, &mut addition, &mut runs, context)?;
        }
        if let Some(segment) = addition.finish(context)? {
            manifest.segments.push(SegmentRecord { runs, ..segment.record(stamp.now) });
            staged.push(segment);
        }
    }
    if !staged.is_empty() || manifest.segments.len() < old.segments.len() {
        catalog.replace(&manifest)?;
        staged.into_iter().for_each(super::write::StagedSegment::keep);
        remove_unnamed(place, old, &manifest);
    }
    let orphans = remove_orphans(place, &manifest, orphan_seconds, stamp)?;
    let count = |manifest: &IndexManifest| manifest.segments.iter().map(|segment| segment.rows).sum::<u64>();
    Ok(Compacted {
        segments_before: old.segments.len() as u64,
        segments: manifest.segments.len() as u64,
        removed_rows: count(old) - count(&manifest),
        orphans,
    })
}

fn copy_live_rows(
    place: &Place,
    record: &SegmentRecord,
    rows: &IndexRows,
    addition: &mut Addition,
    runs: &mut Vec<RunRecord>,
    context: &Context,
) -> Result<()> {
    let segment = Segment::open(place, record, rows.search())?;
    let schema = stored_schema(rows.search());
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let copy = |_, batch: RecordBatch| rows.with_keys(&batch);
    segment.scan(|row| segment.is_live(row), &names, context, copy, |batch| addition.write(&batch, context))?;
    for run in &record.runs {
        let n_live = (run.first_row..run.first_row + run.rows).filter(|&row| segment.is_live(row)).count() as u64;
        if n_live == 0 {
            continue;
        }
        match runs.last_mut() {
            // A run on a cluster adds many segments.
            Some(last) if (&last.run, last.added_at) == (&run.run, run.added_at) => last.rows += n_live,
            last => {
                let first_row = last.map_or(0, |last| last.first_row + last.rows);
                runs.push(RunRecord { first_row, rows: n_live, ..run.clone() });
            }
        }
    }
    Ok(())
}

/// What was verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments.
    pub segments: u64,
    /// Rows, expired ones too.
    pub rows: u64,
    /// Keys.
    pub keys: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// Reads every byte: checksums, order and number of the keys, and whether texts, exact keys and keys belong together.
///
/// # Errors
/// `Error::Corrupt` naming the first file that is not what it was when it was written.
pub fn verify(place: &Place, context: &Context) -> Result<Verified> {
    let catalog = Catalog::load_existing(place)?;
    let manifest = existing(&catalog)?;
    let rows = IndexRows::new(&settings(&manifest.parameters, place.url())?)?;
    let mut verified = Verified::default();
    for record in &manifest.segments {
        let segment = Segment::open(place, record, rows.search())?;
        segment.check_bytes()?;
        let of_keys = verify_keys(&segment, context)?;
        let of_rows = verify_rows(&segment, &rows, context)?;
        if of_keys != of_rows {
            let (_, location) = segment.locations();
            return Err(damaged(location, "its keys are not those of the rows"));
        }
        verified.segments += 1;
        verified.rows += record.rows;
        verified.keys += of_keys.n_keys;
        verified.bytes += record.bytes();
    }
    Ok(verified)
}

/// Keys with their rows, whatever their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct KeySum {
    n_keys: u64,
    sum: u64,
}

impl KeySum {
    fn add(&mut self, key: u64, row: u64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&key.to_le_bytes());
        bytes[8..].copy_from_slice(&row.to_le_bytes());
        self.n_keys += 1;
        self.sum = self.sum.wrapping_add(xxh3_64(&bytes));
    }
}

fn verify_keys(segment: &Segment, context: &Context) -> Result<KeySum> {
    let (_, location) = segment.locations();
    let mut last = (0, 0);
    let mut sum = KeySum::default();
    for group in 0..segment.n_key_groups() {
        context.cancel.check()?;
        let (keys, rows) = segment.key_group(group)?;
        for entry in keys.into_iter().zip(rows) {
            if entry < last || u64::from(entry.1) >= segment.record.rows {
                return Err(damaged(location, "its keys are not sorted, or name rows that are not there"));
            }
            last = entry;
            sum.add(entry.0, u64::from(entry.1));
        }
    }
    Ok(sum)
}

fn verify_rows(segment: &Segment, rows: &IndexRows, context: &Context) -> Result<KeySum> {
    let (location, _) = segment.locations();
    let schema = stored_schema(rows.search());
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut sum = KeySum::default();
    let work = |numbers: arrow::array::UInt64Array, batch: RecordBatch| {
        let exact_keys: &FixedSizeBinaryArray = column(&batch, STORED_EXACT_KEY)?;
        let texts: &StringArray = column(&batch, STORED_TEXT)?;
        for (key, text) in exact_keys.iter().zip(texts) {
            if exact_key(key.unwrap_or_default())? != xxh3_128(text.unwrap_or_default().as_bytes()) {
                return Err(damaged(location, "the exact key of a text is not that of the text"));
            }
        }
        Ok((numbers, rows.with_keys(&batch)?))
    };
    segment.scan(
        |_| true,
        &names,
        context,
        work,
        |(numbers, batch)| {
            let lists = batch.column(batch.num_columns() - 1).as_list::<i32>();
            let values = lists.values().as_primitive::<UInt64Type>().values();
            for (&row, ends) in numbers.values().iter().zip(lists.offsets().windows(2)) {
                values[ends[0] as usize..ends[1] as usize].iter().for_each(|&key| sum.add(key, row));
            }
            Ok(())
        },
    )?;
    Ok(sum)
}

/// `segments` without the rows of the runs that `keeps` refuses.
pub(crate) fn without_runs(
    place: &Place,
    segments: Vec<SegmentRecord>,
    keeps: impl Fn(&RunRecord) -> bool,
    stamp: &Stamp,
) -> Result<Vec<SegmentRecord>> {
    let mut kept = Vec::with_capacity(segments.len());
    for mut record in segments {
        let n_runs = record.runs.len();
        record.runs.retain(&keeps);
        if record.runs.len() == n_runs || record.expired.is_none() {
            kept.extend((!record.runs.is_empty()).then_some(record));
            continue;
        }
        // Rows outside of the ranges do not count as expired inside of them.
        let expired = read_expired_of(place, &record)?;
        let ranges = record.runs.clone();
        let is_inside = |row: &u64| ranges.iter().any(|run| (run.first_row..run.first_row + run.rows).contains(row));
        let expired: RowSet = expired.iter().filter(is_inside).collect();
        kept.extend(with_expired(place, record, &expired, stamp)?);
    }
    Ok(kept)
}

/// `segments` without the rows that have these ids, of the runs that are `meant`.
pub(crate) fn without_ids(
    place: &Place,
    segments: Vec<SegmentRecord>,
    parameters: &IndexParameters,
    ids: &HashSet<String>,
    meant: impl Fn(&RunRecord) -> bool,
    stamp: &Stamp,
    context: &Context,
) -> Result<Vec<SegmentRecord>> {
    let rows = IndexRows::new(&settings(parameters, place.url())?)?;
    let mut kept = Vec::with_capacity(segments.len());
    for record in segments {
        let runs = record.runs.iter().filter(|run| meant(run));
        let ranges: Vec<_> = runs.map(|run| run.first_row..run.first_row + run.rows).collect();
        if ranges.is_empty() {
            kept.push(record);
            continue;
        }
        let segment = Segment::open(place, &record, rows.search())?;
        let is_meant = |row: u64| segment.is_live(row) && ranges.iter().any(|range| range.contains(&row));
        let mut expired = segment.expired().clone();
        let n_before = expired.len();
        let find = |rows: arrow::array::UInt64Array, batch: RecordBatch| {
            let names: &StringArray = column(&batch, STORED_ID)?;
            let pairs = rows.values().iter().zip(names);
            let found = pairs.filter(|(_, id)| id.is_some_and(|id| ids.contains(id)));
            Ok(found.map(|(&row, _)| row).collect::<Vec<u64>>())
        };
        segment.scan(is_meant, &[STORED_ID], context, find, |rows| {
            for row in rows {
                expired.insert(row);
            }
            Ok(())
        })?;
        if expired.len() > n_before {
            kept.extend(with_expired(place, record, &expired, stamp)?);
        } else {
            kept.push(record);
        }
    }
    Ok(kept)
}

/// The record with other expired rows; `None` if no row is left.
fn with_expired(
    place: &Place,
    mut record: SegmentRecord,
    expired: &RowSet,
    stamp: &Stamp,
) -> Result<Option<SegmentRecord>> {
    record.expired = None;
    if expired.len() == record.live_rows() {
        return Ok(None);
    }
    if !expired.is_empty() {
        let bytes = expired_bytes(expired)?;
        let path = format!("{}/expired-{}-{}", record.path, stamp.now, stamp.nonce);
        let sha256 = hex(&Sha256::digest(&bytes));
        record.expired = Some(FileRecord {
            path: path.clone(),
            rows: expired.len(),
            bytes: bytes.len() as u64,
            sha256,
            ..FileRecord::default()
        });
        place.put(&path, bytes)?;
    }
    Ok(Some(record))
}

fn existing(catalog: &Catalog) -> Result<&IndexManifest> {
    catalog.manifest().ok_or_else(|| Error::Invariant("an index without a manifest".into()))
}

fn live_rows(manifest: &IndexManifest) -> u64 {
    manifest.segments.iter().map(SegmentRecord::live_rows).sum()
}

/// Replaces the manifest, then removes the files that only the old one names.
pub(crate) fn replace(catalog: &Catalog, manifest: &IndexManifest) -> Result<()> {
    catalog.replace(manifest)?;
    if let Some(old) = catalog.manifest() {
        remove_unnamed(catalog.place(), old, manifest);
    }
    Ok(())
}

/// What cannot be removed now is an orphan, and goes with the next compaction.
fn remove_unnamed(place: &Place, old: &IndexManifest, new: &IndexManifest) {
    let named: HashSet<&str> = new.segments.iter().flat_map(SegmentRecord::file_paths).collect();
    let unnamed = old.segments.iter().flat_map(SegmentRecord::file_paths).filter(|path| !named.contains(path));
    let _ = place.delete(unnamed);
}

fn remove_orphans(place: &Place, manifest: &IndexManifest, least_seconds: u64, stamp: &Stamp) -> Result<u64> {
    let mut found = unnamed(place, manifest.segments.iter())?;
    found.retain(|(_, modified)| modified.saturating_add(least_seconds) <= stamp.now);
    place.delete(found.iter().map(|(name, _)| name.as_str()))?;
    Ok(found.len() as u64)
}

/// Files below the segments that neither the index names nor one of the `other` segments, and when each was written, in seconds
/// since 1970; none if there is no index at the place.
pub(crate) fn orphans(place: &Place, others: &[&SegmentRecord]) -> Result<Vec<(String, u64)>> {
    let catalog = Catalog::load(place)?;
    let Some(manifest) = catalog.manifest() else { return Ok(Vec::new()) };
    unnamed(place, manifest.segments.iter().chain(others.iter().copied()))
}

fn unnamed<'s>(place: &Place, segments: impl Iterator<Item = &'s SegmentRecord>) -> Result<Vec<(String, u64)>> {
    let named: HashSet<&str> = segments.flat_map(SegmentRecord::file_paths).collect();
    let listed = place.list(SEGMENTS)?.into_iter().map(|(name, meta)| {
        let modified = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
        (name, modified)
    });
    let unfinished = place.unfinished(SEGMENTS)?.into_iter();
    Ok(listed.chain(unfinished).filter(|(name, _)| is_ours(name) && !named.contains(name.as_str())).collect())
}

/// Whether a file below the segments is one that we write, be it complete or not.
fn is_ours(name: &str) -> bool {
    let name = name.split_once('#').map_or(name, |(name, _)| name);
    let mut parts = name.split('/');
    let file = parts.next_back().unwrap_or_default();
    parts.count() == 2
        && (["rows.parquet", "keys.parquet", "checksums"].contains(&file) || file.starts_with("expired-"))
}
