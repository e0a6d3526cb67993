//! What finished runs left: their manifests, the rows of their tables, and whether all of it is there.

mod archived;
mod gc;
mod merged;
mod table;
mod uploads;
mod verify;

use tamis_schemas::commit::Commit;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{FileRecord, MANIFEST_VERSION, Manifest};

pub use archived::{Pile, Waiting, bring_back};
pub use gc::{Garbage, gc};
pub(crate) use merged::merged;
pub(crate) use table::{TableReader, request};
pub(crate) use verify::check_file;
pub use verify::{Verified, verify};

use crate::context::Context;
use crate::dataset::{CommitLog, files_of, holder, live_files, removed_files};
use crate::place::Place;
use crate::progress::Progress;
use crate::run::parse_text;
use crate::sink::MANIFEST;
use crate::source::{Format, InputSchema, Inputs, SourceOptions, TextExpression, Types};
use crate::store::Stores;
use crate::{Error, Result};

/// A run that has a manifest, or all runs that were added to one output, to be read.
#[derive(Debug)]
pub struct FinishedRun<'a> {
    location: String,
    /// The runs that were added one by one; none if the output is that of one run.
    commits: Vec<Commit>,
    manifest: Manifest,
    text: TextExpression,
    stores: &'a Stores,
    pub(crate) context: &'a Context,
    pub(crate) progress: &'a Progress,
}

impl<'a> FinishedRun<'a> {
    /// Reads the manifest at a folder or URL.
    ///
    /// # Errors
    /// `Error::Config` if there is none, or if another version of tamis wrote it in another layout.
    pub fn open(location: &str, stores: &'a Stores, context: &'a Context, progress: &'a Progress) -> Result<Self> {
        let location = location.strip_suffix(MANIFEST).unwrap_or(location);
        let location = if location.is_empty() { "." } else { location };
        let location = if location.len() > 1 { location.trim_end_matches('/') } else { location }.to_owned();
        let place = Place::new(&location, stores, context.runtime.handle())?;
        let commits = CommitLog::load(&place)?.into_commits();
        let manifest = match merged::current(&commits) {
            Some(manifest) => manifest,
            None => manifest_of_one_run(&location, &place)?,
        };
        Self::of(location, commits, manifest, stores, context, progress)
    }

    /// The runs that were added to the output at a folder or URL: one at least.
    pub(crate) fn of_commits(
        location: &str,
        commits: Vec<Commit>,
        stores: &'a Stores,
        context: &'a Context,
        progress: &'a Progress,
    ) -> Result<Self> {
        let manifest = merged::current(&commits).ok_or_else(|| Error::Invariant("an output without a run".into()))?;
        Self::of(location.to_owned(), commits, manifest, stores, context, progress)
    }

    fn of(
        location: String,
        commits: Vec<Commit>,
        manifest: Manifest,
        stores: &'a Stores,
        context: &'a Context,
        progress: &'a Progress,
    ) -> Result<Self> {
        let text = parse_text(manifest.config["input"]["text"].as_str().unwrap_or("text"))?;
        Ok(Self { location, commits, manifest, text, stores, context, progress })
    }

