//! Which files the tables of an output have, after all its commits.

use std::collections::{BTreeMap, HashMap, HashSet};

use tamis_schemas::commit::{Commit, Replacement};
use tamis_schemas::config::Table;
use tamis_schemas::manifest::FileRecord;

/// The files of each table, in the order of their rows: what a commit puts in the place of others stands where they stood.
pub(crate) fn live_files(commits: &[Commit]) -> BTreeMap<Table, Vec<&FileRecord>> {
    let mut live: BTreeMap<Table, Vec<&FileRecord>> = BTreeMap::new();
    for commit in commits {
        for (&table, replacements) in &commit.replaced {
            let files = live.entry(table).or_default();
            *files = replaced(std::mem::take(files), replacements);
        }
        for (&table, record) in &commit.manifest.tables {
            live.entry(table).or_default().extend(&record.files);
        }
    }
    live
}

fn replaced<'a>(files: Vec<&'a FileRecord>, replacements: &'a [Replacement]) -> Vec<&'a FileRecord> {
    let number_of: HashMap<&str, usize> = (0..)
        .zip(replacements)
        .flat_map(|(number, replacement)| replacement.removed.iter().map(move |path| (path.as_str(), number)))
        .collect();
    let mut is_placed = vec![false; replacements.len()];
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        match number_of.get(file.path.as_str()) {
            None => all.push(file),
            Some(&number) if !is_placed[number] => {
                is_placed[number] = true;
                all.extend(&replacements[number].added);
            }
            Some(_) => {}
        }
    }
    all
}

/// The run in the name of a file that one wrote: the same for all if the output is that of one run.
pub(crate) fn run_of_file(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('-').map_or("", |(run, _)| run)
}

/// Paths of the files that hold the rows of these runs now: their own, and those that have taken their place.
pub(crate) fn files_of<'a>(commits: &'a [Commit], runs: &[&str]) -> HashSet<&'a str> {
    let mut paths: HashSet<&str> = HashSet::new();
    for commit in commits {
        for replacement in commit.replaced.values().flatten() {
            let n_before = paths.len();
            for path in &replacement.removed {
                paths.remove(path.as_str());
            }
            if paths.len() < n_before {
                paths.extend(replacement.added.iter().map(|file| file.path.as_str()));
            }
        }
        if runs.contains(&commit.run.as_str()) {
            let own = commit.manifest.tables.values().flat_map(|record| &record.files);
            paths.extend(own.map(|file| file.path.as_str()));
        }
    }
    paths
}

/// Paths of the files that were part of the output and are no longer, with the moment of the commit that removed them, in
/// seconds since 1970.
pub(crate) fn removed_files(commits: &[Commit]) -> impl Iterator<Item = (Table, &str, u64)> {
    let replaced = commits.iter().flat_map(|commit| commit.replaced.iter().map(move |of_table| (commit, of_table)));
    replaced.flat_map(|(commit, (&table, replacements))| {
        let paths = replacements.iter().flat_map(|replacement| &replacement.removed);
        paths.map(move |path| (table, path.as_str(), commit.committed_at))
    })
}

#[cfg(test)]
mod tests {
    use tamis_schemas::commit::{COMMIT_VERSION, CommitKind};
    use tamis_schemas::manifest::{Manifest, TableRecord};

    use super::*;

    fn file(path: &str) -> FileRecord {
        FileRecord { path: path.into(), ..FileRecord::default() }
    }

    fn commit(version: u64, added: &[&str], replaced: &[(&[&str], &[&str])]) -> Commit {
        let files = added.iter().map(|path| file(path)).collect();
        let record = TableRecord { tier: "default".into(), storage_class: None, rows: 0, files };
        let replaced = replaced.iter().map(|(removed, added)| Replacement {
            removed: removed.iter().map(|&path| path.to_owned()).collect(),
            added: added.iter().map(|path| file(path)).collect(),
        });
        Commit {
            commit_version: COMMIT_VERSION,
            version,
            run: format!("run-{version}"),
            run_id: None,
            kind: CommitKind::Run,
            committed_at: version,
            epoch: 0,
            inputs: Vec::new(),
            tables: BTreeMap::new(),
            segments: Vec::new(),
            replaced: [(Table::Kept, replaced.collect())].into(),
            withdrawn: None,
            manifest: Manifest { tables: [(Table::Kept, record)].into(), ..Manifest::default() },
        }
    }

    #[test]
    fn what_replaces_files_stands_where_they_stood() {
        let commits = [
            commit(0, &["a", "b", "c"], &[]),
            commit(1, &["d", "e"], &[(&["b"], &[])]),
            commit(2, &["f"], &[(&["a"], &["a1", "a2"]), (&["c", "d"], &["cd"])]),
            commit(3, &[], &[(&["a2", "cd"], &["m"]), (&["f"], &["f1"])]),
        ];
        let live = |n: usize| {
            let mut files = live_files(&commits[..n]);
            files.remove(&Table::Kept).unwrap_or_default().iter().map(|file| file.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(live(1), ["a", "b", "c"]);
        assert_eq!(live(2), ["a", "c", "d", "e"]);
        assert_eq!(live(3), ["a1", "a2", "cd", "e", "f"]);
        assert_eq!(live(4), ["a1", "m", "e", "f1"]);
        let of = |run: &str| {
            let mut files: Vec<&str> = files_of(&commits, &[run]).into_iter().collect();
            files.sort_unstable();
            files
        };
        assert_eq!((of("run-0"), of("run-1")), (vec!["a1", "m"], vec!["e", "m"]));
        assert_eq!((of("run-2"), of("run-3")), (vec!["f1"], vec![]));
        let removed: Vec<(&str, u64)> = removed_files(&commits).map(|(_, path, at)| (path, at)).collect();
        assert_eq!(removed, [("b", 1), ("a", 2), ("c", 2), ("d", 2), ("a2", 3), ("cd", 3), ("f", 3)]);
    }
}
