//! What the manifests of several runs say together.

use std::collections::HashMap;

use tamis_schemas::commit::{Commit, CommittedInput};
use tamis_schemas::manifest::{GrainRecord, InputRecord, Manifest};

use crate::dataset::live_files;

/// The inputs, tables and rows of all runs as they are now, and all else of the last run. `None`: no run.
pub(super) fn merged(commits: &[Commit]) -> Option<Manifest> {
    let last = commits.iter().rposition(|commit| !commit.inputs.is_empty()).or(commits.len().checked_sub(1))?;
    let mut merged = Manifest { inputs: inputs(commits), ..commits[last].manifest.clone() };
    let others = commits.iter().enumerate().filter(|(number, _)| *number != last);
    for earlier in others.rev().map(|(_, commit)| &commit.manifest) {
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
        for (&table, earlier) in &earlier.tables {
            merged.tables.entry(table).or_insert_with(|| earlier.clone());
        }
    }
    for withdrawn in commits.iter().filter_map(|commit| commit.withdrawn.as_ref()) {
        merged.rows.rows_in -= withdrawn.rows.rows_in;
        merged.rows.kept -= withdrawn.rows.kept;
        merged.rows.dropped -= withdrawn.rows.dropped;
        merged.rows.rejected -= withdrawn.rows.rejected;
        for (reason, n_rows) in &withdrawn.dropped_by_reason {
            *merged.dropped_by_reason.entry(reason.clone()).or_default() -= n_rows;
        }
        merged.dropped_by_reason.retain(|_, n_rows| *n_rows > 0);
    }
    for (table, files) in live_files(commits) {
        if let Some(record) = merged.tables.get_mut(&table) {
            record.rows = files.iter().map(|file| file.rows).sum();
            record.files = files.into_iter().cloned().collect();
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
