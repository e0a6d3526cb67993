//! Whether an output is what its runs say.

use std::collections::{BTreeMap, HashSet};

use rayon::prelude::*;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::FileRecord;

use super::FinishedRun;
use crate::dataset::{INDEX, WITHDRAWN, delta};
use crate::dedup::index::maintain;
use crate::place::Place;
use crate::store::unreadable;
use crate::{Error, ErrorKind, Result};

/// What was found at an output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that the runs name.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// What is wrong, in words, each with the file.
    pub problems: Vec<String>,
    /// Files that lie in an archive: of these only the size was compared.
    pub archived: Vec<String>,
    /// Files in the folders of tables that no run names: a run that was killed left them, or is still writing.
    pub orphans: Vec<String>,
}

/// Reads every byte that the runs of an output name, those in an archive aside, and compares sizes and checksums, the accounts of rows, and the logs for
/// readers of Delta Lake tables.
///
/// # Errors
/// What cannot be read at all; what is there and wrong is a [problem](Verified::problems).
pub fn verify(run: &FinishedRun<'_>) -> Result<Verified> {
    let files: Vec<(String, &FileRecord)> = Table::ALL.into_iter().flat_map(|table| run.files(table)).collect();
    run.progress.begin("verifying");
    let check = |(url, record): &(String, &FileRecord)| seen(run, url, record);
    let checked: Result<Vec<_>> = run.context.pool.install(|| files.par_iter().with_max_len(1).map(check).collect());
    let (mut problems, mut archived) = (Vec::new(), Vec::new());
    for (seen, (url, _)) in checked?.into_iter().zip(&files) {
        problems.extend(seen.problem.map(|problem| format!("{url}: {problem}")));
        archived.extend(seen.is_archived.then(|| url.clone()));
    }
    for commit in &run.commits {
        let rows = &commit.manifest.rows;
        if rows.rows_in != rows.kept + rows.dropped + rows.rejected {
            problems.push(format!("run {}: its rows do not add up", commit.run));
        }
    }
    for (table, place) in table_places(run)? {
        if delta::lags(&place, table, &run.commits)? {
            problems.push(format!("{}: its Delta log lacks a run; the next run completes it", place.url()));
        }
    }
    Ok(Verified {
        files: files.len() as u64,
        bytes: files.iter().map(|(_, record)| record.bytes).sum(),
        problems,
        archived,
        orphans: orphans(run)?.iter().map(|orphan| orphan.place.display(&orphan.name)).collect(),
    })
}

/// # Errors
/// `Error::Corrupt` for a file that is not there, or is not what the run wrote.
pub(crate) fn check_file(run: &FinishedRun<'_>, url: &str, record: &FileRecord) -> Result<()> {
    match problem_with(run, url, record)? {
        Some(message) => {
            Err(Error::Corrupt { location: url.to_owned(), format: "the file that the run wrote", message })
        }
        None => Ok(()),
    }
}

/// A file that was looked at.
struct Seen {
    problem: Option<String>,
    is_archived: bool,
}

fn seen(run: &FinishedRun<'_>, url: &str, record: &FileRecord) -> Result<Seen> {
    match problem_with(run, url, record) {
        Err(error) if error.kind() == ErrorKind::Archived => {
            let (place, name) = place_of(run, url)?;
            let bytes = place.size(name).map_err(|error| unreadable(url, &error))?;
            let problem = (bytes != record.bytes).then(|| other_size(bytes, record));
            Ok(Seen { problem, is_archived: true })
        }
        problem => Ok(Seen { problem: problem?, is_archived: false }),
    }
}

fn other_size(bytes: u64, record: &FileRecord) -> String {
    format!("it has {bytes} bytes, and had {} when it was written", record.bytes)
}

/// The folder of a file, and its name there.
pub(super) fn place_of<'u>(run: &FinishedRun<'_>, url: &'u str) -> Result<(Place, &'u str)> {
    let (folder, name) = url.rsplit_once('/').unwrap_or((".", url));
    Ok((Place::new(folder, run.stores, run.context.runtime.handle())?, name))
}

