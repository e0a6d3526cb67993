//! What the manifests of several runs say together.

use std::collections::HashMap;

use tamis_schemas::commit::{Commit, CommitKind, CommittedInput};
use tamis_schemas::manifest::{
    DecontaminationRecord, GrainRecord, IndexRecord, InputRecord, LossRecord, Manifest, NearDuplicateRecord,
    TableRecord,
};

use crate::dataset::live_files;

/// What an output holds after all its commits, in the words of a manifest: inputs, tables and rows as they are now, the counts
/// of all runs, and all else of the last run. `None`: no run.
pub(super) fn current(commits: &[Commit]) -> Option<Manifest> {
    let mut current = merged(commits.iter().filter(|commit| commit.kind == CommitKind::Run))?;
    current.inputs = inputs(commits);
    for withdrawn in commits.iter().filter_map(|commit| commit.withdrawn.as_ref()) {
        current.rows.rows_in -= withdrawn.rows.rows_in;
        current.rows.kept -= withdrawn.rows.kept;
        current.rows.dropped -= withdrawn.rows.dropped;
        current.rows.rejected -= withdrawn.rows.rejected;
        for (reason, n_rows) in &withdrawn.dropped_by_reason {
            *current.dropped_by_reason.entry(reason.clone()).or_default() -= n_rows;
        }
        current.dropped_by_reason.retain(|_, n_rows| *n_rows > 0);
    }
    for (table, files) in live_files(commits) {
        if let Some(record) = current.tables.get_mut(&table) {
            record.rows = files.iter().map(|file| file.rows).sum();
            record.files = files.into_iter().cloned().collect();
        }
    }
    Some(current)
}

/// The inputs, tables, rows and counts of some runs together, and all else of the last one. `None`: no run.
pub(crate) fn merged<'a>(commits: impl DoubleEndedIterator<Item = &'a Commit>) -> Option<Manifest> {
    let mut manifests = commits.rev().map(|commit| &commit.manifest);
    let mut merged = manifests.next()?.clone();
    for earlier in manifests {
        merged.inputs.splice(0..0, earlier.inputs.iter().cloned());
        merged.rows.rows_in += earlier.rows.rows_in;
        merged.rows.kept += earlier.rows.kept;
        merged.rows.dropped += earlier.rows.dropped;
        merged.rows.rejected += earlier.rows.rejected;
        merged.rows.text_bytes += earlier.rows.text_bytes;
        for (reason, n_rows) in &earlier.dropped_by_reason {
            *merged.dropped_by_reason.entry(reason.clone()).or_default() += n_rows;
        }
        if let Some(earlier) = &earlier.grain {
            let grain = merged.grain.get_or_insert_default();
            *grain = add_grain(*grain, *earlier);
        }
        if let (Some(all), Some(earlier)) = (&mut merged.near_duplicates, &earlier.near_duplicates) {
            add_near_duplicates(all, earlier);
        }
        if let (Some(all), Some(earlier)) = (&mut merged.index, &earlier.index) {
            add_index(all, earlier);
        }
        if let (Some(all), Some(earlier)) = (&mut merged.decontamination, &earlier.decontamination) {
            add_decontamination(all, earlier);
        }
        if let (Some(all), Some(earlier)) = (&mut merged.embedding, &earlier.embedding) {
            all.rows += earlier.rows;
            all.truncated_rows += earlier.truncated_rows;
            all.cached_rows += earlier.cached_rows;
        }
        if let Some(earlier) = &earlier.losses {
            add_losses(merged.losses.get_or_insert_default(), earlier);
        }
        for (name, n_requests) in &earlier.requests {
            *merged.requests.entry(name.clone()).or_default() += n_requests;
        }
        for (&table, earlier) in &earlier.tables {
            let record = merged.tables.entry(table).or_insert_with(|| TableRecord {
                rows: 0,
                files: Vec::new(),
                ..earlier.clone()
            });
            record.rows += earlier.rows;
            record.files.splice(0..0, earlier.files.iter().cloned());
        }
    }
    Some(merged)
}

/// The files whose rows are in the output: those of a file that has changed came again with a later commit.
fn inputs(commits: &[Commit]) -> Vec<InputRecord> {
    let withdrawn = commits.iter().flat_map(|commit| {
        commit.withdrawn.iter().flat_map(|withdrawn| &withdrawn.inputs).map(|url| (url.as_str(), commit.version))
    });
    let withdrawn: HashMap<&str, u64> = withdrawn.collect();
    let all = commits.iter().flat_map(|commit| {
        commit.inputs.iter().zip(&commit.manifest.inputs).map(move |(input, record)| (commit.version, input, record))
    });
    let is_there = |(version, input, _): &(u64, &CommittedInput, _)| {
        withdrawn.get(input.url.as_str()).is_none_or(|at| at <= version)
    };
    all.filter(is_there).map(|(.., record)| record.clone()).collect()
}

fn add_grain(left: GrainRecord, right: GrainRecord) -> GrainRecord {
    GrainRecord {
        units: left.units + right.units,
        duplicate_units: left.duplicate_units + right.duplicate_units,
        spared_rows: left.spared_rows + right.spared_rows,
        cut_rows: left.cut_rows + right.cut_rows,
        cut_spans: left.cut_spans + right.cut_spans,
        cut_bytes: left.cut_bytes + right.cut_bytes,
    }
}

fn add_near_duplicates(all: &mut NearDuplicateRecord, earlier: &NearDuplicateRecord) {
    all.rows_without_tokens += earlier.rows_without_tokens;
    all.identical_rows += earlier.identical_rows;
    all.exact_rows += earlier.exact_rows;
    all.estimated_rows += earlier.estimated_rows;
    all.indirect_rows += earlier.indirect_rows;
    all.spared_rows += earlier.spared_rows;
    all.clusters += earlier.clusters;
    all.largest_cluster_rows = all.largest_cluster_rows.max(earlier.largest_cluster_rows);
    all.candidate_pairs += earlier.candidate_pairs;
    all.proven_pairs += earlier.proven_pairs;
    all.hot_buckets += earlier.hot_buckets;
    all.untested_pairs += earlier.untested_pairs;
    // Of another threshold there are other points.
    all.what_if.retain_mut(|point| {
        let earlier = earlier.what_if.iter().find(|earlier| earlier.threshold.total_cmp(&point.threshold).is_eq());
        point.dropped_rows += earlier.map_or(0, |earlier| earlier.dropped_rows);
        earlier.is_some()
    });
}

/// Together, runs add what each adds, to what was there before the first.
fn add_index(all: &mut IndexRecord, earlier: &IndexRecord) {
    all.run = None;
    all.added_rows += earlier.added_rows;
    all.indexed_rows = earlier.indexed_rows;
    all.matched_rows += earlier.matched_rows;
    all.dropped_rows += earlier.dropped_rows;
}

/// Which items were found is not known any more: so many at least.
fn add_decontamination(all: &mut DecontaminationRecord, earlier: &DecontaminationRecord) {
    all.contaminated_rows += earlier.contaminated_rows;
    all.found_items = all.found_items.max(earlier.found_items);
}

fn add_losses(all: &mut LossRecord, earlier: &LossRecord) {
    all.sources += earlier.sources;
    all.clusters += earlier.clusters;
    all.breaches.splice(0..0, earlier.breaches.iter().cloned());
}
