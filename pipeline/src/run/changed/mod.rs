//! Files that have changed since an earlier run has read them: what that run made of them leaves the output.
//!
//! ```text
//! rows of the changed files: in kept and scores by the parts of each file, in dropped and rejected by the name of the input
//!   ids of the kept ones --> out of the index, and evidence that names them --> rows that were dropped for them
//!     --> read once more before the inputs of this run: nobody stands for them now
//! all of these leave their tables: files that hold some are written again without them
//! ```

mod revived;
mod select;

use std::collections::{BTreeMap, HashMap, HashSet};

use tamis_schemas::columns;
use tamis_schemas::commit::{Commit, Withdrawn};
use tamis_schemas::config::{Config, Table};
use tamis_schemas::manifest::FileRecord;

use revived::{Revived, RowsOfSources};
use select::{Row, rows_of_parts, select};

use super::index::IndexRun;
use super::plan::Plan;
use crate::budget::Reservation;
use crate::context::Context;
use crate::dataset::{Dataset, delta, run_of_file};
use crate::dedup::Rule;
use crate::finished::FinishedRun;
use crate::place::Place;
use crate::progress::Progress;
use crate::sink::Output;
use crate::source::{Format, IdSource, InputFile, Inputs, SourceOptions};
use crate::store::Stores;
use crate::upkeep::{OldFile, rewrite};
use crate::{Error, Result, RowSet};

/// Bytes of memory that an id takes beside its own.
const BYTES_PER_ID: usize = 64;

/// What leaves the output for files that have changed.
#[derive(Debug)]
pub(super) struct Superseded {
    withdrawn: Withdrawn,
    /// Ids of the kept rows.
    kept_ids: HashSet<String>,
    /// Rows that were dropped for these, by their inputs.
    pub(super) revived: Vec<Revived>,
    _held: Reservation,
}

impl Superseded {
    /// Takes what earlier runs made of `changed` files out of the tables of `output` and out of what is looked up in the `index`,
    /// and finds what was dropped for it. `None`: no file has changed.
    ///
    /// # Memory
    /// Ids of their rows, and the rows that are decided once more.
    /// # Errors
    /// `Error::Config` if a run of an earlier version of tamis read one of the files: it did not say which rows are its; if a
    /// table that is needed was not written; if others have rewritten a table.
    pub(super) fn of(
        changed: &[&InputFile],
        dataset: &Dataset<'_>,
        output: &mut Output,
        index: Option<&mut IndexRun>,
        context: &Context,
        progress: &Progress,
    ) -> Result<Option<Self>> {
        if changed.is_empty() {
            return Ok(None);
        }
        progress.begin("replacing changed files");
        let run = dataset.finished(context, progress)?;
        let mut work = Work::new(&run, changed);
        work.check(changed)?;
        work.kept_scores_and_embeddings()?;
        work.dropped()?;
        work.check_ids()?;
        work.evidence()?;
        work.revive()?;
        work.others()?;
        work.rewrite(output)?;
        let Work { mut withdrawn, kept_ids, revived, held, .. } = work;
        withdrawn.inputs = changed.iter().map(|file| file.url.clone()).collect();
        withdrawn.rows.rows_in = withdrawn.rows.kept + withdrawn.rows.dropped + withdrawn.rows.rejected;
        tracing::info!(
            files = changed.len(),
            kept = withdrawn.rows.kept,
            dropped = withdrawn.rows.dropped,
            "rows of files that have changed leave the output"
        );
        index.map_or(Ok(()), |index| index.withdraw(&kept_ids, dataset, context))?;
        Ok(Some(Self { withdrawn, kept_ids, revived, _held: held }))
    }

    /// The plan of a run that decides rows once more: they keep the ids that they have.
    pub(super) fn plan(&self, config: &Config) -> Result<Option<Plan>> {
        if self.revived.is_empty() {
            return Ok(None);
        }
        let mut plan = Plan::new(config)?;
        let own = columns::ID.to_owned();
        plan.id = match plan.id {
            IdSource::Row => IdSource::FirstPresent(vec![own]),
            IdSource::Column(name) => IdSource::FirstPresent(vec![own, name]),
            IdSource::FirstPresent(names) if names.contains(&own) => IdSource::FirstPresent(names),
            IdSource::FirstPresent(mut names) => {
                names.insert(0, own);
                IdSource::FirstPresent(names)
            }
        };
        Ok(Some(plan))
    }

