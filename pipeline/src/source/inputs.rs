//! The files of a run, in their order, and the passes over them.

use std::sync::Arc;

use super::Request;
use super::discover::{Found, discover};
use super::fetch::StoredFile;
use super::format::{Compression, Format, SourceOptions};
use super::plan::{PlaceInFile, Plan};
use super::scan::Scan;
use super::schema::{InputSchema, Types, check_special_alone, resolve};
use crate::Result;
use crate::context::{Cancel, Context};
use crate::store::Stores;

/// A file that rows are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Path as the user gave it, without `.` and empty parts; of files in a folder, the folder's and theirs; URLs as they
    /// are; `-` for standard input.
    pub name: String,
    /// Where it is, whatever the working folder; `-` for standard input.
    pub url: String,
    /// Bytes as stored, compressed.
    pub size_bytes: u64,
    /// Tag that changes with the content, if the store has one.
    pub e_tag: Option<String>,
    /// Version, if the store has one.
    pub version: Option<String>,
    /// Format.
    pub format: Format,
    /// Compression that the name promises; the first bytes decide where it promises none.
    pub compression: Option<Compression>,
}

/// The files of a run: sorted by name, each once.
#[derive(Debug, Clone)]
pub struct Inputs {
    shared: Arc<Shared>,
    skipped: Vec<String>,
    total_bytes: u64,
}

/// What the scans of one set of inputs have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) files: Vec<InputFile>,
    /// Of each file, how it is read.
    pub(super) stored: Vec<Arc<StoredFile>>,
    pub(super) cancel: Cancel,
    /// Position of the first row of the first file.
    pub(super) base_row: u64,
    /// Where in that file the first scan begins.
    pub(super) from: PlaceInFile,
    pub(super) options: SourceOptions,
    batch_rows: usize,
}

impl Inputs {
    /// Finds the files that `arguments` stand for: files, folders, globs, URLs of files or folders, `-`.
    ///
    /// In folders, names that begin with `.` or `_` are passed over, and files of unknown extension are
    /// [skipped](Self::skipped). Standard input is copied to a temporary file, since every pass reads it again.
    ///
    /// # Determinism
    /// The order of the arguments and of the listings changes nothing.
    /// # Errors
    /// `Error::Unreadable` for what is not there or not ours to read, `Error::Config` for no files, an unknown format or
    /// a URL that no store understands.
    pub fn discover(arguments: &[String], options: &SourceOptions, stores: &Stores, context: &Context) -> Result<Self> {
        let Found { files, stored, skipped } = discover(arguments, options, stores, context)?;
        Ok(Self {
            total_bytes: files.iter().map(|file| file.size_bytes).sum(),
            shared: Arc::new(Shared {
                files,
                stored,
                cancel: context.cancel.clone(),
                base_row: 0,
                from: PlaceInFile::default(),
                options: options.clone(),
                batch_rows: context.batch_rows,
            }),
            skipped,
        })
    }

    /// No files at all.
    pub(crate) fn none(options: &SourceOptions, context: &Context) -> Self {
        Self {
            total_bytes: 0,
            shared: Arc::new(Shared {
                files: Vec::new(),
                stored: Vec::new(),
                cancel: context.cancel.clone(),
                base_row: 0,
                from: PlaceInFile::default(),
                options: options.clone(),
                batch_rows: context.batch_rows,
            }),
            skipped: Vec::new(),
        }
    }

    /// One file, or some rows of it of so many bytes, that lie among others.
    pub(super) fn part(
        file: InputFile,
        stored: StoredFile,
        n_bytes: u64,
        base_row: u64,
        from: PlaceInFile,
        options: &SourceOptions,
        context: &Context,
    ) -> Self {
        Self {
            total_bytes: n_bytes,
            shared: Arc::new(Shared {
                files: vec![InputFile { size_bytes: n_bytes, ..file }],
                stored: vec![Arc::new(stored)],
                cancel: context.cancel.clone(),
                base_row,
                from,
                options: options.clone(),
                batch_rows: context.batch_rows,
            }),
            skipped: Vec::new(),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Some of the files.
    pub(crate) fn only(&self, is_kept: &[bool]) -> Self {
        let Shared { files, stored, cancel, base_row, from, options, batch_rows } = &*self.shared;
        let kept = || is_kept.iter().enumerate().filter(|(_, is_kept)| **is_kept).map(|(file, _)| file);
        let files: Vec<InputFile> = kept().map(|file| files[file].clone()).collect();
        let stored = kept().map(|file| Arc::clone(&stored[file])).collect();
        Self {
            total_bytes: files.iter().map(|file| file.size_bytes).sum(),
            shared: Arc::new(Shared {
                files,
                stored,
                cancel: cancel.clone(),
                base_row: *base_row,
                from: from.clone(),
                options: options.clone(),
                batch_rows: *batch_rows,
            }),
            skipped: self.skipped.clone(),
        }
    }

    /// Reads `others` first: files by other names and URLs than where they lie.
    pub(crate) fn after(self, others: &Self, names: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut files = others.shared.files.clone();
        for (file, (name, url)) in files.iter_mut().zip(names) {
            (file.name, file.url) = (name, url);
        }
        files.extend(self.shared.files.iter().cloned());
        let stored = others.shared.stored.iter().chain(&self.shared.stored).map(Arc::clone).collect();
        Self {
            total_bytes: others.total_bytes + self.total_bytes,
            shared: Arc::new(Shared {
                files,
                stored,
                cancel: self.shared.cancel.clone(),
                base_row: 0,
                from: PlaceInFile::default(),
                options: self.shared.options.clone(),
                batch_rows: self.shared.batch_rows,
            }),
            skipped: self.skipped,
        }
    }

    /// The files, in the order in which they are read.
    pub fn files(&self) -> &[InputFile] {
        &self.shared.files
    }

    /// Names of the files in folders that were skipped for their extension, sorted.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Bytes of all files as stored: what a pass reads, for progress.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Starts the pass that finds the types of all columns and hands out text and id on the way, no input columns.
    pub fn survey(&self, request: &Request) -> Result<Scan> {
        self.start(None, request)
    }

    /// One type for each column of the whole input, from what the blocks of a survey found, merged in block order.
    ///
    /// # Errors
    /// `Error::Column` if types do not go together, or if a file lacks a column that text or id need.
    pub fn resolve(&self, types: Types) -> Result<InputSchema> {
        resolve(&self.shared.files, types, self.shared.options.schema.as_ref())
    }

    /// What [`resolve`](Self::resolve) says about text and id alone: the other columns of the files need not go together.
    ///
    /// The rows of each file, rejected ones too.
    ///
    /// # Errors
    /// `Error::Column` if a file lacks a column that text or id need, or has it with the wrong type.
    pub fn check(&self, types: &Types) -> Result<Vec<u64>> {
        check_special_alone(&self.shared.files, types)
    }

    /// Starts a pass that hands out typed columns.
    ///
    /// Rows that the survey rejected are rejected for the same reason, whatever is asked for.
    ///
    /// # Errors
    /// `Error::Column` if the request names a column that is not there.
    pub fn scan(&self, schema: &InputSchema, request: &Request) -> Result<Scan> {
        self.start(Some(schema.clone()), request)
    }

    fn start(&self, schema: Option<InputSchema>, request: &Request) -> Result<Scan> {
        let plan = Plan::new(schema, request, &self.shared.options, self.shared.batch_rows)?;
        Ok(Scan::new(self.shared.clone(), plan))
    }
}