    /// How stores are reached.
    pub(crate) fn stores(&self) -> &'a Stores {
        self.stores
    }

    /// The folder or URL.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The runs that were added one by one, in order; none if the output is that of one run.
    pub fn commits(&self) -> &[Commit] {
        &self.commits
    }

    /// The runs of these names alone, with the files that hold what they wrote: those may hold rows of others, too.
    ///
    /// # Errors
    /// `Error::Config` for a name that none has.
    pub(crate) fn only(&self, runs: &[&str]) -> Result<Self> {
        let is_known = |name: &&&str| self.commits.iter().any(|commit| commit.run == **name);
        if let Some(unknown) = runs.iter().find(|name| !is_known(name)) {
            let (message, hint) = if self.commits.is_empty() {
                ("is the output of one run: there is none to choose", "leave --run out".to_owned())
            } else {
                ("has no such run", format!("`tamis runs {}` lists them", self.location))
            };
            return Err(Error::Config {
                message: format!("--run {unknown}: `{}` {message}", self.location),
                hint: Some(hint),
            });
        }
        let commits: Vec<Commit> =
            self.commits.iter().filter(|commit| runs.contains(&commit.run.as_str())).cloned().collect();
        let mut manifest = merged(commits.iter()).unwrap_or_default();
        let paths = files_of(&self.commits, runs);
        for (table, files) in live_files(&self.commits) {
            if let Some(record) = manifest.tables.get_mut(&table) {
                let files = files.into_iter().filter(|file| paths.contains(file.path.as_str()));
                record.files = files.cloned().collect();
                record.rows = record.files.iter().map(|file| file.rows).sum();
            }
        }
        Ok(Self { manifest, commits, location: self.location.clone(), text: self.text.clone(), ..*self })
    }

    /// Whether files were put in the place of others, so that one may hold rows of several runs.
    pub(crate) fn is_rewritten(&self) -> bool {
        self.commits.iter().any(|commit| !commit.replaced.is_empty())
    }

    /// Its runs, each by itself.
    pub(crate) fn each(&self) -> Result<Vec<Self>> {
        if self.commits.is_empty() {
            let (location, manifest, text) = (self.location.clone(), self.manifest.clone(), self.text.clone());
            return Ok(vec![Self { location, manifest, text, commits: Vec::new(), ..*self }]);
        }
        self.commits.iter().map(|commit| self.only(&[&commit.run])).collect()
    }

    /// The manifest; of runs that were added to each other, what theirs say together, with the settings of the last.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the files of a table lie, and what the manifest says of each; none if the run wrote no such table.
    pub fn files(&self, table: Table) -> impl Iterator<Item = (String, &FileRecord)> {
        let files = self.manifest.tables.get(&table).into_iter().flat_map(|record| &record.files);
        files.map(move |file| (file_location(&self.location, table, &file.path), file))
    }

    /// Where files lie that were part of the output and are no longer, and when they were removed, in seconds since 1970.
    pub(crate) fn removed_files(&self) -> impl Iterator<Item = (String, u64)> {
        removed_files(&self.commits).map(|(table, path, at)| (file_location(&self.location, table, path), at))
    }

    /// A table, or `None` if the run wrote none of that name, or no row of it to an output that runs are added to.
    ///
    /// # Errors
    /// `Error::Corrupt` if its files are not those that the manifest names.
    pub(crate) fn table(&self, table: Table) -> Result<Option<TableReader<'_>>> {
        let Some(record) = self.manifest.tables.get(&table) else { return Ok(None) };
        let locations: Vec<String> = self.files(table).map(|(location, _)| location).collect();
        if locations.is_empty() {
            return Ok(None);
        }
        let (inputs, schema) = self.stored(&locations)?;
        let recorded: (u64, u64) =
            record.files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.bytes));
        let found = (schema.n_rows(), inputs.total_bytes());
        if found != recorded {
            return Err(Error::Corrupt {
                location: format!("{}/{}", self.location, table.name()),
                format: "the table of this run",
                message: format!(
                    "the manifest says {} rows in {} bytes, the files have {} rows in {} bytes",
                    recorded.0, recorded.1, found.0, found.1
                ),
            });
        }
        Ok(Some(TableReader { run: self, table, inputs, columns: schema }))
    }

    /// Files of a table, and the columns that they have together.
    fn stored(&self, locations: &[String]) -> Result<(Inputs, InputSchema)> {
        let options = SourceOptions { format: Some(Format::Parquet), ..SourceOptions::default() };
        let inputs = Inputs::discover(locations, &options, self.stores, self.context)?;
        let mut types = Types::default();
        let mut survey = inputs.survey(&request(&[]))?;
        while let Some(block) = survey.next_block()? {
            types.merge(block.decode()?.types);
        }
        let schema = inputs.resolve(types)?;
        Ok((inputs, schema))
    }

    /// Some files of a table, to be read as they are stored.
    ///
    /// # Errors
    /// `Error::Corrupt` for one that does not have the rows it should have.
    pub(crate) fn stored_files(&self, table: Table, files: &[(&str, &FileRecord)]) -> Result<TableReader<'_>> {
        let locations: Vec<String> = files.iter().map(|(url, _)| (*url).to_owned()).collect();
        let (inputs, columns) = self.stored(&locations)?;
        let rows: u64 = files.iter().map(|(_, record)| record.rows).sum();
        if columns.n_rows() != rows {
            return Err(Error::Corrupt {
                location: locations.join(", "),
                format: "what runs wrote",
                message: format!("{} rows are there, and {rows} should be", columns.n_rows()),
            });
        }
        Ok(TableReader { run: self, table, inputs, columns })
    }
}

/// # Errors
/// `Error::Config` if no run has ended at `place`, `Error::Leased` if the first one may be about to.
fn manifest_of_one_run(location: &str, place: &Place) -> Result<Manifest> {
    if let Some((bytes, _)) = place.get_if_there(MANIFEST)? {
        return parse_manifest(&place.display(MANIFEST), &bytes);
    }
    if let Some(holder) = holder(place)? {
        return Err(Error::Leased { location: location.to_owned(), holder });
    }
    Err(Error::Config {
        message: format!("`{location}` is no finished run: it has no {MANIFEST}, and no run was added to it"),
        hint: Some("name the folder or URL that a run was given with -o; one that was stopped left none".into()),
    })
}

fn parse_manifest(file: &str, bytes: &[u8]) -> Result<Manifest> {
    let corrupt = |error: serde_json::Error| Error::Corrupt {
        location: file.to_owned(),
        format: "a manifest of tamis",
        message: error.to_string(),
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(corrupt)?;
    if let Some(version) = value["manifest_version"].as_u64()
        && version != u64::from(MANIFEST_VERSION)
    {
        return Err(Error::Config {
            message: format!("`{file}` has layout {version}, this version of tamis reads {MANIFEST_VERSION}"),
            hint: value["tamis_version"].as_str().map(|version| format!("tamis {version} wrote it and can read it")),
        });
    }
    serde_json::from_value(value).map_err(corrupt)
}

/// Where a file of a table lies: those beside the manifest are named `<table>/<file>`, those of another tier by its URL.
fn file_location(run: &str, table: Table, path: &str) -> String {
    let is_beside =
        path.strip_prefix(table.name()).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| !rest.contains('/'));
    if is_beside { format!("{run}/{path}") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_the_manifest_and_files_of_a_tier() {
        let check = |path: &str, expect: &str| assert_eq!(file_location("s3://b/out", Table::Kept, path), expect);
        check("kept/part-00000.parquet", "s3://b/out/kept/part-00000.parquet");
        check("cold/kept/part-00000.parquet", "cold/kept/part-00000.parquet");
        check("kept/kept/part-00000.parquet", "kept/kept/part-00000.parquet");
        check("s3://c/x/kept/part-00000.parquet", "s3://c/x/kept/part-00000.parquet");
    }
}