    /// The inputs of this run, with the rows before them that are decided once more.
    pub(super) fn before(&self, inputs: Inputs, stores: &Stores, context: &Context) -> Result<Inputs> {
        if self.revived.is_empty() {
            return Ok(inputs);
        }
        let paths: Vec<String> = self.revived.iter().map(|revived| revived.path.display().to_string()).collect();
        let options = SourceOptions { format: Some(Format::Parquet), ..SourceOptions::default() };
        let files = Inputs::discover(&paths, &options, stores, context)?;
        let by_path: HashMap<&str, &Revived> = paths.iter().map(String::as_str).zip(&self.revived).collect();
        let names: Option<Vec<(String, String)>> = files
            .files()
            .iter()
            .map(|file| by_path.get(file.name.as_str()).map(|revived| (revived.name.clone(), revived.url.clone())))
            .collect();
        let names = names.ok_or_else(|| Error::Invariant("a temporary file has another name".into()))?;
        Ok(inputs.after(&files, names))
    }

    /// What the commit says of it; the index learns the ids from a file.
    pub(super) fn withdraw(self, dataset: &Dataset<'_>, has_index: bool) -> Result<Withdrawn> {
        let mut withdrawn = self.withdrawn;
        if has_index && !self.kept_ids.is_empty() {
            withdrawn.ids = Some(dataset.write_withdrawn(&self.kept_ids)?);
        }
        Ok(withdrawn)
    }
}

/// What is being found.
struct Work<'a> {
    run: &'a FinishedRun<'a>,
    urls: HashSet<&'a str>,
    /// Names that earlier runs gave the changed files.
    names: HashSet<String>,
    /// Ids of their kept rows.
    kept_ids: HashSet<String>,
    /// Ids of their dropped rows.
    dropped_ids: HashSet<String>,
    /// Ids of other rows, dropped for their kept ones.
    orphans: HashSet<String>,
    /// Of each file of a table, by its path, the rows that leave it.
    leaving: BTreeMap<(Table, String), RowSet>,
    withdrawn: Withdrawn,
    revived: Vec<Revived>,
    held: Reservation,
}

impl<'a> Work<'a> {
    fn new(run: &'a FinishedRun<'a>, changed: &[&'a InputFile]) -> Self {
        Self {
            run,
            urls: changed.iter().map(|file| file.url.as_str()).collect(),
            names: HashSet::new(),
            kept_ids: HashSet::new(),
            dropped_ids: HashSet::new(),
            orphans: HashSet::new(),
            leaving: BTreeMap::new(),
            withdrawn: Withdrawn::default(),
            revived: Vec::new(),
            held: run.context.budget.reserve("rows of changed files"),
        }
    }

    /// Learns the names of the files; refuses what cannot be replaced.
    fn check(&mut self, changed: &[&InputFile]) -> Result<()> {
        for commit in self.run.commits() {
            for (input, record) in commit.inputs.iter().zip(&commit.manifest.inputs) {
                if !self.urls.contains(input.url.as_str()) {
                    continue;
                }
                if commit.commit_version < 2 {
                    let name = changed.iter().find(|file| file.url == input.url).map_or("", |file| &file.name);
                    return Err(Error::Config {
                        message: format!(
                            "`{name}` has changed, and run {}, which has read it, did not say which rows are of it",
                            commit.run
                        ),
                        hint: Some(
                            "an earlier version of tamis wrote that run: write to a new output, or give what is new a name of its own"
                                .into(),
                        ),
                    });
                }
                self.names.insert(record.name.clone());
            }
        }
        let lacks = |commit: &Commit| {
            let (rows, tables) = (&commit.manifest.rows, &commit.manifest.tables);
            let needed = [(Table::Kept, rows.kept), (Table::Dropped, rows.dropped), (Table::Evidence, rows.dropped)];
            needed.into_iter().find(|(table, n_rows)| *n_rows > 0 && !tables.contains_key(table))
        };
        let Some((missing, _)) = self.run.commits().iter().find_map(lacks) else { return Ok(()) };
        Err(Error::Config {
            message: format!(
                "rows of files that have changed cannot be replaced: an earlier run wrote no table `{}`",
                missing.name()
            ),
            hint: Some("give what is new a name of its own, or write to a new output with that table".into()),
        })
    }

    /// Rows that are of the changed files, by the parts of each file.
    fn kept_scores_and_embeddings(&mut self) -> Result<()> {
        for table in [Table::Kept, Table::Scores, Table::Embeddings] {
            for file in self.files(table) {
                let rows = rows_of_parts(&file.1.parts, &self.urls);
                if rows.is_empty() {
                    continue;
                }
                if table == Table::Kept {
                    self.withdrawn.rows.kept += rows.len();
                    let of_rows =
                        |row: Row<'_>| rows.contains(row.number).then(|| row.text(0).map(str::to_owned)).flatten();
                    let ids = select(self.run, table, &file, &[columns::ID], of_rows)?;
                    self.hold(ids.iter().map(|(_, id)| id))?;
                    self.kept_ids.extend(ids.into_iter().map(|(_, id)| id));
                }
                self.leaving.insert((table, file.1.path), rows);
            }
        }
        Ok(())
    }

    /// Dropped rows of the changed files.
    fn dropped(&mut self) -> Result<()> {
        for file in self.files(Table::Dropped) {
            let names = &self.names;
            let of_names = |row: Row<'_>| {
                let is_meant = row.text(0).is_some_and(|source| names.contains(source));
                is_meant.then(|| (owned(row.text(1)), owned(row.text(2))))
            };
            let wanted = [columns::SOURCE, columns::ID, columns::REASON];
            let found = select(self.run, Table::Dropped, &file, &wanted, of_names)?;
            self.hold(found.iter().map(|(_, (id, _))| id))?;
            for (row, (id, reason)) in found {
                self.leave(Table::Dropped, &file.1.path, row);
                self.count_dropped(reason);
                self.dropped_ids.insert(id);
            }
        }
        Ok(())
    }