fn problem_with(run: &FinishedRun<'_>, url: &str, record: &FileRecord) -> Result<Option<String>> {
    run.context.cancel.check()?;
    let (place, name) = place_of(run, url)?;
    Ok(match place.digest(name, &run.context.cancel)? {
        None => Some("it is not there".to_owned()),
        Some((bytes, _)) if bytes != record.bytes => Some(other_size(bytes, record)),
        Some((_, sha256)) if sha256 != record.sha256 => Some("its SHA-256 is not that of what was written".to_owned()),
        Some(_) => None,
    })
}

/// A file that no run names.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) place: Place,
    /// Its name there.
    pub(super) name: String,
    /// When it was written, in seconds since 1970.
    pub(super) modified: u64,
}

/// The files of runs in the folders of tables, and in the output's own index, that no commit names. An output of one run has none. What others write to a table,
/// for instance to compact it, is theirs to look after: which of it is in use, their checkpoints may know alone.
pub(super) fn orphans(run: &FinishedRun<'_>) -> Result<Vec<Orphan>> {
    let mut orphans = Vec::new();
    let removed: HashSet<String> = run.removed_files().map(|(url, _)| url).collect();
    for (table, place) in table_places(run)? {
        let mut named: HashSet<String> = run.files(table).map(|(url, _)| url).collect();
        named.extend(removed.iter().cloned());
        for (name, meta) in place.list("")? {
            if !is_ours(&name) || named.contains(&place.display(&name)) {
                continue;
            }
            let modified = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
            orphans.push(Orphan { place: place.clone(), name, modified });
        }
        let unfinished = place.unfinished("")?.into_iter().filter(|(name, _)| is_ours(name));
        orphans.extend(unfinished.map(|(name, modified)| Orphan { place: place.clone(), name, modified }));
    }
    if run.commits.is_empty() {
        return Ok(orphans);
    }
    let home = Place::new(run.location(), run.stores, run.context.runtime.handle())?;
    let withdrawn = run.commits.iter().filter_map(|commit| commit.withdrawn.as_ref()?.ids.as_ref());
    let named: HashSet<&str> = withdrawn.map(|ids| ids.path.as_str()).collect();
    for (name, meta) in home.list(WITHDRAWN)? {
        if !named.contains(name.as_str()) {
            let modified = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
            orphans.push(Orphan { place: home.clone(), name, modified });
        }
    }
    let index = Place::new(&home.display(INDEX), run.stores, run.context.runtime.handle())?;
    let segments: Vec<_> = run.commits.iter().flat_map(|commit| &commit.segments).collect();
    let of_index = maintain::orphans(&index, &segments)?;
    orphans.extend(of_index.into_iter().map(|(name, modified)| Orphan { place: index.clone(), name, modified }));
    Ok(orphans)
}

/// Whether a file is named as a run that is added to others names its files: `<UUID>-<try>-<number>.parquet`, what a local store
/// adds to the name of a file that is not complete aside.
pub(super) fn is_ours(name: &str) -> bool {
    let (name, _) = name.split_once('#').unwrap_or((name, ""));
    let Some(stem) = name.strip_suffix(".parquet") else { return false };
    let parts: Vec<&str> = stem.split('-').collect();
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    matches!(lengths[..], [8, 4, 4, 4, 12, _, 5]) && parts.iter().all(|part| is_hex(part))
}

/// Where each table lies that runs were added to.
pub(super) fn table_places(run: &FinishedRun<'_>) -> Result<BTreeMap<Table, Place>> {
    let tables = run.commits.iter().flat_map(|commit| &commit.tables);
    let place = |table: Table, base: Option<&str>| {
        let url = format!("{}/{}", base.unwrap_or(run.location()), table.name());
        Place::new(&url, run.stores, run.context.runtime.handle())
    };
    tables.map(|(&table, committed)| Ok((table, place(table, committed.url.as_deref())?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_runs_are_told_from_those_of_others() {
        let run = "01a2279f-4a5f-7333-b36b-24df300a0c00-0-00000.parquet";
        assert!(is_ours(run) && is_ours(&format!("{run}#1")));
        for other in [
            "part-00000-01a2279f-4a5f-7333-b36b-24df300a0c00-c000.zstd.parquet",
            "part-00000.parquet",
            "_delta_log/00000000000000000000.json",
            "01a2279f-4a5f-7333-b36b-24df300a0c00.parquet",
            "year=2024/01a2279f-4a5f-7333-b36b-24df300a0c00-0-00000.parquet",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
