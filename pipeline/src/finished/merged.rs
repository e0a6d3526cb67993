//! What the manifests of several runs say together.

use tamis_schemas::commit::Commit;
use tamis_schemas::manifest::{GrainRecord, Manifest, TableRecord};

/// The inputs, tables and rows of all runs, and all else of the last one. `None`: no run.
pub(super) fn merged(commits: &[Commit]) -> Option<Manifest> {
    let mut merged = commits.last()?.manifest.clone();
    for earlier in commits.iter().rev().skip(1).map(|commit| &commit.manifest) {
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