    /// Evidence and the index know rows by their ids alone.
    ///
    /// # Errors
    /// `Error::Config` if a row of another file has the id of one that leaves.
    fn check_ids(&self) -> Result<()> {
        for (table, ids) in [(Table::Kept, &self.kept_ids), (Table::Dropped, &self.dropped_ids)] {
            for file in self.files(table) {
                let leaving = self.leaving.get(&(table, file.1.path.clone()));
                let is_staying = |row: u64| leaving.is_none_or(|leaving| !leaving.contains(row));
                let same_id = |row: Row<'_>| {
                    let id = row.text(0).filter(|id| is_staying(row.number) && ids.contains(*id))?;
                    Some(id.to_owned())
                };
                if let Some((_, id)) = select(self.run, table, &file, &[columns::ID], same_id)?.pop() {
                    return Err(repeated(&id));
                }
            }
        }
        Ok(())
    }

    /// What evidence says of both, and which other rows were dropped for the kept ones.
    fn evidence(&mut self) -> Result<()> {
        let rules = [Rule::IdenticalText, Rule::NearDuplicate].map(Rule::name);
        for file in self.files(Table::Evidence) {
            let (kept_ids, dropped_ids) = (&self.kept_ids, &self.dropped_ids);
            let of_either = |row: Row<'_>| {
                let (dropped, kept) = (row.text(0)?, row.text(1)?);
                if dropped_ids.contains(dropped) {
                    return Some(None);
                }
                let is_orphan = row.text(2).is_some_and(|rule| rules.contains(&rule)) && kept_ids.contains(kept);
                is_orphan.then(|| Some(dropped.to_owned()))
            };
            let wanted = ["dropped_id", "kept_id", "rule"];
            let found = select(self.run, Table::Evidence, &file, &wanted, of_either)?;
            self.hold(found.iter().filter_map(|(_, orphan)| orphan.as_ref()))?;
            for (row, orphan) in found {
                self.leave(Table::Evidence, &file.1.path, row);
                self.orphans.extend(orphan);
            }
        }
        Ok(())
    }

    /// Reads the rows that nobody stands for any more.
    fn revive(&mut self) -> Result<()> {
        if self.orphans.is_empty() {
            return Ok(());
        }
        let (mut rows_of_sources, mut n_found) = (RowsOfSources::default(), 0);
        for file in self.files(Table::Dropped) {
            let (names, orphans) = (&self.names, &self.orphans);
            let of_orphans = |row: Row<'_>| {
                let is_meant = orphans.contains(row.text(1)?) && !names.contains(row.text(0)?);
                is_meant.then(|| owned(row.text(2)))
            };
            let wanted = [columns::SOURCE, columns::ID, columns::REASON];
            let found = select(self.run, Table::Dropped, &file, &wanted, of_orphans)?;
            n_found += found.len();
            let mut rows = RowSet::new();
            for (row, reason) in found {
                rows.insert(row);
                self.leave(Table::Dropped, &file.1.path, row);
                self.count_dropped(reason);
            }
            if !rows.is_empty() {
                rows_of_sources.read(self.run, &file, rows, &mut self.held)?;
            }
        }
        if n_found > self.orphans.len() {
            return Err(repeated("of a row that was dropped for one of them"));
        }
        let n_gone = self.orphans.len() - n_found;
        if n_gone > 0 {
            tracing::warn!(
                rows = n_gone,
                "rows that were dropped for rows of files that have changed are past their retention: they are not decided again"
            );
        }
        self.revived = rows_of_sources.write(self.run)?;
        Ok(())
    }

    /// Rejected rows of the changed files, and what other tables hold of their kept ones.
    fn others(&mut self) -> Result<()> {
        for (table, column) in [(Table::Rejected, "source"), (Table::Spans, "id"), (Table::Batch, columns::ID)] {
            for file in self.files(table) {
                let texts = if table == Table::Rejected { &self.names } else { &self.kept_ids };
                let is_meant = |row: Row<'_>| row.text(0).is_some_and(|text| texts.contains(text)).then_some(());
                let found = select(self.run, table, &file, &[column], is_meant)?;
                if table == Table::Rejected {
                    self.withdrawn.rows.rejected += found.len() as u64;
                }
                for (row, ()) in found {
                    self.leave(table, &file.1.path, row);
                }
            }
        }
        Ok(())
    }

    /// Writes the files again that hold rows which leave.
    fn rewrite(&mut self, output: &mut Output) -> Result<()> {
        let together = self.runs_with_cuts();
        for table in Table::ALL {
            let mut old = Vec::new();
            for (url, record) in self.files(table) {
                let is_cut =
                    matches!(table, Table::Kept | Table::Spans) && together.contains(run_of_file(&record.path));
                let left_out = self.leaving.remove(&(table, record.path.clone()));
                if let Some(left_out) = left_out.or_else(|| is_cut.then(RowSet::new)) {
                    old.push(OldFile { url, record, left_out });
                }
            }
            if old.is_empty() {
                continue;
            }
            let place = Place::new(&output.table_url(table), self.run.stores(), self.run.context.runtime.handle())?;
            let paths: Vec<String> = old.iter().map(|file| file.record.path.clone()).collect();
            delta::check_untouched(&place, &paths, self.run.commits())?;
            for file in old {
                if file.left_out.len() == file.record.rows {
                    output.remove_files(table, vec![file.record.path]);
                } else {
                    rewrite(self.run, table, &[file], output)?;
                }
            }
        }
        Ok(())
    }

    /// Runs of which rows leave `kept` or `spans`, if texts were cut: what was cut finds its text by the run in the names of the
    /// files, so that all files of such a run go on together.
    fn runs_with_cuts(&self) -> HashSet<String> {
        if self.files(Table::Spans).is_empty() {
            return HashSet::new();
        }
        let leaving = self.leaving.keys().filter(|(table, _)| matches!(table, Table::Kept | Table::Spans));
        leaving.map(|(_, path)| run_of_file(path).to_owned()).collect()
    }

    /// The files of a table as they are now.
    fn files(&self, table: Table) -> Vec<(String, FileRecord)> {
        self.run.files(table).map(|(url, record)| (url, record.clone())).collect()
    }

    fn hold<'i>(&mut self, ids: impl IntoIterator<Item = &'i String>) -> Result<()> {
        self.held.grow(ids.into_iter().map(|id| id.len() + BYTES_PER_ID).sum())
    }

    fn leave(&mut self, table: Table, path: &str, row: u64) {
        self.leaving.entry((table, path.to_owned())).or_default().insert(row);
    }

    fn count_dropped(&mut self, reason: String) {
        self.withdrawn.rows.dropped += 1;
        *self.withdrawn.dropped_by_reason.entry(reason).or_default() += 1;
    }
}

fn owned(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn repeated(id: &str) -> Error {
    Error::Config {
        message: format!("rows of files that have changed cannot be told from others: the id `{id}` comes in several files"),
        hint: Some(
            "give what is new a name of its own, or write to a new output, with input.id = \"\" if ids are not unique over all files"
                .into(),
        ),
    }
}
