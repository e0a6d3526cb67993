//! The same rows in fewer files.

use tamis_schemas::commit::CommitKind;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::FileRecord;

use super::{OldFile, Site, Upkeep, count, rewrite, upkeep};
use crate::tiers::DEFAULT_TIER;
use crate::{Error, Result, RowSet};

/// A file is small if so many of its size make one as large as its tier's `file_size`.
const SMALL: u64 = 4;

/// What became of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Small files that are no longer part of the output.
    pub removed_files: u64,
    /// Files that hold their rows now.
    pub added_files: u64,
    /// Tables with small files that were left as they are, and why, in words.
    pub left: Vec<String>,
}

/// Writes neighbouring small files of each table into one, which takes their place by a commit. The old files stay for
/// readers that began earlier, until [`gc`](crate::finished::gc()).
///
/// Left as they are: files that are billed for longer than they have been there, tables with a retention, whose files must keep
/// their age, and, where texts were cut, `kept` and `spans`, which belong together file by file.
///
/// # Errors
/// `Error::Config` if the output is that of one run; `Error::Leased` if a run is adding to it.
pub fn compact(site: Site<'_>) -> Result<Compacted> {
    upkeep(site, CommitKind::Compact, |upkeep| {
        let mut compacted = Compacted::default();
        for table in upkeep.dataset.tables().into_keys() {
            site.context.cancel.check()?;
            if let Some(why) = compact_table(upkeep, table)? {
                compacted.left.push(format!("{}: {why}", table.name()));
            }
        }
        (compacted.removed_files, compacted.added_files) = count(upkeep.output.replaced());
        Ok(compacted)
    })
}

/// Why the small files of the table stay, if they do.
fn compact_table(upkeep: &mut Upkeep<'_>, table: Table) -> Result<Option<String>> {
    let Upkeep { run, config, now, .. } = &*upkeep;
    let tier = config.routes.get(&table).map_or(DEFAULT_TIER, String::as_str);
    let tier = config.tiers.get(tier).cloned().unwrap_or_default();
    let (small, least) = (tier.file_size.0 / SMALL, upkeep.least_seconds(table));
    let files = upkeep.files(table);
    let groups = groups(&files, |file, at| file.bytes < small && at + least <= *now);
    if groups.is_empty() {
        let n_young = files.iter().filter(|(_, file, at)| file.bytes < small && *now < at + least).count();
        return Ok(
            (n_young > 1).then(|| format!("{n_young} small files are billed for longer than they have been there"))
        );
    }
    if tier.retention.is_some() {
        return Ok(Some("it has a retention: its files must keep their age".into()));
    }
    if matches!(table, Table::Kept | Table::Spans) && run.files(Table::Spans).next().is_some() {
        return Ok(Some("texts were cut: `kept` and `spans` belong together file by file".into()));
    }
    let removed: Vec<String> = groups.iter().flatten().map(|(_, file)| file.path.clone()).collect();
    match upkeep.check_untouched(table, &removed) {
        Err(error @ Error::Config { .. }) => return Ok(Some(error.to_string())),
        checked => checked?,
    }
    let Upkeep { run, output, .. } = upkeep;
    run.progress.begin("compacting");
    for group in groups {
        let old = group.into_iter().map(|(url, record)| OldFile { url, record, left_out: RowSet::new() });
        rewrite(run, table, &old.collect::<Vec<_>>(), output)?;
    }
    Ok(None)
}

/// Neighbours that are small, two or more at a time.
fn groups(
    files: &[(String, FileRecord, u64)],
    is_small: impl Fn(&FileRecord, u64) -> bool,
) -> Vec<Vec<(String, FileRecord)>> {
    let runs = files.chunk_by(|left, right| is_small(&left.1, left.2) && is_small(&right.1, right.2));
    let groups = runs.filter(|group| group.len() > 1);
    groups.map(|group| group.iter().map(|(url, file, _)| (url.clone(), file.clone())).collect()).collect()
}
